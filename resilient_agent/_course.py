"""The course of a call: what follows from each attempt, asked in tenacity's order: again? how long? enough?

Written once, as a generator (`conduct`) that neither awaits nor sleeps: it yields what a driver is
to do, and takes back what came of it. From outside in: fallback, deadline, retries (with budget and
pacer), breaker, and the attempt itself, whose timeout is the driver's. Must not know: how an error
is judged, which clock runs, whether a thread or an event loop drives it (`_shapes.py`, `_streams.py`).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import tenacity

from resilient_agent import _telling as telling
from resilient_agent.errors import CircuitOpen, DeadlineExceeded
from resilient_agent.fallback import as_arguments, stands_for
from resilient_agent.gates.breaker import Refusal
from resilient_agent.strategies import limit_met, limit_met_by_results, retry_if_retryable
from resilient_agent.verdict import ErrorType

if TYPE_CHECKING:
    from resilient_agent._call import Call

__all__ = ["ATTEMPT", "SLEEP", "Raised", "Script", "conduct", "gives_up_at_once", "next_step", "once"]

ATTEMPT: Final = object()
"""Asked of a driver: call `call.fn` with `call.args` and `call.kwargs`, and put what came of it into the call."""

SLEEP: Final = object()
"""Asked of a driver: wait for `call.upcoming_sleep` seconds."""

Script = Generator[Any, Any, None]
Question = Generator[Any, Any, bool]

_RETRYABLE: Final = ErrorType.RETRYABLE  # asked of every first failure; a member of an enum is slow to look at
_CHAINED: Final = "_resilient_agent_chained"

_PLAIN: Final = (float, bool, int, type(None))


class Raised:
    """A driver's answer where what it was asked to await raised."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def conduct(call: Call) -> Script:
    """The course of a call, from wherever it stands to its end.

    Yields `ATTEMPT`, `SLEEP`, or an awaitable that a strategy or hook answered with; takes
    back what came of it. When it ends, `call.error` and `call.value` are what the caller gets.
    """
    while (yield from _tried(call)):
        call.prepare_for_next_attempt()
    call.ended = "succeeded" if call.error is None else "failed"
    yield from _fallen_back(call)
    if call.control.policy.defer:
        call.defer()


def once(call: Call) -> Script:
    """The course of a call while retries are switched off: one attempt, and whatever comes of it."""
    call.begin()
    yield ATTEMPT
    call.ended = "succeeded" if call.error is None else "failed"


def next_step(script: Script | None, answer: Any) -> Any:
    """What the course asks for next, given what came of the last step; None where it is over."""
    if script is None:
        return None
    try:
        return script.send(answer)
    except StopIteration:
        return None


def gives_up_at_once(call: Call) -> bool:
    """Whether the failed first attempt is known to be the last: then the error may simply be passed on.

    Asked before the course begins, and only where the answer is cheap and remembered: of a
    predicate of somebody else's nobody knows what asking twice would do. Then the call is over.
    """
    if type(call.control.retry) is not retry_if_retryable or isinstance(call.error, tenacity.TryAgain):
        return False
    try:
        call.judged()
    except Exception:  # a classifier of the user's own that is broken: the course will say so
        return False
    verdict = call.verdict
    if verdict is None or verdict.error_type is _RETRYABLE:
        return False
    if verdict.error_type is ErrorType.DEGRADED and call.control.rungs:
        return False
    telling.stopped(call)
    call.failed_for_good()
    return True


# One attempt


def _tried(call: Call) -> Question:
    """Make an attempt, unless it was made; whether there is to be another one, after a wait that is over then."""
    if call.outcome_timestamp is None:
        if call.control.before is not None:
            yield from _hook(call.control.before, call)
        if not (yield from _admitted(call)):
            return False
        _counted(call)
        call.begin()
        yield ATTEMPT
    if not (yield from _again(call)):
        return False
    if call.ticket is None or call.upcoming_sleep > 0:  # a wait of no length lets others run, and a cancellation in
        yield SLEEP
    return True


def _admitted(call: Call) -> Question:
    """Whether the attempt may set out: when the pacer says so, and if the breaker does."""
    control = call.control
    if call.ends is not None and not _fits(call, 0.0, 0.0):
        return False
    lane = call.lane if control.gate.active or call.passed.told else None
    if lane is not None and lane.active:
        if call.ticket is None:
            call.ticket = lane.ticket()
        while (wait := lane.ask(call.ticket, call.now())) > 0:
            if not _fits(call, wait, lane.floor(call.now())):
                return False
            call.upcoming_sleep = wait
            _count_paced(call, wait)
            yield SLEEP
    if control.breaker is not None:
        answer = control.breaker.admit(call.now())
        if isinstance(answer, Refusal):
            _refused(call, CircuitOpen(answer.name, answer.wait, str(answer.state)), str(answer))
            return False
        call.probe = answer
    return True


def _fits(call: Call, wait: float, floor: float) -> bool:
    """Whether a wait in the pacer ends before the deadline; if not, the call is over."""
    if not wait:  # an attempt that need not wait may run into those around the call
        left = call.own_time_left()
    elif call.last_failure is None:  # there is no error of its own to end with: a scope's end is the scope's affair
        left = call.calls_time_left()
    else:
        left = call.time_left()
    if max(wait, floor) < left:
        return True
    own = call.own_time_left() <= left
    what = "would have passed before the rate limit opens" if wait else "passed while it waited"
    deadline = DeadlineExceeded(call.limits.deadline if own and call.limits.deadline is not None else left, what)
    _refused(call, call.past_deadline(deadline), _whose(call, left))
    return False


def _whose(call: Call, left: float) -> str:
    """The nearest deadline, in words: its own, or one around it."""
    if call.own_time_left() <= left:
        return f"deadline={call.limits.deadline:g}"
    return f"a deadline around the call in {max(0.0, left):.3g} s"


def _refused(call: Call, refusal: Exception, limit: str) -> None:
    """No further attempt. What the call met before comes out; only where there is nothing, the refusal itself."""
    call.limit = limit
    call.error = refusal if call.last_failure is None else call.last_failure
    if call.last_failure is not None:
        call.attempt_number -= 1
        call.verdict = call.attempts[-1].verdict
        refusal.__cause__ = None
        _give_up(call)
    else:
        call.ended = "failed"
        telling.annotate(call, refusal)


def _count_paced(call: Call, wait: float) -> None:
    call.paced_for += wait
    call.idle_for += wait
    if call.attempts:
        call.attempts[-1].paced += wait


def _counted(call: Call) -> None:
    """The first attempt is traffic to the retry budget, unless a call around it shares that: it was counted then."""
    budget, around = call.control.budget, call.around
    if budget is None or call.attempt_number > 1:
        return
    while around is not None:
        if around.budget is budget:
            return
        around = around.around
    budget.first_attempt(call.now())


# What follows from it


def _again(call: Call) -> Question:
    """Whether there will be another attempt; if so, everything before its wait is done."""
    try:
        wanted, limit = yield from _decided(call)
    except Exception as raised:
        # The caller gets the error of his own function, not that of a strategy.
        telling.broken(call)
        call.limit = f"a retry strategy raised {type(raised).__name__}"
        _give_up(call, raised)
        return False
    if not wanted:
        _final(call)
        return False
    if not limit and call.begun:
        limit = yield from _resumed(call)
    if limit:
        call.limit = limit
        _give_up(call)
        return False
    yield from _announced(call)
    watched = call.control.on_retry is not None or call.control.before_sleep is not None
    if watched and (late := _out_of_time(call)):  # the hooks took their time
        call.idle_for -= call.attempts[-1].wait
        call.attempts[-1].wait = 0.0
        call.limit = late
        _give_up(call)
        return False
    return True


def _decided(call: Call) -> Generator[Any, Any, tuple[bool, str]]:
    """Whether another attempt is wanted, and which limit forbids it; in tenacity's order, `after` between the two."""
    control = call.control
    if call.error is not None and call.verdict is None:
        _judged(call)
    wanted: Any = isinstance(call.error, tenacity.TryAgain) or control.retry(call)
    if type(wanted) not in _PLAIN:
        wanted = yield from _answered(wanted)
    _settle(call, wanted)
    if not wanted:
        return False, ""
    if call.error is None:
        call.refused()
    if control.after is not None:
        yield from _hook(control.after, call)
    wait: Any = control.wait(call)
    if type(wait) not in _PLAIN:
        wait = yield from _answered(wait)
    call.upcoming_sleep = max(0.0, float(wait))
    limit = _limit(call)
    if not limit and not control.stops_by_error and (yield from _answered(control.stop(call))):
        limit = call.judge.limit or _spelled(control.stop)
    _tell_lane(call)
    return True, limit or _handed_out(call) or _sent(call) or _out_of_time(call) or _out_of_budget(call)


def _judged(call: Call) -> None:
    try:
        call.judged()
    except Exception:
        telling.broken(call)
        raise


def _settle(call: Call, wanted: bool) -> None:
    """Tell the gates that have to know before the next attempt is thought of."""
    verdict = call.verdict
    call.settle("succeeded" if verdict is None else verdict)
    if wanted and verdict is not None:
        return  # the lane is told when the wait is known
    lane = call.lane if call.ticket is not None else None
    if lane is not None and call.ticket is not None:
        now = call.now()
        # Whatever came back, a server at work has sent it; unless nothing did.
        if verdict is None or verdict.error_type is not ErrorType.RETRYABLE:
            lane.succeeded(call.ticket, now)
        lane.leave(call.ticket, now)


def _tell_lane(call: Call) -> None:
    """Tell the others of a limit or an overload, and wait with them in place of alone."""
    verdict = call.verdict
    if verdict is None or call.rung is not None or not (verdict.load or call.ticket):
        return
    lane = call.lane
    if lane is None:
        return
    if not verdict.load or _wished_too_much(call):
        if call.ticket is not None:
            lane.leave(call.ticket, call.now())
        return
    if call.ticket is None:
        call.ticket = lane.ticket()
    # A `stop=` of the user's own knows no longest wait: the others are not held up for longer all the same.
    named = None if verdict.retry_after is None else min(verdict.retry_after, call.limits.max_retry_after)
    own = call.upcoming_sleep
    if verdict.load == "limit":
        lane.limited(call.ticket, call.now(), named, own, verdict.rate)
    else:
        lane.overloaded(call.ticket, call.now(), named, own)
    if call.control.waits_by_error:  # a `wait=` of the user's own is his word on this call
        call.upcoming_sleep = 0.0


def _wished_too_much(call: Call) -> bool:
    """Whether the server named a wait that ends the call: the others find out by themselves, and are told as well."""
    named = call.verdict.retry_after if call.verdict else None
    return named is not None and call.control.stops_by_error and named > call.limits.max_retry_after


def _limit(call: Call) -> str:
    """The limit of numbers that is met, in words."""
    if isinstance(call.error, DeadlineExceeded) and call.limit:
        return call.limit
    if call.no_room():
        return f"{call.around.function if call.around else ''} around it has no retry left"
    control, limits = call.control, call.limits
    if not control.stops_by_error:
        return ""
    if call.error is None:
        return limit_met_by_results(call.attempt_number, limits)
    return limit_met(call.judge, limits)


def _handed_out(call: Call) -> str:
    """Whether the attempt was a stream of which something was handed out, and nobody can go on from there."""
    if call.begun and call.control.resume is None:
        return "the stream had begun, and what was handed out cannot be taken back"
    return ""


def _sent(call: Call) -> str:
    """Whether an argument was used up by the attempt: sent again it would be empty, or half of itself."""
    argument = "" if call.begun else call.used_up()
    return f"{argument} was used up by the attempt, it cannot be sent twice" if argument else ""


def _resumed(call: Call) -> Generator[Any, Any, str]:
    """Arguments with which the next attempt goes on where the stream broke; why there are none, in words."""
    resume = call.control.resume
    assert resume is not None  # noqa: S101 - asked where there is one
    try:
        given = yield from _answered(resume(list(call.delivered), call))
        if given is None:
            return "the stream had begun, and resume= gave no arguments to go on with"
        call.args, call.kwargs = as_arguments(given, call.args, call.kwargs, "resume", call.fn)
    except Exception as raised:
        telling.broken(call)
        return f"resume= raised {type(raised).__name__}"
    return ""


def _out_of_time(call: Call) -> str:
    """Whether the next attempt would begin after the nearest deadline."""
    wait = call.upcoming_sleep
    if call.ticket is not None and call.lane is not None:
        wait = max(wait, call.lane.floor(call.now()))
    left = call.time_left()
    if wait < left:
        return ""
    return f"{_whose(call, left)}, the next attempt could begin in {wait:.3g} s"


def _out_of_budget(call: Call) -> str:
    budget = call.control.budget
    if budget is None:
        return ""
    call.token = budget.retry(call.now())
    return "" if call.token is not None else "the retry budget is used up"


def _announced(call: Call) -> Script:
    """Tell who wants to know that the call waits and tries again."""
    wait, error, control = call.upcoming_sleep, call.error, call.control
    call.next_action = tenacity.RetryAction(wait)
    call.waits(wait)
    if call.ticket is not None and call.lane is not None:  # by itself it waits for nothing; with the others it does
        named = call.verdict.retry_after or 0.0 if call.verdict else 0.0
        wait = max(wait, named, call.lane.outlook(call.ticket, call.now()))
    telling.waiting(call, wait)
    if control.before_sleep is not None:
        yield from _hook(control.before_sleep, call)
    if control.on_retry is not None and error is not None:
        on_retry, attempt = control.on_retry, call.attempt_number
        yield from _hook(lambda _: on_retry(attempt, error, wait), call)


# The end


def _final(call: Call) -> None:
    """The outcome stands because nobody wants another attempt: a success, or an error for good."""
    if call.error is None:
        return
    verdict = call.verdict if call.verdict and call.verdict.error_type is not ErrorType.RETRYABLE else None
    if verdict is not None and call.attempt_number == 1 and not call.delivered:
        telling.stopped(call)
        return
    why = "retry= says no" if verdict is None else f"{verdict.error_type.value}, {verdict.because}"
    call.limit = f"not retried: {why}"
    if call.attempt_number > 1 or call.delivered:
        _give_up(call)


def _give_up(call: Call, raised: Exception | None = None) -> None:
    """Name the limit that ended the call, on the log and on the user's own exception.

    Where there is none, because a result was refused, the error of a strategy that was asked about it stands behind.
    """
    telling.gave_up(call)
    call.ended = "failed"
    if call.error is None:
        outcome = call.outcome
        assert outcome is not None  # noqa: S101 - an attempt was made
        call.error = tenacity.RetryError(outcome)
        call.error.__cause__ = raised
    if isinstance(call.error, tenacity.TryAgain):
        # As with tenacity: the caller wants to know what was wrong, not that it was to be tried again.
        behind = call.error.__context__ if call.error.__cause__ is None else call.error.__cause__
        call.error = behind if isinstance(behind, Exception) else call.error
    telling.annotate(call, call.error)


# Fallback


def _fallen_back(call: Call) -> Script:
    """Call the rungs, one after the other, until one answers or none is left that can help."""
    exhausted = call.control.on_exhausted
    for rung in call.control.rungs:
        first, verdict = call.error, call.verdict
        if call.delivered:  # of a stream: nobody can begin it anew
            return
        if first is None or (verdict is None and not isinstance(first, CircuitOpen | DeadlineExceeded)):
            return
        if verdict is None:  # refused before the first attempt: by a limit, so it counts as used up
            verdict = call.judge.judge(first, None, 0)
        try:
            if not stands_for(rung, verdict, exhausted=exhausted):
                continue
            given = (call.args, call.kwargs) if rung.transform is None else rung.transform(call)
            whose = f"transform of fallback {rung.name!r}"
            arguments = as_arguments(given, call.args, call.kwargs, whose, rung.fn)
        except Exception:
            telling.broken(call)
            return
        telling.stepping_down(call, rung.name)
        call.first_error = first if call.first_error is None else call.first_error
        yield from _on_rung(call, rung, arguments)
        exhausted = True  # from the first rung on: what is worth a retry is worth the next rung
        if call.error is None:
            return


def _on_rung(call: Call, rung: Any, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Script:
    """One attempt of another function: without waits, limits of time and gates, which are the first one's."""
    original = call.fn, call.args, call.kwargs
    call.prepare_for_next_attempt()
    call.rung, call.fn, (call.args, call.kwargs) = rung, rung.fn, arguments
    call.begin()
    call.ended = "cancelled"
    yield ATTEMPT
    call.fn, call.args, call.kwargs = original
    call.ended, call.limit = ("succeeded", "") if call.error is None else ("failed", call.limit)
    if call.error is not None:
        _judged(call)
        _chain(call.error, call.first_error)
        call.limit = f"fallback {rung.name!r} failed as well"
        telling.annotate(call, call.error)


def _chain(error: BaseException, first: BaseException | None) -> None:
    """Let a fallback's error show the first one behind it, without hiding what it has behind it itself."""
    link: BaseException = error
    seen = {id(error)}
    while (behind := _behind(link)) is not None:
        if behind is first or id(behind) in seen:
            return
        seen.add(id(behind))
        link = behind
    if id(first) not in seen:
        with contextlib.suppress(Exception):  # an exception that cannot be changed stays as it is
            link.__cause__ = first
            link.__dict__[_CHAINED] = True


def _behind(link: BaseException) -> BaseException | None:
    """What an exception has behind it; not what was put there for an earlier call that ended with the same object."""
    if link.__dict__.get(_CHAINED):
        return None
    return link.__context__ if link.__cause__ is None and not link.__suppress_context__ else link.__cause__


# Asking


def _answered(answer: Any) -> Generator[Any, Any, Any]:
    """What a strategy or hook says, awaited by the driver where it is a coroutine's."""
    if inspect.isawaitable(answer):
        answer = yield answer
        if isinstance(answer, Raised):
            raise answer.error
    return answer


def _hook(hook: Callable[[Any], Any], call: Call) -> Generator[Any, Any, None]:
    """Call a hook. Whatever it raises is logged: a watcher cannot change the call's outcome."""
    try:
        yield from _answered(hook(call))
    except Exception:
        telling.hook_raised(call)


def _spelled(stop: Any) -> str:
    """A stop strategy by name, its parts as well."""
    name = getattr(stop, "__name__", type(stop).__name__)
    parts = ", ".join(_spelled(part) for part in getattr(stop, "stops", ()))
    return f"{name}({parts})" if parts else str(name)
