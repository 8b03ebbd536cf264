"""What a callable is: plain code, a coroutine function, a stream, or something around one. Pure: nothing is called.

Knows partials, methods, callable objects and wrappers; knows neither calls nor sessions.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

__all__ = ["behind_partials", "is_around_coroutine", "is_async_stream", "is_coroutine_callable", "is_stream", "name_of"]


def is_coroutine_callable(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine: a coroutine function, a partial of one, or an object like one."""
    return inspect.iscoroutinefunction(_behind(fn)) or inspect.iscoroutinefunction(fn)


def is_around_coroutine(fn: Any) -> bool:
    """Whether `fn` is plain code that wraps a coroutine function: what it gives, is known when it is called.

    A decorator that adds something gives the coroutine of the function that it wraps, one as for a command line runs
    an event loop with it.
    """
    try:
        behind = inspect.unwrap(behind_partials(fn))
    except ValueError:  # it wraps itself
        return False
    return not is_coroutine_callable(fn) and inspect.iscoroutinefunction(behind)


def is_stream(fn: Any) -> bool:
    """Whether `fn` is a generator function, plain or async."""
    behind = _behind(fn)
    return inspect.isgeneratorfunction(behind) or inspect.isasyncgenfunction(behind)


def is_async_stream(fn: Any) -> bool:
    """Whether `fn` is an async generator function."""
    return inspect.isasyncgenfunction(_behind(fn))


def behind_partials(fn: Any) -> Any:
    """The function to which partials, if there are any, give arguments.

    Of partials only: other objects have a `func` too, and a mock has one without end.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def name_of(fn: Any) -> str:
    """How a function is called in logs, reports and errors: by its qualified name, behind partials."""
    fn = behind_partials(fn)
    return str(getattr(fn, "__qualname__", type(fn).__qualname__))


def _behind(fn: Any) -> Any:
    """The function that does the work: behind partials, and of a callable object its `__call__`."""
    fn = behind_partials(fn)
    return fn if inspect.isroutine(fn) else getattr(type(fn), "__call__", fn)  # noqa: B004
