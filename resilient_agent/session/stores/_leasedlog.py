"""`LeasedLog`: the log of one session in a database, in the hands of its owner.

Decides when a record counts, what a listing says after it, and when most of a log has been replaced.

Why an append that may or may not have reached the store does no harm. Repeated within one `append` it
is the same line under the same number: written twice it is there once. Where `append` gives up,
the owner takes a new epoch before the next one: from then on the store refuses whatever
of the old one is still on its way, and the next record takes the number again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from resilient_agent.errors import SessionClosed, SessionLost, StorageError
from resilient_agent.session.history import History, Interruption, Status
from resilient_agent.session.record import Kind, Record, write_line
from resilient_agent.session.stores import base
from resilient_agent.session.stores._held import Held
from resilient_agent.session.stores.base import Admit, Codec
from resilient_agent.session.stores.lease import Entry, rest_of

__all__ = ["Header", "LeasedLog", "as_log"]

logger: Final = logging.getLogger("resilient_agent.session")


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a listing says of a session; stored with each record."""

    status: str
    count: int
    at: datetime.datetime
    interruption: Interruption | None


_write_header: Final = msgspec.json.Encoder().encode


class LeasedLog:
    """The log of one session, under a lease; see `base.SessionLog`."""

    def __init__(self, held: Held, *, admit: Admit, codec: Codec | None) -> None:
        self._held = held
        self._codec = codec
        self._unsettled = False  # whether an append began that did not come to its end
        self._session_id = held.lease.session_id
        lines = held.read() if held.found_seq else []
        self.history, parsed = base.folded(as_log(lines), codec, self._session_id)
        self.damage, self._live = parsed.damage, parsed.live
        for place in self.damage:
            logger.warning("session %r, record %d is damaged: %s", self._session_id, place.line, place.reason)
        self._size = sum(len(line) + 1 for line in lines)
        self.was: Status = self.history.status
        self.interruption = self.history.interruption
        self._found = self.history.resumes, self.history.resuming
        self._found_rest = _rest(self.history, held.moment())
        self.afresh = admit(self.history, held.moment())
        self.history.seq = held.found_seq  # a damaged last record has its number all the same
        self.append("opened", base.opening(self.history, self._session_id, afresh=self.afresh))

    @property
    def path(self) -> None:
        """There is no file."""

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy: the session is its parent's."""
        return self._held.inherited

    def append(self, kind: Kind, fields: dict[str, Any]) -> None:
        """Write one record; see `base.SessionLog.append`."""
        held, history = self._held, self.history
        held.check()
        if self._unsettled:
            held.retake()
        count = history.count_after(kind, fields)
        record = Record(history.seq + 1, held.lease.epoch, held.moment(), count, kind, fields)
        size = self._write(record, alone=False)
        history.apply(record)
        self._live.add(kind, fields, size)
        self._size += size
        if self._live.is_outgrown(self._size, kind):
            self._compact()

    def renew(self) -> None:
        """Stay the owner; the store's own thread does the same by itself."""
        self._held.renew()

    def release(self) -> None:
        """Stop being the owner. Idempotent."""
        self._held.release(_rest(self.history, self._held.moment()))

    def remove(self) -> None:
        """Delete the session for good, and stop being its owner."""
        self._held.check()
        self._held.delete()

    def abandon(self) -> None:
        """Stop being the owner, and leave the session as it was found, but for records that say who was here."""
        with contextlib.suppress(SessionLost, SessionClosed, StorageError):
            if self.was == "new":
                self.remove()
            elif self.was == "closed":
                self.append("closed", {})
            else:
                self._as_found()
        self._held.release(self._found_rest)

    def _as_found(self) -> None:
        """Records that count for as much as those that were found: that this owner came is no crash of the session."""
        resumes, resuming = self._found
        marked = self.interruption if self.was == "interrupted" else None
        if marked is not None:
            resumes, resuming = marked.resumes, False
        opened = base.opening(self.history, self._session_id, afresh=False)
        self.append("opened", {**opened, "resumes": resumes, "resuming": resuming})
        if marked is not None:
            self.append("interrupted", marked.as_fields())

    def attend(
        self, lost: Callable[[SessionLost], object], beat: Callable[[Callable[[], object]], object] | None
    ) -> bool:
        """Have the owner told when the lease is lost, and asked for its progress; see `base.SessionLog.attend`."""
        self._held.attend(lost, beat)
        return True

    def _write(self, record: Record, *, alone: bool) -> int:
        """Have the store take a record; how long its line is."""
        line = write_line(record, base.sealing(self._codec, self._session_id))
        header, rest = self._said_after(record)
        self._unsettled = True
        self._held.write(Entry(record.seq, line[:-1], header, record.kind == "closed", rest, alone))
        self._unsettled = False
        return len(line)

    def _said_after(self, record: Record) -> tuple[bytes, float]:
        """What a listing says of the session after this record, and how long it rests should its owner die."""
        history = self.history
        # A fold of what a listing says, and not of the conversation: that would cost the more the longer it is.
        after = History(status=history.status, resumes=history.resumes, resuming=history.resuming)
        after.apply(record)
        return _write_header(Header(after.status, record.count, record.at, after.interruption)), _rest(after, record.at)

    def _compact(self) -> None:
        """One record in place of all, as most of them say nothing any more. Where that fails the log grows on."""
        history, held = self.history, self._held
        if history.strange or self.damage:  # what this version cannot read is not its to throw away
            return
        record = base.all_at_once(history, held.lease.epoch, held.moment())
        try:
            self._size = self._write(record, alone=True)
            self._live.add("compacted", {}, self._size)
        except Exception as error:  # a codec's as well: the save before it is acknowledged
            logger.warning("session %r was not compacted: %s", self._session_id, error)
            self._live.live = self._size  # not again at the very next save


def as_log(lines: list[bytes]) -> Iterator[bytes]:
    """The lines of a session as a file holds them."""
    return (line + b"\n" for line in lines)


def _rest(history: History, now: datetime.datetime) -> float:
    """Seconds that a session rests when its owner is gone."""
    found = history.interruption
    if found is None:
        return 0.0
    named = 0.0 if found.not_before is None else (found.not_before - now).total_seconds()
    return max(rest_of(found.resumes), named)
