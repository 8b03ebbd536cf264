"""One failure under judgement: its evidence, opened link by link."""

import pytest

from resilient_agent.classify.case import Case


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def behind(outer, inner):
    outer.__cause__ = inner
    return outer


def errors_of(case):
    return [evidence.error for evidence in case]


def test_a_case_is_the_evidence_of_the_exception_and_of_what_stands_behind():
    """The exception's own evidence comes first, then that of each link."""
    inner = OSError("inner")
    error = behind(ValueError("outer"), inner)
    case = Case(error)
    assert case.first.error is error
    assert errors_of(case) == [error, inner]


def test_the_evidence_is_opened_once():
    """Whoever reads a case again finds the very same evidence."""
    case = Case(behind(ValueError("outer"), OSError("inner")))
    assert all(one is other for one, other in zip(case, case, strict=True))
    assert next(iter(case)) is case.first


def test_two_readers_may_read_at_the_same_time():
    """A reader that stopped half way takes nothing from another."""
    error = behind(ValueError("a"), behind(OSError("b"), KeyError("c")))
    case = Case(error)
    slow = iter(case)
    next(slow)
    assert len(errors_of(case)) == 3
    assert [evidence.error for evidence in slow] == [error.__cause__, error.__cause__.__cause__]


def test_nothing_behind_the_exception_is_looked_at_before_it_is_asked_for():
    """Most failures are decided by the exception itself, so its causes are opened late."""
    looked = []

    class Watched(Exception):
        @property
        def __cause__(self):
            looked.append("cause")

    case = Case(Watched("x"))
    assert case.first.status is None
    assert case.first.names
    assert looked == []
    assert len(errors_of(case)) == 1
    assert looked


def test_the_names_of_what_stands_behind_are_known():
    """Each link knows the class names of itself and of all links after it, and of none before it."""
    case = Case(behind(ValueError("a"), behind(ConnectionResetError("b"), KeyError("c"))))
    outer, middle, inner = case
    assert {"ValueError", "ConnectionResetError", "KeyError"} <= outer.cause_names
    assert {"ConnectionResetError", "KeyError"} <= middle.cause_names
    assert "ValueError" not in middle.cause_names
    assert "ConnectionResetError" not in inner.cause_names
    assert "KeyError" in inner.cause_names


def test_the_names_behind_are_known_before_the_chain_was_read():
    """Asking the first link for its causes opens what is needed."""
    assert "OSError" in Case(behind(ValueError("a"), OSError("b"))).first.cause_names


def test_a_group_behind_an_exception_is_found():
    """The first link that is a group is the group of the case."""
    group = ExceptionGroup("g", [OSError()])
    assert Case(behind(ValueError("a"), behind(KeyError("b"), group))).group() is group
    assert Case(group).group() is group


@pytest.mark.parametrize("error", [ValueError("x"), behind(ValueError("x"), OSError("y"))], ids=repr)
def test_without_a_group_there_is_none(error):
    """A plain chain has no group."""
    assert Case(error).group() is None


def test_a_circle_of_causes_is_a_case():
    """A chain that leads back to itself has each link once."""
    one, other = Failure("a"), Failure("b")
    one.__cause__, other.__cause__ = other, one
    case = Case(one)
    assert errors_of(case) == [one, other]
    assert "Failure" in case.first.cause_names
