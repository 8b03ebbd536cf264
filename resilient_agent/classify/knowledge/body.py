"""What the body's own code or type says.

Words that tell are read before the status, because they know more: an overload can arrive
inside a 200 stream, and a 429 can mean that nobody has paid. General ones are read after it.
"""

from resilient_agent.classify.knowledge.curves import RATE_LIMIT, SERVER_ERROR, UNAVAILABLE
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["BODY", "GENERAL_BODY"]

_OPENAI = "OpenAI documentation, Error codes"
_ANTHROPIC = "Anthropic documentation, Errors"

BODY = (
    Rule(
        "body/out-of-credit",
        when=When(codes=("insufficient_quota", "billing_hard_limit_reached", "billing_error")),
        then=ErrorType.FATAL,
        because="the account has no credit left: nothing sent with it works until a person pays",
        seen=f"{_OPENAI}; {_ANTHROPIC}",
    ),
    Rule(
        "body/account-closed",
        when=When(codes=("account_deactivated", "unsupported_country_region_territory")),
        then=ErrorType.FATAL,
        because="the account is closed or not served where it is used: a person must act",
        seen=_OPENAI,
    ),
    Rule(
        "body/context-length",
        when=When(codes=("context_length_exceeded",)),
        then=ErrorType.DEGRADED,
        because="the prompt is too long for this model: shorten it, or use a model with a larger context",
        seen=_OPENAI,
    ),
    Rule(
        "body/model-not-found",
        when=When(codes=("model_not_found",)),
        then=ErrorType.DEGRADED,
        because="there is no such model, or not for this account: another model can answer",
        seen=_OPENAI,
    ),
    Rule(
        "body/request-too-large",
        when=When(codes=("request_too_large",)),
        then=ErrorType.DEGRADED,
        because="the request has more bytes than the service takes: send less",
        seen=_ANTHROPIC,
    ),
    Rule(
        "body/invalid-key",
        when=When(codes=("invalid_api_key", "authentication_error", "permission_error")),
        then=ErrorType.NON_RETRYABLE,
        because="the key is wrong or may not do this: sending it again changes nothing",
        seen=f"{_OPENAI}; {_ANTHROPIC}",
    ),
    Rule(
        "body/rate-limit",
        when=When(codes=("rate_limit_exceeded", "rate_limit_error")),
        then=ErrorType.RETRYABLE,
        because="too many requests or tokens for the moment: the limit opens again by itself",
        backoff=RATE_LIMIT,
        seen=f"{_OPENAI}; {_ANTHROPIC}",
    ),
    Rule(
        "body/overloaded",
        when=When(codes=("overloaded_error", "overloaded")),
        then=ErrorType.RETRYABLE,
        because="the service is overloaded at the moment",
        backoff=UNAVAILABLE,
        seen=f"{_ANTHROPIC}; inside a 200 stream as well",
    ),
)

# Words that fit half of all failures: they count where not even a status says more.
GENERAL_BODY = (
    Rule(
        "body/server-error",
        when=When(codes=("server_error", "api_error", "internal_error", "timeout_error")),
        then=ErrorType.RETRYABLE,
        because="the service failed while it worked on the request",
        backoff=SERVER_ERROR,
        seen=f"{_OPENAI}; {_ANTHROPIC}; inside a 200 stream as well",
    ),
    Rule(
        "body/invalid-request",
        when=When(codes=("invalid_request_error", "not_found_error")),
        then=ErrorType.NON_RETRYABLE,
        because="the service refuses this very request: it has to be changed",
        seen=f"{_OPENAI}; {_ANTHROPIC}",
    ),
)
