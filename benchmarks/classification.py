"""How long the classification of one failure takes, beside a plain search for phrases.

Run it from the project's root, with the packages of the extra `test` (openai, anthropic) installed:

    python benchmarks/classification.py
    taskset -c 1 python benchmarks/classification.py    # steadier, where there is taskset

Measured is `ErrorClassifier().classify` on errors as they reach a program: made by the real SDKs
from answers with a JSON body and a dozen headers, Python's own, and one whose body has ten
megabytes. Nothing is sent. Beside each stands the reference: the message and the class name in
lower case, twenty-one phrases looked for with `in`, the first hit decides. It reads neither
status nor body nor headers nor causes, so it is the least that anybody has to spend.

Every failure is measured twice: the very same one again and again (`again`), and one that was
never seen before (`new`): the numbers and ids in its texts and headers are others each time, and
it was made just before, so that no cache knows it. A line shows medians in microseconds, and how
many times the reference's time that is. The last lines hold the median of each group against what
is promised. The two are measured in turn, so that a machine that changes its speed changes it for
both; where the ratio stays and the times do not, the machine was slow and not the code.

Exits with 1 if a promise was broken.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import anthropic
import openai

from resilient_agent import ErrorClassifier

try:
    import httpx2 as httpx  # what newer SDKs are built on
except ImportError:
    import httpx  # type: ignore[no-redef]

PROMISED = {"SDK": 25.0, "Python": 5.0, "10 MB": 2000.0}  # microseconds, median of the group
ROUNDS = 400
TRANSIENT = (
    *("rate limit", "too many requests", "429", "timed out", "timeout", "connection error", "connection reset"),
    *("server disconnected", "internal server error", "service unavailable", "temporarily unavailable"),
    *("bad gateway", "gateway timeout"),
)
STOPPING = (
    *("unauthorized", "authentication", "invalid api key", "forbidden", "not found", "validation error"),
    *("bad request", "402"),
)


class Failure(NamedTuple):
    """A kind of failure: `make(n)` gives the one with the number n in its texts."""

    group: str
    name: str
    make: Callable[[int], BaseException]


def reference(error: BaseException) -> str:
    """The classifier that is compared with: phrases in the message and the class name."""
    message, name = str(error).lower(), type(error).__name__.lower()
    for phrases, verdict in ((TRANSIENT, "retryable"), (STOPPING, "non_retryable")):
        for phrase in phrases:
            if phrase in message or phrase in name:
                return verdict
    return "retryable"


# What the SDKs raise


OPENAI = openai.OpenAI(api_key="none", max_retries=0)
ANTHROPIC = anthropic.Anthropic(api_key="none", max_retries=0)
REQUEST = httpx.Request("POST", "https://api.example.com/v1/chat")
HEADERS = {
    "date": "Thu, 20 Aug 2026 09:15:32 GMT",
    "content-type": "application/json",
    "connection": "keep-alive",
    "x-request-id": "req_{n}",
    "openai-processing-ms": "{n}",
    "openai-version": "2020-10-01",
    "strict-transport-security": "max-age=15724800; includeSubDomains",
    "cf-cache-status": "DYNAMIC",
    "cf-ray": "{n}-FRA",
    "server": "cloudflare",
}
BUCKETS = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "1{n}ms",
}


def answered(client: Any, status: int, body: Any, **headers: str) -> Callable[[int], BaseException]:
    """The error that an SDK makes of an answer; `{n}` in body and headers becomes the number."""
    text = json.dumps(body)

    def make(n: int) -> BaseException:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        filled = {key: value.replace("{n}", str(n)) for key, value in (HEADERS | named).items()}
        content = text.replace("{n}", str(n)).encode()
        response = httpx.Response(status, content=content, headers=filled, request=REQUEST)
        error: BaseException = client._make_status_error_from_response(response)  # noqa: SLF001 - the SDKs' own way
        return error

    return make


def from_openai(status: int, message: str, kind: str, code: str | None = None, **headers: str) -> Any:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return answered(OPENAI, status, body, **headers)


def from_anthropic(status: int, message: str, kind: str, **headers: str) -> Any:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_{n}"}
    return answered(ANTHROPIC, status, body, x_should_retry="true", **headers)


def timed_out(n: int) -> BaseException:
    return caused(openai.APITimeoutError(request=REQUEST), httpx.ReadTimeout(f"timed out after {n} ms"), TimeoutError())


def refused(n: int) -> BaseException:
    inner = httpx.ConnectError(f"[Errno 111] Connection refused by 10.0.0.1:{n}")
    return caused(
        openai.APIConnectionError(request=REQUEST), inner, ConnectionRefusedError(111, f"Connection refused {n}")
    )


def caused(*links: BaseException) -> BaseException:
    for outer, inner in itertools.pairwise(links):
        outer.__cause__ = inner
    return links[0]


def failures() -> list[Failure]:
    """All that is measured."""
    per_minute = (
        "Rate limit reached for gpt-4o in organization org-{n} on tokens per min (TPM): Limit 30000, Used 14567,"
        " Requested 2{n}. Please try again in 18.642s. Visit https://platform.openai.com/account/rate-limits."
    )
    quota = "You exceeded your current quota ({n}), please check your plan and billing details."
    key = "Incorrect API key provided: sk-{n}. You can find your API key at https://platform.openai.com/account."
    long = "This model's maximum context length is 8192 tokens. However, your messages resulted in 1{n} tokens."
    server = "The server had an error while processing your request {n}. Sorry about that!"
    busy = "The engine is currently overloaded, please try again later ({n})"
    model = "The model `gpt-{n}` does not exist or you do not have access to it."
    limit = "This request {n} would exceed your organization's rate limit of 30,000 input tokens per minute."
    sdks = {
        "openai 429 per minute": from_openai(429, per_minute, "tokens", "rate_limit_exceeded"),
        "openai 429 with buckets": from_openai(429, per_minute, "tokens", "rate_limit_exceeded", **BUCKETS),
        "openai 429 out of credit": from_openai(429, quota, "insufficient_quota", "insufficient_quota"),
        "openai 401": from_openai(401, key, "invalid_request_error", "invalid_api_key"),
        "openai 404 model": from_openai(404, model, "invalid_request_error", "model_not_found"),
        "openai 400 too long": from_openai(400, long, "invalid_request_error", "context_length_exceeded"),
        "openai 500": from_openai(500, server, "server_error"),
        "openai 503": from_openai(503, busy, "server_error"),
        "openai timeout": timed_out,
        "openai connection": refused,
        "anthropic 429": from_anthropic(429, limit, "rate_limit_error", retry_after="12"),
        "anthropic 401": from_anthropic(401, "invalid x-api-key {n}", "authentication_error"),
        "anthropic 400 too long": from_anthropic(
            400, "prompt is too long: 2{n} tokens > 200000", "invalid_request_error"
        ),
        "anthropic 529": from_anthropic(529, "Overloaded", "overloaded_error"),
    }
    pythons: dict[str, Callable[[int], BaseException]] = {
        "TimeoutError": lambda n: TimeoutError(f"timed out {n}"),
        "ConnectionResetError": lambda n: ConnectionResetError(104, f"Connection reset by peer {n}"),
        "OSError disk full": lambda n: OSError(28, "No space left on device", f"/tmp/{n}"),
        "KeyError": lambda n: KeyError(f"choice {n}"),
        "TypeError": lambda n: TypeError(f"f() takes 1 positional argument but {n} were given"),
        "ValueError": lambda n: ValueError(f"bad value {n}"),
    }
    return [
        *(Failure("SDK", name, make) for name, make in sdks.items()),
        *(Failure("Python", name, make) for name, make in pythons.items()),
        Failure("10 MB", "openai 500, 10 MB of message", from_openai(500, "{n} " + "x" * 10_000_000, "server_error")),
    ]


# Measuring


def medians(judges: tuple[Callable[[Any], Any], ...], errors: list[BaseException]) -> list[float]:
    """The median time of each judge in microseconds; each error is given to one after the other."""
    took: list[list[float]] = [[] for _ in judges]
    for error in errors:
        for judge, times in zip(judges, took, strict=True):
            begun = time.perf_counter()
            judge(error)
            times.append(time.perf_counter() - begun)
    return [statistics.median(times) * 1e6 for times in took]


def main() -> int:
    judges = (ErrorClassifier().classify, reference)
    groups: dict[tuple[str, str], list[float]] = {}
    print(f"{'':31}{'again':>9}{'reference':>11}{'ratio':>8}{'new':>12}{'reference':>11}{'ratio':>8}")
    for group, name, make in failures():
        rounds = 5 if group == "10 MB" else ROUNDS
        medians(judges, [make(0)] * 20)  # to warm up
        line = f"{name:31}"
        for texts, errors, width in (
            ("again", [make(1)] * rounds, 9),
            ("new", [make(1000 + n) for n in range(rounds)], 12),
        ):
            ours, theirs = medians(judges, errors)
            groups.setdefault((group, texts), []).append(ours)
            line += f"{ours:{width}.1f}{theirs:11.1f}{ours / theirs:8.1f}"
        print(line)
    print()
    broken = 0
    for (group, texts), times in groups.items():
        median, promised = statistics.median(times), PROMISED[group]
        broken += median > promised
        kept = "kept" if median <= promised else "BROKEN"
        print(f"median of {group:7}{texts:7}{median:9.1f} µs, promised {promised:g}: {kept}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
