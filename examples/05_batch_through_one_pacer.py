"""Three hundred calls by fifty workers through one pacer, against a server that allows sixty a second.

    python examples/05_batch_through_one_pacer.py

On a terminal one line shows how far it is; elsewhere a line is printed every second. No key is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator

import openai

from resilient_agent import Pacer, resilient
from resilient_agent.testing import FakeLLM, Request, Status, Step

CALLS, WORKERS, RATE, BURST = 300, 50, 60.0, 60


class Bucket:
    """A server that lets `RATE` requests a second through, the first `BURST` at once, and says how long to wait."""

    def __init__(self) -> None:
        self.level, self.at, self.refused = float(BURST), time.monotonic(), 0
        self.lock = threading.Lock()

    def __call__(self, request: Request) -> Step | str:
        with self.lock:
            now = time.monotonic()
            self.level, self.at = min(BURST, self.level + (now - self.at) * RATE), now
            if self.level >= 1:
                self.level -= 1
                return f"answer to {request.json['messages'][-1]['content']}"
            self.refused += 1
            return Status(429, headers={"retry-after-ms": str(math.ceil(1000 * (1 - self.level) / RATE))})


class Progress:
    """How far the batch is, in one line."""

    def __init__(self) -> None:
        self.done = self.under_way = self.limited = self.retries = 0

    def retried(self, attempt: int, error: Exception, delay: float) -> None:  # noqa: ARG002 - what a hook is told
        self.retries += 1
        self.limited += isinstance(error, openai.RateLimitError)

    def __str__(self) -> str:
        waiting = min(WORKERS, CALLS - self.done) - self.under_way
        return (
            f"{self.done:3} of {CALLS} done, {waiting:2} waiting, {self.limited} times 429, "
            f"{self.retries} {'retry' if self.retries == 1 else 'retries'}"
        )

    async def show(self) -> None:
        live = sys.stdout.isatty()
        while self.done < CALLS:
            print(f"\r{self!s:<80}" if live else self, end="" if live else "\n", flush=True)
            await asyncio.sleep(0.1 if live else 1)
        print(f"\r{self!s:<80}" if live else self)


async def main() -> None:
    logging.getLogger("resilient_agent").setLevel(logging.ERROR)  # one line for each retry would hide the progress
    bucket, pacer, progress = Bucket(), Pacer(name="our account"), Progress()
    answers: dict[int, str] = {}
    with FakeLLM(bucket) as llm:
        async with openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="none-needed", max_retries=0) as client:

            @resilient(pacer=pacer, on_retry=progress.retried)
            async def ask(number: int) -> str:
                progress.under_way += 1
                try:
                    reply = await client.chat.completions.create(
                        model="any-model", messages=[{"role": "user", "content": f"question {number}"}]
                    )
                finally:
                    progress.under_way -= 1
                return reply.choices[0].message.content or ""

            async def worker(numbers: Iterator[int]) -> None:
                for number in numbers:
                    with contextlib.suppress(openai.APIError):  # lost, and counted below
                        answers[number] = await ask(number)
                    progress.done += 1

            todo, begun = iter(range(CALLS)), time.monotonic()
            showing = asyncio.create_task(progress.show())
            await asyncio.gather(*(worker(todo) for _ in range(WORKERS)))
            took = time.monotonic() - begun
            await showing

    lost = sum(answers.get(number) != f"answer to question {number}" for number in range(CALLS))
    for name, value in (
        ("calls", CALLS),
        ("requests sent", llm.request_count),
        ("refused", bucket.refused),
        ("lost", lost),
        ("wasted requests per call", f"{bucket.refused / CALLS:.2f}"),
        ("seconds", f"{took:.1f}"),
        ("seconds that the limit asks for", f"{(CALLS - BURST) / RATE:.1f}"),
    ):
        print(f"  {name:<32}{value:>6}")


if __name__ == "__main__":
    asyncio.run(main())
