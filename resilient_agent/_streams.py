"""The shells around a generator, plain or async: a stream is tried again until something of it was handed out.

Two more drivers of `conduct` (see `_shapes.py`), whose attempts last as long as their streams do.
They decide nothing: they fetch an item, hand it out, and tell the call how it ended. Nothing is
held over a `yield`, no scope, no lock and no context, so a stream may be closed from any task. As
long as nothing failed there is no `Call`, and an item costs little more than the hand-over.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import anyio

from resilient_agent import clock
from resilient_agent._below import add_shell, taken
from resilient_agent._call import Call
from resilient_agent._callables import is_async_stream
from resilient_agent._course import ATTEMPT, Script, conduct, gives_up_at_once, next_step
from resilient_agent._shapes import perform, perform_async, takes_direct_path
from resilient_agent._statistics import forget, remember_unwatched
from resilient_agent.errors import AttemptTimeout

if TYPE_CHECKING:
    from resilient_agent._control import Controller

__all__ = ["stream_shell"]

_TO_CLOSE: Final = 5.0
"""Seconds that a stream may take to close while its consumer is being cancelled: a connection that hangs must not
hold up the end of a program."""


def stream_shell(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    """The generator function that stands in for `fn`: of its colour, with its name and its signature."""
    wrapper = _async_stream(fn, control) if is_async_stream(fn) else _plain_stream(fn, control)
    add_shell(wrapper)
    return functools.update_wrapper(wrapper, fn)


# In both wrappers the line that fetches is what a stream costs where nothing fails.


def _plain_stream(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        stream = _PlainStream(control, fn, args, kwargs, clock.monotonic)
        delivered = stream.delivered
        try:
            while stream.opened():
                sent = None
                while True:
                    try:
                        item = stream.source.send(sent) if stream.direct else stream.fetched(sent)
                    except StopIteration as stop:
                        stream.ended(stop.value)
                        break
                    except BaseException as error:
                        if not stream.broke(error):
                            raise
                        break
                    delivered.append(item)
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as thrown:
                        stream.takes(thrown)
                        sent = None
            yield from stream.held
            return stream.value
        finally:
            stream.close()

    return wrapper


def _async_stream(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        stream = _AsyncStream(control, fn, args, kwargs, anyio.current_time)
        delivered = stream.delivered
        try:
            while stream.starts_plainly() or (stream.call is not None and await stream.opened()):
                sent = None
                while True:
                    try:
                        item = await (stream.source.asend(sent) if stream.direct else stream.fetched(sent))
                    except StopAsyncIteration:
                        stream.ended()
                        break
                    except BaseException as error:
                        if not stream.broke(error):
                            raise
                        break
                    delivered.append(item)
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as thrown:
                        stream.takes(thrown)
                        sent = None
            for item in stream.held:
                yield item
        finally:
            await stream.close()

    return wrapper


class _Stream:
    """One call of a generator function: where its items come from, and the `Call`, once there has to be one.

    Attributes:
        direct: whether items may be taken from the source as if nothing stood between.
        call: None as long as the first attempt is under way and nobody wants to watch it.
        source: the generator of the attempt that is under way.
        delivered: what was handed out.
        held: what was fetched and not handed out yet: all, until the stream counts as begun.
        value: what a plain generator returned in the end.
    """

    __slots__ = (
        "_args", "_clock", "_control", "_fetching", "_fn", "_kwargs", "_left_at", "_open", "_script", "_started",
        "_throwing", "_thrown", "call", "delivered", "direct", "held", "source", "value",
    )  # fmt: skip

    def __init__(
        self,
        control: Controller,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        clock: Callable[[], float],
    ) -> None:
        self._control = control
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._clock = clock
        self._started = False
        self._script: Script | None = None
        self._open = False  # whether this attempt counts as begun
        self._left_at = 0.0  # when the consumer was given the last item
        self._fetching = False  # whether the source is being waited for, and not the consumer
        self._thrown: BaseException | None = None  # by the consumer, and on its way to the source
        self._throwing = False  # whether the source is dealing with such a thing
        self.direct = False
        self.call: Call | None = None
        self.source: Any = None
        self.delivered: list[Any] = []
        self.held: deque[Any] = deque()
        self.value: Any = None

    def starts_plainly(self) -> bool:
        """Whether this is the start, and of a stream that nobody watches or that is switched off."""
        if self._started:
            return False
        self._started = True
        control = self._control
        if control.way.stale:
            forget(control)
        if not takes_direct_path(control) and control.switched_on():
            self._watch()
            return False
        self.source = self._fn(*self._args, **self._kwargs)
        return True

    def _watch(self) -> Call:
        self.direct = False
        self.call = call = Call(self._control, self._fn, self._args, self._kwargs, self._clock)
        call.delivered = self.delivered
        self._script = conduct(call)
        return call

    def _attempted(self, call: Call) -> bool:
        """A new attempt begins. False where it failed at once: the arguments do not fit."""
        self.held.clear()
        self._open = False
        self._left_at = call.now()
        call.begun, call.consumer_time = False, 0.0
        try:
            self.source = call.fn(*call.args, **call.kwargs)
        except Exception as error:
            call.failed(error)
            return False
        return True

    def _keep(self, item: Any) -> None:
        """An item came: it may be handed out as soon as the stream counts as begun."""
        if not self._open:
            self._open = self._begins(item)
        self.held.append(item)

    def _begins(self, item: Any) -> bool:
        """Whether the stream counts as begun with it."""
        commit_when = self._control.commit_when
        try:
            return commit_when is None or bool(commit_when(item))
        except (StopIteration, StopAsyncIteration) as wrong:  # it would look like the end of the stream
            raise RuntimeError(f"commit_when= raised {type(wrong).__name__}") from wrong

    def _handed_out(self, call: Call) -> Any:
        call.begun = True
        self._fetching = False
        self._left_at = call.now()
        return self.held.popleft()

    def _back(self, call: Call) -> None:
        """The consumer wants the next item: what he did in between is not the stream's time."""
        call.consumer_time += max(0.0, call.now() - self._left_at)
        self._fetching = True

    def takes(self, thrown: BaseException) -> None:
        """The consumer threw something in: the source may deal with it, and nobody retries it."""
        self._thrown = thrown
        self.direct = False

    def _taken(self) -> BaseException:
        """What is to be thrown into the source; kept nowhere, or it would keep this very frame alive."""
        thrown, self._thrown = self._thrown, None
        assert thrown is not None  # noqa: S101 - asked where there is one
        self.direct = self.call is None
        self._throwing = True
        return thrown

    def _answered(self, item: Any) -> Any:
        """The source dealt with it, and goes on."""
        self._throwing = False
        self.held.append(item)
        return self.held.popleft()

    def ended(self, value: Any = None) -> None:
        """The source has no more items."""
        self.source, self.value = None, value
        if self.call is not None:
            self.call.succeeded(list(self.held or self.delivered))

    def broke(self, error: BaseException) -> bool:
        """The source raised. Whether it is for the call's course to say what follows."""
        if not isinstance(error, Exception):  # interrupted: that is no failure
            if self.call is None:
                remember_unwatched(self._control, error)
            return False
        self.source = None
        if self._throwing:
            return False
        call = self.call
        if call is not None:
            call.failed(error)
            return True
        if not self._control.switched_on():
            remember_unwatched(self._control, error)
            return False
        call = self._watch()
        call.below = taken(self._control.way.told, error)
        call.failed(error)
        call.begun = bool(self.delivered)
        if not call.begun and gives_up_at_once(call):
            self.call = None
            return False
        return True

    def _over(self) -> None:
        """The last that is heard of the stream. Whoever leaves one that had begun has had an answer."""
        call = self.call
        if call is None:
            return
        if self.source is not None and call.begun and not self._fetching:
            call.answered()
        call.close()


class _PlainStream(_Stream):
    """In plain code."""

    __slots__ = ()

    def opened(self) -> bool:
        """Whether there is a source to fetch from: of the first attempt, or of the next one after its wait."""
        if self.starts_plainly():
            self.direct = True
            return True
        call, answer = self.call, None
        if call is None:
            return False
        while (step := next_step(self._script, answer)) is not None:
            if step is not ATTEMPT:
                answer = perform(call, step)
            elif self._attempted(call):
                return True
        call.result()
        return False

    def fetched(self, sent: Any) -> Any:
        """The next item to hand out."""
        if self._thrown is not None:
            return self._answered(self.source.throw(self._taken()))
        call = self.call
        assert call is not None  # noqa: S101 - asked where there is one
        self._back(call)
        while not (self._open and self.held):
            call.enter()
            try:
                item = self.source.send(sent)
            finally:
                call.exit()
            self._keep(item)
            sent = None
        return self._handed_out(call)

    def close(self) -> None:
        """Close what is open."""
        try:
            if self.source is not None:
                self.source.close()
        finally:
            self._over()


class _AsyncStream(_Stream):
    """In a coroutine, within the limits of time."""

    __slots__ = ()

    async def opened(self) -> bool:
        """Whether there is a source to fetch from: of a first attempt that is watched, or of the next one."""
        call, answer = self.call, None
        assert call is not None  # noqa: S101 - asked where there is one
        while (step := next_step(self._script, answer)) is not None:
            if step is not ATTEMPT:
                answer = await perform_async(call, step)
            elif self._attempted(call):
                return True
        call.result()
        return False

    def fetched(self, sent: Any) -> Awaitable[Any]:
        """The next item to hand out, to be awaited."""
        if self.call is None and self._thrown is None:
            self.direct = True
            return _first(self.source)
        return self._fetched(sent)

    async def _fetched(self, sent: Any) -> Any:
        if self._thrown is not None:
            return self._answered(await self.source.athrow(self._taken()))
        call = self.call
        assert call is not None  # noqa: S101 - asked where there is one
        self._back(call)
        while not (self._open and self.held):
            item = await self._item(call, sent)
            try:
                self._keep(item)
            except Exception:  # of `commit_when`: the source waits for more, and nobody will ask it
                await self._close_source()
                raise
            sent = None
        return self._handed_out(call)

    async def _item(self, call: Call, sent: Any) -> Any:
        """One item of the source. Only what our own scope caught is the limit's doing."""
        limit = self._limit(call)
        call.enter()
        try:
            if limit is None:
                return await self._asked(sent)
            with anyio.CancelScope(deadline=limit[0]):  # a fresh one each time
                return await self._asked(sent)
        finally:
            call.exit()
        raise limit[1] or call.out_of_time()

    def _asked(self, sent: Any) -> Awaitable[Any]:
        return self.source.asend(sent) if self.held or self._open else _first(self.source)

    def _limit(self, call: Call) -> tuple[float, AttemptTimeout | None] | None:
        """When the item has to be there, by the loop's clock, and what is wrong if it is not (None: ask the call)."""
        policy, ends = self._control.policy, call.attempt_ends()
        first = not (self.held or call.begun)
        seconds = policy.first_item_timeout if first else policy.item_timeout
        if seconds is None or call.rung is not None:
            return None if ends is None else (ends, None)
        item_ends = self._clock() + seconds
        if ends is not None and ends <= item_ends:
            return ends, None
        return item_ends, AttemptTimeout(seconds, "the first item" if first else "the next item")

    async def close(self) -> None:
        """Close what is open."""
        try:
            if self.source is not None:
                await self._close_source()
        finally:
            self._over()

    async def _close_source(self) -> None:
        """Shielded, as a connection that is left open costs more than the moment it takes."""
        with anyio.CancelScope(deadline=anyio.current_time() + _TO_CLOSE, shield=True):
            await self.source.aclose()


def _first(source: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first item is asked for where the event loop does not hear that a generator begins.

    When it ends it would close this one beside the generator around it, which closes it as well: one of both finds it
    running, and that is told as an error.
    """
    told = sys.get_asyncgen_hooks().firstiter
    sys.set_asyncgen_hooks(firstiter=None)
    try:
        return source.asend(None)
    finally:
        sys.set_asyncgen_hooks(firstiter=told)
