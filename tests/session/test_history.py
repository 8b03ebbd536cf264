"""What a session is, folded from its records."""

import datetime

import pytest

from resilient_agent import ErrorType, Interruption, UnsupportedFormat
from resilient_agent.session.history import History, holder_of, interruption_fields
from resilient_agent.session.record import FORMAT, Record
from resilient_agent.verdict import Classification

START = datetime.datetime(2026, 11, 23, 21, 0, tzinfo=datetime.UTC)
OPENED = {"format": FORMAT, "session_id": "ticket-42", "pid": 7, "host": "here"}
MARK = {
    "reason": "exception",
    "error": "ReadTimeout",
    "verdict": "retryable",
    "rule": "network.timeout",
    "because": "a timeout",
}


def moment(seq):
    return START + datetime.timedelta(seconds=seq)


def fold(*steps, epoch=1):
    """The history of records (kind, fields), numbered and dated in order."""
    history = History()
    for seq, (kind, fields) in enumerate(steps, 1):
        history.apply(Record(seq=seq, epoch=epoch, at=moment(seq), count=0, kind=kind, fields=fields))
    return history


def test_nothing_is_a_new_session():
    """A history without records is new, empty and not interrupted."""
    history = History()
    assert (history.status, history.messages, history.extra, history.interruption) == ("new", [], {}, None)
    assert (history.seq, history.epoch, history.saved_at, history.session_id) == (0, 0, None, None)


def test_an_owner_is_written_down():
    """The first record tells the id and who holds the session."""
    history = fold(("opened", OPENED))
    assert (history.session_id, history.status) == ("ticket-42", "open")
    opened = Record(seq=1, epoch=1, at=history.saved_at, count=0, kind="opened", fields=OPENED)
    assert holder_of(opened) == "process 7 on here since 2026-11-23 21:00:01 UTC"


def test_messages_are_in_the_order_of_their_records():
    """Appended messages come one after the other, one or several to a record."""
    history = fold(("opened", OPENED), ("appended", {"messages": [1, 2]}), ("appended", {"messages": [3]}))
    assert history.messages == [1, 2, 3]
    assert (history.seq, history.saved_at) == (3, moment(3))


def test_replaced_messages_stand_in_place_of_all_before():
    """After a replacement only its messages count, and later ones come behind them."""
    history = fold(
        ("opened", OPENED),
        ("appended", {"messages": [1, 2]}),
        ("replaced", {"messages": [9]}),
        ("appended", {"messages": [3]}),
    )
    assert history.messages == [9, 3]


def test_extra_is_what_was_set_last():
    """Extra state is replaced as a whole, by itself or together with messages, and else stays."""
    steps = [("opened", OPENED), ("extra", {"extra": {"a": 1}}), ("appended", {"messages": [1]})]
    assert fold(*steps).extra == {"a": 1}
    assert fold(*steps, ("extra", {"extra": {"b": 2}})).extra == {"b": 2}
    # B6
    together = fold(*steps, ("appended", {"messages": [2], "extra": {"c": 3}}))
    assert (together.messages, together.extra) == ([1, 2], {"c": 3})
    replaced = fold(*steps, ("replaced", {"messages": [], "extra": {}}))
    assert (replaced.messages, replaced.extra) == ([], {})


def test_the_fold_does_not_change_its_records():
    """Appending behind a replacement leaves the list of the record as it was."""
    messages = [1]
    fold(("opened", OPENED), ("replaced", {"messages": messages}), ("appended", {"messages": [2]}))
    assert messages == [1]


def test_an_unknown_kind_changes_nothing_but_the_numbers():
    """A record of a later version counts and is dated, and changes nothing else."""
    steps = [("opened", OPENED), ("extra", {"extra": {"a": 1}}), ("appended", {"messages": [1]})]
    history = fold(*steps, ("effect_started", {"messages": ["no"], "extra": {"no": 1}, "session_id": "no"}))
    assert (history.messages, history.extra, history.session_id) == ([1], {"a": 1}, "ticket-42")
    assert (history.seq, history.saved_at, history.status) == (4, moment(4), "open")


@pytest.mark.parametrize("found", [FORMAT + 1, 99, None, "1", 1.5])
def test_a_format_that_is_not_ours_is_refused(found):
    """A log of a later format, or of none, is refused with advice."""
    with pytest.raises(UnsupportedFormat, match="upgrade resilient_agent"):
        fold(("opened", {**OPENED, "format": found}))


# -- how it ended ---------------------------------------------------------------------------------


def test_an_open_end_is_an_interruption_for_an_unknown_reason():
    """A log that just stops was interrupted at its last save, and nobody knows why."""
    history = fold(("opened", OPENED), ("appended", {"messages": [1]}))
    # B11: the moment of the last save, not that of the discovery
    assert history.interruption == Interruption(at=moment(2), reason="unknown")


def test_an_owner_that_only_came_was_interrupted_too():
    """A session is found from its first record on, with no messages."""
    history = fold(("opened", OPENED))
    # B7
    assert (history.messages, history.interruption) == ([], Interruption(at=moment(1), reason="unknown"))


def test_a_marked_end_says_what_happened():
    """A mark gives reason, error, verdict, rule and moment of the interruption."""
    history = fold(("opened", OPENED), ("interrupted", MARK))
    assert history.status == "interrupted"
    assert history.interruption == Interruption(
        at=moment(2),
        reason="exception",
        error="ReadTimeout",
        verdict=ErrorType.RETRYABLE,
        rule="network.timeout",
        because="a timeout",
    )


def test_a_clean_end_is_no_interruption():
    """A closed session is not interrupted, even when it had been before."""
    history = fold(("opened", OPENED), ("interrupted", MARK), ("opened", OPENED), ("closed", {}))
    assert (history.status, history.interruption) == ("closed", None)


@pytest.mark.parametrize("ending", [("interrupted", MARK), ("closed", {})], ids=["interrupted", "closed"])
def test_a_new_owner_takes_the_old_end_back(ending):
    """Whoever comes after an end and is killed leaves an interruption of its own."""
    history = fold(("opened", OPENED), ending, ("opened", OPENED), ("appended", {"messages": [1]}))
    assert history.interruption == Interruption(at=moment(4), reason="unknown")


@pytest.mark.parametrize("verdict", ["of-a-later-version", None, 5, ["retryable"]])
def test_a_verdict_of_a_later_version_is_no_verdict(verdict):
    """A verdict that this version does not know is left out, and the rest of the mark is read."""
    history = fold(("opened", OPENED), ("interrupted", {"reason": "exception", "error": "E", "verdict": verdict}))
    assert history.interruption == Interruption(at=moment(2), reason="exception", error="E")


def test_an_empty_mark_is_read():
    """A mark without any fields is an interruption for an unknown reason."""
    history = fold(("opened", OPENED), ("interrupted", {}))
    assert history.interruption == Interruption(at=moment(2), reason="unknown")


def test_a_mark_never_holds_the_errors_message():
    """What is written of an exception is its class and the verdict: keys and prompts stand in messages."""
    fields = interruption_fields("exception", ValueError("sk-secret"), None)
    told = {"reason": "exception", "error": "ValueError", "verdict": None, "rule": "", "because": ""}
    assert fields == {**told, "attempts": 0, "not_before": None}


def test_a_mark_holds_the_verdict():
    """Error type, rule and reason of the classifier are written, and read back as the same."""
    from resilient_agent import BackoffConfig

    verdict = Classification(ErrorType.RETRYABLE, BackoffConfig(), rule="http.503", because="status 503")
    fields = interruption_fields("exception", OSError(), verdict)
    found = fold(("opened", OPENED), ("interrupted", fields)).interruption
    assert (found.verdict, found.rule, found.because) == (ErrorType.RETRYABLE, "http.503", "status 503")
