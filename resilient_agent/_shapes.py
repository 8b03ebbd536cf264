"""The shells around a function: plain or coroutine, and the two drivers that do what `conduct` asks for.

The first attempt goes through a thin wrapper that holds nothing and builds nothing; only
when it failed is there a `Call`. The drivers decide nothing: they call, await and sleep.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from resilient_agent import clock
from resilient_agent._call import ATTEMPT, SLEEP, Call, Raised, conduct
from resilient_agent._statistics import forget

if TYPE_CHECKING:
    from resilient_agent._control import Controller

__all__ = ["drive", "drive_async", "is_coroutine_callable", "is_stream", "shell"]


def shell(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    """The function that stands in for `fn`: of its colour, with its name and its signature."""
    wrapper = _coroutine(fn, control) if is_coroutine_callable(fn) else _plain(fn, control)
    return functools.update_wrapper(wrapper, fn)


def is_coroutine_callable(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine: a coroutine function, a partial of one, or an object like one."""
    return inspect.iscoroutinefunction(_behind(fn)) or inspect.iscoroutinefunction(fn)


def is_stream(fn: Any) -> bool:
    """Whether `fn` is a generator function, plain or async."""
    behind = _behind(fn)
    return inspect.isgeneratorfunction(behind) or inspect.isasyncgenfunction(behind)


def _behind(fn: Any) -> Any:
    """The function that does the work: behind partials, and of a callable object its `__call__`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) else getattr(type(fn), "__call__", fn)  # noqa: B004


# The two wrappers are the success path: every name they look up is paid for at each call.


def _plain(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if control.stale:
            forget(control)
        if control.direct:
            try:
                return fn(*args, **kwargs) if kwargs else fn(*args)
            except Exception as error:
                call = control.after_failure(error, fn, args, kwargs, clock.monotonic)
                if call is None:
                    raise
        elif not control.enabled:
            return fn(*args, **kwargs)
        else:
            call = Call(control, fn, args, kwargs, clock.monotonic)
        return drive(call)

    return wrapper


def _coroutine(fn: Callable[..., Any], control: Controller) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if control.stale:
            forget(control)
        if control.direct:
            try:
                return await fn(*args, **kwargs) if kwargs else await fn(*args)
            except Exception as error:
                call = control.after_failure(error, fn, args, kwargs, anyio.current_time)
                if call is None:
                    raise
        elif not control.enabled:
            return await fn(*args, **kwargs)
        else:
            call = Call(control, fn, args, kwargs, anyio.current_time)
        return await drive_async(call)

    return wrapper


def drive(call: Call) -> Any:
    """Bring a call to its end in plain code: its value, or its error raised."""
    script, answer = conduct(call), None
    try:
        while True:
            try:
                step = script.send(answer)
            except StopIteration:
                break
            answer = None
            if step is ATTEMPT:
                try:
                    call.succeeded(call.fn(*call.args, **call.kwargs))
                except Exception as error:
                    call.failed(error)
            elif step is SLEEP:
                _sleep(call)
            else:
                answer = Raised(_not_awaited(step))
        return call.result()
    finally:
        call.close()


async def drive_async(call: Call) -> Any:
    """Bring a call to its end in a coroutine: its value, or its error raised."""
    script, answer = conduct(call), None
    try:
        while True:
            try:
                step = script.send(answer)
            except StopIteration:
                break
            answer = None
            if step is ATTEMPT:
                try:
                    value = call.fn(*call.args, **call.kwargs)
                    call.succeeded(await value if inspect.isawaitable(value) else value)
                except Exception as error:
                    call.failed(error)
            elif step is SLEEP:
                slept = _sleep_of(call)(call.upcoming_sleep)
                if inspect.isawaitable(slept):
                    await slept
            else:
                try:
                    answer = await step
                except Exception as error:
                    answer = Raised(error)
        return call.result()
    finally:
        call.close()


def _sleep_of(call: Call) -> Callable[[float], Any]:
    chosen: Callable[[float], Any] | None = call.control.sleep
    return clock.async_sleep if chosen is None else chosen


def _sleep(call: Call) -> None:
    wait = call.upcoming_sleep
    if call.control.sleep is not None:
        call.control.sleep(wait)
        return
    if clock.on_event_loop():
        warnings.warn(
            f"{call.control.name} waits {wait:.3g} s in plain code while an event loop runs in this thread: everything "
            "on that loop stands still. Decorate an `async def`, or call it through anyio.to_thread.run_sync.",
            RuntimeWarning,
            stacklevel=4,
        )
    clock.sleep(wait)


def _not_awaited(step: Any) -> TypeError:
    if inspect.iscoroutine(step):
        step.close()
    return TypeError("a plain function cannot await: its hooks and strategies must be plain functions as well")
