"""Which call is running here: what an attempt may ask about itself, and a call about the one around it.

A context variable, so that tasks and threads which an attempt starts know it too. It is set around
attempts only, never over a wait or a yield. The usual first attempt does not set it, because that
would cost as much as all the rest of it; unless somebody asks: see `asked_for`.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable
from typing import Any, Final, Protocol

__all__ = ["Conversation", "Running", "conversation", "running"]

asked_for = 0
"""How many want to know about calls from their first attempt on: `context.py`, and tests that rule their time."""


switched_off: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("resilient_agent_off", default=False)
"""Whether decorated functions are called plainly in this context (`testing.switched_off`)."""


_serials: Final = itertools.count(1)


class Running:
    """One running call. It may outlive the call in a task's context, so it lets go of the arguments at the end.

    Attributes:
        function: its name.
        serial: which call it is, of all in this process.
        number: of the attempt, from 1.
        key: the idempotency key; made when first asked for.
        clock: what its moments are counted on.
        ends: the moment of its deadline, or None.
        ends_anywhere: the same on `time.monotonic`, for calls inside that run by another clock.
        passed, passed_at: what was taken as passed when that was worked out, and how much it was then.
        around: the call that it runs in.
        budget: its retry budget, so that nobody counts it twice.
        arguments: of the call, while it runs.
        room: how many attempts a call inside may make at most, or None. Asked for when there is one inside:
            most have none.
        over: whether it has ended.
    """

    __slots__ = (
        "arguments", "around", "budget", "clock", "ends", "ends_anywhere", "function", "key", "number", "over",
        "passed", "passed_at", "room", "serial",
    )  # fmt: skip

    def __init__(
        self,
        function: str,
        clock: Callable[[], float],
        around: Running | None,
        room: Callable[[], int | None],
    ) -> None:
        self.function = function
        self.serial = next(_serials)
        self.number = 1
        self.key = ""
        self.clock = clock
        self.ends: float | None = None
        self.ends_anywhere: float | None = None
        self.passed: object = None
        self.passed_at = 0.0
        self.around = around
        self.budget: object = None
        self.room = room
        self.over = False
        self.arguments: tuple[Any, ...] = ()


class Conversation(Protocol):
    """A guarded session, as a call sees it.

    Attributes:
        left: whether its guard was left.
    """

    left: bool

    def key_of_call(self, function: str, arguments: Any) -> str:
        """A call's idempotency key, made of its function's name and its arguments."""


guarded: Final[contextvars.ContextVar[Conversation | None]] = contextvars.ContextVar(
    "resilient_agent_session", default=None
)


def conversation() -> Conversation | None:
    """The session whose guard is around this line, or None.

    Generators that take turns leave their guards in any order, and each puts back what it found: so one that was
    left may still stand here.
    """
    here = guarded.get()
    return None if here is None or here.left else here


_running: Final[contextvars.ContextVar[Running | None]] = contextvars.ContextVar("resilient_agent_call", default=None)

enter = _running.set


def leave(token: contextvars.Token[Any]) -> None:
    """The end of what `enter`, or `guarded.set`, began."""
    try:
        token.var.reset(token)
    except ValueError:  # thrown away in mid-attempt, and finalized in another context: there is nothing to restore
        return


def unbounded() -> int | None:
    """The `room` of a call that has ended."""
    return None


def running() -> Running | None:
    """The innermost call that runs here and has not ended, or None."""
    here = _running.get()
    while here is not None and here.over:
        here = here.around
    return here
