"""Rows of knowledge: when one fits, and what the built-in ones promise."""

import copy
import dataclasses
import errno
import pickle

import pytest

from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType, Rule, When
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.knowledge import NON_RETRYABLE, RETRYABLE, RULES, UNKNOWN


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def fits(when, error, *causes):
    return when.fits(Evidence(error, causes))


# When


@pytest.mark.parametrize("status", [429, (429, 503), range(400, 500), frozenset({429})], ids=repr)
def test_a_status_is_asked_for_as_one_as_several_or_as_a_range(status):
    """One status, a tuple, a range and a frozenset all fit by containing it."""
    assert fits(When(status=status), Failure(status_code=429))
    assert not fits(When(status=status), Failure(status_code=500))
    assert not fits(When(status=status), Failure("429"))


def test_codes_fit_in_any_case():
    """Words of the body are compared in lower case, on both sides."""
    when = When(codes=("Model_Warming_Up",))
    assert fits(when, Failure(body={"error": {"code": "MODEL_WARMING_UP"}}))
    assert not fits(when, Failure(body={"error": {"code": "other"}}))
    assert not fits(when, Failure("model_warming_up"))


@pytest.mark.parametrize("name", ["OSError", "builtins.OSError", "ConnectionResetError"])
def test_types_fit_by_any_name_of_the_class_or_its_bases(name):
    """A class is asked for by its bare name or behind its package, and subclasses fit."""
    assert fits(When(types=(name,)), ConnectionResetError())
    assert not fits(When(types=(name,)), ValueError())


def test_causes_fit_on_what_stands_behind():
    """`causes` looks at the exception and at all behind it, `types` only at itself."""
    assert fits(When(causes=("KeyError",)), ValueError(), KeyError())
    assert fits(When(causes=("KeyError",)), KeyError())
    assert not fits(When(types=("KeyError",)), ValueError(), KeyError())


def test_words_fit_in_the_message_and_in_the_class_name():
    """Phrases are looked for in the message and in the spelled-out class name, in any case."""
    assert fits(When(words=("Warming Up",)), Failure("the model is WARMING up"))
    assert fits(When(words=("warming up",)), type("ModelWarmingUp", (Exception,), {})())
    assert not fits(When(words=("warming up",)), Failure("the model is cold"))


def test_error_numbers_fit():
    """A system's error number is asked for as in `errno`."""
    assert fits(When(errnos=(errno.ENOSPC,)), OSError(errno.ENOSPC, "full"))
    assert not fits(When(errnos=(errno.ENOSPC,)), OSError(errno.EAGAIN, "again"))


@pytest.mark.parametrize("outside", [True, False])
def test_outside_asks_where_it_came_from(outside):
    """`outside` tells an answer's or the system's failure from the program's own."""
    assert fits(When(outside=outside), OSError()) is outside
    assert fits(When(outside=outside), ValueError()) is not outside


def test_every_condition_has_to_fit():
    """Conditions narrow: all of them have to be met."""
    when = When(status=400, words=("warming up",))
    assert fits(when, Failure("warming up", status_code=400))
    assert not fits(when, Failure("warming up", status_code=401))
    assert not fits(when, Failure("no", status_code=400))


@pytest.mark.parametrize("given", [{}, {"codes": ()}, {"status": None}])
def test_a_when_that_asks_for_nothing_is_refused(given):
    """A row without a condition would fit everything: that is a ValueError."""
    with pytest.raises(ValueError, match="asks for nothing"):
        When(**given)


@pytest.mark.parametrize("name", ["codes", "types", "causes", "words"])
def test_a_bare_string_is_refused_with_what_to_write(name):
    """A string where a tuple is due is a TypeError that shows the tuple."""
    with pytest.raises(TypeError, match=rf"{name} takes a tuple.*\('overloaded',\)"):
        When(**{name: "overloaded"})


def test_its_repr_shows_what_is_asked_for_only():
    """A When prints its conditions and nothing else."""
    assert repr(When(status=429, codes=("X",))) == "When(status=(429,), codes=('x',))"


# Rule


RULE = Rule("ours/busy", when=When(status=400), then=ErrorType.RETRYABLE, because="it says so", at_most=2)


def test_a_rules_verdict_may_be_given_as_text():
    """`then="fatal"` means ErrorType.FATAL, and nonsense is refused."""
    assert Rule("a/b", when=When(status=400), then="fatal", because="so").then is ErrorType.FATAL
    with pytest.raises(ValueError, match="perhaps"):
        Rule("a/b", when=When(status=400), then="perhaps", because="so")


@pytest.mark.parametrize("given", [{"name": ""}, {"because": ""}])
def test_a_rule_needs_a_name_and_a_reason(given):
    """People will read both: without one it is a ValueError."""
    with pytest.raises(ValueError, match="name and a because"):
        dataclasses.replace(RULE, **given)


@pytest.mark.parametrize(("at_most", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_limit_that_is_none_is_refused(at_most, error):
    """`at_most` counts retries: it names itself when it is no count."""
    with pytest.raises(error, match="^at_most"):  # noqa: RUF043
        dataclasses.replace(RULE, at_most=at_most)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))])
def test_rules_survive_pickle_and_copies(way):
    """A rule comes out as it was, so a classifier can be sent to a worker."""
    assert way(RULE) == RULE


def test_rules_cannot_be_changed():
    """A row is frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RULE.name = "other"


# The built-in rows


@pytest.mark.parametrize("rule", [*RULES, *UNKNOWN], ids=lambda rule: rule.name)
def test_every_row_says_where_it_was_seen(rule):
    """Each row has a name behind a room, a reason that is a sentence, and a source."""
    room, _, name = rule.name.partition("/")
    assert room in {"body", "http", "local", "network", "unknown"}
    assert name
    assert len(rule.because.split()) > 2
    assert rule.seen


def test_no_two_rows_have_the_same_name():
    """A name in a note or a log leads to one row."""
    names = [rule.name for rule in (*RULES, *UNKNOWN)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_has_a_row(status):
    """No HTTP error is left to the phrases or to the unknown."""
    assert ErrorClassifier().classify(Failure(status_code=status)).rule.startswith("http/")


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
