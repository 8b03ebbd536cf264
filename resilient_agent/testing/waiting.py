"""`no_waiting` and `switched_off`: how the tests of an agent rule the decorated functions that they run.

Decides what stands in for a wait. Scoped: in force in the block, in the tasks that are started there
and whatever else takes its context along, and nowhere else; so tests that run side by side do not
meet, and blocks nest. A new `threading.Thread` begins with a context of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from resilient_agent import _scope, clock

__all__ = ["Waits", "no_waiting", "switched_off"]

_counting = threading.Lock()


class Waits(list[float]):
    """The seconds that calls would have waited, in order.

    Example:
        >>> Waits([1.0, 2.5]).total
        3.5
    """

    @property
    def total(self) -> float:
        """All of them together."""
        return sum(self)


@contextlib.contextmanager
def no_waiting() -> Iterator[Waits]:
    """Within the block decorated functions wait for nothing; what they would have waited is recorded.

    A wait in the pacer may come in pieces: there a call looks up now and then. The time is taken as
    passed, for all calls in the block, so deadlines and rate limits are kept as ever; and what a pacer
    learns there stays there. Not
    for what is being called: a `timeout=` and a server's own waits take their real time. Nor for calls in
    a thread that was started without the block's context: `contextvars.copy_context().run` takes it there.

    Yields:
        The waits so far, a list of seconds that grows.

    Example:
        >>> from resilient_agent import resilient
        >>> @resilient(max_retries=2)
        ... def ask():
        ...     raise ConnectionResetError("connection reset by peer")
        >>> with no_waiting() as waits:
        ...     try:
        ...         ask()
        ...     except ConnectionResetError:
        ...         pass
        >>> len(waits), 0.5 < waits.total < 5
        (2, True)
    """
    waits = Waits()
    token = clock.standing_still.set(clock.Passed(waits.append))
    with _watched():
        try:
            yield waits
        finally:
            _scope.leave(token)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """No call takes the direct path, which knows nothing of the time here."""
    with _counting:
        _scope.asked_for += 1
    try:
        yield
    finally:
        with _counting:
            _scope.asked_for -= 1


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Within the block decorated functions are called plainly: once, and what they raise comes out at once.

    Example:
        >>> from resilient_agent import resilient
        >>> @resilient
        ... def ask():
        ...     raise ConnectionResetError("connection reset by peer")
        >>> with switched_off():
        ...     ask()
        Traceback (most recent call last):
            ...
        ConnectionResetError: connection reset by peer
    """
    token = _scope.switched_off.set(True)
    try:
        yield
    finally:
        _scope.leave(token)
