"""The settings as a value: what is refused, and how it is read from data."""

import copy
import dataclasses
import math
import pickle
import tomllib

import pytest
import tenacity

from resilient_agent import BackoffConfig, Pacer, Policy, resilient

WRONG = [
    ("max_retries", "3", TypeError),
    ("max_retries", -1, ValueError),
    ("max_retries", True, TypeError),
    ("deadline", 0, ValueError),
    ("deadline", "soon", TypeError),
    ("timeout", -2, ValueError),
    ("timeout", math.nan, ValueError),
    ("max_retry_after", 0, ValueError),
    ("item_timeout", True, TypeError),
    ("first_item_timeout", 0.0, ValueError),
    ("max_identical", 0, ValueError),
    ("max_identical", 2.5, TypeError),
    ("backoff", 3, TypeError),
    ("classifier", "strict", TypeError),
    ("fallback", 3, TypeError),
    ("fallback", ["brief"], TypeError),
    ("pacer", "fast", TypeError),
    ("pacer", True, TypeError),
    ("pace_by", "model", TypeError),
    ("budget", 0.2, TypeError),
    ("breaker", "open", TypeError),
    ("on_retry", 1, TypeError),
    ("wait", 5, TypeError),
    ("on_exhausted", 1, TypeError),
    ("enabled", "no", TypeError),
]


@pytest.mark.parametrize(("name", "value", "kind"), WRONG)
def test_a_wrong_value_is_refused_by_its_name(name, value, kind):
    """At once, and the text says which setting it is."""
    with pytest.raises(kind, match=name):
        Policy(**{name: value})
    with pytest.raises(kind, match=name):
        resilient(**{name: value})


def test_a_policy_is_a_value():
    """Frozen, equal by its fields, and it survives pickle and copy."""
    policy = Policy(max_retries=8, deadline=300, backoff=BackoffConfig(base_delay_ms=10))
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.max_retries = 3
    for other in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy), Policy(**policy.settings())):
        assert other == policy
    assert hash(policy) == hash(Policy(**policy.settings()))


def test_settings_are_what_differs_from_the_defaults():
    """None for the pacer is a choice, no default."""
    assert Policy().settings() == {}
    assert Policy(pacer=None, max_retries=0).settings() == {"pacer": None, "max_retries": 0}


def test_replace_changes_a_copy():
    """And refuses a name that it does not know, with the one that was meant."""
    policy = Policy(max_retries=2)
    assert policy.replace(deadline=5) == Policy(max_retries=2, deadline=5)
    assert policy.deadline is None
    with pytest.raises(TypeError, match=r"'dead_line': did you mean 'deadline'\?"):
        policy.replace(dead_line=5)


def test_a_policy_decorates_and_arguments_change_it(waits):
    """`@resilient(policy, max_retries=1)`."""
    calls = []

    @resilient(Policy(max_retries=5, sleep=waits), max_retries=1)
    def ask():
        calls.append(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask()
    assert len(calls) == 2


def test_functions_of_one_policy_have_pacers_of_their_own():
    """Unless it names one."""
    policy, shared = Policy(), Pacer()

    def ask(): ...

    assert resilient(policy)(ask).retry.pacer is not resilient(policy)(ask).retry.pacer
    assert resilient(policy, pacer=shared)(ask).retry.pacer is shared
    assert resilient(policy, pacer=None)(ask).retry.pacer is None


def test_a_table_of_toml_is_a_policy():
    """Numbers, switches, and the curve as a table of its own."""
    table = tomllib.loads("max_retries = 8\npacer = false\ndeadline = inf\n[backoff]\nshape = 'linear'\n")
    expected = Policy(max_retries=8, pacer=None, deadline=math.inf, backoff=BackoffConfig(shape="linear"))
    assert Policy.from_dict(table) == expected


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"max_retrys": 3}, r"does not know 'max_retrys': did you mean 'max_retries'\?"),
        ({"backoff": {"jiter": 0}}, r"backoff does not know 'jiter': did you mean 'jitter'\?"),
        ({"on_retry": print}, "does not know 'on_retry'"),
        ({"pacer": "own"}, "pacer must be true or false"),
        ({"deadline": "soon"}, "deadline must be a number"),
        ([("max_retries", 3)], "takes a dict"),
    ],
)
def test_what_a_table_may_not_hold_is_refused_by_name(table, text):
    """With what is known, so that a typo is found by reading."""
    with pytest.raises(TypeError, match=text):
        Policy.from_dict(table)


def test_two_ways_to_wait_are_one_too_many():
    """`backoff` and `wait` each say how long."""
    with pytest.raises(TypeError, match="backoff= or wait="):
        Policy(backoff=BackoffConfig(), wait=tenacity.wait_none())
