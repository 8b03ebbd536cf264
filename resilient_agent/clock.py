"""The only room that names `time`: everything else is handed a clock.

Nobody decides here. A test that wants to rule time replaces the event loop's clock, or hands
another `sleep=` to the decorator.
"""

from __future__ import annotations

import datetime
import time

import anyio

__all__ = ["async_sleep", "monotonic", "now", "on_event_loop", "sleep", "wall"]

async_sleep = anyio.sleep
"""Waits in a coroutine, by the event loop's clock."""

monotonic = time.monotonic
"""Seconds for measuring how long something took in plain code."""

sleep = time.sleep
"""Waits in plain code; the thread stands still."""

wall = time.time
"""Seconds since 1970: for HTTP dates and for what people read, never for durations."""


def now() -> datetime.datetime:
    """The present moment, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def on_event_loop() -> bool:
    """Whether an asyncio or trio event loop runs in this very thread."""
    try:
        anyio.get_current_task()
    except RuntimeError:  # anyio.NoEventLoopError where anyio is new enough to have it
        return False
    return True
