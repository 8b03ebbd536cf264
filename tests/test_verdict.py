"""The words of a judgement: `ErrorType` and `Classification`."""

import copy
import json
import pickle

import pytest

from resilient_agent import BackoffConfig, Classification, ErrorType

BACKOFF = BackoffConfig(base_delay_ms=500, max_retries=2)
VERDICT = Classification(
    ErrorType.RETRYABLE, BACKOFF, retry_after=1.5, rule="http/too-many-requests", because="too many", at_most=4
)
FIELDS = ("error_type", "backoff", "retry_after", "rule", "because", "at_most")


def fields(verdict):
    return tuple(getattr(verdict, name) for name in FIELDS)


def test_the_error_types_are_those_of_the_reference():
    """The four types have the reference's names and values."""
    assert {kind.name: kind.value for kind in ErrorType} == {
        "RETRYABLE": "retryable",
        "NON_RETRYABLE": "non_retryable",
        "DEGRADED": "degraded",
        "FATAL": "fatal",
    }


@pytest.mark.parametrize("kind", list(ErrorType))
def test_an_error_type_is_its_value_as_text(kind):
    """A type equals its text, prints as it, goes into JSON as it and is found by it."""
    assert kind == kind.value == str(kind) == f"{kind}"
    assert json.loads(json.dumps({"type": kind})) == {"type": kind.value}
    assert ErrorType(kind.value) is kind


def test_a_classification_unpacks_as_the_pair_of_the_reference():
    """Code that unpacks `(error_type, backoff)` keeps working."""
    error_type, backoff = VERDICT
    assert error_type is ErrorType.RETRYABLE
    assert backoff is BACKOFF
    assert len(VERDICT) == 2
    assert VERDICT == (ErrorType.RETRYABLE, BACKOFF)
    assert (VERDICT[0], VERDICT[1]) == tuple(VERDICT)


def test_a_classification_has_all_its_fields():
    """What was given is there under its name."""
    assert fields(VERDICT) == (ErrorType.RETRYABLE, BACKOFF, 1.5, "http/too-many-requests", "too many", 4)


def test_only_the_pair_has_to_be_given():
    """The reasons and the hints may be left out."""
    assert fields(Classification(ErrorType.FATAL, BACKOFF)) == (ErrorType.FATAL, BACKOFF, None, "", "", None)


@pytest.mark.parametrize("name", [*FIELDS, "something_else"])
def test_a_classification_cannot_be_changed(name):
    """Hooks share a judgement: no attribute can be set or deleted."""
    verdict = Classification(ErrorType.FATAL, BACKOFF)
    before = fields(verdict)
    with pytest.raises(AttributeError, match=name):
        setattr(verdict, name, None)
    with pytest.raises(AttributeError):
        delattr(verdict, name)
    assert fields(verdict) == before


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_classification_survives_pickle(protocol):
    """It comes out of every pickle protocol with its class and all fields."""
    back = pickle.loads(pickle.dumps(VERDICT, protocol))
    assert type(back) is Classification
    assert fields(back) == fields(VERDICT)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_classification_survives_copies(duplicate):
    """It comes out of copy and deepcopy with its class and all fields."""
    back = duplicate(VERDICT)
    assert type(back) is Classification
    assert fields(back) == fields(VERDICT)


def test_its_repr_tells_a_person_what_was_decided_and_why():
    """The repr names the type, the server's wait, the rule and the reason."""
    assert repr(VERDICT) == (
        "Classification(retryable, retry_after=1.5, rule='http/too-many-requests', because='too many')"
    )


def test_its_repr_leaves_out_a_wait_that_nobody_named():
    """Where the server named no wait, none is shown."""
    assert repr(Classification(ErrorType.FATAL, BACKOFF, rule="r", because="b")) == (
        "Classification(fatal, rule='r', because='b')"
    )
