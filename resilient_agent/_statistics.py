"""What became of the last calls, per task or thread: `fn.statistics`, `fn.call_report` and `last_call()`.

They are kept in a context variable, as a mapping that is replaced and never changed: contexts
are copied by reference, and no two calls may ever meet in one dict. A call that succeeds at
once leaves nothing here, as long as no call of its function left anything anywhere; from then on a
mark, put in when it begins: where there is none, nothing is known. Nor is it before the first call of all.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from resilient_agent._below import forget_told
from resilient_agent.report import AttemptReport, CallReport

if TYPE_CHECKING:
    from resilient_agent._control import Controller

__all__ = ["Ended", "Statistics", "drop", "forget", "last_call", "last_report", "remember", "remember_unwatched"]

_REMEMBERED: Final = 64  # functions per context: one that decorates on the fly must not grow it for ever


class Ended(Protocol):
    """What is kept of a call that has ended. Both are worked out when somebody asks."""

    @property
    def numbers(self) -> Mapping[str, Any]:
        """As tenacity names them."""

    def report(self) -> CallReport:
        """What became of it."""


_AT_ONCE: Final = MappingProxyType(
    {"attempt_number": 1, "idle_for": 0, "delay_since_first_attempt": 0, "outcome": "succeeded"}
)
_UNKNOWN: Final = MappingProxyType({**_AT_ONCE, "outcome": "unknown"})
# None: a call began that has left nothing else, so it succeeded at once, or runs.
_NOTHING: Final[Mapping[Controller, Ended | None]] = MappingProxyType({})

_last: contextvars.ContextVar[Mapping[Controller, Ended | None]] = contextvars.ContextVar(
    "resilient_agent_statistics", default=_NOTHING
)


_beginning = threading.Lock()


class _Unwatched:
    """A call of one attempt that was made without a `Call`, and did not return."""

    def __init__(self, control: Controller, error: BaseException) -> None:
        self._function = control.name
        self._error = type(error).__name__
        self._failed = isinstance(error, Exception)

    @property
    def numbers(self) -> Mapping[str, Any]:
        return {**_AT_ONCE, "outcome": "failed" if self._failed else "cancelled"}

    def report(self) -> CallReport:
        if self._failed:
            return CallReport(self._function, outcome="failed", attempts=(AttemptReport(1, error=self._error),))
        return CallReport(self._function, outcome="cancelled", attempts=())


class Statistics(Mapping[str, Any]):
    """A live view, under tenacity's names, of the last call in the task or thread that looks.

    Keys: `attempt_number` (1 where the first attempt succeeded), `idle_for` (seconds waited),
    `delay_since_first_attempt` and `outcome` (as in a `CallReport`); of a call that
    failed at least once also `start_time`. Time is counted from the first failure on, or from
    the start where a `stop=`, a `before=` or a limit of time asked for it.
    """

    __slots__ = ("_control",)

    def __init__(self, control: Controller) -> None:
        self._control = control

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __repr__(self) -> str:
        return repr(dict(self._now()))

    def _now(self) -> Mapping[str, Any]:
        known = _last.get()
        ended = known.get(self._control)
        if ended is None:
            return _AT_ONCE if _succeeded_at_once(self._control, known) else _UNKNOWN
        return ended.numbers


def remember(control: Controller, ended: Ended) -> None:
    """A call has ended in this context; the last one stands last."""
    _put(control, ended)
    control.way.unused = False
    control.way.stale = True


def remember_unwatched(control: Controller, error: BaseException) -> None:
    """A call ended so that nobody watched: its first attempt was interrupted, or it failed while switched off."""
    if not isinstance(error, GeneratorExit):  # thrown away, maybe by the garbage collector in another context
        remember(control, _Unwatched(control, error))


def forget(control: Controller) -> None:
    """A call begins in this context: the numbers of the one before it no longer count."""
    way = control.way
    if way.unused:
        _begin(control)
    elif _last.get().get(control, control) is not None:
        _put(control, None)
    if way.told:
        forget_told(way.told)


def _begin(control: Controller) -> None:
    """Its first call of all: from here on no call has to leave a mark, until one leaves more."""
    way = control.way
    with _beginning:  # else what a call of another thread left in the meantime would be lost
        if way.unused:
            way.unused, way.stale = False, bool(way.told)


def drop(control: Controller) -> None:
    """Nobody will ask for the calls of this function."""
    known = dict(_last.get())
    if known.pop(control, control) is not control:
        _last.set(known)


def _put(control: Controller, ended: Ended | None) -> None:
    known = dict(_last.get())
    known.pop(control, None)  # so that it stands last
    known[control] = ended
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
    _last.set(known)


def _succeeded_at_once(control: Controller, known: Mapping[Controller, Ended | None]) -> bool:
    """Whether a call that left nothing else succeeded: as long as none left anything, nobody puts a mark in."""
    return control in known or not control.way.stale


def last_report(control: Controller) -> CallReport:
    """What became of the last call of this function in this task or thread."""
    known = _last.get()
    ended = known.get(control)
    if ended is not None:
        return ended.report()
    if _succeeded_at_once(control, known):
        return CallReport(control.name)
    return CallReport(control.name, outcome="unknown", attempts=(), requests=0)


def last_call() -> CallReport | None:
    """What became of the last decorated call that ended in this task or thread; None before the first.

    Example:
        >>> from resilient_agent import last_call, resilient
        >>> @resilient
        ... def ask():
        ...     return "42"
        >>> ask()
        '42'
        >>> last_call().outcome, last_call().requests
        ('succeeded', 1)
    """
    known = [ended for ended in _last.get().values() if ended is not None]
    return known[-1].report() if known else None
