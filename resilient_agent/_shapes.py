"""The shells around a function, plain, coroutine, or either, and the two drivers that do what `conduct` asks for.

The first attempt goes through a thin wrapper that holds nothing and builds nothing; only
when it failed is there a `Call`. The drivers decide nothing: they call, await and sleep.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import anyio

from resilient_agent import _scope, clock
from resilient_agent import _telling as telling
from resilient_agent._below import add_shell
from resilient_agent._call import Call
from resilient_agent._callables import is_around_coroutine, is_coroutine_callable
from resilient_agent._course import ATTEMPT, SLEEP, Raised, conduct, next_step
from resilient_agent._ordinary import is_bounded, is_ordinary
from resilient_agent._statistics import forget, remember_unwatched

if TYPE_CHECKING:
    from resilient_agent._control import Controller

__all__ = [
    "drive",
    "drive_async",
    "perform",
    "perform_async",
    "shell",
    "takes_direct_path",
]


def shell(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    """The function that stands in for `fn`: of its colour, with its name and its signature."""
    plain, coroutine = _plain(fn, control), _coroutine(fn, control)
    add_shell(plain, coroutine)
    wrapper = plain
    if is_coroutine_callable(fn):
        wrapper = coroutine
    elif is_around_coroutine(fn):
        # What only a coroutine can keep says that it is one.
        wrapper = _either(fn, control, plain, coroutine) if control.fits_plain() else coroutine
    return functools.update_wrapper(wrapper, fn)


# The two wrappers are the success path: every name they look up is paid for at each call.


def _plain(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    pacer, scope, way = control.gate, _scope, control.way
    called = fn

    def looked_at(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        called = fn  # the first call says enough: to look at each would slow all of them down
        value = fn(*args, **kwargs)
        _look_at(control, value)
        return value

    called = looked_at

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if way.stale:
            forget(control)
        if way.direct and not pacer.active and not scope.asked_for:
            try:
                return called(*args, **kwargs) if kwargs else called(*args)
            except Exception as error:
                call = control.after_failure(error, fn, args, kwargs, clock.monotonic)
                if call is None:
                    raise
            except BaseException as error:
                remember_unwatched(control, error)
                raise
        elif not control.switched_on():
            return _switched_off(fn, control, args, kwargs)
        else:
            call = Call(control, fn, args, kwargs, clock.monotonic)
        return drive(call)

    return wrapper


def _coroutine(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    pacer, scope, way = control.gate, _scope, control.way

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if way.stale:
            forget(control)
        if way.direct and not pacer.active and not scope.asked_for:
            try:
                return await fn(*args, **kwargs) if kwargs else await fn(*args)
            except Exception as error:
                call = control.after_failure(error, fn, args, kwargs, clock.of_event_loop())
                if call is None:
                    raise
            except BaseException as error:
                remember_unwatched(control, error)
                raise
        elif not control.switched_on():
            return await _switched_off_async(fn, control, args, kwargs)
        else:
            call = Call(control, fn, args, kwargs, clock.of_event_loop())
        return await drive_async(call)

    return wrapper


def _look_at(control: Controller, value: Any) -> None:
    """What plain code gave counts as its success, but a coroutine has done nothing yet."""
    if type(value) is CoroutineType:
        control.gave_coroutine()


def _switched_off(fn: Callable[..., Any], control: Controller, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return fn(*args, **kwargs)
    except BaseException as error:
        remember_unwatched(control, error)
        raise


async def _switched_off_async(
    fn: Callable[..., Any], control: Controller, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    try:
        return await fn(*args, **kwargs)
    except BaseException as error:
        remember_unwatched(control, error)
        raise


def _either(
    fn: Callable[..., Any], control: Controller, plain: Callable[..., Any], coroutine: Callable[..., Any]
) -> Callable[..., Any]:
    """Around plain code that may give a coroutine: what its first attempt gives says how the call goes on.

    So it is called before anything looks at the call. Where something would, it is only so until a call has shown what
    comes: a coroutine does nothing before it is awaited, but plain code does. It may be another with a loop than
    without.
    """
    lately: dict[bool, Callable[..., Any]] = {}

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        here = clock.on_event_loop()
        if here in lately and not takes_direct_path(control):
            return lately[here](*args, **kwargs)
        first = _First(fn, args, kwargs)
        if first.awaitable:
            lately[here] = coroutine
            return first.awaited(_coroutine(first, control)(*args, **kwargs))
        if first.error is None:
            lately[here] = plain
        elif lately.get(here) is coroutine:
            return _coroutine(first, control)(*args, **kwargs)
        return _plain(first, control)(*args, **kwargs)

    return wrapper


class _First:
    """A function whose first call was made already: it gives what came of that, and is called from then on.

    Attributes:
        awaitable: whether that was an awaitable.
        error: what it raised, or None.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._made = True
        self._value: Any = None
        self.error: Exception | None = None
        try:
            self._value = fn(*args, **kwargs)
        except Exception as error:
            self.error = error
        self.awaitable = inspect.isawaitable(self._value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the call that was made gave, once; then what another one gives."""
        if not self._made:
            return self._fn(*args, **kwargs)
        self._made = False
        value, error = self._value, self.error
        self._value = self.error = None  # kept, an exception and its frames would keep each other
        if error is not None:
            raise error
        return value

    async def awaited(self, coroutine: Any) -> Any:
        """What the call comes to; an attempt that was made, and never begun, is not left lying about."""
        try:
            return await coroutine
        finally:
            coroutine.close()
            if self._made and inspect.iscoroutine(self._value):
                self._value.close()


def takes_direct_path(control: Controller) -> bool:
    """Whether a first attempt may be made as if nobody watched. The two wrappers above have it spelled out."""
    return control.way.direct and not control.gate.active and not _scope.asked_for


def drive(call: Call) -> Any:
    """Bring a call to its end in plain code: its value, or its error raised."""
    try:
        if not is_bounded(call) and is_ordinary(call) and _goes_on(call):
            call.ended = "succeeded"
            return call.value
        script, answer = conduct(call), None
        while (step := next_step(script, answer)) is not None:
            answer = None
            if step is ATTEMPT:
                _attempt(call)
            else:
                answer = perform(call, step)
        return call.result()
    finally:
        call.close()


async def drive_async(call: Call) -> Any:
    """Bring a call to its end in a coroutine: its value, or its error raised."""
    try:
        if not is_bounded(call) and is_ordinary(call) and await _goes_on_async(call):
            call.ended = "succeeded"
            return call.value
        script, answer = conduct(call), None
        while (step := next_step(script, answer)) is not None:
            answer = await (_attempt_async(call) if step is ATTEMPT else perform_async(call, step))
        return call.result()
    finally:
        call.close()


# In both the attempt is written out, without what only a limit of time needs: this is what a retry costs.


def _goes_on(call: Call) -> bool:
    """Wait and try again for as long as failures are ordinary; whether that ended with a success."""
    gate = call.control.gate
    call.be_known()
    while True:
        sleep(call)
        call.prepare_for_next_attempt()
        if gate.active:
            return False
        call.begin()
        token = _scope.enter(call)  # not around the wait: a `sleep=`, or who takes the log, is no part of an attempt
        try:
            call.succeeded(call.fn(*call.args, **call.kwargs) if call.kwargs else call.fn(*call.args))
        except Exception as error:
            call.failed(error)
        finally:
            _scope.leave_plainly(token)
            del token  # it holds the whole context, and a traceback this frame
        if call.error is None:
            return True
        if not is_ordinary(call):
            return False


async def _goes_on_async(call: Call) -> bool:
    """Wait and try again for as long as failures are ordinary; whether that ended with a success."""
    gate = call.control.gate
    call.be_known()
    while True:
        await sleep_async(call)
        call.prepare_for_next_attempt()
        if gate.active:
            return False
        call.begin()
        token = _scope.enter(call)  # not around the wait: a `sleep=`, or who takes the log, is no part of an attempt
        try:
            await _called(call)
        except Exception as error:
            call.failed(error)
        finally:
            _scope.leave(token)
            del token  # it holds the whole context, and a traceback this frame
        if call.error is None:
            return True
        if not is_ordinary(call):
            return False


def perform(call: Call, step: Any) -> Raised | None:
    """Do what the course asks for besides attempts, in plain code."""
    if step is SLEEP:
        sleep(call)
        return None
    if inspect.iscoroutine(step):
        step.close()
    return Raised(TypeError("plain code cannot await: its hooks and strategies must be plain functions as well"))


async def perform_async(call: Call, step: Any) -> Any:
    """Do what the course asks for besides attempts, in a coroutine."""
    if step is SLEEP:
        await sleep_async(call)
        return None
    return await _awaited(call, step)


def _attempt(call: Call) -> None:
    """One attempt, in plain code."""
    call.enter()
    try:
        value = call.fn(*call.args, **call.kwargs)
        _look_at(call.control, value)
        call.succeeded(value)
    except Exception as error:
        call.failed(error)
    finally:
        call.exit()


async def _attempt_async(call: Call) -> None:
    """One attempt, within its limit of time. Only what our own scope caught is the limit's doing."""
    ends = call.attempt_ends()
    call.enter()
    try:
        if ends is None:
            await _called(call)
            return
        with anyio.CancelScope(deadline=ends) as scope:  # a fresh one each time
            await _called(call)
        if scope.cancelled_caught:
            call.failed(call.out_of_time())
    except Exception as error:
        call.failed(error)
    finally:
        call.exit()


async def _called(call: Call) -> None:
    value = call.fn(*call.args, **call.kwargs)
    call.succeeded(await value if inspect.isawaitable(value) else value)


async def _awaited(call: Call, step: Any) -> Any:
    """What a hook's or a strategy's awaitable gives, or `Raised`; the call's deadline bounds it."""
    ends = call.scope_ends()
    try:
        if ends is None:
            return await step
        with anyio.CancelScope(deadline=ends):
            return await step
        return Raised(TimeoutError("the call's deadline passed in a hook"))
    except Exception as error:
        return Raised(error)


def sleep(call: Call) -> None:
    """Wait for `call.upcoming_sleep` seconds, in plain code."""
    wait = call.upcoming_sleep
    chosen = call.passed.told or call.control.sleep
    if chosen is not None:
        until = call.now() + wait
        chosen(wait)
        call.skip(until)
        return
    if call.on_event_loop():
        telling.warn(
            f"{call.control.name} waits {wait:.3g} s in plain code while an event loop runs in this thread: everything "
            "on that loop stands still. Decorate an `async def`, or call it through anyio.to_thread.run_sync."
        )
    clock.sleep(wait)


async def sleep_async(call: Call) -> None:
    """Wait for `call.upcoming_sleep` seconds, in a coroutine."""
    replaced = call.passed.told
    chosen: Callable[[float], Any] | None = call.control.sleep
    if replaced is None and chosen is None:
        await clock.async_sleep(call.upcoming_sleep)
        return
    until = call.now() + call.upcoming_sleep
    if replaced is not None:
        replaced(call.upcoming_sleep)
        await clock.async_sleep(0)  # others run meanwhile, and a cancellation is met, as in a real wait
    elif chosen is not None:
        slept = chosen(call.upcoming_sleep)
        if inspect.isawaitable(slept):
            await slept
    call.skip(until)
