"""Cancellation at every moment of a guard's life: decided before it goes on, and never in the way of the next guard."""

import asyncio
import contextlib
import random

import anyio
import anyio.lowlevel
import pytest

from resilient_agent import MemoryStore, SessionClosed, SessionLost, interrupted_sessions, session_guard

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def rng():
    return random.Random(20261123)


class Talk:
    """A guarded conversation that counts what was acknowledged, and appends until it is stopped."""

    def __init__(self, store, session_id="ticket-42"):
        self.store, self.session_id = store, session_id
        self.entered = False
        self.said, self.leaving = anyio.Event(), anyio.Event()  # the first acknowledgement; the body's end
        self.acknowledged = 0

    async def run(self, *, upto=None, then=None):
        async with session_guard(self.session_id, store=self.store, max_resumes=None) as session:
            self.entered = True
            while upto is None or self.acknowledged < upto:
                await session.append({"n": self.acknowledged})
                self.acknowledged += 1
                self.said.set()
            if then is not None:
                await then()
            self.leaving.set()

    def numbers(self):
        """What is stored of it, in order; None where there is nothing."""
        history = self.store.read(self.session_id)
        return history and [message["n"] for message in history.messages]

    def check(self):
        """Nothing acknowledged is lost, at most one more is there, and the session is found and free."""
        if not self.entered:
            assert list(self.store.scan()) == []
            assert not self.store.folder.exists() or list(self.store.folder.iterdir()) == []
            return
        numbers = self.numbers()
        assert numbers == list(range(len(numbers)))
        assert self.acknowledged <= len(numbers) <= self.acknowledged + 1
        (found,) = interrupted_sessions(self.store)
        assert (found.message_count, found.interruption.reason) == (len(numbers), "cancelled")
        with session_guard(
            self.session_id, store=self.store, max_resumes=None
        ) as session:  # it is free; and gone after this
            assert session.resumed


async def ticks(count):
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


# -- while saving ---------------------------------------------------------------------------------


async def test_a_scope_cancelled_at_any_moment_loses_nothing(store, rng):  # B19
    """Whenever an anyio scope is cancelled, the message at hand is whole or absent and the session is resumed."""
    entered = 0
    for _ in range(40):
        talk = Talk(store)
        with anyio.move_on_after(rng.uniform(0, 0.02)) as scope:
            await talk.run()
        assert scope.cancelled_caught
        talk.check()
        entered += talk.entered
    assert entered > 10


@on_asyncio
async def test_a_task_cancelled_at_any_moment_loses_nothing(store, rng):  # B19
    """Whenever task.cancel() strikes, the message at hand is whole or absent and the session is resumed."""
    entered = 0
    for number in range(120):
        talk = Talk(store)
        task = asyncio.create_task(talk.run())
        await (ticks(number) if number < 60 else asyncio.sleep(rng.uniform(0, 0.02)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        talk.check()
        entered += talk.entered
    assert entered > 10


async def test_a_cancelled_save_leaves_the_session_usable(store, rng):  # B4 B19
    """A body that survives the cancellation of its saves goes on saving, without a hole or a double."""
    async with session_guard("ticket-42", store=store, keep=True) as session:
        for _ in range(40):
            acknowledged = before = len(session.messages)
            with anyio.move_on_after(rng.uniform(0, 0.006)) as scope:
                while True:
                    await session.append({"n": acknowledged})
                    acknowledged += 1
            assert scope.cancelled_caught
            assert before <= acknowledged <= len(session.messages) <= acknowledged + 1
        assert len(session.messages) > 10
        assert [message["n"] for message in session.messages] == list(range(len(session.messages)))
        assert store.read("ticket-42").messages == session.messages


@on_asyncio
async def test_a_cancelled_task_that_goes_on_can_save(store, rng):  # B4 B19
    """A task that takes its cancellation back goes on saving, without a hole or a double."""
    stopped = 0
    async with session_guard("ticket-42", store=store, keep=True) as session:
        for number in range(60):
            before = session.messages
            save = asyncio.ensure_future(session.append({"n": number}))
            await (ticks(number % 12) if number % 2 else asyncio.sleep(rng.uniform(0, 0.004)))
            save.cancel()
            try:
                await save
            except asyncio.CancelledError:
                stopped += 1
                decided = session.messages
                await anyio.sleep(0.005)
                assert session.messages == decided, "decided before the cancellation came out"
                assert decided in (before, [*before, {"n": number}])
            else:
                assert session.messages == [*before, {"n": number}]
        assert store.read("ticket-42").messages == session.messages
    assert stopped > 5


@on_asyncio
async def test_of_concurrent_saves_only_the_cancelled_one_may_be_absent(store):  # B2 B5
    """Cancelling one of ten saves that wait for the disk takes none of the others with it."""
    async with session_guard("ticket-42", store=store) as session:
        for victim in range(10):
            await session.replace([])
            saves = [asyncio.ensure_future(session.append({"n": n})) for n in range(10)]
            await ticks(3)
            saves[victim].cancel()
            results = await asyncio.gather(*saves, return_exceptions=True)
            numbers = [message["n"] for message in session.messages]
            assert numbers in (list(range(10)), [n for n in range(10) if n != victim])
            assert [isinstance(r, asyncio.CancelledError) for r in results].count(True) <= 1
            assert [r for n, r in enumerate(results) if n != victim] == [None] * 9


# -- twice ----------------------------------------------------------------------------------------


@on_asyncio
@pytest.mark.parametrize("waits", ["in the body", "in a save"])
async def test_a_task_that_is_cancelled_twice_still_marks_its_session(store, rng, waits):  # B20
    """However soon a second cancel() follows the first, the session is marked, and free."""
    for number in range(60):
        talk = Talk(store)
        body = {"upto": 1, "then": anyio.sleep_forever} if waits == "in the body" else {}
        task = asyncio.create_task(talk.run(**body))
        await talk.said.wait()
        await asyncio.sleep(0.001)
        task.cancel()
        await (ticks(number) if number < 30 else asyncio.sleep(rng.uniform(0, 0.01)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        talk.check()


@on_asyncio
async def test_a_task_that_is_cancelled_all_the_time_still_marks_its_session(store):  # B20
    """A task that is cancelled in every turn of the loop ends with its session marked, and free."""
    talk = Talk(store)
    task = asyncio.create_task(talk.run(upto=1, then=anyio.sleep_forever))
    await talk.said.wait()
    with anyio.fail_after(5):
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
    assert task.cancelled()
    talk.check()


# -- on entering ----------------------------------------------------------------------------------


async def test_cancelled_on_entering_no_phantom_is_left(store):  # B20
    """A guard that is cancelled before it was entered leaves no session and no lock."""
    for number in range(40):
        talk = Talk(store)
        async with anyio.create_task_group() as group:
            group.start_soon(talk.run)
            await ticks(number)
            group.cancel_scope.cancel()
        talk.check()
        async with session_guard("ticket-42", store=store) as session:
            assert not session.resumed


@on_asyncio
async def test_cancelled_on_entering_a_stored_session_stays_as_it_was(store, put):  # B20
    """A kept session whose next guard is cancelled on entering is still closed, and nobody holds it."""
    put("ticket-42", {"n": 0}, ending="closed")
    entered = 0
    for number in range(60):
        talk = Talk(store)
        task = asyncio.create_task(talk.run(upto=0, then=anyio.sleep_forever))
        await (ticks(number) if number < 30 else asyncio.sleep(number / 10_000))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        entered += talk.entered
        if not talk.entered:
            assert [found.status for found in store.scan()] == ["closed"]
        assert talk.numbers() == [0]
        with session_guard("ticket-42", store=store, keep=True) as session:
            assert session.resumed
    assert entered < 60


@on_asyncio
async def test_cancelled_on_entering_an_interrupted_session_it_keeps_its_reason(store):  # B11 B20
    """What interrupted a session is still told after the guard that would have resumed it was cancelled on entering."""
    cancelled_in_time = 0
    for number in range(60):
        with pytest.raises(ConnectionResetError):
            async with session_guard("ticket-42", store=store, max_resumes=None):
                raise ConnectionResetError
        talk = Talk(store)
        task = asyncio.create_task(talk.run(upto=0, then=anyio.sleep_forever))
        await (ticks(number) if number < 30 else asyncio.sleep((number - 30) / 10_000))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if not talk.entered:
            (found,) = interrupted_sessions(store)
            assert (found.interruption.reason, found.interruption.error) == ("exception", "ConnectionResetError"), (
                number
            )
            cancelled_in_time += 1
    assert cancelled_in_time > 5


# -- on leaving -----------------------------------------------------------------------------------


@on_asyncio
async def test_cancelled_on_leaving_the_end_is_whole(store, rng):  # B20
    """A clean end that is cancelled has removed the session, or left it whole, and nobody holds it."""
    for number in range(60):
        talk = Talk(store)
        task = asyncio.create_task(talk.run(upto=2))
        await talk.leaving.wait()
        await (ticks(number) if number < 30 else asyncio.sleep(rng.uniform(0, 0.01)))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert talk.numbers() in (None, [0, 1])
        assert [found.status for found in store.scan()] in ([], ["interrupted"])
        with session_guard("ticket-42", store=store):
            pass


async def test_a_cancelled_scope_does_not_keep_a_clean_end_from_being_recorded(store):  # B20
    """A body that finished under a scope that is cancelled meanwhile has ended well."""
    with anyio.CancelScope() as scope:
        async with session_guard("ticket-42", store=store) as session:
            await session.append({"n": 0})
            scope.cancel()
    assert list(store.scan()) == []


async def test_a_timeout_marks_the_session_as_cancelled(store):  # B22
    """Under `fail_after` the TimeoutError comes out, and the session says that it was cancelled."""
    with pytest.raises(TimeoutError), anyio.fail_after(60) as limit:
        async with session_guard("ticket-42", store=store) as session:
            await session.append({"n": 0})
            limit.deadline = anyio.current_time() + 0.01  # not before: a slow disk takes its time
            await anyio.sleep_forever()
    assert [found.interruption.reason for found in interrupted_sessions(store)] == ["cancelled"]


@on_asyncio
async def test_asyncios_own_timeout_marks_the_session_as_cancelled(store):  # B22
    """Under `asyncio.timeout` the TimeoutError comes out, and the session says that it was cancelled."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit, session_guard("ticket-42", store=store) as session:
            await session.append({"n": 0})
            limit.reschedule(asyncio.get_running_loop().time() + 0.01)  # not before: a slow disk takes its time
            await anyio.sleep_forever()
    assert [found.interruption.reason for found in interrupted_sessions(store)] == ["cancelled"]


@on_asyncio
async def test_a_cancellation_is_counted_once(store):  # B19
    """A task that is cancelled in a save sees one cancellation, which it can take back."""
    seen = []

    async def work():
        async with session_guard("ticket-42", store=store) as session:
            try:
                while True:
                    await session.append({"n": 0})
            except asyncio.CancelledError:
                seen.append(asyncio.current_task().cancelling())
                asyncio.current_task().uncancel()
            await session.append({"n": 1})
            return len(session.messages)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.02)
    task.cancel()
    assert await task >= 1
    assert seen == [1]
    assert list(store.scan()) == []


# -- in the wrong place ---------------------------------------------------------------------------


@on_asyncio
async def test_a_guard_that_is_left_in_another_task_frees_its_session():
    """The error says what to do instead, and the session has ended well all the same."""
    store = MemoryStore()
    guard = session_guard("ticket-42", store=store, keep=True)
    session = await asyncio.create_task(guard.__aenter__())
    await session.append({"n": 1})
    with pytest.raises(RuntimeError, match="enter and leave in one task"):
        await asyncio.create_task(guard.__aexit__(None, None, None))
    assert [found.status for found in store.scan()] == ["closed"]
    with pytest.raises(SessionClosed):
        await session.append({"n": 2})


@on_asyncio
async def test_an_error_in_a_guard_that_is_left_in_another_task_comes_out():
    """It is the body's own, with a note; the session is marked and free."""
    store = MemoryStore()
    guard = session_guard("ticket-42", store=store)
    await asyncio.create_task(guard.__aenter__())
    error = ConnectionResetError()
    await asyncio.create_task(guard.__aexit__(type(error), error, None))
    assert "in one task" in error.__notes__[0]
    assert [found.interruption.error for found in interrupted_sessions(store)] == ["ConnectionResetError"]


async def test_guards_that_are_left_in_the_wrong_order_free_their_sessions():
    """Each ends, and the first to be left says what is wrong."""
    store = MemoryStore()

    async def in_a_task_of_its_own():
        outer, inner = (session_guard(name, store=store, keep=True) for name in ("outer", "inner"))
        await outer.__aenter__()
        await inner.__aenter__()
        for guard in (outer, inner):
            await guard.__aexit__(None, None, None)

    with contextlib.suppress(RuntimeError, ExceptionGroup):  # trio refuses to go on, and so the inner one stays
        async with anyio.create_task_group() as group:
            group.start_soon(in_a_task_of_its_own)
    assert {found.session_id: found.status for found in store.scan()}["outer"] == "closed"


async def test_a_guard_that_was_ended_once_may_be_entered_again():
    """How it ended the last time says nothing of the next."""
    store = MemoryStore()
    guard = session_guard("ticket-42", store=store)
    with pytest.raises(SessionLost):
        async with guard as session:
            store.engine.delete(session._core.log._held.lease)
            with anyio.fail_after(60):
                await session.append({"n": 1})
    async with guard as session:
        await session.append({"n": 2})
