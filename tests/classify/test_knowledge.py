"""What the built-in rows promise: each is named, says where it was seen, and can be reached."""

import pytest

from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.knowledge import EXACT, NON_RETRYABLE, RETRYABLE, UNKNOWN, WIDE
from resilient_agent.classify.rulebook import Rulebook

ROWS = (*EXACT, *WIDE, *UNKNOWN)
# The rooms of the folder, as they stand before the `/` of a name.
ROOMS = {
    *("access", "classes", "credit", "http", "limits", "local", "models", "network", "request", "server", "size"),
    *("stores", "tools", "unknown"),
}


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_every_row_says_where_it_was_seen(rule):
    """Each row has a name behind a room, a reason that is a sentence, and a source."""
    room, _, name = rule.name.partition("/")
    assert room in ROOMS
    assert name
    assert name == name.lower().strip()
    assert len(rule.because.split()) > 2
    assert rule.seen


def test_no_two_rows_have_the_same_name():
    """A name in a note or a log leads to one row."""
    names = [rule.name for rule in ROWS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_only_what_is_tried_again_has_a_curve(rule):
    """A row that stops says nothing about waiting; one that retries and is known says how."""
    if rule.then is not ErrorType.RETRYABLE:
        assert rule.backoff is None
    elif rule.at_most is None and rule.when.types != ("tenacity.TryAgain",):
        assert rule.backoff is not None


def test_no_code_stands_twice_in_one_row():
    """A word that is written down twice is a slip of the pen."""
    for rule in ROWS:
        for values in (rule.when.codes, rule.when.types, rule.when.needles, rule.when.also, rule.when.unless):
            assert len(values) == len(set(values)), rule.name


def by_codes_alone():
    return [(rule, code) for rule in EXACT if rule.when.asked() == ("codes",) for code in rule.when.codes]


@pytest.mark.parametrize(
    ("rule", "code"), by_codes_alone(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_code_of_a_row_can_be_reached(rule, code):
    """A failure that shows nothing but this code is judged as the row says, in the provider's style too."""
    for sent in (code, code.upper()):
        verdict = ErrorClassifier().classify(Failure(body={"error": {"code": sent}}))
        assert verdict.error_type is rule.then, verdict.rule


def by_codes_of_a_class():
    rows = [rule for rule in EXACT if rule.when.asked() == ("codes", "types")]
    return [(rule, code) for rule in rows for code in rule.when.codes]


@pytest.mark.parametrize(
    ("rule", "code"), by_codes_of_a_class(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_code_of_a_row_for_a_class_can_be_reached(rule, code):
    """An error of such a class with this code is judged by that row, whatever the case of the code."""
    package, _, name = rule.when.types[0].replace("*", "ConnectionClosed").rpartition(".")
    for sent in (code, code.upper()):
        error = type(name, (Exception,), {"__module__": package or "somewhere"})()
        error.sqlstate = sent
        assert ErrorClassifier().classify(error).rule == rule.name


def by_words_alone():
    return [
        (rule, phrase)
        for rule in EXACT
        if rule.when.asked() in {("words",), ("words", "unless")}
        for phrase in rule.when.words
    ]


@pytest.mark.parametrize(
    ("rule", "phrase"), by_words_alone(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_phrase_of_a_row_can_be_reached(rule, phrase):
    """A failure that says nothing but this phrase is judged as the row says."""
    verdict = ErrorClassifier().classify(Failure(phrase.rstrip("*")))
    assert verdict.error_type is rule.then, verdict.rule


def by_class_alone():
    rows = [rule for rule in (*EXACT, *WIDE) if rule.when.asked() == ("types",)]
    return [(rule, name) for rule in rows for name in rule.when.types if not name.endswith("*")]


@pytest.mark.parametrize(
    ("rule", "name"), by_class_alone(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_class_of_a_row_can_be_reached(rule, name):
    """A class of that name, without a word or a status, is judged as the row says."""
    package, _, bare = name.rpartition(".")
    error = type(bare, (Exception,), {"__module__": package or "somewhere"})()
    verdict = ErrorClassifier().classify(error)
    assert verdict.error_type is rule.then, verdict.rule


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_has_a_row(status):
    """No HTTP error is left to the phrases or to the unknown."""
    assert ErrorClassifier().classify(Failure(status_code=status)).rule.startswith("http/")


@pytest.mark.parametrize("outside", [True, False])
def test_the_unknown_always_has_a_row(outside):
    """Whatever fits nothing came from outside, or it did not."""
    error = Failure(request=object()) if outside else Failure()
    found = Rulebook(UNKNOWN).first(Evidence(error))
    assert found is not None
    assert found.when.outside is outside


@pytest.mark.parametrize(
    ("phrases", "expected"),
    [
        (("rate limit", "too many requests", "429"), BackoffConfig(5000, 120_000, 2.0, max_retries=5)),
        (
            ("timed out", "timeout", "connection error", "connection reset"),
            BackoffConfig(500, 10_000, 1.5, max_retries=3),
        ),
        (("server disconnected",), BackoffConfig(1000, 30_000, 2.0, max_retries=3)),
        (("internal server error",), BackoffConfig(2000, 30_000, 2.0, max_retries=3)),
        (("service unavailable",), BackoffConfig(2000, 60_000, 2.0, max_retries=3)),
        (
            ("temporarily unavailable", "bad gateway", "gateway timeout"),
            BackoffConfig(1000, 30_000, 2.0, max_retries=3),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_phrases_and_their_backoff_are_those_of_the_reference(phrases, expected):
    """Each row of the reference's table is there with its numbers."""
    assert {phrase: RETRYABLE[phrase] for phrase in phrases} == dict.fromkeys(phrases, expected)


def test_the_tables_hold_the_references_phrases_and_no_others():
    """Thirteen phrases are retried, eight are not."""
    assert len(RETRYABLE) == 13
    assert set(NON_RETRYABLE) == {
        "unauthorized",
        "authentication",
        "invalid api key",
        "forbidden",
        "not found",
        "validation error",
        "bad request",
        "402",
    }
