"""What a function says of the last call, where nobody watches its first attempts."""

import asyncio
import contextlib
import contextvars

import pytest

from resilient_agent import resilient


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
