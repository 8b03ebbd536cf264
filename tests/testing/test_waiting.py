"""`no_waiting` and `switched_off`: scoped, nested, restored, and nobody else's business."""

import contextvars
import threading
import time

import anyio
import anyio.lowlevel
import pytest
import tenacity

from resilient_agent import report_of, resilient
from resilient_agent.testing import Waits, no_waiting, switched_off


def failing(**options):
    """A decorated function that fails for ever, and the calls that were made."""
    made = []

    @resilient(**{"wait": tenacity.wait_fixed(60), "max_retries": 2, **options})
    def ask():
        made.append(1)
        raise ConnectionResetError("cut")

    return ask, made


def failing_async(**options):
    """The same as a coroutine function."""
    made = []

    @resilient(**{"wait": tenacity.wait_fixed(60), "max_retries": 2, **options})
    async def ask():
        made.append(1)
        raise ConnectionResetError("cut")

    return ask, made


# no_waiting


def test_waits_are_recorded_in_place_of_being_waited_for():
    """Two minutes pass at once."""
    ask, made = failing()
    begun = time.monotonic()
    with no_waiting() as waits, pytest.raises(ConnectionResetError):
        ask()
    assert time.monotonic() - begun < 30
    assert isinstance(waits, Waits)
    assert (waits, waits.total, len(made)) == ([60, 60], 120, 3)


@pytest.mark.anyio
async def test_waits_of_coroutines_are_recorded():
    """Under both event loops."""
    ask, made = failing_async()
    with no_waiting() as waits, pytest.raises(ConnectionResetError):
        await ask()
    assert (waits, len(made)) == ([60, 60], 3)


def test_blocks_nest():
    """The innermost one records; after it the outer one does again."""  # A60
    ask, _ = failing(max_retries=1)
    with no_waiting() as outer:
        with no_waiting() as inner, pytest.raises(ConnectionResetError):
            ask()
        with pytest.raises(ConnectionResetError):
            ask()
    assert (inner, outer) == ([60], [60])


def test_it_ends_with_its_block_whatever_happens_there(waits):
    """An error in the block leaves nothing behind."""  # A60
    ask, _ = failing(max_retries=1, sleep=waits)
    with pytest.raises(KeyError), no_waiting() as recorded:
        raise KeyError
    with pytest.raises(ConnectionResetError):
        ask()
    assert (recorded, waits) == ([], [60])


def test_it_goes_before_a_sleep_of_the_functions_own(waits):
    """A test rules what it tests."""
    ask, _ = failing(max_retries=1, sleep=waits)
    with no_waiting() as recorded, pytest.raises(ConnectionResetError):
        ask()
    assert (recorded, waits) == ([60], [])


@pytest.mark.anyio
async def test_tasks_that_run_side_by_side_do_not_meet():
    """Each has its own record, and outside of the block the function's own sleep is used."""  # A60
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    ask, _ = failing_async(max_retries=1, sleep=sleep, pacer=None)
    records = []

    async def tested():
        with no_waiting() as waits:
            records.append(waits)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(ConnectionResetError):
                await ask()

    async def untested():
        with pytest.raises(ConnectionResetError):
            await ask()

    async with anyio.create_task_group() as tasks:
        for test in (tested, tested, untested):
            tasks.start_soon(test)
    assert (records, slept) == ([[60], [60]], [60])


def test_another_thread_is_not_concerned(waits):
    """A thread that was not started from inside has its own context."""  # A60
    ask, _ = failing(max_retries=1, sleep=waits)
    inside, done = threading.Event(), threading.Event()

    def elsewhere():
        assert inside.wait(5)
        with pytest.raises(ConnectionResetError):
            ask()
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with no_waiting() as recorded:
        inside.set()
        assert done.wait(5)
    thread.join(5)
    assert (recorded, waits) == ([], [60])


def test_a_new_thread_is_taken_along_by_a_copy_of_the_context():
    """By itself it would wait in real time."""
    ask, made = failing()

    def fails():
        with pytest.raises(ConnectionResetError):
            ask()

    with no_waiting() as waits:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(fails,), daemon=True)
        thread.start()
        thread.join(5)
    assert (len(made), waits) == (3, [60, 60])


def test_two_rate_limits_are_many_short_waits():
    """A call looks up now and then while it waits in the pacer: what is stable is the sum, and the report."""

    class Limited(Exception):
        status_code = 429

    failures = [Limited(), Limited()]

    @resilient
    def ask():
        if failures:
            raise failures.pop()

    with no_waiting() as waits:
        ask()
    assert len(waits) > 10
    assert ask.call_report().requests == 3
    assert waits.total == pytest.approx(ask.call_report().paced)


@pytest.mark.anyio
async def test_it_reaches_worker_threads_and_tasks_from_inside():
    """They inherit the context."""  # A59, A60
    ask, _ = failing(max_retries=1, pacer=None)
    ask_too, _ = failing_async(max_retries=1)

    async def task():
        with pytest.raises(ConnectionResetError):
            await ask_too()

    with no_waiting() as waits:
        with pytest.raises(ConnectionResetError):
            await anyio.to_thread.run_sync(ask)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
    assert waits == [60, 60]


@pytest.mark.parametrize(("deadline", "expected"), [(100, [60]), (121, [60, 60]), (59, [])])
def test_deadlines_are_kept(deadline, expected):
    """What was recorded counts as passed."""  # A24
    ask, made = failing(max_retries=9, deadline=deadline)
    with no_waiting() as waits, pytest.raises(ConnectionResetError) as caught:
        ask()
    assert (waits, len(made)) == (expected, len(expected) + 1)
    assert f"deadline={deadline}" in report_of(caught.value).limit


@pytest.mark.anyio
async def test_deadlines_of_coroutines_are_kept():
    """The same for coroutines."""  # A24
    ask, made = failing_async(max_retries=9, deadline=100)
    with no_waiting() as waits, pytest.raises(ConnectionResetError):
        await ask()
    assert (waits, len(made)) == ([60], 2)


@pytest.mark.anyio
async def test_a_cancellation_is_met_in_a_wait_that_is_not_waited_for():
    """As in a real one: no further attempt."""  # A5
    with anyio.CancelScope() as scope:
        ask, made = failing_async(max_retries=9, on_retry=lambda *_: scope.cancel())
        with no_waiting():
            await ask()
    assert scope.cancelled_caught
    assert len(made) == 1


def test_streams_do_not_wait_either():
    """What is retried before its first item is retried at once."""
    made = []

    @resilient(wait=tenacity.wait_fixed(60))
    def stream():
        made.append(1)
        if len(made) == 1:
            raise ConnectionResetError("cut")
        yield "item"

    with no_waiting() as waits:
        assert list(stream()) == ["item"]
    assert waits == [60]


# switched_off


def test_switched_off_a_call_is_plain():
    """Once, and what it raises comes out as it is."""
    ask, made = failing()
    with switched_off(), pytest.raises(ConnectionResetError) as caught:
        ask()
    assert len(made) == 1
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.anyio
async def test_switched_off_a_coroutine_is_plain():
    """Under both event loops, and whatever else was set."""
    ask, made = failing_async(deadline=60, timeout=30)
    with switched_off(), pytest.raises(ConnectionResetError):
        await ask()
    assert len(made) == 1


def test_switching_off_nests_and_ends_with_its_block():
    """Also by an error; the outer block is in force until its own end."""  # A60
    ask, made = failing(max_retries=1)
    with no_waiting():
        with switched_off():
            with pytest.raises(KeyError), switched_off():
                raise KeyError
            with pytest.raises(ConnectionResetError):
                ask()
        assert len(made) == 1
        with pytest.raises(ConnectionResetError):
            ask()
    assert len(made) == 3


@pytest.mark.anyio
async def test_switching_off_concerns_no_other_task():
    """A test beside it goes on retrying."""  # A60
    ask, _ = failing_async(max_retries=1, pacer=None)
    counts = {}

    async def calling(name, scope):
        with scope, no_waiting() as waits:
            await anyio.lowlevel.checkpoint()
            with pytest.raises(ConnectionResetError):
                await ask()
            counts[name] = len(waits)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calling, "off", switched_off())
        tasks.start_soon(calling, "on", no_waiting())
    assert counts == {"off": 0, "on": 1}


@pytest.mark.parametrize("block", [no_waiting, switched_off])
def test_a_block_that_is_left_in_another_context_says_nothing(block):
    """A fixture whose two halves run in contexts of their own: a test's own error is not replaced by a complaint."""
    entered = block()
    contextvars.copy_context().run(entered.__enter__)
    assert entered.__exit__(None, None, None) in (None, False)
