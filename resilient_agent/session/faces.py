"""`Session` and `AsyncSession`: what a guard gives, for plain code and for coroutines.

Both say the same things; they differ in who waits for the disk. Decides nothing about what is
written (`_core.py`).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import anyio

from resilient_agent._callables import name_of
from resilient_agent.session._calling import check_call, check_plain, refuse_coroutine
from resilient_agent.session._core import NOT_GIVEN, Core
from resilient_agent.session._crossing import Line, decided
from resilient_agent.session.content import Message, Model, copied
from resilient_agent.session.effects import Effect
from resilient_agent.session.history import Interruption
from resilient_agent.session.pending import OpenCall, Pending, pending_of
from resilient_agent.session.record import Damage
from resilient_agent.session.window import window

__all__ = ["AsyncSession", "Message", "Session"]


class _Face:
    """What a session shows, whichever way it was entered."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def session_id(self) -> str:
        """The id, as it was given."""
        return self._core.session_id

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation as it is stored: a copy, so changing it changes nothing that is saved."""
        return copied(self._core.log.history.messages)

    @property
    def extra(self) -> dict[str, Any]:
        """The state that was set beside the messages: a copy."""
        return copied(self._core.log.history.extra)

    @property
    def resumed(self) -> bool:
        """Whether this goes on with a conversation that was stored: interrupted, or kept."""
        return self._core.resumed

    @property
    def interruption(self) -> Interruption | None:
        """How the conversation had ended badly; None where it is new or had ended well."""
        return self._core.interruption

    @property
    def pending(self) -> Pending:
        """What the conversation waits for: nothing, the model's answer, the outcome of tool calls (and which).

        Example:
            >>> import tempfile
            >>> from resilient_agent import session_guard
            >>> with session_guard("ticket-42", store=tempfile.mkdtemp()) as session:
            ...     session.append({"role": "user", "content": "Where is my order?"})
            ...     session.pending.kind
            'prompt'
        """
        found = pending_of(self._core.log.history.messages, self._core.dialect)
        return dataclasses.replace(found, calls=tuple(_copied(call) for call in found.calls))

    @property
    def effects(self) -> dict[str, Effect]:
        """What was done through `once`, by key: finished with a result, or started with an outcome that is unknown."""
        return {key: effect.copy() for key, effect in self._core.log.history.effects.items()}

    def window(
        self,
        last: int | None = None,
        *,
        max_tokens: int | None = None,
        count: Callable[[dict[str, Any]], float] | None = None,
    ) -> list[dict[str, Any]]:
        """The most recent messages that fit: a copy; what is stored stays whole.

        Never cuts a call from its result; keeps the system's messages at the beginning.

        Args:
            last: how many messages, or
            max_tokens: how many tokens, with
            count: the tokens of one message.

        Raises:
            ValueError, TypeError: not one of the two, or a number that is none.
        """
        core = self._core
        chosen = window(core.log.history.messages, last=last, max_tokens=max_tokens, count=count, dialect=core.dialect)
        return copied(chosen)

    def idempotency_key(self, name: str) -> str:
        """A key for a service that recognises repeated requests: 32 hexadecimal digits.

        The same for the same name in this conversation, after a crash and a restart as well; another
        in every other conversation, one of the same id included.
        """
        return self._core.key_of(name)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Places in the log that could not be read, also told as warnings; the rest is here."""
        return self._core.log.damage

    @property
    def path(self) -> Path | None:
        """The session's log: JSON lines, to be read with `jq` or `tail -f`, and not to be written.

        None where it is kept in a database.
        """
        return self._core.log.path

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a session belongs to the process that entered its guard, and cannot be sent to another: send the id, "
            "and let that process enter a guard of its own when this one is left"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r}: {len(self._core.log.history.messages)} messages>"


class Session(_Face):
    """A guarded conversation in plain code. Threads may share it. Made by `with session_guard(...)`."""

    def append(self, message: Message) -> None:
        """Save one message; on the disk when this returns.

        The result of a tool call whose outcome was unknown takes the place of the note that says so.

        Args:
            message: a dict as providers take it, or a pydantic model such as the SDKs' messages.

        Raises:
            NotStorable: something in it is no JSON; nothing stored is touched.
            StorageFull, StorageError: it is not stored; all before it is, and the next may be tried.
            SessionLost: another worker has the session, its lease ran out, or its log was deleted or replaced.
            StoreUnavailable: the database did not answer. It may be stored; saved again it is there once.
            SessionClosed: the guard was left.
            RuntimeError: a signal's handler, or a finalizer, wants to save in the midst of a save.
        """
        self._core.append([self._core.message_taken(message)])

    def extend(self, messages: Iterable[Message]) -> None:
        """Save several messages in one go: all of them or, where this raises, none."""
        self._core.append(self._core.all_taken(messages))

    def replace(self, messages: Iterable[Message]) -> None:
        """Put these messages in place of all that were saved, for example after summing up a long history."""
        self._core.save("replaced", {"messages": self._core.all_taken(messages)})

    def set_extra(self, extra: Mapping[str, Any] | Model) -> None:
        """Save state of your own beside the messages (a plan, a cursor, a budget), in place of what was there."""
        self._core.save("extra", {"extra": self._core.taken(extra)})

    def once(self, key: str, fn: Callable[..., Any], *args: Any, may_repeat: bool = False) -> Any:
        """Call `fn(*args)` once in this conversation, over crashes and restarts.

        That it sets out is on the disk before, and its result after. Asked again with the same key,
        the stored result comes back; where it had started and no result was saved, nobody knows whether it
        took effect, and it is not run again by itself. A key belongs to one call: ids of tool calls may come again in
        later turns, so put the number of the turn in front of them where yours do.

        Args:
            key: what tells this effect from every other of the conversation, such as the tool call's id.
            fn: what to call; its result has to be storable as JSON, and comes back as JSON has it.
            args: with what; keyword arguments, and what may differ after a restart, go by `functools.partial`.
            may_repeat: it does no harm twice, so run it again where its outcome is unknown.

        Raises:
            OutcomeUnknown: it had started, and what it came to is not known; also where `fn` had raised.
                `resolve` says how to go on.
            ValueError: the key is that of a call with other arguments, as far as those are stored: not of
                arguments that are no JSON, nor of what `redact=` leaves out. Nothing is run.
            TypeError: `fn` cannot be called with these arguments, or is a coroutine function; nothing is written.
            NotStorable: the result is no JSON; the effect has taken place.
            StorageError, and what `redact=` raises: with a note where the effect has taken place.
            And what `fn` raises.

        Example:
            >>> import tempfile
            >>> from resilient_agent import session_guard
            >>> with session_guard("ticket-42", store=tempfile.mkdtemp()) as session:
            ...     session.once("charge-1", lambda amount: {"paid": amount}, 5)
            ...     session.once("charge-1", lambda amount: {"paid": amount}, 5)
            {'paid': 5}
            {'paid': 5}
        """
        check_call(fn, args)
        check_plain(fn)
        done = self._core.start(key, name_of(fn), args, may_repeat=may_repeat)
        if done is not None:
            return done.result
        try:
            result = fn(*args)
            refuse_coroutine(key, fn, result)
            return self._core.finish(key, result)
        finally:
            self._core.stopped(key)

    def resolve(self, key: str, *, result: Any = NOT_GIVEN, rerun: bool = False, skip: bool = False) -> None:
        """Say how to go on with an effect whose outcome was unknown: one of the three.

        Args:
            key: its key.
            result: what it came to, now found out.
            rerun: it did not take effect: the next `once` runs it.
            skip: go on without it: its result is None.

        Raises:
            ValueError: there is no such effect, it is running right now, or its outcome is known; the text lists the
                unknown ones.
            TypeError: not exactly one answer.
        """
        self._core.resolve(key, result, rerun=rerun, skip=skip)


class AsyncSession(_Face):
    """A guarded conversation in a coroutine. Made by `async with session_guard(...)`.

    Each saving method takes what it is given at once, so that changing a message after the call
    changes nothing; and it is saved when the `await` returns. Saves that run at the same time
    are stored in the order in which they are awaited. One that is cancelled is wholly there or not at all.
    """

    def __init__(self, core: Core, line: Line) -> None:
        super().__init__(core)
        self._line = line

    def append(self, message: Message) -> Coroutine[Any, Any, None]:
        """Save one message; see `Session.append`."""
        messages = [self._core.message_taken(message)]
        return decided(lambda: self._core.append(messages), line=self._line)

    def extend(self, messages: Iterable[Message]) -> Coroutine[Any, Any, None]:
        """Save several messages in one go; see `Session.extend`."""
        taken = self._core.all_taken(messages)
        return decided(lambda: self._core.append(taken), line=self._line)

    def replace(self, messages: Iterable[Message]) -> Coroutine[Any, Any, None]:
        """Put these messages in place of all that were saved; see `Session.replace`."""
        fields = {"messages": self._core.all_taken(messages)}
        return decided(lambda: self._core.save("replaced", fields), line=self._line)

    def set_extra(self, extra: Mapping[str, Any] | Model) -> Coroutine[Any, Any, None]:
        """Save state of your own beside the messages; see `Session.set_extra`."""
        fields = {"extra": self._core.taken(extra)}
        return decided(lambda: self._core.save("extra", fields), line=self._line)

    async def once(self, key: str, fn: Callable[..., Any], *args: Any, may_repeat: bool = False) -> Any:
        """Call `fn(*args)` once in this conversation, over crashes and restarts; see `Session.once`.

        `fn` may be a coroutine function. A plain one runs on the event loop, and holds it up for as long as it takes.
        """
        check_call(fn, args)
        core = self._core
        done = await decided(
            lambda: core.start(key, name_of(fn), args, may_repeat=may_repeat),
            line=self._line,
            undo=lambda _: core.stopped(key),
        )
        if done is not None:
            return done.result
        try:
            result = fn(*args)
            if inspect.isawaitable(result):
                result = await result
            # The effect has taken place: that it has is written down whatever is cancelled meanwhile. The scope keeps
            # off the cancellations of anyio, and `must` those by asyncio's own `task.cancel()`, also before its turn.
            with anyio.CancelScope(shield=True):
                return await decided(lambda: core.finish(key, result), line=self._line, must=True)
        finally:
            self._core.stopped(key)

    def resolve(
        self, key: str, *, result: Any = NOT_GIVEN, rerun: bool = False, skip: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Say how to go on with an effect whose outcome was unknown; see `Session.resolve`."""
        return decided(lambda: self._core.resolve(key, result, rerun=rerun, skip=skip), line=self._line)


def _copied(call: OpenCall) -> OpenCall:
    return dataclasses.replace(call, arguments=copied(call.arguments))
