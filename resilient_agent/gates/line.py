"""`Line`: who waits, in the order in which the calls began.

A call that comes back after a refusal gets its old place again. Nobody in the line holds
anything: whoever leaves leaves no hole, and a first in line who does not come is passed over.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import Final

__all__ = ["Line", "Ticket"]

_ABANDONED: Final = 1.0
"""Seconds after which somebody who does not come when he said he would is passed over."""


class Ticket:
    """One call's place, kept over its attempts.

    Attributes:
        seq: its place: whoever has the smallest goes first.
        sent_at: when its last attempt was let go; None where nobody looked (the lane was idle).
        number: which of the lane's requests that attempt was.
        pace: the requests a second at which it was let go; 0 where nobody was held up.
        crowd: how many other requests were under way then.
        under_way: whether that attempt has not come back yet.
        failures: how often it was refused.
        era: in which of the lane's open times it met an overload.
        rest_until: before that it does not probe: it has few retries, and spreads them.
        due: when it will ask again.
    """

    __slots__ = ("crowd", "due", "era", "failures", "number", "pace", "rest_until", "sent_at", "seq", "under_way")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.sent_at: float | None = None
        self.number = 0
        self.pace = 0.0
        self.crowd = 0
        self.under_way = False
        self.failures = 0
        self.era = -1
        self.rest_until = -math.inf
        self.due = math.inf


class Line:
    """The waiting, sorted. Joining and leaving is a search and a move of memory, even among thousands."""

    __slots__ = ("_order", "_waiting")

    def __init__(self) -> None:
        self._order: list[int] = []
        self._waiting: dict[int, Ticket] = {}

    def __len__(self) -> int:
        return len(self._order)

    def place(self, ticket: Ticket) -> int:
        """How many stand in front of it, whether it has joined or not."""
        return bisect_left(self._order, ticket.seq)

    def most_spared(self, ticket: Ticket, more: int = 0) -> bool:
        """Whether all who stand in front of it were refused more often, by at least so many times more than once."""
        return all(self._waiting[seq].failures > ticket.failures + more for seq in self._order[: self.place(ticket)])

    def failures(self) -> list[int]:
        """How often each of them was refused."""
        return [ticket.failures for ticket in self._waiting.values()]

    def join(self, ticket: Ticket, due: float) -> None:
        """Stand in the line, to ask again at `due`."""
        ticket.due = due
        if ticket.seq not in self._waiting:
            self._waiting[ticket.seq] = ticket
            insort(self._order, ticket.seq)

    def leave(self, ticket: Ticket) -> bool:
        """Stand there no longer. Whether it did."""
        if self._waiting.pop(ticket.seq, None) is None:
            return False
        del self._order[self.place(ticket)]
        return True

    def pass_over(self, now: float) -> None:
        """Drop those in front who are overdue (a thread that stands still, a loop that is gone)."""
        while self._order and self._waiting[self._order[0]].due + _ABANDONED < now:
            self.leave(self._waiting[self._order[0]])
