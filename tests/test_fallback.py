"""Fallbacks: which rung is called, when, and what comes out."""

import dataclasses
import functools
import logging
import traceback

import anyio
import pytest

from resilient_agent import CircuitBreaker, CircuitOpen, ErrorClassifier, Rung, current_attempt, report_of, resilient
from resilient_agent.testing import no_waiting


class TooLong(Exception):
    code = "context_length_exceeded"


class NoCredit(Exception):
    status_code = 429
    code = "insufficient_quota"


def plain(error, waits, **options):
    @resilient(sleep=waits, **options)
    def ask(*, text):
        raise error

    return ask(text="why?"), ask.call_report()


def in_loop(backend, error, waits, **options):
    async def sleep(seconds):
        waits(seconds)
        await anyio.lowlevel.checkpoint()

    @resilient(sleep=sleep, **options)
    async def ask(*, text):
        raise error

    async def main():
        return await ask(text="why?"), ask.call_report()

    return anyio.run(main, backend=backend)


@pytest.fixture(params=["plain", "asyncio", "trio"])
def fail(request, waits):
    """Call what always fails, with fallbacks: the value and the report."""
    call = plain if request.param == "plain" else functools.partial(in_loop, request.param)
    return lambda error, **options: call(error, waits, **options)


class Ladder:
    """Rungs that note that they were called, and raise or answer as they are told."""

    def __init__(self):
        self.called = []

    def rung(self, name, outcome):
        def rung(*, text):
            self.called.append((name, text))
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return Rung(rung, name=name)


@pytest.fixture
def ladder():
    """A ladder without rungs."""
    return Ladder()


def test_a_degraded_failure_is_answered_by_the_first_rung(fail, ladder, waits):
    """At once, with the call's arguments; the report says which rung, and why."""
    value, report = fail(TooLong("too long"), fallback=[ladder.rung("small", "yes"), ladder.rung("large", "no")])
    assert (value, ladder.called, waits) == ("yes", [("small", "why?")], [])
    assert (report.outcome, report.rung, report.limit) == ("succeeded", "small", "")
    assert "too long" in report.because
    assert report.requests == 2


@pytest.mark.anyio
async def test_what_an_open_breaker_refuses_is_answered_by_a_rung(ladder):
    """Before the first attempt, too; however many rungs are asked, the refusal is judged once."""
    judged, made = [], []

    class Watching(ErrorClassifier):
        def classify(self, error):
            judged.append(type(error))
            return super().classify(error)

    @resilient(
        breaker=CircuitBreaker(failure_share=None, consecutive_failures=1),
        classifier=Watching(),
        fallback=[Rung(lambda *, text: text, when=lambda verdict: False), ladder.rung("small", "yes")],
        on_exhausted=True,
        max_retries=0,
    )
    async def ask(*, text):
        made.append(text)
        raise ConnectionResetError("cut")

    assert (await ask(text="why?"), await ask(text="why?")) == ("yes", "yes")
    assert judged == [ConnectionResetError, CircuitOpen]
    assert (len(made), ask.call_report().rung) == (1, "small")


def test_each_rung_is_called_once_in_order(fail, ladder):
    """Until one answers."""
    rungs = [ladder.rung("a", TooLong("a")), ladder.rung("b", ConnectionError("b")), ladder.rung("c", "yes")]
    value, report = fail(TooLong("first"), fallback=rungs)
    assert value == "yes"
    assert [name for name, _ in ladder.called] == ["a", "b", "c"]
    assert [attempt.rung for attempt in report.attempts] == ["", "a", "b", "c"]


def test_an_error_that_a_rung_raises_again_and_again_shows_the_last_call_only(fail, ladder):
    """The very object of a module does not collect the errors of all the calls that ended with it."""
    same = OSError("closed")
    firsts = [TooLong(number) for number in range(3)]
    for first in firsts:
        with pytest.raises(OSError, match="closed"):
            fail(first, fallback=ladder.rung("small", same))
    assert (same.__cause__, firsts[-1].__cause__, firsts[0].__cause__) == (firsts[-1], None, None)


def test_what_the_last_rung_raises_is_chained_to_the_first_error(fail, ladder):
    """And keeps what it has behind it itself."""  # A44
    first, second, behind = TooLong("first"), TooLong("second"), KeyError("its own")
    second.__cause__ = behind
    with pytest.raises(TooLong) as caught:
        fail(first, fallback=ladder.rung("a", second))
    assert caught.value is second
    assert second.__cause__ is behind
    assert behind.__cause__ is first
    assert first.__cause__ is None
    assert "fallback 'a' failed as well" in report_of(second).limit


def test_a_rung_that_hides_its_own_cause_does_not_hide_the_first_error(fail):
    """`raise ... from None` is the rung's word on what happened in the rung."""  # A44

    def rung(*, text):
        try:
            return {}[text]
        except KeyError:
            raise TooLong("second") from None

    with pytest.raises(TooLong, match="second") as caught:
        fail(TooLong("first"), fallback=rung)
    printed = "".join(traceback.format_exception(caught.value))
    assert "TooLong: first" in printed
    assert "KeyError" not in printed


def test_a_rung_that_raises_the_first_error_again_makes_no_circle(fail, ladder):
    """The very object comes out, with what was behind it and no more."""
    error, behind = TooLong("first"), KeyError("its own")
    error.__cause__ = behind
    with pytest.raises(TooLong) as caught:
        fail(error, fallback=[ladder.rung("a", error), ladder.rung("b", error)])
    assert caught.value is error
    assert error.__cause__ is behind
    assert behind.__cause__ is None
    assert len(ladder.called) == 2


@pytest.mark.parametrize("error", [NoCredit("no credit"), ValueError("wrong")], ids=["fatal", "non-retryable"])
def test_no_rung_is_called_where_it_cannot_help(fail, ladder, error):
    """Not even when retries are used up: the account is empty, the request wrong."""  # A44
    with pytest.raises(type(error)):
        fail(error, fallback=ladder.rung("a", "no"), on_exhausted=True)
    assert ladder.called == []


def test_a_rung_that_is_refused_for_good_ends_the_ladder(fail, ladder):
    """The rungs below it share the account."""
    with pytest.raises(NoCredit):
        fail(TooLong("long"), fallback=[ladder.rung("a", NoCredit("empty")), ladder.rung("b", "no")])
    assert len(ladder.called) == 1


def test_a_transient_failure_is_retried_and_then_comes_out(fail, ladder, waits):
    """The ladder is for what cannot succeed, unless `on_exhausted=True` says otherwise."""
    with pytest.raises(ConnectionError):
        fail(ConnectionError(), fallback=ladder.rung("a", "no"), max_retries=2)
    assert (len(waits), ladder.called) == (2, [])
    value, report = fail(ConnectionError(), fallback=ladder.rung("a", "yes"), max_retries=2, on_exhausted=True)
    assert (value, len(waits)) == ("yes", 4)
    assert [attempt.rung for attempt in report.attempts] == ["", "", "", "a"]


class Busy(Exception):
    status_code = 503


@pytest.mark.parametrize("gate", [{"deadline": 1.5}, {"breaker": CircuitBreaker(consecutive_failures=1)}])
def test_where_no_further_attempt_is_let_set_out_the_ladder_is_for_the_failure_before(gate, caplog):
    """By the pacer, with a deadline before it opens, or by a breaker: that retries are used up is said of the failure."""

    @resilient(fallback=lambda: "small", on_exhausted=True, **gate)
    def ask():
        raise Busy

    with no_waiting():
        assert ask() == "small"
    assert ask.call_report().attempts[-1].rung
    (end,) = [record for record in caplog.records if record.event == "gave_up"]
    assert (end.verdict, end.rule) == ("retryable", "http/unavailable")


def test_a_failure_that_changes_while_it_is_retried_is_judged_anew(waits, ladder):
    """What becomes hopeless at the second attempt goes to the ladder then."""
    errors = iter([ConnectionError(), TooLong("long")])

    @resilient(fallback=ladder.rung("a", "yes"), sleep=waits)
    def ask(*, text):
        raise next(errors)

    assert ask(text="why?") == "yes"
    assert len(waits) == 1
    assert ask.call_report().attempts[2].rung == "a"


def test_a_rung_may_say_when_it_can_help(fail, ladder):
    """`when=` sees the verdict; a context that is too long may go to a larger model only."""  # A44
    seen = []

    def larger(verdict):
        seen.append(verdict.rule)
        return verdict.rule != "size/context-length"

    rungs = [Rung(lambda *, text: "no", when=larger), ladder.rung("b", "yes")]
    assert fail(TooLong("long"), fallback=rungs)[0] == "yes"
    assert seen == ["size/context-length"]


def test_where_no_rung_can_help_the_error_comes_out_as_it_is(fail, ladder):
    """With nothing behind it."""
    error = TooLong("long")
    with pytest.raises(TooLong) as caught:
        fail(error, fallback=[Rung(ladder.rung("a", "no").fn, when=lambda _: False)])
    assert caught.value is error
    assert (error.__cause__, ladder.called) == (None, [])


@pytest.mark.parametrize(
    "transform", [lambda call: {"text": "short"}, lambda call: ((), {"text": "short"})], ids=["dict", "pair"]
)
def test_a_rung_may_change_the_arguments(fail, transform):
    """By keyword, or all of them; the next rung starts from the call's own again."""
    rungs = [Rung(lambda *, text: text, transform=transform)]
    assert fail(TooLong("long"), fallback=rungs)[0] == "short"


@pytest.mark.parametrize(
    ("rung", "expected"),
    [
        (lambda text, model: (text, model), ("why?", "small")),
        (lambda text, /, model: (text, model), ("why?", "small")),
        (lambda text, model, /: (text, model), ("why?", "small")),
        (lambda text, *others, model="m": (text, others, model), ("why?", ("large",), "small")),
        (lambda *args, **more: (args, more), (("why?", "large"), {"model": "small"})),
        (functools.partial(lambda head, text, model: (head, text, model), "now"), ("now", "why?", "small")),
        (dict, None),
    ],
    ids=["by place", "mixed", "by place only", "by name only", "open", "partial", "no signature"],
)
def test_an_argument_is_changed_by_name_however_it_was_given(rung, expected):
    """One that the call gave by its place is replaced there; what cannot say its names is called as ever."""

    @resilient(fallback=Rung(rung, transform=lambda call: {"model": "small"}))
    def ask(text, model):
        raise TooLong("long")

    if expected is None:
        with pytest.raises(TypeError):
            ask("why?", "large")
        return
    assert ask("why?", "large") == expected


def test_a_rung_may_need_an_argument_that_the_call_does_not_have():
    """`transform=` adds it, also one that goes by place only."""
    for rung in (lambda text, model: (text, model), lambda text, model, /: (text, model)):

        @resilient(fallback=Rung(rung, transform=lambda call: {"model": "small"}))
        def ask(text):
            raise TooLong("long")

        assert ask("why?") == ("why?", "small")


def test_a_changed_argument_that_the_rung_does_not_take_is_named(fail, caplog):
    """In the log, with what it takes; the call's own error comes out, as of any transform that is broken."""
    error = TooLong("long")
    with pytest.raises(TooLong) as caught:
        fail(error, fallback=Rung(lambda *, text: text, transform=lambda call: {"txt": "short"}))
    assert caught.value is error
    (said,) = [record.raised for record in caplog.records if record.levelno == logging.ERROR]
    assert "changes 'txt', which is no argument" in said
    assert "it takes text" in said


def test_changed_arguments_are_for_one_rung(fail, ladder):
    """The next one starts from the call's own again, and sees what the one before it raised."""
    seen, second = [], TooLong("second")

    def transform(call):
        seen.append((call.error, call.args, dict(call.kwargs)))
        return {"text": "changed"}

    rungs = [
        Rung(ladder.rung("a", second).fn, transform=transform),
        Rung(ladder.rung("b", "yes").fn, transform=transform),
    ]
    first = TooLong("first")
    assert fail(first, fallback=rungs)[0] == "yes"
    assert seen == [(first, (), {"text": "why?"}), (second, (), {"text": "why?"})]
    assert ladder.called == [("a", "changed"), ("b", "changed")]


@pytest.mark.parametrize(
    "broken",
    [
        {"transform": lambda call: 1 / 0},
        {"transform": lambda call: "text"},
        {"when": lambda verdict: 1 / 0},
    ],
    ids=["transform raises", "no arguments", "when raises"],
)
def test_a_broken_rung_does_not_hide_the_error(fail, broken, caplog):
    """The call's own error comes out, and the log says what was wrong."""  # A43
    error = TooLong("long")
    with pytest.raises(TooLong) as caught:
        fail(error, fallback=Rung(lambda *, text: text, **broken))
    assert caught.value is error
    assert any("Error" in getattr(record, "raised", "") for record in caplog.records)


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_limits_of_time_are_those_of_the_function_itself(virtually, limit):
    """A rung that takes longer answers all the same."""

    async def thorough():
        await anyio.sleep(5)
        return "in the end"

    @resilient(**{limit: 2}, fallback=thorough)
    async def ask():
        raise TooLong("too long")

    assert virtually(ask) == ("in the end", 5)


@pytest.mark.anyio
async def test_a_cancellation_reaches_no_rung():
    """Who wants it to stop does not want something else instead."""  # A1, A44
    called = []

    @resilient(fallback=lambda: called.append(1), on_exhausted=True)
    async def ask():
        await anyio.sleep(30)

    with anyio.move_on_after(0.02) as scope:
        await ask()
    assert scope.cancelled_caught
    assert called == []


@pytest.mark.anyio
async def test_a_cancelled_rung_ends_the_call():
    """No further rung; the report says that it was cancelled."""  # A1
    called = []

    async def slow():
        await anyio.sleep(30)

    @resilient(fallback=[slow, lambda: called.append(1)])
    async def ask():
        raise TooLong("long")

    with anyio.move_on_after(0.02) as scope:
        await ask()
    assert scope.cancelled_caught
    assert (called, ask.call_report().outcome) == ([], "cancelled")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_reaches_no_rung(kind, ladder):
    """It leaves at once, from the function and from a rung."""  # A1

    def rung(*, text):
        raise kind

    @resilient(fallback=[rung, ladder.rung("b", "no")], on_exhausted=True)
    def ask(*, text):
        raise TooLong("long") if text else kind

    for text in ("", "why?"):
        with pytest.raises(kind):
            ask(text=text)
    assert ladder.called == []


@pytest.mark.anyio
async def test_a_rung_of_a_coroutine_may_be_either():
    """A coroutine function is awaited, a plain one is called."""

    async def other():
        await anyio.lowlevel.checkpoint()
        return "awaited"

    for rung, expected in ((other, "awaited"), (lambda: "called", "called")):

        @resilient(fallback=rung)
        async def ask():
            raise TooLong("long")

        assert await ask() == expected
        report = ask.call_report()
        assert (report.outcome, report.rung) == ("succeeded", rung.__name__)


def test_a_plain_function_cannot_have_a_rung_that_is_awaited():
    """Said when it is decorated."""

    async def other(): ...

    with pytest.raises(TypeError, match="fallback other is a coroutine function"):

        @resilient(fallback=other)
        def ask(): ...


@pytest.mark.parametrize("field", ["when", "transform"])
def test_what_decides_about_a_rung_is_plain(field):
    """Nobody awaits it: the coroutine of a `when=` would be a yes, whatever it says."""

    async def decide(_): ...

    with pytest.raises(TypeError, match=f"{field} of a Rung"):
        Rung(print, **{field: decide})


@pytest.mark.parametrize(
    ("fn", "name"), [(print, "print"), (functools.partial(print, end=""), "print"), (Ladder().rung, "rung")]
)
def test_a_rung_is_named_like_its_function(fn, name):
    """Unless it is given a name."""
    assert Rung(fn).name == name
    assert Rung(fn, name="small").name == "small"


@pytest.mark.parametrize("field", ["fn", "when", "transform"])
def test_a_rung_is_made_of_functions(field):
    """What cannot be called is refused by its name."""
    with pytest.raises(TypeError, match=f"{field} of a Rung"):
        Rung(**{"fn": print, field: 3})


def test_a_rung_that_retries_keeps_its_retries():
    """It is no nested retry of the same request: it stands beside what was tried before, and outside of its deadline."""
    tries = []

    @resilient(max_retries=3, sleep=lambda _: None)
    def small():
        tries.append(current_attempt().deadline_left)
        if len(tries) < 3:
            raise ConnectionResetError
        return "small"

    @resilient(max_retries=2, deadline=60, on_exhausted=True, fallback=small, sleep=lambda _: None)
    def big():
        raise ConnectionResetError

    assert big() == "small"
    assert tries == [None, None, None]


def test_a_rungs_error_that_cannot_be_changed_comes_out_as_it_is():
    """A frozen dataclass takes no cause: it is not replaced by what setting one raises."""

    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        number: int

    def rung():
        raise Frozen(1)

    @resilient(fallback=rung)
    def ask():
        raise TooLong

    with pytest.raises(Frozen):
        ask()
