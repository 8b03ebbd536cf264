"""Three hundred calls by fifty workers through one pacer, against a server that allows sixty a second.

    python examples/05_batch_through_one_pacer.py

On a terminal one line shows how far it is; elsewhere a line is printed every second. No key is needed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator

import openai

from resilient_agent import Pacer, resilient
from resilient_agent.testing import FakeLLM, Request, Status, Step

CALLS, WORKERS, RATE, BURST = 300, 50, 60.0, 20


class Bucket:
    """A server that lets `RATE` requests a second through, and says how long to wait."""

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
    """What is done, in one line."""

    def __init__(self, pacer: Pacer) -> None:
        self.done = self.retries = 0
        self.pacer = pacer

    def retried(self, attempt: int, error: Exception, delay: float) -> None:  # noqa: ARG002 - what a hook is told
        self.retries += 1

    async def show(self) -> None:
        live = sys.stdout.isatty()
        while self.done < CALLS:
            line = f"{self.done:4} of {CALLS} done, {self.retries} retries, {self.pacer!r}"
            print(f"\r{line:<100}" if live else line, end="" if live else "\n", flush=True)
            await asyncio.sleep(0.1 if live else 1)
        print()


async def main() -> None:
    logging.getLogger("resilient_agent").setLevel(logging.ERROR)  # the line tells enough
    bucket, pacer = Bucket(), Pacer(name="our account")
    progress = Progress(pacer)
    with FakeLLM(bucket) as llm:
        async with openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="none-needed", max_retries=0) as client:

            @resilient(pacer=pacer, max_retries=40, on_retry=progress.retried)
            async def ask(number: int) -> str:
                asked = [{"role": "user", "content": f"question {number}"}]
                reply = await client.chat.completions.create(model="any-model", messages=asked)  # type: ignore[arg-type]
                return reply.choices[0].message.content or ""

            async def worker(numbers: Iterator[int]) -> None:
                for number in numbers:
                    answers[number] = await ask(number)
                    progress.done += 1

            answers: dict[int, str] = {}
            todo, begun = iter(range(CALLS)), time.monotonic()
            await asyncio.gather(progress.show(), *(worker(todo) for _ in range(WORKERS)))
        took = time.monotonic() - begun
        assert all(answers[number] == f"answer to question {number}" for number in range(CALLS))
        print(f"{CALLS} calls in {took:.1f} s; the limit allows {(CALLS - BURST) / RATE:.1f} s")
        print(f"{llm.request_count} requests, {bucket.refused} refused, 0 lost")
        print(f"{llm.request_count / CALLS - 1:.2f} requests wasted per call")


if __name__ == "__main__":
    asyncio.run(main())
