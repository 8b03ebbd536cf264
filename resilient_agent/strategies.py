"""The classifier's answers as tenacity strategies, for `tenacity.retry(...)` and for `@resilient`.

Each decides one question (again? how long? enough?) from the state that tenacity hands it.
They remember on that state, and nowhere else, what they found: one failure is classified
once however many strategies ask, and one strategy object serves any number of calls at once.
"""

from __future__ import annotations

import math
import random
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from resilient_agent import clock
from resilient_agent.backoff import BackoffConfig, check_retries, check_seconds
from resilient_agent.classify import ErrorClassifier
from resilient_agent.classify.looking import told_by_args_alone
from resilient_agent.verdict import Classification, ErrorType

if TYPE_CHECKING:
    import tenacity

    from resilient_agent.backoff import Rng

__all__ = [
    "MAX_RETRY_AFTER",
    "TOTAL_RETRIES",
    "Judge",
    "judge_of",
    "limit_met",
    "limit_met_by_results",
    "retry_if_retryable",
    "stop_before_deadline",
    "stop_by_error",
    "wait_by_backoff",
    "wait_by_error",
]

MAX_RETRY_AFTER: Final = 120.0
"""Seconds: where a server asks for a longer wait, the call stops and says so. The OpenAI SDK draws the same line."""

TOTAL_RETRIES: Final = 10
"""The most retries of one call where nobody said a number: twice the largest limit of a single
kind of failure, so that failures of many kinds in turn come to an end as well."""

_WITH_DIGITS: Final = re.compile(r"\S*[0-9]\S*")
_SAID: Final = 400  # characters of a message that are compared

_JUDGES: Final = "_resilient_agent_judges"


class Judge:
    """What one call has met so far: the verdict of its last failure, and how often each kind failed.

    Attributes:
        classifier: whom it asks.
        verdict: the judgement of the last failure that was judged, or None before the first.
        attempt: the number of the attempt that it is about.
        repeats: how many failures of the last one's kind (its rule) there were, that one included.
        failures: how many failures there were in all.
        identical: how many of the last failures in a row were the same: class, rule and words.
        limit: which limit `stop_by_error` met, in words, or an empty string.
    """

    __slots__ = (
        "_args", "_counts", "_kind", "_named", "_said",
        "attempt", "classifier", "failures", "identical", "limit", "repeats", "verdict",
    )  # fmt: skip

    def __init__(self, classifier: ErrorClassifier) -> None:
        self.classifier = classifier
        self._counts: dict[str, int] = {}
        self._named: tuple[int, dict[str, int]] | None = None  # the counts at the last wait that a server named
        self._kind: type[BaseException] | None = None
        self._args: tuple[Any, ...] | None = None
        self._said: str | tuple[Any, ...] = ""
        self.attempt = 0
        self.failures = 0
        self.repeats = 0
        self.identical = 0
        self.limit = ""
        self.verdict: Classification | None = None

    def judge(self, error: BaseException, told: tuple[Any, ...] | None, attempt: int, below: int = 0) -> Classification:
        """The verdict on attempt number `attempt`, reached once.

        Args:
            error: what the attempt raised.
            told: its arguments, if it has nothing else to tell: `told_by_args_alone(error)`.
            attempt: its number, from 1.
            below: how many more requests it stands for: retries of an SDK, or of a call inside.
        """
        verdict = self.verdict
        if verdict is None or self.attempt != attempt:
            try:
                # Alike to the last one, word for word: so is the verdict.
                alike = verdict is not None and told is not None and type(error) is self._kind and told == self._args
            except Exception:  # arguments that refuse to be compared, as arrays do
                alike = False
            if alike and verdict is not None:
                self.identical += 1
            else:
                verdict = self._judged(error)
                self._remember(error, told, verdict)
                self.verdict = verdict
            self.attempt = attempt
            self.failures += 1 + below
            self.repeats = self._counts[verdict.rule] = self._counts.get(verdict.rule, 0) + 1 + below
            if verdict.retry_after is not None:
                self._named = self.failures, self._counts.copy()
        return verdict

    def let_go(self) -> None:
        """The call is over: of what was raised nothing is kept."""
        self._args, self._said = None, ""

    def step(self, *, of_all: bool) -> int:
        """Which wait of a curve comes next, from 0.

        A curve begins anew after a wait that the server named: that wait was its word on how busy it
        is, and what was guessed before it is worth nothing (as gRPC has it, gRFC A6, after a pushback).

        Args:
            of_all: of one curve for all failures, or of the one for failures of the last one's kind.
        """
        assert self.verdict is not None  # noqa: S101 - asked after a failure
        past = self.failures if of_all else self.repeats
        if self._named is not None:
            past -= self._named[0] if of_all else self._named[1].get(self.verdict.rule, 0)
        return past - 1

    def _judged(self, error: BaseException) -> Classification:
        verdict = self.classifier.classify(error)
        if not isinstance(verdict, Classification):  # a subclass may answer with the plain pair
            error_type, backoff = verdict
            verdict = Classification(ErrorType(error_type), backoff, rule=type(self.classifier).__name__)
        return verdict

    def _remember(self, error: BaseException, told: tuple[Any, ...] | None, verdict: Classification) -> None:
        said = _said(error) if told is None else told
        same = (
            self.verdict is not None
            and self.verdict.rule == verdict.rule
            and self._kind is type(error)
            and _words(self._said) == _words(said)
        )
        self.identical = self.identical + 1 if same else 1
        self._kind, self._said = type(error), said
        # Only our own classifier is known to judge equal exceptions equally.
        self._args = told if type(self.classifier) is ErrorClassifier else None


def _said(thing: object) -> str:
    """The first of what an exception, or one of its arguments, says."""
    try:
        # Of its members the text of a group says no more than the number.
        return (repr(thing) if isinstance(thing, BaseExceptionGroup) else str(thing))[:_SAID]
    except Exception:  # a __str__ that is broken says nothing
        return ""


def _words(said: str | tuple[Any, ...]) -> str:
    """What was said, without the words that have digits in them: ids and numbers differ each time."""
    return _WITH_DIGITS.sub("", said if isinstance(said, str) else " ".join(map(_said, said)))


def judge_of(state: tenacity.RetryCallState, classifier: ErrorClassifier) -> Judge:
    """The judge of this call for this classifier; it lives and dies with the state."""
    # By identity: a classifier of a user's own need not be hashable. The judge keeps it alive.
    own = getattr(state, "judge", None)  # of a call of ours, for the classifier that all of its own strategies ask
    if isinstance(own, Judge) and own.classifier is classifier:
        return own
    judges: dict[int, Judge] | None = getattr(state, _JUDGES, None)
    if judges is None:
        judges = {}
        setattr(state, _JUDGES, judges)  # not by way of __dict__: to ask for that slows the state down for good
    judge = judges.get(id(classifier))
    if judge is None:
        judge = judges[id(classifier)] = Judge(classifier)
    return judge


class _ByError:
    """What the three strategies share: whom they ask, and about what."""

    def __init__(self, classifier: ErrorClassifier | None) -> None:
        if classifier is not None and not callable(getattr(classifier, "classify", None)):
            raise TypeError(f"classifier must be an ErrorClassifier, not {classifier!r}")
        self.classifier = _SHARED if classifier is None else classifier

    def _judge(self, state: tenacity.RetryCallState) -> Judge | None:
        """The judge, having judged the state's failure; None where the attempt did not fail."""
        judge = judge_of(state, self.classifier)
        if judge.attempt != state.attempt_number:  # else it failed, and was judged
            error = _error_of(state)
            if error is None:
                return None
            judge.judge(error, told_by_args_alone(error), state.attempt_number)
        return judge


class retry_if_retryable(_ByError, retry_base):  # noqa: N801 - tenacity's own naming
    """A tenacity `retry=`: again where the classifier says `RETRYABLE`, and never on a result.

    Cancellation, KeyboardInterrupt and their kin are not even looked at.

    Args:
        classifier: whom to ask; a shared `ErrorClassifier()` when not given.

    Raises:
        TypeError: `classifier` is none.

    Example:
        >>> import tenacity
        >>> @tenacity.retry(retry=retry_if_retryable(), wait=tenacity.wait_none(),
        ...                 stop=stop_by_error(), reraise=True)
        ... def ask(answers=["", "42"]):
        ...     answer = answers.pop(0)
        ...     if not answer:
        ...         raise ConnectionResetError("connection reset by peer")
        ...     return answer
        >>> ask()
        '42'
    """

    def __init__(self, classifier: ErrorClassifier | None = None) -> None:
        super().__init__(classifier)

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        """Whether to try again."""
        judge = self._judge(retry_state)
        return judge is not None and judge.verdict is not None and judge.verdict.error_type is ErrorType.RETRYABLE


class wait_by_error(_ByError, wait_base):  # noqa: N801
    """A tenacity `wait=`: as long as the server named, or else as the kind of failure asks for.

    Each kind of failure has its own curve and its own place on it. A wait that the server
    named takes its place, and is a floor: jitter only adds to it.

    Args:
        classifier: whom to ask; a shared `ErrorClassifier()` when not given.
        backoff: this curve for every failure, in place of the rules' own.
        rng: where jitter is drawn from; the `random` module when not given.

    Raises:
        TypeError: `classifier` or `backoff` is none.

    Example:
        >>> import tenacity
        >>> class Busy(Exception):
        ...     status_code = 429
        ...     headers = {"retry-after": "3"}
        >>> state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        >>> state.set_exception((Busy, Busy(), None))
        >>> 3 <= wait_by_error()(state) <= 6  # never less than the server asked for
        True
    """

    def __init__(
        self,
        classifier: ErrorClassifier | None = None,
        *,
        backoff: BackoffConfig | None = None,
        rng: Rng | None = None,
    ) -> None:
        super().__init__(classifier)
        if backoff is not None and not isinstance(backoff, BackoffConfig):
            raise TypeError(f"backoff must be a BackoffConfig, not {backoff!r}")
        self._backoff = backoff
        self._rng = rng  # None: the module, looked up when needed, as a module cannot be pickled

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """The wait in seconds before the next attempt."""
        judge = self._judge(retry_state)
        if judge is None:  # a result that another predicate refused
            return (self._backoff or BackoffConfig()).delay(retry_state.attempt_number - 1, _rng(self._rng))
        return self.after(judge)

    def after(self, judge: Judge) -> float:
        """The wait in seconds after the failure that was judged last."""
        verdict = judge.verdict
        assert verdict is not None  # noqa: S101 - asked after a failure
        backoff, rng = self._backoff or verdict.backoff, _rng(self._rng)
        if verdict.retry_after is not None:
            return verdict.retry_after * (1 + backoff.jitter * rng.random())
        return backoff.delay(judge.step(of_all=self._backoff is not None), rng)


class wait_by_backoff(wait_base):  # noqa: N801
    """A tenacity `wait=` that follows one `BackoffConfig`, whatever failed.

    Args:
        backoff: the curve.
        rng: where jitter is drawn from; the `random` module when not given.

    Raises:
        TypeError: `backoff` is none.

    Example:
        >>> import tenacity
        >>> wait = wait_by_backoff(BackoffConfig(base_delay_ms=500, jitter=0)) + tenacity.wait_fixed(1)
        >>> wait(tenacity.RetryCallState(tenacity.Retrying(), None, (), {}))
        1.5
    """

    def __init__(self, backoff: BackoffConfig, *, rng: Rng | None = None) -> None:
        if not isinstance(backoff, BackoffConfig):
            raise TypeError(f"backoff must be a BackoffConfig, not {backoff!r}")
        self._backoff = backoff
        self._rng = rng  # None: the module, looked up when needed, as a module cannot be pickled

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """The wait in seconds before the next attempt."""
        return self._backoff.delay(retry_state.attempt_number - 1, _rng(self._rng))


class stop_by_error(_ByError, stop_base):  # noqa: N801
    """A tenacity `stop=`: when this kind of failure was retried often enough, or all kinds together were.

    Also when the server asks for a longer wait than `max_retry_after`: asking again earlier would
    be refused, and waiting that long is the caller's decision.

    Args:
        classifier: whom to ask; a shared `ErrorClassifier()` when not given.
        max_retries: the most retries, whatever failed; when not given each kind of failure
            has the limit of its rule, and all together `TOTAL_RETRIES`. Only a rule's
            `at_most` (an unknown failure deserves one more try, not forty) stays in force.
        max_retry_after: seconds; `math.inf` for no limit.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: `max_retries` is negative, or `max_retry_after` not above 0.

    Example:
        >>> import tenacity
        >>> calls = []
        >>> @tenacity.retry(retry=retry_if_retryable(), stop=stop_by_error(max_retries=2),
        ...                 wait=tenacity.wait_none(), reraise=True)
        ... def ask():
        ...     calls.append("asked")
        ...     raise TimeoutError
        >>> ask()
        Traceback (most recent call last):
            ...
        TimeoutError
        >>> len(calls)
        3
    """

    def __init__(
        self,
        classifier: ErrorClassifier | None = None,
        *,
        max_retries: int | None = None,
        max_retry_after: float = MAX_RETRY_AFTER,
    ) -> None:
        super().__init__(classifier)
        if max_retries is not None:
            check_retries("max_retries", max_retries)
        check_seconds("max_retry_after", max_retry_after)
        self.max_retries = max_retries
        self.max_retry_after = max_retry_after
        self.max_identical = math.inf  # of tenacity's users nobody has asked for one; see `Bounds`

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        """Whether this was the last attempt."""
        judge = self._judge(retry_state)
        if judge is None or judge.verdict is None:  # a result that another predicate refused
            return bool(limit_met_by_results(retry_state.attempt_number, self))
        judge.limit = limit_met(judge, self)
        return bool(judge.limit)


class stop_before_deadline(stop_base):  # noqa: N801
    """A tenacity `stop=`: when the next wait would pass a deadline, so that the call fails now, with its own error.

    The deadline is the nearest of `seconds` and of the anyio scopes around the call
    (`anyio.fail_after`, `anyio.move_on_after`, a trio scope). To sleep towards a moment at which one is cancelled
    anyway helps nobody, and hides the failure. `@resilient` does the same by itself.

    Args:
        seconds: for the whole call, from its start; only the scopes around it count when not given.

    Raises:
        TypeError: no number.
        ValueError: not above 0.

    Example:
        >>> import tenacity
        >>> @tenacity.retry(wait=tenacity.wait_fixed(30), stop=stop_before_deadline(10), reraise=True)
        ... def ask():
        ...     raise ConnectionResetError("connection reset by peer")
        >>> ask()
        Traceback (most recent call last):
            ...
        ConnectionResetError: connection reset by peer
    """

    def __init__(self, seconds: float | None = None) -> None:
        if seconds is not None:
            check_seconds("seconds", seconds)
        self._seconds = math.inf if seconds is None else seconds

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        """Whether the next wait would pass the deadline."""
        left = self._seconds - (retry_state.seconds_since_start or 0.0)
        return retry_state.upcoming_sleep >= min(left, clock.scope_left())


class Bounds(Protocol):
    """The numbers that bound a call.

    Attributes:
        max_retries: the most retries, whatever failed; None: as each kind of failure says, and all
            together `TOTAL_RETRIES`.
        max_retry_after: seconds; where the server asks for more the call ends.
        max_identical: how many equal failures in a row end it. Refusals for a limit do not count: they
            say nothing about the request.
    """

    @property
    def max_retries(self) -> int | None: ...

    @property
    def max_retry_after(self) -> float: ...

    @property
    def max_identical(self) -> float: ...


def limit_met(judge: Judge, bounds: Bounds) -> str:
    """Which of a call's bounds its last failure met, in words; empty while there is none."""
    verdict = judge.verdict
    if verdict is None:
        return ""
    max_retries = bounds.max_retries
    total = TOTAL_RETRIES if max_retries is None else max_retries
    met = ""
    if judge.failures > total:
        met = f"max_retries={total}"
    elif verdict.at_most is not None and judge.repeats > verdict.at_most:
        met = f"at most {verdict.at_most} for {verdict.rule}"
    elif max_retries is None and judge.repeats > verdict.backoff.max_retries:
        met = f"max_retries={verdict.backoff.max_retries} for {verdict.rule}"
    elif judge.identical >= bounds.max_identical and verdict.load != "limit":
        met = f"the same failure {judge.identical} times in a row, max_identical={bounds.max_identical:g}"
    elif verdict.retry_after is not None and verdict.retry_after > bounds.max_retry_after:
        met = f"the server asks for {verdict.retry_after:g} s, more than {bounds.max_retry_after:g} s"
    return met


def limit_met_by_results(attempt: int, bounds: Bounds) -> str:
    """Which of its bounds a call met whose results are refused, in words; empty while it met none.

    No rule has judged them, so the number of retries is the usual one where nobody said another.
    """
    most = BackoffConfig().max_retries if bounds.max_retries is None else bounds.max_retries
    return f"max_retries={most}" if attempt > most else ""


def _error_of(state: tenacity.RetryCallState) -> Exception | None:
    """The failure to judge: an Exception, never a cancellation or its kin."""
    error: Any = getattr(state, "error", None)  # `@resilient` keeps it without a Future around it
    if error is None and state.outcome is not None and state.outcome.failed:
        error = state.outcome.exception()
    return error if isinstance(error, Exception) else None


def _rng(chosen: Rng | None) -> Rng:
    return random if chosen is None else chosen


_SHARED: Final = ErrorClassifier()
