"""What a policy amounts to in the worst case: by hand, and never less than what calls really do."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import BackoffConfig, Policy, resilient
from resilient_agent.testing import no_waiting


class Status(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status_code = status


KINDS = {
    "rate limit": lambda: Status(429),
    "overloaded or down": lambda: Status(503),
    "server error": lambda: Status(500),
    "gateway": lambda: Status(504),
    "connection, timeout": ConnectionError,
    "unknown, from outside": lambda: Status(200),
}


def happened(policy, *errors):
    """The waits of a call that fails with these errors in turn, the last one for ever; one wait less than requests."""
    waits, calls = [], []

    @resilient(policy, sleep=waits.append, pacer=None)
    def ask():
        calls.append(1)
        raise errors[min(len(calls), len(errors)) - 1]

    with pytest.raises(type(errors[0]) if len(errors) == 1 else Exception):
        ask()
    assert len(calls) == len(waits) + 1
    return waits


def test_one_curve_by_hand():
    """Waits, attempts, requests and seconds."""
    curve = BackoffConfig(base_delay_ms=1000, jitter=0, max_retries=3)
    schedule = Policy(backoff=curve, timeout=20).schedule(sdk_retries=2)
    (row,) = schedule.rows
    assert (row.waits, row.longest, row.requests) == ((1, 2, 4), 7, 4)
    assert (schedule.attempts, schedule.requests, schedule.seconds) == (4, 12, 87)


def test_jitter_is_in_the_longest_and_not_in_the_waits():
    """The waits are the curve's; the longest are those of the unluckiest call, and no wait passes the cap."""
    (row,) = Policy(backoff=BackoffConfig(max_delay_ms=4000, jitter=0.5, max_retries=4)).schedule().rows
    assert row.waits == (1, 2, 4, 4)
    assert row.longest == pytest.approx(1.5 + 3 + 4 + 4)


def test_the_defaults_by_hand():
    """Each kind has its own curve, and all together ten retries: the longest of all."""
    schedule = Policy().schedule()
    waits = {row.kind: row.waits for row in schedule.rows}
    assert waits["rate limit"] == (5, 10, 20, 40, 80)
    assert waits["connection, timeout"] == (0.5, 0.75, 1.125)
    assert waits["unknown, from outside"] == (1,)
    assert schedule.attempts == 11
    # five for limits, three of 8 s, two of 4 s, a tenth of jitter on each, the cap of none met
    assert schedule.seconds == pytest.approx(1.1 * (5 + 10 + 20 + 40 + 80 + 8 + 8 + 4 + 4 + 4))


def test_a_number_of_retries_is_for_every_kind():
    """But for what nobody knows, which gets one more try."""
    schedule = Policy(max_retries=2).schedule()
    assert {row.kind: row.requests for row in schedule.rows} == {
        "rate limit": 3,
        "overloaded or down": 3,
        "server error": 3,
        "gateway": 3,
        "server disconnected": 3,
        "connection, timeout": 3,
        "unknown, from outside": 2,
    }


def test_no_retry_is_one_request():
    """Nothing is waited for."""
    schedule = Policy(max_retries=0).schedule()
    assert (schedule.requests, schedule.seconds) == (1, 0)
    assert "in the worst case 1 attempt, 0 s of waiting" in str(schedule)
    assert str(schedule).splitlines()[-1].startswith("no retry, so no wait after a failure;")


def test_what_is_switched_off_is_called_once(waits):
    """Said so, whatever else the policy has: no retry, no fallback, no limit of time."""
    policy = Policy(enabled=False, max_retries=4, deadline=9, fallback=lambda: "brief", on_exhausted=True, sleep=waits)

    @resilient(policy)
    def ask():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask()
    assert (ask.call_report().requests, waits) == (1, [])
    schedule = policy.schedule()
    assert (schedule.requests, schedule.seconds, schedule.rows, schedule.deadline) == (1, 0, (), None)
    assert str(schedule).startswith("enabled=False: calls are made once, ")
    assert "made once, each up to 3 requests of the SDK, " in str(policy.schedule(sdk_retries=2))


def test_with_a_pacer_the_first_wait_for_a_rate_limit_is_short():
    """As the docstring says: half a second where the server names none, then the curve while nothing is let through."""

    @resilient
    def ask():
        raise Status(429)

    with no_waiting(), pytest.raises(Status):
        ask()
    first, *others = [attempt.paced for attempt in ask.call_report().attempts[:-1]]
    assert 0.2 < first <= 0.5  # less what really passed
    assert all(0.8 * wait < paced < 1.3 * wait for wait, paced in zip((10, 20, 40, 80), others, strict=True))


@pytest.mark.parametrize(
    ("policy", "seconds", "text"),
    [
        (Policy(max_retries=40, deadline=60), 60, "41 attempts, 1 min, the deadline"),
        (Policy(max_retries=1, deadline=60), 5.5, "2 attempts, 5.5 s of waiting"),
        (Policy(max_retries=1, deadline=60, timeout=3600), 60, "2 attempts, 1 min, the deadline"),
        (Policy(max_retries=1, deadline=math.inf), 5.5, "2 attempts, 5.5 s of waiting"),
        (Policy(max_retries=1, timeout=3600), 7205.5, "2 attempts, 2 h 6 s"),
        (Policy(max_retries=1, timeout=math.inf), math.inf, "2 attempts, without end"),
    ],
)
def test_a_deadline_bounds_the_seconds(policy, seconds, text):
    """And the text says whether it does."""
    schedule = policy.schedule()
    assert schedule.seconds == pytest.approx(seconds)
    assert f"in the worst case {text}\n" in str(schedule)


def test_the_printed_table():
    """For people: a row for each kind, of many waits the first eight, and what it comes to."""
    curve = BackoffConfig(base_delay_ms=500, shape="fixed", jitter=0, max_retries=9)
    table = str(Policy(backoff=curve, max_retry_after=600).schedule(sdk_retries=1))
    assert table.splitlines() == [
        "failure                requests  waits at most  waits in seconds, without jitter",
        "of any kind                  10          4.5 s  0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...",
        "in the worst case 10 attempts x 2 requests of the SDK = 20 requests, 4.5 s of waiting",
        "up to 10 min where the server names a wait; in the pacer it may be longer",
    ]


@pytest.mark.parametrize("number", [None, 0, 1, 4, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_no_call_waits_longer_or_asks_more_often_than_its_row(number, kind):
    """What really happens stays within what was said of this kind of failure, and reaches its count."""
    policy = Policy(max_retries=number, max_identical=100)
    waits = happened(policy, KINDS[kind]())
    rows = {row.kind: row for row in policy.schedule().rows}
    if number == 0 and kind not in rows:
        assert waits == []
        return
    row = rows[kind]
    assert len(waits) == len(row.waits)
    assert all(wait <= 1.1 * longest for wait, longest in zip(waits, row.waits, strict=True))
    assert sum(waits) <= row.longest


@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=16),
    st.none() | st.integers(0, 14),
    st.none() | st.builds(BackoffConfig, max_retries=st.integers(0, 6), jitter=st.floats(0, 1)),
)
def test_no_mixture_of_failures_is_worse_than_the_worst_case(kinds, number, curve):
    """However they follow one another, with a number, a curve, both or neither."""  # A12
    random.seed(7)
    policy = Policy(max_retries=number, backoff=curve, max_identical=100)
    waits = happened(policy, *[KINDS[kind]() for kind in kinds])
    schedule = policy.schedule()
    assert len(waits) + 1 <= schedule.requests
    assert sum(waits) <= schedule.seconds + 1e-9


def test_rungs_are_requests_too():
    """Each is called once, after all attempts."""

    def rung():
        raise ConnectionError

    policy = Policy(max_retries=1, fallback=[rung, rung], on_exhausted=True, sleep=lambda _: None)

    @resilient(policy)
    def ask():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask()
    assert ask.call_report().requests == 4
    assert policy.schedule().requests == 4


@pytest.mark.parametrize("setting", ["stop", "wait"])
def test_what_is_code_has_no_schedule(setting):
    """How often and how long a strategy of the user's own goes on is not known: said, in place of wrong numbers."""
    with pytest.raises(ValueError, match=setting):
        Policy(**{setting: lambda _: 0}).schedule()


def test_retries_below_are_counted_from_0():
    """A negative number is refused by name."""
    with pytest.raises(ValueError, match="sdk_retries"):
        Policy().schedule(sdk_retries=-1)
