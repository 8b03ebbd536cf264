"""Which call is running here: what an attempt may ask about itself, and a call about the one around it.

A context variable, so that tasks and threads which an attempt starts know it too. It is set around
attempts only, never over a wait or a yield. The usual first attempt does not set it, because that
would cost as much as all the rest of it; unless somebody asks: see `asked_for`.
"""

from __future__ import annotations

import contextvars
from typing import Any, Final, Protocol

__all__ = ["Conversation", "Running", "conversation", "living", "running"]

asked_for = 0
"""How many want to know about calls from their first attempt on: `context.py`, and tests that rule their time."""


switched_off: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("resilient_agent_off", default=False)
"""Whether decorated functions are called plainly in this context (`testing.switched_off`)."""


class Running(Protocol):
    """A running call, as what runs inside of its attempts sees it. It may outlive the call in a task's context.

    Attributes:
        function: its name.
        serial: which call it is, of all in this process.
        attempt_number: from 1.
        key: the idempotency key; empty until it is first asked for.
        ends_anywhere: the moment of its deadline on `time.monotonic`, or None.
        passed, passed_at: what was taken as passed when that was worked out, and how much it was then.
        around: the call that it runs in.
        budget: its retry budget, so that nobody counts it twice.
        arguments: of the call, while it runs.
        below: the most retries that a call made which failed inside of the running attempt.
        over: whether it has ended.
    """

    serial: int
    attempt_number: int
    key: str
    ends_anywhere: float | None
    passed_at: float
    around: Running | None
    arguments: tuple[Any, ...]
    below: int
    over: bool

    @property
    def function(self) -> str: ...

    @property
    def passed(self) -> object: ...

    @property
    def budget(self) -> object: ...

    def room(self) -> int | None:
        """How many attempts a call inside may make at most, or None. Asked for when there is one inside."""

    def deadline_left(self) -> float | None:
        """The seconds until its own deadline, or None where it has none."""


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
leave_plainly = _running.reset
"""The end of what `enter` began, in plain code: that ends in the context where it began."""


def leave(token: contextvars.Token[Any]) -> None:
    """The end of what `enter`, or `guarded.set`, began."""
    try:
        token.var.reset(token)
    except ValueError:  # thrown away in mid-attempt, and finalized in another context: there is nothing to restore
        return


def living(here: Running | None) -> Running | None:
    """It, or the next one around it that has not ended."""
    while here is not None and here.over:
        here = here.around
    return here


def running() -> Running | None:
    """The innermost call that runs here and has not ended, or None."""
    here = _running.get()
    return None if here is None else living(here)
