"""Who cancels, interrupts or ends the process is obeyed at once, and nobody else is asked."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import time

import anyio
import pytest
import tenacity
import trio

from resilient_agent import ErrorClassifier, ErrorType, attempts, interrupted_sessions, resilient, session_guard


class Everything(ErrorClassifier):
    """Calls every failure transient, and remembers whom it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def classify(self, error):
        self.seen.append(error)
        return ErrorType.RETRYABLE, super().classify(TimeoutError()).backoff


class Watchers:
    """Predicate, strategies and hooks that want everything, and remember what they were shown."""

    def __init__(self):
        self.seen = []

    def again(self, state):
        self.seen.append(("retry", state.outcome.exception()))
        return True

    def hook(self, *told):
        self.seen.append(("hook", told))

    def options(self):
        return {"retry": self.again, "on_retry": self.hook, "after": self.hook, "before_sleep": self.hook}


CATCH_ALL = {
    "classifier": lambda: {"classifier": Everything()},
    "predicate": lambda: {"retry": tenacity.retry_if_exception(lambda _: True)},
    "every type": lambda: {"retry": tenacity.retry_if_exception_type(BaseException)},
    "always": lambda: {"retry": tenacity.retry_always},
}


# Timeouts of the caller's


@pytest.mark.parametrize("catch", CATCH_ALL)
def test_a_fail_after_ends_the_call_on_time(catch, virtually):
    """`anyio.fail_after(0.1)` ends a call whose every error is retryable at 0.1 s, with a TimeoutError."""  # A2
    attempts = []

    @resilient(wait=tenacity.wait_fixed(30), stop=tenacity.stop_never, **CATCH_ALL[catch]())
    async def ask():
        attempts.append(1)
        await anyio.sleep(30)
        raise ConnectionError

    async def main():
        with anyio.fail_after(0.1):
            await ask()

    came, took = virtually(main)
    assert (type(came), took) == (TimeoutError, 0.1)
    assert len(attempts) == 1


@pytest.mark.parametrize("catch", CATCH_ALL)
@pytest.mark.parametrize("where", ["call", "wait"])
@pytest.mark.parametrize("virtually", ["asyncio"], indirect=True)
def test_an_asyncio_timeout_ends_the_call_on_time(catch, where, virtually):
    """`asyncio.timeout(0.1)` does the same: about 0.1 s, TimeoutError, one attempt."""  # A2
    attempts = []

    @resilient(wait=tenacity.wait_fixed(30), stop=tenacity.stop_never, **CATCH_ALL[catch]())
    async def ask():
        attempts.append(1)
        await asyncio.sleep(30 if where == "call" else 0)
        raise ConnectionError

    async def main():
        async with asyncio.timeout(0.1):
            await ask()

    came, took = virtually(main)
    assert (type(came), took) == (TimeoutError, 0.1)
    assert len(attempts) == 1


@pytest.mark.parametrize(
    ("form", "catch"),
    [("stream", catch) for catch in CATCH_ALL] + [("loop", catch) for catch in CATCH_ALL if catch != "always"],
)
@pytest.mark.anyio
async def test_a_cancellation_ends_a_stream_and_a_loop_at_once(form, catch):
    """Cancelled in its first attempt, it makes no other one, though every error is retryable."""  # A2
    tries = []
    options = {"wait": tenacity.wait_fixed(30), "stop": tenacity.stop_never, **CATCH_ALL[catch]()}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(IN_FORM[form], tries, anyio.sleep_forever, options)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(tries) == 1


async def in_stream(tries, attempt, options):
    @resilient(**options)
    async def stream():
        tries.append(1)
        yield await attempt()

    async for _ in stream():
        pass


async def in_loop(tries, attempt, options):
    async for round_ in attempts(**options):
        with round_:
            tries.append(1)
            await attempt()


IN_FORM = {"stream": in_stream, "loop": in_loop}


@pytest.mark.anyio
async def test_a_call_that_fails_and_fails_ends_on_time():
    """Without any wait between failures the timeout is met all the same: in the pause, or by the next failure."""  # A24

    @resilient(wait=tenacity.wait_none(), retry=tenacity.retry_always, stop=tenacity.stop_never)
    async def ask():
        raise ConnectionError

    begun = time.monotonic()
    with pytest.raises((ConnectionError, TimeoutError)):
        with anyio.fail_after(0.1):
            await ask()
    assert time.monotonic() - begun < 20  # it would fail for ever


@pytest.mark.parametrize("virtually", ["trio"], indirect=True)
def test_trios_own_timeout_ends_the_call_on_time(virtually):
    """`trio.fail_after` under `trio.run` does the same: TooSlowError, one attempt."""  # A2
    attempts = []

    @resilient(wait=tenacity.wait_fixed(30), retry=tenacity.retry_if_exception_type(BaseException))
    async def ask():
        attempts.append(1)
        await trio.sleep(30)
        raise ConnectionError

    async def main():
        with trio.fail_after(0.1):
            await ask()

    came, took = virtually(main)
    assert (type(came), took) == (trio.TooSlowError, 0.1)
    assert len(attempts) == 1


@pytest.mark.anyio
async def test_a_timeout_of_the_users_inside_the_call_is_retried(async_waits):
    """A timeout around the attempt alone is a failure like any other."""
    attempts = []

    @resilient(sleep=async_waits)
    async def ask():
        attempts.append(1)
        with anyio.fail_after(0.01 if len(attempts) == 1 else 60):
            await anyio.sleep(30 if len(attempts) == 1 else 0)
        return "answer"

    assert await ask() == "answer"
    assert len(attempts) == 2


# Cancellation


@pytest.mark.parametrize("where", ["call", "wait", "hook"])
@pytest.mark.parametrize("virtually", ["asyncio"], indirect=True)
def test_a_cancelled_task_ends_cancelled(where, virtually):
    """`task.cancel()` in the call, in the wait or in a hook: CancelledError, and no further attempt."""  # A1, A5
    watchers, attempts = Watchers(), []

    async def hook(*told):
        watchers.hook(*told)
        await asyncio.sleep(30 if where == "hook" else 0)

    @resilient(**{**watchers.options(), "on_retry": hook}, wait=tenacity.wait_fixed(30))
    async def ask():
        attempts.append(1)
        await asyncio.sleep(30 if where == "call" else 0)
        raise ConnectionError

    async def main():
        task = asyncio.create_task(ask())
        await asyncio.sleep(0.05)
        before = len(watchers.seen)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        assert caught.value.args == ("enough",)
        assert len(watchers.seen) == before

    assert virtually(main) == (None, 0.05)
    assert len(attempts) == 1
    assert not any(isinstance(error, asyncio.CancelledError) for _, error in watchers.seen)


@pytest.mark.parametrize("where", ["call", "wait"])
def test_a_cancelled_scope_ends_the_call(where, virtually):
    """A cancelled task group leaves the call at once, without a further attempt or hook."""  # A1, A5
    watchers, attempts = Watchers(), []

    @resilient(**watchers.options(), wait=tenacity.wait_fixed(30))
    async def ask():
        attempts.append(1)
        await anyio.sleep(30 if where == "call" else 0)
        raise ConnectionError

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
            return len(watchers.seen)

    seen, took = virtually(main)
    assert (len(watchers.seen), took) == (seen, 0.05)
    assert len(attempts) == 1


@pytest.mark.anyio
async def test_a_cancelled_wait_is_told_by_the_statistics():
    """After a cancellation in the wait the numbers are of one attempt, and say that it was cancelled."""  # A5

    @resilient(wait=tenacity.wait_fixed(30))
    async def ask():
        raise ConnectionError

    with anyio.CancelScope() as scope:
        ask.retry.before_sleep = lambda _: scope.cancel()
        await ask()
    assert scope.cancelled_caught
    assert ask.statistics["attempt_number"] == 1
    assert ask.statistics["outcome"] == "cancelled"


@pytest.mark.anyio
async def test_a_call_in_a_cancelled_scope_is_not_repeated(async_waits):
    """Where the scope is cancelled already, the first wait is the end."""
    attempts = []

    @resilient(retry=tenacity.retry_always)
    async def ask():
        attempts.append(1)
        raise ConnectionError

    with anyio.CancelScope() as scope:
        scope.cancel()
        await ask()
    assert scope.cancelled_caught
    assert len(attempts) == 1


# What is no error


@pytest.mark.parametrize("options", [{}, {"before": lambda _: None}], ids=["direct", "watched"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, trio.Cancelled])
@pytest.mark.parametrize("attempt", [1, 2])
def test_what_is_no_error_reaches_nobody_in_plain_code(waits, kind, attempt, options):
    """Raised by a plain function, it leaves unwrapped, and no predicate, hook or classifier sees it."""  # A1
    watchers, calls = Watchers(), []
    stopping = make(kind)

    @resilient(**watchers.options(), **options, sleep=waits)
    def ask():
        calls.append(1)
        if len(calls) == attempt:
            raise stopping
        raise ConnectionError

    with pytest.raises(kind) as caught:
        ask()
    assert caught.value is stopping
    assert len(calls) == attempt
    assert len(waits) == attempt - 1
    assert not any(stopping in (error, *(error if isinstance(error, tuple) else ())) for _, error in watchers.seen)
    assert not hasattr(stopping, "__notes__")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_no_error_reaches_no_classifier(waits, kind):
    """The classifier is not asked about it."""  # A1
    classifier = Everything()

    @resilient(classifier=classifier, sleep=waits)
    def ask():
        raise kind

    with pytest.raises(kind):
        ask()
    assert classifier.seen == []
    assert waits == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("attempt", [1, 2])
def test_what_is_no_error_reaches_nobody_in_a_coroutine(kind, attempt):
    """Raised in a coroutine function, it leaves unwrapped, and nobody sees it."""  # A1
    watchers, calls = Watchers(), []
    stopping = kind()

    @resilient(**watchers.options(), before=lambda _: None, sleep=lambda _: None)
    async def ask():
        calls.append(1)
        if len(calls) == attempt:
            raise stopping
        raise ConnectionError

    async def main():
        with pytest.raises(kind) as caught:
            await ask()
        assert caught.value is stopping

    asyncio.run(main())
    assert len(calls) == attempt
    assert not any(error is stopping for _, error in watchers.seen)


@pytest.mark.parametrize("form", ["stream", "loop"])
def test_neither_is_one_in_a_stream_or_a_loop_retried(async_waits, form):
    """It comes out as it is, and nobody judges it."""  # A3
    classifier, tries = Everything(), []

    async def attempt():
        raise asyncio.CancelledError("a library's own")

    with pytest.raises(asyncio.CancelledError, match="a library's own"):
        asyncio.run(IN_FORM[form](tries, attempt, {"classifier": classifier, "sleep": async_waits}))
    assert (len(tries), classifier.seen, list(async_waits)) == (1, [], [])


def test_a_cancelled_error_that_nobody_asked_for_comes_out_as_it_is(async_waits):
    """A CancelledError of the user's code, where nobody cancelled the task, is passed on and not retried."""  # A3
    classifier, calls = Everything(), []

    @resilient(classifier=classifier, sleep=async_waits)
    async def ask():
        calls.append(1)
        raise asyncio.CancelledError("a library's own")

    async def main():
        task = asyncio.current_task()
        with pytest.raises(asyncio.CancelledError, match="a library's own"):
            await ask()
        return task.cancelling()

    assert asyncio.run(main()) == 0
    assert (len(calls), classifier.seen, async_waits) == (1, [], [])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, asyncio.CancelledError])
def test_a_group_with_a_cancellation_in_it_reaches_nobody(waits, kind):
    """A group that holds what is no error is none itself, and leaves whole."""  # A42
    watchers = Watchers()
    group = BaseExceptionGroup("g", [ConnectionError(), kind()])

    @resilient(**watchers.options(), sleep=waits)
    def ask():
        raise group

    with pytest.raises(BaseExceptionGroup) as caught:
        ask()
    assert caught.value is group
    assert watchers.seen == []


@pytest.mark.parametrize("where", ["call", "wait"])
def test_a_coroutine_that_is_closed_ends_at_once(where):
    """`close()` on a coroutine in its call or its wait ends it, without a further attempt or an await."""  # A1
    watchers, calls = Watchers(), []

    async def sleep(_):
        await Forever()

    @resilient(**watchers.options(), sleep=sleep)
    async def ask():
        calls.append(1)
        if where == "call":
            await Forever()
        raise ConnectionError

    async def main():
        coroutine = ask()
        coroutine.send(None)
        seen = len(watchers.seen)
        coroutine.close()
        assert len(watchers.seen) == seen
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    asyncio.run(main())
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_a_hook_raises_to_end_the_process_ends_the_call(waits, kind):
    """A hook's exception is caught, but not one that wants the process to end."""  # A1, A43

    def hook(*_):
        raise kind

    @resilient(on_retry=hook, sleep=waits)
    def ask():
        raise ConnectionError

    with pytest.raises(kind):
        ask()
    assert waits == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_raised_in_a_plain_wait_ends_the_call(kind):
    """Ctrl-C while a plain function waits leaves at once, with one attempt made."""
    calls = []

    def sleep(_):
        raise kind

    @resilient(sleep=sleep)
    def ask():
        calls.append(1)
        raise ConnectionError

    with pytest.raises(kind) as caught:
        ask()
    assert len(calls) == 1
    assert caught.value.__cause__ is None


class Forever:
    """Awaited, it never comes back."""

    def __await__(self):
        while True:
            yield


def make(kind):
    return trio.Cancelled._create() if kind is trio.Cancelled else kind()


# Ctrl-C in a real process

PLAIN = """
import sys, time
import tenacity
from resilient_agent import resilient, session_guard

@resilient(wait=tenacity.wait_fixed(60), retry=tenacity.retry_if_exception_type(BaseException),
           before_sleep=lambda state: print("waiting", flush=True))
def ask(messages):
    raise ConnectionError

with session_guard("ctrl-c", store=sys.argv[1]) as session:
    session.append({"role": "user", "content": "hello"})
    ask(session.messages)
"""
ASYNC = """
import sys
import anyio, tenacity
from resilient_agent import resilient, session_guard

@resilient(wait=tenacity.wait_fixed(60), retry=tenacity.retry_if_exception_type(BaseException),
           before_sleep=lambda state: print("waiting", flush=True))
async def ask(messages):
    raise ConnectionError

async def main():
    async with session_guard("ctrl-c", store=sys.argv[1]) as session:
        await session.append({"role": "user", "content": "hello"})
        await ask(session.messages)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGINT cannot be sent to one process on Windows")
@pytest.mark.parametrize(
    ("program", "backend", "reasons"),
    [
        (PLAIN, "none", {"keyboard interrupt"}),
        (ASYNC, "asyncio", {"cancelled", "keyboard interrupt"}),
        (ASYNC, "trio", {"cancelled", "keyboard interrupt"}),
    ],
    ids=["plain", "asyncio", "trio"],
)
def test_ctrl_c_in_a_wait_ends_it_at_once_and_the_session_is_marked(tmp_path, program, backend, reasons):
    """A SIGINT in a wait of 60 s ends the process within a moment; the session is on disk and says why."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=10)
        took = time.monotonic() - begun
    finally:
        child.kill()
        child.communicate()
    assert took < 3
    assert child.returncode in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in errors
    (found,) = interrupted_sessions(tmp_path)
    assert (found.session_id, found.message_count) == ("ctrl-c", 1)
    assert found.interruption.reason in reasons
    with session_guard("ctrl-c", store=tmp_path) as session:
        assert session.resumed
        assert session.messages == [{"role": "user", "content": "hello"}]
