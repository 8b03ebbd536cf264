"""`FileStore`: one file of JSON lines per session, on this machine.

Decides how a log lies on disk: its name, who owns it, what of it counts. A session belongs to
whoever holds the kernel's lock on its file: no pid, no clock, no heartbeat. A log that is not
closed and that nobody holds is an interrupted session, whatever ended its owner.

Plain code that blocks for as long as the disk takes. Does not know what a message is, nor what
a guard does about an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import hashlib
import logging
import os
import re
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs

from resilient_agent import clock
from resilient_agent.errors import (
    InvalidSessionId,
    SessionBusy,
    SessionClosed,
    SessionLost,
    StorageError,
    UnsupportedFormat,
)
from resilient_agent.session.history import History, Interruption, holder_of
from resilient_agent.session.log import Parsed, parse
from resilient_agent.session.record import FORMAT, Kind, Record, read_line, write_line
from resilient_agent.session.stores import _posix

__all__ = ["FileLog", "FileStore", "StoredSession"]

logger: Final = logging.getLogger("resilient_agent.session")

Status = Literal["live", "interrupted", "closed"]

_SUFFIX: Final = ".jsonl"
_WINDOW: Final = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as a listing shows it.

    Attributes:
        session_id: its id.
        status: `"live"` (somebody holds it), `"interrupted"` or `"closed"` (ended well, and kept).
        message_count: how many messages it has.
        saved_at: when the last of it was saved; aware, UTC.
        interruption: how it ended badly, or None.
        path: its log.
    """

    session_id: str
    status: Status
    message_count: int
    saved_at: datetime.datetime
    interruption: Interruption | None
    path: Path


class FileStore:
    """Sessions as files in a folder. Holds nothing open; threads and processes may share it.

    Args:
        folder: where the logs lie. When not given: `sessions` in the folder that the environment
            variable `RESILIENT_AGENT_HOME` names, else in the user's state directory. It is
            created (0700) when the first session is.

    Example:
        >>> import tempfile
        >>> store = FileStore(tempfile.mkdtemp())
        >>> [found.session_id for found in store.scan()]
        []
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = _default_folder() if folder is None else Path(folder).absolute()

    def __repr__(self) -> str:
        return f"FileStore({str(self.folder)!r})"

    def claim(self, session_id: str) -> FileLog:
        """Become the owner of a session, new or stored.

        Returns:
            Its log, locked until it is released or removed, with a record of the new owner.

        Raises:
            SessionBusy: somebody else is; at once.
            InvalidSessionId: the id cannot name a session.
            StorageError: the folder or the file cannot be used.
            UnsupportedFormat: the log is of a later version.
        """
        path = self.path(session_id)
        _posix.make_folder(self.folder)
        with _posix.refused("open the session's log", path):
            fd = self._own(path, session_id)
        try:
            return FileLog(fd, path, session_id)
        except BaseException:
            os.close(fd)
            raise

    def read(self, session_id: str) -> History | None:
        """What is stored of a session, whoever holds it; None where there is nothing."""
        path = self.path(session_id)
        try:
            with _posix.refused("read the session's log", path), _posix.opened(path, os.O_RDONLY) as fd:
                history = History.of(parse(_posix.read_all(fd)).records)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return None if history.status == "new" else history

    def scan(self) -> Iterator[StoredSession]:
        """All sessions here, in no order. Reads the first and the last record of each, not what lies between."""
        with _posix.refused("list the sessions", self.folder):
            try:
                names = sorted(entry.name for entry in self.folder.iterdir())
            except FileNotFoundError:
                return
        for name in names:
            if name.endswith(_SUFFIX):
                found = self._look(self.folder / name)
                if found is not None:
                    yield found

    def find(self, session_id: str) -> StoredSession | None:
        """One session as a listing shows it, or None where there is none."""
        return self._look(self.path(session_id))

    def delete(self, session_id: str) -> bool:
        """Remove a session for good; whether there was one.

        Raises:
            SessionBusy: somebody holds it.
        """
        path = self.path(session_id)
        if not path.exists():
            return False
        with _posix.refused("remove the session's log", path):
            fd = self._own(path, session_id)
            try:
                path.unlink()
                _posix.sync_folder(self.folder)
            finally:
                os.close(fd)
        return True

    def path(self, session_id: str) -> Path:
        """Where a session's log lies: a readable part, and a hash that tells `a/b` from `a_b`."""
        _check_id(session_id)
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", session_id)[:40].strip("-")
        digest = hashlib.blake2b(session_id.encode(), digest_size=10).hexdigest()
        return self.folder / f"{readable or 'session'}-{digest}{_SUFFIX}"

    def _own(self, path: Path, session_id: str) -> int:
        """An open, locked file that the path still names."""
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(fd).st_uid != os.geteuid():
                    raise StorageError(errno.EPERM, "the session's log belongs to another user", str(path))
                if not _posix.lock(fd, exclusive=True):
                    raise SessionBusy(session_id, _holder(fd))
                if _posix.same_file(fd, path):
                    os.fchmod(fd, 0o600)
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its owner removed it between our open and our lock

    def _look(self, path: Path) -> StoredSession | None:
        """One log as a listing shows it; None where no owner ever got as far as a whole record."""
        try:
            with _posix.opened(path, os.O_RDONLY) as fd:
                live = not _posix.lock(fd, exclusive=False)
                first, last = _first_and_last(fd)
                if not _posix.same_file(fd, path):
                    return None  # its owner ended it while we looked
        except OSError as error:  # removed meanwhile, or not ours to read
            if not isinstance(error, FileNotFoundError):
                logger.warning("cannot read %s: %s", path, error.strerror)
            return None
        if first is None or last is None:
            return None
        try:
            history = History.of([first, dataclasses.replace(last, fields=_without_content(last))])
        except UnsupportedFormat as error:
            logger.warning("%s is left out: %s", path, error)
            return None
        ended: Status = "closed" if history.status == "closed" else "interrupted"
        return StoredSession(
            session_id=str(first.fields.get("session_id")),
            status="live" if live else ended,
            message_count=last.count,
            saved_at=last.at,
            interruption=None if live else history.interruption,
            path=path,
        )


class FileLog:
    """The log of one session, in the hands of its owner.

    Attributes:
        path: the file.
        history: the session as it is stored at this moment.
        was: what it was before this owner came: `new`, `open` (found without a mark), `interrupted`
            or `closed`.
        interruption: how it had ended badly, or None.
        damage: the places that could not be read.
    """

    def __init__(self, fd: int, path: Path, session_id: str) -> None:
        self._fd: int | None = fd
        self._pid = os.getpid()
        self._end = 0
        self._unsettled = False  # whether an append began that did not come to its end
        self.path = path
        with _posix.refused("read the session's log", path):
            parsed = parse(_posix.read_all(fd))
            self.history = History.of(parsed.records)  # before anything is touched: a later format is left as it is
            self._end = parsed.end
            self._mend(fd, parsed)
        self._found_end = self._end
        self.damage = parsed.damage
        self.was = self.history.status
        self.interruption = self.history.interruption
        self._open(session_id)
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
            if self._unsettled:
                self._settle(fd)
            record, line = self._next(kind, fields)
            self._unsettled = True
            self._write(fd, line)
        self._end += len(line)
        self.history.apply(record)
        self._unsettled = False

    def release(self) -> None:
        """Stop being the owner. Idempotent."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def remove(self) -> None:
        """Delete the session for good, and stop being its owner.

        Raises:
            StorageError: it is still there.
            SessionLost: it is somebody else's, or gone already.
        """
        self._check_ours()
        with _posix.refused("remove the session's log", self.path):
            self.path.unlink()
            _posix.sync_folder(self.path.parent)
        self.release()

    def abandon(self) -> None:
        """Stop being the owner, and leave the log as it was found, as far as the storage lets us."""
        with contextlib.suppress(SessionLost, OSError):
            fd = self._check_ours()
            if self.was == "new":
                self.path.unlink()
                _posix.sync_folder(self.path.parent)
            else:
                os.ftruncate(fd, self._found_end)
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
        if not _posix.same_file(self._fd, self.path):
            raise SessionLost(
                f"{self.path} was deleted or replaced while its guard was live: nothing can be saved to it"
            )
        return self._fd

    def _next(self, kind: Kind, fields: dict[str, Any]) -> tuple[Record, bytes]:
        """The record that comes next, and its line."""
        history = self.history
        count = _count_after(history, kind, fields)
        record = Record(history.seq + 1, history.epoch, clock.now(), count, kind, fields)
        return record, write_line(record)

    def _write(self, fd: int, line: bytes) -> None:
        """The line behind the end, and on the disk; or nothing behind the end."""
        try:
            _posix.write_at(fd, line, self._end)
            _posix.sync(fd)
        except OSError:
            with contextlib.suppress(OSError):  # else settling tries it again
                os.ftruncate(fd, self._end)
            raise

    def _settle(self, fd: int) -> None:
        """After an append that did not come to its end: the file up to what counts, and memory as the file.

        It may have been a Ctrl-C anywhere between the write and the last line of `append`.
        """
        os.ftruncate(fd, self._end)
        self.history = History.of(parse(_posix.read_all(fd)).records)
        self._unsettled = False

    def _mend(self, fd: int, parsed: Parsed) -> None:
        """Cut a torn tail; end a whole last record that lacks its newline: the next must not fuse with it."""
        if self._end == 0 and not parsed.torn:
            _posix.sync_folder(self.path.parent)  # a new file: its name has to survive as well
        if parsed.unended:
            _posix.write_at(fd, b"\n", self._end)
            self._end += 1
        elif parsed.torn:
            logger.info("%s: cut %d bytes of a record that was never finished", self.path.name, parsed.torn)
            os.ftruncate(fd, self._end)
        for place in parsed.damage:
            logger.warning(
                "%s: line %d (byte %d) is damaged: %s; everything else was read",
                self.path,
                place.line,
                place.offset,
                place.reason,
            )

    def _open(self, session_id: str) -> None:
        """Write down who owns the session from now on."""
        self.history.epoch += 1
        self.append(
            "opened",
            {
                "format": FORMAT,
                "session_id": session_id,
                "pid": self._pid,
                "host": socket.gethostname(),
            },
        )


# A forked child has a copy of every descriptor, and a copy holds the lock: without this a session
# would outlive its dead owner in each of its children.
_open_logs: weakref.WeakSet[FileLog] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for log in list(_open_logs):
        log.release()


os.register_at_fork(after_in_child=_leave_all_to_parent)


def _first_and_last(fd: int) -> tuple[Record | None, Record | None]:
    """The first and the last readable record, from the two ends of the file."""
    size = os.fstat(fd).st_size
    head = read_line(os.pread(fd, _WINDOW, 0).split(b"\n", 1)[0])
    first = head if isinstance(head, Record) else None
    window = _WINDOW
    while True:
        start = max(0, size - window)
        lines = os.pread(fd, window, start).split(b"\n")
        # The first piece of a window that begins in mid-file is half a line.
        whole = lines if start == 0 else lines[1:]
        last = next((r for r in map(read_line, reversed(whole)) if isinstance(r, Record)), None)
        if last is not None or start == 0:
            break
        window *= 8
    if first is None:  # damaged: any later owner wrote the id down as well
        records = parse(_posix.read_all(fd)).records
        first = next((record for record in records if record.kind == "opened"), None)
    return first, last


def _without_content(record: Record) -> dict[str, Any]:
    """A record's fields for a fold that only asks how the session stands."""
    return {
        "messages": [],
        "extra": {},
        **{k: v for k, v in record.fields.items() if k not in {"messages", "extra"}},
    }


def _count_after(history: History, kind: Kind, fields: dict[str, Any]) -> int:
    if kind == "appended":
        return len(history.messages) + len(fields["messages"])
    return len(fields["messages"]) if kind == "replaced" else len(history.messages)


def _holder(fd: int) -> str:
    """Who holds a log that is locked, as far as its last `opened` record tells."""
    data = _posix.read_all(fd)
    place = data.rfind(b'"kind":"opened"')
    line = data[data.rfind(b"\n", 0, place) + 1 :].split(b"\n", 1)[0] if place >= 0 else b""
    record = read_line(line)
    if isinstance(record, str):
        return "a process that has just opened it"
    if record.fields.get("pid") == os.getpid() and record.fields.get("host") == socket.gethostname():
        return f"another guard in this very process, since {record.at:%Y-%m-%d %H:%M:%S} UTC"
    return holder_of(record)


def _check_id(session_id: object) -> None:
    if not isinstance(session_id, str):
        raise TypeError(f"a session id is a string, not {session_id!r}: write str(...) if that is meant")
    if not session_id:
        raise InvalidSessionId("a session id must not be empty: is the variable that it comes from set?")
    try:
        session_id.encode()
    except UnicodeEncodeError:
        raise InvalidSessionId(f"the session id {session_id!r} has a lone surrogate: it is no valid text") from None


def _default_folder() -> Path:
    home = os.environ.get("RESILIENT_AGENT_HOME")
    base = Path(home) if home else platformdirs.user_state_path("resilient_agent")
    return base.absolute() / "sessions"
