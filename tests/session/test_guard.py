"""`session_guard`: what entering brings back, what saving promises, and how each end is recorded.

Most tests run with `with` and with `async with`, under asyncio and under trio.
"""

import asyncio
import contextlib
import copy
import datetime
import json
import math
import os
import pickle
import signal
import subprocess
import threading
import time
import types

import anyio
import anyio.to_thread
import openai.types.chat
import pytest
import trio

from resilient_agent import (
    AsyncSession,
    Deferred,
    ErrorClassifier,
    ErrorType,
    FileStore,
    InvalidSessionId,
    MemoryStore,
    NotStorable,
    Session,
    SessionBusy,
    SessionClosed,
    SessionLost,
    interrupted_sessions,
    session_guard,
)
from resilient_agent.session.stores import _posix

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture(params=["with", "async with"])
def guard(request, store):
    """`session_guard` on the test's store, by either face, in one notation."""

    def guard(session_id="ticket-42", **options):
        made = session_guard(session_id, **{"store": store, **options})
        return made if request.param == "async with" else _Awaitable(made)

    return guard


class _Awaitable:
    """The plain guard in the notation of the other; it does nothing of its own."""

    def __init__(self, made):
        self._made = made

    async def __aenter__(self):
        return _AwaitableSession(self._made.__enter__())

    async def __aexit__(self, *ending):
        return self._made.__exit__(*ending)


class _AwaitableSession:
    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        found = getattr(self._session, name)
        if name not in {"append", "extend", "replace", "set_extra"}:
            return found

        async def call(*arguments):
            return found(*arguments)

        return call


def user(number):
    return {"role": "user", "content": f"naïve {number}"}


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def stored(store, session_id="ticket-42"):
    return store.read(session_id).messages


async def leave_by(guarded, error, *messages):
    """Save messages, then leave the guard by an error."""
    with pytest.raises(type(error)) as left:
        async with guarded as session:
            await session.extend(messages)
            raise error
    assert left.value is error


# -- saving ---------------------------------------------------------------------------------------


async def test_a_message_is_on_disk_when_append_returns(guard, store):  # B1
    """An appended message can be read by anybody as soon as the call returns."""
    async with guard() as session:
        for number in range(3):
            await session.append(user(number))
            assert stored(store) == [user(n) for n in range(number + 1)]
        assert session.messages == [user(0), user(1), user(2)]


async def test_extend_saves_several_messages_in_one_record(guard, store):
    """Several messages handed over at once become one record, and none of them makes no trouble."""
    async with guard() as session:
        await session.extend([user(1), user(2)])
        await session.extend(iter([user(3)]))
        await session.extend([])
        assert session.messages == stored(store) == [user(1), user(2), user(3)]
        assert [line["count"] for line in lines(session.path)] == [0, 2, 3, 3]


async def test_replace_puts_messages_in_place_of_all(guard, store):
    """After a replacement only its messages are there, also for the next owner."""
    await leave_by(guard(), OSError(), user(1), user(2))
    async with guard() as session:
        await session.replace([user(9)])
        await session.append(user(10))
        assert session.messages == stored(store) == [user(9), user(10)]


async def test_extra_is_state_beside_the_messages(guard, store):
    """Extra state is set as a whole and comes back to the next owner."""
    with pytest.raises(OSError, match="no"):
        async with guard() as session:
            assert session.extra == {}
            await session.set_extra({"plan": ["a"]})
            await session.append(user(1))
            await session.set_extra({"cursor": 2})
            raise OSError("no")
    async with guard() as session:
        assert (session.extra, session.messages) == ({"cursor": 2}, [user(1)])


async def test_messages_and_extra_are_copies(guard, store):
    """Changing what a session shows changes nothing that it holds or stores."""
    async with guard() as session:
        await session.append({"role": "user", "content": [{"type": "text", "text": "a"}]})
        await session.set_extra({"plan": {"steps": [1]}})
        session.messages[0]["content"][0]["text"] = "b"
        session.messages.append("no")
        session.extra["plan"]["steps"].append(2)
        assert session.messages == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
        assert session.extra == {"plan": {"steps": [1]}}


async def test_what_was_saved_is_not_what_is_changed_later(guard, store):
    """A message that is changed after it was saved stays as it was saved."""
    async with guard() as session:
        mine = user(1)
        await session.append(mine)
        mine["content"] = "changed"
        assert session.messages == stored(store) == [user(1)]


async def test_a_message_is_taken_at_the_call(store):  # B3
    """A message is what it was when `append` was called, though the await comes later."""
    async with session_guard("ticket-42", store=store) as session:
        mine, list_, extra = user(1), [user(2)], {"a": 1}
        saves = [session.append(mine), session.extend(list_), session.set_extra(extra)]
        mine["content"], extra["a"] = "changed", 2
        list_.append(user(3))
        for save in saves:
            await save
        assert (session.messages, session.extra) == ([user(1), user(2)], {"a": 1})


async def test_concurrent_appends_are_stored_in_the_order_of_their_calls(store):  # B5
    """Fifty tasks that append at once are stored in the order in which they called, none lost or doubled."""
    called = []

    async def say(number):
        called.append(user(number))
        await session.append(called[-1])

    async with session_guard("ticket-42", store=store) as session:
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(say, number)
        assert sorted(map(str, called)) == sorted(str(user(n)) for n in range(50))
        assert session.messages == stored(store) == called
        assert [line["seq"] for line in lines(session.path)] == list(range(1, 52))


async def test_each_acknowledgement_waits_for_its_own_message(store):  # B5
    """However many appends run at once, when one returns its message is on the disk."""
    missing = []

    async def say(number):
        await session.append(user(number))
        if user(number) not in stored(store):
            missing.append(number)

    async with session_guard("ticket-42", store=store) as session:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(say, number)
        assert len(session.messages) == 20
    assert missing == []


async def test_threads_may_share_a_plain_session(store):  # B24
    """Messages of several threads are all stored, each thread's in its order."""
    with session_guard("ticket-42", store=store) as session:

        def say(name):
            for number in range(20):
                session.append({"role": name, "content": number})

        threads = [threading.Thread(target=say, args=[name]) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in "abcd":
            assert [m["content"] for m in stored(store) if m["role"] == name] == list(range(20))


@pytest.mark.parametrize("made", [FileStore, lambda _: MemoryStore()], ids=["file", "leased"])
@pytest.mark.parametrize("save", ["append", "set_extra"])
def test_a_signals_handler_that_saves_in_the_midst_of_a_save_is_refused(folder, monkeypatch, made, save):  # B1
    """It would take the number of a message that is acknowledged afterwards: nothing of it is stored, all else is."""
    store, refused = made(folder), []

    def handler(*_):
        with pytest.raises(RuntimeError, match="in the midst of a save"):
            getattr(session, save)({"n": "from the handler"})
        refused.append(True)

    def interrupted(*args):
        """The handler runs where a save spends its time."""
        written = write(*args)
        handler()
        return written

    with session_guard("ticket-42", store=store, keep=True) as session:
        place, name = (_posix, "write_at") if made is FileStore else (store.engine, "append")
        write = getattr(place, name)
        with monkeypatch.context() as patch:
            patch.setattr(place, name, interrupted)
            session.append({"n": 1})
        session.append({"n": 2})
        assert refused == [True]
        assert session.messages == stored(store) == [{"n": 1}, {"n": 2}]
    assert stored(store) == [{"n": 1}, {"n": 2}]


async def test_the_event_loop_goes_on_while_a_message_is_saved(store, monkeypatch):
    """A slow disk holds up the task that saves and nobody else."""
    really_sync, begun, went_on = os.fsync, threading.Event(), threading.Event()
    waited = []

    def slowly(fd):
        begun.set()
        waited.append(went_on.wait(10))  # as long as it takes until another task has run
        really_sync(fd)

    async def another():
        while not begun.is_set():
            await anyio.sleep(0.001)
        went_on.set()

    async with session_guard("ticket-42", store=store) as session, anyio.create_task_group() as group:
        group.start_soon(another)
        monkeypatch.setattr(os, "fsync", slowly)
        await session.append(user(1))
        monkeypatch.undo()
    assert set(waited) == {True}


async def test_sessions_save_while_tools_fill_the_worker_threads(store):
    """A program whose blocking tools use up all of anyio's threads can enter, save and leave."""
    tools, over = threading.Event(), threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    # A guard that waits for the tool would wait for ever: let it go then, and see who was first.
    timer = threading.Timer(1, tools.set)
    timer.start()

    def tool():
        tools.wait()
        over.set()

    reached = []
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, tool)
            await anyio.sleep(0.01)
            async with session_guard("ticket-42", store=store) as session:
                reached.append(("entered", over.is_set()))
                await session.append(user(1))
                reached.append(("saved", over.is_set()))
            reached.append(("left", over.is_set()))
            tools.set()
    finally:
        timer.cancel()
        tools.set()
        limiter.total_tokens = before
    assert reached == [("entered", False), ("saved", False), ("left", False)]


# -- what a message may be ------------------------------------------------------------------------

BAD = {
    "bytes": ({"role": "user", "content": [b"PNG"]}, "$.content[0]"),
    "nan": ({"role": "user", "score": math.nan}, "$.score"),
    "infinity": ({"role": "user", "score": math.inf}, "$.score"),
    "set": ({"role": "user", "tags": {"a"}}, "$.tags"),
    "datetime": ({"role": "user", "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, "$.at"),
    "object": ({"role": "user", "content": object()}, "$.content"),
    "int key": ({"role": "user", "content": {1: "a"}}, "$.content"),
    "surrogate pair": ({"role": "user", "content": "\ud83d\ude00"}, "$.content"),
    "text": ("hello", "$"),
    "list": ([{"role": "user"}], "$"),
    "number": (1, "$"),
    "null": (None, "$"),
}
CYCLE = {"role": "user"}
CYCLE["content"] = CYCLE


@pytest.mark.parametrize("kind", BAD)
async def test_what_cannot_be_stored_is_refused_and_the_session_goes_on(guard, store, kind):  # B4
    """A bad message is refused with its place before anything is touched, and the next one is saved."""
    bad, place = BAD[kind]
    async with guard() as session:
        await session.append(user(1))
        before = session.path.read_bytes()
        with pytest.raises(NotStorable) as refusal:
            await session.append(bad)
        assert refusal.value.path == place
        for use in (session.extend, session.replace):
            with pytest.raises(NotStorable) as refusal:
                await use([user(2), bad, user(3)])
            assert refusal.value.path == place.replace("$", "$[1]")
        assert session.path.read_bytes() == before
        await session.append(user(4))
        assert session.messages == stored(store) == [user(1), user(4)]


async def test_a_message_in_itself_is_refused(guard, store):
    """A message that contains itself is refused and not recursed into."""
    async with guard() as session:
        with pytest.raises(NotStorable, match="itself"):
            await session.append(CYCLE)
        assert stored(store) == []


@pytest.mark.parametrize("extra", [{"at": {1, 2}}, ["a"], "a", None], ids=repr)
async def test_an_extra_that_cannot_be_stored_is_refused(guard, store, extra):
    """Extra state is a dict of JSON, or refused before anything is touched."""
    async with guard() as session:
        await session.set_extra({"a": 1})
        with pytest.raises(NotStorable):
            await session.set_extra(extra)
        assert session.extra == store.read("ticket-42").extra == {"a": 1}


@pytest.mark.parametrize("one", [{"role": "user", "content": "a"}, "abc", b"abc"], ids=repr)
async def test_one_message_is_no_list_of_messages(guard, store, one):
    """Handing one message to `extend` is told as the slip that it is."""
    async with guard() as session:
        with pytest.raises(TypeError, match="use append"):
            await session.extend(one)
        with pytest.raises(TypeError):
            await session.replace(one)
        assert stored(store) == []


async def test_messages_that_fail_while_they_are_made_are_not_saved(guard, store):
    """When the iterable raises, none of its messages is stored and its exception comes out."""

    def messages():
        yield user(1)
        raise LookupError("no more")

    async with guard() as session:
        with pytest.raises(LookupError, match="no more"):
            await session.extend(messages())
        assert session.messages == stored(store) == []


async def test_an_sdks_message_is_stored_as_the_dict_that_it_dumps(guard, store):
    """An answer of the openai SDK is appended as it is, and comes back as a dict that can be sent."""
    answer = openai.types.chat.ChatCompletionMessage(role="assistant", content="東京")
    async with guard() as session:
        await session.append(answer)
        assert session.messages == stored(store) == [{"role": "assistant", "content": "東京"}]


@on_asyncio
@pytest.mark.parametrize("whole", ["chat.completion", "response"])
async def test_an_sdks_whole_answer_is_no_message(guard, store, whole):  # B4
    """No provider takes it back: it is refused, with what to save of it; as extra state it may be kept."""
    answer = {"id": "a", "object": whole, "choices": [], "output": []}
    async with guard("ticket-42") as session:
        for save, given, place in ((session.append, answer, r"\$"), (session.extend, [user(1), answer], r"\$\[1\]")):
            with pytest.raises(NotStorable, match=f"^{place}: a whole {whole} is no message: "):
                await save(given)
        await session.set_extra({"last": answer})
        await session.set_extra(answer)
        assert stored(store) == []


async def test_twenty_megabytes_are_saved(guard, store):
    """A message as large as an image is saved and comes back."""
    large = {"role": "user", "content": "A9é/" * 5_000_000}
    async with guard(keep=True) as session:
        await session.append(large)
        await session.append(user(2))
        assert stored(store) == [large, user(2)]


# -- entering -------------------------------------------------------------------------------------


async def test_a_new_session_is_empty(guard):
    """A session that nobody had before resumes nothing."""
    async with guard() as session:
        assert (session.session_id, session.messages, session.extra) == ("ticket-42", [], {})
        assert (session.resumed, session.interruption, session.damage) == (False, None, ())


async def test_each_face_has_its_own_type(store):
    """`with` gives a Session, `async with` an AsyncSession, that say in a word what they are."""
    with session_guard("ticket-42", store=store) as session:
        assert isinstance(session, Session)
        assert repr(session) == "<Session 'ticket-42': 0 messages>"
    async with session_guard("ticket-42", store=store) as session:
        assert isinstance(session, AsyncSession)


@pytest.mark.parametrize("session_id", ["", "\ud800"], ids=ascii)
async def test_a_bad_id_is_refused_where_it_is_written(store, session_id):
    """An id that cannot name a session is refused before anything is entered."""
    with pytest.raises(InvalidSessionId):
        session_guard(session_id, store=store)
    with pytest.raises(TypeError):
        session_guard(42, store=store)


async def test_a_store_is_a_store_or_a_folder_or_a_url(store, folder, monkeypatch):
    """A FileStore, a path and a string name the same sessions; the environment names the default; no other is taken."""
    with pytest.raises(OSError, match="no"), session_guard("ticket-42", store=store):
        raise OSError("no")
    monkeypatch.setenv("RESILIENT_AGENT_HOME", str(folder.parent))
    for same in (store, folder, str(folder), None):
        assert [found.session_id for found in interrupted_sessions(same)] == ["ticket-42"]
    with pytest.raises(ValueError, match="mysql:// is no store"):
        session_guard("ticket-42", store="mysql://localhost")
    with pytest.raises(TypeError, match="it has no claim"):
        session_guard("ticket-42", store=42)


@pytest.mark.parametrize(
    ("error", "reason", "verdict"),
    [
        (ConnectionResetError("sk-secret"), "exception", ErrorType.RETRYABLE),
        (ValueError("sk-secret"), "exception", ErrorType.NON_RETRYABLE),
        (KeyboardInterrupt("sk-secret"), "keyboard interrupt", None),
        (SystemExit("sk-secret"), "system exit", None),
        (GeneratorExit("sk-secret"), "generator exit", None),
        (asyncio.CancelledError("sk-secret"), "cancelled", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_a_bad_end_is_marked_and_resumed(guard, store, error, reason, verdict):  # B22
    """Left by any exception, a session is found with reason and verdict, and the next guard goes on with it."""
    begin = datetime.datetime.now(datetime.UTC)
    await leave_by(guard(), error, user(1))
    (found,) = interrupted_sessions(store)
    assert (found.session_id, found.status, found.message_count) == ("ticket-42", "interrupted", 1)
    assert (found.interruption.reason, found.interruption.error) == (reason, type(error).__name__)
    assert found.interruption.verdict is verdict
    assert bool(found.interruption.rule) is (verdict is not None)
    assert begin <= found.interruption.at <= datetime.datetime.now(datetime.UTC)
    assert b"sk-secret" not in found.path.read_bytes()
    async with guard() as session:
        assert (session.resumed, session.messages, session.interruption) == (True, [user(1)], found.interruption)
        assert interrupted_sessions(store) == []
        await session.append(user(2))
        assert session.messages == [user(1), user(2)]


async def test_a_resumed_session_that_ends_well_is_done(guard, store):
    """After a resumed conversation was finished there is nothing left of it."""
    await leave_by(guard(), OSError(), user(1))
    async with guard() as session:
        await session.append(user(2))
    assert (interrupted_sessions(store), list(store.folder.iterdir())) == ([], [])
    async with guard() as session:
        assert (session.resumed, session.messages) == (False, [])


async def test_an_interruption_that_is_resumed_and_fails_again_is_resumed_again(guard, store):
    """Three bad ends in a row lose nothing, and the last of them is the one that is told."""
    for number, error in enumerate((OSError(), KeyError(), KeyboardInterrupt())):
        await leave_by(guard(), error, user(number))
    async with guard() as session:
        assert session.messages == [user(0), user(1), user(2)]
        assert session.interruption.reason == "keyboard interrupt"


async def test_resuming_without_work_changes_nothing(guard, store):  # B61
    """Two resumptions that fail at once leave the conversation as it was."""
    await leave_by(guard(), OSError(), user(1))
    for _ in range(2):
        await leave_by(guard(), OSError())
    assert stored(store) == [user(1)]


async def test_resume_false_begins_with_an_empty_conversation(guard, store):
    """Without resumption nothing of the old conversation is seen now or by whoever comes later."""
    with pytest.raises(OSError, match="no"):
        async with guard() as session:
            await session.append(user(1))
            await session.set_extra({"a": 1})
            raise OSError("no")
    with pytest.raises(OSError, match="again"):
        async with guard(resume=False) as session:
            assert (session.resumed, session.messages, session.extra, session.interruption) == (False, [], {}, None)
            await session.append(user(2))
            raise OSError("again")
    async with guard() as session:
        assert (session.messages, session.extra) == ([user(2)], {})


async def test_keep_leaves_a_closed_record(guard, store):  # B10
    """A kept session is closed, no interruption, and goes on with the next guard of its id."""
    async with guard(keep=True) as session:
        await session.append(user(1))
    (found,) = store.scan()
    assert (found.status, found.message_count, found.interruption) == ("closed", 1, None)
    assert interrupted_sessions(store) == []
    async with guard(keep=True) as session:
        assert (session.resumed, session.interruption, session.messages) == (True, None, [user(1)])
        await session.append(user(2))
    assert stored(store) == [user(1), user(2)]


async def test_a_clean_end_removes_the_record(guard, store):  # B49
    """Left normally, a session leaves no file behind."""
    async with guard() as session:
        await session.append(user(1))
        assert list(store.folder.iterdir()) == [session.path]
    assert list(store.folder.iterdir()) == []


async def test_interrupted_sessions_are_listed_newest_first(guard, store):
    """The listing has the sessions that ended badly, the newest first, and no others."""
    for name in "bca":
        await leave_by(guard(name), OSError(), user(1))
    async with guard("kept", keep=True):
        pass
    async with guard("live"):
        assert [found.session_id for found in interrupted_sessions(store)] == ["a", "c", "b"]


async def test_damage_is_shown_to_the_owner(guard, store):  # B38
    """A guard on a damaged log has what could be read, and tells where the rest was."""
    await leave_by(guard(), OSError(), user(1))
    await leave_by(guard(), OSError(), user(2))
    path = store.path("ticket-42")
    data = path.read_bytes()
    path.write_bytes(data.replace("naïve 1".encode(), "naïve 7".encode()))
    async with guard() as session:
        assert session.messages == [user(2)]
        assert [place.line for place in session.damage] == [2]
        assert session.damage[0].offset == data.index(b"\n") + 1


# -- one guard at a time --------------------------------------------------------------------------


async def test_a_nested_guard_of_the_same_id_is_refused_at_once(guard, store):  # B14
    """In the same task a second guard of a held session is refused, and the first goes on."""
    async with guard() as session:
        begin = time.monotonic()
        with pytest.raises(SessionBusy, match="'ticket-42' is held by another guard in this very process"):
            async with guard():
                pytest.fail("entered twice")
        assert time.monotonic() - begin < 5  # it is held until the test ends
        await session.append(user(1))
        assert stored(store) == [user(1)]


async def test_another_task_is_refused_at_once(guard, store):  # B14
    """Another task that wants a held session is refused while its owner sleeps."""
    async with guard():
        with anyio.fail_after(1):
            async with anyio.create_task_group() as group:
                refused = []

                async def other():
                    try:
                        async with guard():
                            pass
                    except SessionBusy as error:
                        refused.append(error.session_id)

                group.start_soon(other)
        assert refused == ["ticket-42"]


async def test_another_thread_is_refused_at_once(guard, store):  # B14
    """Another thread that wants a held session is refused."""
    refused = []

    def other():
        try:
            session_guard("ticket-42", store=store).__enter__()
        except SessionBusy as error:
            refused.append(error.session_id)

    async with guard():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(1)
        assert refused == ["ticket-42"]


HOLD = """
import sys
from resilient_agent import session_guard
with session_guard("ticket-42", store=sys.argv[1]) as session:
    session.append({"n": 1})
    print("held", flush=True)
    sys.stdin.readline()
"""


@on_asyncio
async def test_another_process_is_refused_at_once_and_told_who_holds_it(store, start):  # B14
    """A session that another process holds is refused with that process's number, and free when it ends."""
    holder = start(HOLD, store.folder)
    assert holder.stdout.readline() == "held\n"
    begin = time.monotonic()
    with (
        pytest.raises(SessionBusy, match=f"process {holder.pid} on ") as refusal,
        session_guard("ticket-42", store=store),
    ):
        pytest.fail("entered twice")
    assert time.monotonic() - begin < 5  # it is held until the test ends
    assert str(holder.pid) in refusal.value.holder
    assert [found.status for found in store.scan()] == ["live"]
    holder.communicate("go\n", timeout=10)
    async with session_guard("ticket-42", store=store) as session:
        assert not session.resumed


async def test_a_refused_guard_may_be_entered_later(guard, store):
    """The very guard that was refused can be entered when the session is free."""
    async with guard():
        refused = guard()
        with pytest.raises(SessionBusy):
            await refused.__aenter__()
    async with refused as session:
        await session.append(user(1))


async def test_nested_guards_of_different_ids_are_independent(guard, store):  # B15
    """A failure that is handled between two guards marks the inner session only."""
    async with guard("outer", keep=True) as outer:
        await leave_by(guard("inner"), OSError(), user(1))
        await outer.append(user(2))
    assert {found.session_id: found.status for found in store.scan()} == {"outer": "closed", "inner": "interrupted"}


async def test_many_sessions_live_beside_each_other(store):
    """Fifty guards at once in one process keep their conversations apart."""

    async def talk(name):
        with contextlib.suppress(OSError):
            async with session_guard(name, store=store) as session:
                for number in range(3):
                    await session.append({"role": name, "content": number})
                raise OSError

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(talk, f"s{number}")
    assert len(interrupted_sessions(store)) == 50
    for number in range(50):
        assert [message["role"] for message in stored(store, f"s{number}")] == [f"s{number}"] * 3


# -- leaving --------------------------------------------------------------------------------------


async def test_an_exception_that_is_handled_in_the_body_is_a_clean_end(guard, store):  # B16
    """What the body catches itself is nobody else's business."""
    async with guard() as session:
        await session.append(user(1))
        with contextlib.suppress(ValueError):
            raise ValueError
    assert list(store.scan()) == []


async def test_nothing_can_be_saved_after_the_guard_was_left(guard, store):
    """A session that is used after its end says so, however it ended, and stores nothing."""
    async with guard(keep=True) as kept:
        await kept.append(user(1))
    async with guard("gone") as gone:
        pass
    for session in (kept, gone):
        for save in (session.append(user(2)), session.extend([user(2)]), session.replace([]), session.set_extra({})):
            with pytest.raises(SessionClosed, match="was left"):
                await save
    assert stored(store) == [user(1)]
    assert store.read("gone") is None


async def test_a_guard_that_was_not_entered_cannot_be_left(guard):
    """Leaving without entering is told as a slip."""
    with pytest.raises(RuntimeError, match="not entered"):
        await guard().__aexit__(None, None, None)


async def test_a_log_that_is_deleted_under_a_guard_is_told(guard, store):  # B25
    """When a cleaner deletes the log, the next save raises and nothing is acknowledged into nowhere."""
    with pytest.raises(SessionLost):
        async with guard() as session:
            await session.append(user(1))
            session.path.unlink()
            await session.append(user(2))
    assert list(store.folder.iterdir()) == []


async def test_a_clean_end_of_a_deleted_log_is_told(guard, store):  # B18
    """A guard whose log vanished does not claim to have ended well, and leaves the id free."""
    with pytest.raises(SessionLost):
        async with guard() as session:
            session.path.unlink()
    async with guard() as session:
        assert session.messages == []


async def test_an_end_that_cannot_be_recorded_does_not_hide_the_bodys_exception(guard, store, caplog):  # B17
    """When the mark cannot be written, the body's own exception comes out, with a note, and it is logged."""
    boom = ValueError("sk-secret")
    with pytest.raises(ValueError, match="sk-secret") as left:
        async with guard() as session:
            session.path.unlink()
            raise boom
    assert left.value is boom
    assert len(boom.__notes__) == 1
    assert "could not be marked as interrupted" in boom.__notes__[0]
    assert "could not be marked as interrupted" in caplog.text
    assert "sk-secret" not in caplog.text


FULL = """
import json, resource, sys
from resilient_agent import StorageFull, interrupted_sessions, session_guard

folder, face = sys.argv[1:]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

def allow(size=None):
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
"""


@pytest.mark.parametrize("face", ["with", "async with"])
def test_a_full_disk_on_leaving_does_not_hide_the_bodys_exception(child, store, face):  # B17
    """On a full disk the body's exception comes out with a note, and the session is found all the same."""
    told = child(
        FULL
        + """
boom = ValueError("the body's own")
guard = session_guard("ticket-42", store=folder)
async def by_async():
    async with guard as session:
        await session.append({"n": 1})
        allow(session.path.stat().st_size + 10)
        raise boom
def plainly():
    with guard as session:
        session.append({"n": 1})
        allow(session.path.stat().st_size + 10)
        raise boom
import asyncio
try:
    asyncio.run(by_async()) if face == "async with" else plainly()
except ValueError as error:
    allow()
    print(json.dumps([error is boom, error.__notes__]))
""",
        store.folder,
        face,
    )
    assert told[0] is True
    assert len(told[1]) == 1
    assert "could not be marked as interrupted" in told[1][0]
    (found,) = interrupted_sessions(store)
    assert (found.message_count, found.interruption.reason) == (1, "unknown")
    with session_guard("ticket-42", store=store) as session:
        assert (session.messages, session.damage) == ([{"n": 1}], ())


def test_a_full_disk_on_entering_leaves_the_session_free(child, store):  # B12
    """When entering fails half-way, the session is not held by a guard that nobody has."""
    told = child(
        FULL
        + """
try:
    with session_guard("ticket-42", store=folder) as session:
        path = session.path
        session.append({"n": 1})
        raise ValueError
except ValueError:
    pass
told = []
# Too little for the new owner's record, whether it goes on or begins anew.
for room, resume in ((20, True), (20, False)):
    allow(path.stat().st_size + room)
    try:
        session_guard("ticket-42", store=folder, resume=resume).__enter__()
    except Exception as error:
        told.append(type(error).__name__)
    allow()
    try:
        with session_guard("ticket-42", store=folder) as session:
            told.append(session.messages)
            raise ValueError
    except Exception as error:
        told.append(type(error).__name__)
print(json.dumps(told))
""",
        store.folder,
        "with",
    )
    assert told == ["StorageFull", [{"n": 1}], "ValueError"] * 2


def test_a_clean_end_whose_delete_fails_raises(powerless):  # B18
    """When the record cannot be removed, the end is an error, and the session is still found."""
    told = powerless("""
        told = []
        async def by_async():
            async with session_guard("b", store=folder) as session:
                await session.append({"n": 1})
                folder.chmod(0o500)
        def plainly():
            with session_guard("a", store=folder) as session:
                session.append({"n": 1})
                folder.chmod(0o500)
        for end in (plainly, lambda: asyncio.run(by_async())):
            try:
                end()
            except StorageError as error:
                told.append(error.strerror)
            folder.chmod(0o700)
        told.append(sorted((s.session_id, s.status, s.message_count) for s in interrupted_sessions(folder)))
        print(json.dumps(told))
    """)
    assert told[0] == told[1] == "could not remove the session's log: Permission denied"
    assert told[2] == [["a", "interrupted", 1], ["b", "interrupted", 1]]


# -- generators -----------------------------------------------------------------------------------


async def test_an_async_generator_that_is_closed_marks_its_session(store):  # B21
    """A guard inside an async generator that is left by aclose is marked, and nothing is awaited any more."""

    async def stream():
        async with session_guard("ticket-42", store=store) as session:
            for number in range(5):
                await session.append(user(number))
                yield number

    numbers = stream()
    async for number in numbers:
        if number == 1:
            break
    assert [found.status for found in store.scan()] == ["live"]
    await numbers.aclose()
    (found,) = interrupted_sessions(store)
    assert (found.interruption.reason, found.message_count) == ("generator exit", 2)


async def test_a_generator_that_is_closed_marks_its_session(store):  # B21
    """A guard inside a plain generator that is closed, or garbage, is marked."""

    def stream():
        with session_guard("ticket-42", store=store) as session:
            session.append(user(1))
            yield

    numbers = stream()
    next(numbers)
    numbers.close()
    assert [found.interruption.reason for found in interrupted_sessions(store)] == ["generator exit"]
    numbers = stream()
    next(numbers)
    del numbers
    assert [found.message_count for found in interrupted_sessions(store)] == [2]


async def test_a_coroutine_that_is_closed_marks_its_session(store):  # B21
    """A guard in a coroutine that is thrown away while it waits is marked, and nothing is awaited any more."""
    waiting = []

    async def work():
        async with session_guard("ticket-42", store=store) as session:
            await session.append(user(1))
            waiting.append(True)
            await _stop()

    coroutine = work()
    await _drive(coroutine, waiting)
    coroutine.close()
    assert [found.interruption.reason for found in interrupted_sessions(store)] == ["generator exit"]


@types.coroutine
def _stop():
    yield


@types.coroutine
def _drive(coroutine, waiting):
    """Run a coroutine, on whichever event loop, up to where it waits; then leave it there."""
    answer = None
    while True:
        request = coroutine.send(answer)
        if waiting:
            return
        answer = yield request


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_a_generator_that_outlives_its_loop_marks_its_session(store, run):  # B21
    """A guard in an async generator that nobody closed is marked when the event loop shuts down."""
    kept = []

    async def stream():
        async with session_guard("ticket-42", store=store) as session:
            await session.append(user(1))
            yield

    async def main():
        kept.append(stream())
        await anext(kept[0])

    run(main) if run is trio.run else run(main())
    (found,) = interrupted_sessions(store)
    assert (found.message_count, found.interruption.reason) == (1, "generator exit")


@on_asyncio
async def test_a_generator_that_is_garbage_marks_its_session(store):  # B21
    """A guard in an async generator that was left by `break` and forgotten is marked soon after."""

    async def stream():
        async with session_guard("ticket-42", store=store) as session:
            await session.append(user(1))
            yield 1
            yield 2

    async for _ in stream():
        break
    with anyio.fail_after(1):
        while not interrupted_sessions(store):
            await anyio.sleep(0.001)
    assert interrupted_sessions(store)[0].interruption.reason == "generator exit"


# -- ends that are no exceptions ------------------------------------------------------------------

END = """
import asyncio, os, signal, subprocess, sys, time
from resilient_agent import session_guard

def plain(act):
    with session_guard("ticket-42", store=sys.argv[1]) as session:
        session.append({"n": 1})
        print("ready", flush=True)
        act()

async def by_async():
    import anyio
    async with session_guard("ticket-42", store=sys.argv[1]) as session:
        await session.append({"n": 1})
        print("ready", flush=True)
        await anyio.sleep(60)

def left_open():
    global session  # open until the interpreter is gone
    session = session_guard("ticket-42", store=sys.argv[1])
    session.__enter__().append({"n": 1})
    print("ready", flush=True)

match sys.argv[2]:
    case "sleep": plain(lambda: time.sleep(60))
    case "asyncio": asyncio.run(by_async())
    case "trio":
        import trio
        trio.run(by_async)
    case "exit": plain(lambda: sys.exit(3))
    case "_exit": plain(lambda: os._exit(3))
    case "left open": left_open()
"""


@pytest.mark.parametrize(
    ("how", "number", "reason"),
    [
        ("sleep", signal.SIGINT, {"keyboard interrupt"}),
        ("asyncio", signal.SIGINT, {"keyboard interrupt", "cancelled"}),  # asyncio.run cancels the main task
        ("trio", signal.SIGINT, {"keyboard interrupt", "cancelled"}),
        ("exit", None, {"system exit"}),
        ("_exit", None, {"unknown"}),
        ("left open", None, {"unknown", "generator exit"}),
        ("sleep", signal.SIGTERM, {"unknown"}),
        ("sleep", signal.SIGKILL, {"unknown"}),
    ],
)
def test_however_a_process_ends_its_session_is_found(store, start, how, number, reason):  # B22
    """Ctrl-C, exit, os._exit, SIGTERM and SIGKILL leave an interrupted session, with the reason where there was time."""
    process = start(END, store.folder, how)
    assert process.stdout.readline() == "ready\n"
    if number is not None:
        process.send_signal(number)
    begin = time.monotonic()
    process.wait(10)
    assert time.monotonic() - begin < 2
    (found,) = interrupted_sessions(store)
    assert (found.session_id, found.message_count) == ("ticket-42", 1)
    assert found.interruption.reason in reason
    with session_guard("ticket-42", store=store) as session:
        assert (session.resumed, session.messages) == (True, [{"n": 1}])


# -- groups of exceptions --------------------------------------------------------------------------

NOT_BEFORE = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)


async def test_an_error_that_nobody_can_look_into_marks_the_session(guard, store, monkeypatch):  # B17
    """It comes out itself, and the mark says at least that it was an error."""

    def fails(*_):
        raise RecursionError

    monkeypatch.setattr(ErrorClassifier, "classify", fails)
    await leave_by(guard("ticket-42"), ValueError("deep"), user(1))
    (found,) = interrupted_sessions(store)
    assert (found.interruption.reason, found.interruption.error) == ("exception", "ValueError")


@pytest.mark.parametrize(
    ("leaves", "reason"),
    [
        ([KeyboardInterrupt()], "keyboard interrupt"),
        ([ValueError(), BaseExceptionGroup("inner", [SystemExit(3)])], "system exit"),
        ([Deferred(NOT_BEFORE, 2)], "deferred"),
        ([asyncio.CancelledError(), Deferred(NOT_BEFORE, 2)], "deferred"),
        ([asyncio.CancelledError(), asyncio.CancelledError()], "cancelled"),
        ([Deferred(NOT_BEFORE, 2), ValueError()], "exception"),
        ([ValueError()], "exception"),
    ],
)
async def test_a_group_of_exceptions_ends_as_what_is_in_it(guard, store, leaves, reason):
    """A task group wraps a Ctrl-C and a deferral as well: neither is a crash for that, and a crash beside it is one."""
    with pytest.raises(BaseExceptionGroup):
        async with guard() as session:
            await session.append({"n": 1})
            raise BaseExceptionGroup("a task group", leaves)
    (found,) = store.scan()
    assert found.interruption.reason == reason
    assert found.interruption.not_before == (NOT_BEFORE if reason == "deferred" else None)


# -- more than one event loop ---------------------------------------------------------------------


@on_asyncio
async def test_tools_in_threads_save_on_event_loops_of_their_own(store):
    """Whoever waits for his turn is woken on his own loop; all of it is there, and each loop's in its order."""
    async with session_guard("ticket-42", store=store) as session:

        async def save(name):
            for number in range(3):
                await session.append({"by": name, "n": number})

        tools = [asyncio.to_thread(asyncio.run, save(name)) for name in "abc"]
        with anyio.fail_after(20):
            await asyncio.gather(*tools, save("d"), save("e"))
        for name in "abcde":
            assert [found["n"] for found in session.messages if found["by"] == name] == [0, 1, 2]


# -- fork -----------------------------------------------------------------------------------------


def test_a_forked_child_neither_ends_nor_marks_the_session(child, store):  # B23
    """A child that leaves the inherited guard, well or badly, changes nothing, and cannot save into it."""
    told = child(
        """
        import json, os, sys
        from resilient_agent import SessionLost, interrupted_sessions, session_guard
        told = []
        guard = session_guard("ticket-42", store=sys.argv[1])
        with guard as session:
            session.append({"n": 1})
            for error in (None, ValueError()):
                pid = os.fork()
                if pid == 0:
                    code = 1
                    try:
                        try:
                            session.append({"n": "child"})
                        except SessionLost:
                            code = 7
                        guard.__exit__(type(error) if error else None, error, None)
                    finally:
                        os._exit(code)
                told.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                session.append({"n": 2})
                told.append(len(interrupted_sessions(sys.argv[1])))
            told.append(session.messages)
        print(json.dumps(told))
        """,
        store.folder,
    )
    assert told == [7, 0, 7, 0, [{"n": 1}, {"n": 2}, {"n": 2}]]
    assert list(store.scan()) == []


def test_a_forked_child_leaves_while_a_thread_of_its_parent_saves(child, store):  # B23
    """A fork has none of its parent's other threads, so it waits for none of them."""
    told = child(
        """
        import json, os, signal, sys, threading
        from resilient_agent import session_guard
        from resilient_agent.session.stores import _posix
        under_way, go_on, sync = threading.Event(), threading.Event(), _posix.sync
        guard = session_guard("ticket-42", store=sys.argv[1])
        with guard as session:
            def slow(fd):
                under_way.set()
                go_on.wait(20)
                sync(fd)
            _posix.sync = slow
            saving = threading.Thread(target=session.append, args=({"n": 1},))
            saving.start()
            under_way.wait(20)
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                guard.__exit__(None, None, None)
                os._exit(0)
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            go_on.set()
            saving.join()
        print(json.dumps([ended]))
        """,
        store.folder,
    )
    assert told == [0]


def test_a_session_is_free_when_its_guard_is_left_whatever_program_is_just_being_started(store):  # B23
    """A child has copies of all descriptors until it is the program that it is to be; none of them keeps a session."""
    told = []

    def chat(name):
        for _ in range(60):
            with session_guard(name, store=store, keep=True, durability="process"):
                subprocess.run(["true"], check=True)
            told.append(name)

    threads = [threading.Thread(target=chat, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 240


PARENT = """
import os, signal, subprocess, sys, time
from resilient_agent import session_guard
with session_guard("ticket-42", store=sys.argv[1]) as session:
    session.append({"n": 1})
    if sys.argv[2] == "fork":
        pid = os.fork()
        if pid == 0:
            os.close(1)
            time.sleep(60)
            os._exit(0)
    else:
        pid = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid
    print(pid, flush=True)
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["fork", "exec"])
def test_a_child_does_not_keep_the_session_of_a_dead_parent_alive(store, start, how):  # B23
    """When the owner is killed its session is interrupted and free, though a child of it lives on."""
    process = start(PARENT, store.folder, how)
    survivor = int(process.stdout.readline())
    try:
        process.wait(10)
        os.kill(survivor, 0)  # it is there
        assert [found.status for found in store.scan()] == ["interrupted"]
        with session_guard("ticket-42", store=store) as session:
            assert session.messages == [{"n": 1}]
    finally:
        os.kill(survivor, signal.SIGKILL)


def test_a_refused_guard_touches_nothing_of_a_later_child(child, store):  # B23
    """After a guard could not be entered, a fork does not close what others have opened since."""
    told = child(
        FULL
        + """
import os
allow(20)
try:
    session_guard("ticket-42", store=folder).__enter__()
except StorageFull as error:
    kept = error  # and with it, through its traceback, all that the entering had made
allow()
mine = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
pid = os.fork()
if pid == 0:
    code = 1
    try:
        for fd in mine:
            os.fstat(fd)
        code = 0
    finally:
        os._exit(code)
print(json.dumps([type(kept).__name__, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]))
""",
        store.folder,
        "with",
    )
    assert told == ["StorageFull", 0]


# -- other processes, other loops -----------------------------------------------------------------


def test_a_session_is_not_sent_to_another_process(store):  # B24
    """Pickled, as `multiprocessing` would, it says what to do instead; and the session goes on."""
    with session_guard("ticket-42", store=store) as session:
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="send the id"):
                way(session)
        session.append({"n": 1})


def test_a_session_may_outlive_its_event_loop(store):  # B24
    """Entered in one loop, used and left in the next: it is a file and a lock, and no loop's."""
    guard = session_guard("ticket-42", store=store, keep=True)
    session = asyncio.run(guard.__aenter__())
    asyncio.run(session.append({"n": 1}))

    async def leave():
        await session.append({"n": 2})
        await guard.__aexit__(None, None, None)

    asyncio.run(leave())
    assert [message["n"] for message in store.read("ticket-42").messages] == [1, 2]


def test_a_guard_that_is_left_open_at_the_end_of_the_program_is_found(store, child):  # B24
    """Nobody left it, so its session is interrupted; and the program ends without a complaint."""
    told = child(
        """
        import json, sys
        from resilient_agent import session_guard
        guard = session_guard("ticket-42", store=sys.argv[1])
        session = guard.__enter__()
        session.append({"n": 1})
        print(json.dumps("over"))
        """,
        store.folder,
    )
    assert told == "over"
    (found,) = interrupted_sessions(store)
    assert (found.message_count, found.interruption.reason) == (1, "unknown")
