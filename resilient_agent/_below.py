"""What an attempt that failed had retried below: a decorated call inside of it, or an SDK. Layers share, not multiply.

A call that ends with an error leaves its report there, and beside it its surroundings: the attempts
in which it ran. So each call around it knows whether the report is from inside of its own attempt or
an old one, on an exception that is raised again. A first attempt that nobody watches is known to
nobody, not even by a number; but the frame of its shell stands on the stack while it runs.

The exception may stay inside, where another one comes out in its place. So the calls around are told as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from resilient_agent.classify.below import sdk_retries
from resilient_agent.classify.chains import leaves
from resilient_agent.report import NOWHERE, Surroundings, carried

if TYPE_CHECKING:
    from resilient_agent._call import Call

__all__ = ["add_shell", "forget_told", "requests_below", "surroundings", "taken"]

_DEEPEST: Final = 20  # causes; they may be a circle
_shells: Final[dict[int, CodeType]] = {}
"""The code of all that stands around a call (wrappers, the loop, the executor), by identity: to hash code is slow."""


def add_shell(*runners: Callable[..., Any]) -> None:
    """Such a function runs calls."""
    codes = [runner.__code__ for runner in runners if isinstance(runner, FunctionType)]
    _shells.update({id(code): code for code in codes})


def surroundings(call: Call) -> Surroundings:
    """In which attempts a call runs that ends now; asked inside of its own shell. They are told of its retries.

    Frames are left as numbers: one that an exception kept would keep arguments. With the function's name, as a number
    is given to another frame where the exception stayed inside, and is raised once more later.
    """
    if call.requests <= 1:  # nothing was retried, so nobody will ask
        return NOWHERE
    attempts, around, retries = [], call.around, call.requests - 1
    while around is not None:
        attempts.append((around.serial, around.attempt_number))
        around.below = max(around.below, retries)
        around = around.around
    frames = list(_shells_on_stack())[1:]  # the innermost is its own
    return tuple([(id(frame), _tell(frame, retries)) for frame in frames]), tuple(attempts)


def _shells_on_stack() -> Iterator[FrameType]:
    """The frames of the shells on the stack, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if id(frame.f_code) in _shells:
            yield frame
        frame = frame.f_back


def _tell(shell: FrameType, retries: int) -> str:
    """Leave the number for a first attempt that nobody watches, as long as it runs (see `forget_told`).

    The name of its function.
    """
    control = shell.f_locals.get("control")
    if control is None:
        return ""
    told = control.way.told
    told[id(shell)] = max(told.get(id(shell), 0), retries)
    control.way.stale = True
    return str(control.name)


def forget_told(told: dict[int, int]) -> None:
    """A call begins: what was told to one before, whose frame had the same number, is not for this one."""
    shell = next(_shells_on_stack(), None)
    told.pop(id(shell), None)


def taken(told: dict[int, int], error: Exception) -> int:
    """What was told to a first attempt that nobody watched, and that raised this."""
    if error.__traceback__ is None:
        return 0
    return told.pop(id(error.__traceback__.tb_frame), 0)  # a traceback begins where it was caught: in our shell


def requests_below(call: Call) -> int:
    """How many requests the failed attempt made besides the one that is known: retries of a call inside, or of an SDK.

    Of several calls inside, in a group or one after the other, it is the most that one made: none is a retry of the
    other.
    """
    error = call.error
    assert error is not None  # noqa: S101 - asked after a failure
    links = (error, *leaves(error)) if isinstance(error, BaseExceptionGroup) else (error,)
    return max(call.below, *[_below(call, error, link) for link in links])


def _below(call: Call, error: BaseException, link: BaseException) -> int:
    for report, left in carried(link, suppressed=True):
        if _inside(call, error, report.function, left):
            return max(0, report.requests - 1)  # none, where a breaker refused it
    below = max(map(sdk_retries, _causes(link)))
    if below:
        call.control.retried_below(below)
    return below


def _causes(link: BaseException | None) -> Iterator[BaseException]:
    """The exception and its stated causes. Its context may be older than the attempt: it was made in a handler."""
    for _ in range(_DEEPEST):
        if link is None:
            return
        yield link
        link = link.__cause__


def _inside(call: Call, error: BaseException, function: str, left: Surroundings) -> bool:
    """Whether a report was left inside of this very attempt.

    A thread or a process that was handed no context knows of nothing around it, neither does a task that a first
    attempt started: then any other function's report counts as one from inside.
    """
    shells_around, attempts = left
    if call.watched is not None:
        if (call.watched, call.attempt_number) in attempts:
            return True
    elif error.__traceback__ is not None and (id(error.__traceback__.tb_frame), call.function) in shells_around:
        return True
    return not (shells_around or attempts) and function != call.control.name
