"""`@resilient` on everything that can be called, and tenacity's vocabulary on what it gives."""

import asyncio
import contextlib
import copy
import functools
import inspect
import re
import sys
import threading
import unittest.mock
from collections import Counter

import anyio
import pytest
import tenacity

from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType, Rung, resilient, wait_by_error

QUICK = BackoffConfig(base_delay_ms=100, multiplier=2, jitter=0, max_retries=3)


class Script:
    """Outcomes in turn, the last one for ever; counts."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0
        self.given = []

    def __call__(self, /, *args, **kwargs):
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        self.given.append((args, kwargs))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def sync_ask(script):
    """A plain function in front of a script."""

    def ask(*args, **kwargs):
        return script(*args, **kwargs)

    return ask


def async_ask(script):
    """A coroutine function in front of a script."""

    async def ask(*args, **kwargs):
        await anyio.lowlevel.checkpoint()
        return script(*args, **kwargs)

    return ask


# What it takes


def entered(call):
    """How often each Python function is entered in the course of a call, by name."""
    names = []
    sys.setprofile(lambda frame, event, _: names.append(frame.f_code.co_name) if event == "call" else None)
    try:
        call()
    finally:
        sys.setprofile(None)
    return Counter(names)


async def at_once():
    """A coroutine that awaits nothing."""


def driven(ask):
    """What calls the function, to its end in the coroutine's case, without an event loop."""

    def run():
        coroutine = ask()
        if coroutine is not None:
            with contextlib.suppress(StopIteration):
                coroutine.send(None)

    return run


@pytest.mark.parametrize("ask", [lambda: None, at_once])
def test_a_call_that_succeeds_at_once_enters_nothing_but_its_shell(ask):
    """What decides, reports and paces is built after the first failure, by whoever has one."""  # A64
    decorated = resilient(ask)
    driven(decorated)()  # the first of all is looked at
    assert entered(driven(decorated)) - entered(driven(ask)) == {"wrapper": 1}


def test_bare_it_retries_sensibly(waits):
    """`@resilient` without arguments retries what is transient and passes on what is not."""

    @resilient
    def ask(script):
        return script()

    ask.retry.sleep = waits
    assert ask(Script(TimeoutError(), "answer")) == "answer"
    with pytest.raises(KeyError):
        ask(Script(KeyError("choices")))
    assert len(waits) == 1


def test_with_arguments_it_goes_by_them(waits):
    """`@resilient(...)` gives a decorator that knows its arguments."""
    script = Script(TimeoutError())

    @resilient(max_retries=1, sleep=waits)
    def ask():
        return script()

    with pytest.raises(TimeoutError):
        ask()
    assert script.calls == 2


def test_empty_parentheses_are_the_same_as_none(waits):
    """`@resilient()` is `@resilient`."""
    script = Script(TimeoutError(), "answer")
    ask = resilient()(sync_ask(script))
    ask.retry.sleep = waits
    assert ask() == "answer"


def test_one_decorator_serves_many_functions(waits):
    """What `resilient(...)` gives may decorate any number of functions, each with settings of its own."""
    decorate = resilient(max_retries=1, sleep=waits)
    one, other = decorate(sync_ask(Script("a"))), decorate(sync_ask(Script(TimeoutError())))
    assert one.retry is not other.retry
    one.retry.stop = tenacity.stop_never
    with pytest.raises(TimeoutError):
        other()
    assert (one(), len(waits)) == ("a", 1)


def test_a_plain_function_stays_plain(waits):
    """A plain function gives its result, with its arguments handed on at every attempt."""
    script = Script(TimeoutError(), "answer")
    ask = resilient(sleep=waits)(sync_ask(script))
    assert ask(1, 2, three=3) == "answer"
    assert script.given == [((1, 2), {"three": 3})] * 2


@pytest.mark.anyio
async def test_a_coroutine_function_stays_one(async_waits):
    """A coroutine function gives its result, with its arguments handed on at every attempt."""
    script = Script(TimeoutError(), "answer")
    ask = resilient(sleep=async_waits)(async_ask(script))
    assert await ask(1, 2, three=3) == "answer"
    assert script.given == [((1, 2), {"three": 3})] * 2
    assert len(async_waits) == 1


def test_arguments_may_have_any_name(waits):
    """No keyword of the function's own is taken for the decorator's."""
    names = dict.fromkeys(["fn", "self", "sleep", "retry", "control", "call", "error", "args", "max_retries"], 1)
    script = Script(TimeoutError(), "answer")
    assert resilient(sleep=waits)(sync_ask(script))(**names) == "answer"
    assert script.given[1] == ((), names)


class Agent:
    """Methods of every kind."""

    def __init__(self, name="agent"):
        self.name = name
        self.failures = 1

    def _maybe_fail(self):
        if self.failures:
            self.failures -= 1
            raise TimeoutError

    @resilient(sleep=lambda _: None)
    def ask(self, question):
        """Ask a question."""
        self._maybe_fail()
        return f"{self.name}: {question}"

    @resilient(sleep=lambda _: None)
    async def ask_later(self, question):
        """Ask a question later."""
        self._maybe_fail()
        return f"{self.name}: {question}"

    shared_failures = 0

    @classmethod
    @resilient(sleep=lambda _: None)
    def make(cls, name):
        """Make one."""
        cls.shared_failures += 1
        if cls.shared_failures % 2:
            raise TimeoutError
        return cls(name)

    @staticmethod
    @resilient(sleep=lambda _: None)
    def greet(names):
        """Greet."""
        if names.pop() == "fail":
            raise TimeoutError
        return "hello"

    @property
    @resilient(sleep=lambda _: None)
    def mood(self):
        """How it is."""
        self._maybe_fail()
        return "fine"


def test_methods_are_bound_as_ever():
    """A decorated method knows its object, on the object and through the class."""
    assert Agent("a").ask("why?") == "a: why?"
    assert Agent.ask(Agent("b"), "why?") == "b: why?"
    assert Agent("c").mood == "fine"


@pytest.mark.anyio
async def test_asynchronous_methods_are_bound_as_ever():
    """A decorated coroutine method knows its object."""
    assert await Agent("a").ask_later("why?") == "a: why?"


def test_class_methods_and_static_methods_are_decorated_below():
    """`@resilient` stands below `@classmethod` and `@staticmethod`."""
    assert Agent.make("m").name == "m"
    assert Agent.greet(["ok", "fail"]) == "hello"


def test_a_bound_method_may_be_decorated(waits):
    """A method that is bound already keeps its object."""
    assert resilient(sleep=waits)(Agent("a").greet)(["ok", "fail"]) == "hello"
    agent = Agent("bound")
    agent.failures = 0
    assert resilient(agent.ask)("why?") == "bound: why?"


class Callable:
    """An object that is called."""

    def __init__(self, *outcomes):
        self.script = Script(*outcomes)

    def __call__(self, question):
        """Ask."""
        return self.script(question)


class AsyncCallable(Callable):
    """An object whose call is awaited."""

    async def __call__(self, question):
        """Ask."""
        return self.script(question)


def test_callable_objects_are_called(waits):
    """An object with `__call__` is retried like a function."""
    ask = resilient(sleep=waits)(Callable(TimeoutError(), "answer"))
    assert ask("why?") == "answer"
    assert not inspect.iscoroutinefunction(ask)


@pytest.mark.anyio
async def test_callable_objects_are_awaited(async_waits):
    """An object with an asynchronous `__call__` gives a coroutine function."""
    ask = resilient(sleep=async_waits)(AsyncCallable(TimeoutError(), "answer"))
    assert inspect.iscoroutinefunction(ask)
    assert await ask("why?") == "answer"


def test_partials_are_called(waits):
    """A partial, also one of a partial, keeps its arguments."""
    script = Script(TimeoutError(), "answer")
    bound = functools.partial(functools.partial(sync_ask(script), 1), two=2)
    assert resilient(sleep=waits)(bound)(3) == "answer"
    assert script.given[1] == ((1, 3), {"two": 2})


@pytest.mark.anyio
@pytest.mark.parametrize("make", [lambda script: functools.partial(async_ask(script), 1), AsyncCallable])
async def test_partials_of_what_is_awaited_are_awaited(async_waits, make):
    """A partial of a coroutine function, or of an object like one, gives a coroutine function."""
    target = make(Script(TimeoutError(), "answer"))
    if isinstance(target, AsyncCallable):
        target = functools.partial(AsyncCallable(TimeoutError(), "answer"), "why?")
    ask = resilient(sleep=async_waits)(target)
    assert inspect.iscoroutinefunction(ask)
    assert await ask() == "answer"


@pytest.mark.anyio
async def test_mocks_may_be_decorated(async_waits):
    """A user's test may decorate the mocks of the standard library."""
    mock = unittest.mock.AsyncMock(side_effect=[TimeoutError(), "answer"])
    assert await resilient(sleep=async_waits)(mock)("why?") == "answer"
    assert mock.await_count == 2


def test_lambdas_and_builtins_may_be_decorated(waits):
    """Whatever can be called, and is no class, will do."""
    assert resilient(sleep=waits)(lambda: 1)() == 1
    assert resilient(sleep=waits)(len)([1, 2]) == 2


def test_a_decorated_function_may_be_decorated_again(waits):
    """The outer decorator retries what the inner one gave up, as far as its own number goes beyond it."""
    script = Script(TimeoutError(), TimeoutError(), "answer")
    inner = resilient(max_retries=1, sleep=waits)(sync_ask(script))
    outer = resilient(max_retries=2, sleep=waits)(inner)
    assert outer() == "answer"
    assert script.calls == 3
    assert outer.retry is not inner.retry


# What inspect sees


def test_a_plain_function_keeps_its_face():
    """Name, qualified name, doc, module, annotations, signature and attributes are the function's."""

    def ask(question: str, /, *, model: str = "small") -> str:
        """Ask a model."""
        return f"{model}: {question}"

    ask.tag = "tagged"
    wrapped = resilient(ask)
    assert (wrapped.__name__, wrapped.__qualname__, wrapped.__doc__) == (ask.__name__, ask.__qualname__, ask.__doc__)
    assert wrapped.__module__ == __name__
    assert wrapped.__annotations__ == ask.__annotations__
    assert inspect.signature(wrapped) == inspect.signature(ask)
    assert wrapped.__wrapped__ is ask
    assert inspect.unwrap(wrapped) is ask
    assert wrapped.tag == "tagged"
    assert not inspect.iscoroutinefunction(wrapped)
    assert inspect.isfunction(wrapped)


def test_a_coroutine_function_keeps_its_face():
    """A coroutine function is still seen as one, and keeps everything else."""

    async def ask(question: str, *, model: str = "small") -> str:
        """Ask a model."""
        return f"{model}: {question}"

    wrapped = resilient(max_retries=2)(ask)
    assert inspect.iscoroutinefunction(wrapped)
    assert asyncio.iscoroutinefunction(wrapped)
    assert (wrapped.__name__, wrapped.__doc__) == ("ask", "Ask a model.")
    assert inspect.signature(wrapped) == inspect.signature(ask)
    assert wrapped.__wrapped__ is ask


def test_methods_keep_their_face():
    """A method is still one, with its name, its doc and its signature without self."""
    assert (Agent.ask.__name__, Agent.ask.__qualname__, Agent.ask.__doc__) == ("ask", "Agent.ask", "Ask a question.")
    assert str(inspect.signature(Agent().ask)) == "(question)"
    assert inspect.iscoroutinefunction(Agent().ask_later)
    assert Agent.make.__doc__ == "Make one."


def test_a_partial_keeps_its_signature():
    """What a partial has bound is gone from the signature."""
    bound = functools.partial(sync_ask(Script("answer")), 1)
    assert inspect.signature(resilient(bound)) == inspect.signature(bound)


# What it refuses


def generator():
    """Give items."""
    yield 1


async def async_generator():
    """Give items later."""
    yield 1


def test_a_class_is_refused_with_what_to_do():
    """A class is a TypeError that says to decorate its methods."""
    with pytest.raises(TypeError, match=r"not classes.*methods of Agent"):
        resilient(Agent)


@pytest.mark.parametrize(
    "kind",
    [
        classmethod,
        staticmethod,
        property,
        functools.cached_property,
        functools.partialmethod,
        contextlib.contextmanager,
        contextlib.asynccontextmanager,
    ],
)
def test_the_wrong_order_of_decorators_is_refused_with_the_right_one(kind):
    """`@resilient` above `@property` or `@contextmanager`, where it could retry nothing, is a TypeError: below."""
    with pytest.raises(TypeError, match=rf"below @{kind.__name__}"):
        resilient(kind(generator))


def test_a_call_in_place_of_the_function_is_refused():
    """`resilient(ask("why?"))` is a TypeError that shows what was meant."""
    coroutine = anyio.sleep(1)
    with pytest.raises(TypeError, match=r"the function, not what a call of it gives .*: resilient\(ask\)\(\.\.\.\)"):
        resilient(coroutine)
    coroutine.close()


def test_below_contextmanager_entering_is_retried():
    """The connection that breaks is made again; what the block raises is its own business."""
    failures = [ConnectionResetError("connection reset by peer")]

    @contextlib.contextmanager
    @resilient(sleep=lambda seconds: None)
    def connected():
        if failures:
            raise failures.pop()
        yield "connected"

    with connected() as state:
        assert state == "connected"
    with pytest.raises(ConnectionError, match="in the block"), connected():
        raise ConnectionError("in the block")


@pytest.mark.parametrize("wrong", [3, "ask", None, [1], object(), BackoffConfig(), ErrorClassifier()], ids=type)
def test_what_cannot_be_called_is_refused(wrong):
    """Something else in place of the function is a TypeError that shows how to give arguments."""
    if wrong is None:
        assert callable(resilient(None))
        return
    with pytest.raises(TypeError, match=r"@resilient\(max_retries=2\)"):
        resilient(wrong)


def test_an_unknown_argument_is_refused():
    """A misspelt argument is a TypeError that begins with the one that was meant."""
    with pytest.raises(TypeError, match=r"^@resilient does not know 'max_retry': did you mean 'max_retries'\?"):
        resilient(max_retry=3)


def two(question, model="m", *, user="u"): ...


def by_name(*, question): ...


def by_place(question, /, model="m"): ...


@pytest.mark.parametrize(
    ("fn", "other"),
    [
        (two, lambda: "key"),
        (two, lambda a, b, c: c),
        (two, lambda *, text: text),
        (two, lambda question, *, account: account),
        (by_name, lambda question, /: question),
        (by_name, lambda text: text),
        (by_place, lambda *, question: question),
        (by_place, lambda a, b, c: c),
    ],
)
@pytest.mark.parametrize("setting", ["pace_by", "fallback"])
def test_what_could_take_no_call_of_the_function_is_refused(setting, fn, other):
    """When it is decorated: it is called with the arguments of the call."""
    with pytest.raises(TypeError, match=rf"{setting}.* is called with the arguments of {fn.__name__}, but takes \("):
        resilient(**{setting: other})(fn)


@functools.wraps(by_name)
def injecting(*args):
    """A wrapper that takes something else than what it wraps."""


@pytest.mark.parametrize(
    ("fn", "other"),
    [
        (two, lambda text: text),
        (two, lambda question, model: model),
        (two, lambda question, model, user: user),
        (two, lambda a, b: b),
        (two, lambda question, *, user: user),
        (two, lambda *it, **more: it),
        (two, lambda question, place=0: question),
        (two, unittest.mock.Mock()),
        (two, functools.partial(lambda head, *it: head, "key")),
        (two, min),
        (by_name, lambda question: question),
        (by_place, lambda text: text),
        (injecting, lambda text: text),
        (lambda *args: args, lambda a, b: a),
        (unittest.mock.Mock(__name__="ask", __qualname__="ask"), lambda a, b: a),
    ],
)
@pytest.mark.parametrize("setting", ["pace_by", "fallback"])
def test_what_could_take_some_call_of_the_function_is_not_refused(setting, fn, other):
    """Nor where signatures do not tell: which calls there will be, nobody knows."""
    assert callable(resilient(**{setting: other})(fn))


def test_a_fallback_that_changes_its_arguments_may_take_what_it_likes():
    """What it is called with its `transform=` says."""
    assert callable(resilient(fallback=Rung(lambda: "brief", transform=lambda call: ((), {})))(two))


@pytest.mark.parametrize(
    ("kinds", "shown"),
    [(ValueError, "ValueError"), ((OSError,), "OSError"), ((OSError, KeyError), "(OSError, KeyError)")],
)
def test_exception_classes_are_no_predicate(kinds, shown):
    """A class can be called, and would say yes to everything: the TypeError shows the predicate that was meant."""
    with pytest.raises(TypeError, match=re.escape(f"write retry=tenacity.retry_if_exception_type({shown})")):
        resilient(retry=kinds)


@pytest.mark.parametrize("name", ["on_retry", "stop", "wait", "retry", "before", "after", "before_sleep", "sleep"])
def test_an_argument_that_has_to_be_callable_is_refused_otherwise(name):
    """A strategy or hook that cannot be called is a TypeError that names the argument."""
    with pytest.raises(TypeError, match=rf"{name} must be callable"):
        resilient(**{name: 3})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_retries": -1}, ValueError),
        ({"max_retries": 1.5}, TypeError),
        ({"max_retries": "3"}, TypeError),
        ({"backoff": 5}, TypeError),
        ({"classifier": "all"}, TypeError),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_by_its_name(options, error):
    """What is wrong is said when the function is decorated, and by name."""
    with pytest.raises(error, match=next(iter(options))):
        resilient(**options)


def test_two_ways_to_say_how_long_to_wait_are_refused():
    """`backoff=` together with `wait=` is a TypeError that names both."""
    with pytest.raises(TypeError, match=r"backoff= or wait="):
        resilient(backoff=QUICK, wait=tenacity.wait_none())


@pytest.mark.parametrize("name", ["on_retry", "before", "after", "before_sleep", "sleep"])
def test_a_plain_function_cannot_have_hooks_that_are_awaited(name):
    """An asynchronous hook on a plain function is a TypeError at decoration that names the hook."""

    async def hook(*args):
        raise AssertionError("never awaited")

    with pytest.raises(TypeError, match=rf"{name} is a coroutine function"):
        resilient(**{name: hook})(sync_ask(Script("answer")))
    assert inspect.iscoroutinefunction(resilient(**{name: hook})(async_ask(Script("answer"))))


# fn.retry


def test_its_controller_is_tenacitys_kind():
    """`fn.retry` is a tenacity.BaseRetrying with tenacity's attributes."""
    retry = resilient(sync_ask(Script("answer"))).retry
    assert isinstance(retry, tenacity.BaseRetrying)
    assert retry.enabled is True
    for name in ("stop", "wait", "retry"):
        assert callable(getattr(retry, name))
    assert retry.before is retry.after is retry.before_sleep is None


def test_its_wait_may_be_set(waits):
    """`fn.retry.wait = ...` counts from the next failure on."""
    ask = resilient(sleep=waits)(sync_ask(Script(TimeoutError(), "answer")))
    ask.retry.wait = tenacity.wait_fixed(42)
    assert ask() == "answer"
    assert waits == [42]


def test_its_stop_may_be_set(waits):
    """`fn.retry.stop = ...` counts from the next failure on."""
    script = Script(TimeoutError())
    ask = resilient(sleep=waits)(sync_ask(script))
    ask.retry.stop = tenacity.stop_after_attempt(7)
    with pytest.raises(TimeoutError):
        ask()
    assert script.calls == 7


def test_its_predicate_may_be_set(waits):
    """`fn.retry.retry = ...` decides what is retried, results included."""
    script = Script("", ValueError("x"), "answer")
    ask = resilient(sleep=waits)(sync_ask(script))
    ask.retry.retry = tenacity.retry_if_result(lambda it: it == "") | tenacity.retry_if_exception_type(ValueError)
    assert ask() == "answer"
    assert script.calls == 3


def test_its_sleep_may_be_set(waits):
    """`fn.retry.sleep = ...` is what waits, as users' tests of tenacity do it."""
    ask = resilient(sync_ask(Script(TimeoutError(), "answer")))
    ask.retry.sleep = waits
    assert ask() == "answer"
    assert len(waits) == 1


@pytest.mark.anyio
async def test_its_settings_may_be_set_for_coroutines(async_waits):
    """All of it holds for coroutine functions as well."""
    script = Script(TimeoutError())
    ask = resilient(async_ask(script))
    ask.retry.sleep, ask.retry.wait, ask.retry.stop = (
        async_waits,
        tenacity.wait_fixed(9),
        tenacity.stop_after_attempt(2),
    )
    with pytest.raises(TimeoutError):
        await ask()
    assert (script.calls, async_waits) == (2, [9])


def test_its_hook_may_be_set(waits):
    """`fn.retry.before = ...` is called before each attempt from then on."""
    seen = []
    ask = resilient(sleep=waits)(sync_ask(Script(TimeoutError(), "answer")))
    ask.retry.before = lambda state: seen.append(state.attempt_number)
    assert ask() == "answer"
    assert seen == [1, 2]


def test_switched_off_it_calls_once(waits):
    """`fn.retry.enabled = False` leaves a plain call; switched on again, it retries again."""
    script = Script(TimeoutError())
    ask = resilient(sleep=waits)(sync_ask(script))
    ask.retry.enabled = False
    with pytest.raises(TimeoutError) as caught:
        ask()
    assert (script.calls, waits) == (1, [])
    assert not hasattr(caught.value, "__notes__")
    ask.retry.enabled = True
    with pytest.raises(TimeoutError):
        ask()
    assert script.calls == 5


@pytest.mark.anyio
async def test_switched_off_it_awaits_once(async_waits):
    """`enabled=False` leaves a plain coroutine function."""
    script = Script(TimeoutError())
    ask = resilient(enabled=False, sleep=async_waits)(async_ask(script))
    with pytest.raises(TimeoutError):
        await ask()
    assert (script.calls, async_waits) == (1, [])


def test_switched_off_nothing_is_asked():
    """`enabled=False` asks no predicate and no hook."""

    def refuse(*args):
        raise AssertionError("asked")

    ask = resilient(enabled=False, retry=refuse, before=refuse, after=refuse, sleep=refuse)(sync_ask(Script("answer")))
    assert ask() == "answer"


def test_patched_for_a_test_it_comes_back(waits, monkeypatch):
    """Pytest's monkeypatch may rule a decorated function's settings and gives them back."""
    script = Script(TimeoutError())
    ask = resilient(max_retries=1, sleep=waits)(sync_ask(script))
    with monkeypatch.context() as patch:
        patch.setattr(ask.retry, "stop", tenacity.stop_after_attempt(1))
        with pytest.raises(TimeoutError):
            ask()
    assert script.calls == 1
    with pytest.raises(TimeoutError):
        ask()
    assert script.calls == 3


def test_a_controller_called_with_a_function_calls_it(waits):
    """`fn.retry(other, *args)` calls another function with the same settings, as in tenacity."""
    ask = resilient(max_retries=1, sleep=waits)(sync_ask(Script("answer")))
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        ask.retry(sync_ask(script), 1, two=2)
    assert script.given == [((1,), {"two": 2})] * 2


# fn.retry_with


def test_a_variant_has_its_changes_and_leaves_the_original(waits):
    """`fn.retry_with(...)` gives a function with other settings; the original keeps its own."""
    script = Script(TimeoutError())
    ask = resilient(max_retries=1, sleep=waits)(sync_ask(script))
    with pytest.raises(TimeoutError):
        ask.retry_with(max_retries=4)()
    assert script.calls == 5
    with pytest.raises(TimeoutError):
        ask()
    assert script.calls == 7
    assert ask.retry_with(max_retries=0).__wrapped__ is ask.__wrapped__


def test_a_variant_starts_from_what_was_set_last(waits):
    """What was set on `fn.retry` goes into the variant."""
    ask = resilient(sync_ask(Script(TimeoutError(), TimeoutError(), "answer")))
    ask.retry.sleep = waits
    ask.retry.wait = tenacity.wait_fixed(3)
    assert ask.retry_with(max_retries=5)() == "answer"
    assert waits == [3, 3]


def test_a_variant_may_have_tenacitys_arguments(waits):
    """`retry_with(wait=..., stop=...)` speaks tenacity's vocabulary."""
    script = Script(TimeoutError())
    ask = resilient(sleep=waits)(sync_ask(script))
    with pytest.raises(TimeoutError):
        ask.retry_with(wait=tenacity.wait_fixed(2), stop=tenacity.stop_after_attempt(3))()
    assert (script.calls, waits) == (3, [2, 2])


def test_a_variant_of_a_function_with_a_backoff_may_wait_otherwise(waits):
    """`retry_with(wait=...)` takes the place of `backoff=`: the user's tests want no waits."""
    ask = resilient(backoff=QUICK, sleep=waits)(sync_ask(Script(TimeoutError(), "answer")))
    assert ask.retry_with(wait=tenacity.wait_none())() == "answer"
    assert waits == [0]


def test_a_variant_of_a_function_whose_wait_was_set_may_be_made(waits):
    """Setting `fn.retry.wait` on a function with `backoff=` does not break `retry_with`."""
    ask = resilient(backoff=QUICK, sleep=waits)(sync_ask(Script(TimeoutError(), "answer")))
    ask.retry.wait = tenacity.wait_fixed(3)
    assert ask.retry_with(max_retries=1)() == "answer"
    assert waits == [3]


def test_a_variant_may_have_another_backoff(waits):
    """`retry_with(backoff=...)` takes the place of `wait=`, and brings its number of retries."""
    script = Script(TimeoutError())
    ask = resilient(wait=tenacity.wait_fixed(9), sleep=waits)(sync_ask(script))
    with pytest.raises(TimeoutError):
        ask.retry_with(backoff=QUICK)()
    assert waits == [0.1, 0.2, 0.4]


@pytest.mark.anyio
async def test_a_variant_of_a_coroutine_function_is_one(async_waits):
    """`retry_with` keeps the colour."""
    variant = resilient(sleep=async_waits)(async_ask(Script(TimeoutError(), "answer"))).retry_with(max_retries=1)
    assert inspect.iscoroutinefunction(variant)
    assert await variant() == "answer"


def test_a_variant_refuses_unknown_arguments():
    """A misspelt change is a TypeError."""
    with pytest.raises(TypeError, match="max_retry"):
        resilient(sync_ask(Script("answer"))).retry_with(max_retry=3)


# tenacity's arguments


def test_tenacitys_stop_counts_attempts(waits):
    """`stop=stop_after_attempt(n)` makes n calls."""
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        resilient(stop=tenacity.stop_after_attempt(6), sleep=waits)(sync_ask(script))()
    assert script.calls == 6


def test_a_stop_and_a_number_of_retries_both_count(waits):
    """Given both, whichever is met first ends the call."""
    for stop, number, calls in ((2, 5, 2), (5, 1, 2)):
        script = Script(TimeoutError())
        with pytest.raises(TimeoutError):
            resilient(stop=tenacity.stop_after_attempt(stop), max_retries=number, sleep=waits)(sync_ask(script))()
        assert script.calls == calls


def test_tenacitys_wait_is_asked(waits):
    """`wait=` decides the waits."""
    resilient(wait=tenacity.wait_incrementing(1, 2), sleep=waits)(sync_ask(Script(*[TimeoutError()] * 3, "a")))()
    assert waits == [1, 3, 5]


def test_a_backoff_decides_waits_and_number(waits):
    """`backoff=` gives the curve and the number of retries for all kinds of failure."""
    script = Script(TimeoutError(), ConnectionError(), TimeoutError(), ConnectionError(), "never")
    with pytest.raises(ConnectionError):
        resilient(backoff=QUICK, sleep=waits)(sync_ask(script))()
    assert waits == [0.1, 0.2, 0.4]


def test_a_given_number_goes_before_that_of_the_backoff(waits):
    """`max_retries=` beside `backoff=` counts."""
    script = Script(TimeoutError())
    with pytest.raises(TimeoutError):
        resilient(backoff=QUICK, max_retries=1, sleep=waits)(sync_ask(script))()
    assert script.calls == 2


def test_tenacitys_retry_decides_what_is_retried(waits):
    """`retry=` takes the classifier's place."""
    script = Script(ValueError("x"), "answer")
    ask = resilient(retry=tenacity.retry_if_exception_type(ValueError), sleep=waits)(sync_ask(script))
    assert ask() == "answer"
    with pytest.raises(TimeoutError):
        resilient(retry=tenacity.retry_if_exception_type(ValueError), sleep=waits)(sync_ask(Script(TimeoutError())))()


def test_a_result_may_be_refused(waits):
    """`retry_if_result` calls again until the result is right."""
    ask = resilient(retry=tenacity.retry_if_result(lambda it: it is None), sleep=waits)(sync_ask(Script(None, None, 3)))
    assert ask() == 3


@pytest.mark.parametrize("enough", [{"max_retries": 2}, {"stop": tenacity.stop_after_attempt(3)}], ids=str)
def test_results_that_are_refused_to_the_end_are_a_retry_error(waits, enough):
    """Where there is no exception to raise, tenacity's RetryError comes with the last result."""
    script = Script(None)
    ask = resilient(retry=tenacity.retry_if_result(lambda it: it is None), sleep=waits, **enough)(sync_ask(script))
    with pytest.raises(tenacity.RetryError) as caught:
        ask()
    assert script.calls == 3
    assert caught.value.last_attempt.result() is None
    assert caught.value.last_attempt.attempt_number == 3


@pytest.mark.anyio
async def test_a_result_may_be_refused_by_a_coroutine(async_waits):
    """On coroutine functions the predicate may be asynchronous."""

    async def empty(result):
        await anyio.lowlevel.checkpoint()
        return result is None

    from tenacity.asyncio import retry_if_result

    ask = resilient(retry=retry_if_result(empty), sleep=async_waits)(async_ask(Script(None, 3)))
    assert await ask() == 3


def test_hooks_see_what_tenacitys_hooks_see(waits):
    """`before`, `after` and `before_sleep` are called in tenacity's order, with tenacity's state."""
    seen = []

    def note(name):
        def hook(state):
            failed = state.outcome.exception() if state.outcome else None
            seen.append((name, state.attempt_number, type(failed).__name__, state.args, state.kwargs))
            if name == "before_sleep":
                assert state.next_action.sleep == state.upcoming_sleep == 1
                assert state.outcome.failed
            assert state.retry_object is ask.retry
            assert state.seconds_since_start is None or state.seconds_since_start >= 0

        return hook

    ask = resilient(
        before=note("before"),
        after=note("after"),
        before_sleep=note("before_sleep"),
        wait=tenacity.wait_fixed(1),
        sleep=waits,
    )(sync_ask(Script(TimeoutError(), "answer")))
    assert ask(1, two=2) == "answer"
    rest = ((1,), {"two": 2})
    assert seen == [
        ("before", 1, "NoneType", *rest),
        ("after", 1, "TimeoutError", *rest),
        ("before_sleep", 1, "TimeoutError", *rest),
        ("before", 2, "NoneType", *rest),
    ]


@pytest.mark.anyio
async def test_hooks_of_coroutines_may_be_coroutines(async_waits):
    """On coroutine functions each hook may be asynchronous, and is awaited."""
    seen = []

    def note(name):
        async def hook(state):
            await anyio.lowlevel.checkpoint()
            seen.append((name, state.attempt_number))

        return hook

    ask = resilient(before=note("before"), after=note("after"), before_sleep=note("before_sleep"), sleep=async_waits)(
        async_ask(Script(TimeoutError(), "answer"))
    )
    assert await ask() == "answer"
    assert seen == [("before", 1), ("after", 1), ("before_sleep", 1), ("before", 2)]


@pytest.mark.anyio
async def test_strategies_of_coroutines_may_be_coroutines(async_waits):
    """On coroutine functions `retry`, `wait` and `stop` may be asynchronous."""

    async def always(state):
        await anyio.lowlevel.checkpoint()
        return state.outcome.failed

    async def one_second(state):
        await anyio.lowlevel.checkpoint()
        return 1

    async def after_three(state):
        await anyio.lowlevel.checkpoint()
        return state.attempt_number >= 3

    script = Script(ValueError("x"))
    ask = resilient(retry=always, wait=one_second, stop=after_three, sleep=async_waits)(async_ask(script))
    with pytest.raises(ValueError, match="x"):
        await ask()
    assert (script.calls, async_waits) == (3, [1, 1])


def test_tenacitys_own_loggers_serve_as_hooks(waits, caplog):
    """`before_sleep_log` and its like work as they are."""
    import logging

    log = logging.getLogger("mine")
    ask = resilient(
        before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
        after=tenacity.after_log(log, logging.WARNING),
        sleep=waits,
    )(sync_ask(Script(TimeoutError("slow"), "answer")))
    assert ask() == "answer"
    assert sum(record.name == "mine" for record in caplog.records) == 2


def test_try_again_is_tried_again(waits):
    """`raise tenacity.TryAgain` asks for another attempt, under the limits."""
    script = Script(tenacity.TryAgain(), "answer")
    assert resilient(sleep=waits)(sync_ask(script))() == "answer"
    with pytest.raises(tenacity.TryAgain):
        resilient(max_retries=2, sleep=waits)(sync_ask(Script(tenacity.TryAgain())))()


@pytest.mark.parametrize(
    "options",
    [
        {"retry": tenacity.retry_if_exception_type(KeyError)},
        {"retry": tenacity.retry_never},
        {"classifier": type("Never", (), {"classify": lambda *_: (ErrorType.NON_RETRYABLE, QUICK)})()},
    ],
    ids=["other type", "never", "classifier"],
)
def test_try_again_is_tried_again_whatever_the_predicate_says(waits, options):
    """As in tenacity, TryAgain asks past every predicate, at the first attempt and later."""
    script = Script(tenacity.TryAgain(), tenacity.TryAgain(), "answer")
    assert resilient(sleep=waits, wait=tenacity.wait_none(), **options)(sync_ask(script))() == "answer"


def test_a_time_limit_is_counted_from_the_start(waits):
    """`stop_after_delay` counts from the beginning of the first attempt."""
    import time

    def slow():
        time.sleep(0.06)
        raise TimeoutError

    ask = resilient(stop=tenacity.stop_after_delay(0.05), sleep=waits)(slow)
    with pytest.raises(TimeoutError):
        ask()
    assert waits == []


# fn.statistics


def test_statistics_are_those_of_the_last_call(waits):
    """After a call `fn.statistics` has tenacity's numbers."""
    ask = resilient(wait=tenacity.wait_fixed(2), sleep=waits)(sync_ask(Script(TimeoutError(), TimeoutError(), "a")))
    ask()
    assert ask.statistics["attempt_number"] == 3
    assert ask.statistics["idle_for"] == 4
    assert ask.statistics["delay_since_first_attempt"] >= 0
    assert {"start_time", "attempt_number", "idle_for", "delay_since_first_attempt"} <= set(ask.statistics)
    assert ask.retry.statistics == ask.statistics


def test_statistics_are_reset_by_the_next_success(waits):
    """A call that succeeds at once shows itself, and nothing of the call before."""  # A63
    script = Script(TimeoutError(), "a", "b")
    ask = resilient(sleep=waits)(sync_ask(script))
    ask()
    assert ask.statistics["attempt_number"] == 2
    ask()
    numbers = ask.statistics
    assert (numbers["outcome"], numbers["attempt_number"], numbers["idle_for"]) == ("succeeded", 1, 0)
    assert numbers["delay_since_first_attempt"] < 0.1


@pytest.mark.parametrize("error", [TimeoutError(), KeyError("bug")], ids=repr)
def test_statistics_are_reset_by_the_next_failure(waits, error):
    """A call that fails shows its own numbers, at once or after retries."""  # A63
    script = Script(TimeoutError(), TimeoutError(), "a", error)
    ask = resilient(max_retries=2, sleep=waits)(sync_ask(script))
    ask()
    with pytest.raises(type(error)):
        ask()
    assert ask.statistics["attempt_number"] == (3 if isinstance(error, TimeoutError) else 1)


def test_statistics_before_any_call_can_be_read():
    """Nobody has called yet: the numbers are there all the same."""
    ask = resilient(sync_ask(Script("a")))
    assert ask.statistics["idle_for"] == 0
    assert len(ask.statistics) == len(list(ask.statistics)) == len(repr(ask.statistics).split(","))


def test_statistics_belong_to_one_function(waits):
    """Two functions, variants included, do not show each other's numbers."""
    decorate = resilient(sleep=waits)
    one, other = decorate(sync_ask(Script(TimeoutError(), "a"))), decorate(sync_ask(Script("a")))
    variant = one.retry_with(max_retries=3)
    one()
    assert (one.statistics["attempt_number"], other.statistics["attempt_number"]) == (2, 1)
    assert variant.statistics["attempt_number"] == 1


def test_statistics_belong_to_one_thread(waits):
    """Each thread sees its own last call."""
    script = Script(TimeoutError(), "a")
    ask = resilient(sleep=waits)(sync_ask(script))
    ask()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(ask.statistics["attempt_number"]))
    thread.start()
    thread.join()
    assert seen == [1]
    assert ask.statistics["attempt_number"] == 2


@pytest.mark.anyio
async def test_statistics_belong_to_one_task(async_waits):
    """Each task sees its own last call."""
    seen = {}

    @resilient(sleep=async_waits)
    async def ask(script):
        return script()

    async def work(failures):
        await ask(Script(*[TimeoutError()] * failures, "a"))
        await anyio.lowlevel.checkpoint()
        seen[failures] = ask.statistics["attempt_number"]

    async with anyio.create_task_group() as tasks:
        for failures in range(4):
            tasks.start_soon(work, failures)
    assert seen == {0: 1, 1: 2, 2: 3, 3: 4}


def test_a_hook_sees_the_statistics_of_nobody_else(waits):
    """Recursion: an inner call of the same function ends with its own numbers, the outer with its."""
    depth = []

    @resilient(sleep=waits)
    def ask(levels):
        depth.append(levels)
        if depth.count(levels) == 1:
            raise TimeoutError
        return 0 if levels == 0 else ask(levels - 1) + 1

    assert ask(3) == 3
    assert ask.statistics["attempt_number"] == 2


# Odds and ends


def test_the_classifier_of_the_arguments_is_asked(waits):
    """`classifier=` judges for all three strategies."""

    class Mine(ErrorClassifier):
        def classify(self, error):
            return super().classify(TimeoutError() if isinstance(error, ValueError) else error)

    assert resilient(classifier=Mine(), sleep=waits)(sync_ask(Script(ValueError("x"), "a")))() == "a"
    assert waits == [pytest.approx(0.5, rel=0.11)]


def test_a_strategy_of_ours_may_be_given_by_hand(waits):
    """`wait=wait_by_error(...)` is the long form of `backoff=`."""
    ask = resilient(wait=wait_by_error(backoff=QUICK), sleep=waits)(sync_ask(Script(TimeoutError(), "a")))
    assert ask() == "a"
    assert waits == [0.1]


def test_a_wait_below_zero_is_none(waits):
    """A strategy that answers with a negative wait makes for no wait, not for an error."""
    ask = resilient(wait=lambda _: -5, sleep=waits)(sync_ask(Script(TimeoutError(), "a")))
    assert ask() == "a"
    assert waits == [0]


def test_a_decorated_function_can_be_copied():
    """Functions are copied by reference, so a decorated one is as well."""
    ask = resilient(sync_ask(Script("a")))
    assert copy.copy(ask) is copy.deepcopy(ask) is ask


def test_try_again_gives_way_to_what_was_wrong(waits):
    """Where TryAgain was raised while handling an error and nothing helped, that error comes out."""
    wrong = ValueError("no valid answer")

    @resilient(sleep=waits, max_retries=1)
    def ask():
        try:
            raise wrong
        except ValueError:
            raise tenacity.TryAgain from None

    with pytest.raises(ValueError, match="no valid answer") as caught:
        ask()
    assert caught.value is wrong
    assert len(waits) == 1
