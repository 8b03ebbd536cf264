"""`MemoryStore`: sessions in this process's memory, for tests and for trying out.

Decides nothing that the other engines do not: it is the contract for engines in its plainest form, and
ends with the process.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator

from resilient_agent import clock
from resilient_agent.errors import SessionBusy
from resilient_agent.session.stores.lease import Engine, Entry, Grant, Lease, Row
from resilient_agent.session.stores.leased import LeasedStore

__all__ = ["MemoryStore"]


class MemoryStore(LeasedStore):
    """Sessions in memory: each store has its own, and they end with the process.

    Args:
        ttl: seconds after which a session is free whose owner is not heard of.

    Example:
        >>> from resilient_agent import session_guard
        >>> store = MemoryStore()
        >>> with session_guard("ticket-42", store=store, keep=True) as session:
        ...     session.append({"role": "user", "content": "hello"})
        >>> [(found.session_id, found.status) for found in store.scan()]
        [('ticket-42', 'closed')]
    """

    def __init__(self, *, ttl: float = 30.0) -> None:
        super().__init__(_Memory(), ttl=ttl)


class _Stored:
    """One session."""

    def __init__(self) -> None:
        self.epoch = 0
        self.owner = self.holder = ""
        self.ttl = 0.0
        self.expires = self.progress = self.rest = 0.0
        self.seq = 0
        self.lines: dict[int, bytes] = {}
        self.header = b""
        self.ended = False


class _Memory(Engine):
    """The engine. One lock makes each step one."""

    name = "memory"
    errors = ()

    def __init__(self, now: Callable[[], float] = clock.wall) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._epoch = 0
        self._sessions: dict[str, _Stored] = {}

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now(), datetime.UTC)

    def claim(self, lease: Lease) -> Grant:
        with self._lock:
            now = self._now()
            stored = self._sessions.setdefault(lease.session_id, _Stored())
            if stored.expires > now and stored.owner != lease.owner:
                raise SessionBusy(lease.session_id, stored.holder)
            self._epoch += 1
            stored.epoch, stored.owner, stored.holder, stored.ttl = self._epoch, lease.owner, lease.holder, lease.ttl
            stored.expires, stored.progress = now + lease.ttl, now
            return Grant(self._epoch, stored.seq, datetime.datetime.fromtimestamp(now, datetime.UTC))

    def append(self, lease: Lease, entry: Entry) -> bool:
        with self._lock:
            stored = self._owned(lease)
            if stored is None or stored.seq not in (entry.seq - 1, entry.seq):
                return False
            if entry.alone:
                stored.lines.clear()
            stored.lines[entry.seq] = entry.line
            stored.seq, stored.header = entry.seq, entry.header
            stored.ended, stored.rest = entry.ended, entry.rest
            return True

    def renew(self, leases: list[tuple[Lease, float]]) -> list[Lease]:
        with self._lock:
            now, lost = self._now(), []
            for lease, idle in leases:
                stored = self._owned(lease)
                if stored is None:
                    lost.append(lease)
                else:
                    stored.expires, stored.progress = now + stored.ttl, now - idle
            return lost

    def release(self, lease: Lease, rest: float) -> None:
        with self._lock:
            stored = self._owned(lease)
            if stored is None:
                return
            if stored.seq == 0:
                del self._sessions[lease.session_id]
            stored.owner, stored.expires, stored.rest = "", self._now(), rest

    def read(self, session_id: str) -> list[bytes]:
        with self._lock:
            stored = self._sessions.get(session_id)
            return [] if stored is None else list(stored.lines.values())

    def scan(self) -> Iterator[Row]:
        with self._lock:
            now = self._now()
            found = [(key, stored) for key, stored in self._sessions.items() if stored.seq]
            rows = [
                Row(
                    session_id,
                    stored.header,
                    stored.expires > now,
                    stored.holder,
                    datetime.datetime.fromtimestamp(stored.progress, datetime.UTC),
                )
                for session_id, stored in found
            ]
        return iter(rows)

    def due(self, limit: int) -> list[str]:
        with self._lock:
            now = self._now()
            found = [
                session_id
                for session_id, stored in self._sessions.items()
                if stored.seq and not stored.ended and stored.expires + stored.rest <= now and stored.expires <= now
            ]
        return found[:limit]

    def delete(self, lease: Lease) -> bool:
        with self._lock:
            if self._owned(lease) is None:
                return False
            del self._sessions[lease.session_id]
            return True

    def _owned(self, lease: Lease) -> _Stored | None:
        stored = self._sessions.get(lease.session_id)
        return stored if stored is not None and stored.epoch == lease.epoch else None
