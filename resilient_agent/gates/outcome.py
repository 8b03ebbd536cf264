"""What an attempt came to, as a gate is told it: a word, or the verdict on its failure.

Says nothing of what a gate makes of it.
"""

from __future__ import annotations

from typing import Final, Literal

from resilient_agent.verdict import Classification

__all__ = ["Outcome", "check_outcome"]

Outcome = Classification | Literal["succeeded", "cancelled"]
"""`"succeeded"`, `"cancelled"`, or the `Classification` of the failure."""

_WORDS: Final = ("succeeded", "cancelled")


def check_outcome(outcome: object) -> None:
    """Refuse what is no outcome.

    Raises:
        TypeError: neither a `Classification` nor one of the two words.
    """
    if not (isinstance(outcome, Classification) or outcome in _WORDS):
        raise TypeError(f'an outcome is a Classification, "succeeded" or "cancelled", not {outcome!r}')
