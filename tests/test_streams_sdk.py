"""Streams through the official SDKs, over a socket, against a server that breaks them on a script."""

import functools

import anthropic
import anyio
import openai
import pytest

from resilient_agent import report_of, resilient
from resilient_agent.testing import Answer, CutStream, FakeLLM, StreamError, no_waiting

# Of a stream that broke, both SDKs leave generators of their own to the garbage collector, which trio complains about.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Async generator '(openai|anthropic)\._:ResourceWarning",
    "ignore:Exception ignored in. <async_generator object:pytest.PytestUnraisableExceptionWarning",
)

TEXT = "one two three four five six seven eight"
WORDS = ["one", " two", " three", " four", " five", " six", " seven", " eight"]


def messages(so_far):
    asked = [{"role": "user", "content": "Count."}]
    return [*asked, {"role": "assistant", "content": "".join(so_far)}] if so_far else asked


def openai_plain(llm, **options):
    @resilient(**options)
    def stream(so_far=()):
        with openai.OpenAI(base_url=llm.openai_base_url, api_key="test", max_retries=0) as client:
            for chunk in client.chat.completions.create(model="m", messages=messages(so_far), stream=True):
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    return plainly(stream)


def anthropic_plain(llm, **options):
    @resilient(**options)
    def stream(so_far=()):
        with anthropic.Anthropic(base_url=llm.anthropic_base_url, api_key="test", max_retries=0) as client:
            asked = {"model": "m", "max_tokens": 50, "messages": messages(so_far), "stream": True}
            for event in client.messages.create(**asked):
                if event.type == "content_block_delta":
                    yield event.delta.text

    return plainly(stream)


def plainly(stream):
    got = []
    try:
        for item in stream():
            got.append(item)
    except Exception as error:
        return got, error
    return got, None


def openai_async(backend, llm, **options):
    @resilient(**options)
    async def stream(so_far=()):
        async with openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="test", max_retries=0) as client:
            chunks = await client.chat.completions.create(model="m", messages=messages(so_far), stream=True)
            async for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    return anyio.run(in_loop, stream, backend=backend)


def anthropic_async(backend, llm, **options):
    @resilient(**options)
    async def stream(so_far=()):
        async with anthropic.AsyncAnthropic(base_url=llm.anthropic_base_url, api_key="test", max_retries=0) as client:
            asked = {"model": "m", "max_tokens": 50, "messages": messages(so_far), "stream": True}
            async for event in await client.messages.create(**asked):
                if event.type == "content_block_delta":
                    yield event.delta.text

    return anyio.run(in_loop, stream, backend=backend)


async def in_loop(stream):
    got = []
    try:
        async for item in stream():
            got.append(item)
    except Exception as error:
        return got, error
    return got, None


WAYS = {
    "openai": openai_plain,
    "anthropic": anthropic_plain,
    "openai-asyncio": functools.partial(openai_async, "asyncio"),
    "openai-trio": functools.partial(openai_async, "trio"),
    "anthropic-asyncio": functools.partial(anthropic_async, "asyncio"),
    "anthropic-trio": functools.partial(anthropic_async, "trio"),
}


@pytest.fixture(params=WAYS)
def read(request):
    """Streams from a server through an SDK, without its own retries and without waiting."""

    def reading(llm, **options):
        with no_waiting():
            return WAYS[request.param](llm, **options)

    return reading


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_stream_cut_before_its_first_chunk_is_retried_unseen(read, reset):
    """The consumer reads one whole answer; the server saw two requests."""  # A52
    with FakeLLM([CutStream(after=0, reset=reset), TEXT]) as llm:
        got, error = read(llm)
        assert ("".join(got), error) == (TEXT, None)
        assert llm.request_count == 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_stream_cut_after_its_fifth_chunk_gives_five_items_once(read, reset):
    """Nothing is asked again, and the SDK's error carries what was delivered."""  # A52
    with FakeLLM([CutStream(after=5, chunks=WORDS, reset=reset), TEXT]) as llm:
        got, error = read(llm)
        assert llm.request_count == 1
    assert got == WORDS[:5]
    assert error is not None
    assert report_of(error).delivered == tuple(WORDS[:5])


def test_resume_makes_the_text_whole(read):
    """The rest is asked for, and no word appears twice."""
    script = [CutStream(after=5, chunks=WORDS, reset=True), Answer(chunks=WORDS[5:])]
    with FakeLLM(script) as llm:
        got, error = read(llm, resume=lambda partial, call: {"so_far": tuple(partial)})
        assert (got, error) == (WORDS, None)
        assert "five" in str(llm.requests[1].json["messages"][-1])


def test_an_error_event_before_the_first_item_is_retried(read):
    """A stream that began with status 200 and says `overloaded` has failed."""  # A47
    with FakeLLM([StreamError(after=0), TEXT]) as llm:
        got, error = read(llm)
        assert ("".join(got), error) == (TEXT, None)
        assert llm.request_count == 2


def test_an_error_event_in_mid_stream_is_an_error(read):
    """It is not taken for the end of the answer."""  # A47
    with FakeLLM([StreamError(after=3, chunks=WORDS), TEXT]) as llm:
        got, error = read(llm)
        assert llm.request_count == 1
    assert got == WORDS[:3]
    assert report_of(error).delivered == tuple(WORDS[:3])
    assert report_of(error).attempts[0].verdict == "retryable"
