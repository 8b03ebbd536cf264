"""A future that wakes its one waiter at once: what it shares with asyncio's own, and the one thing that it does not."""

import asyncio
import contextvars

import pytest

from resilient_agent._arrival import Arrival


def run(body):
    """Run a coroutine function on an asyncio loop of its own, in debug mode."""
    return asyncio.run(body(), debug=True)


@pytest.mark.parametrize(("future", "order"), [(Arrival, "waiter, other"), (asyncio.Future, "other, waiter")])
def test_the_waiter_goes_on_before_what_else_is_due(future, order):
    """A future of asyncio's own lets it wait for the loop's next round."""

    async def body():
        loop, said = asyncio.get_running_loop(), []
        arrival = future()

        async def wait():
            await arrival
            said.append("waiter")

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        loop.call_soon(arrival.arrive if future is Arrival else lambda: arrival.set_result(None))
        loop.call_soon(said.append, "other")
        await waiter
        return ", ".join(said)

    assert run(body) == order


def test_the_waiter_goes_on_in_its_own_context():
    """Not in that of whoever tells it."""
    who = contextvars.ContextVar("who", default="nobody")

    async def body():
        who.set("the waiter")
        arrival = Arrival()
        asyncio.get_running_loop().call_soon(arrival.arrive, context=contextvars.Context())
        await arrival
        return who.get()

    assert run(body) == "the waiter"


def test_what_was_there_before_is_not_waited_for():
    """And what arrives twice is there once."""

    async def body():
        arrival = Arrival()
        arrival.arrive()
        arrival.arrive()
        await arrival
        return arrival.done()

    assert run(body)


def test_a_waiter_that_is_cancelled_hears_why():
    """By that message anyio tells its own cancellations from others."""

    async def body():
        arrival = Arrival()

        async def wait():
            await arrival

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await waiter
        arrival.arrive()  # too late, and nothing comes of it
        return waiter.cancelled()

    assert run(body)


def test_a_waiter_may_go_on_after_a_cancellation():
    """As a save does that is over before its cancellation goes on."""

    async def body():
        async def wait():
            try:
                await Arrival()
            except asyncio.CancelledError:
                again = Arrival()
                asyncio.get_running_loop().call_soon(again.arrive)
                await again
                return "went on"

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel()
        return await waiter

    assert run(body) == "went on"


def test_cancelled_and_arrived_in_one_round_it_is_cancelled():
    """As with asyncio's own: what came first counts, and the waiter is woken once."""

    async def body():
        loop, arrival, woken = asyncio.get_running_loop(), Arrival(), []

        async def wait():
            try:
                await arrival
            except asyncio.CancelledError:
                woken.append("cancelled")

        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        loop.call_soon(waiter.cancel)
        loop.call_soon(arrival.arrive)
        await asyncio.sleep(0.01)
        return woken

    assert run(body) == ["cancelled"]
