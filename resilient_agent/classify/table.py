"""The table of all rules, for people: `RULES.md` beside this file is written from the rules themselves.

    python -m resilient_agent.classify.table > resilient_agent/classify/RULES.md

A test compares the two, so the table is never out of date.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from typing import Final

from resilient_agent.classify.knowledge import EXACT, UNKNOWN, WIDE
from resilient_agent.classify.knowledge.wording import NON_RETRYABLE, RETRYABLE
from resilient_agent.classify.rules import Rule, When

__all__ = ["markdown"]

_SHOWN: Final = 6
_INTRODUCTION: Final = """# What is made of which failure

Generated from the rules by `python -m resilient_agent.classify.table`; do not edit.

The rules are read from the top, first for the exception itself, then for what stands behind it, and
the first that fits decides. Before them come your own rules (`ErrorClassifier(rules=[...])`) and
registered tables (`register`). Of a list that is long, the beginning is shown.
"""
_BOOKS: Final = (
    ("Exact rules", "They say what they mean; the causes are read for them before any wide rule.", EXACT),
    ("Wide rules", "Classes that may wrap anything, and general words.", WIDE),
    ("The unknown", "Where no rule and no phrase fits.", UNKNOWN),
)


def markdown() -> str:
    """The whole table as Markdown."""
    parts = [_INTRODUCTION]
    for title, about, rules in _BOOKS:
        parts += [f"## {title}\n\n{about}\n", _table(rules)]
    stopping = ", ".join(f"`{phrase}`" for phrase in NON_RETRYABLE)
    transient = ", ".join(f"`{phrase}`" for phrase in RETRYABLE)
    parts.append(
        "## Phrases\n\nRead after the wide rules, in the message and in the class name; you may add to them"
        f" (`ErrorClassifier.RETRYABLE_PATTERNS`).\n\nTried again: {transient}.\n\nNot tried again: {stopping}.\n"
    )
    return "\n".join(parts)


def _table(rules: Iterable[Rule]) -> str:
    lines = ["| rule | verdict | when | because | seen |", "| --- | --- | --- | --- | --- |"]
    for rule in rules:
        cells = (f"`{rule.name}`", rule.then.value, _conditions(rule.when), rule.because, rule.seen)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _conditions(when: When) -> str:
    numbers = tuple(errno.errorcode[number] for number in when.errnos)
    asked = ((name, numbers if name == "errnos" else getattr(when, name)) for name in when.asked())
    return "; ".join(f"{name} {_listed(values)}" for name, values in asked)


def _listed(values: object) -> str:
    if isinstance(values, range):
        return f"{values.start} to {values.stop - 1}"
    if not isinstance(values, tuple):
        return str(values)
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(f"`{value}`" for value in values[:_SHOWN]) + more


if __name__ == "__main__":
    sys.stdout.write(markdown())
