"""What a policy amounts to in the worst case."""

import pytest

from resilient_agent import BackoffConfig, Policy, resilient


def test_one_curve_by_hand():
    """Waits, attempts, requests and seconds."""
    curve = BackoffConfig(base_delay_ms=1000, jitter=0, max_retries=3)
    schedule = Policy(backoff=curve, timeout=20).schedule(sdk_retries=2)
    (row,) = schedule.rows
    assert row.waits == (1, 2, 4)
    assert (schedule.attempts, schedule.requests, schedule.seconds) == (4, 12, 87)
    assert "4 attempts x 3 requests of the SDK = 12 requests, 1 min 27 s" in str(schedule)


def test_a_deadline_bounds_the_seconds():
    """And the text says that it does."""
    schedule = Policy(max_retries=40, deadline=60).schedule()
    assert schedule.seconds == 60
    assert "1 min, the deadline" in str(schedule)


def test_no_retry_is_one_request():
    """Nothing is waited for."""
    schedule = Policy(max_retries=0).schedule()
    assert (schedule.requests, schedule.seconds) == (1, 0)


@pytest.mark.parametrize("number", [None, 1, 4, 12])
@pytest.mark.parametrize("error", [ConnectionError("cut"), TimeoutError("late")], ids=["connection", "timeout"])
def test_no_call_takes_longer_or_asks_more_often(number, error, waits):
    """What really happens stays within what was said."""
    policy = Policy(max_retries=number)
    calls = []

    @resilient(policy, sleep=waits)
    def ask():
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        ask()
    schedule = policy.schedule()
    assert len(calls) <= schedule.requests
    assert sum(waits) <= schedule.seconds
    longest = next(row for row in schedule.rows if row.kind == "connection, timeout")
    assert len(calls) <= longest.requests
    assert sum(waits) <= longest.longest


def test_retries_below_are_counted_from_0():
    """A negative number is refused by name."""
    with pytest.raises(ValueError, match="sdk_retries"):
        Policy().schedule(sdk_retries=-1)
