"""What an attempt that failed had retried below: a decorated call inside of it, or an SDK. Layers share, not multiply.

A call that ends with an error leaves its report there, and beside it its surroundings: the attempts
in which it ran. So each call around it knows whether the report is from inside of its own attempt or
an old one, on an exception that is raised again. A first attempt that nobody watches is known to
nobody, not even by a number; but the frame of its shell stands on the stack while it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from resilient_agent.classify.below import sdk_retries
from resilient_agent.classify.chains import leaves
from resilient_agent.report import NOWHERE, Surroundings, carried

if TYPE_CHECKING:
    from resilient_agent._call import Call

__all__ = ["add_shell", "requests_below", "surroundings"]

_shells: Final[dict[int, CodeType]] = {}
"""The code of all that stands around a call (wrappers, the loop, the executor), by identity: to hash code is slow."""


def add_shell(*runners: Callable[..., Any]) -> None:
    """Such a function runs calls."""
    codes = [runner.__code__ for runner in runners if isinstance(runner, FunctionType)]
    _shells.update({id(code): code for code in codes})


def surroundings(call: Call) -> Surroundings:
    """In which attempts a call runs that ends now; asked inside of its own shell."""
    if call.requests <= 1:  # nothing was retried, so nobody will ask
        return NOWHERE
    attempts, around = [], call.around
    while around is not None:
        attempts.append((around.serial, around.attempt_number))
        around = around.around
    return _shells_around(), tuple(attempts)


def _shells_around() -> tuple[int, ...]:
    """The frames of the shells on the stack, but for the innermost, the call's own.

    As numbers: a frame that an exception kept would keep arguments. A number is not given to another
    frame while the traceback of the exception lives.
    """
    found, frame = [], inspect.currentframe()
    while frame is not None:
        if id(frame.f_code) in _shells:
            found.append(id(frame))
        frame = frame.f_back
    return tuple(found[1:])


def requests_below(call: Call) -> int:
    """How many requests the failed attempt made besides the one that is known: retries of a call inside, or of an SDK.

    Of a group it is the most of its members: they ran side by side, which makes none a retry of the other.
    """
    error = call.error
    assert error is not None  # noqa: S101 - asked after a failure
    if not isinstance(error, BaseExceptionGroup):
        return _below(call, error, error)
    return max([_below(call, error, link) for link in (error, *leaves(error))])


def _below(call: Call, error: BaseException, link: BaseException) -> int:
    for report, left in carried(link):
        if _inside(call, error, report.function, left):
            return max(0, report.requests - 1)  # none, where a breaker refused it
    below = sdk_retries(link)
    if below:
        call.control.retried_below(below)
    return below


def _inside(call: Call, error: BaseException, function: str, left: Surroundings) -> bool:
    """Whether a report was left inside of this very attempt.

    A thread or a process that was handed no context knows of nothing around it, neither does a task that a first
    attempt started: then any other function's report counts as one from inside.
    """
    shells_around, attempts = left
    if call.watched is not None:
        if (call.watched, call.attempt_number) in attempts:
            return True
    elif error.__traceback__ is not None and id(error.__traceback__.tb_frame) in shells_around:
        return True  # a traceback begins where the exception was caught: in our shell
    return not (shells_around or attempts) and function != call.control.name
