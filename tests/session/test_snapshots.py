"""`ConversationRecovery`: the reference's five methods and its old files, without its faults."""

import asyncio
import json
import logging
import math
import time

import anyio
import pytest
from openai.types.chat import ChatCompletionMessage

from resilient_agent import (
    ConversationRecovery,
    InvalidSessionId,
    NotStorable,
    SessionBusy,
    session_guard,
)

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def recovery(folder):
    return ConversationRecovery(folder)


def user(number):
    return {"role": "user", "content": f"naïve {number}"}


def users(count):
    return [user(number) for number in range(count)]


@pytest.fixture
def old(folder):
    """Write a snapshot as the reference wrote it."""

    def old(session_id, name=None, **changes):
        folder.mkdir(exist_ok=True)
        path = folder / f"{name or session_id}.json"
        content = {
            "session_id": session_id,
            "saved_at": 1_700_000_000.25,
            "message_count": 2,
            "messages": users(2),
            "extra": {"plan": "a"},
        }
        path.write_text(json.dumps(content | changes, indent=2), "utf-8")
        return path

    return old


MARKED = {"interrupted": True, "interrupted_at": 1_700_000_100.5}


# -- the five methods -----------------------------------------------------------------------------


async def test_a_snapshot_is_restored_as_it_was_saved(recovery):
    """A saved conversation comes back whole, with the fields of the reference."""
    before = time.time()
    assert await recovery.save_snapshot("ticket-42", users(3), {"plan": ["a"]}) is True
    snapshot = await recovery.restore_snapshot("ticket-42")
    saved_at = snapshot.pop("saved_at")
    assert snapshot == {
        "session_id": "ticket-42",
        "message_count": 3,
        "messages": users(3),
        "extra": {"plan": ["a"]},
    }
    assert isinstance(saved_at, float)
    assert before - 0.001 <= saved_at <= time.time()


async def test_a_snapshot_without_extra_has_an_empty_one(recovery):
    """Extra state that is not given is an empty dict, also when there was some before."""
    await recovery.save_snapshot("ticket-42", users(1), {"a": 1})
    await recovery.save_snapshot("ticket-42", users(1))
    assert (await recovery.restore_snapshot("ticket-42"))["extra"] == {}


async def test_what_was_never_saved_is_none(recovery, folder):
    """An unknown session is restored as None, and is not there to be deleted or marked."""
    assert await recovery.restore_snapshot("ticket-42") is None
    assert await recovery.delete_snapshot("ticket-42") is False
    assert await recovery.mark_interrupted("ticket-42") is False
    assert recovery.list_interrupted_sessions() == []
    assert not folder.exists()


async def test_a_deleted_snapshot_is_gone(recovery, folder):
    """Deleting removes the snapshot and its file, and says whether there was one."""
    await recovery.save_snapshot("ticket-42", users(1))
    assert await recovery.delete_snapshot("ticket-42") is True
    assert await recovery.restore_snapshot("ticket-42") is None
    assert await recovery.delete_snapshot("ticket-42") is False
    assert list(folder.iterdir()) == []


async def test_a_marked_session_is_listed_and_restored_as_interrupted(recovery):
    """A mark shows in the listing and in the restored snapshot, and costs no message."""
    await recovery.save_snapshot("ticket-42", users(2), {"a": 1})
    before = time.time()
    assert await recovery.mark_interrupted("ticket-42") is True
    (listed,) = recovery.list_interrupted_sessions()
    assert set(listed) == {"session_id", "message_count", "interrupted_at", "age_seconds", "path"}
    assert (listed["session_id"], listed["message_count"]) == ("ticket-42", 2)
    assert before - 0.001 <= listed["interrupted_at"] <= time.time()
    assert 0 <= listed["age_seconds"] < 5
    assert isinstance(listed["path"], str)
    snapshot = await recovery.restore_snapshot("ticket-42")
    assert (snapshot["messages"], snapshot["extra"]) == (users(2), {"a": 1})
    assert (snapshot["interrupted"], snapshot["interrupted_at"]) == (True, listed["interrupted_at"])


async def test_a_saved_session_is_not_interrupted(recovery):
    """A snapshot that was saved in peace is not listed, also when it had been marked before."""
    await recovery.save_snapshot("ticket-42", users(1))
    assert recovery.list_interrupted_sessions() == []
    await recovery.mark_interrupted("ticket-42")
    await recovery.save_snapshot("ticket-42", users(2))
    assert recovery.list_interrupted_sessions() == []
    assert "interrupted" not in await recovery.restore_snapshot("ticket-42")


async def test_interrupted_sessions_are_listed_newest_first(recovery, old):
    """The listing is in the order of the interruptions, old files among them."""
    old("oldest", **MARKED)
    for name in "bca":
        await recovery.save_snapshot(name, users(1))
    for name in "bca":
        await recovery.mark_interrupted(name)
    listed = recovery.list_interrupted_sessions()
    assert [entry["session_id"] for entry in listed] == ["a", "c", "b", "oldest"]
    assert [entry["age_seconds"] for entry in listed] == sorted(entry["age_seconds"] for entry in listed)


async def test_the_default_folder_is_that_of_the_guard(folder, monkeypatch):
    """Without a folder, snapshots lie where the sessions of `session_guard` do."""
    monkeypatch.setenv("RESILIENT_AGENT_HOME", str(folder))
    with pytest.raises(OSError, match="no"), session_guard("ticket-42") as session:
        session.append(user(0))
        raise OSError("no")
    recovery = ConversationRecovery()
    assert [entry["session_id"] for entry in recovery.list_interrupted_sessions()] == ["ticket-42"]
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(1)


async def test_a_guard_goes_on_with_a_snapshot(recovery, folder):
    """What was saved as a snapshot is resumed by a guard of the same id."""
    await recovery.save_snapshot("ticket-42", users(2), {"a": 1})
    async with session_guard("ticket-42", store=folder) as session:
        assert (session.resumed, session.messages, session.extra) == (True, users(2), {"a": 1})


# -- the reference's faults -----------------------------------------------------------------------


async def test_more_than_a_hundred_messages_are_kept(recovery):
    """All messages are kept, not the last hundred."""
    await recovery.save_snapshot("ticket-42", users(250))
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(250)


async def test_saving_again_only_appends(recovery, folder):
    """Each save writes what came to the conversation, not the whole of it."""
    grown, size = [], 0
    for count in range(1, 60):
        await recovery.save_snapshot("ticket-42", users(count))
        (path,) = folder.iterdir()
        grown.append(path.stat().st_size - size)
        size += grown[-1]
    assert max(grown[1:]) < 1.2 * min(grown[1:])
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(59)


async def test_a_history_that_was_changed_is_saved_as_it_is_now(recovery):
    """A shorter history, or another one, stands in place of what was saved."""
    await recovery.save_snapshot("ticket-42", users(5))
    for messages in (users(3), [user(9), *users(2)], [], users(1)):
        await recovery.save_snapshot("ticket-42", messages)
        snapshot = await recovery.restore_snapshot("ticket-42")
        assert (snapshot["messages"], snapshot["message_count"]) == (messages, len(messages))


async def test_a_changed_type_is_a_change(recovery):
    """A value that changes between 1, 1.0 and True is saved, though Python calls them equal."""
    for value in (1, True, 1.0):
        await recovery.save_snapshot("ticket-42", [{"n": value}, {"n": value}])
        assert repr((await recovery.restore_snapshot("ticket-42"))["messages"][0]["n"]) == repr(value)


@pytest.mark.parametrize(
    "names", [("a/b", "a_b", "a\\b", "A/b"), ("..", ".", "..."), ("x" * 300, "x" * 301), ("a\0b", "a\nb")]
)
async def test_ids_that_look_alike_are_different_sessions(recovery, names):
    """Each id has its own snapshot, whatever a file system would make of it."""
    for number, name in enumerate(names):
        assert await recovery.save_snapshot(name, users(number)) is True
        assert await recovery.mark_interrupted(name) is True
    for number, name in enumerate(names):
        assert (await recovery.restore_snapshot(name))["message_count"] == number
    assert {entry["session_id"] for entry in recovery.list_interrupted_sessions()} == set(names)
    for name in names:
        assert await recovery.delete_snapshot(name) is True
    assert recovery.list_interrupted_sessions() == []


@pytest.mark.parametrize("session_id", ["", "\ud800", 42, None], ids=ascii)
async def test_a_bad_id_is_refused(recovery, folder, session_id):
    """What cannot name a session is refused by every method and touches nothing."""
    for use in (
        lambda: recovery.save_snapshot(session_id, users(1)),
        lambda: recovery.restore_snapshot(session_id),
        lambda: recovery.delete_snapshot(session_id),
        lambda: recovery.mark_interrupted(session_id),
    ):
        with pytest.raises((InvalidSessionId, TypeError)):
            await use()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("messages", "extra", "place"),
    [
        ([*users(2), {"content": [b"PNG"]}], {}, "$[2].content[0]"),
        ([{"score": math.nan}], {}, "$[0].score"),
        (users(3), {"tags": {1}}, "$.tags"),
    ],
)
async def test_bad_content_costs_nothing_that_was_saved(recovery, folder, messages, extra, place):
    """A snapshot that cannot be stored is refused with its place, and the one before it stays as it was."""
    await recovery.save_snapshot("ticket-42", users(2), {"a": 1})
    (path,) = folder.iterdir()
    before = path.read_bytes()
    with pytest.raises(NotStorable) as refusal:
        await recovery.save_snapshot("ticket-42", messages, extra)
    assert refusal.value.path == place
    assert path.read_bytes() == before
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(2)
    with pytest.raises(NotStorable):
        await recovery.save_snapshot("new", messages, extra)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    "messages",
    [{"role": "user"}, "hello", b"hello", ChatCompletionMessage(role="assistant")],
    ids=lambda each: type(each).__name__,
)
async def test_one_message_in_place_of_a_list_is_refused(recovery, messages):
    """Else its keys or letters would be the messages; what was saved before stays."""
    await recovery.save_snapshot("ticket-42", users(2))
    with pytest.raises(TypeError, match=r"a list of messages is due, not one .*: put it into a list"):
        await recovery.save_snapshot("ticket-42", messages)
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(2)


async def test_what_is_no_message_is_refused_with_its_place(recovery):
    """Only dicts and pydantic models are messages, as in a guard."""
    with pytest.raises(NotStorable, match="a dict or a pydantic model is due here, not a str") as refused:
        await recovery.save_snapshot("ticket-42", [user(1), "hello"])
    assert refused.value.path == "$[1]"
    await recovery.save_snapshot("ticket-42", [ChatCompletionMessage(role="assistant", content="hello")])
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == [{"role": "assistant", "content": "hello"}]


@on_asyncio
async def test_a_full_disk_costs_nothing_that_was_saved(child, recovery, folder):
    """Without room a save raises StorageFull, the snapshot before it stays, and with room it goes on."""
    told = child(
        """
        import asyncio, json, resource, sys
        from resilient_agent import ConversationRecovery, StorageFull
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        recovery = ConversationRecovery(sys.argv[1])
        async def main():
            told = []
            await recovery.save_snapshot("ticket-42", [{"n": 0}], {"n": 0})
            for room in range(600, 1400, 25):
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
                try:
                    await recovery.save_snapshot("ticket-42", [{"n": 0}, {"n": 1, "text": "x" * 900}], {"n": 1})
                    told.append("saved")
                except StorageFull:
                    told.append((await recovery.restore_snapshot("ticket-42"))["messages"])
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            await recovery.save_snapshot("ticket-42", [{"n": 0}, {"n": 2}], {"n": 2})
            return told
        print(json.dumps(asyncio.run(main())))
        """,
        folder,
    )
    assert told
    assert all(entry == [{"n": 0}] for entry in told)
    snapshot = await recovery.restore_snapshot("ticket-42")
    assert (snapshot["messages"], snapshot["extra"]) == ([{"n": 0}, {"n": 2}], {"n": 2})


async def test_a_live_session_is_neither_saved_over_nor_marked_nor_deleted(recovery, folder):
    """While a guard holds the session, writing to it is refused, reading shows it, and nobody calls it interrupted."""
    async with session_guard("ticket-42", store=folder, keep=True) as session:
        await session.append(user(0))
        for use in (
            lambda: recovery.save_snapshot("ticket-42", []),
            lambda: recovery.mark_interrupted("ticket-42"),
            lambda: recovery.delete_snapshot("ticket-42"),
        ):
            with pytest.raises(SessionBusy):
                await use()
        snapshot = await recovery.restore_snapshot("ticket-42")
        assert snapshot["messages"] == users(1)
        assert "interrupted" not in snapshot
        assert recovery.list_interrupted_sessions() == []
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(1)


SAVER = """
import asyncio, json, sys
from resilient_agent import ConversationRecovery, SessionBusy
recovery, name = ConversationRecovery(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
async def main():
    saved = busy = 0
    while saved < 30 and busy < 100_000:
        messages = [{"by": name, "of": saved, "n": n} for n in range(saved % 7 + 1)]
        try:
            await recovery.save_snapshot("ticket-42", messages, {"by": name, "of": saved})
            saved += 1
        except SessionBusy:
            busy += 1
    print(json.dumps([saved, busy]))
asyncio.run(main())
"""


@on_asyncio
async def test_two_processes_that_save_at_once_corrupt_nothing(recovery, start, folder):
    """Of two processes that save one session each save is whole, or refused with SessionBusy."""
    savers = [start(SAVER, folder, name) for name in ("one", "two")]
    for saver in savers:
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        saver.stdin.write("go\n")
        saver.stdin.flush()
    counts = [json.loads(saver.communicate(timeout=60)[0]) for saver in savers]
    assert [saved for saved, _ in counts] == [30, 30]
    snapshot = await recovery.restore_snapshot("ticket-42")
    by, last = snapshot["extra"]["by"], snapshot["extra"]["of"]
    assert snapshot["messages"] == [{"by": by, "of": last, "n": n} for n in range(last % 7 + 1)]
    assert last == 29
    assert "interrupted" not in snapshot
    async with session_guard("ticket-42", store=folder) as session:
        assert session.damage == ()


@on_asyncio
async def test_a_save_that_is_cancelled_is_whole_or_absent(recovery):
    """Cancelling a save leaves the snapshot before it or the new one, and the session free."""
    await recovery.save_snapshot("ticket-42", users(1), {"n": 1})
    for number in range(2, 40):
        before = await recovery.restore_snapshot("ticket-42")
        save = asyncio.ensure_future(recovery.save_snapshot("ticket-42", users(number), {"n": number}))
        await asyncio.sleep(number / 4_000)
        save.cancel()
        await asyncio.wait([save])
        after = await recovery.restore_snapshot("ticket-42")
        assert after["messages"] in (before["messages"], users(number))
        assert after["extra"] == {"n": len(after["messages"])}
        assert recovery.list_interrupted_sessions() == []


async def test_what_is_saved_is_what_was_handed_over(recovery):
    """Changing messages and extra while the save is on its way changes nothing that is saved."""
    messages, extra = users(2), {"a": 1}

    async def change():
        messages[0]["content"] = "changed"
        messages.append(user(9))
        extra["a"] = 2

    async with anyio.create_task_group() as group:
        group.start_soon(change)
        await recovery.save_snapshot("ticket-42", messages, extra)
    assert messages[0]["content"] == "changed"
    snapshot = await recovery.restore_snapshot("ticket-42")
    assert (snapshot["messages"], snapshot["extra"]) == (users(2), {"a": 1})


# -- the reference's own files --------------------------------------------------------------------


async def test_an_old_file_is_restored(recovery, old):
    """A snapshot in the reference's own format comes back with all its fields."""
    path = old("ticket-42")
    before = path.read_bytes()
    assert await recovery.restore_snapshot("ticket-42") == {
        "session_id": "ticket-42",
        "saved_at": 1_700_000_000.25,
        "message_count": 2,
        "messages": users(2),
        "extra": {"plan": "a"},
    }
    assert path.read_bytes() == before
    assert recovery.list_interrupted_sessions() == []


async def test_an_old_file_that_was_marked_is_listed(recovery, old):
    """An old file with a mark is listed and restored as interrupted."""
    path = old("ticket-42", **MARKED)
    (listed,) = recovery.list_interrupted_sessions()
    age = listed.pop("age_seconds")
    assert listed == {
        "session_id": "ticket-42",
        "message_count": 2,
        "interrupted_at": 1_700_000_100.5,
        "path": str(path),
    }
    assert age == pytest.approx(time.time() - 1_700_000_100.5, abs=5)
    snapshot = await recovery.restore_snapshot("ticket-42")
    assert (snapshot["interrupted"], snapshot["interrupted_at"]) == (True, 1_700_000_100.5)


async def test_an_old_file_without_extra_is_restored(recovery, old):
    """Old files whose extra is null or missing have an empty one."""
    old("ticket-42", extra=None)
    assert (await recovery.restore_snapshot("ticket-42"))["extra"] == {}


async def test_an_old_file_can_be_marked(recovery, old):
    """Marking an old file keeps its content, lists it once, and leaves one session behind."""
    old("ticket-42")
    assert await recovery.mark_interrupted("ticket-42") is True
    assert [entry["session_id"] for entry in recovery.list_interrupted_sessions()] == ["ticket-42"]
    snapshot = await recovery.restore_snapshot("ticket-42")
    assert (snapshot["messages"], snapshot["extra"], snapshot["interrupted"]) == (users(2), {"plan": "a"}, True)
    assert await recovery.delete_snapshot("ticket-42") is True
    assert await recovery.restore_snapshot("ticket-42") is None


async def test_an_old_file_can_be_deleted(recovery, old, folder):
    """Deleting removes the old file."""
    old("ticket-42", **MARKED)
    assert await recovery.delete_snapshot("ticket-42") is True
    assert await recovery.restore_snapshot("ticket-42") is None
    assert recovery.list_interrupted_sessions() == []
    assert list(folder.iterdir()) == []


async def test_an_old_file_that_is_saved_to_is_taken_over(recovery, old):
    """Saving to a session of the old format leaves one session, in the new one."""
    path = old("ticket-42", **MARKED)
    await recovery.save_snapshot("ticket-42", users(3))
    assert not path.exists()
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(3)
    assert recovery.list_interrupted_sessions() == []
    assert await recovery.delete_snapshot("ticket-42") is True
    assert await recovery.restore_snapshot("ticket-42") is None


async def test_an_old_file_that_a_newer_log_supersedes_counts_no_more(recovery, old):
    """After a kill between the new log and the removal of the old file, the new one alone is told."""
    await recovery.save_snapshot("ticket-42", users(3))
    old("ticket-42", **MARKED)
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(3)
    assert recovery.list_interrupted_sessions() == []
    assert await recovery.delete_snapshot("ticket-42") is True
    assert await recovery.restore_snapshot("ticket-42") is None


@pytest.mark.parametrize("use", ["save", "mark", "delete"])
async def test_an_old_file_of_another_session_is_left_alone(recovery, old, use):
    """`a/b` and `a_b` shared an old file: what is done to the one never touches the other's."""
    path = old("a_b", **MARKED)
    before = path.read_bytes()
    assert await recovery.restore_snapshot("a/b") is None
    assert await recovery.delete_snapshot("a/b") is False
    assert await recovery.mark_interrupted("a/b") is False
    await recovery.save_snapshot("a/b", users(1))
    if use == "mark":
        assert await recovery.mark_interrupted("a/b") is True
    if use == "delete":
        assert await recovery.delete_snapshot("a/b") is True
    assert path.read_bytes() == before
    assert (await recovery.restore_snapshot("a_b"))["messages"] == users(2)


async def test_an_old_file_is_found_under_the_name_that_it_had(recovery, old):
    """The reference kept `a/b` as `a_b.json`; its content says whose it is."""
    old("a/b", "a_b", **MARKED)
    assert (await recovery.restore_snapshot("a/b"))["messages"] == users(2)
    assert await recovery.restore_snapshot("a_b") is None
    assert [entry["session_id"] for entry in recovery.list_interrupted_sessions()] == ["a/b"]
    await recovery.save_snapshot("a_b", users(1))
    assert (await recovery.restore_snapshot("a/b"))["messages"] == users(2)


BROKEN = {
    "empty": b"",
    "cut": b'{"session_id": "ticket-42", "saved_at": 1.0, "messages": [{"ro',
    "no object": b"[1, 2]",
    "no fields": b'{"session_id": "ticket-42"}',
    "null messages": b'{"session_id": "ticket-42", "saved_at": 1.0, "messages": null}',
    "messages of text": b'{"session_id": "ticket-42", "saved_at": 1.0, "messages": "abc", "interrupted": true, "interrupted_at": 1.0}',
    "no time": b'{"session_id": "ticket-42", "saved_at": "yesterday", "messages": []}',
    "mark without time": b'{"session_id": "ticket-42", "saved_at": 1.0, "messages": [], "interrupted": true}',
    "no text": b"\xff\xfe\x00",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_old_file_is_left_alone_and_told(recovery, old, folder, caplog, kind):
    """An old file that cannot be read is no session: it is told in the log, and stays as it is."""
    path = old("ticket-42")
    path.write_bytes(BROKEN[kind])
    old("other", **MARKED)
    with caplog.at_level(logging.WARNING, "resilient_agent.session"):
        assert await recovery.restore_snapshot("ticket-42") is None
    assert str(path) in caplog.text
    assert await recovery.mark_interrupted("ticket-42") is False
    assert await recovery.delete_snapshot("ticket-42") is False
    assert [entry["session_id"] for entry in recovery.list_interrupted_sessions()] == ["other"]
    assert path.read_bytes() == BROKEN[kind]


@pytest.mark.parametrize("session_id", [42, None, ["a"], "", "\ud800"], ids=ascii)
async def test_an_old_file_whose_id_names_no_session_does_not_hide_the_others(recovery, old, caplog, session_id):
    """An old file with an id that no session can have is left out of the listing, told, and kept."""
    path = old(session_id, "ticket-42", **MARKED)
    old("other", **MARKED)
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING, "resilient_agent.session"):
        assert [entry["session_id"] for entry in recovery.list_interrupted_sessions()] == ["other"]
    assert str(path) in caplog.text
    assert path.read_bytes() == before


async def test_saving_does_not_remove_a_broken_old_file(recovery, old):
    """A new snapshot stands beside an old file that could not be read: a person may still rescue it."""
    path = old("ticket-42")
    path.write_bytes(BROKEN["cut"])
    await recovery.save_snapshot("ticket-42", users(1))
    assert path.read_bytes() == BROKEN["cut"]
    assert (await recovery.restore_snapshot("ticket-42"))["messages"] == users(1)


async def test_a_busy_session_keeps_its_old_file(recovery, old, folder):
    """Deleting that is refused with SessionBusy has deleted nothing, the old file included."""
    path = old("ticket-42")
    async with session_guard("ticket-42", store=folder):
        with pytest.raises(SessionBusy):
            await recovery.delete_snapshot("ticket-42")
        assert path.exists()
