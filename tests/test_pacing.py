"""Calls that wait together once a rate limit was met: who waits, for how long, and what it costs them."""

import contextlib
import threading
import time

import anyio
import pytest

from resilient_agent import DeadlineExceeded, Pacer, report_of, resilient
from resilient_agent.testing import no_waiting


class Limited(Exception):
    def __init__(self, retry_after=None, status=429):
        super().__init__("slow down")
        self.status_code = status
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}


class Server:
    """Refuses the first requests, answers the others, and knows when each came in."""

    def __init__(self, refusals, *, retry_after=10, takes=0.0):
        self.refusals = refusals
        self.retry_after = retry_after
        self.takes = takes
        self.came = []

    async def ask(self, who, **_):
        self.came.append((who, round(anyio.current_time(), 2)))
        refused = len(self.came) <= self.refusals
        await anyio.sleep(self.takes)
        if refused:
            raise Limited(self.retry_after)
        return who

    def times(self, who):
        return [at for name, at in self.came if name == who]


async def first_then(first, others, later=1.0):
    """One call, and a second later the others, all of them to their end."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(*first)
        await anyio.sleep(later)
        for other in others:
            tasks.start_soon(*other)


def test_after_a_refusal_all_calls_wait_for_the_window(virtually):
    """Nobody else finds out alone: they come after the time that the server named, the first one first."""  # A18
    server = Server(1)
    ask = resilient(server.ask)

    async def main():
        begun = anyio.current_time()
        await first_then((ask, "first"), [(ask, "second"), (ask, "third")])
        return begun

    begun, _ = virtually(main)
    assert [who for who, _ in server.came[:2]] == ["first", "first"]
    assert {who for who, _ in server.came[2:]} == {"second", "third"}
    assert all(at >= begun + 10 for _, at in server.came[1:])


def test_without_a_refusal_nobody_waits(virtually):
    """A pacer that met no limit lets all of them through at once."""
    server = Server(0)
    ask = resilient(server.ask)

    async def main():
        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(ask, n)

    assert virtually(main) == (None, 0)
    assert len(server.came) == 50


def test_calls_of_another_key_do_not_wait(virtually):
    """`pace_by` gives each account its own limit."""
    server = Server(1)
    ask = resilient(pace_by=lambda who, account: account)(server.ask)

    async def asked(who, account):
        await ask(who, account=account)

    async def main():
        begun = anyio.current_time()
        await first_then((asked, "first", "a"), [(asked, "same", "a"), (asked, "other", "b")])
        return begun

    begun, _ = virtually(main)
    assert server.times("other") == [begun + 1]
    assert server.times("same")[0] >= begun + 10


def test_a_key_that_cannot_be_had_is_warned_of(virtually):
    """The call is paced with those that have none, and its own failure stays what it is."""  # A43
    server = Server(1)

    def broken(who):
        raise RuntimeError("no such account")

    ask = resilient(pace_by=broken)(server.ask)

    async def main():
        return await ask("first")

    with pytest.warns(RuntimeWarning, match="pace_by of .* raised RuntimeError"):
        assert virtually(main)[0] == "first"


def test_without_a_pacer_each_call_is_on_its_own(virtually):
    """`pacer=None` switches it off."""
    server = Server(1)
    ask = resilient(pacer=None)(server.ask)

    async def main():
        begun = anyio.current_time()
        await first_then((ask, "first"), [(ask, "second")])
        return begun

    begun, _ = virtually(main)
    assert server.times("second") == [begun + 1]
    assert server.times("first")[1] >= begun + 10


@pytest.mark.parametrize("shared", [True, False])
def test_only_who_has_the_same_pacer_waits(virtually, shared):
    """Two functions wait together where they were given one object, and else know nothing of each other."""  # A34
    server = Server(1)
    pacer = Pacer()
    ask = resilient(pacer=pacer)(server.ask)
    other = resilient(pacer=pacer if shared else Pacer())(server.ask)

    async def main():
        begun = anyio.current_time()
        await first_then((ask, "first"), [(other, "second")])
        return begun

    begun, _ = virtually(main)
    (second,) = server.times("second")
    assert second >= begun + 10 if shared else second == begun + 1


def test_time_in_the_pacer_uses_up_no_retry(virtually):
    """A call that may not be retried at all waits for the window, and its attempt is its first one."""
    server = Server(1)
    pacer = Pacer()
    first, second = resilient(pacer=pacer)(server.ask), resilient(pacer=pacer, max_retries=0)(server.ask)
    reports = []

    async def ask_second():
        await second("second")
        reports.append(second.call_report())

    async def main():
        await first_then((first, "first"), [(ask_second,)])

    virtually(main)
    (report,) = reports
    assert (report.outcome, report.requests, report.attempts[0].number) == ("succeeded", 1, 1)
    assert report.waited == 0
    assert 9 <= report.paced < 12


def test_a_wait_for_the_window_is_told_as_such(virtually):
    """The report of the refused call tells apart what it waited with the others."""
    server = Server(1)
    ask = resilient(server.ask)

    async def main():
        await ask("first")
        return ask.call_report()

    report, took = virtually(main)
    assert report.waited == 0
    assert 10 <= report.paced <= took
    assert report.attempts[0].paced == report.paced


def test_a_caller_that_is_cancelled_leaves_the_line(virtually):
    """It asks for nothing, holds nothing, and those behind it go on as if it had never come."""  # A36
    server = Server(1)
    pacer = Pacer()
    ask = resilient(pacer=pacer)(server.ask)
    seen = []

    async def impatient():
        with anyio.move_on_after(3) as scope:
            await ask("impatient")
        seen.append((scope.cancelled_caught, ask.call_report().outcome, repr(pacer).endswith("2 wait>")))

    async def main():
        await first_then((ask, "first"), [(impatient,), (ask, "patient")])

    virtually(main)
    assert seen == [(True, "cancelled", True)]
    assert server.times("impatient") == []
    assert len(server.times("patient")) == 1
    assert repr(pacer).endswith("0 wait>")


def test_a_probe_that_is_cancelled_lets_the_next_one_go(virtually):
    """After a refusal without a wait one call finds out for all; where it is given up, another does."""  # A35, A36
    server = Server(1, retry_after=None)
    pacer = Pacer()
    begun = []

    @resilient(pacer=pacer)
    async def hang():
        begun.append(1)
        await anyio.sleep_forever()

    async def impatient():
        with anyio.move_on_after(2):
            await hang()

    async def main():
        with contextlib.suppress(Limited):
            await resilient(pacer=pacer, max_retries=0)(server.ask)("first")
        await first_then((impatient,), [(resilient(pacer=pacer)(server.ask), "patient")], later=0.1)

    _, took = virtually(main)
    assert begun == [1]
    assert len(server.times("patient")) == 1
    assert took < 5


def test_a_burst_of_refusals_is_one_cut(virtually):
    """Twenty that were under way together teach what one would have: it takes no longer until all are answered."""
    # A37

    async def all_of(server):
        ask = resilient(server.ask)
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(ask, n)

    took = []
    for refused in (1, 20):
        server = Server(refused, retry_after=5, takes=0.5)
        took.append(virtually(lambda server=server: all_of(server))[1])
        assert len(server.came) == 20 + refused
    alone, burst = took
    assert 5 < burst < 5 + 20
    assert alone < burst


def test_nobody_is_locked_out_by_those_who_wait(virtually):
    """A server that takes two at a time answers all ten: who waits after a refusal holds no place."""  # A36
    under_way = [0]
    answered = []

    @resilient(max_retries=20)
    async def ask(n):
        if under_way[0] >= 2:
            raise Limited
        under_way[0] += 1
        try:
            await anyio.sleep(1)
        finally:
            under_way[0] -= 1
        answered.append(n)

    async def main():
        async with anyio.create_task_group() as tasks:
            for n in range(10):
                tasks.start_soon(ask, n)

    _, took = virtually(main)
    assert sorted(answered) == list(range(10))
    assert took < 60


def test_a_window_beyond_the_deadline_is_not_waited_for(virtually):
    """A call that has met nothing itself ends at once with `DeadlineExceeded`, and asks for nothing."""  # A24
    server = Server(1)
    pacer = Pacer()
    first, second = resilient(pacer=pacer)(server.ask), resilient(pacer=pacer, deadline=5)(server.ask)
    caught = []

    async def ask_second():
        begun = anyio.current_time()
        with pytest.raises(DeadlineExceeded) as came:
            await second("second")
        caught.append((came.value, anyio.current_time() - begun))

    async def main():
        await first_then((first, "first"), [(ask_second,)])

    virtually(main)
    ((error, took),) = caught
    assert took == 0
    assert "before the rate limit opens" in str(error)
    assert error.seconds == 5
    assert server.times("second") == []
    assert (report_of(error).outcome, report_of(error).requests) == ("failed", 0)


def test_a_window_beyond_the_deadline_ends_a_refused_call_with_its_own_error(virtually):
    """It has met something: that comes out."""  # A24, A27
    server, retried = Server(1), []
    ask = resilient(deadline=5, on_retry=lambda *told: retried.append(told))(server.ask)

    async def main():
        return await ask("first")

    error, took = virtually(main)
    assert (type(error), took) == (Limited, 0)
    assert "deadline=5" in report_of(error).limit
    assert retried == []  # nobody is told of a retry that there will not be


@pytest.mark.parametrize(("status", "state"), [(400, "requests/s"), (503, "closed by an outage")])
def test_whatever_a_server_at_work_answers_opens_the_way_for_the_others(virtually, status, state):
    """A request that it finds wrong was let in; one that meets an overload shows nothing of the kind."""
    outcomes, pacer = [Limited(), Limited(status=status)], Pacer()

    @resilient(pacer=pacer, max_retries=1)
    async def ask():
        raise outcomes.pop(0)

    virtually(ask)
    assert outcomes == []
    assert state in repr(pacer)


def test_streams_wait_as_well(virtually):
    """A stream that has not begun waits for the window like any other call."""
    began = []

    @resilient
    async def stream():
        began.append(anyio.current_time())
        if len(began) == 1:
            raise Limited(10)
        yield "item"

    async def read():
        return [item async for item in stream()]

    async def main():
        await first_then((read,), [(read,)])
        return began

    _, took = virtually(main)
    assert len(began) == 3
    assert all(at >= began[0] + 10 for at in began[1:])
    assert took < 15


def test_threads_wait_together():
    """Plain functions in threads share the window as tasks do."""
    came = []

    @resilient
    def ask():
        came.append(time.monotonic())
        if len(came) == 1:
            raise Limited(0.4)
        return "answer"

    threads = [threading.Thread(target=ask) for _ in range(5)]
    threads[0].start()
    patience = time.monotonic() + 5
    while not ask.retry.pacer.active and time.monotonic() < patience:
        time.sleep(0.005)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(came) == 6
    assert all(at >= came[0] + 0.4 for at in came[1:])


@pytest.mark.parametrize("named", [{}, {"retry_after": "7"}])
def test_who_wants_to_know_is_told_about_how_long_the_pacer_will_take(caplog, named):
    """A server that names no wait is waited for as well: the hook and the log say how long, not 0 s."""
    told = []

    @resilient(max_retries=3, on_retry=lambda attempt, error, delay: told.append(delay))
    def ask():
        raise Limited(**named)

    with no_waiting(), pytest.raises(Limited) as caught, caplog.at_level("WARNING", "resilient_agent.retry"):
        ask()
    waited = [attempt.paced for attempt in report_of(caught.value).attempts][:-1]
    assert told == pytest.approx(waited, rel=0.05, abs=0.1)
    assert [record.wait_s for record in caplog.records if record.event == "retry"] == told


# Deadlines and wishes, while the limit is known


def test_a_wait_for_the_others_is_bounded_by_a_deadline_around_the_call():
    """The window was met by an earlier call: this one would begin too late for the function that calls it."""  # A24
    answers = iter([Limited(30)])

    @resilient(max_retries=0)
    def inner():
        for refused in answers:
            raise refused
        return "ok"

    @resilient(deadline=2)
    def outer():
        return inner()

    with no_waiting() as waits:
        with pytest.raises(Limited):
            inner()
        with pytest.raises(DeadlineExceeded, match="would have passed before the rate limit opens"):
            outer()
        assert waits.total < 2  # its own retries, within its deadline


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_call_with_an_error_of_its_own_does_not_run_into_a_scopes_end(status, virtually):
    """Its wait, named or not, would pass the scope's deadline: its own error comes out, and says so."""  # A24 A26
    failure = Limited(status=status)

    @resilient
    async def ask():
        raise failure

    async def main():
        with anyio.fail_after(0.1):
            await ask()

    assert virtually(main) == (failure, 0)
    assert "a deadline around the call" in report_of(failure).limit


@pytest.mark.anyio
async def test_a_call_without_an_error_waits_for_the_end_of_its_scope():
    """It has nothing to end with: what its end means is for the scope to say."""
    pacer = Pacer()

    @resilient(pacer=pacer, max_retries=0)
    async def ask():
        raise Limited(30)

    with pytest.raises(Limited):
        await ask()
    with anyio.move_on_after(0.02) as scope:
        await ask()
    assert scope.cancelled_caught


def test_a_wish_beyond_the_longest_wait_holds_up_nobody():
    """The call that met it stops and says so; so does the next one, which finds out at once, not after two minutes."""
    tries = []

    @resilient(max_retry_after=5)
    def ask():
        tries.append(1)
        raise Limited(3600)

    with no_waiting() as waits:
        for _ in range(3):
            with pytest.raises(Limited) as caught:
                ask()
            assert "asks for 3600 s, more than 5 s" in report_of(caught.value).limit
    assert (len(tries), waits.total) == (3, 0)


def test_a_wish_that_the_user_allows_is_waited_for_in_whole():
    """Also beyond the usual two minutes: asked again before, the server would refuse again."""  # A18 A19
    answers = iter([Limited(300)])

    @resilient(max_retry_after=600)
    def ask():
        for refused in answers:
            raise refused
        return "ok"

    with no_waiting() as waits:
        assert ask() == "ok"
    assert 299 < waits.total < 310
