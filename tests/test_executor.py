"""`RetryExecutor`, as code that was written for the reference calls it."""

import functools
import inspect
import logging

import anyio
import pytest
import tenacity

from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType, RetryExecutor, resilient

pytestmark = pytest.mark.anyio

# Nobody waits in these tests: the classifier says so.
AT_ONCE = BackoffConfig(base_delay_ms=0, max_delay_ms=0, max_retries=3)


class AtOnce(ErrorClassifier):
    """The real verdicts, without their waits."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def classify(self, error):
        self.asked.append(error)
        return super().classify(error).error_type, AT_ONCE


class Script:
    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.given = []

    def __call__(self, *args, **kwargs):
        outcome = self.outcomes[min(len(self.given), len(self.outcomes) - 1)]
        self.given.append((args, kwargs))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def later(self, *args, **kwargs):
        await anyio.lowlevel.checkpoint()
        return self(*args, **kwargs)


@pytest.fixture
def executor():
    return RetryExecutor(AtOnce())


@pytest.fixture(params=["coroutine function", "plain function"])
def colour(request):
    """A script as a function of either colour."""
    return (lambda script: script.later) if request.param.startswith("coroutine") else (lambda script: script)


async def test_it_gives_the_result(executor, colour):
    """A function that succeeds is called once, and its result comes out."""
    script = Script("answer")
    assert await executor.execute_with_retry(colour(script)) == "answer"
    assert len(script.given) == 1


async def test_arguments_are_handed_on_at_every_attempt(executor, colour):
    """Positional and keyword arguments reach the function each time."""
    script = Script(TimeoutError(), "answer")
    assert await executor.execute_with_retry(colour(script), 1, 2, model="small", stream=False) == "answer"
    assert script.given == [((1, 2), {"model": "small", "stream": False})] * 2


async def test_it_takes_whatever_can_be_called(executor):
    """Lambdas that give a coroutine, partials and bound methods will do."""
    script = Script(TimeoutError(), "answer")
    assert await executor.execute_with_retry(lambda: script.later()) == "answer"  # noqa: PLW0108
    assert await executor.execute_with_retry(functools.partial(script.later, 1)) == "answer"


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 8])
async def test_the_number_of_retries_really_limits(executor, colour, number):
    """`max_retries=n` makes n + 1 calls, for every n."""  # A7: the reference always made three
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        await executor.execute_with_retry(colour(script), max_retries=number)
    assert len(script.given) == number + 1


async def test_without_a_number_the_kind_of_failure_decides(executor):
    """When `max_retries` is not given, the backoff's own number counts."""
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        await executor.execute_with_retry(script)
    assert len(script.given) == 4


async def test_what_is_not_retryable_stops_at_once(executor, colour):
    """A failure that no retry mends is called once, and comes out as it is."""
    error = KeyError("choices")
    script = Script(error)
    with pytest.raises(KeyError) as caught:
        await executor.execute_with_retry(colour(script), max_retries=5)
    assert caught.value is error
    assert len(script.given) == 1


@pytest.mark.parametrize("kind", [ErrorType.DEGRADED, ErrorType.FATAL])
async def test_degraded_and_fatal_are_answered(kind):
    """The two types that the reference never answered stop the call."""

    class Says(ErrorClassifier):
        def classify(self, error):  # noqa: ARG002
            return kind, AT_ONCE

    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        await RetryExecutor(Says()).execute_with_retry(script)
    assert len(script.given) == 1


async def test_the_hook_is_told_before_each_wait(executor, colour):
    """`on_retry(attempt, error, delay)` is told each retry, and not the last failure."""  # A8
    told, errors = [], [TimeoutError("a"), TimeoutError("b"), TimeoutError("c")]
    with pytest.raises(TimeoutError):
        await executor.execute_with_retry(colour(Script(*errors)), max_retries=2, on_retry=lambda *it: told.append(it))
    assert told == [(1, errors[0], 0), (2, errors[1], 0)]


async def test_the_hook_may_be_asynchronous(executor, colour):
    """A coroutine function is awaited, for functions of both colours."""
    told = []

    async def hook(attempt, error, delay):
        await anyio.lowlevel.checkpoint()
        told.append(attempt)

    assert await executor.execute_with_retry(colour(Script(TimeoutError(), "answer")), on_retry=hook) == "answer"
    assert told == [1]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_hook_that_raises_changes_nothing(executor, caplog, asynchronous):
    """The result comes out, and the log tells about the hook."""  # A43

    def broken(*_):
        raise RuntimeError("the hook is broken")

    async def broken_later(*_):
        raise RuntimeError("the hook is broken")

    hook = broken_later if asynchronous else broken
    assert await executor.execute_with_retry(Script(TimeoutError(), "answer"), on_retry=hook) == "answer"
    assert any(record.levelno == logging.ERROR and "RuntimeError" in record.raised for record in caplog.records)


def test_the_wait_is_the_event_loops(beside):
    """Nothing blocks: another task goes on while a plain function is waited for."""  # A13
    script, slow = Script(TimeoutError(), "answer"), ErrorClassifier()
    backoff = BackoffConfig(base_delay_ms=100, jitter=0)

    class Slow(ErrorClassifier):
        def classify(self, error):
            return slow.classify(error).error_type, backoff

    ask = functools.partial(RetryExecutor(Slow()).execute_with_retry, script)
    assert beside(ask) == ("answer", 0.1, [0, 0.03, 0.06, 0.09])


async def test_cancellation_is_obeyed(executor):
    """A cancellation by the caller ends the call and its waits."""  # A1
    script = Script(TimeoutError())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await RetryExecutor().execute_with_retry(script, max_retries=50)
    assert scope.cancelled_caught
    assert len(script.given) == 1


async def test_one_executor_serves_many_calls():
    """Calls of one executor at the same time have their own counts and limits."""
    classifier = AtOnce()
    executor, found = RetryExecutor(classifier), []

    async def work(failures):
        script = Script(*[TimeoutError()] * failures, failures)
        result = await executor.execute_with_retry(script.later, max_retries=failures)
        found.append((result, len(script.given)))

    async with anyio.create_task_group() as tasks:
        for failures in range(10):
            tasks.start_soon(work, failures)
    assert sorted(found) == [(failures, failures + 1) for failures in range(10)]
    assert len(classifier.asked) == sum(range(10))


async def test_without_a_classifier_it_judges_like_the_decorator():
    """`RetryExecutor()` needs nothing, and passes on what is not retryable."""
    assert await RetryExecutor().execute_with_retry(Script("answer")) == "answer"
    with pytest.raises(ValueError, match="ours"):
        await RetryExecutor().execute_with_retry(Script(ValueError("ours")))


async def test_try_again_is_tried_again(executor):
    """A function may ask for another attempt in tenacity's way."""
    assert await executor.execute_with_retry(Script(tenacity.TryAgain(), "answer")) == "answer"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": 1.5}, TypeError, "max_retries"),
        ({"on_retry": "print"}, TypeError, "on_retry"),
    ],
    ids=str,
)
async def test_wrong_arguments_are_refused_before_the_call(executor, call, error, message):
    """What is wrong is named, and the function is not called."""
    script = Script("answer")
    with pytest.raises(error, match=message):
        await executor.execute_with_retry(script, **call)
    assert script.given == []


async def test_what_cannot_be_called_is_refused(executor):
    """A coroutine in place of its function is a TypeError: it could be awaited only once."""
    coroutine = Script("answer").later()
    try:
        with pytest.raises(TypeError, match="function"):
            await executor.execute_with_retry(coroutine)
    finally:
        coroutine.close()


async def test_a_wrong_classifier_is_refused():
    """The TypeError names the argument."""
    with pytest.raises(TypeError, match="classifier"):
        RetryExecutor("all of it")


async def test_it_is_a_coroutine_function_with_the_references_arguments():
    """`execute_with_retry(fn, *args, max_retries=None, on_retry=None, **kwargs)`, awaited."""
    assert inspect.iscoroutinefunction(RetryExecutor.execute_with_retry)
    parameters = inspect.signature(RetryExecutor.execute_with_retry).parameters
    assert list(parameters) == ["self", "fn", "args", "max_retries", "on_retry", "kwargs"]
    assert parameters["max_retries"].default is parameters["on_retry"].default is None


@pytest.mark.anyio
async def test_many_calls_leave_the_statistics_of_others_alone(async_waits):
    """However many calls are made here, a decorated function still knows the numbers of its own last one."""
    answers = iter([TimeoutError(), "answer"])

    @resilient(sleep=async_waits)
    async def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def fails():
        raise ValueError("for good")

    assert await ask() == "answer"
    for _ in range(100):
        with pytest.raises(ValueError, match="for good"):
            await RetryExecutor().execute_with_retry(fails)
    assert ask.statistics["attempt_number"] == 2


class Limited(Exception):
    """As an SDK raises it."""

    status_code = 429

    def __init__(self):
        super().__init__("slow down")
        self.headers = {"retry-after": "10"}


class Server:
    """Refuses the first request, and knows when each came in."""

    def __init__(self):
        self.came = []

    async def ask(self, _):
        self.came.append(anyio.current_time())
        if len(self.came) == 1:
            raise Limited


async def one_then_nine(calls):
    """One call, and a second later nine others."""
    first, *others = calls
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await anyio.sleep(1)
        for other in others:
            tasks.start_soon(other)


@pytest.mark.parametrize("given", ["method", "partial"])
def test_calls_of_one_function_wait_for_a_limit_together(virtually, given):
    """Nobody else finds out alone: they all come after the time that the server named to the first one."""
    server, executor = Server(), RetryExecutor()

    def call():
        if given == "partial":  # another object each time
            return functools.partial(executor.execute_with_retry, functools.partial(server.ask, "why?"))
        return functools.partial(executor.execute_with_retry, server.ask, "why?")

    virtually(functools.partial(one_then_nine, [call() for _ in range(10)]))
    assert len(server.came) == 11
    assert min(server.came[1:]) >= server.came[0] + 10


def test_calls_of_other_functions_and_other_executors_do_not_wait(virtually):
    """A limit that one function met says nothing of another one, nor of another executor's calls."""
    server, executor = Server(), RetryExecutor()
    others = [Server() for _ in range(8)]
    for other in others:
        other.came.append(0.0)  # not its first request: it answers
    calls = [
        functools.partial(executor.execute_with_retry, ask, "why?") for ask in [server.ask] + [o.ask for o in others]
    ]
    calls.append(functools.partial(RetryExecutor().execute_with_retry, server.ask, "why?"))

    virtually(functools.partial(one_then_nine, calls))
    begun = server.came[0]
    assert [round(other.came[1] - begun) for other in others] == [1] * 8
    assert [round(at - begun) for at in server.came] == [0, 1, 10]


async def test_a_stream_is_refused(executor):
    """It would come back as it is, and nobody would retry it."""

    def tokens():
        yield "a"

    async def tokens_later():
        yield "a"

    for stream in (tokens, tokens_later, functools.partial(tokens)):
        with pytest.raises(TypeError, match=r"tokens.* is a stream.*decorate it"):
            await executor.execute_with_retry(stream)
