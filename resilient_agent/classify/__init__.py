"""`ErrorClassifier`: exception in, `Classification` out.

Decides in which order the knowledge is read: the user's rules, the rows (body, status,
classes) along the chain of causes, the phrases, and at last what to make of the unknown. Of
a group the gravest member decides. Does not wait, does not retry, and opens no exception
itself (`evidence.py`).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from resilient_agent import clock
from resilient_agent.backoff import BackoffConfig
from resilient_agent.classify import hints
from resilient_agent.classify.evidence import Evidence, chain, leaves
from resilient_agent.classify.knowledge import NON_RETRYABLE, RETRYABLE, RULES, UNKNOWN
from resilient_agent.classify.rulebook import Rulebook
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import SEVERITY, Classification, ErrorType

__all__ = ["ErrorClassifier", "Rule", "When"]


class ErrorClassifier:
    """Says of an exception whether to try again, how to wait, and why. Immutable, so share it freely.

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
        'network/timeout'
        >>> classifier.classify(KeyError("choices")).error_type
        <ErrorType.NON_RETRYABLE: 'non_retryable'>
    """

    RETRYABLE_PATTERNS: ClassVar[dict[str, BackoffConfig]] = dict(RETRYABLE)
    NON_RETRYABLE_PATTERNS: ClassVar[list[str]] = list(NON_RETRYABLE)

    def __init__(self, default_backoff: BackoffConfig | None = None, rules: Iterable[Rule] = ()) -> None:
        if default_backoff is not None and not isinstance(default_backoff, BackoffConfig):
            raise TypeError(f"default_backoff must be a BackoffConfig, not {default_backoff!r}")
        self._default = default_backoff or BackoffConfig()
        rules = tuple(rules)
        for rule in rules:
            if not isinstance(rule, Rule):
                raise TypeError(f"rules must be Rule objects, not {rule!r}")
        self._own = Rulebook(rules)

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
        if issubclass(type(error), BaseExceptionGroup):
            return self._gravest([self._judge(leaf) for leaf in leaves(error)])
        return self._judge(error)

    def compute_delay(self, attempt: int, backoff: BackoffConfig) -> float:
        """The wait in seconds before retry number `attempt`, counted from 0, with jitter.

        Raises:
            ValueError: `attempt` is negative.
        """
        return backoff.delay(attempt, random)

    def _judge(self, error: BaseException) -> Classification:
        links = tuple(chain(error))
        evidences = [Evidence(link, links[place + 1 :]) for place, link in enumerate(links)]
        rule = self._decisive(evidences)
        return Classification(
            rule.then,
            rule.backoff or self._default,
            retry_after=_hint(evidences),
            rule=rule.name,
            because=rule.because,
            at_most=rule.at_most,
        )

    def _decisive(self, evidences: Sequence[Evidence]) -> Rule:
        """The rule that decides. Each book is read for the exception itself, then for its cause, and so on."""
        for book in self._books():
            for evidence in evidences:
                rule = book.first(evidence)
                if rule is not None:
                    return rule
        outside = any(evidence.outside for evidence in evidences)
        return next(rule for rule in UNKNOWN if rule.when.outside is outside)

    def _books(self) -> tuple[Rulebook, ...]:
        """What is read, in this order: the user's own rules and patterns, ours, and the phrases."""
        retryable, stopping = self.RETRYABLE_PATTERNS, self.NON_RETRYABLE_PATTERNS
        if retryable == RETRYABLE and tuple(stopping) == NON_RETRYABLE:
            return self._own, _OURS, _WORDING
        added = tuple((phrase, backoff) for phrase, backoff in retryable.items() if RETRYABLE.get(phrase) != backoff)
        refused = tuple(phrase for phrase in stopping if phrase not in NON_RETRYABLE)
        patterns = _pattern_book("pattern", added, refused)
        return self._own, patterns, _OURS, _pattern_book("wording", tuple(retryable.items()), tuple(stopping))

    def _gravest(self, verdicts: list[Classification]) -> Classification:
        """Of several failures at once: the gravest type, and among equals the longest wait."""
        if len(verdicts) == 1:
            return verdicts[0]
        worst = max(verdicts, key=lambda v: (SEVERITY.index(v.error_type), v.backoff.base_delay_ms))
        waits = [v.retry_after for v in verdicts if v.retry_after is not None]
        limits = [v.at_most for v in verdicts if v.at_most is not None]
        return Classification(
            worst.error_type,
            worst.backoff,
            retry_after=max(waits, default=None),
            rule=worst.rule,
            because=f"the gravest of {len(verdicts)} failures: {worst.because}",
            at_most=min(limits, default=None),
        )


def _hint(evidences: Sequence[Evidence]) -> float | None:
    named = (hints.retry_after(evidence.header, clock.wall) for evidence in evidences)
    return next((seconds for seconds in named if seconds is not None), None)


@functools.lru_cache(maxsize=64)
def _pattern_book(room: str, retryable: tuple[tuple[str, BackoffConfig], ...], stopping: tuple[str, ...]) -> Rulebook:
    """A pattern table as rules: transient phrases first, and the longest of each kind, as it says most.

    An error that says something transient is retried whatever else it mentions: one request too
    many costs less than a call that was given up.
    """
    table: dict[str, BackoffConfig | None] = {**dict.fromkeys(stopping), **dict(retryable)}
    return Rulebook(
        Rule(
            f"{room}/{phrase.replace(' ', '-')}",
            when=When(status=int(phrase)) if phrase.isdecimal() else When(words=(phrase,)),
            then=ErrorType.NON_RETRYABLE if backoff is None else ErrorType.RETRYABLE,
            because=f"the error says {phrase!r}",
            backoff=backoff,
        )
        for phrase, backoff in sorted(table.items(), key=lambda entry: (entry[1] is None, -len(entry[0])))
    )


_OURS: Final = Rulebook(RULES)
_WORDING: Final = _pattern_book("wording", tuple(RETRYABLE.items()), NON_RETRYABLE)
