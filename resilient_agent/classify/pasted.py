"""Pasted text to exception: a traceback, a line of a log, the JSON body of an answer.

What a person has of a failure that happened elsewhere is a text. Here it becomes an exception of
the same class name, with the same message, body and causes, so that it is judged by the very rules
that would have judged the real one. Does not judge.
"""

from __future__ import annotations

import builtins
import json
import re
from typing import Any, Final, cast

__all__ = ["as_exception"]

_LIMIT: Final = 200_000  # characters: a longer text is a log file and no failure
_LINE: Final = re.compile(r"^(?P<path>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?::[ \t]*(?P<message>.*))?$", re.DOTALL)
_BETWEEN: Final = re.compile(
    r"\n\s*(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\s*\n"
)
_TRACEBACK: Final = "Traceback (most recent call last):"
_ENDINGS: Final = ("Error", "Exception", "Timeout", "Interrupt", "Exit", "Group", "Warning")
_ERRNO: Final = re.compile(r"\[Errno (\d+)\] ([^:]*)")


def as_exception(text: str, status: int | None = None) -> BaseException:
    """The exception that a text tells of.

    Args:
        text: a traceback (with its causes), `package.Class: message`, a JSON body, or a message.
        status: the HTTP status, where it is known besides.

    Raises:
        ValueError: there is nothing in the text.

    Example:
        >>> error = as_exception("openai.RateLimitError: Error code: 429 - {'error': {'code': 'insufficient_quota'}}")
        >>> type(error).__name__, type(error).__module__
        ('RateLimitError', 'openai')
    """
    text = text.strip()[:_LIMIT]
    if not text:
        raise ValueError("there is nothing to explain in an empty text: paste a traceback, a message or a JSON body")
    innermost, *outer = _BETWEEN.split(text)
    error = _one(innermost)
    for block in outer:
        behind, error = error, _one(block)
        error.__cause__ = behind
    if status is not None:
        error.status_code = status  # type: ignore[attr-defined]
    return error


def _one(block: str) -> BaseException:
    """One exception: the last line of a traceback that begins at its left edge, with all that follows."""
    last = block.rpartition(_TRACEBACK)[2] if _TRACEBACK in block else ""
    said = _after_frames(last) if last else block.strip()
    body = _json(said)
    if body is not None:
        return _made("PastedAnswer", "pasted", said, body)
    line = _LINE.match(said)
    path = line["path"] if line else ""
    package, _, name = path.rpartition(".")
    if not line or not (package or name[:1].isupper()) or (line["message"] is None and not name.endswith(_ENDINGS)):
        return _made("PastedError", "pasted", said, None)
    return _made(name, package, line["message"] or "", None)


def _after_frames(traceback: str) -> str:
    lines = traceback.strip("\n").split("\n")
    frames = [place for place, line in enumerate(lines) if line.startswith((" ", "\t")) or not line]
    return "\n".join(lines[frames[-1] + 1 :] if frames and frames[-1] + 1 < len(lines) else lines).strip()


def _json(text: str) -> Any:
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _made(name: str, package: str, message: str, body: Any) -> BaseException:
    known = getattr(builtins, name, None) if package in ("", "builtins") else None
    if isinstance(known, type) and issubclass(known, BaseException) and not issubclass(known, BaseExceptionGroup):
        return _builtin(known, message)
    error = type(name, (Exception,), {"__module__": package or "pasted", "body": body})
    return cast("BaseException", error(message))


def _builtin(kind: type[BaseException], message: str) -> BaseException:
    numbered = _ERRNO.search(message)
    if issubclass(kind, OSError) and numbered:
        return kind(int(numbered[1]), numbered[2])
    try:
        return kind(message)
    except TypeError:  # UnicodeDecodeError wants five arguments: its class is what matters
        lenient = {"__init__": lambda *_: None, "__str__": lambda _: message, "__module__": "builtins"}
        return cast("BaseException", type(kind.__name__, (kind,), lenient)())
