"""What a durable save and a restart cost, beside the same bytes appended and synced by hand, and beside SQLite.

    python benchmarks/sessions.py [messages] [rounds]

Each round measures all of them in turn, so that a ratio never compares two moments of the machine. Of
a peer only what it promises as well is measured: a message is on the disk when the call returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from resilient_agent import session_guard

Timed = tuple[float, float]
"""Seconds for all saves, and for reading them back."""


def message(number: int) -> dict[str, str]:
    return {"role": "user", "content": f"{number}: " + "naïve words about an order, again and again. " * 20}


def by_hand(folder: Path, count: int) -> Timed:
    path = folder / "raw.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    begun = time.perf_counter()
    for number in range(count):
        os.write(fd, json.dumps(message(number), ensure_ascii=False).encode() + b"\n")
        os.fsync(fd)
    saved = time.perf_counter()
    os.close(fd)
    restored = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(restored) == count
    return saved - begun, time.perf_counter() - saved


def by_sqlite(folder: Path, count: int) -> Timed:
    connection = sqlite3.connect(folder / "raw.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE messages (body TEXT)")
    begun = time.perf_counter()
    for number in range(count):
        with connection:
            connection.execute("INSERT INTO messages VALUES (?)", (json.dumps(message(number)),))
    saved = time.perf_counter()
    restored = [json.loads(body) for (body,) in connection.execute("SELECT body FROM messages ORDER BY rowid")]
    assert len(restored) == count
    connection.close()
    return saved - begun, time.perf_counter() - saved


def by_guard(folder: Path, count: int) -> Timed:
    saved = 0.0
    with contextlib.suppress(LookupError), session_guard("bench", store=folder) as session:
        begun = time.perf_counter()
        for number in range(count):
            session.append(message(number))
        saved = time.perf_counter() - begun
        raise LookupError
    begun = time.perf_counter()
    with session_guard("bench", store=folder) as session:
        assert len(session.messages) == count
    return saved, time.perf_counter() - begun


def by_async_guard(folder: Path, count: int) -> Timed:
    async def main() -> Timed:
        saved = 0.0
        with contextlib.suppress(LookupError):
            async with session_guard("bench", store=folder) as session:
                begun = time.perf_counter()
                for number in range(count):
                    await session.append(message(number))
                saved = time.perf_counter() - begun
                raise LookupError
        begun = time.perf_counter()
        async with session_guard("bench", store=folder) as resumed:
            assert len(resumed.messages) == count
        return saved, time.perf_counter() - begun

    return asyncio.run(main())


WAYS: dict[str, Callable[[Path, int], Timed]] = {
    "write + fsync by hand": by_hand,
    "SQLite, WAL, synchronous=FULL": by_sqlite,
    "with session_guard": by_guard,
    "async with session_guard": by_async_guard,
}


def main(count: int = 1_000, rounds: int = 5) -> None:
    times: dict[str, list[Timed]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                times[name].append(way(Path(folder), count))
    print(f"{count} messages, medians of {rounds} rounds; x hand: in the same round")
    print(f"{'':32}{'ms per save':>12}{'x hand':>8}{'restore ms':>12}{'x hand':>8}")
    for name, measured in times.items():
        hand = times["write + fsync by hand"]
        save, restore = (statistics.median(one[part] for one in measured) for part in (0, 1))
        ratios = [statistics.median(a[part] / b[part] for a, b in zip(measured, hand, strict=True)) for part in (0, 1)]
        print(f"{name:32}{save / count * 1e3:12.3f}{ratios[0]:8.2f}{restore * 1e3:12.1f}{ratios[1]:8.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
