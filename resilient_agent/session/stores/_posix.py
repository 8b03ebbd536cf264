"""The few things that a log asks of the file system: lock, write whole, sync, and say who refused.

Knows file descriptors and errors of the system; knows neither sessions nor records.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from resilient_agent import clock
from resilient_agent.errors import StorageError, StorageFull

try:
    import fcntl
except ImportError as missing:  # pragma: no cover - Windows
    raise ImportError("sessions need a POSIX system (Linux, macOS): this one has no fcntl") from missing

__all__ = [
    "create",
    "cut",
    "identity",
    "let_go",
    "lines",
    "lock",
    "make_folder",
    "opened",
    "refused",
    "remove",
    "same_file",
    "set_aside",
    "size",
    "stands_at",
    "sync",
    "sync_folder",
    "take_place",
    "write_at",
    "written_at",
]

logger: Final = logging.getLogger("resilient_agent.session")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LOCKS: Final = (
    "this file system has no locks, as some over a network have none, so two could write at once. Keep sessions on a "
    "disk of this machine (store= or RESILIENT_AGENT_HOME chooses the folder), or in a database"
)
_MEANING: Final = {
    errno.ELOOP: "it is a symbolic link, which is not followed",
    errno.ENOLCK: _NO_LOCKS,
    errno.EOPNOTSUPP: _NO_LOCKS,
    errno.ENOSYS: _NO_LOCKS,
    errno.EROFS: "the file system is read-only (store= or RESILIENT_AGENT_HOME chooses another folder)",
}
"""What some of the system's errors mean here, where its own words do not say what to do."""
_CHUNK: Final = 1 << 16
"""Bytes that are read in one go: they are still in the processor's cache when their last line is decoded."""
_ROOM: Final = 120_000
"""Bytes that are asked for and given back before a piece is decoded. The heap of a thread grows by single pages in
glibc, each with a system call: five hundred for a megabyte of text. (From 128 kB on memory comes from elsewhere.)"""
_LOOKERS: Final = 500  # tries of a millisecond: a listing holds a log for far less


class refused:  # noqa: N801 - it reads as the verb that it is
    """Turn an error of the system into one that says what was being done and what is safe.

    A class and no generator, as each save goes through it.

    Raises:
        StorageFull: no room.
        StorageError: anything else.
    """

    __slots__ = ("_doing", "_path")

    def __init__(self, doing: str, path: Path) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, OSError) or isinstance(error, StorageError):
            return
        number = error.errno or 0
        what = f"could not {self._doing}: {error.strerror or error}"
        if number in _FULL:
            raise StorageFull(number, f"{what}. Make room; what was acknowledged is safe", str(self._path)) from error
        if number in _MEANING:
            what = f"could not {self._doing}: {_MEANING[number]}"
        raise StorageError(number, what, str(self._path)) from error


def make_folder(folder: Path) -> None:
    """See that the folder is there; what is made for it is its owner's alone (0700, whatever the umask)."""
    with refused("create the folder for sessions (store= or RESILIENT_AGENT_HOME chooses another)", folder):
        if folder.is_dir():
            return
        missing = [folder, *(parent for parent in folder.parents if not parent.exists())]
        for made in reversed(missing):
            with contextlib.suppress(FileExistsError):
                made.mkdir(mode=0o700)
                made.chmod(0o700)
            sync_folder(made.parent)  # else a power cut may take the folder away again


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """An open file, for as long as the body runs, and the lock that it takes on it; a symbolic link is not followed."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd
    finally:
        let_go(fd)


def lock(fd: int, *, exclusive: bool) -> bool:
    """Take the kernel's lock on an open file without waiting; whether it was had.

    It is held until the last copy of the descriptor is closed, by us or by the kernel when
    the process is gone, however it went. Whoever only looks takes it shared, for a moment: an
    owner that meets nobody but lookers tries again.
    """
    for _ in range(_LOOKERS):
        if _try_lock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
            return True
        if not exclusive or not _try_lock(fd, fcntl.LOCK_SH):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        clock.sleep(0.001)
    return False


def let_go(fd: int) -> None:
    """Close a file, and give back the lock on it if there is one.

    Closing alone does not do that while somebody has a copy: another thread may just be starting a program, and the
    child has all descriptors until it is that program.
    """
    with contextlib.suppress(OSError):  # closing does it in most cases
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _try_lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def identity(fd: int) -> tuple[int, int]:
    """What tells an open file from every other that there is while it is open."""
    ours = os.fstat(fd)
    return ours.st_ino, ours.st_dev


def size(fd: int) -> int:
    """How many bytes an open file has; at half of what fstat takes."""
    return os.lseek(fd, 0, os.SEEK_END)


def stands_at(path: Path | str, ours: tuple[int, int]) -> bool:
    """Whether the path still names the file of this identity: it may have been deleted or replaced meanwhile."""
    try:
        named = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (named.st_ino, named.st_dev) == ours


def written_at(fd: int) -> int:
    """When an open file was written last, in nanoseconds since 1970."""
    return os.fstat(fd).st_mtime_ns


def same_file(fd: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    return stands_at(path, identity(fd))


def lines(fd: int) -> Iterator[bytes]:
    """The lines of the file from its beginning, each with its newline; and what stands behind the last newline."""
    place = 0
    begun: list[bytes] = []  # pieces of a line that goes on: joined once, as a picture fills many chunks
    while chunk := os.pread(fd, _CHUNK, place):
        place += len(chunk)
        bytes(_ROOM)  # room for what is made of the piece
        start = 0
        while end := chunk.find(b"\n", start) + 1:
            line = chunk[start:end]
            if begun:
                line = b"".join((*begun, line))
                begun.clear()
            yield line
            start = end
        begun.append(chunk[start:])
    if tail := b"".join(begun):
        yield tail


def create(path: Path) -> int:
    """A new file for its owner alone, to be read and written; whatever stood there under that name is gone."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def cut(fd: int, size: int) -> None:
    """Take away what stands behind the first so many bytes."""
    os.ftruncate(fd, size)


def take_place(new: Path, old: Path) -> None:
    """Let a file stand in place of another, for everybody in the same instant."""
    new.rename(old)


def set_aside(path: Path, name: str) -> None:
    """Give a file another name in its folder, such that a power cut does not take that back."""
    path.rename(path.with_name(name))
    _sync_name(path)


def remove(path: Path) -> None:
    """Remove a file, such that a power cut does not bring it back."""
    path.unlink()
    _sync_name(path)


def _sync_name(path: Path) -> None:
    """See that a power cut does not bring a name back. It is gone also where that fails, so nothing is raised."""
    try:
        sync_folder(path.parent)
    except OSError as error:
        logger.warning("%s is gone, but a power cut may bring it back: %s", path, error.strerror)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of it, or raise: a write may come back short, which is how a full disk begins."""
    written = os.pwrite(fd, data, offset)
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync(fd: int) -> None:
    """Return when the file's content survives a power cut."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # pragma: no cover - macOS, where fsync stops at the drive's cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Return when the folder's entries, made or removed, survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
