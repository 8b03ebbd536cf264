"""What the tests of sessions share: logs made by hand, and real child processes."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from databases import emptied, opened
from proxy import Proxy

import resilient_agent
from resilient_agent import FileStore

NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    """Where the sessions of a test lie; not made yet."""
    return tmp_path / "sessions"


@pytest.fixture
def store(folder):
    return FileStore(folder)


@pytest.fixture(params=["postgres", "redis"])
def url(request):
    """A database without sessions."""
    server = request.getfixturevalue({"postgres": "postgres_server", "redis": "valkey_server"}[request.param])
    emptied(opened(server.url))
    return server.url


@pytest.fixture
def lag(url):
    """The same database through a network that a test rules."""
    with Proxy(url) as proxy:
        yield proxy


@pytest.fixture
def put(store):
    """Store messages as an owner does who then lets go without a word (`ending=` is a last record)."""

    def put(session_id, *messages, ending=None):
        log = store.claim(session_id)
        for message in messages:
            log.append("appended", {"messages": [message]})
        if ending is not None:
            log.append(ending, {})
        log.release()
        return log.path

    return put


@pytest.fixture
def no_more_threads(monkeypatch):
    """A context in which the system is at its limit of threads."""

    def start(_):
        raise RuntimeError("can't start new thread")

    @contextlib.contextmanager
    def no_more_threads():
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            yield

    return no_more_threads


@pytest.fixture
def child():
    """Run code in a fresh Python; give what it printed as JSON."""

    def child(code, *arguments, **options):
        done = subprocess.run(**python(code, *arguments), capture_output=True, timeout=60, check=False, **options)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return json.loads(done.stdout)

    return child


@pytest.fixture
def start():
    """Start code in a fresh Python that speaks and listens by lines; it is killed when the test ends."""
    started = []

    def start(code, *arguments):
        process = subprocess.Popen(
            **python(code, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


FORKING = """
for line in sys.stdin:
    command = json.loads(line)
    if os.fork() == 0:
        try:
            say(os.getpid())
            live(*command)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.wait()
    say(f"died {-os.waitstatus_to_exitcode(status)}")
"""


@pytest.fixture
def start_nursery(start):
    """Start code that warms up, and then forks a child for each line: it runs `live(*line)`, and `say`s how it died."""

    def start_nursery(code, *arguments):
        return start(code + FORKING, *arguments)

    return start_nursery


def python(code, *arguments):
    return {
        "args": [sys.executable, "-u", "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)],
        "env": {**os.environ, "PYTHONPATH": str(Path(resilient_agent.__file__).parents[1])},
    }


@pytest.fixture
def powerless(child):
    """Run code as a user whom file modes stop; `folder` is theirs, `json` and the library are there.

    Root is stopped by no mode, so there the child becomes nobody, in a folder that nobody can reach
    (pytest's own lie behind 0700).
    """
    folder = tempfile.mkdtemp()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)

    def powerless(code):
        return child(WITHOUT_POWER + textwrap.dedent(code), folder)

    yield powerless
    os.chmod(folder, 0o700)  # noqa: PTH101
    shutil.rmtree(folder)


WITHOUT_POWER = f"""
import asyncio, json, os, pathlib, sys
from resilient_agent import FileStore, StorageError
from resilient_agent import session_guard, interrupted_sessions
folder = pathlib.Path(sys.argv[1])
with session_guard("warm", store=folder / "warm") as session:  # all modules are loaded while we may read them
    session.append({{"n": 0}})
    session.messages, interrupted_sessions(folder / "warm")
async def warm():
    async with session_guard("warm", store=folder / "warm") as session:
        await session.append({{"n": 0}})
        raise ValueError("warm")
try:
    asyncio.run(warm())
except ValueError:
    pass
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""
