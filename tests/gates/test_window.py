"""What the gates count and time with: a watch that never runs backwards, and counts that slide."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.gates._window import SlidingCount, Stopwatch, check_number


def test_a_stopwatch_begins_at_zero_whatever_the_clock_says():
    """The origin of a clock means nothing."""
    watch = Stopwatch()
    assert watch.elapsed == 0
    assert watch.read(-5.0) == 0
    assert watch.read(-4.5) == 0.5
    assert watch.elapsed == 0.5


def test_readings_that_crossed_count_as_no_time():
    """Threads read the clock and then get the lock in another order: no time passes twice."""
    watch = Stopwatch()
    watch.read(10.0)
    assert watch.read(12.0) == 2
    assert watch.read(11.0) == 2  # a second behind is still the same clock
    assert watch.read(12.0) == 2
    assert watch.read(12.5) == 2.5


def test_a_new_clock_goes_on_from_there():
    """A new event loop begins its own clock: what passed stays passed, and time goes on at once."""
    watch = Stopwatch()
    watch.read(1000.0)
    assert watch.read(1010.0) == 10
    assert watch.read(1008.75) == 10
    assert watch.read(1009.75) == 11
    assert watch.read(3.0) == 11
    assert watch.read(5.0) == 13
    assert watch.read(1.0) == 13
    assert watch.read(1.5) == 13.5


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_a_stopwatch_never_runs_backwards(readings):
    """Whatever it is handed, what passed does not become less."""
    watch = Stopwatch()
    seen = [watch.read(now) for now in readings]
    assert seen == sorted(seen)
    assert seen[0] == 0


def test_a_count_slides_by_tenths_of_its_window():
    """What happened within one tenth is forgotten together, after nine to ten tenths."""
    count = SlidingCount(10)
    assert count.total(0.0) == 0
    for at in (0.0, 0.9, 1.0, 5.0):
        count.add(at)
    assert [count.total(at) for at in (9.9, 10.0, 10.9, 11.0, 14.9, 15.0)] == [4, 2, 2, 1, 1, 0]


def test_nothing_is_left_after_a_long_silence():
    """Whatever happened is forgotten, however many windows ago it was."""
    count = SlidingCount(10)
    for at in (0.0, 4.0, 4.5):
        count.add(at)
    assert count.total(1e6) == 0


def test_a_count_of_any_width():
    """A window of seven seconds has tenths of 0.7."""
    count = SlidingCount(7)
    count.add(0.69)
    count.add(0.71)
    assert [count.total(at) for at in (6.9, 7.1, 7.6, 7.8)] == [2, 1, 1, 0]


def test_a_count_costs_the_same_for_many_events():
    """A million attempts a minute are ten numbers."""
    count = SlidingCount(60)
    for n in range(10_000):
        count.add(n / 100)
    assert len(count._slots) <= 10
    assert 5_400 <= count.total(100.0) <= 6_000


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans())), st.integers(1, 5))
def test_a_count_agrees_with_a_list_of_times(steps, width):
    """Against the simplest model: every event with its time."""
    count, events, at = SlidingCount(10 * width), [], 0
    for ahead, add in steps:
        at += ahead
        if add:
            count.add(at)
            events.append(at)
        assert count.total(at) == sum(at // width - then // width < 10 for then in events)


@pytest.mark.parametrize("value", [True, False, "1", None, [1], 1j])
def test_what_is_no_number_is_refused(value):
    """The text names the argument."""
    with pytest.raises(TypeError, match=r"^pace must be a number, not "):
        check_number("pace", value)


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (math.inf, {}, "pace must be finite, not inf"),
        (math.nan, {}, "pace must be finite, not nan"),
        (-0.5, {}, "pace must be at least 0, not -0.5"),
        (1.5, {"most": 1}, "pace must be from 0 to 1, not 1.5"),
        (-1, {"most": 1}, "pace must be from 0 to 1, not -1"),
        (0, {"above": 0}, "pace must be above 0, not 0"),
        (-1, {"above": 0}, "pace must be above 0, not -1"),
        (2, {"above": 0, "most": 1}, "pace must be from 0 to 1, not 2"),
        (1, {"least": 2}, "pace must be at least 2, not 1"),
    ],
)
def test_numbers_out_of_range_are_refused(value, bounds, text):
    """The text says what would do."""
    with pytest.raises(ValueError, match=f"^{text}$"):
        check_number("pace", value, **bounds)


def test_bounds_are_given_by_name():
    """Nobody can take one bound for another."""
    with pytest.raises(TypeError):
        check_number("pace", 1, 0)


def test_numbers_at_the_bounds_will_do():
    """Bounds are in the range, except the one that has to be exceeded."""
    check_number("pace", 0)
    check_number("pace", 1, most=1)
    check_number("pace", 0, most=1)
    check_number("pace", 2, least=2)
    check_number("pace", 1e-9, above=0, most=1)
    check_number("pace", -0.5, above=-1)
