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
) -> T:
    """Run blocking work in a thread; when this is left, by a result or however else, the work is over.

    Args:
        work: what to run, once.
        limiter: who else may not run at the same time; callers are served in order.
        undo: given the result of work that was done for a caller who was cancelled meanwhile.

    Raises:
        What the work raised; or the cancellation, after the work is over.
    """
    job = _Job(work)
    try:
        return await anyio.to_thread.run_sync(job.run, limiter=limiter)
    except anyio.get_cancelled_exc_class():
        # anyio's own scopes wait for the thread. asyncio's task.cancel() does not, so we do.
        with anyio.CancelScope(shield=True):
            while not job.over():
                try:
                    await anyio.sleep(_POLL)
                except anyio.get_cancelled_exc_class():
                    continue  # cancelled again: the first cancellation is raised below, once
        if undo is not None and job.result:
            undo(job.result[0])
        raise


class _Job(Generic[T]):
    """Work that runs once or, withdrawn in time, never."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._begun = self._over = False
        self.result: list[T] = []

    def run(self) -> T:
        with self._lock:
            if self._over:  # withdrawn: nobody waits for the answer
                raise RuntimeError("withdrawn")
            self._begun = True
        try:
            value = self._work()
            self.result.append(value)
            return value
        finally:
            self._over = True

    def over(self) -> bool:
        """Whether the work is done; if it has not begun by now it never will."""
        with self._lock:
            if not self._begun:
                self._over = True
            return self._over
