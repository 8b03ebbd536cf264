"""What became of a call, as a value: on the function, and on the exception that came out."""

import copy
import dataclasses
import pickle
import socket

import anyio
import pytest
import tenacity

from resilient_agent import (
    AttemptReport,
    BackoffConfig,
    CallReport,
    CircuitBreaker,
    RetryBudget,
    current_attempt,
    report_of,
    resilient,
)
from resilient_agent.testing import no_waiting

STEADY = BackoffConfig(base_delay_ms=10_000, jitter=0, shape="fixed", max_retries=3)


@resilient(backoff=STEADY)
def ask(*outcomes):
    outcome = outcomes[min(current_attempt().number, len(outcomes)) - 1]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_a_call_that_succeeds_at_once_has_a_report():
    """One request, nothing waited."""
    assert ask("yes") == "yes"
    report = ask.call_report()
    assert (report.outcome, report.requests, report.waited, report.limit) == ("succeeded", 1, 0, "")
    assert report.function == "ask"
    assert report.attempts[0].error == ""
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.outcome = "failed"


def test_a_success_shows_nothing_of_the_call_before_it():
    """The report is of the last call, whatever became of the one before."""  # A63
    with no_waiting(), pytest.raises(ConnectionError):
        ask(ConnectionError())
    ask("yes")
    assert ask.call_report().requests == 1


def test_waiting_is_kept_apart_from_working():
    """Attempts with verdict, rule and wait; the last one answered."""
    with no_waiting():
        assert ask(ConnectionError(), TimeoutError(), "yes") == "yes"
    report = ask.call_report()
    assert [attempt.error for attempt in report.attempts] == ["ConnectionError", "TimeoutError", ""]
    assert [attempt.wait for attempt in report.attempts] == [10, 10, 0]
    assert report.attempts[0].verdict == "retryable"
    assert (report.waited, report.paced) == (20, 0)
    assert report.worked < 5
    assert "20 s waiting" in str(report)


@pytest.mark.parametrize("turn", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_report_survives_pickle_and_copy(turn):
    """Alone, and on the exception that carries it."""  # A40
    with no_waiting(), pytest.raises(ConnectionError) as caught:
        ask(ConnectionError())
    report = report_of(caught.value)
    assert turn(report) == report
    assert report_of(turn(caught.value)) == report


class Limited(Exception):
    def __init__(self, status=429, **headers):
        super().__init__("slow down")
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def tripped():
    breaker = CircuitBreaker(name="models", consecutive_failures=1)
    with pytest.raises(Limited):
        resilient(breaker=breaker, max_retries=0)(failing(Limited(503)))()
    return breaker


def failing(error):
    def fail():
        raise error

    return fail


LIMITS = {
    "attempts": (ConnectionError(), {"max_retries": 2}, 3, "max_retries=2"),
    "attempts of its kind": (ConnectionError(), {}, 4, "max_retries=3 for local/connection"),
    "deadline": (ConnectionError(), {"deadline": 0.3}, 1, "deadline=0.3, the next attempt could begin in "),
    "server wait": (Limited(retry_after="900"), {}, 1, "the server asks for 900 s, more than 120 s"),
    "equal failures": (Limited(503), {"max_retries": 9, "max_identical": 3}, 3, "the same failure 3 times in a row"),
    "budget": (ConnectionError(), {"budget": RetryBudget(0, floor=0)}, 1, "the retry budget is used up"),
    "stop": (ConnectionError(), {"stop": tenacity.stop_after_attempt(2)}, 2, "stop_after_attempt"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_which_limit_ended_a_call_is_on_its_error(limit):
    """By name, on the note and on the report."""  # A7
    error, options, requests, text = LIMITS[limit]
    fail = resilient(**options)(failing(error))
    with no_waiting(), pytest.raises(type(error)) as caught:
        fail()
    report = report_of(caught.value)
    assert report == fail.call_report()
    assert (report.outcome, report.requests) == ("failed", requests)
    assert report.limit.startswith(text)
    assert caught.value.__notes__[-1].endswith(f"gave up: {report.limit}")
    assert f"ended by: {report.limit}" in str(report)
    assert report.server_wait == (900 if limit == "server wait" else None)


def test_what_changes_into_an_error_for_good_is_named():
    """By its class and reason, where there were attempts before it."""  # A7
    with no_waiting(), pytest.raises(KeyError) as caught:
        ask(ConnectionError(), KeyError("wrong"))
    assert report_of(caught.value).limit.startswith("not retried: non_retryable, ")


def test_an_error_for_good_at_the_first_attempt_is_left_alone():
    """No note and no report: it is the caller's own business."""  # A39
    error = KeyError("wrong")
    with pytest.raises(KeyError):
        resilient(failing(error))()
    assert (report_of(error), error.__dict__) == (None, {})


def test_a_call_that_a_breaker_refused_made_no_attempt(waits):
    """The limit is the breaker's."""  # A7
    fail = resilient(breaker=tripped(), sleep=waits)(failing(Limited(503)))
    with pytest.raises(Exception, match="'models' is open") as caught:
        fail()
    report = fail.call_report()
    assert report_of(caught.value) == report
    assert (report.attempts, report.requests, report.outcome, waits) == ((), 0, "failed", [])
    assert "failed after 0 requests" in str(report)
    assert "models" in report.limit


def test_of_many_attempts_the_first_two_and_the_last_are_kept():
    """All of them are counted."""  # A41
    errors = [ConnectionError() for _ in range(40)]
    with no_waiting(), pytest.raises(ConnectionError) as caught:
        ask.retry_with(max_retries=30, max_identical=100)(*errors)
    report = report_of(caught.value)
    assert report.requests == 31
    assert [attempt.number for attempt in report.attempts] == [1, 2, *range(22, 32)]
    assert len(caught.value.__notes__) == 12
    assert report.waited == 300


def test_requests_below_are_counted():
    """Those of an SDK, which use up retries too, and those of a decorated function inside."""  # A58

    class Request:
        headers = {"x-stainless-retry-count": "2"}  # noqa: RUF012

    error = Limited(503)
    error.request = Request()
    fail = resilient(max_retries=1)(failing(error))
    with no_waiting(), pytest.warns(RuntimeWarning, match="had retried 2 times"), pytest.raises(Limited):
        fail()
    report = fail.call_report()
    assert (len(report.attempts), report.requests, report.limit) == (1, 3, "max_retries=1")
    outer = resilient(max_retries=0)(lambda: ask(ConnectionError()))
    with no_waiting(), pytest.raises(ConnectionError) as caught:
        outer()
    assert ask.call_report().requests == outer.call_report().requests == 4
    assert report_of(caught.value).requests == 4


def test_waiting_for_a_limit_is_kept_apart_from_waiting_alone():
    """The one is spent together with others, in the pacer."""
    errors = iter([Limited(retry_after="7"), ConnectionError(), None])

    @resilient
    def limited():
        if error := next(errors):
            raise error

    with no_waiting() as waits:
        limited()
    report = limited.call_report()
    assert report.paced > 6.9  # the little that is missing passed before it was asked how long
    assert report.waited + report.paced == pytest.approx(waits.total)
    refused, broke, _ = report.attempts
    assert (refused.wait, refused.paced, broke.paced) == (0, report.paced, 0)
    assert broke.wait == pytest.approx(report.waited)
    assert broke.wait > 0
    assert refused.verdict == broke.verdict == "retryable"


def test_time_at_work_is_measured(virtually):
    """Of each attempt, where something asked for it; the waits are not among it."""

    @resilient(backoff=STEADY, timeout=5)
    async def slow():
        await anyio.sleep(3 if current_attempt().number == 2 else 60)

    async def main():
        await slow()
        return slow.call_report()

    report, took = virtually(main)
    assert [round(attempt.elapsed, 3) for attempt in report.attempts] == [5, 3]
    assert (round(report.worked, 3), report.waited, took) == (8, 10, 18)
    assert report.attempts[0].error == "AttemptTimeout"


def test_time_at_work_is_measured_after_a_wait_taken_as_passed_too(virtually):
    """And what took no time took none."""

    @resilient(backoff=STEADY, sleep=lambda _: None, timeout=5)
    async def ask():
        number = current_attempt().number
        await anyio.sleep(2 if number < 3 else 0)
        if number < 3:
            raise ConnectionResetError("cut")

    async def main():
        await ask()
        return ask.call_report()

    report, took = virtually(main)
    assert [round(attempt.elapsed, 3) for attempt in report.attempts] == [2, 2, 0]
    assert (round(report.worked, 3), took) == (4, 4)


@pytest.mark.anyio
async def test_a_cancelled_call_says_so():
    """Its report is there for whoever cancelled it."""  # A5

    @resilient(backoff=STEADY)
    async def slow():
        raise ConnectionError

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel():
                await anyio.wait_all_tasks_blocked()
                scope.cancel()

            tasks.start_soon(cancel)
            await slow()
    assert scope.cancelled_caught
    report = slow.call_report()
    assert (report.outcome, report.requests, report.limit) == ("cancelled", 1, "")


def test_what_a_broken_stream_had_handed_out_is_not_pickled():
    """It may be anything, an open socket as well; in the process it is at hand."""  # A40
    with socket.socket() as item:

        @resilient
        def stream():
            yield item
            raise ConnectionError

        with pytest.raises(ConnectionError) as caught:
            list(stream())
        report = report_of(caught.value)
        assert report.delivered == (item,)
    turned = pickle.loads(pickle.dumps(report))
    assert (turned, turned.delivered) == (report, ())
    for copied in (copy.copy(report), copy.deepcopy(report)):
        assert copied.delivered[0] is item


def test_the_report_is_found_behind_another_error():
    """An application that wraps the error keeps its report."""
    try:
        with no_waiting():
            ask(ConnectionError())
    except ConnectionError as error:
        wrapped = RuntimeError("the agent failed")
        wrapped.__cause__ = error
    assert report_of(wrapped).function == "ask"
    assert report_of(ValueError()) is None


def test_an_error_that_hides_what_is_behind_it_hides_the_report():
    """`raise ... from None` is a word as well; and a circle of errors is gone round once."""
    with no_waiting(), pytest.raises(ConnectionError) as caught:
        ask(ConnectionError())
    hiding, circle = RuntimeError(), RuntimeError()
    hiding.__context__, hiding.__suppress_context__ = caught.value, True
    circle.__context__ = ValueError()
    circle.__context__.__context__ = circle
    assert (report_of(hiding), report_of(circle)) == (None, None)


def test_the_words_of_a_report():
    """For people: the sums, a line for each attempt, and what ended it."""
    attempts = (
        AttemptReport(1, "RateLimitError", rule="http/too-many-requests", because="too fast", wait=0.5, paced=2),
        AttemptReport(2, "TooLong", rule="size/context-length", because="too long", wait=1),
        AttemptReport(3, rung="small"),
    )
    report = CallReport("ask", "succeeded", attempts, requests=3, waited=1.5, paced=2, worked=0.25, rung="small")
    assert str(report).splitlines() == [
        "ask succeeded after 3 requests (1.5 s waiting, 2 s in the pacer, 0.25 s working)",
        "  attempt 1: RateLimitError (http/too-many-requests), waited 2.5 s in the pacer",
        "  attempt 2: TooLong (size/context-length), waited 1 s",
        "  attempt 3 of fallback 'small': answered",
        "  answered by fallback 'small': too long",
    ]
    assert str(CallReport("ask")).startswith("ask succeeded after 1 request (")


@pytest.mark.parametrize("wrong", ["failed", None, ValueError], ids=repr)
def test_a_report_is_of_an_exception(wrong):
    """What is none is refused: None would say that an exception has no report."""
    with pytest.raises(TypeError, match="takes the exception that came out"):
        report_of(wrong)
