"""`@resilient`, and how type checkers see what it gives.

Decides nothing: the settings become a `Controller`, which does the rest. What stands here at
length is the signature, so that a checker knows every argument, and after the decoration still
every argument of the user's own function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from resilient_agent._control import Controller
from resilient_agent.policy import Policy

if TYPE_CHECKING:
    import tenacity

    from resilient_agent.backoff import BackoffConfig
    from resilient_agent.classify import ErrorClassifier
    from resilient_agent.fallback import Rung
    from resilient_agent.gates.breaker import CircuitBreaker
    from resilient_agent.gates.budget import RetryBudget
    from resilient_agent.gates.pacer import Pacer
    from resilient_agent.report import CallReport

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
    deadline: float | None
    timeout: float | None
    max_retry_after: float | None
    max_identical: int | None
    backoff: BackoffConfig | None
    classifier: ErrorClassifier | None
    fallback: Callable[..., Any] | Rung | Sequence[Callable[..., Any] | Rung] | None
    on_exhausted: bool
    pacer: Pacer | Literal["own"] | None
    pace_by: Callable[..., Hashable] | None
    budget: RetryBudget | None
    breaker: CircuitBreaker | None
    on_retry: Callable[[int, Exception, float], Any] | None
    commit_when: Callable[[Any], bool] | None
    resume: Callable[[list[Any], Any], Any] | None
    first_item_timeout: float | None
    item_timeout: float | None
    stop: Callable[[tenacity.RetryCallState], bool | Awaitable[bool]] | None
    wait: Callable[[tenacity.RetryCallState], float | Awaitable[float]] | None
    retry: Callable[[tenacity.RetryCallState], bool | Awaitable[bool]] | None
    before: _Hook | None
    after: _Hook | None
    before_sleep: _Hook | None
    sleep: Callable[[float], Any] | None
    enabled: bool | None
    defer: bool


class Bound(Protocol[Q, R_co]):
    """A decorated method, got through its object: without `self`."""

    @property
    def retry(self) -> Controller:
        """As on the function."""

    @property
    def statistics(self) -> Mapping[str, Any]:
        """As on the function."""

    def call_report(self) -> CallReport:
        """As on the function."""

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> R_co:
        """Call the method."""


class Resilient(Generic[P, R_co]):
    """The type of a decorated function: its own signature, and some things more.

    For annotations only: at run time a decorated function is a function, and no instance of this.

    Attributes:
        retry: the settings, alive: `ask.retry.wait = tenacity.wait_none()` in a test.
        statistics: the numbers of the last call in this task or thread, under tenacity's names:
            `attempt_number`, `idle_for`, `delay_since_first_attempt`.
        call_report: what became of that call: attempts, verdicts, waits, the limit, the fallback.
        __wrapped__: the function as it was written.
    """

    __name__: str
    __qualname__: str
    retry: Controller
    statistics: Mapping[str, Any]
    call_report: Callable[[], CallReport]
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
def resilient(policy: Policy, /, **settings: Unpack[Settings]) -> Decorator: ...
@overload
def resilient(**settings: Unpack[Settings]) -> Decorator: ...
def resilient(fn: Callable[..., Any] | Policy | None = None, /, **settings: Any) -> Any:
    """Retry a function that calls a model, as its failures ask for: `@resilient`, `@resilient(...)`.

    Sensible as it stands. The first attempt is a plain call; after a failure the classifier is
    asked, and where it says `RETRYABLE` the call waits and tries again. What comes out in the
    end is the function's result or its own exception, the very object, with a note for each
    attempt and a report (`report_of`). Cancellation, KeyboardInterrupt and their kin pass through
    untouched. Streams (generators and async generators) are retried until their first item.

    An argument that is left out, or None, leaves the word to the environment (`RESILIENT_AGENT_...`,
    read at each call) and then to the default. A limit of time of `math.inf` is none.

    Args:
        fn: a plain function, coroutine function, generator or async generator function, method,
            callable object or partial; or a `Policy`, whose settings the other arguments change.
        max_retries: the most retries of one call, whatever failed (n retries: n + 1 calls). When
            not given each kind of failure has its own limit, and all kinds together ten. A decorated
            function inside another one shares its count: 3 times 3 is not 9.
        deadline: seconds for the whole call, with its waits and hooks. A wait that would pass it,
            or the deadline of a scope or decorated function around the call, is not begun: the call
            fails at once, with its own error (without one, in a scope, the scope ends it). A running
            attempt is cancelled in coroutines. A fallback stands outside of it: its call has no limit
            of time but those around it.
        timeout: seconds for one attempt, in coroutines only; it becomes an `AttemptTimeout`, which
            is tried again.
        max_retry_after: seconds; where a server asks for a longer wait the call stops and says so.
            120 by default.
        max_identical: how many equal failures in a row end a long retry; 10 by default. Refusals
            for a rate limit do not count.
        backoff: one curve of waits for every failure, and its `max_retries`.
        classifier: who judges the failures; an `ErrorClassifier()` when not given.
        fallback: what to call where the same request cannot succeed (`DEGRADED`): a function with the
            same arguments, a `Rung`, or several, each once. Never after `FATAL` or `NON_RETRYABLE`.
        on_exhausted: whether the fallback is also for failures whose retries are used up.
        pacer: what calls wait in together once a rate limit or an outage was met: a `Pacer` shared
            with other functions; one of this function's own by default; None for no pacing.
        pace_by: gives the key of the limit that a call counts against, from its arguments (an
            account, a model); one limit for all when not given.
        budget: a `RetryBudget`, shared by whoever is given the same object.
        breaker: a `CircuitBreaker`, likewise.
        on_retry: told `(attempt, error, delay)` before each wait: the number of the attempt that
            failed, from 1, its exception, and the wait in seconds. May be a coroutine function
            where `fn` is one. When it raises, that is logged and changes nothing.
        commit_when: for streams: called with each item; True from the one on that the stream counts
            as begun. Items before it are held back, so that a retry can still throw them away.
        resume: for streams that broke after they had begun: called with the items handed out and the
            call's state (`.args`, `.kwargs`, `.error`); gives the arguments to go on with, as `(args, kwargs)`
            or as a dict of those that change, by name, or None to let the error pass.
        first_item_timeout: for async streams: seconds until the first item.
        item_timeout: for async streams: seconds between two items, without the consumer's time.
        stop: tenacity's, as are `wait`, `retry`, `before`, `after` and `before_sleep`. Each takes the
            place of ours; `max_retries` beside `stop` means whichever comes first.
        sleep: how to wait, given seconds; the event loop's or the thread's own sleep when not given.
        enabled: False calls the function once and leaves everything else out.
        defer: inside of a `session_guard`: where the server names a wait that the call has no time for
            (its deadline, `max_retry_after`), raise `Deferred` from the failure. The guard writes down
            when to go on, and the next one keeps to it.

    Raises:
        TypeError: the function cannot be retried (a class, a context manager), or an argument is of the wrong
            kind, does not take what it is called with, or does not fit the function (a `pace_by` or fallback
            that no call of it could be handed on to, as far as signatures tell); said when it is decorated.
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
    if isinstance(fn, Policy):
        return Controller(**{**fn.settings(), **settings}).wraps
    control = Controller(**settings)
    return control.wraps if fn is None else control.wraps(fn)
