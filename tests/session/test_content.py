"""What a message may hold: lossless, or refused with its place."""

import datetime
import decimal
import enum
import itertools
import json
import math
import typing

import anthropic.types
import openai.types.chat
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent import NotStorable
from resilient_agent.session.content import plain, write

decode = json.loads


def encode(value):
    return write(plain(value))


def _holds_a_surrogate_pair(text):
    return any("\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in itertools.pairwise(text))


# st.characters() makes NUL and lone surrogates too; st.text() alone would leave those out.
TEXTS = st.text(st.characters() | st.sampled_from("\0\ud83d\ude00\n\u2028\U0001f600é")).filter(
    lambda text: not _holds_a_surrogate_pair(text)
)
NUMBERS = st.integers(-(10**400), 10**400) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=30,
)


class Role(enum.StrEnum):
    USER = "user"


class Level(enum.IntEnum):
    HIGH = 3


class Block(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    type: str
    text: str | None = None
    at: datetime.datetime | None = None


class Point(typing.NamedTuple):
    x: int
    y: int


def _nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def _cycle():
    value = {"role": "user"}
    value["content"] = [value]
    return value


# -- lossless -------------------------------------------------------------------------------------


@given(VALUES)
@settings(deadline=None, max_examples=120)
def test_every_json_value_comes_back_as_it_was(value):
    """Any JSON value comes back equal in type, order, sign and every character."""
    assert repr(decode(encode(value))) == repr(value)


@given(VALUES)
@settings(deadline=None, max_examples=30)
def test_what_is_encoded_is_one_line_of_valid_utf_8(value):
    """The encoded value is UTF-8 without a line break, which a log of lines needs."""
    data = encode(value)
    assert "\n" not in data.decode("utf-8")


@pytest.mark.parametrize(
    "value",
    [
        "naïve 東京 🦜",
        "\0",
        "a\0b",
        "\ud83d",
        "\ude00\ud83d",
        "\ud83d😀",
        "\u2028\u2029",
        "\x7f\x1b",
        -0.0,
        5e-324,
        2**64,
    ],
)
def test_hard_cases_come_back_as_they_were(value):
    """Non-ASCII text, NUL, lone surrogates, line separators, -0.0 and big numbers are kept."""
    assert repr(decode(encode({"content": value, value if isinstance(value, str) else "k": 1}))) == repr(
        {"content": value, value if isinstance(value, str) else "k": 1}
    )


def test_plain_text_is_stored_readably():
    """Non-ASCII text stands in the log as itself and not as escapes."""
    assert encode({"city": "東京"}) == '{"city":"東京"}'.encode()


@pytest.mark.parametrize("number", [10**4298, -(10**4298)])
def test_a_number_of_thousands_of_digits_is_kept(number):
    """A whole number that Python reads back is stored as a number."""
    assert decode(encode([number])) == [number]


def test_tuples_come_back_as_lists():
    """A tuple, named or not, is stored as the list of its items."""
    assert decode(encode({"content": ("a", ("b", 1), Point(1, 2))})) == {"content": ["a", ["b", 1], [1, 2]]}


def test_enums_come_back_as_their_values():
    """A StrEnum and an IntEnum are stored as the string and the number that they are, as keys too."""
    stored = decode(encode({"role": Role.USER, "level": Level.HIGH, Role.USER: 1}))
    assert repr(stored) == repr({"role": "user", "level": 3, "user": 1})


def test_a_pydantic_model_is_stored_by_its_own_dump():
    """A model comes back as its own JSON dump, extra fields included, that the model can read."""
    block = Block(type="text", text="hi", at=datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC), cache={"ttl": 5})
    stored = decode(encode(block))
    assert stored == {"type": "text", "text": "hi", "at": "2026-11-23T00:00:00Z", "cache": {"ttl": 5}}
    assert Block.model_validate(stored) == block


def test_a_models_field_that_was_set_to_none_is_kept():
    """A null that somebody wrote is stored; one that nobody wrote is left out."""
    assert decode(encode(Block(type="text", text=None))) == {"type": "text", "text": None}


def test_models_are_stored_wherever_they_stand():
    """A model inside a list inside a dict is stored like one that stands alone."""
    assert decode(encode({"content": [Block(type="text")]})) == {"content": [{"type": "text"}]}


def test_an_openai_message_comes_back_as_a_message():
    """The openai SDK's assistant message survives with its tool calls, without nulls that nobody set."""
    message = openai.types.chat.ChatCompletionMessage.model_validate(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"q": "naïve"}'}}
            ],
        }
    )
    stored = decode(encode(message))
    assert openai.types.chat.ChatCompletionMessage.model_validate(stored) == message
    assert set(stored) == {"role", "content", "tool_calls"}


def test_an_anthropic_answer_comes_back_as_an_answer():
    """The anthropic SDK's message survives with text and tool-use blocks."""
    message = anthropic.types.Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": ["東京", 1.5]}},
            ],
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 2},
        }
    )
    assert anthropic.types.Message.model_validate(decode(encode(message))) == message
    blocks = decode(encode({"role": "assistant", "content": message.content}))["content"]
    assert blocks[1]["input"] == {"q": ["東京", 1.5]}


def test_twenty_megabytes_of_text_are_kept():
    """A message as large as an image in base64 is stored whole."""
    value = {"role": "user", "content": "A9é/" * 5_000_000}
    assert decode(encode(value)) == value


def test_a_hundred_and_fifty_levels_are_kept():
    """Nesting far deeper than any message needs is stored."""
    assert decode(encode(_nested(150))) == _nested(150)


def test_what_was_handed_over_is_not_changed():
    """Encoding leaves the value as it was, tuples and models included."""
    value = {"content": ({"x": [1]}, Block(type="text"))}
    encode(value)
    assert value == {"content": ({"x": [1]}, Block(type="text"))}


# -- refused --------------------------------------------------------------------------------------

REFUSED = [
    ("bytes", b"PNG", "base64"),
    ("bytearray", bytearray(b"PNG"), "base64"),
    ("memoryview", memoryview(b"PNG"), "base64"),
    ("nan", math.nan, "nan"),
    ("infinity", math.inf, "inf"),
    ("minus infinity", -math.inf, "-inf"),
    ("set", {"a"}, "sorted"),
    ("frozenset", frozenset("a"), "sorted"),
    ("datetime", datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC), "isoformat"),
    ("date", datetime.date(2026, 11, 23), "isoformat"),
    ("Decimal", decimal.Decimal("1.10"), "Decimal"),
    ("complex", 1j, "complex"),
    ("object", object(), "object"),
    ("class", Block, "no JSON"),
    ("generator", (n for n in [1]), "generator"),
    ("surrogate pair", "\ud83d\ude00", "surrogates"),
    ("a number of 4,301 digits", 10**4300, "digits"),
    ("a negative one", -(10**4300), "digits"),
    ("an endless number", 1 << 10_000_000, "digits"),
]


@pytest.mark.parametrize(("value", "advice"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_json_cannot_give_back_is_refused_with_its_place(value, advice):
    """A value that would come back as something else is refused, with the exact place and a hint."""
    place = "$.content[2].source"
    with pytest.raises(NotStorable) as refusal:
        encode({"role": "user", "content": ["a", {}, {"type": "image", "source": value}]})
    assert refusal.value.path == place
    assert advice in refusal.value.reason
    assert str(refusal.value).startswith(place + ": ")


@pytest.mark.parametrize("key", [1, 1.5, None, True, ("a", "b"), b"k", Level.HIGH], ids=repr)
def test_a_key_that_is_no_string_is_refused_with_its_place(key):
    """JSON would turn such a key into a string, so it is refused, and the error names its dict."""
    with pytest.raises(NotStorable, match="is no string") as refusal:
        encode({"content": [{"deep": {key: 1}}]})
    assert refusal.value.path == "$.content[0].deep"


def test_a_key_with_a_surrogate_pair_is_refused():
    """A key is held to the same rule as other text."""
    with pytest.raises(NotStorable, match="surrogates"):
        encode({"\ud83d\ude00": 1})


@pytest.mark.parametrize("value", [_cycle(), _nested(2_000)], ids=["cycle", "depth 2,000"])
def test_what_has_no_end_is_refused(value):
    """A value that contains itself, or is nested beyond sense, is refused and not recursed into."""
    with pytest.raises(NotStorable, match="deep") as refusal:
        encode(value)
    assert refusal.value.path.startswith("$[0][0][0]" if isinstance(value, list) else "$.content[0].content[0]")


def test_the_same_object_twice_is_no_cycle():
    """A value that is used twice is stored twice."""
    shared = {"x": 1}
    assert decode(encode([shared, shared])) == [{"x": 1}, {"x": 1}]


def test_the_path_begins_where_the_caller_says():
    """The root of the path is the caller's name for the place."""
    with pytest.raises(NotStorable) as refusal:
        plain({"source": b""}, "$[7]")
    assert refusal.value.path == "$[7].source"


def test_a_model_that_cannot_dump_itself_is_refused_with_its_place():
    """A failing dump is told as a refusal that names the place and has the failure as its cause."""

    class Broken(pydantic.BaseModel):
        @pydantic.model_serializer
        def dump(self):
            raise RuntimeError("no")

    with pytest.raises(NotStorable, match="Broken could not dump itself") as refusal:
        encode({"content": [Broken()]})
    assert refusal.value.path == "$.content[0]"
    assert refusal.value.__cause__ is not None


@given(VALUES)
@settings(deadline=None, max_examples=30)
def test_other_json_readers_agree(value):
    """What is stored is JSON for a strict reader too: no NaN, no Infinity."""

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(encode(value), parse_constant=refuse) == value


def test_a_number_that_json_lacks_is_found_inside_a_model():
    """A pydantic model's own dump would turn NaN into null without a word: it is refused with its place."""

    class Score(pydantic.BaseModel):
        role: str
        scores: list[float]

    with pytest.raises(NotStorable) as refused:
        encode({"x": Score(role="user", scores=[1.0, math.nan])})
    assert refused.value.path == "$.x.scores[1]"
