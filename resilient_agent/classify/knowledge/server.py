"""The other side cannot at the moment: overloaded, busy, loading, locked, cut off. Whatever the status says."""

from resilient_agent.classify.knowledge.curves import GATEWAY, RATE_LIMIT, SERVER_ERROR, TRANSPORT, UNAVAILABLE
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["GENERAL_CODES", "GENERAL_WORDS", "SERVER", "SERVER_CODES"]

SERVER_CODES = (
    Rule(
        "server/conflict",
        when=When(
            codes=(
                "transaction_conflict_exception",  # DynamoDB
                "transaction_in_progress_exception",
                "prior_request_not_complete",
                "transaction_conflict",
                "conversation_locked",  # OpenAI
                "operation_aborted",  # S3
                "aborted",  # gRPC
            )
        ),
        then=ErrorType.RETRYABLE,
        because="another request holds the same thing at the moment",
        backoff=GATEWAY,
        seen="botocore's retry rules; gRPC status codes; OpenAI",
    ),
    Rule(
        "server/timeout",
        when=When(
            codes=(
                "request_timeout",  # S3
                "request_time_out",  # DashScope
                "request_timeout_exception",
                "model_timeout_exception",  # Bedrock
                "deadline_exceeded",  # gRPC, Google
                "upstream_timeout",
                "gateway_timeout",
                "timeout_error",
                "32001",  # MCP: the request timed out
            )
        ),
        then=ErrorType.RETRYABLE,
        because="the service did not answer in time",
        backoff=TRANSPORT,
        seen="botocore's retry rules; Bedrock; DashScope; gRPC; MCP",
    ),
    Rule(
        "server/own-output-refused",
        when=When(codes=("json_validate_failed", "tool_use_failed")),
        then=ErrorType.RETRYABLE,
        because="the service refuses what its own model has written: asked again, the model may write it right",
        backoff=TRANSPORT,
        at_most=2,
        seen="Groq: 400 `Failed to generate JSON`, `Failed to call a function`, with the failed generation",
    ),
    Rule(
        "server/stream-failed",
        when=When(codes=("model_stream_error_exception", "internal_server_exception", "model_error_exception")),
        then=ErrorType.RETRYABLE,
        because="the service failed while it worked on the request",
        backoff=SERVER_ERROR,
        seen="Bedrock documentation, InvokeModelWithResponseStream",
    ),
)

SERVER = (
    Rule(
        "server/download-timed-out",
        when=When(words=("timeout", "timed out"), also=("download*", "fetching")),
        then=ErrorType.RETRYABLE,
        because="the service gave up on a slow download: another time it may be quicker",
        backoff=GATEWAY,
        seen="OpenAI and Volcengine: 400 `Timeout while downloading`",
    ),
    Rule(
        "server/locked",
        when=When(
            words=(
                "is active",
                "active response in progress",
                "has an active",
                "already in progress",
                "wait until",
                "writeconflict",
                "another request",
                "being processed",
                "being modified",
                "concurrent modification",
                "not in an active state",
                "transactionconflict",
                "lock wait timeout",
                "deadlock*",
                "database is locked",
                "too much contention",
                "could not serialize access",
            ),
            unless=("subscription", "for an active"),
        ),
        then=ErrorType.RETRYABLE,
        because="something else holds the resource at the moment",
        backoff=GATEWAY,
        seen="OpenAI: 400 `Can't add messages ... while a run is active`; Google: a file that is not ACTIVE yet",
    ),
    Rule(
        "server/getting-ready",
        when=When(
            words=(
                "currently loading",
                "is loading",
                "loading model",
                "still loading",
                "being provisioned",
                "not ready",
                "warming up",
                "starting up",
                "cold start*",
                "加载中",
            )
        ),
        then=ErrorType.RETRYABLE,
        because="the service is still loading or starting",
        backoff=UNAVAILABLE,
        load="overload",
        seen="Hugging Face: `Model is currently loading`; Bedrock; Vertex: service agents being provisioned; Redis",
    ),
    Rule(
        "server/limiting",
        when=When(
            words=(
                "too many requests",
                "rate limit*",
                "rate limiting",
                "ratelimit*",
                "rate exceeded",
                "frequency limit*",
                "throttl*",
                "temporarily rate limited",
                "rate of traffic exceeds",
                "频率过高",
                "请求过于频繁",
                "请求频繁",
                "请求过多",
                "限流",
                "限速",
                "速率限制",
                "request limit reached",
                "concurrency limit*",
                "concurrent request*",
                "concurrent connection*",
                "too many concurrent",
                "并发",
            ),
            unless=("is not supported", "request could not be satisfied"),
        ),
        then=ErrorType.RETRYABLE,
        because="too many requests for the moment: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="gateways without a status; GitHub: 403 secondary rate limit; Zhipu and Qianfan in Chinese",
    ),
    Rule(
        "server/limiting-in-chinese",
        when=When(
            words=("频率",),
            also=("受限", "超限", "过快", "超出", "超过", "上限"),
            unless=("惩罚", "penalty", "音频", "采样", "声音", "参数"),
        ),
        then=ErrorType.RETRYABLE,
        because="too many requests for the moment: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="Youdao 411: `访问频率受限`",
    ),
    Rule(
        "server/limiting-in-other-languages",
        when=When(
            words=(
                *(
                    "リクエストが多すぎ",
                    "リクエスト数が多すぎ",
                    "レート制限",
                    "요청이 너무 많",
                    "слишком много запросов",
                ),
                *("превышен лимит запросов", "zu viele anfragen", "trop de requêtes", "demasiadas solicitudes"),
                *("demasiadas peticiones", "muitas requisições", "muitas solicitações"),
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="too many requests for the moment: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="public code index, files 60913461969, 54370898889, 58040841355, 51816080629, 56172426367 and 54819154982",
    ),
    Rule(
        "server/tool-server-away",
        when=When(
            status=424,
            words=(
                "http status code 408",
                "http status code 424",
                "http status code 429",
                "http status code 500",
                "http status code 502",
                "http status code 503",
                "http status code 504",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the server of the tools, which the model's service asks, did not answer",
        backoff=GATEWAY,
        seen="OpenAI: 424 `Error retrieving tool list from MCP server ... Http status code: 424 (Failed Dependency)`",
    ),
    Rule(
        "server/away-for-now",
        when=When(words=("temporarily unavailable", "暂时不可用", "暂不可用")),
        then=ErrorType.RETRYABLE,
        because="the service is away for the moment",
        backoff=GATEWAY,
        seen="`Service temporarily unavailable` of gateways; Qianfan 2",
    ),
    Rule(
        "server/away-under-another-status",
        when=When(
            status=range(400, 500),
            words=("service unavailable", "service is unavailable", "service is currently unavailable"),
            unless=(
                *("region", "country", "location", "account*"),
                *("service unavailable error", "service unavailable exception"),  # a class's name, and no sentence
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the service is away for the moment, although the status blames the request",
        backoff=GATEWAY,
        seen="Vertex: 400 `Reasoning Engine Execution failed ... Error Details: Service Unavailable`",
    ),
    Rule(
        "server/busy",
        when=When(
            words=(
                "overload*",
                "too busy",
                "server is busy",
                "server busy",
                "workers are busy",
                "is busy",
                "high demand",
                "at capacity",
                "capacity exceeded",
                "capacity limit*",
                "no capacity",
                "insufficient capacity",
                "too many connections",
                "too many clients",
                "rejected execution",
                "try again once",
                "please retry",
                "degraded function",
                "no deployments available",
                "please wait before",
                "please wait a",
                "wait a moment",
                "try again later",
                "try again shortly",
                "retry later",
                "retry shortly",
                "retry your request later",
                "again in a few",
                "请稍后",
                "稍后再试",
                "稍后重试",
                "稍后尝试",
                "请稍候",
                "繁忙",
                "过载",
                "饱和",
                "访问量过大",
            ),
            unless=("is not supported", "please retry with", "request could not be satisfied"),
        ),
        then=ErrorType.RETRYABLE,
        because="the service is overloaded, or takes no more requests at the moment",
        backoff=UNAVAILABLE,
        load="overload",
        seen="gateways without a status; NVIDIA: all workers are busy; Zhipu in Chinese: 访问量过大",
    ),
    Rule(
        "server/busy-in-other-languages",
        when=When(
            words=(
                *("混み合って", "混雑して", "アクセスが集中", "しばらくしてから", "しばらく待って", "時間をおいて"),
                *("後でもう一度", "잠시 후 다시", "나중에 다시", "попробуйте позже", "повторите попытку позже"),
                *("сервер перегружен", "später erneut", "später noch einmal", "réessayer plus tard"),
                *("réessayez plus tard", "inténtelo más tarde", "inténtalo más tarde", "intente más tarde"),
                *("intente nuevamente más tarde", "intenta nuevamente más tarde", "tente novamente mais tarde"),
            ),
            # Whose money or key it is about, a later moment does not help.
            unless=(
                *("課金", "残高", "クレジット", "認証", "잔액", "크레딧", "결제", "인증", "баланс", "guthaben"),
                *("solde", "saldo", "api key", "clé api", "clave", "chave", "apiキー", "api 키"),
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the service is overloaded, or takes no more requests at the moment",
        backoff=UNAVAILABLE,
        load="overload",
        seen="bots in Japanese and Korean: `只今混み合っています`, `잠시 후 다시 시도해주세요`; public code index, 58406567062",
    ),
    Rule(
        "server/no-account-free",
        when=When(
            words=(
                "no available account",
                "no available accounts",
                "no account available",
                "no accounts available",
                "无可用账号",
                "无可用账户",
                "没有可用账号",
                "没有可用账户",
                "没有可用的账号",
                "没有可用的账户",
            ),
            unless=("user", "bill", "billing", "payment", "login"),
        ),
        then=ErrorType.RETRYABLE,
        because="all accounts through which this gateway calls are busy at the moment",
        backoff=UNAVAILABLE,
        load="overload",
        seen="sub2api: 424 and 503 `No available accounts`",
    ),
    Rule(
        "server/lost-behind",
        when=When(
            words=(
                "upstream connect error",
                "upstream request timeout",
                "connection refused",
                "connection aborted",
                "connection reset",
                "connection closed",
                "connection broken",
                "lost connection",
                "closed the connection",
                "could not connect",
                "server connection error",
                "failed to connect",
                "unable to connect to",
                "disconnect reset before headers",
                "incomplete chunked read",
                "without sending complete message",
                "eof occurred in violation",
                "broken pipe",
                "stream removed",
                "stream reset",
                "socket closed",
                "socket hang up",
                "econnreset",
                "stream disconnected before completion",
                "forcibly closed",
                "actively refused",
                "winerror 10053",
                "winerror 10054",
                "winerror 10060",
                "winerror 10061",
                "connected party did not properly respond",
                "established connection was aborted",
                "远程主机强迫关闭",
                "中止了一个已建立的连接",
                "积极拒绝",
                "没有正确答复",
                "goaway",
                "terminating connection",
                "temporary failure in name resolution",
                "network is unreachable",
                "no route to host",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="a connection on the way to the service could not be made, or broke",
        backoff=TRANSPORT,
        seen="Envoy; litellm.APIConnectionError texts; psycopg and pymysql texts; requests' nested texts; Windows; Node; Codex",
    ),
)

# Words that fit half of all failures: they count where not even a status says more.
GENERAL_CODES = (
    # These are names of classes, under which a library puts whatever it met: a status that is told beside one says more.
    Rule(
        "server/unavailable-by-name",
        when=When(codes=("service_unavailable_error", "service_unavailable_exception")),
        then=ErrorType.RETRYABLE,
        because="the service is overloaded or down at the moment",
        backoff=UNAVAILABLE,
        load="overload",
        seen="DeepSeek: service_unavailable_error; AWS; Dify: `ServiceUnavailableError` of a 400",
    ),
    Rule(
        "server/failed",
        when=When(
            codes=(
                "server_error",
                "api_error",  # Anthropic
                "internal_error",
                "internal_server_error",
                "internal",  # gRPC, Google
                "internal_failure",  # AWS
                "unavailable",  # gRPC, Google
                "resource_exhausted",
                "service_unavailable",
                "bad_gateway",
                "provider_error",
                "upstream_error",  # new-api, of whatever it was answered
                "32603",  # JSON-RPC: internal error
                "32000",  # JSON-RPC: the server's own; MCP: the connection was closed
            )
        ),
        then=ErrorType.RETRYABLE,
        because="the service failed while it worked on the request",
        backoff=SERVER_ERROR,
        seen="OpenAI and Anthropic documentation, also inside a 200 stream; gRPC status codes; JSON-RPC 2.0",
    ),
    Rule(
        "server/refused",
        when=When(
            codes=(
                "invalid_request_error",
                "invalid_request",
                "not_found_error",
                "not_found",  # gRPC
                "invalid_argument",
                "failed_precondition",
                "unimplemented",
                "already_exists",
                "out_of_range",
                "cancelled",
                "data_loss",
                "invalid_parameter",
                "validation_exception",  # AWS
                "32600",  # JSON-RPC: invalid request, no such method, invalid parameters
                "32601",
                "32602",
                "32700",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the service refuses this very request: it has to be changed",
        seen="OpenAI and Anthropic documentation; gRPC status codes; JSON-RPC 2.0, section 5.1",
    ),
)

GENERAL_WORDS = (
    # With a status they may be about a file that the service was to load, or a body that it could not read.
    Rule(
        "server/lost-in-words",
        when=When(
            words=(
                "unexpected eof",
                "context deadline exceeded",
                "no such host",
                "fetch failed",
                "etimedout",
                "econnrefused",
                "econnaborted",
                "enotfound",
                "eai again",
                "请求超时",
                "连接超时",
                "读取超时",
                "响应超时",
                "网络超时",
                "连接被重置",
                "连接已重置",
                "连接尝试失败",
                "连接中断",
                "连接断开",
                "网络错误",
                "网络异常",
            ),
            unless=(
                "parsing",
                "json",
                "yaml",
                "xml",
                "template",
                "syntax",
                "token",
                "host key",
                "超时时间",
                "超时参数",
                "超时设置",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="a connection on the way to the service could not be made, broke, or was silent for too long",
        backoff=TRANSPORT,
        seen="Go: `unexpected EOF`, `context deadline exceeded`; Node: `fetch failed`, ENOTFOUND; Chinese gateways",
    ),
    Rule(
        "server/empty-answer",
        when=When(
            words=(
                "returned an empty response",
                "empty or malformed response",
                "received an empty response",
                "got an empty response",
                "empty response from",
                "returned an empty answer",
                "returned invalid response",
                "no generations found in stream",
                "no generation chunks were returned",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="an answer that is empty or none at all: asked again, it may be whole",
        backoff=TRANSPORT,
        seen="openai.APIError: `Upstream returned an empty response`; langchain: `No generations found in stream`",
    ),
    Rule(
        "server/failed-in-words",
        when=When(
            words=(
                "server had an error",
                "server error",
                "internal error",
                "internal failure",
                "unexpected error",
                "inference error",
                "内部错误",
                "服务异常",
                "服务器错误",
                "服务器异常",
                "系统错误",
                "系统异常",
            )
        ),
        then=ErrorType.RETRYABLE,
        because="the service failed while it worked on the request",
        backoff=SERVER_ERROR,
        seen="openai.APIError inside a stream: `The server had an error processing your request`; Qianfan 336000",
    ),
)
