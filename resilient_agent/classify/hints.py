"""Headers to seconds: the wait that a server names.

Pure readers, tried in order; the first usable answer wins. What is no wait (empty, negative,
zero, past, not a number, beyond a year, digits of other alphabets) is no hint: the caller
waits by its own backoff then. Does not decide whether the hint is followed.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable
from datetime import UTC
from typing import Final

__all__ = ["retry_after"]

_NUMBER: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_LONGEST: Final = 366 * 86_400.0  # a server that names more than a year names nonsense

Header = Callable[[str], "str | None"]


def retry_after(header: Header, wall: Callable[[], float]) -> float | None:
    """The wait in seconds that the headers name, or None.

    Read are `retry-after-ms` (what the OpenAI and Azure services send), then `retry-after`
    as seconds, whole or decimal, or as an HTTP date (RFC 9110, section 10.2.3). A date is
    read against the answer's own `Date` header, so that a wrong clock on either side
    does not matter; only where that is missing against `wall`.

    Args:
        header: gives a header's value by its lower-case name, or None.
        wall: the present moment in seconds since 1970; called only where it is needed.

    Example:
        >>> retry_after({"retry-after-ms": "1200", "retry-after": "2"}.get, lambda: 0.0)
        1.2
        >>> retry_after({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT",
        ...              "date": "Fri, 31 Dec 1999 23:59:39 GMT"}.get, lambda: 0.0)
        20.0
        >>> retry_after({"retry-after": "soon"}.get, lambda: 0.0) is None
        True
    """
    milliseconds = _number(header("retry-after-ms"))
    if milliseconds is not None and (named := _usable(milliseconds / 1000)) is not None:
        return named
    value = header("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return _usable(seconds)
    moment = _date(value)
    if moment is None:
        return None
    sent = _date(header("date"))
    return _usable(moment - (wall() if sent is None else sent))


def _number(value: str | None) -> float | None:
    if value is None or _NUMBER.fullmatch(value.strip()) is None:
        return None
    return float(value)


def _date(value: str | None) -> float | None:
    """An HTTP date in any of its three forms as seconds since 1970; without a zone it is UTC."""
    if value is None:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(value[:100])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _usable(seconds: float) -> float | None:
    return seconds if 0 < seconds <= _LONGEST else None
