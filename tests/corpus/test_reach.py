"""No rule is dead: each one decides a failure of the corpus, or a small one here that imitates a sighting."""

import contextlib
import errno

import pytest

from resilient_agent import ErrorClassifier
from resilient_agent.classify.knowledge import EXACT, UNKNOWN, WIDE

RULES = [rule.name for rule in (*EXACT, *WIDE, *UNKNOWN)]
# For rules that no row reaches: the rule, an exception's description (making.py), and where such a one was seen.
IMITATED = [
    ("local/cancelled", {"exc_type": "asyncio.CancelledError"}, "a task that was cancelled from outside"),
    ("local/try-again", {"exc_type": "tenacity.TryAgain"}, "tenacity's documentation: raise TryAgain"),
    (
        "local/circuit-open",
        {"exc_type": "text:resilient_agent.errors.CircuitOpen", "message": "circuit breaker 'gpt-4o' is open"},
        "out of a decorated function inside",
    ),
    (
        "local/session",
        {
            "exc_type": "text:resilient_agent.errors.OutcomeUnknown",
            "message": "ask('rate limit exceeded, try again') was started and no result of it was saved",
        },
        "out of session.once, inside of a decorated function",
    ),
    (
        "local/offline",
        {
            "exc_type": "text:huggingface_hub.errors.OfflineModeIsEnabled",
            "message": "Cannot reach https://huggingface.co/api/models/gpt2: offline mode is enabled.",
        },
        "huggingface_hub with HF_HUB_OFFLINE set",
    ),
    (
        "stores/refused-connection",
        {
            "exc_type": "text:psycopg.OperationalError",
            "message": 'connection failed: FATAL:  database "agents" does not exist',
        },
        "psycopg 3 at a server without that database",
    ),
    (
        "stores/lock-lost",
        {
            "exc_type": "text:redis.exceptions.LockNotOwnedError",
            "message": "Cannot release a lock that's no longer owned",
        },
        "redis-py, lock.py",
    ),
    (
        "request/refused-class",
        {"exc_type": "openai.ContentFilterFinishReasonError"},
        "openai-python's parse() of an answer that its filter ended",
    ),
    (
        "limits/larger-than-the-limit",
        {
            "exc_type": "text:app.errors.CallTooLarge",
            "message": "This request is too large for your current plan. Please shorten your input and try again,"
            " or upgrade your plan for higher per-call limits.",
        },
        "a public repository's gateway",
    ),
    (
        "credit/plan-share",
        {"exc_type": "text:app.AnswerError", "message": "您已达到每周/每月使用上限", "attrs": {"status_code": 429}},
        "Zhipu's 1310, through a gateway that leaves out the code",
    ),
    (
        "http/told-not-to",
        {
            "exc_type": "httpx.HTTPStatusError",
            "message": "",
            "response": {"status": 500, "headers": {"x-should-retry": "false"}},
        },
        "the OpenAI and Anthropic SDKs' _should_retry",
    ),
    (
        "http/not-implemented",
        {"exc_type": "httpx.HTTPStatusError", "message": "", "response": {"status": 501}},
        "RFC 9110, section 15.6.2",
    ),
    (
        "network/system",
        {"exc_type": "builtins.OSError", "errno": errno.EBUSY, "message": "Device or resource busy"},
        "Linux, a mount in use",
    ),
]


def test_every_rule_is_reached(corpus):
    """Each rule decides at least one row, or an imitated failure where no row has one."""
    reached = _reached(corpus) | {name for name, _, _ in IMITATED}
    assert [name for name in RULES if name not in reached] == []


def test_what_is_imitated_is_in_no_row(corpus):
    """A rule that a row reaches meanwhile is taken from the table."""
    reached = _reached(corpus)
    assert [name for name, _, _ in IMITATED if name in reached] == []


@pytest.mark.parametrize(("rule", "spec", "seen"), IMITATED, ids=[rule for rule, _, _ in IMITATED])
def test_an_imitated_failure_reaches_its_rule(helper, rule, spec, seen):
    """A failure as it was seen is decided by the rule that was written for it."""
    assert ErrorClassifier().classify(helper("making").make(spec)).rule == rule, seen


def _reached(corpus):
    """Give the names of the rules that decide rows; of a group that is the rule of its gravest member."""
    classifier, reached = ErrorClassifier(), set()
    for row in corpus.load():
        with contextlib.suppress(corpus.AbsentRow):
            reached.add(classifier.classify(corpus.build(row)).rule)
    return reached
