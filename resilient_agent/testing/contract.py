"""`store_contract`: what every store of sessions has to keep, as checks that anybody can run against theirs.

Each check puts one promise of `session/stores/base.py` to the test, on a real store, in real time. Needs
no test framework. Knows of a store what the contract says, and of a `LeasedStore` also its engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from resilient_agent.errors import InvalidSessionId, SessionBusy, SessionClosed, SessionLost
from resilient_agent.session.history import History, interruption_fields
from resilient_agent.session.stores._held import Held
from resilient_agent.session.stores.base import SessionLog, SessionStore, StoredSession
from resilient_agent.session.stores.lease import Entry, Lease
from resilient_agent.session.stores.leased import LeasedStore

__all__ = ["MakeStore", "Promise", "store_contract"]

_LONG: Final = 30.0
_SHORT: Final = 1.0


class MakeStore(Protocol):
    """Gives a store, each time a new one over the same sessions, as another process would open it.

    There are no sessions in it when a check begins.
    """

    def __call__(self, *, ttl: float) -> SessionStore:
        """A store whose leases run for so many seconds; a store without leases takes no notice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Promise:
    """One check.

    Attributes:
        name: of the check.
        words: what is promised.

    Calling it with a `MakeStore` runs it.

    Raises:
        AssertionError: the promise is not kept.
    """

    name: str
    words: str
    _check: Callable[[MakeStore], None]

    def __call__(self, make: MakeStore) -> None:
        """Put the promise to the test."""
        self._check(make)

    def __str__(self) -> str:
        return self.name


_promises: list[Promise] = []


def _promise(check: Callable[[MakeStore], None]) -> Callable[[MakeStore], None]:
    _promises.append(Promise(check.__name__, (check.__doc__ or "").partition("\n")[0], check))
    return check


def _expect(kept: object, said: str) -> None:
    if not kept:
        raise AssertionError(said)


def _same(found: object, due: object, what: str) -> None:
    _expect(found == due, f"{what}: {found!r}, and not {due!r}")


def _said(number: int) -> dict[str, Any]:
    return {"role": "user", "content": f"message {number}"}


def _append(log: SessionLog, *messages: Any) -> None:
    for message in messages:
        log.append("appended", {"messages": [message]})


def _put(store: SessionStore, session_id: str, *messages: Any, ending: Any = None) -> None:
    """A session as an owner leaves it: with a record of its end, or without a word."""
    log = store.claim(session_id)
    _append(log, *messages)
    if ending is not None:
        log.append(ending, {} if ending == "closed" else interruption_fields("marked", None, None))
    log.release()


def _messages(store: SessionStore, session_id: str) -> list[Any] | None:
    history = store.read(session_id)
    return None if history is None else history.messages


def _listed(store: SessionStore) -> dict[str, StoredSession]:
    return {found.session_id: found for found in store.scan()}


@contextlib.contextmanager
def _refused(kind: type[Exception], what: str) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{what}: {kind.__name__} was due")


def _leased(store: SessionStore) -> LeasedStore | None:
    """The store, where ownership is a lease; a kernel's lock cannot run out."""
    return store if isinstance(store, LeasedStore) else None


def _held(log: SessionLog) -> Held:
    held = getattr(log, "_held", None)
    assert isinstance(held, Held)  # noqa: S101 - of a LeasedStore
    return held


# Records


@_promise
def a_new_session_is_empty(make: MakeStore) -> None:
    """Claiming an id that was never used gives an empty session, and reading it before gives nothing."""
    store = make(ttl=_LONG)
    _same(store.read("new"), None, "what is read of a session that there is not")
    log = store.claim("new")
    _same((log.was, log.interruption, log.history.messages, log.damage), ("new", None, [], ()), "a new session")
    log.release()


@_promise
def what_is_appended_is_there_for_everybody_at_once(make: MakeStore) -> None:
    """When an append returns, each reader finds it, in its place."""
    store, other = make(ttl=_LONG), make(ttl=_LONG)
    log = store.claim("a")
    for number in range(50):
        _append(log, _said(number))
        _same(_messages(other, "a"), [_said(n) for n in range(number + 1)], "what another reads")
    log.release()


@_promise
def content_comes_back_as_it_was(make: MakeStore) -> None:
    """NUL, lone surrogates, the order of keys, floats, great numbers and a megabyte come back as they were."""
    odd = {
        "role": "user", "content": "\0 \ud800 \U0001f600 東京 \\u0000 ' \" \n\r\t \x7f",
        "b": 1, "a": 100.0, "1e2": 1e2, "big": 2**100, "small": 5e-324, "empty": [{}, [], "", None, True],
        "long": "x" * 1_000_000,
    }  # fmt: skip
    store = make(ttl=_LONG)
    _put(store, "odd", odd)
    found = _messages(make(ttl=_LONG), "odd")
    _same(found, [odd], "the content")
    _same(list((found or [{}])[0]), list(odd), "the order of the keys")


@_promise
def ids_are_what_they_are(make: MakeStore) -> None:
    """Ids that look alike, long ones and odd ones are sessions of their own; what is no text is refused."""
    ids = [
        "a/b",
        "a_b",
        "A/b",
        "a b",
        "{a}b",
        "'; --",
        "%s",
        "\\0",
        "\u00e9",
        "e\u0301",
        "x" * 3000,
        "x" * 3001,
        ".",
        "*",
        "\n",
        "a\0b",
    ]
    store = make(ttl=_LONG)
    for session_id in ids:
        _put(store, session_id, {"id": session_id})
    for session_id in ids:
        _same(_messages(store, session_id), [{"id": session_id}], f"the session {session_id[:20]!r}")
    _same(sorted(_listed(store)), sorted(ids), "the ids in the listing")
    for session_id in ("", "\ud800"):
        with _refused(InvalidSessionId, f"the id {session_id!r}"):
            store.claim(session_id)


@_promise
def records_that_a_later_version_wrote_are_kept(make: MakeStore) -> None:
    """A record of a kind that is not known stands between the others, and is not thrown away."""
    store = make(ttl=_LONG)
    log = store.claim("a")
    _append(log, _said(1))
    kind: Any = "invented"
    log.append(kind, {"said": "by a later version"})
    for number in range(40):
        log.append("replaced", {"messages": [{**_said(number), "long": "x" * 10_000}]})
    log.release()
    found = store.read("a")
    _expect(found is not None and found.strange, "the record that is not known is gone")


@_promise
def a_log_is_compacted_where_most_of_it_was_replaced(make: MakeStore) -> None:
    """Replacing a history again and again does not fill the store, and loses nothing."""
    store = make(ttl=_LONG)
    log = store.claim("a")
    for number in range(60):
        log.append("replaced", {"messages": [{**_said(number), "long": "x" * 10_000}]})
        _append(log, _said(number))
    seq = log.history.seq
    log.release()
    history = make(ttl=_LONG).read("a")
    _expect(history is not None, "the session is gone")
    assert history is not None  # noqa: S101 - for the type checker
    _same(
        (history.seq, [message["content"] for message in history.messages]), (seq, ["message 59"] * 2), "what is left"
    )
    if (leased := _leased(store)) is not None:
        size = sum(map(len, leased.engine.read("a")))
        _expect(size < 200_000, f"{size} bytes are stored of 20,000 that count")


# Owners


@_promise
def one_owner_at_a_time(make: MakeStore) -> None:
    """Whoever claims a session that somebody owns is told so at once, and by whom; other sessions are free."""
    store, other = make(ttl=_LONG), make(ttl=_LONG)
    log = store.claim("a")
    for contender in (store, other):
        began = time.monotonic()
        try:
            contender.claim("a")
            raise AssertionError("a second owner got in")
        except SessionBusy as busy:
            _expect(busy.holder, "it does not say who holds the session")
        _expect(time.monotonic() - began < 1, "the second owner had to wait")
    other.claim("b").release()
    log.release()
    other.claim("a").release()


@_promise
def of_many_who_claim_one_wins(make: MakeStore) -> None:
    """Eight threads claim one session at the same moment, again and again: one gets it each time."""
    stores = [make(ttl=_LONG) for _ in range(8)]
    _put(stores[0], "a", _said(0))
    for _ in range(10):
        start = threading.Barrier(8)
        won: list[SessionLog] = []
        odd: list[Exception] = []

        def claim(store: SessionStore, start: threading.Barrier, won: list[SessionLog], odd: list[Exception]) -> None:
            start.wait()
            try:
                won.append(store.claim("a"))
            except SessionBusy:
                pass
            except Exception as error:
                odd.append(error)

        threads = [threading.Thread(target=claim, args=(store, start, won, odd)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _same(odd, [], "errors")
        _same(len(won), 1, "winners")
        won[0].release()


@_promise
def what_admit_raises_comes_out_and_nothing_has_changed(make: MakeStore) -> None:
    """A claimer who looks at a session and does not want it leaves it as it stood, and free."""

    class NotWantedError(Exception):
        pass

    def refuse(history: History, now: datetime.datetime) -> bool:
        _expect(now.tzinfo is not None, "the moment has no time zone")
        seen.append(list(history.messages))
        raise NotWantedError

    store = make(ttl=_LONG)
    _put(store, "a", _said(1), ending="interrupted")
    before = _listed(store)
    seen: list[list[Any]] = []
    for session_id in ("a", "not there"):
        with _refused(NotWantedError, "what admit raised"):
            store.claim(session_id, admit=refuse)
    _same(seen, [[_said(1)], []], "what admit saw")
    _same(_listed(store), before, "the listing")
    store.claim("a").release()


@_promise
def a_session_may_begin_anew(make: MakeStore) -> None:
    """Where admit says so, the new owner finds an empty session, and so does everybody after him."""
    store = make(ttl=_LONG)
    _put(store, "a", _said(1))
    log = store.claim("a", admit=lambda *_: True)
    _same((log.afresh, log.history.messages), (True, []), "begun anew")
    _append(log, _said(2))
    log.release()
    _same(_messages(store, "a"), [_said(2)], "what is stored")


@_promise
def whoever_let_go_writes_no_more(make: MakeStore) -> None:
    """After its release a log takes nothing; released again, it does nothing."""
    store = make(ttl=_LONG)
    log = store.claim("a")
    _append(log, _said(1))
    log.release()
    next_one = store.claim("a")
    log.release()
    with _refused(SessionClosed, "an append after the release"):
        _append(log, _said(2))
    with _refused(SessionBusy, "the second release let the next owner go"):
        store.claim("a")
    next_one.release()
    _same(_messages(store, "a"), [_said(1)], "what is stored")


@_promise
def an_owner_who_got_nowhere_leaves_no_trace(make: MakeStore) -> None:
    """Abandoned, a session stands as it was found: not there, interrupted as often and for the same reason, closed."""
    store = make(ttl=_LONG)
    store.claim("new").abandon()
    _same(_listed(store), {}, "a new session that was abandoned")
    _put(store, "closed", _said(1), ending="closed")
    _put(store, "marked", _said(1), ending="interrupted")
    _put(store, "killed", _said(1))
    store.claim("killed").release()  # resumed, and killed again
    before = _listed(store)
    for session_id in before:
        store.claim(session_id).abandon()
    after = _listed(store)
    for session_id, found in before.items():
        _same(_how(after[session_id]), _how(found), f"how {session_id} was interrupted")
        _same(after[session_id].status, found.status, f"the status of {session_id}")
        _same(_messages(store, session_id), [_said(1)], f"the messages of {session_id}")


def _how(found: StoredSession) -> tuple[str, int] | None:
    return None if found.interruption is None else (found.interruption.reason, found.interruption.resumes)


@_promise
def epochs_only_grow(make: MakeStore) -> None:
    """The number of an owner is greater than those before, over a release and over a deletion."""
    store = make(ttl=_LONG)
    seen: list[int] = []
    for _ in range(3):
        for end in ("release", "remove"):
            log = store.claim("a")
            _append(log, _said(1))
            seen.append(_held(log).lease.epoch if _leased(store) else log.history.epoch)
            getattr(log, end)()
    if _leased(store):
        _expect(sorted(set(seen)) == seen, f"the epochs were {seen}")
    else:  # a kernel's lock is held by one, whatever the number: it has to grow while the log is there
        _expect(all(first < second for first, second in zip(seen[::2], seen[1::2], strict=True)), f"{seen}")


# Leases


@_promise
def a_lease_is_renewed_by_itself(make: MakeStore) -> None:
    """An owner who is silent for longer than his lease runs stays the owner, and shows that he gets on."""
    store = _leased(make(ttl=_SHORT))
    if store is None:
        return
    beats: list[Callable[[], object]] = []
    log = store.claim("a")
    log.attend(lambda _: None, beats.append)
    time.sleep(2.5 * _SHORT)
    with _refused(SessionBusy, "the lease ran out"):
        make(ttl=_SHORT).claim("a")
    first = _listed(store)["a"]
    _same(first.status, "live", "the status")
    _expect(len(beats) >= 3, "the owner was not asked whether he gets on")
    beats[-1]()
    log.renew()
    second = _listed(store)["a"]
    assert first.progress_at is not None and second.progress_at is not None  # noqa: S101, PT018 - it is live
    _expect(second.progress_at > first.progress_at, "that the owner got on is not to be seen")
    log.release()


@_promise
def the_owner_who_was_away_too_long_is_refused(make: MakeStore) -> None:
    """Another took over when the lease had run out: the first one's append leaves nothing, and he learns why."""
    store, other = _leased(make(ttl=_SHORT)), make(ttl=_LONG)
    if store is None:
        return
    told: list[SessionLost] = []
    stale = store.claim("a")
    _append(stale, _said(1))
    stale.attend(told.append, None)
    lease, engine = _asleep(store, stale), store.engine
    time.sleep(1.1 * _SHORT)
    _same(_listed(other)["a"].status, "interrupted", "the status when the lease has run out")
    log = other.claim("a")
    _append(log, _said(2))
    with _refused(SessionLost, "an append of the stale owner"):
        _append(stale, _said(3))
    _same(len(told), 1, "how often the stale owner was told")
    # Also where his clock let him believe that he was in time.
    _expect(
        not engine.append(lease, Entry(3, b"{}", b"{}", ended=True, rest=0.0, alone=False)), "a stale append counted"
    )
    _expect(
        not engine.append(lease, Entry(4, b"{}", b"{}", ended=True, rest=0.0, alone=True)), "a stale append counted"
    )
    _same(engine.renew([(lease, 0.0)]), [lease], "leases that are lost")
    _expect(not engine.delete(lease), "the stale owner deleted the session")
    engine.release(lease, 3600.0)
    with _refused(SessionBusy, "the stale owner let the new one go"):
        make(ttl=_LONG).claim("a")
    _append(log, _said(4))
    log.release()
    _same(_messages(other, "a"), [_said(1), _said(2), _said(4)], "what is stored")


def _asleep(store: LeasedStore, log: SessionLog) -> Lease:
    """An owner whose process stands still: nobody renews. Its lease."""
    store._keeper.drop(_held(log))  # noqa: SLF001 - as if its threads were stopped
    return _held(log).lease


@_promise
def a_lease_runs_as_long_as_its_owner_said(make: MakeStore) -> None:
    """A contender with a shorter ttl does not apply his own."""
    store = _leased(make(ttl=_LONG))
    if store is None:
        return
    log = store.claim("a")
    _asleep(store, log)
    time.sleep(1.1 * _SHORT)
    with _refused(SessionBusy, "the lease was judged by the contender's ttl"):
        make(ttl=_SHORT).claim("a")
    log.release()


@_promise
def a_step_that_is_asked_for_twice_is_done_once(make: MakeStore) -> None:
    """An answer that was lost on its way does no harm: the same step again comes to the same."""
    store = _leased(make(ttl=_LONG))
    if store is None:
        return
    engine, lease = store.engine, Lease("a", 0, "me", "this test", _LONG)
    for _ in range(2):
        lease = dataclasses.replace(lease, epoch=engine.claim(lease).epoch)
    first, second = (
        Entry(number, b'{"n":%d}' % number, b"{}", ended=False, rest=0.0, alone=False) for number in (1, 2)
    )
    for entry in (first, first, second, second):
        _expect(engine.append(lease, entry), "an append was refused")
    _same(engine.read("a"), [first.line, second.line], "what is stored")
    _expect(not engine.append(lease, first), "a record was overwritten that others followed")
    _expect(not engine.append(lease, dataclasses.replace(second, seq=4)), "a record was left out")
    again = dataclasses.replace(lease, epoch=engine.claim(lease).epoch)
    _expect(not engine.append(lease, dataclasses.replace(second, seq=3)), "an append of the epoch before counted")
    other = dataclasses.replace(second, line=b'{"n":"other"}')
    _expect(engine.append(again, other), "what was never acknowledged could not be replaced")
    _same(engine.read("a"), [first.line, other.line], "what is stored")
    _same([engine.delete(again), engine.delete(again), engine.read("a")], [True, False, []], "deleted twice")
    engine.release(again, 0.0)


# Listing, recovery, deletion


@_promise
def a_listing_says_how_each_session_stands(make: MakeStore) -> None:
    """Live, interrupted with its reason, closed; how many messages, and when the last was saved."""
    store = make(ttl=_LONG)
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    _put(store, "killed", _said(1), _said(2))
    _put(store, "marked", _said(1), ending="interrupted")
    _put(store, "closed", ending="closed")
    log = store.claim("live")
    _append(log, _said(1))
    found = _listed(make(ttl=_LONG))
    _same(
        {key: (each.status, each.message_count) for key, each in found.items()},
        {"killed": ("interrupted", 2), "marked": ("interrupted", 1), "closed": ("closed", 0), "live": ("live", 1)},
        "the listing",
    )
    reasons = {key: each.interruption and each.interruption.reason for key, each in found.items()}
    _same(reasons, {"killed": "unknown", "marked": "marked", "closed": None, "live": None}, "the reasons")
    _expect(all(each.saved_at > before for each in found.values()), "when it was saved")
    log.release()


@_promise
def a_live_session_is_never_shown_as_interrupted(make: MakeStore) -> None:
    """Somebody who lists all the time while sessions begin and end sees none of them as interrupted."""
    store, other = make(ttl=_LONG), make(ttl=_LONG)
    seen: list[StoredSession] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.extend(found for found in other.scan() if found.status != "live")
            seen.extend(StoredSession(key, "interrupted", 0, _NEVER, None) for key in other.due(10))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(30):
            log = store.claim(f"session {number % 3}")
            _append(log, _said(number))
            log.remove()
    finally:
        stop.set()
        watcher.join()
    _same(seen, [], "sessions that were shown as interrupted")


_NEVER: Final = datetime.datetime.min.replace(tzinfo=datetime.UTC)


@_promise
def only_what_may_be_gone_on_with_is_due(make: MakeStore) -> None:
    """Interrupted sessions are due, but for those that have to rest: deferred, or crashed again when resumed."""
    store = make(ttl=_LONG)
    _put(store, "killed", _said(1))
    _put(store, "marked", _said(1), ending="interrupted")
    _put(store, "closed", _said(1), ending="closed")
    live = store.claim("live")
    _append(live, _said(1))
    log = store.claim("deferred")
    _append(log, _said(1))
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    log.append("interrupted", interruption_fields("deferred", None, None, not_before=later))
    log.release()
    _put(store, "twice", _said(1))
    store.claim("twice").release()
    other = make(ttl=_LONG)
    _same(sorted(other.due(10)), ["killed", "marked"], "what is due")
    _same(len(other.due(1)), 1, "how many, where one is asked for")
    live.release()
    _same(sorted(other.due(10)), ["killed", "live", "marked"], "what is due when the live one was left")


@_promise
def deleted_means_gone(make: MakeStore) -> None:
    """Nothing is left of a deleted session; one that somebody owns is not deleted."""
    store, other = make(ttl=_LONG), make(ttl=_LONG)
    _put(store, "a", _said(1))
    _same([store.delete("a"), store.delete("a"), store.delete("not there")], [True, False, False], "what delete says")
    _same((_messages(store, "a"), _listed(store)), (None, {}), "what is left")
    log = store.claim("a")
    _same(log.was, "new", "the session of that id that comes next")
    _append(log, _said(2))
    with _refused(SessionBusy, "a deletion of a session that is owned"):
        other.delete("a")
    log.remove()
    log.release()
    _same(
        (_messages(other, "a"), _listed(other), other.due(10)), (None, {}, []), "what is left of one that was removed"
    )


@_promise
def old_sessions_are_pruned(make: MakeStore) -> None:
    """Pruning removes what is old enough and stands as asked for, and nothing that somebody owns."""
    store = make(ttl=_LONG)
    _put(store, "closed", _said(1), ending="closed")
    _put(store, "killed", _said(1))
    log = store.claim("live")
    _append(log, _said(1))
    _same(store.prune(older_than=3600, status="closed"), [], "what is old")
    removed = store.prune(older_than=0, status=["closed", "interrupted"])
    _same(sorted(found.session_id for found in removed), ["closed", "killed"], "what was removed")
    _same(list(_listed(store)), ["live"], "what is left")
    log.release()


store_contract: Final = tuple(_promises)
"""All promises; each is called with a `MakeStore`.

Example:
    >>> from resilient_agent import MemoryStore
    >>> from resilient_agent.testing import store_contract
    >>> store = MemoryStore()
    >>> for promise in store_contract[:2]:
    ...     promise(lambda ttl: store)

With pytest, for a store of your own (`make_store` is a fixture that begins with an empty one):

    @pytest.mark.parametrize("promise", store_contract, ids=str)
    def test_my_store_keeps(promise, make_store):
        promise(make_store)
"""
