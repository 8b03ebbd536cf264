"""What stands behind an exception: causes, what wrappers hold, the leaves of groups. Every walk ends."""

import contextlib
import itertools
import signal

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.classify.chains import chain, leaves

HELD_IN = ("original_exception", "orig", "reason", "_cause", "inner_exception", "_os_error", "original_error")


class Wrapper(Exception):
    """A library's wrapper: what is given becomes its attributes."""

    def __init__(self, *args, **held):
        super().__init__(*args)
        self.__dict__.update(held)


class Reached(BaseException):
    """Not an Exception: what is being tested may not swallow it."""


@contextlib.contextmanager
def within(seconds):
    """Break off what would loop for ever."""

    def ring(signum, frame):
        raise Reached(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def chained(*errors, by="__cause__"):
    for outer, inner in itertools.pairwise(errors):
        setattr(outer, by, inner)
    return errors[0]


# Causes


def test_the_chain_is_the_exception_then_its_causes():
    """An explicit cause is followed, link by link."""
    links = [ValueError("a"), OSError("b"), KeyError("c")]
    assert list(chain(chained(*links))) == links


def test_the_chain_follows_the_context():
    """An exception raised while another was handled leads to that one."""
    links = [ValueError("a"), OSError("b")]
    assert list(chain(chained(*links, by="__context__"))) == links


def test_a_cause_goes_before_the_context():
    """Where there are both, `raise ... from` decides."""
    error = chained(ValueError("a"), OSError("by chance"), by="__context__")
    error.__cause__ = KeyError("on purpose")
    assert list(chain(error)) == [error, error.__cause__]


def test_a_suppressed_context_is_not_looked_at():
    """`raise ... from None` ends the chain."""

    def raising():
        try:
            raise OSError("hidden")
        except OSError:
            raise ValueError("shown") from None

    with pytest.raises(ValueError, match="shown") as caught:
        raising()
    assert caught.value.__context__ is not None
    assert list(chain(caught.value)) == [caught.value]


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("by", ["__cause__", "__context__", "orig"])
def test_a_circle_ends(length, by):
    """A chain that comes back to itself is walked once."""
    links = [Wrapper(str(n)) for n in range(length)]
    chained(*links, by=by)
    if by != "__context__" or length > 1:
        setattr(links[-1], by, links[0])
    with within(5):
        found = list(chain(links[0]))
    assert found == links


def test_a_chain_of_a_thousand_links_is_cut_short():
    """A very long chain is walked for a while only."""
    links = [ValueError(str(n)) for n in range(1000)]
    found = list(chain(chained(*links)))
    assert 5 <= len(found) <= 100
    assert found == links[: len(found)]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["__cause__", "__context__", *HELD_IN])),
        max_size=30,
    )
)
def test_any_tangle_of_exceptions_is_walked_once(edges):
    """However ten exceptions refer to each other, each is met at most once, and the first is first."""
    errors = [Wrapper(str(n)) for n in range(10)]
    for outer, inner, by in edges:
        if outer != inner or by != "__context__":
            setattr(errors[outer], by, errors[inner])
    found = list(chain(errors[0]))
    assert found[0] is errors[0]
    assert len({id(link) for link in found}) == len(found) <= 10


# What wrappers hold


@pytest.mark.parametrize("name", HELD_IN)
def test_an_exception_held_in_an_attribute_stands_behind(name):
    """Libraries keep what they wrapped in attributes of various names."""
    inner = OSError("inner")
    error = Wrapper("outer", **{name: inner})
    assert list(chain(error)) == [error, inner]


def test_an_exception_among_the_arguments_stands_behind():
    """`WrapperError("while asking", error)` and `WrapperError(error)` lead to the error."""
    inner = OSError("inner")
    for error in (Wrapper(inner), Wrapper("while asking", inner), ValueError("x", 1, inner)):
        assert list(chain(error)) == [error, inner]


@pytest.mark.parametrize("held", ["text", 5, None, OSError, [OSError()], {"error": OSError()}, object()], ids=repr)
def test_what_is_no_exception_is_not_held(held):
    """An attribute or an argument that is something else leads nowhere."""
    error = Wrapper(held, orig=held, reason=held)
    assert list(chain(error)) == [error]


def test_an_attribute_of_another_name_is_not_followed():
    """Only where wrappers keep what they wrap is looked: not in everything."""
    error = Wrapper("outer", previous=OSError("unrelated"))
    assert list(chain(error)) == [error]


def test_what_is_held_goes_before_the_cause():
    """What the wrapper holds, then what it was raised from; each once."""
    held, cause = OSError("held"), KeyError("cause")
    error = chained(Wrapper("outer", orig=held), cause)
    assert list(chain(error)) == [error, held, cause]
    same = chained(Wrapper(cause, orig=cause), cause)
    assert list(chain(same)) == [same, cause]


def test_what_tenacity_gave_up_on_stands_behind_its_error():
    """tenacity.RetryError holds a future, and in it the exception of the last attempt."""
    inner = OSError("the network")

    @tenacity.retry(stop=tenacity.stop_after_attempt(1))
    def ask():
        raise inner

    with pytest.raises(tenacity.RetryError) as caught:
        ask()
    caught.value.__cause__ = caught.value.__context__ = None
    assert list(chain(caught.value)) == [caught.value, inner]


def test_a_retry_error_of_an_answer_holds_nothing():
    """Where tenacity gave up on answers, there is no exception behind it."""

    @tenacity.retry(stop=tenacity.stop_after_attempt(1), retry=tenacity.retry_if_result(lambda answer: True))
    def ask():
        return "no good"

    with pytest.raises(tenacity.RetryError) as caught:
        ask()
    assert list(chain(caught.value)) == [caught.value]


class Locked(Exception):
    """No attribute at all can be looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class Odd(Exception):
    """Its attributes are of no use."""

    __cause__ = __context__ = args = property(lambda self: "nothing")


@pytest.mark.parametrize("make", [Locked, Odd])
def test_an_exception_that_cannot_be_looked_at_is_the_chain(make):
    """Whatever it does when it is looked at, the exception itself is there."""
    error = make()
    assert list(chain(error)) == [error]


# Groups


def test_a_group_is_a_link_and_its_members_are_not():
    """A group behind an exception is found; who wants its members opens it."""
    group = ExceptionGroup("g", [OSError("member")])
    error = chained(ValueError("outer"), group)
    assert list(chain(error)) == [error, group]


def test_what_stands_behind_a_group_is_followed():
    """A group's own cause is a link after it."""
    cause = OSError("cause")
    group = chained(ExceptionGroup("g", [ValueError()]), cause)
    assert list(chain(group)) == [group, cause]


def test_the_leaves_of_a_group_are_found_at_any_depth():
    """Groups within groups are opened, in order."""
    one, two, three = ValueError(1), OSError(2), KeyError(3)
    group = ExceptionGroup("outer", [one, ExceptionGroup("inner", [two]), three])
    assert leaves(group) == [one, two, three]


@given(st.recursive(st.integers(), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=30))
def test_the_leaves_are_those_that_were_put_in(shape):
    """Any nesting of groups gives its members in reading order."""
    put = []

    def build(part):
        if isinstance(part, list):
            return ExceptionGroup("g", [build(inner) for inner in part])
        put.append(ValueError(part))
        return put[-1]

    assert leaves(build(shape)) == put


def test_an_exception_is_its_own_leaf():
    """What is no group has one leaf: itself."""
    error = ValueError("x")
    assert leaves(error) == [error]


def test_a_very_deep_group_is_opened():
    """A thousand groups around one failure do not hide it."""
    error = group = OSError("x")
    for _ in range(1000):
        group = ExceptionGroup("deeper", [group])
    assert leaves(group) == [error]


def test_a_group_that_contains_itself_ends():
    """A group whose `exceptions` lead back to it is an answer, not a hang."""

    class Circle(ExceptionGroup):
        @property
        def exceptions(self):
            return (self,)

    with within(2):
        found = leaves(Circle("round", [ValueError("x")]))
    assert isinstance(found, list)


def test_a_group_that_hides_its_members_is_its_own_leaf():
    """Where `exceptions` cannot be read, the group itself is what failed."""

    class Hiding(ExceptionGroup):
        @property
        def exceptions(self):
            raise RuntimeError("no")

    group = Hiding("closed", [ValueError("x")])
    assert leaves(group) == [group]
