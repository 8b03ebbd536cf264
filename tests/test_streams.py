"""Generators, plain and async: retried until their first item, never silently afterwards."""

import asyncio
import contextvars
import functools
import gc
import inspect
import sys
import weakref
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest
import tenacity

from resilient_agent import AttemptTimeout, BackoffConfig, CircuitBreaker, DeadlineExceeded, Rung, report_of, resilient

QUICK = BackoffConfig(base_delay_ms=100, multiplier=2, jitter=0, max_retries=3)


class Source:
    """Streams in turn, the last one for ever: items, and exceptions to be raised in their place. Counts."""

    def __init__(self, *streams):
        self.streams = streams
        self.calls = 0
        self.open = 0

    def __call__(self):
        stream = self.streams[min(self.calls, len(self.streams) - 1)]
        self.calls += 1
        self.open += 1
        try:
            for item in stream:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.open -= 1


def plain(source, **options):
    @resilient(**options)
    def stream(*args, **kwargs):
        yield from source(*args, **kwargs)

    got = []
    try:
        for item in stream():
            got.append(item)
    except Exception as error:
        return got, error
    return got, None


def in_loop(backend, source, *, sleep=None, **options):
    async def sleeping(seconds):
        if sleep is not None:
            sleep(seconds)
        await anyio.lowlevel.checkpoint()

    @resilient(sleep=sleeping, **options)
    async def stream(*args, **kwargs):
        for item in source(*args, **kwargs):
            await anyio.lowlevel.checkpoint()
            yield item

    async def main():
        got = []
        try:
            async for item in stream():
                got.append(item)
        except Exception as error:
            return got, error
        return got, None

    return anyio.run(main, backend=backend)


@pytest.fixture(params=["plain", "asyncio", "trio"])
def read(request):
    """Decorate a source and read it to its end: what was got, and the error that came out or None."""
    return plain if request.param == "plain" else functools.partial(in_loop, request.param)


# Before the first item, and after


def test_a_stream_without_trouble_passes_through(read, waits):
    """Every item once, in order, from one call."""
    source = Source([1, 2, 3])
    assert read(source, sleep=waits) == ([1, 2, 3], None)
    assert source.calls == 1
    assert waits == []


def test_a_failure_before_the_first_item_is_retried_unseen(read, waits):
    """An error raised while iterating is inside the retry, not only one raised on creation."""  # A52
    source = Source([ConnectionError()], [ConnectionError()], [1, 2])
    assert read(source, backoff=QUICK, sleep=waits) == ([1, 2], None)
    assert waits == [0.1, 0.2]
    assert source.open == 0


def test_after_the_first_item_the_error_passes(read, waits):
    """Nothing is handed out twice: the error comes out, and says what was delivered."""  # A52
    broken = ConnectionResetError("cut")
    source = Source([1, 2, broken], [1, 2, 3])
    got, error = read(source, sleep=waits)
    assert got == [1, 2]
    assert error is broken
    assert source.calls == 1
    report = report_of(error)
    assert report.delivered == (1, 2)
    assert "cannot be taken back" in report.limit
    assert any("cannot be taken back" in note for note in error.__notes__)


def test_an_error_for_good_in_mid_stream_carries_what_was_delivered(read, waits):
    """A verdict that asks for no retry changes nothing about that."""
    got, error = read(Source([1, ValueError("no such model")]), sleep=waits)
    assert (got, type(error)) == ([1], ValueError)
    assert report_of(error).delivered == (1,)


def test_an_error_for_good_before_the_first_item_comes_out_as_it_is(read, waits):
    """No note, no wait, no second call."""  # A38
    error = ValueError("wrong")
    source = Source([error])
    assert read(source, sleep=waits) == ([], error)
    assert source.calls == 1
    assert not hasattr(error, "__notes__")


def test_an_empty_stream_is_a_result(read, waits):
    """Nothing is retried because nothing came."""  # A52
    source = Source([], [1])
    assert read(source, sleep=waits) == ([], None)
    assert source.calls == 1


def test_an_empty_stream_is_a_failure_where_the_user_says_so(read, waits):
    """`retry_if_result` of tenacity sees the list of items."""  # A52
    source = Source([], [], [1])
    empty = tenacity.retry_if_result(lambda items: not items)
    assert read(source, retry=empty, wait=tenacity.wait_fixed(3), sleep=waits) == ([1], None)
    assert waits == [3, 3]


def test_retries_of_a_stream_end(read, waits):
    """`max_retries` counts streams as it counts calls."""  # A7
    error = ConnectionError()
    source = Source([error])
    assert read(source, max_retries=2, sleep=waits) == ([], error)
    assert source.calls == 3
    assert len(waits) == 2


def test_a_first_attempt_that_is_watched_reads_the_same(read, waits):
    """A breaker, a deadline or a `before=` change nothing about what is handed out."""
    seen = []
    source = Source([ConnectionError()], [1, 2, 3])
    options = {"before": seen.append, "breaker": CircuitBreaker(), "deadline": 60.0}
    assert read(source, backoff=QUICK, sleep=waits, **options) == ([1, 2, 3], None)
    assert len(seen) == 2


# commit_when


def test_items_are_held_back_until_the_stream_counts_as_begun(read, waits):
    """A failure before `commit_when` says yes throws them away, and the consumer sees no seam."""
    source = Source(["", "", ConnectionError()], ["", "a", "b"])
    got, error = read(source, commit_when=bool, backoff=QUICK, sleep=waits)
    assert (got, error) == (["", "a", "b"], None)
    assert source.calls == 2


def test_a_stream_that_ends_before_it_counts_as_begun_is_handed_out(read, waits):
    """What was held back is the answer."""
    assert read(Source(["", ""]), commit_when=bool, sleep=waits) == (["", ""], None)


def test_after_the_commit_the_error_passes(read, waits):
    """From there on it is a stream that had begun."""
    got, error = read(Source(["", "a", ConnectionError()]), commit_when=bool, sleep=waits)
    assert got == ["", "a"]
    assert report_of(error).delivered == ("", "a")


def test_what_was_held_back_is_not_delivered(read, waits):
    """An error that ends the call names what the consumer has, not what he never saw."""
    got, error = read(Source(["", ConnectionError()]), commit_when=bool, max_retries=1, sleep=waits)
    assert got == []
    assert report_of(error).delivered == ()


@pytest.mark.anyio
async def test_an_async_source_is_closed_where_commit_when_raises():
    """Its error comes out; by then nothing is open any more."""
    told = []

    @resilient(commit_when=lambda item: item["role"])
    async def chunks():
        try:
            yield {"usage": 1}
        finally:
            await anyio.lowlevel.checkpoint()
            told.append("closed")

    with pytest.raises(KeyError):
        await anext(chunks())
    assert told == ["closed"]


# resume


class Words:
    """Streams the words of a text from a place on, and breaks where it is told to."""

    def __init__(self, *cuts):
        self.text = ["one", "two", "three", "four", "five", "six"]
        self.cuts = list(cuts)
        self.starts = []

    def __call__(self, start=0):
        self.starts.append(start)
        cut = self.cuts.pop(0) if self.cuts else len(self.text)
        for n, word in enumerate(self.text[start:], start):
            if n == cut:
                raise ConnectionResetError("cut")
            yield word


def after(partial, call):
    return {"start": len(partial)}


def test_resume_goes_on_where_the_stream_broke(read, waits):
    """The text is whole, and no word appears twice."""
    words = Words(2, 4)
    got, error = read(words, resume=after, backoff=QUICK, sleep=waits)
    assert (got, error) == (words.text, None)
    assert words.starts == [0, 2, 4]
    assert waits == [0.1, 0.2]


def test_a_resumed_stream_is_retried_with_its_new_arguments(read, waits):
    """A failure before its first item repeats the resumed call, not the first one."""
    words = Words(2, 2, 6)
    assert read(words, resume=after, backoff=QUICK, sleep=waits) == (words.text, None)
    assert words.starts == [0, 2, 2]


def test_resume_may_give_positional_arguments(read, waits):
    """`(args, kwargs)` takes the place of both."""
    words = Words(3)
    assert read(words, resume=lambda partial, call: ((len(partial),), {}), sleep=waits) == (words.text, None)


@pytest.mark.parametrize("given", [((0,), {}), ((), {"start": 0}), ((), {})], ids=["by place", "by name", "left out"])
def test_resume_changes_an_argument_by_name(waits, given):
    """However the call gave it, and again each time that the stream breaks."""
    words = Words(2, 4)

    @resilient(resume=after, sleep=waits)
    def stream(start=0):
        yield from words(start)

    args, kwargs = given
    assert list(stream(*args, **kwargs)) == words.text
    assert words.starts == [0, 2, 4]


def test_resume_finds_the_arguments_given_as_they_were(waits):
    """What it changed by name is where it was for the next one that is asked."""
    seen = []

    def resume(partial, call):
        seen.append((call.args, call.kwargs))
        return {"start": len(partial), "pace": 2}

    words = Words(2, 4)

    @resilient(resume=resume, sleep=waits)
    def stream(text, start, *, pace=1):
        yield from words(start)

    assert list(stream("why?", start=0)) == words.text
    assert seen == [(("why?",), {"start": 0}), (("why?",), {"start": 2, "pace": 2})]


def test_resume_may_decline(read, waits):
    """None lets the error pass, with what was delivered."""
    got, error = read(Words(2), resume=lambda partial, call: None, sleep=waits)
    assert got == ["one", "two"]
    assert report_of(error).delivered == ("one", "two")
    assert "gave no arguments" in report_of(error).limit
    assert waits == []


@pytest.mark.parametrize(
    "resume", [lambda partial, call: 1 / 0, lambda partial, call: "three"], ids=["raises", "no arguments"]
)
def test_a_broken_resume_does_not_hide_the_error(read, waits, caplog, resume):
    """The stream's own error comes out; what was wrong with `resume` is on its report and in the log."""
    _got, error = read(Words(2), resume=resume, sleep=waits)
    assert isinstance(error, ConnectionResetError)
    assert "resume= raised" in report_of(error).limit
    assert any("Error" in getattr(record, "raised", "") for record in caplog.records)


def test_resume_is_not_asked_for_an_error_for_good(read, waits):
    """What is not worth a retry is not worth a resumption."""
    asked = []
    got, error = read(Source([1, ValueError("wrong")]), resume=lambda *it: asked.append(it), sleep=waits)
    assert (got, type(error), asked) == ([1], ValueError, [])


def test_resumptions_count_as_retries(read, waits):
    """A stream that breaks again and again ends."""
    source = Source([1, ConnectionError()])
    got, error = read(source, resume=lambda partial, call: {}, max_retries=3, sleep=waits)
    assert got == [1, 1, 1, 1]
    assert source.calls == 4
    assert report_of(error).limit == "max_retries=3"


@pytest.mark.anyio
async def test_resume_may_be_a_coroutine_function(async_waits):
    """It may look things up before it says how to go on."""
    words = Words(2)

    async def resume(partial, call):
        await anyio.lowlevel.checkpoint()
        return {"start": len(partial)}

    @resilient(resume=resume, sleep=async_waits)
    async def stream(start=0):
        for word in words(start):
            yield word

    assert [word async for word in stream()] == words.text


# Fallback


class TooLong(Exception):
    code = "context_length_exceeded"


def test_a_rung_answers_where_the_stream_cannot_begin(read, waits):
    """DEGRADED before the first item: the next rung streams."""

    def smaller(*args, **kwargs):
        yield "small"

    async def smaller_async(*args, **kwargs):
        yield "small"

    rung = smaller if read is plain else smaller_async
    assert read(Source([TooLong("too long")]), fallback=rung, sleep=waits) == (["small"], None)


def test_a_rung_never_begins_a_stream_anew(read, waits):
    """After the first item there is no fallback: the consumer would read two beginnings."""
    called = []

    def smaller():
        called.append(1)
        yield "small"

    async def smaller_async():
        called.append(1)
        yield "small"

    rung = smaller if read is plain else smaller_async
    got, error = read(Source([1, TooLong("too long")]), fallback=Rung(rung), sleep=waits)
    assert (got, type(error), called) == ([1], TooLong, [])


def test_a_rung_of_another_kind_is_refused():
    """A stream needs streams as rungs, of its own colour."""

    def no_stream():
        return 1

    def plain_stream():
        yield 1

    with pytest.raises(TypeError, match="generator function as well"):

        @resilient(fallback=no_stream)
        def stream():
            yield 1

    with pytest.raises(TypeError, match="an async generator function as well"):

        @resilient(fallback=plain_stream)
        async def async_stream():
            yield 1


# Limits of time


@pytest.mark.anyio
async def test_a_first_item_that_does_not_come_is_retried(async_waits):
    """`first_item_timeout` ends the attempt with a TimeoutError, which is tried again."""  # A4
    tries = []

    @resilient(first_item_timeout=0.05, sleep=async_waits)
    async def stream():
        tries.append(1)
        if len(tries) == 1:
            await anyio.sleep(30)
        yield "there"

    assert [item async for item in stream()] == ["there"]
    assert len(tries) == 2


@pytest.mark.anyio
async def test_an_item_that_does_not_come_ends_the_stream(async_waits):
    """`item_timeout` between two items: an AttemptTimeout with what was delivered."""

    @resilient(item_timeout=0.05, sleep=async_waits)
    async def stream():
        yield 1
        await anyio.sleep(30)
        yield 2

    got = []
    with pytest.raises(AttemptTimeout, match=r"the next item took longer than 0.05 s") as caught:
        async for item in stream():
            got.append(item)
    assert got == [1]
    assert report_of(caught.value).delivered == (1,)


def test_the_consumers_time_counts_for_no_item_and_no_attempt(virtually):
    """Who reads slowly is not punished for it."""  # A55

    @resilient(item_timeout=0.05, timeout=0.1)
    async def stream():
        for n in range(4):
            yield n

    async def main():
        got = []
        async for item in stream():
            got.append(item)
            await anyio.sleep(0.07)
        return got

    assert virtually(main) == ([0, 1, 2, 3], 0.28)


def test_a_timeout_bounds_the_streams_own_time(virtually):
    """`timeout=` is for a whole attempt, over all its items."""
    got = []

    @resilient(timeout=0.1, max_retries=0)
    async def stream():
        for n in range(100):
            await anyio.sleep(0.03)
            yield n

    async def main():
        async for item in stream():
            got.append(item)

    came, took = virtually(main)
    assert (type(came), took) == (AttemptTimeout, 0.1)
    assert got == [0, 1, 2]


@pytest.mark.anyio
async def test_the_deadline_interrupts_a_stream(async_waits):
    """The total time covers all attempts."""  # A23

    @resilient(deadline=0.1, sleep=async_waits)
    async def stream():
        await anyio.sleep(30)
        yield 1

    with pytest.raises(DeadlineExceeded):
        async for _ in stream():
            pass


@pytest.mark.parametrize("setting", ["timeout", "first_item_timeout", "item_timeout"])
def test_a_plain_stream_cannot_keep_a_timeout(setting):
    """It is refused at decoration, with the reason."""
    with pytest.raises(TypeError, match=f"{setting} cannot be kept by .*nothing can stop a thread"):

        @resilient(**{setting: 5})
        def stream():
            yield 1


@pytest.mark.parametrize("setting", ["commit_when", "resume", "first_item_timeout", "item_timeout"])
def test_settings_of_streams_are_refused_for_other_functions(setting):
    """`commit_when=` on a function that returns is a mistake, and said at once."""
    value = 5 if "timeout" in setting else bool
    with pytest.raises(TypeError, match=f"{setting} is for streams"):

        @resilient(**{setting: value})
        async def ask():
            return 1


# What a generator is


def generator():
    """A stream."""
    yield 1


async def async_generator(start: int, /, *, step: int = 1):
    """An async stream."""
    yield start


class Streaming:
    def __call__(self):
        yield 1

    @resilient
    def method(self, n):
        yield from range(n)

    @resilient
    async def async_method(self, n):
        for i in range(n):
            yield i


@pytest.mark.parametrize(
    "stream", [generator, functools.partial(generator), Streaming()], ids=["function", "partial", "object"]
)
def test_a_generator_stays_one(stream):
    """`inspect` sees a generator function, and it works."""  # A49
    decorated = resilient(stream)
    assert inspect.isgeneratorfunction(decorated)
    assert list(decorated()) == [1]


def test_an_async_generator_stays_one_with_its_name_and_signature():
    """Kind, name, doc, signature and `__wrapped__` survive."""  # A49
    decorated = resilient(async_generator)
    assert inspect.isasyncgenfunction(decorated)
    assert decorated.__name__ == "async_generator"
    assert decorated.__doc__ == "An async stream."
    assert decorated.__wrapped__ is async_generator
    assert inspect.signature(decorated) == inspect.signature(async_generator)


@pytest.mark.anyio
async def test_methods_stream():
    """Decorated methods know their object."""  # A49
    assert list(Streaming().method(3)) == [0, 1, 2]
    assert [i async for i in Streaming().async_method(3)] == [0, 1, 2]


def test_an_unstarted_stream_makes_no_call():
    """Nothing is called before the first item is asked for, and closing it then is fine."""  # A50
    source = Source([1])
    stream = resilient(source.__call__)()
    assert source.calls == 0
    stream.close()
    assert source.calls == 0


def test_a_generators_return_value_comes_out(waits):
    """`yield from` a decorated generator gives what the last attempt returned."""
    tries = []

    @resilient(sleep=waits)
    def stream():
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        yield 1
        return "the end"

    def outer():
        value = yield from stream()
        yield value

    assert list(outer()) == [1, "the end"]


# Sending, throwing, leaving


def echo(log):
    try:
        got = yield "first"
        while True:
            log.append(got)
            try:
                got = yield got
            except KeyError as error:
                got = yield f"dealt with {error.args[0]}"
    finally:
        log.append("closed")


@pytest.mark.parametrize("options", [{}, {"deadline": 60}], ids=["direct", "watched"])
def test_what_is_sent_and_thrown_reaches_the_source(options):
    """send, throw and close are the inner generator's."""  # A53
    log = []
    stream = resilient(**options)(echo)(log)
    assert next(stream) == "first"
    assert stream.send("a") == "a"
    assert stream.throw(KeyError("b")) == "dealt with b"
    assert stream.send("c") == "c"
    stream.close()
    assert log == ["a", "c", "closed"]


@pytest.mark.parametrize("options", [{}, {"deadline": 60}], ids=["direct", "watched"])
@pytest.mark.anyio
async def test_what_is_sent_and_thrown_reaches_the_async_source(options):
    """asend, athrow and aclose are the inner generator's."""  # A53
    log = []

    @resilient(**options)
    async def stream():
        source = echo(log)
        try:
            got = yield next(source)
            while True:
                try:
                    got = yield source.send(got)
                except KeyError as error:
                    got = yield source.throw(error)
        finally:
            source.close()

    running = stream()
    assert await anext(running) == "first"
    assert await running.asend("a") == "a"
    assert await running.athrow(KeyError("b")) == "dealt with b"
    assert await running.asend("c") == "c"
    await running.aclose()
    await running.aclose()
    assert log == ["a", "c", "closed"]


@pytest.mark.parametrize("options", [{}, {"deadline": 60}], ids=["direct", "watched"])
def test_what_the_consumer_throws_is_not_retried(options, waits):
    """His ConnectionError is his own."""  # A53
    source = Source([1, 2])
    stream = resilient(sleep=waits, **options)(source.__call__)()
    assert next(stream) == 1
    error = ConnectionError()
    with pytest.raises(ConnectionError) as caught:
        stream.throw(error)
    assert caught.value is error
    assert (source.calls, waits) == (1, [])
    assert not hasattr(error, "__notes__")


@pytest.mark.anyio
async def test_a_source_may_end_after_a_throw(async_waits):
    """It took the hint: the stream is over, and no RuntimeError comes of it."""

    @resilient(sleep=async_waits)
    async def stream():
        try:
            yield 1
        except KeyError:
            return

    running = stream()
    assert await anext(running) == 1
    with pytest.raises(StopAsyncIteration):
        await running.athrow(KeyError())


@pytest.mark.parametrize("options", [{}, {"deadline": 60}], ids=["direct", "watched"])
@pytest.mark.anyio
async def test_leaving_early_closes_the_source_before_anything_else(options):
    """After `aclose` the inner generator's `finally` has run, awaits included."""  # A50
    closed = []

    @resilient(**options)
    async def stream():
        try:
            for n in range(10):
                yield n
        finally:
            await anyio.lowlevel.checkpoint()
            closed.append(True)

    running = stream()
    async for item in running:
        if item == 2:
            break
    await running.aclose()
    assert closed == [True]


@pytest.mark.anyio
async def test_the_source_is_closed_before_the_next_attempt():
    """A response body never overlaps the next request."""  # A50, A56
    log = []

    @resilient(
        sleep=anyio.sleep, backoff=BackoffConfig(base_delay_ms=0, max_delay_ms=0), commit_when=lambda item: item == "b"
    )
    async def stream():
        log.append("opened")
        try:
            yield "a"
            if len(log) == 1:
                raise ConnectionError
            yield "b"
        finally:
            await anyio.lowlevel.checkpoint()
            log.append("closed")

    assert [item async for item in stream()] == ["a", "b"]
    assert log == ["opened", "closed", "opened", "closed"]


@pytest.mark.anyio
async def test_an_item_timeout_closes_the_source_before_the_next_attempt(async_waits):
    """A stream that hangs is over before another is opened."""  # A56
    log = []

    @resilient(first_item_timeout=0.05, sleep=async_waits)
    async def stream():
        log.append("opened")
        try:
            if len(log) == 1:
                await anyio.sleep(30)
            yield "a"
        finally:
            log.append("closed")

    assert [item async for item in stream()] == ["a"]
    assert log == ["opened", "closed", "opened", "closed"]


@pytest.mark.anyio
async def test_a_cancelled_stream_closes_its_source():
    """Cancellation passes untouched, nothing is tried again, and the source's `finally` may await."""  # A1, A50
    log = []

    @resilient(retry=tenacity.retry_always)
    async def stream():
        log.append("opened")
        try:
            yield 1
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            log.append("closed")

    got = []
    with anyio.CancelScope() as scope:
        async for item in stream():
            got.append(item)
    assert scope.cancelled_caught
    assert got == [1]
    assert log == ["opened", "closed"]


@pytest.mark.anyio
async def test_a_stream_cancelled_while_it_is_fetched_counts_as_cancelled():
    """Its report says so, though some items had come."""

    @resilient(deadline=60)
    async def stream():
        yield 1
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with aclosing(stream()) as running:
            async for _ in running:
                pass
    assert stream.call_report().outcome == "cancelled"


@pytest.mark.anyio
async def test_a_stream_that_its_consumer_leaves_has_succeeded():
    """Who breaks off has had what he wanted: breaker and budget hear of an answer."""
    breaker = CircuitBreaker(consecutive_failures=1, open_for=0.001)

    @resilient(breaker=breaker, max_retries=0)
    async def stream(fail):
        if fail:
            raise ConnectionError
        yield 1
        yield 2

    with pytest.raises(ConnectionError):
        async for _ in stream(True):
            pass
    await anyio.sleep(0.01)
    async with aclosing(stream(False)) as running:
        async for _ in running:
            break
    assert breaker.state == "closed"
    assert stream.call_report().outcome == "succeeded"


@pytest.mark.anyio
async def test_aclose_from_another_task_works():
    """Nothing is held over a yield that belongs to one task: no scope, no context."""  # A54

    @resilient(timeout=30, item_timeout=30, deadline=30)
    async def stream():
        yield 1
        yield 2

    running = stream()
    assert await anext(running) == 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.aclose)
    with pytest.raises(StopAsyncIteration):
        await anext(running)


@pytest.mark.anyio
async def test_items_fetched_in_different_contexts_do_not_meet():
    """A context variable set by the consumer between two items is seen by the source, and no token is left."""  # A54
    shade = contextvars.ContextVar("shade", default="none")

    @resilient(deadline=30)
    async def stream():
        while True:
            yield shade.get()

    running = stream()
    assert await anext(running) == "none"
    shade.set("blue")
    assert await anext(running) == "blue"
    await running.aclose()


@pytest.mark.parametrize(
    "retry", [tenacity.retry_always, tenacity.retry_if_exception(lambda error: True)], ids=["always", "lambda"]
)
def test_no_generator_exit_is_ignored(retry):
    """A predicate that catches everything never sees the consumer leave."""  # A51
    stream = resilient(retry=retry, max_retries=3)(Source([1, 2]).__call__)()
    assert next(stream) == 1
    stream.close()
    stream.close()


@pytest.mark.parametrize("options", [{}, {"deadline": 30}, {"item_timeout": 30}, {"commit_when": bool}], ids=str)
def test_a_stream_that_nobody_closes_is_closed_with_its_loop(options):
    """The shutdown of asyncio closes what a `break` left open, without a complaint."""  # A51
    log, complaints = [], []

    @resilient(**options)
    async def stream():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        for _ in range(9):  # it closes them in any order
            left_open.append(stream())
            await anext(left_open[-1])

    left_open = []
    asyncio.run(main())
    assert (log, complaints) == (["closed"] * 9, [])


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{}, {"deadline": 30}], ids=str)
async def test_whoever_hears_of_new_generators_hears_of_a_stream_once(options):
    """Of ours, which closes the function's own; and of those that begin after it as before."""  # A51
    heard, before = [], sys.get_asyncgen_hooks()

    async def other():
        yield 1

    @resilient(**options)
    async def stream():
        async for item in other():
            yield item
        yield 2

    sys.set_asyncgen_hooks(firstiter=lambda generator: heard.append(generator.__name__))
    try:
        assert [item async for item in stream()] == [1, 2]
    finally:
        sys.set_asyncgen_hooks(*before)
    assert heard == ["stream", "other"]


def test_nothing_of_a_stream_lives_on(waits):
    """With the collector off, an item dies when the consumer lets go of it, also after a retry and a throw."""  # A41

    class Item:
        pass

    tries = []

    @resilient(sleep=waits)
    def stream():
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        yield Item()
        yield Item()

    gc.collect()
    gc.disable()
    try:
        running = stream()
        item = next(running)
        dead = weakref.ref(item)
        with pytest.raises(KeyError):
            running.throw(KeyError())
        del item, running
        assert dead() is None
    finally:
        gc.enable()


def test_a_switched_off_stream_is_the_source_itself(waits):
    """`enabled=False`: one call, no retry, no note."""
    source = Source([ConnectionError()])
    stream = resilient(enabled=False, sleep=waits)(source.__call__)
    with pytest.raises(ConnectionError) as caught:
        list(stream())
    assert (source.calls, waits) == (1, [])
    assert not hasattr(caught.value, "__notes__")


def test_wrong_arguments_are_no_failure_of_the_model(waits):
    """A TypeError for arguments that do not fit comes out at once."""  # A62
    stream = resilient(sleep=waits)(generator)
    with pytest.raises(TypeError):
        list(stream(1, 2))
    assert waits == []


@pytest.mark.parametrize("raised", [StopIteration, StopAsyncIteration])
def test_a_commit_when_that_stops_is_not_taken_for_the_end_of_the_stream(raised):
    """Items that are still to come would be lost without a word."""

    def began(_):
        raise raised

    @resilient(commit_when=began, max_retries=0)
    def stream():
        yield "a"
        yield "b"

    with pytest.raises(RuntimeError, match=f"commit_when= raised {raised.__name__}"):
        list(stream())
