"""Interrupted sessions go to exactly one worker each, rest when they kill their host, and a worker ends cleanly."""

import asyncio
import contextlib
import datetime
import functools
import gc
import json
import logging
import math
import os
import signal
import time

import anyio
import pytest
from databases import emptied

from resilient_agent import (
    Deferred,
    FileStore,
    MemoryStore,
    PostgresStore,
    RedisStore,
    SessionBusy,
    claim_interrupted,
    interrupted_sessions,
    recover,
    session_guard,
)
from resilient_agent.session.history import interruption_fields

MESSAGE = {"role": "user", "content": "Where is my order?"}
ANSWER = {"role": "assistant", "content": "On its way."}


@pytest.fixture(params=["file", "memory", "postgres", "redis"])
def store(request, tmp_path):
    """Each kind of store, empty."""
    if request.param == "file":
        return FileStore(tmp_path)
    if request.param == "memory":
        return MemoryStore()
    server = request.getfixturevalue({"postgres": "postgres_server", "redis": "valkey_server"}[request.param])
    return emptied(PostgresStore(server.url) if request.param == "postgres" else RedisStore(server.fresh_url()))


@pytest.fixture
def memory():
    return MemoryStore()


def fell(store, *names, times=1, codec=None):
    """Sessions that crashed so often without getting any further."""
    for name in names:
        for _ in range(times):
            with (
                contextlib.suppress(LookupError),
                session_guard(name, store=store, max_resumes=None, codec=codec) as session,
            ):
                if not session.messages:
                    session.append(MESSAGE)
                raise LookupError


# claim_interrupted


def test_each_session_is_given_out_once(store):
    """Two who ask get different sessions, and nothing when there is no more; what they finish is gone."""
    fell(store, "a", "b", "c")
    first, second = claim_interrupted(store, limit=2), claim_interrupted(store, limit=5)
    assert sorted(guard.session_id for guard in (*first, *second)) == ["a", "b", "c"]
    assert (len(first), len(second)) == (2, 1)
    assert claim_interrupted(store, limit=5) == []
    for guard in (*first, *second):
        with pytest.raises(SessionBusy):
            store.claim(guard.session_id)
        with guard as session:
            assert (session.messages, session.interruption.error) == ([MESSAGE], "LookupError")
    assert list(store.scan()) == []
    assert claim_interrupted(store) == []


def test_sessions_that_ended_well_are_not_given_out(store):
    """Closed and live sessions, and ids that are gone by now, begin nothing."""
    with session_guard("closed", store=store, keep=True) as session:
        session.append(MESSAGE)
    with session_guard("live", store=store) as session:
        session.append(MESSAGE)
        assert claim_interrupted(store, limit=9) == []
    assert [found.session_id for found in store.scan()] == ["closed"]


def test_a_session_that_is_dealt_with_meanwhile_is_left_alone(store):
    """Between the look and the claim somebody else finished it: no empty session is begun in its place."""
    fell(store, "a", "b")

    class Late:
        """The store, as one sees it whose look was a moment ago."""

        def __getattr__(self, name):
            return getattr(store, name)

        def due(self, limit):
            found = store.due(limit)
            with session_guard("a", store=store):
                pass
            with session_guard("b", store=store, keep=True):
                pass
            return found

    assert claim_interrupted(Late(), limit=5) == []
    assert [(found.session_id, found.status) for found in store.scan()] == [("b", "closed")]


def test_a_guard_that_is_dropped_gives_its_session_back(store):
    """Claimed and never entered: free again, and no crash was counted."""
    fell(store, "a", times=1)
    before = interrupted_sessions(store)[0].interruption
    guards = claim_interrupted(store)
    assert claim_interrupted(store) == []
    guards.clear()
    gc.collect()
    after = interrupted_sessions(store)[0].interruption
    assert (after.error, after.resumes) == (before.error, before.resumes)
    (guard,) = claim_interrupted(store)
    with guard as session:
        session.append(ANSWER)


@pytest.mark.anyio
async def test_a_claimed_guard_is_entered_in_coroutines_too(store):
    """`async with` on a guard that was claimed before."""
    fell(store, "a")
    (guard,) = claim_interrupted(store)
    async with guard as session:
        await session.append(ANSWER)
        assert session.messages == [MESSAGE, ANSWER]
    assert list(store.scan()) == []


def test_a_session_that_kills_its_host_rests(store):
    """After a second crash in a row it is not given out at once; one that got further meanwhile is."""
    fell(store, "once", times=1)
    fell(store, "twice", times=2)
    with contextlib.suppress(LookupError), session_guard("once", store=store) as session:
        session.append(ANSWER)
        raise LookupError
    found = claim_interrupted(store, limit=5)
    assert [guard.session_id for guard in found] == ["once"]
    for guard in found:
        guard.give_back()
    assert {found.session_id for found in interrupted_sessions(store)} == {"once", "twice"}
    with session_guard("twice", store=store) as session:  # whoever names it gets it at once
        assert session.interruption.resumes == 1


def test_a_poisoned_session_is_given_to_nobody(memory, caplog):
    """Crashed too often in a row: it is said once, and not looked at again for an hour."""
    fell(memory, "poisoned", times=5)
    memory.engine._sessions["poisoned"].rest = 0.0
    with caplog.at_level(logging.WARNING):
        assert claim_interrupted(memory) == []
    assert "was resumed 4 times in a row" in caplog.text
    assert memory.due(5) == []
    (found,) = interrupted_sessions(memory)
    assert found.interruption.resumes == 4
    memory.engine._sessions["poisoned"].rest = 0.0
    (guard,) = claim_interrupted(memory, max_resumes=None)
    with guard:
        pass


class Mask:
    """A codec of one key; nothing of another opens."""

    def __init__(self, key):
        self.key = key

    def encode(self, data, _, __):
        return self.key + data

    def decode(self, data, _, __):
        if not data.startswith(self.key):
            raise LookupError("another key")
        return data.removeprefix(self.key)


def test_sessions_that_nobody_can_take_do_not_stand_in_the_way_of_others(store, caplog):
    """The others are given out at once; each that is refused is said once, and not looked at again for an hour."""
    for number in range(9):
        fell(store, f"a {number}", codec=Mask(b"theirs"))
    fell(store, "z", codec=Mask(b"ours"))
    with caplog.at_level(logging.WARNING):
        (guard,) = claim_interrupted(store, codec=Mask(b"ours"))
        with guard as session:
            assert (guard.session_id, session.messages) == ("z", [MESSAGE])
        assert claim_interrupted(store, limit=9, codec=Mask(b"ours")) == []  # those that stood behind it, in a database
        caplog.clear()
        assert claim_interrupted(store, limit=9, codec=Mask(b"ours")) == []
    assert caplog.text == ""
    with session_guard("a 0", store=store, codec=Mask(b"theirs")) as session:  # whoever has the key gets it at once
        assert session.messages == [MESSAGE]


def test_a_refused_file_that_somebody_else_got_further_with_is_offered_again(tmp_path):
    """What was refused is the log as it stood; the database forgets it with the next record as well."""
    fell(tmp_path, "a", codec=Mask(b"theirs"))
    assert claim_interrupted(tmp_path, codec=Mask(b"ours")) == []
    assert FileStore(tmp_path).due(1) == []
    with contextlib.suppress(KeyboardInterrupt), session_guard("a", store=tmp_path, codec=Mask(b"theirs")) as session:
        session.append(ANSWER)
        raise KeyboardInterrupt
    assert FileStore(tmp_path).due(1) == ["a"]


def test_a_deferred_session_is_given_out_at_its_moment(store):
    """Not before the server said; and then to whoever asks."""
    for name, seconds in (("soon", 0.2), ("late", 3600)):
        log = store.claim(name)
        log.append("appended", {"messages": [MESSAGE]})
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        log.append("interrupted", interruption_fields("deferred", None, None, not_before=later))
        log.release()
    assert claim_interrupted(store, limit=5) == []
    time.sleep(0.25)
    (guard,) = claim_interrupted(store, limit=5)
    with guard:
        assert guard.session_id == "soon"
    with pytest.raises(Deferred), session_guard("late", store=store):
        pass


def test_a_refused_limit(memory):
    """A limit below one is a mistake."""
    with pytest.raises(ValueError, match="at least 1"):
        claim_interrupted(memory, limit=0)


def test_a_failure_in_the_middle_gives_everything_back(memory):
    """Where a claim fails, those before it are free again."""
    fell(memory, "a", "b")

    class Failing:
        def __getattr__(self, name):
            return getattr(memory, name)

        def claim(self, session_id, **options):
            if session_id == "b":
                raise OSError("the cable")
            return memory.claim(session_id, **options)

    with pytest.raises(OSError, match="the cable"):
        claim_interrupted(Failing(), limit=5)
    assert len(claim_interrupted(memory, limit=5)) == 2
    gc.collect()


WORKER = """
import json, sys
from resilient_agent import claim_interrupted, open_store
store = open_store(sys.argv[1])
list(store.scan())
print(json.dumps("up"), flush=True)
for line in sys.stdin:
    guards = claim_interrupted(store, max_resumes=None)
    print(json.dumps(len(guards)), flush=True)
    sys.stdin.readline()
    for guard in guards:
        guard.give_back()
    print(json.dumps("left"), flush=True)
"""


@pytest.mark.parametrize("kind", ["postgres", "redis", "file"])
def test_of_eight_workers_one_wins_each_round(request, tmp_path, start, kind):
    """Eight processes ask for one interrupted session at the same moment, again and again (B34)."""
    servers = {"postgres": "postgres_server", "redis": "valkey_server"}
    address = str(tmp_path) if kind == "file" else request.getfixturevalue(servers[kind]).fresh_url()
    with contextlib.suppress(LookupError), session_guard("ticket-42", store=address) as session:
        session.append(MESSAGE)
        raise LookupError
    workers = [start(WORKER, address) for _ in range(8)]
    assert [told(worker) for worker in workers] == ["up"] * 8
    for _ in range(200):
        say(workers)
        assert sorted(told(worker) for worker in workers) == [0] * 7 + [1]
        say(workers)
        assert [told(worker) for worker in workers] == ["left"] * 8
    (found,) = interrupted_sessions(address)
    assert (found.message_count, found.interruption.resumes) == (1, 0)


def told(worker):
    return json.loads(worker.stdout.readline())


def say(workers):
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()


# recover


@pytest.mark.anyio
async def test_recover_goes_on_with_all_there_is(store):
    """Every interrupted session comes to the handler, and is gone when it has returned."""
    fell(store, "a", "b", "c", "d", "e")
    seen = []

    async def handler(session):
        seen.append(session.session_id)
        assert session.messages == [MESSAGE]
        await session.append(ANSWER)

    assert await recover(store, handler, poll=None, concurrency=2) == 5
    assert sorted(seen) == ["a", "b", "c", "d", "e"]
    assert list(store.scan()) == []


@pytest.mark.anyio
async def test_conversations_that_are_to_be_kept_are_kept(store):
    """`keep=True` closes what was finished, in place of removing it, and a later guard goes on with it."""
    fell(store, "a", "b")

    async def handler(session):
        await session.append(ANSWER)

    (guard,) = claim_interrupted(store, keep=True)
    with guard as session:
        session.append(ANSWER)
    assert await recover(store, handler, poll=None, keep=True) == 1
    assert sorted((found.session_id, found.status) for found in store.scan()) == [("a", "closed"), ("b", "closed")]
    with session_guard("a", store=store) as session:
        assert session.messages == [MESSAGE, ANSWER]


@pytest.mark.anyio
async def test_no_more_at_a_time_than_asked_for(memory):
    """`concurrency` bounds how many handlers run, and that many do."""
    fell(memory, *map(str, range(10)))
    running, most = 0, 0

    async def handler(session):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1

    assert await recover(memory, handler, poll=None, concurrency=3) == 10
    assert most == 3


@pytest.mark.anyio
async def test_a_handler_that_fails_fails_alone(memory, caplog):
    """Its session is marked again, with why; the others are gone on with, and the log has its traceback."""
    fell(memory, "good", "bad")

    async def handler(session):
        if session.session_id == "bad":
            raise ZeroDivisionError("by the handler")

    assert await recover(memory, handler, poll=None) == 1
    (found,) = interrupted_sessions(memory)
    assert (found.session_id, found.interruption.error, found.interruption.resumes) == ("bad", "ZeroDivisionError", 1)
    assert "by the handler" in caplog.text
    assert "'bad' ended badly" in caplog.text


@pytest.mark.anyio
async def test_a_wait_that_a_handler_puts_off_is_no_failure(memory, caplog):
    """The session is deferred as planned, and the log says when it goes on, without an error and a traceback."""
    fell(memory, "a")
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)

    async def handler(session):
        raise Deferred(moment, 1)

    with caplog.at_level(logging.INFO, "resilient_agent.session"):
        assert await recover(memory, handler, poll=None) == 0
    (found,) = interrupted_sessions(memory)
    assert (found.interruption.reason, found.interruption.not_before) == ("deferred", moment)
    (said,) = (record for record in caplog.records if record.levelno >= logging.INFO and "'a'" in record.getMessage())
    assert (said.levelname, said.exc_info) == ("INFO", None)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_handler_may_be_anything_that_gives_a_coroutine(memory):
    """A partial of a coroutine function, an object like one, and what a decorator has made of one."""
    seen = []

    async def handler(name, session):
        seen.append(name)

    class Handler:
        async def __call__(self, _):
            seen.append("object")

    @functools.wraps(handler)
    def decorated(session):
        return handler("decorated", session)

    for each in (functools.partial(handler, "partial"), Handler(), decorated):
        fell(memory, "a")
        assert await recover(memory, each, poll=None) == 1
    assert seen == ["partial", "object", "decorated"]


@pytest.mark.anyio
async def test_what_falls_later_is_found_at_the_next_look(memory):
    """The loop goes on until it is ended, by a cancellation too; sessions that fall meanwhile are taken."""
    seen = []

    async def handler(session):
        seen.append(session.session_id)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: recover(memory, handler, poll=0.02))
            for name in ("a", "b"):
                await anyio.sleep(0.05)
                fell(memory, name)
                while name not in seen:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert seen == ["a", "b"]


@pytest.mark.anyio
async def test_cancelled_in_the_middle_it_leaves_its_sessions_marked(memory):
    """Whoever cancels the loop finds all its sessions interrupted and free."""
    fell(memory, "a", "b")

    begun = []

    async def handler(session):
        await session.append(ANSWER)
        begun.append(session)
        if len(begun) == 2:
            scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await recover(memory, handler)
    assert {found.interruption.reason for found in interrupted_sessions(memory)} == {"cancelled"}
    assert len(claim_interrupted(memory, limit=5)) == 2
    gc.collect()


@pytest.mark.anyio
async def test_sigterm_lets_handlers_come_to_their_end(memory):
    """After SIGTERM nothing new is begun, what runs is finished, and the loop returns how many."""
    fell(memory, "a", "b", "c")

    async def handler(session):
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep(0.05)
        await session.append(ANSWER)

    assert await recover(memory, handler, concurrency=2, drain=10) == 2
    assert len(interrupted_sessions(memory)) == 1


@pytest.mark.anyio
async def test_after_sigterm_a_handler_that_takes_too_long_is_cancelled(memory):
    """`drain` seconds after SIGTERM what still runs is cancelled, and found by the next worker."""
    fell(memory, "quick", "slow")

    async def handler(session):
        if session.session_id == "slow":
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep(60)

    with anyio.fail_after(10):
        assert await recover(memory, handler, drain=0.2) == 1
    (found,) = interrupted_sessions(memory)
    assert (found.session_id, found.interruption.reason) == ("slow", "cancelled")


@pytest.mark.anyio
async def test_a_store_that_is_away_is_looked_at_again(memory, caplog):
    """A worker does not die of a database that restarts: it says so, and looks again."""
    fell(memory, "a")
    due, asked, done = memory.engine.due, [], anyio.Event()

    def away(limit):
        asked.append(limit)
        if len(asked) < 3:
            raise OSError("the database restarts")
        return due(limit)

    memory.engine.due = away
    memory._ask._errors = (OSError,)
    memory._ask._patience = 0.0

    async def handler(session):
        done.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: recover(memory, handler, poll=0.01))
            await done.wait()
            tasks.cancel_scope.cancel()
    assert "no session could be taken on" in caplog.text


@pytest.mark.anyio
async def test_a_worker_that_stood_still_behind_its_claim_goes_on():
    """A lease that was lost before its session was entered ends nothing: the session is found again."""
    store = MemoryStore(ttl=1)
    fell(store, "a", "b")
    read, slow = store.engine.read, []

    def read_slowly(session_id):
        if not slow:
            slow.append(session_id)
            time.sleep(1.1)
        return read(session_id)

    store.engine.read = read_slowly
    store.engine.renew = lambda leases: time.sleep(1.5) or []
    done = []

    async def handler(session):
        done.append(session.session_id)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: recover(store, handler, poll=0.05, max_resumes=None))
            while len(done) < 2:
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
    assert sorted(done) == ["a", "b"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"concurrency": 0}, "at least 1"),
        ({"poll": 0}, "above 0"),
        ({"drain": -1}, "drain must not be negative"),
        ({"drain": math.nan}, "drain must not be negative"),
        ({"handler": print}, "async def handler"),
        ({"handler": lambda session: None}, "async def handler"),
        ({"sigterm": True}, "looks after SIGTERM"),
        ({"colour": "red"}, "does not know colour"),
        ({"max_resumes": -1}, "must not be negative"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_claimed(memory, wrong, said):
    """A worker that could never work says so when it is started."""

    async def handler(session):
        raise AssertionError("it was begun")

    fell(memory, "a")
    with pytest.raises((TypeError, ValueError), match=said):
        await recover(memory, **{"handler": handler, **wrong})
    assert len(claim_interrupted(memory)) == 1
    gc.collect()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_handler_that_waits_for_a_cancelled_task_ends_alone(memory, caplog):
    """Its session ended badly, as with any other exception; the others, and the worker, go on."""
    fell(memory, "a", "b")

    async def handler(session):
        if session.session_id == "a":
            task = asyncio.ensure_future(anyio.sleep_forever())
            task.cancel()
            await task
        await anyio.sleep(0.05)

    assert await recover(memory, handler, poll=None) == 1
    (found,) = interrupted_sessions(memory)
    assert (found.session_id, found.interruption.reason) == ("a", "exception")
    assert "waited for a task that was cancelled" in caplog.text


def test_a_worker_whose_loop_was_closed_leaves_its_session_marked(memory):
    """As where a program stops the loop and never awaits its tasks: they are thrown away where no loop runs."""
    fell(memory, "a")
    under_way = []

    async def handler(_):
        under_way.append("a")
        await asyncio.sleep(3600)

    loop = asyncio.new_event_loop()
    worker = loop.create_task(recover(memory, handler, poll=None))
    while not under_way:
        loop.run_until_complete(asyncio.sleep(0.001))
    tasks = asyncio.all_tasks(loop)
    loop.close()
    for task in tasks - {worker}:
        task._log_destroy_pending = False
        with contextlib.suppress(RuntimeError):  # what else the task has to tell the loop; only ever seen as a warning
            task.get_coro().close()
    (found,) = memory.scan()
    assert (found.status, found.interruption.reason) == ("interrupted", "generator exit")
    worker._log_destroy_pending = False
