"""`ErrorClassifier`: exception in, `Classification` out.

Decides in which order the knowledge is read: the user's rules and patterns, registered tables, our
exact rows for the exception and for each link behind it, our wide rows, the phrases, and at last
what to make of the unknown. Of a group the gravest member decides. Does not wait, does not retry,
and opens no exception itself (`evidence.py`).
"""

from __future__ import annotations

import contextlib
import functools
import random
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from resilient_agent import clock
from resilient_agent.backoff import BackoffConfig
from resilient_agent.classify import hints, registry
from resilient_agent.classify.case import Case
from resilient_agent.classify.chains import leaves
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.knowledge import EXACT, NON_RETRYABLE, RETRYABLE, UNKNOWN, WIDE
from resilient_agent.classify.knowledge.curves import RATE_LIMIT, UNAVAILABLE
from resilient_agent.classify.looking import kind_is, told_by_args_alone
from resilient_agent.classify.rulebook import Rulebook
from resilient_agent.classify.rules import OPEN, Rule, When
from resilient_agent.classify.words import plain
from resilient_agent.verdict import SEVERITY, Classification, ErrorType, Load

__all__ = ["ErrorClassifier", "Reading", "Rule", "When", "named_wait"]


class Reading(NamedTuple):
    """How a judgement was reached: for `explain`."""

    rule: Rule
    """The rule that decided."""
    evidence: Evidence
    """What it decided on: of the exception, or of a link behind it."""
    case: Case
    """The whole evidence."""


class ErrorClassifier:
    """Says of an exception whether to try again, how to wait, and why.

    Safe to share between threads: what it remembers are verdicts, and those are the same for everybody.

    Args:
        default_backoff: how to wait where no rule says it; `BackoffConfig()` when not given.
        rules: your own rules. They are read before all others, in their order.

    Attributes:
        RETRYABLE_PATTERNS: phrase (lower case) -> backoff. The last resort, after every rule.
            You may add to it, here or in a subclass: what you add counts as a rule of your
            own and is read first. A phrase of digits means the HTTP status.
        NON_RETRYABLE_PATTERNS: phrases that stop at once; add to it likewise.

    Example:
        >>> classifier = ErrorClassifier()
        >>> classifier.classify(TimeoutError()).rule
        'local/timeout'
        >>> classifier.classify(KeyError("choices")).error_type
        <ErrorType.NON_RETRYABLE: 'non_retryable'>
    """

    RETRYABLE_PATTERNS: ClassVar[dict[str, BackoffConfig]] = dict(RETRYABLE)
    NON_RETRYABLE_PATTERNS: ClassVar[list[str]] = list(NON_RETRYABLE)

    def __init__(self, default_backoff: BackoffConfig | None = None, rules: Iterable[Rule] = ()) -> None:
        if default_backoff is not None and not isinstance(default_backoff, BackoffConfig):
            raise TypeError(f"default_backoff must be a BackoffConfig, not {default_backoff!r}")
        self._default = default_backoff or BackoffConfig()
        self._own = Rulebook(registry.checked(rules))
        self._known: dict[Any, Classification] = {}

    def classify(self, error: BaseException) -> Classification:
        """Judge one failure. Never raises because of what the exception is or does.

        Args:
            error: any exception; also a group, whose gravest member decides.

        Returns:
            The judgement; it unpacks as the pair `(error_type, backoff)`.

        Raises:
            TypeError: `error` is no exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"classify takes an exception, not {error!r}")
        args = told_by_args_alone(error)
        if args is None or not _are_short(args) or not self._unchanged():
            return self._judged(error)
        # Python's own, with nothing behind it: a lost connection says the same each time, and there are many.
        seen = type(error), args, registry.registered()
        verdict = self._known.get(seen)
        if verdict is None:
            verdict = self._judged(error)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[seen] = verdict
        return verdict

    def _judged(self, error: BaseException) -> Classification:
        readings = self._readings(error)
        if len(readings) == 1:
            return self._verdict(readings[0])
        verdicts = [self._verdict(reading) for reading in readings]
        return _of_all(verdicts[readings.index(self._gravest(readings))], verdicts)

    def compute_delay(self, attempt: int, backoff: BackoffConfig) -> float:
        """The wait in seconds before retry number `attempt`, counted from 0, with jitter.

        Raises:
            ValueError: `attempt` is negative.
        """
        return backoff.delay(attempt, random)

    def read(self, error: BaseException) -> Reading:
        """How an exception is judged: the rule and what it saw. Of a group, for its gravest member."""
        return self._gravest(self._readings(error))

    def books(self) -> tuple[Rulebook, ...]:
        """What is read, in this order: own rules, own patterns, registered tables, exact rows, wide rows, phrases."""
        return *self._exact(), *self._wide()

    def _readings(self, error: BaseException, opened: set[int] | None = None) -> list[Reading]:
        """One reading for an exception, one for each member of a group; `opened` are the groups so far."""
        if kind_is(error, BaseExceptionGroup):
            opened = set() if opened is None else opened
            members = [reading for leaf in leaves(error, opened) for reading in self._readings(leaf, opened)]
            if members:
                return members
        case = Case(error)
        reading = self._read(case, self._exact())
        if reading is not None:
            return [reading]
        # A group may stand behind its own members, as `except*` leaves it: it is opened once.
        group = case.group()
        if group is not None and group is not error and (opened is None or id(group) not in opened):
            return self._readings(group, opened)
        return [self._read(case, self._wide()) or self._unknown(case)]

    def _gravest(self, readings: list[Reading]) -> Reading:
        """Of several failures at once: the gravest type, and among equals the longest wait."""

        def gravity(reading: Reading) -> tuple[int, float]:
            return SEVERITY.index(reading.rule.then), (reading.rule.backoff or self._default).base_delay_ms

        return max(readings, key=gravity)

    def _verdict(self, reading: Reading) -> Classification:
        rule = reading.rule
        # Where a class alone decides, nobody has answered, so nobody names a wait.
        wanted = rule.then in _WAITED_FOR and not _EXACT.by_class_alone(rule)
        wait = named_wait(reading.case) if wanted else None
        rate = _granted_rate(reading.case) if rule.load == "limit" else None
        return Classification(
            rule.then,
            rule.backoff or self._default,
            retry_after=None if wait is None else wait[0],
            rule=rule.name,
            because=rule.because,
            at_most=rule.at_most,
            load=rule.load,
            rate=rate,
        )

    def _read(self, case: Case, books: Sequence[Rulebook]) -> Reading | None:
        """Each book for the exception itself, then for its cause, and so on."""
        for book in books:
            if not book.rules:
                continue
            rule = book.first(case.first)
            if rule is not None:
                return Reading(rule, case.first, case)
            for evidence in case.behind():
                rule = book.first(evidence)
                if rule is not None:
                    return Reading(rule, evidence, case)
        return None

    def _unknown(self, case: Case) -> Reading:
        outside = any(evidence.outside for evidence in case)
        return Reading(next(rule for rule in UNKNOWN if rule.when.outside is outside), case.first, case)

    def _exact(self) -> tuple[Rulebook, ...]:
        if self._unchanged():
            return self._own, registry.registered(), _EXACT
        added = tuple(pair for pair in self.RETRYABLE_PATTERNS.items() if RETRYABLE.get(pair[0]) != pair[1])
        refused = tuple(phrase for phrase in self.NON_RETRYABLE_PATTERNS if phrase not in NON_RETRYABLE)
        return self._own, _pattern_book("pattern", added, refused), registry.registered(), _EXACT

    def _wide(self) -> tuple[Rulebook, ...]:
        if self._unchanged():
            return _WIDE, _WORDING
        retryable, stopping = tuple(self.RETRYABLE_PATTERNS.items()), tuple(self.NON_RETRYABLE_PATTERNS)
        return _WIDE, _pattern_book("wording", retryable, stopping)

    def _unchanged(self) -> bool:
        return self.RETRYABLE_PATTERNS == RETRYABLE and self.NON_RETRYABLE_PATTERNS == _STOPPING


def _are_short(args: tuple[Any, ...]) -> bool:
    """Whether they may be remembered: numbers and texts of some words."""
    for arg in args:  # noqa: SIM110 - a generator costs more than all that is saved
        if not (type(arg) is str and len(arg) <= _SHORT) and type(arg) is not int:
            return False
    return True


def _of_all(worst: Classification, verdicts: list[Classification]) -> Classification:
    """The verdict on several failures at once: that on the gravest, with the strictest limits of all."""
    waits = [v.retry_after for v in verdicts if v.retry_after is not None]
    limits = [v.at_most for v in verdicts if v.at_most is not None]
    return Classification(
        worst.error_type,
        worst.backoff,
        retry_after=max(waits, default=None),
        rule=worst.rule,
        because=f"the gravest of {len(verdicts)} failures: {worst.because}",
        at_most=min(limits, default=None),
        load=worst.load,
        rate=worst.rate,
    )


def named_wait(case: Case) -> tuple[float, str] | None:
    """The wait in seconds that the server names, and where it names it, or None."""
    wait = _wait(case.first)
    if wait is None:
        for evidence in case.behind():
            wait = _wait(evidence)
            if wait is not None:
                break
    return wait


def _granted_rate(case: Case) -> float | None:
    """Requests a second that the headers of a rate limit grant, or None."""
    limits = case.first.limits
    if not limits:
        limits = next((link.limits for link in case.behind() if link.limits), {})
    return hints.rate_in_buckets(limits.get, clock.wall) if limits else None


def _wait(evidence: Evidence) -> tuple[float, str] | None:
    limits = evidence.limits
    if limits:
        seconds = hints.in_headers(limits.get, clock.wall)
        if seconds is not None:
            return seconds, "the header Retry-After or its like"
        seconds = hints.in_buckets(limits.get, clock.wall) if evidence.status in _LIMITING else None
        if seconds is not None:
            return seconds, "the headers of the exhausted rate limit"
    return evidence.told_wait


# Of verdicts that are known already: how many, and up to how many characters of text.
_REMEMBERED: Final = 64
_SHORT: Final = 200
# What is not tried again in any form is not waited for.
_WAITED_FOR: Final = (ErrorType.RETRYABLE, ErrorType.DEGRADED)
# What the phrases' curves say of the server's load.
_NO_LOAD: Final[Load] = ""
_LOADS: Final[tuple[tuple[BackoffConfig, Load], ...]] = ((RATE_LIMIT, "limit"), (UNAVAILABLE, "overload"))
# Statuses under which the headers of a rate limit are the reason and not just news: 403 at GitHub.
_LIMITING: Final = (403, 429)


@functools.lru_cache(maxsize=64)
def _pattern_book(room: str, retryable: tuple[tuple[str, BackoffConfig], ...], stopping: tuple[str, ...]) -> Rulebook:
    """A pattern table as rules: transient phrases first, and the longest of each kind, as it says most.

    An error that says something transient is retried whatever else it mentions: one request too
    many costs less than a call that was given up.
    """
    table: dict[str, BackoffConfig | None] = {**dict.fromkeys(stopping), **dict(retryable)}
    rules = []
    for phrase, backoff in sorted(table.items(), key=lambda entry: (entry[1] is None, -len(entry[0]))):
        try:
            when = When(status=int(phrase)) if phrase.isdecimal() else When(words=(_open(phrase),))
        except ValueError as useless:  # it must not take the place of the failure that is being judged
            with contextlib.suppress(RuntimeWarning):  # where warnings are errors
                problem = f"the pattern {phrase!r} of a classifier is left out: {useless}"
                warnings.warn(problem, RuntimeWarning, stacklevel=2)
            continue
        then = ErrorType.NON_RETRYABLE if backoff is None else ErrorType.RETRYABLE
        name = f"{room}/{phrase.replace(' ', '-')}"
        load = next((load for curve, load in _LOADS if curve == backoff), _NO_LOAD)
        rules.append(Rule(name, when, then, because=f"the error says {phrase!r}", backoff=backoff, load=load))
    return Rulebook(rules)


def _open(phrase: str) -> str:
    """A pattern finds its word in longer ones too, as it always did: `overload` in `overloaded`."""
    phrase = phrase.rstrip("*")
    return f"{phrase}*" if len(plain(phrase).rpartition(" ")[2]) >= OPEN else phrase


_STOPPING: Final = list(NON_RETRYABLE)
_EXACT: Final = Rulebook(EXACT)
_WIDE: Final = Rulebook(WIDE)
_WORDING: Final = _pattern_book("wording", tuple(RETRYABLE.items()), NON_RETRYABLE)
