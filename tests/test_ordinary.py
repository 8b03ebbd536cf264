"""The ordinary failure is dealt with on a short way. It must come to what the whole course comes to."""

import asyncio
import random

import anyio
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import BackoffConfig, ErrorClassifier, clock, report_of, resilient
from resilient_agent._shapes import takes_direct_path


class Limited(Exception):
    """As an SDK raises it."""

    status_code = 429


class Overloaded(Exception):
    """As an SDK raises it."""

    status_code = 529


class Refused(Exception):
    """As an SDK raises it."""

    status_code = 400


def says(kind, *args):
    return lambda: kind(*args)


def caused():
    error = RuntimeError("the call failed")
    error.__cause__ = ConnectionResetError("connection reset by peer")
    return error


def tried():
    error = tenacity.TryAgain()
    error.__cause__ = ConnectionResetError("connection reset by peer")
    return error


FAILURES = [
    says(ConnectionResetError, "connection reset by peer"),
    says(ConnectionResetError, 104, "Connection reset by peer"),
    says(TimeoutError, "request 123 timed out"),
    says(TimeoutError, "request 124 timed out"),
    says(TimeoutError),
    says(Limited, "rate limit"),
    says(Limited, "rate limit, try again in 3 seconds"),
    says(Overloaded, "overloaded"),
    says(Refused, "bad request"),
    says(ValueError, "no JSON"),
    says(tenacity.TryAgain),
    tried,
    says(OSError, "something else"),
    caused,
]
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_retries": st.integers(0, 6),
        "max_identical": st.integers(1, 4),
        "backoff": st.just(BackoffConfig(base_delay_ms=700, jitter=0.5)),
        "deadline": st.floats(0.5, 60),
        "max_retry_after": st.floats(1, 10),
        "pacer": st.none(),
    },
)


def told(script, settings, *, colour, **watcher):
    """Everything that can be seen of a call whose attempts go by the script."""
    waited, attempts = [], iter(script)

    def attempt(*args):
        failure = next(attempts, None)
        random.seed(len(waited))
        if failure is not None:
            raise failure()
        return "done"

    async def attempt_async(*args):
        return attempt(*args)

    fn = resilient(sleep=waited.append, **settings, **watcher)(attempt if colour == "plain" else attempt_async)

    async def ask():
        try:
            return seen(await fn("question"))
        except Exception as error:
            return seen(error)

    def seen(came):
        report = fn.call_report()
        if isinstance(came, Exception):
            assert (report_of(came) is None) == (report.requests == 1 and not report.limit)
            came = type(came), came.args, len(getattr(came, "__notes__", ())), type(came.__cause__)
        attempts = [
            (a.number, a.error, a.verdict, a.rule, round(a.wait, 2), round(a.paced, 2)) for a in report.attempts
        ]
        limit = report.limit.split(", the next")[0]
        return came, report.outcome, report.requests, limit, attempts, fn.statistics["attempt_number"]

    def ask_plainly():
        try:
            return seen(fn("question"))
        except Exception as error:
            return seen(error)

    with pytest.MonkeyPatch.context() as patch:  # what a pacer says depends on the moment, so there is but one
        patch.setattr(clock, "monotonic", lambda: 0.0)
        came = ask_plainly() if colour == "plain" else standing_still(ask)
    return came, [round(wait, 2) for wait in waited]


def standing_still(ask):
    def loop_factory():
        loop = asyncio.new_event_loop()
        loop.time = lambda: 0.0
        return loop

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(ask())


@pytest.mark.parametrize("colour", ["plain", "coroutine"])
@given(script=st.lists(st.sampled_from(FAILURES), max_size=8), settings=SETTINGS)
def test_the_short_way_and_the_whole_course_come_to_the_same(colour, script, settings):
    """Value or error, waits, notes, numbers and report are the same whether a hook forces the whole course or not."""
    short = told(script, settings, colour=colour)
    whole = told(script, settings, colour=colour, after=lambda state: None)
    assert short == whole


def test_the_short_way_is_taken_where_nobody_else_has_a_say():
    """By a bare `@resilient`; a hook, a strategy or a gate takes it away, and live settings count."""

    def ask():
        return 1

    assert takes_direct_path(resilient(ask).retry), "whatever other modules of this run ask for"
    assert resilient(ask).retry.ordinary
    assert resilient(max_retries=2, max_identical=2)(ask).retry.ordinary
    for setting in (
        {"after": print},
        {"on_retry": print},
        {"before_sleep": print},
        {"wait": tenacity.wait_none()},
        {"retry": tenacity.retry_never},
        {"stop": tenacity.stop_after_attempt(2)},
    ):
        assert not resilient(**setting)(ask).retry.ordinary
    fn = resilient(ask)
    fn.retry.wait = tenacity.wait_none()
    assert not fn.retry.ordinary


def test_an_equal_failure_is_judged_once_and_rules_that_are_registered_later_still_count():
    """What is remembered of verdicts goes with the rules by which they were reached."""
    from resilient_agent import ErrorClassifier, Rule, When, register, unregister

    classifier = ErrorClassifier()
    lost = lambda: ConnectionResetError("connection reset by peer")  # noqa: E731
    first = classifier.classify(lost())
    assert classifier.classify(lost()) is first
    register("ours", [Rule("ours/reset", When(words=("connection reset",)), "non_retryable", "here it is final")])
    try:
        assert classifier.classify(lost()).rule == "ours/reset"
    finally:
        unregister("ours")
    assert classifier.classify(lost()).rule == first.rule
    behind = lost()
    behind.__cause__ = MemoryError()
    assert classifier.classify(behind) is not first


@pytest.mark.parametrize(("seconds", "took"), [(7, 6), (6, 3)])
def test_a_wait_that_would_pass_a_scope_around_the_call_is_not_begun(virtually, seconds, took):
    """Of seven seconds there is time for two waits of three; of six for one, as the second would leave nothing."""
    failure = ConnectionResetError("cut")

    @resilient(backoff=BackoffConfig(base_delay_ms=3000, multiplier=1, jitter=0, max_retries=9))
    async def ask():
        raise failure

    async def main():
        with anyio.fail_after(seconds):
            await ask()

    assert virtually(main) == (failure, took)


def test_a_wait_that_is_set_while_a_failure_is_judged_counts_from_the_next_one_on(waits):
    """As another thread may do at any moment: the failure that is being dealt with goes by what was set before."""

    class Meddling(ErrorClassifier):
        judged = 0

        def classify(self, error):
            self.judged += 1
            if self.judged == 2:
                ask.retry.wait = tenacity.wait_fixed(7)
            return super().classify(error)

    @resilient(classifier=Meddling(), backoff=BackoffConfig(base_delay_ms=1000, multiplier=1, jitter=0), sleep=waits)
    def ask():
        if len(waits) < 3:
            raise ConnectionResetError("cut")
        return "answer"

    assert ask() == "answer"
    assert waits == [1, 1, 7]
