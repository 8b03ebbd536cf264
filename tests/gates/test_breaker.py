"""`CircuitBreaker` in virtual time: what opens it, what it answers, how probes close it again."""

import copy
import gc
import math
import pickle
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from resilient_agent import ErrorClassifier
from resilient_agent.backoff import BackoffConfig
from resilient_agent.classify import _WORDING
from resilient_agent.classify.knowledge import EXACT, WIDE
from resilient_agent.gates.breaker import (
    _ALIVE,
    BreakerState,
    BreakerTicket,
    CircuitBreaker,
    Refusal,
    is_outage,
)
from resilient_agent.verdict import Classification, ErrorType


def verdict(kind, rule="http/unavailable", load=""):
    return Classification(kind, BackoffConfig(), rule=rule, load=load)


DOWN = verdict(ErrorType.RETRYABLE)
CLOSED, OPEN, HALF_OPEN = BreakerState
HARMLESS = [
    "cancelled",
    verdict(ErrorType.NON_RETRYABLE, "http/bad-request"),
    verdict(ErrorType.DEGRADED, "size/context-length"),
    verdict(ErrorType.FATAL, "credit/out-of-credit"),
    verdict(ErrorType.RETRYABLE, "http/too-many-requests", load="limit"),
]


def by_share(share=0.5, attempts=4, **settings):
    return CircuitBreaker(failure_share=share, min_attempts=attempts, consecutive_failures=None, **settings)


def by_row(failures=2, **settings):
    return CircuitBreaker(failure_share=None, consecutive_failures=failures, **settings)


def attempt(breaker, outcome, now=0.0):
    """One attempt that takes no time."""
    assert breaker.admit(now).settle(outcome, now) is True
    return breaker.state


def opened(**settings):
    """A breaker that opened at second 0 and is open for ten seconds."""
    breaker = by_row(1, **{"open_for": 10, **settings})
    assert attempt(breaker, DOWN) is OPEN
    return breaker


def test_a_closed_breaker_admits_everything():
    """However many attempts are under way."""
    breaker = CircuitBreaker()
    tickets = [breaker.admit(0.0) for _ in range(1000)]
    assert all(tickets)
    assert not any(ticket.probe for ticket in tickets)
    assert breaker.state is CLOSED
    assert breaker.state == "closed"


def test_failures_in_a_row_open_it():
    """The second of two, not the first; a success between them begins anew."""
    breaker = by_row(2)
    assert attempt(breaker, DOWN) is CLOSED
    assert attempt(breaker, "succeeded") is CLOSED
    assert attempt(breaker, DOWN) is CLOSED
    assert attempt(breaker, DOWN) is OPEN


def test_the_default_share():
    """Nineteen attempts say nothing, twenty do; a third of failures is not enough."""
    breaker = CircuitBreaker()
    for outcome in (DOWN, DOWN, "succeeded") * 6 + ("succeeded",):
        assert attempt(breaker, outcome) is CLOSED
    assert attempt(breaker, "succeeded") is OPEN
    breaker = CircuitBreaker()
    for outcome in ("succeeded", "succeeded", DOWN) * 40:
        assert attempt(breaker, outcome) is CLOSED


def test_a_refusal_is_a_value():
    """It can be kept, compared and shared: nobody changes it."""
    refusal = opened().admit(4.0)
    assert refusal == Refusal(OPEN, 6.0)
    assert refusal.name == ""
    assert not hasattr(refusal, "__dict__")
    with pytest.raises(AttributeError):
        refusal.wait = 0.0


def test_failures_in_a_row_need_no_window():
    """Of a program that asks once an hour three failures are three failures."""
    breaker = by_row(3, window=60)
    assert [attempt(breaker, DOWN, hour * 3600.0) for hour in range(3)] == [CLOSED, CLOSED, OPEN]


def test_a_share_of_failures_opens_it():
    """Half of four: the two need not come in a row."""
    breaker = by_share(0.5, 4)
    outcomes = (DOWN, "succeeded", DOWN, "succeeded")
    assert [attempt(breaker, outcome) for outcome in outcomes] == [CLOSED, CLOSED, CLOSED, OPEN]


def test_less_than_the_share_leaves_it_closed():
    """One of three is less than half, and so is 49 of a hundred."""
    breaker = by_share(0.5, 3)
    for outcome in ("succeeded", "succeeded", DOWN) * 30:
        assert attempt(breaker, outcome) is CLOSED


def test_few_attempts_say_nothing():
    """Three failures of three leave it closed where four attempts are asked for."""
    breaker = by_share(0.5, 4)
    assert [attempt(breaker, DOWN) for _ in range(4)] == [CLOSED, CLOSED, CLOSED, OPEN]


def test_more_attempts_than_are_asked_for_say_as_much():
    """Four of eight are half, though at four attempts there was nothing to complain of."""
    breaker = by_share(0.5, 4)
    outcomes = ("succeeded",) * 4 + (DOWN,) * 4
    assert [attempt(breaker, outcome) for outcome in outcomes] == [CLOSED] * 7 + [OPEN]


def test_a_success_may_be_the_attempt_that_makes_them_enough():
    """Two of three failed: it opens when the third is known, though that one succeeded."""
    breaker = by_share(0.5, 3)
    assert [attempt(breaker, outcome) for outcome in (DOWN, DOWN, "succeeded")] == [CLOSED, CLOSED, OPEN]


def test_a_share_is_exact_where_floats_are_not():
    """0.28 of twenty-five are seven, though 0.28 * 25 is a little more."""
    breaker = by_share(0.28, 25)
    assert 0.28 * 25 > 7
    for outcome in ("succeeded",) * 18 + (DOWN,) * 6:
        assert attempt(breaker, outcome) is CLOSED
    assert attempt(breaker, DOWN) is OPEN


def test_old_attempts_are_forgotten():
    """Failures of ten minutes ago do not open it now, nor do successes of then keep it closed."""
    breaker = by_share(0.5, 4, window=10)
    for _ in range(3):
        attempt(breaker, DOWN, 0.5)
    assert attempt(breaker, DOWN, 10.5) is CLOSED
    for _ in range(100):
        attempt(breaker, "succeeded", 20.5)
    for _ in range(3):
        assert attempt(breaker, DOWN, 30.5) is CLOSED
    assert attempt(breaker, DOWN, 30.5) is OPEN


def test_the_default_numbers():
    """Half of twenty within a minute, or ten in a row; thirty seconds; one probe."""
    breaker = CircuitBreaker()
    assert [attempt(breaker, DOWN) for _ in range(10)] == [CLOSED] * 9 + [OPEN]
    assert breaker.admit(0.0).wait == 30
    assert attempt(breaker, "succeeded", 30.0) is CLOSED
    for outcome in ("succeeded", DOWN) * 9 + ("succeeded",):
        assert attempt(breaker, outcome, 60.0) is CLOSED
    assert attempt(breaker, DOWN, 119.9) is OPEN
    late = CircuitBreaker()
    for outcome in ("succeeded", DOWN) * 9 + ("succeeded",):
        attempt(late, outcome, 0.0)
    assert attempt(late, DOWN, 60.0) is CLOSED


@pytest.mark.parametrize("outcome", HARMLESS, ids=str)
def test_client_errors_and_cancellations_do_not_trip_it(outcome):
    """They say nothing about the service: not a failure, not an attempt, and no break in a row."""
    # A35
    breaker = CircuitBreaker(failure_share=0.5, min_attempts=4, consecutive_failures=3)
    for _ in range(1000):
        assert attempt(breaker, outcome) is CLOSED
    assert repr(breaker) == "<CircuitBreaker: closed, 0 of 0 attempts failed, 0 in a row>"
    attempt(breaker, DOWN)
    attempt(breaker, DOWN)
    attempt(breaker, outcome)
    assert repr(breaker) == "<CircuitBreaker: closed, 2 of 2 attempts failed, 2 in a row>"
    assert attempt(breaker, DOWN) is OPEN


def test_rules_that_a_healthy_service_answers_with_exist():
    """A rule that was renamed would trip breakers unnoticed."""
    known = {rule.name: rule.then for rule in (*EXACT, *WIDE, *_WORDING.rules)}
    assert {name: known.get(name) for name in _ALIVE} == dict.fromkeys(_ALIVE, ErrorType.RETRYABLE)


class Answered(Exception):
    def __init__(self, status, text="no"):
        super().__init__(text)
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (Answered(429), False),
        (Answered(409), False),
        (Answered(400), False),
        (Answered(401), False),
        (Answered(500), True),
        (Answered(502), True),
        (Answered(503), True),
        (Answered(529, "overloaded"), True),
        (Answered(408), True),
        (ConnectionResetError("connection reset by peer"), True),
        (TimeoutError(), True),
        (Answered(423), False),
        (RuntimeError("database is locked"), False),
        (RuntimeError("rate limit reached"), False),
        (KeyError("choices"), False),
    ],
)
def test_what_counts_as_an_outage(error, outage):
    """As the classifier of this library judges it."""
    # A35
    assert is_outage(ErrorClassifier().classify(error)) is outage


def test_who_knows_better_says_what_counts():
    """`trips_on` sees the verdict and decides alone."""
    breaker = by_row(1, trips_on=lambda verdict: verdict.rule == "http/too-many-requests")
    assert attempt(breaker, DOWN) is CLOSED
    assert attempt(breaker, HARMLESS[-1]) is OPEN


def test_a_broken_trips_on_loses_no_probe():
    """Its error comes out, and the slot is free again."""

    def broken(verdict):
        if verdict.because:
            raise ZeroDivisionError("oh")
        return True

    breaker = opened(trips_on=broken)
    probe = breaker.admit(10.0)
    with pytest.raises(ZeroDivisionError):
        probe.settle(Classification(ErrorType.RETRYABLE, BackoffConfig(), because="x"), 10.0)
    assert breaker.state is HALF_OPEN
    assert breaker.admit(10.0)


def test_open_it_answers_how_long():
    """Until the first probe, to the second, and it is no ticket."""
    # A35
    breaker = opened(name="gpt-4o")
    for now, wait in ((0.0, 10.0), (2.5, 7.5), (9.75, 0.25)):
        refusal = breaker.admit(now)
        assert isinstance(refusal, Refusal)
        assert not refusal
        assert (refusal.state, refusal.wait, refusal.name) == (OPEN, wait, "gpt-4o")
    assert (
        str(opened(name="gpt-4o").admit(7.0)) == "circuit breaker 'gpt-4o' is open; the next probe may set out in 3 s"
    )
    assert str(Refusal(OPEN, 3.0)) == str(opened().admit(7.0))
    assert str(opened().admit(7.0)) == "circuit breaker is open; the next probe may set out in 3 s"


def test_whoever_waits_as_long_as_it_says_gets_the_probe():
    """Inside a retry an open breaker is not hammered: one question, one wait, one probe."""
    # A35
    breaker = opened()
    refusal = breaker.admit(4.0)
    ticket = breaker.admit(4.0 + refusal.wait)
    assert isinstance(ticket, BreakerTicket)
    assert ticket.probe


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_half_open_admits_a_fixed_number(probes):
    """Not one more, however often and late it is asked within the time that probes have."""
    # A35
    breaker = opened(probes=probes)
    answers = [breaker.admit(10.0) for _ in range(20)]
    assert [bool(answer) for answer in answers] == [True] * probes + [False] * (20 - probes)
    assert all(ticket.probe for ticket in answers[:probes])
    assert breaker.state is HALF_OPEN
    refusal = breaker.admit(13.0)
    assert (refusal.state, refusal.wait) == (HALF_OPEN, 7)
    assert str(refusal) == "circuit breaker is half-open; the next probe may set out within 7 s"


def test_it_closes_when_all_probes_succeeded():
    """The last one decides; a slot whose probe succeeded is not given again."""
    breaker = opened(probes=2)
    one, two = breaker.admit(10.0), breaker.admit(10.0)
    assert one.settle("succeeded", 11.0)
    assert breaker.state is HALF_OPEN
    assert not breaker.admit(11.0)
    assert two.settle("succeeded", 12.0)
    assert breaker.state is CLOSED
    assert repr(breaker) == "<CircuitBreaker: closed, 0 of 0 attempts failed, 0 in a row>"


def test_one_probe_that_fails_opens_it_again():
    """For the whole time, from when the failure was known; the other probe is not heard any more."""
    breaker = opened(probes=2)
    one, two = breaker.admit(10.0), breaker.admit(10.0)
    assert one.settle(DOWN, 13.0)
    assert breaker.state is OPEN
    assert two.settle("succeeded", 14.0) is True
    assert breaker.state is OPEN
    assert breaker.admit(15.0).wait == 8
    assert breaker.admit(23.0).probe


@pytest.mark.parametrize("outcome", HARMLESS, ids=str)
def test_a_probe_that_says_nothing_gives_its_slot_back(outcome):
    """Cancelled, or refused for the request's own sake: the next one finds out."""
    # A35
    breaker = opened()
    probe = breaker.admit(10.0)
    assert not breaker.admit(11.0)
    probe.settle(outcome, 11.0)
    assert breaker.state is HALF_OPEN
    following = breaker.admit(11.0)
    assert following.probe
    assert not breaker.admit(11.0)
    following.settle("succeeded", 12.0)
    assert breaker.state is CLOSED


def test_a_probe_that_hangs_gives_its_slot_to_the_next():
    """After as long as the break lasted; until then the refusal says when, by the probe that lapses first."""
    breaker = opened(probes=2)
    first, second = breaker.admit(10.0), breaker.admit(13.0)
    assert breaker.admit(14.0).wait == 6
    assert breaker.admit(19.75).wait == 0.25
    third = breaker.admit(20.0)
    assert third.probe
    assert breaker.admit(20.0).wait == 3
    assert first.settle("succeeded", 21.0)  # late, but it is an answer
    assert breaker.state is HALF_OPEN
    assert not breaker.admit(21.0)  # two are out, and one of two has succeeded
    assert third.settle("succeeded", 21.0)
    assert breaker.state is CLOSED
    assert second.settle(DOWN, 21.0)
    assert breaker.state is CLOSED


@pytest.mark.parametrize("now", [20.0, 25.0])
def test_a_probe_that_hangs_is_not_shown_as_under_way(now):
    """People see who is waited for, also before the next one asks."""
    breaker = by_row(1, open_for=10)
    old = breaker.admit(0.0)
    attempt(breaker, DOWN)
    assert breaker.admit(10.0)
    assert repr(breaker) == "<CircuitBreaker: half-open, 1 of 1 probes under way, 0 succeeded>"
    old.settle("succeeded", now)  # not heard, but it tells the time
    assert repr(breaker) == "<CircuitBreaker: half-open, 0 of 1 probes under way, 0 succeeded>"


def test_who_was_refused_holds_nothing():
    """While a thousand wait, the slot is there for whoever asks when it is free."""
    # A36
    breaker = opened()
    assert not any(breaker.admit(now / 100) for now in range(1000))
    probe = breaker.admit(10.0)
    assert not any(breaker.admit(11.0) for _ in range(1000))
    probe.settle("cancelled", 12.0)
    assert breaker.admit(12.0).probe


def test_shared_only_where_the_same_object_is_passed():
    """Two breakers with the same numbers know nothing of each other."""
    # A34
    one, other = by_row(1), by_row(1)
    assert attempt(one, DOWN) is OPEN
    assert other.state is CLOSED
    assert other.admit(0.0)


def test_a_probe_that_hung_and_failed_opens_it():
    """Late or not, the service failed since it was half-open."""
    breaker = opened()
    hung = breaker.admit(10.0)
    assert breaker.admit(25.0).probe
    hung.settle(DOWN, 26.0)
    assert breaker.state is OPEN


def test_what_was_admitted_before_it_opened_is_not_heard():
    """A success from before the outage does not close it, a failure does not prolong it."""
    breaker = by_row(1, open_for=10)
    old = [breaker.admit(0.0) for _ in range(4)]
    attempt(breaker, DOWN)
    assert old[0].settle("succeeded", 1.0) is True
    assert old[1].settle(DOWN, 5.0) is True
    assert breaker.admit(5.0).wait == 5
    probe = breaker.admit(10.0)
    assert old[2].settle(DOWN, 11.0) is True
    assert breaker.state is HALF_OPEN
    probe.settle("succeeded", 12.0)
    assert old[3].settle(DOWN, 13.0) is True
    assert breaker.state is CLOSED


@pytest.mark.parametrize("last", ["succeeded", "cancelled", DOWN], ids=str)
@pytest.mark.parametrize("first", ["succeeded", "cancelled", DOWN], ids=str)
def test_a_ticket_is_settled_once(first, last):
    """The first word counts."""
    breaker = by_row(9)
    ticket = breaker.admit(0.0)
    assert repr(ticket) == "<BreakerTicket of an attempt, out>"
    assert ticket.settle(first, 0.0) is True
    before = repr(breaker)
    assert ticket.settle(last, 0.0) is False
    assert repr(breaker) == before
    assert repr(ticket) == "<BreakerTicket of an attempt, settled>"


def test_a_probe_pays_with_one_slot_only():
    """Settled twice, it frees its own slot and nobody else's."""
    breaker = opened(probes=2)
    one, two = breaker.admit(10.0), breaker.admit(10.0)
    assert repr(one) == "<BreakerTicket of a probe, out>"
    one.settle("cancelled", 10.0)
    one.settle("cancelled", 10.0)
    assert breaker.admit(10.0)
    assert not breaker.admit(10.0)
    assert two.settle("cancelled", 10.0)


@pytest.mark.parametrize("outcome", [None, "failed", True, ErrorType.RETRYABLE, RuntimeError("boom"), []])
def test_a_ticket_refuses_what_is_no_outcome(outcome):
    """It stays out, so that the mistake cannot lose it."""
    ticket = CircuitBreaker().admit(0.0)
    with pytest.raises(TypeError, match=r"^an outcome is a Classification"):
        ticket.settle(outcome, 0.0)
    assert ticket.settle("cancelled", 0.0) is True


def test_people_can_read_it():
    """Each state says what one wants to know of it, as of the last time that it was asked."""
    breaker = by_share(0.5, 4, open_for=10, probes=2, name="gpt-4o")
    attempt(breaker, DOWN, 1.0)
    attempt(breaker, "succeeded", 1.0)
    attempt(breaker, DOWN, 1.0)
    assert repr(breaker) == "<CircuitBreaker 'gpt-4o': closed, 2 of 3 attempts failed, 1 in a row>"
    attempt(breaker, DOWN, 1.0)
    assert repr(breaker) == "<CircuitBreaker 'gpt-4o': open, the next probe may set out in 10 s>"
    breaker.admit(3.5)
    assert repr(breaker) == "<CircuitBreaker 'gpt-4o': open, the next probe may set out in 7.5 s>"
    breaker.admit(11.0)
    breaker.admit(12.0).settle("succeeded", 12.0)
    assert repr(breaker) == "<CircuitBreaker 'gpt-4o': half-open, 1 of 2 probes under way, 1 succeeded>"
    breaker.admit(21.0).settle("cancelled", 21.0)
    assert repr(breaker) == "<CircuitBreaker 'gpt-4o': half-open, 0 of 2 probes under way, 1 succeeded>"
    assert breaker.name == "gpt-4o"
    assert CircuitBreaker().name == ""


def test_an_open_breaker_that_was_told_late_never_shows_a_negative_wait():
    """A ticket from before may move its time on past the break."""
    breaker = by_row(1, open_for=10)
    old = breaker.admit(0.0)
    attempt(breaker, DOWN)
    old.settle("succeeded", 50.0)
    assert repr(breaker) == "<CircuitBreaker: open, the next probe may set out in 0 s>"
    assert breaker.admit(50.0).probe


def test_reset_closes_it():
    """A person knows better; what is under way is not heard any more."""
    breaker = opened()
    probe = breaker.admit(10.0)
    breaker.reset()
    assert breaker.state is CLOSED
    assert probe.settle(DOWN, 11.0) is True
    assert breaker.state is CLOSED
    assert breaker.admit(0.0)


def test_a_new_event_loop_may_use_the_same_breaker():
    """Its clock begins elsewhere: an open breaker is not stuck."""
    breaker = by_row(1, open_for=10)
    attempt(breaker, DOWN, 1e6)
    assert breaker.admit(1e6 + 4).wait == 6
    assert breaker.admit(0.0).wait == 6
    assert breaker.admit(6.0).probe


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"failure_share": 0}, "failure_share must be above 0, not 0"),
        ({"failure_share": 50}, "failure_share must be from 0 to 1, not 50"),
        ({"failure_share": math.nan}, "failure_share must be finite"),
        ({"min_attempts": 0}, "min_attempts must be at least 1, not 0"),
        ({"consecutive_failures": 0}, "consecutive_failures must be at least 1, not 0"),
        ({"probes": 0}, "probes must be at least 1, not 0"),
        ({"probes": -1}, "probes must be at least 1, not -1"),
        ({"window": 0}, "window must be above 0, not 0"),
        ({"open_for": 0}, "open_for must be above 0, not 0"),
        ({"open_for": math.inf}, "open_for must be finite, not inf"),
        (
            {"failure_share": None, "consecutive_failures": None},
            "failure_share and consecutive_failures cannot both be None: nothing would open the breaker",
        ),
    ],
)
def test_bad_numbers_are_refused_at_once(settings, text):
    """The text names the argument and says what would do."""
    with pytest.raises(ValueError, match=f"^{text}"):
        CircuitBreaker(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"failure_share": "half"}, "failure_share must be a number, not 'half'"),
        ({"min_attempts": 2.5}, "min_attempts must be an int, not 2.5"),
        ({"consecutive_failures": True}, "consecutive_failures must be an int, not True"),
        ({"probes": "1"}, "probes must be an int, not '1'"),
        ({"window": None}, "window must be a number, not None"),
        ({"open_for": "30s"}, "open_for must be a number, not '30s'"),
        ({"trips_on": ErrorType.RETRYABLE}, "trips_on must be callable with a Classification, not <ErrorType"),
        ({"name": 1}, "name must be a str, not 1"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_at_once(settings, text):
    """The text names the argument."""
    with pytest.raises(TypeError, match=f"^{text}"):
        CircuitBreaker(**settings)


def test_settings_are_given_by_name():
    """Eight numbers in a row could be read by nobody."""
    with pytest.raises(TypeError):
        CircuitBreaker(0.5)


def test_the_numbers_at_their_bounds_will_do():
    """1 is a share and a count."""
    breaker = by_share(1, 1, probes=1)
    assert attempt(breaker, DOWN) is OPEN
    assert attempt(by_row(1), DOWN) is OPEN


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copy_has_the_settings_and_begins_closed(how):
    """Another process gets a breaker of its own; it is the object that is shared."""
    # A40
    breaker = CircuitBreaker(
        failure_share=0.25,
        min_attempts=8,
        window=5,
        consecutive_failures=2,
        open_for=7,
        probes=3,
        trips_on=is_outage,
        name="gpt-4o",
    )
    attempt(breaker, DOWN)
    attempt(breaker, DOWN)
    other = how(breaker)
    assert other is not breaker
    assert other._rules == breaker._rules
    assert repr(other) == "<CircuitBreaker 'gpt-4o': closed, 0 of 0 attempts failed, 0 in a row>"
    assert breaker.state is OPEN
    refusal = breaker.admit(0.0)
    assert how(refusal) == refusal


def test_a_pickle_of_a_version_with_other_settings_is_refused():
    """Better no breaker than one whose numbers nobody chose."""
    build, settings = CircuitBreaker(open_for=7).__reduce__()
    assert build(*settings)._rules.open_for == 7
    with pytest.raises(ValueError, match="zip"):
        build(*settings[:-1])


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_ticket_cannot_be_copied(how):
    """Two tickets for one attempt would be heard twice: refused, with the reason."""
    with pytest.raises(TypeError, match=r"^a BreakerTicket belongs to the attempt"):
        how(CircuitBreaker().admit(0.0))


def test_a_settled_ticket_keeps_nothing_alive():
    """No cycle between a probe and the breaker's state: no need for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        breaker = opened()
        breaker.admit(10.0).settle("cancelled", 10.0)
        breaker.admit(10.0).settle("succeeded", 10.0)
        breaker.admit(11.0).settle("succeeded", 11.0)
        # By type(), as some of what lives may answer no question.
        tickets = [thing for thing in gc.get_objects() if type(thing) is BreakerTicket]
        assert [ticket for ticket in tickets if ticket._breaker is breaker] == []
    finally:
        gc.enable()


def test_a_ticket_may_be_settled_from_within_the_garbage_collector():
    """A stream that is collected while the breaker is busy settles its probe on the same thread."""
    breaker = opened()

    class Stream:
        def __init__(self):
            self.ticket, self.me = breaker.admit(10.0), self

        def __del__(self):
            self.ticket.settle("cancelled", 10.0)

    Stream()
    with breaker._lock:
        gc.collect()
    assert breaker.admit(10.0).probe


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
    breaker = opened()
    lock = breaker._lock = Lock()
    probe = breaker.admit(10.0)
    asked = [
        lambda: breaker.admit(10.0),
        lambda: probe.settle("succeeded", 10.0),
        lambda: probe.settle("succeeded", 10.0),
        lambda: repr(breaker),
        breaker.reset,
    ]
    for number, ask in enumerate(asked, start=2):
        ask()
        assert (lock.taken, lock.depth) == (number, 0)


def test_many_threads_share_one_breaker():
    """Of all that ask at once exactly the fixed number become probes."""
    for _ in range(30):
        breaker, answers = opened(probes=3), []
        barrier = threading.Barrier(8)

        def client(breaker=breaker, barrier=barrier, answers=answers):
            barrier.wait()
            answers.extend(breaker.admit(10.0) for _ in range(50))

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tickets = [answer for answer in answers if answer]
        assert len(tickets) == 3
        assert len(answers) == 400
        for ticket in tickets:
            ticket.settle("succeeded", 11.0)
        assert breaker.state is CLOSED


def test_threads_that_fail_open_it_once():
    """Counts are not lost between threads: the last of 800 failures in a row opens it, not an earlier one."""
    breaker = by_row(801)

    def client():
        for _ in range(100):
            breaker.admit(0.0).settle(DOWN, 0.0)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.state is CLOSED
    assert attempt(breaker, DOWN) is OPEN


class AgainstAModel(RuleBasedStateMachine):
    """The breaker against a list of what was heard since it closed; a window of ten seconds has slots of one."""

    tickets = Bundle("tickets")

    def __init__(self):
        super().__init__()
        self.breaker = CircuitBreaker(
            failure_share=0.5, min_attempts=4, window=10, consecutive_failures=3, open_for=6, probes=2
        )
        self.now = 0
        self.begin("closed")

    def begin(self, state):
        self.state, self.since = state, self.now
        self.heard, self.out, self.good = [], {}, 0
        self.era = object()  # whatever was admitted in another era is not heard

    @rule(seconds=st.integers(0, 7))
    def wait(self, seconds):
        self.now += seconds

    @rule(target=tickets)
    def ask(self):
        if self.state == "open" and self.now >= self.since + 6:
            self.begin("half-open")
        answer = self.breaker.admit(self.now)
        under_way = [then + 6 for then in self.out.values() if self.now < then + 6]
        if self.state == "open":
            assert (answer.state, answer.wait) == ("open", self.since + 6 - self.now)
        elif self.state == "half-open" and len(under_way) + self.good >= 2:
            assert (answer.state, answer.wait) == ("half-open", min(under_way) - self.now)
        else:
            assert isinstance(answer, BreakerTicket)
            assert answer.probe == (self.state == "half-open")
            self.out[answer] = self.now
        return (answer, self.era) if answer else None

    @rule(ticket=consumes(tickets), outcome=st.sampled_from(["succeeded", "succeeded", DOWN, DOWN, *HARMLESS]))
    def settle(self, ticket, outcome):
        if ticket is None:
            return
        ticket, era = ticket
        assert ticket.settle(outcome, self.now) is True
        assert ticket.settle("succeeded", self.now) is False
        if era is not self.era:
            return
        del self.out[ticket]
        if not (outcome == "succeeded" or outcome is DOWN):  # verdicts are equal as pairs
            return
        if self.state == "closed":
            self.heard.append((self.now, outcome is DOWN))
            lately = [failed for then, failed in self.heard if self.now - then < 10]
            in_a_row = [failed for _, failed in self.heard][-3:] == [True] * 3
            if in_a_row or (len(lately) >= 4 and 2 * sum(lately) >= len(lately)):
                self.begin("open")
        elif outcome is DOWN:
            self.begin("open")
        else:
            self.good += 1
            if self.good == 2:
                self.begin("closed")

    @rule()
    def a_person_resets_it(self):
        self.breaker.reset()
        self.begin("closed")

    @invariant()
    def agrees(self):
        assert self.breaker.state == self.state
        assert f": {self.state}, " in repr(self.breaker)


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(stateful_step_count=60)


def test_a_success_never_opens_it():
    """However small the share of failures that it bears."""
    breaker = CircuitBreaker(failure_share=1e-9, min_attempts=1)
    for moment in range(3):
        breaker.admit(moment).settle("succeeded", moment)
    assert breaker.state is BreakerState.CLOSED
