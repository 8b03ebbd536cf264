"""`attempts`: the loop form, for code that is no function of its own.

Decides how a block of code becomes the attempts of one call. What follows from them is decided
where it always is (`_course.py`): this is one more driver, for plain code and for coroutines.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, Unpack

import anyio

from resilient_agent import clock
from resilient_agent._below import add_shell
from resilient_agent._call import Call
from resilient_agent._control import Controller, check_plain, looks_at_results
from resilient_agent._course import ATTEMPT, conduct, next_step, once
from resilient_agent._shapes import perform, perform_async
from resilient_agent.policy import SETTINGS, Policy, check_names

if TYPE_CHECKING:
    from resilient_agent.decorator import Settings
    from resilient_agent.report import CallReport

__all__ = ["Attempt", "Attempts", "attempts"]

_NOT_FOR_LOOPS: Final = ("fallback", "pace_by", "commit_when", "resume", "first_item_timeout", "item_timeout")


def attempts(policy: Policy | None = None, /, **settings: Unpack[Settings]) -> Attempts:
    """The attempts at a block of code: `for attempt in attempts(...)`, or `async for` in a coroutine.

    The block belongs into `with attempt:`. What it raises is judged there; where it is worth a
    retry, the loop waits and comes round again, else it ends with the block's own exception. The
    first block that goes through ends the loop, and `retry=` is asked about exceptions only.

    Do not `yield` inside `with attempt:` under a `timeout` or `deadline`: what runs in the meantime, in whoever
    takes the item, would be cancelled when the attempt's time is over. Decorate a generator instead.

    Args:
        policy: a `Policy`; the settings change it. They are those of `resilient`, but for those that
            need a function (`fallback`, `pace_by`) or a stream.

    Raises:
        TypeError: a setting that a loop cannot keep, or that there is not; no `Policy` where one is due.
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
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(f"attempts takes a Policy, not {policy!r}. Its settings go by name: attempts(max_retries=2)")
    check_names(settings, SETTINGS, "attempts")
    given: dict[str, Any] = {**(policy.settings() if policy is not None else {}), **settings}
    for name in _NOT_FOR_LOOPS:
        if given.get(name) is not None:
            raise TypeError(f"{name} is not for a loop: decorate a function with @resilient")
    if looks_at_results(given.get("retry")):
        raise TypeError(
            "retry looks at results, and a block has none: raise an exception in the block, or decorate a function"
        )
    return Attempts(Controller(name="attempts", **given))


class Attempts:
    """What `attempts(...)` gives: to be looped over, any number of times, each time as a call of its own.

    One object looped over by many tasks shares its pacer among them.

    Example:
        >>> rounds = attempts(max_retries=3)
        >>> for attempt in rounds:
        ...     with attempt:
        ...         answer = "42"
        >>> rounds.call_report().requests
        1
    """

    def __init__(self, control: Controller) -> None:
        self._control = control

    def __iter__(self) -> Iterator[Attempt]:
        check_plain(self._control)
        return _Rounds(self._control, clock.monotonic, scoped=False)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return _Rounds(self._control, anyio.current_time, scoped=True)

    def call_report(self) -> CallReport:
        """What became of the last loop in this task or thread."""
        return self._control.call_report()


class _Rounds:
    """One loop. No generator: an async one that is left by `return` would be closed late, in another task."""

    def __init__(self, control: Controller, clock: Callable[[], float], *, scoped: bool) -> None:
        self._call = Call(control, _no_function, (), {}, clock)
        self._script = conduct(self._call) if control.switched_on() else once(self._call)
        self._scoped = scoped
        self._attempt: Attempt | None = None

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    def __next__(self) -> Attempt:
        self._check()
        answer = None
        try:
            while (step := next_step(self._script, answer)) is not None:
                if step is ATTEMPT:
                    return self._begun()
                answer = perform(self._call, step)
            self._call.result()
        except BaseException:
            self._call.close()
            raise
        raise StopIteration

    async def __anext__(self) -> Attempt:
        self._check()
        answer = None
        try:
            while (step := next_step(self._script, answer)) is not None:
                if step is ATTEMPT:
                    return self._begun()
                answer = await perform_async(self._call, step)
            self._call.result()
        except BaseException:
            self._call.close()
            raise
        raise StopAsyncIteration

    def __del__(self) -> None:
        """Left in the middle, by a `break` or an error beside the block: what the call holds is given back."""
        with contextlib.suppress(AttributeError, RuntimeError):  # never begun; or no event loop tells the time any more
            self._call.close()

    def _begun(self) -> Attempt:
        self._attempt = Attempt(self._call, scoped=self._scoped)
        return self._attempt

    def _check(self) -> None:
        """The body of the loop is through: it has to have entered its attempt."""
        if self._attempt is None:
            return
        if self._attempt.state != "left":
            self._call.close()
            raise RuntimeError("the body of the loop did not enter its attempt: put the code into `with attempt:`")
        if self._call.ended == "succeeded":
            raise StopAsyncIteration if self._scoped else StopIteration


add_shell(_Rounds.__next__, _Rounds.__anext__)


class Attempt:
    """One round of the loop, entered by `with attempt:`.

    Attributes:
        number: from 1.
        state: whether it was entered, and left again.
    """

    def __init__(self, call: Call, *, scoped: bool) -> None:
        self.number = call.attempt_number
        self._call = call
        self._scoped = scoped
        self._scope: anyio.CancelScope | None = None
        self.state: Literal["new", "entered", "left"] = "new"

    def __enter__(self) -> Self:
        if self.state != "new":
            raise RuntimeError("an attempt is entered once: `with attempt:` in the body of its loop")
        self.state = "entered"
        ends = self._call.attempt_ends() if self._scoped else None
        if ends is not None:
            self._scope = anyio.CancelScope(deadline=ends).__enter__()
        self._call.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.state = "left"
        call, scope = self._call, self._scope
        call.exit()
        swallowed = scope is not None and scope.__exit__(kind, error, trace)
        if swallowed and error is not None:  # trio's scope answers True where there is nothing to swallow
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


def _no_function() -> None:
    """Stands for the block, which is no function."""
