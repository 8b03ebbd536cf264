"""This very request is wrong, or refused for what it says: it has to be changed."""

from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["CONTENT_CODES", "OBJECT_CODES", "REFUSED_BEHIND", "REQUEST"]

CONTENT_CODES = (
    Rule(
        "request/content-policy",
        when=When(
            codes=(
                "content_filter",  # OpenAI, Azure
                "content_policy_violation",
                "responsible_ai_policy_violation",  # Azure
                "data_inspection_failed",  # DashScope
                "content_blocked",
                "safety_violation",
                "moderation_blocked",
                "sensitive_content_detected",
                "input_text_sensitive_content_detected",  # Volcengine
                "output_text_sensitive_content_detected",
                "illegal_content",
                "1301",  # Zhipu: sensitive content
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the content is refused by policy: the request has to be changed",
        seen="Azure OpenAI and DashScope documentation, content filtering; Volcengine; Zhipu",
    ),
    Rule(
        "request/refused-class",
        when=When(types=("ContentPolicyViolationError", "ContentFilterFinishReasonError")),
        then=ErrorType.NON_RETRYABLE,
        because="the content is refused by policy: the request has to be changed",
        seen="litellm.ContentPolicyViolationError; openai.ContentFilterFinishReasonError",
    ),
)

OBJECT_CODES = (
    Rule(
        "request/no-such-object",
        when=When(
            codes=(
                "previous_response_not_found",
                "fine_tune_not_found",
                "thread_not_found",
                "file_not_found",
                "resource_not_found_exception",  # AWS
                "no_such_key",
                "no_such_bucket",
                "url_not_found",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="what the request names does not exist: it has to be changed",
        seen="OpenAI: `previous_response_not_found`; AWS",
    ),
    Rule(
        "request/condition-failed",
        when=When(codes=("conditional_check_failed_exception", "conditional_check_failed", "precondition_failed")),
        then=ErrorType.NON_RETRYABLE,
        because="the condition of the write does not hold: it will not hold when the write is repeated",
        seen="DynamoDB documentation, error handling",
    ),
)

REQUEST = (
    Rule(
        "request/private-address",
        when=When(
            words=("http localhost", "http 127 0 0 1", "http 192 168", "http 10 0", "http 172 16", "https 192 168"),
            also=("download*", "fetch*"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the service was asked to load a file from a private address, which it can never reach",
        seen="Volcengine: `Timeout while downloading url: http://192.168...`",
    ),
    Rule(
        "request/refused-content",
        when=When(
            words=(
                "content filtering policy",
                "content management policy",
                "content policy",
                "content filter",
                "blocked by content",
                "was flagged",
                "flagged by our",
                "flagged as",
                "requires moderation",
                "new sensitive",
                "input sensitive",
                "output sensitive",
                "safety system",
                "safety settings",
                "usage policies",
                "usage policy",
                "inappropriate content",
                "sensitive content",
                "prohibited content",
                "敏感内容",
                "敏感信息",
                "不安全或敏感",
                "违规内容",
                "内容安全",
                "安全审核",
            ),
            # Which is about how much is sent, and not about what.
            unless=("fair usage policy", "fair use policy"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the content is refused by policy: the request has to be changed",
        seen="Anthropic: `Output blocked by content filtering policy`, also inside a 200 stream; Azure; Chinese providers",
    ),
    Rule(
        "request/unsupported-class",
        when=When(types=("UnsupportedParamsError",)),
        then=ErrorType.NON_RETRYABLE,
        because="a parameter of the request is not taken here: it has to be left out",
        seen="litellm.UnsupportedParamsError",
    ),
    Rule(
        "request/unknown-name",
        when=When(
            words=(
                "unknown tool",
                "unknown command",
                "unknown function",
                "no such index",
                "index not found exception",
                "no such table",
                "no such column",
                "unknown column",
                "unknown database",
                "version conflict",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="what the request names does not exist there, or exists already: it has to be changed",
        seen="MCP: `Unknown tool: rate_limit_status`; Elasticsearch: `no such index`, `version conflict`; MySQL; SQLite",
    ),
    Rule(
        "request/conflict-that-stays",
        when=When(
            status=409,
            words=(
                "already exists",
                "already registered",
                "duplicate*",
                "is expired",
                "has expired",
                "container expired",
                "cannot cancel",
                "cannot be cancelled",
                "invalid status transition",
                "invalid state transition",
                "already completed",
                "already been completed",
            ),
            unless=("try again", "retry*", "in progress", "lock*", "being", "concurren*"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="what the request wants to change is over, or there already: no later moment makes this request right",
        seen="OpenAI: 409 `Container is expired`, `Cannot cancel a batch with status 'completed'`",
    ),
    Rule(
        "request/refused-as-5xx",
        when=When(
            status=range(500, 600),
            words=(
                "must be in",
                "must be one of",
                "must be a",
                "must not be",
                "should be one of",
                "is required",
                "validation error",
                "参数不能为空",
                "参数错误",
                "参数非法",
                "参数无效",
                "缺少参数",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the service says what the request has to be: it has to be changed, although the status says otherwise",
        seen="DashScope: 500 `Role must be in [user, assistant]`",
    ),
    Rule(
        "request/bug-at-the-far-side",
        when=When(
            words=(
                "unexpected keyword argument",
                "list index out of range",
                "missing 1 required",
                "positional argument*",
                "object has no attribute",
                "is not json serializable",
                "typeerror",
                "keyerror",
                "attributeerror",
            ),
            unless=("fetch failed",),  # Node's TypeError for every network failure
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this request runs into a mistake of the program that serves it: it would again",
        seen="DashScope: 500 `list index out of range` for a history without a last user message; litellm",
    ),
)

# Behind a gateway: its status says that something failed, and its text that the service behind it refuses the request.
REFUSED_BEHIND = (
    Rule(
        "request/refused-behind-a-gateway",
        when=When(
            status=range(500, 600),
            words=("400 bad request", "422 unprocessable", "parameter is illegal"),
            unless=(
                "try again",
                "retry*",
                "temporar*",
                "overload*",
                "timeout",
                "timed out",
                "rate limit*",
                "too many",
                "busy",
                "unavailable",
                "connection*",
                "loading",
            ),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the service behind the gateway refuses this very request: it has to be changed",
        seen="a gateway: 502 `All variants failed ... Invalid status code: 400 Bad Request ... parameter is illegal`",
    ),
)
