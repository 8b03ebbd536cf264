"""Real kill -9 at random moments, and a disk that is really full: nothing acknowledged is lost.

The children are forked from one warmed-up process (the nursery), so that a death costs milliseconds.
What all tests have counted together is told at the end; `-m long -s` shows it.
"""

import errno
import inspect
import json
import os
import random
import signal
import time
from collections import Counter

import pytest
from plainly import Plain, PlainGuard, never_waiting

from resilient_agent import (
    ConversationRecovery,
    FileStore,
    OutcomeUnknown,
    interrupted_sessions,
    repair_messages,
    session_guard,
)
from resilient_agent.session.log import SLACK, parse
from resilient_agent.session.stores._filelog import COMPACTING

# -- what the children say, which the tests know as well ------------------------------------------


def message(n):
    return {"n": n, "text": f'{n} is naïve, "so" to say\\\n' * (n * 7919 % 1_200)}


def batch_at(n):
    """The messages that are saved in one go where there are n: one to five of them."""
    return [message(n + place) for place in range({0: 1, 1: 2, 3: 3, 6: 4, 10: 5}[n % 15])]


def summary(n):
    """What stands in place of everything after the n-th replacement."""
    return [{"n": n, "text": f"{n} naïve " * (n * 7919 % 4_000 + 500)}] * (n % 3 + 1)


def next_said(messages):
    """How a conversation goes on that leaves the second of two tool calls open in every turn."""
    turn = sum(said["role"] == "user" for said in messages)
    last = messages[-1]["role"] if messages else "nobody"
    if last == "user":
        calls = [
            {"id": f"call_{turn}_{place}", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
            for place in range(2)
        ]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    if last == "assistant":
        return {"role": "tool", "tool_call_id": f"call_{turn}_0", "content": f"paid {turn}"}
    return {"role": "user", "content": f"{turn} is naïve. " * (turn * 7919 % 700 + 1)}


NURSERY = (
    "import asyncio, json, os, sys, tempfile\n"
    "from resilient_agent import ConversationRecovery, OutcomeUnknown, session_guard\n\n"
    + "\n".join(map(inspect.getsource, (message, batch_at, summary, next_said, Plain, PlainGuard, never_waiting)))
    + """

def say(word):
    os.write(1, f"{word}\\n".encode())

async def appending(guard, folder, name):
    async with guard() as session:
        say("entered")
        n = len(session.messages)
        while True:
            await session.append(message(n))
            say(n)
            n += 1

async def extending(guard, folder, name):
    async with guard() as session:
        say("entered")
        n = len(session.messages)
        while True:
            batch = batch_at(n)
            await session.extend(batch)
            n += len(batch)
            say(n)

async def replacing(guard, folder, name):
    async with guard() as session:
        say("entered")
        n = 0
        while True:
            await session.replace([message(n)] * (n % 3 + 1))
            say(n)
            n += 1

async def compacting(guard, folder, name):
    async with guard() as session:
        say("entered")
        if not session.extra:
            await session.set_extra({"of": name})
        await session.once("first", lambda: "done", may_repeat=True)
        n = session.messages[0]["n"] + 1 if session.messages else 0
        while True:
            await session.replace(summary(n))
            say(n)
            n += 1

async def ending(guard, folder, name):
    while True:
        async with guard() as session:
            say("entered")
            await session.append(message(0))
            await session.append(message(1))
        say("ended")

async def resuming(guard, folder, name):
    async with guard() as session:
        say("entered")
        while True:
            await session.append(next_said(session.messages))
            say("saved")

async def effecting(guard, folder, name):
    ledger = os.path.join(folder, name + ".ledger")

    def charge(key):
        fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{key}\\n".encode())
        os.fsync(fd)
        os.close(fd)
        return {"charged": key}

    async def charge_and_wait(key):
        await asyncio.sleep(0)
        return charge(key)

    async with guard() as session:
        say("entered")
        n = 0
        while True:
            key = f"effect-{n}"
            try:
                result = await session.once(key, charge if isinstance(session, Plain) else charge_and_wait, key)
            except OutcomeUnknown:
                say(f"unknown {n}")
                with open(ledger, "a+") as lines:
                    lines.seek(0)
                    took_place = key in lines.read().split()
                if took_place:
                    await session.resolve(key, result={"charged": key})
                else:
                    await session.resolve(key, rerun=True)
                continue
            assert result == {"charged": key}
            say(n)
            n += 1

async def snapshots(guard, folder, name):
    recovery = ConversationRecovery(folder)
    n = 0
    while True:
        n += 1
        # Now and then the history is cut, so that both kinds of record are killed.
        messages = [{"of": n}] if n % 5 == 0 else [*messages, {"of": n}] if n > 1 else [{"of": n}]
        await recovery.save_snapshot(name, messages, {"n": n, "count": len(messages)})
        say(n)

JOBS = {
    job.__name__: job
    for job in (appending, extending, replacing, compacting, ending, resuming, effecting, snapshots)
}

def live(job, face, folder, name):
    def guard():
        made = session_guard(name, store=folder, max_resumes=None)
        return PlainGuard(made) if face == "with" else made
    (never_waiting if face == "with" else asyncio.run)(JOBS[job](guard, folder, name))

async def warm():
    recovery = ConversationRecovery(tempfile.mkdtemp())
    await recovery.save_snapshot("warm", [{}])
    await recovery.delete_snapshot("warm")
    async with session_guard("warm", store=tempfile.mkdtemp()) as session:
        await session.once("warm", lambda: 1)
        await session.append(next_said([]))

asyncio.run(warm())
"""
)


class Nursery:
    """Lets children live for a moment and kills them."""

    def __init__(self, process, folder, tally):
        self._process, self._folder, self._tally = process, folder, tally
        self.rng = random.Random(20261123)

    def live_and_die(self, job, name, *, face="with", folder=None, words=6, within=0.01):
        """What a child said that was killed with SIGKILL at a random moment: after so many words and a while."""
        self._process.stdin.write(json.dumps([job, face, str(folder or self._folder), name]) + "\n")
        child = int(self._process.stdout.readline())
        said = []
        for _ in range(self.rng.randint(0, words)):
            said.append(self._process.stdout.readline())
            assert not said[-1].startswith("died"), f"the child ended by itself; {said}"
        time.sleep(self.rng.uniform(0, within))
        os.kill(child, signal.SIGKILL)
        for line in self._process.stdout:
            said.append(line)
            if line.startswith("died"):
                break
        assert said.pop() == f"died {signal.SIGKILL.value}\n", said
        self._tally["kills"] += 1
        return [line.strip() for line in said]


@pytest.fixture(scope="module")
def tally():
    """What the tests of this file have counted, all together."""
    counted = Counter()
    yield counted
    told = sorted(counted.keys() - {"kills", *FAULTS})
    print("\n  kill -9:", ", ".join(f"{counted[name]:,} {name}" for name in ("kills", *FAULTS, *told)))  # noqa: T201 - for -s


@pytest.fixture
def nursery(start_nursery, folder, tally):
    return Nursery(start_nursery(NURSERY), folder, tally)


def repeated(short, long):
    """So many times in every run, and so many more with `-m long`."""
    return pytest.mark.parametrize(
        "deaths", [short, pytest.param(long, marks=pytest.mark.long)], ids=lambda count: f"{count} deaths"
    )


both_faces = pytest.mark.parametrize("face", ["with", "async with"])


def numbers(messages):
    return [message["n"] for message in messages]


def acknowledged(said):
    """The numbers that a child said."""
    return [int(word) for word in said if word.isdigit()]


FAULTS = ("lost", "altered", "doubled", "out of order", "never said", "unreadable")


def faults(kept, count, *, more=1):
    """What is wrong with messages 0, 1, 2, ... of which so many were acknowledged, and `more` perhaps saved."""
    times = Counter(numbers(kept))
    found = Counter(
        {
            "lost": sum(n not in times for n in range(count)),
            "altered": sum(one != message(one["n"]) for one in kept),
            "doubled": sum(many - 1 for many in times.values()),
            "out of order": int(numbers(kept) != sorted(numbers(kept))),
            "never said": max(0, len(times) - count - more),
        }
    )
    return +found


def unreadable(path):
    """How many places of a log cannot be read."""
    return len(parse(path.read_bytes().splitlines(keepends=True), lambda _: None).damage) if path.exists() else 0


def is_found(store, name, said, tally):
    """Whether a killed session is listed as interrupted; if its guard was entered it has to be, and once."""
    found = [session for session in interrupted_sessions(store) if session.session_id == name]
    assert len(found) == ("entered" in said or len(found) == 1), (name, said)
    assert "entered" not in said or found[0].interruption.reason == "unknown"
    tally["entered"] += "entered" in said
    tally["found"] += "entered" in said and len(found)
    tally["unreadable"] += (damage := unreadable(store.path(name)))
    assert not damage
    return bool(found)


@both_faces
@repeated(20, 2000)
def test_no_acknowledged_message_is_lost_to_a_kill(nursery, store, face, deaths, tally):  # B1 B2 B7 B22
    """After SIGKILL every acknowledged message is there, in order and once, and the session is found and resumed."""
    entered, saved = [], 0
    for trial in range(deaths):
        name = f"session-{trial}"
        said = nursery.live_and_die("appending", name, face=face)
        acks = acknowledged(said)
        if not is_found(store, name, said, tally):
            assert store.read(name) is None
            continue
        found = store.find(name)
        with pytest.raises(LookupError), session_guard(name, store=store, max_resumes=None) as session:
            assert session.resumed
            assert session.damage == ()
            kept = session.messages
            session.append(message(len(kept)))
            raise LookupError("so that it stays")
        assert acks == list(range(len(acks)))
        wrong = faults(kept, len(acks))
        tally.update(wrong)
        assert not wrong
        assert found.message_count == len(kept)
        assert store.read(name).messages == [*kept, message(len(kept))]
        entered += [name] if "entered" in said else []
        saved += len(acks)
        if trial % 100 == 99:  # else each listing takes longer than the one before
            entered = all_removed(store, entered)
    tally["acknowledged"] += saved
    assert saved > deaths
    all_removed(store, entered)
    assert store.read("session-0") is None


def all_removed(store, names):
    """Remove all sessions of a store, in which these are found; no names."""
    assert {found.session_id for found in interrupted_sessions(store)} >= set(names)
    for found in store.scan():
        store.delete(found.session_id)
    return []


@repeated(20, 2000)
def test_a_session_that_is_killed_again_and_again_is_whole(nursery, store, deaths, tally):  # B11 B12
    """One session that is resumed after each kill has all that was ever acknowledged, once and in order."""
    saved = said_so = 0
    for trial in range(deaths):
        name = f"session-{trial // 100}"
        if trial % 100 == 0:
            saved = 0
        said = nursery.live_and_die("appending", name, face=("with", "async with")[trial % 2])
        acks = acknowledged(said)
        said_so += len(acks)
        if acks:
            assert acks[0] in (saved, saved + 1)
            saved = acks[-1] + 1
        if is_found(store, name, said, tally):
            kept = store.read(name).messages
            wrong = faults(kept, saved)
            tally.update(wrong)
            assert not wrong
            assert store.find(name).message_count == len(kept)
            saved = len(kept)
    tally["acknowledged"] += said_so
    assert said_so > deaths
    assert len(interrupted_sessions(store)) == (deaths + 99) // 100


@both_faces
@repeated(20, 1000)
def test_a_batch_is_whole_or_absent_after_a_kill(nursery, store, face, deaths, tally):  # B1 B2 B11
    """However `extend` is killed, all the messages of a batch are there or none, and each acknowledged batch is."""
    saved = 0
    for trial in range(deaths):
        name = f"session-{trial // 20}"
        if trial % 20 == 0:
            saved = 0
        said = nursery.live_and_die("extending", name, face=face)
        acks = acknowledged(said)
        known, saved = saved, max([saved, *acks])
        tally["acknowledged"] += saved - known
        if is_found(store, name, said, tally):
            kept = store.read(name).messages
            wrong = faults(kept, saved, more=len(batch_at(saved)))
            tally.update(wrong)
            assert not wrong
            assert len(kept) in (saved, saved + len(batch_at(saved)))
            saved = len(kept)
        else:
            assert not saved


@both_faces
@repeated(20, 1000)
def test_a_replacement_is_whole_or_absent_after_a_kill(nursery, store, face, deaths, tally):  # B2
    """However a replacement is killed, the messages are those of one replacement, the last acknowledged or the next."""
    for trial in range(deaths):
        name = f"session-{trial}"
        said = nursery.live_and_die("replacing", name, face=face)
        acks = acknowledged(said)
        tally["acknowledged"] += len(acks)
        if is_found(store, name, said, tally):
            due = [[message(n)] * (n % 3 + 1) for n in ([acks[-1], acks[-1] + 1] if acks else [0])]
            assert store.read(name).messages in (due if acks else [[], *due])
        store.delete(name)


@both_faces
@repeated(20, 1000)
def test_a_compaction_that_is_killed_changes_nothing(nursery, store, folder, face, deaths, tally):  # B2 B11 B42
    """The state is that of the last acknowledged replacement or the next, the log stays small, no half of it stays."""
    last, born, overdue = -1, None, 0
    for trial in range(deaths):
        name = f"session-{trial // 20}"
        if trial % 20 == 0:
            last, born, overdue = -1, None, 0
        said = nursery.live_and_die("compacting", name, face=face, words=12)
        acks = acknowledged(said)
        tally["acknowledged"] += len(acks)
        last = max([last, *acks])
        path = store.path(name)
        left = path.with_name(path.name + COMPACTING)
        tally["killed in mid-compaction"] += left.exists()
        if not is_found(store, name, said, tally):
            assert last == -1
            continue
        history = store.read(name)
        assert history.messages in [summary(n) if n >= 0 else [] for n in (last, last + 1)]
        if last >= 0:
            assert history.extra == {"of": name}
            assert (history.effects["first"].finished, history.effects["first"].result) == (True, "done")
        assert history.born == (born or history.born)
        born = history.born
        last = history.messages[0]["n"] if history.messages else -1
        # Twice what it holds, and a record; one more for each process in a row that died before it had compacted.
        # Each owner's own record is small.
        size = path.stat().st_size
        biggest = max(size_of(summary(n)) for n in range(max(0, last - 1 - overdue), max(0, last) + 2))
        assert size <= (3 + overdue) * biggest + SLACK + 20 * 1_000
        overdue = overdue + 1 if last >= 0 and size > 2 * size_of(summary(last)) + SLACK else 0
        if nursery.rng.random() < 0.5:
            with pytest.raises(LookupError), session_guard(name, store=store, max_resumes=None) as session:
                assert not left.exists()
                assert session.messages == history.messages
                raise LookupError("so that it stays")
    for found in list(store.scan()):
        with session_guard(found.session_id, store=store, max_resumes=None):
            pass
    assert list(folder.iterdir()) == []


def size_of(messages):
    return len(json.dumps(messages, ensure_ascii=False).encode()) + 500


@both_faces
@repeated(20, 1000)
def test_a_clean_end_that_is_killed_leaves_all_or_nothing(nursery, store, face, deaths):  # B8 B9
    """A session that is killed around its clean end is gone, or whole and found."""
    for trial in range(deaths):
        name = f"session-{trial}"
        said = nursery.live_and_die("ending", name, face=face)
        found, history = store.find(name), store.read(name)
        if found is None:
            assert history is None
            continue
        assert found.status == "interrupted"
        kept = history.messages
        assert kept in ([], [message(0)], [message(0), message(1)])
        assert found.message_count == len(kept)
        with session_guard(name, store=store) as session:
            assert session.messages == kept
        assert said.count("entered") - said.count("ended") in (0, 1)
    assert list(store.scan()) == []


@both_faces
@repeated(20, 1000)
def test_a_repair_that_is_killed_is_made_again(nursery, store, put, face, deaths, tally):  # B11 B57 B58
    """A history is the stored one or the repaired one after a kill, and what was said after a repair is there."""
    stored, entered = [], 0
    for trial in range(deaths):
        name = f"session-{trial // 10}"
        if trial % 10 == 0:  # a new one, which waits for a repair that has to write a lot
            stored = []
            while len(stored) < 4 * nursery.rng.randint(0, 8):
                stored.append(next_said(stored))
            put(name, *stored)
        repaired = repair_messages(stored)
        early = nursery.rng.random() < 0.7  # is killed on its way in
        said = nursery.live_and_die(
            "resuming", name, face=face, words=0 if early else 6, within=0.006 if early else 0.01
        )
        assert is_found(store, name, said, tally) or not stored
        kept = store.read(name).messages
        if "entered" in said:
            count, due = said.count("saved"), [repaired]
            while len(due) < count + 2:
                due.append([*due[-1], next_said(due[-1])])
            assert kept in due[count:]
            tally["acknowledged"] += count
            entered += 1
        else:
            assert kept in [stored, repaired]
            tally["killed before a repair"] += kept != repaired
            tally["killed behind a repair"] += kept != stored
        stored = kept
        if nursery.rng.random() < 0.1:
            with pytest.raises(LookupError), session_guard(name, store=store, max_resumes=None) as session:
                assert session.messages == repair_messages(stored) == repair_messages(session.messages)
                stored = session.messages
                raise LookupError("so that it stays")
    assert 0 < entered < deaths


@both_faces
@repeated(20, 1000)
def test_an_effect_is_seen_once_however_often_its_process_is_killed(nursery, store, folder, face, deaths, tally):  # B60
    """What finished gives its result and is not run again; what did not raises OutcomeUnknown, and is known to it."""
    for trial in range(deaths):
        name = f"session-{trial // 20}"
        said = nursery.live_and_die("effecting", name, face=face)
        ledger = folder / f"{name}.ledger"
        seen = ledger.read_text().splitlines() if ledger.exists() else []
        assert len(set(seen)) == len(seen)
        if not is_found(store, name, said, tally):
            assert not seen
            continue
        effects = store.read(name).effects
        finished = [key for key, effect in effects.items() if effect.finished]
        unknown = [key for key, effect in effects.items() if not effect.finished]
        assert set(finished) >= {f"effect-{n}" for n in acknowledged(said)}
        assert finished == seen[: len(finished)]
        assert seen[len(finished) :] in ([], unknown)
        assert len(unknown) <= 1
        with pytest.raises(LookupError), session_guard(name, store=store, max_resumes=None) as session:
            for key in finished:
                assert session.once(key, never_to_be_called(effects[key]), key) == {"charged": key}
            for key in unknown:
                with pytest.raises(OutcomeUnknown):
                    session.once(key, never_to_be_called(effects[key]), key)
                if trial % 2:  # else the next child finds it out
                    answer = {"result": {"charged": key}} if key in seen else {"rerun": True}
                    session.resolve(key, **answer)
            raise LookupError("so that it stays")
        tally["unknown"] += len(unknown)
        if trial % 20 == 19:
            tally["effects"] += len(seen)


def never_to_be_called(effect):
    def never(key):
        raise AssertionError("it has taken place already")

    never.__qualname__ = effect.name
    return never


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@repeated(20, 2000)
async def test_a_snapshot_is_of_one_instant_after_a_kill(nursery, store, folder, deaths, tally):  # B6
    """Messages and extra of a restored snapshot always belong together, and are the last saved or the next."""
    recovery = ConversationRecovery(folder)
    saved = 0
    for trial in range(deaths):
        name = f"session-{trial}"
        acks = acknowledged(nursery.live_and_die("snapshots", name, face="async with"))
        snapshot = await recovery.restore_snapshot(name)
        last = acks[-1] if acks else 0
        saved += last
        if snapshot is None or not snapshot["extra"]:
            assert not last
            continue
        assert snapshot["extra"]["n"] in (last, last + 1)
        assert snapshot["message_count"] == len(snapshot["messages"]) == snapshot["extra"]["count"]
        assert snapshot["messages"][-1] == {"of": snapshot["extra"]["n"]}
    tally["acknowledged"] += saved
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
        nursery.live_and_die("appending", "ticket-42", folder=folder, words=0)
        with session_guard("ticket-42", store=folder) as session:
            session.append({"n": len(session.messages)})
            assert numbers(session.messages) == list(range(len(session.messages)))
        assert list(FileStore(folder).scan()) == []
