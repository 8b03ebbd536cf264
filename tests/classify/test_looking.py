"""Looking at foreign objects: whatever they do then, nothing is raised."""

import email.message
import enum
import http
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.classify.looking import (
    any_in,
    as_status,
    cut,
    header_in,
    headers_about,
    item,
    kind_is,
    message_of,
    peek,
)


class Unbound:
    """A proxy with nothing behind it, as flask's and werkzeug's are outside of a request."""

    @property
    def __class__(self):
        raise RuntimeError("working outside of request context")

    def __getattr__(self, name):
        raise RuntimeError("working outside of request context")

    def __eq__(self, other):
        raise RuntimeError("working outside of request context")

    __hash__ = None

    def __bool__(self):
        raise RuntimeError("working outside of request context")

    def __str__(self):
        raise RuntimeError("working outside of request context")

    __iter__ = __len__ = __repr__ = __str__


class Locked:
    """No attribute at all can be looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class Refusing(dict):
    """A dict that gives nothing to its own methods."""

    def get(self, *args):  # noqa: ARG002
        raise RuntimeError("no")

    items = __getitem__ = __iter__ = __contains__ = get


class Liar:
    """Says that it is a dict, and is none."""

    __class__ = dict


class Endless:
    """Headers that never end."""

    def get(self, name):  # noqa: ARG002
        return None

    def items(self):
        while True:
            yield "x", "y"


HOSTILE = [Unbound, Locked, lambda: Refusing(a=1), Liar, Endless, object]
NAMES = ["unbound", "locked", "refusing", "liar", "endless", "object"]
hostile = pytest.mark.parametrize("make", HOSTILE, ids=NAMES)


def test_an_attribute_is_given_where_there_is_one():
    """What is there is given, what is not there is None."""
    assert peek(types.SimpleNamespace(code=5), "code") == 5
    assert peek(types.SimpleNamespace(), "code") is None


@hostile
def test_looking_at_a_hostile_object_raises_nothing(make):
    """Every reader answers None, or nothing, or that it is of another kind."""
    it = make()
    assert peek(it, "no_such_name") is None
    assert item(it, "no such key") is None
    assert as_status(it) is None
    assert header_in(it, "retry-after") is None
    assert headers_about(it, ("retry",)) == {}
    assert kind_is(it, (str, int, list)) is False


def test_a_call_to_stop_gets_through():
    """What is no Exception is not swallowed: a KeyboardInterrupt while looking arrives."""

    class Interrupted:
        @property
        def code(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        peek(Interrupted(), "code")


def test_a_dict_gives_its_items_even_where_its_methods_refuse():
    """The dict itself is asked and not what a subclass makes of it."""
    assert item(Refusing(a=1), "a") == 1
    assert item({"a": 1}, "b") is None
    assert item([("a", 1)], "a") is None


def test_kinds_are_told_by_the_true_type():
    """A class that pretends to be another is what it is; subclasses are of their kind."""
    assert not kind_is(Liar(), dict)
    assert kind_is(Refusing(), dict)
    assert kind_is(True, int)
    assert not kind_is("x", (int, list))


class Slow(enum.Enum):
    DOWN = 429
    TEXT = "503"
    WORD = "slow"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        *((429, 429), ("503", 503), (http.HTTPStatus.BAD_GATEWAY, 502), (Slow.DOWN, 429), (Slow.TEXT, 503)),
        *((100, 100), (599, 599), (99, None), (600, None), (-429, None), (10**30, None)),
        *((True, None), (None, None), (429.0, None), ("4290", None), ("42", None), (" 429", None), ("٤٢٩", None)),
        *(("4²9", None), (b"429", None), ([429], None), (Slow.WORD, None), (Slow, None)),
    ],
    ids=repr,
)
def test_a_status_is_a_number_a_text_or_an_enum_of_three_digits(value, status):
    """Anything else, booleans and other alphabets among it, is no status."""
    assert as_status(value) == status


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers())))
def test_any_value_is_a_status_or_none(value):
    """Whatever stands where a status should, the answer is one or None."""
    status = as_status(value)
    assert status is None or (type(status) is int and 100 <= status <= 599)


def as_message(pairs):
    message = email.message.Message()
    for name, value in pairs:
        message[name] = value
    return message


def as_raw(pairs):
    return types.SimpleNamespace(raw=[(name.encode(), value.encode()) for name, value in pairs], get=dict(pairs).get)


@pytest.mark.parametrize("make", [dict, list, tuple, as_message], ids=["dict", "list", "tuple", "message"])
@pytest.mark.parametrize("name", ["retry-after", "Retry-After", "RETRY-AFTER"])
def test_a_header_is_found_in_any_mapping_and_any_case(make, name):
    """A plain dict, pairs and header objects all give the header by its lower-case name."""
    assert header_in(make([("date", "today"), (name, "7")]), "retry-after") == "7"
    assert header_in(make([("date", "today")]), "retry-after") is None


@pytest.mark.parametrize("value", [None, 3, 3.5, b"3", ["3"]], ids=repr)
def test_a_header_that_is_no_text_is_none(value):
    """Only texts are handed on."""
    assert header_in({"retry-after": value}, "retry-after") is None
    assert headers_about({"retry-after": value}, ("retry",)) == {}


@pytest.mark.parametrize(
    "make", [dict, list, tuple, as_message, as_raw], ids=["dict", "list", "tuple", "message", "raw"]
)
def test_headers_are_given_by_their_lower_case_names_if_one_of_them_bears_a_mark(make):
    """All headers of an answer that speaks of limits, and none of another."""
    headers = make([("Date", "today"), ("X-RateLimit-Reset", "5")])
    assert headers_about(headers, ("retry", "limit")) == {"date": "today", "x-ratelimit-reset": "5"}
    assert headers_about(headers, ("cache",)) == {}


@pytest.mark.parametrize(
    "headers", [None, "retry-after: 3", b"retry", 3, ["retry-after"], {3: 4, None: None}, {}, len], ids=repr
)
def test_what_are_no_headers_are_none(headers):
    """Odd objects in the place of headers have none."""
    assert header_in(headers, "retry-after") is None
    assert headers_about(headers, ("retry",)) == {}


def test_only_so_many_headers_are_looked_through():
    """Headers without end are read for a while only."""
    many = {f"x-{number}": "x" for number in range(100_000)}
    assert header_in({**many, "Retry-After": "3"}, "retry-after") is None
    assert headers_about({**many, "Retry-After": "3"}, ("retry",)) == {}


def test_a_needle_stands_in_a_text_or_not():
    """One of several is enough."""
    assert any_in(("x", "limit"), "rate limit")
    assert not any_in(("x", "y"), "rate limit")
    assert not any_in((), "rate limit")


def test_a_message_is_what_the_exception_says():
    """The text of an exception; of one that cannot be printed, nothing."""

    class Mute(Exception):
        def __str__(self):
            raise ValueError("no words")

    class Silent(Exception):
        def __str__(self):
            return 5  # noqa: PLE0307 - that is the point

    assert message_of(ValueError("slow down")) == "slow down"
    assert message_of(Mute()) == ""
    assert message_of(Silent()) == ""
    assert message_of(ValueError(Unbound())) == ""


@given(st.text(max_size=60), st.integers(2, 50))
def test_a_long_text_keeps_its_beginning_and_its_end(text, limit):
    """What fits stays as it is; of the rest both ends are kept, and little more than the limit."""
    found = cut(text, limit)
    if len(text) <= limit:
        assert found == text
    else:
        assert found.startswith(text[: limit // 2])
        assert found.endswith(text[-(limit // 2) :])
        assert len(found) <= limit + 2


def test_a_headers_value_that_refuses_comes_out_plain():
    """A text of somebody's own class, which raises whatever is asked of it, is read as the text that it is."""

    class Refusing(str):
        __slots__ = ()

        def strip(self, *_):
            raise RuntimeError("do not look at me")

        lower = __str__ = strip

    for found in (
        headers_about({"Retry-After": Refusing("2")}, ("retry",))["retry-after"],
        header_in({"retry-after": Refusing("2")}, "retry-after"),
    ):
        assert (type(found), found) == (str, "2")
