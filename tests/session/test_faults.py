"""Each system call of a session's life fails in its turn: a clear error or success, never a lie."""

import errno
import os

import pytest

from resilient_agent import FileStore, ResilientAgentError, session_guard
from resilient_agent.session.stores import _posix

CALLS = ("open", "pwrite", "pread", "fsync", "rename", "unlink", "fstat", "fchmod", "mkdir")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR)


class Failing:
    """A system call that fails at its n-th time, once or from then on."""

    def __init__(self, monkeypatch, where, name, number, at, *, lasting):
        self.times = 0
        self.failed = False
        really = getattr(where, name)

        def call(*args, **kwargs):
            self.times += 1
            if self.times == at or (lasting and self.times > at):
                self.failed = True
                raise OSError(number, os.strerror(number))
            return really(*args, **kwargs)

        monkeypatch.setattr(where, name, call)


class Life:
    """A session's life: each step is tried until the end, and what was acknowledged is known."""

    def __init__(self, store):
        self.store = store
        self.acknowledged = []
        self.tried = []  # of the step that failed last: it may be there or not
        self.errors = []

    def step(self, do, after):
        """Run a step that makes the messages `after`; an error has to be one of ours."""
        try:
            do()
        except ResilientAgentError as error:
            self.errors.append(error)
            self.tried.append(after)
        else:
            self.acknowledged, self.tried = after, []

    def live(self):
        for n in range(2):
            self.enter_and_leave(n)

    def enter_and_leave(self, n):
        guard = session_guard("ticket-42", store=self.store, keep=True, max_resumes=None, repair=None)
        try:
            session = guard.__enter__()
        except ResilientAgentError as error:
            self.errors.append(error)
            return
        known = self.acknowledged
        assert session.messages in [known, *self.tried], "what was acknowledged comes back"
        self.acknowledged, self.tried = session.messages, []
        for number in range(3):
            message = {"n": 10 * n + number}
            self.step(lambda message=message: session.append(message), [*self.acknowledged, message])
            assert session.messages == self.acknowledged, "memory is what was acknowledged"
        for number in range(4):
            text = [{"n": 10 * n + number, "text": "x" * 300}]
            self.step(lambda text=text: session.replace(text), text)
            assert session.messages == self.acknowledged
        try:
            guard.__exit__(None, None, None)
        except ResilientAgentError as error:
            self.errors.append(error)


def times(tmp_path, monkeypatch, where, name):
    """How often a call is made in a life without faults."""
    with monkeypatch.context() as patched:
        counting = Failing(patched, where, name, 0, -1, lasting=False)
        Life(FileStore(tmp_path)).live()
    return counting.times


def check(tmp_path, monkeypatch, where, name, *, lasting):
    seen = 0
    for number in ERRORS:
        for at in range(1, times(tmp_path / f"{number}-counted", monkeypatch, where, name) + 1):
            store = FileStore(tmp_path / f"{number}-{at}")
            life = Life(store)
            with monkeypatch.context() as patched:
                failing = Failing(patched, where, name, number, at, lasting=lasting)
                life.live()
            assert failing.failed
            assert all(map(str, life.errors)), "an error says what happened"
            history = store.read("ticket-42")
            found = [] if history is None else history.messages
            assert found in [life.acknowledged, *life.tried], (name, errno.errorcode[number], at)
            with session_guard("ticket-42", store=store, keep=True, max_resumes=None, repair=None) as session:
                assert session.messages == found
                session.append({"n": "next"})
            assert store.read("ticket-42").messages == [*found, {"n": "next"}]
            names = {path.name for path in store.folder.iterdir()}
            assert len(names) == 1, "nothing is left over"
            seen += 1
    return seen


@pytest.fixture(autouse=True)
def small_logs_are_compacted(monkeypatch):
    monkeypatch.setattr("resilient_agent.session.log.SLACK", 500)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("name", CALLS)
def test_a_failing_system_call_is_told_and_costs_nothing_acknowledged(
    tmp_path, monkeypatch, name, lasting
):  # B4 B39 B40
    """The n-th open, write, sync, rename … fails: what was acknowledged is there, and the next start goes on."""
    assert check(tmp_path, monkeypatch, os, name, lasting=lasting) >= len(ERRORS)


def test_a_failing_lock_is_told(tmp_path, monkeypatch):
    """A file system that cannot lock is an error on entering, and not a session without an owner."""
    assert check(tmp_path, monkeypatch, _posix.fcntl, "flock", lasting=False) >= len(ERRORS)


@pytest.mark.parametrize("kept", [0, 1, 7])
def test_a_write_that_comes_back_short_is_told(tmp_path, monkeypatch, kept):  # B39
    """The system wrote a part and said so: nothing of it counts, and the next save stands in its place."""
    store = FileStore(tmp_path)
    really = os.pwrite
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.append({"n": 1})
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", lambda fd, data, offset: really(fd, data[:kept], offset))
            with pytest.raises(ResilientAgentError):
                session.append({"n": 2})
        session.append({"n": 3})
    assert [message["n"] for message in store.read("ticket-42").messages] == [1, 3]
