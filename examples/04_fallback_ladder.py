"""A ladder of fallbacks: a shorter prompt, then a larger model; and a failure that no ladder helps against.

    python examples/04_fallback_ladder.py

It talks to a local server that refuses long prompts; no key is needed.
"""

from __future__ import annotations

import logging
from typing import Any

import openai

from resilient_agent import Rung, last_call, resilient
from resilient_agent.testing import FakeLLM, Request, Status, Step

TOO_LONG = {
    "error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 8192 tokens."}
}
NO_CREDIT = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}
SMALL_TAKES, KEPT = 200, 3


def letters(messages: list[Any]) -> int:
    return sum(len(message["content"]) for message in messages)


def server(request: Request) -> Step | str:
    """The small model takes 200 letters, the account of the poor one is empty, the busy one is never free."""
    model, length = request.json["model"], letters(request.json["messages"])
    if model == "poor-model":
        return Status(429, NO_CREDIT)
    if model == "busy-model":
        return Status(503)
    if model == "small-model" and length > SMALL_TAKES:
        return Status(400, TOO_LONG)
    return f"{model} has read {length} letters."


def compacted(call: Any) -> dict[str, Any]:
    """Of a long conversation its end is what counts."""
    return {"messages": call.kwargs["messages"][-KEPT:]}


def conversation(count: int, length: int) -> list[Any]:
    return [{"role": "user", "content": "x" * length} for _ in range(count)]


def main() -> None:
    logging.getLogger("resilient_agent").setLevel(logging.CRITICAL)  # the reports that are printed tell it all
    with (
        FakeLLM(server) as llm,
        openai.OpenAI(base_url=llm.openai_base_url, api_key="none-needed", max_retries=0) as client,
    ):

        def complete(model: str, messages: list[Any]) -> str:
            reply = client.chat.completions.create(model=model, messages=messages)
            return reply.choices[0].message.content or ""

        def small(*, messages: list[Any]) -> str:
            return complete("small-model", messages)

        def large(*, messages: list[Any]) -> str:
            return complete("large-model", messages)

        @resilient(fallback=[Rung(small, transform=compacted, name="compacted"), Rung(large, name="large model")])
        def ask(*, messages: list[Any]) -> str:
            return complete("small-model", messages)

        @resilient(fallback=large)
        def ask_without_credit(*, messages: list[Any]) -> str:
            return complete("poor-model", messages)

        # Its failure is worth a retry; on_exhausted=True lets the ladder in once the retries are used up.
        @resilient(fallback=large, on_exhausted=True, max_retries=1)
        def ask_the_busy_one(*, messages: list[Any]) -> str:
            return complete("busy-model", messages)

        for title, messages in (
            ("It fits", conversation(2, 50)),
            ("Its end fits", conversation(20, 50)),
            ("Not even its end fits", conversation(20, 500)),
        ):
            print(f"\n{title}: {ask(messages=messages)}\n{last_call()}")

        print("\nNo credit: no fallback helps, so none is called.")
        try:
            ask_without_credit(messages=conversation(1, 50))
        except openai.RateLimitError as error:
            print(f"{type(error).__name__}\n{last_call()}")

        print(f"\nNever free: {ask_the_busy_one(messages=conversation(1, 50))}\n{last_call()}")


if __name__ == "__main__":
    main()
