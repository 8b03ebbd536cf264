"""`LeasedStore`: sessions in a database that several machines share; what is the same for all of them.

Decides how the steps of an engine make up a store: whom to ask for what, and in which order. What a
database does is its engine's business (`postgres.py`, `redis.py`, `memory.py`, or a third party's); what
an engine has to do is said in `lease.Engine`. Must not know: SQL, scripts, event loops, what a message is.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from resilient_agent import clock
from resilient_agent.errors import SessionBusy
from resilient_agent.session.history import History
from resilient_agent.session.record import read_line
from resilient_agent.session.stores import base
from resilient_agent.session.stores._asking import Asking
from resilient_agent.session.stores._held import Held
from resilient_agent.session.stores._keeper import Keeper
from resilient_agent.session.stores._leasedlog import Header, LeasedLog, as_log
from resilient_agent.session.stores.base import Admit, Codec, StoredSession, StoredStatus
from resilient_agent.session.stores.lease import Engine, Row, rest_after

__all__ = ["LeasedStore"]

_TTL: Final = 30.0
_PATIENCE: Final = 10.0

_read_header: Final = msgspec.json.Decoder(Header).decode


class LeasedStore:
    """Sessions in a database, under leases. Threads may share it; a forked child uses it as its own.

    Args:
        engine: the database; `open_store` makes it from a URL.
        ttl: seconds after which a session is free whose owner is not heard of; at least 1. The lease is renewed
            after each third of that, by a thread of its own, so a blocked event loop does not lose it.
        patience: seconds that the database may be away before an error says so.

    Raises:
        ValueError: a number is out of its range.

    Attributes:
        engine: the database.
        ttl: as given.

    Example:
        >>> from resilient_agent import MemoryStore
        >>> store = MemoryStore(ttl=30)
        >>> [found.session_id for found in store.scan()]
        []
    """

    def __init__(self, engine: Engine, *, ttl: float = _TTL, patience: float = _PATIENCE) -> None:
        if not ttl >= 1:
            raise ValueError(f"ttl must be at least 1 second, not {ttl!r}")
        if not patience >= 0:
            raise ValueError(f"patience must not be negative, not {patience!r}")
        self.ttl = float(ttl)
        self.engine = engine
        self._ask = Asking(engine, patience)
        self._keeper = Keeper(self._renew, every=self.ttl / 3)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.engine.name!r})"

    def claim(self, session_id: str, *, admit: Admit = base.goes_on, codec: Codec | None = None) -> LeasedLog:
        """Become the owner of a session; see `base`, and `FileStore.claim`.

        Raises:
            SessionBusy, InvalidSessionId, UnsupportedFormat, SessionSealed: as there.
            StoreUnavailable: the database did not answer.
        """
        held = self._hold(session_id)
        try:
            return LeasedLog(held, admit=admit, codec=codec)
        except BaseException as refusal:
            held.release(rest_after(refusal, held.moment()))
            raise

    def read(self, session_id: str, *, codec: Codec | None = None) -> History | None:
        """What is stored of a session, whoever owns it; None where there is nothing."""
        base.check_session_id(session_id)
        lines = self._ask(lambda: self.engine.read(session_id))
        history, _ = base.folded(as_log(lines), codec, session_id)
        return None if history.status == "new" else history

    def scan(self) -> Iterator[StoredSession]:
        """All sessions, in no order. Reads what is said of each, not the conversations."""
        yield from map(_listed, self._ask(lambda: list(self.engine.scan())))

    def due(self, limit: int) -> list[str]:
        """Ids of interrupted sessions that may be gone on with now, not more than so many."""
        return self._ask(lambda: self.engine.due(limit))

    def delete(self, session_id: str) -> bool:
        """Remove a session for good; whether there was one.

        Raises:
            SessionBusy: somebody holds it.
            StoreUnavailable: the database did not answer.
        """
        held = self._hold(session_id)
        if held.found_seq == 0:
            held.release(0.0)
            return False
        held.delete()
        return True

    def prune(
        self, *, older_than: float | datetime.timedelta, status: StoredStatus | Collection[StoredStatus]
    ) -> list[StoredSession]:
        """Remove the sessions whose last save is at least `older_than` ago and whose status is `status`."""
        is_due = base.prunable(older_than, status, self._ask(self.engine.now))
        return [found for found in filter(is_due, self.scan()) if self._removed(found)]

    def _removed(self, found: StoredSession) -> bool:
        """Remove a session, if it is as it was listed; whether it was."""
        try:
            held = self._hold(found.session_id)
        except SessionBusy:  # somebody has just resumed it
            return False
        with contextlib.ExitStack() as otherwise:
            otherwise.callback(held.release, 0.0)
            if self._saved_at(found.session_id) != found.saved_at:  # resumed and left again since then
                return False
            held.delete()
        return True

    def _saved_at(self, session_id: str) -> datetime.datetime | None:
        """When it was saved last, as its last record says also where what it holds is sealed."""
        lines = self._ask(lambda: self.engine.read(session_id))
        last = read_line(lines[-1]) if lines else ""
        return None if isinstance(last, str) else last.at

    def _hold(self, session_id: str) -> Held:
        base.check_session_id(session_id)
        try:
            return Held(session_id, self.ttl, self.engine, self._ask, self._keeper)
        except SessionBusy as busy:
            if any(held.lease.session_id == session_id for held in self._keeper.all()):
                raise SessionBusy(session_id, f"another guard in this very process ({busy.holder})") from None
            raise

    def _renew(self, held: list[Held]) -> None:
        """Renew these leases in one request; called by the keeper, which asks again where it fails."""
        now = clock.monotonic()
        asked = [(each, each.lease) for each in held]
        lost = self.engine.renew([(lease, now - each.progress) for each, lease in asked])
        gone = {lease.owner for lease in lost}
        for each, lease in asked:
            each.renewed(lease, now, still_ours=lease.owner not in gone)


def _listed(row: Row) -> StoredSession:
    header = _read_header(row.header)
    status: StoredStatus = "live" if row.live else "closed" if header.status == "closed" else "interrupted"
    return StoredSession(
        session_id=row.session_id,
        status=status,
        message_count=header.count,
        saved_at=header.at,
        interruption=header.interruption if status == "interrupted" else None,
        holder=row.holder if row.live else "",
        progress_at=max(row.progress_at, header.at) if row.live else None,
    )
