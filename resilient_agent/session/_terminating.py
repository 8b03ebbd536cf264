"""SIGTERM, for guards that ask for it: the body is ended, so that its session is marked and others can go on.

Decides who is told, and that the handler before us comes back. Does not know what a session is.
"""

from __future__ import annotations

import contextlib
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
    if not _told and signal.getsignal(signal.SIGTERM) is not _on_sigterm:
        _before[:] = [signal.signal(signal.SIGTERM, _on_sigterm)]
    mark = object()
    _told[mark] = told

    def unwatch() -> None:
        # A handler that somebody set after us is theirs to take back.
        if _told.pop(mark, None) is not None and not _told and signal.getsignal(signal.SIGTERM) is _on_sigterm:
            with contextlib.suppress(ValueError):  # in another thread: the next SIGTERM is passed on
                signal.signal(signal.SIGTERM, _before[0] or signal.SIG_DFL)

    return unwatch


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    if not _told:
        _pass_on(number, frame)
    for told in reversed(list(_told.values())):  # the innermost first: it may raise
        told()


def _pass_on(number: int, frame: FrameType | None) -> None:
    """Nobody here watches any more: what was there before us does what it would have done."""
    before = _before[0]
    if callable(before):
        before(number, frame)
    elif before is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
