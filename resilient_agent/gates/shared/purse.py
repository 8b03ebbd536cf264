"""`Purse`: the tokens that a process may spend until it hears again how many there are.

Decides whether one more may be spent, and when it is time to ask. Counts in seconds of any clock that
goes forward; must not know who leases tokens out, nor what they are for.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["LAPSE", "Purse"]

LAPSE: Final = 5.0
"""Seconds after which tokens that were not spent are the others' again."""
_FRESH: Final = 2.0
"""Seconds for which an answer holds: after that nobody knows how many there are."""
_EVERY: Final = 1.0
"""Seconds after which to ask anew, where something is going on."""
_PATIENCE: Final = 0.25
"""Seconds after which an answer is late."""
_MANY: Final = 20
"""Attempts that nobody has been told of, from which on they are worth a question."""


class Purse:
    """Tokens leased, and what was done since with them.

    Attributes:
        untold: attempts that the others have not been told of.
        charged: retries in vain that the others have not been told of.

    Example:
        >>> purse = Purse()
        >>> purse.knows(now=10.0)  # nobody has said anything
        False
        >>> purse.asks(now=10.0)
        >>> purse.filled(tokens=1, credit=1, now=10.0)
        >>> [purse.spend() for _ in range(3)]
        [True, True, False]
    """

    __slots__ = ("_answered_at", "_asked_at", "_credit", "_filled", "_since", "_tokens", "charged", "untold")

    def __init__(self) -> None:
        self._tokens = 0  # below 0: on credit
        self._credit = 0
        self._filled = 0
        self._since = 0  # what was taken out, less what was put back, since the question that is on its way
        self._asked_at: float | None = None
        self._answered_at = -math.inf
        self.untold = self.charged = 0

    def knows(self, now: float) -> bool:
        """Whether what it holds is worth anything: an answer came lately, and none is late."""
        late = self._asked_at is not None and now > self._asked_at + _PATIENCE
        return not late and now < self._answered_at + _FRESH

    @property
    def left(self) -> int:
        """How many may be spent."""
        return max(0, self._tokens + self._credit)

    def spend(self) -> bool:
        """Take one out, where there is one."""
        if self.left < 1:
            return False
        self._tokens -= 1
        self._since += 1
        return True

    def put_back(self) -> None:
        """One was not needed."""
        self._tokens += 1
        self._since -= 1

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask: for long nobody did, much was done, or few are left."""
        if self._asked_at is not None:
            return now > self._asked_at + _EVERY  # it was lost, so ask once more
        low = self._since > 0 and 2 * self._tokens <= self._filled
        return low or now > self._answered_at + _EVERY or self.untold >= _MANY

    def asks(self, now: float) -> None:
        """A question is to be sent."""
        self._asked_at = now

    def told(self) -> tuple[int, int]:
        """It is being sent: the attempts and the retries in vain that it tells of."""
        told = self.untold, self.charged
        self.untold = self.charged = self._since = 0
        return told

    def filled(self, tokens: int, credit: int, now: float) -> None:
        """It was answered: so many to spend, and so many more while the next question is on its way."""
        self._tokens, self._credit, self._filled = tokens - self._since, credit, tokens
        self._asked_at, self._answered_at = None, now
