"""`FileStore`: one file of JSON lines per session, on this machine.

Decides where a log lies, what it is called and who owns it; what of it counts is the log's own
business (`_filelog.py`). A session belongs to
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
import itertools
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, get_args

import platformdirs

from resilient_agent import clock
from resilient_agent.errors import SessionBusy, SessionSealed, StorageError, UnsupportedFormat
from resilient_agent.session.history import History
from resilient_agent.session.log import parse
from resilient_agent.session.record import Record, without_content
from resilient_agent.session.stores import _posix, _reading, base, lease
from resilient_agent.session.stores._filelog import COMPACTING, DAMAGED, Durability, FileLog, set_aside
from resilient_agent.session.stores.base import Admit, Codec, StoredSession, StoredStatus

__all__ = ["Durability", "FileLog", "FileStore"]

logger: Final = logging.getLogger("resilient_agent.session")

_SUFFIX: Final = ".jsonl"
# What a listing puts in the place of what the conversation says; see `record.CONTENT`.
_NOTHING: Final[dict[str, Any]] = {
    "messages": [], "extra": {}, "effects": [], "key": "", "name": "", "arguments": [], "result": None,
}  # fmt: skip


class FileStore:
    """Sessions as files in a folder. Holds nothing open; threads and processes may share it.

    Args:
        folder: where the logs lie; `~` is the home folder. When not given: `sessions` in the folder that the
            environment variable `RESILIENT_AGENT_HOME` names, else in the user's state directory. It is
            created (0700) when the first session is.
        durability: what an acknowledged save survives: `"power"`, a power cut; or `"process"`, the end of
            the process however it comes, and not a power cut.

    Raises:
        ValueError: there is no such durability.

    Example:
        >>> import tempfile
        >>> store = FileStore(tempfile.mkdtemp())
        >>> [found.session_id for found in store.scan()]
        []
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, durability: Durability = "power") -> None:
        if durability not in get_args(Durability):
            raise ValueError(f'durability is "power" or "process", not {durability!r}')
        chosen = _default_folder() if folder is None else folder
        # A shell would have put the home folder in the place of ~; os.path leaves names alone that nobody has.
        self.folder = Path(os.path.expanduser(chosen)).absolute()  # noqa: PTH111
        self.durability: Durability = durability

    def __repr__(self) -> str:
        return f"FileStore({str(self.folder)!r})"

    def claim(self, session_id: str, *, admit: Admit = base.goes_on, codec: Codec | None = None) -> FileLog:
        """Become the owner of a session, new or stored.

        Args:
            session_id: its id.
            admit: asked about what is stored before anything is written: whether the new owner begins anew
                (True) or goes on with it (False). What it raises comes out, and nothing was touched.
            codec: unseals and seals what the records say.

        Returns:
            Its log, locked until it is released or removed, with a record of the new owner.

        Raises:
            SessionBusy: somebody else is; at once.
            InvalidSessionId: the id cannot name a session.
            StorageError: the folder or the file cannot be used.
            UnsupportedFormat: the log is of a later version.
            SessionSealed: it is sealed, and not by this codec.
        """
        path = self.path(session_id)
        _posix.make_folder(self.folder)
        with _posix.refused("open the session's log", path):
            fd = self._own(path, session_id)
        try:
            return FileLog(fd, path, session_id, admit=admit, durability=self.durability, codec=codec)
        except BaseException as refusal:
            with contextlib.suppress(OSError):
                if _posix.size(fd) == 0:  # of a session that there was not, and that is not to begin
                    _posix.remove(path)
                elif (rest := lease.rest_after(refusal, clock.now())) > 0:
                    _resting[path] = _posix.written_at(fd), clock.monotonic() + rest
            _posix.let_go(fd)
            raise

    def read(self, session_id: str, *, codec: Codec | None = None) -> History | None:
        """What is stored of a session, whoever holds it; None where there is nothing."""
        with self._reading(session_id) as fd:
            if fd is None:
                return None
            history, _ = base.folded(_posix.lines(fd), codec, session_id)
        return None if history.status == "new" else history

    def stream(self, session_id: str, *, codec: Codec | None = None) -> Iterator[dict[str, Any]]:
        """The messages of a session, whoever holds it, one by one: for a hundred thousand of them.

        They are those at the moment of the first `next`.
        """
        unseal = base.unsealing(codec, session_id)
        with self._reading(session_id) as fd:
            if fd is not None:
                yield from _reading.stream(fd, unseal)

    @contextlib.contextmanager
    def _reading(self, session_id: str) -> Iterator[int | None]:
        """The session's log, open for reading; None where there is none."""
        path = self.path(session_id)
        try:
            with _posix.refused("read the session's log", path), _posix.opened(path, os.O_RDONLY) as fd:
                yield fd
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            yield None

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

    def due(self, limit: int) -> list[str]:
        """Ids of interrupted sessions that may be gone on with now, not more than so many."""
        due = (found.session_id for found in self.scan() if self._has_rested(found, clock.now()))
        return list(itertools.islice(due, limit))

    def _has_rested(self, found: StoredSession, now: datetime.datetime) -> bool:
        how = found.interruption
        if how is not None and how.resumes and lease.backoff(how, now) > 0:
            # A listing looks at the end of a log only, and does not see whether the session got further meanwhile.
            with contextlib.suppress(SessionSealed, StorageError):
                history = self.read(found.session_id)
                how = None if history is None else history.interruption
        return how is not None and lease.backoff(how, now) <= 0 and not _rests(found.path)

    def find(self, session_id: str) -> StoredSession | None:
        """One session as a listing shows it, or None where there is none."""
        return self._look(self.path(session_id))

    def delete(self, session_id: str) -> bool:
        """Remove a session for good, and what was set aside of it as damaged; whether there was anything.

        Raises:
            SessionBusy: somebody holds it.
        """
        path = self.path(session_id)
        there = False
        if path.exists():
            with self._owned(path, session_id) as fd:
                there = _posix.size(fd) > 0  # one that nobody can read is something as well
                _posix.remove(path)
        with _posix.refused("remove what was damaged of the session", path):
            for damaged in self.folder.glob(f"{path.name}{DAMAGED}*"):
                _posix.remove(damaged)
                there = True
        return there

    def prune(
        self, *, older_than: float | datetime.timedelta, status: StoredStatus | Collection[StoredStatus]
    ) -> list[StoredSession]:
        """Remove the sessions whose last save is at least `older_than` ago and whose status is `status`.

        Never one that somebody holds. One that is damaged is kept under another name, as at the end of its guard.

        Args:
            older_than: seconds, or a timedelta.
            status: `"closed"`, `"interrupted"`, or both in a list.

        Returns:
            Those that were removed.

        Raises:
            ValueError: a status that is none, or that cannot be removed; a negative age.
        """
        due = base.prunable(older_than, status, clock.now())
        removed = []
        for found in self.scan():
            if due(found):
                with contextlib.suppress(SessionBusy):  # somebody has just resumed it
                    removed.append(self._removed(found.session_id, due))
        return [found for found in removed if found is not None]

    def _removed(self, session_id: str, due: Callable[[StoredSession], bool]) -> StoredSession | None:
        """The session that was removed, if it is due still when nobody else can change it any more."""
        path = self.path(session_id)
        if not path.exists():
            return None
        with self._owned(path, session_id) as fd:
            found = _summary(path, _reading.ends_of(fd), live=False)
            is_due = found is not None and due(found)
            if is_due and parse(_posix.lines(fd), lambda _: None).damage:
                set_aside(path)
            elif is_due or _posix.size(fd) == 0:  # empty: it was gone, and has just been made by being opened
                _posix.remove(path)
        return found if is_due else None

    @contextlib.contextmanager
    def _owned(self, path: Path, session_id: str) -> Iterator[int]:
        """The session's log, open and locked, to be removed."""
        with _posix.refused("remove the session's log", path):
            fd = self._own(path, session_id)
            try:
                # Of an owner who died in mid-compaction: it says all that the log says.
                path.with_name(path.name + COMPACTING).unlink(missing_ok=True)
                yield fd
            finally:
                _posix.let_go(fd)

    def path(self, session_id: str) -> Path:
        """Where a session's log lies: a readable part, and a hash that tells `a/b` from `a_b`."""
        base.check_session_id(session_id)
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
                    raise SessionBusy(session_id, _reading.holder(fd))
                if _posix.same_file(fd, path):
                    os.fchmod(fd, 0o600)
                    return fd
            except BaseException:
                _posix.let_go(fd)
                raise
            _posix.let_go(fd)  # its owner removed it between our open and our lock

    def _look(self, path: Path) -> StoredSession | None:
        """One log as a listing shows it; None where no owner ever got as far as a whole record."""
        try:
            with _posix.opened(path, os.O_RDONLY) as fd:
                live = not _posix.lock(fd, exclusive=False)
                ends = _reading.ends_of(fd)
                if not _posix.same_file(fd, path):
                    return None  # its owner ended it while we looked
        except OSError as error:  # removed meanwhile, or not ours to read
            if not isinstance(error, FileNotFoundError):
                logger.warning("cannot read %s: %s", path, error.strerror)
            return None
        return _summary(path, ends, live=live)


def _summary(path: Path, ends: _reading.Ends, *, live: bool) -> StoredSession | None:
    """A log as a listing shows it; None where no owner ever got as far as a whole record."""
    if ends.last is None:
        return None
    if ends.first is None:
        logger.warning("%s is left out: its first line is damaged. A guard that names the session gets it back", path)
        return None
    try:
        history = History.of(map(_skeleton, filter(None, ends)))
    except UnsupportedFormat as error:
        logger.warning("%s is left out: %s", path, error)
        return None
    ended: StoredStatus = "closed" if history.status == "closed" else "interrupted"
    return StoredSession(
        session_id=ends.first.fields["session_id"],
        status="live" if live else ended,
        message_count=ends.last.count,
        saved_at=ends.last.at,
        interruption=None if live else history.interruption,
        path=path,
    )


_resting: Final[dict[Path, tuple[int, float]]] = {}
"""Logs that were refused by whoever claimed them: as of which write, and until when by the monotonic clock they are
not offered here again. A database says that to all workers; a log is left as it is, so each process finds out."""


def _rests(path: Path | None) -> bool:
    """Whether a log is as it was when it was refused, not long ago."""
    if path is None or path not in _resting:
        return False
    written, until = _resting[path]
    with contextlib.suppress(OSError):  # it is gone
        if clock.monotonic() < until and path.stat().st_mtime_ns == written:
            return True
    _resting.pop(path, None)
    return False


def _default_folder() -> Path:
    home = os.environ.get("RESILIENT_AGENT_HOME")
    base = Path(home) if home else platformdirs.user_state_path("resilient_agent")
    return base / "sessions"


def _skeleton(record: Record) -> Record:
    """A record without what the conversation says, for a fold that only asks how the session stands."""
    return dataclasses.replace(record, fields={**_NOTHING, **without_content(record.fields)})
