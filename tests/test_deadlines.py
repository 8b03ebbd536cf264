"""Limits of time and of equal failures: what they cover, what they interrupt, and what comes out."""

import functools
import math

import anyio
import anyio.lowlevel
import pytest
import tenacity

from resilient_agent import AttemptTimeout, DeadlineExceeded, attempts, current_attempt, report_of, resilient
from resilient_agent.testing import no_waiting


class Limited(Exception):
    def __init__(self, retry_after=None, status=429):
        super().__init__("slow down")
        self.status_code = status
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


class Script:
    """Failures in turn, the last one for ever; counts."""

    def __init__(self, *failures):
        self.failures = failures
        self.calls = 0

    def __call__(self):
        failure = self.failures[min(self.calls, len(self.failures) - 1)]
        self.calls += 1
        raise failure


def plain(script, **options):
    @resilient(**options)
    def ask():
        return script()

    with no_waiting() as waits, pytest.raises(Exception) as caught:
        ask()
    return caught.value, waits


def in_loop(backend, script, **options):
    @resilient(**options)
    async def ask():
        await anyio.lowlevel.checkpoint()
        return script()

    with no_waiting() as waits, pytest.raises(Exception) as caught:
        anyio.run(ask, backend=backend)
    return caught.value, waits


@pytest.fixture(params=["plain", "asyncio", "trio"])
def fail(request):
    """Call a script that fails in the end, without waiting: the error that came out, and the waits."""
    return plain if request.param == "plain" else functools.partial(in_loop, request.param)


THREE = {"wait": tenacity.wait_fixed(3), "max_retries": 9}


# The deadline of a call


def test_a_deadline_interrupts_the_running_attempt(virtually):
    """An attempt that hangs ends when the time is over; nothing failed before, so there is no cause."""  # A23
    made = []

    @resilient(deadline=10)
    async def ask():
        made.append(1)
        await anyio.sleep_forever()

    error, took = virtually(ask)
    assert (type(error), error.seconds, error.__cause__) == (DeadlineExceeded, 10, None)
    assert (took, len(made)) == (10, 1)
    assert "10 s passed" in str(error)


def test_a_deadline_covers_attempts_waits_and_hooks(virtually):
    """All of them take of the same time, and the last real failure is the cause."""  # A23, A27
    failures = []

    async def hook(attempt, error, delay):
        await anyio.sleep(1)

    @resilient(deadline=20, on_retry=hook, **THREE)
    async def ask():
        await anyio.sleep(2.5)
        failures.append(ConnectionResetError(len(failures)))
        raise failures[-1]

    error, took = virtually(ask)
    assert took == 20
    assert len(failures) == 3
    assert isinstance(error, DeadlineExceeded)
    assert error.__cause__ is failures[-1]
    assert report_of(error).limit == "deadline=20"


def test_a_hook_that_hangs_ends_with_the_deadline(virtually):
    """The call ends there with its own error, and the wait after the hook is not begun."""  # A23, A24
    failure = ConnectionResetError("cut")

    async def hook(attempt, error, delay):
        await anyio.sleep_forever()

    @resilient(deadline=10, on_retry=hook, **THREE)
    async def ask():
        raise failure

    error, took = virtually(ask)
    assert error is failure
    assert "deadline=10" in report_of(error).limit
    assert took == 10


def test_a_hook_that_takes_long_may_leave_no_time_for_the_wait(virtually):
    """What the wait has left is counted when it begins: one that would pass the deadline is not begun."""  # A24
    failure = ConnectionResetError("cut")

    async def hook(attempt, error, delay):
        await anyio.sleep(8)

    @resilient(deadline=10, on_retry=hook, **THREE)
    async def ask():
        raise failure

    error, took = virtually(ask)
    assert error is failure
    assert took == 8
    assert (report_of(error).waited, report_of(error).attempts[-1].wait) == (0, 0)


def test_waits_are_taken_of_the_deadline(fail):
    """In plain code too: the wait that would pass it is not begun, and the real error comes out."""  # A23, A24
    failure = ConnectionResetError("cut")
    script = Script(failure)
    error, waits = fail(script, deadline=5, wait=tenacity.wait_fixed(2), max_retries=9)
    assert error is failure
    assert (script.calls, waits) == (3, [2, 2])
    assert report_of(error).limit.startswith("deadline=5, ")
    assert "deadline=5" in error.__notes__[-1]


@pytest.mark.parametrize("wait", [5, 7, 100])
def test_a_wait_that_would_pass_the_deadline_is_not_begun(fail, wait):
    """Neither is it shortened for a last try that would come too early."""  # A18, A24
    failure = Limited(wait)
    script = Script(failure)
    error, waits = fail(script, deadline=5)
    assert (error, script.calls, waits) == (failure, 1, [])
    assert "deadline=5" in report_of(error).limit
    assert report_of(error).server_wait == wait


def test_a_deadline_around_the_call_is_kept(virtually):
    """A wait that would pass an `anyio.fail_after` is not begun: the real error comes out, at once."""  # A24, A26
    failure = Limited(7)

    @resilient
    async def ask():
        raise failure

    async def main():
        with anyio.fail_after(5):
            await ask()

    error, took = virtually(main)
    assert (error, took) == (failure, 0)
    assert "a deadline around the call in 5 s" in report_of(error).limit


def test_the_nearest_deadline_counts(virtually):
    """Of the call's own and that of a scope around it, whichever comes first."""  # A26
    failure = Limited(7)

    async def around(own, scope):
        @resilient(deadline=own)
        async def ask():
            raise failure

        with anyio.fail_after(scope):
            await ask()

    error, took = virtually(functools.partial(around, 5, 60))
    assert (error, took, report_of(error).limit[:10]) == (failure, 0, "deadline=5")
    error, took = virtually(functools.partial(around, 60, 5))
    assert (error, took) == (failure, 0)
    assert "a deadline around" in report_of(error).limit


def test_the_deadline_of_a_decorated_function_bounds_those_inside(fail):
    """The inner call does not begin a wait that its outer one has no time for."""  # A26
    inner = Script(Limited(7))

    @resilient
    def ask():
        return inner()

    error, waits = fail(ask, deadline=5)
    assert (error, inner.calls, waits) == (inner.failures[0], 1, [])
    assert "deadline" in report_of(error).limit


@pytest.mark.parametrize(("wait", "calls"), [(3, 2), (7, 1)])
def test_a_wait_inside_is_begun_where_the_deadline_around_has_time_for_it(fail, wait, calls):
    """Of five seconds an inner call may wait for three, and not for seven."""  # A24, A26
    inner = Script(ConnectionResetError("cut"))

    @resilient(wait=tenacity.wait_fixed(wait), max_retries=1)
    def ask():
        return inner()

    error, waits = fail(ask, deadline=5, max_retries=0)
    assert (error, inner.calls, waits) == (inner.failures[0], calls, [wait] * (calls - 1))


def test_the_deadline_of_a_decorated_function_interrupts_those_inside(virtually):
    """An inner attempt that hangs ends with the outer call's time."""  # A26
    made = []

    @resilient(timeout=60, max_retries=9)
    async def inner():
        made.append(1)
        await anyio.sleep_forever()

    @resilient(deadline=5, max_retries=9)
    async def outer():
        await inner()

    error, took = virtually(outer)
    assert (type(error), error.seconds, took, len(made)) == (DeadlineExceeded, 5, 5, 1)


@pytest.mark.anyio
async def test_a_deadline_reaches_plain_code_in_a_thread():
    """A plain function that a coroutine runs in a worker thread keeps to the coroutine's deadline."""  # A26, A59
    inner = Script(Limited(7))

    @resilient
    def ask():
        return inner()

    @resilient(deadline=5)
    async def outer():
        return await anyio.to_thread.run_sync(ask)

    with pytest.raises(Limited) as caught:
        await outer()
    assert inner.calls == 1
    assert "deadline" in report_of(caught.value).limit


def test_an_attempt_knows_what_is_left(virtually):
    """`current_attempt().deadline_left` counts down over the attempts of a call."""
    left = []

    @resilient(deadline=60, **THREE)
    async def ask():
        left.append(round(current_attempt().deadline_left, 3))
        if len(left) == 1:
            raise ConnectionResetError

    virtually(ask)
    assert left == [60, 57]


def test_a_deadline_that_is_infinite_is_none(fail):
    """`math.inf` asks for no limit, whatever the environment says."""
    _, waits = fail(Script(ConnectionResetError()), deadline=math.inf, wait=tenacity.wait_fixed(10_000), max_retries=2)
    assert waits == [10_000, 10_000]


# The timeout of an attempt


def test_each_attempt_has_a_timeout_of_its_own(virtually):
    """It begins anew each time, and what it ended is tried again."""  # A4, A25
    made = []

    @resilient(timeout=2, wait=tenacity.wait_fixed(1), max_retries=3)
    async def ask():
        made.append(anyio.current_time())
        await anyio.sleep(60 if len(made) < 4 else 1.5)
        return "answer"

    assert virtually(ask) == ("answer", 10.5)
    assert [round(moment - made[0], 3) for moment in made] == [0, 3, 6, 9]


def test_a_timeout_is_a_timeout_error(virtually):
    """It names the seconds, and is judged as a failure like any other."""  # A4

    @resilient(timeout=2, max_retries=0)
    async def ask():
        await anyio.sleep_forever()

    error, took = virtually(ask)
    assert isinstance(error, TimeoutError)
    assert (type(error), error.seconds, took) == (AttemptTimeout, 2, 2)
    assert report_of(error).attempts[0].verdict == "retryable"


def test_the_last_attempt_has_what_is_left_of_the_deadline(virtually):
    """Whichever is shorter ends it; the deadline has the failure before it as its cause."""  # A25, A27

    @resilient(timeout=6, deadline=10, wait=tenacity.wait_fixed(1), max_retries=9)
    async def ask():
        await anyio.sleep_forever()

    error, took = virtually(ask)
    assert (type(error), took) == (DeadlineExceeded, 10)
    assert (type(error.__cause__), error.__cause__.seconds) == (AttemptTimeout, 6)


def test_an_attempt_does_not_begin_without_time(virtually):
    """A wait that ends with the deadline would leave an attempt none of it."""  # A24, A25

    @resilient(timeout=4, deadline=10, wait=tenacity.wait_fixed(1), max_retries=9)
    async def ask():
        await anyio.sleep_forever()

    error, took = virtually(ask)
    assert (type(error), took) == (AttemptTimeout, 9)


def test_a_timeout_error_of_the_functions_own_is_not_ours(virtually):
    """Only what our own scope caught becomes an `AttemptTimeout`."""  # A4

    @resilient(timeout=10, max_retries=0)
    async def ask():
        with anyio.fail_after(1):
            await anyio.sleep_forever()

    error, took = virtually(ask)
    assert (type(error), took) == (TimeoutError, 1)


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_a_cancellation_at_the_same_moment_wins(virtually, limit):
    """The caller's scope that ends with the attempt ends the call: nothing is tried again."""  # A4
    made = []

    @resilient(**{limit: 2}, wait=tenacity.wait_none(), max_retries=9)
    async def ask():
        made.append(1)
        await anyio.sleep_forever()

    async def main():
        with anyio.move_on_after(2) as scope:
            await ask()
        return scope.cancelled_caught

    assert virtually(main) == (True, 2)
    assert len(made) == 1


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_a_cancellation_within_the_limits_is_no_timeout(virtually, limit):
    """It leaves unchanged, and the statistics say so."""  # A1, A4

    @resilient(**{limit: 60}, max_retries=9)
    async def ask():
        await anyio.sleep_forever()

    async def main():
        with anyio.move_on_after(2):
            await ask()
        return ask.call_report().outcome

    assert virtually(main) == ("cancelled", 2)


@pytest.mark.parametrize("setting", ["timeout", "first_item_timeout", "item_timeout"])
def test_plain_code_cannot_be_timed_out(setting):
    """Nothing can stop a thread from outside: it is refused when decorated, with what to do."""

    def ask():
        yield "item"

    def answer():
        return "answer"

    with pytest.raises(TypeError, match=f"{setting} .*") as caught:
        resilient(**{setting: 1})(answer if setting == "timeout" else ask)
    assert "async def" in str(caught.value)


def test_a_loop_in_plain_code_cannot_be_timed_out():
    """The loop form says so where it begins, as only there it is known which it is."""
    with pytest.raises(TypeError, match="timeout cannot be kept"):
        iter(attempts(timeout=1))


@pytest.mark.parametrize(("timeout", "got", "took"), [(7, [0, 1, 2], 36), (5, [0, 1], 25)])
def test_the_time_of_a_streams_consumer_is_added_to_that_of_the_attempt(virtually, timeout, got, took):
    """A stream works for two seconds an item; the ten that its consumer takes each time are not its own."""  # A55
    seen, worked = [], []

    @resilient(timeout=timeout, max_retries=0)
    async def stream():
        for n in range(3):
            await anyio.sleep(2)
            yield n

    async def main():
        try:
            async for item in stream():
                seen.append(item)
                await anyio.sleep(10)
        finally:
            worked.append(round(stream.call_report().worked, 3))

    came, seconds = virtually(main)
    assert (seen, seconds) == (got, took)
    assert type(came) is (type(None) if timeout == 7 else AttemptTimeout)
    assert worked == [min(timeout, 6)]


# Time that is taken as passed


async def at_once(seconds):
    """A `sleep=` that does not wait: what was asked for is taken as passed."""
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("limits", "kind", "took"),
    [({"timeout": 4}, AttemptTimeout, 4), ({"deadline": 110}, DeadlineExceeded, 10)],
    ids=["timeout", "deadline"],
)
def test_a_limit_ends_an_attempt_that_follows_a_wait_taken_as_passed(virtually, limits, kind, took):
    """A timeout begins anew after it, and a deadline of 110 s has ten left after one of a hundred."""  # A23, A25
    made = []

    @resilient(**limits, sleep=at_once, wait=tenacity.wait_fixed(100), max_retries=1)
    async def ask():
        made.append(1)
        if len(made) == 1:
            raise ConnectionResetError("cut")
        await anyio.sleep_forever()

    error, seconds = virtually(ask)
    assert (type(error), seconds, len(made)) == (kind, took, 2)


def test_a_deadline_ends_a_hook_that_follows_a_wait_taken_as_passed(virtually):
    """Of 110 s a wait of 50 leaves sixty to the hook before the next one."""  # A23
    failure = ConnectionResetError("cut")

    async def hook(attempt, error, delay):
        if attempt == 2:
            await anyio.sleep_forever()

    @resilient(deadline=110, on_retry=hook, sleep=at_once, wait=tenacity.wait_fixed(50), max_retries=9)
    async def ask():
        raise failure

    assert virtually(ask) == (failure, 60)


def test_a_wait_that_was_waited_for_is_not_taken_as_passed_once_more(virtually):
    """A `sleep=` that does wait takes of the deadline what it took, and nothing besides."""  # A23
    made = []

    @resilient(deadline=10, sleep=anyio.sleep, **THREE)
    async def ask():
        made.append(anyio.current_time())
        raise ConnectionResetError("cut")

    _, took = virtually(ask)
    assert (took, [round(moment - made[0], 3) for moment in made]) == (9, [0, 3, 6, 9])


def test_a_wait_that_took_longer_than_asked_for_takes_all_of_that_from_the_deadline(virtually):
    """Two waits of 3 s took 3.8 s each: of 10 s there is no time for a third."""  # A23, A24

    @resilient(deadline=10, sleep=lambda seconds: anyio.sleep(seconds + 0.8), **THREE)
    async def ask():
        raise ConnectionResetError("cut")

    error, took = virtually(ask)
    assert (report_of(error).requests, took) == (3, 7.6)


# The longest wait a server may ask for


@pytest.mark.parametrize(("asked", "options"), [(121, {}), (3600, {}), (8, {"max_retry_after": 7})])
def test_a_server_that_asks_for_too_long_a_wait_ends_the_call(fail, asked, options):
    """At once, with the original error and the stated wait: clipped, it would come back too early."""  # A19
    failure = Limited(asked)
    script = Script(failure)
    error, waits = fail(script, **options)
    assert (error, script.calls, waits) == (failure, 1, [])
    assert report_of(error).server_wait == asked
    assert report_of(error).limit.startswith(f"the server asks for {asked} s, more than")


@pytest.mark.parametrize(("asked", "options"), [(120, {}), (300, {"max_retry_after": 300})])
def test_a_server_that_asks_for_less_is_obeyed(fail, asked, options):
    """The limit itself is still waited for, in full."""  # A18, A19
    script = Script(Limited(asked))
    _, waits = fail(script, max_retries=1, pacer=None, **options)
    assert script.calls == 2
    assert len(waits) == 1
    assert asked <= waits[0] <= asked * 1.2


# Equal failures in a row


def test_ten_equal_failures_end_a_long_retry(fail):
    """A request that failed ten times in the same words does not pass the eleventh time."""
    script = Script(ConnectionResetError("cut"))
    error, _ = fail(script, max_retries=500)
    assert script.calls == 10
    assert report_of(error).limit == "the same failure 10 times in a row, max_identical=10"


def test_words_with_digits_do_not_make_a_failure_another(fail):
    """Ids, moments and counts differ each time, and mean nothing."""
    script = Script(*[ConnectionResetError(f"request req_{n}a7 was cut after {n}s") for n in range(50)])
    error, _ = fail(script, max_retries=49, max_identical=4)
    assert script.calls == 4
    assert "max_identical=4" in report_of(error).limit


def test_failures_in_other_words_are_others(fail):
    """The count begins anew whenever something else is said, or raised."""
    script = Script(*[ConnectionResetError("cut"), ConnectionResetError("reset"), TimeoutError("cut")] * 5)
    fail(script, max_retries=14, max_identical=2)
    assert script.calls == 15


def test_groups_with_other_members_are_others(fail):
    """Task groups say the same words of whatever went wrong in them, so the members are compared."""
    members = [ConnectionResetError("cut"), ConnectionResetError("reset")] * 5
    script = Script(*[ExceptionGroup("unhandled errors in a TaskGroup", [member]) for member in members])
    fail(script, max_retries=9, max_identical=2)
    assert script.calls == 10
    script = Script(*[ExceptionGroup("unhandled errors in a TaskGroup", [members[0]]) for _ in members])
    fail(script, max_retries=9, max_identical=2)
    assert script.calls == 2


@pytest.mark.parametrize(("alike", "calls"), [(399, 6), (400, 2), (401, 2)])
def test_of_a_long_message_the_beginning_is_compared(fail, alike, calls):
    """Failures that say the same in their first 400 characters are the same failure."""
    script = Script(*[ConnectionResetError("x" * alike + end) for end in "abcdef"])
    fail(script, max_retries=5, max_identical=2)
    assert script.calls == calls


def test_an_exception_whose_text_is_broken_says_nothing(fail):
    """It is the same failure as one of its class that has no text."""

    class Mute(ConnectionError):
        def __str__(self):
            return self.args[0]

    script = Script(Mute(None), Mute(""), Mute("cut"))
    error, _ = fail(script, max_retries=5, max_identical=2)
    assert error is script.failures[1]
    assert report_of(error).limit == "the same failure 2 times in a row, max_identical=2"


def test_arguments_that_refuse_to_be_compared_are_compared_by_what_they_say(fail):
    """Arrays do: that is no reason to end the call."""

    class Rows:
        __hash__ = None

        def __init__(self, text):
            self.text = text

        def __eq__(self, other):
            raise ValueError("the truth value of an array is ambiguous")

        def __str__(self):
            return self.text

    script = Script(*[ConnectionResetError(Rows(text)) for text in ("one", "two", "two", "three")])
    error, _ = fail(script, max_retries=5, max_identical=2)
    assert error is script.failures[2]


def test_refusals_for_a_rate_limit_are_not_counted(fail):
    """They say nothing about the request."""
    script = Script(Limited(1))
    fail(script, max_retries=25, max_identical=2, pacer=None)
    assert script.calls == 26


def test_waits_that_are_only_recorded_count_for_the_deadline_around_them():
    """In a test that waits for nothing an inner call has no more time than it would have outside of it."""  # A26

    @resilient(wait=tenacity.wait_fixed(7), max_retries=9)
    def inner():
        raise ConnectionResetError("reset")

    @resilient(deadline=10, max_retries=0)
    def outer():
        return inner()

    with no_waiting() as waits, pytest.raises(ConnectionResetError):
        outer()
    assert waits == [7]
    recorded = []

    @resilient(wait=tenacity.wait_fixed(7), max_retries=9, sleep=recorded.append)
    def recording():
        raise ConnectionResetError("reset")

    @resilient(deadline=10, max_retries=0)
    def around():
        return recording()

    with pytest.raises(ConnectionResetError):
        around()
    assert recorded == [7]
