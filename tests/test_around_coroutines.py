"""Plain functions around coroutine functions: decorators put them there, SDKs as well. What comes back decides."""

import asyncio
import functools
import gc
import inspect
import warnings

import anyio
import openai
import pytest

from resilient_agent import Pacer, report_of, resilient
from resilient_agent.testing import FakeLLM, Status, no_waiting, switched_off

pytestmark = pytest.mark.anyio
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "why?"}]}


class Script:
    """Outcomes in turn, the last one for ever; counts."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    async def __call__(self):
        await anyio.lowlevel.checkpoint()
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Limited(Exception):
    status_code = 429


def timed(fn):
    """A decorator that adds something."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


def run(fn):
    """A decorator as for a command line."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return asyncio.run(fn(*args, **kwargs))

    return wrapper


def around(script, decorator=timed):
    async def ask():
        return await script()

    return decorator(ask)


@pytest.mark.parametrize("options", [{}, {"timeout": 20}, {"deadline": 60}])
async def test_a_method_of_a_real_sdk_is_retried(options):
    """The SDK's own decorator makes it a plain function to look at."""
    with FakeLLM([Status(503), Status(429), "because"]) as llm, no_waiting() as waits:
        async with openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="test", max_retries=0) as client:
            create = resilient(client.chat.completions.create, **options)
            answer = await create(**QUESTION)
        assert (answer.choices[0].message.content, llm.request_count) == ("because", 3)
    assert len(waits) >= 2


@pytest.mark.parametrize("options", [{}, {"before": lambda _: None}, {"deadline": 60}])
async def test_a_coroutine_that_comes_back_is_retried(options):
    """From the first attempt on, each is a call of the function; watched or not, at the first call and after it."""
    script = Script(ConnectionResetError("cut"), "a", "b", ConnectionResetError("cut"), "c")
    ask = resilient(**options)(around(script))
    with no_waiting() as waits:
        assert [await ask() for _ in range(3)] == ["a", "b", "c"]
    assert (script.calls, len(waits)) == (5, 2)
    assert ask.call_report().requests == 2


async def test_what_fails_for_good_comes_out_as_it_is():
    """And a call that used up its retries has its report."""
    script = Script(ConnectionResetError("cut"))
    ask = resilient(around(script))
    with no_waiting(), pytest.raises(ConnectionResetError) as caught:
        await ask()
    assert (script.calls, report_of(caught.value).requests) == (4, 4)
    with pytest.raises(KeyError):
        await resilient(around(Script(KeyError("choices"))))()


async def test_one_that_a_coroutine_function_is_decorated_with_is_like_it():
    """Coroutine hooks and limits of time may be given."""
    told, begun = [], []

    async def tell(attempt, error, delay):
        told.append(attempt)

    @resilient(on_retry=tell, timeout=0.05, max_retries=1)
    @timed
    async def slow():
        begun.append(1)
        await anyio.sleep(60 if len(begun) == 1 else 0)
        return "answer"

    with no_waiting():
        assert await slow() == "answer"
    assert told == [1]


@pytest.mark.parametrize("options", [{}, {"before": lambda _: None}, {"deadline": 60}])
def test_one_that_runs_a_loop_by_itself_stays_plain(anyio_backend_name, options):
    """It gives a value, at the first call and after it."""
    script = Script(ConnectionResetError("cut"), "a", "b", ConnectionResetError("cut"), "c")
    ask = resilient(**options)(around(script, run))
    with no_waiting() as waits:
        assert [ask() for _ in range(3)] == ["a", "b", "c"]
    assert (script.calls, len(waits)) == (5, 2)
    assert not inspect.iscoroutinefunction(ask)


async def test_it_waits_with_the_others_without_holding_up_the_loop():
    """A lane that is closed is waited for in the coroutine."""
    pacer = Pacer()
    script = Script("a", Limited("slow down"), "b", "c")
    ask = resilient(pacer=pacer, sleep=lambda _: anyio.lowlevel.checkpoint())(around(script))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [await ask() for _ in range(3)] == ["a", "b", "c"]
    assert script.calls == 4


async def test_an_attempt_that_never_begins_is_closed():
    """Its coroutine was made; a call that is cancelled while it waits for the others leaves no warning."""
    pacer, script = Pacer(), Script("answer")
    with pytest.raises(Limited):
        await resilient(pacer=pacer, max_retries=0)(Script(Limited("slow down")).__call__)()
    ask = resilient(pacer=pacer)(around(script))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with anyio.move_on_after(0.05) as scope:
            await ask()
        gc.collect()
    assert (script.calls, scope.cancelled_caught) == (0, True)


async def test_switched_off_it_is_called_plainly():
    """Once, and what it raises comes out."""
    script = Script(ConnectionResetError("cut"))
    ask = resilient(around(script))
    with switched_off(), pytest.raises(ConnectionResetError):
        await ask()
    assert script.calls == 1


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{}, {"deadline": 60}], ids=str)
async def test_plain_code_that_gives_a_coroutine_without_saying_so_is_warned_of_once(options):
    """A lambda is called once and its coroutine is the user's; what fails in there is not tried again."""

    async def create():
        raise ConnectionResetError("cut")

    ask = resilient(**options)(lambda: create())  # noqa: PLW0108 - as users write it
    with pytest.warns(RuntimeWarning, match="gave a coroutine") as told, pytest.raises(ConnectionResetError):
        await ask()
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConnectionResetError):
            await ask()
