"""`once`: worked out when first asked for, and then kept by the object."""

import copy

import pytest

from resilient_agent._once import once


class Holder:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.asked = 0

    @once
    def answer(self):
        """What comes out."""
        self.asked += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.mark.parametrize("value", ["yes", None, 0, ""])
def test_it_is_worked_out_once(value):
    """Not before somebody asks; and what is false or None is an answer too."""
    holder = Holder(value)
    assert holder.asked == 0
    assert (holder.answer, holder.answer, holder.asked) == (value, value, 1)


def test_each_object_has_its_own():
    """Nothing is kept on the class."""
    one, other = Holder("one"), Holder("other")
    assert (one.answer, other.answer, one.answer) == ("one", "other", "one")


def test_what_raised_is_worked_out_again():
    """A failure is not kept."""
    holder = Holder(KeyError("not yet"), "yes")
    with pytest.raises(KeyError):
        assert holder.answer
    assert (holder.answer, holder.asked) == ("yes", 2)


def test_it_may_be_set_and_forgotten():
    """It is an entry in the object's own dict, and copied with it."""
    holder = Holder("first", "second")
    assert holder.answer == "first"
    assert copy.copy(holder).answer == "first"
    del holder.answer
    assert holder.answer == "second"
    holder.answer = "set"
    assert (holder.answer, holder.asked) == ("set", 2)


def test_on_the_class_it_is_itself():
    """With the documentation of the method."""
    assert isinstance(Holder.answer, once)
    assert Holder.answer.__doc__ == "What comes out."
