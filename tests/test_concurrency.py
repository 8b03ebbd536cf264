"""Many calls at once, in tasks and in threads: nothing of one is seen in another."""

import contextvars
import random
import sys
import threading

import anyio
import pytest

from resilient_agent import BackoffConfig, resilient

QUICK = BackoffConfig(base_delay_ms=1, max_delay_ms=2, max_retries=3)


@pytest.fixture
def restless():
    """Threads that are switched all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(count, work):
    """Run `work(number)` in that many threads, all starting together; what any raised is raised here."""
    failures = []
    gate = threading.Barrier(count)

    def run(number):
        gate.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.anyio
async def test_a_thousand_calls_at_once_each_have_their_own_counts(rng):
    """Of 1,000 concurrent calls 300 fail once: each has its own result, hook and statistics."""
    failing = set(rng.sample(range(1000), 300))
    pending, told, seen, results = set(failing), [], {}, {}
    current = contextvars.ContextVar("current")

    @resilient(backoff=QUICK, on_retry=lambda attempt, error, _: told.append((current.get(), attempt, str(error))))
    async def ask(number, *, model):
        await anyio.sleep(random.random() / 1000)
        if number in pending:
            pending.discard(number)
            raise ConnectionResetError(f"call {number}")
        return f"{model}: {number}"

    async def work(number):
        current.set(number)
        results[number] = await ask(number, model="small")
        await anyio.sleep(random.random() / 1000)
        seen[number] = (ask.statistics["attempt_number"], ask.statistics["idle_for"] > 0)

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(work, number)
    assert results == {number: f"small: {number}" for number in range(1000)}
    assert seen == {number: (2, True) if number in failing else (1, False) for number in range(1000)}
    assert sorted(told) == [(number, 1, f"call {number}") for number in sorted(failing)]


@pytest.mark.anyio
async def test_calls_that_fail_at_once_each_have_their_own_notes(async_waits):
    """A hundred concurrent calls that give up each carry their own history."""
    errors = []

    @resilient(backoff=QUICK, sleep=async_waits)
    async def ask(number):
        await anyio.lowlevel.checkpoint()
        raise ConnectionResetError(str(number))

    async def work(number):
        with pytest.raises(ConnectionResetError) as caught:
            await ask(number)
        assert caught.value.args == (str(number),)
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(work, number)
    assert len({id(error) for error in errors}) == 100
    assert all(len(error.__notes__) == 4 for error in errors)


def test_threads_that_fail_at_once_do_not_meet(waits, restless):
    """Eight threads with many failing calls of one function: right results, right numbers, no KeyError."""
    calls = 150
    results = {}

    @resilient(backoff=QUICK, sleep=lambda _: None)
    def ask(box):
        box["calls"] += 1
        if box["calls"] <= box["failures"]:
            raise ConnectionResetError
        return box["number"]

    def work(thread):
        rng = random.Random(thread)
        mine = results[thread] = []
        for number in range(calls):
            failures = rng.randrange(4)
            answer = ask({"calls": 0, "failures": failures, "number": number})
            mine.append((answer == number, ask.statistics["attempt_number"] == failures + 1))

    at_once(8, work)
    assert results == {thread: [(True, True)] * calls for thread in range(8)}


def test_threads_that_give_up_at_once_do_not_meet(restless):
    """Eight threads whose calls all fail each get their own exception with their own notes."""

    @resilient(max_retries=2, sleep=lambda _: None)
    def ask(number):
        raise ConnectionResetError(str(number))

    def work(thread):
        for number in range(40):
            name = f"{thread}-{number}"
            try:
                ask(name)
            except ConnectionResetError as error:
                assert error.args == (name,)  # noqa: PT017
                assert len(error.__notes__) == 3  # noqa: PT017
                assert ask.statistics["attempt_number"] == 3

    at_once(8, work)
    assert ask.statistics["attempt_number"] == 1


def test_settings_may_be_changed_while_others_call(restless):
    """Setting `fn.retry.wait` and making variants while threads call breaks no call."""
    import tenacity

    @resilient(backoff=QUICK, sleep=lambda _: None)
    def ask(box):
        box.append(1)
        if len(box) < 3:
            raise ConnectionResetError
        return "answer"

    def work(thread):
        for _ in range(60):
            if thread == 0:
                ask.retry.wait = tenacity.wait_fixed(random.random())
            assert ask([]) == "answer"

    at_once(8, work)


def test_one_exception_object_may_be_raised_by_many_threads(restless):
    """A shared exception object comes out of every call, with the notes of one call at a time."""
    error = ConnectionResetError("shared")

    @resilient(max_retries=2, sleep=lambda _: None)
    def ask():
        raise error

    def work(_):
        for _ in range(30):
            with pytest.raises(ConnectionResetError) as caught:
                ask()
            assert caught.value is error

    at_once(8, work)
    assert len(error.__notes__) == 3


@pytest.mark.anyio
async def test_a_change_of_context_in_the_call_is_the_callers(async_waits):
    """What the user's coroutine sets in its context is there after the call, as in a plain await."""  # A59
    variable = contextvars.ContextVar("variable", default="before")
    calls = []

    @resilient(sleep=async_waits)
    async def ask():
        calls.append(variable.get())
        variable.set(f"attempt {len(calls)}")
        if len(calls) < 3:
            raise ConnectionResetError
        return "answer"

    assert await ask() == "answer"
    assert calls == ["before", "attempt 1", "attempt 2"]
    assert variable.get() == "attempt 3"


def test_worker_threads_see_the_callers_context():
    """A plain function called through anyio.to_thread sees the context, in every attempt."""  # A59
    variable = contextvars.ContextVar("variable", default="nobody's")
    seen = []

    @resilient(backoff=QUICK)
    def ask():
        seen.append(variable.get())
        if len(seen) < 3:
            raise ConnectionResetError
        return "answer"

    async def main():
        variable.set("mine")
        return await anyio.to_thread.run_sync(ask)

    assert anyio.run(main) == "answer"
    assert seen == ["mine"] * 3


@pytest.mark.anyio
async def test_a_call_within_a_call_has_its_own_counts(async_waits):
    """A decorated function that calls itself keeps the levels apart."""  # A11
    attempts = []

    @resilient(max_retries=10, sleep=async_waits)
    async def ask(level):
        attempts.append(level)
        if attempts.count(level) == 1:
            raise ConnectionResetError
        return 0 if level == 0 else await ask(level - 1) + 1

    assert await ask(5) == 5
    assert sorted(attempts) == sorted([*range(6), *range(6)])


def test_waiting_calls_wait_at_the_same_time(virtually):
    """Two hundred calls that wait do not wait in turn."""

    @resilient(backoff=BackoffConfig(base_delay_ms=100, jitter=0, max_retries=1))
    async def ask(box):
        box.append(1)
        if len(box) == 1:
            raise ConnectionResetError
        return "answer"

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(ask, [])

    assert virtually(main) == (None, 0.1)
