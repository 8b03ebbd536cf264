"""`attempts(...)`: a block of code as the attempts of one call, in plain code and in coroutines."""

import contextlib
import functools

import anyio
import anyio.lowlevel
import pytest
import tenacity
import tenacity.asyncio.retry

from resilient_agent import (
    AttemptTimeout,
    CircuitBreaker,
    DeadlineExceeded,
    Policy,
    RetryBudget,
    attempts,
    report_of,
)
from resilient_agent.testing import no_waiting, switched_off


class Script:
    """Outcomes in turn, the last one for ever; counts."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self):
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def plain(script, *policy, **settings):
    numbers = []
    loop = attempts(*policy, **settings)
    with no_waiting() as waits:
        for attempt in loop:
            with attempt:
                numbers.append(attempt.number)
                answer = script()
    return answer, numbers, list(waits), loop.call_report()


def in_loop(backend, script, *policy, **settings):
    async def main():
        numbers = []
        loop = attempts(*policy, **settings)
        with no_waiting() as waits:
            async for attempt in loop:
                with attempt:
                    numbers.append(attempt.number)
                    await anyio.lowlevel.checkpoint()
                    answer = script()
        return answer, numbers, list(waits), loop.call_report()

    return anyio.run(main, backend=backend)


@pytest.fixture(params=["plain", "asyncio", "trio"])
def loop(request):
    """Loop over a script: its answer, the attempts' numbers, the waits, and the report."""
    return plain if request.param == "plain" else functools.partial(in_loop, request.param)


# What becomes of the block


def test_a_block_that_goes_through_ends_the_loop(loop):
    """One round, no wait."""
    answer, numbers, waits, report = loop(Script("answer"))
    assert (answer, numbers, waits) == ("answer", [1], [])
    assert (report.outcome, report.requests) == ("succeeded", 1)


def test_a_block_that_fails_is_tried_again(loop):
    """The failure stays in the loop, and the attempts are numbered."""
    script = Script(ConnectionResetError("cut"), TimeoutError(), "answer")
    answer, numbers, waits, report = loop(script, wait=tenacity.wait_fixed(3))
    assert (answer, numbers, waits) == ("answer", [1, 2, 3], [3, 3])
    assert [attempt.error for attempt in report.attempts] == ["ConnectionResetError", "TimeoutError", ""]


def test_a_failure_for_good_comes_out_of_the_loop(loop):
    """The very exception, at once, as it was raised."""  # A38
    failure = KeyError("choices")
    script = Script(failure)
    with pytest.raises(KeyError) as caught:
        loop(script)
    assert caught.value is failure
    assert script.calls == 1
    assert not hasattr(failure, "__notes__")


def test_when_retries_are_used_up_the_last_failure_comes_out(loop):
    """With its notes and its report, as of a decorated function."""  # A7, A39
    failure = ConnectionResetError("cut")
    script = Script(failure)
    with pytest.raises(ConnectionResetError) as caught:
        loop(script, max_retries=2)
    assert caught.value is failure
    assert script.calls == 3
    assert len(failure.__notes__) == 3
    assert report_of(failure).limit == "max_retries=2"


def test_a_policy_gives_the_settings(loop):
    """Those named beside it go before it."""
    policy = Policy(max_retries=5, wait=tenacity.wait_fixed(2))
    script = Script(ConnectionResetError("cut"))
    with pytest.raises(ConnectionResetError):
        loop(script, policy, max_retries=1)
    assert script.calls == 2
    assert loop(Script(TimeoutError(), "answer"), policy)[2] == [2]


def test_gates_are_asked(loop):
    """Budget and breaker stand before a block as before a function."""  # A32
    script = Script(ConnectionResetError("cut"))
    with pytest.raises(ConnectionResetError):
        loop(script, budget=RetryBudget(0, floor=0), breaker=CircuitBreaker())
    assert script.calls == 1


def test_one_object_may_be_looped_over_again():
    """Each time as a call of its own."""  # A63
    loop = attempts(max_retries=1, sleep=lambda _: None)
    script = Script(TimeoutError(), 1, TimeoutError(), 2)
    got = []
    for _ in range(2):
        for attempt in loop:
            with attempt:
                got.append((attempt.number, script()))
    assert got == [(2, 1), (2, 2)]


# Ways to leave it


def test_a_return_in_the_block_is_a_success():
    """What the block found out leaves the function, and the call is over."""
    loop = attempts(sleep=lambda _: None)
    script = Script(TimeoutError(), "answer")

    def ask():
        for attempt in loop:
            with attempt:
                return script()
        return None

    assert ask() == "answer"
    assert (loop.call_report().outcome, loop.call_report().requests) == ("succeeded", 2)


@pytest.mark.anyio
async def test_a_return_in_the_block_of_a_coroutine_is_a_success(async_waits):
    """The same under both event loops, and tokens are given back at once."""
    budget = RetryBudget(1, floor=0)
    loop = attempts(sleep=async_waits, budget=budget)
    script = Script(TimeoutError(), "answer")

    async def ask():
        async for attempt in loop:
            with attempt:
                return script()
        return None

    assert await ask() == "answer"
    assert (loop.call_report().outcome, loop.call_report().requests) == ("succeeded", 2)
    assert "1 retries left, 0 held" in repr(budget)


def test_a_break_after_the_block_changes_nothing():
    """The block went through: that ended the call already."""
    loop = attempts()
    for attempt in loop:
        with attempt:
            pass
        break
    assert loop.call_report().outcome == "succeeded"


@pytest.mark.parametrize("left", ["by a break", "by an error"])
def test_a_loop_that_is_left_after_a_failure_gives_back_what_it_holds(left):
    """Beside the block, after an attempt that failed: a shared budget has its retry back, and the call was cancelled."""
    budget = RetryBudget(share=0, floor=1, window=1)
    loop = attempts(budget=budget, sleep=lambda seconds: None)
    with contextlib.suppress(KeyError):
        for attempt in loop:
            with attempt:
                raise ConnectionResetError("cut")
            if attempt.number == 2 and left == "by a break":
                break
            if attempt.number == 2:
                raise KeyError("beside the block")
    assert "1 retries left, 0 held" in repr(budget)
    assert loop.call_report().outcome == "cancelled"


@pytest.mark.anyio
async def test_a_loop_of_a_coroutine_that_is_left_after_a_failure_does_so_too(async_waits):
    """In `async for` as well."""
    budget = RetryBudget(share=0, floor=1, window=1)
    async for attempt in attempts(budget=budget, sleep=async_waits):
        with attempt:
            raise ConnectionResetError("cut")
        if attempt.number == 2:
            break
    assert "1 retries left, 0 held" in repr(budget)


def test_a_body_that_does_not_enter_its_attempt_is_told_so():
    """Else the loop would end after one round that nobody watched."""
    with pytest.raises(RuntimeError, match="with attempt:"):
        for _ in attempts():
            pass


@pytest.mark.anyio
async def test_a_body_of_a_coroutine_that_does_not_enter_its_attempt_is_told_so():
    """In `async for` as well."""
    with pytest.raises(RuntimeError, match="with attempt:"):
        async for _ in attempts():
            pass


def test_an_attempt_is_entered_once():
    """A second block in the same round belongs to no attempt."""
    with pytest.raises(RuntimeError, match="entered once"):
        for attempt in attempts():
            with attempt:
                pass
            with attempt:
                pass


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_leaves_the_block_at_once(kind):
    """Unjudged and unwrapped."""  # A1
    loop = attempts()
    script = Script(kind())
    with pytest.raises(kind) as caught:
        for attempt in loop:
            with attempt:
                script()
    assert caught.value is script.outcomes[0]
    assert (script.calls, loop.call_report().outcome) == (1, "cancelled")


@pytest.mark.anyio
async def test_a_cancellation_in_the_block_ends_the_loop():
    """One attempt, and the report says so."""  # A1
    loop = attempts(max_retries=9)
    made = []

    async def ask():
        async for attempt in loop:
            with attempt:
                made.append(attempt.number)
                scope.cancel()
                await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        try:
            await ask()
        finally:
            outcome = loop.call_report().outcome
    assert scope.cancelled_caught
    assert (made, outcome) == ([1], "cancelled")


@pytest.mark.anyio
async def test_a_cancellation_in_the_wait_ends_the_loop():
    """No further attempt."""  # A5
    loop, made = attempts(wait=tenacity.wait_fixed(60)), []

    async def ask():
        async for attempt in loop:
            with attempt:
                made.append(attempt.number)
                raise ConnectionResetError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert made == [1]


# Limits of time


@pytest.mark.anyio
async def test_a_block_that_takes_too_long_is_tried_again(async_waits):
    """`timeout=` bounds each round, in a fresh scope."""  # A25
    made = []
    async for attempt in attempts(timeout=0.05, sleep=async_waits):
        with attempt:
            made.append(attempt.number)
            if attempt.number < 3:
                await anyio.sleep_forever()
    assert made == [1, 2, 3]


@pytest.mark.anyio
async def test_a_block_that_always_takes_too_long_is_an_attempt_timeout(async_waits):
    """It comes out as what it is."""  # A4
    with pytest.raises(AttemptTimeout) as caught:
        async for attempt in attempts(timeout=0.02, max_retries=1, sleep=async_waits):
            with attempt:
                await anyio.sleep_forever()
    assert caught.value.seconds == 0.02


@pytest.mark.anyio
async def test_a_deadline_interrupts_the_block(async_waits):
    """The last real failure is its cause."""  # A23, A27
    failure = ConnectionResetError("cut")
    with pytest.raises(DeadlineExceeded) as caught:
        async for attempt in attempts(deadline=0.1, wait=tenacity.wait_fixed(0.01), sleep=async_waits):
            with attempt:
                if attempt.number == 1:
                    raise failure
                await anyio.sleep_forever()
    assert caught.value.__cause__ is failure


@pytest.mark.anyio
async def test_a_timeout_of_the_callers_own_at_the_same_time_wins():
    """Nothing is tried again for somebody who has left."""  # A4
    made = []
    with anyio.move_on_after(0.05) as scope:
        async for attempt in attempts(timeout=0.05, wait=tenacity.wait_none(), max_retries=9):
            with attempt:
                made.append(attempt.number)
                await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert made == [1]


# What it does not take


@pytest.mark.parametrize(
    "setting",
    [
        {"fallback": print},
        {"pace_by": print},
        {"commit_when": bool},
        {"resume": print},
        {"first_item_timeout": 1.0},
        {"item_timeout": 1.0},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_what_needs_a_function_is_refused(setting):
    """At once, with what to do."""
    with pytest.raises(TypeError, match="decorate a function"):
        attempts(**setting)


def test_an_unknown_setting_is_refused():
    """By its name."""
    with pytest.raises(TypeError, match="tries"):
        attempts(tries=3)
    with pytest.raises(TypeError, match=r"^attempts does not know 'max_retrys': did you mean 'max_retries'\?"):
        attempts(max_retrys=3)


@pytest.mark.parametrize("wrong", [3, {"max_retries": 3}, "patient"], ids=repr)
def test_what_is_no_policy_is_refused(wrong):
    """With how a setting is given: by name."""
    with pytest.raises(TypeError, match=r"attempts takes a Policy, not .*attempts\(max_retries=2\)"):
        attempts(wrong)


@pytest.mark.parametrize(
    "retry",
    [
        tenacity.retry_if_result(bool),
        tenacity.retry_always,
        tenacity.retry_unless_exception_type(ValueError),
        tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_not_result(bool),
        tenacity.asyncio.retry.retry_if_result(bool) | tenacity.retry_if_exception_type(OSError),
    ],
)
def test_a_predicate_on_results_is_refused(retry):
    """A block has no result that it could look at; it would never be asked."""
    with pytest.raises(TypeError, match="a block has none"):
        attempts(retry=retry)


def test_predicates_on_exceptions_are_asked(loop):
    """Those of tenacity's, and functions."""
    for retry in (tenacity.retry_if_exception_type(ValueError), lambda state: state.outcome.failed):
        script = Script(ValueError("no"), "answer")
        assert loop(script, retry=retry, wait=tenacity.wait_none())[0] == "answer"
        assert script.calls == 2


@pytest.mark.parametrize("name", ["on_retry", "before", "after", "before_sleep", "sleep"])
def test_a_plain_loop_refuses_hooks_that_are_awaited(name):
    """It cannot await them; said where the loop begins."""

    async def hook(*_):
        raise AssertionError("nobody awaits this")

    with pytest.raises(TypeError, match=f"{name} is a coroutine function"):
        iter(attempts(**{name: hook}))


@pytest.mark.anyio
async def test_an_async_loop_awaits_its_hooks(async_waits):
    """Before the wait, with the number, the error and the wait."""
    told = []

    async def hook(attempt, error, delay):
        await anyio.lowlevel.checkpoint()
        told.append((attempt, type(error), delay))

    script = Script(TimeoutError(), "answer")
    async for attempt in attempts(on_retry=hook, wait=tenacity.wait_fixed(2), sleep=async_waits):
        with attempt:
            script()
    assert told == [(1, TimeoutError, 2)]


def test_switched_off_it_is_one_round(loop):
    """By the argument or by the test that runs: what the block raises comes out at once."""
    for off, setting in ((contextlib.nullcontext(), {"enabled": False}), (switched_off(), {})):
        script = Script(ConnectionResetError("cut"))
        with off, pytest.raises(ConnectionResetError):
            loop(script, **setting)
        assert script.calls == 1
        assert not hasattr(script.outcomes[0], "__notes__")
