"""Every store keeps what `stores/base.py` promises; addresses find their store."""

import pytest
import redis
from databases import emptied
from servers import given_servers

from resilient_agent import FileStore, LeasedStore, MemoryStore, PostgresStore, RedisStore
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
