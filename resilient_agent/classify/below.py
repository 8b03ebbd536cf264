"""How often the failing request had been retried already, below the decorated function.

Reads what others leave behind: the OpenAI and Anthropic SDKs (and all that Stainless generates) send
`x-stainless-retry-count` with each request. Does not decide what follows from it.
"""

from __future__ import annotations

from typing import Final

from resilient_agent.classify.looking import peek

__all__ = ["sdk_retries"]

_HEADER: Final = "x-stainless-retry-count"
_MOST: Final = 1000  # what is more is no count


def sdk_retries(error: BaseException) -> int:
    """How many retries an SDK made before it raised this error; 0 where none is known of.

    Args:
        error: what came out of the SDK.

    Example:
        >>> class Request:
        ...     headers = {"x-stainless-retry-count": "2"}
        >>> class RateLimitError(Exception):
        ...     request = Request()
        >>> sdk_retries(RateLimitError()), sdk_retries(ValueError())
        (2, 0)
    """
    request = peek(error, "request")
    if request is None:
        request = peek(peek(error, "response"), "request")
    get = peek(peek(request, "headers"), "get")
    try:
        count = int(get(_HEADER))
    except Exception:  # no header, no number, or an object that is something else
        return 0
    return count if 0 <= count <= _MOST else 0
