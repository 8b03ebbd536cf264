"""What a message may hold: lossless, or refused with its place."""

import collections
import dataclasses
import datetime
import decimal
import enum
import itertools
import json
import math
import pathlib
import types
import typing
import uuid

import anthropic.types
import openai.types.chat
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent import NotStorable, session_guard
from resilient_agent.session.content import DEPTH_LIMIT, copied, dict_of, plain, write
from resilient_agent.session.stores.file import FileStore

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


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Pixel:
    x: int = 0


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
@settings(max_examples=120)
def test_every_json_value_comes_back_as_it_was(value):
    """Any JSON value comes back equal in type, order, sign and every character."""
    assert repr(decode(encode(value))) == repr(value)


@given(VALUES)
@settings(max_examples=30)
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


@pytest.mark.parametrize("kind", [collections.UserDict, types.MappingProxyType, collections.ChainMap, dict])
def test_any_mapping_comes_back_as_a_dict(kind):
    """What is a mapping and no dict is stored as a dict with the same items, at any depth, as protobuf's arguments are."""
    assert decode(encode(kind({"role": "user", "content": [kind({"a": kind({})})]}))) == {
        "role": "user",
        "content": [{"a": {}}],
    }
    with pytest.raises(NotStorable) as refusal:
        encode(kind({"content": [kind({"image": b"PNG"})]}))
    assert refusal.value.path == "$.content[0].image"


def test_a_list_where_a_message_is_due_is_told_of_extend():
    """The commonest mistake is named with its way out."""
    with pytest.raises(NotStorable, match="not a list: extend saves several messages"):
        dict_of([], [], "$")


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


class Amount(pydantic.BaseModel):
    amount: int


def test_an_sdks_field_is_stored_under_the_name_that_its_service_knows():
    """A field that Python cannot call `async` comes back as the service sent it, and the model can read it."""
    said = {"type": "function_call", "call_id": "c1", "name": "pay", "arguments": "{}", "async": True}
    call = openai.types.responses.ResponseFunctionToolCall.model_validate(said)
    assert decode(encode(call)) == said
    assert decode(encode({"output": [call]})) == {"output": [said]}


def test_what_an_sdk_keeps_for_its_caller_is_not_stored():
    """The SDKs say which fields are not to be sent back, and services refuse those: they are left out."""
    said = {"type": "function_call", "call_id": "c1", "name": "pay", "arguments": '{"amount": 5}'}
    call = openai.types.responses.ParsedResponseFunctionToolCall.model_validate(
        {**said, "parsed_arguments": Amount(amount=5)}
    )
    assert decode(encode(call)) == said
    text = {"type": "output_text", "text": '{"amount": 5}', "annotations": []}
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    message = openai.types.responses.ParsedResponseOutputMessage[Amount].model_validate(
        {**said, "content": [{**text, "parsed": {"amount": 5}}]}
    )
    stored = decode(encode(message))
    assert "parsed" not in stored["content"][0]
    assert stored["content"][0]["text"] == text["text"]


@pytest.mark.parametrize(
    "parameters", ["self", "self, mode='python'", "self, *, exclude=None", "self, **options"], ids=str
)
def test_a_model_whose_dump_takes_less_is_stored_too(parameters):
    """What is no model of pydantic's is asked only for what it can do."""
    scope = {}
    exec(f"def model_dump({parameters}): return {{'role': 'user', 'content': 'hi'}}", scope)
    model = type("Fake", (), {"model_dump": scope["model_dump"]})
    assert plain([model()]) == [{"role": "user", "content": "hi"}]


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


def _containers(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [] if inner is None else [value, *(found for item in inner for found in _containers(item))]


@given(VALUES)
@settings(max_examples=120)
def test_a_copy_shares_nothing_that_can_be_changed(value):
    """A copy is equal, character by character, and none of its lists and dicts is one of the original's."""
    copy = copied(value)
    assert repr(copy) == repr(value)
    assert not {id(found) for found in _containers(copy)} & {id(found) for found in _containers(value)}


def test_the_deepest_value_can_be_copied():
    """What may be stored may be copied."""
    assert copied(_nested(DEPTH_LIMIT - 1)) == _nested(DEPTH_LIMIT - 1)


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
    ("Decimal", decimal.Decimal("1.10"), "str("),
    ("UUID", uuid.UUID(int=7), "str("),
    ("path", pathlib.Path("a.png"), "str("),
    ("enum", Colour.RED, "store its value"),
    ("dataclass", Pixel(), "dataclasses.asdict"),
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
@settings(max_examples=30)
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


# -- through a guard, a real file and a restart ---------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Place:
    city: str


class Measured(pydantic.BaseModel):
    role: str = "user"
    content: list[typing.Any]


class Crash(Exception):
    """What ends a body, so that the session stays."""


def crash(store, body, session_id="ticket-42"):
    with pytest.raises(Crash), session_guard(session_id, store=store, repair=None) as session:
        body(session)
        raise Crash


SAVES = {
    "append": ("$", lambda session, message: session.append(message)),
    "extend": ("$[3]", lambda session, message: session.extend([*[{"n": n} for n in range(3)], message, {"n": 4}])),
    "replace": ("$[1]", lambda session, message: session.replace([{"n": 0}, message])),
    "set_extra": ("$", lambda session, message: session.set_extra(message)),
}
save = pytest.mark.parametrize(("root", "save"), SAVES.values(), ids=SAVES)


def saved(session):
    return [session.extra, *session.messages]


KEPT = {
    "a tuple": (("a", ("b", 1)), ["a", ["b", 1]]),
    "a named tuple": (Point(1, 2), [1, 2]),
    "a StrEnum": (Role.USER, "user"),
    "an IntEnum": (Level.HIGH, 3),
    "an OrderedDict": (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "a model": (Block(type="text", text="hi"), {"type": "text", "text": "hi"}),
    "a model's date": (
        Block(type="text", at=datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)),
        {"type": "text", "at": "2026-11-23T00:00:00Z"},
    ),
    "true, false and null": ([True, False, None], [True, False, None]),
    "nothing": ([{}, [], "", ""], [{}, [], "", ""]),
    "a number of 64 bits": ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
    "numbers of more": ([2**63, 2**64, -(2**63) - 1, 10**40], [2**63, 2**64, -(2**63) - 1, 10**40]),
    "a number of 4,000 digits": ([10**3999, -(10**3999)], [10**3999, -(10**3999)]),
    "a number of 4,300 digits": (10**4299, 10**4299),
    "floats": ([-0.0, 5e-324, 1.7976931348623157e308, 1e16, 0.1], [-0.0, 5e-324, 1.7976931348623157e308, 1e16, 0.1]),
    "NUL": ({"a\0b": "\0"}, {"a\0b": "\0"}),
    "control characters": ("\x01\x1b\x7f\x85\r\n\t\u2028\ufeff\uffff", "\x01\x1b\x7f\x85\r\n\t\u2028\ufeff\uffff"),
    "lone surrogates": ({"\udc80": "a\ud83d", "b": "\ude00\ud83d"}, {"\udc80": "a\ud83d", "b": "\ude00\ud83d"}),
    "emoji and combining characters": ("\U0001f468\u200d\U0001f469 e\u0301 \u00e9", "\U0001f468\u200d\U0001f469 e\u0301 \u00e9"),
    "the words of a log": ('","crc":"00000000"}\n{"seq":1', '","crc":"00000000"}\n{"seq":1'),
    "as deep as it may be": (_nested(DEPTH_LIMIT - 2), _nested(DEPTH_LIMIT - 2)),
}  # fmt: skip


@pytest.mark.parametrize(("value", "back"), KEPT.values(), ids=KEPT)
@save
def test_what_is_taken_comes_back_equal_after_a_restart(store, root, save, value, back):  # B51
    """By every saving method, in memory at once and from the file after a crash, with type, sign and order."""
    message = {"role": "user", "content": [value]}
    seen = []

    def body(session):
        save(session, message)
        assert {"role": "user", "content": [back]} in saved(session)
        seen.append(repr(saved(session)))

    crash(store, body)
    with session_guard("ticket-42", store=store, repair=None) as session:
        assert {"role": "user", "content": [back]} in saved(session)
        assert [repr(saved(session))] == seen
        assert session.damage == ()


@given(messages=st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=4))
@settings(max_examples=60)
def test_every_json_message_survives_a_restart(tmp_path_factory, messages):  # B51
    """Whatever JSON the messages hold, the file gives them back as they were, line by line and as a stream."""
    store = FileStore(tmp_path_factory.mktemp("content"), durability="process")
    crash(store, lambda session: session.extend(messages))
    assert repr(list(store.stream("ticket-42"))) == repr(messages)
    with session_guard("ticket-42", store=store, repair=None) as session:
        assert repr(session.messages) == repr(messages)


def test_twenty_megabytes_survive_a_restart(store):  # B51
    """A message as large as an image in base64 is on the disk when its save returns, and comes back whole."""
    message = {"role": "user", "content": "A9é/\0" * 4_000_000}

    def body(session):
        session.append(message)
        session.append({"n": 1})

    crash(store, body)
    assert store.find("ticket-42").message_count == 2
    with session_guard("ticket-42", store=store, repair=None) as session:
        assert session.messages == [message, {"n": 1}]


REFUSED_BY_GUARD = {
    "datetime": (datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC), ""),
    "date": (datetime.date(2026, 11, 23), ""),
    "time": (datetime.time(9, 30), ""),
    "timedelta": (datetime.timedelta(days=1), ""),
    "bytes": (b"PNG", ""),
    "Decimal": (decimal.Decimal("1.10"), ""),
    "set": ({"a"}, ""),
    "frozenset": (frozenset("a"), ""),
    "an Enum that is no text and no number": (Colour.RED, ""),
    "an Enum's class": (Colour, ""),
    "a dataclass": (Place("東京"), ""),
    "UUID": (uuid.UUID(int=7), ""),
    "Path": (pathlib.PurePosixPath("a/b"), ""),
    "range": (range(3), ""),
    "function": (len, ""),
    "deque": (collections.deque("a"), ""),
    "NaN": (math.nan, ""),
    "Infinity": (math.inf, ""),
    "minus Infinity": (-math.inf, ""),
    "NaN in a tuple": ((1.0, math.nan), "[1]"),
    "NaN in a model": (Measured(content=[1.0, {"x": math.nan}]), ".content[1].x"),
    "a set in a dict": ({"tags": {"a"}}, ".tags"),
    "an int for a key": ({1: "x"}, ""),
    "an int for a key, deeper": ({"by": [{"n": {1: "x"}}]}, ".by[0].n"),
    "None for a key": ({None: "x"}, ""),
    "a number of 4,301 digits": (10**4300, ""),
    "a surrogate pair": ("\ud83d\ude00", ""),
    "a surrogate pair in a key": ({"\ud83d\ude00": 1}, ""),
}


@pytest.mark.parametrize(("value", "inside"), REFUSED_BY_GUARD.values(), ids=REFUSED_BY_GUARD)
@save
def test_what_is_refused_is_refused_at_once_with_its_place(store, root, save, value, inside):  # B51
    """NotStorable names the place in what was handed over; no byte of the log changes, and the next save works."""

    def body(session):
        session.append({"n": 0})
        session.set_extra({"plan": 1})
        before = session.path.read_bytes()
        for _ in range(2):
            with pytest.raises(NotStorable) as refused:
                save(session, {"role": "user", "content": [value]})
            assert refused.value.path == f"{root}.content[0]{inside}"
            assert str(refused.value).startswith(f"{root}.content[0]{inside}: ")
        assert session.path.read_bytes() == before
        assert saved(session) == [{"plan": 1}, {"n": 0}]
        session.append({"n": 1})

    crash(store, body)
    with session_guard("ticket-42", store=store, repair=None) as session:
        assert saved(session) == [{"plan": 1}, {"n": 0}, {"n": 1}]


def _model_of_itself():
    model = Measured(content=[])
    model.content.append(model)
    return model


def _circular_list():
    value = []
    value.append(value)
    return value


def _circular_pair():
    one = {}
    one["other"] = [{"other": [one]}]
    return one


ENDLESS = {
    "a list in itself": (_circular_list, "[0][0][0]"),
    "a dict in itself": (_cycle, ".content[0].content[0]"),
    "two in each other": (_circular_pair, ".other[0].other[0]"),
    "depth 2,000": (lambda: _nested(2_000), "[0][0][0]"),
    "depth 100,000": (lambda: _nested(100_000), "[0][0][0]"),
    "one level too many": (lambda: _nested(DEPTH_LIMIT - 1), "[0][0][0]"),
    "a model in itself": (_model_of_itself, ""),
}


@pytest.mark.parametrize(("made", "inside"), ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_is_refused_by_a_guard_with_its_place(store, made, inside):  # B51
    """Cycles and depths beyond sense end in NotStorable and not in a RecursionError; nothing stored is touched."""

    def body(session):
        session.append({"n": 0})
        before = session.path.read_bytes()
        with pytest.raises(NotStorable) as refused:
            session.extend([{"n": 1}, {"role": "user", "content": [made()]}])
        assert refused.value.path.startswith(f"$[1].content[0]{inside}")
        assert session.path.read_bytes() == before
        session.append({"n": 1})

    crash(store, body)
    assert store.read("ticket-42").messages == [{"n": 0}, {"n": 1}]


@pytest.mark.anyio
async def test_async_with_refuses_when_it_is_called(store):  # B51
    """The refusal comes out of the call itself, with the same place, before anything is awaited."""
    async with session_guard("ticket-42", store=store, keep=True) as session:
        await session.append({"n": 0})
        with pytest.raises(NotStorable) as refused:
            session.append({"content": [math.nan]})
        assert refused.value.path == "$.content[0]"
        with pytest.raises(NotStorable) as refused:
            session.extend([{"n": 1}, {"n": 2}, {"n": 3}, {"content": [{1: 2}]}])
        assert refused.value.path == "$[3].content[0]"
        await session.append({"n": 4})
    assert store.read("ticket-42").messages == [{"n": 0}, {"n": 4}]


@pytest.mark.parametrize("message", ["text", b"PNG", 5, None, ["a"], ("a", 1), Point(1, 2)], ids=repr)
def test_what_is_no_message_is_refused_with_its_place(store, message):  # B51
    """Only a dict or a model is a message; the place is the whole of it."""

    def body(session):
        for name, (root, save) in SAVES.items():
            with pytest.raises(NotStorable) as refused:
                save(session, message)
            assert refused.value.path == root, name
        assert saved(session) == [{}]

    crash(store, body)
    assert store.read("ticket-42").messages == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([{1: "x", "1": "y"}], id="keys that fall together"),
        pytest.param([collections.deque([math.nan])], id="NaN in a deque"),
        pytest.param([{math.nan: 1}], id="NaN for a key"),
    ],
)
def test_what_a_models_dump_would_change_is_refused(store, content):  # B51
    """What is refused outside of a model is not lost inside of one."""

    def body(session):
        try:
            session.append(Measured(content=content))
        except NotStorable:
            return
        assert repr(session.messages[0]["content"]) == repr(content)

    crash(store, body)
