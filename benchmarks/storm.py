"""A batch of calls against a rate limit, a window, a crowded server and an outage: who finishes, when, at what cost.

Workers push calls into a simulated server, on an event loop whose time jumps, so that minutes take
seconds and every run is the same. Beside `@resilient` as it stands runs plain tenacity: exponential
waits with full jitter, as everybody writes it, and patient (40 attempts) so that little is lost.

    python benchmarks/storm.py [--calls 1000] [--workers 100]

Columns: calls that were answered and lost; the time of the last answer over the least in which the
server could have let all calls in (scaled up by those that were lost); requests sent for each
call answered, less one. Takes some ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import random
import selectors
import warnings
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final

import tenacity

from resilient_agent import resilient

SERVICE: Final = 1.5
"""Seconds, the median of an answer's time."""
LONGEST: Final = 36_000.0
"""Simulated seconds after which a run is given up."""


class Refused(Exception):
    """What a client raises for 429 and 503: told by its status and its headers."""

    def __init__(self, status: int, wait: float | None) -> None:
        super().__init__("Rate limit reached." if status == 429 else "The server is overloaded.")
        self.status_code = status
        headers = {} if wait is None else {"retry-after-ms": str(math.ceil(wait * 1000))}
        self.response = SimpleNamespace(status_code=status, headers=headers)


class Bucket:
    """`rate` requests a second, with room for `burst`; where it is `penal`, refused ones count as well."""

    def __init__(self, rate: float, burst: int, *, hint: bool, penal: bool = False) -> None:
        self.rate, self.burst, self.hint, self.penal = rate, burst, hint, penal
        self.level, self.at = float(burst), 0.0

    def enter(self, now: float) -> None:
        """Let one in, or raise."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            if self.penal:
                self.level = max(-self.burst, self.level - 1)
            raise Refused(429, (1 - self.level) / self.rate if self.hint else None)
        self.level -= 1

    def leave(self) -> None:
        """One is answered."""

    def least(self, calls: int) -> float:
        """Seconds in which it could let so many in."""
        return max(0.0, calls - self.burst) / self.rate


class Crowd:
    """So many at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.inside = most, 0

    def enter(self, now: float) -> None:  # noqa: ARG002 - as a bucket
        """Let one in, or raise."""
        if self.inside >= self.most:
            raise Refused(429, None)
        self.inside += 1

    def leave(self) -> None:
        """One is answered."""
        self.inside -= 1

    def least(self, calls: int) -> float:
        """Seconds in which it could let so many in."""
        return calls * SERVICE * math.exp(0.125) / self.most


SCENARIOS: Final[dict[str, tuple[Callable[[], Bucket | Crowd], tuple[float, float] | None]]] = {
    "named waits": (lambda: Bucket(10, 20, hint=True), None),
    "no named waits": (lambda: Bucket(10, 20, hint=False), None),
    "refusals count": (lambda: Bucket(10, 20, hint=False, penal=True), None),
    "bursts of two": (lambda: Bucket(10, 2, hint=True), None),
    "ten at a time": (lambda: Crowd(10), None),
    "a minute's outage": (lambda: Bucket(10, 20, hint=True), (30.0, 90.0)),
}


class _Jump(selectors.SelectSelector):
    """Waits for nothing: the loop's time goes on instead."""

    loop: Loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout:
            self.loop.now += timeout
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop in made-up time."""

    def __init__(self) -> None:
        self.now = 0.0
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)

    def time(self) -> float:
        """Seconds since it began."""
        return self.now


def plain_tenacity(attempts: int) -> Callable[[Any], Any]:
    """The recipe that everybody writes."""
    return tenacity.retry(
        wait=tenacity.wait_random_exponential(min=1, max=60),
        stop=tenacity.stop_after_attempt(attempts),
        retry=tenacity.retry_if_exception_type(Refused),
        reraise=True,
    )


CLIENTS: Final[dict[str, Callable[[Any], Any]]] = {
    "@resilient": resilient,
    "tenacity, 6": plain_tenacity(6),
    "tenacity, 40": plain_tenacity(40),
}


async def storm(
    decorate: Callable[[Any], Any],
    server: Bucket | Crowd,
    outage: tuple[float, float] | None,
    calls: int,
    workers: int,
) -> tuple[int, float, int]:
    """How many calls were answered, when the last was let in, and how many requests that took."""
    loop, dice = asyncio.get_running_loop(), random.Random(7)
    done, last, sent = 0, 0.0, 0

    async def request() -> str:
        nonlocal last, sent
        sent += 1
        if outage and outage[0] <= loop.time() < outage[1]:
            await asyncio.sleep(0.05)
            raise Refused(503, None)
        try:
            server.enter(loop.time())
        except Refused:
            await asyncio.sleep(0.02)
            raise
        last = loop.time()
        await asyncio.sleep(dice.lognormvariate(math.log(SERVICE), 0.5))
        server.leave()
        return "ok"

    ask: Callable[[], Awaitable[str]] = decorate(request)
    todo = iter(range(calls))

    async def work() -> None:
        nonlocal done
        for _ in todo:
            try:
                await ask()
            except Refused:
                continue
            done += 1

    await asyncio.wait_for(asyncio.gather(*(work() for _ in range(workers))), LONGEST)
    return done, last, sent


def main() -> None:
    """Run every client through every scenario and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=100)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(f"{'scenario':18} {'client':13} {'done':>5} {'lost':>5} {'x least':>8} {'waste':>6}")
    for scenario, (make, outage) in SCENARIOS.items():
        for client, decorate in CLIENTS.items():
            random.seed(7)
            server, loop = make(), Loop()
            try:
                done, last, sent = loop.run_until_complete(
                    storm(decorate, server, outage, options.calls, options.workers)
                )
            finally:
                loop.close()
            least = server.least(options.calls) + (outage[1] - outage[0] if outage else 0.0)
            times = last / least * options.calls / max(1, done)
            lost, waste = options.calls - done, sent / max(1, done) - 1
            print(f"{scenario:18} {client:13} {done:5} {lost:5} {times:8.2f} {waste:6.2f}", flush=True)


if __name__ == "__main__":
    main()
