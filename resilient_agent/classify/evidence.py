"""What can be seen on an exception: status, headers, codes, class names, texts, error numbers.

The only room that opens foreign exceptions. It reads by attribute, name and structure, so no
SDK and no HTTP library is imported, and it does no I/O: a response that was not read stays
unread. Whatever an attribute does when it is looked at (raise, loop, answer with ten
megabytes), reading it here is quick and raises nothing.

Does not judge: what the evidence means is said by the rules.
"""

from __future__ import annotations

import re
from typing import Any, Final

from resilient_agent._once import once
from resilient_agent.classify import bodies, hints
from resilient_agent.classify.chains import chain
from resilient_agent.classify.kinds import Kind, class_names, kind_of
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
    plainly,
)
from resilient_agent.classify.words import parts, plain

__all__ = ["LIMIT_MARKS", "Evidence"]

_STATUS_NAMES: Final = ("status_code", "http_status", "status", "code")
_CODE_NAMES: Final = ("code", "type", "status", "error_code", "sqlstate", "error_type")
_ERRORS: Final = 400  # statuses below report no error
_NO_STATUS: Final = 600
_OUTSIDE_NAMES: Final = ("response", "request", "status_code", "http_status", "headers", "body")
_LOOKED_FOR: Final = frozenset(
    {*_STATUS_NAMES, *_CODE_NAMES, "response", "headers", "litellm_response_headers", "body", "details", "error"}
)
_CODE_DEPRECATED: Final = ("websockets.*", "aiohttp.*")
LIMIT_MARKS: Final = ("retry", "limit")
_TIME_MARKS: Final = ("again", "retry", "wait", "reset", "back", "available")
_DIGIT: Final = re.compile("[0-9一二两三四五六七八九十]")
_OTHER_NUMBERS: Final = ("SSLError", "gaierror", "herror")  # OSErrors whose `errno` counts otherwise
_DAY: Final = 86_400.0
_ASKED: Final = re.compile(r"imit:? (\d[\d,]*).{1,40}?equested:? (\d[\d,]*)", re.DOTALL)


class Evidence:
    """What one exception, without its causes, shows. Everything is looked up when it is first asked for.

    Args:
        error: the exception to look at.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._kind = kind = kind_of(type(error))
        self.names = kind.names
        # Python's own exceptions carry none of what is looked for, unless somebody put it on them.
        self.bare = kind.builtin and not error.__dict__

    @once
    def cause_names(self) -> frozenset[str]:
        """The class names of this exception and of all that stand behind it."""
        return self.names.union(*(class_names(type(link)) for link in chain(self.error)))

    @once
    def response(self) -> Any:
        """The HTTP response that the exception carries, whatever its library, or None."""
        return None if self.bare else peek(self.error, "response")

    @once
    def _silent(self) -> bool:
        """Whether none of the attributes that are looked for can be there: then they need not be asked for one by one.

        So it is with most exceptions that are no answers: those of a transport, or a program's own.
        """
        return self.bare or (self.response is None and _shows_nothing(self.error, self._kind))

    @once
    def status(self) -> int | None:
        """The HTTP status, 100 to 599: the answer's own, or else the one that its body or the text names."""
        own = None if self.bare else peek(self.error, _STATUS_NAMES[0])  # as most libraries have it
        if type(own) is not int or not _ERRORS <= own < _NO_STATUS:
            own = self._own_status
        if own is not None and own >= _ERRORS:
            return own
        named = self.body.status or bodies.status_said(self.said)
        return own if named is None else named

    @once
    def _own_status(self) -> int | None:
        if self._silent:
            return None
        response, names = self.response, self._attributes(_STATUS_NAMES)
        for holder in (self.error,) if response is None else (self.error, response):
            for name in names:
                status = as_status(peek(holder, name))
                if status is not None:
                    return status
        metadata = item(response, "ResponseMetadata")  # botocore keeps a dict
        return as_status(item(metadata, "HTTPStatusCode"))

    def _attributes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Without `code` where looking at it warns."""
        if self.names.isdisjoint(_CODE_DEPRECATED):
            return names
        return tuple(name for name in names if name != "code")

    @once
    def _headers(self) -> list[Any]:
        response, error = self.response, self.error
        found = [peek(response, "headers"), peek(error, "headers"), peek(error, "litellm_response_headers")]
        if type(response) is dict:  # botocore
            found.append(item(item(response, "ResponseMetadata"), "HTTPHeaders"))
        if "grpc.*" in self.names:
            found.append(_called(self.error, "trailing_metadata"))
        return found

    def header(self, name: str) -> str | None:
        """The value of a response header, whatever the case of its name, or None."""
        if self._silent:
            return None
        if any_in(LIMIT_MARKS, name):
            return self.limits.get(name)
        for headers in self._headers:
            value = None if headers is None else header_in(headers, name)
            if value is not None:
                return value
        return None

    @once
    def limits(self) -> dict[str, str]:
        """The headers by their lower-case names, of an answer whose headers speak of limits or waits."""
        found: dict[str, str] = {}
        if not self._silent:
            for headers in self._headers:
                if headers is not None and (told := headers_about(headers, LIMIT_MARKS)):
                    found = told | found
        return found

    @once
    def body(self) -> bodies.Body:
        """What the answer's body says; of one that was not read, nothing."""
        if self._silent:
            return _NO_BODY
        error, response = self.error, self.response
        raw = bodies.as_body(peek(error, "body"))
        if kind_is(raw, str):  # of `{"error": "text", "retryAfter": 900}` openai keeps only the text
            whole = bodies.as_body(peek(response, "_content"))
            raw = whole if kind_is(whole, dict) else raw
        if raw is None and kind_is(response, dict):
            raw = response
        if raw is None:
            raw = bodies.as_body(peek(error, "details"))
        if raw is None:  # `_content` is what httpx and requests have read; `content` would read on
            raw = bodies.as_body(peek(response, "_content"))
        return _NO_BODY if raw is None else bodies.read(raw)

    @once
    def codes(self) -> frozenset[str]:
        """The words by which the failure is named, in one style: `rate_limit_exceeded`, `40001`, `unavailable`."""
        body = self.body
        if body.codes:  # a body may stand printed in a sentence too; the one that was read is not read again
            found = list(body.codes)
            printed = "\n".join([sentence for sentence in body.sentences if "{" in sentence])
        else:
            found = [] if self.bare else self._codes_by_attribute()
            printed = self.said
        if printed:
            found += bodies.codes_said(printed)
        if _asks_too_much(self.said):
            found.append("requested_over_limit")
        if self.told_wait is not None and self.told_wait[0] > _DAY:
            found.append("wait_of_days")
        return frozenset(found)

    @once
    def told_wait(self) -> tuple[float, str] | None:
        """The seconds that a field of the body or the message tells to wait, and which of them did."""
        seconds = hints.in_body(self.body.waits) if self.body.waits else None
        if seconds is not None:
            return seconds, "a field of the body"
        seconds = hints.in_text(self.said) if self.speaks_of_time else None
        return None if seconds is None else (seconds, "the message")

    def _codes_by_attribute(self) -> list[str]:
        found: list[str] = []
        for value in self._named_codes():
            if kind_is(value, str) and value:
                found += parts(value[: bodies.CODE_LIMIT])
            elif kind_is(value, int) and not kind_is(value, bool):
                found += parts(str(int(value))) if abs(value) < bodies.COUNTED else ()
        return found

    def _named_codes(self) -> list[Any]:
        """What attributes hold by which libraries name their errors; numbers too, as databases have them."""
        error = self.error
        named: list[Any] = []
        if not self._silent:
            named += [peek(error, name) for name in self._attributes(_CODE_NAMES)]
            inner = peek(error, "error")  # MCP keeps a JSON-RPC error object
            if inner is not None:
                named.append(peek(inner, "code"))
        if "grpc.*" in self.names:
            named.append(peek(_called(error, "code"), "name"))
        elif "websockets.*" in self.names:
            named += [peek(peek(error, frame), "code") for frame in ("rcvd", "sent")]
        args = peek(error, "args")
        if kind_is(args, tuple) and args and "OSError" not in self.names:
            named.append(plainly(args[0]) if kind_is(args[0], int) else None)  # pymysql, mysqlclient, qianfan
        return named

    @once
    def errno(self) -> int | None:
        """The system's error number of an OSError, or None."""
        if not self.names.isdisjoint(_OTHER_NUMBERS):
            return None
        number = peek(self.error, "errno")
        return int(number) if kind_is(number, int) else None

    @once
    def said(self) -> str:
        """What is told in words, verbatim: by the body, or where that has no words, by the exception."""
        sentences = self.body.sentences
        return cut("\n".join(sentences)) if sentences else message_of(self.error)

    @once
    def text(self) -> str:
        """What is said, the codes, and where no status says more the class name, as plain words between blanks."""
        codes = " ".join(self.codes).replace("_", " ")
        status = self.status
        named = self._kind.words if status is None or status < _ERRORS else ""
        return f" {plain(self.said)} {codes} {named} "

    @property
    def speaks_of_time(self) -> bool:
        """Whether the text may name a wait: a cheap look before the thorough one."""
        said = self.said
        marked = any_in(_TIME_MARKS, said.lower()) or not said.isascii()
        return marked and _DIGIT.search(said) is not None

    @once
    def outside(self) -> bool:
        """Whether this comes from beyond the program: an answer, a request or the system stands behind it."""
        if "OSError" in self.names:
            return True
        if self.bare:
            return False
        return self.status is not None or any(peek(self.error, name) is not None for name in _OUTSIDE_NAMES)


_NO_BODY: Final = bodies.Body((), (), None, {})


def _shows_nothing(error: BaseException, kind: Kind) -> bool:
    """Whether neither the exception nor its class has one of the attributes that are looked for."""
    if kind.attributes is None or not _LOOKED_FOR.isdisjoint(kind.attributes):
        return False
    try:
        return _LOOKED_FOR.isdisjoint(object.__getattribute__(error, "__dict__"))
    except Exception:
        return False


def _called(holder: Any, name: str) -> Any:
    """What a method without arguments answers, or None. For grpc only, whose errors answer from memory."""
    try:
        return getattr(holder, name)()
    except Exception:
        return None


def _asks_too_much(said: str) -> bool:
    """Whether the text counts more for this one request than the limit that it names: that never fits."""
    asked = _ASKED.search(said) if "equested" in said else None
    if asked is None:
        return False
    limit, requested = (int(number.replace(",", "")[:18]) for number in asked.groups())
    return requested > limit > 0
