"""The wait that a server names, in whichever way it writes it."""

import contextlib
import email.utils
import locale

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_agent import ErrorClassifier
from resilient_agent.classify.hints import retry_after

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the moment of RFC 9110's examples
YEAR = 366 * 86_400


def named(wall=NOW, **headers):
    by_name = {name.replace("_", "-"): value for name, value in headers.items()}
    return retry_after(by_name.get, lambda: wall)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1", 1), ("30", 30), (" 30 ", 30), ("0.5", 0.5), ("2.75", 2.75), ("007", 7), ("86400", 86_400)],
)
def test_seconds_are_read_whole_and_decimal(value, seconds):
    """`Retry-After` in seconds may have a fraction, and blanks around it."""  # A15
    assert named(retry_after=value) == seconds


@pytest.mark.parametrize(("value", "seconds"), [("1200", 1.2), ("1", 0.001), ("500.5", 0.5005)])
def test_milliseconds_are_read(value, seconds):
    """`retry-after-ms` is in milliseconds."""  # A15
    assert named(retry_after_ms=value) == pytest.approx(seconds)


def test_milliseconds_go_before_seconds():
    """The finer header decides where both are sent."""  # A15
    assert named(retry_after_ms="1200", retry_after="2") == 1.2


@pytest.mark.parametrize("useless", ["", "soon", "-5", "0", "nan", "9" * 12, "inf"])
def test_seconds_count_where_the_milliseconds_say_nothing_usable(useless):
    """The first usable answer wins: an unusable `retry-after-ms` does not hide `retry-after`."""  # A15, A16
    assert named(retry_after_ms=useless, retry_after="2") == 2


@pytest.mark.parametrize(
    "form",
    [
        "Sun, 06 Nov 1994 08:49:57 GMT",
        "Sunday, 06-Nov-94 08:49:57 GMT",
        "Sun Nov  6 08:49:57 1994",
        "Sun, 06 Nov 1994 08:49:57 +0000",
        "Sun, 06 Nov 1994 08:49:57",
        "Sun, 06 Nov 1994 08:49:57 -0000",
    ],
)
def test_dates_are_read_in_each_form_of_http(form):
    """IMF-fixdate, RFC 850, asctime; without a zone it is UTC."""  # A15
    assert named(retry_after=form) == 20


@pytest.mark.parametrize(
    "sent", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_is_read_against_the_answers_own_date(sent):
    """A wrong clock on this machine does not matter where the answer has a `Date` header."""  # A22
    ahead = NOW + 3600
    assert named(wall=ahead, retry_after="Sun, 06 Nov 1994 08:49:57 GMT", date=sent) == 20


@pytest.mark.parametrize("sent", ["", "yesterday", "0", "06-11-1994", "9" * 50])
def test_a_date_is_read_against_the_clock_where_the_answers_date_is_unreadable(sent):
    """A broken `Date` header is as good as none."""  # A22
    assert named(retry_after="Sun, 06 Nov 1994 08:49:57 GMT", date=sent) == 20


def test_seconds_do_not_depend_on_any_clock():
    """Only dates need to know what time it is."""

    def no_clock():
        raise AssertionError("the clock was asked")

    assert retry_after({"retry-after": "3", "date": "nonsense"}.get, no_clock) == 3
    own = {"retry-after": "Sun, 06 Nov 1994 08:49:57 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}
    assert retry_after(own.get, no_clock) == 20


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "0", "0.0", "-1", "-0.5", "+5", "nan", "inf", "-inf", "1e3", "0x10", "1_000"),
        *("\u0663", "\uff13", "5s", "soon", "true", "1,5", "5, 10", "5;", ".", ".5.", "\x00", "\ud800"),
        *("99999999999999999999", str(YEAR + 1), "1" * 10_000),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_wait_is_no_hint(value):
    """Garbage, nothing, zero, negative, not finite, other alphabets, more than a year: no hint."""  # A16
    assert named(retry_after=value) is None
    assert named(retry_after_ms=value if value != str(YEAR + 1) else "9" * 12) is None


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:61:61 GMT",
        "Sun, 06 Nov 1994",
        "1994-11-06T08:49:57Z",
    ],
)
def test_a_date_that_is_past_impossible_or_far_off_is_no_hint(value):
    """The present, the past, no real date, and the next millennium: no hint, so no hot loop and no hang."""  # A16
    assert named(retry_after=value) is None


def test_dates_are_read_in_english_whatever_the_locale():
    """The names of days and months are those of HTTP under every locale."""  # A15
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"):
            with contextlib.suppress(locale.Error):
                locale.setlocale(locale.LC_ALL, name)
            assert named(retry_after="Sun, 06 Nov 1994 08:49:57 GMT") == 20
    finally:
        locale.setlocale(locale.LC_ALL, before)


def test_without_a_header_there_is_no_hint():
    """An answer that names no wait gives none."""
    assert named() is None
    assert named(date="Sun, 06 Nov 1994 08:49:37 GMT") is None


@settings(deadline=None, max_examples=500)
@given(
    seconds=st.none() | st.text(max_size=60),
    milliseconds=st.none() | st.text(max_size=20),
    date=st.none() | st.text(max_size=60),
)
@example(seconds="Sun, 06 Nov 1994 08:49:57 +9999", milliseconds=None, date=None)
@example(seconds="Mon, 01 Jan 0001 00:00:00 +2359", milliseconds=None, date=None)
@example(seconds="Fri, 31 Dec 9999 23:59:59 -2359", milliseconds=None, date=None)
@example(seconds="0 0 0 0 0", milliseconds=None, date="0")
def test_any_text_is_a_positive_wait_or_no_hint(seconds, milliseconds, date):
    """Whatever the headers hold, the answer is a finite positive number or None."""  # A16
    by_name = {"retry-after": seconds, "retry-after-ms": milliseconds, "date": date}
    found = retry_after(by_name.get, lambda: NOW)
    assert found is None or 0 < found <= YEAR


@settings(deadline=None)
@given(ahead=st.integers(1, 300 * 86_400), skew=st.integers(-(10**6), 10**6))
def test_a_date_says_the_same_as_seconds_whatever_the_clocks(ahead, skew):
    """For any clock of the server's, a date with a `Date` beside it is the difference of the two."""  # A22
    sent = NOW + skew
    headers = {
        "retry-after": email.utils.formatdate(sent + ahead, usegmt=True),
        "date": email.utils.formatdate(sent, usegmt=True),
    }
    assert retry_after(headers.get, lambda: NOW) == ahead


class Limited(Exception):
    status_code = 429

    def __init__(self, **headers):
        super().__init__("slow down")
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def test_a_classification_carries_the_wait():
    """What the server named stands on the judgement."""
    assert ErrorClassifier().classify(Limited(Retry_After="12")).retry_after == 12
    assert ErrorClassifier().classify(Limited(Retry_After="soon")).retry_after is None


def test_a_wait_named_on_a_cause_counts():
    """An error wrapped by another still tells how long to wait."""
    error = RuntimeError("the model did not answer")
    error.__cause__ = Limited(retry_after="12")
    verdict = ErrorClassifier().classify(error)
    assert (verdict.rule, verdict.retry_after) == ("http/too-many-requests", 12)


def test_a_group_waits_for_the_longest_of_its_members():
    """Of several waits the longest is the one that satisfies all."""
    group = ExceptionGroup("all failed", [Limited(retry_after="3"), Limited(retry_after="9"), Limited()])
    assert ErrorClassifier().classify(group).retry_after == 9
