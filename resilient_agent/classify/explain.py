"""`explain`: why a failure is judged as it is, for a person.

Reads the same rules in the same order as the classifier, and tells what was seen, which rule won,
which came near and why they lost, and what is waited for. Decides nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Final

from resilient_agent.classify import ErrorClassifier, Reading, named_wait
from resilient_agent.classify.evidence import LIMIT_MARKS, Evidence
from resilient_agent.classify.looking import any_in
from resilient_agent.classify.pasted import as_exception
from resilient_agent.classify.rules import Rule
from resilient_agent.verdict import Classification, ErrorType

__all__ = ["Explanation", "NearMiss", "explain"]

_MISSES: Final = 5
_SHOWN: Final = 300  # characters of a message
_LINKS: Final = 5
_WAITS: Final = 6
_ASKED_AS: Final = {
    "codes": "code",
    "types": "class",
    "causes": "cause",
    "words": "the words",
    "also": "the words",
    "errnos": "errno",
}
_TELLING: Final = frozenset({"codes", "words", "status", "errnos", "headers"})


@dataclasses.dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that did not decide, although something spoke for it.

    Attributes:
        rule: its name.
        then: what it would have said.
        why: why it lost.

    Example:
        >>> miss = explain("insufficient_quota", status=429).near_misses[-1]
        >>> miss.rule, miss.why
        ('http/too-many-requests', 'fits as well, but is read later')
    """

    rule: str
    then: ErrorType
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why a failure is judged as it is; `str()` shows it all.

    Attributes:
        verdict: the judgement itself.
        grounds: what the winning rule found of what it asks for.
        evidence: what was seen, a line each: the exception, its status and codes, then what stands behind it.
        near_misses: the rules that came near, in reading order.
        wait: what is waited for, and who says so.
        seen: where the winning rule's case was met.

    Example:
        >>> told = explain(TimeoutError())
        >>> told.verdict.rule, told.grounds
        ('local/timeout', "class 'builtins.TimeoutError'")
        >>> told.wait
        '0.5, 0.75, 1.125 s, by its backoff (with jitter), 3 retries at most'
    """

    verdict: Classification
    grounds: str
    evidence: tuple[str, ...]
    near_misses: tuple[NearMiss, ...]
    wait: str
    seen: str

    def __str__(self) -> str:
        verdict = self.verdict
        lines = [f"{verdict.error_type.value}: {verdict.because}"]
        lines += [f"  rule   {verdict.rule}, by {self.grounds}", f"  seen   {self.seen}", f"  wait   {self.wait}"]
        lines += ["evidence", *(f"  {line}" for line in self.evidence)]
        if self.near_misses:
            lines.append("near misses")
            lines += [f"  {miss.rule} ({miss.then.value}): {miss.why}" for miss in self.near_misses]
        return "\n".join(lines)


def explain(
    error_or_text: BaseException | str, *, status: int | None = None, classifier: ErrorClassifier | None = None
) -> Explanation:
    """Say why a failure is tried again or not, what was seen of it, and which rules came near.

    Args:
        error_or_text: an exception, or what you have of it: a pasted traceback, the line of a log,
            the JSON body of an answer.
        status: the HTTP status that belongs to a text.
        classifier: whose rules to read; `ErrorClassifier()` when not given.

    Returns:
        The explanation. `print` it.

    Raises:
        TypeError: neither an exception nor a text.
        ValueError: an empty text, or a status for an exception, which has its own.

    Example:
        >>> print(explain('{"error": {"code": "insufficient_quota", "message": "You have no quota"}}', status=429))
        fatal: the account has no credit left: nothing sent with it works until a person pays
          rule   credit/out-of-credit, by code 'insufficient_quota'
          seen   OpenAI documentation, Error codes; Anthropic documentation, Errors; Moonshot documentation; new-api
          wait   none: it is not tried again
        evidence
          pasted.PastedAnswer: You have no quota
            status 429, codes insufficient_quota
        near misses
          http/too-many-requests (retryable): fits as well, but is read later
    """
    if isinstance(error_or_text, str):
        error = as_exception(error_or_text, status)
    elif isinstance(error_or_text, BaseException):
        if status is not None:
            raise ValueError("a status can be given for a text only: an exception has its own")
        error = error_or_text
    else:
        raise TypeError(f"explain takes an exception or a text, not {error_or_text!r}")
    classifier = classifier or ErrorClassifier()
    reading, verdict = classifier.read(error), classifier.classify(error)
    return Explanation(
        verdict=verdict,
        grounds=_grounds(reading),
        evidence=tuple(_evidence(reading)),
        near_misses=tuple(itertools.islice(_near(classifier, reading), _MISSES)),
        wait=_wait(verdict, reading),
        seen=reading.rule.seen or "nowhere yet",
    )


def _grounds(reading: Reading) -> str:
    met = reading.rule.when.met(reading.evidence)
    if not met:
        return "nothing that says more"
    return ", ".join(f"{_ASKED_AS.get(name, name)} {_listed(values)}" for name, values in met.items())


def _evidence(reading: Reading) -> Iterator[str]:
    for place, evidence in enumerate(reading.case):
        if place == _LINKS:
            yield "..."
            return
        behind = "behind it, " if place else ""
        decided = ", which decided: " if place and evidence is reading.evidence else ": "
        kind = type(evidence.error)
        yield _shortened(
            f"{behind}{kind.__module__.partition('.')[0]}.{kind.__name__}{decided}{evidence.said or 'no message'}"
        )
        facts = ", ".join(_facts(evidence))
        if facts:
            yield f"  {facts}"


def _facts(evidence: Evidence) -> Iterator[str]:
    if evidence.status is not None:
        yield f"status {evidence.status}"
    if evidence.codes:
        yield f"codes {' '.join(sorted(evidence.codes))}"
    if evidence.errno is not None:
        yield f"errno {evidence.errno}"
    for name, value in evidence.limits.items():
        if any_in(LIMIT_MARKS, name):
            yield _shortened(f"{name}: {value}")


def _near(classifier: ErrorClassifier, reading: Reading) -> Iterator[NearMiss]:
    """Of the books that were read up to the decision, the rules of which something telling was seen."""
    evidence, decided, rooms = reading.evidence, False, {_room(reading.rule)}
    for book in classifier.books():
        for rule in book.candidates(evidence):
            if rule is reading.rule:
                decided = True
                continue
            missing = rule.when.missing(evidence)
            if not missing and rule.then is not reading.rule.then and _room(rule) not in rooms:
                rooms.add(_room(rule))  # the first of a room: what stands behind it there is more general still
                yield NearMiss(rule.name, rule.then, "fits as well, but is read later")
            elif missing and not decided and _TELLING & rule.when.met(evidence).keys():
                yield NearMiss(rule.name, rule.then, _lacks(rule, missing[0], evidence))
        if decided:
            return


def _room(rule: Rule) -> str:
    return rule.name.partition("/")[0]


def _lacks(rule: Rule, missing: str, evidence: Evidence) -> str:
    if missing == "unless":
        return f"is not for failures that speak of {_listed(rule.when.unless)}"
    if missing == "status":
        return f"asks for another status than {evidence.status}"
    return f"asks for {_ASKED_AS.get(missing, missing)} {_listed(getattr(rule.when, missing))}"


def _listed(values: object) -> str:
    shown = [repr(value) for value in values] if isinstance(values, tuple) else [repr(values)]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _wait(verdict: Classification, reading: Reading) -> str:
    if verdict.error_type is not ErrorType.RETRYABLE:
        named = f"; the server names {verdict.retry_after:g} s" if verdict.retry_after is not None else ""
        return f"none: it is not tried again{named}"
    if verdict.retry_after is not None:
        named_by = named_wait(reading.case)
        return f"{verdict.retry_after:g} s, named by {named_by[1] if named_by else 'the server'}"
    curve = verdict.backoff
    retries = curve.max_retries if verdict.at_most is None else min(curve.max_retries, verdict.at_most)
    if not retries:
        return "none: its limit is 0 retries"
    plain = dataclasses.replace(curve, jitter=0.0)
    waits = ", ".join(f"{plain.delay(attempt, _Still()):g}" for attempt in range(min(retries, _WAITS)))
    return f"{waits} s, by its backoff (with jitter), {retries} {'retry' if retries == 1 else 'retries'} at most"


class _Still:
    def random(self) -> float:
        return 0.5


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
