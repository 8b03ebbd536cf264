"""Rate limits: per minute they open by themselves, per day only another model helps."""

from resilient_agent.classify.knowledge.curves import RATE_LIMIT, UNAVAILABLE
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["LIMITS", "LIMIT_CODES"]

LIMITS = (
    Rule(
        "limits/larger-than-the-limit",
        when=When(words=("request too large for", "request is too large for"), also=("limit*",)),
        then=ErrorType.DEGRADED,
        because="this one request asks for more than the whole limit: waiting never makes it fit, a smaller one does",
        seen="OpenAI: 429 `Request too large for gpt-4o ... on tokens per min (TPM)`; Groq: the same as 413",
    ),
    Rule(
        "limits/per-day",
        when=When(
            words=(
                "per day",
                "daily",
                "rpd",
                "tpd",
                "requests day",
                "calls day",
                "tokens day",
                "a day",
                "24 hours",
                "try again tomorrow",
                "for today",
                "used today",
                "today s limit",
                "today s quota",
                "requests today",
                "per 86400s",
                "每日",
                "每天",
                "今日",
                "今天",
                "当日",
                "当天",
            ),
            also=(
                "limit",
                "limits",
                "limited",
                "quota*",
                "exceed*",
                "exhaust*",
                "reached",
                "too many",
                "throttl*",
                "allocation",
                "限",
                "额度",
                "配额",
                "次数",
                "超",
                "用量",
            ),
            unless=("insufficient balance", "超时"),
        ),
        then=ErrorType.DEGRADED,
        because="the day's quota of this model is spent: another model still serves",
        seen="OpenAI and Groq: RPD, TPD; Google: quotaId ...PerDay...; OpenRouter: free-models-per-day; Anthropic: daily rate limit",
    ),
    Rule(
        "limits/opens-in-days",
        when=When(
            codes=("wait_of_days",),  # said by the evidence: a named wait of more than a day
            words=("quota*", "capacity", "limit", "limits", "limited", "usage"),
            also=("model", "models"),
            unless=("credit*", "billing*", "balance", "spend*", "week*", "month*", "your plan", "account"),
        ),
        then=ErrorType.DEGRADED,
        because="this model's quota opens again in days: another model still serves",
        seen="Google Code Assist: 429 `exhausted your capacity on this model. Your quota will reset after 161h39m41s`",
    ),
    Rule(
        "limits/free-share",
        when=When(
            words=("free quota", "free allocated quota", "free trial quota", "trial quota", "free usage", "免费额度"),
            also=("exceed*", "exhaust*", "used up", "used all", "用完", "用尽"),
        ),
        then=ErrorType.DEGRADED,
        because="the free share of this model is spent: another model still has its own",
        seen="DashScope: `The free quota has been exhausted`; `Free allocated quota exceeded`",
    ),
    Rule(
        "limits/per-hours",
        when=When(
            words=(
                "limit reached for 5 hour*",
                "5 hour limit",
                "5 hour usage",
                "5 hour quota",
                "5 hours limit",
                "hour usage quota",
                "hour usage limit",
                "小时的使用上限",
                "小时使用上限",
                "小时限额",
                "小时额度",
                "usage limit reached",
                "usage limit has been reached",
                "hit your usage limit",
                "hit your limit",
                "out of extra usage",
            ),
            unless=(
                "24",
                "day",
                "daily",
                "week*",
                "month*",
                "周",
                "月",
                "credit*",
                "billing*",
                "spend*",
                "budget*",
                "per minute",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the share of these hours is used up: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="Zhipu: `Usage limit reached for 5 hour`; Volcengine: `the 5-hour usage quota`; Codex: usage_limit_reached",
    ),
    Rule(
        "limits/per-minute",
        when=When(
            words=(
                "per minute",
                "per min",
                "per second",
                "per sec",
                "per hour",
                "requests minute",
                "calls minute",
                "tokens minute",
                "rpm",
                "tpm",
                "rps",
                "qps",
                "qpm",
                "itpm",
                "otpm",
                "每分钟",
                "每秒",
            ),
            also=(
                "limit",
                "limits",
                "limited",
                "limiting",
                "ratelimit*",
                "quota*",
                "exceed*",
                "exhaust*",
                "reached",
                "throttl*",
                "too many",
                "限",
                "超",
                "频",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="too many requests or tokens for this minute: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="OpenAI and Groq: RPM, TPM; Anthropic; Google; Cohere; SiliconFlow; Replicate",
    ),
)

LIMIT_CODES = (
    Rule(
        "limits/rate-limit",
        when=When(
            codes=(
                "rate_limit_exceeded",
                "rate_limit_error",
                "rate_limit_reached",
                "rate_limit_reached_error",  # Moonshot
                "rate_limited",
                "rate_limit",
                "engine_overloaded_error",  # Moonshot
                "too_many_requests",
                "too_many_requests_exception",  # AWS
                "throttling_exception",
                "throttling",  # AWS, DashScope
                "throttling_error",
                "throttled_exception",
                "request_throttled",
                "request_throttled_exception",
                "ec2_throttled_exception",
                "request_limit_exceeded",
                "bandwidth_limit_exceeded",
                "provisioned_throughput_exceeded_exception",
                "slow_down",  # S3
                "limit_requests",  # DashScope
                "limit_burst_rate",
                "burst_rate",
                "rate_quota",
                "allocation_quota",
                "concurrency_limit_exceeded",
                "es_rejected_execution_exception",  # Elasticsearch
                "1302",  # Zhipu: concurrency
                "1303",  # Zhipu: frequency
            )
        ),
        then=ErrorType.RETRYABLE,
        because="too many requests or tokens for the moment: the limit opens again by itself",
        backoff=RATE_LIMIT,
        load="limit",
        seen="OpenAI and Anthropic documentation; botocore's retry rules; DashScope, Moonshot and Zhipu documentation",
    ),
    Rule(
        "limits/overloaded",
        when=When(
            codes=(
                "overloaded_error",  # Anthropic
                "overloaded",
                "overload",
                "server_is_overloaded",  # OpenAI
                "server_overloaded",
                "model_overloaded",
                "service_tier_capacity_exceeded",  # Mistral
                "capacity_exceeded",
                "no_capacity",
                "server_busy",
                "model_serving_error",  # DashScope
                "engine_server_error",  # Hunyuan
                "model_not_ready_exception",  # Bedrock
                "model_loading",
                "1305",  # Zhipu: the model is overloaded
            )
        ),
        then=ErrorType.RETRYABLE,
        because="the service is overloaded or still loading at the moment",
        backoff=UNAVAILABLE,
        load="overload",
        seen="Anthropic documentation, Errors; OpenAI; Mistral; DashScope; Bedrock; also inside a 200 stream",
    ),
)
