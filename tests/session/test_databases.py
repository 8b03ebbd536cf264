"""Sessions in real databases over networks that fail: nothing twice, nothing lost, and it is said what is wrong."""

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import pytest
import redis
from databases import emptied, opened
from proxy import Proxy, once

from resilient_agent import (
    RedisStore,
    StorageError,
    StorageFull,
    StoreUnavailable,
    interrupted_sessions,
    open_store,
    session_guard,
)
from resilient_agent.session.stores import postgres as postgres_room
from resilient_agent.testing import store_contract

NEEDLE = {"role": "user", "content": "needle"}


def contents(url, session_id="ticket-42"):
    history = opened(url).read(session_id)
    return None if history is None else [message["content"] for message in history.messages]


# Answers and requests that get lost


@pytest.mark.parametrize("way", ["losing", "dropping"])
def test_an_append_whose_answer_is_lost_is_there_once(url, lag, way):
    """Reset after the server has done it, or before: the append succeeds, and stands there once."""
    with session_guard("ticket-42", store=opened(lag.url), keep=True) as session:
        for number in range(4):
            session.append({"content": f"before {number}"})  # from the second on the statement is a prepared one
        setattr(lag, way, once(b"needle"))
        session.append(NEEDLE)
        assert lag.lost == 1
        session.append({"content": "after"})
    assert contents(url) == [*(f"before {number}" for number in range(4)), "needle", "after"]


@pytest.mark.parametrize("way", ["losing", "dropping"])
@pytest.mark.parametrize("end", ["removed", "kept", "interrupted"])
def test_an_end_whose_answer_is_lost_is_the_end(url, lag, way, end):
    """Removing, closing and marking a session come to the same where an answer is lost; the session is free at once."""

    def lose_everything_once():
        seen = []
        setattr(lag, way, lambda _: not seen and not seen.append(True))

    try:
        with session_guard("ticket-42", store=opened(lag.url), keep=end == "kept") as session:
            session.append(NEEDLE)
            lose_everything_once()
            if end == "interrupted":
                raise LookupError
    except LookupError:
        pass
    assert lag.lost == 1
    found = {found.session_id: found.status for found in opened(url).scan()}
    status = {"kept": "closed", "interrupted": "interrupted"}
    assert found == ({} if end == "removed" else {"ticket-42": status[end]})
    opened(url).claim("ticket-42").remove()


@pytest.mark.parametrize("way", ["losing", "dropping"])
def test_a_claim_whose_answer_is_lost_is_not_busy_with_itself(url, lag, way):
    """The claimer asks again, and is recognised."""
    store = opened(lag.url)
    list(store.scan())
    seen = []
    setattr(lag, way, lambda _: not seen and not seen.append(True))
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.append(NEEDLE)
    assert lag.lost == 1
    assert contents(url) == ["needle"]


def test_every_single_answer_of_a_conversation_may_get_lost(url, lag):
    """Whichever request it is whose answer is lost, and whichever does not arrive: the conversation is the same."""
    for way in ("losing", "dropping"):
        number = 0
        while converse(url, lag, way, number):
            number += 1
        assert number > 6


def converse(url, lag, way, number):
    """A conversation in which the request of this number fails; whether there was one."""
    count = []
    name = f"{way} {number}"

    def is_it(data):
        if data == b"X\x00\x00\x00\x04":  # a farewell, which has no answer
            return False
        count.append(True)
        return len(count) == number + 1

    setattr(lag, way, is_it)
    try:
        with session_guard(name, store=opened(lag.url)) as session:
            session.append({"content": "one"})
            session.once("pay", lambda: "paid")
            session.replace([{"content": "two"}])
            raise LookupError
    except LookupError:
        pass
    with session_guard(name, store=opened(lag.url), keep=True) as session:
        assert session.interruption.error == "LookupError"
        assert session.once("pay", lambda: "paid twice") == "paid"
        session.append({"content": "three"})
    setattr(lag, way, lambda _: False)
    assert contents(url, name) == ["two", "three"]
    assert [found.status for found in opened(url).scan() if found.session_id == name] == ["closed"]
    return len(count) > number


def test_a_request_that_comes_late_does_nothing(url, lag):
    """An append that was given up, and arrives when the next one is there already, is refused by its epoch."""
    held = []
    log = opened(url).claim("ticket-42")
    log.append("appended", {"messages": [{"content": "one"}]})
    engine, write = log._held._engine, type(log._held._engine).append

    def late(lease, entry):
        held.append((lease, entry))
        raise ConnectionResetError

    engine.append = late
    with pytest.raises(ConnectionResetError):
        log.append("appended", {"messages": [{"content": "late"}]})
    del engine.append
    log.append("appended", {"messages": [{"content": "two"}]})
    assert not write(engine, *held[0])
    log.append("appended", {"messages": [{"content": "three"}]})
    assert not write(engine, *held[0])
    assert contents(url) == ["one", "two", "three"]
    log.release()


def test_a_save_that_was_given_up_may_be_repeated(url, lag):
    """The store stays away, the save raises StoreUnavailable; saved again when it is back, it is there once."""
    with session_guard("ticket-42", store=opened(lag.url, patience=0.3), keep=True) as session:
        session.append({"content": "one"})
        lag.losing = lambda data: b"needle" in data  # done each time, and told never
        with pytest.raises(StoreUnavailable, match=r"did not answer for 0\.\d s"):
            session.append(NEEDLE)
        lag.losing = lambda _: False
        assert [message["content"] for message in session.messages] == ["one"]
        session.append(NEEDLE)
        session.append({"content": "two"})
    assert contents(url) == ["one", "needle", "two"]


def test_a_save_that_was_given_up_and_not_repeated_does_not_count(url, lag):
    """What was never acknowledged is replaced by the next save, although the store had it."""
    with session_guard("ticket-42", store=opened(lag.url, patience=0.3), keep=True) as session:
        lag.losing = lambda data: b"needle" in data
        with pytest.raises(StoreUnavailable):
            session.append(NEEDLE)
        assert contents(url) == ["needle"]
        lag.losing = lambda _: False
        session.append({"content": "something else"})
        assert contents(url) == ["something else"]


# Networks that are silent, slow or gone


def test_a_network_that_swallows_everything_is_given_up_in_time(url, lag):
    """Half-open: no answer ever comes on that connection; a new one is made, and nothing is there twice."""
    with session_guard("ticket-42", store=opened(lag.url, ttl=6.0), keep=True) as session:
        session.append({"content": "one"})
        lag.swallowing = True
        threading.Timer(0.8, lambda: setattr(lag, "swallowing", False)).start()
        began = time.monotonic()
        session.append(NEEDLE)
        assert time.monotonic() - began < 4
    assert contents(url) == ["one", "needle"]


def test_a_slow_network_is_only_slow(url, lag):
    """Answers that come late, and in time, change nothing."""
    lag.delay = 0.05
    with session_guard("ticket-42", store=opened(lag.url), keep=True) as session:
        session.append(NEEDLE)
    assert contents(url) == ["needle"]


def test_connections_that_died_while_a_model_was_thinking_are_replaced(url, lag):
    """Firewalls and servers end idle connections: the next save does not notice (B36)."""
    with session_guard("ticket-42", store=opened(lag.url), keep=True) as session:
        session.append({"content": "one"})
        for number in range(3):
            lag.cut()
            time.sleep(0.05)
            session.append({"content": f"after {number}"})
    assert contents(url) == ["one", "after 0", "after 1", "after 2"]


@pytest.mark.anyio
async def test_a_store_that_stays_away_is_said_so_and_the_bodys_exception_first(url, lag):
    """Leaving without a store: the body's own exception comes out, with a note; the session is found later."""
    with pytest.raises(ZeroDivisionError) as raised:
        async with session_guard("ticket-42", store=opened(lag.url, ttl=1.0, patience=0.3)) as session:
            await session.append(NEEDLE)
            lag.refusing = True
            lag.cut()
            _ = 1 / 0
    assert "could not be marked as interrupted" in raised.value.__notes__[0]
    await anyio.sleep(1.1)
    (found,) = interrupted_sessions(url)
    assert (found.message_count, found.interruption.reason) == (1, "unknown")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as away:
        async with session_guard("ticket-42", store=opened(lag.url, patience=0.3)):
            raise AssertionError("it was entered")
    assert time.monotonic() - began < 5
    assert "127.0.0.1" in str(away.value)
    assert isinstance(away.value, StorageError | OSError)


@pytest.mark.anyio
@pytest.mark.parametrize("server", ["postgres_server", "valkey_server"])
async def test_patience_counts_from_the_call_and_not_from_when_a_thread_is_free(server, request):
    """Many sessions whose store goes away hear of it at the same time, though they have few threads among them."""
    entered, gone = [], anyio.Event()

    async def talk(number):
        with contextlib.suppress(StoreUnavailable):
            async with session_guard(f"session {number}", store=store) as session:
                entered.append(session)
                await gone.wait()
                await session.append(NEEDLE)

    with Proxy(request.getfixturevalue(server).fresh_url()) as lag:
        store = opened(lag.url, patience=1.0)
        async with anyio.create_task_group() as talks:
            for number in range(64):
                talks.start_soon(talk, number)
            while len(entered) < 64:
                await anyio.sleep(0.01)
            lag.refusing = True
            lag.cut()
            gone.set()
            began = time.monotonic()
    assert time.monotonic() - began < 5  # sixteen at a time, a save and an end each, it would be 8


@pytest.mark.parametrize("address", ["postgresql://agent:secret@127.0.0.1:1/agents", "redis://:secret@127.0.0.1:1/0"])
def test_no_password_is_ever_shown(address):
    """Neither the name of a store nor its errors say what the URL has in front of the host."""
    store = opened(address, patience=0.0)
    with pytest.raises(StoreUnavailable) as away:
        store.read("ticket-42")
    assert "secret" not in repr(store) + str(away.value) + repr(away.value)


def test_a_store_that_refuses_is_not_asked_again(postgres_server):
    """A database that does not exist is a StorageError at once, in the server's own words."""
    began = time.monotonic()
    with pytest.raises(StorageError, match="does not exist") as refusal:
        opened(postgres_server.url.replace("/postgres", "/nowhere")).read("ticket-42")
    assert not isinstance(refusal.value, StoreUnavailable)
    assert time.monotonic() - began < 2


def test_a_server_that_is_just_starting_is_waited_for(postgres_server, monkeypatch):
    """Whatever words it refuses connections with while it recovers: that is no refusal of ours."""
    connect, refused = psycopg.Connection.connect.__func__, []

    def starting(cls, *args, **options):
        if len(refused) < 3:
            refused.append(True)
            raise psycopg.OperationalError("FATAL:  the database system is not yet accepting connections")
        return connect(cls, *args, **options)

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(starting))
    assert opened(postgres_server.url).read("nowhere") is None
    assert len(refused) == 3
    refused.clear()
    try:
        _ = {}["a key that is not there"]
    except KeyError:  # what its caller is dealing with says nothing of the server
        assert opened(postgres_server.url).read("nowhere") is None
    assert len(refused) == 3


def test_a_full_valkey_says_so_and_goes_on_when_there_is_room(valkey):
    """Where maxmemory is reached, StorageFull, what was saved is intact, and the next save with room succeeds."""
    client = redis.Redis.from_url(valkey)
    with session_guard("ticket-42", store=opened(valkey), keep=True) as session:
        session.append({"content": "one"})
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StorageFull, match="no room left"):
                session.append(NEEDLE)
        finally:
            client.config_set("maxmemory", 0)
            client.close()
        session.append({"content": "two"})
    assert contents(valkey) == ["one", "two"]
    opened(valkey).delete("ticket-42")


# PostgreSQL


@pytest.fixture
def new_database(postgres_server):
    """A database in which nothing was ever made."""
    return postgres_server.fresh_url()


@pytest.fixture
def valkey(valkey_server):
    """The URL of an empty Valkey database."""
    return valkey_server.fresh_url()


FIRST_USER = """
import sys
from resilient_agent import session_guard
sys.stdin.readline()
with session_guard(sys.argv[1], store=sys.argv[2], keep=True) as session:
    session.append({"n": 1})
print("done", flush=True)
"""


def test_eight_first_users_make_the_tables_together(new_database, start):
    """Eight processes meet an empty database at the same moment: all succeed, and the tables are there once."""
    users = [start("print('up', flush=True)\n" + FIRST_USER, f"user {number}", new_database) for number in range(8)]
    for user in users:
        assert user.stdout.readline() == "up\n"
    for user in users:
        user.stdin.write("go\n")
    for user in users:
        assert user.stdout.readline() == "done\n"
    assert len(list(opened(new_database).scan())) == 8
    with psycopg.connect(new_database) as connection:
        assert connection.execute("SELECT version FROM resilient_agent_schema").fetchall() == [(1,)]


def test_a_role_that_may_make_no_tables_uses_those_that_are_there(new_database):
    """Whoever runs the database makes the tables; the agent's role needs to read and write them only."""
    list(opened(new_database).scan())
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS agent")
        connection.execute("CREATE ROLE agent LOGIN")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO agent")
        connection.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO agent")
    agents = new_database.replace("postgres@", "agent@")
    with session_guard("ticket-42", store=opened(agents), keep=True) as session:
        session.append(NEEDLE)
    assert contents(agents) == ["needle"]


def test_a_schema_of_a_later_version_is_left_as_it_is(new_database):
    """A version of the tables that is not known yet is used, and not taken back."""
    list(opened(new_database).scan())
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute("UPDATE resilient_agent_schema SET version = 99")
        list(opened(new_database).scan())
        assert connection.execute("SELECT version FROM resilient_agent_schema").fetchall() == [(99,)]


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server):
    """An encoding other than UTF8 would lose messages: it is said before anything is made."""
    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StorageError, match="encoding is LATIN1"):
        list(opened(urlunsplit(urlsplit(postgres_server.url)._replace(path=f"/{name}"))).scan())


def test_asynchronous_commits_are_warned_of(new_database, caplog):
    """synchronous_commit off loses what was acknowledged: a warning says so, once."""
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres SET synchronous_commit = off")
        try:
            store = opened(new_database)
            list(store.scan())
            list(store.scan())
        finally:
            connection.execute("ALTER ROLE postgres RESET synchronous_commit")
    assert [record.message for record in caplog.records if "synchronous_commit off" in record.message][1:] == []
    assert "synchronous_commit off" in caplog.text


@pytest.mark.parametrize("promise", store_contract, ids=str)
def test_every_statement_may_run_on_another_connection(promise, postgres_server, monkeypatch):
    """Behind a pooler that gives each transaction another server process, the contract is kept."""

    def another(self):
        connection = postgres_room._Connection.connect(self._url, autocommit=True, prepare_threshold=None)
        connection.timeout = self._timeout
        return connection

    monkeypatch.setattr(postgres_room._Connections, "_taken", another)
    monkeypatch.setattr(postgres_room._Connections, "_put_back", lambda _, connection: connection.close())
    emptied(opened(postgres_server.url))
    promise(lambda ttl: opened(postgres_server.url, ttl=ttl))


def test_behind_a_pooler_nothing_is_prepared(postgres_server, monkeypatch):
    """A server process with another number than the one for cancelling means that a pooler lies between."""
    store = opened(postgres_server.url)
    with session_guard("ticket-42", store=store) as session:
        for number in range(5):
            session.append({"n": number})
        assert [len(each._prepared._names) > 0 for each in store.engine._connections._idle] == [True]
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", property(lambda _: 1))
    pooled = opened(postgres_server.url)
    with session_guard("ticket-42", store=pooled) as session:
        for number in range(5):
            session.append({"n": number})
        assert [each._prepared._names for each in pooled.engine._connections._idle] == [{}]


def test_no_more_connections_than_allowed(new_database):
    """Thirty threads save at once over four connections, and one more that renews leases."""
    store = opened(new_database, max_connections=4)
    list(store.scan())

    def talk(number):
        with session_guard(f"talk {number}", store=store, keep=True) as session:
            for count in range(5):
                session.append({"n": count})

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    most = 0
    with psycopg.connect(new_database, autocommit=True) as watching:
        while any(thread.is_alive() for thread in threads):
            rows = watching.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
            most = max(most, rows[0][0])
    assert most <= 5
    assert {found.message_count for found in store.scan()} == {5}


# Redis and Valkey


def test_settings_that_lose_sessions_are_warned_of(valkey, caplog):
    """An eviction policy that throws sessions away, and no append-only file: each is a warning, once."""
    client = redis.Redis.from_url(valkey)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    try:
        store = opened(valkey)
        list(store.scan())
        list(store.scan())
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        client.close()
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [word in " ".join(warned) for word in ("allkeys-lru", "appendonly yes")] == [True, True]
    assert len(warned) == 2


def test_a_user_who_may_not_ask_for_settings_may_use_the_store(valkey):
    """On a managed server INFO may be forbidden: sessions are kept all the same."""
    client = redis.Redis.from_url(valkey)
    client.execute_command("ACL SETUSER agent on >secret ~* +@all -info -config")
    try:
        store = opened(valkey.replace("redis://", "redis://agent:secret@"))
        with session_guard("ticket-42", store=store, keep=True) as session:
            session.append(NEEDLE)
    finally:
        client.execute_command("ACL DELUSER agent")
        client.close()
    assert contents(valkey) == ["needle"]


def test_a_client_that_decodes_is_refused(valkey):
    """A client of one's own has to give bytes: it is said where it is handed over."""
    client = redis.Redis.from_url(valkey, decode_responses=True)
    with client, pytest.raises(ValueError, match="decode_responses=False"):
        RedisStore(client)


def test_nothing_expires_by_itself(valkey):
    """No key of an interrupted session has a time to live (B36)."""
    client = redis.Redis.from_url(valkey)
    store = opened(valkey, prefix="expiring")
    log = store.claim("ticket-42")
    log.append("appended", {"messages": [NEEDLE]})
    log.release()
    keys = client.keys("{expiring:*")
    assert len(keys) > 3
    assert {client.ttl(key) for key in keys} == {-1}
    store.delete("ticket-42")
    assert [key for key in client.keys("{expiring:*") if not key.endswith(b":epoch")] == []
    client.close()


def test_all_keys_of_a_step_lie_in_one_slot(valkey):
    """What a script touches has one hash tag, so a cluster runs it; and sessions are spread over many."""
    client = redis.Redis.from_url(valkey)
    store = opened(valkey, prefix="slots")
    names = [f"{{odd}} ticket {number}" for number in range(50)]
    for name in names:
        log = store.claim(name)
        log.append("appended", {"messages": [NEEDLE]})
        log.release()
    tags = {key.split(b"}")[0] for key in client.keys("{slots:*")}
    assert len(tags) > 10
    for name in names:
        (stored,) = client.keys(f"*:s:{name}".replace("{", "?").replace("}", "?"))
        (records,) = client.keys(f"*:r:{name}".replace("{", "?").replace("}", "?"))
        assert stored.split(b"}")[0] == records.split(b"}")[0]
        store.delete(name)
    client.close()


def test_scripts_that_the_server_forgot_are_sent_again(valkey):
    """A restart, or SCRIPT FLUSH, in the middle of a conversation is not noticed."""
    client = redis.Redis.from_url(valkey)
    with session_guard("ticket-42", store=opened(valkey)) as session:
        session.append(NEEDLE)
        client.script_flush()
        session.append(NEEDLE)
        assert len(session.messages) == 2
    client.close()


def test_a_prefix_keeps_applications_apart(valkey):
    """Two prefixes on one server are two stores."""
    one, other = opened(valkey, prefix="one"), opened(valkey, prefix="other")
    log = one.claim("ticket-42")
    other.claim("ticket-42").remove()
    log.remove()
    with pytest.raises(ValueError, match="without braces"):
        opened(valkey, prefix="{one}")


# Addresses, drivers, cost


@pytest.mark.parametrize(
    ("driver", "address", "extra"),
    [("psycopg", "postgresql://db/agents", "postgres"), ("redis", "valkey://db", "redis")],
)
def test_a_missing_driver_says_the_pip_line(driver, address, extra):
    """Without its driver a database is refused where it is named, with what to type."""
    code = f"""
import sys
sys.modules[{driver!r}] = None
from resilient_agent import session_guard
try:
    session_guard("ticket-42", store={address!r})
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert f'pip install "resilient-agent[{extra}]"' in ran.stdout


def test_the_environment_names_the_store(url, monkeypatch):
    """RESILIENT_AGENT_STORE is what a guard without store= uses; an argument is stronger."""
    monkeypatch.setenv("RESILIENT_AGENT_STORE", url)
    with pytest.raises(LookupError), session_guard("ticket-42") as session:
        session.append(NEEDLE)
        raise LookupError
    assert [found.session_id for found in interrupted_sessions()] == ["ticket-42"]
    assert open_store() is open_store(url)


def test_options_that_fit_no_store_are_refused(url, tmp_path):
    """A ttl for a folder, a durability for a database, a ttl below a second: said at once."""
    with pytest.raises(TypeError, match="ttl"):
        open_store(tmp_path, ttl=30.0)
    with pytest.raises(TypeError, match="durability= is for files"):
        session_guard("ticket-42", store=url, durability="power")
    with pytest.raises(ValueError, match="at least 1 second"):
        open_store(url, ttl=0.1)
    with pytest.raises(TypeError, match="ttl is said where the store is made"):
        open_store(opened(url), ttl=30.0)


def test_a_claim_is_three_round_trips_at_most_and_an_append_one(url, lag):
    """Counted where they pass: what an owner sends, and how often."""
    log = opened(url).claim("ticket-42")
    log.append("appended", {"messages": [NEEDLE]})
    log.release()
    store, sent = opened(lag.url), []
    for _ in range(4):
        store.claim("ticket-42").release()  # scripts are loaded, statements are prepared
    lag.losing = sent.append
    log = store.claim("ticket-42")
    assert len(sent) <= 3
    sent.clear()
    log.append("appended", {"messages": [NEEDLE]})
    assert len(sent) == 1
    log.remove()


def test_what_is_stored_can_be_read_by_people(postgres_server):
    """Records are lines of JSON in a column of text, and a session is found by its id."""
    with session_guard("ticket-42", store=opened(postgres_server.url)) as session:
        session.append(NEEDLE)
        with psycopg.connect(postgres_server.url) as connection:
            rows = connection.execute(
                "SELECT line FROM resilient_agent_record JOIN resilient_agent_session USING (key) "
                "WHERE session_id = 'ticket-42' ORDER BY resilient_agent_record.seq"
            ).fetchall()
    assert [json.loads(line)["kind"] for (line,) in rows] == ["opened", "appended"]
