"""SIGTERM, for guards that ask for it: the body is ended, so that its session is marked and others can go on.

Decides who is told, and that the handler before us comes back. Does not know what a session is.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

__all__ = ["Terminated", "watch"]

_told: Final[dict[object, Callable[[], None]]] = {}
_before: list[Any] = []  # the handler that was there before the first watcher


class Terminated(SystemExit):
    """SIGTERM came. The program ends with the status that says so, 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def watch(told: Callable[[], None]) -> Callable[[], None]:
    """Have `told` called when SIGTERM comes, in the main thread, between any two steps of the program.

    Returns:
        What ends it; the last to do so brings the handler from before back.

    Raises:
        RuntimeError: this is not the main thread: nobody else may handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("sigterm=True works in the main thread only: Python lets no other handle signals")
    if not _told:
        _before.append(signal.signal(signal.SIGTERM, _on_sigterm))
    mark = object()
    _told[mark] = told

    def unwatch() -> None:
        if _told.pop(mark, None) is not None and not _told:
            signal.signal(signal.SIGTERM, _before.pop() or signal.SIG_DFL)

    return unwatch


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    for told in reversed(list(_told.values())):  # the innermost first: it may raise
        told()
