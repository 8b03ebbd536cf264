"""`session_guard`: a conversation that is saved message by message, and marked when it ends badly.

Decides what entering and leaving mean: claim and resume, close or remove, mark as interrupted
and why. The same guard serves `with` and `async with`; all that differs is who waits for the
disk. Does not know how a log is kept (`stores/`), and never replaces the body's exception.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import anyio

from resilient_agent.classify import ErrorClassifier
from resilient_agent.errors import NotStorable, SessionClosed
from resilient_agent.session._crossing import decided
from resilient_agent.session.content import plain
from resilient_agent.session.history import Interruption, interruption_fields
from resilient_agent.session.record import Damage
from resilient_agent.session.stores.file import FileLog, FileStore, StoredSession

__all__ = ["AsyncSession", "Session", "SessionGuard", "interrupted_sessions", "open_store", "session_guard"]

logger: Final = logging.getLogger("resilient_agent.session")

Message = Mapping[str, Any]
Store = FileStore | str | os.PathLike[str] | None

_CLASSIFIER: Final = ErrorClassifier()
_REASONS: Final = {
    "CancelledError": "cancelled",
    "Cancelled": "cancelled",
    "KeyboardInterrupt": "keyboard interrupt",
    "SystemExit": "system exit",
    "GeneratorExit": "generator exit",
}


def session_guard(session_id: str, *, store: Store = None, keep: bool = False, resume: bool = True) -> SessionGuard:
    """Guard a conversation: `async with session_guard("ticket-42") as session:`, or `with` in plain code.

    Entering claims the session for this guard alone and brings back what is stored of it. Each
    `append` is on the disk when it returns. Left normally, the session is done and its record
    is removed (kept with `keep=True`). Left by an exception, a cancellation or Ctrl-C it is
    marked as interrupted; killed, it needs no mark: the next start finds it all the same.

    Args:
        session_id: any text but the empty one. `a/b`, `a_b`, `A/b` are three sessions.
        store: a `FileStore`, or the folder for one; when not given the folder that
            `RESILIENT_AGENT_HOME` names, else the user's state directory.
        keep: keep the record after a clean end; the next guard of this id goes on with it.
        resume: go on with what is stored; False begins with an empty conversation.

    Raises:
        TypeError: the id is no string, or the store is none.
        InvalidSessionId: the id is empty or no valid text.
        SessionBusy: (on entering) somebody else holds the session.
        StorageError: (on entering) the folder cannot be used; on leaving normally, it could not be removed.

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
    opened = open_store(store)
    opened.path(session_id)  # a bad id is refused here, where it was written
    return SessionGuard(opened, session_id, keep=keep, resume=resume)


def interrupted_sessions(store: Store = None) -> list[StoredSession]:
    """The sessions that ended badly and that nobody holds, newest first.

    Args:
        store: as for `session_guard`.

    Raises:
        StorageError: the folder cannot be read.
    """
    found = (session for session in open_store(store).scan() if session.status == "interrupted")
    return sorted(found, key=lambda session: session.saved_at, reverse=True)


def open_store(store: Store = None) -> FileStore:
    """The store that an argument names.

    Raises:
        TypeError: it is neither a store nor a folder.
        ValueError: it is a URL: there are only files yet.
    """
    if isinstance(store, FileStore):
        return store
    if isinstance(store, str) and "://" in store:
        raise ValueError(f"store={store!r} is a URL, and sessions are kept in files: give a folder")
    if store is None or isinstance(store, str | os.PathLike):
        return FileStore(store)
    raise TypeError(f"store must be a FileStore or a folder, not {store!r}")


class SessionGuard:
    """What `session_guard` returns: enter it with `with` or `async with`."""

    def __init__(self, store: FileStore, session_id: str, *, keep: bool, resume: bool) -> None:
        self._store = store
        self._session_id = session_id
        self._keep = keep
        self._resume = resume
        self._core: _Core | None = None

    def __enter__(self) -> Session:
        """Claim the session; see `session_guard`."""
        self._core = self._claim()
        return Session(self._core)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the session as the body ended."""
        core = self._leaving()
        with _second_to(error):
            core.leave(error, keep=self._keep)

    async def __aenter__(self) -> AsyncSession:
        """Claim the session; see `session_guard`."""
        self._core = await decided(self._claim, undo=_Core.abandon)
        return AsyncSession(self._core)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the session as the body ended, whatever is cancelled meanwhile."""
        core = self._leaving()
        with _second_to(error):
            if isinstance(error, GeneratorExit):
                # A coroutine or generator that is being closed may not await any more.
                core.leave(error, keep=self._keep)
                return
            with anyio.CancelScope(shield=True):
                await decided(lambda: core.leave(error, keep=self._keep), must=True)

    def _claim(self) -> _Core:
        core = _Core(self._session_id, self._store.claim(self._session_id))
        try:
            if not self._resume and core.stored:
                core.begin_afresh()
        except BaseException:
            core.abandon()
            raise
        return core

    def _leaving(self) -> _Core:
        core, self._core = self._core, None
        if core is None:
            raise RuntimeError("this guard is not entered")
        return core


class _Core:
    """A claimed session, as both faces see it. Blocking, and safe to use from several threads."""

    def __init__(self, session_id: str, log: FileLog) -> None:
        self.session_id = session_id
        self.log = log
        self.stored = log.was != "new"
        self.interruption = log.interruption
        self._lock = threading.RLock()
        self._left = False

    def save(self, kind: Any, fields: dict[str, Any]) -> None:
        with self._lock:
            if self._left:
                raise SessionClosed(f"the guard of session {self.session_id!r} was left: nothing can be saved any more")
            self.log.append(kind, fields)

    def begin_afresh(self) -> None:
        self.save("replaced", {"messages": [], "extra": {}})
        self.stored, self.interruption = False, None

    def leave(self, error: BaseException | None, *, keep: bool) -> None:
        with self._lock:
            self._left = True
            try:
                if self.log.inherited:
                    return  # a forked child leaves: the session is its parent's
                if error is not None:
                    self.log.append("interrupted", _interruption(error))
                elif keep:
                    self.log.append("closed", {})
                else:
                    self.log.remove()
            finally:
                self.log.release()

    def abandon(self) -> None:
        """Its owner never got in: cancelled, or the disk is full."""
        with self._lock:
            self._left = True
            self.log.abandon()


class _Face:
    """What a session shows, whichever way it was entered."""

    def __init__(self, core: _Core) -> None:
        self._core = core

    @property
    def session_id(self) -> str:
        """The id, as it was given."""
        return self._core.session_id

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation as it is stored: a copy, so changing it changes nothing that is saved."""
        return [_copy(message) for message in self._core.log.history.messages]

    @property
    def extra(self) -> dict[str, Any]:
        """The state that was set beside the messages: a copy."""
        return {key: _copy(value) for key, value in self._core.log.history.extra.items()}

    @property
    def resumed(self) -> bool:
        """Whether this goes on with a conversation that was stored: interrupted, or kept."""
        return self._core.stored

    @property
    def interruption(self) -> Interruption | None:
        """How the conversation had ended badly; None where it is new or had ended well."""
        return self._core.interruption

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Places in the log that could not be read, also told as warnings; the rest is here."""
        return self._core.log.damage

    @property
    def path(self) -> Path:
        """The session's log: JSON lines, to be read with `jq` or `tail -f`, and not to be written."""
        return self._core.log.path

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r}: {len(self._core.log.history.messages)} messages>"


class Session(_Face):
    """A guarded conversation in plain code. Threads may share it. Made by `with session_guard(...)`."""

    def append(self, message: Message) -> None:
        """Save one message; on the disk when this returns.

        Args:
            message: a dict as providers take it, or a pydantic model such as the SDKs' messages.

        Raises:
            NotStorable: something in it is no JSON; nothing stored is touched.
            StorageFull, StorageError: it is not stored; all before it is, and the next may be tried.
            SessionLost: the log was deleted or replaced.
            SessionClosed: the guard was left.
        """
        self._core.save("appended", {"messages": _plain_all([message], single=True)})

    def extend(self, messages: Iterable[Message]) -> None:
        """Save several messages in one go: all of them or, where this raises, none."""
        self._core.save("appended", {"messages": _plain_all(messages)})

    def replace(self, messages: Iterable[Message]) -> None:
        """Put these messages in place of all that were saved, for example after summing up a long history."""
        self._core.save("replaced", {"messages": _plain_all(messages)})

    def set_extra(self, extra: Mapping[str, Any]) -> None:
        """Save state of your own beside the messages (a plan, a cursor, a budget), in place of what was there."""
        self._core.save("extra", {"extra": _plain_dict(extra)})


class AsyncSession(_Face):
    """A guarded conversation in a coroutine. Made by `async with session_guard(...)`.

    Each saving method takes what it is given at once, so that changing a message after the call
    changes nothing; and it is saved when the `await` returns. Saves that run at the same time
    are stored in the order of their calls. One that is cancelled is wholly there or not at all.
    """

    def __init__(self, core: _Core) -> None:
        super().__init__(core)
        self._turn = anyio.Lock(fast_acquire=True)  # one save at a time, in the order of their calls

    def append(self, message: Message) -> Coroutine[Any, Any, None]:
        """Save one message; see `Session.append`."""
        return self._save("appended", {"messages": _plain_all([message], single=True)})

    def extend(self, messages: Iterable[Message]) -> Coroutine[Any, Any, None]:
        """Save several messages in one go; see `Session.extend`."""
        return self._save("appended", {"messages": _plain_all(messages)})

    def replace(self, messages: Iterable[Message]) -> Coroutine[Any, Any, None]:
        """Put these messages in place of all that were saved; see `Session.replace`."""
        return self._save("replaced", {"messages": _plain_all(messages)})

    def set_extra(self, extra: Mapping[str, Any]) -> Coroutine[Any, Any, None]:
        """Save state of your own beside the messages; see `Session.set_extra`."""
        return self._save("extra", {"extra": _plain_dict(extra)})

    async def _save(self, kind: str, fields: dict[str, Any]) -> None:
        async with self._turn:
            await decided(lambda: self._core.save(kind, fields))


def _plain_all(messages: Iterable[Message], *, single: bool = False) -> list[Any]:
    """Messages as they are stored: a copy; what is no message is refused with its place."""
    if isinstance(messages, Mapping | str | bytes):
        raise TypeError(f"a list of messages is due, not one {type(messages).__name__}: use append for one")
    return [_plain_dict(message, "$" if single else f"$[{place}]") for place, message in enumerate(messages)]


def _plain_dict(value: Any, path: str = "$") -> dict[str, Any]:
    stored = plain(value, path)
    if not isinstance(stored, dict):
        raise NotStorable(path, f"a dict or a pydantic model is due here, not a {type(value).__name__}")
    return stored


def _interruption(error: BaseException) -> dict[str, Any]:
    reason = _REASONS.get(type(error).__name__, "exception")
    verdict = _CLASSIFIER.classify(error) if isinstance(error, Exception) else None
    return interruption_fields(reason, error, verdict)


@contextlib.contextmanager
def _second_to(error: BaseException | None) -> Iterator[None]:
    """Where the body raised, its exception is what propagates: a failing end is noted on it, and logged."""
    try:
        yield
    except Exception as ending:
        if error is None:
            raise
        # Not logger.exception: the traceback would repeat what the body raised, prompts and all.
        logger.error("the session could not be marked as interrupted (it will be found all the same): %s", ending)  # noqa: TRY400
        with contextlib.suppress(Exception):
            error.add_note(f"resilient_agent: the session could not be marked as interrupted: {ending}")


def _copy(value: Any) -> Any:
    """A copy of a JSON value: several times quicker than copy.deepcopy, which has to expect circles."""
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    if type(value) is list:
        return [_copy(item) for item in value]
    return value
