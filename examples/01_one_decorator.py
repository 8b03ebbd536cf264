"""One decorator: a model call that waits and tries again as its errors ask for.

    python examples/01_one_decorator.py

It talks to a local server that answers 429, then 503, then breaks the connection, and then
answers. What failed and what is waited for stands in the log, which Python shows on stderr
where nothing else is configured. Set OPENAI_BASE_URL (or OPENAI_API_KEY) and OPENAI_MODEL to talk to a real service.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import openai

from resilient_agent import resilient
from resilient_agent.testing import FakeLLM, Reset, Status, Step

MODEL = os.environ.get("OPENAI_MODEL", "any-model")
TROUBLE: list[Step | str] = [
    Status(429, headers={"retry-after-ms": "400"}),
    Status(503),
    Reset(),
    "Because it scatters blue most.",
]


def main() -> None:
    with ExitStack() as stack:
        if not (os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")):
            llm = stack.enter_context(FakeLLM(TROUBLE))
            os.environ |= {"OPENAI_BASE_URL": llm.openai_base_url, "OPENAI_API_KEY": "none-needed"}
        # max_retries=0: the SDK's own retries would only hide from us what it met.
        client = stack.enter_context(openai.OpenAI(max_retries=0))

        @resilient
        def ask(question: str) -> str:
            reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
            return reply.choices[0].message.content or ""

        print("Why is the sky blue?")
        print(" ", ask("Why is the sky blue?"))
        print(f"  ({ask.statistics['attempt_number']} attempts, {ask.statistics['idle_for']:.1f} s waited)")


if __name__ == "__main__":
    main()
