"""What a server says about waiting, in seconds: headers, buckets, fields of the body, sentences.

Pure readers, asked in this order; the first usable answer wins, and of several exhausted buckets
the longest wait counts, as all of them have to open. What is no wait (empty, negative, zero, past,
not a number, beyond a year, digits of other alphabets) is no hint: the caller waits by its own
backoff then. Does not decide whether the hint is followed.
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Any, Final

from resilient_agent.classify.knowledge.waits import BUCKETS, LEAKING, LISTED, MILLISECONDS, UNITS

__all__ = ["in_body", "in_buckets", "in_headers", "in_text", "rate_in_buckets", "span"]

Header = Callable[[str], "str | None"]
Clock = Callable[[], float]

_LONGEST: Final = 366 * 86_400.0  # a server that names more than a year names nonsense
_EPOCH_SECONDS: Final = 1e9  # 2001: what is larger counts from 1970, in seconds
_EPOCH_MILLISECONDS: Final = 1e12  # and from here on in milliseconds
_VALUE_LIMIT: Final = 100  # characters
_LIST_LIMIT: Final = 500

_DIGITS: Final = r"[0-9]{1,13}(?:\.[0-9]{1,9})?"
_UNIT: Final = "|".join(sorted(UNITS, key=len, reverse=True))
_PIECE: Final = rf"{_DIGITS}\s?(?:{_UNIT})(?![a-z])"
_SPAN: Final = rf"{_PIECE}(?:,? ?(?:and )?{_PIECE}){{0,5}}"
_NUMBER: Final = re.compile(_DIGITS)
_PIECES: Final = re.compile(rf"({_DIGITS})\s?({_UNIT})(?![a-z])")
_WHOLE_SPAN: Final = re.compile(_SPAN)
_BETWEEN: Final = (
    r"(?: (?:in|after|for|at least|another|about|approximately|within|(?:your|the|this) request)){0,5}:? ?~? ?"
)
# After these words (found by plain search, which is many times quicker) a wait may follow. Not after
# `reset after`: that tells of a connection, and of time that has passed.
_SENTENCES: Final = {
    **{mark: re.compile(rf"(?:ing)?{_BETWEEN}({_SPAN})") for mark in ("again", "retry", "back", "available")},
    "wait": re.compile(rf"{_BETWEEN}({_SPAN})"),
    "will reset after": re.compile(rf" ?~? ?({_SPAN})"),
    "reset": re.compile(rf"s?(?: in| within)?:? ?~? ?({_SPAN})"),
}
_FIELD: Final = re.compile(
    rf"""[-_ ]?(?:after|delay)(?: ?\{{ ?seconds)?(?:[-_ ]?(ms|s|sec|secs|seconds))?\\?["']? ?[:=] ?\\?["']?"""
    rf"""({_DIGITS})\s?({_UNIT})?(?![a-z0-9:,-])"""
)
_RESET_FIELD: Final = re.compile(rf"""s?_in_seconds\\?["']? ?[:=] ?\\?["']?({_DIGITS})(?![a-z0-9:-]|,[0-9])""")
_CHINESE_NUMBER: Final = re.compile("([一二两三四五六七八九]?)(十?)([一二三四五六七八九]?)(?=个?(?:秒|分钟|小时))")
_CHINESE_DIGITS: Final = {digit: number for number, digit in enumerate("一二三四五六七八九", 1)} | {"两": 2}
_LISTED: Final = re.compile(
    rf"\br\s?=\s?({_DIGITS})\s?;\s?t\s?=\s?({_DIGITS})|remaining=({_DIGITS}), ?reset=({_DIGITS})"
)
_CHINESE: Final = re.compile(rf"(?:等待|稍等) ?({_SPAN})|({_SPAN}) ?(?:之后|以后|后)")


def in_headers(header: Header, wall: Clock) -> float | None:
    """The wait in seconds that the headers name, or None.

    Read are `retry-after-ms` (what the OpenAI and Azure services send) and its like, then
    `retry-after` as seconds, whole or decimal, as an HTTP date (RFC 9110, section 10.2.3), or as
    what servers write instead (`6m0s`, RFC 3339, an epoch). A moment is read against the answer's
    own `Date` header, so that a wrong clock on either side does not matter; only where that is
    missing against `wall`.

    Args:
        header: gives a header's value by its lower-case name, or None.
        wall: the present moment in seconds since 1970; called only where it is needed.

    Example:
        >>> in_headers({"retry-after-ms": "1200", "retry-after": "2"}.get, lambda: 0.0)
        1.2
        >>> in_headers({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT",
        ...             "date": "Fri, 31 Dec 1999 23:59:39 GMT"}.get, lambda: 0.0)
        20.0
        >>> in_headers({"retry-after": "soon"}.get, lambda: 0.0) is None
        True
    """
    for name in MILLISECONDS:
        milliseconds = _number(header(name))
        if milliseconds is not None and (named := _usable(milliseconds / 1000)) is not None:
            return named
    return _wait(header("retry-after"), header, wall)


def in_buckets(header: Header, wall: Clock) -> float | None:
    """The wait in seconds until every exhausted bucket of the rate limit opens, or None where none is exhausted.

    Example:
        >>> in_buckets({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2s",
        ...             "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.5s",
        ...             "x-ratelimit-remaining": "9", "x-ratelimit-reset": "3600"}.get, lambda: 0.0)
        62.0
    """
    waits = []
    for remaining, reset in BUCKETS:
        value = header(remaining)
        left = None if value is None else _number(value)
        if left is not None and left <= 0:
            waits.append(_wait(header(reset), header, wall))
    waits.extend(_usable(float(seconds)) for left, seconds in _listed(header(LISTED)) if float(left) <= 0)
    return max((wait for wait in waits if wait is not None), default=None)


def _listed(value: str | None) -> Iterator[tuple[str, str]]:
    """What is left in each bucket of a list, and the seconds until it opens."""
    for left, seconds, left_before, seconds_before in _LISTED.findall("" if value is None else value[:_LIST_LIMIT]):
        yield left or left_before, seconds or seconds_before


def rate_in_buckets(header: Header, wall: Clock) -> float | None:
    """Requests a second with which the bucket of requests fills up: what it lacks over the time until it is full.

    Example:
        >>> rate_in_buckets({"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "14370",
        ...                  "x-ratelimit-reset-requests": "3m0s"}.get, lambda: 0.0)
        0.16666666666666666
    """
    for limit, remaining, reset in LEAKING:
        holds, left = _number(header(limit)), _number(header(remaining))
        if holds is None or left is None or left >= holds:
            continue
        seconds = _wait(header(reset), header, wall)
        if seconds is not None:
            return (holds - left) / seconds
    return None


def in_body(waits: Mapping[str, Any]) -> float | None:
    """The wait in seconds that a field of the body names, such as google.rpc.RetryInfo's `retryDelay`, or None.

    Example:
        >>> in_body({"retrydelay": "13s"}), in_body({"retry_after_ms": 432}), in_body({"estimated_time": 35.67})
        (13.0, 0.432, 35.67)
    """
    for name, value in waits.items():
        if isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            seconds = float(value) if abs(value) < _EPOCH_MILLISECONDS else None
        elif isinstance(value, str):
            seconds = _number(value)
            seconds = span(value) if seconds is None else seconds
        else:
            continue
        named = _usable(seconds / 1000 if name.endswith("ms") else seconds) if seconds is not None else None
        if named is not None:
            return named
    return None


def in_text(said: str) -> float | None:
    """The wait in seconds that a sentence names, in English or Chinese, or None.

    Example:
        >>> in_text("Please try again in 6m0s."), in_text("try again in 432ms"), in_text("请在 30 秒后重试")
        (360.0, 0.432, 30.0)
        >>> in_text("timed out after 30 seconds") is None
        True
    """
    said = " ".join(said.lower().split())  # one blank each, so that no reader tries them all
    for place in _places(said, "retry"):
        field = _FIELD.match(said, place)
        if field is not None:
            named_unit, number, unit = field.groups()
            return _usable(float(number) * UNITS[unit or named_unit or "s"])
    for place in _places(said, "reset"):
        field = _RESET_FIELD.match(said, place)
        if field is not None:
            return _usable(float(field[1]))
    for mark, sentence_after in _SENTENCES.items():
        for place in _places(said, mark):
            sentence = sentence_after.match(said, place)
            if sentence is not None:
                return span(sentence[1])
    chinese = None if said.isascii() else _CHINESE.search(_CHINESE_NUMBER.sub(_in_digits, said))
    return None if chinese is None else span(chinese[1] or chinese[2])


def _in_digits(number: re.Match[str]) -> str:
    """A Chinese number below a hundred in digits: 十五 is 15."""
    before, ten, after = number.groups()
    if not number[0]:
        return ""
    ones = _CHINESE_DIGITS.get(after, 0)
    return str(10 * _CHINESE_DIGITS.get(before, 1) + ones) if ten else str(_CHINESE_DIGITS.get(before, 0) or ones)


def _places(text: str, word: str) -> Iterator[int]:
    """Where the word ends, each time it stands in the text."""
    place = text.find(word)
    while place >= 0:
        place += len(word)
        yield place
        place = text.find(word, place)


def span(value: str) -> float | None:
    """A duration as people and Go write it, in seconds, or None where it is none.

    Example:
        >>> span("1h2m3.5s"), span("56 seconds"), span("2 days"), span("soon")
        (3723.5, 56.0, 172800.0, None)
    """
    value = value[:_VALUE_LIMIT].strip().lower()
    if _WHOLE_SPAN.fullmatch(value) is None:
        return None
    return _usable(sum(float(number) * UNITS[unit] for number, unit in _PIECES.findall(value)))


def _wait(value: str | None, header: Header, wall: Clock) -> float | None:
    """A header's value, whatever its form, as seconds from now."""
    if value is None:
        return None
    number = _number(value)
    if number is not None and number < _EPOCH_SECONDS:
        return _usable(number)
    if number is None and (named := span(value)) is not None:
        return named
    moment = _date(value) if number is None else number / 1000 if number >= _EPOCH_MILLISECONDS else number
    if moment is None:
        return None
    sent = _date(header("date"))
    return _usable(moment - (wall() if sent is None else sent))


def _number(value: str | None) -> float | None:
    # Stripped here: what `strip` takes for white space (a unit separator) `float` does not.
    text = "" if value is None else value.strip()
    return None if _NUMBER.fullmatch(text) is None else float(text)


def _date(value: str | None) -> float | None:
    """A date of HTTP's three forms or of RFC 3339 as seconds since 1970; without a zone it is UTC."""
    if value is None or not value.isascii():
        return None
    value = value[:_VALUE_LIMIT].strip()
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _usable(seconds: float) -> float | None:
    return seconds if 0 < seconds <= _LONGEST else None
