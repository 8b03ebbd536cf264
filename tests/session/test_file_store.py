"""How a session lies on disk: its name, its rights, its owner, and what of a damaged log counts."""

import contextlib
import datetime
import errno
import fcntl
import json
import logging
import os
import re
import stat
import threading
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent import (
    FileStore,
    InvalidSessionId,
    SessionBusy,
    SessionClosed,
    SessionLost,
    StorageError,
    UnsupportedFormat,
)
from resilient_agent.session.record import Damage, Record, read_line, write_line
from resilient_agent.session.stores import _posix

IDS = [
    "ticket-42",
    "a/b",
    "a_b",
    "a\\b",
    "a b",
    "a",
    "A",
    "..",
    ".",
    "/",
    "/etc/passwd",
    "../../etc/passwd",
    "a\0b",
    "a\nb",
    "a\r\nb",
    "CON",
    "con",
    "nul.txt",
    "trailing.",
    "trailing ",
    "trailing",
    "-",
    unicodedata.normalize("NFC", "café"),
    unicodedata.normalize("NFD", "café"),
    "東京🦜",
    "{}:*?%_",
    "x" * 300,
    "x" * 299 + "y",
    "é" * 10_000,
    ".jsonl",
]


def contents(messages):
    return [message["n"] for message in messages]


def whole(path):
    return path.read_bytes()


def message(number):
    return {"n": number, "text": "naïve " + "x" * 40}


def save(log, *numbers):
    for number in numbers:
        log.append("appended", {"messages": [message(number)]})


def restored(store, session_id="ticket-42"):
    """What the next owner finds, and what is found again after it has appended one more."""
    log = store.claim(session_id)
    before, damage = contents(log.history.messages), log.damage
    save(log, 99)
    log.release()
    return before, contents(store.read(session_id).messages), damage


@pytest.fixture
def umask():
    """Set the umask for a test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_id", IDS, ids=lambda name: ascii(name[:20]))
def test_any_text_names_a_session(store, put, session_id):  # B50
    """A session is stored, listed, read, found and deleted under any text but the empty one."""
    put(session_id, message(1))
    assert [found.session_id for found in store.scan()] == [session_id]
    assert contents(store.read(session_id).messages) == [1]
    assert store.find(session_id).message_count == 1
    assert store.delete(session_id)
    assert list(store.folder.iterdir()) == []


def test_different_ids_are_different_sessions(store, put):  # B50
    """Ids that look alike, or alike to a file system, never share a log."""
    for number, session_id in enumerate(IDS):
        put(session_id, message(number))
    assert [contents(store.read(session_id).messages) for session_id in IDS] == [[n] for n in range(len(IDS))]
    assert sorted(found.session_id for found in store.scan()) == sorted(IDS)


def test_no_two_names_fall_together_on_any_file_system(store):  # B50
    """File names differ even where the disk ignores case and normalises accents."""
    names = {unicodedata.normalize("NFC", store.path(session_id).name).casefold() for session_id in IDS}
    assert len(names) == len(IDS)


@pytest.mark.parametrize("session_id", IDS, ids=lambda name: ascii(name[:20]))
def test_a_name_is_safe_on_every_system(store, session_id):  # B50
    """A file name is short, plain ASCII in the folder itself, and reserved on no system."""
    path = store.path(session_id)
    assert path.parent == store.folder
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*-[0-9a-f]{20}\.jsonl|_[A-Za-z0-9_-]*-[0-9a-f]{20}\.jsonl", path.name)
    assert len(path.name) < 100


def test_a_name_can_be_read_by_people(store):
    """The readable part of an id begins the name of its file."""
    assert store.path("ticket-42").name.startswith("ticket-42-")
    assert store.path("customers/7: refund").name.startswith("customers-7-refund-")


def test_a_name_stays_the_same_over_versions(store):
    """The name of a stored session is part of the format: another hash would lose all of them."""
    assert store.path("ticket-42").name == "ticket-42-678085682da88ccf8696.jsonl"


@pytest.mark.parametrize("session_id", ["", "\ud800", "a\udfffb"], ids=ascii)
def test_an_id_that_is_no_text_is_refused(store, session_id):
    """An empty id and one with a lone surrogate are refused, and no file is touched."""
    for use in (store.claim, store.read, store.find, store.delete, store.path):
        with pytest.raises(InvalidSessionId):
            use(session_id)
    assert not store.folder.exists()


@pytest.mark.parametrize("session_id", [None, 42, b"ticket", ["ticket"], 1.5], ids=repr)
def test_an_id_that_is_no_string_is_refused(store, session_id):
    """An id of another type is refused and never turned into a string behind the user's back."""
    for use in (store.claim, store.read, store.find, store.delete, store.path):
        with pytest.raises(TypeError, match="a session id is a string"):
            use(session_id)


# -- the folder -----------------------------------------------------------------------------------


def test_an_argument_chooses_the_folder(tmp_path, monkeypatch):
    """A folder that is given wins over the environment variable."""
    monkeypatch.setenv("RESILIENT_AGENT_HOME", str(tmp_path / "home"))
    assert FileStore(tmp_path / "mine").folder == tmp_path / "mine"
    assert FileStore(str(tmp_path / "mine")).folder == tmp_path / "mine"


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    """A relative folder is that of the moment, though the program changes its working directory."""
    monkeypatch.chdir(tmp_path)
    store = FileStore("mine")
    monkeypatch.chdir("/")
    assert store.folder == tmp_path / "mine"


def test_the_environment_chooses_the_folder(tmp_path, monkeypatch):
    """RESILIENT_AGENT_HOME names the place of all sessions for which no folder is given."""
    monkeypatch.setenv("RESILIENT_AGENT_HOME", str(tmp_path / "home"))
    store = FileStore()
    store.claim("ticket-42").release()
    assert store.folder == tmp_path / "home" / "sessions"
    assert [found.session_id for found in FileStore().scan()] == ["ticket-42"]


@pytest.mark.parametrize("setting", [None, ""])
def test_the_users_state_directory_is_the_default(tmp_path, monkeypatch, setting):
    """Without argument and environment variable, sessions lie below the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("RESILIENT_AGENT_HOME", raising=False)
    if setting is not None:
        monkeypatch.setenv("RESILIENT_AGENT_HOME", setting)
    folder = FileStore().folder
    assert folder.is_relative_to(tmp_path)
    assert folder.name == "sessions"
    assert "resilient_agent" in folder.parts


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_logs_and_their_folder_are_for_their_owner_alone(tmp_path, umask, mask):  # B48
    """Whatever the umask, the folder is 0700 and a log 0600."""
    umask(mask)
    store = FileStore(tmp_path / "sessions")
    log = store.claim("ticket-42")
    log.release()
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_no_folder_on_the_way_can_be_written_by_others(tmp_path, umask):  # B48
    """With an umask of 0 the folders above that are made too give nobody else the right to rename."""
    umask(0)
    FileStore(tmp_path / "new" / "home" / "sessions").claim("ticket-42").release()
    for made in ("new", "new/home"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) & 0o022 == 0, made


def test_an_old_log_gets_its_rights_back(store, put):  # B48
    """A log that was copied with wider rights is 0600 again when it is claimed."""
    path = put("ticket-42", message(1))
    path.chmod(0o666)
    store.claim("ticket-42").release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_symbolic_link_is_refused(store, tmp_path):  # B48
    """A link in place of a log is not followed, by whatever way one comes to it."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    store.folder.mkdir()
    store.path("ticket-42").symlink_to(target)
    for use in (store.claim, store.read, store.delete):
        with pytest.raises(StorageError, match="symbolic link") as refusal:
            use("ticket-42")
        assert refusal.value.filename == str(store.path("ticket-42"))
    assert list(store.scan()) == []
    assert whole(target) == b"precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_log_of_another_user_is_refused(store, put):  # B48
    """A log that somebody else put into a shared folder is not taken for ours."""
    path = put("ticket-42", message(1))
    before = whole(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(StorageError, match="another user"):
        store.claim("ticket-42")
    assert whole(path) == before


def test_a_read_only_folder_is_refused_on_entering(powerless):  # B43
    """A folder that cannot be written is told when the session is claimed, with its name."""
    told = powerless("""
        folder.chmod(0o500)
        try:
            with session_guard("ticket-42", store=folder):
                print(json.dumps("entered"))
        except StorageError as error:
            print(json.dumps([error.errno, error.filename, str(error), interrupted_sessions(folder)]))
    """)
    number, name, text, found = told
    assert number == errno.EACCES
    assert "ticket-42" in name
    assert "could not open the session's log" in text
    assert found == []


def test_a_folder_that_cannot_be_made_is_refused_on_entering(powerless):  # B43
    """Where the folder cannot be created, the error says how to choose another one."""
    told = powerless("""
        folder.chmod(0o500)
        try:
            with session_guard("ticket-42", store=folder / "new"):
                print(json.dumps("entered"))
        except StorageError as error:
            print(json.dumps([error.errno, error.filename, str(error)]))
    """)
    assert told[0] == errno.EACCES
    assert told[1].endswith("/new")
    assert "RESILIENT_AGENT_HOME" in told[2]


def test_a_folder_that_cannot_be_reached_is_refused_on_entering(powerless):  # B43
    """Where the way to the folder is closed, entering and listing raise errors of this library."""
    told = powerless("""
        (folder / "closed").mkdir(mode=0)
        told = []
        for use in (lambda: session_guard("ticket-42", store=folder / "closed/x").__enter__(),
                    lambda: interrupted_sessions(folder / "closed"),
                    lambda: interrupted_sessions(folder / "closed/x")):
            try:
                use()
            except OSError as error:
                told.append([type(error).__name__, error.errno])
        (folder / "closed").chmod(0o700)
        print(json.dumps(told))
    """)
    assert told == [["StorageError", errno.EACCES]] * 3


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    """A store whose folder is a file says so, on claiming and on listing."""
    (tmp_path / "file").write_text("not a folder")
    store = FileStore(tmp_path / "file")
    for use in (lambda: store.claim("ticket-42"), lambda: list(store.scan())):
        with pytest.raises(StorageError):
            use()
    assert (tmp_path / "file").read_text() == "not a folder"


# -- one owner ------------------------------------------------------------------------------------


def test_a_second_owner_is_refused_at_once(store):  # B14
    """While a session is held, nobody else gets it, nor waits for it."""
    log = store.claim("ticket-42")
    begin = time.monotonic()
    with pytest.raises(SessionBusy, match="this very process") as refusal:
        store.claim("ticket-42")
    assert time.monotonic() - begin < 5  # it is held until the test lets go
    assert refusal.value.session_id == "ticket-42"
    log.release()
    store.claim("ticket-42").release()


def test_a_held_session_cannot_be_deleted(store):
    """Deleting what somebody holds is refused, and changes nothing."""
    log = store.claim("ticket-42")
    save(log, 1)
    with pytest.raises(SessionBusy):
        store.delete("ticket-42")
    save(log, 2)
    assert contents(store.read("ticket-42").messages) == [1, 2]
    log.release()


def test_each_owner_has_a_higher_epoch(store):  # B29
    """Owners are counted, so that one can be told from the next; records are counted without a hole."""
    for _ in range(3):
        log = store.claim("ticket-42")
        save(log, 1)
        log.release()
    lines = [json.loads(line) for line in whole(log.path).splitlines()]
    assert [line["epoch"] for line in lines] == [1, 1, 2, 2, 3, 3]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["count"] for line in lines] == [0, 1, 1, 2, 2, 3]


def test_a_look_makes_nobody_busy(store, put):  # B35
    """A claim while a listing holds the log for a moment waits for that moment."""
    path = put("ticket-42", message(1))
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, [fd])
    timer.start()
    store.claim("ticket-42").release()
    timer.join()
    assert store.find("ticket-42").message_count == 1


@pytest.mark.parametrize(("lookers", "claims"), [(1, 300), (4, 40)])
def test_listings_never_stand_in_an_owners_way(store, put, lookers, claims):  # B35
    """Claims succeed while threads list in a loop, and a held session is never shown as interrupted."""
    put("ticket-42", message(1))
    seen, wrong, done, turns = [], [], threading.Event(), [0]

    def look():
        while not done.is_set():
            before = turns[0]
            found = list(store.scan())
            seen.extend(found)
            # Odd while the session is held; the same number before and after: held all that time.
            if before % 2 and turns[0] == before:
                wrong.extend(one for one in found if one.status != "live")

    threads = [threading.Thread(target=look) for _ in range(lookers)]
    for thread in threads:
        thread.start()
    try:
        for number in range(claims):
            log = store.claim("ticket-42")
            turns[0] += 1
            if number % 10 == 0:
                save(log, 1)
            turns[0] += 1
            log.release()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert len(seen) > 20
    assert wrong == []
    assert len(store.read("ticket-42").messages) == claims // 10 + 1


def at_the_next_opening(monkeypatch, path, then):
    """Let `then` happen right after the next time that somebody opens the file."""
    really_open, once = os.open, []

    def open_and(name, flags, *rest, **options):
        fd = really_open(name, flags, *rest, **options)
        if str(name) == str(path) and not once:
            once.append(name)
            then()
        return fd

    monkeypatch.setattr(os, "open", open_and)
    return once


def test_a_session_that_ends_well_under_a_listings_eyes_is_not_shown(store, monkeypatch):  # B35
    """A log that is removed between a listing's open and its lock is no interrupted session."""
    log = store.claim("ticket-42")
    save(log, 1)
    met = at_the_next_opening(monkeypatch, log.path, log.remove)
    assert [found.status for found in store.scan()] in ([], ["live"])
    assert met


def test_a_claim_that_meets_a_removal_begins_anew(store, monkeypatch):  # B25
    """A log that its owner removes between another's open and lock is not written into the void."""
    log = store.claim("ticket-42")
    save(log, 1)
    met = at_the_next_opening(monkeypatch, log.path, log.remove)
    successor = store.claim("ticket-42")
    save(successor, 2)
    successor.release()
    assert met
    assert contents(store.read("ticket-42").messages) == [2]


def test_a_released_log_cannot_be_written(store):
    """After its owner let go, a log takes nothing more; letting go twice is fine."""
    log = store.claim("ticket-42")
    log.release()
    log.release()
    with pytest.raises(SessionClosed):
        save(log, 1)
    assert store.read("ticket-42").messages == []


@pytest.mark.parametrize("replaced", [False, True], ids=["unlinked", "replaced"])
def test_a_log_that_is_gone_takes_nothing(store, tmp_path, replaced):  # B25
    """When the file is deleted or replaced under its owner, saving raises and is acknowledged nowhere."""
    log = store.claim("ticket-42")
    save(log, 1)
    log.path.unlink()
    if replaced:
        log.path.write_bytes(b"somebody else's")
    with pytest.raises(SessionLost, match="deleted or replaced"):
        save(log, 2)
    with pytest.raises(SessionLost):
        log.remove()
    assert contents(log.history.messages) == [1]
    assert whole(log.path) == b"somebody else's" if replaced else not log.path.exists()
    log.release()


@pytest.mark.parametrize(
    "change",
    [
        lambda path, _: os.truncate(path, 0),
        lambda path, first: os.truncate(path, first - 5),
        os.truncate,
        lambda path, _: path.write_bytes(path.read_bytes() + b"a note in the margin"),
    ],
    ids=["emptied", "cut in a record", "cut between two", "written to"],
)
def test_a_log_that_is_changed_under_its_owner_is_written_anew(store, caplog, change):  # B25
    """As log rotation empties a file, or a backup is copied over it: nothing that was acknowledged is lost."""
    log = store.claim("ticket-42")
    save(log, 1)
    first = log.path.stat().st_size
    save(log, 2)
    change(log.path, first)
    save(log, 3)
    save(log, 4)
    log.release()
    assert contents(store.read("ticket-42").messages) == [1, 2, 3, 4]
    assert caplog.text.count("somebody else changed it; it is written anew") == 1
    assert caplog.text.count("\n") == 1
    assert store.find("ticket-42").message_count == 4


def test_a_folder_that_is_gone_takes_nothing(store, tmp_path):  # B25
    """When the whole folder is moved away, or a file stands in its place, saving raises."""
    log = store.claim("ticket-42")
    store.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(SessionLost):
        save(log, 1)
    store.folder.write_text("")
    with pytest.raises(SessionLost):
        save(log, 2)
    log.release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_says_where_to_go(store, monkeypatch, number):
    """As some over a network have none: "No locks available" is no advice."""

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StorageError, match=r"has no locks.*store= or .* or in a database") as refused:
        store.claim("ticket-42")
    assert refused.value.errno == number


# -- listing --------------------------------------------------------------------------------------


def test_a_listing_tells_live_interrupted_and_closed(store, put):
    """Who is held is live, who stopped is interrupted, who ended well and was kept is closed."""
    put("stopped", message(1))
    put("kept", message(1), message(2), ending="closed")
    log = store.claim("held")
    found = {session.session_id: session for session in store.scan()}
    assert {name: session.status for name, session in found.items()} == {
        "stopped": "interrupted",
        "kept": "closed",
        "held": "live",
    }
    assert {name: session.message_count for name, session in found.items()} == {"stopped": 1, "kept": 2, "held": 0}
    assert found["stopped"].interruption.reason == "unknown"
    assert found["kept"].interruption is found["held"].interruption is None
    assert found["stopped"].saved_at == found["stopped"].interruption.at
    assert found["stopped"].path == store.path("stopped")
    log.release()


def test_an_empty_place_lists_nothing(store):
    """A folder that is not there holds no sessions, and listing does not make it."""
    assert list(store.scan()) == []
    assert store.read("ticket-42") is None
    assert store.find("ticket-42") is None
    assert store.delete("ticket-42") is False
    assert not store.folder.exists()


def test_a_listing_passes_over_what_is_no_log(store, put):
    """Other files, folders and rubbish beside the logs are left alone and out."""
    put("ticket-42", message(1))
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "rubbish.jsonl").write_bytes(os.urandom(100_000))
    (store.folder / "other.jsonl").write_text('{"not": "ours"}\n')
    (store.folder / "folder.jsonl").mkdir()
    assert [found.session_id for found in store.scan()] == ["ticket-42"]


def test_a_listing_reads_both_ends_only(store, put, monkeypatch):
    """A log of many megabytes, damaged in its middle, is listed from its first and its last record."""
    path = put("ticket-42", *(message(n) for n in range(3)))
    first, *others = whole(path).splitlines(keepends=True)
    path.write_bytes(first + b"\xff" * 8_000_000 + b"\n" + b"".join(others))
    really_read, read = os.pread, []

    def count(fd, length, offset):
        data = really_read(fd, length, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", count)
    (found,) = store.scan()
    assert (found.session_id, found.message_count, found.status) == ("ticket-42", 3, "interrupted")
    assert 0 < sum(read) < 500_000


@pytest.mark.parametrize("size", [60_000, 65_536, 70_000, 600_000, 5_000_000])
def test_a_listing_finds_a_last_record_of_any_size(store, put, size):
    """The last record is found however long it is, and also behind the torn tail of a long one."""
    path = put("ticket-42", {"n": 1}, {"n": 2, "text": "x" * size})
    assert store.find("ticket-42").message_count == 2
    os.truncate(path, path.stat().st_size - 10)
    assert store.find("ticket-42").message_count == 1


CHUNK = 1 << 16
"""Bytes in which a log is read."""


@given(
    sizes=st.lists(
        st.one_of(st.integers(0, 300), st.integers(CHUNK - 400, CHUNK + 400), st.just(3 * CHUNK)), max_size=8
    )
)
def test_records_of_any_size_are_read_whole(tmp_path_factory, sizes):
    """Wherever a record ends in the pieces in which a log is read, each message comes back, from both readers."""
    store = FileStore(tmp_path_factory.mktemp("sizes"), durability="process")
    messages = [{"content": "x" * size} for size in sizes]
    log = store.claim("ticket-42")
    for message in messages:
        log.append("appended", {"messages": [message]})
    log.release()
    assert store.read("ticket-42").messages == messages
    assert list(store.stream("ticket-42")) == messages
    again = store.claim("ticket-42")
    assert again.damage == ()
    again.release()


def test_an_empty_file_is_no_session(store):
    """What a kill leaves that came before the first record is not listed, and is no obstacle."""
    store.folder.mkdir()
    store.path("ticket-42").touch()
    assert list(store.scan()) == []
    assert store.read("ticket-42") is None
    assert restored(store) == ([], [99], ())


def test_a_listing_changes_nothing(store, put):
    """Looking at a log with a torn tail does not mend it: that is for its next owner."""
    path = put("ticket-42", message(1))
    with path.open("ab") as file:
        file.write(b'{"seq":3,')
    before = whole(path)
    assert [found.message_count for found in store.scan()] == [1]
    assert contents(store.read("ticket-42").messages) == [1]
    assert whole(path) == before


# -- what counts of a damaged log -----------------------------------------------------------------


def test_a_tail_cut_at_every_byte_costs_the_last_record_at_most(store, put):  # B37
    """However much of the last record is missing, all before it is restored and the next does not fuse."""
    path = put("ticket-42", message(1), message(2), message(3))
    data = whole(path)
    start = data.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(data)):
        path.write_bytes(data[:cut])
        complete = cut == len(data) - 1  # only the newline is missing: the checksum says that it is whole
        kept = [1, 2, 3] if complete else [1, 2]
        assert store.find("ticket-42").message_count == len(kept), cut
        assert restored(store) == (kept, [*kept, 99], ()), cut
        assert all(json.loads(line) for line in whole(path).splitlines()), cut


def test_a_whole_record_without_its_newline_counts(store, put):  # B37
    """A last record that lacks only its newline is restored, and the next begins on its own line."""
    path = put("ticket-42", message(1), message(2))
    path.write_bytes(whole(path)[:-1])
    assert restored(store) == ([1, 2], [1, 2, 99], ())
    assert [json.loads(line)["seq"] for line in whole(path).splitlines()] == [1, 2, 3, 4, 5]


def test_a_first_record_cut_at_every_byte_is_no_obstacle(store, put):  # B37
    """A kill while the first record is written leaves a place where the session can begin."""
    path = put("ticket-42")
    data = whole(path)
    for cut in range(len(data) - 1):
        path.write_bytes(data[:cut])
        assert list(store.scan()) == [], cut
        assert restored(store) == ([], [99], ()), cut
        path.unlink()


@pytest.mark.parametrize(
    "tail", [b"\0" * 4096, b"x" * 100_000, b"{", b"\xff\xfe"], ids=["zeros", "long", "short", "raw"]
)
def test_rubbish_behind_the_end_is_cut(store, put, tail):  # B37
    """Whatever a power cut left behind the last newline is removed by the next owner."""
    path = put("ticket-42", message(1))
    with path.open("ab") as file:
        file.write(tail)
    assert restored(store) == ([1], [1, 99], ())


@pytest.mark.parametrize("place", [0, 10, -5], ids=["its first byte", "its number", "its checksum"])
def test_damage_in_the_middle_is_reported_with_its_place(store, put, caplog, place):  # B38
    """A damaged line is told once, with number and offset, and everything else is there."""
    path = put("ticket-42", message(1), message(2), message(3))
    lines = whole(path).splitlines(keepends=True)
    offset = len(lines[0]) + len(lines[1])
    line = bytearray(lines[2])
    line[place] ^= 1
    path.write_bytes(b"".join([*lines[:2], bytes(line), *lines[3:]]))
    before = whole(path)
    with caplog.at_level(logging.WARNING, "resilient_agent.session"):
        kept, after, damage = restored(store)
    assert (kept, after) == ([1, 3], [1, 3, 99])
    assert damage[0] == Damage(3, offset, "the checksum does not fit")
    assert f"line 3 (byte {offset})" in caplog.text
    assert whole(path).startswith(before), "what is damaged stays as evidence"
    assert [one.line for one in damage] == [3], "one damaged line is one place of damage"


def test_a_line_that_vanished_is_reported(store, put):  # B38
    """A record that was cut out whole is noticed by the numbers on both sides of it."""
    path = put("ticket-42", message(1), message(2), message(3))
    lines = whole(path).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    kept, _, damage = restored(store)
    assert kept == [1, 3]
    assert [(one.line, one.offset) for one in damage] == [(3, len(lines[0] + lines[1]))]
    assert "records 3 to 3 are missing" in damage[0].reason


def test_a_line_that_stands_twice_counts_once(store, put):  # B38
    """A record that somebody copied is told as damage, and its message is there once."""
    path = put("ticket-42", message(1), message(2))
    lines = whole(path).splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[1], *lines[3:]]))
    kept, _, damage = restored(store)
    assert kept == [1, 2]
    assert [(one.line, one.reason) for one in damage] == [(4, "record 2 stands here again")]


def test_a_last_line_that_was_damaged_later_is_reported_and_kept(store, put):  # B38
    """A whole last line whose checksum does not fit was acknowledged once: it is told, not cut."""
    path = put("ticket-42", message(1), message(2))
    data = bytearray(whole(path))
    data[-30] ^= 1
    path.write_bytes(data)
    kept, after, damage = restored(store)
    assert (kept, after, len(damage)) == ([1], [1, 99], 1)
    assert whole(path).startswith(bytes(data))


def test_damage_in_the_first_line_hides_no_session(store, put):  # B38
    """A log whose first line is damaged keeps its messages, and is listed once it has had a second owner."""
    path = put("ticket-42", message(1))
    put("ticket-42", message(2))
    path.write_bytes(b"\0" + whole(path)[1:])
    (found,) = store.scan()
    assert (found.session_id, found.message_count, found.status) == ("ticket-42", 2, "interrupted")
    kept, after, damage = restored(store)
    assert (kept, after) == ([1, 2], [1, 2, 99])
    assert (damage[0].line, damage[0].offset) == (1, 0)


def test_a_log_without_its_first_line_is_left_out_of_a_listing_with_a_word(store, put, caplog):  # B38
    """Its id is not known then; whoever knows it gets the session."""
    path = put("ticket-42", message(1), message(2))
    path.write_bytes(whole(path).split(b"\n", 1)[1])
    assert list(store.scan()) == []
    assert "names the session gets it back" in caplog.text
    assert contents(store.read("ticket-42").messages) == [1, 2]


def test_a_damaged_log_is_kept_when_its_session_is_over(store, put, caplog):  # B38
    """What could not be read is not thrown away: it lies beside the others under another name, and is listed no more."""
    path = put("ticket-42", message(1))
    damaged = whole(path).replace(b"\n", b"\r\n")  # as an editor saves it: no line can be read
    path.write_bytes(damaged)
    log = store.claim("ticket-42")
    assert (log.was, len(log.damage)) == ("new", 2)
    log.remove()
    (kept,) = path.parent.iterdir()
    assert kept.name.startswith(f"{path.name}.damaged-")
    assert whole(kept).startswith(damaged)
    assert kept.name in caplog.text
    assert list(store.scan()) == []


@pytest.mark.parametrize("damage", ["set aside", "first line", "all of it"])
def test_delete_takes_what_is_damaged_as_well(store, put, damage):  # B38
    """Gone means gone, also what nobody can read any more; that there was something is told."""
    path = put("ticket-42", message(1))
    put("ticket-43", message(1))
    other = store.path("ticket-43")
    lines = whole(path).split(b"\n", 1)
    path.write_bytes(lines[1] if damage == "first line" else whole(path).replace(b"\n", b"\r\n"))
    if damage == "set aside":
        store.claim("ticket-42").remove()
        put("ticket-42", message(2))
    assert store.delete("ticket-42") is True
    assert list(path.parent.iterdir()) == [other]
    assert store.delete("ticket-42") is False


def test_prune_leaves_what_cannot_be_read(store, put):  # B38
    """A log that was damaged since it was listed is no session that stands as it was asked for."""
    path = put("ticket-42", message(1), ending="closed")
    damaged = whole(path).split(b"\n", 1)[1]

    class DamagedMeanwhile(FileStore):
        def scan(self):
            for found in super().scan():
                path.write_bytes(damaged)
                yield found

    assert DamagedMeanwhile(store.folder).prune(older_than=0, status="closed") == []
    assert whole(path) == damaged


def test_prune_keeps_a_damaged_log_as_the_end_of_its_guard_does(store, put, caplog):  # B38
    """Damage in the middle of an old log: the session is over and listed no more, and its file is kept beside."""
    path = put("ticket-42", message(1), message(2), ending="closed")
    first, second, rest = whole(path).split(b"\n", 2)
    damaged = b"\n".join((first, second.replace(b"count", b"c0unt"), rest))
    path.write_bytes(damaged)
    (gone,) = store.prune(older_than=0, status="closed")
    assert gone.session_id == "ticket-42"
    (kept,) = path.parent.iterdir()
    assert whole(kept) == damaged
    assert kept.name in caplog.text
    assert list(store.scan()) == store.prune(older_than=0, status="closed") == []
    assert store.delete("ticket-42") is True
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("way", ["delete", "prune"])
def test_a_removed_session_leaves_no_copy_of_a_compaction_that_was_killed(store, put, way):
    """What its owner was about to put in the log's place says all that the log says."""
    path = put("ticket-42", message(1), ending="closed")
    path.with_name(f"{path.name}.new").write_bytes(whole(path))
    if way == "delete":
        assert store.delete("ticket-42") is True
    else:
        assert len(store.prune(older_than=0, status="closed")) == 1
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_log_whose_removal_is_not_synced_is_gone_all_the_same(store, put, monkeypatch, caplog, damaged):
    """As without a free descriptor: the guard ends well, and a warning says what a power cut may do."""
    path = put("ticket-42", message(1))
    if damaged:
        path.write_bytes(whole(path).replace(b"\n", b"\r\n"))
    log = store.claim("ticket-42")

    def sync_folder(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(_posix, "sync_folder", sync_folder)
    log.remove()
    assert not path.exists()
    assert "is gone, but a power cut may bring it back: Too many open files" in caplog.text
    assert list(store.scan()) == []


def test_a_damaged_log_that_nobody_got_into_is_left_as_it_is(store, put):  # B38
    """A guard that could not be entered takes nothing away with it."""
    path = put("ticket-42", message(1))
    damaged = whole(path).replace(b"\n", b"\r\n")
    path.write_bytes(damaged)
    store.claim("ticket-42").abandon()
    assert whole(path) == damaged


def test_keys_stay_what_they_were_when_the_first_line_is_damaged_after_a_resumption(store, put):  # B38 B61
    """Each owner says again what idempotency keys are made of."""
    path = put("ticket-42", message(1))
    again = store.claim("ticket-42")
    born = again.history.born
    again.release()
    path.write_bytes(whole(path).replace(b'"host"', b'"hosT"', 1))
    assert store.read("ticket-42").born == born


def test_damage_in_the_first_line_of_a_single_owner_loses_no_message(store, put):  # B38
    """Even where the only owner's line is damaged, whoever knows the id gets its messages back."""
    path = put("ticket-42", message(1))
    path.write_bytes(b"\0" + whole(path)[1:])
    kept, after, damage = restored(store)
    assert (kept, after) == ([1], [1, 99])
    assert damage[0].line == 1
    assert [found.session_id for found in store.scan()] == ["ticket-42"]


# -- versions -------------------------------------------------------------------------------------

LATER = write_line(
    Record(
        seq=1,
        epoch=1,
        at=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        count=0,
        kind="opened",
        fields={"format": 2, "session_id": "ticket-42"},
    )
)


@pytest.mark.parametrize("tail", [b"", b'{"seq":2', LATER[:-1]], ids=["whole", "torn", "without newline"])
def test_a_later_format_is_left_untouched(store, caplog, tail):
    """A log of a later version is refused, left out of listings with a warning, and not changed by a byte."""
    store.folder.mkdir()
    path = store.path("ticket-42")
    path.write_bytes(LATER + tail)
    for use in (store.claim, store.read):
        with pytest.raises(UnsupportedFormat, match="upgrade"):
            use("ticket-42")
    assert list(store.scan()) == []
    assert "ticket-42" in caplog.text
    assert whole(path) == LATER + tail


def test_an_unknown_kind_is_kept(store, put):
    """A record of a later version's kind stays in the log, counts, and disturbs nothing."""
    path = put("ticket-42", message(1))
    at = store.read("ticket-42").saved_at
    line = write_line(Record(seq=3, epoch=1, at=at, count=1, kind="effect_started", fields={"key": "mail"}))
    with path.open("ab") as file:
        file.write(line)
    assert restored(store) == ([1], [1, 99], ())
    assert line in whole(path)


# -- when the disk refuses ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_save_whose_sync_fails_is_not_acknowledged(store, monkeypatch, number):  # B40
    """When fsync fails the record is taken back, the owner is told, and the next save leaves no hole."""
    log = store.claim("ticket-42")
    save(log, 1)
    really_sync, failures = os.fsync, []

    def sync(fd):
        if not failures:
            failures.append(fd)
            raise OSError(number, os.strerror(number))
        really_sync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(StorageError) as refusal:
        save(log, 2)
    assert refusal.value.errno == number
    assert refusal.value.filename == str(log.path)
    assert contents(store.read("ticket-42").messages) == contents(log.history.messages) == [1]
    save(log, 3)
    log.release()
    assert contents(store.read("ticket-42").messages) == [1, 3]
    assert [json.loads(line)["seq"] for line in whole(log.path).splitlines()] == [2, 3]  # written anew, as one record


def test_a_write_that_comes_back_short_is_not_acknowledged(store, monkeypatch):  # B39
    """A write of which only a part reached the disk raises, and its part is taken back."""
    log = store.claim("ticket-42")
    save(log, 1)
    before = whole(log.path)
    really_write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: really_write(fd, data[:20], offset))
    with pytest.raises(StorageError):
        save(log, 2)
    monkeypatch.undo()
    assert whole(log.path) == before
    save(log, 3)
    log.release()
    assert contents(store.read("ticket-42").messages) == [1, 3]


def test_a_part_that_could_not_be_taken_back_is_overwritten(store, monkeypatch):  # B39
    """When even the taking back fails, the next save still leaves neither hole nor rubbish."""
    log = store.claim("ticket-42")
    save(log, 1)
    really_write = os.pwrite

    def refuse(*_):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: really_write(fd, data[:-5], offset))
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(StorageError):
        save(log, 2)
    monkeypatch.undo()
    log.append("extra", {"extra": {}})  # shorter than what stands there
    log.release()
    assert restored(store) == ([1], [1, 99], ())


def test_one_append_is_one_sync(store, monkeypatch):
    """A durable append costs a single fsync."""
    log = store.claim("ticket-42")
    really_sync, synced = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), really_sync(fd)))
    save(log, 1, 2, 3)
    log.release()
    assert len(synced) == 3


def test_a_new_log_and_a_removed_one_sync_their_folder(store, monkeypatch):  # B41
    """The name of a new log, and its absence after the end, survive a power cut."""
    really_sync, synced = os.fsync, []

    def sync(fd):
        synced.append(stat.S_ISDIR(os.fstat(fd).st_mode) and os.fstat(fd).st_ino)
        really_sync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    log = store.claim("ticket-42")
    assert store.folder.stat().st_ino in synced
    assert store.folder.parent.stat().st_ino in synced
    synced.clear()
    log.remove()
    assert store.folder.stat().st_ino in synced


# -- what is not relied upon ----------------------------------------------------------------------


def test_there_is_no_index_that_could_be_wrong(store, put):  # B13
    """The folder holds the logs and nothing else; a listing is made of them alone."""
    for session_id in ("a", "b"):
        put(session_id, {"n": 1})
    with store_listing_untouched(store):
        assert {found.session_id for found in store.scan()} == {"a", "b"}
    store.path("a").unlink()
    assert [found.session_id for found in store.scan()] == ["b"]


@contextlib.contextmanager
def store_listing_untouched(store):
    before = sorted(path.name for path in store.folder.iterdir())
    yield
    assert sorted(path.name for path in store.folder.iterdir()) == before
    assert all(name.endswith(".jsonl") for name in before)


def test_a_pid_says_nothing_about_who_holds_a_session(store, put):  # B26
    """A log that names this very process, or process 1 of the same host, is free when nobody holds its lock."""
    path = put("ticket-42", {"n": 1})
    lines = path.read_bytes().splitlines()
    for pid in (os.getpid(), 1):
        record = read_line(lines[0])
        record.fields["pid"] = pid
        path.write_bytes(write_line(record) + b"\n".join(lines[1:]) + b"\n")
        (found,) = store.scan()
        assert found.status == "interrupted"
        log = store.claim("ticket-42")
        assert log.history.messages == [{"n": 1}]
        log.release()


def test_reading_a_log_runs_nothing_of_it(store, put):  # B53
    """What looks like an object, a class or code to others is data here, and comes back as it was stored."""
    hostile = {
        "py/object": "os.system",
        "__reduce__": ["os.system", ["true"]],
        "__class__": "Record",
        "$type": "System.Object",
        "text": "{{ 7 * 7 }} ${HOME} %s {0.__class__}",
    }
    put("ticket-42", hostile)
    assert store.read("ticket-42").messages == [hostile]
    assert list(store.stream("ticket-42")) == [hostile]
