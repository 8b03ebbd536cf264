"""The only room that names `time`, but for `testing`, which stands in for it: everything else is handed a clock.

Nobody decides here. A test that wants to rule time replaces the event loop's clock, or hands
another `sleep=` to the decorator.
"""

from __future__ import annotations

import contextvars
import datetime
import functools
import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from resilient_agent._arrival import Arrival

__all__ = [
    "Passed",
    "asked",
    "async_sleep",
    "asyncio_loop",
    "callback",
    "monotonic",
    "now",
    "of_event_loop",
    "on_event_loop",
    "scope_left",
    "signal",
    "sleep",
    "standing_still",
    "wall",
]

async_sleep = anyio.sleep
"""Waits in a coroutine, by the event loop's clock."""

monotonic = time.monotonic
"""Seconds for measuring how long something took in plain code."""

sleep = time.sleep
"""Waits in plain code; the thread stands still."""

wall = time.time
"""Seconds since 1970: for HTTP dates and for what people read, never for durations."""


class _Asked(threading.local):
    since: float | None = None

    def moment(self) -> float:
        """That moment, by `monotonic`; now, where nobody else asked."""
        return monotonic() if self.since is None else self.since


asked = _Asked()
"""When somebody who waits for it asked for what this thread is doing: it may have waited for a thread since."""


def now() -> datetime.datetime:
    """The present moment, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def on_event_loop() -> bool:
    """Whether an asyncio or trio event loop runs in this very thread."""
    if asyncio_loop() is not None:
        return True
    trio = sys.modules.get("trio")  # where nobody has loaded it, none of its loops can run
    return trio is not None and trio.lowlevel.in_trio_task()


def asyncio_loop() -> object | None:
    """The asyncio event loop that runs in this thread, or None."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001 - documented for such use


def _trio_here() -> Any:
    """The module, if trio runs in this thread. It is asked first: as a guest it runs on top of an asyncio loop."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None


def of_event_loop() -> Callable[[], float]:
    """The clock of the event loop that runs here, to be read again and again by one call."""
    if (trio := _trio_here()) is not None:
        of_trio: Callable[[], float] = trio.current_time
        return of_trio
    loop: Any = asyncio_loop()
    return anyio.current_time if loop is None else loop.time


def callback() -> Callable[[Callable[[], object]], object]:
    """How a thread, or a signal's handler, has something called on the event loop that runs here."""
    if (trio := _trio_here()) is not None:
        call: Callable[[Callable[[], object]], object] = trio.lowlevel.current_trio_token().run_sync_soon
        return call
    loop: Any = asyncio_loop()
    if loop is None:
        raise RuntimeError("no event loop runs here")
    soon: Callable[[Callable[[], object]], object] = loop.call_soon_threadsafe
    return soon


def signal() -> tuple[Callable[[], Awaitable[object]], Callable[[], object]]:
    """Something to wait for once on the event loop that runs here, and how any thread says that it is there.

    On asyncio that is a future of our own: an event of anyio wakes the same task at three times the cost.
    """
    loop: Any = asyncio_loop() if _trio_here() is None else None
    if loop is None:
        event = anyio.Event()
        return event.wait, functools.partial(callback(), event.set)
    arrival = _arrival_class()(loop=loop)
    return (lambda: arrival), functools.partial(loop.call_soon_threadsafe, arrival.arrive)


@functools.cache
def _arrival_class() -> type[Arrival]:
    from resilient_agent._arrival import Arrival  # noqa: PLC0415 - asyncio takes time to load, and may never run

    return Arrival


def scope_left() -> float:
    """Seconds until the nearest deadline of the anyio or trio scopes around this line; inf where there is none."""
    try:
        deadline = anyio.current_effective_deadline()
        # A scope that is cancelled already has no deadline to be kept: the next wait is where its cancellation is met.
        return math.inf if math.isinf(deadline) else deadline - anyio.current_time()
    except RuntimeError:  # no loop, or a callback of one: no task, so no scope
        return math.inf


class Passed:
    """Seconds that are taken as passed, on top of a clock's: of one call, or of all in a test that waits for nothing.

    Attributes:
        seconds: how many.
        told: told of each wait in place of it; None where waits are real.
        replaced: of a test, what stands in for objects that learn (a pacer for each pacer); else None.
    """

    __slots__ = ("replaced", "seconds", "told")

    def __init__(self, told: Callable[[float], None] | None = None) -> None:
        self.seconds = 0.0
        self.told = told
        self.replaced: dict[Any, Any] | None = None if told is None else {}


standing_still: contextvars.ContextVar[Passed | None] = contextvars.ContextVar(
    "resilient_agent_standing_still", default=None
)
"""In this context nobody waits (`testing.no_waiting`)."""
