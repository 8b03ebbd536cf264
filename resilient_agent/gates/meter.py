"""`Meter`: how fast a server lets requests through, learned from its refusals.

Most limits are buckets, and at the moment of a refusal the bucket is empty. So between two
refusals as many requests were let through as the bucket gained in that time: their number over
the time is the rate, whatever size the bucket has. Where the server names a wait, there is one
token in the bucket when it ends, or a fresh window begins: then it is counted from there.

The figure is too low where the bucket had been full in between, or where refusals cost tokens
as well: see `Guess`. Counts and divides; knows no queue and decides nothing about who goes when.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ENOUGH", "Mark", "Meter"]

ENOUGH: Final = 24
"""Requests let through between two refusals that make an estimate good to a few per cent."""
_KEPT: Final = 8
_SLACK: Final = 1.5
"""How many requests a count may be off, at both ends together."""
_STEADY: Final = 1.25
"""Two stretches whose rates differ by more than this, and more than the slack, had different limits."""
_WINDOW: Final = 2.5
"""A named wait in which more than so many requests would pass is no bucket's wait for its next token."""


class Mark:
    """One emptiness of the bucket: when it began to fill, and what had been let through by then."""

    __slots__ = ("at", "burst", "named", "passed")

    def __init__(self, at: float, passed: int, *, named: bool) -> None:
        self.at = at
        self.passed = passed
        self.named = named
        self.burst = 1  # how many refusals told of it


class Meter:
    """Counts what is sent and refused.

    Attributes:
        sent: the number of requests so far, which is also the number of the last one.
        burst: how many refusals the last cut has cost so far.
        told: how many refusals told of the last emptiness so far, those of the first herd as well.
        marks: when the bucket was empty, the latest last.
    """

    __slots__ = ("_refused", "marks", "sent", "told")

    def __init__(self) -> None:
        self.sent = self.told = 0
        self._refused = 0
        self.marks: list[Mark] = []

    @property
    def burst(self) -> int:  # noqa: D102 - an attribute, described above
        return self.marks[-1].burst if self.marks else 0

    def refused(self, *, paced: bool) -> None:
        """One of those sent was not let through. `paced`: it had been let go; else it is of the first herd."""
        self._refused += 1
        if self.marks and paced:
            self.marks[-1].burst += 1

    def missed(self, requests: int) -> None:
        """So many that were counted as sent have not set out."""
        self._refused += requests

    def fleet(self, sent: int, refused: int, burst: int) -> None:
        """What all processes together have sent, as far as is known here."""
        self.sent, self._refused = sent, refused
        if self.marks:
            self.marks[-1].burst = burst

    def passed(self, number: int) -> int:
        """How many were let through since the last mark, up to request `number`."""
        return number - self._refused - (self.marks[-1].passed if self.marks else 0)

    def mark(self, at: float, number: int, window: float) -> None:
        """The bucket was empty at `at`, when request `number` was sent, and is so for `window` seconds more."""
        self.told = 1
        self.marks.append(Mark(at + window, number - self._refused, named=window > 0))
        del self.marks[:-_KEPT]

    def still_empty(self, until: float, number: int) -> None:
        """The same emptiness, told once more by another request of the same burst."""
        self.told += 1
        if self.marks:
            mark = self.marks[-1]
            mark.at, mark.passed = max(until, mark.at), number - self._refused

    def restart(self) -> None:
        """Count from the last mark on only: before it the bucket may have been full."""
        del self.marks[:-1]

    def forget(self) -> None:
        """What was counted says nothing about what follows, as after an outage: the bucket is full again."""
        self.marks.clear()

    def estimate(self, at: float, number: int, window: float) -> tuple[float, float]:
        """Requests a second let through until the refusal of request `number`, and how many they were.

        Over as few of the last marks as give `ENOUGH`, and never back over a change of the limit.
        Zero where nothing can be said.
        """
        rate, seen = self._over(at, number)
        if window * rate > _WINDOW:
            # A window's share was used up at once, and the time until the next one belongs to it.
            whole, _ = self._over(at + window, number)
            rate = whole if seen >= _WINDOW else (whole * rate) ** 0.5
        return rate, seen

    def _over(self, at: float, number: int) -> tuple[float, float]:
        rate, seen = 0.0, 0.0
        slack = _SLACK
        for mark in reversed(self.marks):
            # Where a wait was named, between none and one of them was in the bucket already.
            span, passed = at - mark.at, number - self._refused - mark.passed - 0.5 * mark.named
            if span <= 0 or passed <= 0:
                continue
            if seen:
                expected = passed / span * seen / rate
                if not expected / _STEADY - slack <= seen <= expected * _STEADY + slack:
                    break
            rate, seen = passed / span, passed
            slack = _SLACK + mark.burst
            if seen >= ENOUGH:
                break
        return rate, seen
