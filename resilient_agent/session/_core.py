"""`Core`: a claimed session, as both of its faces see it. Blocking, and safe to use from several threads.

Decides what is written for each thing that a session can be asked to do, and what is taken over
when it is resumed. Knows no event loop (`faces.py`), no way in and no way out (`guard.py`).
"""

from __future__ import annotations

import functools
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from resilient_agent.errors import NotStorable, OutcomeUnknown, SessionClosed
from resilient_agent.session.content import DEPTH_LIMIT, copied, dict_of, plain, several, write
from resilient_agent.session.effects import Effect, is_the_same, shown_arguments
from resilient_agent.session.late import settled
from resilient_agent.session.redact import IDS
from resilient_agent.session.repair import repaired
from resilient_agent.session.stores.base import SessionLog

__all__ = ["NOT_GIVEN", "Core", "Redact"]

Redact = Callable[[Any], Any]
NOT_GIVEN: Final[Any] = object()

P = ParamSpec("P")
T = TypeVar("T")

_WHOLE: Final = {
    "chat.completion": "append its choices[0].message",
    "response": "extend the session by its output",
}
"""The answers of SDKs that hold messages, and what to save of them; by what they call themselves."""

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]+")


def _alone(method: Callable[Concatenate[Core, P], T]) -> Callable[Concatenate[Core, P], T]:
    """One thread at a time, and each for one thing at a time.

    A signal's handler runs between any two steps of its thread, and so may a finalizer. One that saves in the midst of
    a save would take its number and cut off its record, so it is refused before anything is touched.
    """

    @functools.wraps(method)
    def alone(self: Core, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.log.inherited:  # a forked child never waits: who held the lock is not there any more
            return method(self, *args, **kwargs)
        with self._lock:
            if self._busy:
                raise RuntimeError(
                    f"session {self.session_id!r} is in the midst of a save in this very thread: a signal handler or a "
                    "finalizer cannot save in between. Let it set a flag, and save when it has returned"
                )
            self._busy = True
            try:
                return method(self, *args, **kwargs)
            finally:
                self._busy = False

    return alone


class Core:
    """A claimed session.

    Args:
        session_id: its id.
        log: its log, in our hands.
        repair: the dialect in which a broken history is repaired, or None for no repair.
        redact: what a value looks like on the disk.

    Attributes:
        left: whether its guard was left.
    """

    def __init__(self, session_id: str, log: SessionLog, *, repair: str | None, redact: Redact | None) -> None:
        self.session_id = session_id
        self.log = log
        self.interruption = None if log.afresh else log.interruption
        self.resumed = log.was != "new" and not log.afresh
        self._repair = repair
        self.dialect = "auto" if repair is None else repair
        self._redact = redact
        self._lock = threading.RLock()  # not a plain one: who comes a second time is to be told, and not to wait
        self._busy = False
        self.left = False
        self._running: set[str] = set()  # keys of effects that are under way
        self._calling = threading.Lock()  # for counting calls; nobody who holds it waits for the disk
        self._called: Counter[str] = Counter()  # calls since the last message was saved
        self._called_at = -1
        if self.resumed and self.interruption is not None:
            self._put_in_order()

    # Saving

    @_alone
    def save(self, kind: Any, fields: dict[str, Any]) -> None:
        self._check_open()
        self.log.append(kind, fields)

    @_alone
    def append(self, messages: list[Any]) -> None:
        """Save messages behind the others. A result that comes late takes the place of what stands for it."""
        self._check_open()
        fixed = settled(self.log.history.messages, messages, self.dialect) if self._mends() else None
        if fixed is None:
            self.log.append("appended", {"messages": messages})
        else:
            self._store(fixed, added=len(messages))

    def _mends(self) -> bool:
        return self._repair is not None and self.log.history.mended

    def _put_in_order(self) -> None:
        """Store the history as its provider accepts it, where it is not yet."""
        stored = self.log.history.messages
        if self._repair is not None and (fixed := repaired(stored, self._repair)) != stored:
            self._store(fixed, added=0)

    def _store(self, fixed: list[Any], *, added: int) -> None:
        """Store a history that is the same as the stored one at its beginning."""
        stored = self.log.history.messages
        pairs = enumerate(zip(stored, fixed, strict=False))
        kept = next((place for place, (old, new) in pairs if old != new), min(len(stored), len(fixed)))
        self.log.append("repaired", {"kept": kept, "added": added, "messages": fixed[kept:]})

    def _check_open(self) -> None:
        if self.left:
            raise SessionClosed(f"the guard of session {self.session_id!r} was left: nothing can be saved any more")

    # What is saved

    def taken(self, value: Any, path: str = "$") -> dict[str, Any]:
        """A dict as it is stored: in JSON's own types, redacted."""
        return dict_of(self.redacted(plain(value, path), path), value, path)

    def all_taken(self, messages: Iterable[Any]) -> list[Any]:
        """Messages as they are stored: a copy; what is no message is refused with its place."""
        each = several(messages, "use append for one")
        return [self.message_taken(message, f"$[{place}]") for place, message in enumerate(each)]

    def message_taken(self, message: Any, path: str = "$") -> dict[str, Any]:
        """One message as it is stored. What an SDK wraps around messages is none: no provider would take it back."""
        taken = self.taken(message, path)
        whole = taken.get("object")
        if isinstance(whole, str) and whole in _WHOLE:
            raise NotStorable(path, f"a whole {whole} is no message: {_WHOLE[whole]}")
        return taken

    def redacted(self, stored: Any, path: str = "$") -> Any:
        """What `redact=` makes of it. What it raises comes out, and nothing is saved."""
        if self._redact is None:
            return stored
        made = plain(self._redact(copied(stored)), path)  # it gets a copy: else the ids could not be compared
        if _ids(made) != _ids(stored):
            raise NotStorable(path, "redact= changed an id: results are found by those, so they have to stay")
        return made

    # Effects

    @_alone
    def start(self, key: str, name: str, args: tuple[Any, ...], *, may_repeat: bool) -> Effect | None:
        """Write down that an effect sets out; the effect itself where its end is known already.

        Raises:
            OutcomeUnknown: it was started before, and its end is not known.
            ValueError: the key was that of an effect with other arguments.
        """
        if not key or not isinstance(key, str):
            raise TypeError(f"the key of an effect is a text that names it within its session, not {key!r}")
        self._check_open()
        known = self.log.history.effects.get(key)
        if known is not None:
            self._check_same(known, args)
            if known.finished:
                return known.copy()
            if key in self._running or not may_repeat:
                raise self._unknown(known)
        self.log.append("started", {"key": key, "name": name, "arguments": shown_arguments(args, self.redacted)})
        self._running.add(key)
        return None

    def _check_same(self, known: Effect, args: tuple[Any, ...]) -> None:
        if not is_the_same(known, args, self.redacted):
            raise ValueError(
                f"the key {known.key!r} is that of {known.call}, and these are other arguments: give this effect "
                "a key of its own, such as one with the number of the turn in it. What the first came to stands in "
                f"session.effects[{known.key!r}]"
            )

    def _unknown(self, known: Effect) -> OutcomeUnknown:
        unknown = known.unknown()
        if known.key in self._running:
            unknown.add_note(f"It is running right now: two calls of once({known.key!r}, ...) at the same time.")
        return unknown

    def finish(self, key: str, result: Any) -> Any:
        """Write down what the effect came to; the result as it will be given from now on."""
        try:
            stored = self.redacted(plain(result))
            self.save("finished", {"key": key, "result": stored})
        except Exception as refused:
            refused.add_note(
                f"The effect {key!r} took place; what it returned could not be stored, so its end is unknown."
            )
            raise
        return copied(stored)

    def stopped(self, key: str) -> None:
        """The effect runs no more, however it ended."""
        self._running.discard(key)

    @_alone
    def resolve(self, key: str, result: Any, *, rerun: bool, skip: bool) -> None:
        """Write down what a person or a program found out about an effect whose end is unknown."""
        if (result is not NOT_GIVEN) + bool(rerun) + bool(skip) != 1:
            raise TypeError("resolve takes one of result=, rerun=True and skip=True")
        self._check_open()
        stored = self.redacted(plain(None if result is NOT_GIVEN else result))
        self._check_unknown(key)
        if rerun:
            self.log.append("forgotten", {"key": key})
        else:
            self.log.append("finished", {"key": key, "result": stored})

    def _check_unknown(self, key: str) -> None:
        if key in self._running:
            raise ValueError(f"the effect {key!r} is running right now: it will say itself what it came to")
        effects = self.log.history.effects
        known = effects.get(key)
        if known is None or known.finished:
            opened = ", ".join(sorted(e.key for e in effects.values() if not e.finished)) or "none"
            state = "is known" if known is not None else "was never started"
            raise ValueError(f"the outcome of {key!r} {state}; unknown are: {opened}")

    # Keys

    def key_of(self, name: str) -> str:
        """The idempotency key of this name in this conversation: the same after a restart."""
        born = self.log.history.born
        return hashlib.blake2b(f"{born}:{name}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def key_of_call(self, function: str, arguments: Any) -> str:
        """The same for a call: by its function and arguments, and which such call it is at this place."""
        place, digest = self.log.history.place, _digest(arguments)
        with self._calling:
            if place != self._called_at:
                self._called_at = place
                self._called.clear()
            name = f"{function}:{digest}:{place}"
            self._called[name] += 1
            return self.key_of(f"{name}:{self._called[name]}")

    # Its end

    @_alone
    def leave(self, ending: dict[str, Any] | None, *, keep: bool) -> None:
        """End the session: as interrupted, with these fields, else well."""
        self.left = True
        try:
            if self.log.inherited:
                return  # a forked child leaves: the session is its parent's
            if ending is not None:
                self.log.append("interrupted", ending)
            elif keep:
                self.log.append("closed", {})
            else:
                self.log.remove()
        finally:
            self.log.release()

    @_alone
    def abandon(self) -> None:
        """Its owner never got in: cancelled, or the disk is full."""
        self.left = True
        self.log.abandon()


def _ids(value: Any) -> list[Any]:
    """The ids in a message by which calls and results find each other, in their order."""
    if isinstance(value, dict):
        own = [value[name] for name in sorted(IDS & value.keys()) if isinstance(value[name], str)]
        return own + [found for item in value.values() for found in _ids(item)]
    return [found for item in value for found in _ids(item)] if isinstance(value, list) else []


def _digest(arguments: Any) -> str:
    """A short name of some arguments that is the same in the next process, as far as they are the same."""
    try:
        said = write(plain(arguments))
    except NotStorable:
        said = _ADDRESS.sub("", repr(_in_order(arguments))).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def _in_order(value: Any, depth: int = 0) -> Any:
    """The same with lists for its sets: which item of a set comes first differs from process to process."""
    if depth == DEPTH_LIMIT:
        return value
    if isinstance(value, set | frozenset):
        return sorted(repr(_in_order(item, depth + 1)) for item in value)
    if isinstance(value, dict):
        return {key: _in_order(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_order(item, depth + 1) for item in value]
    return value
