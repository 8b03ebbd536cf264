"""What all tests share: both event loops, and a clock that nobody waits for."""

import random

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Async tests (marked `anyio`) run under both event loops."""
    return request.param


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
