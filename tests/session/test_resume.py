"""On what terms a session is resumed: how often, how late, not before when, and what for."""

import datetime
import math
import os
import signal
import textwrap
import threading

import anyio
import anyio.lowlevel
import pytest

from resilient_agent import (
    CircuitBreaker,
    CircuitOpen,
    Deferred,
    FileStore,
    SessionBusy,
    SessionPoisoned,
    clock,
    interrupted_sessions,
    prune_sessions,
    resilient,
    session_guard,
)
from resilient_agent.session.dialects import OUTCOME_UNKNOWN
from resilient_agent.testing import no_waiting

CALL = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": '{"amount": 5}'}}
ASKED = [{"role": "user", "content": "Pay the bill"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]


def crash(store, session_id="ticket-42", error=LookupError, messages=(), **options):
    """Enter the session, save messages, and leave it with an error; what was found on entering."""
    with pytest.raises(error), session_guard(session_id, store=store, **options) as session:
        found = session.resumed, session.interruption, session.messages
        session.extend(messages)
        raise error
    return found


@pytest.fixture
def later(monkeypatch):
    """Let the wall clock go on by so many seconds."""
    passed = [0.0]
    really = clock.now
    monkeypatch.setattr(clock, "now", lambda: really() + datetime.timedelta(seconds=passed[0]))

    def later(seconds):
        passed[0] += seconds

    return later


# -- how often ------------------------------------------------------------------------------------


def test_a_session_that_crashes_each_time_is_not_resumed_for_ever(store):  # B12
    """Three resumptions that crash again are enough: then a person has to look, and nothing is lost."""
    for resumes in range(4):
        _, interruption, _ = crash(store, messages=[{"role": "user", "n": resumes}])
        assert (interruption.resumes if interruption else 0) == max(0, resumes - 1)
    before = store.path("ticket-42").read_bytes()
    with pytest.raises(SessionPoisoned, match="resumed 3 times in a row") as refused:
        session_guard("ticket-42", store=store).__enter__()
    assert (refused.value.resumes, refused.value.session_id) == (3, "ticket-42")
    assert "LookupError" in str(refused.value)
    assert store.path("ticket-42").read_bytes() == before
    assert interrupted_sessions(store)[0].interruption.resumes == 3
    with session_guard("ticket-42", store=store, resume="force", keep=True) as session:
        assert [message["n"] for message in session.messages] == [0, 1, 2, 3]
    crash(store)  # a clean end begins the count anew
    assert crash(store)[0]


@pytest.mark.parametrize("most", [0, 1, 5])
def test_the_user_says_how_often(store, most):  # B12
    """`max_resumes` counts resumptions, not crashes; None sets no limit."""
    for _ in range(most + 1):
        crash(store, max_resumes=most)
    with pytest.raises(SessionPoisoned, match="in a row" if most else "crashed, and may not be resumed: LookupError"):
        session_guard("ticket-42", store=store, max_resumes=most).__enter__()
    assert crash(store, max_resumes=None)[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_end_that_somebody_wanted_is_no_crash(store, error):  # B12
    """Ctrl-C ten times says nothing against going on."""
    for _ in range(10):
        crash(store, error=error)
    assert crash(store)[0]


def test_a_session_that_gets_further_is_resumed_as_often_as_it_takes(store):  # B12
    """A saved answer, or a finished effect, begins the count anew; a prompt that is saved again does not."""
    for n in range(10):
        crash(store, messages=[{"role": "user", "content": "go on"}, {"role": "assistant", "content": str(n)}])
    for n in range(10):
        with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
            session.once(f"effect-{n}", int)
            raise LookupError
    for _ in range(3):
        crash(store, messages=[{"role": "user", "content": "go on"}])
    with pytest.raises(SessionPoisoned):
        session_guard("ticket-42", store=store).__enter__()


def test_resume_false_begins_anew_whatever_was_there(store):  # B12
    """A poisoned session too; with one record, so that no kill leaves half of it."""
    for _ in range(4):
        crash(store, messages=[{"role": "user", "n": 1}])
    with pytest.raises(LookupError), session_guard("ticket-42", store=store, resume=False) as session:
        assert (session.messages, session.resumed, session.interruption) == ([], False, None)
        raise LookupError
    assert crash(store)[0]


def test_a_killed_process_counts_as_a_crash(store, start):  # B12 B22
    """Found without a mark, with the count of those before it."""
    for resumes in range(3):
        process = start(
            """
            import sys
            from resilient_agent import session_guard
            with session_guard("ticket-42", store=sys.argv[1]) as session:
                session.append({"role": "user", "n": 1})
                print("ready")
                sys.stdin.read()
            """,
            store.folder,
        )
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()
        (found,) = interrupted_sessions(store)
        assert (found.interruption.reason, found.interruption.resumes) == ("unknown", resumes)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"resume": "yes"}, ValueError),
        ({"max_resumes": -1}, ValueError),
        ({"max_resumes": 2.5}, TypeError),
        ({"resume_within": 0}, ValueError),
        ({"resume_within": float("nan")}, ValueError),
        ({"resume_within": datetime.timedelta(0)}, ValueError),
        ({"resume_within": "1h"}, TypeError),
        ({"resume_within": True}, TypeError),
        ({"wait": -1}, ValueError),
        ({"wait": "long"}, TypeError),
        ({"repair": "gemini"}, ValueError),
        ({"redact": "keys"}, TypeError),
        ({"codec": "aes"}, TypeError),
        ({"durability": "none"}, ValueError),
        ({"retries": 3}, TypeError),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_written(store, wrong, error):
    """Before anything is touched, with a text that says what is taken."""
    with pytest.raises(error) as refused:
        session_guard("ticket-42", store=store, **wrong)
    assert next(iter(wrong)) in str(refused.value) or next(iter(wrong.values())) in str(refused.value)
    assert not store.folder.exists()


# -- how late -------------------------------------------------------------------------------------


def test_what_ended_long_ago_is_not_gone_on_with(store, later, caplog):
    """`resume_within`: an empty conversation begins, and that is said."""
    crash(store, messages=[{"n": 1}])
    later(3601)
    resumed, interruption, messages = crash(store, resume_within=3600)
    assert (resumed, interruption, messages) == (False, None, [])
    assert "longer than resume_within" in caplog.text
    later(3599)
    assert crash(store, resume_within=3600)[0]
    later(10**6)
    with session_guard("ticket-42", store=store, resume_within=3600, resume="force") as session:
        assert session.resumed


def test_a_wait_that_a_server_asked_for_makes_a_session_no_older(store, later):
    """`resume_within` counts from the moment of a deferral: else each that is longer would end the conversation."""
    with pytest.raises(Deferred), session_guard("ticket-42", store=store) as session:
        session.append({"n": 1})
        raise Deferred(clock.now() + datetime.timedelta(hours=2))
    later(5400)
    with pytest.raises(Deferred):
        session_guard("ticket-42", store=store, resume_within=3600).__enter__()
    later(3600)
    assert crash(store, resume_within=3600)[2] == [{"n": 1}]


@pytest.mark.parametrize(
    ("within", "resumed"),
    [
        (math.inf, True),
        (1e15, True),
        (datetime.timedelta.max, True),
        (datetime.timedelta(hours=1), False),
        (datetime.timedelta(hours=2), True),
    ],
)
def test_how_late_is_said_in_seconds_or_as_a_timedelta(store, later, within, resumed):
    """An age that nothing reaches is never too late."""
    crash(store)
    later(3601)
    assert crash(store, resume_within=within)[0] is resumed


@pytest.mark.parametrize("older_than", [math.inf, 1e15, datetime.timedelta.max])
def test_nothing_is_older_than_all_time(store, later, older_than):
    """An age that nothing reaches removes nothing."""
    crash(store)
    later(10**6)
    assert prune_sessions(older_than=older_than, status="interrupted", store=store) == []


@pytest.mark.parametrize("older_than", ["30d", None, True])
def test_an_age_that_is_none_is_refused(store, older_than):
    """The text says what is one, and nothing is removed."""
    crash(store)
    with pytest.raises(TypeError, match="older_than is seconds or a timedelta"):
        prune_sessions(older_than=older_than, status="interrupted", store=store)
    assert len(list(store.scan())) == 1


def test_old_sessions_are_pruned_as_told_and_never_live_ones(store, later):  # B64
    """By age and by how they ended; what was removed is said."""
    crash(store, "old-broken")
    with session_guard("old-kept", store=store, keep=True):
        pass
    with session_guard("live", store=store):
        later(100)
        with session_guard("young-kept", store=store, keep=True):
            pass
        removed = prune_sessions(older_than=50, status="closed", store=store)
        assert [found.session_id for found in removed] == ["old-kept"]
        removed = prune_sessions(older_than=datetime.timedelta(0), status=["closed", "interrupted"], store=store)
        assert {found.session_id for found in removed} == {"old-broken", "young-kept"}
        assert [found.session_id for found in store.scan()] == ["live"]
    for wrong in ({"status": "live"}, {"status": []}, {"status": "closed", "older_than": -1}):
        with pytest.raises(ValueError, match=r"status|older_than"):
            prune_sessions(**{"older_than": 1, **wrong}, store=store)


# -- who waits ------------------------------------------------------------------------------------


async def enter_in(face, store, **options):
    if face == "with":
        with session_guard("ticket-42", store=store, **options) as session:
            return session.messages
    async with session_guard("ticket-42", store=store, **options) as session:
        return session.messages


@pytest.mark.anyio
async def test_a_guard_may_wait_for_the_one_before_it(store):
    """`wait=`: as soon as the session is free it is entered; until then nothing stands still."""
    entered = []

    async def second():
        async with session_guard("ticket-42", store=store, wait=30) as session:
            entered.append(session.messages)

    async with anyio.create_task_group() as group, session_guard("ticket-42", store=store, keep=True) as session:
        group.start_soon(second)
        await anyio.sleep(0.12)
        assert entered == []
        await session.append({"n": 1})
    assert entered == [[{"n": 1}]]


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["with", "async with"])
async def test_the_wait_for_a_busy_session_ends(store, face):  # B14
    """When its seconds are over it is `SessionBusy`, with who holds it."""
    with (
        session_guard("ticket-42", store=store),
        pytest.raises(SessionBusy, match="another guard in this very process"),
    ):
        await enter_in(face, store, wait=0.12)


@pytest.mark.anyio
async def test_a_cancelled_wait_holds_nothing(store):  # B20
    """Who was cancelled while he waited does not get the session later."""
    with session_guard("ticket-42", store=store):
        with anyio.move_on_after(0.1):
            await enter_in("async with", store, wait=30)
    assert list(store.scan()) == []
    assert await enter_in("async with", store) == []


# -- not before -----------------------------------------------------------------------------------


class Limited(Exception):
    status_code = 429
    headers = {"retry-after": "500"}  # noqa: RUF012


@resilient(defer=True, max_retries=3, pacer=None)
def ask():
    raise Limited("slow down")


@resilient(defer=True, pacer=None)
async def ask_async():
    raise Limited("slow down")


def test_a_wait_that_there_is_no_time_for_is_remembered(store, later):
    """Inside of a guard: `Deferred` from the real failure; the next guard is refused until then, or waits."""
    with pytest.raises(Deferred) as deferred, session_guard("ticket-42", store=store) as session:
        session.append({"role": "user", "content": "hello"})
        ask()
    assert isinstance(deferred.value.__cause__, Limited)
    assert deferred.value.attempts == 1
    (found,) = interrupted_sessions(store)
    assert found.interruption.reason == "deferred"
    assert (found.interruption.error, found.interruption.attempts) == ("Limited", 1)
    assert found.interruption.not_before == deferred.value.not_before
    before = found.path.read_bytes()
    with pytest.raises(Deferred) as refused:
        session_guard("ticket-42", store=store).__enter__()
    assert refused.value.not_before == deferred.value.not_before
    with pytest.raises(Deferred):
        session_guard("ticket-42", store=store, wait=400).__enter__()
    assert found.path.read_bytes() == before
    later(501)
    with session_guard("ticket-42", store=store, keep=True) as session:
        assert session.interruption.not_before is not None
        assert len(session.messages) == 1


def test_a_deferral_is_overruled_by_force(store):
    """`resume="force"` goes on at once."""
    with pytest.raises(Deferred), session_guard("ticket-42", store=store):
        ask()
    with session_guard("ticket-42", store=store, resume="force") as session:
        assert session.resumed


@pytest.mark.anyio
async def test_a_guard_waits_for_the_moment_that_was_named(store, monkeypatch):
    """With `wait=` that is long enough."""
    with pytest.raises(Deferred):
        async with session_guard("ticket-42", store=store):
            await ask_async()
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        really = clock.now
        monkeypatch.setattr(clock, "now", lambda: really() + datetime.timedelta(seconds=seconds))

    monkeypatch.setattr(clock, "async_sleep", sleep)
    async with session_guard("ticket-42", store=store, wait=600) as session:
        assert session.resumed
    assert len(slept) == 1
    assert 490 < slept[0] <= 500


def test_outside_of_a_guard_the_failure_itself_comes_out():
    """Nothing could remember it; and a deadline that is met without a named wait defers nothing."""
    with no_waiting(), pytest.raises(Limited):
        ask()


def test_where_there_is_time_for_the_named_wait_nothing_is_deferred(store):
    """The call has waited for it and was refused again: that failure comes out."""

    class Busy(Limited):
        headers = {"retry-after": "5"}  # noqa: RUF012

    @resilient(defer=True, max_retries=1, pacer=None)
    def busy():
        raise Busy("slow down")

    with no_waiting() as waits, pytest.raises(Busy), session_guard("ticket-42", store=store):
        busy()
    assert len(waits) == 1


def test_a_call_that_a_breaker_refuses_is_not_deferred(store):
    """Nothing was judged, and no server named a wait: the refusal comes out as it is."""
    breaker = CircuitBreaker(failure_share=None, consecutive_failures=1)

    @resilient(defer=True, breaker=breaker, max_retries=0)
    def broken():
        raise ConnectionResetError("reset")

    with no_waiting(), session_guard("ticket-42", store=store):
        with pytest.raises(ConnectionResetError):
            broken()
        with pytest.raises(CircuitOpen):
            broken()


def test_without_a_named_wait_nothing_is_deferred(store):
    """The connection is down: that is the failure, inside of a guard as well."""

    @resilient(defer=True, max_retries=1)
    def broken():
        raise ConnectionResetError("reset")

    with no_waiting(), pytest.raises(ConnectionResetError), session_guard("ticket-42", store=store):
        broken()
    assert interrupted_sessions(store)[0].interruption.attempts == 2


# -- what for -------------------------------------------------------------------------------------


def test_an_interrupted_history_is_repaired_before_anybody_sees_it(store):  # B56 B57 B58 B59
    """The open call gets its one result, stored before it is used; what waits is told."""
    crash(store, messages=ASKED)
    with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
        repaired = session.messages
        assert repaired[:2] == ASKED
        assert repaired[2] == {"role": "tool", "tool_call_id": "call_1", "content": OUTCOME_UNKNOWN}
        assert (session.pending.kind, session.pending.calls[0].name) == ("calls", "pay")
        assert store.read("ticket-42").messages == repaired
        raise LookupError
    stored = store.path("ticket-42").read_bytes().count(b'"kind":"repaired"')
    assert crash(store)[2] == repaired
    assert store.path("ticket-42").read_bytes().count(b'"kind":"repaired"') == stored == 1  # B61


def test_a_result_that_comes_late_takes_the_place_of_the_note(store):  # B58
    """Appended behind whatever was said since, it stands where it belongs; in one record."""
    crash(store, messages=ASKED)
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.append({"role": "user", "content": "Did it work?"})
        session.append({"role": "tool", "tool_call_id": "call_1", "content": "paid"})
        contents = [message["content"] for message in session.messages]
        assert contents == ["Pay the bill", None, "paid", "Did it work?"]
    assert [message["content"] for message in store.read("ticket-42").messages] == contents


def test_a_result_that_comes_late_takes_the_place_of_a_note_that_was_kept(store):  # B58
    """Also where the history was replaced meanwhile by one that still has it: a provider takes no second result."""
    crash(store, messages=ASKED)
    result = {"role": "tool", "tool_call_id": "call_1", "content": "paid"}
    with session_guard("ticket-42", store=store) as session:
        session.replace([{"role": "system", "content": "Be brief."}, *session.messages])
        session.append(result)
        assert session.messages == [{"role": "system", "content": "Be brief."}, *ASKED, result]


def test_open_calls_are_copies(store):
    """Whoever changes their arguments changes nothing that is stored."""
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "pay", "input": {"amount": 5}}]}
    with session_guard("ticket-42", store=store) as session:
        session.append(used)
        session.pending.calls[0].arguments.clear()
        assert session.messages == [used]


def test_a_tool_result_under_a_users_role_is_progress(store):  # B12
    """Anthropic's: a session whose tools work is not taken for one that only crashes."""
    for number in range(6):
        result = {"type": "tool_result", "tool_use_id": str(number), "content": "paid"}
        crash(store, messages=[{"role": "user", "content": [result]}], repair=None)


def test_a_history_is_left_alone_where_nobody_wants_it_repaired(store):
    """`repair=None`, and sessions that ended well."""
    crash(store, messages=ASKED)
    assert crash(store, repair=None)[2] == ASKED
    with session_guard("other", store=store, keep=True) as session:
        session.extend(ASKED)
    with session_guard("other", store=store) as session:
        assert session.messages == ASKED
        assert session.pending.kind == "calls"


def test_a_window_shows_less_and_stores_all(store):  # B62
    """The most recent messages, calls with their results; the stored history stays whole."""
    result = {"role": "tool", "tool_call_id": "call_1", "content": "paid"}
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.extend([{"role": "system", "content": "Be brief"}, *ASKED, result])
        assert session.window(last=2) == [{"role": "system", "content": "Be brief"}, ASKED[1], result]
        assert session.window(max_tokens=10_000, count=lambda message: 1) == session.messages
        session.window(last=2)[0]["content"] = "changed"
        assert len(session.messages) == 4
    assert store.read("ticket-42").messages[0]["content"] == "Be brief"


# -- SIGTERM --------------------------------------------------------------------------------------

TERMINATED = """
import asyncio, sys, time
import anyio
import anyio.lowlevel
from resilient_agent import session_guard
folder, how = sys.argv[1:]

def plain():
    with session_guard("ticket-42", store=folder, sigterm=True) as session:
        session.append({"n": 1})
        print("ready", flush=True)
        time.sleep(60)

async def by_async():
    async with session_guard("other", store=folder, sigterm=True, keep=True):
        async with session_guard("ticket-42", store=folder, sigterm=True) as session:
            await session.append({"n": 1})
            print("ready", flush=True)
            await anyio.sleep(60)

plain() if how == "plain" else anyio.run(by_async, backend=how)
"""


@pytest.mark.parametrize("how", ["plain", "asyncio", "trio"])
def test_sigterm_ends_the_body_and_marks_the_session(store, start, how):  # B22
    """With `sigterm=True` the program ends with status 143, and the session says why; it is no crash."""
    process = start(TERMINATED, store.folder, how)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    found = {session.session_id: session for session in interrupted_sessions(store)}
    assert found["ticket-42"].interruption.reason == "terminated"
    assert found["ticket-42"].message_count == 1
    if how != "plain":
        assert found["other"].interruption.reason == "terminated"
    assert crash(store)[1].reason == "terminated"


def test_the_handler_of_before_comes_back(store):
    """After the last guard that asked for SIGTERM, whoever handled it before does so again."""
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append("told"))
    try:
        with session_guard("a", store=store, sigterm=True), session_guard("b", store=store, sigterm=True):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == ["told"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_is_set_inside_of_a_guard_stays(store):
    """It is somebody else's: what the guard found when it was entered does not come back over it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with session_guard("a", store=store, sigterm=True):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_goes_on_to_the_handler_of_before_when_nobody_watches(store):
    """A guard that is left in another thread cannot set it again; and whoever was called before still is."""
    told = []
    before = signal.signal(signal.SIGTERM, lambda *_: told.append("told"))
    try:
        guard = session_guard("a", store=store, sigterm=True)
        guard.__enter__()
        leaving = threading.Thread(target=guard.__exit__, args=(None, None, None))
        leaving.start()
        leaving.join()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == ["told"]
        with session_guard("a", store=store, sigterm=True):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == ["told", "told"]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["with", "async with"])
async def test_what_a_body_makes_of_sigterm_comes_out(store, face):  # B22
    """Its own error is never replaced; and the mark says what had happened, so that it counts as no crash."""

    async def by(wait):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await wait()
        except BaseException:
            raise ValueError("its own") from None

    guard = session_guard("ticket-42", store=store, sigterm=True)
    with pytest.raises(ValueError, match="its own"):
        if face == "with":
            with guard:
                await by(anyio.lowlevel.checkpoint)
        else:
            async with guard:
                await by(anyio.sleep_forever)
    assert [found.interruption.reason for found in interrupted_sessions(store)] == ["terminated"]


def test_sigterm_elsewhere_than_in_the_main_thread_is_refused(store, child):
    """Python lets no other thread handle signals: said on entering, and the session stays free."""
    told = child(
        textwrap.dedent(
            """
            import json, sys, threading
            from resilient_agent import session_guard
            told = []
            def enter():
                try:
                    session_guard("ticket-42", store=sys.argv[1], sigterm=True).__enter__()
                except RuntimeError as error:
                    told.append(str(error))
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join()
            with session_guard("ticket-42", store=sys.argv[1]) as session:
                told.append(session.resumed)
            print(json.dumps(told))
            """
        ),
        store.folder,
    )
    assert "main thread" in told[0]
    assert told[1] is False


# -- what was kept --------------------------------------------------------------------------------


def test_a_store_says_what_it_survives(tmp_path):
    """The level is the store's, or the guard's own."""
    assert FileStore(tmp_path).durability == "power"
    assert FileStore(tmp_path, durability="process").durability == "process"
