"""`RetryBudget`: how much of the traffic retries may be.

Decides whether one more retry may set out. Does not know which error is retried, how long the
wait is or who waits; it is handed the time and told the outcome.

While a service answers, retries are few and a budget is never felt. When it is down every call
fails, and three retries each make four times the traffic out of it, just then: the budget keeps
that at a share. The idea and the numbers' shape are Finagle's (`RetryBudget`); that a waiting
retry counts (envoy#30205), and that a retry which helped is paid back, are not.
"""

from __future__ import annotations

import math
import threading
from typing import Any, Final, NoReturn

from resilient_agent.gates._window import SlidingCount, Stopwatch, check_number
from resilient_agent.gates.outcome import Outcome, check_outcome
from resilient_agent.verdict import Classification, ErrorType

__all__ = ["RetryBudget", "RetryToken"]

_ROUNDING: Final = 1e-9  # 0.29 of a hundred is 28.999999999999996


class RetryBudget:
    """Lets retries be at most a share of the traffic, and a few per second besides.

    Within the last `window` seconds, retries that wait, are under way or were made for nothing
    may be `share` of the first attempts, plus `floor` a second. A retry that gets the call
    through is paid back, as is one that never set out. First attempts are counted, and never
    charged or refused.

    Shared by whoever is handed the same object, and by nobody else: a copy, also one that was
    pickled, has the same settings and has seen nothing. Safe for threads.

    Args:
        share: retries for each first attempt, from 0 to 1; 0.2 lets retries add a fifth to the
            traffic.
        floor: retries per second that are allowed whatever the traffic is, so that a quiet
            program can retry; 0 for none. They may be used at once: the default lets 60 retries
            set out within the minute.
        window: seconds, above 0: how long attempts and retries are remembered, to a tenth of it.

    Raises:
        TypeError: a value is no number.
        ValueError: a number is not finite or out of its range; the text names the argument.

    The methods are handed `now`, the seconds of the caller's clock. Whoever shares a budget
    should ask it by the same clock: that of trio and that of a plain function are not the same.

    Example:
        >>> budget = RetryBudget(share=0.5, floor=0)
        >>> for _ in range(4):
        ...     budget.first_attempt(now=0.0)
        >>> tokens = [budget.retry(now=1.0) for _ in range(3)]  # half of four calls
        >>> tokens[2] is None
        True
        >>> tokens[0].settle("succeeded", now=2.0)  # it helped, so the next one may go
        True
        >>> budget.retry(now=2.0) is None
        False
        >>> budget
        <RetryBudget(share=0.5, floor=0, window=60): 0 retries left, 2 held>
    """

    def __init__(self, share: float = 0.2, *, floor: float = 1.0, window: float = 60.0) -> None:
        check_number("share", share, most=1)
        check_number("floor", floor)
        check_number("window", window, above=0)
        self._settings = (share, floor, window)
        self._share = share
        self._reserve = floor * window + _ROUNDING
        # Reentrant: the garbage collector may close an abandoned stream, and that settle its
        # token, in the middle of a method of this very budget.
        self._lock = threading.RLock()
        self._watch = Stopwatch()
        self._traffic = SlidingCount(window)
        self._spent = SlidingCount(window)
        self._held = 0

    def first_attempt(self, now: float) -> None:
        """A call sets out: counted as traffic, never charged, never refused.

        Once for each call. A call inside a call that uses the same budget is none of its own.

        Args:
            now: seconds by the caller's clock.
        """
        with self._lock:
            self._traffic.add(self._watch.read(now))

    def retry(self, now: float) -> RetryToken | None:
        """Ask for one retry, before its wait.

        Args:
            now: seconds by the caller's clock.

        Returns:
            The token of this retry, or None where the budget is exhausted: then the call ends
            with the error that it has. It never blocks, and what is refused costs nothing.
        """
        with self._lock:
            if self._left(self._watch.read(now)) < 1:
                return None
            self._held += 1
            return RetryToken(self)

    def left(self, now: float) -> int:
        """How many retries could set out at this moment.

        Args:
            now: seconds by the caller's clock.
        """
        with self._lock:
            return self._left(self._watch.read(now))

    def _left(self, at: float) -> int:
        allowed = self._share * self._traffic.total(at) + self._reserve
        return max(0, math.floor(allowed) - self._held - self._spent.total(at))

    def _take_back(self, token: RetryToken, spent_at: float | None) -> bool:
        """A token comes back, used up at a time or paid back (None). Whether it was out still."""
        with self._lock:
            if not token._open:  # noqa: SLF001 - one room
                return False
            token._open = False  # noqa: SLF001
            self._held -= 1
            if spent_at is not None:
                self._spent.add(self._watch.read(spent_at))
            return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _budget, self._settings

    def __repr__(self) -> str:
        share, floor, window = self._settings
        with self._lock:
            left, held = self._left(self._watch.elapsed), self._held
        return f"<RetryBudget(share={share:g}, floor={floor:g}, window={window:g}): {left} retries left, {held} held>"


class RetryToken:
    """The leave for one retry, from before its wait until its outcome is known.

    While it is held it counts against the budget, however long the wait: else all that sleep
    would set out together when they wake. Settle it once: the first word counts, whoever says
    it, and nothing said later changes anything.
    """

    __slots__ = ("_budget", "_open")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._open = True

    def settle(self, outcome: Outcome, now: float) -> bool:
        """The retry was made, and came to this.

        A failure that asks for yet another retry is charged, and so is a cancellation: the
        request went out, and did not help. A success is paid back. So is every other failure,
        as the service did answer: that the request was wrong is no reason to ration retries.

        Args:
            outcome: `"succeeded"`, `"cancelled"` or the `Classification` of the failure.
            now: seconds by the caller's clock.

        Returns:
            Whether this was the first word.

        Raises:
            TypeError: no such outcome. The token is held still.
        """
        check_outcome(outcome)
        return self._budget._take_back(self, now if _in_vain(outcome) else None)  # noqa: SLF001

    def give_back(self) -> bool:
        """The retry did not set out: cancelled in its wait, or refused by somebody else.

        Returns:
            Whether this was the first word.
        """
        return self._budget._take_back(self, None)  # noqa: SLF001

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RetryToken belongs to the call that it was given to: it cannot be copied or pickled")

    def __repr__(self) -> str:
        return f"<RetryToken, {'held' if self._open else 'settled'}>"


def _in_vain(outcome: Outcome) -> bool:
    if isinstance(outcome, Classification):
        return outcome.error_type is ErrorType.RETRYABLE
    return outcome == "cancelled"


def _budget(share: float, floor: float, window: float) -> RetryBudget:
    return RetryBudget(share, floor=floor, window=window)
