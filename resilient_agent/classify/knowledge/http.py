"""What an HTTP status says by itself (RFC 9110 and what model services make of it)."""

from resilient_agent.classify.knowledge.curves import (
    GATEWAY,
    RATE_LIMIT,
    SERVER_ERROR,
    TRANSPORT,
    UNAVAILABLE,
)
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["HTTP"]

HTTP = (
    Rule(
        "http/told-not-to",
        when=When(headers=("x-should-retry: false", "grpc-retry-pushback-ms: no count")),
        then=ErrorType.NON_RETRYABLE,
        because="the server itself says that trying again is useless",
        seen="the OpenAI and Anthropic SDKs obey x-should-retry; gRPC retry design (gRFC A6), server pushback",
    ),
    Rule(
        "http/told-to",
        when=When(headers=("x-should-retry: true",)),
        then=ErrorType.RETRYABLE,
        because="the server itself says that trying again is worthwhile",
        backoff=SERVER_ERROR,
        seen="the OpenAI and Anthropic SDKs obey x-should-retry",
    ),
    Rule(
        "http/too-many-requests",
        when=When(status=429),
        then=ErrorType.RETRYABLE,
        because="too many requests for the moment: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="RFC 6585, section 4",
    ),
    Rule(
        "http/payment-required",
        when=When(status=402),
        then=ErrorType.FATAL,
        because="the account has to be paid before anything sent with it works",
        seen="RFC 9110, section 15.5.3; DeepSeek and OpenRouter documentation",
    ),
    Rule(
        "http/too-large",
        when=When(status=(413, 414, 431)),
        then=ErrorType.DEGRADED,
        because="the request is too large for this service: send less",
        seen="RFC 9110, sections 15.5.14 and 15.5.15; RFC 6585, section 5; Anthropic documentation, Errors",
    ),
    Rule(
        "http/request-timeout",
        when=When(status=(408, 499)),
        then=ErrorType.RETRYABLE,
        because="the server gave up waiting for the request",
        backoff=TRANSPORT,
        seen="RFC 9110, section 15.5.9; nginx and Google: 499, client closed request",
    ),
    Rule(
        "http/conflict",
        when=When(status=(409, 423, 425)),
        then=ErrorType.RETRYABLE,
        because="something else holds the resource at the moment",
        backoff=GATEWAY,
        seen="RFC 9110, section 15.5.10; the OpenAI and Anthropic SDKs retry a 409 as a lock that timed out",
    ),
    Rule(
        "http/unauthorized",
        when=When(status=(401, 403, 407)),
        then=ErrorType.NON_RETRYABLE,
        because="the key is missing, wrong or may not do this: sending it again changes nothing",
        seen="RFC 9110, sections 15.5.2 and 15.5.4",
    ),
    Rule(
        "http/not-found",
        when=When(status=(404, 410)),
        then=ErrorType.NON_RETRYABLE,
        because="there is no such model or address",
        seen="RFC 9110, section 15.5.5",
    ),
    Rule(
        "http/bad-request",
        when=When(status=range(400, 500)),
        then=ErrorType.NON_RETRYABLE,
        because="the service refuses this very request: it has to be changed",
        seen="RFC 9110, section 15.5",
    ),
    Rule(
        "http/unavailable",
        when=When(status=(503, 529)),
        then=ErrorType.RETRYABLE,
        because="the service is overloaded or down at the moment",
        backoff=UNAVAILABLE,
        load="overload",
        seen="RFC 9110, section 15.6.4; Anthropic documentation, Errors (529)",
    ),
    Rule(
        "http/bad-gateway",
        when=When(status=(502, 504, *range(520, 526), 527, 530)),
        then=ErrorType.RETRYABLE,
        because="something between here and the service could not reach it",
        backoff=GATEWAY,
        seen="RFC 9110, sections 15.6.3 and 15.6.5; Cloudflare documentation, 5xx errors",
    ),
    Rule(
        "http/not-implemented",
        when=When(status=(501, 505, 511, 526)),
        then=ErrorType.NON_RETRYABLE,
        because="the server cannot do what was asked, now or later",
        seen="RFC 9110, sections 15.6.2 and 15.6.6; RFC 6585, section 6; Cloudflare: 526, invalid certificate",
    ),
    Rule(
        "http/server-error",
        when=When(status=range(500, 600)),
        then=ErrorType.RETRYABLE,
        because="the service failed while it worked on the request",
        backoff=SERVER_ERROR,
        seen="RFC 9110, section 15.6",
    ),
)
