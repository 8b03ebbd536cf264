"""`Call`: the life of one invocation that did not succeed at once.

Decides what happens after each attempt, by asking the strategies in tenacity's order: again?
how long? enough? The decision is written once, as a generator (`conduct`) that never awaits
and never sleeps; the two drivers in `_shapes.py`, one for plain code and one for coroutines,
do what it asks for. Every call has a `Call` of its own and nothing in it is shared.

Must not know: how an error is judged (the strategies do), which clock runs, whether it is
driven by a thread or by an event loop.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Literal

import tenacity

from resilient_agent import _statistics as statistics
from resilient_agent.strategies import Judge, first_judge, retry_if_retryable
from resilient_agent.verdict import ErrorType

if TYPE_CHECKING:
    from resilient_agent._control import Controller

__all__ = ["ATTEMPT", "SLEEP", "Call", "Raised", "conduct", "gives_up_at_once"]

logger: Final = logging.getLogger("resilient_agent.retry")

ATTEMPT: Final = object()
"""Asked of a driver: call the function, and put what came of it into the call."""

SLEEP: Final = object()
"""Asked of a driver: wait for `call.upcoming_sleep` seconds."""

NOTE: Final = "resilient_agent: "
_HISTORY: Final = 12  # lines: of a call with forty retries the first two attempts and the last tell enough

Script = Generator[Any, Any, None]
Question = Generator[Any, Any, bool]


class Raised:
    """A driver's answer where what it was asked to await raised."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Outcome(tenacity.Future):
    """What an attempt came to, as strategies of tenacity want to see it: a finished Future without its locks."""

    def __init__(self, attempt_number: int, result: Any, error: BaseException | None) -> None:
        self.attempt_number = attempt_number
        self._value = result
        self._error = error

    def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - finished: nothing to wait for
        """The attempt's result; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self, timeout: float | None = None) -> BaseException | None:  # noqa: ARG002
        """What the attempt raised, or None."""
        return self._error

    def done(self) -> bool:
        """Always True."""
        return True

    def cancelled(self) -> bool:
        """Always False."""
        return False

    def running(self) -> bool:
        """Always False."""
        return False

    def __repr__(self) -> str:
        came_to = "returned" if self._error is None else f"raised {type(self._error).__name__}"
        return f"<Outcome of attempt {self.attempt_number}: {came_to}>"


class Call(tenacity.RetryCallState):
    """The state of one call: what tenacity's strategies and hooks are handed.

    Attributes: those of `tenacity.RetryCallState`, and
        error: what the last attempt raised, or None.
        value: what it returned.
        history: a line for each failed attempt; of very many the first two and the last.
        ended: how the call ended.
    """

    def __init__(
        self,
        control: Controller,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        clock: Callable[[], float],
    ) -> None:
        # Not super().__init__: it reads a clock of its own and makes a Future per attempt.
        self.retry_object = self.control = control
        self.fn: Any = fn
        self.args = args
        self.kwargs = kwargs
        self._clock = clock
        self.start_time = clock()
        self.attempt_number = 1
        self.outcome_timestamp: float | None = None
        self.idle_for = 0.0
        self.next_action: tenacity.RetryAction | None = None
        self.upcoming_sleep = 0.0
        self.error: Exception | None = None
        self.value: Any = None
        self.history: list[str] = []
        self.ended: Literal["cancelled", "failed", "succeeded"] = "cancelled"  # until its course is over
        self._outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome | None:  # type: ignore[override] # tenacity has an attribute here
        """The last attempt as tenacity's Future; None before there is one. Made when first asked for."""
        if self._outcome is None and self.outcome_timestamp is not None:
            self._outcome = Outcome(self.attempt_number, self.value, self.error)
        return self._outcome

    def failed(self, error: Exception) -> None:
        """The attempt raised."""
        self.error = error
        self.outcome_timestamp = self._clock()

    def succeeded(self, value: Any) -> None:
        """The attempt returned."""
        self.value = value
        self.outcome_timestamp = self._clock()

    def prepare_for_next_attempt(self) -> None:
        """Forget what came of the last attempt."""
        self.error = self.value = self._outcome = self.outcome_timestamp = self.next_action = None
        self.attempt_number += 1

    def result(self) -> Any:
        """What the caller gets in the end: the value, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.value

    def close(self) -> None:
        """Leave the numbers for `fn.statistics`, and let go of everything else.

        An exception keeps its traceback, the traceback its frames, a frame this call: where the
        call still kept the exception, only the garbage collector could free them.
        """
        numbers = {
            "start_time": self.start_time,
            "attempt_number": self.attempt_number,
            "idle_for": self.idle_for,
            "delay_since_first_attempt": self.seconds_since_start or 0,
            "outcome": self.ended,
        }
        statistics.remember(self.control, numbers)
        self.error = self._outcome = None

    @property
    def judge(self) -> Judge | None:
        """What the strategies of this library found out about this call, if they were asked."""
        return first_judge(self)

    def tell(self, what_then: str) -> None:
        """Add a line to the history: the attempt, what came of it, and what was done then."""
        facts = self.facts()
        rule = f" ({facts['rule']})" if facts["rule"] else ""
        line = f"attempt {self.attempt_number}: {facts['exception'] or 'its result was refused'}{rule}, {what_then}"
        self.history.append(line)
        if len(self.history) > _HISTORY:
            del self.history[2]

    def facts(self) -> dict[str, Any]:
        """What may be logged of a failure: never a message, an argument, a header or a key."""
        judge = self.judge
        # A predicate of somebody else's may have decided without a verdict: then the last one is of an earlier attempt.
        verdict = judge.verdict if judge and judge.attempt == self.attempt_number else None
        return {
            "function": self.control.name,
            "attempt": self.attempt_number,
            "exception": type(self.error).__name__ if self.error is not None else "",
            "verdict": verdict.error_type.value if verdict else "",
            "rule": verdict.rule if verdict else "",
            "because": verdict.because if verdict else "",
        }


def conduct(call: Call) -> Script:
    """The course of a call, from wherever it stands to its end.

    Yields `ATTEMPT`, `SLEEP`, or an awaitable that a strategy or hook answered with; takes
    back what came of it. When it ends, `call.error` and `call.value` are what the caller gets.
    """
    while True:
        if call.outcome_timestamp is None:
            yield from _hook(call.control.before, call)
            yield ATTEMPT
        if not (yield from _again(call)):
            call.ended = "succeeded" if call.error is None else "failed"
            return
        yield SLEEP
        call.prepare_for_next_attempt()


def gives_up_at_once(call: Call) -> bool:
    """Whether the failed first attempt is known to be the last: then the error may simply be passed on.

    Asked before the course begins, and only where the answer is cheap and remembered: of a
    predicate of somebody else's nobody knows what asking twice would do.
    """
    if type(call.control.retry) is not retry_if_retryable or isinstance(call.error, tenacity.TryAgain):
        return False
    try:
        if call.control.retry(call):
            return False
    except Exception:  # a classifier of the user's own that is broken: the course will say so
        return False
    _final(call)
    return True


def _again(call: Call) -> Question:
    """Whether there will be another attempt; if so, everything before its wait is done."""
    try:
        wanted, stop = yield from _decide(call)
    except Exception as broken:
        # The caller gets the error of his own function, not that of a strategy.
        _log(logging.ERROR, call, "broken", "a retry strategy raised; the call ends here", trace=True)
        _end(call, f"a retry strategy raised {type(broken).__name__}")
        return False
    if not wanted:
        _final(call)
        return False
    if stop:
        _end(call, (call.judge.limit if call.judge else "") or _spelled(call.control.stop))
        return False
    yield from _announce(call)
    return True


def _decide(call: Call) -> Generator[Any, Any, tuple[bool, bool]]:
    """The two answers (again, enough), asked in tenacity's order, with `after` between them."""
    control = call.control
    explicit = isinstance(call.error, tenacity.TryAgain)
    if not (explicit or (yield from _ask(control.retry, call))):
        return False, False
    yield from _hook(control.after, call)
    call.upcoming_sleep = max(0.0, float((yield from _ask(control.wait, call))))
    return True, bool((yield from _ask(control.stop, call)))


def _announce(call: Call) -> Script:
    """Tell who wants to know that the call waits and tries again."""
    wait, error = call.upcoming_sleep, call.error
    call.next_action = tenacity.RetryAction(wait)
    call.idle_for += wait
    call.tell(f"waited {wait:.3g} s")
    _log(
        logging.WARNING,
        call,
        "retry",
        f"attempt {call.attempt_number} failed: {{exception}} ({{rule}}); next attempt in {wait:.3g} s",
        wait_s=wait,
    )
    yield from _hook(call.control.before_sleep, call)
    if call.control.on_retry is not None and error is not None:
        on_retry, attempt = call.control.on_retry, call.attempt_number
        yield from _hook(lambda _: on_retry(attempt, error, wait), call)


def _final(call: Call) -> None:
    """The outcome stands because nobody wants another attempt: a success, or an error for good."""
    if call.error is None:
        return
    if call.attempt_number > 1:
        facts = call.facts()
        why = f"{facts['verdict']}, {facts['because']}" if facts["verdict"] else "retry= says no"
        _end(call, f"not retried: {why}")
        return
    # For good at the first attempt: the exception is left as it is, and only told where it matters.
    level = logging.ERROR if call.facts()["verdict"] == ErrorType.FATAL else logging.DEBUG
    _log(level, call, "stop", "{exception} is not retried ({rule}): {because}")


def _end(call: Call, limit: str) -> None:
    """Give up: name the limit that ended the call, on the log and on the user's own exception."""
    number = call.attempt_number
    text = f"gave up after {number} attempt{'s' * (number > 1)}: {{exception}} ({{limit}})"
    _log(logging.ERROR, call, "gave_up", text, limit=limit)
    if call.error is None:
        outcome = call.outcome
        assert outcome is not None  # noqa: S101 - an attempt was made
        call.error = tenacity.RetryError(outcome)
        return
    call.tell(f"gave up: {limit}")
    if isinstance(call.error, tenacity.TryAgain):
        # As with tenacity: the caller wants to know what was wrong, not that it was to be tried again.
        behind = call.error.__cause__ or call.error.__context__
        call.error = behind if isinstance(behind, Exception) else call.error
    _annotate(call.error, call.history)


def _annotate(error: BaseException, lines: list[str]) -> None:
    """One note per attempt; those of an earlier call of the same exception object go."""
    try:
        kept = [note for note in getattr(error, "__notes__", ()) if not str(note).startswith(NOTE)]
        error.__notes__ = kept + [NOTE + line for line in lines]
    except Exception:  # an exception may refuse attributes: it comes out all the same
        logger.debug("no note could be added to a %s", type(error).__name__)


def _ask(strategy: Callable[[Any], Any], call: Call) -> Generator[Any, Any, Any]:
    """What a strategy says, awaited by the driver where it is a coroutine's."""
    answer = strategy(call)
    if inspect.isawaitable(answer):
        answer = yield answer
        if isinstance(answer, Raised):
            raise answer.error
    return answer


def _hook(hook: Callable[[Any], Any] | None, call: Call) -> Generator[Any, Any, None]:
    """Call a hook. Whatever it raises is logged: a watcher cannot change the call's outcome."""
    if hook is None:
        return
    try:
        yield from _ask(hook, call)
    except Exception:
        _log(logging.ERROR, call, "hook", "a hook raised; the call goes on", trace=True)


def _log(level: int, call: Call, event: str, text: str, *, trace: bool = False, **more: Any) -> None:
    """One record, with the facts of the call in its text and as fields. Logging that fails changes nothing."""
    if not logger.isEnabledFor(level):
        return
    facts = {**call.facts(), **more, "event": event}
    shown = {**facts, "exception": facts["exception"] or "its result was refused", "rule": facts["rule"] or "retry="}
    with contextlib.suppress(Exception):
        logger.log(level, "%s: %s", facts["function"], text.format_map(shown), extra=facts, exc_info=trace)


def _spelled(stop: Any) -> str:
    """A stop strategy by name, its parts as well."""
    name = getattr(stop, "__name__", type(stop).__name__)
    parts = ", ".join(_spelled(part) for part in getattr(stop, "stops", ()))
    return f"{name}({parts})" if parts else str(name)
