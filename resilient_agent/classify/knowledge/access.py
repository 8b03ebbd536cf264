"""This credential or this permission is wrong: sending it again changes nothing."""

from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["ACCESS", "ACCESS_CODES", "KEY_CODES"]

KEY_CODES = (
    Rule(
        "access/api-key",
        when=When(codes=("invalid_api_key", "invalid_key", "api_key_invalid", "incorrect_api_key")),
        then=ErrorType.NON_RETRYABLE,
        because="the key is missing, wrong or expired: sending it again changes nothing",
        seen="OpenAI documentation, Error codes; google.rpc.ErrorInfo: API_KEY_INVALID, sent as 400; DashScope",
    ),
)

ACCESS_CODES = (
    Rule(
        "access/key",
        when=When(
            codes=(
                "authentication_error",  # Anthropic, DeepSeek
                "invalid_authentication",
                "invalid_authentication_error",  # Moonshot
                "auth_failure",  # Hunyuan
                "auth_error",
                "invalid_token",
                "invalid_grant",  # OAuth
                "expired_token",
                "expired_token_exception",  # AWS
                "token_expired",
                "unrecognized_client_exception",
                "invalid_client_token_id",
                "invalid_signature_exception",
                "signature_does_not_match",
                "missing_authentication_token",
                "incomplete_signature",
                "request_time_too_skewed",
                "unauthenticated",
                "1000",  # Zhipu: authentication failed
                "1001",
                "1002",
                "1003",
                "1004",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the key is missing, wrong or expired: sending it again changes nothing",
        seen="OpenAI and Anthropic documentation; google.rpc.ErrorInfo; AWS common errors; Zhipu documentation",
    ),
    Rule(
        "access/permission",
        when=When(
            codes=(
                "permission_error",  # Anthropic
                "permissions_error",
                "permission_denied",
                "access_denied_exception",  # AWS
                "access_denied",
                "service_disabled",  # Google
                "insufficient_permissions",
                "kms_access_denied_exception",
                "kms_disabled_exception",
                "kms_not_found_exception",
                "forbidden",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this key may not do this: sending it again changes nothing",
        seen="Anthropic documentation, Errors; AWS common errors; google.rpc.ErrorInfo",
    ),
)

ACCESS = (
    Rule(
        "access/challenge-header",
        when=When(status=403, headers=("cf-mitigated: challenge",)),
        then=ErrorType.NON_RETRYABLE,
        because="a firewall in front of the service asks for a browser: it is not the key, but the address or client",
        seen="Cloudflare documentation, Detect a Challenge Page response; the page itself speaks many languages",
    ),
    Rule(
        "access/challenge",
        when=When(
            status=403,
            words=(
                "attention required cloudflare",
                "just a moment",
                "enable javascript and cookies to continue",
                "checking your browser before accessing",
                "verify you are human",
                "sorry you have been blocked",
                "error code 1020",
                "error code 1010",
                "error code 1009",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="a firewall in front of the service blocks this address or client: it is not the key",
        seen="Cloudflare: 403 `Attention Required!`, `Just a moment...`, `error code: 1020`",
    ),
    Rule(
        "access/key-of-another-plan",
        when=When(
            words=(
                "is only for",
                "is only valid for",
                "only valid for",
                "can only be used",
                "may only be used",
                "only be used for",
                "only be used with",
                "is restricted to",
                "仅限",
                "仅供",
                "仅用于",
                "仅能用于",
                "只能用于",
            ),
            also=("api key", "api keys", "apikey", "this key", "your key", "密钥"),
            unless=(
                "rate limit*",
                "requests",
                "concurren*",
                "per minute",
                "model",
                "models",
                "模型",
                "次数",
                "每",
                "并发",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this key is for another plan or product: sending it again changes nothing",
        seen="Zhipu: 429 `该 API Key 仅限企业编程套餐场景使用`",
    ),
    Rule(
        "access/credentials",
        when=When(
            words=(
                "invalid api key",
                "incorrect api key",
                "invalid x api key",
                "invalid api token",
                "invalid access token",
                "invalid authentication",
                "invalid credentials",
                "api key not valid",
                "api key is not valid",
                "api key is invalid",
                "api key has expired",
                "api key expired",
                "api key is not set",
                "api key is missing",
                "api key not found",
                "api key is required",
                "no api key",
                "missing api key",
                "api key client option must be set",
                "api key must be set",
                "provide an api key",
                "provide a valid api key",
                "could not resolve authentication",
                "reauthentication is needed",
                "reauthenticate*",
                "token has expired",
                "token is expired",
                "token has been expired",
                "token has been invalidated",
                "token invalidated",
                "security token included in the request",
                "unable to locate credentials",
                "no credentials",
                "missing credentials",
                "credentials were not found",
                "default credentials",
                "authentication fails",
                "authentication failed",
                "authentication required",
                "proxy authentication required",
                "password authentication failed",
                "not authorized to perform",
                "noauth",
                "wrongpass",
                "身份验证",
                "鉴权失败",
                "认证失败",
                "令牌",
                "无效的令牌",
                "密钥无效",
                "无效的密钥",
                "apikey 无效",
            ),
            unless=("temporarily unavailable", "try again later"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the key or credential is missing, wrong or expired: sending it again changes nothing",
        seen="a 502 or 503 of a gateway whose own key is missing; google-auth inside a 503; Redis; Zhipu",
    ),
)
