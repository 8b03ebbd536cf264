"""The way from a coroutine into a thread and back, such that the outcome is known before anything propagates.

A save that is cancelled either never began, or it is over when the cancellation goes on: the
caller never leaves while the disk still decides. Knows nothing of sessions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import anyio
import anyio.to_thread

__all__ = ["decided"]

T = TypeVar("T")

_POLL: Final = 0.0005  # seconds; only ever waited for by a caller that was cancelled in mid-save


async def decided(
    work: Callable[[], T],
    *,
    limiter: anyio.CapacityLimiter | None = None,
    undo: Callable[[T], object] | None = None,
    must: bool = False,
) -> T:
    """Run blocking work in a thread; when this is left, by a result or however else, the work is over.

    Args:
        work: what to run, once.
        limiter: who else may not run at the same time; callers are served in order. Never anyio's
            own: a program whose tools fill its worker threads has to be able to save.
        undo: given the result of work that was done for a caller who was cancelled meanwhile.
        must: do the work even where the cancellation came before it began.

    Raises:
        What the work raised; or the cancellation, after the work is over.
    """
    job = _Job(work)
    try:
        return await anyio.to_thread.run_sync(job.run, limiter=limiter or anyio.CapacityLimiter(1))
    except anyio.get_cancelled_exc_class() as cancelled:
        if job.withdraw():
            if must:
                _do_now(work, cancelled)
            raise
        # anyio's own scopes wait for the thread. asyncio's task.cancel() does not, so we do.
        with anyio.CancelScope(shield=True):
            while not job.over:
                try:
                    await anyio.sleep(_POLL)
                except anyio.get_cancelled_exc_class():
                    continue  # cancelled again: the first cancellation is raised below, once
        if undo is not None and job.result:
            undo(job.result[0])
        raise


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

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._taken = False  # by the thread that runs it, or by whoever withdrew it
        self.over = False
        self.result: list[T] = []

    def withdraw(self) -> bool:
        """See that it never runs; False where it has begun."""
        with self._lock:
            withdrawn = not self._taken
            self._taken = True
            return withdrawn

    def run(self) -> T:
        if not self.withdraw():
            raise RuntimeError("withdrawn")  # nobody waits for the answer
        try:
            value = self._work()
            self.result.append(value)
            return value
        finally:
            self.over = True
