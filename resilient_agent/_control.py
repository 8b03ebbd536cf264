"""`Controller`: the settings of one decorated function, alive, in tenacity's own terms (`fn.retry`).

Decides which strategies a function's arguments amount to, and whether a call may take the
direct path. Does not run any call: `_course.py` asks, `_shapes.py` does.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import math
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

import tenacity
import tenacity.asyncio.retry

from resilient_agent import _scope
from resilient_agent import _telling as telling
from resilient_agent._below import taken
from resilient_agent._call import Call
from resilient_agent._callables import is_around_coroutine, is_async_stream, is_coroutine_callable, is_stream, name_of
from resilient_agent._course import gives_up_at_once
from resilient_agent._shapes import shell
from resilient_agent._statistics import Statistics, last_report, remember_unwatched
from resilient_agent._streams import stream_shell
from resilient_agent.classify import ErrorClassifier
from resilient_agent.environment import VARIABLES, misspelled, resolve
from resilient_agent.fallback import ladder
from resilient_agent.gates.pacer import Pacer
from resilient_agent.policy import SETTINGS, Policy, check_names
from resilient_agent.strategies import retry_if_retryable, stop_by_error, wait_by_error

if TYPE_CHECKING:
    from resilient_agent.environment import Limits
    from resilient_agent.gates.pacer import Lane
    from resilient_agent.report import CallReport

__all__ = ["Controller", "check_function", "check_plain", "looks_at_results"]

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
# Predicates that say yes to results, and those that are put together of others.
_ON_RESULTS: Final = (
    tenacity.retry_if_result,
    tenacity.retry_if_not_result,
    tenacity.retry_unless_exception_type,
    type(tenacity.retry_always),
    tenacity.asyncio.retry.retry_if_result,
)
_PARTS: Final = (
    tenacity.retry_any,
    tenacity.retry_all,
    tenacity.asyncio.retry.retry_any,
    tenacity.asyncio.retry.retry_all,
)
_TIMELESS: Final = frozenset({stop_by_error, tenacity.stop_after_attempt, type(tenacity.stop_never)})
_SETTINGS: Final = ("sleep", "stop", "wait", "retry", "before", "after", "before_sleep", "enabled")
_INTERRUPTING: Final = ("timeout", "first_item_timeout", "item_timeout")
_WRAPPERS: Final = (classmethod, staticmethod, property, functools.cached_property, functools.partialmethod)
_CONTEXTS: Final = {
    contextlib.contextmanager(iter).__code__: "contextmanager",
    contextlib.asynccontextmanager(aiter).__code__: "asynccontextmanager",
}
"""The code of what these decorators make, which is the same for all functions."""
_CALLED: Final = ("on_retry", "sleep", "before", "after", "before_sleep", "retry", "wait", "stop", "resume")
_STREAM_ONLY: Final = ("commit_when", "resume", "first_item_timeout", "item_timeout")
# Where `os.environ` keeps its values: to look there costs a twentieth of looking at `os.environ` itself.
_ENVIRON: Final[Any] = getattr(os.environ, "_data", os.environ)
_VARIABLES: Final = frozenset(map(getattr(os.environ, "encodekey", str), VARIABLES))
_WATCHED_STREAM: Final = ("commit_when", "first_item_timeout", "item_timeout")


class _Idle:
    """Stands where no pacer is: it never is active."""

    active = False


class _Way:
    """What a first attempt looks at before it sets out.

    Apart from the settings: of an object with more than thirty attributes Python keeps them in a dict, and to
    read two of them there is a tenth of all that a success pays.

    Attributes:
        direct: whether it may be made without a `Call`: nobody wants to see it begin or succeed.
        stale: whether some context remembers the numbers of an earlier call: from then on each call leaves a mark.
            And before the first call of all, so that this is noticed.
        unused: whether there was no call yet.
        told: what calls inside of first attempts that nobody watches had retried, by the frame of the attempt's shell.
    """

    __slots__ = ("direct", "stale", "told", "unused")

    def __init__(self) -> None:
        self.direct = False
        self.stale = self.unused = True
        self.told: dict[int, int] = {}


class Controller(tenacity.BaseRetrying):
    """How one decorated function is retried; `fn.retry` of what `@resilient` gives.

    A `tenacity.BaseRetrying`: `stop`, `wait`, `retry`, `before`, `after`, `before_sleep`, `sleep`
    and `enabled` may be read, and set at any time (`ask.retry.wait = tenacity.wait_none()` in
    a test); the next failure goes by them. The arguments are those of `resilient`.

    Attributes:
        policy: the settings that it was decorated with, as a value; what is set later is not among them.
        pacer: the `Pacer` that its calls go through, or None.

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

    def __init__(self, *, name: str = "<unnamed>", **settings: Any) -> None:
        check_names(settings, SETTINGS, "@resilient")
        self._given = settings
        policy = Policy(**settings)
        if policy.max_retries is None and policy.backoff is not None:
            policy = policy.replace(max_retries=policy.backoff.max_retries)
        self.policy = policy
        self.name = name
        self._resolved: tuple[tuple[Any, ...], Limits] | None = None
        self.way = _Way()
        # By what a failure waits that may be dealt with by `_ordinary.py`; None where somebody else has a say.
        self.ordinary: wait_by_error | None = None
        self._warned = False
        self.on_retry = policy.on_retry
        self.budget, self.breaker = policy.budget, policy.breaker
        self.rungs, self.on_exhausted = ladder(policy.fallback), policy.on_exhausted
        self.commit_when, self.resume = policy.commit_when, policy.resume
        self.pacer: Pacer | None = Pacer(name=name) if policy.pacer == "own" else policy.pacer
        self.gate: Pacer | _Idle = _Idle() if self.pacer is None else self.pacer
        classifier = policy.classifier
        self._default_stop = stop_by_error(classifier, max_retries=policy.max_retries)
        super().__init__(
            sleep=policy.sleep,  # type: ignore[arg-type] # None: by the clock of whoever drives the call
            stop=self._stop(policy),
            wait=wait_by_error(classifier, backoff=policy.backoff) if policy.wait is None else policy.wait,
            retry=retry_if_retryable(classifier) if policy.retry is None else policy.retry,
            before=policy.before,  # type: ignore[arg-type]
            after=policy.after,  # type: ignore[arg-type]
            before_sleep=policy.before_sleep,
            reraise=True,
        )
        self.enabled = policy.enabled is not False
        self._built = True
        self._plan()

    def _stop(self, policy: Policy) -> Any:
        if policy.stop is None:
            return self._default_stop
        # `max_retries` beside `stop` means whichever comes first.
        return policy.stop if policy.max_retries is None else tenacity.stop_any(policy.stop, self._default_stop)  # type: ignore[arg-type]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _SETTINGS and self._built:
            self._given[name] = value
            if name == "wait":
                self._given["backoff"] = None  # what is said last about how long to wait counts
            self._plan()

    def _plan(self) -> None:
        """Whether a first attempt may be made without a `Call`: nobody wants to see it begin or succeed."""
        self.stops_by_error = self.stop is self._default_stop
        # Where the user says how long to wait, he is obeyed; then the others come.
        self.waits_by_error = type(self.wait) is wait_by_error and self.policy.backoff is None
        chosen = getattr(self.retry, "classifier", None) or self.policy.classifier
        self.classifier: ErrorClassifier = self._default_stop.classifier if chosen is None else chosen
        self.has_hooks = not (self.before is None and self.after is None and self.before_sleep is None)
        limits = self.limits()
        retry, wait = self.retry, self.wait
        ordinary = (
            self.stops_by_error
            and type(retry) is retry_if_retryable
            and type(wait) is wait_by_error
            and retry.classifier is wait.classifier is self.classifier
            and not self.has_hooks
            and self.on_retry is None
            and self.budget is None
            and self.breaker is None
        )
        self.ordinary = wait if ordinary else None  # type: ignore[assignment] # a wait_by_error, as was asked above
        self.way.direct = (
            self.enabled
            and self.before is None
            and self.budget is None
            and self.breaker is None
            and all(getattr(self.policy, setting) is None for setting in _WATCHED_STREAM)
            and limits.deadline is None
            and limits.timeout is None
            and _exceptions_only(self.retry)
            and type(self.stop) in _TIMELESS
        )

    @property
    def statistics(self) -> Statistics:  # type: ignore[override] # a live view, where tenacity has a dict
        """The numbers of the last call in this task or thread."""
        return Statistics(self)

    def call_report(self) -> CallReport:
        """What became of the last call in this task or thread; `outcome` is "unknown" where it knows of none."""
        return last_report(self)

    def switched_on(self, limits: Limits | None = None) -> bool:
        """Whether calls are retried at all: by the argument, the environment (`limits`) and the test that runs."""
        return self.enabled and not _scope.switched_off.get() and (limits or self.limits()).enabled

    def limits(self) -> Limits:
        """The numbers that bound a call: argument, environment or default, in this order.

        A first attempt that nobody watches does not look here: a limit of time that the environment
        gets while the program runs counts from the first failure on.

        What the environment says wrongly is warned of and left out: it must not take the place of
        the failure that is being dealt with.
        """
        # Mostly none is set, and that is quickly known.
        seen = () if _ENVIRON.keys().isdisjoint(_VARIABLES) else tuple(map(_ENVIRON.get, _VARIABLES))
        if self._resolved is None or self._resolved[0] != seen:
            limits, problems = resolve(self.policy, os.environ)
            self._resolved = seen, limits  # at once: another thread may read it
            if self._built:
                self._plan()
            for problem in problems:
                telling.warn(f"{problem}; it is left out")
        return self._resolved[1]

    def fits_plain(self) -> bool:
        """Whether plain code can keep all of the settings."""
        return not _not_for_plain(self)

    def lane_for(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], now: float, replaced: dict[Any, Any] | None
    ) -> Lane | None:
        """Where a call with these arguments waits together with others; None where it is not paced.

        In a test time goes otherwise, so what it teaches stays there: `replaced` has its own pacers.
        """
        pacer = self.pacer
        if pacer is None or not self.limits().paced:
            return None
        if replaced is not None:
            pacer = replaced.get(pacer) or replaced.setdefault(pacer, copy.copy(pacer))
        pace_by = self.policy.pace_by
        return pacer.lane(None if pace_by is None else self._key(pace_by, args, kwargs), now)

    def _key(self, pace_by: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `pace_by` says of a call. Where it fails, its failure must not take the place of the call's."""
        try:
            key = pace_by(*args, **kwargs)
            hash(key)
        except Exception as problem:
            telling.warn(f"pace_by of {self.name} raised {problem!r}: the call is paced with those that have no key")
            return None
        return key

    def retried_below(self, retries: int) -> None:
        """An SDK has retried below this function: they multiply. Said once."""
        if not self._warned:
            self._warned = True
            telling.warn(
                f"the SDK called by {self.name} had retried {retries} times by itself before it failed: two layers of "
                "retries multiply. Switch off one of them: give the SDK's client max_retries=0."
            )

    def gave_coroutine(self) -> None:
        """Plain code gave a coroutine, and does not say that it wraps one: nobody retries that. Said once."""
        if not self._warned:
            self._warned = True
            telling.warn(
                f"{self.name} is plain code and gave a coroutine: what fails when that is awaited is not tried again. "
                "Decorate an `async def` that awaits it."
            )

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
        if not self.switched_on(call.limits):
            remember_unwatched(self, error)
            return None
        if self.way.told:
            call.below = taken(self.way.told, error)
        call.failed(error)
        return None if gives_up_at_once(call) else call

    def copy(self, **changes: Any) -> Controller:  # type: ignore[override] # our arguments as well
        """The same settings with some changed, as an object of its own.

        Raises:
            TypeError: an argument that `resilient` does not know.
        """
        given = {**self._given, **changes}
        for said, other in (("backoff", "wait"), ("wait", "backoff")):
            if changes.get(said) is not None and other not in changes:
                given[other] = None  # what is said last about how long to wait counts
        return Controller(**given)

    def wraps(self, fn: Callable[..., Any]) -> Any:
        """Decorate `fn` with these settings.

        Raises:
            TypeError: `fn` cannot be decorated; the text says why and what to do.
        """
        check_function(fn)
        _check_environment()
        control = self.copy(name=name_of(fn))
        _check_colours(fn, control)
        _check_arguments(fn, control)
        wrapper: Any = stream_shell(fn, control) if is_stream(fn) else shell(fn, control)

        def retry_with(**changes: Any) -> Any:
            # A variant calls the same model: it keeps to the same limit, unless it is told otherwise.
            return control.copy(**{"pacer": control.pacer, **changes}).wraps(fn)

        wrapper.retry = control
        wrapper.retry_with = retry_with
        wrapper.statistics = control.statistics
        wrapper.call_report = control.call_report
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


def looks_at_results(predicate: Any) -> bool:
    """Whether a predicate of tenacity's would ask for another attempt after a result."""
    if isinstance(predicate, _PARTS):
        return any(looks_at_results(part) for part in predicate.retries)
    return isinstance(predicate, _ON_RESULTS)


def _endless(seconds: float | None) -> bool:
    return seconds is None or math.isinf(seconds)


def _check_environment() -> None:
    """Warn of variables that look like ours and are not: a limit that is misspelled is no limit."""
    for problem in misspelled(os.environ):
        warnings.warn(problem, RuntimeWarning, stacklevel=4)


def check_function(fn: Any) -> None:
    """Refuse what cannot be retried.

    Raises:
        TypeError: no function, a class, a context manager; the text says what to do.
    """
    if isinstance(fn, _WRAPPERS):
        raise TypeError(f"put @resilient below @{type(fn).__name__}: it decorates the function, not its wrapper")
    if inspect.iscoroutine(fn):
        raise TypeError(f"@resilient decorates the function, not what a call of it gives ({fn!r}): resilient(ask)(...)")
    if not callable(fn):
        raise TypeError(
            f"@resilient decorates a function, not {fn!r}. Its arguments go by name: @resilient(max_retries=2)"
        )
    if getattr(fn, "__code__", None) in _CONTEXTS:
        # Its call does nothing yet; what fails does so in the `with`, where nobody could try it again.
        raise TypeError(
            f"put @resilient below @{_CONTEXTS[fn.__code__]}: only there can entering {name_of(fn)} be retried"
        )
    if isinstance(fn, type):
        raise TypeError(
            f"@resilient decorates functions, not classes: decorate the methods of {fn.__name__} that call a model"
        )


def _check_colours(fn: Callable[..., Any], control: Controller) -> None:
    """Refuse settings that a function of this colour cannot keep."""
    if is_stream(fn):
        _check_stream(fn, control)
    else:
        given = next((setting for setting in _STREAM_ONLY if getattr(control.policy, setting) is not None), None)
        if given is not None:
            raise TypeError(f"{given} is for streams, but {control.name} is no generator")
    if not (is_coroutine_callable(fn) or is_async_stream(fn) or is_around_coroutine(fn)):
        check_plain(control)


def _check_arguments(fn: Callable[..., Any], control: Controller) -> None:
    """Refuse what is called with the arguments of `fn` and could take those of no call of it."""
    called = {"pace_by": control.policy.pace_by}
    called |= {f"fallback {rung.name}": rung.fn for rung in control.rungs if rung.transform is None}
    for what, function in called.items():
        if function is not None and not _could_take(function, fn):
            takes, own = (inspect.signature(one, follow_wrapped=False) for one in (function, fn))
            raise TypeError(
                f"{what} is called with the arguments of {control.name}, but takes {takes} where that takes {own}"
            )


def _could_take(other: Callable[..., Any], fn: Callable[..., Any]) -> bool:
    """Whether any call of `fn` could be one of `other` too; yes, where a signature is missing or open.

    Which calls there will be nobody knows: one that leaves out what has a default may do where another does not.
    What a wrapper claims to take by `functools.wraps` need not be what it takes, so it is asked itself.
    """
    try:
        takes = inspect.signature(other, follow_wrapped=False)
        own = list(inspect.signature(fn, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError):
        return True
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in own):
        return True
    asked = {name for name, parameter in takes.parameters.items() if parameter.default is parameter.empty}
    by_place = sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in own)
    return any(_fits_with(takes, own, asked, places) for places in range(by_place + 1))


def _fits_with(takes: inspect.Signature, own: list[inspect.Parameter], asked: set[str], places: int) -> bool:
    """Whether a call fits that gives so many arguments by place, and of the others those that somebody asks for."""
    by_name = [given for given in own[places:] if given.default is given.empty or given.name in asked]
    if any(given.kind is given.POSITIONAL_ONLY for given in by_name):
        return False
    try:
        takes.bind(*own[:places], **{given.name: given for given in by_name})
    except TypeError:
        return False
    return True


def check_plain(control: Controller) -> None:
    """Refuse settings that plain code cannot keep: it can neither be interrupted nor await.

    Raises:
        TypeError: a limit of time for attempts, or a coroutine function.
    """
    problem = _not_for_plain(control)
    if problem:
        raise TypeError(problem)


def _not_for_plain(control: Controller) -> str:
    """What plain code cannot keep, in words; empty where there is nothing."""
    for setting in _INTERRUPTING:
        if not _endless(getattr(control.policy, setting)):
            return (
                f"{setting} cannot be kept by {control.name}: it is plain code, and nothing can stop a thread from "
                "outside. Give the client that it uses a timeout, or write it with `async` (`async def`, `async for`)."
            )
    called = {setting: getattr(control, setting) for setting in _CALLED}
    called |= {f"fallback {rung.name}": rung.fn for rung in control.rungs}
    for what, function in called.items():
        if is_coroutine_callable(function):
            return f"{what} is a coroutine function, but {control.name} is a plain one, which cannot await it"
    return ""


def _check_stream(fn: Callable[..., Any], control: Controller) -> None:
    for rung in control.rungs:
        if is_stream(rung.fn) and is_async_stream(rung.fn) is is_async_stream(fn):
            continue
        kind = "an async generator" if is_async_stream(fn) else "a generator"
        raise TypeError(f"fallback {rung.name} must be {kind} function as well, because {control.name} is one")
