"""`RetryBudget` and `CircuitBreaker` as `@resilient` uses them: whom they ask, what comes out, what they get back."""

import copy
import functools
import threading
import time

import anyio
import anyio.lowlevel
import pytest
import tenacity

from resilient_agent import (
    BreakerState,
    CircuitBreaker,
    CircuitOpen,
    ErrorClassifier,
    RetryBudget,
    attempts,
    report_of,
    resilient,
)
from resilient_agent.testing import no_waiting


class Failed(Exception):
    def __init__(self, status, message="failed"):
        super().__init__(message)
        self.status_code = status


class Script:
    """Outcomes in turn, the last one for ever; counts."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self):
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def plain(*scripts, **options):
    with no_waiting() as waits:
        for script in scripts:
            came = outcome(resilient(**{"wait": tenacity.wait_fixed(1), **options})(script))
    return came, waits


def outcome(ask):
    try:
        return ask()
    except Exception as error:
        return error


def in_loop(backend, *scripts, **options):
    async def called(script):
        @resilient(**{"wait": tenacity.wait_fixed(1), **options})
        async def ask():
            await anyio.lowlevel.checkpoint()
            return script()

        try:
            return await ask()
        except Exception as error:
            return error

    async def main():
        with no_waiting() as waits:
            for script in scripts:
                came = await called(script)
        return came, waits

    return anyio.run(main, backend=backend)


@pytest.fixture(params=["plain", "asyncio", "trio"])
def run(request):
    """Call scripts one after the other, without waiting: what came out of the last, returned or raised, and all waits.

    In one event loop: each has a clock of its own, and gates go by the clock of their callers.
    """
    return plain if request.param == "plain" else functools.partial(in_loop, request.param)


def numbers(budget):
    """What is left of a budget, in its own words."""
    return repr(budget).split(": ")[1].rstrip(">")


# The budget


def test_first_attempts_are_neither_charged_nor_refused(run):
    """A budget that allows no retry at all lets every call set out."""  # A28
    budget = RetryBudget(0, floor=0)
    script = Script("answer")
    assert run(*[script] * 20, budget=budget)[0] == "answer"
    assert script.calls == 20


def test_an_exhausted_budget_ends_the_call_with_its_own_error(run):
    """At once, without a wait, and a note says what ended it."""  # A7, A32
    failure = Failed(503)
    script = Script(failure)
    error, waits = run(script, budget=RetryBudget(0, floor=0))
    assert (error, script.calls, waits) == (failure, 1, [])
    assert report_of(error).limit == "the retry budget is used up"
    assert "the retry budget is used up" in error.__notes__[-1]


def test_first_attempts_pay_for_retries(run):
    """Ten calls that succeed at once allow two retries where a fifth is allowed."""  # A28
    budget = RetryBudget(0.2, floor=0)
    script = Script(Failed(503))
    run(*[Script("answer")] * 9, script, budget=budget, max_retries=9)
    assert script.calls == 3
    assert numbers(budget) == "0 retries left, 0 held"


def test_a_retry_that_fails_is_charged(run):
    """It went out and did not help."""
    budget = RetryBudget(1, floor=0)
    run(Script(Failed(503)), budget=budget, max_retries=1)
    assert numbers(budget) == "0 retries left, 0 held"


def test_a_retry_that_is_answered_with_a_400_is_paid_back(run):
    """The service is there: that the request was wrong is no reason to ration retries."""  # A29
    budget = RetryBudget(1, floor=0)
    run(Script(Failed(503), Failed(400)), budget=budget)
    assert numbers(budget) == "1 retries left, 0 held"


def test_a_failure_for_good_asks_for_no_retry(run):
    """A 400 at once leaves the budget as it was."""  # A29
    budget = RetryBudget(1, floor=0)
    run(Script(Failed(400)), budget=budget)
    assert numbers(budget) == "1 retries left, 0 held"


def test_a_success_pays_back_once_though_calls_are_nested(run):
    """Two layers with one budget are one call to it, and one success."""  # A30
    budget = RetryBudget(1, floor=0)
    inner = resilient(budget=budget, wait=tenacity.wait_none())(Script(Failed(503), "answer"))
    assert run(inner, budget=budget)[0] == "answer"
    assert numbers(budget) == "1 retries left, 0 held"


@pytest.mark.anyio
async def test_a_retry_holds_its_token_while_it_waits_and_gives_it_back_when_cancelled():
    """Else all that sleep would set out together; and what did not set out costs nothing."""  # A31
    budget = RetryBudget(1, floor=0)
    seen = []

    @resilient(budget=budget, wait=tenacity.wait_fixed(60))
    async def ask():
        raise Failed(503)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        seen.append(numbers(budget))
        tasks.cancel_scope.cancel()
    assert seen == ["0 retries left, 1 held"]
    assert numbers(budget) == "1 retries left, 0 held"


async def a_stream(attempt, options):
    @resilient(**options)
    async def stream():
        yield await attempt()

    async for _ in stream():
        pass


async def a_loop(attempt, options):
    async for round_ in attempts(**options):
        with round_:
            await attempt()


FORMS = pytest.mark.parametrize("form", [a_stream, a_loop])


@pytest.mark.anyio
@FORMS
async def test_a_stream_and_a_loop_that_are_cancelled_in_the_wait_give_the_token_back(form):
    """As soon as the cancellation is met."""  # A31
    budget, seen = RetryBudget(1, floor=0), []

    async def attempt():
        raise Failed(503)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(form, attempt, {"budget": budget, "wait": tenacity.wait_fixed(60)})
        await anyio.wait_all_tasks_blocked()
        seen.append(numbers(budget))
        tasks.cancel_scope.cancel()
    assert seen == ["0 retries left, 1 held"]
    assert numbers(budget) == "1 retries left, 0 held"


@FORMS
def test_a_probe_of_a_stream_or_a_loop_that_is_cancelled_gives_its_slot_back(virtually, form):
    """The next call may probe at once, and closes the breaker."""  # A35
    breaker = CircuitBreaker(consecutive_failures=1, open_for=30)
    options = {"breaker": breaker, "max_retries": 0, "pacer": None}

    async def fails():
        raise Failed(503)

    async def main():
        with pytest.raises(Failed):
            await form(fails, options)
        await anyio.sleep(31)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(form, anyio.sleep_forever, options)
            await anyio.sleep(1)
            with pytest.raises(CircuitOpen):
                await form(anyio.lowlevel.checkpoint, options)
            tasks.cancel_scope.cancel()
        await form(anyio.lowlevel.checkpoint, options)

    assert virtually(main) == (None, 32)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.anyio
async def test_a_retry_that_is_cancelled_under_way_is_charged():
    """The request went out."""  # A31
    budget = RetryBudget(1, floor=0)
    made = []

    @resilient(budget=budget, wait=tenacity.wait_none())
    async def ask():
        made.append(1)
        if len(made) > 1:
            await anyio.sleep_forever()
        raise Failed(503)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(made) == 2
    assert numbers(budget) == "0 retries left, 0 held"


def test_a_wait_that_is_interrupted_gives_the_token_back():
    """In plain code as well, whatever interrupted it."""  # A31
    budget = RetryBudget(1, floor=0)

    def interrupted(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resilient(budget=budget, sleep=interrupted)(Script(Failed(503)))()
    assert numbers(budget) == "1 retries left, 0 held"


def test_a_floor_lets_a_quiet_client_retry(run):
    """So many retries a second are allowed whatever the traffic is."""  # A33
    script = Script(Failed(503))
    run(script, budget=RetryBudget(0, floor=0.05, window=60), max_retries=9)
    assert script.calls == 1 + 3


@pytest.mark.parametrize("shared", [True, False])
def test_only_who_has_the_same_budget_shares_it(shared):
    """A copy has the same settings and has seen nothing."""  # A34
    budget = RetryBudget(0, floor=0.05, window=60)
    plain(Script(Failed(503)), budget=budget, max_retries=9)
    script = Script(Failed(503))
    plain(script, budget=budget if shared else copy.copy(budget), max_retries=9)
    assert script.calls == (1 if shared else 4)


def test_threads_share_a_budget():
    """Of many that fail at the same time no more than the share is retried."""  # A34
    budget = RetryBudget(0.5, floor=0)
    script = Script(Failed(503))
    ask = resilient(budget=budget, wait=tenacity.wait_none(), pacer=None, max_retries=9)(script)
    ready = threading.Barrier(8)

    def work():
        ready.wait(5)
        with pytest.raises(Failed):
            ask()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert script.calls == 8 + 4
    assert numbers(budget) == "0 retries left, 0 held"


# The breaker


def tripping(**settings):
    """A breaker that opens after two failures in a row."""
    return CircuitBreaker(**{"failure_share": None, "consecutive_failures": 2, "name": "gpt-4o", **settings})


def test_an_open_breaker_refuses_the_first_attempt(run):
    """Nothing is known but that: it comes out as `CircuitOpen`, and the function is not called."""  # A35
    breaker, script = tripping(), Script(Failed(503))
    error, waits = run(*[script] * 3, breaker=breaker, max_retries=0, pacer=None)
    assert (type(error), error.breaker, script.calls, waits) == (CircuitOpen, "gpt-4o", 2, [])
    assert 0 < error.wait <= 30


@pytest.mark.anyio
async def test_a_breaker_whose_probe_is_under_way_says_so():
    """It is half-open then, and the wait is the longest that it can take: the error says what the report says."""
    breaker, now = tripping(consecutive_failures=1, open_for=30), anyio.current_time()
    breaker.admit(now - 60).settle(ErrorClassifier().classify(Failed(503)), now - 60)
    assert breaker.admit(now).probe

    @resilient(breaker=breaker)
    async def ask():
        raise AssertionError

    with pytest.raises(CircuitOpen) as caught:
        await ask()
    assert caught.value.state == "half-open"
    assert "is half-open; the next probe may set out within" in str(caught.value)
    assert str(caught.value) == report_of(caught.value).limit


def test_a_breaker_that_opens_between_attempts_ends_the_call_with_its_own_error(run, caplog):
    """It is not hammered by the retries of the call that opened it, and the real failure comes out."""  # A35
    failure = Failed(503)
    script = Script(failure)
    error, waits = run(script, breaker=tripping(), max_retries=9, pacer=None)
    assert (error, script.calls, len(waits)) == (failure, 2, 2)
    assert "circuit breaker 'gpt-4o' is open" in report_of(error).limit
    assert "circuit breaker 'gpt-4o' is open" in error.__notes__[-1]
    assert error.__cause__ is None
    assert "gave up after 2 attempts" in caplog.text  # the third was not made


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429])
def test_refused_requests_and_limits_do_not_trip_it(run, status):
    """The service is up, whoever is to blame."""  # A35
    breaker, script = tripping(), Script(Failed(status))
    run(*[script] * 5, breaker=breaker, max_retries=1, pacer=None)
    assert script.calls >= 5
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.anyio
async def test_cancellations_do_not_trip_it():
    """Who gave up waiting says nothing about the service."""  # A35
    breaker = tripping()
    ask = resilient(breaker=breaker)(anyio.sleep)
    for _ in range(5):
        with anyio.move_on_after(0.01):
            await ask(60)
    assert breaker.state is BreakerState.CLOSED


async def opened(**settings):
    """A breaker that has opened, and whose break is over."""
    breaker = tripping(open_for=30, **settings)
    for _ in range(2):
        with pytest.raises(Failed):
            await failing(breaker)()
    assert breaker.state is BreakerState.OPEN
    await anyio.sleep(30)
    return breaker


def failing(breaker):
    @resilient(breaker=breaker, max_retries=0, pacer=None)
    async def ask():
        raise Failed(503)

    return ask


def test_a_fixed_number_of_probes_finds_out(virtually):
    """While they are under way all others are refused; when they succeed it closes."""  # A35

    async def main():
        breaker = await opened(probes=2)
        ask = resilient(breaker=breaker, pacer=None)(anyio.sleep)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, 2)
            tasks.start_soon(ask, 2)
            await anyio.sleep(1)
            with pytest.raises(CircuitOpen):
                await ask(0)
            meanwhile = breaker.state
        return meanwhile, breaker.state

    assert virtually(main) == ((BreakerState.HALF_OPEN, BreakerState.CLOSED), 32)


def test_a_probe_that_is_cancelled_gives_its_slot_back(virtually):
    """The next call finds out in its place."""  # A35

    async def main():
        breaker = await opened()
        ask = resilient(breaker=breaker, pacer=None)(anyio.sleep)
        with anyio.move_on_after(1):
            await ask(60)
        left = breaker.state
        await ask(0)
        return left, breaker.state

    assert virtually(main) == ((BreakerState.HALF_OPEN, BreakerState.CLOSED), 31)


def test_a_probe_that_fails_opens_it_again(virtually):
    """For another break."""  # A35

    async def main():
        breaker = await opened()
        with pytest.raises(Failed):
            await failing(breaker)()
        with pytest.raises(CircuitOpen):
            await failing(breaker)()
        return breaker.state

    assert virtually(main) == (BreakerState.OPEN, 30)


def test_the_way_through_it_is_asked_for_anew_each_attempt():
    """A call whose own wait outlasts the break is the probe."""  # A35
    breaker = tripping(open_for=0.01)
    script = Script(Failed(503), Failed(503), "answer")
    ask = resilient(breaker=breaker, pacer=None, sleep=lambda _: time.sleep(0.02))(script)
    assert ask() == "answer"
    assert breaker.state is BreakerState.CLOSED
