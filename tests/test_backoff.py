"""Waits as numbers: what `BackoffConfig` takes, and what its curve gives."""

import copy
import dataclasses
import itertools
import math
import pickle
import random
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent import BackoffConfig

NUMBERS = ("base_delay_ms", "max_delay_ms", "multiplier", "jitter")
FIELDS = (*NUMBERS, "max_retries", "shape")
SHAPES = ("exponential", "linear", "fixed")


@st.composite
def configs(draw):
    base = draw(st.floats(0, 1e9) | st.integers(0, 10**9))
    return BackoffConfig(
        base_delay_ms=base,
        max_delay_ms=draw(st.floats(base, 1e12)),
        multiplier=draw(st.floats(0, 1e6) | st.integers(0, 10**6)),
        jitter=draw(st.floats(0, 1)),
        shape=draw(st.sampled_from(SHAPES)),
    )


class Draw:
    """Randomness that says what it is told."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


def waits(config, count=6):
    return [config.delay(attempt, Draw(0.5)) for attempt in range(count)]


# What it takes


def test_the_defaults_are_those_of_the_reference():
    """Without arguments a BackoffConfig has the numbers that the reference has."""
    config = BackoffConfig()
    assert dataclasses.astuple(config) == (1000, 60000, 2.0, 0.1, 3, "exponential")


def test_the_fields_can_be_given_in_the_order_of_the_reference():
    """Positional arguments mean what they mean in the reference."""
    assert BackoffConfig(500, 10_000, 1.5, 0.2, 4) == BackoffConfig(
        base_delay_ms=500, max_delay_ms=10_000, multiplier=1.5, jitter=0.2, max_retries=4
    )


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", NUMBERS)
def test_a_number_that_is_negative_or_not_finite_is_refused_with_the_name_of_its_field(field, value):
    """A negative or non-finite number is a ValueError whose text names the field."""
    with pytest.raises(ValueError, match=rf"^{field} "):
        BackoffConfig(**{field: value})


@pytest.mark.parametrize("value", ["1000", None, True, 1j, Decimal(1), [1]])
@pytest.mark.parametrize("field", NUMBERS)
def test_what_is_no_number_is_refused_with_the_name_of_its_field(field, value):
    """A value that is no number, a bool included, is a TypeError whose text names the field."""
    with pytest.raises(TypeError, match=rf"^{field} "):
        BackoffConfig(**{field: value})


@pytest.mark.parametrize("value", [1.0001, 2, 100])
def test_a_jitter_above_one_is_refused(value):
    """The jitter is a share: above 1 it is a ValueError that names it."""
    with pytest.raises(ValueError, match=r"^jitter "):
        BackoffConfig(jitter=value)


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0])
def test_the_ends_of_the_range_of_jitter_are_allowed(value):
    """A jitter of 0 (none) and of 1 (all of the wait) are both taken."""
    assert BackoffConfig(jitter=value).jitter == value


def test_a_cap_below_the_base_is_refused():
    """A cap below the base is a ValueError that names the cap and shows both numbers."""
    with pytest.raises(ValueError, match=r"^max_delay_ms .*5000.*2000"):
        BackoffConfig(base_delay_ms=5000, max_delay_ms=2000)


def test_a_cap_equal_to_the_base_is_allowed():
    """The cap may be the base: every wait is the same then."""
    assert waits(BackoffConfig(base_delay_ms=700, max_delay_ms=700, jitter=0)) == [0.7] * 6


@pytest.mark.parametrize("value", [-1, -100])
def test_a_negative_number_of_retries_is_refused(value):
    """A negative max_retries is a ValueError that names it."""
    with pytest.raises(ValueError, match=r"^max_retries "):
        BackoffConfig(max_retries=value)


def test_no_retries_at_all_is_allowed():
    """A max_retries of 0 means one attempt and no more."""
    assert BackoffConfig(max_retries=0).max_retries == 0


@pytest.mark.parametrize("value", [1.0, 2.5, "3", None, True, math.nan])
def test_a_number_of_retries_that_is_no_int_is_refused(value):
    """A max_retries that is no int is a TypeError that names it."""
    with pytest.raises(TypeError, match=r"^max_retries "):
        BackoffConfig(max_retries=value)


@pytest.mark.parametrize("value", ["", "Exponential", "quadratic", None, 1, ("fixed",)])
def test_an_unknown_shape_is_refused_and_the_known_ones_are_named(value):
    """A shape that does not exist is a ValueError that names the field and the three that do."""
    with pytest.raises(ValueError, match=r"^shape .*exponential, linear, fixed"):
        BackoffConfig(shape=value)


@pytest.mark.parametrize("field", FIELDS)
def test_it_cannot_be_changed(field):
    """A config is frozen: no field can be set."""
    config = BackoffConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, getattr(config, field))


def test_it_holds_its_fields_and_nothing_else():
    """A config has no room for anything beside its fields: it can be shared by any number of calls."""
    assert not hasattr(BackoffConfig(), "__dict__")


def test_equal_configs_are_equal_keys():
    """Configs are values: equal ones compare and hash alike, and replace() checks again."""
    config = BackoffConfig(base_delay_ms=500)
    assert {config: 1}[BackoffConfig(base_delay_ms=500)] == 1
    assert config != BackoffConfig()
    with pytest.raises(ValueError, match=r"^jitter "):
        dataclasses.replace(config, jitter=2)


def test_it_survives_pickle_and_copy():
    """A config comes out of pickle, copy and deepcopy as it was."""
    config = BackoffConfig(500, 10_000, 1.5, 0.2, 4, "linear")
    assert pickle.loads(pickle.dumps(config)) == copy.copy(config) == copy.deepcopy(config) == config


# Its curve


def test_exponential_waits_multiply():
    """The exponential shape multiplies from wait to wait until the cap."""
    config = BackoffConfig(base_delay_ms=1000, multiplier=2, max_delay_ms=10_000, jitter=0)
    assert waits(config) == [1, 2, 4, 8, 10, 10]


def test_linear_waits_grow_by_the_base():
    """The linear shape adds the base from wait to wait until the cap, whatever the multiplier."""
    config = BackoffConfig(base_delay_ms=1000, max_delay_ms=4500, multiplier=7, jitter=0, shape="linear")
    assert waits(config) == [1, 2, 3, 4, 4.5, 4.5]


def test_fixed_waits_stay():
    """The fixed shape always waits for the base."""
    assert waits(BackoffConfig(base_delay_ms=250, jitter=0, shape="fixed")) == [0.25] * 6


def test_jitter_spreads_to_both_sides_below_the_cap():
    """Below the cap jitter spreads the wait evenly around its value."""
    config = BackoffConfig(base_delay_ms=1000, jitter=0.1)
    assert config.delay(0, Draw(0.0)) == pytest.approx(0.9)
    assert config.delay(0, Draw(0.5)) == pytest.approx(1.0)
    assert config.delay(0, Draw(0.999999)) == pytest.approx(1.1, abs=1e-5)


@settings(max_examples=300)
@given(config=configs(), attempt=st.integers(0, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_no_wait_is_above_the_cap_or_negative(config, attempt, draw):
    """Whatever the numbers, a wait is finite, not negative and not above the cap, jitter included."""  # A9, A10
    wait = config.delay(attempt, Draw(draw))
    assert math.isfinite(wait)
    assert 0 <= wait <= config.max_delay_ms / 1000


@given(config=configs(), attempt=st.integers(0, 10_000))
def test_a_wait_stays_within_its_share_of_jitter(config, attempt):
    """The draws between 0 and 1 move the wait by no more than the share that jitter names."""
    low, middle, high = (config.delay(attempt, Draw(draw)) for draw in (0.0, 0.5, 1 - 1e-12))
    exact = dataclasses.replace(config, jitter=0).delay(attempt, Draw(0.5))
    assert low <= middle <= high
    rounding = 1e-12 * exact + 1e-12
    assert low >= exact * (1 - config.jitter) - rounding
    assert high <= exact * (1 + config.jitter) + rounding


@given(config=configs(), attempt=st.integers(0, 200))
def test_without_jitter_waits_never_shrink_where_they_multiply(config, attempt):
    """With a multiplier of at least 1 and no jitter, each wait is at least the one before."""
    steady = dataclasses.replace(config, jitter=0, multiplier=max(1, config.multiplier))
    assert steady.delay(attempt + 1, Draw(0.5)) >= steady.delay(attempt, Draw(0.5))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("multiplier", [2, 2.0, 1e300, 10**6])
def test_attempt_ten_thousand_neither_overflows_nor_is_slow(shape, multiplier, rng):
    """A thousand waits for attempt 10,000 are there at once, finite and below the cap."""  # A10
    config = BackoffConfig(multiplier=multiplier, shape=shape)
    begun = time.process_time()
    found = [config.delay(10_000, rng) for _ in range(1000)]
    assert time.process_time() - begun < 0.1
    assert all(0 < wait <= 60 for wait in found)


def test_a_base_of_zero_never_waits():
    """Nothing multiplied stays nothing, also where the factor overflows."""
    config = BackoffConfig(base_delay_ms=0)
    assert [config.delay(attempt, Draw(0.9)) for attempt in (0, 1, 50, 10_000)] == [0, 0, 0, 0]


@pytest.mark.parametrize("shape", ["exponential", "linear"])
def test_at_the_cap_waits_still_differ(shape, rng):
    """Callers that have all reached the cap do not come back at the same moment."""  # A9
    config = BackoffConfig(base_delay_ms=1000, max_delay_ms=8000, jitter=0.25, shape=shape)
    found = [config.delay(30, rng) for _ in range(1000)]
    assert len(set(found)) > 990
    assert max(found) <= 8
    assert min(found) >= 6
    assert max(found) - min(found) > 1.8


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 0.75, 0.999])
def test_a_jitter_of_one_spreads_evenly_from_nothing_to_the_cap(draw):
    """Full jitter at the cap: every wait from 0 to the cap is as likely as any other."""  # A10
    config = BackoffConfig(base_delay_ms=1000, max_delay_ms=8000, jitter=1)
    assert config.delay(10, Draw(draw)) == pytest.approx(8 * draw)


def test_the_same_draws_give_the_same_waits():
    """The curve is pure: with equal randomness, equal waits, in any order."""
    config = BackoffConfig()
    forward = [config.delay(attempt, random.Random(attempt)) for attempt in range(20)]
    backward = [config.delay(attempt, random.Random(attempt)) for attempt in reversed(range(20))]
    assert forward == backward[::-1]


def test_one_wait_takes_one_draw():
    """Each wait draws once, so that a seeded test can tell what comes next."""
    rng, twin = random.Random(7), random.Random(7)
    BackoffConfig().delay(0, rng)
    twin.random()
    assert rng.random() == twin.random()


def test_interleaved_calls_do_not_advance_each_other():
    """A config holds no place on its curve: any number of calls share it."""  # A11
    config = BackoffConfig(jitter=0)
    one, other = ([], [])
    for attempt, mine in itertools.product(range(4), (one, other)):
        mine.append(config.delay(attempt, Draw(0.5)))
    assert one == other == [1, 2, 4, 8]


@pytest.mark.parametrize("attempt", [-1, -10_000])
def test_a_negative_attempt_is_refused(attempt):
    """Attempts count from 0: a negative one is a ValueError."""
    with pytest.raises(ValueError, match="attempt"):
        BackoffConfig().delay(attempt, Draw(0.5))


def test_the_random_module_will_do():
    """The module `random` is randomness enough."""
    assert 0.9 <= BackoffConfig().delay(0, random) <= 1.1
