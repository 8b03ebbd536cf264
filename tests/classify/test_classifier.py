"""`ErrorClassifier`: which evidence decides, in which order, on made-up errors and on those of the real SDKs."""

# ruff: noqa: RUF001 - Chinese marks and curly quotes are what is tested

import asyncio
import copy
import email.utils
import errno
import pickle
import socket
import ssl
import threading
import time
from typing import ClassVar

import anthropic
import anyio
import openai
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import BackoffConfig, Classification, ErrorClassifier, ErrorType, Rule, When
from resilient_agent.testing import Answer, CutStream, FakeLLM, Reset, Status, StreamError

RETRYABLE, STOP = ErrorType.RETRYABLE, ErrorType.NON_RETRYABLE
DEGRADED, FATAL = ErrorType.DEGRADED, ErrorType.FATAL

# The curves of reference.md: base, cap, multiplier, retries.
RATE_LIMIT = (5000, 120_000, 2.0, 5)
TRANSPORT = (500, 10_000, 1.5, 3)
DISCONNECTED = (1000, 30_000, 2.0, 3)
SERVER_ERROR = (2000, 30_000, 2.0, 3)
UNAVAILABLE = (2000, 60_000, 2.0, 3)
GATEWAY = (1000, 30_000, 2.0, 3)


class Failure(Exception):
    """An SDK's error: what is given becomes its attributes."""

    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def classify(error, **options):
    return ErrorClassifier(**options).classify(error)


def curve(backoff):
    return (backoff.base_delay_ms, backoff.max_delay_ms, backoff.multiplier, backoff.max_retries)


def behind(outer, inner):
    outer.__cause__ = inner
    return outer


def named(name, *bases, message="failed"):
    """An error of a library that is not installed, known by the name of its class."""
    return type(name, bases or (Exception,), {})(message)


# The status


@pytest.mark.parametrize(
    ("status", "error_type", "expected"),
    [
        (400, STOP, None),
        (401, STOP, None),
        (402, FATAL, None),
        (403, STOP, None),
        (404, STOP, None),
        (407, STOP, None),
        (408, RETRYABLE, TRANSPORT),
        (409, RETRYABLE, GATEWAY),
        (410, STOP, None),
        (413, DEGRADED, None),
        (418, STOP, None),
        (422, STOP, None),
        (425, RETRYABLE, GATEWAY),
        (429, RETRYABLE, RATE_LIMIT),
        (451, STOP, None),
        (500, RETRYABLE, SERVER_ERROR),
        (501, STOP, None),
        (502, RETRYABLE, GATEWAY),
        (503, RETRYABLE, UNAVAILABLE),
        (504, RETRYABLE, GATEWAY),
        (520, RETRYABLE, GATEWAY),
        (529, RETRYABLE, UNAVAILABLE),
        (599, RETRYABLE, SERVER_ERROR),
    ],
)
def test_an_http_status_decides_by_itself(status, error_type, expected):
    """Without anything else, the status says whether to try again and on which curve."""
    verdict = classify(Failure("x", status_code=status))
    assert verdict.error_type is error_type
    assert verdict.rule.startswith("http/")
    assert expected is None or curve(verdict.backoff) == expected


@pytest.mark.parametrize("status", [200, 204, 301, 304, 100])
def test_a_status_that_is_no_error_decides_nothing(status):
    """An exception with a status below 400 is unknown, from outside: one more try."""
    verdict = classify(Failure("x", status_code=status))
    assert (verdict.rule, verdict.error_type, verdict.at_most) == ("unknown/outside", RETRYABLE, 1)


# The body


@pytest.mark.parametrize(
    ("code", "status", "error_type"),
    [
        ("insufficient_quota", 429, FATAL),
        ("billing_hard_limit_reached", 429, FATAL),
        ("billing_error", 402, FATAL),
        ("account_deactivated", 401, FATAL),
        ("context_length_exceeded", 400, DEGRADED),
        ("request_too_large", 413, DEGRADED),
        ("invalid_api_key", 401, STOP),
        ("authentication_error", 401, STOP),
        ("permission_error", 403, STOP),
        ("rate_limit_exceeded", 429, RETRYABLE),
        ("rate_limit_error", 429, RETRYABLE),
        ("overloaded_error", 529, RETRYABLE),
        ("api_error", 500, RETRYABLE),
        ("invalid_request_error", 400, STOP),
        ("not_found_error", 404, STOP),
        ("model_not_found", 404, DEGRADED),
    ],
)
@pytest.mark.parametrize("place", ["code", "type"])
def test_the_bodys_own_word_decides(code, status, error_type, place):
    """What the provider calls its error decides, whether as code or as type."""  # A45
    error = Failure("x", status_code=status, body={"error": {place: code, "message": "x"}})
    assert classify(error).error_type is error_type


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("overloaded_error", RETRYABLE),
        ("rate_limit_error", RETRYABLE),
        ("api_error", RETRYABLE),
        ("insufficient_quota", FATAL),
        ("invalid_request_error", STOP),
        ("context_length_exceeded", DEGRADED),
    ],
)
def test_an_error_inside_an_answer_with_status_200_is_read_from_the_body(code, error_type):
    """A stream that began well is judged by what its error event says."""  # A47
    assert classify(Failure("x", status_code=200, body={"error": {"type": code}})).error_type is error_type


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ({"error": {"message": "Output blocked by content filtering policy"}}, STOP),
        ({"error": {"message": "You exceeded your current quota, please check your plan and billing details."}}, FATAL),
        ({"error": {"code": 529, "message": "something odd"}}, RETRYABLE),
        ({"error": {"code": "401", "message": "User not found."}}, STOP),
        ({"error": {"message": "Overloaded"}}, RETRYABLE),
        ("upstream connect error or disconnect/reset before headers", RETRYABLE),
    ],
    ids=str,
)
def test_an_error_inside_an_answer_with_status_200_is_read_in_any_form(body, error_type):
    """Words, and a status inside of the body, count where the status of the answer says that all is well."""  # A47
    assert classify(Failure("x", status_code=200, body=body)).error_type is error_type


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (402, "invalid_request_error", FATAL),
        (413, "invalid_request_error", DEGRADED),
        (408, "invalid_request_error", RETRYABLE),
        (409, "invalid_request_error", RETRYABLE),
        (429, "invalid_request_error", RETRYABLE),
        (503, "invalid_request_error", RETRYABLE),
        (501, "server_error", STOP),
    ],
)
def test_a_general_word_of_the_body_does_not_hide_a_telling_status(status, word, expected):
    """`invalid_request_error` and `server_error` say less than most statuses: these decide then."""
    error = Failure("x", status_code=status, body={"error": {"type": word, "code": None}})
    assert classify(error).error_type is expected


NEVER = {
    "quota": {"code": "insufficient_quota", "message": "You exceeded your current quota, please check your plan"},
    "billing": {"type": "billing_error", "message": "Your credit balance is too low"},
    "auth": {"type": "authentication_error", "message": "invalid x-api-key"},
    "context": {"code": "context_length_exceeded", "message": "This model's maximum context length is 8192 tokens"},
    "content": {"code": "content_filter", "message": "The response was filtered"},
    "policy": {"code": "content_policy_violation", "message": "Your request was rejected by our safety system"},
    "key": {"code": "invalid_api_key", "message": "Incorrect API key provided"},
    "said": {"message": "You exceeded your current quota, please check your plan and billing details."},
}


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize("kind", NEVER)
def test_what_never_passes_is_not_retried_whatever_the_status_says(kind, status):
    """Quota, billing, login, context length, content filter: a 429 around them changes nothing."""  # A45
    verdict = classify(Failure("x", status_code=status, body={"error": NEVER[kind]}))
    assert verdict.error_type in {FATAL, STOP, DEGRADED}
    assert verdict.retry_after is None
    printed = classify(Failure(f"Error code: {status} - {{'error': {NEVER[kind]!r}}}", status_code=status))
    assert printed.error_type is verdict.error_type


LABELS = [
    # The same request, sent again later, may well succeed.
    (429, "Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3, Requested 1.", RETRYABLE),
    (429, "Rate limit reached on tokens per min (TPM): Limit 8000, Used 7000, Requested 1500.", RETRYABLE),
    (400, "Model is currently loading", RETRYABLE),
    (500, "The server had an error while processing your request", RETRYABLE),
    (503, "The model is overloaded. Please try again later.", RETRYABLE),
    (403, "You have exceeded a secondary rate limit. Please wait a few minutes.", RETRYABLE),
    (529, "Overloaded", RETRYABLE),
    (429, "请求过于频繁，请稍后再试", RETRYABLE),
    # This request or this credential is wrong.
    (400, "Invalid value for 'messages[0].role'", STOP),
    (401, "Incorrect API key provided", STOP),
    (429, "Your input was flagged as potentially violating our usage policies", STOP),
    (500, "Role must be in [user, assistant]", STOP),
    (400, "Unknown parameter: 'foo'.", STOP),
    # A reduced request, or another model, can succeed.
    (
        400,
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        DEGRADED,
    ),
    (400, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens", DEGRADED),
    (413, "Request Entity Too Large", DEGRADED),
    (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 8000, Requested 10139.", DEGRADED),
    (404, "The model `gpt-5-ultra` does not exist or you do not have access to it.", DEGRADED),
    (400, "This model has been deprecated", DEGRADED),
    (400, "This model does not support image input", DEGRADED),
    (429, "Rate limit reached for requests per day (RPD): Limit 200, Used 200, Requested 1.", DEGRADED),
    # Nothing works until a person acts.
    (429, "You exceeded your current quota, please check your plan and billing details.", FATAL),
    (400, "Your credit balance is too low to access the API. Please go to Plans & Billing.", FATAL),
    (402, "Insufficient Balance", FATAL),
    (403, "Country, region, or territory not supported", FATAL),
    (403, "Your account has been deactivated", FATAL),
    (429, "账户余额不足，请充值", FATAL),
]


@pytest.mark.parametrize(("status", "said", "expected"), LABELS, ids=[f"{row[0]}-{row[1][:30]}" for row in LABELS])
def test_an_answer_is_judged_by_what_would_help(status, said, expected):
    """What the sentence means decides, as body and as an SDK prints it into its message."""
    as_body = Failure(f"Error code: {status}", status_code=status, body={"error": {"message": said}})
    assert classify(as_body).error_type is expected
    assert (
        classify(Failure(f"Error code: {status} - {{'error': {{'message': {said!r}}}}}", status_code=status)).error_type
        is expected
    )
    assert classify(Failure(said, status_code=status)).error_type is expected


def test_an_overloaded_service_is_waited_for_on_its_own_curve():
    """A 503 whose body says no more than `server_error` waits as the reference waits for a 503."""
    error = Failure("x", status_code=503, body={"error": {"type": "server_error", "code": None}})
    assert curve(classify(error).backoff) == UNAVAILABLE


# Classes


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), TRANSPORT),
        (ConnectionResetError("reset by peer"), TRANSPORT),
        (ConnectionRefusedError(), TRANSPORT),
        (ConnectionAbortedError(), TRANSPORT),
        (BrokenPipeError(), TRANSPORT),
        (socket.gaierror(-3, "Temporary failure in name resolution"), TRANSPORT),
        (ssl.SSLError("bad record mac"), TRANSPORT),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), TRANSPORT),
        (OSError(errno.EHOSTUNREACH, "No route to host"), TRANSPORT),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), TRANSPORT),
        (anyio.BrokenResourceError(), DISCONNECTED),
        (named("ReadTimeout", named("TimeoutException").__class__), TRANSPORT),
        (named("ServerDisconnectedError"), DISCONNECTED),
        (named("RemoteProtocolError"), DISCONNECTED),
        (named("IncompleteRead"), DISCONNECTED),
        (named("ConnectError", named("TransportError").__class__), TRANSPORT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_the_network_does_is_retried(error, expected):
    """Timeouts, cut, refused and missing connections are transient, each on its curve."""
    verdict = classify(error)
    assert verdict.error_type is RETRYABLE
    assert curve(verdict.backoff) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "local/timeout"),
        (ConnectionResetError("reset by peer"), "local/connection"),
        (named("ReadTimeout"), "network/timeout"),
        (named("RemoteProtocolError"), "network/cut"),
        (named("ConnectError"), "network/connection"),
        (OSError(errno.ENETUNREACH, "?"), "network/unreachable"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_the_network_does_is_named(error, expected):
    """The rule says what happened: Python's own classes first, then those of the libraries."""
    assert classify(error).rule == expected


@pytest.mark.parametrize(
    "error",
    [
        *(TypeError("x() missing 1 required positional argument"), KeyError("choices"), AttributeError("text")),
        *(IndexError(), NameError(), AssertionError(), ZeroDivisionError(), ImportError(), NotImplementedError()),
        *(RecursionError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "invalid start byte"), StopIteration()),
        *(StopAsyncIteration(), ModuleNotFoundError("no openai"), UnboundLocalError(), OverflowError(), SyntaxError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_mistakes_in_the_program_stop_at_once(error):
    """A bug would be made again: it is never retried."""  # A62
    verdict = classify(error)
    assert (verdict.error_type, verdict.rule) == (STOP, "local/programming")


@pytest.mark.parametrize("message", ["request timed out", "connection reset", "rate limit", "503 service unavailable"])
@pytest.mark.parametrize("kind", [TypeError, KeyError, AssertionError, AttributeError])
def test_mistakes_in_the_program_stop_whatever_they_say(kind, message):
    """Words in the message of a bug do not make it transient."""
    assert classify(kind(message)).error_type is STOP


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), STOP),
        (PermissionError(errno.EACCES, "Permission denied"), STOP),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), STOP),
        (OSError(errno.ENOSPC, "No space left on device"), FATAL),
        (MemoryError(), FATAL),
        (ssl.SSLCertVerificationError("certificate verify failed"), STOP),
        (named("UnsupportedProtocol", message="Request URL is missing an 'http://' protocol."), STOP),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_person_has_to_mend_is_not_retried(error, error_type):
    """Missing files, a full disk, a certificate that is not trusted: trying again mends none."""
    assert classify(error).error_type is error_type


def test_a_certificate_behind_a_connection_error_is_found():
    """SDKs wrap the certificate's error in a connection error: the cause decides."""
    error = behind(named("APIConnectionError"), behind(named("ConnectError"), ssl.SSLCertVerificationError("bad")))
    assert classify(error).rule == "network/certificate"


def test_try_again_means_again():
    """A function that raises tenacity's TryAgain asks to be called again."""
    assert classify(tenacity.TryAgain()).error_type is RETRYABLE


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit()],
    ids=lambda e: type(e).__name__,
)
def test_what_wants_the_program_to_stop_is_never_retryable(error):
    """Asked all the same, the classifier says of a cancellation that it is not to be retried."""  # A1
    assert classify(error).error_type is STOP


# The unknown


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), Failure("x"), Exception(), type("Ours", (Exception,), {})("own")], ids=repr
)
def test_an_unknown_failure_of_the_program_stops(error):
    """What is unknown and shows nothing of the outside world is not retried."""
    verdict = classify(error)
    assert (verdict.error_type, verdict.rule) == (STOP, "unknown/local")


@pytest.mark.parametrize(
    "error",
    [
        OSError("something"),
        Failure("x", response=object()),
        Failure("x", request=object()),
        Failure("x", status_code=299),
        behind(RuntimeError("could not read the answer"), OSError("something")),
    ],
    ids=repr,
)
def test_an_unknown_failure_from_outside_gets_one_more_try(error):
    """What is unknown but comes from outside is retried, at most once."""
    verdict = classify(error)
    assert (verdict.error_type, verdict.rule, verdict.at_most) == (RETRYABLE, "unknown/outside", 1)


@pytest.mark.parametrize("error", ["rate limit", None, 429, ValueError, [ValueError()]], ids=repr)
def test_what_is_no_exception_is_refused(error):
    """`classify` takes an exception; the TypeError shows what it got."""
    with pytest.raises(TypeError, match="classify takes an exception"):
        classify(error)


# Phrases


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Rate limit reached for requests", RATE_LIMIT),
        ("Too Many Requests", RATE_LIMIT),
        ("the request timed out", TRANSPORT),
        ("upstream request timeout", TRANSPORT),
        ("Connection error.", TRANSPORT),
        ("connection reset by peer", TRANSPORT),
        ("server disconnected without sending a response", DISCONNECTED),
        ("Internal Server Error", SERVER_ERROR),
        ("Service Unavailable", UNAVAILABLE),
        ("the model is temporarily unavailable", GATEWAY),
        ("Bad Gateway", GATEWAY),
        ("Gateway Timeout", GATEWAY),
    ],
)
def test_phrases_decide_where_nothing_else_does(message, expected):
    """A plain exception is read for the reference's phrases, in any case."""
    verdict = classify(Failure(message))
    assert verdict.error_type is RETRYABLE
    assert curve(verdict.backoff) == expected


@pytest.mark.parametrize(
    "message",
    [
        *("Unauthorized", "authentication failed", "Invalid API key provided", "Forbidden", "page not found"),
        *("1 validation error for Answer", "Bad Request"),
    ],
)
def test_phrases_stop_where_nothing_else_does(message):
    """The reference's stopping phrases stop."""
    assert classify(Failure(message)).error_type is STOP


def test_a_model_that_is_not_found_degrades():
    """Another model can answer: that is more than the phrase `not found` knows."""
    assert classify(Failure("model not found")).error_type is DEGRADED
    assert classify(Failure("model not found", status_code=503)).error_type is DEGRADED


@pytest.mark.parametrize("name", ["TooManyRequests", "RateLimitError", "Rate_Limit", "LLMRateLimitReached"])
def test_phrases_are_looked_for_in_the_class_name(name):
    """A class name is read as words."""
    assert curve(classify(named(name, message="")).backoff) == RATE_LIMIT


@pytest.mark.parametrize(
    "message",
    [
        "request req_4290f42911 failed",
        "429",
        "402",
        "see https://x/429",
        "id 402-429",
        "used 429 of 402 tokens",
    ],
)
def test_bare_digits_in_a_text_decide_nothing(message):
    """429 and 402 count as a status and never as a part of a text."""
    assert classify(Failure(message)).rule == "unknown/local"


def test_a_status_that_a_text_names_as_one_decides():
    """Behind a word for it, three digits are a status where there is no other."""
    assert classify(Failure("HTTP 429")).rule == "http/too-many-requests"
    assert classify(Failure("HTTP 429", status_code=500)).rule == "http/server-error"


def test_digits_in_a_text_do_not_overrule_the_status():
    """A status 500 stays one, whatever the request's id looks like."""
    assert classify(Failure("request 429402 failed", status_code=500)).rule == "http/server-error"


def test_a_gateways_timeout_is_read_before_a_timeout():
    """The special phrase is reached before the general one that it contains."""
    verdict = classify(Failure("504: Gateway Timeout, upstream timed out"))
    assert verdict.rule == "wording/gateway-timeout"
    assert curve(verdict.backoff) == GATEWAY


@pytest.mark.parametrize(
    "message",
    [
        "service unavailable: worker not found in pool",
        "connection reset while the route was not found",
        "request timed out: no free worker was found, cache entry not found",
        "rate limit reached, and the model's cache was not found",
    ],
)
def test_a_stopping_phrase_inside_a_transient_message_does_not_stop(message):
    """'Not found' somewhere in a message that names a transient failure does not decide."""
    assert classify(Failure(message)).error_type is RETRYABLE


@pytest.mark.parametrize(
    ("message", "shown", "rule"),
    [
        ("timed out", {"status_code": 401}, "http/unauthorized"),
        ("worker not found", {"status_code": 503}, "http/unavailable"),
        ("authentication", {"body": {"error": {"code": "overloaded_error"}}}, "limits/overloaded"),
    ],
)
def test_phrases_come_after_everything_else(message, shown, rule):
    """A status and a body know better than words."""
    assert classify(Failure(message, **shown)).rule == rule


# Users' patterns


class Patient(ErrorClassifier):
    RETRYABLE_PATTERNS: ClassVar = {
        **ErrorClassifier.RETRYABLE_PATTERNS,
        "warming up": BackoffConfig(base_delay_ms=9000),
    }
    NON_RETRYABLE_PATTERNS: ClassVar = [*ErrorClassifier.NON_RETRYABLE_PATTERNS, "plan exceeded"]


@pytest.fixture
def own():
    """A classifier class whose tables may be changed without harm to other tests."""

    class Own(ErrorClassifier):
        RETRYABLE_PATTERNS: ClassVar = dict(ErrorClassifier.RETRYABLE_PATTERNS)
        NON_RETRYABLE_PATTERNS: ClassVar = list(ErrorClassifier.NON_RETRYABLE_PATTERNS)

    return Own


def test_users_phrases_are_read():
    """What a subclass adds to the tables is retried, or stops, on its own backoff."""
    verdict = Patient().classify(Failure("the model is Warming Up"))
    assert (verdict.error_type, verdict.backoff.base_delay_ms) == (RETRYABLE, 9000)
    assert Patient().classify(OSError("your plan exceeded its size")).error_type is STOP


def test_users_phrases_go_before_every_built_in_rule():
    """What users add decides although the status, the body or the class says something else."""
    assert Patient().classify(Failure("model is warming up", status_code=400)).error_type is RETRYABLE
    assert Patient().classify(Failure("plan exceeded", status_code=429)).error_type is STOP
    assert Patient().classify(TimeoutError("plan exceeded")).error_type is STOP


def test_a_table_of_the_class_itself_may_be_extended(own):
    """Adding to the class's tables in place works for classifiers that exist already."""
    classifier = own()
    assert classifier.classify(Failure("flux stall")).error_type is STOP
    own.RETRYABLE_PATTERNS["flux stall"] = BackoffConfig(max_retries=7)
    own.NON_RETRYABLE_PATTERNS.append("flux gone")
    assert classifier.classify(Failure("flux stall")).backoff.max_retries == 7
    assert classifier.classify(Failure("flux gone", status_code=503)).error_type is STOP
    assert ErrorClassifier().classify(Failure("flux stall")).error_type is STOP


def test_a_users_phrase_in_capitals_is_found(own):
    """The case of a phrase in a table does not matter."""
    own.RETRYABLE_PATTERNS["Flux Stall"] = BackoffConfig()
    assert own().classify(Failure("FLUX stall")).error_type is RETRYABLE


def test_a_users_digits_mean_a_status(own):
    """A phrase of digits is compared with the status and never looked for in a text."""
    own.RETRYABLE_PATTERNS["418"] = BackoffConfig(base_delay_ms=1)
    own.NON_RETRYABLE_PATTERNS.append("503")
    assert own().classify(Failure("x", status_code=418)).error_type is RETRYABLE
    assert own().classify(Failure("x", status_code=503)).error_type is STOP
    assert own().classify(Failure("418 503")).rule == "unknown/local"


def test_a_built_in_phrase_may_get_another_backoff(own):
    """A built-in phrase with a user's backoff is a user's phrase."""
    own.RETRYABLE_PATTERNS["rate limit"] = BackoffConfig(base_delay_ms=1)
    assert own().classify(Failure("rate limit", status_code=429)).backoff.base_delay_ms == 1


def test_a_built_in_phrase_may_be_removed(own):
    """A phrase that was taken out of a table no longer decides."""
    del own.RETRYABLE_PATTERNS["connection error"]
    own.NON_RETRYABLE_PATTERNS.remove("not found")
    assert own().classify(Failure("connection error")).rule == "unknown/local"
    assert own().classify(Failure("worker not found")).rule == "unknown/local"
    assert own().classify(Failure("bad gateway")).error_type is RETRYABLE
    assert own().classify(Failure("unauthorized")).rule == "wording/unauthorized"


def test_a_built_in_phrase_may_be_replaced_by_another(own):
    """Taking one stopping phrase out and putting one in is both: the new one is a user's own."""
    own.NON_RETRYABLE_PATTERNS.remove("402")
    own.NON_RETRYABLE_PATTERNS.append("plan exceeded")
    assert own().classify(Failure("plan exceeded", status_code=429)).error_type is STOP


def test_a_built_in_phrase_may_change_sides(own):
    """A transient phrase that a user puts among the stopping ones stops."""
    own.NON_RETRYABLE_PATTERNS.append("service unavailable")
    assert own().classify(Failure("service unavailable")).error_type is STOP
    assert own().classify(Failure("service unavailable", status_code=503)).error_type is STOP


def test_tables_may_be_replaced_wholly():
    """A subclass may bring tables of its own, of other container types too."""

    class Terse(ErrorClassifier):
        RETRYABLE_PATTERNS: ClassVar = {"again please": BackoffConfig()}
        NON_RETRYABLE_PATTERNS = ("no more",)

    assert Terse().classify(Failure("again please")).error_type is RETRYABLE
    assert Terse().classify(OSError("no more")).error_type is STOP
    assert Terse().classify(Failure("bad gateway")).rule == "unknown/local"


@pytest.mark.parametrize("phrase", ["", "?!", " "])
def test_a_pattern_without_a_word_warns_and_harms_nothing(own, phrase):
    """It would fit everything: it is left out, and the failure is judged by the others."""
    own.RETRYABLE_PATTERNS[phrase] = BackoffConfig(base_delay_ms=3)
    with pytest.warns(RuntimeWarning, match="is left out"):
        assert own().classify(Failure("worker not found")).rule == "wording/not-found"


@pytest.mark.parametrize(
    ("phrase", "message"), [("flux", "fluxes"), ("模型过热", "当前模型过热，请稍候"), ("gpu's hot", "GPU’s hot")]
)
def test_a_users_pattern_finds_longer_words_and_chinese(own, phrase, message):
    """A pattern is found at the beginning of a longer word, as it always was, and inside of Chinese."""
    own.RETRYABLE_PATTERNS[phrase] = BackoffConfig(base_delay_ms=3)
    assert own().classify(Failure(message)).backoff.base_delay_ms == 3


# Users' rules


WARMING_UP = Rule(
    "ours/warming-up", when=When(status=400, words=("warming up",)), then=RETRYABLE, because="ours loads a model"
)


def test_users_rules_go_before_all_others(own):
    """A rule that was handed in decides before phrases, body, status and classes."""
    own.NON_RETRYABLE_PATTERNS.append("warming up")
    error = Failure("warming up", status_code=400, body={"error": {"code": "invalid_request_error"}})
    verdict = own(rules=[WARMING_UP]).classify(error)
    assert (verdict.rule, verdict.because, verdict.error_type) == ("ours/warming-up", "ours loads a model", RETRYABLE)


def test_users_rules_are_read_in_their_order():
    """The first rule that fits decides."""
    general = Rule("ours/all", when=When(outside=True), then=FATAL, because="all of it")
    error = Failure("warming up", status_code=400)
    assert classify(error, rules=[WARMING_UP, general]).rule == "ours/warming-up"
    assert classify(error, rules=[general, WARMING_UP]).rule == "ours/all"


def test_a_users_rule_fits_a_cause_too():
    """A rule finds its evidence behind the exception, before built-in rules see the exception itself."""
    error = behind(TimeoutError(), Failure("warming up", status_code=400))
    assert classify(error, rules=[WARMING_UP]).rule == "ours/warming-up"


def test_a_rules_backoff_and_limit_stand_on_the_verdict():
    """What a rule says about waiting is what the verdict says."""
    backoff = BackoffConfig(base_delay_ms=42)
    rule = Rule("ours/x", when=When(types=("Failure",)), then=RETRYABLE, because="x", backoff=backoff, at_most=2)
    verdict = classify(Failure(), rules=[rule])
    assert (verdict.backoff, verdict.at_most) == (backoff, 2)


@pytest.mark.parametrize("rules", [["429"], [When(status=429)], [None]], ids=repr)
def test_rules_that_are_none_are_refused(rules):
    """Something else among the rules is a TypeError that shows it."""
    with pytest.raises(TypeError, match="rules must be Rule objects"):
        ErrorClassifier(rules=rules)


# default_backoff and compute_delay


def test_the_default_backoff_serves_where_no_rule_says_how_to_wait():
    """`default_backoff` is used for the unknown and for rules without a curve, and only there."""
    own = BackoffConfig(base_delay_ms=77)
    assert classify(OSError("x"), default_backoff=own).backoff is own
    assert ErrorClassifier(own).classify(Failure("warming", status_code=299)).backoff is own
    assert curve(classify(TimeoutError(), default_backoff=own).backoff) == TRANSPORT
    assert classify(OSError("x")).backoff == BackoffConfig()


@pytest.mark.parametrize("backoff", [5, "slow", {"base_delay_ms": 5}, (ErrorType.FATAL, None)], ids=repr)
def test_a_default_backoff_that_is_none_is_refused(backoff):
    """The TypeError names the argument."""
    with pytest.raises(TypeError, match="default_backoff"):
        ErrorClassifier(backoff)


def test_compute_delay_gives_seconds():
    """`compute_delay(attempt, backoff)` counts attempts from 0 and gives seconds, capped."""
    backoff = BackoffConfig(base_delay_ms=1000, max_delay_ms=3000, multiplier=2, jitter=0)
    assert [ErrorClassifier().compute_delay(attempt, backoff) for attempt in range(4)] == [1, 2, 3, 3]


def test_compute_delay_jitters():
    """With jitter the seconds differ and stay in their share."""
    found = {ErrorClassifier().compute_delay(0, BackoffConfig(jitter=0.5)) for _ in range(200)}
    assert len(found) > 100
    assert min(found) >= 0.5
    assert max(found) <= 1.5


def test_compute_delay_takes_what_classify_gives():
    """The reference's two calls go together as they did."""
    classifier = ErrorClassifier()
    error_type, backoff = classifier.classify(Failure("x", status_code=429))
    assert error_type == "retryable"
    assert 4.5 <= classifier.compute_delay(0, backoff) <= 5.5


def test_compute_delay_refuses_negative_attempts():
    """Attempts count from 0."""
    with pytest.raises(ValueError, match="attempt"):
        ErrorClassifier().compute_delay(-1, BackoffConfig())


# Causes


def test_the_exception_itself_decides_before_its_cause():
    """What fits the exception goes before what fits its cause."""
    assert classify(behind(Failure("x", status_code=401), ConnectionResetError())).rule == "http/unauthorized"


def test_a_cause_decides_where_the_exception_says_nothing():
    """A framework's wrapper is looked through, however many there are."""
    error = behind(RuntimeError("agent failed"), behind(Failure("step failed"), Failure("x", status_code=503)))
    assert classify(error).rule == "http/unavailable"


# Wrappers as libraries make them


def from_package(name, package, *bases):
    return type(name, bases or (Exception,), {"__module__": package})


RATE_LIMITED = {"status_code": 429, "headers": {"retry-after": "7"}, "body": {"error": {"code": "rate_limit_exceeded"}}}


def retry_error(inner):
    @tenacity.retry(stop=tenacity.stop_after_attempt(1))
    def ask():
        raise inner

    with pytest.raises(tenacity.RetryError) as caught:
        ask()
    caught.value.__cause__ = caught.value.__context__ = None
    return caught.value


def holding(kind, name, inner, *args):
    error = kind(*args)
    setattr(error, name, inner)
    return error


WRAPPERS = {
    "langchain": lambda inner: behind(
        from_package("OutputParserException", "langchain_core.exceptions", ValueError)("failed"), inner
    ),
    "langchain, twice": lambda inner: behind(RuntimeError("chain failed"), behind(ValueError("step failed"), inner)),
    "instructor": from_package("InstructorRetryException", "instructor.exceptions"),
    "instructor on tenacity": lambda inner: behind(
        from_package("InstructorRetryException", "instructor.exceptions")("RetryError[<Future>]"), retry_error(inner)
    ),
    "tenacity": retry_error,
    "tenacity behind": lambda inner: behind(RuntimeError("gave up"), retry_error(inner)),
    "litellm": lambda inner: holding(
        from_package("MidStreamFallbackError", "litellm.exceptions"), "original_exception", inner, "stream"
    ),
    "sqlalchemy": lambda inner: holding(from_package("DBAPIError", "sqlalchemy.exc"), "orig", inner, "statement"),
    "urllib3": lambda inner: holding(from_package("MaxRetryError", "urllib3.exceptions"), "reason", inner, "gave up"),
    "arguments": lambda inner: RuntimeError("while asking the model", inner),
    "group": lambda inner: behind(
        RuntimeError("agent failed"), ExceptionGroup("unhandled errors in a TaskGroup", [inner])
    ),
    "group of groups": lambda inner: behind(
        RuntimeError("agent failed"), ExceptionGroup("outer", [ExceptionGroup("inner", [inner])])
    ),
    "group held": lambda inner: RuntimeError(ExceptionGroup("g", [inner])),
    "wrapper in a group": lambda inner: ExceptionGroup("g", [behind(RuntimeError("step failed"), inner)]),
    "group behind a member": lambda inner: ExceptionGroup(
        "g", [behind(RuntimeError("x"), ExceptionGroup("h", [inner]))]
    ),
}
INNER = {
    "429": (lambda: Failure("x", **RATE_LIMITED), RETRYABLE),
    "401": (lambda: Failure("x", status_code=401), STOP),
    "quota": (lambda: Failure("x", status_code=429, body={"error": {"code": "insufficient_quota"}}), FATAL),
    "too long": (lambda: Failure("x", status_code=400, body={"error": {"code": "context_length_exceeded"}}), DEGRADED),
    "reset": (lambda: ConnectionResetError("reset"), RETRYABLE),
    "bug": (lambda: KeyError("choices"), STOP),
}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_is_looked_through(wrapper, inner):
    """Whatever a framework wraps around it, the failure itself decides, and its wait is known."""
    make, expected = INNER[inner]
    alone = classify(make())
    verdict = classify(WRAPPERS[wrapper](make()))
    assert verdict.error_type is expected
    assert verdict.retry_after == alone.retry_after
    if inner != "bug":  # of a bug, wrappers print the class name, which other rules know as well
        assert verdict.rule == alone.rule


def test_the_gravest_member_of_a_group_behind_a_wrapper_decides():
    """A group that is a cause is judged like a group."""  # A42
    group = ExceptionGroup("g", [TimeoutError(), Failure("x", status_code=401), Failure("x", status_code=503)])
    assert classify(behind(RuntimeError("agent failed"), group)).error_type is STOP
    stopped = BaseExceptionGroup("g", [TimeoutError(), asyncio.CancelledError()])
    assert classify(behind(RuntimeError("agent failed"), stopped)).error_type is STOP


def test_a_wrapper_that_knows_more_than_a_group_decides():
    """Where the exception itself fits a rule, the group behind it is not asked."""
    group = ExceptionGroup("g", [TimeoutError()])
    assert classify(behind(Failure("x", status_code=401), group)).rule == "http/unauthorized"


def test_groups_behind_members_of_groups_end():
    """A group whose member leads back to it has a verdict."""
    member = RuntimeError("x")
    group = ExceptionGroup("g", [member, TimeoutError()])
    member.__cause__ = group
    assert isinstance(classify(group), Classification)
    assert isinstance(classify(member), Classification)


def test_what_a_wrapper_says_of_a_database_is_read_from_what_it_holds():
    """SQLAlchemy's error is judged by the driver's."""
    base = from_package("Error", "psycopg")
    driver = from_package("OperationalError", "psycopg", base)("deadlock detected")
    driver.sqlstate = "40001"
    error = holding(from_package("OperationalError", "sqlalchemy.exc"), "orig", driver, "(psycopg.OperationalError) x")
    assert classify(error).rule == "stores/conflict"


def test_the_words_of_a_wrapper_come_after_the_status_of_its_cause():
    """'Not found' in a wrapper's message does not hide the 503 behind it."""
    assert classify(behind(RuntimeError("answer not found"), Failure("x", status_code=503))).rule == "http/unavailable"


def test_the_context_counts_like_a_cause():
    """An error raised while another was handled is judged with that one."""

    def wrapped():
        try:
            raise ConnectionResetError("reset")
        except ConnectionResetError:
            raise RuntimeError("agent failed")  # noqa: B904

    with pytest.raises(RuntimeError) as caught:
        wrapped()
    assert classify(caught.value).error_type is RETRYABLE


def test_a_suppressed_context_does_not_count():
    """`from None` says that the other error has nothing to do with it."""

    def wrapped():
        try:
            raise ConnectionResetError("reset")
        except ConnectionResetError:
            raise RuntimeError("agent failed") from None

    with pytest.raises(RuntimeError) as caught:
        wrapped()
    assert classify(caught.value).rule == "unknown/local"


def test_a_bug_that_was_caused_by_the_network_stops():
    """A KeyError while a timeout was handled is a bug all the same."""
    error = KeyError("answer")
    error.__context__ = TimeoutError()
    assert classify(error).rule == "local/programming"


@pytest.mark.parametrize("by", ["__cause__", "__context__"])
def test_a_circle_of_causes_is_answered(by):
    """A chain that leads back to itself has a verdict."""
    one, other = ValueError("a"), ConnectionResetError("b")
    setattr(one, by, other)
    setattr(other, by, one)
    assert classify(one).error_type is RETRYABLE


def test_a_thousand_causes_are_answered_quickly():
    """A chain of a thousand links has a verdict within 50 ms."""
    error = ConnectionResetError("the first")
    for number in range(1000):
        error = behind(ValueError(str(number)), error)
    begun = time.process_time()
    verdict = classify(error)
    assert time.process_time() - begun < 0.05
    assert isinstance(verdict, Classification)


# Groups


def test_a_group_is_retried_only_if_every_member_may_be():
    """One member for good stops the whole group."""  # A42
    good = [ConnectionResetError(), Failure("x", status_code=503)]
    assert classify(ExceptionGroup("g", good)).error_type is RETRYABLE
    assert classify(ExceptionGroup("g", [*good, Failure("x", status_code=401)])).error_type is STOP
    assert classify(ExceptionGroup("g", [KeyError("x"), *good])).error_type is STOP
    assert classify(ExceptionGroup("g", [*good, ExceptionGroup("h", [ValueError()])])).error_type is STOP


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [((503, 429), RETRYABLE), ((503, 413), DEGRADED), ((413, 400), STOP), ((400, 402), FATAL), ((402, 503), FATAL)],
)
def test_the_gravest_member_of_a_group_decides(statuses, expected):
    """Of several failures the gravest counts, in any order."""  # A42
    members = [Failure("x", status_code=status) for status in statuses]
    assert classify(ExceptionGroup("g", members)).error_type is expected
    assert classify(ExceptionGroup("g", members[::-1])).error_type is expected


@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_a_cancelled_member_ends_a_group(kind):
    """A group with a cancellation in it is not retried."""  # A42
    group = BaseExceptionGroup("g", [ConnectionResetError(), BaseExceptionGroup("h", [kind()])])
    assert classify(group).error_type is STOP


def test_a_group_of_one_is_that_one():
    """A task group's wrapper around one failure changes nothing."""
    verdict = classify(ExceptionGroup("unhandled errors in a TaskGroup", [Failure("x", status_code=429)]))
    assert verdict.rule == "http/too-many-requests"


def test_a_group_says_that_others_failed_too():
    """The reason names how many failures were weighed."""
    verdict = classify(ExceptionGroup("g", [TimeoutError(), Failure("x", status_code=402)]))
    assert verdict.rule == "http/payment-required"
    assert "2 failures" in verdict.because


def test_a_group_has_the_smallest_limit_of_its_members():
    """A member that deserves one more try deserves no more in a group."""
    assert classify(ExceptionGroup("g", [TimeoutError(), OSError("unknown")])).at_most == 1


@pytest.mark.parametrize("place", [0, 250, 499])
def test_a_member_of_a_large_group_is_not_overlooked(place):
    """Among five hundred transient failures the one for good still decides."""  # A42
    members = [TimeoutError() for _ in range(500)]
    members[place] = Failure("x", status_code=401)
    assert classify(ExceptionGroup("g", members)).error_type is STOP


def test_a_deep_group_is_answered():
    """A thousand groups around one failure have its verdict."""
    group = Failure("x", status_code=429)
    for _ in range(1000):
        group = ExceptionGroup("deeper", [group])
    assert classify(group).rule == "http/too-many-requests"


SEVERITY = [RETRYABLE, DEGRADED, STOP, FATAL]
MEMBERS = st.sampled_from(
    [
        TimeoutError,
        lambda: Failure("x", status_code=429, headers={"retry-after": "3"}),
        lambda: Failure("x", status_code=503),
        lambda: Failure("x", status_code=413),
        lambda: Failure("x", status_code=401),
        lambda: Failure("x", status_code=402),
        lambda: OSError("?"),
        lambda: KeyError("x"),
        asyncio.CancelledError,
    ]
)
SHAPES = st.recursive(MEMBERS, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8)


@given(SHAPES)
def test_a_group_is_as_grave_as_its_gravest_member(shape):
    """For any nesting: retried only if every leaf is, ended by a cancelled leaf, and waiting for the longest."""  # A42
    verdicts = []

    def build(part):
        if isinstance(part, list):
            return BaseExceptionGroup("g", [build(inner) for inner in part])
        error = part()
        verdicts.append((classify(error), isinstance(error, asyncio.CancelledError)))
        return error

    verdict = classify(build(shape))
    assert verdict.error_type is max((one.error_type for one, _ in verdicts), key=SEVERITY.index)
    assert (verdict.error_type is RETRYABLE) is all(one.error_type is RETRYABLE for one, _ in verdicts)
    assert not (any(cancelled for _, cancelled in verdicts) and verdict.error_type in {RETRYABLE, DEGRADED})
    assert verdict.retry_after == max((one.retry_after for one, _ in verdicts if one.retry_after), default=None)


# Hostile exceptions


class Locked(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __str__(self):
        raise RuntimeError("no words")


def without_module():
    """A class that was made by `exec`: Python says that it is one of its own."""
    made = {}
    exec("class Made(Exception):\n def __getattribute__(self, name):\n  raise RuntimeError(name)", made)
    return made["Made"]


class Compared(type):
    def __eq__(cls, other):
        return cls is other

    __hash__ = None


class Unhashable(Exception, metaclass=Compared):
    """Its class has no hash, as the author of its metaclass has forgotten one."""


class Hiding(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=Hiding):
    """Its class does not tell its name."""


class Unbound:
    @property
    def __class__(self):
        raise RuntimeError("working outside of request context")

    def __getattr__(self, name):
        raise RuntimeError("working outside of request context")


@pytest.mark.parametrize(
    "make",
    [
        Locked,
        lambda: behind(ValueError("x"), Locked()),
        lambda: ExceptionGroup("g", [Locked()]),
        lambda: Failure("x", response=Unbound()),
        lambda: Failure("x", body=Unbound(), headers=Unbound()),
        lambda: Failure(Unbound()),
        without_module(),
        lambda: Unhashable("x"),
        lambda: behind(ValueError("x"), Unhashable("x")),
        lambda: Nameless("x"),
    ],
    ids=[
        *("locked", "locked cause", "locked member", "proxy as response", "proxies", "proxy as message"),
        *("locked, of no module", "unhashable class", "unhashable cause", "nameless class"),
    ],
)
def test_a_hostile_exception_has_a_verdict(make):
    """Whatever an exception does when it is looked at, there is an answer."""
    assert isinstance(classify(make()), Classification)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        "status_code",
        "status",
        "code",
        "type",
        "response",
        "headers",
        "body",
        "error",
        "errno",
        "orig",
        "reason",
        "last_attempt",
    ]
)


@given(st.text(max_size=60), st.dictionaries(PLACES, ODD, max_size=4), st.dictionaries(PLACES, ODD, max_size=3))
def test_any_exception_has_one_verdict(text, shown, within):
    """Whatever an exception shows: a verdict with a name and a reason, a usable wait or none, and twice the same."""
    shown = {"response": Failure(**within), **shown}
    first, second = classify(Failure(text, **shown)), classify(Failure(text, **shown))
    assert first.rule
    assert first.because
    assert first.retry_after is None or 0 < first.retry_after <= 366 * 86_400
    assert (first.error_type, first.rule, first.retry_after) == (second.error_type, second.rule, second.retry_after)


@pytest.mark.parametrize(
    "text",
    [
        "retry" + " " * 3990,
        "again" + " " * 3990,
        "请" + "5s " * 1300,
        "retry after " * 330,
        "Limit 1" * 560 + " Requested 5",
        "code" + "\\" * 3990,
        "aA" * 2000,
    ],
    ids=lambda text: text[:12],
)
def test_no_message_makes_a_verdict_slow(text):
    """A message that was made to be hard to read is judged as quickly as another."""
    took = []
    for _ in range(3):
        error = Failure(text + str(len(took)), status_code=429)
        begun = time.process_time()
        verdict = classify(error)
        took.append(time.process_time() - begun)
    assert verdict.error_type is not None
    assert min(took) < 0.05


def test_a_failing_str_does_not_hide_the_status():
    """An exception that cannot be printed is judged by what else it shows."""

    class Mute(Exception):
        status_code = 429

        def __str__(self):
            raise ValueError("no words")

    assert classify(Mute()).rule == "http/too-many-requests"


@pytest.mark.parametrize(
    "shown",
    [
        {"body": "x" * 10_000_000},
        {"body": {"error": {"code": "server_error", "message": "x" * 10_000_000}}},
        {"message": "timeout " * 1_250_000},
    ],
    ids=["text", "dict", "message"],
)
def test_ten_megabytes_are_judged_within_fifty_milliseconds(shown):
    """A huge body or message is no reason to wait for a verdict."""
    error, took = Failure(**shown), []
    for _ in range(3):
        begun = time.process_time()
        verdict = classify(error)
        took.append(time.process_time() - begun)
    assert min(took) < 0.05
    assert isinstance(verdict, Classification)


# How a verdict was reached


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), Failure("x", status_code=429), Failure("bad gateway"), Failure("x"), OSError("?"), KeyError("x")],
    ids=repr,
)
def test_what_was_read_is_what_was_judged(error):
    """`read` gives the rule of the verdict, and the evidence that it decided on."""
    reading, verdict = ErrorClassifier().read(error), classify(error)
    assert (reading.rule.name, reading.rule.then) == (verdict.rule, verdict.error_type)
    assert reading.evidence is reading.case.first


def test_the_evidence_behind_the_exception_is_named():
    """Where a cause decided, the reading leads to that link."""
    inner = Failure("x", status_code=503)
    reading = ErrorClassifier().read(behind(RuntimeError("agent failed"), inner))
    assert reading.evidence.error is inner


# The classifier as an object


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_classifier_survives_pickle_and_copies(way):
    """A classifier can be sent to a worker process, with its rules and its default."""
    classifier = way(ErrorClassifier(BackoffConfig(base_delay_ms=5), rules=[WARMING_UP]))
    assert classifier.classify(Failure("warming up", status_code=400)).rule == "ours/warming-up"
    assert classifier.classify(OSError("?")).backoff.base_delay_ms == 5


def test_a_classifier_is_shared_by_threads():
    """Many threads may ask one classifier at once."""
    classifier, found = ErrorClassifier(rules=[WARMING_UP]), []

    def ask():
        found.extend(classifier.classify(Failure("warming up", status_code=400)).rule for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["ours/warming-up"] * 400


def test_judging_leaves_the_exception_as_it_was():
    """An exception is looked at and not touched: no note, no attribute, no cause."""
    error = Failure("x", status_code=429)
    before = dict(error.__dict__)
    classify(error)
    assert error.__dict__ == before
    assert error.__cause__ is error.__context__ is error.__traceback__ is None


# The real SDKs, over a real socket

ASK = [{"role": "user", "content": "hello"}]


def chat(client, **options):
    return client.chat.completions.create(model="m", messages=ASK, **options)


def message(client, **options):
    return client.messages.create(model="m", max_tokens=9, messages=ASK, **options)


def failing(sdk, step, *, stream=False):
    """What an SDK raises when the server does that."""
    with FakeLLM([step], then=Answer("too late")) as llm:
        if sdk == "openai":
            client, ask = openai.OpenAI(base_url=llm.openai_base_url, api_key="k", max_retries=0), chat
        else:
            client, ask = anthropic.Anthropic(base_url=llm.anthropic_base_url, api_key="k", max_retries=0), message
        with client, pytest.raises(Exception) as caught:
            answer = ask(client, stream=stream)
            if stream:
                list(answer)
        return caught.value


QUOTA = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "You exceeded your quota"}}
TOO_LONG = {"error": {"code": "context_length_exceeded", "type": "invalid_request_error", "message": "too long"}}
REPLIES = {
    "429": (Status(429, headers={"retry-after": "2"}), RETRYABLE),
    "500": (Status(500), RETRYABLE),
    "502": (Status(502, "<html>Bad Gateway</html>"), RETRYABLE),
    "503": (Status(503), RETRYABLE),
    "529": (Status(529), RETRYABLE),
    "400": (Status(400), STOP),
    "401": (Status(401), STOP),
    "402": (Status(402), FATAL),
    "403": (Status(403), STOP),
    "404": (Status(404, body={"error": {"message": "no such page"}}), STOP),
    "409": (Status(409), RETRYABLE),
    "413": (Status(413), DEGRADED),
    "quota": (Status(429, QUOTA), FATAL),
    "too long": (Status(400, TOO_LONG), DEGRADED),
    "reset": (Reset(), RETRYABLE),
    "reset in the body": (Reset(when="mid-body"), RETRYABLE),
    "cut body": (CutStream(after=1), RETRYABLE),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_the_sdks_errors_are_understood(sdk, reply):
    """What the official SDKs raise for each kind of failure has the right verdict."""
    step, expected = REPLIES[reply]
    error = failing(sdk, step)
    assert type(error).__module__.startswith(sdk)
    assert classify(error).error_type is expected


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "1200", "retry-after": "2"}, 1.2),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_wait_that_a_server_names_is_read_from_the_sdks_errors(sdk, headers, seconds):
    """Headers reach the verdict through both SDKs."""
    error = failing(sdk, Status(429, headers=headers))
    assert classify(error).retry_after == seconds


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_date_that_a_server_names_is_read_from_the_sdks_errors(sdk):
    """An HTTP date reaches the verdict as seconds."""
    error = failing(sdk, Status(429, headers={"retry-after": email.utils.formatdate(time.time() + 60, usegmt=True)}))
    assert 50 < classify(error).retry_after <= 61


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_server_that_is_not_there_is_retried(sdk):
    """A refused connection is transient."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers here
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        if sdk == "openai":
            client, ask = openai.OpenAI(base_url=url, api_key="k", max_retries=0), chat
        else:
            client, ask = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0), message
        with client, pytest.raises(Exception) as caught:
            ask(client)
    assert classify(caught.value).error_type is RETRYABLE


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, RETRYABLE),
        ({"type": "api_error", "message": "Internal server error"}, RETRYABLE),
        ({"type": "invalid_request_error", "message": "no"}, STOP),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "message": "no"}, FATAL),
    ],
    ids=["overloaded", "api_error", "invalid", "quota"],
)
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_an_error_event_in_a_stream_is_judged_by_its_body(sdk, error, expected):
    """After a status 200, the event's own type decides, in both SDKs."""  # A47
    raised = failing(sdk, StreamError(after=1, error=error), stream=True)
    assert getattr(raised, "status_code", 200) == 200
    assert classify(raised).error_type is expected


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_stream_that_is_cut_is_retried(sdk, reset):
    """A stream that breaks off is transient, even where an SDK lets its HTTP library's error through."""
    raised = failing(sdk, CutStream(after=1, reset=reset), stream=True)
    verdict = classify(raised)
    assert verdict.error_type is RETRYABLE
    assert verdict.rule.startswith("network/")


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("step", [StreamError(after=1), CutStream(after=1), CutStream(after=1, reset=True)], ids=repr)
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_a_stream_that_fails_in_a_coroutine_is_retried(sdk, step):
    """The asynchronous clients' broken streams are understood under both event loops."""
    async with FakeLLM([step]) as llm:
        if sdk == "openai":
            client, ask = openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="k", max_retries=0), chat
        else:
            url = llm.anthropic_base_url
            client, ask = anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0), message
        async with client:
            with pytest.raises(Exception) as caught:
                async for _ in await ask(client, stream=True):
                    pass
    assert classify(caught.value).error_type is RETRYABLE


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_client_that_lost_patience_is_retried(sdk):
    """The SDKs' own timeout errors are transient."""
    with FakeLLM([Answer("late", delay=5)]) as llm:
        if sdk == "openai":
            client = openai.OpenAI(base_url=llm.openai_base_url, api_key="k", max_retries=0, timeout=0.05)
            ask = chat
        else:
            client = anthropic.Anthropic(base_url=llm.anthropic_base_url, api_key="k", max_retries=0, timeout=0.05)
            ask = message
        with client, pytest.raises(Exception) as caught:
            ask(client)
    assert classify(caught.value).rule == "network/timeout"
