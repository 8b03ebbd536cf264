"""`Crowd`: how many requests a server takes at a time, where that is what it limits.

Such a server refuses with the very number under way each time, whatever the rate, so two refusals
alike make a suspicion. Not where as many were let in between them (at a steady rate about as many are
under way at any time), nor where the server names another wait each time: it knows by the clock when it
will let in the next, and nobody knows when a request will be answered. One request more than that puts
the suspicion to the test: if it is let in, the limit is not of this kind. It goes when they have
gone about as far apart as on average: a rate that lets them through would let it through as well. Must not
know: rates, what the time is, who stands in line.
"""

from __future__ import annotations

from typing import Final

from resilient_agent.gates.line import Ticket

__all__ = ["Crowd"]

_ALIKE: Final = 0.1
_ROUNDS: Final = 8
_MOST_ROUNDS: Final = 32
"""Times the whole room is used anew between two tests of a suspicion that was confirmed: at first, and
when it was confirmed again."""
_AVERAGE: Final = 4
"""So many must have gone before it is known how far apart they go."""
_NEARLY: Final = 0.9
"""Of that time: where all answers take the same, a whole one never passes without somebody going."""


class Crowd:
    """Counts what is under way.

    Attributes:
        room: how many the server takes; None where it limits something else.
    """

    __slots__ = (
        "_last", "_named", "_patience", "_seen", "_seen_before", "_since", "_since_at", "_test", "_under_way",
        "_went_at", "room",
    )  # fmt: skip

    def __init__(self) -> None:
        self.room: int | None = None
        self._under_way = 0
        self._last = 0
        self._seen = self._seen_before = 0  # most under way when one was let in, since the last refusal and before
        self._named = 0.0
        self._test: Ticket | None = None
        self._since = 0  # how many went since there was a test or a suspicion, when that was, and when the last went
        self._since_at = self._went_at = 0.0
        self._patience = 0

    def go(self, ticket: Ticket, now: float) -> None:
        """One more is under way."""
        if not ticket.under_way:
            ticket.under_way = True
            ticket.crowd = self._under_way
            self._under_way += 1
        self._since += 1
        self._went_at = now
        if self.room is not None and ticket.crowd >= self.room:
            self._test = ticket

    def back(self, ticket: Ticket) -> None:
        """It is under way no longer."""
        if ticket.under_way:
            ticket.under_way = False
            self._under_way -= 1
        if self._test is ticket:
            self._test = None

    def let_in(self, ticket: Ticket) -> None:
        """It was not refused."""
        self._seen = max(self._seen, ticket.crowd)
        if self.room is not None and ticket.crowd >= self.room:
            self.room, self._last, self._test = None, 0, None

    def refused(self, ticket: Ticket, now: float, window: float = 0.0) -> bool:
        """It was, and told to wait for so many seconds. Whether for the crowd, as far as is known."""
        crowd, last, room = ticket.crowd, self._last, self.room
        seen = max(self._seen, self._seen_before)
        foretold = 0 < self._named != window > 0
        self._last, self._named, self._seen, self._seen_before = crowd, window, 0, self._seen
        if room is not None and crowd >= room:
            self._patience = room * (_ROUNDS if self._patience == _AVERAGE else _MOST_ROUNDS)
            self._since, self._since_at = 0, now
            return True
        self.room = None
        if room is None and not foretold and min(crowd, last) > seen and abs(crowd - last) <= _ALIKE * crowd:
            self.room = max(crowd, last)
            self._patience = _AVERAGE
            self._since, self._since_at = 0, now
        return False

    def free(self, now: float, grace: float) -> int | None:
        """How many more may go now; None where nothing is known of a room.

        Args:
            now: the moment.
            grace: seconds after which a request that has not been refused was let in.
        """
        test = self._test
        if test is not None and test.sent_at is not None and now > test.sent_at + grace:
            self.let_in(test)
        if self.room is None:
            return None
        if self._test is None and self._since >= self._patience and self._paused(now):
            return max(1, self.room + 1 - self._under_way)
        return self.room - self._under_way

    def _paused(self, now: float) -> bool:
        """Whether the last one went about as long ago as they go on average."""
        return now - self._went_at >= _NEARLY * (self._went_at - self._since_at) / self._since
