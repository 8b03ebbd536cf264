"""How fast requests follow each other, and where the next guess lies."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.gates.pace import Creep, Floor, Guess, Search


def gone(pace, requests, *, wanted=True, latency=0.0):
    """The moment and the rate after so many requests, each at its slot."""
    now = 0.0
    for _ in range(requests):
        pace.go(now, latency, wanted=wanted)
        now += 1 / pace.rate
    return now, pace.rate


def test_a_search_doubles_every_quarter_of_a_second():
    """However many requests that are."""
    now, rate = gone(Search(4.0, 0.0, 0.0), 100)
    assert rate == pytest.approx(4 * 2 ** (now / 0.25), rel=0.1)


def test_a_search_is_slower_where_refusals_take_long():
    """What is on its way must not grow beyond all bounds."""
    now, rate = gone(Search(4.0, 0.0, 0.5), 100, latency=0.5)
    assert rate == pytest.approx(4 * 2 ** (now / 2), rel=0.1)


def test_a_search_ends_at_its_top():
    """The rate that was known before is not gone beyond."""
    assert gone(Search(4.0, 0.0, 0.0, 10.0), 200)[1] == 10.0


def test_a_search_doubles_once_however_long_nobody_came():
    """What was not sent was not tried."""
    search = Search(4.0, 0.0, 0.0)
    search.go(10.0, 0.0, wanted=True)
    assert search.rate == 8.0


@pytest.mark.parametrize("pace", [Search(8.0, 0.0, 0.0), Creep(8.0, 0.02)])
def test_slowing_down_leaves_a_share(pace):
    """And it grows from there."""
    pace.slow_down(0.25)
    assert pace.rate == 2.0
    pace.go(0.01, 0.0, wanted=True)
    assert 2.0 < pace.rate < 2.1


@pytest.mark.parametrize("pace", [Search(4.0, 0.0, 0.0), Creep(4.0, 0.02)])
def test_what_nobody_wants_does_not_grow(pace):
    """A rate that is not used is not tried either."""
    assert gone(pace, 500, wanted=False)[1] == 4.0


def test_a_search_knows_when_those_behind_will_go():
    """A place's wait is the time in which as many have gone."""
    search = Search(400.0, 0.0, 0.0)
    expected = search.ahead(6000)
    assert gone(search, 6000)[0] == pytest.approx(expected, rel=0.01)


def test_creeping_begins_slowly_and_gathers_speed():
    """A hundredth at first, and after a few hundred requests it is another limit."""
    creep = Creep(10.0, 0.02)
    assert gone(creep, 24)[1] < 10.4
    assert not creep.outgrown
    gone(creep, 200)
    assert creep.outgrown


def growth(creep, requests):
    """By which share the rate has grown after so many more requests."""
    return gone(creep, requests)[1] / 100 - 1


@pytest.mark.parametrize(("gap", "at_once", "step"), [(0.02, 0.0025, 16), (0.2, 0.01, 16), (0.3, 0.03, 8)])
def test_how_fast_it_grows_depends_on_how_far_below_what_was_refused_it_begins(gap, at_once, step):
    """An eighth of the gap at once, a hundredth at most, and twice that every sixteen requests; a mere guess hurries."""
    creep = Creep(100.0, gap)
    assert growth(creep, step) == pytest.approx(2 * at_once)
    assert growth(creep, step) == pytest.approx(4 * at_once)


def test_beyond_the_gap_it_takes_an_eighth_of_the_requests():
    """Two requests for a doubling, in place of sixteen."""
    creep = Creep(4.0, 0.02)
    while creep.rate < 4 * 1.024:
        gone(creep, 1)
    before = creep.rate / 4 - 1
    gone(creep, 2)
    assert creep.rate / 4 - 1 == pytest.approx(2 * before)


@pytest.mark.parametrize(
    ("gap", "cost", "step"),
    [(0.02, 10, 60), (0.2, 10, 60), (0.5, 10, 40), (1.0, 10, 20), (0.02, 2, 16)],
)
def test_what_a_refusal_costs_makes_the_steps_longer(gap, cost, step):
    """Six times as many requests, and fewer where it is dear to stay so far below: two over the gap."""
    creep = Creep(100.0, gap)
    creep.costs(cost)
    before = creep.rate
    first = growth(creep, 1)
    assert before == 100.0
    assert growth(creep, step) == pytest.approx(2 * first)


def test_a_limit_that_is_known_well_is_met_rarely():
    """Two hundredths below what was refused, it takes some three steps to get there."""
    creep = Creep(10.0, 0.02)
    rates = [gone(creep, requests)[1] for requests in (40, 20)]
    assert rates[0] < 10.2 < rates[1]


def test_beyond_what_was_refused_before_it_hurries():
    """Nobody objects where somebody did the last time: the limit was raised, and is soon searched for."""
    creep = Creep(10.0, 0.02)
    gone(creep, 16 * 3)
    assert not creep.outgrown
    gone(creep, 18)
    assert creep.outgrown


def test_a_fast_limit_is_tested_as_often_as_a_slow_one():
    """Some fifty requests, also where these are an eighth of a second: refusals are known in a hundredth."""
    assert gone(Creep(400.0, 0.02), 55, latency=0.01)[1] > 1.02 * 400
    assert gone(Creep(400.0, 0.02), 55, latency=0.3)[1] < 1.01 * 400


def test_it_hurries_no_faster_than_a_large_bucket_is_emptied():
    """At hundreds a second it takes a second all the same: what was saved up hides the limit for that long."""
    creep = Creep(400.0, 0.02)
    calm, _ = gone(creep, 16 * 4)
    hurried = 0.0
    while not creep.outgrown:
        hurried += gone(creep, 1)[0] or 1 / creep.rate
    assert calm < 0.2
    assert hurried > 0.8


def test_a_guess_far_below_what_was_refused_is_not_outgrown_before_that():
    """What lies between the two was not refused: to get there says nothing of another limit."""
    creep = Creep(10.0, 2.0)
    while creep.rate < 30.0:
        gone(creep, 1)
        assert not creep.outgrown
    gone(creep, 40)
    assert creep.outgrown


def test_the_dearer_a_refusal_the_slower_it_creeps():
    """A wait of fifty requests' time is not risked every hundred."""
    cheap, dear = Creep(10.0, 0.02), Creep(10.0, 0.02)
    cheap.costs(3)
    dear.costs(50)
    assert gone(dear, 120)[1] - 10 < 0.2 * (gone(cheap, 120)[1] - 10)


def test_a_rate_that_was_known_before_has_its_price_as_well():
    """No gap at all is the best of guesses."""
    creep = Creep(10.0, 0.0)
    creep.costs(50)
    assert gone(creep, 120)[1] < 10.3


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1e5), st.floats(0, 1), st.floats(0, 500), st.integers(0, 500)),
        min_size=1,
        max_size=30,
    )
)
def test_a_guess_lies_below_what_was_refused(cuts):
    """And above a twentieth of it, whatever was counted."""
    guess = Guess()
    for failed, share, seen, passed in cuts:
        guess.met(passed)
        rate = guess.rate(failed, share * failed, seen, passed, 0.05)
        assert 0.049 * failed <= rate <= 0.981 * failed


@pytest.mark.parametrize("truth", [5.2, 7.0, 9.8])
def test_the_guess_finds_the_limit_between_its_bounds(truth):
    """With a large bucket it is the average, with a bucket of one what was refused."""
    guess, rates = Guess(), [20.0]
    for _ in range(30):
        fast = rates[-1] > truth
        rates.append(guess.rate(rates[-1] if fast else truth * 1.3, 5.0, 100, 5 if fast else 200, 0.05))
    assert min(rates[-15:]) == pytest.approx(truth, rel=0.05)  # from which it goes up again, and comes back


def test_what_was_learned_close_to_the_limit_is_not_believed_far_from_it():
    """A bucket of one, so the rate lies right below what was refused; five times as fast that would be nowhere near."""
    guess = Guess()
    for _ in range(10):
        guess.rate(10.2, 10.0, 100, 100, 0.05)
    assert guess.rate(10.2, 8.0, 100, 100, 0.05) > 9.5
    assert guess.rate(50.0, 10.0, 100, 5, 0.05) < 25.0


def shares(guess, told, failed=6.0, average=4.0):
    """How far between the average and what was refused each guess lies, as a power; after so many let through each."""
    rates = [guess.rate(failed, average, 100, passed, 0.05) for passed in told]
    return [math.log(rate / average, failed / average) for rate in rates]


def test_a_guess_begins_halfway():
    """The mean of the two by proportion: so far it is from both."""
    assert Guess().rate(16.0, 4.0, 100, 50, 0.05) == pytest.approx(8.0)
    assert Guess().rate(10.0, 0.0, 0, 50, 0.05) == pytest.approx(7.0)  # nothing was counted


def test_a_guess_goes_up_while_it_was_too_low_and_turns_in_half_the_stride():
    """Many let through mean too low. Strides grow by a half, up to a quarter; no guess lies above 0.95."""
    guess = Guess()
    guess.costs(1)
    told = shares(guess, (50, 24, 24, 24, 23, 23, 24, 23, 24, 23, 24, 23))
    assert told == pytest.approx(
        [0.5, 0.725, 0.95, 0.95, 0.825, 0.6375, 0.73125, 0.684375, 0.714375, 0.684375, 0.714375, 0.684375]
    )


def test_a_guess_goes_down_no_further_than_the_average():
    """Below it nothing would be gained."""
    guess = Guess()
    guess.costs(1)
    assert shares(guess, (50, 5, 5, 5, 5, 5), failed=4.8)[-1] == pytest.approx(0.0)


@pytest.mark.parametrize(("cost", "many"), [(0, 24), (1, 24), (4, 60)])
def test_how_many_show_that_a_guess_was_too_low_depends_on_the_cost(cost, many):
    """Fifteen for each that a refusal costs, and as many as make an average."""
    for passed, up in ((many - 1, False), (many, True)):
        guess = Guess()
        guess.costs(cost)
        first, then = shares(guess, (50, passed))
        assert (then > first) is up


def test_a_rate_far_above_the_guess_shows_that_it_was_too_low():
    """A quarter more, before anybody was refused."""
    for factor, up in ((1.24, False), (1.26, True)):
        guess = Guess()
        guess.costs(1)
        last = guess.rate(16.0, 4.0, 100, 50, 0.05)
        failed = factor * last
        (then,) = shares(guess, (5,), failed=failed)
        assert (then > 0.5) is up


@pytest.mark.parametrize(("passed", "rate"), [((2, 2), 7.0), ((2, 3), 8.0), ((3, 2), 8.0), ((0, 0), 7.0)])
def test_twice_next_to_nothing_is_too_fast_whatever_was_counted(passed, rate):
    """Seven tenths of what was refused then."""
    guess = Guess()
    for each in passed:
        last = guess.rate(10.0, 9.9, 100, each, 0.05)
    assert (last == pytest.approx(7.0)) is (rate == 7.0)
    assert last >= 7.0


@pytest.mark.parametrize(("seen", "rate"), [(7, 7.0), (8, 10**0.5)])
def test_of_few_that_were_counted_no_low_guess_is_made(seen, rate):
    """Eight are enough."""
    assert Guess().rate(10.0, 1.0, seen, 50, 0.7) == pytest.approx(rate)


def test_how_a_guess_of_few_fared_teaches_nothing():
    """The next one lies as far between the two as if there had been none."""
    guess = Guess()
    guess.rate(16.0, 4.0, 3, 50, 0.05)
    assert shares(guess, (50, 50)) == pytest.approx([0.5, 0.725])


@pytest.mark.parametrize(("width", "share"), [(5.5, 0.95), (5.7, 0.5)])
def test_a_share_holds_for_about_the_width_that_it_was_learned_at(width, share):
    """Two fifths wider it says nothing."""
    guess = Guess()
    shares(guess, (50, 50, 50, 50), failed=16.0)
    (told,) = shares(guess, (50,), failed=4.0 * width)
    assert told == pytest.approx(share)


def test_refusals_with_nothing_between_them_are_told_apart():
    """So many in a row mean that nothing is let through at all."""
    guess = Guess()
    for passed in (5, 0, 0):
        guess.met(passed)
    assert guess.in_vain == 2
    guess.met(1)
    assert guess.in_vain == 0


def test_an_average_that_halves_twice_is_no_limits():
    """From then on nobody goes slower than it was at first."""
    floor = Floor()
    for average, passed, rate in (
        (8.0, 9, 0.0), (0.0, 4, 0.0), (3.9, 9, 0.0), (2.5, 9, 0.0), (1.9, 9, 8.0), (8.0, 4, 8.0),
    ):  # fmt: skip
        floor.met(average, average, passed)
        assert floor.rate == rate


@pytest.mark.parametrize(
    ("told", "rate"),
    [
        ((9, 9, 9, 9, 9, 9), 0.0),
        ((9, 8, 9, 10, 9, 8), 0.0),
        ((9, 9, 9, 5, 9, 9, 9, 9), 8.0),  # not in a row
        ((9, 9, 9, 9, 9), 8.0),  # too few yet
        ((41, 36, 41, 36, 41, 38), 0.0),  # the more pass, the more may they differ
        ((2, 2, 2, 3, 3, 3, 3), 8.0),  # next to nothing: chance does so as well
        ((10, 8, 10, 8, 10, 8), 0.0),  # by one, and by an eighth
        ((19, 16, 19, 16, 19, 16), 0.0),
        ((8, 11, 8, 11, 8, 11, 8), 8.0),
    ],
)
def test_a_floor_is_given_up_where_as_many_are_let_through_each_time(told, rate):
    """A limit that was lowered far was taken for chance; where chance refuses, the counts vary."""
    floor = Floor()
    for average in (8.0, 3.9, 1.9):
        floor.met(average, average, 9)
    assert floor.rate == 8.0
    floor.met(6.0, 4.1, 30)  # what follows stands apart from the counts before it
    for passed in told:
        floor.met(6.0, 4.1, passed)
    assert floor.rate == rate


def test_a_floor_that_was_given_up_is_not_found_again_by_what_came_before():
    """Its averages are counted anew."""
    floor = Floor()
    for average in (8.0, 3.9, 1.9):
        floor.met(average, average, 9)
    for passed in (30, 9, 9, 9, 9, 9, 9):
        floor.met(4.5, 4.1, passed)
    floor.met(3.0, 1.9, 9)
    assert floor.rate == 0.0


def test_an_average_that_halves_while_next_to_nothing_comes_through_is_a_limits():
    """It was lowered much at once, and is met by going slower: what was let through before says nothing any more."""
    floor = Floor()
    for failed, average in ((40.0, 40.0), (40.0, 18.0), (38.0, 8.0), (15.0, 3.9), (8.0, 2.1), (4.0, 2.0)):
        floor.met(failed, average, 9)
        assert floor.rate == 0.0


@pytest.mark.parametrize("passed", [0, 1])
def test_an_average_that_halves_while_most_is_refused_is_a_limits(passed):
    """In a bucket that refusals empty further averages fall as well, until the rate is below the limit."""
    floor = Floor()
    floor.met(40.0, 40.0, 47)
    for average in (19.0, 9.0, 9.0, 4.0):
        floor.met(1.2 * average, average, passed)
    assert floor.rate == 0.0


@pytest.mark.parametrize(
    ("told", "rate"),
    [
        (((40.0, 9), (19.0, 9), (19.0, 2), (9.0, 1)), 40.0),  # three of five came through
        (((40.0, 9), (19.0, 9), (8.0, 1)), 0.0),  # one of two: what came before the first halving is over
        (((40.0, 47), (19.0, 0), (9.0, 9)), 0.0),  # the first halving did not count, for the same reason
        (((40.0, 47), (30.0, 2), (19.0, 0), (9.0, 9)), 0.0),  # two of four
        (((40.0, 9), (20.0, 9), (10.0, 9)), 40.0),  # a half is enough
        (((40.0, 9), (20.0, 9), (40.0, 9), (20.0, 9)), 0.0),  # and twice as much is another limit
        (((40.0, 9), (20.0, 9), (19.0, 40), (10.0, 9)), 0.0),  # forty in a row
        (((40.0, 9), (20.0, 9), (19.0, 39), (10.0, 9)), 40.0),
    ],
)
def test_an_average_that_halves_is_judged_by_what_came_through_since_the_last_one_did(told, rate):
    """More let through than refused, both times."""
    floor = Floor()
    for average, passed in told:
        floor.met(average, average, passed)
    assert floor.rate == rate


def test_where_many_are_let_through_in_a_row_it_is_a_limit():
    """Chance seldom lets forty pass: from there on it is counted anew."""
    floor = Floor()
    for average, passed in ((100.0, 9), (45.0, 9), (41.0, 47), (20.0, 9)):
        floor.met(average, average, passed)
    assert floor.rate == 0.0
    floor.met(9.0, 9.0, 9)
    assert floor.rate == 41.0


def test_a_floor_that_is_too_fast_gives_way():
    """Where cut after cut hardly anything was let through."""
    floor = Floor()
    for average in (8.0, 3.9, 1.9):
        floor.met(average, average, 9)
    for passed, rate in (
        (1, 8.0), (2, 8.0), (3, 8.0), (0, 8.0), (0, 8.0), (2, 8.0), (1, 4.0), (1, 4.0), (1, 4.0), (1, 4.0), (1, 2.0),
    ):  # fmt: skip
        floor.met(8.0, 0.0, passed)
        assert floor.rate == rate


def test_an_average_that_halves_once_may_be_a_limits():
    """It was lowered, and then it stays about what it is."""
    floor = Floor()
    for average in (8.0, 3.0, 3.5, 2.8, 5.5, 3.1, 16.0, 6.0):
        floor.met(average, average, 9)
    assert floor.rate == 0.0
