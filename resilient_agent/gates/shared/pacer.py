"""`SharedPacer`: one rate limit for all processes that name the same server and the same limit.

Decides which limits are the same in all processes, and keeps what was made known about those that
nobody here has met yet. What is shared, and how, is in `lane.py`; the way to the others in `link.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any, Final

from resilient_agent.gates.lane import QUIET, Lane
from resilient_agent.gates.pacer import Pacer
from resilient_agent.gates.shared.lane import SharedLane
from resilient_agent.gates.shared.link import Link, Party, Place, link_to

__all__ = ["SharedPacer"]

_LAYOUT: Final = 1
"""Grows when what lies on the server is laid out anew: versions of this library that differ do not meet."""


class SharedPacer(Pacer):
    """A `Pacer` whose limits are those of every process that names the same server and name.

    Twenty workers meet the limit of one provider as one: a window that the provider names to one of
    them holds for all, the rate that is learned is that of all together, and each process gets a part of
    it, the more of its calls wait the larger. During an outage one call probes for all. Calls of one
    process go in the order in which they began.

    It needs a Redis (6.2 or later) or Valkey server. While no limit was met, no process asks it anything:
    a call costs one look at `active`, as with every pacer. Once one was met, leave to send is leased
    from it some tenths of a second ahead, by a thread; no call ever waits for the server. While the server
    cannot be reached each process paces alone, as a plain `Pacer` does. That is logged once as a warning
    ("resilient_agent.gates"), and it comes back by itself.

    What lies on the server is small, holds no key of `pace_by` in clear, and expires when the limit is
    forgotten: a minute after anybody had to wait. Time is the server's: that the clocks of the machines
    differ changes nothing.

    Where going slower is no help, as a `Pacer` finds out, it goes slower all the same.

    Safe for threads and for forks. Pickles as its url (with the password, if it has one) and name. A
    copy by `copy.copy` is a plain `Pacer`: what a test teaches that stops time stays in the test.

    With `pace_by`, keys are the same limit where their `repr` is the same: strings, numbers, tuples.

    Args:
        url: of the server, "redis://user:password@host:6379/0"; "rediss://" for TLS, "unix://" for a
            socket, and "valkey://" are understood as well. Nothing is connected to before the first call.
        name: of what is limited, the same in all processes: an account, a model.

    Raises:
        TypeError: url or name is no str.
        ValueError: the name is empty, or the url none of a server.
        ModuleNotFoundError: the extra is not installed; the message says how to.

    Attributes:
        active: whether a limit or an overload was met lately, in any process. Also until the first call
            of this process, which goes and asks.

    Example:
        >>> pacer = SharedPacer("redis://localhost:6379/0", name="openai/gpt-4o")
        >>> pacer.name
        'openai/gpt-4o'
        >>> import copy
        >>> copy.copy(pacer)
        <Pacer 'openai/gpt-4o': idle>
    """

    def __init__(self, url: str, *, name: str) -> None:
        super().__init__(name=name)
        if not name:
            raise ValueError("name must not be empty: it says which limit is shared")
        self._link = link_to(url, "SharedPacer")
        self._url = url
        self._tag = f"{{resilient_agent:pacer:{name}}}:{_LAYOUT}"
        # Limits that others have met and nobody here has asked for: what is known, and until when.
        self._elsewhere: dict[str, tuple[Mapping[str, str], float]] = {}
        self._attached = False
        self.active = True  # the first call is to come and look

    @property
    def channel(self) -> str:
        """Where it is made known what was learned."""
        return f"{self._tag}:news"

    @property
    def live(self) -> str:
        """The limits that were met lately."""
        return f"{self._tag}:live"

    def lane(self, key: Hashable, now: float) -> Lane:
        """Where calls with this key wait for each other; see `Pacer`."""
        if not self._attached:
            self._attached = True
            self._link.attach(self)
            self._look()
        lane = super().lane(key, now)
        lane.settle_down(now)  # so that it knows the time
        assert isinstance(lane, SharedLane)  # noqa: S101 - it comes from `_new_lane`
        self._tell(lane)
        return lane

    def _new_lane(self, key: Hashable) -> Lane:
        return SharedLane(self._stirred, _Way(self._link, self._tag), _digest(key))

    def _tell(self, lane: SharedLane) -> None:
        """What others have met is for this lane to know."""
        if self._elsewhere:
            with self._lock:
                known = self._elsewhere.pop(lane.digest, None)
            if known is not None:
                lane.hear(known[0])
                self._look()

    def heard(self, name: str, fields: Mapping[str, str]) -> None:
        """Somebody has learned something about one of the limits, or says that it is there still."""
        with self._lock:
            lanes = [lane for lane in self._lanes.values() if isinstance(lane, SharedLane) and lane.digest == name]
            if not lanes:
                self._elsewhere[name] = fields, self._link.now() + QUIET
        for lane in lanes:
            lane.hear(fields)
        self._look()

    def _stirred(self, lane: Lane) -> None:
        super()._stirred(lane)
        self._look()

    def _settle_down(self, now: float) -> None:
        super()._settle_down(now)
        if self._elsewhere:
            with self._lock:
                at = self._link.now()
                self._elsewhere = {name: known for name, known in self._elsewhere.items() if known[1] > at}
            self._look()

    def _look(self) -> None:
        with self._lock:
            self.active = bool(self._awake or self._elsewhere)

    def after_fork(self) -> None:
        """This is a child: it asks for itself, and shares nothing with its parent but the limit."""
        lanes = list(self._lanes.values())
        Pacer.__init__(self, name=self._name)
        for lane in lanes:
            if isinstance(lane, SharedLane):
                lane.after_fork()
        self._elsewhere = {}
        self._attached = False
        self.active = True

    def __copy__(self) -> Pacer:
        return Pacer(name=self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_pacer, (self._url, self._name)

    def __repr__(self) -> str:
        return super().__repr__().replace("<Pacer", "<SharedPacer", 1)


class _Way:
    """The way of a pacer's lanes to the others."""

    __slots__ = ("_link", "_tag")

    def __init__(self, link: Link, tag: str) -> None:
        self._link, self._tag = link, tag

    @property
    def up(self) -> bool:
        return self._link.up

    def now(self) -> float:
        return self._link.now()

    def shared(self, moment: float) -> float:
        return self._link.shared(moment)

    def wake(self, lane: SharedLane) -> None:
        limit = f"{self._tag}:{lane.digest}"
        party: Party = lane
        self._link.wake(party, Place("limit", (limit, f"{limit}:who", f"{self._tag}:live"), f"{self._tag}:news"))


def _digest(key: Hashable) -> str:
    """A key as all processes know it. It may be a secret, so it is not sent in clear."""
    return hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _shared_pacer(url: str, name: str) -> SharedPacer:
    return SharedPacer(url, name=name)
