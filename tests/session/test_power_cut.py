"""A power cut at every instant: whatever the disk had not confirmed is lost, kept, torn or kept in part.

A recording file layer writes down what is asked of the file system. From that, every state is made in
which a disk could be found after a cut, and each is opened as a next start would. What was not synced may be
there or not, in any combination; of a write any part; of a folder's entries any. Nothing is sampled.
"""

import itertools
import os
from pathlib import Path

import pytest

from resilient_agent import FileStore, session_guard


class Disk:
    """The files and folders below a root, with what was asked of them since they were last synced."""

    def __init__(self, root):
        self.root = root
        self.inodes = 0
        self.operations = []

    def note(self, *operation):
        self.operations.append(operation)


class Recorder:
    """Stands in for `os`: does what it is asked, and writes it down."""

    def __init__(self, monkeypatch, root):
        self.disk = Disk(root)
        self._files = {}  # (device, inode) -> our number
        self._names = {}
        for name in ("open", "pwrite", "ftruncate", "fsync", "rename", "unlink", "mkdir"):
            self._names[name] = getattr(os, name)
            monkeypatch.setattr(os, name, getattr(self, name))

    def _ours(self, path):
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(self.disk.root)

    def _number(self, fd):
        found = os.fstat(fd)
        return self._files.get((found.st_dev, found.st_ino))

    def open(self, path, flags, mode=0o777, **more):
        new = bool(flags & os.O_CREAT) and self._ours(path) and not Path(path).exists()
        fd = self._names["open"](path, flags, mode, **more)
        if new:
            self.disk.inodes += 1
            found = os.fstat(fd)
            self._files[found.st_dev, found.st_ino] = self.disk.inodes
            self.disk.note("link", str(Path(path).parent), Path(path).name, self.disk.inodes)
        return fd

    def pwrite(self, fd, data, offset):
        written = self._names["pwrite"](fd, data, offset)
        self.disk.note("write", self._number(fd), offset, bytes(data))
        return written

    def ftruncate(self, fd, size):
        self._names["ftruncate"](fd, size)
        self.disk.note("cut", self._number(fd), size)

    def fsync(self, fd):
        self._names["fsync"](fd)
        number = self._number(fd)
        if number is None:
            self.disk.note("sync folder", str(Path(f"/proc/self/fd/{fd}").readlink()))
        else:
            self.disk.note("sync", number)

    def rename(self, old, new, **more):
        self._names["rename"](old, new, **more)
        self.disk.note("rename", str(Path(old).parent), Path(old).name, Path(new).name)

    def unlink(self, path, **more):
        self._names["unlink"](path, **more)
        self.disk.note("unlink", str(Path(path).parent), Path(path).name)

    def mkdir(self, path, mode=0o777, **more):
        self._names["mkdir"](path, mode, **more)
        if self._ours(path):
            self.disk.note("link", str(Path(path).parent), Path(path).name, "folder")


def states(operations):
    """Every state that a disk may be in after a cut behind these operations: (entries by folder, content by file)."""
    files, folders = {}, {}
    for what, where, *more in operations:
        if what == "sync":
            files[where] = [_content(files.get(where, []))]
        elif what == "sync folder":
            folders[where] = [_entries(folders.get(where, []))]
        elif what in {"write", "cut"}:
            files.setdefault(where, [b""]).append((what, *more))
        elif what in {"link", "rename", "unlink"}:
            folders.setdefault(where, [{}]).append((what, *more))
    content = {number: set(_contents(steps)) for number, steps in files.items()}
    entries = {folder: _all_entries(steps) for folder, steps in folders.items()}
    for chosen in itertools.product(*entries.values()):
        shown = dict(zip(entries, chosen, strict=True))
        named = {number for names in shown.values() for number in names.values() if number != "folder"}
        for parts in itertools.product(*(content.get(number, {b""}) for number in sorted(named))):
            yield shown, dict(zip(sorted(named), parts, strict=True))


def _content(steps):
    data = b""
    for step in steps:
        data = step if isinstance(step, bytes) else _applied(data, step)
    return data


def _applied(data, step):
    if step[0] == "cut":
        return data[: step[1]].ljust(step[1], b"\0")
    _, offset, new = step
    return data[:offset].ljust(offset, b"\0") + new + data[offset + len(new) :]


def _contents(steps):
    base, *pending = steps or [b""]
    for chosen in _subsets(pending):
        yield _content([base, *chosen])
        for place, step in enumerate(chosen):
            if step[0] == "write":  # torn: half of it came, or zeros where it should be
                _, offset, data = step
                for cut in {1, len(data) // 2, len(data) - 1}:
                    yield _content([base, *chosen[:place], ("write", offset, data[:cut]), *chosen[place + 1 :]])
                yield _content([base, *chosen[:place], ("write", offset, bytes(len(data))), *chosen[place + 1 :]])


def _entries(steps):
    names = {}
    for step in steps:
        if isinstance(step, dict):
            names = dict(step)
        elif step[0] == "link":
            names[step[1]] = step[2]
        elif step[0] == "unlink":
            names.pop(step[1], None)
        elif step[1] in names:
            names[step[2]] = names.pop(step[1])
    return names


def _all_entries(steps):
    base, *pending = steps
    made = [_entries([base, *chosen]) for chosen in _subsets(pending)]
    return [names for place, names in enumerate(made) if names not in made[:place]]


def _subsets(steps):
    for picks in itertools.product((True, False), repeat=len(steps)):
        yield [step for step, pick in zip(steps, picks, strict=True) if pick]


class Journal:
    """What a session's owner was told, beside what was asked of the disk."""

    def __init__(self, disk):
        self.disk = disk
        self.told = [(0, None)]  # after so many operations the session holds this; None: it need not be there

    def acknowledge(self, messages):
        self.told.append((len(self.disk.operations), messages))

    def allowed(self, place):
        """What may be found after a cut behind so many operations: what was told last, or what comes next."""
        last = max(number for number, (at, _) in enumerate(self.told) if at <= place)
        return [messages for _, messages in self.told[last : last + 2]]


def found_in(shown, content, root, tmp_path, number):
    """What the next start finds on such a disk, and whether it can go on from there."""
    folder = tmp_path / f"cut-{number}"
    folder.mkdir()
    names = shown.get(str(root / "sessions"), {})
    if "sessions" not in shown.get(str(root), {}):
        names = {}  # the folder itself is gone
    for name, inode in names.items():
        (folder / name).write_bytes(content[inode])
    store = FileStore(folder, durability="process")
    history = store.read("ticket-42")
    messages = None if history is None else history.messages
    with session_guard("ticket-42", store=store, keep=True, repair=None) as session:
        assert session.messages == (messages or [])
        session.append({"n": "next"})
    assert store.read("ticket-42").messages == [*(messages or []), {"n": "next"}]
    assert len(list(store.scan())) == 1
    return messages


def append_and_close(store, journal):
    with session_guard("ticket-42", store=store, keep=True) as session:
        journal.acknowledge([])
        for n in range(2):
            session.append({"n": n})
            journal.acknowledge(session.messages)
        messages = session.messages
    journal.acknowledge(messages)


def delete(store, journal):
    with session_guard("ticket-42", store=store) as session:
        journal.acknowledge([])
        session.append({"n": 0})
        journal.acknowledge(session.messages)
    journal.acknowledge(None)


def fall_and_resume(store, journal):
    with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
        journal.acknowledge([])
        session.append({"n": 0})
        journal.acknowledge(session.messages)
        raise LookupError
    journal.acknowledge([{"n": 0}])
    with session_guard("ticket-42", store=store, keep=True) as session:
        journal.acknowledge(session.messages)
        session.extend([{"n": 1}, {"n": 2}])
        journal.acknowledge(session.messages)


def compact(store, journal):
    with session_guard("ticket-42", store=store, keep=True) as session:
        journal.acknowledge([])
        for n in range(5):
            session.replace([{"n": n, "text": "x" * 400}])
            journal.acknowledge(session.messages)
        session.append({"n": "last"})
        journal.acknowledge(session.messages)
        messages = session.messages
    assert sum(operation[0] == "rename" for operation in journal.disk.operations) > 1, "the log was to be compacted"
    journal.acknowledge(messages)


@pytest.mark.parametrize("work", [append_and_close, delete, fall_and_resume, compact], ids=lambda work: work.__name__)
def test_no_power_cut_takes_what_was_acknowledged(work, tmp_path, monkeypatch):  # B8 B9 B10 B11 B37 B41
    """Behind each operation, in each state that the disk may be in: all that was told is there, and it goes on."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setattr("resilient_agent.session.log.SLACK", 500)  # so that a small log is compacted
    with monkeypatch.context() as patched:
        recorder = Recorder(patched, root)
        journal = Journal(recorder.disk)
        work(FileStore(root / "sessions"), journal)
    operations, seen = recorder.disk.operations, 0
    assert len(operations) > 8
    for place in range(len(operations) + 1):
        allowed = journal.allowed(place)
        for shown, content in states(operations[:place]):
            seen += 1
            messages = found_in(shown, content, root, tmp_path, seen)
            # A session of which nothing was acknowledged yet may be there, empty, or not.
            assert messages in allowed or (messages == [] and None in allowed), operations[max(0, place - 3) : place]
    assert seen > 2 * len(operations)
