"""What a function says of the last call, where nobody watches its first attempts."""

import asyncio
import contextlib
import contextvars

import anyio
import pytest

from resilient_agent import resilient
from resilient_agent.testing import switched_off


def raising(error):
    def ask():
        if error is not None:
            raise error

    return ask


async def failing_for_good():
    raise KeyError("choices")


async def gathered(ask):
    await asyncio.gather(ask(), return_exceptions=True)


async def in_a_task(ask):
    with contextlib.suppress(KeyError):
        await asyncio.create_task(ask())


async def in_a_thread(ask):
    with contextlib.suppress(KeyError):
        await asyncio.to_thread(lambda: asyncio.run(ask()))


@pytest.mark.parametrize("elsewhere", [gathered, in_a_task, in_a_thread])
@pytest.mark.parametrize("before", [False, True])
def test_a_call_that_was_left_to_a_task_is_not_taken_for_a_success(elsewhere, before):
    """Its report stays in the context that it ran in; here nothing is known, unless there was a call here."""
    outcome = "succeeded" if before else "unknown"
    answers = iter(["answer"] * before)

    @resilient
    async def fail():
        return next(answers, None) or await failing_for_good()

    async def main():
        with contextlib.suppress(KeyError):
            await asyncio.create_task(failed_once())
        if before:
            await fail()
        await elsewhere(fail)
        return fail.call_report(), fail.statistics["outcome"]

    async def failed_once():
        nonlocal answers
        kept, answers = answers, iter([])
        try:
            await fail()
        finally:
            answers = kept

    report, told = asyncio.run(main())
    assert (report.outcome, told) == (outcome, outcome)
    assert (report.requests, len(report.attempts)) == (int(before), int(before))
    assert before or str(report).endswith("fail: this task or thread knows of no call")


def test_a_first_failure_for_good_is_not_taken_for_a_success():
    """Though the exception is left as it is, the function has its report."""
    fail = resilient(raising(KeyError("choices")))
    with pytest.raises(KeyError):
        fail()
    report = fail.call_report()
    assert (report.outcome, report.requests, fail.statistics["outcome"]) == ("failed", 1, "failed")
    assert report.attempts[0].error == "KeyError"


def test_a_success_after_a_failure_elsewhere_is_one():
    """It leaves a mark, whatever other functions and contexts did."""
    outcomes = iter([ConnectionError("cut"), None])

    @resilient(max_retries=0)
    def flaky():
        raising(next(outcomes))()

    with pytest.raises(ConnectionError):
        contextvars.Context().run(flaky)
    flaky()
    assert flaky.call_report().outcome == "succeeded"
    assert contextvars.Context().run(flaky.call_report).outcome == "unknown"


def test_before_the_first_call_nothing_is_known():
    """A function that was only decorated has not succeeded; after its first success it has."""
    ask = resilient(raising(None))
    assert (ask.call_report().outcome, ask.call_report().requests, ask.statistics["outcome"]) == (
        "unknown",
        0,
        "unknown",
    )
    ask()
    assert (ask.call_report().outcome, ask.statistics["outcome"]) == ("succeeded", "succeeded")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_a_first_attempt_that_is_interrupted_is_no_success(error):
    """Whatever interrupted it: the call counts as cancelled, until the next one."""
    errors = [error, None]

    @resilient
    def ask():
        raising(errors.pop(0))()

    with pytest.raises(type(error)):
        ask()
    report = ask.call_report()
    assert (report.outcome, report.requests, ask.statistics["outcome"]) == ("cancelled", 1, "cancelled")
    ask()
    assert ask.call_report().outcome == "succeeded"


def test_a_first_item_that_is_interrupted_is_no_success():
    """A stream that was waited for when somebody interrupted it is cancelled as well."""

    @resilient
    def items():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        next(items())
    assert items.call_report().outcome == "cancelled"


@pytest.mark.anyio
async def test_a_first_attempt_that_is_cancelled_is_no_success():
    """Whoever is around it may look: a call that ran out of a scope's time is cancelled, a stream too."""

    @resilient
    async def ask():
        await anyio.sleep_forever()

    @resilient
    async def items():
        await anyio.sleep_forever()
        yield

    with anyio.move_on_after(0):
        await ask()
    with anyio.move_on_after(0):
        await anext(items())
    assert (ask.call_report().outcome, items.call_report().outcome) == ("cancelled", "cancelled")


@pytest.mark.parametrize("how", [contextlib.nullcontext, switched_off])
def test_a_call_that_fails_while_switched_off_is_no_success(how):
    """It is called plainly, by a setting or in a test, and what it came to is known all the same."""

    @resilient(enabled=None if how is switched_off else False)
    def ask():
        raise ConnectionResetError

    with how(), pytest.raises(ConnectionResetError):
        ask()
    report = ask.call_report()
    assert (report.outcome, report.requests, report.attempts[0].error) == ("failed", 1, "ConnectionResetError")


@pytest.mark.anyio
async def test_a_coroutine_that_fails_while_switched_off_is_no_success():
    """As plain code; and a stream that breaks."""

    @resilient(enabled=False)
    async def ask():
        raise ConnectionResetError

    @resilient(enabled=False)
    async def items():
        raise ConnectionResetError
        yield

    with pytest.raises(ConnectionResetError):
        await ask()
    with pytest.raises(ConnectionResetError):
        await anext(items())
    assert (ask.call_report().outcome, items.call_report().outcome) == ("failed", "failed")
