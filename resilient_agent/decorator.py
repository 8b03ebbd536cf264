"""`@resilient`, and how type checkers see what it gives.

Decides nothing: the settings become a `Controller`, which does the rest. What stands here at
length is the signature, so that a checker knows every argument, and after the decoration still
every argument of the user's own function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from resilient_agent._control import Controller

if TYPE_CHECKING:
    import tenacity

    from resilient_agent.backoff import BackoffConfig
    from resilient_agent.classify import ErrorClassifier

__all__ = ["Resilient", "Settings", "resilient"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")

_Hook = Callable[["tenacity.RetryCallState"], Any]


class Settings(TypedDict, total=False):
    """The arguments of `resilient`; they are explained there."""

    max_retries: int | None
    classifier: ErrorClassifier | None
    backoff: BackoffConfig | None
    on_retry: Callable[[int, Exception, float], Any] | None
    stop: Callable[[tenacity.RetryCallState], bool | Awaitable[bool]] | None
    wait: Callable[[tenacity.RetryCallState], float | Awaitable[float]] | None
    retry: Callable[[tenacity.RetryCallState], bool | Awaitable[bool]] | None
    before: _Hook | None
    after: _Hook | None
    before_sleep: _Hook | None
    sleep: Callable[[float], Any] | None
    enabled: bool


class Bound(Protocol[Q, R_co]):
    """A decorated method, got through its object: without `self`."""

    @property
    def retry(self) -> Controller:
        """As on the function."""

    @property
    def statistics(self) -> Mapping[str, Any]:
        """As on the function."""

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> R_co:
        """Call the method."""


class Resilient(Generic[P, R_co]):
    """The type of a decorated function: its own signature, and three things more.

    For annotations only: at run time a decorated function is a function, and no instance of this.

    Attributes:
        retry: the settings, alive: `ask.retry.wait = tenacity.wait_none()` in a test.
        statistics: the numbers of the last call in this task or thread, under tenacity's names:
            `attempt_number`, `idle_for`, `delay_since_first_attempt`.
        __wrapped__: the function as it was written.
    """

    __name__: str
    __qualname__: str
    retry: Controller
    statistics: Mapping[str, Any]
    __wrapped__: Callable[P, R_co]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, again where its failure allows it."""
        raise NotImplementedError

    def retry_with(self, **changes: Unpack[Settings]) -> Resilient[P, R_co]:
        """The same function with some settings changed; this one stays as it is."""
        raise NotImplementedError

    # What a function does by itself at run time, checkers have to be told: below @classmethod,
    # through the class, through an object, and below @staticmethod.
    @overload
    def __get__(  # type: ignore[misc] # mypy doubts a self that takes a class first
        self: Callable[Concatenate[type[S], Q], R], instance: S | None, owner: type[S], /
    ) -> Bound[Q, R]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Resilient[P, R_co]: ...
    @overload
    def __get__(self: Callable[Concatenate[S, Q], R], instance: S, owner: type | None = None, /) -> Bound[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Resilient[P, R_co]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        raise NotImplementedError


class Decorator(Protocol):
    """What `resilient(...)` with arguments gives."""

    def __call__(self, fn: Callable[P, R], /) -> Resilient[P, R]:
        """Decorate the function."""


@overload
def resilient(fn: Callable[P, R], /) -> Resilient[P, R]: ...
@overload
def resilient(**settings: Unpack[Settings]) -> Decorator: ...
def resilient(fn: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Retry a function that calls a model, as its failures ask for. `@resilient` or `@resilient(...)`.

    Sensible as it stands. The first attempt is a plain call; after a failure the classifier is
    asked, and where it says `RETRYABLE` the call waits and tries again. What comes out in the
    end is the function's result or its own exception, the very object, with a note for each
    attempt. Cancellation, KeyboardInterrupt and their kin pass through untouched.

    Args:
        fn: a plain function, coroutine function, method, callable object or partial.
        max_retries: the most retries of one call, whatever failed (n retries: n + 1 calls). When
            not given each kind of failure has its own limit, and all kinds together ten.
        classifier: who judges the failures; an `ErrorClassifier()` when not given.
        backoff: one curve of waits for every failure, and its `max_retries`.
        on_retry: told `(attempt, error, delay)` before each wait: the number of the attempt that
            failed, from 1, its exception, and the wait in seconds. May be a coroutine function
            where `fn` is one. When it raises, that is logged and changes nothing.
        stop: tenacity's, as are `wait`, `retry`, `before`, `after` and `before_sleep`. Each takes the
            place of ours; `max_retries` beside `stop` means whichever comes first.
        sleep: how to wait, given seconds; the event loop's or the thread's own sleep when not given.
        enabled: False calls the function once and leaves everything else out.

    Raises:
        TypeError: the function cannot be retried (a generator, a class), or an argument is of the
            wrong kind; said when it is decorated.
        ValueError: an argument is out of its range.

    Example:
        >>> answers = iter([ConnectionResetError("connection reset by peer"), "42"])
        >>> @resilient(sleep=lambda seconds: None)
        ... def ask(question):
        ...     answer = next(answers)
        ...     if isinstance(answer, Exception):
        ...         raise answer
        ...     return answer
        >>> ask("What is six times seven?")
        '42'
        >>> ask.statistics["attempt_number"]
        2
    """
    if settings.get("backoff") is not None and settings.get("wait") is not None:
        raise TypeError("give either backoff= or wait=: both say how long to wait")
    control = Controller(**settings)
    return control.wraps if fn is None else control.wraps(fn)
