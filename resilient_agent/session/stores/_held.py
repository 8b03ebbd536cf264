"""`Held`: a lease in its owner's hands.

Decides when an owner has to stop: the store says that somebody else has the session, or too much time has
passed since it was last sure that nobody has. Tells the owner, once. Does not know what is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import secrets
import threading
from collections.abc import Callable
from typing import Any, Final

from resilient_agent import clock
from resilient_agent.errors import SessionBusy, SessionClosed, SessionLost, StorageError
from resilient_agent.session.stores import base
from resilient_agent.session.stores._asking import Asking
from resilient_agent.session.stores._keeper import Keeper
from resilient_agent.session.stores.lease import Engine, Entry, Grant, Lease, Tenure

__all__ = ["Held"]

logger: Final = logging.getLogger("resilient_agent.session")

_MARGIN: Final = 0.2
"""Of the ttl: that long before its end an owner stops. Clocks differ by less over so short a time."""
_TAKEN: Final = "another owner has taken it, or it was deleted"


class Held:
    """A lease, from its claim to its end.

    Attributes:
        lease: the lease, with the present epoch.
        found_seq: the number of the last record when it was claimed.
        progress: when the owner got on last, by the monotonic clock.
    """

    def __init__(self, session_id: str, ttl: float, engine: Engine, ask: Asking, keeper: Keeper[Any]) -> None:
        self._engine = engine
        self._ask = ask
        self._keeper = keeper
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._told: Callable[[SessionLost], object] = _nobody
        self._beat: Callable[[Callable[[], object]], object] | None = None
        self._lost = ""  # why it is lost; empty while it is not
        self._released = False
        self._retaking = False
        self.found_seq = self._take(Lease(session_id, 0, secrets.token_hex(8), _holder(), ttl), until=None).seq
        try:
            keeper.keep(self)
        except BaseException:  # what nobody keeps must not be held
            self.release(0.0)
            raise

    def _take(self, lease: Lease, *, until: Callable[[], float] | None) -> Grant:
        """Claim, for the first time or under a new epoch."""

        def claim() -> tuple[float, Grant, float]:
            return clock.monotonic(), self._engine.claim(lease), clock.monotonic()

        asked_at, grant, told_at = self._ask(claim, until=until)
        self.lease = dataclasses.replace(lease, epoch=grant.epoch)
        self._tenure = Tenure(lease.ttl, lease.ttl * _MARGIN, asked_at)
        self.progress = asked_at
        self._granted = grant.now, told_at  # a moment later: no record is ever of the future
        return grant

    def retake(self) -> None:
        """Take a new epoch: whatever of the old one is still on its way will be refused.

        Raises:
            SessionLost: somebody else has the session.
            StorageError: the store is away.
        """
        self._retaking = True
        try:
            self._take(self.lease, until=self.left)
        except SessionBusy as busy:
            self._lose(f"it is held by {busy.holder}")
        finally:
            self._retaking = False
        self.check()

    def write(self, entry: Entry) -> None:
        """Have the store take a record.

        Raises:
            SessionLost: somebody else has the session; nothing is stored.
            StorageError: whether it is stored is not known.
        """
        lease = self.lease
        if not self._ask(lambda: self._engine.append(lease, entry), until=self.left):
            self._lose(_TAKEN)
            raise self._error()
        self.got_on()

    def read(self) -> list[bytes]:
        """The lines of the records that are stored."""
        return self._ask(lambda: self._engine.read(self.lease.session_id), until=self.left)

    def moment(self) -> datetime.datetime:
        """The store's clock, as far as this process knows it: of the local one only seconds are believed."""
        then, at = self._granted
        return then + datetime.timedelta(seconds=clock.monotonic() - at)

    def left(self) -> float:
        """Seconds that the lease may be relied on."""
        return self._tenure.left(clock.monotonic())

    def check(self) -> None:
        """That it may be written under this lease.

        Raises:
            SessionLost, SessionClosed: it may not.
        """
        if self.inherited:
            raise SessionLost(f"the session belongs to process {self._pid}, of which this one is a fork")
        if self._released:
            raise SessionClosed(f"the guard of session {self.lease.session_id!r} was left: nothing can be saved to it")
        if self.left() <= 0:
            self.expire()
        if self._lost:
            raise self._error()

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy."""
        return self._pid != os.getpid()

    def attend(
        self, lost: Callable[[SessionLost], object], beat: Callable[[Callable[[], object]], object] | None
    ) -> None:
        """See `base.SessionLog.attend`."""
        with self._lock:
            self._told, self._beat = lost, beat
            late = bool(self._lost)
        if late:
            lost(self._error())

    # What the keeper asks and says

    def beat(self) -> None:
        """Have the owner's event loop say that it turns."""
        if self._beat is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._beat(self.got_on)

    def got_on(self) -> None:
        """The owner got on."""
        self.progress = clock.monotonic()

    def renewed(self, lease: Lease, asked_at: float, *, still_ours: bool) -> None:
        """What the store said of this lease, when it was asked at this moment."""
        if still_ours:
            self._tenure.extend(asked_at)
        elif self.lease is lease and not self._retaking:  # else it was ourselves who took a new epoch
            self._lose(_TAKEN)

    def expire(self) -> None:
        """The time is over in which it is sure that nobody else has the session."""
        ttl = self.lease.ttl
        self._lose(f"its lease of {ttl:g} s was not renewed in time, as the process stood still or the store was away")

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._lost or self._released:
                return
            self._lost, tell = why, self._told
        self._keeper.drop(self)
        logger.warning("session %r was lost: %s", self.lease.session_id, why)
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            tell(self._error())

    def _error(self) -> SessionLost:
        return SessionLost(f"session {self.lease.session_id!r} is not this guard's any more: {self._lost}")

    # Its end

    def renew(self) -> None:
        """Renew it now."""
        self.check()
        lease = self.lease

        def renew() -> tuple[float, list[Lease]]:
            now = clock.monotonic()
            return now, self._engine.renew([(lease, now - self.progress)])

        asked_at, lost = self._ask(renew, until=self.left)
        self.renewed(lease, asked_at, still_ours=not lost)
        self.check()

    def release(self, rest: float) -> None:
        """End the lease; where the store does not hear of it, it ends by itself."""
        if not self._end() or self._lost:
            return
        lease = self.lease
        try:
            self._ask(lambda: self._engine.release(lease, rest), until=self.left)
        except StorageError as error:
            logger.warning("session %r is free in %g s only: %s", lease.session_id, lease.ttl, error)

    def delete(self) -> None:
        """Remove the session and everything of it, and end the lease.

        Raises:
            SessionLost, StorageError: it is still there, or somebody else's.
        """
        lease, asked = self.lease, 0

        def delete() -> bool:
            nonlocal asked
            asked += 1
            return self._engine.delete(lease)

        # Gone when it is asked again: the first answer was lost on its way.
        if not self._ask(delete, until=self.left) and asked == 1:
            self._lose(_TAKEN)
            raise self._error()
        self._end()

    def _end(self) -> bool:
        """Hold it no more; whether it was held."""
        with self._lock:
            ended, self._released = self._released, True
        if ended or self.inherited:
            return False
        self._keeper.drop(self)
        return True


def _nobody(_: SessionLost) -> None:
    """Nobody attends."""


def _holder() -> str:
    found = base.process()
    return f"process {found['pid']} on {found['host']}"
