"""`Pacer`: lets calls wait for a rate limit together, in place of each finding out alone.

Decides which calls share a limit, and for how long what was learned about it is kept. Who goes
when is decided in `lane.py`; nothing here waits or reads a clock.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Hashable
from typing import Any, Final

from resilient_agent.gates.lane import Lane
from resilient_agent.gates.line import Ticket

__all__ = ["Lane", "Pacer", "Ticket"]

_SHOWN: Final = 3
_SELDOM: Final = 1.0
"""Seconds between two looks at all lanes: of thousands each look takes milliseconds."""


class Pacer:
    """Lets calls against one service wait for its rate limit together, in order.

    While no limit was met it does nothing, and costs a call one look at `active`. After a 429 all
    who come through the same pacer wait for the window that the server named, then go one by
    one, at a rate that is learned from what is let through and what is refused. It grows again
    while nobody is refused; after a minute without a refusal in which nobody had to wait, the
    limit is forgotten. Where going slower turns out to be no help (shared capacity that refuses a
    part of all requests, however few they are) it goes back to what was let through before. Limits on
    how many requests may be under way at once are found out too. During an outage (503, 529) single
    calls probe, and the others wait without using up retries.

    Each decorated function has one of its own. Share one between functions that call the same
    model with the same account: `@resilient(pacer=shared)`. Where one function serves several
    accounts, `pace_by` gives each its own lane.

    Shared by whoever is handed the same object, and by nobody else: a copy, also one that was
    pickled, has the same name and has learned nothing. Safe for threads.

    Args:
        name: what is paced, for people: a model, an account.

    Raises:
        TypeError: the name is no str.

    Attributes:
        active: whether any of its lanes met a limit or an overload lately.

    Methods are handed `now`, the seconds of the caller's clock; see `RetryBudget`. A trio run begins its
    clock anywhere: to one that is shared with plain code, asyncio or another run, long may seem to have
    passed, and a wait or an opening may be over too early. Give trio one of its own, and keep to one run.

    Example:
        >>> pacer = Pacer(name="gpt-4o")
        >>> lane = pacer.lane(None, now=10.0)
        >>> first, second = lane.ticket(), lane.ticket()
        >>> lane.limited(first, now=10.0, wait=2.5)  # a 429 with Retry-After
        >>> pacer.active, lane.floor(now=11.0)
        (True, 1.5)
        >>> [lane.ask(ticket, now=11.0) > 0 for ticket in (second, first)]
        [True, True]
        >>> lane.ask(second, now=12.5) > 0, lane.ask(first, now=12.5)  # in the order in which they began
        (True, 0.0)
        >>> pacer
        <Pacer 'gpt-4o': 4 requests/s, 1 wait>
    """

    def __init__(self, *, name: str = "") -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {name!r}")
        self.active = False
        self._name = name
        # Reentrant: as in a lane.
        self._lock = threading.RLock()
        # A lane lives while some call holds it, or while it is active: of a million keys that
        # were seen once nothing stays.
        self._lanes: weakref.WeakValueDictionary[Hashable, Lane] = weakref.WeakValueDictionary()
        self._awake: set[Lane] = set()
        self._settled_at = -math.inf

    @property
    def name(self) -> str:
        """What is paced, for people."""
        return self._name

    def lane(self, key: Hashable, now: float) -> Lane:
        """Where calls with this key wait for each other.

        Args:
            key: what they have in common: an account, a model. None for calls without one.
            now: seconds by the caller's clock: lanes that were quiet for long are let go.
        """
        if abs(now - self._settled_at) >= _SELDOM:  # a clock that went back is another one
            self._settled_at = now
            self._settle_down(now)
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = self._new_lane(key)
            return lane

    def _new_lane(self, key: Hashable) -> Lane:  # noqa: ARG002 - one that is shared by several processes needs a name
        return Lane(self._stirred)

    def _settle_down(self, now: float) -> None:
        with self._lock:
            awake = tuple(self._awake)
        for lane in awake:
            lane.settle_down(now)

    def _stirred(self, lane: Lane) -> None:
        with self._lock:
            if lane.active:
                self._awake.add(lane)
            else:
                self._awake.discard(lane)
            self.active = bool(self._awake)

    def __reduce__(self) -> tuple[Any, ...]:
        return _pacer, (self._name,)

    def __repr__(self) -> str:
        with self._lock:
            awake = tuple(self._awake)
            title = f"Pacer {self._name!r}" if self._name else "Pacer"
        told = [repr(lane).removeprefix("<Lane: ").removesuffix(">") for lane in awake[:_SHOWN]]
        more = [f"{len(awake) - _SHOWN} more lanes"] if len(awake) > _SHOWN else []
        return f"<{title}: {'; '.join(told + more) or 'idle'}>"


def _pacer(name: str) -> Pacer:
    return Pacer(name=name)
