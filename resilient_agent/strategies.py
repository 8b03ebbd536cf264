"""The classifier's answers as tenacity strategies, for `tenacity.retry(...)` and for `@resilient`.

Each decides one question (again? how long? enough?) from the state that tenacity hands it.
They remember on that state, and nowhere else, what they found: one failure is classified
once however many strategies ask, and one strategy object serves any number of calls at once.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from resilient_agent.backoff import BackoffConfig, check_retries
from resilient_agent.classify import ErrorClassifier
from resilient_agent.verdict import Classification, ErrorType

if TYPE_CHECKING:
    import tenacity

    from resilient_agent.backoff import Rng

__all__ = [
    "MAX_RETRY_AFTER",
    "TOTAL_RETRIES",
    "Judge",
    "first_judge",
    "judge_of",
    "retry_if_retryable",
    "stop_by_error",
    "wait_by_backoff",
    "wait_by_error",
]

MAX_RETRY_AFTER: Final = 120.0
"""Seconds: where a server asks for a longer wait, the call stops and says so. The OpenAI SDK draws the same line."""

TOTAL_RETRIES: Final = 10
"""The most retries of one call where nobody said a number: twice the largest limit of a single
kind of failure, so that failures of many kinds in turn come to an end as well."""

_JUDGES: Final = "_resilient_agent_judges"


class Judge:
    """What one call has met so far: the verdict of its last failure, and how often each kind failed.

    Attributes:
        verdict: the judgement of the last failure that was judged, or None before the first.
        attempt: the number of the attempt that it is about.
        repeats: how many failures of the last one's kind (its rule) there were, that one included.
        failures: how many failures there were in all.
        limit: which limit `stop_by_error` met, in words, or an empty string.
    """

    __slots__ = ("_classifier", "_counts", "attempt", "failures", "limit", "repeats", "verdict")

    def __init__(self, classifier: ErrorClassifier) -> None:
        self._classifier = classifier
        self.attempt = 0
        self._counts: dict[str, int] = {}
        self.failures = 0
        self.repeats = 0
        self.limit = ""
        self.verdict: Classification | None = None

    def judge(self, error: BaseException, attempt: int) -> Classification:
        """The verdict on attempt number `attempt`, reached once."""
        if self.verdict is None or self.attempt != attempt:
            verdict = self._classifier.classify(error)
            if not isinstance(verdict, Classification):  # a subclass may answer with the plain pair
                error_type, backoff = verdict
                verdict = Classification(ErrorType(error_type), backoff, rule=type(self._classifier).__name__)
            self.verdict = verdict
            self.attempt = attempt
            self.failures += 1
            self.repeats = self._counts[verdict.rule] = self._counts.get(verdict.rule, 0) + 1
        return self.verdict


def judge_of(state: tenacity.RetryCallState, classifier: ErrorClassifier) -> Judge:
    """The judge of this call for this classifier; it lives and dies with the state."""
    # By identity: a classifier of a user's own need not be hashable. The judge keeps it alive.
    judges: dict[int, Judge] = state.__dict__.setdefault(_JUDGES, {})
    judge = judges.get(id(classifier))
    if judge is None:
        judge = judges[id(classifier)] = Judge(classifier)
    return judge


def first_judge(state: tenacity.RetryCallState) -> Judge | None:
    """The judge that was asked first in this call; None where none was."""
    judges: dict[int, Judge] = state.__dict__.get(_JUDGES, {})
    return next(iter(judges.values()), None)


class _ByError:
    """What the three strategies share: whom they ask, and about what."""

    def __init__(self, classifier: ErrorClassifier | None) -> None:
        if classifier is not None and not callable(getattr(classifier, "classify", None)):
            raise TypeError(f"classifier must be an ErrorClassifier, not {classifier!r}")
        self._classifier = _SHARED if classifier is None else classifier

    def _judge(self, state: tenacity.RetryCallState) -> Judge | None:
        """The judge, having judged the state's failure; None where the attempt did not fail."""
        error = _error_of(state)
        if error is None:
            return None
        judge = judge_of(state, self._classifier)
        judge.judge(error, state.attempt_number)
        return judge


class retry_if_retryable(_ByError, retry_base):  # noqa: N801 - tenacity's own naming
    """A tenacity `retry=`: again where the classifier says `RETRYABLE`, and never on a result.

    Cancellation, KeyboardInterrupt and their kin are not even looked at.

    Args:
        classifier: whom to ask; a shared `ErrorClassifier()` when not given.

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

    Returns (called with the state): seconds.
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
        if judge is None or judge.verdict is None:  # a result that another predicate refused
            return (self._backoff or BackoffConfig()).delay(retry_state.attempt_number - 1, _rng(self._rng))
        backoff = self._backoff or judge.verdict.backoff
        if judge.verdict.retry_after is not None:
            return judge.verdict.retry_after * (1 + backoff.jitter * _rng(self._rng).random())
        # One curve for all failures goes by their number, a curve of its own by its own number.
        past = judge.failures if self._backoff else judge.repeats
        return backoff.delay(past - 1, _rng(self._rng))


class wait_by_backoff(wait_base):  # noqa: N801
    """A tenacity `wait=` that follows one `BackoffConfig`, whatever failed.

    Args:
        backoff: the curve.
        rng: where jitter is drawn from; the `random` module when not given.

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

    Also when the server asks for a wait of more than two minutes (`MAX_RETRY_AFTER`): asking
    again earlier would be refused, and waiting that long is the caller's decision.

    Args:
        classifier: whom to ask; a shared `ErrorClassifier()` when not given.
        max_retries: the most retries, whatever failed; when not given each kind of failure
            has the limit of its rule, and all together `TOTAL_RETRIES`. Only a rule's
            `at_most` (an unknown failure deserves one more try, not forty) stays in force.
    """

    def __init__(self, classifier: ErrorClassifier | None = None, *, max_retries: int | None = None) -> None:
        super().__init__(classifier)
        if max_retries is not None:
            check_retries("max_retries", max_retries)
        self._max_retries = max_retries

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        """Whether this was the last attempt."""
        judge = self._judge(retry_state)
        if judge is None or judge.verdict is None:  # a result that another predicate refused
            most = BackoffConfig().max_retries if self._max_retries is None else self._max_retries
            return retry_state.attempt_number > most
        judge.limit = self._limit(judge, judge.verdict)
        return bool(judge.limit)

    def _limit(self, judge: Judge, verdict: Classification) -> str:
        """The limit that is met, in words; empty while there is none."""
        total = TOTAL_RETRIES if self._max_retries is None else self._max_retries
        if judge.failures > total:
            return f"max_retries={total}"
        if verdict.at_most is not None and judge.repeats > verdict.at_most:
            return f"at most {verdict.at_most} for {verdict.rule}"
        if self._max_retries is None and judge.repeats > verdict.backoff.max_retries:
            return f"max_retries={verdict.backoff.max_retries} for {verdict.rule}"
        if verdict.retry_after is not None and verdict.retry_after > MAX_RETRY_AFTER:
            return f"the server asks for {verdict.retry_after:g} s, more than {MAX_RETRY_AFTER:g} s"
        return ""


def _error_of(state: tenacity.RetryCallState) -> Exception | None:
    """The failure to judge: an Exception, never a cancellation or its kin."""
    error: Any = getattr(state, "error", None)  # `@resilient` keeps it without a Future around it
    if error is None and state.outcome is not None and state.outcome.failed:
        error = state.outcome.exception()
    return error if isinstance(error, Exception) else None


def _rng(chosen: Rng | None) -> Rng:
    return random if chosen is None else chosen


_SHARED: Final = ErrorClassifier()
