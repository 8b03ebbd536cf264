"""What code can ask from inside a call, and after it, in its own task or thread."""

import asyncio
import contextvars
import threading

import anyio
import anyio.to_thread
import pytest

from resilient_agent import attempts, current_attempt, last_call, resilient
from resilient_agent.testing import no_waiting


class TooLong(Exception):
    code = "context_length_exceeded"


def failing(times, told, **options):
    """A function that fails that often, and tells what it is told each time."""

    @resilient(**options)
    def ask():
        told.append(current_attempt())
        if told[-1].number <= times:
            raise ConnectionError
        return "yes"

    return ask


def test_attempts_are_counted_from_1():
    """Through the retries of a call; the next call begins anew."""
    told = []
    ask = failing(2, told)
    with no_waiting():
        ask()
        ask()
    assert [here.number for here in told] == [1, 2, 3, 1, 2, 3]
    assert {here.function for here in told} == {"failing.<locals>.ask"}


def test_all_attempts_of_a_call_share_a_key():
    """Also its fallbacks, which are counted on; the next call has another key."""  # A57
    told = []

    def other():
        told.append(current_attempt())
        raise ConnectionError

    def last():
        told.append(current_attempt())

    @resilient(fallback=[other, last])
    def charge():
        told.append(current_attempt())
        raise ConnectionError if current_attempt().number < 3 else TooLong("too long")

    with no_waiting():
        charge()
        charge()
    assert [here.number for here in told] == [1, 2, 3, 4, 5] * 2
    keys = [here.idempotency_key for here in told]
    assert (len(set(keys[:5])), len(set(keys[5:])), len(set(keys))) == (1, 1, 2)
    assert all(len(key) == 32 and int(key, 16) for key in keys)


@pytest.mark.anyio
async def test_the_key_of_a_coroutines_call_is_the_same_too():
    """And those of calls side by side are not."""  # A57

    @resilient(max_retries=1)
    async def charge(keys):
        keys.append(current_attempt().idempotency_key)
        await anyio.lowlevel.checkpoint()
        if len(keys) == 1:
            raise ConnectionError

    all_keys = [[], [], []]
    with no_waiting():
        async with anyio.create_task_group() as tasks:
            for keys in all_keys:
                tasks.start_soon(charge, keys)
    assert [len(set(keys)) for keys in all_keys] == [1, 1, 1]
    assert len({keys[0] for keys in all_keys}) == 3


def test_the_time_left_runs_out_over_attempts_and_waits():
    """Seconds until the call's own deadline, on a clock that the waits move on."""
    told = []
    with no_waiting() as waits:
        failing(2, told, deadline=60)()
    left = [here.deadline_left for here in told]
    assert left == [pytest.approx(60 - sum(waits[:n]), abs=0.5) for n in range(3)]
    assert left == sorted(left, reverse=True)
    failing(0, told)()
    assert told[-1].deadline_left is None


def test_the_time_left_is_never_below_0(virtually):
    """Also where an attempt goes on past the end."""
    left = []

    @resilient(deadline=2)
    async def ask():
        try:
            await anyio.sleep(9)
        finally:
            left.append(current_attempt().deadline_left)

    virtually(ask)
    assert left == [0]


@pytest.mark.anyio
async def test_threads_and_tasks_of_an_attempt_know_it():
    """A context that is carried over carries the attempt."""  # A59

    @resilient(max_retries=1)
    async def ask():
        here, told = current_attempt(), []

        async def task():
            told.append(current_attempt())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
        told.append(await anyio.to_thread.run_sync(current_attempt))
        assert told == [here, here]
        if here.number == 1:
            raise ConnectionError
        return here.number

    with no_waiting():
        assert await ask() == 2


async def left_in_thread():
    told = await anyio.to_thread.run_sync(current_attempt)
    return told.deadline_left


@resilient(deadline=60)
async def left_to_a_coroutine():
    return await left_in_thread()


@resilient(deadline=60)
async def left_to_a_stream():
    yield await left_in_thread()


async def left_to_a_loop():
    async for attempt in attempts(deadline=60):
        with attempt:
            left = await left_in_thread()
    return left


@pytest.mark.anyio
async def test_a_thread_of_an_attempt_is_told_the_time_left_as_well():
    """Though no event loop says there what time it is."""
    left = [await left_to_a_coroutine(), await left_to_a_loop(), *[left async for left in left_to_a_stream()]]
    assert all(50 < seconds <= 60 for seconds in left)
    with no_waiting():
        assert 50 < await left_to_a_coroutine() <= 60


def test_a_bare_thread_knows_nothing():
    """Nobody carried the context over."""
    told = []

    @resilient
    def ask():
        thread = threading.Thread(target=lambda: told.append((current_attempt().function, last_call())))
        thread.start()
        thread.join()

    ask()
    assert told == [("", None)]


def test_of_calls_inside_each_other_the_innermost_is_meant():
    """And after it the outer one again."""

    @resilient
    def inner():
        return current_attempt()

    @resilient
    def outer():
        return current_attempt(), inner(), current_attempt()

    before, inside, after = outer()
    assert before == after
    assert inside.function.endswith("inner")
    assert before.function.endswith("outer")
    assert inside.idempotency_key != before.idempotency_key


def test_a_call_that_is_over_is_not_meant():
    """A context that was copied in an attempt outlives it."""

    @resilient
    def ask():
        return contextvars.copy_context()

    assert ask().run(current_attempt).function == ""


def test_outside_of_any_call_there_is_an_attempt_of_nothing():
    """A function that is tested plainly works, and each has a key of its own."""
    here = current_attempt()
    assert (here.function, here.number, here.deadline_left) == ("", 1, None)
    assert len(here.idempotency_key) == 32
    assert current_attempt().idempotency_key != here.idempotency_key


def test_a_wait_is_outside_of_the_attempts():
    """What runs between two attempts is in none of them."""
    told = []

    @resilient(max_retries=1, sleep=lambda _: told.append(current_attempt().function))
    def ask():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask()
    assert told == [""]


def test_the_last_call_is_the_one_that_ended_last():
    """Of whatever function: an outer call ends after those in it."""

    @resilient
    def inner():
        return last_call().function if last_call() else ""

    @resilient
    def outer():
        inner()
        return last_call().function

    def in_context():
        assert last_call() is None
        assert outer().endswith("inner")
        return last_call(), outer.call_report()

    last, report = contextvars.Context().run(in_context)
    assert last == report
    assert report.function.endswith("outer")


def test_reports_of_tasks_and_threads_do_not_meet():
    """Each sees its own last call."""

    async def one(failures):
        ask = failing(failures, [])
        with no_waiting():
            await asyncio.to_thread(failing(3 - failures, []))
            ask()
        await asyncio.sleep(0)
        return last_call().requests

    async def main():
        return await asyncio.gather(*map(one, (1, 2, 3)))

    assert asyncio.run(main()) == [2, 3, 4]
