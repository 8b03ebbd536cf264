"""A guard over a database is the guard: cancelled anywhere, sealed, waiting, deferred, refusing what it does not know."""

import random
import re
import threading
import time
import zlib

import anyio
import pytest
from databases import emptied

from resilient_agent import (
    Deferred,
    MemoryStore,
    PostgresStore,
    RedisStore,
    SessionBusy,
    SessionPoisoned,
    SessionSealed,
    UnsupportedFormat,
    interrupted_sessions,
    redact_secrets,
    resilient,
    session_guard,
)
from resilient_agent.session.record import FORMAT
from resilient_agent.session.stores import base
from resilient_agent.session.stores.lease import Entry

MESSAGE = {"role": "user", "content": "Where is my order?"}
CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


@pytest.fixture(params=["memory", "postgres", "redis"])
def store(request):
    """A database without sessions."""
    if request.param == "memory":
        return MemoryStore()
    server = request.getfixturevalue({"postgres": "postgres_server", "redis": "valkey_server"}[request.param])
    return emptied(PostgresStore(server.url) if request.param == "postgres" else RedisStore(server.fresh_url()))


@pytest.fixture
def rng():
    return random.Random(20261126)


class SealedError(Exception):
    pass


class Turned:
    """A codec that anybody can open, and that tells sessions and places apart."""

    def __init__(self, key):
        self.key = key

    def _mark(self, session_id, seq):
        return f"{self.key}:{session_id}:{seq}:".encode()

    def encode(self, data, session_id, seq):
        return self._mark(session_id, seq) + data[::-1]

    def decode(self, data, session_id, seq):
        mark = self._mark(session_id, seq)
        if not data.startswith(mark):
            raise SealedError
        return data[len(mark) :][::-1]


@pytest.mark.anyio
async def test_cancelled_at_any_moment_it_loses_nothing_and_lets_go(store, rng):
    """Entering, saving, leaving: whenever it is cancelled, what was acknowledged is there, and the session is free."""
    for round_ in range(25):
        name, acknowledged = f"round {round_}", []

        async def talk(name=name, acknowledged=acknowledged):
            async with session_guard(name, store=store) as session:
                acknowledged.append(-1)
                for number in range(6):
                    await session.append({"n": number})
                    acknowledged.append(number)

        with anyio.move_on_after(rng.uniform(0, 0.008)):
            await talk()
        log = store.claim(name)  # free at once
        stored = [message["n"] for message in log.history.messages]
        if acknowledged[-1:] == [5] and log.was == "new":
            assert stored == []  # it came to its end
        elif acknowledged:
            last = acknowledged[-1]
            assert stored in (list(range(last + 1)), list(range(last + 2)))
            assert log.was == "interrupted" or last == 5
        else:
            assert log.was == "new"
        log.remove()
    assert list(store.scan()) == []


def test_what_is_sealed_is_sealed_in_the_database(store):
    """With a codec no record says what the conversation says; without it, or with another, the session stays shut."""
    with pytest.raises(LookupError), session_guard("ticket-42", store=store, codec=Turned("key")) as session:
        session.append(MESSAGE)
        session.once("pay", lambda amount: {"paid": amount}, 5)
        raise LookupError
    lines = b"".join(store.engine.read("ticket-42"))
    assert b"order" not in lines
    assert b"paid" not in lines
    for codec in (None, Turned("other")):
        with pytest.raises(SessionSealed), session_guard("ticket-42", store=store, codec=codec):
            raise AssertionError("it was opened")
    assert [found.status for found in store.scan()] == ["interrupted"]
    assert store.due(5) == []  # nobody can go on with it before a person has looked
    with session_guard("ticket-42", store=store, codec=Turned("key")) as session:
        assert session.messages == [MESSAGE]
        assert session.once("pay", lambda _: "twice", 5) == {"paid": 5}


def test_what_is_redacted_never_gets_near_the_database(store):
    """redact= runs before anything is sent (B55)."""
    secret = "sk-live-0123456789abcdef0123456789"
    with session_guard("ticket-42", store=store, redact=redact_secrets) as session:
        session.append({"role": "user", "content": f"my key is {secret}"})
        assert secret.encode() not in b"".join(store.engine.read("ticket-42"))


def test_a_later_format_is_left_as_it_is(store):
    """A session that a later version has begun is refused, untouched; records of later kinds stand between ours (B54)."""
    log = store.claim("later")
    opened = {"format": FORMAT + 1, "session_id": "later"}
    log.append("appended", {"messages": [MESSAGE]})
    record, held = log.history, log._held
    line = store.engine.read("later")[0].replace(b'"format":%d' % FORMAT, b'"format":%d' % opened["format"])
    header = next(iter(store.engine.scan())).header
    assert store.engine.append(
        held.lease, Entry(record.seq + 1, resealed(line, record.seq + 1), header, False, 0.0, False)
    )
    log.release()
    before = store.engine.read("later")
    with pytest.raises(UnsupportedFormat, match="upgrade resilient_agent"), session_guard("later", store=store):
        raise AssertionError("it was opened")
    assert store.engine.read("later") == before
    assert store.due(5) == []


def resealed(line, seq):
    """The line under another number, with a checksum that fits."""
    body = re.sub(rb'"seq":\d+', b'"seq":%d' % seq, line.rpartition(b',"crc"')[0], count=1)
    return b'%s,"crc":"%08x"}' % (body, zlib.crc32(body))


def test_two_containers_are_two_owners(store, monkeypatch):
    """The same pid on a host of the same name is somebody else all the same (B26)."""
    monkeypatch.setattr(base, "process", lambda: {"pid": 1, "host": "agent"})
    first = store.claim("ticket-42")
    with pytest.raises(SessionBusy, match="process 1 on agent"):
        store.claim("ticket-42")
    first.append("appended", {"messages": [MESSAGE]})
    first.release()
    second = store.claim("ticket-42")
    first.release()
    with pytest.raises(SessionBusy):
        store.claim("ticket-42")
    second.remove()


@pytest.mark.anyio
async def test_waiting_for_a_session_that_somebody_holds(store):
    """wait= lets the next guard in when the first is left, and says SessionBusy when that takes too long."""
    log = store.claim("ticket-42")
    log.append("appended", {"messages": [MESSAGE]})
    with pytest.raises(SessionBusy):
        async with session_guard("ticket-42", store=store, wait=0.1):
            raise AssertionError("it was entered")
    timer = threading.Timer(0.2, log.release)
    timer.start()
    async with session_guard("ticket-42", store=store, wait=10) as session:
        assert session.messages == [MESSAGE]
    timer.join()


def test_an_interrupted_history_is_put_in_order_once(store):
    """The repair of an open tool call is stored, and a second resumption has nothing to repair."""
    for _ in range(2):
        with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
            if not session.messages:
                session.append(MESSAGE)
                session.append(CALL)
            raise LookupError
    with session_guard("ticket-42", store=store) as session:
        assert [message["role"] for message in session.messages] == ["user", "assistant", "tool"]
        kinds = [line.count(b'"kind":"repaired"') for line in store.engine.read("ticket-42")]
        assert sum(kinds) == 1


def test_crashes_in_a_row_are_counted_by_all_workers_together(store):
    """A session that crashed each of three times is poisoned, whoever resumed it."""
    for _ in range(4):
        with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
            if not session.messages:
                session.append(MESSAGE)
            raise LookupError
    with pytest.raises(SessionPoisoned), session_guard("ticket-42", store=store):
        raise AssertionError("it was entered")
    (found,) = interrupted_sessions(store)
    assert found.interruption.resumes == 3
    with session_guard("ticket-42", store=store, resume=False) as session:
        assert session.messages == []


def test_a_deferral_is_the_stores_moment(store):
    """A wait that a server named is written into the session, and kept by the store's clock."""

    class Limited(Exception):
        status_code = 429

        def __init__(self):
            self.headers = {"retry-after": "3600"}

    @resilient(defer=True, deadline=5, pacer=None)
    def ask():
        raise Limited

    with pytest.raises(Deferred), session_guard("ticket-42", store=store) as session:
        session.append(MESSAGE)
        ask()
    with pytest.raises(Deferred), session_guard("ticket-42", store=store):
        raise AssertionError("it was entered")
    assert store.due(5) == []
    with session_guard("ticket-42", store=store, resume="force") as session:
        assert session.messages == [MESSAGE]


def test_many_sessions_of_one_process_are_renewed_together(store):
    """Fifty guards at once over one store: one thread renews them all, none is lost."""
    if not isinstance(store, MemoryStore):
        store = type(store)(
            store.engine._connections._url if isinstance(store, PostgresStore) else store.engine._client, ttl=2.0
        )
    asked = []
    renew = store.engine.renew
    store.engine.renew = lambda leases: asked.append(len(leases)) or renew(leases)
    store._keeper._every = 0.4
    logs = [store.claim(f"session {number}") for number in range(50)]
    time.sleep(2.5)
    for log in logs:
        log.append("appended", {"messages": [MESSAGE]})
        log.remove()
    assert len(asked) < 15
    assert max(asked) == 50
