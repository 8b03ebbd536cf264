"""Every exception that this library raises of its own accord, on one page.

The failure of a user's function is never among them: it comes out of `@resilient` as the
very object that was raised. What stands here is said where there is no such object (a limit of
time ended an attempt, a circuit breaker let none begin), and about sessions and their storage.
Wrong arguments are plain `TypeError` and `ValueError`, raised where they are given.

Each class keeps what it was built from in `args`, so that all of them survive `pickle`
and `copy`.
"""

from __future__ import annotations

import datetime
from typing import Any

__all__ = [
    "AttemptTimeout",
    "CircuitOpen",
    "DeadlineExceeded",
    "Deferred",
    "InvalidSessionId",
    "NotStorable",
    "OutcomeUnknown",
    "ResilientAgentError",
    "SessionBusy",
    "SessionClosed",
    "SessionError",
    "SessionLost",
    "SessionPoisoned",
    "SessionSealed",
    "StorageError",
    "StorageFull",
    "StoreUnavailable",
    "UnsupportedFormat",
]


class ResilientAgentError(Exception):
    """The base of all errors of this library: `except ResilientAgentError` catches each of them."""


class AttemptTimeout(ResilientAgentError, TimeoutError):
    """One attempt took longer than it may (`timeout=`, or a stream's `first_item_timeout=`, `item_timeout=`).

    A `TimeoutError`, and tried again like any other.

    Attributes:
        seconds: what was allowed.
        what: what took so long.
    """

    def __init__(self, seconds: float, what: str = "the attempt") -> None:
        super().__init__(seconds, what)
        self.seconds = seconds
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} took longer than {self.seconds:g} s"


class DeadlineExceeded(ResilientAgentError, TimeoutError):
    """The total time of a call (`deadline=`) was over while an attempt ran, or before one could begin.

    `__cause__` is the last failure of the function itself, where there was one. A call whose next
    wait would pass the deadline does not get here: it ends with the function's own error.

    Attributes:
        seconds: what was allowed in all; of a deadline around the call, what was left.
        during: what the call was doing when it passed, in words.
    """

    def __init__(self, seconds: float, during: str = "passed while an attempt was under way") -> None:
        super().__init__(seconds, during)
        self.seconds = seconds
        self.during = during

    def __str__(self) -> str:
        return f"the deadline of {self.seconds:g} s {self.during}"


class CircuitOpen(ResilientAgentError):
    """A circuit breaker refused a call's first attempt: the service was down a moment ago.

    Attributes:
        breaker: the breaker's name.
        wait: seconds until it lets the next probe through; where it is half-open, the longest that this can take.
        state: `"open"`, or `"half-open"` where others find out right now whether the service is back.
    """

    def __init__(self, breaker: str, wait: float, state: str = "open") -> None:
        super().__init__(breaker, wait, state)
        self.breaker = breaker
        self.wait = wait
        self.state = state

    def __str__(self) -> str:
        name = f" {self.breaker!r}" if self.breaker else ""
        within = "in" if self.state == "open" else "within"
        return f"circuit breaker{name} is {self.state}; the next probe may set out {within} {self.wait:.3g} s"


class Deferred(ResilientAgentError):
    """Not now: the server named a wait that the call had no time for, and the session remembers it.

    Raised by a call decorated with `defer=True` inside a `session_guard`, where its own failure would
    have come out otherwise (it is the `__cause__`); and on entering a guard before that moment.

    Attributes:
        not_before: when it makes sense to go on; aware, UTC.
        attempts: how many requests were made for it so far.
    """

    def __init__(self, not_before: datetime.datetime, attempts: int = 0) -> None:
        super().__init__(not_before, attempts)
        self.not_before = not_before
        self.attempts = attempts

    def __str__(self) -> str:
        return (
            f"not before {self.not_before:%Y-%m-%d %H:%M:%S} UTC: the server asked for that wait. Enter the guard "
            'again then, give it wait= to let it wait, or resume="force" to go on at once.'
        )


class NotStorable(ResilientAgentError, ValueError):
    """A message or an extra holds something that JSON cannot give back as it was.

    Raised before anything stored is touched.

    Attributes:
        path: the place, as in `$[0].content[2].source`; `$` is what was handed over.
        reason: what stands there, and what to do about it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class SessionError(ResilientAgentError):
    """The base of what can go wrong between a guard and its session."""


class InvalidSessionId(SessionError, ValueError):
    """A session id that cannot name a session: empty, or with a lone surrogate."""


class SessionBusy(SessionError):
    """Somebody holds this session: another guard in this process, or another process.

    Attributes:
        session_id: the id that was asked for.
        holder: who holds it, in words, as far as the log tells.
    """

    def __init__(self, session_id: str, holder: str) -> None:
        super().__init__(session_id, holder)
        self.session_id = session_id
        self.holder = holder

    def __str__(self) -> str:
        return (
            f"session {self.session_id!r} is held by {self.holder}. "
            "Wait until that guard is left, or use another session id."
        )


class SessionClosed(SessionError):
    """The session was used after its guard had been left."""


class SessionLost(SessionError):
    """The session is not this guard's any more.

    Its log was deleted or replaced, or belongs to a parent process; in a database, its lease ran out, or another
    worker has taken it over. Nothing of what was just handed over is stored.
    """


class SessionPoisoned(SessionError):
    """The session was resumed and crashed again without getting further, so often that it is not resumed any more.

    What is stored is intact. `session_guard(id, resume="force")` resumes it all the same, `resume=False`
    begins anew, `discard_session` removes it.

    Attributes:
        session_id: the id.
        resumes: how often in a row it was resumed and crashed.
        reason: how it ended last, in words.
    """

    def __init__(self, session_id: str, resumes: int, reason: str) -> None:
        super().__init__(session_id, resumes, reason)
        self.session_id = session_id
        self.resumes = resumes
        self.reason = reason

    def __str__(self) -> str:
        resumed = f"was resumed {self.resumes} times in a row and crashed each time without an answer, at last"
        return (
            f"session {self.session_id!r} {resumed if self.resumes else 'crashed, and may not be resumed'}: "
            f"{self.reason}. Look at what it does, then "
            'resume="force" goes on with it, and resume=False begins anew.'
        )


class SessionSealed(SessionError):
    """The session is stored sealed, and no codec, or one with another key, was given. It is left as it is."""


class OutcomeUnknown(SessionError):
    """An effect had been started and nobody knows what it came to: it is not run again by itself.

    Attributes:
        key: its key in `session.once`.
        name: the function's name.
        arguments: what it was called with, as far as that could be stored.
        at: when it was started; aware, UTC.
    """

    def __init__(self, key: str, name: str, arguments: list[Any], at: datetime.datetime) -> None:
        super().__init__(key, name, arguments, at)
        self.key = key
        self.name = name
        self.arguments = arguments
        self.at = at

    def __str__(self) -> str:
        shown = ", ".join(map(repr, self.arguments))
        return (
            f"{self.name}({shown[:200]}) was started at {self.at:%Y-%m-%d %H:%M:%S} UTC and no result of it was saved: "
            f"it may or may not have taken effect. Find out, then session.resolve({self.key!r}, result=...), "
            "rerun=True or skip=True."
        )


class UnsupportedFormat(SessionError):
    """The log was written by a newer version of this library. It is left as it is."""


class StorageError(ResilientAgentError, OSError):
    """The storage refused. `errno`, `strerror` and `filename` are those of the system's error."""


class StorageFull(StorageError):
    """No room: disk full, quota used up, or the file may not grow. What was acknowledged is intact."""


class StoreUnavailable(StorageError):
    """The database that keeps the sessions did not answer, again and again, for as long as the store has patience.

    What was acknowledged is in it. Whether the save that raised this is, nobody can know; saved again it is
    there once. An owner whose database stays away for longer than the lease runs loses the session.
    """
