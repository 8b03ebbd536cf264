"""What a store of sessions is: the contract, in words, and the types that all stores share.

A store holds sessions; a session is a log of records; one owner at a time may write to it. Every
store keeps these promises (`resilient_agent.testing.store_contract` puts each of them to the test):

1. **claim** makes the caller the owner of a session, new or stored, and gives its log. While somebody
   owns it everybody else gets `SessionBusy` at once. Of many who claim at the same time one wins. Before
   anything is changed `admit` is asked; what it raises comes out, and the session stands as it stood.
2. **append** writes one record. When it returns, the record survives whatever the store promises to survive.
   When it raises, the record does not count, now or ever, and the next may be tried; repeated, it is
   there once. The append of somebody who is the owner no longer raises `SessionLost` and leaves nothing;
   the store compares the epoch in the very step that writes.
3. **renew** says that the owner is alive. A store whose ownership ends with the process needs no such word.
4. **release** ends ownership, and may be called again. What was not closed is interrupted from then on, as
   it is when its owner dies: at once where a kernel's lock tells, after the lease's time where one runs.
5. **read** gives what is stored, whoever owns it.
6. **scan** lists the sessions. One that somebody owns is never shown as interrupted, and one whose first
   owner did not get as far as a record is not shown.
7. **delete** removes a session that nobody owns, and everything of it.
8. **Epochs**, the numbers of the owners, only grow: over a release, and over a deletion too.

Blocking code, called from several threads. Must not know: event loops, guards, what a message is.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from resilient_agent.errors import InvalidSessionId, SessionLost, SessionSealed
from resilient_agent.session._durations import in_seconds
from resilient_agent.session.history import History, Interruption, Status
from resilient_agent.session.log import Parsed, parse
from resilient_agent.session.record import FORMAT, Damage, Kind, Record, unsealed

__all__ = [
    "Admit",
    "Codec",
    "SessionLog",
    "SessionStore",
    "StoredSession",
    "StoredStatus",
    "all_at_once",
    "check_session_id",
    "folded",
    "goes_on",
    "opening",
    "process",
    "prunable",
    "sealing",
    "unsealing",
]

StoredStatus = Literal["live", "interrupted", "closed"]

Admit = Callable[[History, datetime.datetime], bool]
"""Says of a stored session, at this moment of the store's clock, whether its new owner begins it anew; raises
where there is to be no new owner."""


class Codec(Protocol):
    """What seals the content of a session's records; see `session_guard`.

    A number is used again where a save failed or a log is compacted: bind a record to it, and take the
    nonce from chance.
    """

    def encode(self, data: bytes, session_id: str, seq: int) -> bytes:
        """The sealed bytes. They must come back only under the same session and number."""

    def decode(self, data: bytes, session_id: str, seq: int) -> bytes:
        """What was sealed. Raises whatever it likes where key, session or number do not fit."""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as a listing shows it.

    Attributes:
        session_id: its id.
        status: `"live"` (somebody holds it), `"interrupted"` or `"closed"` (ended well, and kept).
        message_count: how many messages it has.
        saved_at: when the last of it was saved; aware, UTC.
        interruption: how it ended badly, or None.
        path: its log, where that is a file; else None.
        holder: of a live session in a database, who holds it, in words.
        progress_at: of a live session in a database, when its owner last made progress: its event loop turned, or
            it saved something. One that lies long behind says that the owner is stuck, though its lease is renewed.
    """

    session_id: str
    status: StoredStatus
    message_count: int
    saved_at: datetime.datetime
    interruption: Interruption | None
    path: Path | None = None
    holder: str = ""
    progress_at: datetime.datetime | None = None


class SessionLog(Protocol):
    """One session, in the hands of its owner. Used by one thread at a time.

    Attributes:
        history: the session as it is stored at this moment.
        was: what it was before this owner came: `new`, `open` (found without a mark), `interrupted`
            or `closed`.
        interruption: how it had ended badly, or None.
        damage: the places that could not be read.
        afresh: whether what was stored was left behind.
    """

    history: History
    was: Status
    interruption: Interruption | None
    damage: tuple[Damage, ...]
    afresh: bool

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy: the session is its parent's."""

    def append(self, kind: Kind, fields: dict[str, Any]) -> None:
        """Write one record; see the contract.

        Args:
            kind: what the record does.
            fields: what it does it with, in JSON's own types; from now on the log's.

        Raises:
            StorageFull, StorageError, StoreUnavailable: it does not count, and the next may be tried.
            SessionLost: somebody else is the owner, or nobody.
            SessionClosed: the log was released.
        """

    def renew(self) -> None:
        """Stay the owner.

        Raises:
            SessionLost: that is over.
        """

    def release(self) -> None:
        """Stop being the owner. Idempotent; never raises."""

    def remove(self) -> None:
        """Delete the session for good, and stop being its owner.

        Raises:
            StorageError: it is still there.
            SessionLost: it is somebody else's, or gone already.
        """

    def abandon(self) -> None:
        """Stop being the owner, and leave the session as it was found, as far as the storage lets us."""

    def attend(
        self, lost: Callable[[SessionLost], object], beat: Callable[[Callable[[], object]], object] | None
    ) -> bool:
        """Have the owner told when ownership ends by itself.

        Args:
            lost: called then, once, from any thread, with what the next append would raise.
            beat: has a function called where the owner works (on its event loop); None where that cannot be.

        Returns:
            Whether ownership can end by itself at all. Where it cannot, nothing is ever called.
        """


class SessionStore(Protocol):
    """Where sessions are kept; the module's docstring is the contract."""

    def claim(self, session_id: str, *, admit: Admit = ..., codec: Codec | None = None) -> SessionLog:
        """Become the owner of a session, new or stored."""

    def read(self, session_id: str, *, codec: Codec | None = None) -> History | None:
        """What is stored of a session, whoever owns it; None where there is nothing."""

    def scan(self) -> Iterator[StoredSession]:
        """All sessions, in no order."""

    def due(self, limit: int) -> list[str]:
        """Ids of interrupted sessions that may be gone on with now, not more than so many.

        One that was resumed and crashed rests for a while, the longer the more often that was so in a row; one
        that was deferred rests until its moment. One that was refused by its claimer (poisoned, sealed, of a later
        version) rests too, so that it does not stand in the way of others.
        """

    def delete(self, session_id: str) -> bool:
        """Remove a session for good; whether there was one."""

    def prune(
        self, *, older_than: float | datetime.timedelta, status: StoredStatus | Collection[StoredStatus]
    ) -> list[StoredSession]:
        """Remove the sessions whose last save is at least `older_than` ago and whose status is `status`.

        See `prune_sessions`.
        """


def goes_on(_: History, __: datetime.datetime) -> bool:
    """The `admit` that takes every session as it stands."""
    return False


def check_session_id(session_id: object) -> None:
    """Refuse what cannot name a session.

    Raises:
        TypeError: it is no text.
        InvalidSessionId: it is empty, or no valid text.
    """
    if not isinstance(session_id, str):
        raise TypeError(f"a session id is a string, not {session_id!r}: write str(...) if that is meant")
    if not session_id:
        raise InvalidSessionId("a session id must not be empty: is the variable that it comes from set?")
    try:
        session_id.encode()
    except UnicodeEncodeError:
        raise InvalidSessionId(f"the session id {session_id!r} has a lone surrogate: it is no valid text") from None


def opening(history: History, session_id: str, *, afresh: bool) -> dict[str, Any]:
    """The fields of the record with which a new owner takes a session."""
    fields = {"format": FORMAT, "session_id": session_id, **process()}
    fields |= history.opening(afresh=afresh)
    # Said by each owner: where the line of the first is damaged, keys that were made of it stay what they were.
    fields["born"] = secrets.token_hex(8) if afresh or not history.born else history.born
    return fields


def all_at_once(history: History, epoch: int, at: datetime.datetime) -> Record:
    """The record that stands for all others. Its number is that of the last: what comes next goes on from there."""
    fields = {**history.compacted(), **process()}
    return Record(history.seq, epoch, at, len(history.messages), "compacted", fields)


def process() -> dict[str, Any]:
    """Which process this is, for people; nothing is decided by it."""
    return {"pid": os.getpid(), "host": socket.gethostname()}


def sealing(codec: Codec | None, session_id: str) -> Callable[[bytes, int], bytes] | None:
    """What seals the content of records with this codec, for `write_line`; None without one."""
    return None if codec is None else lambda data, seq: codec.encode(data, session_id, seq)


def unsealing(codec: Codec | None, session_id: str) -> Callable[[Record], Record]:
    """What makes records readable with this codec; without one they are left as they are.

    Raises (when it is called):
        SessionSealed: the codec has another key, or the record is another session's.
    """

    def unseal(record: Record) -> Record:
        if codec is None or "sealed" not in record.fields:
            return record
        try:
            return unsealed(record, lambda data, seq: codec.decode(data, session_id, seq))
        except Exception as error:
            raise SessionSealed(
                f"record {record.seq} of session {session_id!r} cannot be unsealed by this codec "
                f"({type(error).__name__}): is it the same key, and the session's own log?"
            ) from error

    return unseal


def folded(lines: Iterable[bytes], codec: Codec | None, session_id: str) -> tuple[History, Parsed]:
    """The session that the lines of a log make (`log.parse`), and what else is to be said of the log.

    Raises:
        SessionSealed: a record is sealed, and not by this codec.
        UnsupportedFormat: it is of a later version.
    """
    history, unseal = History(), unsealing(codec, session_id)
    # Without a codec each record is spared two calls, which a long log notices.
    take = history.apply if codec is None else lambda record: history.apply(unseal(record))
    return history, parse(lines, take)


_ENDED: Final = frozenset({"interrupted", "closed"})


def prunable(
    older_than: float | datetime.timedelta,
    status: StoredStatus | Collection[StoredStatus],
    now: datetime.datetime,
) -> Callable[[StoredSession], bool]:
    """Which sessions `prune` removes.

    Raises:
        TypeError: an age that is none.
        ValueError: a status that is none, or that cannot be removed; a negative age.
    """
    wanted = frozenset([status] if isinstance(status, str) else status)
    if not wanted or not wanted <= _ENDED:
        raise ValueError(f'status names what may go, "closed" or "interrupted" or both, not {status!r}')
    age = in_seconds(older_than, "older_than is seconds or a timedelta, such as timedelta(days=30)")
    if not age >= 0:
        raise ValueError(f"older_than must not be negative, not {older_than!r}")
    return lambda found: found.status in wanted and (now - found.saved_at).total_seconds() >= age
