"""`Slots`: the moments at which this process may send, leased from all that the limit has.

Decides which slot the next request takes, and which have lapsed: a slot that nobody came for is lost,
as holding it back would send two at once later. Counts in the lane's own time; must not know who
leases them out, nor who waits.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

__all__ = ["Slot", "Slots"]

_LATE: Final = 0.05
"""Seconds, besides its own length, that a slot may be taken late: timers are late by milliseconds."""
_CLOSEST: Final = 0.75
"""Of a slot's length, between two requests even then: a bucket of one does not take them together."""


class Slot(NamedTuple):
    """Leave to send one request.

    Attributes:
        number: which of all requests against the limit it is, over all processes.
        rate: the requests a second that all processes together were let go at then.
    """

    number: int
    rate: float


class _Batch:
    __slots__ = ("gap", "left", "number", "start")

    def __init__(self, start: float, gap: float, left: int, number: int) -> None:
        self.start, self.gap, self.left, self.number = start, gap, left, number

    def skip(self, slots: int) -> None:
        self.start += slots * self.gap
        self.number += slots
        self.left -= slots


class Slots:
    """What is leased, in order.

    Example:
        >>> slots = Slots()
        >>> slots.lease(start=10.0, gap=0.1, count=3, number=41)
        >>> slots.next_at, slots.take(now=10.0), slots.left
        (10.0, Slot(number=41, rate=10.0), 2)
        >>> slots.lapse(now=10.5), slots.next_at is None
        (2, True)
    """

    __slots__ = ("_batches", "_earliest", "left")

    def __init__(self) -> None:
        self._batches: deque[_Batch] = deque()
        self._earliest = -math.inf  # not sooner after the last one
        self.left = 0

    def lease(self, start: float, gap: float, count: int, number: int) -> None:
        """So many more, one every `gap` seconds (above 0) from `start` on; `number` is that of the first."""
        if count > 0:
            self._batches.append(_Batch(start, gap, count, number))
            self.left += count

    @property
    def next_at(self) -> float | None:
        """The moment of the next one; None where none is left."""
        return max(self._batches[0].start, self._earliest) if self._batches else None

    @property
    def ends(self) -> float:
        """The moment of the last one; -inf where none is left."""
        if not self._batches:
            return -math.inf
        last = self._batches[-1]
        return last.start + (last.left - 1) * last.gap

    def after(self, place: int) -> float | None:
        """Seconds from the next one to the one that comes `place` later; None where that is not leased."""
        begin, behind = self.next_at, place
        for batch in self._batches:
            if behind < batch.left:
                return None if begin is None else max(0.0, batch.start + behind * batch.gap - begin)
            behind -= batch.left
        return None

    def take(self, now: float) -> Slot | None:
        """Use the next one up; None where none is left or its moment has not come."""
        due = self.next_at
        if due is None or now < due:
            return None
        batch = self._batches[0]
        slot = Slot(batch.number, 1 / batch.gap)
        self._earliest = now + _CLOSEST * batch.gap
        self._spend(1)
        return slot

    def lapse(self, now: float) -> int:
        """Let go of those that nobody came for in time; how many they were."""
        lapsed = 0
        while self._batches:
            batch = self._batches[0]
            overdue = now - _LATE - batch.gap - batch.start
            if overdue <= 0:
                break
            slots = min(batch.left, math.ceil(overdue / batch.gap))
            lapsed += slots
            self._spend(slots)
        return lapsed

    def drop(self) -> int:
        """Let go of all: the limit they were leased from is another one now. How many they were."""
        dropped, self.left = self.left, 0
        self._batches.clear()
        return dropped

    def _spend(self, slots: int) -> None:
        batch = self._batches[0]
        batch.skip(slots)
        self.left -= slots
        if not batch.left:
            self._batches.popleft()
