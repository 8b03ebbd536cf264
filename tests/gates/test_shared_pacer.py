"""`SharedPacer` in real time, at a real server: who learns of a limit, when, and what happens without the server."""

import contextlib
import copy
import gc
import importlib.util
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resilient_agent.decorator import resilient
from resilient_agent.gates.pacer import Pacer
from resilient_agent.gates.shared.pacer import SharedPacer
from resilient_agent.testing import FakeLLM
from resilient_agent.testing.waiting import no_waiting

redis = pytest.importorskip("redis")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "shared_pacing.py"


class Limited(Exception):
    def __init__(self, retry_after=None):
        super().__init__("slow down")
        self.status_code = 429
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


@pytest.fixture
def url(valkey_server):
    """A database of its own."""
    return valkey_server.fresh_url()


def until(what, seconds=10.0):
    """Wait for something that another thread does."""
    patience = time.monotonic() + seconds
    while not (came := what()) and time.monotonic() < patience:
        time.sleep(0.005)
    return came


def joined(url, name="a model", key=None):
    """A pacer as it is after a first call in its process, when it has heard what the others know."""
    pacer = SharedPacer(url, name=name)
    pacer.lane(key, time.monotonic())
    assert until(lambda: pacer._link.up and not pacer.active)
    channel = pacer._link._here(pacer.channel)
    with redis.Redis.from_url(url) as client:
        assert until(lambda: client.pubsub_numsub(channel)[0][1])
    return pacer


def meet(pacer, wait=30.0, key=None):
    """The key's lane, after somebody was refused there."""
    lane = pacer.lane(key, time.monotonic())
    ticket = lane.ticket()
    lane.limited(ticket, time.monotonic(), wait)
    lane.leave(ticket, time.monotonic())
    return lane


def told_of(server, caplog):
    return [record for record in caplog.records if server in record.getMessage()]


def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("resilient_agent_")}


# Sharing


def test_a_limit_that_one_pacer_meets_holds_for_the_other(url):
    """Both would be in processes of their own: what they have in common is the server and the name."""
    one, other = joined(url), joined(url)
    assert not other.active
    meet(one, wait=30.0)
    assert until(lambda: other.active)
    assert 29 < other.lane(None, time.monotonic()).floor(time.monotonic()) <= 30


def test_calls_of_another_process_wait_for_the_window(url):
    """A call through the other pacer comes after the time that the server named to the first one."""
    one, other = joined(url), joined(url)
    meet(one, wait=0.7)
    ended = time.monotonic() + 0.69
    assert until(lambda: other.active)
    came = resilient(pacer=other)(time.monotonic)()
    assert came >= ended


@pytest.mark.anyio
async def test_coroutines_wait_for_a_window_that_a_thread_was_told_of(url, anyio_backend):
    """Whatever their event loop's clock says: each process counts by its own, and they are put together."""
    one, other = joined(url), joined(url)
    meet(one, wait=0.7)
    ended = time.monotonic() + 0.69
    assert until(lambda: other.active)

    @resilient(pacer=other)
    async def ask():
        return time.monotonic()

    assert await ask() >= ended


def test_a_limit_of_another_name_or_database_is_another_limit(valkey_server, url):
    """Though channels are common to all databases of a server."""
    pacers = [joined(url, "other"), joined(valkey_server.fresh_url(), "a model")]
    same = joined(url, "a model")
    meet(joined(url, "a model"))
    assert until(lambda: same.active)
    assert not any(pacer.active for pacer in pacers)


def test_each_key_is_a_limit_of_its_own(url):
    """The other process knows by the key which of its calls are meant."""
    one, other = joined(url, key="a"), joined(url, key="a")
    meet(one, key=("b", 1))
    assert until(lambda: other.active)
    now = time.monotonic()
    assert not other.lane("a", now).active
    assert other.lane(("b", 1), now).active


def test_a_process_that_comes_later_hears_of_the_limit(url):
    """Its first call goes and asks, and the next ones wait."""
    lane = meet(joined(url), wait=30.0)
    assert until(lambda: lane._epoch)
    late = SharedPacer(url, name="a model")
    late.lane(None, time.monotonic())
    assert until(lambda: late._link.up and late.active)
    assert 25 < late.lane(None, time.monotonic()).floor(time.monotonic()) <= 30


def test_what_lies_on_the_server_expires_and_tells_no_key(url):
    """All keys of a pacer have one hash tag, and a secret that `pace_by` names is not among them."""
    lane = meet(joined(url, key="sk-secret"), wait=5.0, key="sk-secret")
    assert until(lambda: lane._epoch)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        keys = client.keys()
        assert len(keys) >= 2
        for key in keys:
            assert key.startswith("{resilient_agent:pacer:a model}:")
            assert "secret" not in key
            assert 0 < client.ttl(key) <= 130


# What it costs while nobody meets a limit


def test_nothing_is_connected_to_before_the_first_call(url):
    """Making one, as modules do when they are imported, starts no thread."""
    before = threads()
    pacer = SharedPacer(url, name="a model")
    assert pacer.active  # the first call is to look
    assert threads() == before
    resilient(pacer=pacer)(lambda: "answer")()
    assert len(threads() - before) == 2
    assert all(thread.daemon for thread in threads())


def test_calls_without_a_limit_ask_nothing(url):
    """Ten thousand of them send not one command to the server."""
    pacer = joined(url)
    ask = resilient(pacer=pacer)(lambda: "answer")
    with redis.Redis.from_url(url) as client:
        before = client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        for _ in range(10_000):
            ask()
        assert client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0) == before
    assert not pacer.active


def test_threads_end_when_nobody_shares_any_more(url, monkeypatch):
    """Some seconds after the last pacer of a server has gone."""
    monkeypatch.setattr("resilient_agent.gates.shared.link._LOOK", 0.05)
    before = threads()
    pacer = joined(url)
    mine = threads() - before
    assert len(mine) == 2
    del pacer
    gc.collect()
    assert until(lambda: not any(thread.is_alive() for thread in mine))
    one, other = joined(url), joined(url)  # and for whoever comes later there are new ones
    meet(one)
    assert until(lambda: other.active)


def test_a_thread_that_could_not_be_started_is_started_for_the_next_who_comes(url, monkeypatch, caplog):
    """At the system's limit of threads a warning says that limits are not shared; later they are."""
    caplog.set_level(logging.WARNING, "resilient_agent.gates")

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        alone = SharedPacer(url, name="a model")
        alone.lane(None, time.monotonic())
    assert "can't start new thread" in caplog.text
    meet(joined(url))
    assert until(lambda: alone.active)


def test_a_system_without_forks_has_shared_pacers():
    """As Windows, where `os` has no way to be told of them."""
    code = "import os, redis; del os.fork, os.register_at_fork; from resilient_agent import SharedPacer"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Without a server


def test_without_a_server_it_paces_alone_and_says_so_once(caplog):
    """Calls go on, a limit is met and waited for as by a plain pacer, and no call is told of the server."""
    caplog.set_level(logging.WARNING, "resilient_agent.gates")
    pacer = SharedPacer("redis://user:password@127.0.0.1:1/0", name="a model")
    came = []

    @resilient(pacer=pacer)
    def ask():
        came.append(time.monotonic())
        if len(came) == 1:
            raise Limited(0.3)
        return "answer"

    assert ask() == "answer"
    assert came[1] - came[0] >= 0.3
    assert until(lambda: told_of("127.0.0.1:1/0", caplog))
    time.sleep(0.5)
    (record,) = told_of("127.0.0.1:1/0", caplog)
    assert "127.0.0.1:1/0 cannot be reached" in record.getMessage()
    assert "password" not in record.getMessage()


def test_it_comes_back_by_itself(valkey_server, url, caplog):
    """After the server was killed and started again, limits are shared as before."""
    caplog.set_level(logging.INFO, "resilient_agent.gates")
    one, other = joined(url), joined(url)
    valkey_server.kill()
    try:
        assert until(lambda: not one._link.up)
        meet(one, wait=60.0)
        assert one.active
        assert not other.active
    finally:
        valkey_server.start()
    assert until(lambda: one._link.up)
    one.lane(None, time.monotonic()).ask(one.lane(None, time.monotonic()).ticket(), time.monotonic())
    assert until(lambda: other.active)
    told = [record.levelname for record in told_of(url.removeprefix("redis://"), caplog)]
    assert told == ["WARNING", "INFO"]


def test_a_missing_package_is_said_with_the_line_that_installs_it():
    """Only where a pacer is made: importing the room needs nothing."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from resilient_agent.gates.shared.pacer import SharedPacer\n"
        "try: SharedPacer('redis://localhost', name='a')\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == 'SharedPacer needs the extra "redis": pip install "resilient-agent[redis]"'


# Copies, pickles, forks


def test_pickled_it_is_the_same_limit(url):
    """What another process unpickles meets the limit with this one."""
    one = joined(url)
    other = pickle.loads(pickle.dumps(one))
    assert (type(other), other.name) == (SharedPacer, "a model")
    other.lane(None, time.monotonic())
    meet(one)
    assert until(lambda: other.lane(None, time.monotonic()).active)


def test_a_test_that_stops_time_teaches_the_others_nothing(url):
    """Within `no_waiting` a pacer of the same name stands in, which shares nothing."""
    pacer = joined(url)
    came = []

    @resilient(pacer=pacer)
    def ask():
        came.append(1)
        if len(came) == 1:
            raise Limited(30)
        return "answer"

    with no_waiting():
        assert ask() == "answer"
    time.sleep(0.1)
    assert not pacer.active
    assert type(copy.copy(pacer)) is Pacer
    assert repr(copy.copy(pacer)) == "<Pacer 'a model': idle>"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_shares_by_itself(url):
    """It has threads and a connection of its own, and meets the limit with its parent."""
    pacer = joined(url)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            assert pacer.active
            pacer.lane(None, time.monotonic())
            assert until(lambda: pacer._link.up)
            lane = meet(pacer, wait=30.0)
            assert until(lambda: lane._epoch)
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert until(lambda: pacer.active)


# Arguments


def test_name_and_url_are_checked():
    """A mistake is said at once, without the server."""
    with pytest.raises(TypeError, match="name must be a str, not 5"):
        SharedPacer("redis://localhost", name=5)
    with pytest.raises(ValueError, match="name must not be empty"):
        SharedPacer("redis://localhost", name="")
    with pytest.raises(TypeError, match="url must be a str, not None"):
        SharedPacer(None, name="a")
    with pytest.raises(ValueError, match="Redis URL must specify"):
        SharedPacer("http://localhost", name="a")


def test_a_url_may_say_valkey():
    """It is the same protocol."""
    assert SharedPacer("valkey://localhost:7000/2", name="a")._link._here("x") == "x:2"


# The job


def test_two_processes_of_fifty_workers_meet_one_limit_as_one(url):
    """Against a token bucket, in real time: nobody is lost, and few requests are refused."""
    spec = importlib.util.spec_from_file_location("shared_pacing", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    bucket = benchmark.Bucket(rate=50, burst=20, hint=True)
    with FakeLLM(bucket) as llm:
        said = benchmark.fleet(llm.openai_base_url, url, processes=2, workers=50, calls=500)
    assert said == [{"done": 250, "lost": 0}] * 2
    assert bucket.refused / 500 <= 0.3
