"""`Asking`: does one step with a database, and does it again while the database is away.

Decides what is tried again, how soon and for how long, and what is said in the end. Does not know what
the steps do; each of them may be done twice (`lease.Engine`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, TypeVar

import tenacity

from resilient_agent import clock
from resilient_agent.backoff import BackoffConfig
from resilient_agent.classify import ErrorClassifier
from resilient_agent.errors import StorageError, StorageFull, StoreUnavailable
from resilient_agent.session.stores.lease import Engine
from resilient_agent.strategies import wait_by_backoff
from resilient_agent.verdict import Classification, ErrorType

__all__ = ["Asking"]

T = TypeVar("T")

_CLASSIFIER: Final = ErrorClassifier()
_AGAIN: Final = wait_by_backoff(BackoffConfig(base_delay_ms=50, multiplier=2, max_delay_ms=1000, jitter=0.5))
_FULL: Final = frozenset({"stores/full", "local/out-of-memory"})  # the latter by the name of redis-py's class


class Asking:
    """Asks one database.

    Args:
        engine: whose errors they are.
        patience: seconds that it may be away, from when somebody asked for something: in a coroutine from a call that
            may have waited for a thread and may need several steps.
    """

    def __init__(self, engine: Engine, patience: float) -> None:
        self._errors = engine.errors
        self._name = engine.name
        self._patience = patience

    def __call__(self, step: Callable[[], T], *, until: Callable[[], float] | None = None) -> T:
        """Do one step, again and again while the database is away.

        Args:
            step: one of the engine's.
            until: seconds that may still pass; `patience` when not given.

        Raises:
            StoreUnavailable: it stayed away.
            StorageError: it refuses, and would again.
        """
        began = clock.asked.moment()
        try:
            return step()  # nearly always all there is to it
        except self._errors as error:
            if not _is_away(error):
                raise self._told(error, began) from error

        def is_over(state: tenacity.RetryCallState) -> bool:
            left = began + self._patience - clock.monotonic()
            return min(left, left if until is None else until()) <= state.upcoming_sleep

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_away), wait=_AGAIN, stop=is_over, sleep=clock.sleep, reraise=True
        )
        try:
            return again(step)  # at once: the connection may have died while nobody used it
        except self._errors as error:
            raise self._told(error, began) from error

    def _told(self, error: Exception, began: float) -> StorageError:
        what, name = f"{type(error).__name__}: {error}".strip(), self._name
        verdict = _judged(error)
        if verdict.error_type is ErrorType.RETRYABLE:
            seconds = clock.monotonic() - began
            return StoreUnavailable(errno.EHOSTUNREACH, f"the store did not answer for {seconds:.1f} s ({what})", name)
        if verdict.rule in _FULL:
            return StorageFull(errno.ENOSPC, f"the store has no room left ({what})", name)
        return StorageError(errno.EPROTO, f"the store refuses ({what})", name)


def _is_away(error: BaseException) -> bool:
    """Whether an error means that the store is away, and not that it refuses."""
    return _judged(error).error_type is ErrorType.RETRYABLE


def _judged(error: BaseException) -> Classification:
    """The verdict on a driver's error by itself: what its caller was dealing with when it asked says nothing of it."""
    behind, error.__context__ = error.__context__, None
    try:
        return _CLASSIFIER.classify(error)
    finally:
        error.__context__ = behind
