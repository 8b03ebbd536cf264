"""`Rulebook`: rules in reading order, and the first of them that fits.

An index by what a rule asks for, so that a judgement looks at the few rows that may fit and not
at all of them. It changes nothing but the time: the answer is that of asking every rule in turn.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Final

from resilient_agent.classify.evidence import LIMIT_MARKS, Evidence
from resilient_agent.classify.looking import any_in
from resilient_agent.classify.rules import Rule
from resilient_agent.classify.words import stems

__all__ = ["Rulebook"]

_STATUSES: Final = range(100, 600)
_NO_CODES: Final[frozenset[str]] = frozenset()


class Rulebook:
    """Rules, indexed. Immutable.

    Args:
        rules: in reading order, special before general.

    Attributes:
        rules: the rules.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_code: dict[str, list[int]] = {}
        self._by_type: dict[str, list[int]] = {}
        self._by_status: dict[int, list[int]] = {}
        self._by_phrase: dict[str, list[int]] = {}
        self._by_header: dict[str, list[int]] = {}
        self._others: list[int] = []
        for place, rule in enumerate(self.rules):
            self._file(place, rule)
        self._first_of_words = min(map(min, self._by_phrase.values()), default=len(self.rules))
        self._first_of_headers = min(map(min, self._by_header.values()), default=len(self.rules))
        self._limits_tell = all(any_in(LIMIT_MARKS, name) for name in self._by_header)
        self._by_stem, self._unspaced = _by_rarest_stem(self._by_phrase)
        asking_for_more = (place for place, rule in enumerate(self.rules) if not _asks_for_classes_only(rule))
        self._head = next(asking_for_more, len(self.rules))
        self._alone = frozenset(id(rule) for rule in self.rules[: self._head])
        # Programs meet the same few classes, codes and sentences again and again.
        self._of_classes = functools.lru_cache(maxsize=1024)(self._places_of_classes)
        self._of_names = functools.lru_cache(maxsize=256)(self._places_of_names)
        self._spoken = functools.lru_cache(maxsize=256)(self._places_of_phrases)

    def __reduce__(self) -> tuple[Any, ...]:
        return Rulebook, (self.rules,)

    def first(self, evidence: Evidence) -> Rule | None:
        """The first rule, in reading order, that fits."""
        rules = self.rules
        # Where a class alone decides, and no rule that asks for more stands before it, nothing else is read.
        for place in self._of_classes(evidence.names):
            if place >= self._head:
                break
            if rules[place].when.fits(evidence):
                return rules[place]
        best = len(rules)
        for place in self._named(evidence):
            if rules[place].when.fits(evidence):
                best = place
                break
        # Headers and words are read only where a rule that asks for them stands before this one.
        for place in self._told(evidence, best):
            if place >= best:
                break
            if rules[place].when.fits(evidence):
                return rules[place]
        return rules[best] if best < len(rules) else None

    def _told(self, evidence: Evidence, before: int) -> Sequence[int]:
        """The places of the rules that may fit by what a header or the text says; none where all stand behind."""
        spoken = self._spoken(evidence.text) if self._first_of_words < before else ()
        if self._first_of_headers >= before or (self._limits_tell and not evidence.limits):
            return spoken
        sent = [
            place for name, places in self._by_header.items() if evidence.header(name) is not None for place in places
        ]
        return sorted({*spoken, *sent}) if sent else spoken

    def by_class_alone(self, rule: Rule) -> bool:
        """Whether it stands at the beginning, where a class decides before anything else is read."""
        return id(rule) in self._alone

    def candidates(self, evidence: Evidence) -> tuple[Rule, ...]:
        """The rules that may fit, in reading order: those of which the evidence shows at least something."""
        told = self._told(evidence, len(self.rules))
        return tuple(self.rules[place] for place in sorted({*self._named(evidence), *told}))

    def _file(self, place: int, rule: Rule) -> None:
        """File a rule under the one condition that the fewest failures meet."""
        when = rule.when
        if when.codes:
            _file_under(self._by_code, when.codes, place)
        elif when.types:
            _file_under(self._by_type, when.types, place)
        elif when.needles:
            _file_under(self._by_phrase, when.needles, place)
        elif when.status is not None:
            _file_under(self._by_status, [status for status in _STATUSES if when.wants(status)], place)
        elif when.headers:
            _file_under(self._by_header, when.header_names, place)
        else:
            self._others.append(place)

    def _places_of_classes(self, names: frozenset[str]) -> tuple[int, ...]:
        return tuple(sorted({place for name in names for place in self._by_type.get(name, ())}))

    def _named(self, evidence: Evidence) -> tuple[int, ...]:
        """The places of the rules that may fit by class, code or status. What no rule asks for is not looked up."""
        codes = evidence.codes if self._by_code else _NO_CODES
        return self._of_names(evidence.names, codes, evidence.status if self._by_status else None)

    def _places_of_names(self, names: frozenset[str], codes: frozenset[str], status: int | None) -> tuple[int, ...]:
        found = {*self._others, *self._of_classes(names)}
        for code in codes:
            found.update(self._by_code.get(code, ()))
        if status is not None:
            found.update(self._by_status.get(status, ()))
        return tuple(sorted(found))

    def _places_of_phrases(self, text: str) -> tuple[int, ...]:
        """The places of the rules whose phrases are said."""
        found: set[int] = set()
        for stem in self._by_stem.keys() & stems(text):
            for phrase, places in self._by_stem[stem]:
                if phrase in text:
                    found.update(places)
        if self._unspaced and not text.isascii():
            for phrase in self._unspaced:
                if phrase in text:
                    found.update(self._by_phrase[phrase])
        return tuple(sorted(found))


_Filed = list[tuple[str, list[int]]]


def _by_rarest_stem(phrases: dict[str, list[int]]) -> tuple[dict[str, _Filed], tuple[str, ...]]:
    """Phrases under the stem of theirs that the fewest phrases have, and those in a script without blanks."""
    spaced = {phrase: stems(phrase) for phrase in phrases if phrase.isascii()}
    uses: dict[str, int] = {}
    for found in spaced.values():
        for stem in found:
            uses[stem] = uses.get(stem, 0) + 1
    filed: dict[str, _Filed] = {}
    for phrase, found in spaced.items():
        rarest = min(found, key=lambda stem: (len(stem) < 4, uses[stem], stem))
        filed.setdefault(rarest, []).append((phrase, phrases[phrase]))
    return filed, tuple(phrase for phrase in phrases if not phrase.isascii())


def _asks_for_classes_only(rule: Rule) -> bool:
    return bool(rule.when.types) and set(rule.when.asked()) <= {"types", "errnos"}


def _file_under(index: dict[Any, list[int]], keys: Iterable[Any], place: int) -> None:
    for key in keys:
        index.setdefault(key, []).append(place)
