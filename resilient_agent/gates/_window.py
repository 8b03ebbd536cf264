"""Time and counting for gates: seconds that passed, and how often something happened lately.

Both are handed what they need. Neither is safe for threads by itself: the gate that owns them
has the lock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

__all__ = ["SlidingCount", "Stopwatch", "check_number"]

_ANOTHER_CLOCK: Final = 1.0
"""Seconds: readings of one clock that threads hand in cross each other by far less."""

_SLOTS: Final = 10
"""How finely a window is cut. Finagle and tower cut theirs into as many."""


class Stopwatch:
    """Seconds since the first reading, by the readings that it is handed; it never runs backwards.

    Readings that crossed on their way count as no time. One that is far behind the last comes
    from another clock (a new event loop begins its own): from there it goes on.

    Example:
        >>> watch = Stopwatch()
        >>> [watch.read(now) for now in (100.0, 103.0, 102.5, 7.0, 8.0)]
        [0.0, 3.0, 3.0, 3.0, 4.0]
    """

    __slots__ = ("_before", "_latest", "_start")

    def __init__(self) -> None:
        self._before = 0.0  # what passed by the clocks before this one
        self._start: float | None = None
        self._latest = 0.0

    def read(self, now: float) -> float:
        """Seconds since the first reading.

        Args:
            now: what the caller's clock says, in seconds from any origin.
        """
        if self._start is None or now < self._latest - _ANOTHER_CLOCK:
            self._before = self.elapsed
            self._start = self._latest = now
        elif now > self._latest:
            self._latest = now
        return self.elapsed

    @property
    def elapsed(self) -> float:
        """Seconds between the first and the last reading; 0 before there is one."""
        return self._before if self._start is None else self._before + (self._latest - self._start)


class SlidingCount:
    """How often something happened within the last `window` seconds, to a tenth of the window.

    Costs the same for one event and for a million: what happens within a tenth is one number.

    Args:
        window: seconds, above 0.

    Example:
        >>> errors = SlidingCount(window=10)
        >>> errors.add(at=0.0)
        >>> errors.add(at=4.0)
        >>> errors.total(at=9.0), errors.total(at=10.0), errors.total(at=14.0)
        (2, 1, 0)
    """

    __slots__ = ("_slots", "_total", "_width")

    def __init__(self, window: float) -> None:
        self._width = window / _SLOTS
        self._slots: deque[list[int]] = deque()  # [number of the slot, events in it], the oldest first
        self._total = 0

    def add(self, at: float) -> None:
        """It happened once more.

        Args:
            at: seconds by a `Stopwatch`; never less than in the call before.
        """
        number = self._forget(at)
        if self._slots and self._slots[-1][0] == number:
            self._slots[-1][1] += 1
        else:
            self._slots.append([number, 1])
        self._total += 1

    def total(self, at: float) -> int:
        """How often it happened lately."""
        self._forget(at)
        return self._total

    def _forget(self, at: float) -> int:
        """Let go of what is too old, and give the number of the slot that `at` lies in."""
        number = int(at // self._width)
        while self._slots and self._slots[0][0] <= number - _SLOTS:
            self._total -= self._slots.popleft()[1]
        return number


def check_number(
    name: str, value: object, *, above: float | None = None, least: float = 0, most: float = math.inf
) -> None:
    """Refuse what is no number, or one out of its range, naming the argument.

    Args:
        name: what the caller calls it.
        value: what was given.
        above: the number that it has to exceed; `least` is not looked at then.
        least: the smallest that will do.
        most: the largest that will do.

    Raises:
        TypeError: not an int or float.
        ValueError: not finite, or out of its range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value}")
    if above is not None and value <= above:
        raise ValueError(f"{name} must be above {above:g}, not {value:g}")
    if (above is None and value < least) or value > most:
        bounds = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise ValueError(f"{name} must be {bounds}, not {value:g}")
