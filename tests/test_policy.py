"""The settings as a value: what is refused, and how it is read from data."""

import copy
import dataclasses
import functools
import math
import pickle
import tomllib
from unittest.mock import Mock

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import BackoffConfig, ErrorClassifier, Pacer, Policy, resilient

SECONDS = ("deadline", "timeout", "max_retry_after", "first_item_timeout", "item_timeout")
FUNCTIONS = (
    "pace_by", "on_retry", "commit_when", "resume", "stop", "wait", "retry", "before", "after", "before_sleep", "sleep",
)  # fmt: skip

WRONG = [
    ("max_retries", "3", TypeError),
    ("max_retries", -1, ValueError),
    ("max_retries", True, TypeError),
    ("max_retries", 2.0, TypeError),
    *[(name, value, ValueError) for name in SECONDS for value in (0, -0.5, -math.inf, math.nan)],
    *[(name, value, TypeError) for name in SECONDS for value in ("soon", True)],
    *[(name, "soon", TypeError) for name in FUNCTIONS],
    ("max_identical", 0, ValueError),
    ("max_identical", 2.5, TypeError),
    ("max_identical", True, TypeError),
    ("backoff", 3, TypeError),
    ("classifier", "strict", TypeError),
    ("classifier", ErrorClassifier, TypeError),
    ("fallback", 3, TypeError),
    ("fallback", "brief", TypeError),
    ("fallback", ["brief"], TypeError),
    ("pacer", "fast", TypeError),
    ("pacer", True, TypeError),
    ("budget", 0.2, TypeError),
    ("breaker", "open", TypeError),
    ("on_exhausted", 1, TypeError),
    ("on_exhausted", None, TypeError),
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
    for other in (pickle.loads(pickle.dumps(policy)), copy.copy(policy), copy.deepcopy(policy)):
        assert other == policy
        assert hash(other) == hash(policy)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_retries": st.none() | st.integers(0, 99),
            "max_identical": st.integers(1, 99),
            **{name: st.none() | st.floats(0, exclude_min=True) for name in SECONDS},
            "on_exhausted": st.booleans(),
            "enabled": st.none() | st.booleans(),
            "pacer": st.sampled_from([None, "own"]),
            "backoff": st.none() | st.builds(BackoffConfig, max_retries=st.integers(0, 9)),
            "fallback": st.sampled_from([None, (), (print, len)]),
        },
    )
)
def test_a_policy_is_its_settings(given):
    """Built from them again it is equal, however much of it was given."""
    policy = Policy(**given)
    assert Policy(**policy.settings()) == policy
    assert policy.settings().items() <= given.items()


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
    with pytest.raises(ValueError, match="deadline"):
        policy.replace(deadline=0)


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
    assert ask.retry.policy == Policy(max_retries=1, sleep=waits)


def test_an_argument_of_none_takes_a_setting_back():
    """Beside a policy None is the last word as well."""

    def ask(): ...

    assert resilient(Policy(max_retries=5, deadline=9), deadline=None)(ask).retry.policy == Policy(max_retries=5)


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
        ({"on_retry": print}, r"on_retry cannot stand in a table: .*@resilient\(policy, on_retry=\.\.\.\)"),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_retry", lambda state: None),
        ("commit_when", lambda: True),
        ("resume", lambda partial: None),
        ("sleep", lambda: None),
        ("before_sleep", lambda attempt, error, delay: None),
        ("stop", lambda: True),
    ],
)
def test_a_hook_that_takes_something_else_is_refused(name, value):
    """When it is given, and not at the first failure; the text says with what it is called."""
    with pytest.raises(TypeError, match=rf"^{name} is called with \(.*\), but takes \("):
        Policy(**{name: value})


@pytest.mark.parametrize("hook", [print, Mock(), lambda *it: None, functools.partial(print, "again"), dict.get])
def test_a_hook_that_takes_what_it_is_given_will_do(hook):
    """Also one that does not say what it takes."""
    assert Policy(on_retry=hook).on_retry is hook
