"""What no single room has to itself, and is easily got wrong all the same."""

from contextlib import aclosing

import anyio
import pytest

from resilient_agent import BackoffConfig, CircuitBreaker, clock, report_of, resilient
from resilient_agent.testing import no_waiting


class Limited(Exception):
    def __init__(self, **headers):
        super().__init__("slow down")
        self.status_code = 429
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Unavailable(Limited):
    def __init__(self, **headers):
        super().__init__(**headers)
        self.status_code = 500


def failing(*failures, answer="done", **options):
    """A decorated function that fails so, and then answers; the arguments that its attempts were called with."""
    script, seen = iter(failures), []

    @resilient(**options)
    def ask(*args, **kwargs):
        seen.append((args, kwargs))
        failure = next(script, None)
        if failure is not None:
            raise failure
        return answer

    return ask, seen


def test_elapsed_time_is_monotonic_and_the_wall_clock_is_read_for_dates_only(monkeypatch):
    """A wall clock that is set back in mid-call changes no wait and no number of the report."""  # A14
    asked = []

    def wall():
        asked.append(1)
        return 1e9 - 3600 * len(asked)

    monkeypatch.setattr(clock, "wall", wall)
    ask, _ = failing(ConnectionResetError("reset"), Limited(retry_after="2"), max_retries=5)
    with no_waiting():
        assert ask() == "done"
    assert not asked
    report = ask.call_report()
    assert all(0 <= attempt.elapsed < 5 for attempt in report.attempts if attempt.elapsed is not None)
    ask, _ = failing(Limited(retry_after="Sun, 09 Sep 2001 00:46:50 GMT"))
    with no_waiting():
        ask()
    assert asked


def test_a_hostile_server_cannot_hold_a_call_for_ever():
    """It names a long wait each time: the retries bound how often, `max_retry_after` how long, a deadline the sum."""  # A20
    ask, seen = failing(*[Limited(retry_after="119")] * 50, pacer=None)
    with no_waiting() as waits, pytest.raises(Limited):
        ask()
    assert sum(waits) <= (len(seen) - 1) * 120 * 1.25
    assert len(seen) <= 6
    ask, seen = failing(*[Limited(retry_after="119")] * 50, deadline=200, max_retries=40)
    with no_waiting() as waits, pytest.raises(Limited) as caught:
        ask()
    assert sum(waits) < 200
    assert "deadline=200" in report_of(caught.value).limit


@pytest.mark.parametrize("pushback", ["-1", "-2", "-5.5", "abc", "", "nan", "inf", "1.5", "\u0663"])
def test_a_pushback_that_is_no_count_stops_the_call(pushback):
    """What is negative or cannot be read means "do not retry" to gRPC: it is obeyed at the first attempt."""  # A21
    ask, seen = failing(Unavailable(grpc_retry_pushback_ms=pushback))
    with no_waiting() as waits, pytest.raises(Unavailable):
        ask()
    assert (len(seen), waits) == (1, [])


@pytest.mark.parametrize("pushback", ["0", "5", " 1500 "])
def test_a_pushback_that_is_a_count_lets_the_call_go_on(pushback):
    """So many milliseconds, then the next attempt."""  # A21
    ask, seen = failing(Unavailable(grpc_retry_pushback_ms=pushback))
    with no_waiting():
        assert ask() == "done"
    assert len(seen) == 2


@pytest.mark.parametrize("own", [True, False], ids=["one curve for all", "each kind its own"])
def test_backoff_begins_anew_after_a_wait_that_the_server_named(own):
    """Three growing waits, one that is named, and the curve starts from its first value."""  # A21
    curve = BackoffConfig(base_delay_ms=1000, multiplier=2, jitter=0)
    named = Unavailable(grpc_retry_pushback_ms="7000")
    unnamed = [Unavailable() for _ in range(6)]
    options = {"backoff": curve} if own else {}
    ask, _ = failing(*unnamed[:3], named, *unnamed[3:], max_retries=9, pacer=None, **options)
    with no_waiting() as waits:
        ask()
    assert waits[3] == pytest.approx(7, rel=0.3)
    assert waits[0] < waits[1] < waits[2]
    assert waits[4] == pytest.approx(waits[0], rel=0.6)
    assert waits[4] < waits[2]
    if own:
        assert waits == [1, 2, 4, 7, 1, 2, 4]


def test_a_failure_never_gets_into_the_arguments():
    """Each attempt is called with the very objects that the caller gave: what failed is told in the report only."""  # A48
    messages = [{"role": "user", "content": "hello"}]
    ask, seen = failing(ConnectionResetError("reset"), Limited(), TimeoutError(), max_retries=5)
    with no_waiting():
        ask(messages, temperature=0)
    assert [args[0] is messages for args, _ in seen] == [True] * 4
    assert messages == [{"role": "user", "content": "hello"}]
    assert {tuple(kwargs.items()) for _, kwargs in seen} == {(("temperature", 0),)}


@pytest.mark.parametrize("how", ["positional", "named"])
def test_a_body_that_was_read_is_not_sent_twice(how):
    """A generator that the attempt has read from is used up: the error comes out, and says why."""  # A56

    def lines():
        yield b"one"
        yield b"two"

    sent = []

    @resilient
    def upload(body):
        sent.append(next(body))
        raise ConnectionResetError("connection reset by peer")

    with no_waiting() as waits, pytest.raises(ConnectionResetError) as caught:
        upload(lines()) if how == "positional" else upload(body=lines())
    assert (sent, waits) == ([b"one"], [])
    argument = "argument 1" if how == "positional" else "argument body"
    assert f"{argument} was used up by the attempt" in report_of(caught.value).limit


def test_a_body_that_was_not_touched_is_sent_again():
    """The connection failed before anything was read: nothing speaks against another attempt."""  # A56
    calls = []

    @resilient
    def upload(body):
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionResetError("connection reset by peer")
        return list(body)

    with no_waiting():
        assert upload(number for number in (1, 2)) == [1, 2]


@pytest.mark.parametrize("read", [next, list], ids=["a part", "all"])
def test_a_body_that_was_read_is_found_among_the_other_arguments(read, waits):
    """Wherever it stands, and whether something is left of it or not; nothing is waited for."""  # A56

    def lines():
        yield b"one"
        yield b"two"

    @resilient(sleep=waits)
    def upload(name, body, *, size):
        read(body)
        raise ConnectionResetError("connection reset by peer")

    with pytest.raises(ConnectionResetError) as caught:
        upload("notes", lines(), size=2)
    assert waits == []
    assert "argument 2 was used up by the attempt" in report_of(caught.value).limit


@pytest.mark.anyio
async def test_an_async_body_that_was_not_touched_is_sent_again(async_waits):
    """The connection failed before anything was read, and the other arguments are no bodies."""  # A56
    sent = []

    async def lines():
        yield b"one"

    @resilient(sleep=async_waits)
    async def upload(name, body):
        sent.append(name)
        if len(sent) == 1:
            raise ConnectionResetError("connection reset by peer")
        return [line async for line in body]

    assert await upload("notes", lines()) == [b"one"]
    assert (sent, len(async_waits)) == (["notes", "notes"], 1)


@pytest.mark.anyio
@pytest.mark.parametrize("read", [0, 1])
async def test_an_async_body_that_was_read_in_part_is_not_sent_twice(read, async_waits):
    """One that nobody has read from is; on Python 3.11 too, which does not say which is which."""  # A56
    sent = []

    async def lines(start, *, end=b"two"):
        def both():
            return start, end

        for line in both():
            yield line

    @resilient(max_retries=1, sleep=async_waits)
    async def upload(body):
        sent.extend([await anext(body) for _ in range(read)])
        raise ConnectionResetError("connection reset by peer")

    body = lines(b"one")
    with pytest.raises(ConnectionResetError) as caught:
        await upload(body)
    assert (sent, len(async_waits)) == ([b"one"] * read, 1 - read)
    assert report_of(caught.value).limit.startswith("argument 1 was used up" if read else "max_retries=1")
    await body.aclose()


def test_an_async_body_that_is_over_is_not_sent_twice():
    """The same for async generators."""  # A56

    async def lines():
        yield b"one"

    @resilient
    async def upload(body):
        async for _ in body:
            pass
        raise ConnectionResetError("connection reset by peer")

    async def main():
        with pytest.raises(ConnectionResetError) as caught:
            await upload(lines())
        return report_of(caught.value).limit

    with no_waiting() as waits:
        assert "cannot be sent twice" in anyio.run(main)
    assert waits == []


def test_a_stream_that_hangs_in_its_closing_holds_a_cancellation_for_five_seconds_at_most(virtually):
    """Closing is shielded, so that the connection is given back; and bounded, so that a program can end."""  # A6
    closing = []

    @resilient
    async def stream():
        try:
            yield 1
        finally:
            closing.append("begun")
            await anyio.sleep(1000)

    async def main():
        with anyio.move_on_after(2) as scope:
            async with aclosing(stream()) as items:
                async for _ in items:
                    await anyio.sleep(1000)
        return scope.cancelled_caught

    came, took = virtually(main)
    assert (came, closing, took) == (True, ["begun"], 7)


def test_a_stream_that_closes_in_time_is_closed_whole_under_a_cancellation(virtually):
    """What takes a second may await to its end."""  # A6
    closing = []

    @resilient
    async def stream():
        try:
            yield 1
        finally:
            await anyio.sleep(1)
            closing.append("done")

    async def main():
        with anyio.move_on_after(2):
            async with aclosing(stream()) as items:
                async for _ in items:
                    await anyio.sleep(1000)

    _, took = virtually(main)
    assert (closing, took) == (["done"], 3)


@pytest.mark.anyio
async def test_a_coroutine_among_the_arguments_is_not_awaited_twice():
    """The real error comes out, and why there is no second attempt."""  # A56

    async def body():
        return b"five"

    @resilient
    async def ask(given):
        assert await given == b"five"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError) as caught:
        await ask(body())
    assert "argument 1 was used up by the attempt" in report_of(caught.value).limit


def test_an_error_that_looks_empty_is_an_error():
    """An exception with a length of none is false, and no less what the caller has to see."""

    class Empty(ConnectionResetError):
        def __len__(self):
            return 0

    @resilient(breaker=CircuitBreaker(consecutive_failures=1), sleep=lambda _: None)
    def ask():
        raise Empty

    with pytest.raises(Empty):
        ask()
