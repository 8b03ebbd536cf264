"""How long something lasts, as users give it: seconds, or a timedelta. Pure."""

from __future__ import annotations

import datetime

__all__ = ["in_seconds"]


def in_seconds(given: float | datetime.timedelta, due: str) -> float:
    """A duration in seconds; whether it may be negative or infinite is for those to say who ask.

    Args:
        given: the duration.
        due: what has to be given, in words, for the error.

    Raises:
        TypeError: it is neither a number nor a timedelta.

    Example:
        >>> in_seconds(datetime.timedelta(minutes=1), "wait is seconds or a timedelta")
        60.0
    """
    if isinstance(given, datetime.timedelta):
        return given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{due}, not {given!r}")
    return given
