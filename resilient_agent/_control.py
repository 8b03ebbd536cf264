"""`Controller`: the settings of one decorated function, alive, in tenacity's own terms (`fn.retry`).

Decides which strategies a function's arguments amount to, and whether a call may take the
direct path. Does not run any call: `_call.py` asks, `_shapes.py` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

import tenacity

from resilient_agent._call import Call, gives_up_at_once
from resilient_agent._shapes import is_coroutine_callable, is_stream, shell
from resilient_agent._statistics import Statistics
from resilient_agent.strategies import retry_if_retryable, stop_by_error, wait_by_error

if TYPE_CHECKING:
    from resilient_agent.backoff import BackoffConfig
    from resilient_agent.classify import ErrorClassifier

__all__ = ["Controller", "check_function", "name_of"]

# Predicates that look at exceptions only: with any other, successes have to be asked about too.
_EXCEPTION_ONLY: Final = frozenset(
    {
        retry_if_retryable,
        tenacity.retry_if_exception,
        tenacity.retry_if_exception_type,
        tenacity.retry_if_not_exception_type,
        tenacity.retry_if_exception_cause_type,
        tenacity.retry_if_exception_message,
        type(tenacity.retry_never),
    }
)
_TIMELESS: Final = frozenset({stop_by_error, tenacity.stop_after_attempt, type(tenacity.stop_never)})
_SETTINGS: Final = ("sleep", "stop", "wait", "retry", "before", "after", "before_sleep", "enabled")


class Controller(tenacity.BaseRetrying):
    """How one decorated function is retried; `fn.retry` of what `@resilient` gives.

    A `tenacity.BaseRetrying`: `stop`, `wait`, `retry`, `before`, `after`, `before_sleep`, `sleep`
    and `enabled` may be read, and set at any time (`ask.retry.wait = tenacity.wait_none()` in
    a test); the next failure goes by them. The arguments are those of `resilient`.

    Example:
        >>> import tenacity
        >>> from resilient_agent import resilient
        >>> @resilient
        ... def ask(): ...
        >>> isinstance(ask.retry, tenacity.BaseRetrying)
        True
        >>> ask.retry.wait = tenacity.wait_none()
    """

    _built = False  # while it is being built, its settings are not yet to be planned from

    def __init__(
        self,
        *,
        classifier: ErrorClassifier | None = None,
        backoff: BackoffConfig | None = None,
        max_retries: int | None = None,
        on_retry: Callable[[int, Exception, float], Any] | None = None,
        stop: Callable[[Any], Any] | None = None,
        wait: Callable[[Any], Any] | None = None,
        retry: Callable[[Any], Any] | None = None,
        before: Callable[[Any], Any] | None = None,
        after: Callable[[Any], Any] | None = None,
        before_sleep: Callable[[Any], Any] | None = None,
        sleep: Callable[[float], Any] | None = None,
        enabled: bool = True,
        name: str = "<unnamed>",
        **unknown: Any,
    ) -> None:
        self._given = {k: v for k, v in locals().items() if k not in {"self", "__class__", "unknown"}}
        if unknown:
            known = ", ".join(sorted(self._given.keys() - {"name"}))
            raise TypeError(f"@resilient does not know {', '.join(sorted(unknown))}; it takes {known}")
        _check(self._given)
        wait_default = wait_by_error(classifier, backoff=backoff)
        if max_retries is None and backoff is not None:
            max_retries = backoff.max_retries
        stop_default = stop_by_error(classifier, max_retries=max_retries)
        if stop is None:
            stop = stop_default
        elif max_retries is not None:
            stop = tenacity.stop_any(stop, stop_default)  # type: ignore[arg-type] # any callable will do
        self.direct = False
        self.stale = False  # whether some context remembers the numbers of an earlier call
        self.on_retry = on_retry
        self.name = name
        super().__init__(
            sleep=sleep,  # type: ignore[arg-type] # None: by the clock of whoever drives the call
            stop=stop,
            wait=wait_default if wait is None else wait,
            retry=retry_if_retryable(classifier) if retry is None else retry,
            before=before,  # type: ignore[arg-type]
            after=after,  # type: ignore[arg-type]
            before_sleep=before_sleep,
            reraise=True,
        )
        self.enabled = enabled
        self._built = True
        self._plan()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _SETTINGS and self._built:
            self._given[name] = value
            self._plan()

    def _plan(self) -> None:
        """Whether a first attempt may be made without a `Call`: nobody wants to see it begin or succeed."""
        self.direct = (
            self.enabled and self.before is None and _exceptions_only(self.retry) and type(self.stop) in _TIMELESS
        )

    @property
    def statistics(self) -> Statistics:  # type: ignore[override] # a live view, where tenacity has a dict
        """The numbers of the last call in this task or thread."""
        return Statistics(self)

    def after_failure(
        self,
        error: Exception,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        clock: Callable[[], float],
    ) -> Call | None:
        """The call whose first attempt has just failed; None where that was its last as well."""
        call = Call(self, fn, args, kwargs, clock)
        call.failed(error)
        return None if gives_up_at_once(call) else call

    def copy(self, **changes: Any) -> Controller:  # type: ignore[override] # our arguments as well
        """The same settings with some changed, as an object of its own.

        Raises:
            TypeError: an argument that `resilient` does not know.
        """
        given = {**self._given, **changes}
        if "backoff" in changes and "wait" not in changes:
            given["wait"] = None  # what is said last about how long to wait counts
        return Controller(**given)

    def wraps(self, fn: Callable[..., Any]) -> Any:
        """Decorate `fn` with these settings.

        Raises:
            TypeError: `fn` cannot be decorated; the text says why and what to do.
        """
        check_function(fn)
        control = self.copy(name=name_of(fn))
        _check_colours(fn, control)
        wrapper: Any = shell(fn, control)

        def retry_with(**changes: Any) -> Any:
            return control.copy(**changes).wraps(fn)

        wrapper.retry = control
        wrapper.retry_with = retry_with
        wrapper.statistics = control.statistics
        return wrapper

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{self.name}.retry is no loop: decorate the function that holds the code to be retried")

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fn` with these settings."""
        return self.wraps(fn)(*args, **kwargs)


def _exceptions_only(predicate: Any) -> bool:
    if type(predicate) in (tenacity.retry_any, tenacity.retry_all):
        return all(_exceptions_only(part) for part in predicate.retries)
    return type(predicate) in _EXCEPTION_ONLY


def _check(given: dict[str, Any]) -> None:
    """Refuse what cannot work, naming the argument. The strategies check what is handed on to them."""
    for name in ("on_retry", "stop", "wait", "retry", "before", "after", "before_sleep", "sleep"):
        if given[name] is not None and not callable(given[name]):
            raise TypeError(f"{name} must be callable, not {given[name]!r}")


def check_function(fn: Any) -> None:
    """Refuse what cannot be retried.

    Raises:
        TypeError: no function, a class, a stream; the text says what to do.
    """
    if isinstance(fn, classmethod | staticmethod):
        raise TypeError(f"put @resilient below @{type(fn).__name__}: it decorates the function, not its wrapper")
    if not callable(fn):
        raise TypeError(
            f"@resilient decorates a function, not {fn!r}. Its arguments go by name: @resilient(max_retries=2)"
        )
    if isinstance(fn, type):
        raise TypeError(
            f"@resilient decorates functions, not classes: decorate the methods of {fn.__name__} that call a model"
        )
    if is_stream(fn):
        raise TypeError(
            f"{name_of(fn)} is a generator: @resilient cannot retry a stream yet, because what was already "
            "handed out cannot be taken back. Decorate a function that returns the whole answer."
        )


def _check_colours(fn: Callable[..., Any], control: Controller) -> None:
    if is_coroutine_callable(fn):
        return
    for name in ("on_retry", "sleep", "before", "after", "before_sleep", "retry", "wait", "stop"):
        if is_coroutine_callable(getattr(control, name)):
            raise TypeError(f"{name} is a coroutine function, but {control.name} is a plain one, which cannot await it")


def name_of(fn: Any) -> str:
    """How a function is called in logs and warnings."""
    behind = getattr(fn, "func", fn)  # a partial's
    return str(getattr(behind, "__qualname__", type(behind).__qualname__))
