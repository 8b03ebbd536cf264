"""Phrases that name a failure when nothing else does: the last resort, and their backoff.

A phrase is looked for in the message and in the class name. Transient phrases come before those
that stop, and of each kind the longest that is found decides, so `gateway timeout` comes before
`timeout`, and a `not found` inside a transient message stops nothing. A number is no phrase: it is compared
with the HTTP status and never looked for in a text.
"""

from resilient_agent.classify.knowledge.curves import (
    DISCONNECTED,
    GATEWAY,
    RATE_LIMIT,
    SERVER_ERROR,
    TRANSPORT,
    UNAVAILABLE,
)

__all__ = ["NON_RETRYABLE", "RETRYABLE"]

RETRYABLE = {
    "rate limit": RATE_LIMIT,
    "too many requests": RATE_LIMIT,
    "429": RATE_LIMIT,
    "timed out": TRANSPORT,
    "timeout": TRANSPORT,
    "connection error": TRANSPORT,
    "connection reset": TRANSPORT,
    "server disconnected": DISCONNECTED,
    "internal server error": SERVER_ERROR,
    "service unavailable": UNAVAILABLE,
    "temporarily unavailable": GATEWAY,
    "bad gateway": GATEWAY,
    "gateway timeout": GATEWAY,
}

NON_RETRYABLE = (
    "unauthorized",
    "authentication",
    "invalid api key",
    "forbidden",
    "not found",
    "validation error",
    "bad request",
    "402",
)
