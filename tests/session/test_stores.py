"""Every store keeps what `stores/base.py` promises; addresses find their store."""

import asyncio
from pathlib import Path

import pytest
import redis
from databases import emptied
from servers import given_servers

from resilient_agent import (
    ConversationRecovery,
    FileStore,
    LeasedStore,
    MemoryStore,
    PostgresStore,
    RedisStore,
    open_store,
    session_guard,
)
from resilient_agent.testing import store_contract


@pytest.fixture(scope="module")
def cluster_client(valkey_cluster):
    with redis.RedisCluster.from_url(valkey_cluster.url) as client:
        yield client


@pytest.fixture(params=["memory", "file", "postgres", "redis", "cluster", *given_servers()])
def make_store(request, tmp_path):
    """Each call opens the same sessions once more, as another process would; there are none at first."""
    kind = request.param
    if kind in given_servers():
        return MAKERS[kind.removeprefix("given ")](given_servers()[kind])
    if kind == "memory":
        engine = MemoryStore().engine
        return lambda ttl: LeasedStore(engine, ttl=ttl)
    if kind == "cluster":
        return in_redis(request.getfixturevalue("cluster_client"))
    if kind == "file":
        return lambda ttl: FileStore(tmp_path)
    return MAKERS[kind](request.getfixturevalue({"postgres": "postgres_server", "redis": "valkey_server"}[kind]).url)


def in_postgres(url):
    emptied(PostgresStore(url))
    return lambda ttl: PostgresStore(url, ttl=ttl)


def in_redis(url):
    emptied(RedisStore(url))
    return lambda ttl: RedisStore(url, ttl=ttl)


MAKERS = {"postgres": in_postgres, "redis": in_redis}


@pytest.mark.parametrize("promise", store_contract, ids=str)
def test_each_store_keeps_the_contract(promise, make_store):
    """Memory, files, PostgreSQL, Valkey and a cluster of it keep every promise (B28-B35, B49, B52)."""
    promise(make_store)


@pytest.mark.parametrize(
    ("store", "error", "text"),
    [
        (MemoryStore, TypeError, r"store is the class MemoryStore: make one, MemoryStore\(...\)"),
        ("", ValueError, "names no folder: is the variable"),
    ],
)
def test_what_is_no_store_is_refused_with_what_to_do(store, error, text):
    """A class in place of a store, and a variable that was not set."""
    with pytest.raises(error, match=text):
        open_store(store)
    with pytest.raises(error, match=text):
        session_guard("ticket-42", store=store)


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    """Where no shell has put it in: as `store=`, in both variables of the environment, and for snapshots."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert open_store("~/agents").folder == tmp_path / "agents"
    assert open_store(Path("~/agents")).folder == tmp_path / "agents"
    assert open_store("~nobody-of-this-name").folder == tmp_path / "~nobody-of-this-name"
    monkeypatch.setenv("RESILIENT_AGENT_HOME", "~/state")
    monkeypatch.delenv("RESILIENT_AGENT_STORE", raising=False)
    assert open_store().folder == FileStore().folder == tmp_path / "state" / "sessions"
    monkeypatch.setenv("RESILIENT_AGENT_STORE", "~/stored")
    assert open_store().folder == tmp_path / "stored"
    asyncio.run(ConversationRecovery("~/snapshots").save_snapshot("ticket-42", []))
    assert (tmp_path / "snapshots").is_dir()


@pytest.mark.parametrize(
    "address",
    [
        "host=db dbname=agents user=ada password=hunter2",
        "dbname=agents",
        "localhost:6379",
        "localhost:6379/0",
        "redis:localhost",
        "postgresql:/agents",
    ],
)
def test_the_address_of_a_database_that_is_no_url_is_no_folder(address, monkeypatch, tmp_path):
    """Else each worker of a fleet would quietly keep sessions of its own, and the password be a folder's name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="name a database by its URL") as refused:
        session_guard("ticket-42", store=address)
    assert "hunter2" not in str(refused.value)
    assert open_store(f"./{address}").folder == tmp_path / address


def test_a_scheme_in_capitals_names_the_same_store():
    """The driver would refuse it."""
    assert open_store("REDIS://localhost:1/0") is open_store("redis://localhost:1/0")
