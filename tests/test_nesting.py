"""Retries in layers: a decorated function inside another one, an SDK inside both. They share, and do not multiply."""

import contextlib
import functools
import itertools
import logging
import time
import warnings

import anyio
import anyio.lowlevel
import openai
import pytest
import tenacity

from resilient_agent import (
    BackoffConfig,
    CallReport,
    CircuitBreaker,
    CircuitOpen,
    ErrorClassifier,
    RetryExecutor,
    attempts,
    report_of,
    resilient,
)
from resilient_agent._below import requests_below
from resilient_agent._call import Call
from resilient_agent._control import Controller
from resilient_agent.report import attach
from resilient_agent.testing import FakeLLM, Status, no_waiting


class Script:
    """Failures in turn, the last one for ever, or an answer; counts."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self):
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@contextlib.contextmanager
def recorded():
    """As `no_waiting` has it for a user who hands in a `sleep=`: calls are watched from their first failure on only."""
    yield []


def plain(script, *layers, waiting=no_waiting):
    with waiting() as waits:
        ask = script
        for depth, layer in enumerate(reversed(layers)):
            ask = resilient(**layer, **unless_ruled(waiting, waits.append))(around(ask, depth))
        try:
            return ask(), waits
        except Exception as error:
            return error, waits


def unless_ruled(waiting, sleep):
    return {} if waiting is no_waiting else {"sleep": sleep}


def around(ask, depth):
    def layer():
        return ask()

    layer.__qualname__ = f"layer {depth}"
    return layer


def in_loop(backend, script, *layers, waiting=no_waiting):
    async def ask():
        await anyio.lowlevel.checkpoint()
        return script()

    async def main():
        nonlocal ask
        with waiting() as waits:
            for depth, layer in enumerate(reversed(layers)):
                ask = resilient(**layer, **unless_ruled(waiting, waits.append))(async_around(ask, depth))
            try:
                return await ask(), waits
            except Exception as error:
                return error, waits

    return anyio.run(main, backend=backend)


def async_around(ask, depth):
    async def layer():
        return await ask()

    layer.__qualname__ = f"layer {depth}"
    return layer


def named(param):
    return f"{param[0]}, {param[1].__name__}"


@pytest.fixture(params=itertools.product(["plain", "asyncio", "trio"], [no_waiting, recorded]), ids=named)
def nest(request):
    """Call a script below layers of `@resilient`, the outermost first: what came out, and the waits of all."""
    colour, waiting = request.param
    call = plain if colour == "plain" else functools.partial(in_loop, colour)
    return functools.partial(call, waiting=waiting)


def retries(number):
    return {"max_retries": number}


# A decorated function inside another one


def test_three_times_three_is_not_nine(nest):
    """Two layers of three attempts make three requests."""  # A58
    script = Script(ConnectionResetError("cut"))
    error, waits = nest(script, retries(2), retries(2))
    assert error is script.outcomes[0]
    assert (script.calls, len(waits)) == (3, 2)


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product([0, 1, 2, 5], repeat=2)))
def test_two_layers_make_as_many_requests_as_the_larger_one(nest, outer, inner):
    """Whatever the numbers: never their product, and never fewer than either."""  # A58
    script = Script(ConnectionResetError("cut"))
    nest(script, retries(outer), retries(inner))
    assert script.calls == max(outer, inner) + 1


def test_neither_do_three_layers_multiply(nest):
    """The count goes through all of them."""  # A58
    script = Script(ConnectionResetError("cut"))
    nest(script, retries(2), retries(2), retries(2))
    assert script.calls == 3


def test_a_function_decorated_twice_does_not_multiply():
    """Though both layers go by the same name."""  # A58
    script = Script(ConnectionResetError("cut"))

    @resilient(max_retries=2)
    @resilient(max_retries=2)
    def ask():
        return script()

    with no_waiting(), pytest.raises(ConnectionResetError):
        ask()
    assert script.calls == 3


def test_layers_without_numbers_share_those_of_the_kind(nest):
    """As many requests as one bare `@resilient` makes."""  # A58
    alone, below = Script(ConnectionResetError("cut")), Script(ConnectionResetError("cut"))
    nest(alone, {})
    nest(below, {}, {})
    assert below.calls == alone.calls


def test_what_an_inner_call_took_is_gone_for_the_next_attempt():
    """The outer layer has five requests in all: three in its first attempt leave two for the second."""  # A58
    made = []

    @resilient(max_retries=2)
    def inner():
        made.append(1)
        raise ConnectionResetError("cut")

    @resilient(max_retries=4)
    def outer():
        attempts.append(len(made))
        return inner()

    attempts = []
    with no_waiting(), pytest.raises(ConnectionResetError):
        outer()
    assert attempts == [0, 3]
    assert len(made) == 5


@pytest.mark.parametrize(
    ("outer_retries", "middle_retries", "middle_failures", "inner_calls"),
    [(5, 9, 0, 5), (5, 9, 1, 4), (5, 9, 3, 2), (5, 9, 4, 1), (9, 2, 1, 2), (9, 2, 2, 1)],
)
def test_what_a_retry_has_left_reaches_through_all_layers(outer_retries, middle_retries, middle_failures, inner_calls):
    """Each layer inside has what those around it did not use up, and never more than the nearest one has left."""  # A58
    made = []

    @resilient(max_retries=9)
    def inner():
        made.append("inner")
        raise ConnectionResetError("cut")

    @resilient(max_retries=middle_retries)
    def middle():
        made.append("middle")
        if made.count("middle") > middle_failures:
            return inner()
        raise ConnectionResetError("cut")

    @resilient(max_retries=outer_retries)
    def outer():
        if not made:
            made.append("outer")
            raise ConnectionResetError("cut")
        with pytest.raises(ConnectionResetError):
            middle()

    with no_waiting():
        outer()
    assert made == ["outer"] + ["middle"] * (middle_failures + 1) + ["inner"] * inner_calls


def test_without_a_number_a_retry_has_left_what_is_left_of_the_default():
    """Ten retries in all: after one failure of its own the outer call leaves ten requests to the one inside."""  # A58
    made = []

    @resilient(max_retries=20, max_identical=99)
    def inner():
        made.append(1)
        raise ConnectionResetError("cut")

    @resilient
    def outer():
        begun.append(1)
        if len(begun) == 1:
            raise ConnectionResetError("cut")
        inner()

    begun = []
    with no_waiting(), pytest.raises(ConnectionResetError):
        outer()
    assert (len(begun), len(made)) == (2, 10)


def test_the_outer_report_counts_what_was_asked_below(nest):
    """`requests` are those that went out, and the limit is named by the layer that met it."""
    error, _ = nest(Script(ConnectionResetError("cut")), retries(2), retries(2))
    assert report_of(error).requests == 3
    assert report_of(error).limit == "max_retries=2"


def test_an_inner_success_leaves_the_outer_layer_unused(nest):
    """A failure that the inner layer mends is none to the outer one."""
    script = Script(ConnectionResetError("cut"), "answer")
    came, waits = nest(script, retries(2), retries(2))
    assert (came, script.calls, len(waits)) == ("answer", 2, 1)


def test_calls_one_after_the_other_do_not_share(nest):
    """Each call of an outer function begins anew."""  # A63
    script = Script(*[ConnectionResetError("cut"), "answer"] * 3)
    for _ in range(3):
        assert nest(script, retries(1), retries(1))[0] == "answer"
    assert script.calls == 6


@pytest.mark.parametrize("place", ["the wait", "the log", "the classifier"])
def test_a_call_between_two_attempts_is_not_inside_of_either(place):
    """What waits, takes the log or judges may make calls of its own: they have all of their retries."""
    calls = []

    def between(*_):
        script = Script(*[ConnectionResetError("cut")] * 3, "heard")
        try:
            post(script)
        finally:
            calls.append(script.calls)

    class Asking(ErrorClassifier):
        def classify(self, error):
            between()
            return super().classify(error)

    class Posting(logging.Handler):
        def emit(self, record):
            if record.function.endswith("ask"):
                between()

    @resilient(max_retries=3, sleep=lambda seconds: None)
    def post(script):
        return script()

    script = Script(*[ConnectionResetError("cut")] * 3, "answer")

    @resilient(
        max_retries=3,
        sleep=between if place == "the wait" else lambda seconds: None,
        classifier=Asking() if place == "the classifier" else None,
    )
    def ask():
        return script()

    logger = logging.getLogger("resilient_agent.retry")
    handler = Posting() if place == "the log" else logging.NullHandler()
    logger.addHandler(handler)
    try:
        assert ask() == "answer"
    finally:
        logger.removeHandler(handler)
    assert calls == [4, 4, 4]


@pytest.mark.parametrize(("wait", "calls"), [(3, 2), (7, 1)])
def test_a_wait_inside_is_begun_where_the_deadline_around_has_time_for_it(nest, wait, calls):
    """Of five seconds an inner call may wait for three, and not for seven, whoever watches."""  # A24, A26
    script = Script(ConnectionResetError("cut"))
    curve = BackoffConfig(base_delay_ms=wait * 1000, jitter=0, max_retries=1)
    error, waits = nest(script, {"deadline": 5, "max_retries": 0}, {"backoff": curve})
    assert (error, script.calls, waits) == (script.outcomes[0], calls, [wait] * (calls - 1))


@pytest.mark.parametrize("waiting", [no_waiting, recorded])
def test_a_wait_inside_has_what_the_waits_around_it_left_of_their_deadline(waiting):
    """Of ten seconds the outer call waited for six: of four an inner one waits twice for 1.6, and not once more."""  # A26
    with waiting() as waits:
        sleep = unless_ruled(waiting, waits.append)

        @resilient(wait=tenacity.wait_fixed(1.6), max_retries=9, **sleep)
        def inner():
            raise ConnectionResetError("cut")

        @resilient(deadline=10, wait=tenacity.wait_fixed(6), max_retries=9, **sleep)
        def outer():
            if not waits:
                raise ConnectionResetError("cut")
            inner()

        with pytest.raises(ConnectionResetError):
            outer()
    assert waits == [6, 1.6, 1.6]


def test_a_call_inside_that_a_breaker_refused_counts_as_one_attempt_around_it(nest):
    """It made no request; the outer layer failed all the same, as often as it may."""
    breaker = CircuitBreaker(consecutive_failures=1, open_for=1000)
    script = Script(ConnectionResetError("cut"))
    error, waits = nest(
        script, {**retries(2), "retry": tenacity.retry_if_exception_type()}, {**retries(0), "breaker": breaker}
    )
    assert isinstance(error, CircuitOpen)
    assert (script.calls, len(waits)) == (1, 2)


# Layers that go by one name


def recursive(script):
    @resilient
    def delegate(depth):
        return script() if depth == 0 else delegate(depth - 1)

    return delegate


@pytest.mark.parametrize("waiting", [no_waiting, recorded])
@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_a_function_that_calls_itself_does_not_multiply(monkeypatch, waiting, depth):
    """However deep: the calls have one name, and their exception is the same."""  # A58
    monkeypatch.setattr("resilient_agent.clock.sleep", lambda _: None)
    script = Script(ConnectionResetError("cut"))
    with waiting(), pytest.raises(ConnectionResetError):
        recursive(script)(depth)
    assert script.calls == 4


@pytest.mark.anyio
@pytest.mark.parametrize("waiting", [no_waiting, recorded])
async def test_neither_does_a_coroutine_function_that_calls_itself(async_waits, waiting):
    """A frame of it stands on the stack as well."""  # A58
    script = Script(ConnectionResetError("cut"))

    @resilient(**unless_ruled(waiting, async_waits))
    async def delegate(depth):
        await anyio.lowlevel.checkpoint()
        return script() if depth == 0 else await delegate(depth - 1)

    with waiting(), pytest.raises(ConnectionResetError):
        await delegate(3)
    assert script.calls == 4


def test_neither_does_a_stream_that_calls_itself():
    """Its first attempt is watched by nobody either."""  # A58
    script = Script(ConnectionResetError("cut"))
    sleeps = []

    @resilient(sleep=sleeps.append)
    def words(depth):
        yield script() if depth == 0 else list(words(depth - 1))

    with pytest.raises(ConnectionResetError):
        list(words(2))
    assert (script.calls, len(sleeps)) == (4, 3)


def test_loops_in_loops_do_not_multiply():
    """All loops go by one name."""  # A58
    script = Script(ConnectionResetError("cut"))
    with no_waiting(), pytest.raises(ConnectionResetError):
        for outer in attempts():
            with outer:
                for inner in attempts():
                    with inner:
                        script()
    assert script.calls == 4


@pytest.mark.anyio
async def test_executors_in_functions_of_their_name_do_not_multiply():
    """One that is asked to call the very function it is in."""  # A58
    script = Script(ConnectionResetError("cut"))

    async def ask(depth):
        return script() if depth == 0 else await RetryExecutor().execute_with_retry(ask, depth - 1)

    with no_waiting(), pytest.raises(ConnectionResetError):
        await RetryExecutor().execute_with_retry(ask, 2)
    assert script.calls == 4


def test_an_old_report_is_none_from_below():
    """One exception object, raised again by each call: every call has all of its retries, and its own count."""
    error = ConnectionResetError("cut")
    script = Script(error)
    ask = resilient(sleep=lambda _: None)(script)
    for calls in (4, 8, 12):
        with pytest.raises(ConnectionResetError):
            ask()
        assert (script.calls, report_of(error).requests) == (calls, 4)


def test_a_report_of_an_earlier_attempt_is_none_from_below():
    """What a call inside left in the first attempt was counted then."""
    made = []

    @resilient(max_retries=1, sleep=lambda _: None)
    def inner():
        raise ConnectionResetError("cut")

    @resilient(max_retries=4, max_identical=9, sleep=lambda _: None)
    def outer():
        try:
            inner() if not made else None
        except ConnectionResetError as error:
            made.append(error)
        else:
            made.append(None)
        raise made[0]

    with pytest.raises(ConnectionResetError):
        outer()
    assert (len(made), report_of(made[0]).requests) == (4, 5)


# Another exception comes out than the one that the call inside ended with


def from_none(call):
    try:
        return call()
    except ConnectionResetError:
        raise TimeoutError("timed out") from None


def without_a_chain(call):
    failed = False
    try:
        return call()
    except ConnectionResetError:
        failed = True
    raise TimeoutError(f"timed out: {failed}")


def another_failed_before(call):
    with contextlib.suppress(ConnectionResetError):
        call()
    raise ConnectionResetError("the next one as well")


NEW_ERRORS = pytest.mark.parametrize("way_out", [from_none, without_a_chain, another_failed_before])


@NEW_ERRORS
@pytest.mark.parametrize("watched", [{}, {"deadline": 60}], ids=str)
def test_retries_below_count_whatever_exception_comes_out(way_out, watched):
    """An error raised in place of the inner one hides it; what was asked was asked all the same."""  # A58
    script = Script(ConnectionResetError("cut"))
    inner = resilient(max_retries=2, sleep=lambda _: None)(script)

    @resilient(max_retries=2, sleep=lambda _: None, **watched)
    def outer():
        return way_out(inner)

    for calls in (3, 6):
        with pytest.raises(Exception) as caught:
            outer()
        assert (script.calls, report_of(caught.value).requests) == (calls, 3)


@NEW_ERRORS
def test_neither_does_a_stream_or_a_loop_lose_count(way_out):
    """The call inside knows whose attempt it is in."""  # A58
    script = Script(ConnectionResetError("cut"))
    inner = resilient(max_retries=2, sleep=lambda _: None)(script)

    @resilient(max_retries=2, sleep=lambda _: None)
    def stream():
        yield way_out(inner)

    def loop():
        for attempt in attempts(max_retries=2, sleep=lambda _: None):
            with attempt:
                way_out(inner)

    for outer, calls in ((lambda: list(stream()), 3), (loop, 6)):
        with pytest.raises(Exception) as caught:
            outer()
        assert (script.calls, report_of(caught.value).requests) == (calls, 3)


@pytest.mark.parametrize(("left_in", "below"), [("ask", 2), ("another", 0)])
def test_a_frame_that_got_the_number_of_another_is_not_taken_for_it(left_in, below):
    """An error that stayed inside, and is raised once more elsewhere, brings an old report along."""  # A58
    error = ConnectionResetError("cut")
    try:
        raise error
    except ConnectionResetError:
        frame = error.__traceback__.tb_frame
    attach(CallReport("inner", requests=3), error, (((id(frame), left_in),), ()))
    call = Call(Controller(name="ask"), pytest.fail, (), {}, time.monotonic)
    call.failed(error)
    assert requests_below(call) == below


@pytest.mark.anyio
@NEW_ERRORS
@pytest.mark.parametrize("kind", ["coroutine", "stream"])
async def test_neither_do_coroutines_lose_count(async_waits, way_out, kind):
    """Nor async streams: their shells stand on the stack as well."""  # A58
    script = Script(ConnectionResetError("cut"))
    inner = resilient(max_retries=2, sleep=lambda _: None)(script)

    async def ask():
        await anyio.lowlevel.checkpoint()
        return way_out(inner)

    async def stream():
        yield await ask()

    outer = resilient(max_retries=2, sleep=async_waits)(ask if kind == "coroutine" else stream)
    with pytest.raises(Exception) as caught:
        await (outer() if kind == "coroutine" else anext(outer()))
    assert (script.calls, report_of(caught.value).requests) == (3, 3)


def test_what_was_told_to_an_attempt_that_went_well_is_not_counted_for_the_next_call():
    """Its frame has mostly the same place in memory."""  # A58, A63
    script = Script(ConnectionResetError("cut"))
    inner = resilient(max_retries=2, sleep=lambda _: None)(script)

    @resilient(max_retries=2, sleep=lambda _: None)
    def outer(go_well):
        if not go_well:
            raise TimeoutError("timed out")
        with contextlib.suppress(ConnectionResetError):
            inner()

    @resilient(max_retries=2, sleep=lambda _: None)
    def stream(go_well):
        yield outer.__wrapped__(go_well)

    for call in (outer, lambda go_well: list(stream(go_well))):
        call(go_well=True)
        with pytest.raises(TimeoutError) as caught:
            call(go_well=False)
        assert [attempt.number for attempt in report_of(caught.value).attempts] == [1, 2, 3]
        assert report_of(caught.value).requests == 3


# A call inside of a group of tasks


def test_tasks_of_a_group_do_not_multiply(nest_in_group):
    """The group hides the exceptions that carry the reports."""  # A58
    script = Script(ConnectionResetError("cut"))
    error = nest_in_group(script, tasks=1)
    assert script.calls == 4
    assert report_of(error).requests == 4


def test_calls_side_by_side_are_not_retries_of_each_other(nest_in_group):
    """Of three the one that asked most often counts: the outer call has two retries left, not none."""
    script = Script(ConnectionResetError("cut"))
    error = nest_in_group(script, tasks=3, outer={"max_retries": 5, "max_identical": 9}, inner={"max_retries": 2})
    assert (len(error.exceptions), report_of(error).requests, script.calls) == (3, 6, 3 * 6)


@pytest.fixture(params=["asyncio", "trio"])
def nest_in_group(request):
    """Call a script in tasks of a group, decorated inside and outside: what came out."""

    def nest(script, tasks, outer=None, inner=None):
        async def main():
            sleep = anyio.lowlevel.checkpoint

            @resilient(sleep=lambda _: sleep(), **(inner or {}))
            async def ask():
                return script()

            async def kept(failures):
                try:
                    await ask()
                except ConnectionResetError as error:
                    failures.append(error)

            @resilient(sleep=lambda _: sleep(), **(outer or {}))
            async def together():
                failures = []
                async with anyio.create_task_group() as group:
                    for _ in range(tasks):
                        group.start_soon(kept, failures)
                raise ExceptionGroup("tasks", failures)

            try:
                await together()
            except ExceptionGroup as error:
                return error

        return anyio.run(main, backend=request.param)

    return nest


# An SDK that retries by itself


class Refused(Exception):
    """As an SDK raises it after some retries of its own."""

    def __init__(self, retries):
        super().__init__("overloaded")
        self.status_code = 503
        self.request = type("Request", (), {"headers": {"x-stainless-retry-count": str(retries)}})()


def test_retries_of_an_sdk_are_counted(nest):
    """Two of its own and the request itself are three."""  # A58
    script = Script(Refused(2))
    with pytest.warns(RuntimeWarning, match="max_retries=0"):
        error, _ = nest(script, retries(5))
    assert script.calls == 2
    assert report_of(error).requests == 6


def test_retries_of_an_sdk_are_counted_behind_a_wrapper_of_its_error(nest):
    """A cause that is stated belongs to the failure; what was being handled before the call does not."""  # A58

    def wrapped():
        calls.append(1)
        raise ConnectionError("not to be had") from Refused(2)

    calls = []
    with pytest.warns(RuntimeWarning, match="retried 2 times"):
        error, _ = nest(wrapped, retries(5))
    assert (len(calls), report_of(error).requests) == (2, 6)
    script = Script(ConnectionResetError("cut"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            raise Refused(2)
        except Refused:
            nest(script, retries(2))
    assert script.calls == 3


def test_retries_of_an_sdk_do_not_end_the_call_where_warnings_are_errors(nest, caplog):
    """It is tried again all the same, and what would have been warned of is logged."""  # A58
    script = Script(Refused(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error, _ = nest(script, retries(5))
    assert (type(error), script.calls) == (Refused, 2)
    assert "max_retries=0" in caplog.text


def test_retries_of_an_sdk_may_use_up_all_of_them(nest):
    """Then it is not asked again."""  # A58
    script = Script(Refused(2))
    with pytest.warns(RuntimeWarning, match="retried 2 times"):
        error, waits = nest(script, retries(2))
    assert (error, script.calls, waits) == (script.outcomes[0], 1, [])


def test_an_sdk_that_does_not_retry_is_not_warned_of(nest):
    """A count of 0 is how it should be."""
    script = Script(Refused(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nest(script, retries(2))
    assert script.calls == 3


def test_an_sdk_that_retries_is_warned_of_once():
    """However many calls the function makes; the text says what to do and whom it is about."""  # A58
    ask = resilient(max_retries=5, pacer=None, wait=tenacity.wait_none())(Script(Refused(2)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with pytest.raises(Refused):
                ask()
    (warning,) = caught
    assert warning.category is RuntimeWarning
    assert "Script" in str(warning.message)
    assert "give the SDK's client max_retries=0" in str(warning.message)


def test_a_real_sdk_that_retries_does_not_multiply():
    """The OpenAI client's two retries and five of ours are six requests at the server, not eighteen."""  # A58
    with FakeLLM(then=Status(503, headers={"retry-after-ms": "1"})) as llm:
        with openai.OpenAI(base_url=llm.openai_base_url, api_key="test", max_retries=2) as client:

            @resilient(max_retries=5)
            def ask():
                return client.chat.completions.create(model="m", messages=[])

            warned = pytest.warns(RuntimeWarning, match="max_retries=0")
            with no_waiting(), warned, pytest.raises(openai.InternalServerError) as caught:
                ask()
        assert llm.request_count == 6
    assert report_of(caught.value).requests == 6
