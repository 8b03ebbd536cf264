"""`attempts`: the loop form, for code that is no function of its own.

Decides how a block of code becomes the attempts of one call. What follows from them is decided
where it always is (`_course.py`): this is one more driver, for plain code and for coroutines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, Unpack

import anyio

from resilient_agent import clock
from resilient_agent._call import Call
from resilient_agent._control import Controller, check_plain
from resilient_agent._course import ATTEMPT, Script, conduct, next_step, once
from resilient_agent._shapes import perform, perform_async

if TYPE_CHECKING:
    from resilient_agent.decorator import Settings
    from resilient_agent.policy import Policy
    from resilient_agent.report import CallReport

__all__ = ["Attempt", "Attempts", "attempts"]

_NOT_FOR_LOOPS: Final = ("fallback", "pace_by", "commit_when", "resume", "first_item_timeout", "item_timeout")


def attempts(policy: Policy | None = None, /, **settings: Unpack[Settings]) -> Attempts:
    """The attempts at a block of code: `for attempt in attempts(...)`, or `async for` in a coroutine.

    The block belongs into `with attempt:`. What it raises is judged there; where it is worth a
    retry, the loop waits and comes round again, else it ends with the block's own exception. The
    first block that goes through ends the loop.

    Args:
        policy: a `Policy`; the settings change it. They are those of `resilient`, but for those that
            need a function (`fallback`, `pace_by`) or a stream.

    Raises:
        TypeError: a setting that a loop cannot keep.
        RuntimeError: the body of the loop did not enter `with attempt:`.

    Example:
        >>> answers = iter([ConnectionResetError("connection reset by peer"), "42"])
        >>> for attempt in attempts(max_retries=3, sleep=lambda seconds: None):
        ...     with attempt:
        ...         answer = next(answers)
        ...         if isinstance(answer, Exception):
        ...             raise answer
        >>> answer, attempt.number
        ('42', 2)
    """
    given: dict[str, Any] = {**(policy.settings() if policy is not None else {}), **settings}
    for name in _NOT_FOR_LOOPS:
        if given.get(name) is not None:
            raise TypeError(f"{name} is not for a loop: decorate a function with @resilient")
    return Attempts(Controller(name="attempts", **given))


class Attempts:
    """What `attempts(...)` gives: to be looped over, any number of times, each time as a call of its own.

    One object looped over by many tasks shares its pacer among them.
    """

    def __init__(self, control: Controller) -> None:
        self._control = control

    def __iter__(self) -> Iterator[Attempt]:
        check_plain(self._control)
        return self._loop()

    def _loop(self) -> Iterator[Attempt]:
        call = Call(self._control, _no_function, (), {}, clock.monotonic)
        script, answer = self._script(call), None
        try:
            while (step := next_step(script, answer)) is not None:
                answer = None
                if step is ATTEMPT:
                    attempt = Attempt(call, scoped=False)
                    yield attempt
                    if attempt.went_through():
                        return
                else:
                    answer = perform(call, step)
            call.result()
        finally:
            call.close()

    async def __aiter__(self) -> AsyncIterator[Attempt]:
        call = Call(self._control, _no_function, (), {}, anyio.current_time)
        script, answer = self._script(call), None
        try:
            while (step := next_step(script, answer)) is not None:
                answer = None
                if step is ATTEMPT:
                    attempt = Attempt(call, scoped=True)
                    yield attempt
                    if attempt.went_through():
                        return
                else:
                    answer = await perform_async(call, step)
            call.result()
        finally:
            call.close()

    def _script(self, call: Call) -> Script:
        return conduct(call) if self._control.switched_on() else once(call)

    def call_report(self) -> CallReport:
        """What became of the last loop in this task or thread."""
        return self._control.call_report()


class Attempt:
    """One round of the loop, entered by `with attempt:`.

    Attributes:
        number: from 1.
    """

    def __init__(self, call: Call, *, scoped: bool) -> None:
        self.number = call.attempt_number
        self._call = call
        self._scoped = scoped
        self._scope: anyio.CancelScope | None = None
        self._state: Literal["new", "entered", "left"] = "new"

    def __enter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError("an attempt is entered once: `with attempt:` in the body of its loop")
        self._state = "entered"
        ends = self._call.attempt_ends() if self._scoped else None
        if ends is not None:
            self._scope = anyio.CancelScope(deadline=ends).__enter__()
        self._call.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._state = "left"
        call, scope = self._call, self._scope
        call.exit()
        if scope is not None and scope.__exit__(kind, error, trace):
            call.failed(call.out_of_time())
        elif isinstance(error, Exception):
            call.failed(error)
        else:
            # Here and now: after a `return` or a cancellation in the block nobody asks the loop again.
            if error is None:
                call.answered()
            call.close()
            return False
        return True  # where it is not tried again, the loop raises it

    def went_through(self) -> bool:
        """Whether the block succeeded; asked when the body of the loop is through."""
        if self._state != "left":
            raise RuntimeError("the body of the loop did not enter its attempt: put the code into `with attempt:`")
        return self._call.ended == "succeeded"


def _no_function() -> None:
    """Stands for the block, which is no function."""
