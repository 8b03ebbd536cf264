"""`explain` tells a person what was seen, which rule won, what came near, and what is waited for."""

import pytest

from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType, Rule, When, explain

TRACEBACK = """
Traceback (most recent call last):
  File "/srv/agent/net.py", line 3, in connect
    sock.connect(address)
ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/agent/main.py", line 9, in <module>
    ask()
    ~~~^^
openai.APIConnectionError: Connection error.
"""


class Failure(Exception):
    """An SDK's error: what is given becomes its attributes."""

    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def test_it_shows_the_evidence_the_rule_the_reason_and_the_wait():
    """What decided stands first, then what was seen."""
    error = Failure(
        "slow down", status_code=429, headers={"Retry-After": "2"}, body={"error": {"code": "rate_limited"}}
    )
    told = str(explain(error))
    for shown in (
        "retryable: ",
        "limits/rate-limit, by code 'rate_limited'",
        "status 429, codes rate_limited",
        "2 s, named by",
    ):
        assert shown in told


def test_it_agrees_with_the_classifier():
    """An explanation carries the very judgement."""
    error = Failure(status_code=503)
    assert vars(explain(error).verdict) == vars(ErrorClassifier().classify(error))


def test_a_rule_that_fits_as_well_is_a_near_miss():
    """The 429 that lost to `insufficient_quota` is named, with why it lost."""
    error = Failure(status_code=429, body={"error": {"code": "insufficient_quota"}})
    missed = {miss.rule: miss for miss in explain(error).near_misses}
    assert missed["http/too-many-requests"].then is ErrorType.RETRYABLE
    assert "later" in missed["http/too-many-requests"].why


def test_a_rule_that_lacks_something_is_a_near_miss():
    """A rule whose words are there and whose status is not says what it asks for."""
    own = Rule("ours/asleep", When(status=400, words=("shard is asleep",)), "retryable", "it wakes up")
    told = explain(Failure("the shard is asleep", status_code=403), classifier=ErrorClassifier(rules=[own]))
    missed = {miss.rule: miss.why for miss in told.near_misses}
    assert missed["ours/asleep"] == "asks for another status than 403"


def test_the_link_that_decided_is_pointed_out():
    """Behind a connection error stands the certificate that decided."""
    told = str(explain(TRACEBACK))
    assert told.startswith("non_retryable: the server's certificate")
    assert "behind it, ssl.SSLCertVerificationError, which decided" in told


def test_the_wait_by_backoff_is_listed():
    """Without a wait of the server's, the curve is shown and its limit."""
    assert explain(TimeoutError()).wait == "0.5, 0.75, 1.125 s, by its backoff (with jitter), 3 retries at most"


def test_a_limit_of_no_retries_has_no_wait():
    """Where the rule's own limit is 0, nothing is waited for, though it would be worth a retry."""
    once = Rule("ours/once", When(status=400), "retryable", "it may pass", backoff=BackoffConfig(max_retries=0))
    told = explain(Failure("no", status_code=400), classifier=ErrorClassifier(rules=[once]))
    assert told.wait == "none: its limit is 0 retries"


def test_what_is_not_tried_again_is_not_waited_for():
    """A degraded verdict says so, with the wait that the server names all the same."""
    error = Failure("requests per day (RPD): Limit 50, Used 50. Try again in 7m12s.", status_code=429)
    assert explain(error).wait == "none: it is not tried again; the server names 432 s"


@pytest.mark.parametrize(
    ("text", "status", "rule"),
    [
        ('{"error": {"code": "insufficient_quota", "message": "You have no quota"}}', None, "credit/out-of-credit"),
        ("upstream connect error", 403, "server/lost-behind"),
        ("something", 404, "http/not-found"),
        ("TimeoutError", None, "local/timeout"),
        ("KeyError: 'timeout'", None, "local/programming"),
        ("OSError: [Errno 28] No space left on device: '/x'", None, "local/disk-full"),
        ("litellm.ServiceUnavailableError: Together_aiException - down", None, "wording/service-unavailable"),
        ("2026-01-01 12:00 ERROR 账户余额不足, 请充值", None, "credit/spent"),
        ("UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff", None, "local/programming"),
    ],
)
def test_pasted_text_is_judged_like_the_error_that_it_tells_of(text, status, rule):
    """A line of a log, a body, a class name with its message: each is read as what it is."""
    assert explain(text, status=status).verdict.rule == rule


def test_a_group_is_explained_by_its_gravest_member():
    """What stops the group is what is shown."""
    told = explain(ExceptionGroup("both", [TimeoutError(), OSError(28, "No space left on device")]))
    assert told.verdict.rule == "local/disk-full"
    assert any("errno 28" in line for line in told.evidence)


@pytest.mark.parametrize("turn", [1, -1])
def test_among_equals_of_a_group_the_one_that_decided_is_explained(turn):
    """The rule, where it was seen, and the evidence are those of one member: the one that waits longest."""
    members = [ConnectionResetError("reset"), Failure("slow down", status_code=429)]
    told = explain(ExceptionGroup("both", members[::turn]))
    assert told.verdict.rule == "http/too-many-requests"
    assert told.grounds == "status 429"
    assert told.seen == explain(members[1]).seen
    assert "Failure: slow down" in told.evidence[0]


def test_long_messages_are_cut():
    """Ten megabytes do not flood a terminal."""
    assert len(str(explain(Failure("x" * 10_000_000, status_code=500)))) < 2_000


@pytest.mark.parametrize("empty", ["", "  \n "])
def test_an_empty_text_is_refused(empty):
    """Nothing can be said of nothing."""
    with pytest.raises(ValueError, match="paste a traceback"):
        explain(empty)


@pytest.mark.parametrize("given", [None, 5, b"x", ValueError])
def test_what_is_neither_error_nor_text_is_refused(given):
    """The TypeError shows what was given."""
    with pytest.raises(TypeError, match="an exception or a text"):
        explain(given)


def test_an_exception_has_its_own_status():
    """A status beside an exception is a mistake, and it is said."""
    with pytest.raises(ValueError, match="has its own"):
        explain(ValueError("x"), status=429)
