"""Argument before environment before default, read at the time of the call."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import Policy, resilient
from resilient_agent.environment import VARIABLES, misspelled, resolve

SAID = {
    "RESILIENT_AGENT_MAX_RETRIES": ("7", "max_retries", 7, 3),
    "RESILIENT_AGENT_DEADLINE": ("2.5", "deadline", 2.5, 9),
    "RESILIENT_AGENT_TIMEOUT": ("1e1", "timeout", 10, 9),
    "RESILIENT_AGENT_MAX_RETRY_AFTER": ("600", "max_retry_after", 600, 9),
    "RESILIENT_AGENT_MAX_IDENTICAL": ("4", "max_identical", 4, 9),
    "RESILIENT_AGENT_ENABLED": (" Off ", "enabled", False, True),
}


@pytest.mark.parametrize("variable", SAID)
def test_the_argument_counts_before_the_environment(variable):
    """And the environment before the default."""
    text, name, value, argument = SAID[variable]
    default = getattr(resolve(Policy(), {})[0], name)
    assert getattr(resolve(Policy(), {variable: text})[0], name) == value != default
    assert getattr(resolve(Policy(**{name: argument}), {variable: text})[0], name) == argument
    assert getattr(resolve(Policy(), {variable: " "})[0], name) == default


def test_the_pacer_can_be_switched_off_for_functions_that_have_their_own():
    """One that was handed over is an argument, and stays."""
    off = {"RESILIENT_AGENT_PACER": "off"}
    assert resolve(Policy(), {})[0].paced
    assert not resolve(Policy(), off)[0].paced
    assert not resolve(Policy(pacer=None), {"RESILIENT_AGENT_PACER": "on"})[0].paced


def test_endless_is_no_limit():
    """`inf`, as an argument or in the environment."""
    assert resolve(Policy(deadline=float("inf")), {"RESILIENT_AGENT_DEADLINE": "5"})[0].deadline is None
    assert resolve(Policy(), {"RESILIENT_AGENT_TIMEOUT": "inf"})[0].timeout is None


@given(st.sampled_from(VARIABLES), st.text())
def test_any_text_is_read_or_named(variable, text):
    """Nothing is silently taken for something else."""
    limits, problems = resolve(Policy(), {variable: text})
    if problems:
        assert len(problems) == 1
        assert variable in problems[0]
        assert limits == resolve(Policy(), {})[0]


def test_names_that_look_like_ours_are_told():
    """With the one that was meant; those of other rooms and other programs are not."""
    names = ["PATH", "RESILIENT_AGENT_HOME", *VARIABLES]
    assert misspelled(names) == []
    (problem,) = misspelled([*names, "RESILIENT_AGENT_MAX_RETRYS"])
    assert "RESILIENT_AGENT_MAX_RETRIES" in problem


def test_a_misspelled_variable_warns_when_a_function_is_decorated(monkeypatch):
    """A limit that is not kept would be found too late."""
    monkeypatch.setenv("RESILIENT_AGENT_DEADLIN", "5")
    with pytest.warns(RuntimeWarning, match=r"RESILIENT_AGENT_DEADLIN is not known: did you mean"):

        @resilient
        def ask(): ...


@pytest.fixture
def ask(waits):
    """A function that always fails, and counts."""

    @resilient(sleep=waits)
    def ask():
        ask.calls += 1
        raise ConnectionError

    ask.calls = 0
    return ask


def test_the_environment_is_read_at_each_call(ask, monkeypatch):
    """Set and taken away between calls of one function."""
    for text, calls in (("1", 2), ("0", 1), ("5", 6)):
        monkeypatch.setenv("RESILIENT_AGENT_MAX_RETRIES", text)
        ask.calls = 0
        with pytest.raises(ConnectionError):
            ask()
        assert ask.calls == calls


def test_retries_can_be_switched_off_from_outside(ask, monkeypatch):
    """One call, and its error as it is."""
    monkeypatch.setenv("RESILIENT_AGENT_ENABLED", "0")
    with pytest.raises(ConnectionError) as caught:
        ask()
    assert ask.calls == 1
    assert not hasattr(caught.value, "__notes__")


def test_what_cannot_be_read_is_warned_of_and_left_out(ask, monkeypatch):
    """Once for each change, and the call's own failure comes out."""
    monkeypatch.setenv("RESILIENT_AGENT_MAX_RETRIES", "many")
    told = pytest.warns(RuntimeWarning, match=r"RESILIENT_AGENT_MAX_RETRIES is 'many', but takes")
    with told, pytest.raises(ConnectionError):
        ask()
    assert ask.calls == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConnectionError):
            ask()
