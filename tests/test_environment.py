"""Argument before environment before default, read at the time of the call."""

import dataclasses
import math
import warnings

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import AttemptTimeout, BackoffConfig, DeadlineExceeded, Pacer, Policy, resilient
from resilient_agent.environment import VARIABLES, misspelled, resolve

SAID = {
    "RESILIENT_AGENT_MAX_RETRIES": ("7", "max_retries", 7, 3),
    "RESILIENT_AGENT_DEADLINE": ("2.5", "deadline", 2.5, 9),
    "RESILIENT_AGENT_TIMEOUT": ("1e1", "timeout", 10, 9),
    "RESILIENT_AGENT_MAX_RETRY_AFTER": ("600", "max_retry_after", 600, 9),
    "RESILIENT_AGENT_MAX_IDENTICAL": ("4", "max_identical", 4, 9),
    "RESILIENT_AGENT_ENABLED": (" Off ", "enabled", False, True),
}


def switch(text):
    return {"1": True, "true": True, "yes": True, "on": True}.get(text.strip().lower(), False)


FIELDS = {
    "RESILIENT_AGENT_MAX_RETRIES": ("max_retries", int),
    "RESILIENT_AGENT_DEADLINE": ("deadline", float),
    "RESILIENT_AGENT_TIMEOUT": ("timeout", float),
    "RESILIENT_AGENT_MAX_RETRY_AFTER": ("max_retry_after", float),
    "RESILIENT_AGENT_MAX_IDENTICAL": ("max_identical", int),
    "RESILIENT_AGENT_ENABLED": ("enabled", switch),
    "RESILIENT_AGENT_PACER": ("paced", switch),
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
    assert resolve(Policy(pacer=Pacer()), off)[0].paced
    assert not resolve(Policy(pacer=None), {"RESILIENT_AGENT_PACER": "on"})[0].paced


@pytest.mark.parametrize("variable", ["RESILIENT_AGENT_ENABLED", "RESILIENT_AGENT_PACER"])
def test_a_switch_is_one_of_eight_words(variable):
    """In any case, with blanks around; anything else is named, with those that are taken."""
    name = {"RESILIENT_AGENT_ENABLED": "enabled", "RESILIENT_AGENT_PACER": "paced"}[variable]
    for words, expected in ((("1", "true", "YES", " On\n"), True), (("0", "False", "no", "OFF "), False)):
        for word in words:
            limits, problems = resolve(Policy(), {variable: word})
            assert (getattr(limits, name), problems) == (expected, ())
    (problem,) = resolve(Policy(), {variable: "2"})[1]
    assert problem == f"{variable} is '2', but takes 1, true, yes, on, or 0, false, no, off"


def test_endless_is_no_limit():
    """`inf`, as an argument or in the environment."""
    assert resolve(Policy(deadline=float("inf")), {"RESILIENT_AGENT_DEADLINE": "5"})[0].deadline is None
    assert resolve(Policy(), {"RESILIENT_AGENT_TIMEOUT": "inf"})[0].timeout is None


@given(st.sampled_from(VARIABLES), st.text())
def test_any_text_is_read_or_named(variable, text):
    """What is not named was blank, or is what the text says; nothing else changes with it."""
    (limits, problems), untouched = resolve(Policy(), {variable: text}), resolve(Policy(), {})[0]
    if problems:
        assert len(problems) == 1
        assert problems[0].startswith(f"{variable} is {text!r}, but takes ")
        assert limits == untouched
    elif text.strip():
        field, read = FIELDS[variable]
        value = getattr(limits, field)
        assert value == read(text) or (value is None and read(text) == math.inf)
        assert limits == dataclasses.replace(untouched, **{field: value})


@given(
    st.sampled_from(["RESILIENT_AGENT_DEADLINE", "RESILIENT_AGENT_TIMEOUT", "RESILIENT_AGENT_MAX_RETRY_AFTER"]),
    st.floats(),
)
def test_a_number_of_seconds_is_above_0(variable, seconds):
    """Any other is named; so no attempt has a limit of nothing or less."""
    limits, problems = resolve(Policy(), {variable: repr(seconds)})
    assert bool(problems) is not (seconds > 0)
    if seconds > 0:
        assert getattr(limits, FIELDS[variable][0]) == (seconds if seconds < math.inf or "AFTER" in variable else None)


def test_names_that_look_like_ours_are_told():
    """With the one that was meant; those of other rooms and other programs are not."""
    names = ["PATH", "RESILIENT_AGENT_HOME", "RESILIENT_AGENT_STORE", *VARIABLES]
    assert misspelled(names) == []
    (problem,) = misspelled([*names, "RESILIENT_AGENT_MAX_RETRYS"])
    assert "RESILIENT_AGENT_MAX_RETRIES" in problem


def test_a_misspelled_variable_warns_when_a_function_is_decorated(monkeypatch):
    """A limit that is not kept would be found too late."""
    monkeypatch.setenv("RESILIENT_AGENT_DEADLIN", "5")
    with pytest.warns(RuntimeWarning, match=r"RESILIENT_AGENT_DEADLIN is not known: did you mean"):

        @resilient
        def ask(): ...


def test_what_is_well_spelled_warns_of_nothing(monkeypatch):
    """Neither our own variables, nor those of others."""
    for variable, text in (("RESILIENT_AGENT_HOME", "/here"), ("RESILIENT_AGENT_DEADLINE", "5"), ("RESILIENT", "yes")):
        monkeypatch.setenv(variable, text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert callable(resilient(lambda: None))


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


def test_an_argument_switches_retries_on_again(waits, monkeypatch):
    """Who says `enabled=True` in code is not switched off from outside."""
    monkeypatch.setenv("RESILIENT_AGENT_ENABLED", "off")

    @resilient(enabled=True, max_retries=2, sleep=waits)
    def ask():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask()
    assert len(waits) == 2


def test_the_longest_wait_and_equal_failures_are_read_as_well(ask, waits, monkeypatch):
    """The server's wait is kept to where it is allowed; ten equal failures are not waited for where two are many."""

    class Limited(Exception):
        status_code = 429
        headers = {"retry-after": "300"}  # noqa: RUF012

    @resilient(max_retries=1, pacer=None, sleep=waits)
    def limited():
        raise Limited

    for text, expected in (("200", []), ("400", [300])):
        monkeypatch.setenv("RESILIENT_AGENT_MAX_RETRY_AFTER", text)
        waits.clear()
        with pytest.raises(Limited):
            limited()
        assert [int(wait // 100 * 100) for wait in waits] == expected
    monkeypatch.setenv("RESILIENT_AGENT_MAX_IDENTICAL", "2")
    with pytest.raises(ConnectionError):
        ask()
    assert ask.calls == 2


@pytest.mark.parametrize(
    ("variable", "kind", "took"),
    [("RESILIENT_AGENT_TIMEOUT", AttemptTimeout, 2), ("RESILIENT_AGENT_DEADLINE", DeadlineExceeded, 2)],
)
def test_limits_of_time_bound_an_attempt(variable, kind, took, virtually, monkeypatch):
    """What was set before the function was decorated holds from its first attempt on."""
    monkeypatch.setenv(variable, "2")

    @resilient(max_retries=0)
    async def ask():
        await anyio.sleep(60)

    came, seconds = virtually(ask)
    assert (type(came), seconds) == (kind, took)


def test_a_deadline_that_is_set_later_bounds_the_waits_of_the_next_call(waits, monkeypatch):
    """It counts from the first failure on: of ten seconds there is time for a wait of seven, and for no other."""

    @resilient(backoff=BackoffConfig(base_delay_ms=7000, multiplier=1, jitter=0), sleep=waits)
    def ask():
        raise ConnectionResetError("cut")

    monkeypatch.setenv("RESILIENT_AGENT_DEADLINE", "10")
    with pytest.raises(ConnectionResetError):
        ask()
    assert waits == [7]
    assert "deadline=10" in ask.call_report().limit


def test_the_pacer_switched_off_from_outside_lets_everybody_wait_alone(waits, monkeypatch):
    """Two refusals, each waited for by the call itself; nothing is counted as the pacer's."""

    class Limited(Exception):
        status_code = 429

    @resilient(max_retries=2, sleep=waits)
    def ask():
        raise Limited

    monkeypatch.setenv("RESILIENT_AGENT_PACER", "off")
    with pytest.raises(Limited):
        ask()
    report = ask.call_report()
    assert (report.paced, report.waited) == (0, sum(waits))
    assert len(waits) == 2


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
