"""The ordinary failure: worth a retry, without load, no limit met, and nobody but this library has a say.

Most failures are of this kind, so what follows from them is decided here, in one plain function.
Whatever is not ordinary is left to the course of the call (`_course.py`), which takes over from
where the call stands. Both come to the same: a test lets them run side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_agent import _telling as telling
from resilient_agent.strategies import limit_met
from resilient_agent.verdict import ErrorType

if TYPE_CHECKING:
    from resilient_agent._call import Call

__all__ = ["is_bounded", "is_ordinary"]

_RETRYABLE: Final = ErrorType.RETRYABLE  # to look at a member of an enum takes as long as a short function


def is_bounded(call: Call) -> bool:
    """Whether something bounds this very call: a limit of time, a call around it, a test, an argument to be sent once.

    Then its course decides. In the ordinary way it comes to none of these.
    """
    return (
        call.around is not None
        or call.passed.told is not None
        or call.ends is not None
        or call.limits.timeout is not None
        or call.holds_generators()
    )


def is_ordinary(call: Call) -> bool:
    """Whether another attempt of an unbounded call follows in the ordinary way: then all before its wait is done."""
    # Read once: another thread may set a `wait` of its own meanwhile.
    ordinary, verdict = call.control.ordinary, call.verdict
    if ordinary is None or call.error is None:
        return False
    if verdict is None:
        try:
            verdict = call.judged()
        except Exception:  # a classifier of the user's own that is broken: the course will say so
            return False
    if verdict.error_type is not _RETRYABLE or verdict.load or limit_met(call.judge, call.limits):
        return False
    wait = ordinary.after(call.judge)
    if wait >= call.scope_left():
        return False
    call.waits(wait)
    if not call.unheard:
        telling.waiting(call, wait)
    return True
