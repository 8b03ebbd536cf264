"""A ladder of fallbacks: a shorter prompt, then a larger model; and a failure that no ladder helps against.

    python examples/04_fallback_ladder.py

It talks to a local server that refuses long prompts; no key is needed.
"""

from __future__ import annotations

from typing import Any

import openai

from resilient_agent import Rung, last_call, report_of, resilient
from resilient_agent.testing import FakeLLM, Request, Status, Step

TOO_LONG = {
    "error": {"code": "context_length_exceeded", "message": "This model's maximum context length is 8192 tokens."}
}
NO_CREDIT = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}


def server(request: Request) -> Step | str:
    """The small model takes no more than 200 letters; the account of `poor-model` is empty."""
    if request.json["model"] == "poor-model":
        return Status(429, NO_CREDIT)
    length = len(request.json["messages"][-1]["content"])
    if request.json["model"] == "small-model" and length > 200:
        return Status(400, TOO_LONG)
    return f"{request.json['model']} has read {length} letters."


def shortened(call: Any) -> dict[str, Any]:
    """Of a long prompt the end is what counts."""
    return {"prompt": call.kwargs["prompt"][-1000:]}


def main() -> None:
    with (
        FakeLLM(server) as llm,
        openai.OpenAI(base_url=llm.openai_base_url, api_key="none-needed", max_retries=0) as client,
    ):

        def complete(model: str, prompt: str) -> str:
            reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
            return reply.choices[0].message.content or ""

        def small(*, prompt: str) -> str:
            return complete("small-model", prompt)

        def large(*, prompt: str) -> str:
            return complete("large-model", prompt)

        @resilient(fallback=[Rung(small, transform=shortened, name="shorter prompt"), Rung(large, name="large model")])
        def ask(*, prompt: str) -> str:
            return complete("small-model", prompt)

        @resilient(fallback=large)
        def ask_without_credit(*, prompt: str) -> str:
            return complete("poor-model", prompt)

        for length in (100, 5000):
            print(f"{length} letters: {ask(prompt='x' * length)}")
            print(last_call())
        try:
            ask_without_credit(prompt="Why?")
        except openai.RateLimitError as error:
            print(f"no credit: {type(error).__name__}, no fallback, report {report_of(error)}")


if __name__ == "__main__":
    main()
