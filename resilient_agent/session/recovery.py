"""Going on with interrupted sessions, over a fleet of workers: each of them in exactly one.

Decides which sessions a worker takes, how many at a time, and how it ends. It is a recovery loop and no job queue: what
is to be begun, and when, is the business of the engine that the user has. Does not know how a store gives a
session to one worker only (`stores/`).
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Unpack

import anyio

from resilient_agent import clock
from resilient_agent._callables import is_around_coroutine, is_coroutine_callable
from resilient_agent.errors import (
    Deferred,
    SessionLost,
    SessionPoisoned,
    SessionSealed,
    StorageError,
    UnsupportedFormat,
)
from resilient_agent.session._crossing import decided
from resilient_agent.session._terminating import watch
from resilient_agent.session.faces import AsyncSession
from resilient_agent.session.guard import Options, SessionGuard, Store, session_guard
from resilient_agent.session.stores import open_store
from resilient_agent.session.stores.base import SessionStore

__all__ = ["Handler", "claim_interrupted", "recover"]

logger: Final = logging.getLogger("resilient_agent.session")

Handler = Callable[[AsyncSession], Awaitable[object]]

_SPARE: Final = 4
"""Looked at for each one that is wanted: other workers take some of them meanwhile."""


def claim_interrupted(
    store: Store = None, *, limit: int = 1, keep: bool = False, **options: Unpack[Options]
) -> list[SessionGuard]:
    """Claim sessions that ended badly and that nobody holds; each goes to exactly one of all who ask.

    A session that was resumed and crashed again rests before it is given out again: 5 s after the second crash
    in a row, 10 s after the third, up to an hour. One that is deferred rests until its moment. One that crashed
    `max_resumes` times is given to nobody before a person has looked at it, and one that is sealed with another codec
    to nobody here: a warning says so, and neither is looked at again for an hour.

    Blocks for as long as the store takes; in a coroutine use `recover`.

    Args:
        store: as for `session_guard`.
        limit: the most that are claimed.
        keep: keep the records after a clean end, as for `session_guard`; else the conversations are gone, also
            those that were begun with `keep=True`.
        options: those of `session_guard`.

    Returns:
        Guards, to be entered with `with` or `async with`. Their sessions are held from now on; one that is dropped
        without having been entered gives its session back.

    Raises:
        ValueError: the limit is below 1.
        StorageError: the store does not answer, or refuses; nothing is claimed.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> try:
        ...     with session_guard("ticket-42", store=folder) as session:
        ...         session.append({"role": "user", "content": "Where is my order?"})
        ...         raise ConnectionResetError
        ... except ConnectionResetError:
        ...     pass
        >>> for guard in claim_interrupted(folder, limit=10):
        ...     with guard as session:
        ...         print(guard.session_id, session.messages)
        ticket-42 [{'role': 'user', 'content': 'Where is my order?'}]
        >>> claim_interrupted(folder)
        []
    """
    if limit < 1:
        raise ValueError(f"limit is how many sessions are wanted, at least 1, not {limit!r}")
    opened = open_store(store)
    claimed: list[SessionGuard] = []
    try:
        for session_id in _offered(opened, limit * _SPARE):
            guard = session_guard(session_id, store=opened, keep=keep, **options)
            if _is_claimed(guard):
                claimed.append(guard)
            if len(claimed) == limit:
                break
    except BaseException:
        _give_back(claimed)
        raise
    return claimed


def _offered(store: SessionStore, limit: int) -> Iterator[str]:
    """Ids of sessions that may be claimed, each once. Those that are refused rest, and others come in their place."""
    seen: set[str] = set()
    while True:
        due = store.due(limit)
        new = [session_id for session_id in due if session_id not in seen]
        yield from new
        seen.update(new)
        if not new or len(due) < limit:
            return


def _is_claimed(guard: SessionGuard) -> bool:
    try:
        return guard.claim_interrupted()
    except (Deferred, SessionLost):  # not yet; or this process stood still behind its claim
        return False
    except (SessionPoisoned, SessionSealed, UnsupportedFormat) as error:
        logger.warning("%s", error)
        return False


def _give_back(guards: list[SessionGuard]) -> None:
    for guard in guards:
        guard.give_back()


async def recover(
    store: Store,
    handler: Handler,
    *,
    concurrency: int = 4,
    poll: float | None = 5.0,
    drain: float = 25.0,
    keep: bool = False,
    **options: Unpack[Options],
) -> int:
    """Go on with interrupted sessions, whoever began them: the main loop of a worker process.

    Any number of workers may run it over one store; each session goes to one of them, and they take all that are
    interrupted there, whoever began them. What the handler raises marks its session as interrupted again, is
    logged, and ends nothing else; a `Deferred` of its calls puts the session off to that moment. SIGTERM ends the
    loop cleanly: no session is taken any more, those under way have `drain` seconds, and are then cancelled and
    marked, for another worker to go on with.

    Args:
        store: as for `session_guard`.
        handler: `async def handler(session)`: goes on with the conversation. When it returns, the session is done.
        concurrency: how many sessions at a time.
        poll: seconds between two looks for more; None ends the loop when there is nothing left to go on with now.
        drain: seconds after SIGTERM that handlers have for coming to their end; below the 30 of Docker and Kubernetes.
        keep: keep the records when the handler returns, as for `session_guard`; else the conversations are gone, also
            those that were begun with `keep=True`.
        options: those of `session_guard`, but for `sigterm`, which is taken care of here.

    Returns:
        How many sessions came to a good end.

    Raises:
        ValueError: a number is out of its range.
        TypeError: the handler is no coroutine function, or there is an option that it does not know.

    Example:
        >>> import asyncio
        >>> from resilient_agent import MemoryStore
        >>> store = MemoryStore()
        >>> try:
        ...     with session_guard("ticket-42", store=store) as session:
        ...         session.append({"role": "user", "content": "Where is my order?"})
        ...         raise ConnectionResetError
        ... except ConnectionResetError:
        ...     pass
        >>> async def handler(session):
        ...     await session.append({"role": "assistant", "content": "On its way."})
        >>> asyncio.run(recover(store, handler, poll=None))
        1
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")
    if poll is not None and not poll > 0:
        raise ValueError(f"poll must be above 0 seconds, or None, not {poll!r}")
    if not drain >= 0:
        raise ValueError(f"drain must not be negative, not {drain!r}")
    if not (is_coroutine_callable(handler) or is_around_coroutine(handler)):
        raise TypeError(
            f"handler must be a coroutine function, such as `async def handler(session): ...`, not {handler!r}; "
            "functools.partial of one gives it more arguments"
        )
    if options.pop("sigterm", None) is not None:
        raise TypeError("recover looks after SIGTERM by itself; leave sigterm= away")
    session_guard("any", store=store, **options)  # wrong options are refused now, and not at the first session
    opened = open_store(store)

    def claim(limit: int) -> list[SessionGuard]:
        return claim_interrupted(opened, limit=limit, keep=keep, **options)

    worker = _Worker(opened, claim, handler, concurrency, poll)
    return await worker.run(drain)


class _Worker:
    """One run of `recover`."""

    def __init__(
        self,
        store: SessionStore,
        claim: Callable[[int], list[SessionGuard]],
        handler: Handler,
        concurrency: int,
        poll: float | None,
    ) -> None:
        self._store = store
        self._claim = claim
        self._handler = handler
        self._concurrency = concurrency
        self._poll = poll
        self._running = 0
        self._done = 0
        self._stopping = False
        self._news = anyio.Event()

    async def run(self, drain: float) -> int:
        async with anyio.create_task_group() as tasks:
            unwatch = self._watch()
            try:
                await self._take_on(tasks)
                with anyio.move_on_after(drain if self._stopping else None):
                    while self._running:
                        await self._wait(None)
            finally:
                unwatch()
            tasks.cancel_scope.cancel()
        return self._done

    def _watch(self) -> Callable[[], object]:
        """Have SIGTERM stop the loop, where that can be."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None  # whoever runs this in a thread ends it by cancelling it
        in_loop = clock.callback()

        def stop() -> None:
            self._stopping = True
            in_loop(self._tell)

        return watch(stop)

    async def _take_on(self, tasks: Any) -> None:
        """Take sessions on, as long as there is room and nobody says stop."""
        while not self._stopping:
            guards = await self._claimed()
            for guard in guards:
                self._running += 1
                tasks.start_soon(self._go_on, guard)
            if self._poll is None and not guards and not self._running:
                return
            if len(guards) == 0 or self._running >= self._concurrency:
                await self._wait(self._poll)

    async def _claimed(self) -> list[SessionGuard]:
        free = self._concurrency - self._running
        if free == 0:
            return []
        try:
            return await decided(lambda: self._claim(free), at=self._store, undo=_give_back)
        except StorageError as error:
            if self._poll is None:
                raise
            logger.warning("no session could be taken on: %s; trying again in %g s", error, self._poll)
            return []

    async def _go_on(self, guard: SessionGuard) -> None:
        try:
            async with guard as session:
                await self._handled(session)
            self._done += 1
        except Deferred as planned:
            logger.info("session %r goes on later: %s", guard.session_id, planned)
        except Exception:
            # With its traceback: nobody else will ever see it.
            logger.exception("session %r ended badly, and is marked as interrupted", guard.session_id)
        finally:
            self._running -= 1
            self._tell()

    async def _handled(self, session: AsyncSession) -> None:
        """Run the handler. A task that it cancelled itself, and waited for, is its own failure and nobody else's."""
        try:
            await self._handler(session)
        except GeneratorExit:  # thrown away where no loop runs that could be asked what a cancellation is there
            raise
        except anyio.get_cancelled_exc_class() as cancelled:
            if anyio.current_effective_deadline() == -math.inf:  # somebody wants all of this to stop
                raise
            raise RuntimeError("the handler waited for a task that was cancelled") from cancelled

    def _tell(self) -> None:
        self._news.set()

    async def _wait(self, seconds: float | None) -> None:
        """Until a session ended, somebody said stop, or so much time has passed."""
        with anyio.move_on_after(seconds):
            await self._news.wait()
        self._news = anyio.Event()
