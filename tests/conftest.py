"""What all tests share: both event loops, and a clock that nobody waits for."""

import asyncio
import random
import signal

import anyio
import hypothesis
import pytest
import trio.testing
from servers import MissingServer, PostgresServer, ValkeyCluster, ValkeyServer

from resilient_agent import _scope

# An example that took long says that the machine paused, not that the code is wrong.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure():
    """Ctrl-C reaches the programs that tests start, also where a shell has started the tests behind itself.

    It has them ignore Ctrl-C then, and so would all that they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Async tests (marked `anyio`) run under both event loops."""
    return request.param


@pytest.fixture(scope="module", autouse=True)
def unwatched(request):
    """Calls take the direct path, unless the test's module asks what `context.py` tells, which does away with it.

    Else one module that asks would do away with it in all others of the same run.
    """
    asks = any(hasattr(request.module, name) for name in ("current_attempt", "last_call"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scope, "asked_for", int(asks))
        yield


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL of our own; with `.kill()`, `.start()` and `.restart()`."""
    yield from _running(PostgresServer())


@pytest.fixture(scope="session")
def valkey_server():
    """A Valkey of our own, likewise."""
    yield from _running(ValkeyServer())


@pytest.fixture(scope="session")
def valkey_cluster():
    """A Valkey that is a cluster."""
    yield from _running(ValkeyCluster())


def _running(server):
    try:
        with server:
            yield server
    except MissingServer as missing:
        pytest.skip(str(missing))


@pytest.fixture
def waits():
    """A `sleep=` for plain code that waits for nothing and remembers what it was asked for."""
    return Waits()


@pytest.fixture
def async_waits():
    """The same for coroutines; it lets other tasks run, as a real sleep does."""
    return AsyncWaits()


@pytest.fixture
def rng():
    """Randomness that is the same in every run."""
    return random.Random(20261123)


@pytest.fixture(params=["asyncio", "trio"])
def virtually(request):
    """Run a coroutine function on a clock that nobody waits for: what it returned or raised, and how long it took."""

    async def timed(main):
        begun = anyio.current_time()
        try:
            came = await main()
        except Exception as error:
            came = error
        return came, round(anyio.current_time() - begun, 3)

    def running(main):
        clock = {"clock": trio.testing.MockClock(autojump_threshold=0)}
        options = {"loop_factory": JumpingLoop} if request.param == "asyncio" else clock
        return anyio.run(timed, main, backend=request.param, backend_options=options)

    return running


@pytest.fixture
def beside(virtually):
    """The same, and the moments at which another task ran meanwhile, which wakes every 0.03 s."""

    def running(main):
        woke = []

        async def another():
            while True:
                woke.append(round(anyio.current_time(), 3))
                await anyio.sleep(0.03)

        async def both():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(another)
                came = await main()
                tasks.cancel_scope.cancel()
            return came

        came, took = virtually(both)
        return came, took, [round(moment - woke[0], 3) for moment in woke]

    return running


class Waits(list):
    """Seconds asked for, in order."""

    def __call__(self, seconds):
        self.append(seconds)


class AsyncWaits(list):
    """Seconds asked for, in order."""

    async def __call__(self, seconds):
        import anyio.lowlevel

        self.append(seconds)
        await anyio.lowlevel.checkpoint()


class JumpingLoop(asyncio.SelectorEventLoop):
    """Of asyncio, what `MockClock` is of trio: where nothing is left to do, it is later."""

    def __init__(self):
        self._moment = 0.0
        super().__init__()
        self._wait_for_events = self._selector.select
        self._selector.select = self._jump

    def _jump(self, timeout=None):
        if timeout:
            self._moment += timeout
        return self._wait_for_events(0 if timeout else timeout)

    def time(self):
        return self._moment
