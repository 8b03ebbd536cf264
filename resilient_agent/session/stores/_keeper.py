"""`Keeper`: renews the leases that this process holds, and says when one can be relied on no more.

Two threads for a store, while anything is held: one asks the store, and may have to wait for it; the other
only looks at the clock, so that an owner stops in time also while the store does not answer. Both are no
event loop's: a loop that is blocked for a minute by a tool keeps its sessions. Does not know what
a lease is, nor how it is renewed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from resilient_agent import clock

__all__ = ["Keeper"]

logger: Final = logging.getLogger("resilient_agent.session")

_SOONER: Final = 0.1
"""Of the time between two renewals, after one that failed."""


class Kept(Protocol):
    """What is kept."""

    def left(self) -> float:
        """Seconds that it may be relied on."""

    def expire(self) -> None:
        """That is over."""

    def beat(self) -> None:
        """It is about to be renewed: let the owner show that it gets on."""


K = TypeVar("K", bound=Kept)


class Keeper(Generic[K]):
    """Keeps what it is given until it is dropped.

    Args:
        renew: renews all of a list.
        every: seconds between two renewals.
    """

    def __init__(self, renew: Callable[[list[K]], object], *, every: float) -> None:
        self._renew = renew
        self._every = every
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._held: dict[int, K] = {}

    def keep(self, held: K) -> None:
        """Renew it from now on.

        Raises:
            RuntimeError: no thread can be started for it; it is not kept.
        """
        if self._pid != os.getpid():  # a forked child: it has none of its parent's threads, and holds nothing
            self._begin()
        with self._lock:
            first = not self._held
            self._held[id(held)] = held
            if first:
                self._start()

    def _start(self) -> None:
        self._stop = stop = threading.Event()
        try:
            for work in (self._renewing, self._watching):
                threading.Thread(target=work, args=(stop,), name="resilient_agent lease", daemon=True).start()
        except BaseException:  # the next one is the first again
            stop.set()
            self._held.clear()
            raise

    def drop(self, held: K) -> None:
        """Renew it no more."""
        with self._lock:
            self._held.pop(id(held), None)
            if not self._held:
                self._stop.set()

    def all(self) -> list[K]:
        """What it keeps at the moment."""
        with self._lock:
            return list(self._held.values())

    def _renewing(self, stop: threading.Event) -> None:
        pause, said = self._every, False
        while not stop.wait(pause):
            began = clock.monotonic()
            held = self.all()
            for each in held:
                each.beat()
            try:
                self._renew(held)
            except Exception as error:  # whatever it is, the next attempt may work, and the watch goes on
                if not said:
                    logger.warning("%d leases could not be renewed, trying again: %s", len(held), error)
                pause, said = self._every * _SOONER, True
            else:
                pause, said = max(0.0, self._every - (clock.monotonic() - began)), False

    def _watching(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            pause = self._every
            for each in self.all():
                left = each.left()
                if left <= 0:
                    each.expire()
                else:
                    pause = min(pause, left)
