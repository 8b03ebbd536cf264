"""Streams that break: before the first word unseen, afterwards resumed, or passed on with what was delivered.

    python examples/03_streaming.py

It talks to a local server that breaks its streams on a script; no key is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam

from resilient_agent import report_of, resilient
from resilient_agent.testing import Answer, CutStream, FakeLLM, Request, Step

WORDS = ["The", " sky", " is", " blue", " because", " air", " scatters", " blue", " light", " most."]
QUESTION: ChatCompletionMessageParam = {"role": "user", "content": "Why is the sky blue?"}


def server(request: Request) -> Step:
    """It goes on behind what the model is shown to have said already, and cuts all streams but the third."""
    last = request.json["messages"][-1]
    said = last["content"].split() if last["role"] == "assistant" else []
    rest = WORDS[len(said) :]
    if request.index == 0:
        return CutStream(after=0, chunks=rest, reset=True)
    return Answer(chunks=rest) if request.index == 2 else CutStream(after=5, chunks=rest, reset=True)


def go_on(delivered: list[Any], call: Any) -> dict[str, Any]:
    """The arguments for the rest: the model is shown what it has said so far."""
    said: ChatCompletionMessageParam = {"role": "assistant", "content": "".join(delivered)}
    return {"messages": [*call.kwargs["messages"], said]}


def on_retry(attempt: int, error: Exception, delay: float) -> None:
    print(f"\n  [stream {attempt} broke: {type(error).__name__}; another one in {delay:.1f} s]")


@resilient(first_item_timeout=30, item_timeout=10, on_retry=on_retry)
async def tokens(
    client: openai.AsyncOpenAI, *, messages: list[ChatCompletionMessageParam]
) -> AsyncGenerator[str, None]:
    stream = await client.chat.completions.create(model="any-model", messages=messages, stream=True)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


resumed = tokens.retry_with(resume=go_on)


async def shown(words: AsyncIterator[str]) -> str:
    """The whole text, each word printed as it comes."""
    text = ""
    async for word in words:
        print(word, end="", flush=True)
        text += word
    return text


async def main() -> None:
    logging.getLogger("resilient_agent").setLevel(logging.CRITICAL)  # what it would say is printed here
    with FakeLLM(server) as llm:
        # max_retries=0: the SDK's own retries would only hide from us what it met.
        async with openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="none-needed", max_retries=0) as client:
            print("With resume=, over one stream cut before its first word and one after five:")
            text = await shown(resumed(client, messages=[QUESTION]))
            print(f"\n  whole, and no word twice: {text == ''.join(WORDS)} ({llm.request_count} requests)")
            print(f"  told: {text}")

            print("Without it, over one cut after five:")
            try:
                await shown(tokens(client, messages=[QUESTION]))
            except openai.APIConnectionError as error:
                report = report_of(error)
                print(f"\n  {type(error).__name__}; delivered: {''.join(report.delivered) if report else ''!r}")


if __name__ == "__main__":
    asyncio.run(main())
