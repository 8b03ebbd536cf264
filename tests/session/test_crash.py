"""Real kill -9 at random moments, and a disk that is really full: nothing acknowledged is lost.

The children are forked from one warmed-up process (the nursery), so that a death costs milliseconds.
"""

import errno
import json
import os
import random
import signal
import time

import pytest

from resilient_agent import ConversationRecovery, FileStore, interrupted_sessions, session_guard

NURSERY = """
import asyncio, json, os, sys
from resilient_agent import ConversationRecovery, session_guard

def say(word):
    os.write(1, f"{word}\\n".encode())

def message(n):
    return {"n": n, "text": "x" * (n * 7919 % 30_000)}

def plain(folder, name):
    with session_guard(name, store=folder, max_resumes=None) as session:
        say("entered")
        n = len(session.messages)
        while True:
            session.append(message(n))
            say(n)
            n += 1

def by_async(folder, name):
    async def main():
        async with session_guard(name, store=folder, max_resumes=None) as session:
            say("entered")
            n = len(session.messages)
            while True:
                await session.append(message(n))
                say(n)
                n += 1
    asyncio.run(main())

def replacing(folder, name):
    with session_guard(name, store=folder, max_resumes=None) as session:
        say("entered")
        n = 0
        while True:
            session.replace([message(n)] * (n % 3 + 1))
            say(n)
            n += 1

def ending(folder, name):
    while True:
        with session_guard(name, store=folder, max_resumes=None) as session:
            say("entered")
            session.append(message(0))
            session.append(message(1))
        say("ended")

def snapshots(folder, name):
    async def main():
        recovery = ConversationRecovery(folder)
        n = 0
        while True:
            n += 1
            # Now and then the history is cut, so that both kinds of record are killed.
            messages = [{"of": n}] if n % 5 == 0 else [*messages, {"of": n}] if n > 1 else [{"of": n}]
            await recovery.save_snapshot(name, messages, {"n": n, "count": len(messages)})
            say(n)
    asyncio.run(main())

JOBS = {job.__name__: job for job in (plain, by_async, replacing, ending, snapshots)}

def warm():
    import tempfile
    async def main():
        recovery = ConversationRecovery(tempfile.mkdtemp())
        await recovery.save_snapshot("warm", [{}])
        await recovery.delete_snapshot("warm")
    asyncio.run(main())

warm()
for line in sys.stdin:
    job, folder, name = json.loads(line)
    if os.fork() == 0:
        try:
            say(os.getpid())
            JOBS[job](folder, name)
        finally:
            os._exit(1)
    _, status = os.wait()
    say(f"died {-os.waitstatus_to_exitcode(status)}")
"""


class Nursery:
    """Lets children live for a moment and kills them."""

    def __init__(self, process, folder):
        self._process, self._folder = process, folder
        self.rng = random.Random(20261123)

    def live_and_die(self, job, name, *, folder=None, words=6):
        """What a child said that was killed with SIGKILL at a random moment: after so many words and a while."""
        self._process.stdin.write(json.dumps([job, str(folder or self._folder), name]) + "\n")
        child = int(self._process.stdout.readline())
        said = [self._process.stdout.readline() for _ in range(self.rng.randint(0, words))]
        time.sleep(self.rng.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        for line in self._process.stdout:
            said.append(line)
            if line.startswith("died"):
                break
        assert said.pop() == f"died {signal.SIGKILL.value}\n", said
        return [line.strip() for line in said]


@pytest.fixture
def nursery(start, folder):
    return Nursery(start(NURSERY), folder)


def repeated(short, long):
    """So many times in every run, and so many more with `-m long`."""
    return pytest.mark.parametrize(
        "deaths", [short, pytest.param(long, marks=pytest.mark.long)], ids=lambda count: f"{count} deaths"
    )


def numbers(messages):
    return [message["n"] for message in messages]


@pytest.mark.parametrize("job", ["plain", "by_async"])
@repeated(20, 200)
def test_no_acknowledged_message_is_lost_to_a_kill(nursery, store, job, deaths):  # B1 B2 B7
    """After SIGKILL every acknowledged message is there, in order and once, and the session is found and resumed."""
    entered = acknowledged = 0
    for trial in range(deaths):
        name = f"session-{trial}"
        said = nursery.live_and_die(job, name)
        acks = [int(word) for word in said if word != "entered"]
        found = [session for session in interrupted_sessions(store) if session.session_id == name]
        if "entered" not in said and not found:
            assert store.read(name) is None
            continue
        assert len(found) == 1
        assert found[0].interruption.reason == "unknown"
        with pytest.raises(LookupError), session_guard(name, store=store) as session:
            assert session.resumed
            assert session.damage == ()
            kept = session.messages
            session.append({"n": len(kept)})
            raise LookupError("so that it stays")
        assert acks == list(range(len(acks)))
        assert numbers(kept) == list(range(len(kept)))
        assert len(acks) <= len(kept) <= len(acks) + 1
        assert found[0].message_count == len(kept)
        assert numbers(store.read(name).messages) == list(range(len(kept) + 1))
        entered += "entered" in said
        acknowledged += len(acks)
    assert entered > deaths // 4
    assert acknowledged > deaths
    assert len(interrupted_sessions(store)) >= entered


@repeated(20, 200)
def test_a_session_that_is_killed_again_and_again_is_whole(nursery, store, deaths):  # B11 B12
    """One session that is resumed after each kill has all that was ever acknowledged, once and in order."""
    acknowledged = 0
    for trial in range(deaths):
        said = nursery.live_and_die(("plain", "by_async")[trial % 2], "ticket-42")
        acks = [int(word) for word in said if word != "entered"]
        if acks:
            assert acks[0] in (acknowledged, acknowledged + 1)
            acknowledged = acks[-1] + 1
        history = store.read("ticket-42")
        if history is not None:
            count = len(history.messages)
            assert numbers(history.messages) == list(range(count))
            assert acknowledged <= count <= acknowledged + 1
            acknowledged = count
    assert acknowledged > deaths
    assert [(found.session_id, found.message_count) for found in interrupted_sessions(store)] == [
        ("ticket-42", acknowledged)
    ]


@repeated(20, 200)
def test_a_replacement_is_whole_or_absent_after_a_kill(nursery, store, deaths):  # B2
    """However a replacement is killed, the messages are those of one replacement, the last acknowledged or the next."""
    for trial in range(deaths):
        name = f"session-{trial}"
        said = nursery.live_and_die("replacing", name)
        acks = [int(word) for word in said if word != "entered"]
        history = store.read(name)
        if acks:
            kept = numbers(history.messages)
            assert kept[0] in (acks[-1], acks[-1] + 1)
            assert kept == [kept[0]] * (kept[0] % 3 + 1)
        elif history is not None:
            assert numbers(history.messages) in ([], [0])


@repeated(20, 200)
def test_a_clean_end_that_is_killed_leaves_all_or_nothing(nursery, store, deaths):  # B8 B9
    """A session that is killed around its clean end is gone, or whole and found."""
    for trial in range(deaths):
        name = f"session-{trial}"
        said = nursery.live_and_die("ending", name)
        found, history = store.find(name), store.read(name)
        if found is None:
            assert history is None
            continue
        assert found.status == "interrupted"
        kept = numbers(history.messages)
        assert kept in ([], [0], [0, 1])
        assert found.message_count == len(kept)
        with session_guard(name, store=store) as session:
            assert numbers(session.messages) == kept
        assert said.count("entered") - said.count("ended") in (0, 1)
    assert list(store.scan()) == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@repeated(20, 200)
async def test_a_snapshot_is_of_one_instant_after_a_kill(nursery, store, folder, deaths):  # B6
    """Messages and extra of a restored snapshot always belong together, and are the last saved or the next."""
    recovery = ConversationRecovery(folder)
    saved = 0
    for trial in range(deaths):
        name = f"session-{trial}"
        acks = [int(word) for word in nursery.live_and_die("snapshots", name)]
        snapshot = await recovery.restore_snapshot(name)
        last = acks[-1] if acks else 0
        saved += last
        if snapshot is None or not snapshot["extra"]:
            assert not last
            continue
        assert snapshot["extra"]["n"] in (last, last + 1)
        assert snapshot["message_count"] == len(snapshot["messages"]) == snapshot["extra"]["count"]
        assert snapshot["messages"][-1] == {"of": snapshot["extra"]["n"]}
    assert saved > deaths


FULL = """
import asyncio, json, resource, sys
from resilient_agent import StorageFull, session_guard

folder, face = sys.argv[1:]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
told = []

def message(n):
    return {"n": n, "text": "naïve " * 20}

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

def plain():
    with session_guard("ticket-42", store=folder, keep=True) as session:
        n = 0
        for room in (1_500, 3_000, 4_500):
            allow(room)
            while True:
                try:
                    session.append(message(n))
                except StorageFull as error:
                    told.append([n, error.errno, session.path.stat().st_size <= room, len(session.messages)])
                    break
                n += 1
            try:
                session.extend([message(n), message(n + 1)])
            except StorageFull:
                told.append("extend")
        allow(hard)
        session.append(message(n))
        told.append(session.messages == [message(k) for k in range(n + 1)])

async def by_async():
    async with session_guard("ticket-42", store=folder, keep=True) as session:
        n = 0
        for room in (1_500, 3_000, 4_500):
            allow(room)
            while True:
                try:
                    await session.append(message(n))
                except StorageFull as error:
                    told.append([n, error.errno, session.path.stat().st_size <= room, len(session.messages)])
                    break
                n += 1
            try:
                await session.extend([message(n), message(n + 1)])
            except StorageFull:
                told.append("extend")
        allow(hard)
        await session.append(message(n))
        told.append(session.messages == [message(k) for k in range(n + 1)])

plain() if face == "with" else asyncio.run(by_async())
print(json.dumps(told))
"""


@pytest.mark.parametrize("face", ["with", "async with"])
def test_a_full_disk_is_told_and_costs_nothing_that_was_acknowledged(child, store, face):  # B4 B40
    """Without room a save raises StorageFull, what was saved stays, and with room again it goes on without a hole."""
    told = child(FULL, store.folder, face)
    refusals = [entry for entry in told if isinstance(entry, list)]
    assert len(refusals) == 3
    assert told.count("extend") == 3
    assert told[-1] is True
    for number, code, within, kept in refusals:
        assert code in (errno.EFBIG, errno.ENOSPC)
        assert within
        assert kept == number
    last = refusals[-1][0]
    history = store.read("ticket-42")
    assert numbers(history.messages) == list(range(last + 1))
    (found,) = store.scan()
    assert (found.status, found.message_count) == ("closed", last + 1)
    records = [json.loads(line) for line in found.path.read_bytes().splitlines()]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert b"\0" not in found.path.read_bytes()


def test_a_kill_at_the_creation_of_the_folder_is_no_obstacle(nursery, tmp_path):  # B7
    """Children that are killed while they make the very folder leave a place where the next one begins."""
    for trial in range(20):
        folder = tmp_path / f"new-{trial}" / "sessions"
        nursery.live_and_die("plain", "ticket-42", folder=folder, words=0)
        with session_guard("ticket-42", store=folder) as session:
            session.append({"n": len(session.messages)})
            assert numbers(session.messages) == list(range(len(session.messages)))
        assert list(FileStore(folder).scan()) == []
