"""The words in which a failure is judged: `ErrorType` and `Classification`.

Says what a judgement is made of. Does not know how one is reached (`classify/`) nor what
is done about it (`_course.py`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self

if TYPE_CHECKING:
    from resilient_agent.backoff import BackoffConfig

__all__ = ["Classification", "ErrorType", "Load"]

Load = Literal["", "limit", "overload"]
"""What a failure says of the server's load: nothing, a rate limit (429), an overload or outage (503, 529)."""


class ErrorType(enum.StrEnum):
    """What a failure means for the call that met it.

    A `StrEnum`: `ErrorType.RETRYABLE == "retryable"`.

    Example:
        >>> from resilient_agent import ErrorClassifier, ErrorType
        >>> ErrorClassifier().classify(MemoryError()).error_type is ErrorType.FATAL
        True
    """

    RETRYABLE = "retryable"
    """Transient: the same request, sent again later, may well succeed."""
    NON_RETRYABLE = "non_retryable"
    """This request or this credential is wrong, or the program is: sending it again is waste."""
    DEGRADED = "degraded"
    """The same request cannot succeed, but a smaller one or another model can."""
    FATAL = "fatal"
    """Nothing sent with this account or on this machine works until a person acts."""


class Classification(tuple["ErrorType", "BackoffConfig"]):  # noqa: SLOT001 - a tuple cannot have slots with values
    """The judgement of one failure. Immutable, and it unpacks as a pair.

    Attributes:
        error_type: what the failure means.
        backoff: how to wait between retries, and how often to try again.
        retry_after: the wait in seconds that the server named, or None. Never negative.
        rule: the name of the rule that decided, such as `http/too-many-requests`.
        because: its reason, one sentence for a person.
        at_most: the most retries that make sense for this kind of failure whatever the
            caller's `max_retries` says, or None where the rule does not care.
        load: `"limit"` for a rate limit, `"overload"` for a server that is overloaded or down, or empty.
        rate: the requests a second that the headers of a rate limit grant, or None.

    Example:
        >>> from resilient_agent import ErrorClassifier, ErrorType
        >>> verdict = ErrorClassifier().classify(ConnectionResetError("connection reset by peer"))
        >>> verdict.error_type
        <ErrorType.RETRYABLE: 'retryable'>
        >>> error_type, backoff = verdict
        >>> error_type is ErrorType.RETRYABLE, backoff.max_retries
        (True, 3)
    """

    error_type: ErrorType
    backoff: BackoffConfig
    retry_after: float | None
    rule: str
    because: str
    at_most: int | None
    load: Load
    rate: float | None

    def __new__(
        cls,
        error_type: ErrorType,
        backoff: BackoffConfig,
        *,
        retry_after: float | None = None,
        rule: str = "",
        because: str = "",
        at_most: int | None = None,
        load: Load = "",
        rate: float | None = None,
    ) -> Self:
        """Make one; the names are those of the attributes."""
        self = super().__new__(cls, (error_type, backoff))
        # Past __setattr__, which refuses: a judgement is shared by hooks, logs and strategies.
        fields = self.__dict__
        fields["error_type"] = error_type
        fields["backoff"] = backoff
        fields["retry_after"] = retry_after
        fields["rule"] = rule
        fields["because"] = because
        fields["at_most"] = at_most
        fields["load"] = load
        fields["rate"] = rate
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Classification is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Classification is immutable: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self.__dict__),)

    def __repr__(self) -> str:
        wait = "" if self.retry_after is None else f", retry_after={self.retry_after:g}"
        return f"Classification({self.error_type.value}{wait}, rule={self.rule!r}, because={self.because!r})"


def _rebuild(fields: dict[str, Any]) -> Classification:
    return Classification(**fields)


SEVERITY: Final = (ErrorType.RETRYABLE, ErrorType.DEGRADED, ErrorType.NON_RETRYABLE, ErrorType.FATAL)
"""From the mildest to the gravest: of several failures at once the gravest decides."""
