"""How long to wait for what: the backoff curves that the rows share (milliseconds)."""

from resilient_agent.backoff import BackoffConfig

__all__ = ["DISCONNECTED", "GATEWAY", "RATE_LIMIT", "SERVER_ERROR", "TRANSPORT", "UNAVAILABLE"]

# 5 + 10 + 20 + 40 + 80 s: outlasts the minute after which most limits open again.
RATE_LIMIT = BackoffConfig(base_delay_ms=5000, multiplier=2.0, max_delay_ms=120_000, max_retries=5)
TRANSPORT = BackoffConfig(base_delay_ms=500, multiplier=1.5, max_delay_ms=10_000, max_retries=3)
DISCONNECTED = BackoffConfig(base_delay_ms=1000, multiplier=2.0, max_delay_ms=30_000, max_retries=3)
SERVER_ERROR = BackoffConfig(base_delay_ms=2000, multiplier=2.0, max_delay_ms=30_000, max_retries=3)
UNAVAILABLE = BackoffConfig(base_delay_ms=2000, multiplier=2.0, max_delay_ms=60_000, max_retries=3)
GATEWAY = BackoffConfig(base_delay_ms=1000, multiplier=2.0, max_delay_ms=30_000, max_retries=3)
