"""What a message may hold: a value to JSON and back without loss, or a refusal that names the place.

Pure. Decides what is stored and in which bytes; knows nothing of sessions, logs or files.

JSON says: objects with string keys, arrays, strings, whole numbers of any size, finite
floats, booleans and null. A pydantic model is stored as its own JSON dump and comes back as a
dict, a tuple as a list. Everything else would come back as something different, so it is
refused instead, before anything stored is touched.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from resilient_agent.errors import NotStorable

__all__ = ["decode", "encode"]

DEPTH_LIMIT: Final = 200
"""Levels of nesting: no message needs more, and a value that contains itself has no end."""

_DIGITS_LIMIT: Final = 4_300  # Python refuses to read longer numbers back (sys.set_int_max_str_digits)
_SURROGATE_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_WRITE: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_WRITE_ASCII: Final = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode


def encode(value: Any, path: str = "$") -> bytes:
    """The value as compact JSON, in UTF-8.

    Args:
        value: what to store.
        path: what to call its place in an error.

    Raises:
        NotStorable: something in it JSON cannot give back; its `path` says where.

    Example:
        >>> encode({"role": "user", "content": "naïve 東京"}).decode()
        '{"role":"user","content":"naïve 東京"}'
        >>> encode({"content": [{"image": b"PNG"}]})
        Traceback (most recent call last):
            ...
        resilient_agent.errors.NotStorable: $.content[0].image: bytes are no JSON: encode them, for example with base64
    """
    plain = _plain(value, path, 0)
    text = _WRITE(plain)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate, as a cut token leaves it: escaped it survives, raw it is no UTF-8.
        return _WRITE_ASCII(plain).encode()


def decode(data: bytes | str) -> Any:
    """The value that `encode` was given, in JSON's own types."""
    return json.loads(data)


def _plain(value: Any, path: str, depth: int) -> Any:
    """The value in JSON's own types; raises with the path of the first thing that has none."""
    kind = type(value)
    if kind is str:
        if not value.isascii() and _SURROGATE_PAIR.search(value):
            raise NotStorable(path, "two surrogates in a row would come back as one character: decode the text first")
        return value
    if value is None or kind is bool or (kind is int and -(2**63) <= value < 2**63):
        return value
    if kind is dict or kind is list:
        if depth >= DEPTH_LIMIT:
            raise NotStorable(path[:200], f"nested more than {DEPTH_LIMIT} levels deep, or containing itself")
        if kind is list:
            return [_plain(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
        return {_key(key, path): _plain(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if kind is float:
        if not math.isfinite(value):
            raise NotStorable(path, f"{value} is no JSON number: use null or a string")
        return value
    return _plain_subclass(value, path, depth)


def _plain_subclass(value: Any, path: str, depth: int) -> Any:
    """The same for what is not exactly one of JSON's types, but may be stored as one."""
    if isinstance(value, str):
        return _plain(str.__str__(value), path, depth)
    if isinstance(value, int):
        # An upper bound of its decimal digits, without writing them.
        if value.bit_length() * 0.30103 > _DIGITS_LIMIT:
            raise NotStorable(path, f"a number of more than {_DIGITS_LIMIT} digits: store it as a string")
        return int(value)
    if isinstance(value, float):
        return _plain(float(value), path, depth)
    if isinstance(value, dict):
        return _plain(dict(value), path, depth)
    if isinstance(value, list | tuple):
        return _plain(list(value), path, depth)
    if callable(getattr(type(value), "model_dump", None)):
        return _plain(_dump_model(value, path), path, depth)
    raise NotStorable(path, _advice(value))


def _key(key: Any, path: str) -> str:
    if isinstance(key, str):
        return str(_plain(key, f"{path} (a key)", 0))
    raise NotStorable(path, f"the key {key!r} is no string: JSON would turn it into one")


def _dump_model(model: Any, path: str) -> Any:
    """A pydantic model's own JSON dump, without the fields that nobody set and that say nothing.

    The SDKs' answers carry many of those, and services refuse nulls that they do not know.
    """
    try:
        fields = getattr(type(model), "model_fields", {})
        empty = {name for name in fields if name not in model.model_fields_set and getattr(model, name, None) is None}
        _refuse_non_finite(model.model_dump(exclude=empty), path)  # the JSON dump would make null of them
        return model.model_dump(mode="json", exclude=empty)
    except NotStorable:
        raise
    except Exception as error:
        raise NotStorable(
            path, f"{type(model).__name__} could not dump itself: {type(error).__name__}: {error}"
        ) from error


def _refuse_non_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise NotStorable(path, f"{value} is no JSON number: use null or a string")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _refuse_non_finite(item, f"{path}[{place}]")


def _advice(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{name} are no JSON: encode them, for example with base64"
    if isinstance(value, set | frozenset):
        return f"a {name} has no order in JSON: store sorted(...) of it"
    if hasattr(value, "isoformat"):
        return f"a {name} is no JSON: store its isoformat()"
    return f"a {type(value).__module__}.{name} is no JSON: store a dict, a list, a string or a number"
