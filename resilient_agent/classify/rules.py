"""`Rule`: one row of knowledge, and `When`: the evidence that it asks for.

Says whether a row fits a piece of evidence. Does not know any provider: the rows stand in
`knowledge/`, special before general, and the first that fits decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from typing import TYPE_CHECKING

from resilient_agent.backoff import BackoffConfig, check_retries
from resilient_agent.verdict import ErrorType

if TYPE_CHECKING:
    from resilient_agent.classify.evidence import Evidence

__all__ = ["Rule", "When"]


@dataclasses.dataclass(frozen=True, slots=True)
class When:
    """What an exception must show for a rule to fit: every condition given, each by any of its values.

    Attributes:
        status: HTTP statuses: one, a `range`, or several.
        codes: words by which a body names its error (`error.code`, `error.type`), lower case.
        types: class names, of the exception or any of its bases: bare (`ReadTimeout`) or
            behind the top-level package (`httpx.ReadTimeout`).
        causes: the same, but of the exception or of anything that stands behind it.
        words: phrases to find in the message or in the class name, lower case.
        errnos: the system's error numbers, as in `errno.ENOSPC`.
        outside: whether an answer, a request or the system stands behind the exception.

    Raises:
        ValueError: nothing is asked for.
        TypeError: a bare string where a tuple of strings is due.

    Example:
        >>> When(status=429)
        When(status=(429,))
    """

    status: int | range | tuple[int, ...] | frozenset[int] | None = None
    codes: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    errnos: tuple[int, ...] = ()
    outside: bool | None = None

    def __post_init__(self) -> None:
        for name in ("codes", "types", "causes", "words"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise TypeError(f"{name} takes a tuple of strings: write ({value!r},) for one")
        if isinstance(self.status, int):
            object.__setattr__(self, "status", (self.status,))
        object.__setattr__(self, "codes", tuple(code.lower() for code in self.codes))
        object.__setattr__(self, "words", tuple(word.lower() for word in self.words))
        if all(getattr(self, field.name) in (None, ()) for field in dataclasses.fields(self)):
            raise ValueError("a When that asks for nothing would fit every failure: give it a condition")

    def __repr__(self) -> str:
        asked = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return f"When({', '.join(f'{name}={value!r}' for name, value in asked if value not in (None, ()))})"

    def wants(self, status: int | None) -> bool:
        """Whether the status is among those asked for."""
        return status is not None and isinstance(self.status, Container) and status in self.status

    def fits(self, evidence: Evidence) -> bool:
        """Whether the evidence shows all that is asked for; the cheap questions come first."""
        return (
            (not self.types or not evidence.names.isdisjoint(self.types))
            and (not self.causes or not evidence.cause_names.isdisjoint(self.causes))
            and (self.status is None or self.wants(evidence.status))
            and (not self.errnos or evidence.errno in self.errnos)
            and (not self.codes or not evidence.codes.isdisjoint(self.codes))
            and (self.outside is None or evidence.outside is self.outside)
            and (not self.words or any(word in evidence.text for word in self.words))
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One row: when it fits, what the failure then means, and because of what.

    Attributes:
        name: `room/what-it-is`, as it appears in notes and logs.
        when: the evidence asked for.
        then: the judgement.
        because: the reason, a sentence that a user understands.
        backoff: how to wait and how often to try again; None: the classifier's default.
        at_most: the most retries that make sense whatever the caller's `max_retries` says.
        seen: where this was met: a document or an example.

    Example:
        >>> from resilient_agent import ErrorClassifier, ErrorType
        >>> class GatewayError(Exception):
        ...     status_code = 400
        >>> warming_up = Rule(
        ...     "ours/model-warming-up",
        ...     when=When(status=400, words=("warming up",)),
        ...     then=ErrorType.RETRYABLE,
        ...     because="our gateway answers 400 while it loads a model",
        ... )
        >>> ErrorClassifier(rules=[warming_up]).classify(GatewayError("model is warming up")).rule
        'ours/model-warming-up'
        >>> ErrorClassifier().classify(GatewayError("model is warming up")).rule
        'http/bad-request'
    """

    name: str
    when: When
    then: ErrorType
    because: str
    backoff: BackoffConfig | None = None
    at_most: int | None = None
    seen: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.because:
            raise ValueError("a Rule needs a name and a because: they are what people will read")
        object.__setattr__(self, "then", ErrorType(self.then))
        if self.at_most is not None:
            check_retries("at_most", self.at_most)
