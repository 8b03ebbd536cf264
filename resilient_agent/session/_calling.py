"""What `once` is to call: whether it can be called at all. Pure.

Decides what is refused before anything is written: an effect that could not even begin has no unknown end.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from resilient_agent._callables import is_coroutine_callable, is_stream, name_of

__all__ = ["check_call", "check_plain", "refuse_coroutine"]


def check_call(fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Refuse what cannot be called like this.

    Raises:
        TypeError: it is no function, does not take these arguments, or is a generator function.
    """
    if not callable(fn):
        raise TypeError(f"once(key, fn, *args) calls fn, and {fn!r} cannot be called: pass the function and its args")
    if is_stream(fn):
        raise TypeError(
            f"{name_of(fn)} is a generator function, and calling it runs nothing of it: give once a function that goes "
            "through what it yields and returns what is to be stored"
        )
    behind: Any = fn
    given, named = args, dict[str, Any]()
    while isinstance(behind, functools.partial):
        given, named, behind = (*behind.args, *given), {**behind.keywords, **named}, behind.func
    try:
        # Not the signature of what a decorator wraps: one that hands in a connection takes fewer arguments.
        signature = inspect.signature(behind, follow_wrapped=False)
    except (ValueError, TypeError):  # some of those written in C have none
        return
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        raise TypeError(
            f"{name_of(fn)}{signature} does not take the arguments given to once: {error}; "
            "keyword arguments go by functools.partial"
        ) from None


def check_plain(fn: Callable[..., Any]) -> None:
    """Refuse a coroutine function, where nobody could await it.

    Raises:
        TypeError: it is one.
    """
    if is_coroutine_callable(fn):
        raise TypeError(f"{name_of(fn)} is a coroutine function: enter the guard with `async with` and await once(...)")


def refuse_coroutine(key: str, fn: Callable[..., Any], result: Any) -> None:
    """Refuse a coroutine as a result, where nobody awaits it; of a function that did not look as if it gave one.

    Raises:
        TypeError: it is one.
    """
    if inspect.iscoroutine(result):
        result.close()  # or Python warns of it as well
        raise TypeError(
            f"{name_of(fn)} gave a coroutine, which nobody awaits in a plain session: enter the guard with "
            f"`async with` and await once(...). How far the effect {key!r} came is unknown: resolve(...) says so."
        )
