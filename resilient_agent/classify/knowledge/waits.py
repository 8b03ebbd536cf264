"""Where servers name a wait: the headers of rate limits, and the units of durations."""

__all__ = ["BUCKETS", "LEAKING", "LISTED", "MILLISECONDS", "UNITS"]

# Headers that hold milliseconds: OpenAI and Azure OpenAI; Azure Cosmos DB and API Management; gRPC's pushback (gRFC A6).
MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms", "grpc-retry-pushback-ms")

# What is left in a bucket, and when it opens again.
BUCKETS = (
    # OpenAI, Azure OpenAI, Groq, Together and most that imitate them, with durations such as 6m0s
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    # Anthropic, whose moments are written as in RFC 3339
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    # Cerebras, in seconds
    ("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"),
    ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),
    # GitHub counts seconds since 1970, OpenRouter milliseconds since 1970, others seconds from now
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
    # the IETF draft of these headers, in seconds; Mistral counts by size
    ("ratelimit-remaining", "ratelimit-reset"),
    ("ratelimitbysize-remaining", "ratelimitbysize-reset"),
)

# All buckets in one header, as the later drafts of the IETF have it (Hugging Face, Cloudflare): `"api";r=0;t=55`, or
# `limit=100, remaining=0, reset=50`.
LISTED = "ratelimit"

# Buckets of requests that fill up evenly, with what they hold, what is left, and when they are full again. Others
# count within a fixed window: when that ends says nothing about a rate.
LEAKING = (
    # OpenAI; Groq (by day), Azure OpenAI, Together
    ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    (
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
)

UNITS = {
    "ms": 0.001,
    "msec": 0.001,
    "millisecond": 0.001,
    "milliseconds": 0.001,
    "毫秒": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "秒钟": 1.0,
    "秒": 1.0,
    "m": 60.0,
    "min": 60.0,
    "mins": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "分钟": 60.0,
    "分": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hrs": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "小时": 3600.0,
    "个小时": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "days": 86_400.0,
    "天": 86_400.0,
}
