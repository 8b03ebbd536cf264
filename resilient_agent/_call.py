"""`Call`: the state of one invocation that did not succeed at once, or that something has to watch.

Holds what is known of it (attempts, verdicts, waits, tickets of the gates, the deadline) and does
the arithmetic on that. Every call has a `Call` of its own and nothing in it is shared. Must not
know: what follows from it (`_course.py`), how an error is judged (the classifier does), which
clock runs, whether a thread or an event loop drives it.
"""

from __future__ import annotations

import datetime
import itertools
import math
import opcode
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import tenacity

from resilient_agent import _scope
from resilient_agent import _statistics as statistics
from resilient_agent import clock as clock_room
from resilient_agent._below import requests_below
from resilient_agent.classify.looking import told_by_args_alone
from resilient_agent.errors import AttemptTimeout, DeadlineExceeded, Deferred
from resilient_agent.report import AttemptReport, CallReport
from resilient_agent.strategies import TOTAL_RETRIES, Judge

if TYPE_CHECKING:
    import contextvars

    from resilient_agent._control import Controller
    from resilient_agent._scope import Running
    from resilient_agent.fallback import Rung
    from resilient_agent.gates.breaker import BreakerTicket
    from resilient_agent.gates.budget import RetryBudget, RetryToken
    from resilient_agent.gates.outcome import Outcome as GateOutcome
    from resilient_agent.gates.pacer import Lane, Ticket
    from resilient_agent.verdict import Classification

__all__ = ["Call", "Outcome"]

_GENERATORS: Final = frozenset((types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType))
_serials: Final = itertools.count(1)
_REPORTED: Final = (
    "control", "attempts", "attempt_number", "requests", "start_time", "outcome_timestamp", "idle_for", "paced_for",
    "_worked", "_elapsed", "ended", "limit", "rung", "delivered",
)  # fmt: skip
_HISTORY: Final = 12  # attempts: of a call with forty retries the first two and the last tell enough


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


class Attempt:
    """What is kept of one attempt: names and numbers, never the exception."""

    __slots__ = ("elapsed", "error", "number", "paced", "rung", "verdict", "wait")

    def __init__(
        self, number: int, error: str, verdict: Classification | None, elapsed: float | None, rung: str
    ) -> None:
        self.number = number
        self.error = error
        self.verdict = verdict
        self.elapsed = elapsed
        self.rung = rung
        self.wait = 0.0
        self.paced = 0.0

    def report(self) -> AttemptReport:
        """As users see it."""
        verdict = self.verdict
        return AttemptReport(
            number=self.number,
            error=self.error,
            verdict=verdict.error_type if verdict else None,
            rule=verdict.rule if verdict else "",
            because=verdict.because if verdict else "",
            wait=self.wait,
            paced=self.paced,
            elapsed=self.elapsed,
            rung=self.rung,
        )


class Call(tenacity.RetryCallState):
    """The state of one call: what tenacity's strategies and hooks are handed.

    Attributes: those of `tenacity.RetryCallState`, and
        error: what the last attempt raised, or None.
        value: what it returned.
        verdict: the classifier's judgement of `error`, or None.
        attempts: an `Attempt` for each that failed; of very many the first two and the last.
        passed: seconds that are taken as passed on top of the clock's.
        limits: the numbers that bound this call: argument, environment or default.
        judge: what it has met so far.
        around: the call that it runs in, or None.
        ends: the moment of its own deadline, on its clock; None where it has none.
        idle_for, paced_for: seconds waited, and how many of them in the pacer.
        requests: how many requests were made, those counted that were repeated below this call.
        ended: how the call ended.
        limit: which limit ended it, in words.
        rung: the fallback that is being called, or None.
        delivered: of a stream, what was handed out.
        first_error: the function's own failure, where a fallback was called after it.
        last_failure: what the attempt before this one raised: it comes out where no further attempt is let set out.
        begun: whether some of that came from the last attempt.
        consumer_time: of a stream, the seconds that its consumer took between items.
        unheard: whether nobody hears of its retries: no handler takes what is logged of them. None until asked.

    To what runs inside of its attempts it is a `Running`:
        serial: which call it is, of all in this process; 0 of one that nothing ran inside of yet.
        arguments: those it began with, as long as it runs.
        key: the idempotency key; made when first asked for.
        ends_anywhere: the moment of its deadline on `time.monotonic`, for calls inside that run by another clock.
        passed_at: how much was taken as passed when that was worked out.
        below: the most retries that a call made which failed inside of the running attempt.
        over: whether it has ended.
    """

    # Slots, as each failure reads most of them several times.
    __slots__ = (
        "_began", "_clock", "_elapsed", "_entered", "_lane", "_on_loop", "_outcome", "_resilient_agent_judges",
        "_worked", "args", "arguments", "around", "attempt_number", "attempts", "begun", "below", "consumer_time",
        "control", "delivered", "ended", "ends", "ends_anywhere", "error", "first_error", "fn", "idle_for", "judge",
        "key", "kwargs", "last_failure", "limit", "limits", "next_action", "outcome_timestamp", "over", "paced_for",
        "passed", "passed_at", "probe", "requests", "retry_object", "rung", "serial", "start_time", "ticket", "token",
        "unheard", "upcoming_sleep", "value", "verdict",
    )  # fmt: skip

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
        self.passed = clock_room.standing_still.get() or clock_room.Passed()
        self.around = _scope.running()
        self.limits = limits = control.limits()
        self.judge = Judge(control.classifier)
        self.start_time = start = clock()
        self.ends = None if limits.deadline is None else start + limits.deadline
        self.attempt_number = 1
        self.outcome_timestamp: float | None = None
        self.idle_for = self.paced_for = 0.0
        self.next_action: tenacity.RetryAction | None = None
        self.upcoming_sleep = 0.0
        self.error: Exception | None = None
        self.value: Any = None
        self.verdict: Classification | None = None
        self.attempts: list[Attempt] = []
        self.requests = 0
        self.ended: Literal["cancelled", "failed", "succeeded"] = "cancelled"  # until its course is over
        self.limit = ""
        self.rung: Rung | None = None
        self.first_error: Exception | None = None
        self.last_failure: Exception | None = None
        self.delivered: Sequence[Any] = ()
        self.begun = False
        self.consumer_time = 0.0
        self.ticket: Ticket | None = None
        self.token: RetryToken | None = None
        self.probe: BreakerTicket | None = None
        self._lane: Lane | Literal["not asked for"] | None = "not asked for"
        self._outcome: Outcome | None = None
        self._began: float | None = None  # None: a first attempt, made before there was a Call
        self._elapsed: float | None = None
        self._worked = 0.0
        self._on_loop: bool | None = None
        self._entered: contextvars.Token[Running | None] | None = None
        self.unheard: bool | None = None
        self.serial = self.below = 0
        self.over = False

    # What is known, for strategies and hooks

    @property
    def outcome(self) -> Outcome | None:  # type: ignore[override] # tenacity has an attribute here
        """The last attempt as tenacity's Future; None before there is one. Made when first asked for."""
        if self._outcome is None and self.outcome_timestamp is not None:
            self._outcome = Outcome(self.attempt_number, self.value, self.error)
        return self._outcome

    @property
    def lane(self) -> Lane | None:
        """Where this call waits together with others; None where it is not paced."""
        if self._lane == "not asked for":
            self._lane = self.control.lane_for(self.args, self.kwargs, self.now(), self.passed.replaced)
        return self._lane

    def now(self) -> float:
        """The moment on the call's clock, in seconds."""
        return self._clock() + self.passed.seconds

    def skip(self, until: float) -> None:
        """A wait until `until` was recorded in place of being waited for: the time is taken as passed."""
        self.passed.seconds += max(0.0, until - self.now())

    # Its attempts

    @property
    def watched(self) -> int | None:
        """Which call those inside of its attempt know it as; None of a first attempt, made before there was a Call."""
        return None if self._began is None or not self.serial else self.serial

    def begin(self) -> None:
        """An attempt sets out."""
        self._began = self._clock() + self.passed.seconds
        self.requests += 1

    def failed(self, error: Exception) -> None:
        """The attempt raised."""
        self.error = error
        self._note_time()

    def succeeded(self, value: Any) -> None:
        """The attempt returned."""
        self.value = value
        self._note_time()

    def _note_time(self) -> None:
        self.outcome_timestamp = now = self._clock() + self.passed.seconds
        if self._began is None:
            self.requests += 1  # a first attempt, made before there was a Call
            return
        elapsed = now - self._began - self.consumer_time
        self._elapsed = elapsed = elapsed if elapsed > 0 else 0.0
        self._worked += elapsed

    def judged(self) -> Classification:
        """Ask the classifier about the attempt's failure, and write it down."""
        error = self.error
        assert error is not None  # noqa: S101 - asked after a failure
        told = told_by_args_alone(error)
        below = 0
        if self.rung is None and (told is None or self.below):
            below = requests_below(self)
            self.requests += below
        self.verdict = verdict = self.judge.judge(error, told, self.attempt_number, below)
        self._write_down(type(error).__name__)
        return verdict

    def _write_down(self, error: str) -> None:
        rung = self.rung.name if self.rung else ""
        self.attempts.append(Attempt(self.attempt_number, error, self.verdict, self._elapsed, rung))
        if len(self.attempts) > _HISTORY:
            del self.attempts[2]

    def refused(self) -> None:
        """The attempt returned something that a `retry=` refuses."""
        self._write_down("a result that retry= refuses")

    def waits(self, wait: float) -> None:
        """There will be another attempt, after so many seconds."""
        self.upcoming_sleep = wait
        self.idle_for += wait
        self.attempts[-1].wait = wait
        self.last_failure = self.error

    def prepare_for_next_attempt(self) -> None:
        """Forget what came of the last attempt."""
        self.error = self.value = self.verdict = None
        self._outcome = self.outcome_timestamp = self.next_action = self._began = None
        self.below = 0
        self.attempt_number += 1

    def holds_generators(self) -> bool:
        """Whether an argument is a generator or a coroutine: what one has given cannot be had again."""
        return _hold_generators(self.args) or (bool(self.kwargs) and _hold_generators(self.kwargs.values()))

    def used_up(self) -> str:
        """The argument that cannot be sent twice, in words; empty where there is none."""
        if not self.holds_generators():
            return ""
        named = itertools.chain(enumerate(self.args, 1), self.kwargs.items())
        return next((f"argument {name}" for name, value in named if _is_read_from(value)), "")

    # Its time

    def on_event_loop(self) -> bool:
        """Whether an event loop runs in this thread. Asked once: no thread gets one, or loses it, in mid-call."""
        if self._on_loop is None:
            self._on_loop = clock_room.on_event_loop()
        return self._on_loop

    def scope_left(self) -> float:
        """Seconds until the nearest deadline of the anyio or trio scopes around the call; inf where there is none."""
        return clock_room.scope_left() if self.on_event_loop() else math.inf

    def own_time_left(self) -> float:
        """Seconds until its own deadline; inf where it has none."""
        return math.inf if self.ends is None else self.ends - self.now()

    def time_left(self) -> float:
        """Seconds until the nearest deadline: its own, that of a call around it, or that of a scope around it."""
        return min(self.scope_left(), self.calls_time_left())

    def calls_time_left(self) -> float:
        """Seconds until the nearest deadline of a call: its own, or one around it."""
        left = self.own_time_left()
        around = self.around
        while around is not None:
            if around.ends_anywhere is not None:
                # Waits that were recorded in place of being waited for count as passed around this call as well.
                passed = self.passed.seconds - (around.passed_at if around.passed is self.passed else 0.0)
                left = min(left, around.ends_anywhere - clock_room.monotonic() - passed)
            around = around.around
        return left

    def attempt_ends(self) -> float | None:
        """When the running attempt has to end, on the clock of its event loop; None where no limit says so."""
        if self.rung is not None or self._began is None:
            return None
        moments = [] if self.ends is None else [self.ends]
        if self.limits.timeout is not None:
            moments.append(self._began + self.limits.timeout + self.consumer_time)
        return min(moments) - self.passed.seconds if moments else None

    def scope_ends(self) -> float | None:
        """The call's own deadline on the clock of its event loop, or None."""
        return None if self.ends is None else self.ends - self.passed.seconds

    def out_of_time(self) -> Exception:
        """What the attempt failed with that was ended by its limit of time."""
        deadline, timeout = self.limits.deadline, self.limits.timeout
        if deadline is not None and self.ends is not None and self.now() >= self.ends:
            return self.past_deadline(DeadlineExceeded(deadline))
        return AttemptTimeout(timeout if timeout is not None else math.inf)

    def past_deadline(self, error: DeadlineExceeded) -> DeadlineExceeded:
        """The call's time is over; its last real failure is the cause."""
        self.limit = f"deadline={error.seconds:g}"
        error.__cause__ = self.last_failure
        return error

    # The context that attempts run in

    def be_known(self) -> None:
        """Get ready to be seen from inside of its attempts."""
        if not self.serial:
            self.serial = next(_serials)
            self.arguments: tuple[Any, ...] = self.args, self.kwargs
            self.key = ""
            self.ends_anywhere: float | None = None
            self.passed_at = 0.0

    def enter(self) -> None:
        """What runs from here on belongs to an attempt of this call; not over a wait or a yield."""
        self.be_known()
        if self.rung is not None:  # it stands outside of the deadline
            self.ends_anywhere = None
        elif self.ends is not None:
            self.ends_anywhere = clock_room.monotonic() + self.ends - self.now()
            self.passed_at = self.passed.seconds
        self._entered = _scope.enter(self)

    def exit(self) -> None:
        """The end of what `enter` began."""
        if self._entered is not None:
            _scope.leave(self._entered)
            self._entered = None

    @property
    def function(self) -> str:
        """The function's name."""
        return self.control.name

    @property
    def budget(self) -> RetryBudget | None:
        """Its retry budget, so that nobody counts it twice."""
        return self.control.budget

    def deadline_left(self) -> float | None:
        """The seconds until its own deadline, or None where it has none."""
        if self.ends is None or self.ends_anywhere is None:
            return None
        try:
            left = self.ends - self.now()
        except RuntimeError:  # asked in a thread that the attempt started, where no event loop tells its time
            left = self.ends_anywhere - clock_room.monotonic() - (self.passed.seconds - self.passed_at)
        return max(0.0, left)

    def room(self) -> int | None:
        """How many attempts a call inside may make: from the first retry on, what is left of our own."""
        if self.over:
            return None
        around = None if self.around is None else self.around.room()
        if around is not None:
            around -= self.requests - 1
        if self.attempt_number == 1 or self.rung is not None:  # a fallback is no attempt of the same again
            return around
        total = self.limits.max_retries
        left = (TOTAL_RETRIES if total is None else total) + 1 - self.judge.failures
        return max(1, left if around is None else min(left, around))

    def no_room(self) -> bool:
        """Whether the call around this one, which retries as well, has no attempt left for a retry of ours."""
        room = None if self.around is None else self.around.room()
        return room is not None and self.requests >= room

    # Its end

    def settle(self, outcome: GateOutcome) -> None:
        """Tell budget and breaker what the attempt came to."""
        if self.token is not None:
            self.token.settle(outcome, self.now())
            self.token = None
        if self.probe is not None:
            self.probe.settle(outcome, self.now())
            self.probe = None

    def answered(self) -> None:
        """The attempt counts as a success, and nobody is asked: a stream that its consumer left, a loop's block."""
        self.succeeded(None)
        self.settle("succeeded")
        if self.lane is not None and self.ticket is not None:
            self.lane.succeeded(self.ticket, self.now())
        self.ended = "succeeded"

    def defer(self) -> None:
        """Where the server named a wait that there is no time for, and a session can remember it: not now."""
        error, verdict = self.error, self.verdict
        if error is None or verdict is None or verdict.retry_after is None or _scope.conversation() is None:
            return
        if verdict.retry_after < min(self.time_left(), self.limits.max_retry_after):
            return
        moment = clock_room.now() + datetime.timedelta(seconds=verdict.retry_after)
        self.error = Deferred(moment, self.requests)
        self.error.__cause__ = error

    def result(self) -> Any:
        """What the caller gets in the end: the value, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.value

    def failed_for_good(self) -> None:
        """Its first attempt, which nobody watched, was its last: nothing is held, so only a report is left."""
        self.ended = "failed"
        self._let_go()

    def close(self) -> None:
        """Give back what is held, leave the report, and let go of everything else.

        An exception keeps its traceback, the traceback its frames, a frame this call: where the
        call still kept the exception, only the garbage collector could free them.
        """
        if self.over:
            return
        if self.token is not None:
            if self.outcome_timestamp is None and self._began is not None and self.ended == "cancelled":
                self.token.settle("cancelled", self.now())
            self.token.give_back()
        if self.probe is not None:
            self.probe.settle("cancelled", self.now())
        if self.ticket is not None and self.lane is not None:
            self.lane.leave(self.ticket, self.now())
        self._let_go()

    def _let_go(self) -> None:
        """It is over: only what a report needs is kept, no exception, no argument, and no call that is over as well."""
        self.over = True
        self.delivered = tuple(self.delivered) if self.ended == "failed" else ()
        self.error = self.value = self._outcome = self.last_failure = self.first_error = None
        self.arguments = ()
        self.around = _scope.living(self.around)
        self.judge.let_go()
        self._resilient_agent_judges = None
        kept = self
        if self.control.has_hooks:  # one may have kept the state: as with tenacity that says for good what was called
            kept = self._without_arguments()
        else:
            self.fn, self.args, self.kwargs = None, (), {}
        statistics.remember(self.control, kept)

    def _without_arguments(self) -> Call:
        """As much of it as a report needs."""
        kept = Call.__new__(Call)
        for name in _REPORTED:
            setattr(kept, name, getattr(self, name))
        return kept

    @property
    def numbers(self) -> dict[str, Any]:
        """As tenacity's `statistics` has them."""
        return {
            "start_time": self.start_time,
            "attempt_number": self.attempt_number,
            "idle_for": self.idle_for,
            "delay_since_first_attempt": self.seconds_since_start or 0,
            "outcome": self.ended,
        }

    def report(self) -> CallReport:
        """What became of the call, so far."""
        attempts, answered = [attempt.report() for attempt in self.attempts], self.ended == "succeeded"
        rung = "" if self.rung is None else self.rung.name
        if answered:
            attempts.append(Attempt(self.attempt_number, "", None, self._elapsed, rung).report())
        waits = [attempt.verdict.retry_after for attempt in self.attempts if attempt.verdict is not None]
        return CallReport(
            function=self.function,
            attempts=tuple(attempts),
            outcome=self.ended,
            requests=self.requests,
            waited=self.idle_for - self.paced_for,
            paced=self.paced_for,
            worked=self._worked,
            limit=self.limit,
            server_wait=waits[-1] if waits else None,
            rung=rung if answered else "",
            delivered=tuple(self.delivered) if self.ended == "failed" else (),
        )


def _hold_generators(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110 - a generator expression costs more than all that it looks at
        if type(value) in _GENERATORS:
            return True
    return False


def _is_read_from(value: Any) -> bool:
    """Whether it is a generator that has given something away already, or a coroutine that was awaited."""
    if isinstance(value, types.GeneratorType):
        return value.gi_frame is None or value.gi_suspended
    if isinstance(value, types.CoroutineType):
        return value.cr_frame is None
    return isinstance(value, types.AsyncGeneratorType) and _is_async_one_read_from(value)


def _is_async_one_read_from(value: types.AsyncGeneratorType[Any, Any]) -> bool:
    frame: types.FrameType | None = value.ag_frame
    if frame is None:
        return True
    if sys.version_info >= (3, 12):
        return value.ag_suspended
    # Python 3.11 does not say so; but one that was not begun stands where its code has made the generator.
    return frame.f_code.co_code[frame.f_lasti] != opcode.opmap["RETURN_GENERATOR"]
