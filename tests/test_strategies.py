"""The strategies in plain `tenacity.retry(...)`: alone, composed, shared, and asked one by one."""

import copy
import math
import pickle
import threading

import anyio
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import (
    BackoffConfig,
    Classification,
    ErrorClassifier,
    ErrorType,
    Rule,
    When,
    resilient,
    retry_if_retryable,
    stop_before_deadline,
    stop_by_error,
    wait_by_backoff,
    wait_by_error,
)
from resilient_agent.environment import Limits
from resilient_agent.strategies import judge_of, limit_met

QUICK = BackoffConfig(base_delay_ms=100, multiplier=2, jitter=0, max_retries=3)


class Limited(Exception):
    def __init__(self, status=429, **headers):
        super().__init__("slow down")
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Counting(ErrorClassifier):
    """Counts how often it is asked."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def classify(self, error):
        self.asked.append(error)
        return super().classify(error)


class Script:
    """A function that raises or returns what it is told, and counts."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self):
        outcome = self.outcomes[min(self.calls, len(self.outcomes) - 1)]
        self.calls += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def later(self):
        return self()


class Draw:
    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


def retrying(waits, **options):
    chosen = {
        "retry": retry_if_retryable(),
        "wait": wait_by_error(),
        "stop": stop_by_error(),
        "reraise": True,
        "sleep": waits,
    }
    return tenacity.Retrying(**(chosen | options))


def state_after(*errors):
    """The state that tenacity hands out after these failures in turn, with every strategy asked each time."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    for number, error in enumerate(errors, start=1):
        state.attempt_number = number
        state.set_exception((type(error), error, None))
        yield state


# In plain tenacity


def test_they_are_tenacitys_own_kind():
    """Each is a strategy of tenacity's, so that it goes wherever one goes."""
    assert isinstance(retry_if_retryable(), tenacity.retry_base)
    assert isinstance(wait_by_error(), tenacity.wait.wait_base)
    assert isinstance(wait_by_backoff(QUICK), tenacity.wait.wait_base)
    assert isinstance(stop_by_error(), tenacity.stop.stop_base)


def test_all_three_retry_in_a_plain_tenacity_loop(waits):
    """A transient failure is retried on its kind's curve until it is over."""
    script = Script(TimeoutError(), TimeoutError(), "answer")
    assert retrying(waits)(script) == "answer"
    assert script.calls == 3
    assert waits == [pytest.approx(0.5, rel=0.11), pytest.approx(0.75, rel=0.11)]


@pytest.mark.anyio
async def test_all_three_retry_in_a_plain_asynchronous_tenacity_loop(async_waits):
    """The same under AsyncRetrying, on both event loops."""
    script = Script(TimeoutError(), Limited(retry_after="7"), "answer")
    loop = tenacity.AsyncRetrying(
        retry=retry_if_retryable(), wait=wait_by_error(), stop=stop_by_error(), reraise=True, sleep=async_waits
    )
    assert await loop(script.later) == "answer"
    assert async_waits == [pytest.approx(0.5, rel=0.11), pytest.approx(7.35, abs=0.36)]


def test_a_strategy_inside_of_a_decorated_function_asks_its_own_classifier(waits):
    """The function asks ours whether to try again; how long to wait says the one that the strategy was given."""

    class Slow(ErrorClassifier):
        def classify(self, error):  # noqa: ARG002 - one answer for all
            return ErrorType.RETRYABLE, BackoffConfig(base_delay_ms=7000, jitter=0)

    @resilient(wait=wait_by_error(Slow()), max_retries=1, sleep=waits)
    def ask():
        raise ConnectionResetError("cut")

    with pytest.raises(ConnectionResetError):
        ask()
    assert waits == [7]


def test_they_decorate_through_tenacity_retry(waits):
    """`tenacity.retry(...)` takes them as a decorator's arguments."""
    script = Script(TimeoutError(), "answer")
    decorate = tenacity.retry(retry=retry_if_retryable(), wait=wait_by_error(), stop=stop_by_error(), sleep=waits)
    assert decorate(script)() == "answer"


def test_retry_alone_stops_at_a_failure_for_good(waits):
    """`retry_if_retryable` alone ends a plain loop at a failure that no retry mends."""
    script = Script(TimeoutError(), Limited(401))
    with pytest.raises(Limited):
        tenacity.Retrying(retry=retry_if_retryable(), sleep=waits)(script)
    assert script.calls == 2


def test_wait_alone_follows_the_kind_of_failure(waits):
    """`wait_by_error` alone gives a plain loop its waits."""
    loop = tenacity.Retrying(wait=wait_by_error(), stop=tenacity.stop_after_attempt(3), sleep=waits)
    with pytest.raises(tenacity.RetryError):
        loop(Script(Limited()))
    assert waits == [pytest.approx(5, rel=0.11), pytest.approx(10, rel=0.11)]


def test_stop_alone_ends_a_plain_loop(waits):
    """`stop_by_error` alone ends a plain loop at the limit of the kind of failure."""
    script = Script(TimeoutError())
    with pytest.raises(tenacity.RetryError):
        tenacity.Retrying(stop=stop_by_error(), sleep=waits)(script)
    assert script.calls == 4


def test_stop_limits_what_another_predicate_refuses(waits):
    """Refused results count as well: they end at the default number of retries or at the given one."""
    for stop, calls in ((stop_by_error(), 4), (stop_by_error(max_retries=1), 2)):
        script = Script(None)
        loop = tenacity.Retrying(retry=tenacity.retry_if_result(lambda it: it is None), stop=stop, sleep=waits)
        with pytest.raises(tenacity.RetryError):
            loop(script)
        assert script.calls == calls


def test_wait_by_error_waits_for_a_refused_result_too(waits):
    """A result that another predicate refused is waited for on the given curve."""
    loop = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda it: it is None), wait=wait_by_error(backoff=QUICK), sleep=waits
    )
    assert loop(Script(None, None, "answer")) == "answer"
    assert waits == [0.1, 0.2]


def test_a_success_is_never_retried(waits):
    """Whatever is returned, `retry_if_retryable` has nothing to say about results."""
    for result in (None, "", 0, False, ValueError):
        script = Script(result)
        assert retrying(waits)(script) is result
        assert script.calls == 1
    assert waits == []


# Composed


def test_retry_composes_with_or(waits):
    """`|` adds a predicate of tenacity's, on either side."""
    for retry in (
        retry_if_retryable() | tenacity.retry_if_result(lambda it: it == ""),
        tenacity.retry_if_result(lambda it: it == "") | retry_if_retryable(),
    ):
        assert retrying(waits, retry=retry)(Script(TimeoutError(), "", "answer")) == "answer"


def test_retry_composes_with_and(waits):
    """`&` narrows, on either side."""
    for retry in (
        retry_if_retryable() & tenacity.retry_if_exception_type(Limited),
        tenacity.retry_if_exception_type(Limited) & retry_if_retryable(),
    ):
        script = Script(Limited(), TimeoutError(), "answer")
        with pytest.raises(TimeoutError):
            retrying(waits, retry=retry)(script)
        assert script.calls == 2


def test_stop_composes_with_or_and_with_and(waits):
    """`|` stops at the first limit, `&` at the last."""
    for stop, calls in (
        (stop_by_error() | tenacity.stop_after_attempt(2), 2),
        (tenacity.stop_after_attempt(2) | stop_by_error(), 2),
        (stop_by_error() & tenacity.stop_after_attempt(6), 6),
        (tenacity.stop_after_attempt(6) & stop_by_error(), 6),
    ):
        script = Script(TimeoutError())
        with pytest.raises(TimeoutError):
            retrying(waits, stop=stop)(script)
        assert script.calls == calls


@pytest.mark.parametrize(
    "wait",
    [
        wait_by_error(backoff=QUICK) + tenacity.wait_fixed(1),
        tenacity.wait_fixed(1) + wait_by_error(backoff=QUICK),
        tenacity.wait_combine(wait_by_error(backoff=QUICK), tenacity.wait_fixed(1)),
        wait_by_backoff(QUICK) + tenacity.wait_fixed(1),
        sum([wait_by_backoff(QUICK), tenacity.wait_fixed(1)]),
    ],
    ids=["left", "right", "combined", "backoff", "sum"],
)
def test_waits_compose_with_plus(waits, wait):
    """`+` adds up waits, on either side."""
    assert retrying(waits, wait=wait)(Script(TimeoutError(), TimeoutError(), "answer")) == "answer"
    assert waits == [pytest.approx(1.1), pytest.approx(1.2)]


def test_they_compose_within_the_decorator(waits):
    """`@resilient` takes the composed ones like any strategy of tenacity's."""
    script = Script("", TimeoutError(), "answer")
    ask = resilient(
        retry=retry_if_retryable() | tenacity.retry_if_result(lambda it: it == ""),
        wait=wait_by_error(backoff=QUICK) + tenacity.wait_fixed(1),
        stop=stop_by_error() | tenacity.stop_after_attempt(9),
        sleep=waits,
    )(script)
    assert ask() == "answer"
    assert len(waits) == 2


# One failure, one verdict


def test_one_failure_is_classified_once_in_tenacity(waits):
    """However many strategies ask, the classifier is asked once per failure."""
    classifier = Counting()
    errors = [TimeoutError(), Limited(), ConnectionResetError()]
    loop = retrying(
        waits,
        retry=retry_if_retryable(classifier) | retry_if_retryable(classifier),
        wait=wait_by_error(classifier) + wait_by_error(classifier),
        stop=stop_by_error(classifier) | stop_by_error(classifier, max_retries=8),
    )
    assert loop(Script(*errors, "answer")) == "answer"
    assert classifier.asked == errors


def test_one_failure_is_classified_once_in_the_decorator(waits):
    """The same in `@resilient`: once per failure, and never for a success."""
    classifier = Counting()
    errors = [TimeoutError(), Limited(), ConnectionResetError()]
    script = Script(*errors, "answer", "answer")
    ask = resilient(classifier=classifier, sleep=waits)(script)
    assert ask() == ask() == "answer"
    assert classifier.asked == errors


def test_the_very_same_exception_raised_again_is_a_failure_of_its_own(waits):
    """One exception object raised by every attempt counts at each of them."""
    classifier, error = Counting(), TimeoutError()
    script = Script(error)
    with pytest.raises(TimeoutError):
        resilient(classifier=classifier, sleep=waits)(script)()
    assert (script.calls, len(classifier.asked)) == (4, 4)
    assert waits == sorted(waits)


def test_two_classifiers_in_one_loop_do_not_meet(waits):
    """Strategies with classifiers of their own each have their own verdict."""
    stopping = Rule("ours/no", when=When(types=("TimeoutError",)), then=ErrorType.NON_RETRYABLE, because="we say so")
    script = Script(TimeoutError(), "answer")
    loop = retrying(waits, retry=retry_if_retryable(ErrorClassifier(rules=[stopping])), wait=wait_by_error())
    with pytest.raises(TimeoutError):
        loop(script)
    either = retry_if_retryable(ErrorClassifier(rules=[stopping])) | retry_if_retryable()
    assert retrying(waits, retry=either)(script) == "answer"


_NARROW = Limits(
    max_retries=0, deadline=None, timeout=None, max_retry_after=0, max_identical=0, enabled=True, paced=True
)


def test_a_judge_has_met_nothing_before_the_first_failure():
    """Every count is 0, and there is neither a verdict nor a limit, however narrow the limits are."""
    judge = judge_of(tenacity.RetryCallState(tenacity.Retrying(), None, (), {}), ErrorClassifier())
    assert (judge.attempt, judge.failures, judge.repeats, judge.identical) == (0, 0, 0, 0)
    assert (judge.limit, judge.verdict) == ("", None)
    assert limit_met(judge, _NARROW) == ""


def test_before_an_attempt_has_ended_there_is_nothing_to_judge():
    """No strategy asks for a retry, or for an end."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    assert retry_if_retryable()(state) is False
    assert stop_by_error()(state) is False
    assert wait_by_error(backoff=QUICK)(state) == 0.1


def test_a_judge_counts_failures_kinds_and_likenesses():
    """In all, of the last one's kind, and how many of the last in a row were the same."""
    classifier, found = ErrorClassifier(), []
    for state in state_after(Limited(503), Limited(503), TimeoutError(), TimeoutError(), Limited(503)):
        assert retry_if_retryable(classifier)(state) is True
        assert stop_by_error(classifier)(state) is False
        judge = judge_of(state, classifier)
        assert judge.limit == ""
        found.append((judge.attempt, judge.failures, judge.repeats, judge.identical))
    assert found == [(1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 1, 1), (4, 4, 2, 2), (5, 5, 3, 1)]


# Whom they ask


class Pairs(ErrorClassifier):
    """A subclass in the reference's manner: it answers with the plain pair."""

    def classify(self, error):
        if isinstance(error, Limited):
            return ErrorType.RETRYABLE, QUICK
        return ErrorType.FATAL, QUICK


def test_a_classifier_may_answer_with_the_plain_pair(waits):
    """A subclass that returns `(error_type, backoff)`, as the reference did, serves all three."""
    own = Pairs()
    loop = retrying(waits, retry=retry_if_retryable(own), wait=wait_by_error(own), stop=stop_by_error(own))
    script = Script(Limited())
    with pytest.raises(Limited):
        loop(script)
    assert script.calls == 4
    assert waits == [0.1, 0.2, 0.4]
    with pytest.raises(TimeoutError):
        loop(Script(TimeoutError()))


def test_a_pair_with_the_reference_types_text_serves_too(waits):
    """A subclass that answers with the type's text is understood: it is a str enum."""

    class Texts(ErrorClassifier):
        def classify(self, error):  # noqa: ARG002
            return "retryable", QUICK

    script = Script(ValueError("x"), "answer")
    assert resilient(classifier=Texts(), sleep=waits)(script)() == "answer"


class Unhashable(Counting):
    """Equal to its like, and so without a hash."""

    def __eq__(self, other):
        return isinstance(other, Unhashable)

    __hash__ = None


class Empty(Counting):
    """Counts as false."""

    def __len__(self):
        return 0


@pytest.mark.parametrize("kind", [Unhashable, Empty])
def test_a_classifier_of_any_kind_is_asked(waits, kind):
    """A classifier that has no hash, or that counts as false, is asked like any other."""  # A46
    classifier = kind()
    script = Script(TimeoutError(), "answer")
    assert resilient(classifier=classifier, sleep=waits)(script)() == "answer"
    assert len(classifier.asked) == 1


def test_whatever_can_classify_may_be_the_classifier(waits):
    """An object with `classify` will do: the strategies need nothing else."""

    class Mine:
        def classify(self, error):  # noqa: ARG002
            return Classification(ErrorType.RETRYABLE, QUICK, rule="mine/all", because="mine")

    script = Script(ValueError("x"), "answer")
    assert retrying(waits, retry=retry_if_retryable(Mine()), wait=wait_by_error(Mine()))(script) == "answer"


@pytest.mark.parametrize("make", [retry_if_retryable, wait_by_error, stop_by_error])
@pytest.mark.parametrize("wrong", ["classifier", 5, QUICK], ids=repr)
def test_what_cannot_classify_is_refused(make, wrong):
    """A classifier without `classify` is a TypeError that names the argument."""
    with pytest.raises(TypeError, match="classifier must be"):
        make(wrong)


@pytest.mark.parametrize("wrong", [5, "slow", {"base_delay_ms": 5}], ids=repr)
def test_a_backoff_that_is_none_is_refused(wrong):
    """The TypeError names the argument."""
    with pytest.raises(TypeError, match="backoff must be"):
        wait_by_error(backoff=wrong)
    with pytest.raises(TypeError, match="backoff must be"):
        wait_by_backoff(wrong)


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), (1.5, TypeError), ("3", TypeError), (True, TypeError)])
def test_a_number_of_retries_that_is_none_is_refused(wrong, error):
    """`max_retries` names itself when it is no count."""
    with pytest.raises(error, match="max_retries"):
        stop_by_error(max_retries=wrong)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(-1, ValueError), (0, ValueError), (math.nan, ValueError), ("5", TypeError), (True, TypeError), (None, TypeError)],
)
def test_a_limit_of_seconds_that_is_none_is_refused(wrong, error):
    """It is said where it is given, and not in place of a failure."""
    with pytest.raises(error, match="max_retry_after must be"):
        stop_by_error(max_retry_after=wrong)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_error_is_not_judged(kind):
    """Cancellation and its kin reach no classifier, and every strategy lets them pass."""  # A1
    classifier = Counting()
    for state in state_after(kind()):
        assert retry_if_retryable(classifier)(state) is False
    assert classifier.asked == []


# Limits


def test_each_kind_of_failure_has_its_own_limit(waits):
    """Five retries of a rate limit and three of a timeout do not add up to each other."""  # A12
    script = Script(*[Limited()] * 5, *[TimeoutError()] * 3, "answer")
    assert retrying(waits)(script) == "answer"
    assert script.calls == 9


@pytest.mark.parametrize(
    ("error", "calls"), [(Limited(), 6), (TimeoutError(), 4), (Limited(500), 4), (Limited(503), 4)]
)
def test_one_kind_of_failure_ends_at_its_limit(waits, error, calls):
    """The limits are those of the reference: five retries of a rate limit, three of the others."""
    script = Script(error)
    with pytest.raises(type(error)):
        retrying(waits)(script)
    assert script.calls == calls


def test_alternating_failures_come_to_an_end(waits):
    """Failures of many kinds in turn are retried ten times in all, and no more."""  # A12
    kinds = [Limited(), Limited(503), TimeoutError(), Limited(500), Limited(502), ConnectionResetError()]
    script = Script(*(kinds * 5))
    with pytest.raises((Limited, OSError)):
        retrying(waits)(script)
    assert script.calls == 11


def test_a_given_number_of_retries_counts_for_all_kinds(waits):
    """`max_retries` stands above the limits of single kinds, in both directions."""
    for given_number, calls in ((0, 1), (1, 2), (7, 8)):
        script = Script(TimeoutError())
        with pytest.raises(TimeoutError):
            retrying(waits, stop=stop_by_error(max_retries=given_number))(script)
        assert script.calls == calls


@given(number=st.integers(0, 30), kinds=st.lists(st.sampled_from([429, 500, 502, 503, 408]), min_size=1, max_size=40))
def test_no_order_of_failures_makes_more_calls_than_the_limit(number, kinds):
    """Whatever fails in whatever order, `max_retries=n` makes at most n + 1 calls."""  # A7
    script = Script(*map(Limited, kinds))
    with pytest.raises(Limited):
        retrying([].append, stop=stop_by_error(max_retries=number))(script)
    assert script.calls == number + 1


@given(kinds=st.lists(st.sampled_from([429, 500, 502, 503, 408, 409]), min_size=1, max_size=40))
def test_no_order_of_failures_runs_for_ever(kinds):
    """Without a number, no order of failures is retried more than ten times."""  # A12
    script = Script(*map(Limited, kinds))
    with pytest.raises(Limited):
        retrying([].append)(script)
    assert script.calls <= 11


@pytest.mark.parametrize("number", [None, 1, 40])
def test_an_unknown_failure_gets_one_more_try_whatever_the_number(waits, number):
    """`at_most` of a rule stays in force under any `max_retries`."""
    script = Script(OSError("something new"))
    with pytest.raises(OSError, match="something new"):
        retrying(waits, stop=stop_by_error(max_retries=number))(script)
    assert script.calls == 2


def test_a_rules_own_limit_counts_for_its_kind_only(waits):
    """A rule's `at_most` counts its own failures and nobody else's."""
    rule = Rule("ours/x", when=When(status=418), then=ErrorType.RETRYABLE, because="tea", at_most=2)
    own = ErrorClassifier(rules=[rule])
    loop = retrying(waits, retry=retry_if_retryable(own), wait=wait_by_error(own), stop=stop_by_error(own))
    script = Script(Limited(418), Limited(503), Limited(418), Limited(503), "answer")
    assert loop(script) == "answer"
    script = Script(Limited(418), Limited(503), Limited(418), Limited(418), "answer")
    with pytest.raises(Limited):
        loop(script)


# A deadline


def state_with(wait, passed=None):
    """The state before a wait of so many seconds, in a call that began so many seconds ago."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.upcoming_sleep = wait
    state.outcome_timestamp = None if passed is None else state.start_time + passed
    return state


@pytest.mark.parametrize(
    ("wait", "passed", "stops"),
    [(9.5, None, False), (10, None, True), (6, 3.5, False), (6, 4.5, True), (0, 9.5, False), (0, 11, True)],
)
def test_a_wait_that_would_reach_the_deadline_stops(wait, passed, stops):
    """What has passed since the call began is taken of its ten seconds."""
    assert stop_before_deadline(10)(state_with(wait, passed)) is stops


def test_without_a_deadline_no_wait_is_too_long():
    """Outside of any scope, and without seconds of its own, nothing stops it."""
    assert stop_before_deadline()(state_with(1e9, 1e9)) is False
    assert stop_before_deadline(math.inf)(state_with(1e9, 1e9)) is False


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_a_deadline_that_has_passed_from_the_start_is_refused(seconds):
    """The text names the argument and says what would do."""
    with pytest.raises(ValueError, match=f"^seconds must be above 0 seconds .*, not {seconds}$"):
        stop_before_deadline(seconds)
    assert stop_before_deadline(1e-3)(state_with(0)) is False


@pytest.mark.parametrize(
    ("seconds", "scope", "wait", "stops"),
    [(None, 5, 4, False), (None, 5, 5, True), (60, 5, 6, True), (5, 60, 6, True), (60, 60, 59, False)],
)
def test_of_a_deadline_and_a_scope_around_the_nearer_one_stops(virtually, seconds, scope, wait, stops):
    """Its own seconds, or those that an anyio scope has left."""

    async def main():
        with anyio.move_on_after(scope):  # noqa: ASYNC100 - nothing is waited for, only asked what is left
            return stop_before_deadline(seconds)(state_with(wait))

    assert virtually(main) == (stops, 0)


def test_a_loop_of_tenacitys_fails_before_a_wait_that_its_scope_would_cancel(virtually):
    """The failure itself comes out, while there is still time, and not a cancellation."""
    script = Script(TimeoutError("cut"))
    loop = tenacity.AsyncRetrying(
        wait=tenacity.wait_fixed(3), stop=stop_before_deadline(), sleep=anyio.sleep, reraise=True
    )

    async def main():
        with anyio.move_on_after(5):
            await loop(script.later)

    error, took = virtually(main)
    assert (error, took, script.calls) == (script.outcomes[0], 3, 2)


# Waits


def test_each_kind_has_its_own_place_on_its_own_curve(waits):
    """A timeout between two rate limits advances neither's curve."""
    script = Script(Limited(), TimeoutError(), Limited(), TimeoutError(), "answer")
    retrying(waits)(script)
    assert waits == [pytest.approx(seconds, rel=0.11) for seconds in (5, 0.5, 10, 0.75)]


def test_one_curve_for_all_advances_with_every_failure(waits):
    """With `backoff=` all failures share one curve, whatever their kind."""
    script = Script(Limited(), TimeoutError(), Limited(503), "answer")
    retrying(waits, wait=wait_by_error(backoff=QUICK))(script)
    assert waits == [0.1, 0.2, 0.4]


def test_after_a_named_wait_every_curve_begins_anew():
    """That of its own kind, those of others that went on before it, and one that had not begun."""
    errors = [Limited(), TimeoutError(), TimeoutError(), Limited(retry_after="7"), TimeoutError(), Limited()]
    wait = wait_by_error(rng=Draw(0.5))
    found = [wait(state) for state in state_after(*errors, TimeoutError(), Limited(), ConnectionResetError())]
    assert found == pytest.approx([5, 0.5, 0.75, 7.35, 0.5, 5, 0.75, 10, 0.5])


def test_after_a_named_wait_one_curve_for_all_begins_anew():
    """However many failures of whatever kind went before it; and again after the next one."""
    named = Limited(retry_after="7")
    errors = [TimeoutError(), Limited(), named, TimeoutError(), Limited(), TimeoutError(), named, named, Limited()]
    wait = wait_by_error(backoff=QUICK)
    assert [wait(state) for state in state_after(*errors)] == [0.1, 0.2, 7, 0.1, 0.2, 0.4, 7, 7, 0.1]


@pytest.mark.parametrize("draw", [0.0, 0.3, 0.999999])
def test_a_named_wait_is_a_floor(draw):
    """What the server named is waited for in full; jitter only adds to it."""  # A18
    for state in state_after(Limited(retry_after="20")):
        wait = wait_by_error(rng=Draw(draw))(state)
        assert 20 <= wait <= 22
        assert wait == pytest.approx(20 * (1 + 0.1 * draw))


@given(
    named=st.floats(0.001, 100),
    draw=st.floats(0, 1, exclude_max=True),
    jitter=st.floats(0, 1),
    base=st.integers(0, 90_000),
)
def test_no_retry_comes_before_the_named_wait(named, draw, jitter, base):
    """Whatever the curve and the jitter, the wait is never below the one that the server named."""  # A18
    backoff = BackoffConfig(base_delay_ms=base, max_delay_ms=90_000, jitter=jitter)
    for state in state_after(Limited(retry_after=f"{named:.9f}")):
        wait = wait_by_error(backoff=backoff, rng=Draw(draw))(state)
        assert wait >= float(f"{named:.9f}")


def test_a_named_wait_takes_the_place_of_the_curve():
    """A server that names less than the curve asks for knows better: its wait counts."""
    for state in state_after(Limited(retry_after="1")):
        assert wait_by_error(rng=Draw(0.5))(state) == pytest.approx(1.05)


def test_callers_that_were_named_the_same_wait_come_back_apart():
    """A hundred callers with the same `Retry-After` do not return at one moment."""
    found = {wait_by_error()(state) for _ in range(100) for state in state_after(Limited(retry_after="20"))}
    assert len(found) > 90


@pytest.mark.parametrize(("seconds", "calls"), [("119", 2), ("120", 2), ("120.5", 1), ("121", 1), ("3600", 1)])
def test_a_named_wait_of_more_than_two_minutes_stops(waits, seconds, calls):
    """A server that asks for more than 120 s is not asked again, and nothing is waited for."""  # A19
    script = Script(Limited(retry_after=seconds), "answer")
    loop = retrying(waits)
    if calls == 1:
        with pytest.raises(Limited):
            loop(script)
        assert waits == []
    else:
        assert loop(script) == "answer"
        assert waits[0] >= float(seconds)
    assert script.calls == calls


def test_a_number_of_retries_does_not_lift_the_two_minutes(waits):
    """Also with `max_retries` a longer wait ends the call."""  # A19
    with pytest.raises(Limited):
        retrying(waits, stop=stop_by_error(max_retries=9))(Script(Limited(retry_after="121")))
    assert waits == []


def test_wait_by_backoff_follows_its_curve_whatever_failed(waits):
    """`wait_by_backoff` looks at the number of the attempt only."""
    script = Script(Limited(retry_after="20"), TimeoutError(), Limited(), "answer")
    retrying(waits, wait=wait_by_backoff(QUICK))(script)
    assert waits == [0.1, 0.2, 0.4]


# Shared


def test_strategies_may_be_copied_and_pickled(waits):
    """A strategy is a value: a copy serves as well."""
    for way in (copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        loop = retrying(
            waits, retry=way(retry_if_retryable()), wait=way(wait_by_backoff(QUICK)), stop=way(stop_by_error())
        )
        assert loop(Script(TimeoutError(), "answer")) == "answer"


def test_one_strategy_object_serves_interleaved_calls():
    """Two calls that take turns each have their own counts and curves."""
    wait, stop = wait_by_error(backoff=QUICK), stop_by_error(max_retries=2)
    one, other = state_after(*[TimeoutError()] * 3), state_after(*[Limited()] * 3)
    found = [[(wait(state), stop(state)) for state in pair] for pair in zip(one, other, strict=True)]
    assert found == [[(0.1, False)] * 2, [(0.2, False)] * 2, [(0.4, True)] * 2]


def test_one_strategy_object_serves_many_threads():
    """Eight threads through the same three objects each see their own call only."""  # A11
    shared = {"retry": retry_if_retryable(), "wait": wait_by_error(backoff=QUICK), "stop": stop_by_error()}
    found = []

    def work():
        for _ in range(30):
            waits = []
            script = Script(TimeoutError(), TimeoutError(), "answer")
            answer = tenacity.Retrying(**shared, sleep=waits.append)(script)
            found.append((answer, script.calls, waits))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 240
    assert all(entry == ("answer", 3, [0.1, 0.2]) for entry in found)


@pytest.mark.anyio
async def test_one_strategy_object_serves_many_tasks():
    """A hundred tasks through the same three objects each see their own call only."""  # A11
    shared = {"retry": retry_if_retryable(), "wait": wait_by_error(backoff=QUICK), "stop": stop_by_error()}
    found = []

    async def work():
        waits = []

        async def sleep(seconds):
            waits.append(seconds)
            await anyio.lowlevel.checkpoint()

        script = Script(TimeoutError(), TimeoutError(), "answer")
        answer = await tenacity.AsyncRetrying(**shared, sleep=sleep)(script.later)
        found.append((answer, script.calls, waits))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(work)
    assert found == [("answer", 3, [0.1, 0.2])] * 100


def test_a_strategy_object_remembers_nothing_between_calls(waits):
    """The second call begins at the beginning, after a success as after a failure."""  # A63
    loop = retrying(waits, wait=wait_by_error(backoff=QUICK))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            loop(Script(TimeoutError()))
        loop(Script(TimeoutError(), "answer"))
    assert waits == [0.1, 0.2, 0.4, 0.1] * 2
