"""`FileLog`: the log of one session, in the hands of its owner.

Decides when a record counts: it is written behind the last one, and it is on the disk; and what
becomes of the file where that fails, or where most of it has been replaced. Everything that is
acknowledged survives a power cut at any instant, also of a compaction. Does not know what a
message is, and not where the file comes from (`file.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from resilient_agent import clock
from resilient_agent.errors import SessionClosed, SessionLost
from resilient_agent.session.history import Status
from resilient_agent.session.log import Parsed
from resilient_agent.session.record import Kind, Record, write_line
from resilient_agent.session.stores import _posix, base
from resilient_agent.session.stores.base import Admit, Codec

__all__ = ["COMPACTING", "DAMAGED", "Durability", "FileLog", "set_aside"]

logger: Final = logging.getLogger("resilient_agent.session")

COMPACTING: Final = ".new"
"""What stands behind a log's name while it is written anew. Only the owner of a session does that."""

DAMAGED: Final = ".damaged-"
"""What stands behind the name of a log that could not be read in whole, when its session is over."""

Durability = Literal["power", "process"]
"""power: what is acknowledged survives a power cut. process: it survives the end of the process, however it
comes, and not a power cut; a save costs a twentieth of that."""


class FileLog:
    """The log of one session.

    Attributes:
        path: the file; the others are those of `base.SessionLog`.
    """

    def __init__(
        self, fd: int, path: Path, session_id: str, *, admit: Admit, durability: Durability, codec: Codec | None
    ) -> None:
        self._fd: int | None = fd
        self._pid = os.getpid()
        self._session_id = session_id
        self._durable = durability == "power"
        self._codec = codec
        self._unsettled = False  # whether an append began that did not come to its end
        self._mistrusted = False  # whether the disk failed to say that it has the file, or has less than we wrote
        self._unnamed = False  # whether the folder was not synced since the file got its place
        self.path = path
        self._name = os.fspath(path)  # a Path is turned into one at each look, which a save notices
        with _posix.refused("read the session's log", path):
            self._identity = _posix.identity(fd)
            # Before anything is touched: a later format is left as it is.
            self.history, parsed = base.folded(_posix.lines(fd), codec, session_id)
            self._end, self._live = parsed.end, parsed.live
            self.damage = parsed.damage
            self.was: Status = self.history.status
            self.interruption = self.history.interruption
            self.afresh = admit(self.history, clock.now())
            self._mend(fd, parsed)
        self._found_end = self._end
        self._open()
        _open_logs.add(self)  # last: of a log that failed to open, the store closes the descriptor

    def append(self, kind: Kind, fields: dict[str, Any]) -> None:
        """Write one record; when this returns it survives a power cut.

        Args:
            kind: what the record does.
            fields: what it does it with, in JSON's own types; from now on the log's.

        Raises:
            StorageFull, StorageError: nothing of it is stored, all before it is, and the next may be tried.
            SessionLost: the file was deleted or replaced, or this is a forked child.
            SessionClosed: the log was released.
        """
        fd = self._check_ours()
        with _posix.refused("save to the session's log", self.path):
            fd = self._settled(fd)
            record, line = self._next(kind, fields)
            self._unsettled = True
            self._write(fd, line)
        self._end += len(line)
        self.history.apply(record)
        self._live.add(kind, fields, len(line))
        self._unsettled = False
        if self._live.is_outgrown(self._end, kind):
            self._compact()

    def renew(self) -> None:
        """The kernel's lock needs no word from its owner; this says whether it is still of use.

        Raises:
            SessionLost: the file was deleted or replaced.
        """
        self._check_ours()
        self._check_place()

    def attend(
        self,
        lost: Callable[[SessionLost], object],  # noqa: ARG002 - nobody is told of what cannot be
        beat: Callable[[Callable[[], object]], object] | None,  # noqa: ARG002
    ) -> bool:
        """The kernel's lock ends with the process, and not before: there is nothing to be told."""
        return False

    def release(self) -> None:
        """Stop being the owner. Idempotent."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            if self.inherited:
                os.close(fd)  # the lock is the parent's
            else:
                _posix.let_go(fd)

    def remove(self) -> None:
        """Delete the session for good, and stop being its owner. A damaged log is kept under another name.

        Raises:
            StorageError: it is still there.
            SessionLost: it is somebody else's, or gone already.
        """
        self._check_ours()
        with _posix.refused("remove the session's log", self.path):
            self._check_place()
            if self.damage:
                set_aside(self.path)
            else:
                _posix.remove(self.path)
        self.release()

    def abandon(self) -> None:
        """Stop being the owner, and leave the log as it was found, as far as the storage lets us."""
        with contextlib.suppress(SessionLost, OSError):
            fd = self._check_ours()
            self._check_place()
            if self.was == "new" and not self.damage:
                _posix.remove(self.path)
            else:
                _posix.cut(fd, self._found_end)
                _posix.sync(fd)
        self.release()

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy: the session is its parent's."""
        return self._pid != os.getpid()

    def _check_ours(self) -> int:
        if self.inherited:
            raise SessionLost(f"the session belongs to process {self._pid}, of which this one is a fork")
        if self._fd is None:
            raise SessionClosed(f"the session's guard was left: {self.path.name} can no longer be written through it")
        return self._fd

    def _check_place(self) -> None:
        """That the file still has its name: a file that was deleted is gone when it is closed, whatever is in it."""
        if not _posix.stands_at(self._name, self._identity):
            raise SessionLost(
                f"{self.path} was deleted or replaced while its guard was live: nothing can be saved to it"
            )

    def _next(self, kind: Kind, fields: dict[str, Any]) -> tuple[Record, bytes]:
        """The record that comes next, and its line."""
        history = self.history
        count = history.count_after(kind, fields)
        record = Record(history.seq + 1, history.epoch, clock.now(), count, kind, fields)
        return record, self._line(record)

    def _line(self, record: Record) -> bytes:
        return write_line(record, base.sealing(self._codec, self._session_id))

    def _write(self, fd: int, line: bytes) -> None:
        """The line behind the end, and on the disk; or nothing behind the end."""
        try:
            _posix.write_at(fd, line, self._end)
            self._sync(fd)
            self._check_place()
        except (OSError, SessionLost):
            with contextlib.suppress(OSError):  # else settling tries it again
                _posix.cut(fd, self._end)
            raise

    def _sync(self, fd: int) -> None:
        if not self._durable:
            return
        try:
            _posix.sync(fd)
        except OSError:
            # What is in memory counts as written from now on, whether it is or not: asking again would be answered
            # with a yes. So the file is written anew before anything else is saved.
            self._mistrusted = True
            raise

    def _settled(self, fd: int) -> int:
        """The file, after whatever kept the last append from its end was put right."""
        if self._unsettled:
            self._settle(fd)
        # Log rotation cuts files, and so does a backup that is copied over them: behind a hole nothing is read.
        if self._mistrusted or _posix.size(fd) != self._end:
            fault = "the disk failed to sync it" if self._mistrusted else "somebody else changed it"
            logger.warning("%s: %s; it is written anew", self.path.name, fault)
            self._renew(self._whole(fd))
            self._mistrusted = False
        if self._unnamed:
            _posix.sync_folder(self.path.parent)
            self._unnamed = False
        assert self._fd is not None  # noqa: S101 - an owner's
        return self._fd

    def _settle(self, fd: int) -> None:
        """The file up to what counts, and memory as the file.

        It may have been a Ctrl-C anywhere between the write and the last line of `append`.
        """
        _posix.cut(fd, self._end)
        found, parsed = base.folded(_posix.lines(fd), self._codec, self._session_id)
        if found.seq >= self.history.seq:
            self.history, self._live = found, parsed.live
        else:  # the disk gives less than was acknowledged: memory has it, and is written anew
            self._mistrusted = True
        self._unsettled = False

    def _compact(self) -> None:
        """Write the log anew, without what was replaced. Where that fails the log stays as it is, and grows."""
        if not self._is_understood:
            return
        try:
            with _posix.refused("compact the session's log", self.path):
                self._renew(self._all_at_once())
        except Exception as error:  # a codec's as well: the save before it is acknowledged
            logger.warning("%s was not compacted: %s", self.path.name, error)
            self._live.live = self._end  # not again at the very next save

    @property
    def _is_understood(self) -> bool:
        """Whether memory has all of the log. What this version cannot read is not its to throw away."""
        return not (self.history.strange or self.damage)

    def _all_at_once(self) -> bytes:
        """The log as one record."""
        return self._line(base.all_at_once(self.history, self.history.epoch, clock.now()))

    def _whole(self, fd: int) -> bytes:
        """What counts, to be written anew: from the file as far as it can be read, else from memory."""
        if self._is_understood:
            return self._all_at_once()
        return b"".join(_posix.lines(fd))[: self._end]

    @property
    def _new(self) -> Path:
        return self.path.with_name(self.path.name + COMPACTING)

    def _renew(self, content: bytes) -> None:
        """Put a new file with this content in the log's place; whoever looks finds the old one or the new one."""
        name = self._new
        fd = _posix.create(name)
        try:
            _posix.lock(fd, exclusive=True)  # before anybody can find it under the session's name
            _posix.write_at(fd, content, 0)
            _posix.sync(fd)
            old = self._fd
            assert old is not None  # noqa: S101 - an owner's
            self._check_place()
            identity = _posix.identity(fd)
            _posix.take_place(name, self.path)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                name.unlink()
            raise
        self._fd, self._identity, self._end, self._unnamed = fd, identity, len(content), True
        self._found_end = self._end
        self._live.add("compacted", {}, self._end)
        _posix.let_go(old)
        _posix.sync_folder(self.path.parent)  # where this fails, the next append has to see to it
        self._unnamed = False

    def _mend(self, fd: int, parsed: Parsed) -> None:
        """Cut a torn tail; end a whole last record that lacks its newline: the next must not fuse with it."""
        if self._end == 0 and not parsed.torn:
            _posix.sync_folder(self.path.parent)  # a new file: its name has to survive as well
        with contextlib.suppress(FileNotFoundError):
            self._new.unlink()  # of an owner who died in mid-compaction
        if parsed.unended:
            _posix.write_at(fd, b"\n", self._end)
            self._end += 1
        elif parsed.torn:
            logger.info("%s: cut %d bytes of a record that was never finished", self.path.name, parsed.torn)
            _posix.cut(fd, self._end)
        for place in parsed.damage:
            logger.warning(
                "%s: line %d (byte %d) is damaged: %s; everything else was read",
                self.path,
                place.line,
                place.offset,
                place.reason,
            )

    def _open(self) -> None:
        """Write down who owns the session from now on."""
        self.history.epoch += 1
        self.append("opened", base.opening(self.history, self._session_id, afresh=self.afresh))


def set_aside(path: Path) -> None:
    """What could not be read is not ours to throw away: a person may still want it."""
    name = f"{path.name}{DAMAGED}{clock.now():%Y%m%dT%H%M%S%f}"
    _posix.set_aside(path, name)
    logger.warning("%s is done with, and was damaged: it is kept as %s", path.name, name)


# A forked child has a copy of every descriptor, and a copy holds the lock: without this a session
# would outlive its dead owner in each of its children.
_open_logs: weakref.WeakSet[FileLog] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for log in list(_open_logs):
        log.release()


os.register_at_fork(after_in_child=_leave_all_to_parent)
