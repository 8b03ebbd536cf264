"""`RetryExecutor`: the reference's way to retry one call, on the machinery of `@resilient`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import anyio

from resilient_agent._below import add_shell
from resilient_agent._call import Call
from resilient_agent._callables import behind_partials, is_stream, name_of
from resilient_agent._control import Controller, check_function
from resilient_agent._shapes import drive_async
from resilient_agent._statistics import drop

if TYPE_CHECKING:
    from resilient_agent.classify import ErrorClassifier

__all__ = ["RetryExecutor"]

T = TypeVar("T")


class RetryExecutor:
    """Calls a function, again where its failure allows it. New code reads better with `@resilient`.

    Calls of the same function through the same executor wait for a rate limit together, as those of a
    decorated function do (`Pacer`). A lambda that is made for each call is another function each time.

    Args:
        classifier: who judges the failures; an `ErrorClassifier()` when not given.

    Example:
        >>> import asyncio
        >>> async def ask(question, *, model):
        ...     return f"{model}: {question}"
        >>> asyncio.run(RetryExecutor().execute_with_retry(ask, "why?", model="small"))
        'small: why?'
    """

    def __init__(self, classifier: ErrorClassifier | None = None) -> None:
        self._control = Controller(classifier=classifier)

    @overload
    async def execute_with_retry(
        self,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        max_retries: int | None = ...,
        on_retry: Callable[[int, Exception, float], Any] | None = ...,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def execute_with_retry(
        self,
        fn: Callable[..., T],
        *args: Any,
        max_retries: int | None = ...,
        on_retry: Callable[[int, Exception, float], Any] | None = ...,
        **kwargs: Any,
    ) -> T: ...

    async def execute_with_retry(
        self,
        fn: Callable[..., Any],
        *args: Any,
        max_retries: int | None = None,
        on_retry: Callable[[int, Exception, float], Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call `fn(*args, **kwargs)` and give its result.

        Args:
            fn: a coroutine function, or a plain one (which then runs on the event loop).
            args: handed on, as are `kwargs`.
            max_retries: the most retries; when not given as the kind of failure says.
            on_retry: told `(attempt, error, delay)` before each wait: the number of the attempt
                that failed, from 1, its exception, and the wait in seconds. Sync or async; when
                it raises, that is logged and changes nothing.

        Raises:
            What `fn` raised last, as it is.
            TypeError, ValueError: an argument is wrong; `fn` is a stream.
        """
        check_function(fn)
        if is_stream(fn):  # its call does nothing yet: what fails does so while it is read
            raise TypeError(f"{name_of(fn)} is a stream, which has no single result: decorate it with @resilient")
        key = _paced_as(fn)
        control = self._control.copy(
            max_retries=max_retries,
            on_retry=on_retry,
            name=name_of(fn),
            pacer=self._control.pacer,
            pace_by=lambda *_, **__: key,
        )
        if not control.switched_on():
            value = fn(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value
        try:
            return await drive_async(Call(control, fn, args, kwargs, anyio.current_time))
        finally:
            drop(control)  # nobody can ask for the numbers of a control that only this call had


add_shell(RetryExecutor.execute_with_retry)


def _paced_as(fn: Callable[..., Any]) -> Hashable:
    """What the calls of one function have in common: it, whatever arguments a partial gives it."""
    called: Hashable = behind_partials(fn)
    return id(called) if type(called).__hash__ is None else called
