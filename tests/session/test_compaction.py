"""A log does not grow for ever, can be read as a stream, and is trusted no further than its disk."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import FileStore, SessionLost, StorageError, interrupted_sessions, session_guard
from resilient_agent.session.stores import _filelog


@pytest.fixture(autouse=True)
def small_logs_are_compacted(monkeypatch):
    monkeypatch.setattr("resilient_agent.session.log.SLACK", 500)


def kinds(path):
    return [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]


def text(n):
    return {"n": n, "text": "x" * 300}


def test_replaced_history_leaves_the_disk_again(store):
    """However often the history is summed up, the log stays about twice as large as what counts."""
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.set_extra({"plan": 1})
        session.once("a", "done".upper)
        for n in range(50):
            session.replace([text(n)])
            assert session.path.stat().st_size < 2 * 400 + 500 + 1500
            assert session.messages == [text(n)]
        key = session.idempotency_key("charge")
    history = store.read("ticket-42")
    assert (history.messages, history.extra, history.effects["a"].result) == ([text(49)], {"plan": 1}, "DONE")
    with session_guard("ticket-42", store=store, keep=True) as session:
        assert session.idempotency_key("charge") == key
        assert session.once("a", "again".upper) == "DONE"


def test_a_log_without_replacements_is_never_written_anew(store):
    """Appending has nothing to throw away."""
    with session_guard("ticket-42", store=store, keep=True) as session:
        for n in range(50):
            session.append(text(n))
    assert kinds(store.path("ticket-42"))[0] == "opened"


def test_extra_state_that_is_set_again_and_again_is_compacted(store):
    """A budget that is saved after each call leaves no trail of old ones."""
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.append(text(0))
        for n in range(100):
            session.set_extra({"spent": n, "text": "x" * 100})
        assert session.path.stat().st_size < 3_000
        assert session.extra["spent"] == 99


def test_a_compacted_log_has_an_owner_and_a_history(store):
    """It is busy while it is held, listed as what it is, counts its crashes, and grows on."""
    for resumes in range(3):
        with pytest.raises(LookupError), session_guard("ticket-42", store=store) as session:
            for n in range(10):
                session.replace([{"role": "user", **text(n)}])
            assert kinds(session.path)[0] == "compacted"
            (found,) = store.scan()
            assert (found.status, found.session_id, found.message_count) == ("live", "ticket-42", 1)
            with pytest.raises(Exception, match="another guard in this very process"):
                store.claim("ticket-42")
            raise LookupError
        (found,) = interrupted_sessions(store)
        assert (found.session_id, found.interruption.reason, found.interruption.resumes) == (
            "ticket-42",
            "exception",
            resumes,
        )
    sequence = [json.loads(line)["seq"] for line in store.path("ticket-42").read_bytes().splitlines()]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))


def test_what_a_later_version_wrote_is_not_thrown_away(store):  # B54
    """A record of a kind that is not known here keeps the log as it is."""
    log = store.claim("ticket-42")
    log.append("applauded", {"by": "everybody"})
    for n in range(10):
        log.append("replaced", {"messages": [text(n)]})
    log.release()
    assert "applauded" in kinds(log.path)


def test_a_compaction_that_fails_is_no_failed_save(store, monkeypatch, caplog):
    """The message is acknowledged all the same; it is tried again when the log has grown."""
    with session_guard("ticket-42", store=store, keep=True) as session:
        with monkeypatch.context() as patched:

            def full(*_):
                raise OSError(28, "No space left on device")

            patched.setattr(os, "rename", full)
            for n in range(10):
                session.replace([text(n)])
        assert "was not compacted" in caplog.text
        assert [path.name for path in store.folder.iterdir()] == [session.path.name]
        for n in range(30):
            session.replace([text(n)])
        assert kinds(session.path)[0] == "compacted"


def test_what_an_owner_left_in_mid_compaction_is_cleaned_away(store, put):  # B42
    """It is no session, and the next owner removes it."""
    path = put("ticket-42", text(1))
    left = path.with_name(path.name + _filelog.COMPACTING)
    left.write_bytes(b"half")
    assert [found.session_id for found in store.scan()] == ["ticket-42"]
    with session_guard("ticket-42", store=store, keep=True) as session:
        assert session.messages == [text(1)]
    assert not left.exists()


def test_a_log_that_is_deleted_during_a_save_acknowledges_nothing(store, monkeypatch):  # B25
    """Between the write and its acknowledgement: the file is gone, and so would be the message."""
    with pytest.raises(SessionLost), session_guard("ticket-42", store=store) as session:
        session.append(text(1))
        really = os.fsync

        def sync(fd):
            really(fd)
            session.path.unlink()

        monkeypatch.setattr(os, "fsync", sync)
        session.append(text(2))


def test_after_a_sync_that_failed_the_file_is_written_anew(store, monkeypatch):  # B40
    """What the disk has of it is not known any more, and asking again would be answered with a yes."""
    with session_guard("ticket-42", store=store, keep=True) as session:
        session.append(text(1))
        with monkeypatch.context() as patched:

            def sync(fd):
                raise OSError(5, "Input/output error")

            patched.setattr(os, "fsync", sync)
            with pytest.raises(StorageError):
                session.append(text(2))
            with pytest.raises(StorageError):
                session.append(text(3))
        assert session.messages == [text(1)]
        session.append(text(4))
        assert kinds(session.path) == ["compacted", "appended"]
    assert store.read("ticket-42").messages == [text(1), text(4)]


def test_a_sync_is_made_for_power_and_not_for_the_process(tmp_path, monkeypatch):  # B47
    """`durability="process"` survives a kill, and asks the disk for nothing at a save."""
    synced = []
    really = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd) or really(fd))
    for durability, syncs in (("power", 3), ("process", 0)):
        store = FileStore(tmp_path / durability)
        with session_guard("ticket-42", store=store, durability=durability, keep=True) as session:
            synced.clear()
            for n in range(3):
                session.append({"n": n})
            assert len(synced) == syncs
        assert len(store.read("ticket-42").messages) == 3


# -- streams --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("appended"), st.integers(0, 3)),
        st.tuples(st.just("replaced"), st.integers(0, 3)),
        st.tuples(st.just("repaired"), st.integers(0, 3)),
        st.tuples(st.just("extra"), st.just(0)),
        st.tuples(st.just("afresh"), st.just(0)),
    ),
    max_size=12,
)


@given(steps=STEPS, kept=st.randoms(use_true_random=False))
def test_a_stream_gives_what_the_fold_gives(tmp_path_factory, steps, kept):  # B63
    """Whatever was appended, replaced, repaired or begun anew, in whichever order."""
    store = FileStore(tmp_path_factory.mktemp("streams"), durability="process")
    log, number = store.claim("ticket-42"), 0
    for kind, count in steps:
        messages = [{"n": number + place} for place in range(count)]
        number += count
        if kind == "afresh":
            log.release()
            log = store.claim("ticket-42", admit=lambda *_: True)
        elif kind == "extra":
            log.append("extra", {"extra": {"n": number}})
        elif kind == "repaired":
            log.append(
                "repaired", {"kept": kept.randint(0, len(log.history.messages)), "added": 0, "messages": messages}
            )
        else:
            log.append(kind, {"messages": messages})
    history = log.history
    log.release()
    assert list(store.stream("ticket-42")) == history.messages == store.read("ticket-42").messages


def test_a_stream_of_nothing_is_empty(store):
    """No session, no message."""
    assert list(store.stream("ticket-42")) == []


def test_a_stream_passes_over_what_is_damaged_or_torn(store, put):  # B38
    """Like every other reader; what is whole comes."""
    path = put("ticket-42", text(1), text(2), text(3))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"x", b"y", 1)
    path.write_bytes(b"".join(lines) + b'{"seq":5,"epo')
    assert list(store.stream("ticket-42")) == [text(1), text(3)]


@pytest.mark.long
def test_a_hundred_thousand_messages_are_read_one_by_one(store):  # B63
    """Written, resumed and streamed; the stream holds a record at a time."""
    import tracemalloc

    with pytest.raises(LookupError), session_guard("ticket-42", store=store, durability="process") as session:
        for n in range(1_000):
            session.extend([{"role": "user", "content": f"{n}-{place} " + "x" * 900} for place in range(100)])
        raise LookupError
    tracemalloc.start()
    assert sum(1 for _ in store.stream("ticket-42")) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    with session_guard("ticket-42", store=store) as session:
        assert len(session.messages) == 100_000
