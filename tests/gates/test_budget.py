"""`RetryBudget` in virtual time: what it counts, charges, pays back and refuses."""

import copy
import gc
import math
import pickle
import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from resilient_agent.backoff import BackoffConfig
from resilient_agent.gates.budget import RetryBudget
from resilient_agent.verdict import Classification, ErrorType

RETRYABLE, REFUSED, DEGRADED, FATAL = (
    Classification(kind, BackoffConfig())
    for kind in (ErrorType.RETRYABLE, ErrorType.NON_RETRYABLE, ErrorType.DEGRADED, ErrorType.FATAL)
)


def after(first_attempts, *, now=0.0, **settings):
    """A budget that has seen so many calls set out, without a floor where none is named."""
    budget = RetryBudget(**{"floor": 0, **settings})
    for _ in range(first_attempts):
        budget.first_attempt(now)
    return budget


def granted(budget, asked, now=0.0):
    """The tokens that so many questions were answered with."""
    return [token for token in (budget.retry(now) for _ in range(asked)) if token is not None]


def test_retries_are_a_share_of_the_first_attempts():
    """A hundred calls that all fail make twenty retries."""
    budget = after(100, share=0.2)
    assert budget.left(0.0) == 20
    assert len(granted(budget, 300)) == 20
    assert budget.left(0.0) == 0


def test_the_default_is_a_fifth_and_one_a_second():
    """Nobody needs to choose numbers."""
    budget = RetryBudget()
    assert budget.left(0.0) == 60
    for _ in range(100):
        budget.first_attempt(0.0)
    assert budget.left(0.0) == 80
    assert budget.left(60.0) == 60
    assert repr(budget) == "<RetryBudget(share=0.2, floor=1, window=60): 60 retries left, 0 held>"


def test_first_attempts_are_never_charged_or_refused():
    """However exhausted the budget is, a call may set out, and it only ever adds."""
    # A28
    budget = after(0, share=0.5)
    for calls in range(1, 50):
        before = budget.left(0.0)
        assert budget.first_attempt(0.0) is None
        assert budget.left(0.0) >= before
        assert budget.left(0.0) == calls // 2
    budget = after(2, share=0.5)
    assert granted(budget, 9)
    assert budget.first_attempt(0.0) is None


@pytest.mark.parametrize("outcome", [REFUSED, DEGRADED, FATAL])
def test_only_retryable_failures_drain(outcome):
    """A retry that the service answers with a 400 is paid back: it is no sign of trouble."""
    # A29
    budget = after(5, share=0.2)
    for _ in range(100):
        (token,) = granted(budget, 2)
        assert token.settle(outcome, 0.0) is True
    (token,) = granted(budget, 2)
    token.settle(RETRYABLE, 0.0)
    assert granted(budget, 2) == []


def test_a_success_is_paid_back():
    """While retries help there is no end to them."""
    budget = after(5, share=0.2)
    for _ in range(100):
        (token,) = granted(budget, 2)
        assert token.settle("succeeded", 0.0) is True
    assert budget.left(0.0) == 1


@pytest.mark.parametrize(
    "last", [("settle", "succeeded"), ("settle", RETRYABLE), ("settle", "cancelled"), ("give_back",)]
)
@pytest.mark.parametrize(
    "first", [("settle", "succeeded"), ("settle", RETRYABLE), ("settle", "cancelled"), ("give_back",)]
)
def test_a_token_is_settled_once(first, last):
    """Whoever else settles it, as an outer decorator may, changes nothing: a success pays back once."""
    # A30

    def say(token, verb, *outcome):
        return getattr(token, verb)(*outcome, *([0.0] if outcome else []))

    budget = after(20, share=0.2)
    token, other = granted(budget, 2)
    assert repr(token) == "<RetryToken, held>"
    assert say(token, *first) is True
    left = budget.left(0.0)
    assert left == (3 if first in {("settle", "succeeded"), ("give_back",)} else 2)
    assert say(token, *last) is False
    assert budget.left(0.0) == left
    assert repr(token) == "<RetryToken, settled>"
    assert repr(other) == "<RetryToken, held>"


def test_nothing_is_paid_back_beyond_what_was_taken():
    """Successes without retries add nothing but their traffic."""
    # A30
    budget = after(10, share=0.2)
    token, _ = granted(budget, 3)
    token.settle("succeeded", 0.0)
    token.settle("succeeded", 0.0)
    assert len(granted(budget, 9)) == 1


def test_a_sleeping_retry_holds_its_token():
    """A thousand retries that sleep longer than the window do not all wake up allowed."""
    # A31
    budget = after(1000, share=0.2, window=10)
    asleep = granted(budget, 1000)
    assert len(asleep) == 200
    assert budget.left(11.0) == 0
    for _ in range(1000):
        budget.first_attempt(500.0)
    assert budget.retry(500.0) is None
    for token in asleep:
        token.settle(RETRYABLE, 500.0)
    assert budget.left(500.0) == 0


def test_cancelled_in_the_wait_gives_the_token_back():
    """The retry did not set out: as if it had never been asked for."""
    # A31
    budget = after(5, share=0.2)
    (token,) = granted(budget, 2)
    assert budget.left(0.0) == 0
    assert token.give_back() is True
    assert budget.left(0.0) == 1


def test_cancelled_on_the_way_is_charged():
    """The request went out, and nobody knows that it helped."""
    budget = after(5, share=0.2)
    (token,) = granted(budget, 2)
    token.settle("cancelled", 0.0)
    assert budget.left(0.0) == 0


def test_exhausted_is_an_answer():
    """None at once, as often as it is asked, and being refused costs nothing."""
    # A32
    budget = after(5, share=0.2)
    (token,) = granted(budget, 1)
    assert [budget.retry(0.0) for _ in range(1000)] == [None] * 1000
    token.give_back()
    assert budget.left(0.0) == 1


def test_a_budget_of_nothing_refuses_every_retry():
    """Neither share nor floor: a way to say never."""
    budget = after(100, share=0, floor=0)
    assert budget.retry(0.0) is None


def test_a_floor_lets_a_quiet_client_retry():
    """One call in an hour is retried, though a fifth of it is no whole retry."""
    # A33
    budget = RetryBudget(floor=0.1, window=60)
    budget.first_attempt(3600.0)
    tokens = granted(budget, 100, now=3600.0)
    assert len(tokens) == 6
    for token in tokens:
        token.settle(RETRYABLE, 3601.0)
    assert budget.left(3653.9) == 0
    assert budget.left(3661.1) == 6


def test_floor_and_share_add_up():
    """The floor is no minimum that the share eats up."""
    # A33
    budget = after(10, share=0.2, floor=3, window=2)
    assert budget.left(0.0) == 8


def test_shared_only_where_the_same_object_is_passed():
    """Two budgets with the same numbers know nothing of each other."""
    # A34
    one, other = after(5), after(5)
    assert granted(one, 5)
    assert one.left(0.0) == 0
    assert other.left(0.0) == 1
    assert one != other


def test_traffic_is_forgotten_after_the_window():
    """Yesterday's calls earn no retries today."""
    budget = after(10, share=0.5, window=10)
    assert [budget.left(at) for at in (0.5, 9.5, 10.5)] == [5, 5, 0]


def test_charges_are_forgotten_after_the_window():
    """Counted from when the retry failed, not from when it was asked for."""
    budget = RetryBudget(share=0, floor=0.1, window=10)
    assert budget.left(0.0) == 1
    token = budget.retry(0.0)
    token.settle(RETRYABLE, 30.0)
    assert [budget.left(at) for at in (30.5, 39.5, 40.5)] == [0, 0, 1]


def test_a_share_is_exact_where_floats_are_not():
    """0.29 of a hundred are 29, and three times a tenth of ten are three."""
    assert after(100, share=0.29).left(0.0) == 29
    assert after(30, share=0.1).left(0.0) == 3
    assert after(99, share=0.29).left(0.0) == 28


def test_a_new_event_loop_may_use_the_same_budget():
    """Its clock begins elsewhere: nothing is lost, nothing is stuck."""
    budget = after(10, share=0.1, window=10, now=1e6)
    budget.retry(1e6).settle(RETRYABLE, 1e6 + 1)
    assert budget.left(0.0) == 0
    assert budget.left(9.5) == 0
    budget.first_attempt(10.5)
    assert budget.left(10.5) == 0
    for _ in range(9):
        budget.first_attempt(10.5)
    assert budget.left(10.5) == 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"share": 20}, "share must be from 0 to 1, not 20"),
        ({"share": -0.1}, "share must be from 0 to 1, not -0.1"),
        ({"share": math.nan}, "share must be finite, not nan"),
        ({"floor": -1}, "floor must be at least 0, not -1"),
        ({"floor": math.inf}, "floor must be finite, not inf"),
        ({"window": 0}, "window must be above 0, not 0"),
        ({"window": -1}, "window must be above 0, not -1"),
    ],
)
def test_bad_numbers_are_refused_at_once(settings, text):
    """The text names the argument and says what would do."""
    with pytest.raises(ValueError, match=f"^{text}"):
        RetryBudget(**settings)


@pytest.mark.parametrize("settings", [{"share": "20%"}, {"share": True}, {"floor": None}, {"window": "1m"}])
def test_what_is_no_number_is_refused_at_once(settings):
    """A string that looks like one is none."""
    with pytest.raises(TypeError, match=f"^{next(iter(settings))} must be a number"):
        RetryBudget(**settings)


def test_the_numbers_at_their_bounds_will_do():
    """0 and 1 are shares, 0 is a floor, and a window may be very short."""
    assert after(10, share=1).left(0.0) == 10
    assert after(1, share=1, window=1e-6).left(0.0) == 1
    assert RetryBudget(0.5).left(0.0) == 60


@pytest.mark.parametrize("outcome", [None, "failed", True, ErrorType.RETRYABLE, RuntimeError("boom"), []])
def test_a_token_refuses_what_is_no_outcome(outcome):
    """It stays held, so that the mistake cannot lose it."""
    budget = after(5)
    token = budget.retry(0.0)
    with pytest.raises(TypeError, match=r"^an outcome is a Classification"):
        token.settle(outcome, 0.0)
    assert token.give_back() is True


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copy_has_the_settings_and_has_seen_nothing(how):
    """Another process or a copied policy gets a budget of its own; it is the object that is shared."""
    # A34, A40
    budget = after(100, share=0.25, floor=2, window=5)
    granted(budget, 3)
    other = how(budget)
    assert other is not budget
    assert repr(other) == "<RetryBudget(share=0.25, floor=2, window=5): 10 retries left, 0 held>"
    one, same = how([budget, budget])
    assert one is same or how is copy.copy


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_token_cannot_be_copied(how):
    """Two tokens for one retry would pay back twice: refused, with the reason."""
    with pytest.raises(TypeError, match=r"^a RetryToken belongs to the call"):
        how(after(5).retry(0.0))


def test_a_settled_token_may_be_told_from_within_the_garbage_collector():
    """A stream that is collected while the budget is busy settles its token on the same thread."""
    budget = after(10, share=0.2)

    class Stream:
        def __init__(self):
            self.token, self.me = budget.retry(0.0), self

        def __del__(self):
            self.token.give_back()

    Stream()
    with budget._lock:
        gc.collect()
    assert budget.left(0.0) == 2


class Lock:
    """Counts how often it is taken, and knows whether it is."""

    def __init__(self):
        self.taken = self.depth = 0

    def __enter__(self):
        self.taken += 1
        self.depth += 1

    def __exit__(self, *error):
        self.depth -= 1


def test_every_method_takes_the_lock():
    """Once, and lets go of it, also where the answer is no."""
    budget = after(5)
    lock = budget._lock = Lock()
    token = budget.retry(0.0)
    asked = [
        lambda: budget.retry(0.0),
        lambda: budget.left(0.0),
        lambda: budget.first_attempt(0.0),
        lambda: token.settle("succeeded", 0.0),
        token.give_back,
        lambda: repr(budget),
    ]
    for number, ask in enumerate(asked, start=2):
        ask()
        assert (lock.taken, lock.depth) == (number, 0)


def test_many_threads_share_one_budget():
    """Never more retries at once than there are, no token lost, none counted twice."""
    budget = after(100, share=0.1)
    out, most, problems = set(), 0, []
    barrier, lock = threading.Barrier(8), threading.Lock()

    def client():
        nonlocal most
        barrier.wait()
        for turn in range(300):
            token = budget.retry(0.0)
            if token is None:
                continue
            with lock:
                out.add(token)
                most = max(most, len(out))
            with lock:
                out.discard(token)
            ends = [token.settle("succeeded", 0.0) if turn % 2 else token.give_back(), token.give_back()]
            if ends != [True, False]:
                problems.append(ends)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert 1 <= most <= 10
    assert budget.left(0.0) == 10


def test_a_token_that_many_threads_settle_is_settled_once():
    """Exactly one of them hears that it was the first."""
    budget = after(5)
    for _ in range(200):
        token, heard = budget.retry(0.0), []
        barrier = threading.Barrier(4)

        def settle(token=token, barrier=barrier, heard=heard):
            barrier.wait()
            heard.append(token.give_back())

        threads = [threading.Thread(target=settle) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(heard) == [False, False, False, True]
    assert budget.left(0.0) == 1


class AgainstAModel(RuleBasedStateMachine):
    """The budget against lists of everything that happened; a window of ten seconds has slots of one."""

    tokens = Bundle("tokens")

    def __init__(self):
        super().__init__()
        self.budget = RetryBudget(0.25, floor=0.2, window=10)
        self.now = 0
        self.traffic, self.charges, self.held = [], [], set()

    def lately(self, times):
        return sum(self.now - then < 10 for then in times)

    def expected(self):
        return max(0, self.lately(self.traffic) // 4 + 2 - self.lately(self.charges) - len(self.held))

    @rule(seconds=st.integers(0, 12))
    def wait(self, seconds):
        self.now += seconds

    @rule(calls=st.integers(1, 9))
    def calls_set_out(self, calls):
        for _ in range(calls):
            self.budget.first_attempt(self.now)
            self.traffic.append(self.now)

    @rule(target=tokens)
    def ask(self):
        expected = self.expected()
        token = self.budget.retry(self.now)
        assert (token is not None) == (expected > 0)
        if token is not None:
            self.held.add(token)
        return token

    @rule(token=consumes(tokens), outcome=st.sampled_from(["succeeded", "cancelled", RETRYABLE, REFUSED, None]))
    def settle(self, token, outcome):
        if token is None:
            return
        assert token.give_back() if outcome is None else token.settle(outcome, self.now)
        self.held.discard(token)
        if outcome in ("cancelled", RETRYABLE):
            self.charges.append(self.now)

    @invariant()
    def agrees(self):
        assert self.budget.left(self.now) == self.expected()
        assert f"{self.expected()} retries left, {len(self.held)} held" in repr(self.budget)


TestAgainstAModel = AgainstAModel.TestCase
