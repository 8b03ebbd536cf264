"""What can be seen on an exception: status, headers, body codes, class names, causes, leaves.

The only room that opens foreign exceptions. It reads by attribute, name and structure, so no
SDK and no HTTP library is imported, and it does no I/O: a response that was not read stays
unread. Whatever an attribute does when it is looked at (raise, loop, answer with ten
megabytes), reading it here is quick and raises nothing.

Does not judge: what the evidence means is said by the rules.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["Evidence", "chain", "leaves"]

_CHAIN_LIMIT: Final = 20  # deeper causes than that explain nothing, and a chain may be a circle
_LEAF_LIMIT: Final = 10_000
_TEXT_LIMIT: Final = 4_000  # characters of a message that are looked through for words
_BODY_LIMIT: Final = 64_000  # bytes; what is longer is no error object but a page or a document
_HEADER_LIMIT: Final = 200

_STATUS_NAMES: Final = ("status_code", "http_status", "status", "code")
_CODE_NAMES: Final = ("code", "type", "status")
_OUTSIDE_NAMES: Final = ("response", "request", "status_code", "http_status", "headers", "body")


class Evidence:
    """What one exception, without its causes, shows. Everything is looked up when it is first asked for.

    Args:
        error: the exception to look at.
        causes: the exceptions behind it, for rules that ask about their classes.
    """

    def __init__(self, error: BaseException, causes: tuple[BaseException, ...] = ()) -> None:
        self.error = error
        self.names = class_names(_kind(error))
        # Python's own exceptions carry none of what is looked for, unless somebody put it on them.
        self._bare = type(error).__module__ == "builtins" and not error.__dict__
        self._causes = causes

    @functools.cached_property
    def cause_names(self) -> frozenset[str]:
        """The class names of this exception and of all that stand behind it."""
        return self.names.union(*(class_names(_kind(cause)) for cause in self._causes))

    @functools.cached_property
    def response(self) -> Any:
        """The HTTP response that the exception carries, whatever its library, or None."""
        return _peek(self.error, "response")

    @functools.cached_property
    def status(self) -> int | None:
        """The HTTP status, 100 to 599, or None."""
        if self._bare:
            return None
        for holder in (self.error, self.response):
            for name in _STATUS_NAMES:
                status = _as_status(_peek(holder, name))
                if status is not None:
                    return status
        metadata = _item(self.response, "ResponseMetadata")  # botocore keeps a dict
        return _as_status(_item(metadata, "HTTPStatusCode"))

    @functools.cached_property
    def _headers(self) -> tuple[Any, ...]:
        metadata = _item(self.response, "ResponseMetadata")
        found = (
            _peek(self.response, "headers"),
            _peek(self.error, "headers"),
            _item(metadata, "HTTPHeaders"),
        )
        return tuple(headers for headers in found if headers is not None)

    def header(self, name: str) -> str | None:
        """The value of a response header, whatever the case of its name, or None."""
        if self._bare:
            return None
        for headers in self._headers:
            value = _header(headers, name)
            if value is not None:
                return value
        return None

    @functools.cached_property
    def body(self) -> Any:
        """The answer's body as a JSON value, or None where it is none or was not read."""
        raw = _peek(self.error, "body")
        if raw is None:
            raw = self.response if _is(self.response, dict) else None
        if raw is None:
            raw = _peek(self.error, "details")
        if raw is None:  # `_content` is what httpx and requests have read; `content` would read on
            raw = _peek(self.response, "_content")
        return _as_json(raw)

    @functools.cached_property
    def codes(self) -> frozenset[str]:
        """The words by which the body names its error, lower case: its codes and types."""
        if self._bare:
            return frozenset()
        found = [_peek(self.error, "code"), _peek(self.error, "type")]
        body = self.body[0] if _is(self.body, list) and self.body else self.body
        for holder in (body, _item(body, "error"), _item(body, "Error"), _item(body, "detail")):
            found += [_item(holder, name) for name in _CODE_NAMES]
            found.append(_item(holder, "Code"))
        return frozenset(word[:200].strip().lower() for word in found if _is(word, str))

    @functools.cached_property
    def errno(self) -> int | None:
        """The system's error number of an OSError, or None."""
        number = _peek(self.error, "errno")
        return int(number) if _is(number, int) else None

    @functools.cached_property
    def text(self) -> str:
        """The message and the class name in words, lower case: `RateLimitError` reads `rate limit error`."""
        return f"{_message(self.error)}\n{_spelled(_kind(self.error))}".lower()

    @functools.cached_property
    def outside(self) -> bool:
        """Whether this comes from beyond the program: an answer, a request or the system stands behind it."""
        if "OSError" in self.names:
            return True
        if self._bare:
            return False
        return self.status is not None or any(_peek(self.error, name) is not None for name in _OUTSIDE_NAMES)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what stands behind it: causes, and contexts where they were not suppressed.

    Ends where a circle closes, and after twenty links.
    """
    seen: set[int] = set()
    link: Any = error
    while _is(link, BaseException) and id(link) not in seen and len(seen) < _CHAIN_LIMIT:
        yield link
        seen.add(id(link))
        cause = _peek(link, "__cause__")
        if cause is None and not _peek(link, "__suppress_context__"):
            cause = _peek(link, "__context__")
        link = cause


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group, groups within it opened; of another exception, itself."""
    found: list[BaseException] = []
    pending = [error]
    seen: set[int] = set()  # a group may contain itself
    while pending and len(found) < _LEAF_LIMIT:
        member = pending.pop()
        if id(member) in seen:
            continue
        seen.add(id(member))
        members: Any = _peek(member, "exceptions") if _is(member, BaseExceptionGroup) else None
        if _is(members, tuple):
            pending.extend(reversed(members))
        elif _is(member, BaseException):
            found.append(member)
    return found


@functools.lru_cache(maxsize=1024)
def class_names(cls: type) -> frozenset[str]:
    """The names of a class and of all its bases, each bare and behind its top-level package.

    Of httpx's ConnectError among others `ConnectError`, `httpx.ConnectError`, `TransportError`.
    """
    names = set()
    for base in cls.__mro__[:-1]:
        package = str(base.__module__).partition(".")[0]
        names |= {base.__name__, f"{package}.{base.__name__}"}
    return frozenset(names)


def _kind(error: BaseException) -> type:
    return type(error)


def _peek(holder: Any, name: str) -> Any:
    """An attribute, or None where there is none or looking at it raises."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def _item(holder: Any, key: str) -> Any:
    return dict.get(holder, key) if _is(holder, dict) else None


def _is(value: Any, kind: type) -> bool:
    """`isinstance`, but by the true type only: a proxy's `__class__` may raise when it is looked at."""
    return issubclass(type(value), kind)


def _as_status(value: Any) -> int | None:
    if not _is(value, int) and not _is(value, str):
        value = _peek(value, "value")  # an enum's
    if _is(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    if _is(value, int) and not _is(value, bool) and 100 <= value <= 599:
        return int(value)
    return None


def _header(headers: Any, name: str) -> str | None:
    try:
        value = headers.get(name)
        if value is None and isinstance(headers, Mapping):
            # A plain dict keeps the case in which the server wrote the name.
            pairs = zip(range(_HEADER_LIMIT), headers.items(), strict=False)
            value = next((v for _, (k, v) in pairs if str(k).lower() == name), None)
    except Exception:
        return None
    return str(value) if _is(value, str) else None


def _as_json(raw: Any) -> Any:
    if _is(raw, str) or _is(raw, bytes):
        if len(raw) > _BODY_LIMIT:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            return None
    return raw if _is(raw, dict) or _is(raw, list) else None


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        return ""
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT // 2]}\n{text[-_TEXT_LIMIT // 2 :]}"


@functools.lru_cache(maxsize=1024)
def _spelled(cls: type) -> str:
    """A class name as words: `APITimeoutError` as `API Timeout Error`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", cls.__name__)
