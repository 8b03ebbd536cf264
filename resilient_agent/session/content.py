"""What a message may hold: a value to JSON and back without loss, or a refusal that names the place.

Pure. Decides what is stored and in which bytes; knows nothing of sessions, logs or files.

JSON says: objects with string keys, arrays, strings, whole numbers of up to 4,300 digits, finite
floats, booleans and null. A pydantic model is stored as its own JSON dump and comes back as a
dict, as any mapping does, a tuple as a list. Everything else would come back as something different, so it is
refused instead, before anything stored is touched.
"""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import functools
import inspect
import json
import math
import pathlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from resilient_agent.errors import NotStorable

__all__ = ["DEPTH_LIMIT", "Message", "Model", "copied", "dict_of", "is_model", "is_single", "plain", "several", "write"]

T = TypeVar("T")


class Model(Protocol):
    """A pydantic model, such as the SDKs' messages are."""

    def model_dump(self) -> dict[str, Any]:
        """Its fields as a dict."""


Message = Mapping[str, Any] | Model
"""What may be saved as a message."""

DEPTH_LIMIT: Final = 200
"""Levels of nesting: no message needs more, and a value that contains itself has no end."""

_DIGITS_LIMIT: Final = 4_300  # Python refuses to read longer numbers back (sys.set_int_max_str_digits)
_SURROGATE_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_QUICK: Final = msgspec.json.Encoder().encode
_WRITE: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_WRITE_ASCII: Final = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode


def plain(value: Any, path: str = "$") -> Any:
    """The value in JSON's own types: a copy, equal to what its bytes will be read back as.

    Args:
        value: what to store.
        path: what to call its place in an error.

    Raises:
        NotStorable: something in it JSON cannot give back; its `path` says where.

    Example:
        >>> plain({"content": ("a", 1)})
        {'content': ['a', 1]}
        >>> plain({"content": [{"image": b"PNG"}]})
        Traceback (most recent call last):
            ...
        resilient_agent.errors.NotStorable: $.content[0].image: bytes are no JSON: encode them, for example with base64
    """
    try:
        return _plain(value, 0)
    except NotStorable as refused:
        # Only now is it worth while to know the place: keeping track of it would cost every good message.
        raise NotStorable(path + _place(value, 0), refused.reason) from refused.__cause__


def write(value: Any) -> bytes:
    """A value in JSON's own types, as compact JSON in UTF-8.

    Example:
        >>> write(plain({"role": "user", "content": "naïve 東京"})).decode()
        '{"role":"user","content":"naïve 東京"}'
    """
    try:
        return _QUICK(value)
    except (ValueError, OverflowError, TypeError):  # a lone surrogate, a number of more than 64 bits
        pass
    text = _WRITE(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate, as a cut token leaves it: escaped it survives, raw it is no UTF-8.
        return _WRITE_ASCII(value).encode()


def copied(value: T) -> T:
    """A copy of a value in JSON's own types; at a fraction of what copy.deepcopy takes, which has to expect circles.

    Example:
        >>> message = {"content": ["a"]}
        >>> copied(message) == message, copied(message)["content"] is message["content"]
        (True, False)
    """
    copy: T = msgspec.to_builtins(value)
    return copy


def is_model(value: Any) -> bool:
    """Whether a value is a pydantic model, or one that dumps itself like one."""
    return callable(getattr(type(value), "model_dump", None))


def is_single(messages: Any) -> bool:
    """Whether it is one message, or a text, where a list of messages is due: its keys would be taken for them."""
    return isinstance(messages, Mapping | str | bytes) or is_model(messages)


def dict_of(stored: Any, given: Any, path: str) -> dict[str, Any]:
    """What is stored of a value that has to be a dict.

    Raises:
        NotStorable: it is none.
    """
    if not isinstance(stored, dict):
        advice = ": extend saves several messages" if type(given) in (list, tuple) else ""
        raise NotStorable(path, f"a dict or a pydantic model is due here, not a {type(given).__name__}{advice}")
    return stored


def several(messages: Iterable[Any], advice: str) -> list[Any]:
    """The messages, in a list of their own.

    Args:
        messages: the messages.
        advice: what to do where it is one message in place of a list.

    Raises:
        TypeError: it is one message, or a text: its keys or letters would be taken for messages.
    """
    if is_single(messages):
        raise TypeError(f"a list of messages is due, not one {type(messages).__name__}: {advice}")
    return list(messages)


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        if not value.isascii() and _SURROGATE_PAIR.search(value):
            raise _refusal("two surrogates in a row would come back as one character: decode the text first")
        return value
    if value is None or kind is bool or (kind is int and -(2**63) <= value < 2**63):
        return value
    if kind is dict or kind is list:
        if depth >= DEPTH_LIMIT:
            raise _refusal(f"nested more than {DEPTH_LIMIT} levels deep, or containing itself")
        if kind is list:
            return [_plain(item, depth + 1) for item in value]
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if kind is float:
        if not math.isfinite(value):
            raise _refusal(f"{value} is no JSON number: use null or a string")
        return value
    return _plain_subclass(value, depth)


def _plain_subclass(value: Any, depth: int) -> Any:
    """The same for what is not exactly one of JSON's types, but may be stored as one."""
    if isinstance(value, str):
        return _plain(str.__str__(value), depth)
    if isinstance(value, int):
        # An upper bound of its decimal digits, without writing them.
        if value.bit_length() * 0.30103 > _DIGITS_LIMIT:
            raise _refusal(f"a number of more than {_DIGITS_LIMIT} digits: store it as a string")
        return int(value)
    if isinstance(value, float):
        return _plain(float(value), depth)
    if isinstance(value, Mapping):  # also what is no dict, as protobuf's are
        return _plain(dict(value), depth)
    if isinstance(value, list | tuple):
        return _plain(list(value), depth)
    if is_model(value):
        return _plain(_dump_model(value), depth)
    raise _refusal(_advice(value))


def _key(key: Any) -> str:
    if type(key) is str and key.isascii():
        return key
    if isinstance(key, str):
        return str(_plain(key, 0))
    raise _refusal(f"the key {key!r} is no string: JSON would turn it into one")


def _place(value: Any, depth: int) -> str:
    """Where in a value that was refused the first thing stands that has to be."""
    if depth >= DEPTH_LIMIT:
        return ""
    try:
        children = _dump_model(value) if is_model(value) else value
    except NotStorable as refused:
        return refused.path  # the model's dump knows its own inside
    steps: Iterable[tuple[str, Any]] = ()
    if isinstance(children, Mapping):
        steps = ((f".{key}", item) for key, item in children.items())
    elif isinstance(children, list | tuple):
        steps = ((f"[{number}]", item) for number, item in enumerate(children))
    for step, item in steps:
        try:
            _plain(item, depth + 1)
        except NotStorable:
            return step + _place(item, depth + 1)
    return ""


def _refusal(reason: str) -> NotStorable:
    return NotStorable("", reason)


def _dump_model(model: Any) -> Any:
    """A pydantic model's own JSON dump, as its service takes it.

    Under the names that the service knows (`async`, where the field is `async_`), without what an SDK keeps for its
    caller (`parsed_arguments`), and without the fields that nobody set and that say nothing: the SDKs' answers
    carry many of those, and services refuse nulls that they do not know.
    """
    try:
        dump = functools.partial(_dump, model, exclude=_left_out(model), by_alias=True)
        _refuse_loss(dump(), "")  # the JSON dump would make null of them
        return dump(mode="json")
    except NotStorable:
        raise
    except Exception as error:
        raise _refusal(f"{type(model).__name__} could not dump itself: {type(error).__name__}: {error}") from error


def _left_out(model: Any) -> dict[Any, Any]:
    """The fields that are not stored, as pydantic's `exclude=` has it."""
    fields = getattr(type(model), "model_fields", {})
    given = getattr(model, "model_fields_set", fields)
    empty = [name for name in fields if name not in given and getattr(model, name, None) is None]
    unsent = getattr(model, "__api_exclude__", None) or {}  # the OpenAI and Anthropic SDKs' word for it
    return {**dict.fromkeys(empty, True), **(unsent if isinstance(unsent, dict) else dict.fromkeys(unsent, True))}


def _dump(model: Any, **options: Any) -> Any:
    """What its dump gives, with those of the options that it takes: not everything that has one is pydantic's."""
    taken = _parameters(type(model).model_dump)
    return model.model_dump(**{name: value for name, value in options.items() if taken is None or name in taken})


@functools.lru_cache(maxsize=256)
def _parameters(dump: Callable[..., Any]) -> frozenset[str] | None:
    """The names of a function's parameters; None where it takes any."""
    found = inspect.signature(dump).parameters.values()
    return None if any(each.kind is each.VAR_KEYWORD for each in found) else frozenset(each.name for each in found)


def _refuse_loss(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise NotStorable(path, f"{value} is no JSON number: use null or a string")
    if isinstance(value, dict):
        if len({str(key) for key in value}) < len(value):
            raise NotStorable(path, "two keys that are one and the same as text: one of them would be lost")
        for key, item in value.items():
            _refuse_loss(key, f"{path}.{key}")
            _refuse_loss(item, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        for place, item in enumerate(value):
            _refuse_loss(item, f"{path}[{place}]")


_ADVICE: Final = (
    ((bytes, bytearray, memoryview), "{name} are no JSON: encode them, for example with base64"),
    ((set, frozenset), "a {name} has no order in JSON: store sorted(...) of it"),
    ((enum.Enum,), "a {name} is no JSON: store its value"),
    ((uuid.UUID, decimal.Decimal, pathlib.PurePath), "a {name} is no JSON: store str(...) of it"),
)
"""What to do with which kinds of values."""


def _advice(value: Any) -> str:
    name = type(value).__name__
    known = next((advice for kinds, advice in _ADVICE if isinstance(value, kinds)), None)
    if known is not None:
        return known.format(name=name)
    if hasattr(value, "isoformat"):  # also of those whose moments are no subclass of Python's
        return f"a {name} is no JSON: store its isoformat()"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"a {name} is no JSON: store dataclasses.asdict(...) of it"
    return f"a {type(value).__module__}.{name} is no JSON: store a dict, a list, a string or a number"
