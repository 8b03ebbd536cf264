"""Real servers that are killed and come back: what other tests build on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from servers import ValkeyServer


@pytest.fixture(params=["postgres_server", "valkey_server"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def table(postgres_server):
    """The URL of a database with an empty table `t`."""
    url = postgres_server.fresh_url()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (n int)")
    return url


def rows(url):
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]


def test_postgres_promises_what_a_store_needs(postgres_server):
    """It takes 200 connections, and acknowledges nothing that is not on its disk."""
    with psycopg.connect(postgres_server.url) as connection:
        settings = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("fsync", "synchronous_commit", "full_page_writes", "max_connections")
        }
    assert int(settings.pop("max_connections")) >= 200
    assert set(settings.values()) == {"on"}


def test_valkey_promises_what_a_store_needs(valkey_server):
    """It writes each change to its disk before it acknowledges it."""
    with redis.Redis.from_url(valkey_server.url) as connection:
        assert connection.config_get("append*") == connection.config_get("append*") | {
            "appendonly": "yes",
            "appendfsync": "always",
        }


def test_postgres_keeps_what_it_acknowledged_through_a_kill(postgres_server, table):
    """Killed in the middle of a transaction, it comes back at the same URL with all that was committed, and no more."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(table) as unfinished:
        with psycopg.connect(table, autocommit=True) as connection:
            connection.execute("INSERT INTO t VALUES (1)")
        unfinished.execute("INSERT INTO t VALUES (2)")
        postgres_server.kill()
        postgres_server.restart()
    assert rows(table) == [1]


def test_valkey_keeps_what_it_acknowledged_through_a_kill(valkey_server):
    """Killed, it comes back at the same URL with every write that it acknowledged."""
    url = valkey_server.fresh_url()
    with redis.Redis.from_url(url) as connection:
        for n in range(100):
            connection.rpush("t", n)
    valkey_server.kill()
    valkey_server.restart()
    with redis.Redis.from_url(url) as connection:
        assert connection.lrange("t", 0, -1) == [b"%d" % n for n in range(100)]


def test_a_kill_leaves_no_process(server):
    """After `kill` no process of the server runs, workers included, and its port is closed."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    with server.outage():
        assert [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address)
    socket.create_connection(server.address).close()


def test_a_closed_server_leaves_nothing(server):
    """Stopped, it can be started again; after its `with`, neither process nor folder nor shared memory is there."""
    kind = type(server)
    with kind() as another:
        another.stop()
        another.start()
        folder, process = another.folder, psutil.Process(another.pid)
        shared = Path("/proc/sysvipc/shm")
        mine = f" {process.pid} "
        assert kind is ValkeyServer or not shared.exists() or mine in shared.read_text("ascii")
        another.kill()
    assert not folder.exists()
    assert not process.is_running()
    assert not shared.exists() or mine not in shared.read_text("ascii")


def test_a_server_outlives_the_thread_that_started_it(valkey_server):
    """A test may restart it in a thread that ends."""
    thread = threading.Thread(target=valkey_server.restart)
    thread.start()
    thread.join()
    time.sleep(0.1)
    with redis.Redis.from_url(valkey_server.url) as connection:
        assert connection.ping()


def test_a_server_ends_with_the_tests_that_started_it(server):
    """Tests that are killed leave no process and no folder behind."""
    kind = type(server).__name__
    code = f"""
        import sys
        sys.path.append({str(Path(__file__).parent)!r})
        from servers import {kind}
        server = {kind}().start()
        print(server.pid, server.folder, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        pid, folder = tests.stdout.readline().split()
        process = psutil.Process(int(pid))
        os.kill(tests.pid, signal.SIGKILL)
    soon(lambda: not process.is_running() and not Path(folder).exists())


def test_a_server_that_cannot_start_says_why(valkey_server):
    """Where its port is taken, its own words are in the error."""
    other = ValkeyServer()
    try:
        other.start().stop()
        other.port = valkey_server.port
        with pytest.raises(RuntimeError, match="Address already in use"):
            other.start()
    finally:
        other.close()


def test_a_server_that_cannot_begin_leaves_nothing(monkeypatch, tmp_path):
    """Where its first start fails, its folder is removed."""

    def fail():
        raise OSError("no port is free")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("servers.free_port", fail)
    with pytest.raises(OSError, match="no port"):
        ValkeyServer().start()
    assert list(tmp_path.iterdir()) == []


def took(function, *arguments):
    begun = time.monotonic()
    function(*arguments)
    return time.monotonic() - begun


def soon(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
