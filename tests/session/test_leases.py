"""Ownership over machines: a lease is kept by whoever is alive, lost by whoever is not, and nobody writes without it."""

import contextlib
import datetime
import json
import os
import signal
import time

import anyio
import pytest
from databases import opened

from resilient_agent import (
    SessionBusy,
    SessionLost,
    interrupted_sessions,
    open_store,
    session_guard,
)
from resilient_agent import clock as our_clock

TTL = 1.0
MESSAGE = {"role": "user", "content": "Where is my order?"}


def messages(url, session_id="ticket-42"):
    history = opened(url).read(session_id)
    return None if history is None else history.messages


def taken_over(url, within=15.0):
    """The session's log, in our hands, as soon as its owner's lease lets us."""
    store, until = opened(url), time.monotonic() + within
    while True:
        try:
            return store.claim("ticket-42")
        except SessionBusy:
            assert time.monotonic() < until, "the lease never ran out"
            time.sleep(0.02)


OWNER = """
import json, sys
from resilient_agent import SessionLost, open_store, session_guard

def say(*words):
    print(json.dumps(words), flush=True)

try:
    with session_guard("ticket-42", store=open_store(sys.argv[1], ttl=float(sys.argv[2]))) as session:
        say("in")
        for line in sys.stdin:
            session.append(json.loads(line))
            say("saved")
except SessionLost as error:
    say("lost", str(error))
"""


def told(process):
    return json.loads(process.stdout.readline())


def say(process, message):
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def test_a_stopped_owner_comes_back_to_nothing(url, start):
    """SIGSTOP for longer than the ttl, another takes over, SIGCONT: the append raises SessionLost, and leaves nothing (B27)."""
    owner = start(OWNER, url, TTL)
    assert told(owner) == ["in"]
    say(owner, {"n": 1})
    assert told(owner) == ["saved"]
    owner.send_signal(signal.SIGSTOP)
    log = taken_over(url)
    log.append("appended", {"messages": [{"n": 2}]})
    say(owner, {"n": "of a ghost"})
    owner.send_signal(signal.SIGCONT)
    assert told(owner)[0] == "lost"
    assert owner.wait(timeout=20) == 0
    log.append("appended", {"messages": [{"n": 3}]})
    log.release()
    assert messages(url) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_killed_owner_is_found_when_the_lease_has_run_out(url, start):
    """After a kill -9 nobody else may write before the ttl is over, and somebody does as soon as it is."""
    owner = start(OWNER, url, TTL)
    assert told(owner) == ["in"]
    say(owner, MESSAGE)
    assert told(owner) == ["saved"]
    owner.kill()
    died = time.monotonic()
    assert interrupted_sessions(url) == []
    with pytest.raises(SessionBusy, match="is held by process"):
        opened(url).claim("ticket-42")
    log = taken_over(url)
    assert time.monotonic() - died > TTL / 3  # it may have been renewed just before
    assert (log.was, log.interruption.reason, log.history.messages) == ("open", "unknown", [MESSAGE])
    log.release()


@pytest.mark.parametrize("off", [3600, -3600])
def test_local_clocks_decide_nothing(url, monkeypatch, off):
    """A worker whose clock is an hour off claims, keeps, loses and finds sessions as everybody else does (B30)."""
    right = our_clock.now
    ttl = 2 * TTL  # connecting to a server whose disk is slow may take the better part of a second
    store = opened(url, ttl=ttl)
    held = store.claim("ticket-42")
    held.append("appended", {"messages": [MESSAGE]})
    with monkeypatch.context() as wrong:
        wrong.setattr(our_clock, "now", lambda: right() + datetime.timedelta(seconds=off))
        wrong.setattr(our_clock, "wall", lambda: time.time() + off)
        with pytest.raises(SessionBusy):
            opened(url).claim("ticket-42")
        held.append("appended", {"messages": [MESSAGE]})
        with session_guard("another", store=opened(url, ttl=ttl), keep=True) as session:
            session.append(MESSAGE)
            time.sleep(1.2 * ttl)
            session.append(MESSAGE)
        (found,) = [found for found in opened(url).scan() if found.session_id == "another"]
        assert found.message_count == 2
        assert abs((found.saved_at - right()).total_seconds()) < 60  # the store's clock, not ours
    held.release()
    assert sorted(found.status for found in opened(url).scan()) == ["closed", "interrupted"]


@pytest.mark.anyio
async def test_losing_a_session_ends_its_body_at_once(url):
    """The guard's body is cancelled where it waits, and SessionLost is what comes out of it."""
    store = opened(url, ttl=TTL)
    cleaned = False
    with pytest.raises(SessionLost, match="not this guard's any more"):
        async with session_guard("ticket-42", store=store) as session:
            await session.append(MESSAGE)
            thief = steal(url)
            try:
                await anyio.sleep(60)
            finally:
                cleaned = True
    assert cleaned
    assert messages(url) == [MESSAGE]
    thief.release()


def steal(url):
    """Take the session away from its owner, as a database that was restored from a backup might."""
    store = opened(url)
    if url.startswith("redis"):
        shard, key = store.engine._shard_of("ticket-42"), "ticket-42"
        store.engine._client.hset(f"{shard}:s:{key}", "expires", 0)
    else:
        store.engine._connections.use(
            lambda connection: connection.execute("UPDATE resilient_agent_session SET expires_at = '-infinity'")
        )
    return store.claim("ticket-42")


@pytest.mark.anyio
async def test_the_bodys_own_exception_is_what_comes_out(url):
    """What the body raises while its session is being lost is not replaced, and says that it could not be marked."""
    with pytest.raises(ZeroDivisionError) as raised:
        async with session_guard("ticket-42", store=opened(url, ttl=TTL)) as session:
            await session.append(MESSAGE)
            thief = steal(url)
            _ = 1 / 0
    assert "could not be marked as interrupted" in raised.value.__notes__[0]
    thief.append("appended", {"messages": [MESSAGE]})
    thief.release()


@pytest.mark.anyio
async def test_an_outer_cancellation_stays_a_cancellation(url):
    """Cancelled by its caller, a guard lets the cancellation through, and marks the session."""
    with anyio.CancelScope() as scope:
        async with session_guard("ticket-42", store=opened(url, ttl=TTL)) as session:
            await session.append(MESSAGE)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    (found,) = interrupted_sessions(url)
    assert found.interruption.reason == "cancelled"


@pytest.mark.anyio
async def test_a_guard_in_an_async_generator_may_be_left_anywhere(url):
    """A generator that holds a session is closed early, or by another task, and the session is free."""

    async def talk():
        async with session_guard("ticket-42", store=opened(url, ttl=TTL)) as session:
            while True:
                await session.append(MESSAGE)
                yield len(session.messages)

    async with contextlib.aclosing(talk()) as said:
        async for count in said:
            if count == 3:
                break
    assert len(messages(url)) == 3
    with session_guard("ticket-42", store=url):
        pass


def test_in_plain_code_the_next_save_says_it(url):
    """A thread cannot be interrupted: the save after the loss raises, and so does leaving."""
    with pytest.raises(SessionLost), session_guard("ticket-42", store=opened(url, ttl=TTL)) as session:
        session.append(MESSAGE)
        thief = steal(url)
        session.append({"n": "of a ghost"})
    thief.release()
    with pytest.raises(SessionLost), session_guard("ticket-42", store=opened(url, ttl=TTL)):
        thief = steal(url)
    thief.release()
    assert messages(url) == [MESSAGE]


@pytest.mark.anyio
async def test_a_blocked_event_loop_keeps_its_session_and_shows_that_it_is_stuck(url):
    """A tool blocks the loop for two ttls: the lease is renewed all the same, and a listing tells it (B32)."""
    async with session_guard("ticket-42", store=opened(url, ttl=TTL)) as session:
        await session.append(MESSAGE)
        await anyio.sleep(0.8 * TTL)  # a loop that turns shows progress at each renewal
        (well,) = opened(url).scan()
        began = time.monotonic()
        time.sleep(2 * TTL)  # noqa: ASYNC251 - that it blocks is the point
        (stuck,) = opened(url).scan()
        blocked = time.monotonic() - began
        await session.append(MESSAGE)
        (again,) = opened(url).scan()
    assert (well.status, stuck.status) == ("live", "live")
    assert stuck.progress_at - well.progress_at < datetime.timedelta(seconds=TTL)
    assert again.progress_at - stuck.progress_at > datetime.timedelta(seconds=blocked - TTL)


def test_a_store_that_is_away_for_less_than_the_lease_costs_nothing(url, lag):
    """Renewals that fail for a while are no loss: when the store is back, the owner goes on (B31)."""
    with session_guard("ticket-42", store=opened(lag.url, ttl=2.0)) as session:
        session.append({"n": 1})
        lag.refusing = True
        lag.cut()
        time.sleep(1.0)
        lag.refusing = False
        session.append({"n": 2})
        time.sleep(1.7)
        session.append({"n": 3})
        assert messages(url) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_an_owner_who_cannot_reach_the_store_stops_before_anybody_else_begins(url, lag):
    """By his own clock, counted from before the request: he has stopped when the lease may be given away (B31)."""
    guard = session_guard("ticket-42", store=opened(lag.url, ttl=TTL))
    with pytest.raises(SessionLost, match="was not renewed in time"), guard as session:
        session.append({"n": 1})
        stopped = []
        session._core.log.attend(lambda _: stopped.append(time.monotonic()), None)
        lag.refusing = True
        lag.cut()
        log = taken_over(url)
        began = time.monotonic()
        assert stopped
        assert stopped[0] < began
        lag.refusing = False
        session.append({"n": "of a ghost"})
    log.append("appended", {"messages": [{"n": 2}]})
    log.release()
    assert messages(url) == [{"n": 1}, {"n": 2}]


def test_a_forked_child_uses_the_store_and_not_its_parents_session(url):
    """A child has sessions of its own over the store that it inherited; its parent's are closed to it, and go on."""
    store = opened(url, ttl=2 * TTL)  # a fork of this process stops it for a while
    with session_guard("ticket-42", store=store) as session:
        session.append({"n": 1})
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                with contextlib.suppress(SessionLost):
                    session.append({"n": "of a ghost"})
                    os._exit(2)
                with session_guard("child", store=store) as own:
                    own.append(MESSAGE)
                    time.sleep(3 * TTL)  # renewed by threads of its own
                    own.append(MESSAGE)
                    code = 0 if len(own.messages) == 2 else 3
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        session.append({"n": 2})
        assert messages(url) == [{"n": 1}, {"n": 2}]
    assert list(opened(url).scan()) == []


def test_a_guard_that_ends_the_interpreter_gives_its_session_back(url, child):
    """sys.exit in the body, and a guard that nobody left when the program ends: both are found interrupted."""
    code = """
        import json, sys
        from resilient_agent import open_store, session_guard
        store = open_store(sys.argv[1], ttl=1.0)
        print(json.dumps("done"))
        guard = session_guard("left open", store=store)
        guard.__enter__().append({"n": 1})
        with session_guard("exit", store=store) as session:
            session.append({"n": 1})
            sys.exit(0)
    """
    assert child(code, url) == "done"
    time.sleep(1.2)
    assert {found.session_id: found.interruption.reason for found in interrupted_sessions(url)} == {
        "exit": "system exit",
        "left open": "unknown",
    }


def test_a_session_that_no_thread_can_keep_is_given_back_and_the_next_is_kept(url, no_more_threads):
    """At the system's limit of threads a claim says so, and costs neither the session nor the store's renewals."""
    store = opened(url, ttl=TTL)
    with no_more_threads(), pytest.raises(RuntimeError, match="new thread"):
        store.claim("ticket-42")
    with session_guard("ticket-42", store=store, keep=True) as session:
        time.sleep(1.5 * TTL)
        session.append(MESSAGE)
    assert messages(url) == [MESSAGE]


def test_who_holds_a_session_is_said_also_where_that_is_oneself(url):
    """A second guard in the same process is a mistake of the program's own, and no other worker's doing."""
    store = opened(url)
    with session_guard("ticket-42", store=store):
        with pytest.raises(SessionBusy, match="held by another guard in this very process"):
            store.claim("ticket-42")
        with pytest.raises(SessionBusy, match=f"held by process {os.getpid()} on"):
            opened(url).claim("ticket-42")


def test_a_database_is_opened_once_in_a_process(url):
    """Who names the same address shares its connections, with other options not."""
    assert open_store(url) is open_store(url)
    assert open_store(url, ttl=5.0) is not open_store(url)
