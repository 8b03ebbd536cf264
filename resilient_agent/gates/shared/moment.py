"""`ServerTime`: what a server's clock says now, on this process's clock.

All who share a limit count by the server's clock, so that nobody's wall clock matters. A reply tells
what it was at some moment between question and answer; from many replies the offset is known as
exactly as the quickest of them. Counts; reads no clock.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["ServerTime"]

_DRIFT: Final = 0.0005
"""Seconds a second that two clocks may go apart, a slewed one included."""


class ServerTime:
    """Seconds by the server's clock, from those of a clock of one's own that goes forward.

    Example:
        >>> time = ServerTime()
        >>> time.seen(asked=10.0, said=1000.3, answered=10.4)
        >>> round(time.at(11.0), 6)
        1001.1
    """

    __slots__ = ("_high", "_low", "_seen")

    def __init__(self) -> None:
        self._low, self._high = -math.inf, math.inf  # the offset lies between them
        self._seen = 0.0

    @property
    def known(self) -> bool:
        """Whether there was a reply yet."""
        return self._high < math.inf

    def seen(self, asked: float, said: float, answered: float) -> None:
        """A reply came: between asking and its answer the server's clock said so."""
        widened = _DRIFT * max(0.0, answered - self._seen)
        low, high = max(self._low - widened, said - answered), min(self._high + widened, said - asked)
        if low > high:  # somebody has set the server's clock
            low, high = said - answered, said - asked
        self._low, self._high, self._seen = low, high, answered

    def at(self, own: float) -> float:
        """What it says when this process's clock says `own`; 0 offset where nothing is known."""
        return own + (self._low + self._high) / 2 if self.known else own
