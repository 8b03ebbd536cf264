"""Time that stands still for tests: recorded, scoped, nested."""

import asyncio
import threading

import anyio
import pytest

from resilient_agent import BackoffConfig, resilient
from resilient_agent.testing import no_waiting, switched_off

STEADY = BackoffConfig(base_delay_ms=10_000, jitter=0, shape="fixed", max_retries=3)


@resilient(backoff=STEADY)
def ask():
    raise ConnectionError


@resilient(backoff=STEADY)
async def ask_async():
    raise ConnectionError


def test_waits_are_recorded_and_not_waited_for():
    """What would have taken half a minute takes none."""
    with no_waiting() as waits, pytest.raises(ConnectionError):
        ask()
    assert waits == [10, 10, 10]
    assert waits.total == 30


@pytest.mark.anyio
async def test_waits_of_coroutines_are_recorded():
    """Under both event loops."""
    with no_waiting() as waits, pytest.raises(ConnectionError):
        await ask_async()
    assert waits == [10, 10, 10]


def test_blocks_nest():
    """The inner one records its own; the outer one goes on after it, and nothing is left afterwards."""  # A60
    with no_waiting() as outer:
        with no_waiting() as inner, pytest.raises(ConnectionError):
            ask()
        assert (len(outer), len(inner)) == (0, 3)
        with pytest.raises(ConnectionError):
            ask()
    assert (len(outer), len(inner)) == (3, 3)


def test_a_block_that_fails_is_left():
    """An error in it restores what was there before."""  # A60
    with pytest.raises(KeyError), no_waiting():
        raise KeyError
    told = []
    quick = ask.retry_with(backoff=None, sleep=told.append, max_retries=1)
    with pytest.raises(ConnectionError):
        quick()
    assert len(told) == 1


def test_parallel_tests_do_not_meet():
    """Each task records its own waits."""  # A60

    async def one(number):
        with no_waiting() as waits:
            await asyncio.sleep(0)
            for _ in range(number):
                with pytest.raises(ConnectionError):
                    await ask_async()
        return len(waits)

    async def main():
        return await asyncio.gather(one(1), one(2), one(3))

    assert asyncio.run(main()) == [3, 6, 9]


def test_other_threads_are_not_touched():
    """A thread that was started outside of the block waits as ever."""  # A60
    slept, entered, left = [], threading.Event(), threading.Event()

    @resilient(sleep=slept.append, max_retries=1)
    def elsewhere():
        entered.wait(5)
        raise ConnectionError

    def run():
        with pytest.raises(ConnectionError):
            elsewhere()
        left.set()

    thread = threading.Thread(target=run)
    thread.start()
    with no_waiting() as waits:
        entered.set()
        assert left.wait(5)
    thread.join()
    assert (len(slept), waits) == (1, [])


def test_deadlines_are_kept_all_the_same():
    """For a call the time is taken as passed."""
    bounded = ask.retry_with(deadline=15)
    with no_waiting() as waits, pytest.raises(ConnectionError):
        bounded()
    assert waits == [10]


@pytest.mark.anyio
async def test_a_wait_that_is_not_waited_for_can_be_cancelled():
    """Others run meanwhile, and a cancellation is met, as in a real wait."""
    with no_waiting() as waits, anyio.CancelScope() as scope:

        @resilient(max_retries=10**6, max_identical=10**6, on_retry=lambda *it: len(waits) > 4 and scope.cancel())
        async def endless():
            raise ConnectionError

        await endless()
    assert scope.cancelled_caught
    assert len(waits) == 6


def test_switched_off_functions_are_called_plainly():
    """Once, and what they raise comes out as it is; on again behind the block."""  # A60
    with no_waiting() as waits:
        with switched_off(), pytest.raises(ConnectionError) as caught:
            ask()
        assert waits == []
        assert not hasattr(caught.value, "__notes__")
        with pytest.raises(ConnectionError):
            ask()
        assert len(waits) == 3
