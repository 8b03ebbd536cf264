"""What is said about a call: log records, notes on the user's exception.

Decides the words, and that nobody's arguments, messages, headers or keys are among them. Must not
change what becomes of a call: whatever fails in here is swallowed.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resilient_agent._below import surroundings
from resilient_agent.fallback import NoArguments
from resilient_agent.report import attach
from resilient_agent.verdict import ErrorType

if TYPE_CHECKING:
    from resilient_agent._call import Call

__all__ = ["annotate", "broken", "gave_up", "hook_raised", "stepping_down", "stopped", "waiting", "warn"]

logger: Final = logging.getLogger("resilient_agent.retry")

_OURS: Final = str(Path(__file__).parent)
_NOTE: Final = "resilient_agent: "
_WAITS: Final = "attempt {attempt} failed: {exception} ({rule}); next attempt in {wait_s:.3g} s"
_WAITS_WITH_OTHERS: Final = f"{_WAITS} or when the limit opens, together with the other callers"


def waiting(call: Call, wait: float) -> None:
    """The call waits and tries again. Asked once in a call is who hears of it: to ask takes as long as to judge."""
    if call.unheard is None:
        call.unheard = not _is_heard(logging.WARNING)
    if not call.unheard:
        _log(logging.WARNING, call, "retry", _WAITS if call.ticket is None else _WAITS_WITH_OTHERS, wait_s=wait)


def warn(text: str) -> None:
    """A `RuntimeWarning` about the user's line that led here.

    Where warnings are errors it goes to the log: a call under way must not get it in place of its own failure.
    """
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=_users_level())
    except RuntimeWarning:
        logger.warning("%s", text)


def _users_level() -> int:
    """How far up the stack the first line stands that is not of this library, as `warn` counts it."""
    frame, level = sys._getframe(2), 2  # noqa: SLF001 - as `warnings` does it itself
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    return level


def stepping_down(call: Call, name: str) -> None:
    """A fallback is called."""
    _log(logging.WARNING, call, "fallback", "{exception} ({rule}): {because}; fallback {fallback}", fallback=name)


def stopped(call: Call) -> None:
    """For good at the first attempt: the exception is left as it is, and only told where it matters."""
    fatal = call.verdict is not None and call.verdict.error_type is ErrorType.FATAL
    _log(logging.ERROR if fatal else logging.DEBUG, call, "stop", "{exception} is not retried ({rule}): {because}")


def gave_up(call: Call) -> None:
    """The call ends with an error after more than one attempt, or by a limit."""
    number = call.attempt_number
    text = f"gave up after {number} attempt{'s' * (number > 1)}: {{exception}} ({{limit}})"
    _log(logging.ERROR, call, "gave_up", text, limit=call.limit)


def broken(call: Call) -> None:
    """A strategy, or another function that decides, raised: the call ends. For an `except` block."""
    _log(logging.ERROR, call, "broken", "a retry strategy raised {raised}; the call ends here", raised=_raised())


def hook_raised(call: Call) -> None:
    """A hook raised: nothing changes. For an `except` block."""
    _log(logging.ERROR, call, "hook", "a hook raised {raised}; the call goes on", raised=_raised())


def annotate(call: Call, error: BaseException) -> None:
    """One note per attempt, and the report; the notes of an earlier call of the same exception object go."""
    lines = [str(attempt.report()) for attempt in call.attempts]
    lines[-1:] = [f"{line}, gave up: {call.limit}" for line in lines[-1:]]
    try:
        kept = [note for note in getattr(error, "__notes__", ()) if not str(note).startswith(_NOTE)]
        error.__notes__ = kept + [_NOTE + line for line in lines]
    except Exception:  # an exception may refuse attributes: it comes out all the same
        logger.debug("no note could be added to a %s", type(error).__name__)
    attach(call.report(), error, surroundings(call))


def _facts(call: Call) -> dict[str, Any]:
    """What may be logged of a failure."""
    verdict = call.verdict
    return {
        "function": call.control.name,
        "attempt": call.attempt_number,
        "exception": type(call.error).__name__ if call.error is not None else "",
        "verdict": verdict.error_type.value if verdict else "",
        "rule": verdict.rule if verdict else "",
        "because": verdict.because if verdict else "",
    }


def _raised() -> str:
    """The class of what is being handled, and the line that raised it, or what is known to be fit for a log.

    No traceback: its last line is a message, and that may be the call's own failure, raised once more by a hook.
    """
    error = sys.exception()
    if isinstance(error, NoArguments):
        return f"TypeError: {error}"
    trace = error.__traceback__ if error is not None else None
    if trace is None:
        return type(error).__name__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(error).__name__} ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"


def _log(level: int, call: Call, event: str, text: str, **more: Any) -> None:
    """One record, with the facts of the call in its text and as fields. Logging that fails changes nothing."""
    if not _is_heard(level):
        return
    facts = {**_facts(call), **more, "event": event}
    shown = {**facts, "exception": facts["exception"] or "its result was refused", "rule": facts["rule"] or "retry="}
    with contextlib.suppress(Exception):
        logger.log(level, "%s: %s", facts["function"], text.format_map(shown), extra=facts)


def _is_heard(level: int) -> bool:
    """Whether a handler would take the record: to make one costs more than all else of a retry.

    Where no handler is set up at all, Python's last resort prints it.
    """
    if not logger.isEnabledFor(level):
        return False
    found = False
    here: logging.Logger | None = logger
    while here is not None:
        if here.handlers:  # mostly there are none but at the root, and this is asked at each failure
            found = True
            for handler in here.handlers:
                if level >= handler.level and type(handler) is not logging.NullHandler:
                    return True
        here = here.parent if here.propagate else None
    return not found
