"""`session_guard`: a conversation that is saved message by message, and marked when it ends badly.

Decides what entering and leaving mean: claim and resume, close or remove, mark as interrupted
and why. The same guard serves `with` and `async with`; all that differs is who waits for the
disk. Does not know how a log is kept (`stores/`), and never replaces the body's exception.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import weakref
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Any, Final, TypedDict, Unpack

import anyio

from resilient_agent import _scope, clock
from resilient_agent.classify import ErrorClassifier
from resilient_agent.classify.chains import leaves
from resilient_agent.errors import Deferred, SessionBusy, SessionLost
from resilient_agent.report import report_of
from resilient_agent.session._core import Core, Redact
from resilient_agent.session._crossing import Line, decided
from resilient_agent.session._terminating import Terminated, watch
from resilient_agent.session.dialects import dialect_for
from resilient_agent.session.faces import AsyncSession, Session
from resilient_agent.session.history import History, interruption_fields
from resilient_agent.session.resuming import Resume, Terms
from resilient_agent.session.stores import open_store
from resilient_agent.session.stores.base import Codec, SessionStore, StoredSession, StoredStatus, check_session_id
from resilient_agent.session.stores.file import Durability, FileStore

__all__ = [
    "SessionGuard",
    "discard_session",
    "interrupted_sessions",
    "prune_sessions",
    "session_guard",
]

logger: Final = logging.getLogger("resilient_agent.session")

Store = SessionStore | str | os.PathLike[str] | None

_CLASSIFIER: Final = ErrorClassifier()
_REASONS: Final = {
    "CancelledError": "cancelled",
    "Cancelled": "cancelled",
    "KeyboardInterrupt": "keyboard interrupt",
    "SystemExit": "system exit",
    "GeneratorExit": "generator exit",
    "Terminated": "terminated",
    "Deferred": "deferred",
}
_ORDERS: Final = frozenset({"keyboard interrupt", "system exit", "terminated"})
_MISPLACED: Final = (
    "the session is left and free, but its guard was left in another task than it was entered in, or before a guard or "
    "cancel scope that was entered inside it: enter and leave in one task, and in the reverse order"
)
_LOOKS: Final = 0.05, 1.0
"""Seconds between two looks at a session that somebody else holds: at first, and when it takes long."""


class Options(TypedDict, total=False):
    """The arguments of `session_guard` that are seldom given; they are explained there."""

    max_resumes: int | None
    resume_within: float | datetime.timedelta | None
    wait: float
    durability: Durability | None
    repair: str | None
    redact: Redact | None
    codec: Codec | None
    sigterm: bool


def session_guard(
    session_id: str, *, store: Store = None, keep: bool = False, resume: Resume = True, **options: Unpack[Options]
) -> SessionGuard:
    """Guard a conversation: `async with session_guard("ticket-42") as session:`, or `with` in plain code.

    Entering claims the session for this guard alone and brings back what is stored of it. Each
    `append` is on the disk when it returns. Left normally, the session is done and its record
    is removed (kept with `keep=True`). Left by an exception, a cancellation or Ctrl-C it is
    marked as interrupted; killed, it needs no mark: the next start finds it all the same.

    Lines of a file that cannot be read are told (`session.damage`), and such a file is not removed at the end but
    kept beside the others, as `....jsonl.damaged-...`.

    A history that was interrupted is repaired before anybody sees it, so that every provider takes
    it: tool calls without a result get one that says that the outcome is unknown.

    Args:
        session_id: any text but the empty one. `a/b`, `a_b`, `A/b` are three sessions.
        store: a folder, the URL of a database (`postgresql://...`, `redis://...`), or a store; see `open_store`.
            When not given, what `RESILIENT_AGENT_STORE` says, else the folder that `RESILIENT_AGENT_HOME`
            names, else the user's state directory.
        keep: keep the record after a clean end; the next guard of this id goes on with it.
        resume: go on with what is stored; False begins with an empty conversation, `"force"` goes on
            whatever `max_resumes`, `resume_within` and a deferral say.
        max_resumes: how often in a row a session is resumed that crashes each time without getting any
            further; 3 by default, None for no limit. An answer that is saved and a clean end begin the count
            anew; Ctrl-C, a cancellation, SIGTERM and a deferral are no crashes.
        resume_within: seconds, or a timedelta, after which an interrupted conversation is not gone on with any more: an
            empty one begins, and a warning is logged. For a deferred one they count from its moment on.
        wait: seconds to wait for a session that somebody else holds, or that is deferred; 0 by default.
        durability: of files: `"power"` (an acknowledged save survives a power cut) or `"process"` (it survives
            the end of the process, at a twentieth of the cost); the store's own when not given. What a save to
            a database survives is said in the database's own settings.
        repair: the dialect of the messages, `"openai-chat"`, `"openai-responses"` or `"anthropic"`;
            `"auto"` (the default) works it out from them; None leaves the history as it is.
        redact: called with each message, extra state, effect argument and result, as JSON has it, before
            it gets near the disk; what it returns is stored. `redact_secrets` is one that is ready.
            Where it raises, nothing is saved and that comes out.
        codec: seals what is stored: an object with `encode(data, session_id, seq)` and
            `decode(data, session_id, seq)`, bytes to bytes. What is said stays hidden; the session's id, times, kinds,
            counts, the process, the host and how the session ended (class and rule of an error) stay readable, and
            are not sealed. A `seq` may come again: a nonce is never made from it.
        sigterm: end the body when SIGTERM comes, mark the session and leave the program with status 143; an
            error that the body makes of that is what comes out in place of it, and the mark is the same.
            In the main thread only, and not inside of an async generator.

    Raises:
        TypeError: the id is no string, the store is none, an argument is of the wrong kind.
        ValueError: an argument is out of its range.
        InvalidSessionId: the id is empty or no valid text.
        SessionBusy: (on entering) somebody else holds the session.
        SessionPoisoned: (on entering) it was resumed `max_resumes` times in a row and crashed each time.
        Deferred: (on entering) a server has named a moment before which there is no use in going on.
        SessionSealed: (on entering) it is stored sealed, and not by this codec.
        UnsupportedFormat: (on entering) a newer version of this library wrote it.
        RuntimeError: (on entering) `sigterm=True` outside of the main thread; (on leaving) in another task than it was
            entered in, or not in the reverse order: the session is left all the same.
        ImportError: the driver of the database is not installed.
        StorageError: (on entering) the folder or the database cannot be used; on leaving normally, it could
            not be removed. `StoreUnavailable` where a database did not answer.
        SessionLost: (on leaving) another worker has the session, or the lease of this one ran out. In a coroutine
            the body is cancelled at once when that happens, and this is what comes out of it in place of
            the cancellation; in plain code the next save raises it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> try:
        ...     with session_guard("ticket-42", store=folder) as session:
        ...         session.append({"role": "user", "content": "Where is my order?"})
        ...         raise ConnectionResetError("the machine room is on fire")
        ... except ConnectionResetError:
        ...     pass
        >>> [found.session_id for found in interrupted_sessions(folder)]
        ['ticket-42']
        >>> with session_guard("ticket-42", store=folder) as session:
        ...     print(session.resumed, session.interruption.error, session.messages)
        True ConnectionResetError [{'role': 'user', 'content': 'Where is my order?'}]
        >>> interrupted_sessions(folder)
        []
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"session_guard does not know {', '.join(sorted(unknown))}")
    check_session_id(session_id)  # a bad id is refused here, where it was written
    opened = _durable(open_store(store), options.get("durability"))
    return SessionGuard(opened, session_id, keep=keep, resume=resume, **options)


def interrupted_sessions(store: Store = None) -> list[StoredSession]:
    """The sessions that ended badly and that nobody holds, newest first.

    Args:
        store: as for `session_guard`.

    Raises:
        StorageError: the folder cannot be read.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with session_guard("ticket-42", store=folder) as session:
        ...     raise TimeoutError
        Traceback (most recent call last):
            ...
        TimeoutError
        >>> [found.session_id for found in interrupted_sessions(folder)]
        ['ticket-42']
    """
    found = (session for session in open_store(store).scan() if session.status == "interrupted")
    return sorted(found, key=lambda session: session.saved_at, reverse=True)


def discard_session(session_id: str, *, store: Store = None) -> bool:
    """Remove what is stored of a session, for good, also a damaged file that was set aside; whether there was anything.

    Raises:
        SessionBusy: somebody holds it.
        StorageError: it could not be removed.

    Example:
        >>> import tempfile
        >>> discard_session("ticket-42", store=tempfile.mkdtemp())
        False
    """
    return open_store(store).delete(session_id)


def prune_sessions(
    *, older_than: float | datetime.timedelta, status: StoredStatus | Collection[StoredStatus], store: Store = None
) -> list[StoredSession]:
    """Remove old sessions; never one that somebody holds.

    A damaged file is not removed but set aside, as at the end of its guard; `discard_session` removes it.

    Args:
        older_than: seconds since the last save, or a timedelta.
        status: `"closed"`, `"interrupted"`, or both in a list.
        store: as for `session_guard`.

    Returns:
        Those that were removed.

    Raises:
        ValueError: another status, or a negative age.
        StorageError: one could not be removed.

    Example:
        >>> import datetime, tempfile
        >>> prune_sessions(older_than=datetime.timedelta(days=30), status="closed", store=tempfile.mkdtemp())
        []
    """
    return open_store(store).prune(older_than=older_than, status=status)


def _durable(store: SessionStore, durability: Durability | None) -> SessionStore:
    if durability is None:
        return store
    if not isinstance(store, FileStore):
        raise TypeError(f"durability= is for files; what a save to {store!r} survives is said in its own settings")
    return FileStore(store.folder, durability=durability)


class SessionGuard:
    """What `session_guard` returns: enter it with `with` or `async with`."""

    def __init__(
        self, store: SessionStore, session_id: str, *, keep: bool, resume: Resume, **options: Unpack[Options]
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._keep = keep
        self._terms = Terms(resume, options.get("max_resumes", 3), options.get("resume_within"))
        self._wait = _patience(options.get("wait", 0.0))
        self._repair = options.get("repair", "auto")
        if self._repair is not None:
            dialect_for(self._repair, [])
        self._redact = _called("redact", options.get("redact"))
        self._codec = _codec(options.get("codec"))
        self._sigterm = options.get("sigterm", False)
        self._core: Core | None = None
        self._claimed: Core | None = None  # claimed, and not entered yet
        self._unclaim: weakref.finalize[[], SessionGuard] | None = None
        self._around = contextlib.ExitStack()
        self._scope: anyio.CancelScope | None = None
        self._ended_by: BaseException | None = None  # why we cancelled the body

    # In

    @property
    def session_id(self) -> str:
        """The id, as it was given."""
        return self._session_id

    def __enter__(self) -> Session:
        """Claim the session; see `session_guard`."""
        until = clock.monotonic() + self._wait
        while True:
            try:
                core = self._claim()
                break
            except (SessionBusy, Deferred) as error:
                pause = _pause(error, until - clock.monotonic(), self._wait)
                if pause is None:
                    raise
            clock.sleep(pause)
        self._ended_by = None
        self._entered(core, self._raise_terminated if self._sigterm else None)
        return Session(core)

    def _raise_terminated(self) -> None:
        self._ended_by = Terminated()
        raise self._ended_by

    async def __aenter__(self) -> AsyncSession:
        """Claim the session; see `session_guard`."""
        until = anyio.current_time() + self._wait
        while True:
            try:
                core = await decided(self._claim, at=self._store, undo=Core.abandon)
                break
            except (SessionBusy, Deferred) as error:
                pause = _pause(error, until - anyio.current_time(), self._wait)
                if pause is None:
                    raise
            await clock.async_sleep(pause)
        self._entered(core, self._bounded(core))
        if self._scope is not None:
            self._scope.__enter__()
        return AsyncSession(core, Line(self._store))

    def _bounded(self, core: Core) -> Callable[[], None] | None:
        """A scope around the body, where something may have to end it: SIGTERM, or that the session is lost.

        Returns:
            What SIGTERM calls, if anything.
        """
        scope, in_loop = anyio.CancelScope(), clock.callback()
        self._ended_by = None

        def end(reason: BaseException) -> None:
            self._ended_by = self._ended_by or reason
            in_loop(scope.cancel)

        if core.log.attend(end, in_loop) or self._sigterm:
            self._scope = scope
        return (lambda: end(Terminated())) if self._sigterm else None

    def claim_interrupted(self) -> bool:
        """Claim the session now, if it is interrupted and nobody has it; `claim_interrupted` is for users.

        Raises:
            What entering raises, but for `SessionBusy`.
        """
        try:
            core = self._claim(only_interrupted=True)
        except (SessionBusy, _NotInterruptedError):
            return False
        self._claimed = core
        # Whoever drops the guard without having entered it gives the session back.
        self._unclaim = weakref.finalize(self, core.abandon)
        return True

    def give_back(self) -> None:
        """Leave a session as it was found that was claimed and not entered."""
        if self._claimed is not None:
            self._taken().abandon()

    def _taken(self) -> Core:
        core, self._claimed = self._claimed, None
        assert core is not None  # noqa: S101 - asked for by those who know
        assert self._unclaim is not None  # noqa: S101 - goes with it
        self._unclaim.detach()
        return core

    def _claim(self, *, only_interrupted: bool = False) -> Core:
        if self._claimed is not None:
            return self._taken()

        def begins_afresh(history: History, now: datetime.datetime) -> bool:
            if only_interrupted and history.interruption is None:
                raise _NotInterruptedError
            return self._begins_afresh(history, now)

        log = self._store.claim(self._session_id, admit=begins_afresh, codec=self._codec)
        try:
            return Core(self._session_id, log, repair=self._repair, redact=self._redact)
        except BaseException:
            log.abandon()
            raise

    def _begins_afresh(self, history: History, now: datetime.datetime) -> bool:
        interruption = history.interruption
        afresh = self._terms.begins_afresh(history, self._session_id, now)
        if afresh and self._terms.resume is True and interruption is not None:
            ago = (now - interruption.at).total_seconds()
            logger.warning(
                "session %r was interrupted %.0f s ago, longer than resume_within: an empty conversation begins",
                self._session_id,
                ago,
            )
        return afresh

    def _entered(self, core: Core, on_sigterm: Callable[[], None] | None) -> None:
        """What holds for as long as the guard does."""
        try:
            if on_sigterm is not None:
                self._around.callback(watch(on_sigterm))
            self._around.callback(_scope.leave, _scope.guarded.set(core))
        except BaseException:
            core.abandon()
            raise
        self._core = core

    # Out

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the session as the body ended."""
        core, ending = self._leaving(), self._ending(error)
        with _second_to(error):
            core.leave(ending, keep=self._keep)
        if self._ended_by is not None and error is None:
            raise self._ended_by

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the session as the body ended, whatever is cancelled meanwhile."""
        core, ending = self._leaving(), self._ending(error)
        caught = self._left_scope(kind, error, tb)
        with _second_to(self._ended_by if caught else error):
            if isinstance(error, GeneratorExit):
                # A coroutine or generator that is being closed may not await any more.
                core.leave(ending, keep=self._keep)
                return
            with anyio.CancelScope(shield=True):
                await decided(lambda: core.leave(ending, keep=self._keep), at=self._store, must=True)
        if self._ended_by is not None and (caught or error is None):
            raise self._ended_by

    def _left_scope(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool:
        """Leave the scope around the body; whether what ends it is our own cancellation.

        Never raises: the session has to be left in any case.
        """
        scope, self._scope = self._scope, None
        if scope is None:
            return False
        try:
            return scope.__exit__(kind, error, tb)
        except RuntimeError as refused:
            if error is None:
                misplaced = RuntimeError(_MISPLACED)
                misplaced.__cause__ = refused
                self._ended_by = self._ended_by or misplaced
            elif not isinstance(error, GeneratorExit):  # a dropped generator is closed in another task than it ran in
                with contextlib.suppress(Exception):
                    error.add_note(f"resilient_agent: {_MISPLACED}")
            return False

    def _ending(self, error: BaseException | None) -> dict[str, Any] | None:
        """What is written down of how the body ended; None where it ended well.

        After SIGTERM, whatever the body made of it: a cancellation by us or by the guard around this, or an error of
        its own.
        """
        if error is None:
            return None
        ended = _out_of_group(error)
        if isinstance(self._ended_by, Terminated) and _reason(ended) in {"cancelled", "exception"}:
            ended = self._ended_by
        try:
            return _told(ended)
        except Exception as failed:  # an error that cannot be looked into, such as a group of thousands of levels
            logger.warning("why session %r ended could not be told: %s", self._session_id, type(failed).__name__)
            return interruption_fields(_reason(ended), ended, None)

    def _leaving(self) -> Core:
        core, self._core = self._core, None
        if core is None:
            raise RuntimeError("this guard is not entered")
        self._around.close()
        return core


class _NotInterruptedError(Exception):
    """The session ended well, or somebody else has dealt with it meanwhile."""


def _patience(wait: float) -> float:
    if isinstance(wait, bool) or not isinstance(wait, int | float):
        raise TypeError(f"wait is a number of seconds, not {wait!r}")
    if not wait >= 0:
        raise ValueError(f"wait must not be negative, not {wait!r}")
    return wait


def _called(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")
    return value


def _codec(value: Codec | None) -> Codec | None:
    if value is not None and not all(callable(getattr(value, name, None)) for name in ("encode", "decode")):
        raise TypeError(f"codec is an object with encode(data, session_id, seq) and decode, not {value!r}")
    return value


def _pause(error: SessionBusy | Deferred, left: float, wait: float) -> float | None:
    """How long to wait before the next look; None where there is no time for one."""
    if isinstance(error, Deferred):
        due = max(0.0, (error.not_before - clock.now()).total_seconds())
        return due if due <= left else None
    shortest, longest = _LOOKS
    return min(max(shortest, (wait - left) / 8), longest, left) if left > 0 else None


def _reason(error: BaseException) -> str:
    return _REASONS.get(type(error).__name__, "exception")


def _out_of_group(error: BaseException) -> BaseException:
    """What a group of exceptions says of the end: an order to stop in it; else, where nothing in it crashed, its first.

    A task group wraps whatever ended one of its tasks, a Ctrl-C and a deferral as well.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    ends = leaves(error)
    if (order := next((end for end in ends if _reason(end) in _ORDERS), None)) is not None:
        return order
    if any(_reason(end) == "exception" for end in ends):
        return error
    # A deferral says when to go on; beside it, cancellations only tell that the others were stopped.
    return next((end for end in ends if isinstance(end, Deferred)), ends[0])


def _told(error: BaseException) -> dict[str, Any]:
    """What is written down of a bad end."""
    told: BaseException = error
    not_before, attempts = None, 0
    if isinstance(error, Deferred):
        told, not_before, attempts = error.__cause__ or error, error.not_before, error.attempts
    verdict = _CLASSIFIER.classify(told) if isinstance(told, Exception) else None
    report = report_of(told)
    if report is not None:
        attempts = report.requests
    return interruption_fields(_reason(error), told, verdict, attempts=attempts, not_before=not_before)


@contextlib.contextmanager
def _second_to(error: BaseException | None) -> Iterator[None]:
    """Where the body raised, its exception is what propagates: a failing end is noted on it, and logged."""
    try:
        yield
    except Exception as ending:
        if error is None:
            raise
        if isinstance(ending, SessionLost) and isinstance(error, SessionLost):
            return
        # Not logger.exception: the traceback would repeat what the body raised, prompts and all.
        logger.error("the session could not be marked as interrupted (it will be found all the same): %s", ending)  # noqa: TRY400
        with contextlib.suppress(Exception):
            error.add_note(f"resilient_agent: the session could not be marked as interrupted: {ending}")
