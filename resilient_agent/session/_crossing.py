"""The way from a coroutine into a thread and back, such that the outcome is known before anything propagates.

A save that is cancelled either never began, or it is over when the cancellation goes on: the
caller never leaves while the disk still decides. Knows nothing of sessions.

Why not `anyio.to_thread`: each save of each session takes this way, and a thread of our own that
calls back into the loop costs half as much; a program whose tools fill anyio's worker
threads can still save; and asyncio's `task.cancel()` would leave while the thread still works.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

import anyio
import anyio.lowlevel

from resilient_agent import clock

__all__ = ["Line", "decided"]

T = TypeVar("T")

_POLL: Final = 0.0005  # seconds; only ever waited for by a caller that was cancelled in mid-save
_THREADS: Final = 16  # for each kind of store: more saves than that at once only wait for each other at the disk


async def decided(
    work: Callable[[], T],
    *,
    at: object = None,
    line: Line | None = None,
    undo: Callable[[T], object] | None = None,
    must: bool = False,
) -> T:
    """Run blocking work in a thread; when this is left, by a result or however else, the work is over.

    Args:
        work: what to run, once.
        at: what it is about to wait for, such as a store.
        line: what it waits in for its turn, if anything; it knows for itself what its work waits for.
        undo: given the result of work that was done for a caller who was cancelled meanwhile.
        must: do the work even where the cancellation came before it began.

    Raises:
        What the work raised; or the cancellation, after the work is over.
        RuntimeError: there is no thread, and none can be started; the work is not done.
    """
    over, tell = clock.signal()
    job = _Job(work, tell)
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
        (line or _threads_for(type(at))).do(job.run)
        await over()
    except (GeneratorExit, Exception):
        # Thrown away, as by a loop that was closed: there is nobody to wait for what has begun. Or there is no thread
        # for it, and its caller is told that it is not done.
        job.withdraw()
        raise
    except anyio.get_cancelled_exc_class() as cancelled:
        if job.withdraw():
            if must:
                _do_now(work, cancelled)
            raise
        with anyio.CancelScope(shield=True):
            while not job.over:
                try:
                    await anyio.sleep(_POLL)
                except anyio.get_cancelled_exc_class():
                    continue  # cancelled again: the first cancellation is raised below, once
        if undo is not None and job.result:
            undo(job.result[0])
        raise
    return job.outcome()


def _do_now(work: Callable[[], object], cancelled: BaseException) -> None:
    """On the event loop, as there is no waiting any more; what must be done is short. The cancellation goes on."""
    try:
        work()
    except Exception as error:
        cancelled.add_note(f"resilient_agent: {error}")


class _Job(Generic[T]):
    """Work that runs once or, withdrawn in time, never.

    Attributes:
        over: whether it has run.
        result: what it returned, in a list; empty where it raised.
    """

    __slots__ = ("_asked", "_error", "_taken", "_tell", "_work", "over", "result")

    def __init__(self, work: Callable[[], T], tell: Callable[[], object]) -> None:
        self._work = work
        self._tell = tell
        self._asked = clock.monotonic()
        self._taken = threading.Lock()  # once and for all: by the thread that runs it, or by whoever withdrew it
        self._error: BaseException | None = None
        self.over = False
        self.result: list[T] = []

    def withdraw(self) -> bool:
        """See that it never runs; False where it has begun."""
        return self._taken.acquire(blocking=False)

    def run(self) -> Callable[[], object]:
        """In the thread: do the work, and hand over what tells the loop."""
        if self.withdraw():
            clock.asked.since = self._asked
            try:
                self.result.append(self._work())
            except BaseException as error:  # whatever it is, it belongs to the caller
                self._error = error
            clock.asked.since = None
            self.over = True
        return self._told

    def _told(self) -> None:
        # The loop is closed, so nobody waits any more; and a thread that ended here would still be counted on.
        with contextlib.suppress(Exception):
            self._tell()

    def outcome(self) -> T:
        """What the work returned; raises what it raised."""
        error, self._error = self._error, None
        if error is None:
            return self.result[0]
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


_Work = Callable[[], Callable[[], object]]
"""What a thread does: it gives what is to be called when the thread is free again. Whoever is told of an end often has
the next save at hand, and finds the same thread: where two took turns, that was a seventh of the way."""


class _Threads:
    """Threads that wait for one kind of store, shared by all its sessions in the process. They come as they are needed.

    The one that was at work last is the first to work again, as all that it needs is still in its processor's cache.
    A `ThreadPoolExecutor` knows no such order, and makes a Future of each job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._free: list[SimpleQueue[_Work]] = []  # of each thread that has nothing to do, where it looks for work
        self._waiting: deque[_Work] = deque()  # for any of them

    def do(self, work: _Work) -> None:
        """Have the work done soon, in some thread.

        Raises:
            RuntimeError: there is none, and none can be started.
        """
        with self._lock:
            if self._free:
                self._free.pop().put(work)
            elif self._threads == _THREADS or not self._start(work):
                self._waiting.append(work)

    def _start(self, work: _Work) -> bool:
        """Have it done by a thread more, if the system gives one; else, if there are any, they have to do."""
        mine: SimpleQueue[_Work] = SimpleQueue()
        try:
            # Daemons: a program that ends without leaving its guards must not wait for them.
            threading.Thread(target=self._run, args=(mine,), name="resilient_agent", daemon=True).start()
        except RuntimeError:
            if self._threads:
                return False
            raise
        self._threads += 1
        mine.put(work)
        return True

    def _run(self, mine: SimpleQueue[_Work]) -> None:
        while True:
            tell = mine.get()()
            with self._lock:
                if self._waiting:
                    mine.put(self._waiting.popleft())
                else:
                    self._free.append(mine)
            tell()
            del tell  # it holds what was saved


_threads: dict[type, _Threads] = {}
"""By the kind of what they wait for: a database that is away keeps its own threads busy, and no file waits for that. Of
kinds there are a few; of stores a program may make any number, for files one at each guard."""


def _threads_for(kind: type) -> _Threads:
    return _threads.get(kind) or _threads.setdefault(kind, _Threads())


class Line:
    """Work that is done one after the other, in the order in which it comes, by whichever thread is free.

    Args:
        at: what all of it waits for, such as a store.
    """

    def __init__(self, at: object = None) -> None:
        self._kind = type(at)
        self._begin()

    def _begin(self) -> None:
        self._by = _threads_for(self._kind)
        self._waiting: deque[_Work] = deque()
        self._working = threading.Lock()

    def do(self, work: _Work) -> None:
        """Have the work done soon, after all that came before it."""
        if self._by is not _threads.get(self._kind):  # in a forked child: who works on it is not there any more
            self._begin()
        self._waiting.append(work)
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and self._working.acquire(blocking=False):
            try:
                self._by.do(self._next)
            except Exception:  # nobody works on it; after a Ctrl-C it might be that somebody does
                self._working.release()
                raise

    def _next(self) -> Callable[[], object]:
        # Another may have done it between the two halves of that question.
        tell = self._waiting.popleft()() if self._waiting else None
        self._working.release()

        def told() -> None:
            if tell is not None:
                tell()
            self._go_on()  # behind the work of other lines: one that never ends would keep a thread

        return told


os.register_at_fork(after_in_child=_threads.clear)  # a child has the objects without their threads
