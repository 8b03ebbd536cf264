"""Streams that break: before the first word unseen, afterwards resumed, or passed on with what was delivered.

    python examples/03_streaming.py

It talks to a local server that breaks its streams on a script; no key is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam

from resilient_agent import report_of, resilient
from resilient_agent.testing import Answer, CutStream, FakeLLM, Step

WORDS = ["The", " sky", " is", " blue", " because", " air", " scatters", " blue", " light", " most."]
QUESTION: ChatCompletionMessageParam = {"role": "user", "content": "Why is the sky blue?"}


def go_on(partial: list[Any], _call: Any) -> dict[str, Any]:
    """The arguments for the rest: the model is shown what it has said so far."""
    said: ChatCompletionMessageParam = {"role": "assistant", "content": "".join(partial)}
    return {"messages": [QUESTION, said]}


@resilient(first_item_timeout=30, item_timeout=10)
async def tokens(
    client: openai.AsyncOpenAI, *, messages: list[ChatCompletionMessageParam]
) -> AsyncGenerator[str, None]:
    stream = await client.chat.completions.create(model="any-model", messages=messages, stream=True)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


resumed = tokens.retry_with(resume=go_on)


async def main() -> None:
    script: list[Step] = [
        CutStream(after=0, reset=True),  # nothing was seen of it: tried again
        CutStream(after=5, chunks=WORDS, reset=True),  # five words were: resumed
        Answer(chunks=WORDS[5:]),
        CutStream(after=5, chunks=WORDS, reset=True),  # and once more, for the one that is not resumed
    ]
    with FakeLLM(script) as llm:
        async with openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="none-needed", max_retries=0) as client:
            print("with resume=, over a stream that is cut twice:")
            async for word in resumed(client, messages=[QUESTION]):
                print(word, end="", flush=True)
            print(f"\n  ({llm.request_count} requests)")

            print("without it:")
            try:
                async for word in tokens(client, messages=[QUESTION]):
                    print(word, end="", flush=True)
            except Exception as error:
                report = report_of(error)
                print(f"\n  {type(error).__name__}; delivered: {''.join(report.delivered) if report else ''!r}")


if __name__ == "__main__":
    asyncio.run(main())
