"""The library's own exceptions: one family, and fit for every way an exception travels."""

import copy
import datetime
import errno
import pickle
import traceback

import pytest

from resilient_agent import errors

MADE = {
    "ResilientAgentError": ("something is wrong",),
    "AttemptTimeout": (2.5, "the first item"),
    "DeadlineExceeded": (60.0, "it waited"),
    "CircuitOpen": ("gpt-4o", 12.5, "half-open"),
    "NotStorable": ("$[0].content[2].source", "bytes are no JSON: encode them"),
    "SessionError": ("something is wrong with the session",),
    "InvalidSessionId": ("a session id may not be empty",),
    "SessionBusy": ("ticket-42", "process 17 on this machine"),
    "SessionClosed": ("the guard was left",),
    "SessionLost": ("the log was deleted",),
    "SessionPoisoned": ("ticket-42", 3, "MemoryError"),
    "SessionSealed": ("record 3 cannot be unsealed",),
    "Deferred": (datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC), 2),
    "OutcomeUnknown": ("charge-1", "pay", [5, "EUR"], datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)),
    "UnsupportedFormat": ("format 9 is newer than this library",),
    "StorageError": (errno.EACCES, "Permission denied", "/var/sessions/x.jsonl"),
    "StoreUnavailable": (errno.EHOSTUNREACH, "the store did not answer for 10 s", "postgresql://db/agents"),
    "StorageFull": (errno.ENOSPC, "No space left on device", "/var/sessions/x.jsonl"),
}
WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda e, n=n: pickle.loads(pickle.dumps(e, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}
SHOWN = (
    "seconds",
    "what",
    "during",
    "breaker",
    "state",
    "wait",
    "path",
    "reason",
    "session_id",
    "holder",
    "errno",
    "strerror",
    "filename",
    "resumes",
    "not_before",
    "attempts",
    "key",
    "name",
    "arguments",
    "at",
)


def make(name):
    return getattr(errors, name)(*MADE[name])


def test_every_error_is_looked_at_here():
    """The list of this test is the list of the module, so that no new error escapes it."""
    assert sorted(MADE) == sorted(errors.__all__)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_can_be_caught_as_one_of_the_library(name):
    """`except ResilientAgentError` catches each of them, and `except Exception` too."""
    with pytest.raises(errors.ResilientAgentError) as caught:
        raise make(name)
    assert isinstance(caught.value, Exception)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_survives_pickle_and_copies(name, way):
    """Class, text, attributes, args and notes are the same on the other side."""  # A40
    error = make(name)
    error.add_note("seen on Monday")
    back = WAYS[way](error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    assert back.__notes__ == ["seen on Monday"]
    for attribute in SHOWN:
        assert getattr(back, attribute, None) == getattr(error, attribute, None)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_takes_notes_and_a_traceback(name):
    """Nothing about them is frozen: they can be raised, noted and printed."""  # A39
    with pytest.raises(errors.ResilientAgentError) as caught:
        raise make(name)
    caught.value.add_note("a note")
    assert "a note" in "".join(traceback.format_exception(caught.value))


def test_what_cannot_be_stored_is_named_with_its_place():
    """NotStorable says where and why, has both as attributes, and is a ValueError."""
    error = make("NotStorable")
    assert isinstance(error, ValueError)
    assert (error.path, error.reason) == MADE["NotStorable"]
    assert str(error) == "$[0].content[2].source: bytes are no JSON: encode them"


def test_a_busy_session_says_who_holds_it_and_what_to_do():
    """SessionBusy names the session and its holder, and tells what can be done."""
    error = make("SessionBusy")
    assert (error.session_id, error.holder) == MADE["SessionBusy"]
    assert "'ticket-42' is held by process 17 on this machine" in str(error)
    assert "another session id" in str(error)


@pytest.mark.parametrize("name", ["StorageError", "StorageFull"])
def test_a_refusing_storage_keeps_what_the_system_said(name):
    """Storage errors are OSErrors with the system's number, text and file."""
    error = make(name)
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == MADE[name]


def test_a_bad_id_is_a_value_error_and_a_full_disk_a_storage_error():
    """Who catches the general kind catches the special one."""
    assert issubclass(errors.InvalidSessionId, ValueError)
    assert issubclass(errors.StorageFull, errors.StorageError)
    for name in ("InvalidSessionId", "SessionBusy", "SessionClosed", "SessionLost", "UnsupportedFormat"):
        assert issubclass(getattr(errors, name), errors.SessionError)
