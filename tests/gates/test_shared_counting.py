"""What processes that share a limit count by: leased slots, a server's clock, tokens in a purse."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.gates.lane import Closed
from resilient_agent.gates.meter import Mark
from resilient_agent.gates.pace import Creep, Guess, Search
from resilient_agent.gates.shared.moment import ServerTime
from resilient_agent.gates.shared.purse import Purse
from resilient_agent.gates.shared.slots import Slots
from resilient_agent.gates.shared.standing import change_of_pace, packed, unpacked

gaps = st.floats(0.001, 2.0)
leases = st.lists(st.tuples(st.floats(0.0, 2.0), gaps, st.integers(1, 20)), min_size=1, max_size=6)


def leased(batches):
    """Slots, one batch after the other with a pause between, and the moments of all of them."""
    slots, moments, now, number = Slots(), [], 100.0, 1
    for pause, gap, count in batches:
        now += pause
        slots.lease(now, gap, count, number)
        moments += [now + n * gap for n in range(count)]
        now += count * gap
        number += count
    return slots, moments


# Slots


@given(leases)
def test_slots_are_taken_in_order_and_never_before_their_moment(batches):
    """Whoever comes at each slot's moment gets that one, with its number."""
    slots, moments = leased(batches)
    assert slots.left == len(moments)
    taken = []
    for number, moment in enumerate(moments, 1):
        due = slots.next_at
        assert due >= moment - 1e-6
        assert slots.take(math.nextafter(due, 0)) is None
        slot = slots.take(due)
        taken.append(slot.number)
        assert slots.left == len(moments) - number
    assert taken == list(range(1, len(moments) + 1))
    assert (slots.next_at, slots.take(math.inf)) == (None, None)


@given(leases, st.floats(0.0, 60.0))
def test_slots_lapse_when_nobody_came_in_time(batches, later):
    """Those whose moment is longer ago than their own length and a bit are gone, and no other."""
    slots, moments = leased(batches)
    now = 100.0 + later
    lapsed = slots.lapse(now)
    ends = [gap for _, gap, count in batches for _ in range(count)]
    overdue = sum(now - 0.05 - gap - moment > 1e-6 for moment, gap in zip(moments, ends, strict=True))
    surely = sum(now - 0.05 - gap - moment > -1e-6 for moment, gap in zip(moments, ends, strict=True))
    assert lapsed + slots.left == len(moments)
    assert lapsed <= surely
    first = next((n for n, (m, g) in enumerate(zip(moments, ends, strict=True)) if now - 0.05 - g - m <= 1e-6), None)
    assert lapsed >= (overdue if first is None else min(overdue, first))


@given(gaps, st.integers(2, 30), st.floats(0.0, 0.05))
def test_slots_that_are_taken_late_do_not_fall_together(gap, count, late):
    """Between two requests lie three quarters of a slot at least."""
    slots = Slots()
    slots.lease(10.0, gap, count, 1)
    went = []
    now = 10.0 + late
    while (due := slots.next_at) is not None:
        now = max(now, due)
        assert slots.take(now)
        went.append(now)
    assert all(b - a >= 0.75 * gap - 1e-9 for a, b in itertools.pairwise(went))
    assert went[-1] <= 10.0 + late + (count - 1) * gap + 1e-6


@given(leases)
def test_how_far_ahead_a_slot_lies_is_known(batches):
    """For as many as are leased; beyond that it is not."""
    slots, moments = leased(batches)
    for place, moment in enumerate(moments):
        assert slots.after(place) == pytest.approx(moment - moments[0])
    assert slots.after(len(moments)) is None
    assert slots.ends == pytest.approx(moments[-1])


def test_slots_are_let_go_all_at_once():
    """When the limit is another one; how many they were counts as not used."""
    slots, moments = leased([(0.0, 0.1, 5), (0.5, 0.2, 3)])
    assert slots.drop() == len(moments) == 8
    assert (slots.left, slots.next_at, slots.ends, slots.after(0)) == (0, None, -math.inf, None)
    slots.lease(1.0, 0.1, 0, 9)
    assert slots.next_at is None


# The server's clock


@given(
    offset=st.floats(-1e9, 1e9),
    replies=st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.floats(0.0, 5.0)), min_size=1, max_size=20),
)
def test_the_servers_clock_is_known_as_exactly_as_its_quickest_reply(offset, replies):
    """However long the others take, on whichever of their ways."""
    time, now = ServerTime(), 50.0
    assert not time.known
    assert time.at(7.0) == 7.0
    for there, back, pause in replies:
        time.seen(asked=now, said=now + there + offset, answered=now + there + back)
        now += there + back + pause
    best = min(there + back for there, back, _ in replies)
    assert time.known
    assert abs(time.at(now) - now - offset) <= best / 2 + 0.0005 * (now - 50.0) + 1e-6


def test_a_clock_that_was_set_is_followed():
    """From the next reply on."""
    time = ServerTime()
    time.seen(10.0, 1000.0, 10.1)
    time.seen(11.0, 5000.0, 11.1)
    assert time.at(11.1) == pytest.approx(5000.05)


def test_two_clocks_may_go_apart():
    """What was exact an hour ago is so no longer: a newer reply is believed, also a slower one."""
    time = ServerTime()
    time.seen(0.0, 1000.0, 0.0)
    time.seen(36_000.0, 37_010.0, 36_000.2)
    assert time.at(36_000.0) == pytest.approx(37_010.0, abs=0.2)


# A purse


def test_a_purse_holds_what_was_leased_and_some_credit():
    """Beyond that nothing is spent; what is put back may be spent again."""
    purse = Purse()
    purse.filled(tokens=2, credit=1, now=0.0)
    assert purse.left == 3
    assert [purse.spend() for _ in range(4)] == [True, True, True, False]
    purse.put_back()
    assert (purse.left, purse.spend(), purse.spend()) == (1, True, False)


@given(st.lists(st.sampled_from(["spend", "back", "fill", "ask"]), max_size=60))
def test_nothing_is_spent_twice_while_an_answer_is_on_its_way(steps):
    """What was taken out since the question is not in the answer, and is taken off it."""
    purse, out, since = Purse(), 0, 0
    for step in steps:
        if step == "spend" and purse.spend():
            out, since = out + 1, since + 1
        elif step == "back" and out:
            purse.put_back()
            out, since = out - 1, since - 1
        elif step == "ask":
            purse.asks(0.0)
            purse.told()
            since = 0
        elif step == "fill":
            purse.filled(tokens=5, credit=0, now=0.0)
            assert purse.left == max(0, 5 - since)


def test_what_is_known_of_others_grows_old():
    """Two seconds after the last answer nobody knows anything, and at once where an answer is late."""
    purse = Purse()
    assert not purse.knows(0.0)
    purse.filled(5, 0, now=10.0)
    assert purse.knows(11.9)
    assert not purse.knows(12.1)
    purse.filled(5, 0, now=20.0)
    purse.asks(20.5)
    assert purse.knows(20.7)
    assert not purse.knows(20.8)
    purse.filled(5, 0, now=21.0)
    assert purse.knows(21.0)


def test_a_purse_asks_when_it_matters():
    """After a second, after many attempts, when half is spent; not while a question is under way."""
    purse = Purse()
    assert purse.is_due(0.0)
    purse.asks(0.0)
    assert not purse.is_due(0.5)
    assert purse.is_due(1.5)  # it was lost
    purse.filled(4, 0, now=2.0)
    assert not purse.is_due(2.5)
    assert purse.is_due(3.1)
    purse.untold = 20
    assert purse.is_due(2.5)
    assert purse.told() == (20, 0)
    purse.spend()
    assert not purse.is_due(2.5)
    purse.spend()
    assert purse.is_due(2.5)


# Where all stand


def test_what_a_lane_has_learned_survives_the_way_to_another_process():
    """Its numbers are the same there, and its moments the same by that process's clock."""
    creep = Creep(12.5, 0.4)
    search = Search(4.0, 100.0, 0.1, top=50.0)
    mark = Mark(70.0, 12, named=True)
    closed = Closed("outage", 30.0, Closed("outage", 29.0, None, 0), 0)
    for thing, moments in ((creep, ()), (search, ("_since",)), (mark, ("at",)), (closed, ("since", "first", "due"))):
        there = packed(thing, 1e9, without=frozenset({"probe"}))
        back = unpacked(type(thing), there, 1e9 - 500.0)
        for name in there:
            shift = 500.0 if name in moments else 0
            had = getattr(thing, name)
            assert getattr(back, name) == (pytest.approx(had + shift) if isinstance(had, float) else had)


def test_a_guess_goes_on_where_it_was():
    """The next rate that it names is the same."""
    guess = Guess()
    guess.met(30)
    guess.rate(50.0, 40.0, 30.0, 30, 0.7)
    other = unpacked(Guess, packed(guess, 5.0), 5.0)
    for each in (guess, other):
        each.met(25)
    assert guess.rate(55.0, 44.0, 30.0, 25, 0.7) == other.rate(55.0, 44.0, 30.0, 25, 0.7)


def test_a_pace_is_laid_out_for_the_script():
    """A search by its moment, a creep by its growth, and none where nobody is held up."""
    assert change_of_pace(None, 0.0) == {"kind": "watched"}
    search = change_of_pace(Search(4.0, 10.0, 0.0), 1000.0)
    assert search == {"kind": "search", "rate": 4.0, "top": 1e6, "since": 1010.0}
    creep = change_of_pace(Creep(10.0, 0.1), 1000.0)
    assert (creep["kind"], creep["rate"], creep["base"]) == ("creep", 10.0, 10.0)
