"""`Rulebook`: rules in reading order, and the first of them that fits.

An index by what a rule asks for, so that a judgement looks at the few rows that may fit and not
at all of them. It changes nothing but the time: the answer is that of asking every rule in turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.rules import Rule

__all__ = ["Rulebook"]

_STATUSES: Final = range(100, 600)


class Rulebook:
    """Rules, indexed. Immutable.

    Args:
        rules: in reading order, special before general.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_code: dict[str, list[int]] = {}
        self._by_cause: dict[str, list[int]] = {}
        self._by_type: dict[str, list[int]] = {}
        self._by_status: dict[int, list[int]] = {}
        self._others: list[int] = []
        by_words: list[int] = []
        for place, rule in enumerate(self.rules):
            self._file(place, rule, by_words)
        self._by_words = tuple(by_words)
        phrases = {phrase for place in by_words for phrase in self.rules[place].when.words}
        self._phrases = re.compile("|".join(map(re.escape, sorted(phrases)))) if phrases else None

    def first(self, evidence: Evidence) -> Rule | None:
        """The first rule, in reading order, that fits."""
        if not self.rules:
            return None
        return next(
            (self.rules[place] for place in self._candidates(evidence) if self.rules[place].when.fits(evidence)), None
        )

    def _file(self, place: int, rule: Rule, by_words: list[int]) -> None:
        """File a rule under the one condition that the fewest failures meet."""
        when = rule.when
        if when.codes:
            _file_under(self._by_code, when.codes, place)
        elif when.types:
            _file_under(self._by_type, when.types, place)
        elif when.causes:
            _file_under(self._by_cause, when.causes, place)
        elif when.status is not None:
            _file_under(self._by_status, [status for status in _STATUSES if when.wants(status)], place)
        elif when.words:
            by_words.append(place)
        else:
            self._others.append(place)

    def _candidates(self, evidence: Evidence) -> list[int]:
        """The places of the rules that may fit, in reading order. What the book does not ask for is not looked up."""
        found = set(self._others)
        if self._by_code:
            found.update(*(self._by_code.get(code, ()) for code in evidence.codes))
        if self._by_type:
            found.update(*(self._by_type.get(name, ()) for name in evidence.names))
        if self._by_cause:
            found.update(*(self._by_cause.get(name, ()) for name in evidence.cause_names))
        if self._by_status and evidence.status is not None:
            found.update(self._by_status.get(evidence.status, ()))
        if self._phrases is not None and self._phrases.search(evidence.text):
            found.update(self._by_words)
        return sorted(found)


def _file_under(index: dict[Any, list[int]], keys: Iterable[Any], place: int) -> None:
    for key in keys:
        index.setdefault(key, []).append(place)
