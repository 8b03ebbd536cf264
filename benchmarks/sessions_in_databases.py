"""What a save to a database costs, beside the same bytes given to the bare driver; what a listing and a claim cost.

    python benchmarks/sessions_in_databases.py [messages] [rounds] [postgresql://... redis://...]

Without addresses it starts a PostgreSQL and a Valkey (`appendfsync always`) of its own, from the wheels that the
tests use. Each round measures both in turn, so that a ratio never compares two moments of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
import redis.asyncio

from resilient_agent import open_store, session_guard

Save = Callable[[int], Awaitable[object]]
LISTED = 10_000


def message(number: int) -> dict[str, str]:
    return {"role": "user", "content": f"{number}: " + "naïve words about an order, again and again. " * 20}


@contextlib.asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Save]:
    """One INSERT into a table of its own, or one RPUSH."""
    name = uuid.uuid4().hex
    if url.startswith("redis"):
        client = redis.asyncio.Redis.from_url(url)
        yield lambda number: client.rpush(f"bench:{name}", json.dumps(message(number)))
        await client.delete(f"bench:{name}")
        await client.aclose()
        return
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS bench (session text, seq int, body jsonb, PRIMARY KEY (session, seq))"
        )
        insert = "INSERT INTO bench VALUES (%s, %s, %s)"
        yield lambda number: connection.execute(insert, (name, number, json.dumps(message(number))))
        await connection.execute("DROP TABLE bench")


@contextlib.asynccontextmanager
async def by_guard(url: str) -> AsyncIterator[Save]:
    async with session_guard(uuid.uuid4().hex, store=url) as session:
        yield lambda number: session.append(message(number))


async def saves(way: Callable[[str], contextlib.AbstractAsyncContextManager[Save]], url: str, count: int) -> float:
    """The median of so many saves, in seconds."""
    took = []
    async with way(url) as save:
        for number in range(count):
            begun = time.perf_counter()
            await save(number)
            took.append(time.perf_counter() - begun)
            await asyncio.sleep(0)
    return statistics.median(took[count // 10 :])


def listing(url: str) -> float:
    """Seconds for listing 10,000 sessions."""
    store = open_store(url)
    for number in range(LISTED - len(list(store.scan()))):
        log = store.claim(f"listed {number}")
        log.append("appended", {"messages": [message(number)]})
        log.release()
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        assert len(list(store.scan())) >= LISTED
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


async def compare(kind: str, url: str, count: int, rounds: int) -> None:
    await saves(by_hand, url, 100)
    await saves(by_guard, url, 100)
    ratios = []
    for _ in range(rounds):
        hand, guard = await saves(by_hand, url, count), await saves(by_guard, url, count)
        ratios.append(guard / hand)
        print(f"{kind:>12}  by hand {hand * 1e3:.3f} ms, guard {guard * 1e3:.3f} ms: {guard / hand:.2f} x")
    print(f"{kind:>12}  median of {rounds} rounds: {statistics.median(ratios):.2f} x")


def main(count: int = 1000, rounds: int = 5, *urls: str) -> None:
    with contextlib.ExitStack() as running:
        for url in urls or own_servers(running):
            kind = url.partition(":")[0]
            asyncio.run(compare(kind, url, count, rounds))
            print(f"{kind:>12}  listing {LISTED:,} sessions: {listing(url) * 1e3:.0f} ms")


def own_servers(running: contextlib.ExitStack) -> list[str]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
    from servers import PostgresServer, ValkeyServer

    return [running.enter_context(server()).url for server in (PostgresServer, ValkeyServer)]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
