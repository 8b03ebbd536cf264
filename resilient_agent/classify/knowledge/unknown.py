"""What to make of a failure that nothing else describes."""

from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["UNKNOWN"]

UNKNOWN = (
    Rule(
        "unknown/outside",
        when=When(outside=True),
        then=ErrorType.RETRYABLE,
        because="unknown, but it came from outside the program: that deserves one more try",
        at_most=1,
        seen="an SDK's new error class",
    ),
    Rule(
        "unknown/local",
        when=When(outside=False),
        then=ErrorType.NON_RETRYABLE,
        because="unknown, and nothing says that it came from outside the program",
        seen="a ValueError of the user's own",
    ),
)
