"""What code can ask about the calls of its own task or thread: `current_attempt()` and `last_call()`.

Loading this room makes every decorated call keep a record from its first attempt on, which costs
some microseconds each; programs that never ask do not pay. So import the two names at the top of a
module, as one does anyway: what began before is not known to them.
"""

from __future__ import annotations

import dataclasses
import uuid

from resilient_agent import _scope
from resilient_agent._statistics import last_call

__all__ = ["CurrentAttempt", "current_attempt", "last_call"]

_scope.asked_for += 1


@dataclasses.dataclass(frozen=True, slots=True)
class CurrentAttempt:
    """Where a call stands, seen from inside the decorated function.

    Attributes:
        function: the decorated function's qualified name; empty outside of any call.
        number: of this attempt, from 1. A fallback's attempt is counted on.
        idempotency_key: 32 hexadecimal digits, the same for all attempts of one call and its
            fallbacks, another for the next call. Inside of a `session_guard` also the same for the
            same call (function and arguments) after a restart.
        deadline_left: the seconds until the call's own deadline, or None where it has none.
    """

    function: str
    number: int
    idempotency_key: str
    deadline_left: float | None


def current_attempt() -> CurrentAttempt:
    """The attempt that runs here: of the innermost decorated call around this line.

    Also in tasks and threads that the attempt started. Outside of any call (a function called
    plainly, in a test) it is attempt 1 of nothing, with a key of its own.

    Example:
        >>> from resilient_agent import current_attempt, resilient
        >>> @resilient
        ... def charge(amount):
        ...     attempt = current_attempt()
        ...     return attempt.number, len(attempt.idempotency_key)
        >>> charge(5)
        (1, 32)
    """
    here = _scope.running()
    if here is None:
        return CurrentAttempt("", 1, uuid.uuid4().hex, None)
    if not here.key:
        session = _scope.conversation()
        here.key = uuid.uuid4().hex if session is None else session.key_of_call(here.function, here.arguments)
    return CurrentAttempt(here.function, here.attempt_number, here.key, here.deadline_left())
