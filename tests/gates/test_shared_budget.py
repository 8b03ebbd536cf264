"""`SharedRetryBudget`: what processes may spend together, by the real script on a real server."""

import contextlib
import json
import os
import pickle
import random
import threading
import time

import pytest

from resilient_agent.backoff import BackoffConfig
from resilient_agent.decorator import resilient
from resilient_agent.gates.budget import RetryBudget
from resilient_agent.gates.shared.budget import SharedRetryBudget
from resilient_agent.gates.shared.link import text_of
from resilient_agent.gates.shared.purse import Purse
from resilient_agent.verdict import Classification, ErrorType

redis = pytest.importorskip("redis")

SCRIPT = text_of("budget")
RETRYABLE = Classification(ErrorType.RETRYABLE, BackoffConfig())


@pytest.fixture
def url(valkey_server):
    """A database of its own."""
    return valkey_server.fresh_url()


@pytest.fixture
def decide(url):
    """The script in made-up time: what a process is given that says so much."""
    client = redis.Redis.from_url(url, decode_responses=True)
    script = client.register_script(SCRIPT)

    def asked(me, now, *, calls=0, spent=0, held=0, share=0.2, floor=0.0, window=60.0):
        told = {"me": me, "calls": calls, "spent": spent, "held": held, "lapse": 5.0, "now": now}
        told |= {"share": share, "reserve": floor * window + 1e-9, "window": window}
        reply = json.loads(script(keys=["{budget}", "{budget}:who"], args=[json.dumps(told), "nobody"]))
        return reply["tokens"], reply["credit"]

    yield asked
    client.close()


def until(what, seconds=10.0):
    """Wait for something that another thread does."""
    patience = time.monotonic() + seconds
    while not (came := what()) and time.monotonic() < patience:
        time.sleep(0.005)
    return came


def joined(url, **settings):
    """A budget that knows what all have, as it is soon after a first call in its process."""
    budget = SharedRetryBudget(url, name="a service", **settings)

    def knows():
        budget.first_attempt(time.monotonic())
        return budget._shares() and budget._purse._asked_at is None

    assert until(knows)
    return budget


# What the script decides


def test_all_processes_together_have_a_share_of_all_traffic(decide):
    """Each is given half of its part, and may take the other half on credit."""
    assert decide("a", 100.0, calls=100) == (10, 10)
    assert decide("b", 100.0, calls=100) == (8, 11)  # of 30 that are left
    assert decide("a", 100.1) == (8, 12)  # its own are given back first


def test_what_was_spent_is_gone_for_a_window(decide):
    """For all processes; then it is forgotten, and the traffic too."""
    decide("a", 100.0, calls=100, spent=15)
    assert decide("b", 101.0, held=5) == (0, 0)
    assert decide("b", 130.0, calls=100, held=5) == (10, 10)  # half of 40 - 15 - 5
    assert sum(decide("c", 175.0)) <= 20


def test_what_a_process_holds_that_died_counts_for_a_window(decide):
    """Its tokens that were not spent are the others' again after some seconds."""
    assert decide("dead", 100.0, calls=1000, held=50) == (75, 75)
    assert sum(decide("b", 101.0, calls=0)) <= 75
    assert decide("b", 106.0)[0] == 38  # a quarter of 150
    assert decide("c", 161.0, calls=100) == (10, 10)  # nothing is left of what was before


def test_the_floor_is_one_for_all(decide):
    """However many processes there are."""
    for _ in range(3):
        given = [decide(f"process {n}", 100.0, share=0, floor=1.0) for n in range(20)]
        assert sum(tokens for tokens, _ in given) <= 60
    assert all(tokens >= 1 for tokens, _ in given)


@pytest.mark.parametrize("seed", range(20))
def test_together_they_spend_little_more_than_there_is(decide, seed):
    """Whatever they do in whichever order, no more is out than the budget and the credit of one question."""
    dice = random.Random(seed)
    purses, held, spent = [Purse() for _ in range(4)], [0] * 4, 0
    now = 100.0
    for _ in range(150):
        now += dice.uniform(0, 0.02)
        one = dice.randrange(4)
        purse = purses[one]
        for _ in range(dice.randrange(6)):
            held[one] += purse.spend()
        if held[one] and dice.random() < 0.3:
            held[one] -= 1
            if dice.random() < 0.5:
                purse.charged, spent = purse.charged + 1, spent + 1
            else:
                purse.put_back()
        calls, charged = purse.told()
        purse.filled(
            *decide(f"process {one}", now, calls=calls, spent=charged, held=held[one], share=0, floor=0.5), now
        )
        assert sum(held) + spent <= 30 + 30
    assert sum(held) + spent >= 25


def test_what_lies_on_the_server_expires(decide, url):
    """A window after the last who spoke."""
    decide("a", 100.0, calls=5)
    with redis.Redis.from_url(url) as client:
        assert 0 < client.ttl("{budget}") <= 60
        assert 0 < client.ttl("{budget}:who") <= 65


# The budget


def test_two_processes_share_a_budget(url):
    """What one has spent the other has no more."""
    one, other = joined(url, share=0, floor=1.0), joined(url, share=0, floor=1.0)
    tokens = []
    assert until(lambda: tokens.append(one.retry(time.monotonic())) or tokens[-1] is None or len(tokens) > 70)
    assert until(lambda: tokens.append(one.retry(time.monotonic())) or time.sleep(0.01) or len(tokens) > 100)
    mine = sum(token is not None for token in tokens)
    assert 40 <= mine <= 60
    theirs = [other.retry(time.monotonic()) for _ in range(100)]
    assert mine + sum(token is not None for token in theirs) <= 60 + 15  # but for the credit of one question
    assert until(lambda: not other.left(time.monotonic()) or other.retry(time.monotonic()) is None)


def test_a_token_that_is_paid_back_may_be_spent_again(url):
    """At once, in the process that had it."""
    budget = joined(url, share=0, floor=1.0)
    for _ in range(200):
        token = budget.retry(time.monotonic())
        assert token is not None
        assert token.settle("succeeded", time.monotonic())
        assert not token.settle(RETRYABLE, time.monotonic())
    assert repr(budget).startswith("<SharedRetryBudget 'a service' (share=0, floor=1, window=60): ")
    assert repr(budget).endswith(" 0 held>")


def test_retries_in_vain_are_told_to_the_others(url):
    """A process that fails uses up the budget of one that has done nothing yet, but for its last token."""
    failing, other = joined(url, share=0, floor=1.0), joined(url, share=0, floor=1.0)

    def used_up():
        token = failing.retry(time.monotonic())
        if token is not None:
            token.settle(RETRYABLE, time.monotonic())
        other.first_attempt(time.monotonic())
        return other.left(time.monotonic()) <= 1

    assert until(used_up)


def test_it_bounds_the_retries_of_a_decorated_function(url):
    """As a plain budget does: when it is used up, the error that there is comes out."""
    budget = joined(url, share=0, floor=0)
    made = []

    @resilient(budget=budget, pacer=None)
    def ask():
        made.append(1)
        raise ConnectionError("reset by peer")

    with pytest.raises(ConnectionError, match="reset by peer"):
        ask()
    assert len(made) == 1


def test_without_a_server_each_process_has_a_budget_of_its_own():
    """The same as a plain one, and nobody waits for anything."""
    budget, plain = SharedRetryBudget("redis://127.0.0.1:1", name="a", share=0.5, floor=0), RetryBudget(0.5, floor=0)
    begun = time.monotonic()
    for each in (budget, plain):
        for _ in range(10):
            each.first_attempt(0.0)
    assert [budget.retry(1.0) is None for _ in range(6)] == [plain.retry(1.0) is None for _ in range(6)]
    assert budget.left(1.0) == plain.left(1.0) == 0
    assert time.monotonic() - begun < 5


def test_it_goes_on_alone_while_the_server_is_away(valkey_server, url):
    """And together when it is back."""
    budget = joined(url)
    valkey_server.kill()
    try:
        assert until(lambda: not budget._shares())
        assert budget.retry(time.monotonic()) is not None
    finally:
        valkey_server.start()

    def shares():
        budget.first_attempt(time.monotonic())
        return budget._shares()

    assert until(shares)


def test_threads_may_share_a_shared_budget(url):
    """Eight at once: nothing hangs, and in the end nothing is held."""
    budget = joined(url)

    def work():
        for _ in range(300):
            budget.first_attempt(time.monotonic())
            token = budget.retry(time.monotonic())
            if token is not None:
                token.give_back()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert repr(budget).endswith(" 0 held>")


def test_pickled_it_is_the_same_budget():
    """With its name and settings; it has spent nothing."""
    budget = SharedRetryBudget("redis://127.0.0.1:1", name="a service", share=0.5, floor=2, window=30)
    other = pickle.loads(pickle.dumps(budget))
    assert type(other) is SharedRetryBudget
    assert other.name == "a service"
    assert repr(other) == repr(budget)
    assert other._place == budget._place


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_purse_of_its_own(url):
    """What its parent was given it does not spend a second time."""
    budget = joined(url)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            assert not budget._purse.left

            def shares():
                budget.first_attempt(time.monotonic())
                return budget._shares()

            assert until(shares)
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_arguments_are_checked():
    """As those of a plain budget, and the name besides."""
    with pytest.raises(ValueError, match="share must be from 0 to 1"):
        SharedRetryBudget("redis://localhost", name="a", share=2)
    with pytest.raises(TypeError, match="name must be a str, not 5"):
        SharedRetryBudget("redis://localhost", name=5)
    with pytest.raises(ValueError, match="name must not be empty"):
        SharedRetryBudget("redis://localhost", name="")
