"""Looking at foreign objects safely: whatever they do when they are looked at, nothing is raised here.

Properties raise, proxies lie about their class, dicts refuse to be read, values are megabytes
long. These few readers answer None then. They know no exception and no provider; what is
looked for is said by `evidence.py`.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "any_in",
    "as_status",
    "cut",
    "header_in",
    "headers_about",
    "item",
    "kind_is",
    "message_of",
    "peek",
    "plainly",
    "told_by_args_alone",
]

_PLAIN: Final = frozenset((type(None), str, int, bool, float, dict, list, tuple, bytes))
_REPLACED: Final = (str, int, bytes, tuple)
_TOLD_BY_ARGS: Final = frozenset(
    kind
    for kind in vars(builtins).values()
    # A group has its members to tell of as well.
    if isinstance(kind, type) and issubclass(kind, BaseException) and not issubclass(kind, BaseExceptionGroup)
)
_HEADER_LIMIT: Final = 200
_TEXT_LIMIT: Final = 4_000  # characters of a message that are looked through


def peek(holder: Any, name: str) -> Any:
    """An attribute, or None where there is none or looking at it raises.

    Texts, numbers and tuples come out plain: a subclass of one may refuse whatever is asked of it.
    """
    try:
        value = getattr(holder, name, None)
        kind = type(value)
        return plainly(value) if kind not in _PLAIN and issubclass(kind, _REPLACED) else value
    except Exception:
        return None


def plainly(value: Any) -> Any:
    """A text, a number or a tuple as one of Python's own class, anything else as it is."""
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, (bytes, tuple)):
        base = bytes if issubclass(kind, bytes) else tuple
        return base.__getitem__(value, slice(None))
    return value


def told_by_args_alone(error: BaseException) -> tuple[Any, ...] | None:
    """The arguments of an exception of Python's own that has nothing else to tell; else None."""
    try:
        if type(error) not in _TOLD_BY_ARGS or error.__cause__ is not None or error.__context__ is not None:
            return None
    except Exception:  # a class that cannot be hashed
        return None
    return None if error.__dict__ else error.args


def item(holder: Any, key: str) -> Any:
    """What a dict holds under a key, or None."""
    try:
        return dict.get(holder, key) if kind_is(holder, dict) else None
    except Exception:  # a key beside it that cannot be compared
        return None


def kind_is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """`isinstance`, but by the true type only: a proxy's `__class__` may raise when it is looked at."""
    return issubclass(type(value), kind)


def as_status(value: Any) -> int | None:
    """An HTTP status given as number, text or enum, or None."""
    if value is None:
        return None
    if type(value) is int:  # as most are
        return value if 100 <= value <= 599 else None
    if not kind_is(value, (int, str)):
        value = peek(value, "value")  # an enum's
    if kind_is(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    if kind_is(value, int) and not kind_is(value, bool) and 100 <= value <= 599:
        return int(value)
    return None


def header_in(headers: Any, name: str) -> str | None:
    """A header's value by its lower-case name, from any kind of mapping or from pairs, or None."""
    try:
        if kind_is(headers, (tuple, list)):  # grpc's metadata
            pairs = zip(range(_HEADER_LIMIT), headers, strict=False)
            value = next((v for _, (k, v) in pairs if str(k).lower() == name), None)
        else:
            value = headers.get(name)
            if value is None and isinstance(headers, Mapping):
                # A plain dict keeps the case in which the server wrote the name.
                items = itertools.islice(headers.items(), _HEADER_LIMIT)
                value = next((v for k, v in items if str(k).lower() == name), None)
    except Exception:
        return None
    return plainly(value) if kind_is(value, str) else None


def headers_about(headers: Any, marks: tuple[str, ...]) -> dict[str, str]:
    """The headers, by their lower-case names, if a mark stands in one of the names; otherwise nothing.

    Asking for one header after the other is slow: httpx decodes all of them each time, so its raw
    pairs are looked at.
    """
    try:
        raw = peek(headers, "raw")
        if type(raw) is list:
            # All names at once: one after the other takes much longer, and most answers say nothing of limits.
            names = b"\n".join([name for name, _ in raw[:_HEADER_LIMIT]]).decode("latin-1").lower()
            if not any_in(marks, names):
                return {}
            pairs = zip(names.split("\n"), raw[:_HEADER_LIMIT], strict=True)
            return {name: value.decode("latin-1") for name, (_, value) in pairs}
        pairs = headers if kind_is(headers, (tuple, list)) else headers.items()  # pairs are grpc's metadata
        known = {name.lower(): value for name, value in itertools.islice(pairs, _HEADER_LIMIT) if kind_is(name, str)}
        return (
            {str(name): plainly(value) for name, value in known.items() if kind_is(value, str)}
            if any_in(marks, "\n".join(known))
            else {}
        )
    except Exception:  # what cannot be read has no headers
        return {}


def any_in(needles: tuple[str, ...], text: str) -> bool:
    """Whether one of them stands in the text."""
    for needle in needles:  # noqa: SIM110 - a generator costs more than the search
        if needle in text:
            return True
    return False


def message_of(error: BaseException) -> str:
    """What the exception says of itself; of a very long text its beginning and its end."""
    try:
        return cut(str(error))
    except Exception:
        return ""


def cut(text: str, limit: int = _TEXT_LIMIT) -> str:
    """The text, or its beginning and its end where it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit // 2]}\n{text[-limit // 2 :]}"
