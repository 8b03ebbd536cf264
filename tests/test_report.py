"""What became of a call: reports, and what code can ask from inside."""

import asyncio
import copy
import pickle
import threading

import pytest

from resilient_agent import BackoffConfig, current_attempt, last_call, report_of, resilient
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
    assert last_call() == report


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


def test_which_limit_ended_a_call_is_on_its_error():
    """By name, on the note and on the report."""  # A7
    with no_waiting(), pytest.raises(ConnectionError) as caught:
        ask(ConnectionError())
    assert report_of(caught.value).limit == "max_retries=3"
    assert caught.value.__notes__[-1].endswith("gave up: max_retries=3")


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


def test_reports_of_tasks_and_threads_do_not_meet():
    """Each sees its own last call."""

    async def one(failures):
        with no_waiting():
            await asyncio.to_thread(ask, *[ConnectionError()] * failures, "yes")
            ask(*[ConnectionError()] * failures, "yes")
        await asyncio.sleep(0)
        return last_call().requests

    async def main():
        return await asyncio.gather(one(1), one(2), one(3))

    assert asyncio.run(main()) == [2, 3, 4]
    found = []
    thread = threading.Thread(target=lambda: found.append(last_call()))
    thread.start()
    thread.join()
    assert found == [None]


def test_all_attempts_of_a_call_share_a_key():
    """Also its fallback; the next call has another."""  # A57
    keys = []

    class TooLong(Exception):
        code = "context_length_exceeded"

    def other():
        keys.append(current_attempt().idempotency_key)

    @resilient(fallback=other)
    def charge():
        keys.append(current_attempt().idempotency_key)
        if current_attempt().number < 3:
            raise ConnectionError
        raise TooLong("too long")

    with no_waiting():
        charge()
        charge()
    assert len(keys) == 8
    assert len(set(keys[:4])) == 1
    assert len(set(keys)) == 2


def test_threads_of_an_attempt_know_it():
    """A context that is carried over carries the attempt."""  # A59

    @resilient
    async def outer():
        return await asyncio.to_thread(lambda: current_attempt().function)

    assert asyncio.run(outer()).endswith("outer")


def test_outside_of_any_call_there_is_an_attempt_of_nothing():
    """A function that is tested plainly works."""
    here = current_attempt()
    assert (here.function, here.number, here.deadline_left) == ("", 1, None)
    assert len(here.idempotency_key) == 32
