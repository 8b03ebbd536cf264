"""Who may write to a session that is kept in a database, and until when. Pure: moments are handed in.

Ownership there is a lease: it runs for `ttl` seconds by the store's clock, and its number, the
fencing epoch, is compared by the store in the very statement that writes. Of the owner's own clock
only one thing is believed: that its monotonic clock counts seconds. From before the request was
sent it counts how long the lease runs at least (`Tenure`), and stops before that is over.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Final, Protocol

from resilient_agent.errors import Deferred, SessionPoisoned, SessionSealed, UnsupportedFormat
from resilient_agent.session.history import Interruption

__all__ = ["Engine", "Entry", "Grant", "Lease", "Row", "Tenure", "backoff", "rest_after", "rest_of", "step_timeout"]

_FIRST_REST: Final = 5.0
_LONGEST_REST: Final = 3600.0
_REFUSED: Final = 3600.0
"""Seconds that a session rests which nobody can go on with before a person has looked at it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a session.

    Attributes:
        session_id: which session.
        epoch: its number; a later owner has a greater one.
        owner: a random word that tells this owner from every other.
        holder: who that is, for people.
        ttl: seconds that it runs without being renewed; stored with it, so contenders apply this one.
    """

    session_id: str
    epoch: int
    owner: str
    holder: str
    ttl: float


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What a claim gave.

    Attributes:
        epoch: the new owner's.
        seq: the number of the last record that is stored; 0 where there is none.
        now: the store's clock when it was given; aware, UTC.
    """

    epoch: int
    seq: int
    now: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One record, on its way into the store.

    Attributes:
        seq: its number.
        line: it, as bytes of UTF-8 without a newline.
        header: what a listing says of the session from now on; opaque.
        ended: whether the session has ended well: it is due for nobody.
        rest: seconds that it rests, once its owner is gone, before it is due.
        alone: whether it stands for all records before it, which are removed.
    """

    seq: int
    line: bytes
    header: bytes
    ended: bool
    rest: float
    alone: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A session in a listing.

    Attributes:
        session_id: its id.
        header: of its last `Entry`.
        live: whether a lease runs.
        holder: of the lease.
        progress_at: when the owner last made progress; aware, UTC.
    """

    session_id: str
    header: bytes
    live: bool
    holder: str
    progress_at: datetime.datetime


class Engine(Protocol):
    """What a database has to be able to do for `LeasedStore`. Each of these is one step that is wholly done or not.

    Blocking, called from several threads at once. What it raises of its driver is classified as any error
    is: what is worth another attempt is tried again, so each step may be asked for twice, and the second time
    has to come to the same as the first. No step may take longer than `step_timeout` of the store's ttl.
    All moments are the store's own clock's.

    Attributes:
        name: the store, for people; without a password.
        errors: the base classes of the driver's exceptions.
    """

    name: str
    errors: tuple[type[Exception], ...]

    def now(self) -> datetime.datetime:
        """The store's clock; aware, UTC."""

    def claim(self, lease: Lease) -> Grant:
        """Give the session to `lease.owner` under a new epoch (`lease.epoch` is not looked at).

        The epoch is greater than each that was given before for this session, whether it was deleted since or
        not. The lease runs from now on,
        and the owner's progress counts from now. The same owner may claim again, and gets a new epoch.

        Raises:
            SessionBusy: somebody else's lease runs.
        """

    def append(self, lease: Lease, entry: Entry) -> bool:
        """Write a record, if the epoch is still the lease's and the last number is `entry.seq` or one less.

        A record of the same number is replaced: it was never acknowledged. Whether it was written: False, and
        nothing has changed, where the epoch or the number is another.
        """

    def renew(self, leases: list[tuple[Lease, float]]) -> list[Lease]:
        """Renew these leases, recording how many seconds each owner has been idle; return those that are lost.

        A lease whose epoch is not the session's any more is lost. One that ran out, and that nobody took, is not.
        """

    def release(self, lease: Lease, rest: float) -> None:
        """End the lease, if the epoch is still its; the session is due in `rest` seconds.

        A session without a record is removed.
        """

    def read(self, session_id: str) -> list[bytes]:
        """The lines of all its records, in their order."""

    def scan(self) -> Iterator[Row]:
        """All sessions that have a record."""

    def due(self, limit: int) -> list[str]:
        """Ids of sessions that have not ended, whose lease does not run, and that have rested."""

    def delete(self, lease: Lease) -> bool:
        """Remove the session and all its records, if the epoch is still the lease's; whether it was."""


class Tenure:
    """How long its owner may rely on a lease, by his own monotonic clock.

    Args:
        ttl: seconds that the lease runs.
        margin: seconds before its end from which he relies on it no longer.
        asked_at: when he sent the request that was granted: the lease began later.

    Example:
        >>> tenure = Tenure(ttl=30, margin=6, asked_at=100.0)
        >>> tenure.left(now=120.0)
        4.0
        >>> tenure.extend(asked_at=110.0)
        >>> tenure.left(now=120.0), tenure.left(now=140.0)
        (14.0, -6.0)
    """

    __slots__ = ("_lasts", "_until")

    def __init__(self, ttl: float, margin: float, asked_at: float) -> None:
        self._lasts = ttl - margin
        self._until = asked_at + self._lasts

    def extend(self, asked_at: float) -> None:
        """The lease was renewed."""
        self._until = max(self._until, asked_at + self._lasts)

    def left(self, now: float) -> float:
        """Seconds that he may rely on it; below 0 it is over."""
        return self._until - now


def rest_of(resumes: int) -> float:
    """Seconds that a session rests that was resumed and crashed so often in a row.

    The first crash may be anything's fault, so it is gone on with at once. A session that kills its host
    again and again must not take a whole fleet down.

    Example:
        >>> [rest_of(resumes) for resumes in range(4)]
        [0.0, 5.0, 10.0, 20.0]
    """
    return min(_FIRST_REST * 2.0 ** (resumes - 1), _LONGEST_REST) if resumes > 0 else 0.0


def backoff(interruption: Interruption, now: datetime.datetime) -> float:
    """Seconds that an interrupted session still rests."""
    since = (now - interruption.at).total_seconds()
    named = interruption.not_before
    return max(rest_of(interruption.resumes) - since, 0.0 if named is None else (named - now).total_seconds(), 0.0)


def rest_after(refusal: BaseException, now: datetime.datetime) -> float:
    """Seconds that a session rests which its claimer did not want: it is not to be offered again and again."""
    if isinstance(refusal, Deferred):
        return max(0.0, (refusal.not_before - now).total_seconds())
    return _REFUSED if isinstance(refusal, SessionPoisoned | SessionSealed | UnsupportedFormat) else 0.0


def step_timeout(ttl: float) -> float:
    """Seconds that one step may take: a few have to fit between two renewals."""
    return min(5.0, ttl / 6)
