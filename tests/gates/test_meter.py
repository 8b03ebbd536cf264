"""How fast a server lets requests through, learned from its refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.gates.meter import ENOUGH, Meter


def after(*stretches):
    """A meter that counted stretches of (seconds, requests let through, one refusal), and the moment."""
    meter, now = Meter(), 0.0
    meter.sent += 1
    meter.refused(paced=True)
    meter.mark(now, meter.sent, 0.0)
    for seconds, passed in stretches[:-1]:
        now += seconds
        meter.sent += passed + 1
        meter.refused(paced=True)
        meter.mark(now, meter.sent, 0.0)
    seconds, passed = stretches[-1]
    meter.sent += passed + 1
    meter.refused(paced=True)
    return meter, now + seconds


@given(st.floats(0.1, 100), st.integers(1, 1000))
def test_between_two_refusals_passes_what_the_bucket_gains(seconds, passed):
    """Their number over the time is the rate, whatever the bucket's size."""
    meter, now = after((seconds, passed))
    assert meter.passed(meter.sent) == passed
    assert meter.estimate(now, meter.sent, 0.0) == (pytest.approx(passed / seconds), passed)


def test_few_are_counted_together_with_those_before():
    """Until they are enough to be exact."""
    meter, now = after((1.0, 9), (1.0, 11), (1.0, 10))
    rate, seen = meter.estimate(now, meter.sent, 0.0)
    assert (rate, seen) == (pytest.approx(10), 30)
    assert seen >= ENOUGH


def test_enough_are_counted_alone():
    """Two dozen are good to a few per cent, and the latest say most."""
    meter, now = after((24.0, 23), (12.0, 24))
    assert meter.estimate(now, meter.sent, 0.0) == (2.0, 24)
    for latest, seen, seconds in ((24, 24, 12), (23, 47, 24)):
        meter, now = after((12.0, 24), (12.0, latest))
        assert meter.estimate(now, meter.sent, 0.0) == (pytest.approx(seen / seconds), seen)


def test_the_last_eight_refusals_are_kept():
    """One let through between each two of them."""
    meter, now = after(*[(1.0, 1)] * 12)
    assert meter.estimate(now, meter.sent, 0.0) == (1.0, 8)


@pytest.mark.parametrize(
    ("before", "seen"), [(0, 10), (1, 11), (23, 33), (24, 10)]
)  # ten within the last second; so many within the one before
def test_a_change_of_the_limit_is_more_than_chance_and_the_ends_of_a_count(before, seen):
    """A quarter more or less, and three and a half requests."""
    meter, now = after((1.0, before), (1.0, 10))
    assert meter.estimate(now, meter.sent, 0.0)[1] == seen


def test_a_few_before_a_named_wait_may_be_a_window_or_a_bucket():
    """Two within a second, and one and a half more to wait: the mean of two in one second and in two and a half."""
    meter, now = after((1.0, 2))
    assert meter.estimate(now, meter.sent, 1.5) == (pytest.approx((2 * 0.8) ** 0.5), 2)
    assert meter.estimate(now, meter.sent, 1.25) == (2.0, 2)  # a bucket's wait, with some room


def test_how_many_told_of_an_emptiness_is_counted():
    """From the first on, and anew with the next one."""
    meter = Meter()
    meter.mark(0.0, 1, 0.0)
    meter.still_empty(0.1, 2)
    meter.still_empty(0.2, 3)
    assert meter.told == 3
    meter.mark(5.0, 9, 0.5)
    assert (meter.told, meter.marks[-1].named, meter.marks[-1].at) == (1, True, 5.5)


def test_nothing_is_counted_back_over_a_change_of_the_limit():
    """What passed under another limit says nothing about this one."""
    meter, now = after((10.0, 100), (10.0, 10))
    assert meter.estimate(now, meter.sent, 0.0) == (1.0, 10)


def test_with_nothing_let_through_nothing_can_be_said():
    """Zero is the answer, as it is before the first refusal."""
    meter, now = after((1.0, 0))
    assert meter.estimate(now, meter.sent, 0.0) == (0.0, 0.0)
    assert Meter().estimate(5.0, 0, 0.0) == (0.0, 0.0)
    assert Meter().passed(3) == 3


def test_where_a_wait_was_named_the_count_begins_at_its_end():
    """The time of waiting belongs to the refusals, and half a request was there already."""
    meter = Meter()
    meter.sent = 1
    meter.refused(paced=True)
    meter.mark(0.0, 1, 4.0)
    meter.sent = 22
    meter.refused(paced=True)
    assert meter.estimate(6.0, 22, 0.05) == (pytest.approx(19.5 / 2), 19.5)


def test_a_window_used_up_at_once_is_counted_whole():
    """Sixty within two seconds and then a named wait of fifty-eight: it is one a second."""
    meter = Meter()
    meter.sent = 1
    meter.refused(paced=True)
    meter.mark(0.0, 1, 60.0)
    meter.sent = 62
    meter.refused(paced=True)
    rate, _ = meter.estimate(62.0, 62, 58.0)
    assert rate == pytest.approx(1.0, rel=0.02)


def test_a_burst_is_one_emptiness():
    """Later refusals of the same burst move its end, and are counted as what it cost."""
    meter = Meter()
    meter.sent = 5
    meter.refused(paced=True)
    meter.mark(0.0, 1, 0.0)
    for number in (2, 3):
        meter.refused(paced=True)
        meter.still_empty(0.5, number)
    assert meter.burst == 3
    meter.sent = 12
    meter.refused(paced=True)
    assert meter.estimate(1.5, 12, 0.0) == (8.0, 8)


def test_what_is_forgotten_does_not_count():
    """After an outage nothing does; after a restart what followed the last refusal."""
    meter, now = after((1.0, 10), (1.0, 10), (1.0, 10))
    meter.restart()
    assert meter.estimate(now, meter.sent, 0.0) == (10.0, 10)
    meter.forget()
    assert meter.estimate(now, meter.sent, 0.0) == (0.0, 0.0)
    assert meter.burst == 0
