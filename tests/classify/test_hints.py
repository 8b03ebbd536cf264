"""The wait that a server names, in whichever way it writes it."""

import contextlib
import datetime
import email.utils
import locale
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_agent import ErrorClassifier
from resilient_agent.classify.hints import in_body, in_buckets, in_headers, in_text, span

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the moment of RFC 9110's examples
YEAR = 366 * 86_400


def by_name(**headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}.get


def named(wall=NOW, **headers):
    return in_headers(by_name(**headers), lambda: wall)


def buckets(wall=NOW, **headers):
    return in_buckets(by_name(**headers), lambda: wall)


# The headers that name a wait


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

    assert in_headers({"retry-after": "3", "date": "nonsense"}.get, no_clock) == 3
    own = {"retry-after": "Sun, 06 Nov 1994 08:49:57 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}
    assert in_headers(own.get, no_clock) == 20


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "0", "0.0", "-1", "-0.5", "+5", "nan", "inf", "-inf", "1e3", "0x10", "1_000"),
        *("\u0663", "\uff13", "5x", "soon", "true", "1,5", "5, 10", "5;", ".", ".5.", "\x00", "\ud800"),
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
        "1994-11-06T08:49:37Z",
        "1994-11-06",
        "784111777",
        "784111777000",
        "99999999999999",
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


@pytest.mark.parametrize(
    "value",
    [
        *("Sun, \u0660\u0666 Nov 1994 08:49:57 GMT", "Sun, \uff10\uff16 Nov 1994 08:49:57 GMT"),
        *("Sun, 06 Nov \u0661\u0669\u0669\u0664 08:49:57 GMT", "Sun, 06 Nov 1994 08:49:\u0665\u0667 GMT"),
        *("\u0661\u0669\u0669\u0664-11-06T08:49:57Z", "\u0663s", "1\u0660", "\u00b2"),
    ],
    ids=ascii,
)
def test_digits_of_other_alphabets_are_no_digits(value):
    """Neither in a number nor in a date nor in a duration."""  # A16
    assert named(retry_after=value) is None
    assert named(retry_after_ms=value) is None
    assert buckets(x_ratelimit_remaining="0", x_ratelimit_reset=value) is None
    assert in_body({"retry_after": value}) is None
    assert in_text(f"try again in {value}") is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("6m0s", 360),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("7.66s", 7.66),
        ("1d", 86_400),
        ("2d3h", 183_600),
        ("1994-11-06T08:49:57Z", 20),
        ("1994-11-06T08:49:57+00:00", 20),
        ("1994-11-06T09:49:57+01:00", 20),
        ("1994-11-06T08:49:57", 20),
        ("1994-11-06T08:49:57.500Z", 20.5),
        ("1994-11-08T08:49:37Z", 2 * 86_400),
    ],
)
def test_what_servers_write_instead_of_seconds_is_read(value, seconds):
    """Go's durations and RFC 3339, with their days."""  # A17
    assert named(retry_after=value) == pytest.approx(seconds)
    assert buckets(x_ratelimit_remaining="0", x_ratelimit_reset=value) == pytest.approx(seconds)


@pytest.mark.parametrize("ahead", [1, 20, 3600, 3 * 86_400])
def test_a_moment_is_told_from_a_difference_by_its_magnitude(ahead):
    """Small numbers are seconds from now, large ones count from 1970, larger ones in milliseconds."""  # A17
    now = 1_800_000_000.0
    for value in (str(ahead), str(int(now) + ahead), str((int(now) + ahead) * 1000)):
        assert named(wall=now, retry_after=value) == ahead
        assert buckets(wall=now, x_ratelimit_remaining="0", x_ratelimit_reset=value) == ahead


def test_a_moment_from_1970_is_read_against_the_answers_own_date():
    """Epochs like dates: this machine's clock does not matter where the answer has a `Date`."""  # A22
    sent = 1_800_000_000
    date = email.utils.formatdate(sent, usegmt=True)
    assert named(wall=sent + 9999, retry_after=str(sent + 20), date=date) == 20
    assert buckets(wall=sent - 9999, x_ratelimit_remaining="0", x_ratelimit_reset=str(sent + 20), date=date) == 20


@pytest.mark.parametrize("name", ["retry-after-ms", "x-ms-retry-after-ms", "grpc-retry-pushback-ms"])
def test_each_header_in_milliseconds_is_known(name):
    """Azure's and gRPC's names for the same."""  # A15
    assert in_headers({name: "1500", "retry-after": "9"}.get, lambda: NOW) == 1.5


def test_without_a_header_there_is_no_hint():
    """An answer that names no wait gives none."""
    assert named() is None
    assert named(date="Sun, 06 Nov 1994 08:49:37 GMT") is None


@settings(max_examples=500)
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
    given_headers = {"retry-after": seconds, "retry-after-ms": milliseconds, "date": date}
    found = in_headers(given_headers.get, lambda: NOW)
    assert found is None or 0 < found <= YEAR


@given(ahead=st.integers(1, 300 * 86_400), skew=st.integers(-(10**6), 10**6))
def test_a_date_says_the_same_as_seconds_whatever_the_clocks(ahead, skew):
    """For any clock of the server's, a date with a `Date` beside it is the difference of the two."""  # A22
    sent = NOW + skew
    headers = {
        "retry-after": email.utils.formatdate(sent + ahead, usegmt=True),
        "date": email.utils.formatdate(sent, usegmt=True),
    }
    assert in_headers(headers.get, lambda: NOW) == ahead


@given(stamp=st.integers(10**8, 4 * 10**9))
def test_a_moment_is_the_same_in_every_form(stamp):
    """HTTP's date, RFC 3339, and seconds and milliseconds since 1970 name one moment."""  # A15, A17
    moment = datetime.datetime.fromtimestamp(stamp, datetime.UTC)
    forms = [
        email.utils.format_datetime(moment, usegmt=True),
        moment.isoformat(),
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ]
    forms += [str(stamp), str(stamp * 1000)] if stamp > 1_000_000_000 else []
    assert {named(wall=stamp - 42.0, retry_after=form) for form in forms} == {42}


# The buckets of rate limits


PAIRS = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
]


@pytest.mark.parametrize(("remaining", "reset"), PAIRS, ids=[pair[1] for pair in PAIRS])
@pytest.mark.parametrize("left", ["0", "0.0", " 0 "])
def test_an_exhausted_bucket_names_its_wait(remaining, reset, left):
    """Where nothing is left, the bucket's reset is the wait."""  # A15
    assert in_buckets({remaining: left, reset: "20"}.get, lambda: NOW) == 20


def test_the_longest_of_the_exhausted_buckets_counts():
    """All of them have to open, so the last decides; what is not exhausted does not count."""  # A15
    names = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m2s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "7.5s",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "1994-11-06T08:50:07Z",
        "x-ratelimit-remaining": "9",
        "x-ratelimit-reset": "3600",
    }
    assert in_buckets(names.get, lambda: NOW) == 62


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ('"api";r=0;t=55', 55),
        ('"burst";r=4;t=1, "daily"; r=0; t=3600', 3600),
        ("limit=100, remaining=0, reset=50", 50),
        ('"api";r=496;t=246', None),
        ('"api";r=0', None),
        ('"api";r=0;t=0', None),
        ("0", None),
    ],
)
def test_buckets_that_are_listed_in_one_header_are_read(value, seconds):
    """As the drafts of the IETF have it: what is left, and the seconds until the window ends."""
    assert in_buckets({"ratelimit": value}.get, lambda: NOW) == seconds


@given(st.dictionaries(st.sampled_from(PAIRS), st.tuples(st.integers(0, 3), st.integers(1, 10_000))))
def test_the_wait_of_buckets_is_the_maximum_over_the_exhausted(state):
    """For any state of the buckets."""  # A15
    headers = {}
    for (remaining, reset), (left, seconds) in state.items():
        headers |= {remaining: str(left), reset: str(seconds)}
    expected = max((seconds for left, seconds in state.values() if left == 0), default=None)
    assert in_buckets(headers.get, lambda: NOW) == expected


@pytest.mark.parametrize(
    "value", ["", "soon", "0", "-5", "nan", "inf", "9" * 11, "\u0663", "1994-11-06T08:49:37Z"], ids=ascii
)
def test_an_exhausted_bucket_without_a_usable_reset_is_no_hint(value):
    """Its reset is past or no wait: others may still name one."""  # A16
    assert buckets(x_ratelimit_remaining="0", x_ratelimit_reset=value) is None
    assert (
        buckets(x_ratelimit_remaining="0", x_ratelimit_reset=value, ratelimit_remaining="0", ratelimit_reset="5") == 5
    )


@pytest.mark.parametrize("left", ["1", "100", "", "none", "nan", "\u0660", None], ids=ascii)
def test_a_bucket_that_is_not_exhausted_names_no_wait(left):
    """Something is left in it, or nobody knows."""
    assert buckets(x_ratelimit_remaining=left, x_ratelimit_reset="20") is None


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([name for pair in PAIRS for name in pair] + ["date"]),
        st.text(max_size=40) | st.sampled_from(["0", "5s", "99999999999"]),
    )
)
@example({"x-ratelimit-remaining-requests": "0\x1f", "x-ratelimit-reset-requests": "5s"})
def test_any_headers_are_a_positive_wait_or_no_hint(headers):
    """Whatever the buckets hold, the answer is a finite positive number or None."""  # A16
    found = in_buckets(headers.get, lambda: NOW)
    assert found is None or 0 < found <= YEAR


# Fields of the body


@pytest.mark.parametrize(
    ("waits", "seconds"),
    [
        ({"retrydelay": "13s"}, 13),
        ({"retrydelay": "0.432s"}, 0.432),
        ({"retry_after": 5}, 5),
        ({"retry_after": 2.5}, 2.5),
        ({"retry_after": "7"}, 7),
        ({"retry_after": "1m30s"}, 90),
        ({"retry_after_ms": 432}, 0.432),
        ({"retryafterms": "1500"}, 1.5),
        ({"estimated_time": 35.67}, 35.67),
        ({"resets_in_seconds": 3600}, 3600),
        ({"retry_after": "soon", "estimated_time": 20}, 20),
        ({"retry_after": 0, "retrydelay": "4s"}, 4),
    ],
    ids=str,
)
def test_a_field_of_the_body_names_the_wait(waits, seconds):
    """google.rpc.RetryInfo and its like, as numbers and as texts; the first usable one."""  # A15
    assert in_body(waits) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -5,
        0.0,
        float("nan"),
        float("inf"),
        -float("inf"),
        YEAR + 1,
        10**30,
        10**5000,
        "",
        "soon",
        "-5s",
        "nan",
        [5],
        {"seconds": 5},
    ],
    ids=lambda value: repr(value)[:12] if not isinstance(value, int) or value < 10**40 else "huge",
)
def test_a_field_that_is_no_wait_is_no_hint(value):
    """Neither numbers that are none, nor the past, nor a year."""  # A16
    assert in_body({"retry_after": value}) is None
    assert in_body({"retry_after": value, "retrydelay": "3s"}) == 3


@given(
    st.dictionaries(
        st.sampled_from(["retry_after", "retry_after_ms", "retrydelay"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    )
)
def test_any_fields_are_a_positive_wait_or_no_hint(waits):
    """Whatever the fields hold, the answer is a finite positive number or None."""  # A16
    found = in_body(waits)
    assert found is None or 0 < found <= YEAR


# Sentences


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Rate limit reached. Please try again in 6m0s.", 360),
        ("Please try again in 432ms. Visit https://x", 0.432),
        ("Please try again in 1h2m3.5s", 3723.5),
        ("Please try again in 7.66s.", 7.66),
        ("try again after 30 seconds", 30),
        ("Please retry after 56 seconds.", 56),
        ("Please retry in 13.5s", 13.5),
        ("retry-after: 20", 20),
        ('"retry_after": 20', 20),
        ("{'retry_after_ms': 1500}", 1.5),
        ('retryDelay": "13s"', 13),
        ("Please wait 2 minutes, then try it once more", 120),
        ("Please wait 2 minutes and try it once more", 120),
        ("Please try again in 20s and send less", 20),
        ("wait for 1 minute and 30 seconds", 90),
        ("Your limit will reset in 2 days", 172_800),
        ("Your quota will reset after 42h1m20s.", 151_280),
        ("提交过于频繁 请十分钟后再试", 600),
        ("请在十五秒后重试", 15),
        ("请二十五分钟后再试", 1500),
        ("请两个小时后重试", 7200),
        ("try again in 1d2h", 93_600),
        ("请在 30 秒后重试", 30),
        ("请等待5分钟", 300),
        ("请稍等 10 秒钟", 10),
        ('{"resets_in_seconds":13872}', 13_872),
        (r"{\"reset_in_seconds\": 5,", 5),
    ],
)
def test_a_sentence_names_the_wait(said, seconds):
    """In English and in Chinese, with days, and as fields printed into a text."""  # A15, A17
    assert in_text(said) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "said",
    [
        *(
            "",
            "try again",
            "try again later",
            "try again in a few minutes",
            "timed out after 30 seconds",
            "the wait is over",
        ),
        *(
            "retry 3 of 5",
            "again 5",
            "retry-after: soon",
            "retry after 0 seconds",
            "try again in -5s",
            "try again in 9999d",
        ),
        *("limit 30 seconds", "retries: 3s", "wait\u0663s", "请稍后再试", "超时 30 秒"),
        *("the connection was reset after 30s", "请于一百分钟后再试", "十分钟内请求过多"),
    ],
)
def test_a_sentence_that_names_no_wait_is_no_hint(said):
    """Durations of something else, no duration, nothing, and more than a year."""  # A16
    assert in_text(said) is None


@pytest.mark.parametrize(
    "said",
    [
        "Timed out after waiting 30 seconds for a response",
        "Connection was reset after 30 seconds",
        "stream reset after 5s",
        "retry-after: 2026-11-24T02:40:00Z",
        "retry-after: 1,500",
        "resets_in_seconds: 1,500",
        "resets_in_seconds: unknown",
    ],
)
def test_a_sentence_about_what_is_over_or_about_a_date_is_no_hint(said):
    """Seconds that have passed are not to be waited for again, and the year of a date is no number of seconds."""
    assert in_text(said) is None


@settings(max_examples=300)
@given(
    st.text(max_size=120)
    | st.lists(
        st.sampled_from(
            ["try again in ", "retry", " after", ": ", "5", "s", "0", "ms", "wait ", "9" * 13, "秒", "后", "d", "."]
        ),
        max_size=10,
    ).map("".join)
)
def test_any_sentence_is_a_positive_wait_or_no_hint(said):
    """Whatever is said, the answer is a finite positive number or None."""  # A16
    found = in_text(said)
    assert found is None or 0 < found <= YEAR


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_pieces(days, hours, minutes, seconds, milliseconds):
    """As Go writes it and as people do, no piece is dropped."""  # A17
    total = days * 86_400 + hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    go = f"{days}d{hours}h{minutes}m{seconds}.{milliseconds:03}s"
    people = f"{days} days, {hours} hours, {minutes} minutes and {seconds}.{milliseconds:03} seconds"
    expected = pytest.approx(total) if total else None
    assert span(go) == expected
    assert span(people) == expected
    assert in_text(f"Please try again in {go}.") == expected


@pytest.mark.parametrize(
    "value", ["", "5", "s", "5x", "5s later", "in 5s", "1:30", "-5s", "nans", "5 s 5", "\u0663s", "1e3s"], ids=ascii
)
def test_what_is_no_duration_is_none(value):
    """A number without a unit, another unit, words around it."""
    assert span(value) is None


@pytest.mark.parametrize(
    "text",
    [
        "5s" * 2000,
        "try again in " * 300,
        "retry" + " " * 4000,
        "5 " * 2000,
        "retry after " + "9" * 4000,
        "1s," * 1300 + "x",
        "try again in " + "5s " * 1300 + "x",
        "请等待" * 1300,
    ],
    ids=lambda text: text[:16],
)
def test_no_text_makes_the_readers_slow(text):
    """As many characters as are ever looked through take no time that anybody notices."""
    took = []
    for _ in range(3):
        begun = time.process_time()
        found = (in_text(text), span(text), named(retry_after=text), in_body({"retry_after": text}))
        took.append(time.process_time() - begun)
    assert all(value is None or value > 0 for value in found)
    assert min(took) < 0.05


# Through the classifier


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


class Answered(Exception):
    """A failure with everything by which a server may name a wait."""

    def __init__(self, message="slow down", status=429, headers=None, body=None):
        super().__init__(message)
        self.status_code, self.headers, self.body = status, headers or {}, body


WAYS = (
    ({"retry-after-ms": "1000"}, {}, ""),
    ({"retry-after": "2"}, {}, ""),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s"}, {}, ""),
    ({}, {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "4s"}]}, ""),
    ({}, {}, "Please try again in 5s."),
)


def with_ways(places):
    headers, body, said = {}, {}, "Rate limit reached."
    for place in places:
        more, fields, words = WAYS[place]
        headers |= more
        body |= fields
        said = f"{said} {words}"
    return Answered("Error code: 429", headers=headers, body={"error": {"message": said, **body}})


@given(st.sets(st.integers(0, 4)))
def test_the_first_usable_way_of_naming_a_wait_counts(places):
    """Milliseconds, seconds, buckets, the body, and the text last."""  # A15
    expected = min(places) + 1 if places else None
    assert ErrorClassifier().classify(with_ways(places)).retry_after == expected


@pytest.mark.parametrize(
    "useless", ["0", "-1", "nan", "inf", "", "soon", "9" * 30, "\u0663", "Thu, 01 Jan 1970 00:00:00 GMT"], ids=ascii
)
def test_what_is_no_wait_leaves_the_failure_to_its_own_backoff(useless):
    """Zero and the past are no hot loop, nonsense is no hang: the curve of the rule counts."""  # A16
    verdict = ErrorClassifier().classify(Answered(headers={"retry-after": useless, "retry-after-ms": useless}))
    assert verdict.retry_after is None
    assert verdict.backoff.base_delay_ms > 0


def test_what_is_no_wait_in_one_place_does_not_hide_another():
    """An unusable header leaves it to the body, an unusable body to the text."""  # A15, A16
    body = {"error": {"message": "Please try again in 5s.", "retry_after": "nan"}}
    assert ErrorClassifier().classify(Answered(headers={"retry-after": "soon"}, body=body)).retry_after == 5


@pytest.mark.parametrize("status", [400, 401, 402, 404, 422])
def test_what_is_not_tried_again_is_not_waited_for(status):
    """A wait beside a failure that stops for good is no news."""
    verdict = ErrorClassifier().classify(Answered("no", status, {"retry-after": "5"}))
    assert verdict.retry_after is None


def test_a_degraded_failure_carries_its_wait():
    """The day's quota of a model names when it opens again: whoever wants to wait may."""
    verdict = ErrorClassifier().classify(Answered("Limit of requests per day reached", 429, {"retry-after": "5"}))
    assert (verdict.error_type, verdict.retry_after) == ("degraded", 5)


@pytest.mark.parametrize("status", [500, 503])
def test_buckets_count_only_where_a_limit_is_the_reason(status):
    """An overloaded service sends the state of the limits too, which then is just news."""
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h"}
    assert ErrorClassifier().classify(Answered("overloaded", status, headers)).retry_after is None
    assert ErrorClassifier().classify(Answered("slow down", 429, headers)).retry_after == 3600


def test_githubs_secondary_limit_names_its_wait():
    """A 403 that is a rate limit is waited for by its bucket."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 60)}
    verdict = ErrorClassifier().classify(Answered("You have exceeded a secondary rate limit", 403, headers))
    assert verdict.error_type == "retryable"
    assert 50 < verdict.retry_after <= 61


def test_where_the_class_alone_decides_no_wait_is_looked_for():
    """Nobody has answered, so the seconds in the text of a TimeoutError are the client's own."""
    verdict = ErrorClassifier().classify(TimeoutError("try again in 30 seconds"))
    assert (verdict.error_type, verdict.retry_after) == ("retryable", None)


def test_seconds_that_somebody_waited_for_nothing_are_no_wait():
    """`timed out after 600 seconds` tells what is over."""
    assert ErrorClassifier().classify(Answered("upstream timed out after 600 seconds", 504)).retry_after is None


def test_a_wait_is_never_longer_than_a_year():
    """Whatever form it has."""  # A16
    for value in ("400d", "99999999", "Fri, 31 Dec 9999 23:59:59 GMT", "9999h"):
        assert ErrorClassifier().classify(Answered(headers={"retry-after": value})).retry_after is None
