"""Limits of time: what is interrupted, what is not begun, and what comes out."""

import functools

import anyio
import pytest
import tenacity

from resilient_agent import (
    AttemptTimeout,
    BackoffConfig,
    DeadlineExceeded,
    attempts,
    current_attempt,
    report_of,
    resilient,
)
from resilient_agent.testing import no_waiting

STEADY = BackoffConfig(base_delay_ms=10_000, jitter=0, shape="fixed", max_retries=50)


class Limited(Exception):
    def __init__(self, wait):
        super().__init__("slow down")
        self.status_code = 429
        self.headers = {"retry-after": str(wait)}


def plain(error, **options):
    @resilient(**options)
    def ask():
        tries.append(1)
        raise error

    tries = []
    with no_waiting() as waits, pytest.raises(Exception) as caught:
        ask()
    return caught.value, len(tries), waits


def in_loop(backend, error, **options):
    @resilient(**options)
    async def ask():
        tries.append(1)
        raise error

    tries = []
    with no_waiting() as waits, pytest.raises(Exception) as caught:
        anyio.run(ask, backend=backend)
    return caught.value, len(tries), waits


@pytest.fixture(params=["plain", "asyncio", "trio"])
def fail(request):
    """Call what always fails: the error that came out, how many attempts there were, and the waits."""
    return plain if request.param == "plain" else functools.partial(in_loop, request.param)


def test_a_wait_that_would_pass_the_deadline_is_not_begun(fail):
    """The call fails at once, with its own error and the reason; no wait is shortened for a doomed last try."""  # A24
    error = ConnectionError()
    raised, tries, waits = fail(error, deadline=25, backoff=STEADY)
    assert raised is error
    assert (tries, waits) == (3, [10, 10])
    assert report_of(error).limit.startswith("deadline=25")


def test_a_wait_that_ends_with_the_deadline_is_not_begun(fail):
    """Nothing could be done at that moment any more."""  # A24
    _, tries, waits = fail(ConnectionError(), deadline=20, backoff=STEADY)
    assert (tries, waits) == (2, [10])


def test_a_server_that_asks_for_more_than_the_deadline_ends_the_call(fail):
    """The wait that it named is on the report."""  # A19
    error = Limited(90)
    raised, tries, waits = fail(error, deadline=60)
    assert (raised, tries, waits) == (error, 1, [])
    assert report_of(error).server_wait == 90


def test_a_server_that_asks_for_more_than_the_cap_ends_the_call(fail):
    """`max_retry_after`: 120 s by default; the user's to change."""  # A19
    assert fail(Limited(121))[1:] == (1, [])
    assert fail(Limited(31), max_retry_after=30)[1:] == (1, [])
    assert fail(Limited(300), max_retry_after=600, max_retries=1)[1] == 2


def test_equal_failures_in_a_row_end_a_long_retry(fail):
    """The eleventh would fail like the ten before it, whatever ids its words carry."""
    error = ConnectionError("request abc123 failed")
    raised, tries, _ = fail(error, max_retries=1000)
    assert tries == 10
    assert "max_identical=10" in report_of(raised).limit
    assert fail(ConnectionError(), max_retries=1000, max_identical=3)[1] == 3


def test_refusals_for_a_limit_are_no_equal_failures(fail):
    """They say nothing about the request."""
    assert fail(Limited(1), max_retries=30, max_identical=2)[1] == 31


@pytest.mark.anyio
async def test_the_deadline_interrupts_the_running_attempt():
    """What comes out says so, and has the last real failure behind it."""  # A23, A27
    first, tries = ConnectionError(), []

    @resilient(deadline=0.1, wait=tenacity.wait_none())
    async def ask():
        tries.append(1)
        if len(tries) == 1:
            raise first
        await anyio.sleep(30)

    with pytest.raises(DeadlineExceeded, match=r"0\.1 s passed while an attempt was under way") as caught:
        await ask()
    assert caught.value.__cause__ is first
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.anyio
async def test_the_deadline_covers_hooks():
    """A hook that hangs does not outlast it."""  # A23

    async def hangs(*args):
        await anyio.sleep(30)

    @resilient(deadline=0.1, on_retry=hangs, wait=tenacity.wait_none())
    async def ask():
        raise ConnectionError

    with anyio.fail_after(5), pytest.raises((DeadlineExceeded, ConnectionError)):
        await ask()


@pytest.mark.anyio
async def test_each_attempt_has_a_fresh_timeout(async_waits):
    """The second attempt is not dead on arrival."""  # A4, A25
    tries = []

    @resilient(timeout=0.05, sleep=async_waits)
    async def ask():
        tries.append(1)
        await anyio.sleep(30 if len(tries) < 3 else 0.01)
        return "answer"

    assert await ask() == "answer"
    assert len(tries) == 3


@pytest.mark.anyio
async def test_an_attempt_gets_no_more_than_what_is_left():
    """`timeout` never outlasts `deadline`."""  # A25

    @resilient(timeout=30, deadline=0.05)
    async def ask():
        await anyio.sleep(20)

    with anyio.fail_after(5), pytest.raises(DeadlineExceeded):
        await ask()


@pytest.mark.anyio
async def test_an_outer_cancellation_is_no_timeout_of_ours():
    """Only what our own scope caught becomes an AttemptTimeout."""  # A4

    @resilient(timeout=30)
    async def ask():
        await anyio.sleep(20)

    with anyio.move_on_after(0.05) as scope:
        await ask()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_timeout_of_the_functions_own_is_judged_as_any_error(async_waits):
    """A TimeoutError that the function raises is not taken for ours."""  # A4
    tries = []

    @resilient(timeout=30, sleep=async_waits)
    async def ask():
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError("its own")
        return "answer"

    assert await ask() == "answer"


@pytest.mark.anyio
async def test_an_anyio_scope_around_the_call_is_a_deadline():
    """Who is cancelled in 5 s does not sleep for 10: the real error comes out now."""  # A24, A26
    error = ConnectionError()

    @resilient(backoff=STEADY)
    async def ask():
        raise error

    with anyio.fail_after(5), pytest.raises(ConnectionError) as caught:
        await ask()
    assert caught.value is error
    assert "a deadline around the call" in report_of(error).limit


@pytest.mark.anyio
async def test_an_enclosing_call_bounds_the_one_inside():
    """The inner function knows the deadline of the outer one."""  # A26
    error = ConnectionError()

    @resilient(backoff=STEADY)
    async def inner():
        raise error

    @resilient(deadline=5, max_retries=0)
    async def outer():
        await inner()

    with pytest.raises(ConnectionError):
        await outer()
    assert inner.call_report().requests == 1
    assert "a deadline around the call" in inner.call_report().limit


def test_an_enclosing_plain_call_bounds_the_one_inside():
    """Also without an event loop."""  # A26

    @resilient(backoff=STEADY)
    def inner():
        raise ConnectionError

    @resilient(deadline=5, max_retries=0)
    def outer():
        inner()

    with pytest.raises(ConnectionError):
        outer()
    assert "a deadline around the call" in inner.call_report().limit


@pytest.mark.anyio
async def test_an_attempt_knows_what_is_left():
    """`current_attempt().deadline_left`."""

    @resilient(deadline=60)
    async def ask():
        return current_attempt().deadline_left

    assert 59 < await ask() <= 60


def test_plain_functions_refuse_a_timeout():
    """Nothing can stop a thread from outside: said when it is decorated."""
    with pytest.raises(TypeError, match=r"timeout cannot be kept by .*nothing can stop a thread"):

        @resilient(timeout=5)
        def ask(): ...


@pytest.mark.anyio
async def test_a_loops_attempt_has_a_timeout(async_waits):
    """In the loop form as in a function."""
    tries = 0
    with pytest.raises(AttemptTimeout):
        async for attempt in attempts(timeout=0.05, max_retries=1, sleep=async_waits):
            with attempt:
                tries = attempt.number
                await anyio.sleep(30)
    assert tries == 2
