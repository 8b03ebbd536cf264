"""The life of one call: how often, what comes out, what is said about it, and what is left behind."""

import asyncio
import contextlib
import contextvars
import copy
import functools
import gc
import logging
import pickle
import re
import traceback
import warnings
import weakref

import anyio
import pytest
import tenacity

from resilient_agent import (
    BackoffConfig,
    ErrorClassifier,
    ErrorType,
    attempts,
    report_of,
    resilient,
    retry_if_retryable,
    session_guard,
)
from resilient_agent._call import Call

QUICK = BackoffConfig(base_delay_ms=100, multiplier=2, jitter=0, max_retries=3)


class Limited(Exception):
    def __init__(self, message="slow down", status=429, **headers):
        super().__init__(message)
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Script:
    """Outcomes in turn, the last one for ever; counts. A class or function is called for the outcome."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self):
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if callable(outcome):
            outcome = outcome()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.fixture(params=["plain", "asyncio", "trio"])
def run(request):
    """Decorate a script and call it: in plain code, and as a coroutine under both loops."""

    def plain(script, **options):
        @resilient(**options)
        def ask():
            return script()

        return ask()

    def loop(backend, script, *, sleep, **options):
        async def sleeping(seconds):
            sleep(seconds)
            await anyio.lowlevel.checkpoint()

        @resilient(sleep=sleeping, **options)
        async def ask():
            await anyio.lowlevel.checkpoint()
            return script()

        return anyio.run(ask, backend=backend)

    return plain if request.param == "plain" else functools.partial(loop, request.param)


def notes(error):
    return [note for note in getattr(error, "__notes__", []) if note.startswith("resilient_agent: ")]


# Counting


@pytest.mark.parametrize("number", [0, 1, 2, 5, 12])
def test_a_number_of_retries_makes_one_call_more(run, waits, number):
    """`max_retries=n` makes n + 1 calls and n waits: none after the last."""  # A7, A8
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        run(script, max_retries=number, max_identical=100, sleep=waits)
    assert script.calls == number + 1
    assert len(waits) == number


@pytest.mark.parametrize("number", [0, 1, 2])
def test_hooks_are_called_as_often_as_is_waited(run, waits, number):
    """`on_retry` and `before_sleep` are called before each wait, and not after the last attempt."""  # A8
    told, slept = [], []
    with pytest.raises(TimeoutError):
        run(
            Script(TimeoutError()),
            max_retries=number,
            on_retry=lambda *told_of: told.append(told_of),
            before_sleep=lambda state: slept.append(state.attempt_number),
            sleep=waits,
        )
    assert [attempt for attempt, _, _ in told] == slept == list(range(1, number + 1))
    assert [delay for _, _, delay in told] == waits


def test_no_retries_is_one_call(run, waits):
    """`max_retries=0` calls once, whatever the failure."""  # A7
    script = Script(Limited())
    with pytest.raises(Limited):
        run(script, max_retries=0, sleep=waits)
    assert (script.calls, waits) == (1, [])


def test_an_immediate_success_is_one_call(run, waits):
    """A first attempt that succeeds calls nobody else."""
    script = Script("answer")
    assert run(script, on_retry=lambda *_: waits.append("hook"), sleep=waits) == "answer"
    assert (script.calls, waits) == (1, [])


def test_a_failure_for_good_is_one_call(run, waits):
    """A first attempt that fails for good calls nobody else."""
    script = Script(KeyError("choices"))
    with pytest.raises(KeyError):
        run(script, on_retry=lambda *_: waits.append("hook"), sleep=waits)
    assert (script.calls, waits) == (1, [])


def test_a_failure_for_good_ends_a_call_that_was_retried(run, waits):
    """The first failure that no retry mends is the last."""
    script = Script(TimeoutError(), TimeoutError(), Limited(status=401), "never")
    with pytest.raises(Limited):
        run(script, sleep=waits)
    assert (script.calls, len(waits)) == (3, 2)


# on_retry


def test_the_hook_is_told_the_attempt_the_error_and_the_wait(run, waits):
    """`on_retry(attempt, error, delay)`: the number that failed, from 1, its exception, seconds."""
    errors, told = [TimeoutError("a"), Limited(retry_after="7")], []
    options = {"on_retry": lambda *it: told.append(it), "sleep": waits, "pacer": None}
    assert run(Script(*errors, "answer"), **options) == "answer"
    assert told == [(1, errors[0], waits[0]), (2, errors[1], waits[1])]
    assert told[0][1] is errors[0]
    assert 7 <= told[1][2] <= 7.7


@pytest.mark.anyio
async def test_an_asynchronous_hook_is_awaited_before_the_wait(async_waits):
    """On a coroutine function `on_retry` may be a coroutine function; the wait begins when it is done."""
    order = []

    async def hook(attempt, error, delay):
        await anyio.lowlevel.checkpoint()
        order.append(("hook", attempt, len(async_waits)))

    script = Script(TimeoutError(), TimeoutError(), "answer")

    @resilient(on_retry=hook, sleep=async_waits)
    async def ask():
        return script()

    assert await ask() == "answer"
    assert order == [("hook", 1, 0), ("hook", 2, 1)]


@pytest.mark.parametrize("name", ["on_retry", "before", "after", "before_sleep"])
def test_a_hook_that_raises_changes_nothing_and_is_logged(run, waits, caplog, name):
    """The call goes on, its result comes out, and the log tells about the hook."""  # A43

    def broken(*_):
        raise RuntimeError("the hook is broken")

    assert run(Script(TimeoutError(), "answer"), sleep=waits, **{name: broken}) == "answer"
    records = [record for record in caplog.records if getattr(record, "event", "") == "hook"]
    assert records
    assert all(record.levelno == logging.ERROR for record in records)
    assert all(re.search(r"RuntimeError \(.*test_call.py:\d+\)", record.getMessage()) for record in records)
    assert len(waits) == 1


def test_what_a_hook_raises_is_logged_without_its_message(waits, caplog):
    """A hook that asks for the outcome raises the call's own failure, and its message is nobody's business."""
    with pytest.raises(TimeoutError):
        resilient(sleep=waits, max_retries=1, before_sleep=lambda state: state.outcome.result())(
            Script(TimeoutError("prompt of a patient"))
        )()
    record = next(record for record in caplog.records if getattr(record, "event", "") == "hook")
    assert "TimeoutError (" in record.raised
    assert "patient" not in logging.Formatter().format(record)


@pytest.mark.anyio
async def test_an_asynchronous_hook_that_raises_changes_nothing(async_waits, caplog):
    """The same for a hook that is awaited; and the user's error comes out where it fails in the end."""  # A43

    async def broken(attempt, error, delay):
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("the hook is broken")

    @resilient(max_retries=1, on_retry=broken, sleep=async_waits)
    async def ask():
        raise TimeoutError("the user's")

    with pytest.raises(TimeoutError, match="the user's") as caught:
        await ask()
    assert caught.value.__context__ is None
    assert any(getattr(record, "event", "") == "hook" for record in caplog.records)


def test_hooks_run_in_the_callers_context(run, waits):
    """A hook sees the context variables of whoever calls."""  # A43
    request = contextvars.ContextVar("request", default="nobody's")
    seen = []

    def in_context():
        request.set("mine")
        return run(Script(TimeoutError(), "a"), on_retry=lambda *_: seen.append(request.get()), sleep=waits)

    assert contextvars.copy_context().run(in_context) == "a"
    assert seen == ["mine"]


# What comes out


def test_the_very_exception_comes_out(run, waits):
    """The last attempt's exception object itself is raised, its class and attributes unchanged."""  # A38
    errors = [TimeoutError("first"), ConnectionResetError("second"), Limited("third", extra="7")]
    with pytest.raises(Limited) as caught:
        run(Script(*errors), max_retries=2, sleep=waits)
    assert caught.value is errors[2]
    assert caught.value.headers == {"extra": "7"}
    assert caught.value.args == ("third",)


@pytest.mark.parametrize("error", [TimeoutError("x"), KeyError("x")], ids=repr)
def test_nothing_hangs_on_the_exception_that_was_not_there(run, waits, error):
    """No cause and no context is added to the user's exception."""  # A38, A63
    with pytest.raises(type(error)) as caught:
        run(Script(ConnectionResetError("an earlier one"), error), max_retries=1, sleep=waits)
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.__suppress_context__ is False


def test_the_users_own_cause_stays(run, waits):
    """`raise ... from` in the user's function is left as it is."""
    cause = OSError("below")

    def fail():
        error = TimeoutError("above")
        error.__cause__ = cause
        return error

    with pytest.raises(TimeoutError) as caught:
        run(Script(fail), max_retries=1, sleep=waits)
    assert caught.value.__cause__ is cause


def test_the_traceback_leads_to_the_users_line(run, waits):
    """The traceback ends where the user's function failed."""
    with pytest.raises(TimeoutError) as caught:
        run(Script(TimeoutError()), max_retries=1, sleep=waits)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.name) == (__file__, "__call__")


def test_an_exception_raised_within_a_handler_keeps_the_callers_context(waits):
    """Called while another exception is handled, the user's exception has that context, as in a plain call."""
    script = Script(TimeoutError("inner"))
    outer = ValueError("outer")
    try:
        raise outer
    except ValueError:
        with pytest.raises(TimeoutError) as caught:
            resilient(max_retries=1, sleep=waits)(script)()
    assert caught.value.__context__ is outer


def test_a_group_comes_out_whole(run, waits):
    """A group that failed for good is raised as the group it is."""  # A42
    group = ExceptionGroup("all failed", [TimeoutError(), Limited(status=401)])
    script = Script(group)
    with pytest.raises(ExceptionGroup) as caught:
        run(script, sleep=waits)
    assert caught.value is group
    assert (script.calls, len(group.exceptions)) == (1, 2)


def test_a_group_of_transient_failures_is_retried(run, waits):
    """A group is retried where each of its members may be."""  # A42
    group = ExceptionGroup("all failed", [TimeoutError(), Limited()])
    assert run(Script(group, "answer"), sleep=waits) == "answer"


def broken(*_):
    raise RuntimeError("the strategy is broken")


class Broken(ErrorClassifier):
    classify = broken


class Nonsense(ErrorClassifier):
    def classify(self, error):  # noqa: ARG002
        return "again, please"


BROKEN = {
    "retry": {"retry": broken},
    "wait": {"wait": broken},
    "stop": {"stop": broken},
    "wait that is no number": {"wait": lambda _: "soon"},
    "classifier": {"classifier": Broken()},
    "classifier with nonsense": {"classifier": Nonsense()},
    "classifier behind a stop": {"classifier": Broken(), "stop": tenacity.stop_after_delay(60)},
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_strategy_that_raises_does_not_hide_the_users_exception(run, waits, caplog, which):
    """The user's exception comes out, the call ends, and the log tells about the strategy."""  # A43
    error = TimeoutError("the user's")
    script = Script(error)
    with pytest.raises(TimeoutError) as caught:
        run(script, sleep=waits, **BROKEN[which])
    assert caught.value is error
    assert (script.calls, waits) == (1, [])
    assert any(record.levelno == logging.ERROR and "Error" in record.raised for record in caplog.records)


# Notes


def test_each_attempt_has_its_note(run, waits):
    """The exception that comes out has one note per attempt: what failed, what was waited, what ended it."""  # A39
    with pytest.raises(TimeoutError) as caught:
        script = Script(Limited(), ConnectionResetError(), TimeoutError())
        run(script, backoff=QUICK, max_retries=2, sleep=waits, pacer=None)
    first, second, third = notes(caught.value)
    assert "attempt 1" in first
    assert "Limited" in first
    assert "http/too-many-requests" in first
    assert "waited 0.1 s" in first
    assert "attempt 2" in second
    assert "ConnectionResetError" in second
    assert "attempt 3" in third
    assert "TimeoutError" in third
    assert "max_retries=2" in third


@pytest.mark.parametrize(
    ("options", "outcomes", "limit"),
    [
        ({"max_retries": 1}, [TimeoutError], "max_retries=1"),
        ({}, [TimeoutError], "max_retries=3 for local/timeout"),
        ({}, [lambda: OSError("?")], "at most 1 for unknown/outside"),
        ({}, [TimeoutError, lambda: Limited(retry_after="300")], "the server asks for 300 s"),
        ({}, [TimeoutError, lambda: Limited(status=401)], "not retried: non_retryable"),
        ({}, [TimeoutError, lambda: Limited(status=402)], "not retried: fatal"),
        ({"stop": tenacity.stop_after_attempt(2)}, [TimeoutError], "stop_after_attempt"),
        ({"max_retries": 2, "stop": tenacity.stop_after_attempt(9)}, [TimeoutError], "max_retries=2"),
        ({"max_retries": 9, "stop": tenacity.stop_after_attempt(2)}, [TimeoutError], "stop_after_attempt"),
        (
            {"retry": tenacity.retry_if_exception_type(TimeoutError)},
            [TimeoutError, lambda: ValueError("x")],
            "not retried",
        ),
    ],
    ids=["number", "kind", "at most", "server", "for good", "fatal", "stop", "both", "other", "predicate"],
)
def test_the_last_note_names_the_limit(run, waits, options, outcomes, limit):
    """Whatever ended the call is named on the exception."""  # A7
    with pytest.raises((OSError, Limited, ValueError)) as caught:
        run(Script(*outcomes), sleep=waits, **options)
    assert limit in notes(caught.value)[-1]


def test_the_total_is_named_where_it_ends_the_call(run, waits):
    """Failures of many kinds in turn end at the total, and the note says so."""  # A12
    kinds = [Limited, TimeoutError, functools.partial(Limited, status=503), functools.partial(Limited, status=500)]
    with pytest.raises((OSError, Limited)) as caught:
        run(Script(*kinds * 5), sleep=waits)
    assert "max_retries=10" in notes(caught.value)[-1]


def test_a_first_attempt_that_fails_for_good_has_no_note(run, waits):
    """The exception of a call that was never retried is as the user raised it."""  # A39
    error = Limited(status=401)
    error.add_note("the user's own")
    with pytest.raises(Limited):
        run(Script(error), sleep=waits)
    assert error.__notes__ == ["the user's own"]


def test_the_users_notes_stay(run, waits):
    """Notes of the user's own stand before ours and are kept."""
    error = TimeoutError()
    error.add_note("the user's own")
    with pytest.raises(TimeoutError):
        run(Script(error), max_retries=1, sleep=waits)
    assert error.__notes__[0] == "the user's own"
    assert len(notes(error)) == 2


def test_notes_do_not_pile_up_on_an_exception_that_is_raised_again(run, waits):
    """One exception object raised by many calls carries the notes of the last call only."""  # A39
    error = TimeoutError()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            run(Script(error), max_retries=2, sleep=waits)
    assert len(notes(error)) == 3


def test_many_attempts_make_few_notes(run, waits):
    """The history of a long call is bounded, and its end is not what is left out."""  # A41
    error = TimeoutError()
    with pytest.raises(TimeoutError):
        run(Script(error), max_retries=200, max_identical=300, sleep=waits)
    assert len(notes(error)) < 30
    assert "attempt 1:" in notes(error)[0]
    assert "attempt 201" in notes(error)[-1]


def test_notes_tell_nothing_secret(run, waits):
    """A note names classes, rules and waits, and no message: the exception has that itself."""
    error = TimeoutError("secret-message")
    with pytest.raises(TimeoutError):
        run(Script(error), max_retries=1, sleep=waits)
    assert not any("secret" in note for note in notes(error))


def test_an_exception_that_takes_no_notes_comes_out_all_the_same(run, waits):
    """An exception that refuses attributes is raised without notes, not replaced."""

    class Frozen(TimeoutError):
        def __setattr__(self, name, value):
            if not name.startswith("__") or name == "__notes__":
                raise AttributeError(name)
            super().__setattr__(name, value)

    error = Frozen()
    with pytest.raises(Frozen) as caught:
        run(Script(error), max_retries=1, sleep=waits)
    assert caught.value is error


def test_what_comes_out_survives_pickle_and_copy(run, waits):
    """An exception with our notes is pickled and copied as before, notes included."""  # A40
    with pytest.raises(TimeoutError) as caught:
        run(Script(TimeoutError("x")), max_retries=1, sleep=waits)
    for back in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value), copy.deepcopy(caught.value)):
        assert (type(back), back.args, notes(back)) == (TimeoutError, ("x",), notes(caught.value))


def test_refused_results_come_out_with_a_report(run, waits):
    """And a note for each of them."""  # A39
    refuse = tenacity.retry_if_result(lambda answer: answer == "no")
    with pytest.raises(tenacity.RetryError) as caught:
        run(Script("no"), retry=refuse, max_retries=1, sleep=waits)
    assert (report_of(caught.value).requests, report_of(caught.value).limit) == (2, "max_retries=1")
    assert len(notes(caught.value)) == 2


def test_a_strategy_that_raises_about_a_result_stands_behind_the_error(run, waits):
    """There is no error of the function to come out; so what was wrong can be seen."""  # A4
    problem = KeyError("choices")

    def broken(answer):
        raise problem

    with pytest.raises(tenacity.RetryError) as caught:
        run(Script("answer"), retry=tenacity.retry_if_result(broken), sleep=waits)
    assert caught.value.__cause__ is problem
    assert "KeyError" in report_of(caught.value).limit


def test_refused_results_come_out_as_an_error_that_survives_pickle(run, waits):
    """The RetryError of a call whose results were refused can be pickled and copied."""  # A40
    with pytest.raises(tenacity.RetryError) as caught:
        run(Script(None), retry=tenacity.retry_if_result(lambda it: it is None), max_retries=1, sleep=waits)
    for back in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert back.last_attempt.result() is None
        assert back.last_attempt.attempt_number == 2


# What is left behind


class Witness:
    """Something in a frame whose death can be seen."""


@contextlib.contextmanager
def no_collector():
    """Only reference counts free anything in here; what was there before takes no part, and is not looked through."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


ENDS = {
    "success at once": (0, None, {}),
    "success after failures": (2, None, {}),
    "failure for good at once": (0, KeyError, {}),
    "failure for good later": (1, KeyError, {}),
    "failure at the limit": (9, TimeoutError, {"max_retries": 2}),
    "failure with hooks": (9, TimeoutError, {"max_retries": 2, "on_retry": lambda *_: None, "before": lambda _: None}),
    "failure with tenacity's strategies": (
        9,
        TimeoutError,
        {"retry": tenacity.retry_if_exception_type(OSError), "stop": tenacity.stop_after_attempt(3)},
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_plain_call_leaves_no_circle_behind(end):
    """With the collector switched off, what the user's frames held dies with the call."""  # A41
    failures, error, options = ENDS[end]
    seen = []

    @resilient(sleep=lambda _: None, **options)
    def ask():
        witness = Witness()
        seen.append(weakref.ref(witness))
        if len(seen) <= failures:
            raise TimeoutError
        if error is not None:
            raise error
        return "answer"

    def caller():
        with contextlib.suppress(KeyError, TimeoutError):
            ask()

    def left():
        seen.clear()
        with no_collector():
            caller()
            return sum(ref() is not None for ref in seen), gc.collect()

    # Threads of other tests may leave something meanwhile; what we leave would be there each time.
    assert any(left() == (0, 0) for _ in range(5))
    assert seen


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.anyio
async def test_a_coroutines_call_leaves_no_circle_behind(end):
    """The same for coroutine functions, under both loops."""  # A41
    failures, error, options = ENDS[end]
    seen = []

    async def sleep(_):
        pass

    @resilient(sleep=sleep, **options)
    async def ask():
        witness = Witness()
        seen.append(weakref.ref(witness))
        if len(seen) <= failures:
            raise TimeoutError
        if error is not None:
            raise error
        return "answer"

    async def caller():
        with contextlib.suppress(KeyError, TimeoutError):
            await ask()

    with no_collector():
        await caller()
        alive = sum(ref() is not None for ref in seen)
    assert seen
    assert alive == 0


@pytest.mark.parametrize("hooks", [{}, {"after": lambda state: state.args, "before_sleep": lambda state: state.fn}])
def test_arguments_and_results_do_not_live_on(waits, hooks):
    """Neither the arguments nor the result of a call that was retried are kept anywhere."""  # A41
    calls = []

    @resilient(sleep=waits, **hooks)
    def ask(_):
        calls.append(1)
        if len(calls) == 1:
            raise TimeoutError
        return Witness()

    with no_collector():
        argument = Witness()
        result = ask(argument)
        refs = weakref.ref(argument), weakref.ref(result)
        del argument, result
        assert [ref() for ref in refs] == [None, None]


def test_a_state_that_a_hook_kept_says_for_good_what_was_called(waits):
    """As with tenacity: whoever puts states aside, and looks at them later, finds function and arguments."""
    states = []

    @resilient(after=states.append, sleep=waits)
    def ask(question, *, model):
        if len(states) < 2:
            raise TimeoutError
        return model

    ask("why?", model="large")
    assert [(state.fn, state.args, state.kwargs) for state in states] == [
        (ask.__wrapped__, ("why?",), {"model": "large"})
    ] * 2
    assert ask.call_report().requests == 3


def test_what_a_failure_was_made_of_does_not_live_on(waits):
    """Nor do the arguments of its exceptions, whoever was asked to judge them."""  # A41
    retry = retry_if_retryable(ErrorClassifier()) | tenacity.retry_if_result(lambda answer: answer is None)

    @resilient(retry=retry, sleep=waits)
    def ask():
        if not refs:
            witness = Witness()
            refs.append(weakref.ref(witness))
            raise ConnectionResetError(witness)
        return "answer"

    refs = []
    with no_collector():
        assert ask() == "answer"
        assert [ref() for ref in refs] == [None]


def test_functions_decorated_on_the_fly_do_not_pile_up(waits):
    """Statistics of functions that are gone are bounded, however many there were."""  # A41

    def once():
        witness = Witness()
        script = Script(TimeoutError(), "answer")
        resilient(sleep=waits)(lambda _=witness: script())()
        return weakref.ref(witness)

    def in_context():
        return [once() for _ in range(300)]

    refs = contextvars.copy_context().run(in_context)
    gc.collect()
    assert sum(ref() is not None for ref in refs) <= 64


def test_turns_that_start_the_next_one_in_a_task_do_not_pile_up():
    """Each task knows the call that started it; once that has ended it is let go of, however long the line is."""  # A41
    alive = {}

    async def main():
        following, done = [], asyncio.Event()

        @resilient(deadline=60)
        async def turn(number):
            if number in (90, 0):  # to look takes a third of a second
                alive[number] = sum(type(thing) is Call for thing in gc.get_objects())
            following[:] = [asyncio.create_task(turn(number - 1))] if number else []
            await asyncio.sleep(0)  # the next one begins, inside of this one
            if not number:
                done.set()

        await turn(100)
        await done.wait()

    asyncio.run(main())
    assert 0 < alive[0] <= alive[90]


# What the log says

SECRET = "sk-live-4242"


def secretive_failure():
    return Limited(f"invalid {SECRET}", retry_after="1", authorization=f"Bearer {SECRET}", x=SECRET)


def everything_in(record):
    return "\n".join([record.getMessage(), repr(record.__dict__), logging.Formatter("%(message)s").format(record)])


@pytest.mark.parametrize(
    "outcomes",
    [
        [secretive_failure, "answer"],
        [secretive_failure],
        [secretive_failure, lambda: ValueError(SECRET)],
        [lambda: ValueError(SECRET)],
        [lambda: Limited(SECRET, status=402)],
    ],
    ids=["success", "limit", "for good later", "for good", "fatal"],
)
def test_no_record_holds_a_message_an_argument_or_a_header(waits, caplog, outcomes):
    """Whatever happens, no log record has the arguments, the message, the headers or a key in it."""  # A61
    caplog.set_level(logging.DEBUG, logger="resilient_agent")
    script = Script(*outcomes)

    @resilient(max_retries=2, sleep=waits)
    def ask(messages, *, api_key):
        return script()

    with contextlib.suppress(Limited, ValueError):
        ask([{"role": "user", "content": SECRET}], api_key=SECRET)
    records = [record for record in caplog.records if record.name.startswith("resilient_agent")]
    assert records
    assert not [record for record in records if SECRET in everything_in(record)]


def test_a_partials_arguments_are_in_no_record(waits, caplog):
    """The name of a decorated partial or object in the log does not show what it holds."""  # A61
    caplog.set_level(logging.DEBUG, logger="resilient_agent")
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        resilient(max_retries=1, sleep=waits)(functools.partial(lambda _: script(), SECRET))()
    assert caplog.records
    assert not [record for record in caplog.records if SECRET in everything_in(record)]


def test_each_retry_is_a_warning_and_giving_up_one_error(run, waits, caplog):
    """One WARNING per wait and one ERROR at the end, from `resilient_agent.retry`."""
    caplog.set_level(logging.DEBUG, logger="resilient_agent")
    with pytest.raises(TimeoutError):
        run(Script(TimeoutError()), max_retries=3, sleep=waits)
    records = [record for record in caplog.records if record.name.startswith("resilient_agent")]
    assert [record.levelname for record in records] == ["WARNING"] * 3 + ["ERROR"]
    assert {record.name for record in records} == {"resilient_agent.retry"}


def test_a_record_has_its_facts_as_attributes(waits, caplog):
    """A structured log finds the function, the attempt, the class, the verdict, the rule and the wait."""
    script = Script(Limited(retry_after="2"))

    @resilient(max_retries=1, sleep=waits, pacer=None)
    def ask():
        return script()

    with pytest.raises(Limited):
        ask()
    retry, end = caplog.records
    assert (retry.event, end.event) == ("retry", "gave_up")
    assert retry.function.endswith("ask")
    assert (retry.attempt, end.attempt) == (1, 2)
    assert retry.exception == "Limited"
    assert (retry.verdict, retry.rule) == ("retryable", "http/too-many-requests")
    assert retry.because
    assert retry.wait_s == waits[0]
    assert end.limit == "max_retries=1"


def test_a_success_is_not_logged(run, waits, caplog):
    """A call that succeeds at once says nothing, at any level."""
    caplog.set_level(logging.DEBUG, logger="resilient_agent")
    run(Script("answer"), sleep=waits)
    assert [record for record in caplog.records if record.name.startswith("resilient_agent")] == []


@pytest.mark.parametrize(("status", "level"), [(401, "DEBUG"), (402, "ERROR")])
def test_what_a_person_has_to_mend_is_told_at_once(run, waits, caplog, status, level):
    """A fatal failure is an ERROR at the first attempt; one for good is the caller's business."""
    caplog.set_level(logging.DEBUG, logger="resilient_agent")
    with pytest.raises(Limited):
        run(Script(Limited(status=status)), sleep=waits)
    assert [record.levelname for record in caplog.records if record.name.startswith("resilient_agent")] == [level]


def test_a_failing_log_handler_does_not_change_the_call(run, waits):
    """A handler that raises is the logging module's business, not the call's outcome."""

    class Failing(logging.Handler):
        def emit(self, record):  # noqa: ARG002
            raise RuntimeError("no log today")

    handler = Failing()
    logger = logging.getLogger("resilient_agent")
    logger.addHandler(handler)
    try:
        assert run(Script(TimeoutError(), "answer"), sleep=waits) == "answer"
        with pytest.raises(TimeoutError):
            run(Script(TimeoutError()), max_retries=1, sleep=waits)
    finally:
        logger.removeHandler(handler)


# Waiting


def test_a_plain_function_that_waits_on_a_running_loop_warns():
    """A blocking wait on an event loop is a RuntimeWarning that points at the caller."""  # A13

    @resilient(wait=tenacity.wait_fixed(0.001))
    def ask(script):
        return script()

    async def main():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert ask(Script(TimeoutError(), "answer")) == "answer"
        return caught

    for backend in ("asyncio", "trio"):
        (warning,) = anyio.run(main, backend=backend)
        assert warning.category is RuntimeWarning
        assert "event loop" in str(warning.message)
        assert warning.filename == __file__


def test_a_loop_that_waits_on_a_running_loop_warns_of_the_users_line():
    """The loop form stands nearer to the user's line than a function does."""  # A13

    async def main():
        script = Script(TimeoutError(), "answer")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for attempt in attempts(wait=tenacity.wait_fixed(0.001)):
                with attempt:
                    script()
        return caught

    for backend in ("asyncio", "trio"):
        (warning,) = anyio.run(main, backend=backend)
        assert warning.filename == __file__


def test_a_warning_that_is_an_error_does_not_stop_a_call():
    """Where warnings are errors a call under way goes on, and the warning stands in the log."""  # A13

    async def main():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return resilient(wait=tenacity.wait_fixed(0.001))(Script(TimeoutError(), "answer"))()

    for backend in ("asyncio", "trio"):
        assert anyio.run(main, backend=backend) == "answer"


def test_a_plain_function_in_plain_code_does_not_warn():
    """Where no loop runs, a wait is a wait."""  # A13
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask = resilient(wait=tenacity.wait_fixed(0.001))(Script(TimeoutError(), "answer"))
        assert ask() == "answer"


def test_a_plain_function_in_a_worker_thread_does_not_warn():
    """Called through anyio.to_thread, a plain function blocks nobody and says nothing."""  # A13

    async def main():
        ask = resilient(wait=tenacity.wait_fixed(0.001))(Script(TimeoutError(), "answer"))
        return await anyio.to_thread.run_sync(ask)

    for backend in ("asyncio", "trio"):
        assert anyio.run(main, backend=backend) == "answer"


def test_a_coroutine_lets_others_run_while_it_waits(beside):
    """The wait of a coroutine function is the event loop's: other tasks go on."""  # A13
    script = Script(TimeoutError(), "answer")

    @resilient(wait=tenacity.wait_fixed(0.1))
    async def ask():
        return script()

    assert beside(ask) == ("answer", 0.1, [0, 0.03, 0.06, 0.09])


def test_a_virtual_clock_is_enough_to_wait_for_hours():
    """Under trio's mock clock an hour of waits takes no time and counts as an hour."""
    import trio
    import trio.testing

    script = Script(TimeoutError(), TimeoutError(), "answer")

    @resilient(wait=tenacity.wait_fixed(1800))
    async def ask():
        return script()

    async def main():
        begun = trio.current_time()
        answer = await ask()
        return answer, trio.current_time() - begun, dict(ask.statistics)

    answer, took, numbers = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert (answer, round(took)) == ("answer", 3600)
    assert numbers["idle_for"] == 3600


@pytest.mark.anyio
async def test_a_plain_sleep_serves_a_coroutine_too(waits):
    """On a coroutine function `sleep=` may be plain: what it returns is not awaited."""
    script = Script(TimeoutError(), "answer")

    @resilient(sleep=waits)
    async def ask():
        return script()

    assert await ask() == "answer"
    assert len(waits) == 1


# Together with a session


def test_a_guarded_call_is_marked_with_what_ended_it(tmp_path, waits):
    """The exception of a decorated function marks the session with the classifier's verdict."""
    with pytest.raises(TimeoutError), session_guard("s", store=tmp_path) as session:
        session.append({"role": "user", "content": "hello"})
        resilient(max_retries=1, sleep=waits)(Script(TimeoutError()))()
    with session_guard("s", store=tmp_path) as session:
        assert session.interruption.error == "TimeoutError"
        assert session.interruption.verdict is ErrorType.RETRYABLE
