"""`Arrival`: an asyncio future that wakes the one task that waits for it at once.

asyncio's own wakes it in the loop's next round, after another look at all sockets and clocks: that is a
twentieth of what a save takes. Loaded only where asyncio runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["Arrival"]


class Arrival(asyncio.Future[None]):
    """A future without a value, to be awaited by one task.

    Example:
        >>> async def ask():
        ...     arrival = Arrival()
        ...     asyncio.get_running_loop().call_soon(arrival.arrive)
        ...     await arrival
        ...     return "there"
        >>> asyncio.run(ask())
        'there'
    """

    _wake: Callable[[Any], object] | None = None
    _context: Context | None = None

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """The task says how to wake it. Not kept where futures keep it: they would leave it to the next round."""
        self._wake, self._context = fn, context

    def arrive(self) -> None:
        """What was waited for is there. To be called by the loop, in a callback of its own, and not by a task."""
        if not self.done():  # else whoever waited was cancelled
            self.set_result(None)
            if self._wake is not None and self._context is not None:
                self._context.run(self._wake, self)

    def cancel(self, msg: Any | None = None) -> bool:
        """Whoever waits is cancelled, in the next round as ever: it may be the task that runs now that does so."""
        cancelled = super().cancel(msg)
        if cancelled and self._wake is not None:
            self.get_loop().call_soon(self._wake, self, context=self._context)
        return cancelled
