"""`SharedLane`: a lane whose limit is that of many processes.

Who goes when within the process stays what a lane decides, and so does what a refusal teaches. Shared
is what was learned, and the slots: what this lane learns it proposes to the others (whoever was
first is believed, so a burst of refusals over all processes is one cut), and each request takes a slot
of those that were leased for it, some tenths of a second ahead. Neither is waited for: `question`
says what is to be asked, `answer` and `hear` take in what came. Must not know: sockets, threads, and
what a server is.

While no server can be reached, or it is late with an answer, it is alone: a plain lane.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol
from uuid import uuid4

from resilient_agent.gates.lane import AT_ONCE, QUIET, Closed, Lane
from resilient_agent.gates.line import Ticket
from resilient_agent.gates.meter import Mark
from resilient_agent.gates.pace import Creep, Guess, Pace, patience
from resilient_agent.gates.shared.slots import Slots
from resilient_agent.gates.shared.standing import Standing, change_of_pace, packed, unpacked

__all__ = ["Fleet", "SharedLane"]

_AHEAD: Final = 0.25
"""Seconds' worth of the limit that are leased out at once, to all processes together."""
_HORIZON: Final = 1.0
"""Seconds ahead beyond which nothing is leased out: many processes would make many slots of them."""
_LEAD: Final = 0.1
"""Seconds before its last slot at which a lane asks for more."""
_NAP: Final = 0.005
"""Seconds after which the first in line looks whether slots have come."""
_PATIENCE: Final = 0.25
"""Seconds after which an answer is late: until it comes the lane goes on alone."""
_PROBING: Final = 2.0
"""Seconds after which another process may probe, where nothing was heard of the one that was let go."""
_TELL_EVERY: Final = 15.0
"""Seconds after which those who do not ask are told that the limit is there still."""


class Fleet(Protocol):
    """The way to the other processes."""

    @property
    def up(self) -> bool:
        """Whether it leads anywhere at the moment."""

    def now(self) -> float:
        """The moment by a clock of this process."""

    def shared(self, moment: float) -> float:
        """Such a moment by the clock that all processes share, as far as that is known."""

    def wake(self, lane: SharedLane) -> None:
        """Have the lane's question asked soon, by somebody else."""


class SharedLane(Lane):
    """What all calls against one limit share, in all processes.

    Args:
        stirred: called with the lane whenever `active` has changed.
        fleet: the way to the others.
        digest: which limit it is, in all processes.
    """

    __slots__ = (
        "_again", "_alone", "_asked_at", "_burst", "_changed", "_cut_id", "_epoch", "_fleet", "_lag", "_lowered",
        "_me", "_missed", "_moved", "_nudged_at", "_probe_back", "_push", "_sent", "_share", "_shift", "_slots",
        "digest",
    )  # fmt: skip

    def __init__(self, stirred: Callable[[Lane], None], fleet: Fleet, digest: str) -> None:
        self._fleet, self.digest = fleet, digest
        self._begin()
        super().__init__(stirred)

    def _begin(self) -> None:
        self._me = uuid4().hex
        self._slots = Slots()
        self._alone = True
        self._lag = self._fleet.now()  # from the lane's time to that of the process
        self._shift = 0.0  # and to that of all
        self._lowered = 0  # how often the rate fell without a cut
        self._share = 1.0  # of the limit that this process gets
        self._asked_at: float | None = None  # since when there is a question that was not answered
        self._nudged_at = -math.inf
        self._again = -math.inf  # before that there are no slots to be had
        self._unlearn()

    def _unlearn(self) -> None:
        """Nothing is known of what the others know."""
        self._epoch = 0  # of what is known of the others
        self._cut_id = 0.0
        self._changed = self._moved = False  # something was learned; also when the next slot is
        self._sent = self._missed = self._burst = self._push = 0  # what the others have not been told
        self._probe_back = False

    def _forget(self) -> None:
        super()._forget()
        self._slots.drop()
        self._unlearn()

    def after_fork(self) -> None:
        """In the child: nothing that the parent leased, and no lock that one of its threads held."""
        self._lock = threading.RLock()
        self._begin()

    # What a driver asks and says: as a lane, and the others hear of it

    def ask(self, ticket: Ticket, now: float) -> float:
        """Whether the call may go; see `Lane`."""
        with self._shown(now):
            return super().ask(ticket, now)

    def leave(self, ticket: Ticket, now: float) -> None:
        """Nothing more will come of the call; see `Lane`."""
        with self._shown(now):
            if self._closed is not None and self._closed.probe is ticket:
                self._probe_back = True
            super().leave(ticket, now)

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """The attempt had an answer; see `Lane`."""
        with self._shown(now):
            super().succeeded(ticket, now)

    def limited(
        self,
        ticket: Ticket,
        now: float,
        wait: float | None = None,
        own_wait: float = 0.0,
        rate: float | None = None,
    ) -> None:
        """The attempt was refused; see `Lane`."""
        with self._shown(now):
            super().limited(ticket, now, wait, own_wait, rate)

    def overloaded(self, ticket: Ticket, now: float, wait: float | None = None, own_wait: float = 0.0) -> None:
        """The server is overloaded or down; see `Lane`."""
        with self._shown(now):
            super().overloaded(ticket, now, wait, own_wait)

    @contextmanager
    def _shown(self, now: float) -> Iterator[None]:
        """Have the others told of what changes meanwhile."""
        with self._lock:
            at = self._tick(now)
            before, opens = self._sketch(), self._open_at
            yield
            after = self._sketch()
            if self._alone:
                return
            if after != before:
                self._changed = True
                if after[:3] != before[:3]:
                    self._moved = True
                    self._drop()
            if after != before or self._open_at > opens or self._probe_back:
                self._wake(at)

    def _sketch(self) -> tuple[object, ...]:
        """What the others have to know of; it begins with what makes slots void."""
        return self._cut_at, self._closed, self._lowered, self._doubt, self._pace, self._goal

    # Slots

    def _due(self, now: float) -> float:
        if self._alone:
            return super()._due(now)
        self._miss(self._slots.lapse(now))
        self._want(now)
        due = self._slots.next_at
        if due is None:
            return max(self._open_at, self._again, now + _NAP)
        return max(due, self._open_at)

    def _ahead(self, pace: Pace, place: int) -> float:
        if self._alone:
            return super()._ahead(pace, place)
        leased = self._slots.after(place)
        if leased is not None:
            return leased
        known = self._slots.after(self._slots.left - 1) or 0.0
        return known + (place + 1 - self._slots.left) / (pace.rate * self._share)

    def _until_probe(self, closed: Closed, ticket: Ticket, place: int, now: float) -> float:
        wait = super()._until_probe(closed, ticket, place, now)
        if wait > AT_ONCE or self._alone:
            return wait
        return max(0.0, self._due(now) - now)

    def _go(self, ticket: Ticket, now: float) -> None:
        super()._go(ticket, now)
        if self._alone:
            return
        slot = self._slots.take(now)
        if slot is None:  # nobody is held up
            self._sent += 1
        else:
            self._meter.sent = max(self._meter.sent - 1, slot.number)
            ticket.number, ticket.pace = slot

    def _take_slot(self, pace: Pace, ticket: Ticket, now: float, *, wanted: bool) -> None:
        if self._alone:
            super()._take_slot(pace, ticket, now, wanted=wanted)
        else:  # the pace grows where the slots are leased out
            self._count_cost(pace, now)
            self._outgrow(pace, now)

    def _want(self, now: float) -> None:
        """Ask for slots before there are none."""
        few = self._slots.left < max(1, len(self._line)) and self._slots.ends < now + _LEAD
        if few and self._asked_at is None and now >= self._again:
            self._wake(now)

    def _drop(self) -> None:
        self._again = -math.inf
        self._miss(self._slots.drop())

    def _miss(self, slots: int) -> None:
        """So many are let go unused: as if they had been refused, they are not counted as let through."""
        self._missed += slots
        self._meter.missed(slots)

    # Refusals

    def _refused(self, ticket: Ticket, now: float, since: float) -> bool:
        if ticket.sent_at is None:
            self._sent += 1
        else:
            self._burst += 1
        self._missed += 1
        return super()._refused(ticket, now, since)

    def _same_burst(self, ticket: Ticket, now: float, window: float) -> None:
        pace = self._pace
        if not window and self._closed is None and pace is not None:
            self._push += 1
        rate = pace.rate if pace else 0.0
        super()._same_burst(ticket, now, window)
        if pace and pace.rate < rate:
            self._lowered += 1

    # The others

    def _wake(self, at: float) -> None:
        if self._asked_at is None:
            self._asked_at = at
        self._fleet.wake(self)

    def _tick(self, now: float) -> float:
        at = super()._tick(now)
        self._lag = self._fleet.now() - at
        self._read_clock()
        late = self._asked_at is not None and at > self._asked_at + _PATIENCE
        if late and at > self._nudged_at + _PATIENCE:
            self._nudged_at = at
            self._fleet.wake(self)
        alone = late or not self._fleet.up
        if alone is not self._alone:
            self._alone = alone
            (self._part if alone else self._join)(at)
        return at

    def _read_clock(self) -> float:
        """The moment, in the lane's time."""
        self._shift = self._fleet.shared(self._lag)
        return self._fleet.now() - self._lag

    def _part(self, at: float) -> None:
        """Go on alone, at this process's share of the pace."""
        self._slots.drop()
        self._unlearn()
        pace = self._pace
        if pace is not None:
            pace.slow_down(self._share)
            self._next_at = max(self._next_at, at + 1 / pace.rate)

    def _join(self, at: float) -> None:
        """Tell the others what is known here; they may know better."""
        self._unlearn()
        self._asked_at, self._again = None, -math.inf
        if self._pace is not None:
            self._pace.slow_down(1 / self._share)  # the others do as much
        if self.active:
            self._changed = self._moved = True
            self._wake(at)

    def question(self) -> dict[str, Any]:
        """What is to be asked now, for the script that decides about the limit."""
        with self._lock:
            self._read_clock()
            told: dict[str, Any] = {
                "me": self._me,
                "digest": self.digest,
                "waiting": len(self._line),
                "wanted": max(0, len(self._line) - self._slots.left),
                "open_at": max(0.0, self._open_at + self._shift),
                "probe_back": self._probe_back,
                "step": self._pace._step if isinstance(self._pace, Creep) else 0.0,  # noqa: SLF001 - one room
                # A creep's as well: slots are leased ahead, and what is refused is known late.
                "patience": patience(max(self._latency, _AHEAD / 2)),
                "ahead": _AHEAD, "horizon": _HORIZON, "probing": _PROBING, "quiet": QUIET, "tell_every": _TELL_EVERY,
            }  # fmt: skip
            told |= {"sent": self._sent, "missed": self._missed, "burst": self._burst, "push": self._push}
            if self._changed:
                told |= {"expects": str(self._epoch), "change": self._change()}
            self._sent = self._missed = self._burst = self._push = 0
            self._changed = self._moved = self._probe_back = False
            return told

    def _change(self) -> dict[str, float | str]:
        """What was learned, for the others."""
        shift, self._cut_id = self._shift, self._cut_at + self._shift
        if self._closed is not None:
            fields: dict[str, float | str] = {"kind": "closed", "due": self._closed.due + shift}
        else:
            fields = change_of_pace(self._pace, shift)
        if self._moved:
            fields["tat"] = max(0.0, self._next_at + shift)
        if not self._epoch:
            fields |= {"granted": self._meter.sent, "missed": self._meter._refused}  # noqa: SLF001 - one room
        return {**fields, "burst": self._meter.burst, "learned": json.dumps(self._learned(shift))}

    def _at_least(self, rate: float) -> float:
        # What the others let through is known late, so an average may halve though it is a limit's.
        return rate

    def _learned(self, shift: float) -> dict[str, Any]:
        probe = frozenset({"probe"})
        return {
            "cut": self._cut_id,
            "guess": packed(self._guess, shift),
            "marks": [packed(mark, shift) for mark in self._meter.marks],
            "pace": packed(self._pace, shift) if self._pace else None,
            "creeps": isinstance(self._pace, Creep),
            "goal": self._goal,
            "closed": packed(self._closed, shift, without=probe) if self._closed else None,
            "doubt": packed(self._doubt, shift, without=probe) if self._doubt else None,
            "latency": self._latency,
        }

    def answer(self, reply: Mapping[str, Any]) -> None:
        """What was answered."""
        with self._lock:
            self._asked_at = None
            at = self._read_clock()
            if "limit" not in reply:
                self._nobody_knows(at)
                return
            standing = Standing.read(reply["limit"])
            if reply["taken"]:
                self._epoch = standing.epoch
            self._take_in(standing, at)
            self._share = float(reply["share"])
            self._again = float(reply["again"]) - self._shift
            if self._epoch == standing.epoch and not self._moved:
                start = float(reply["start"]) - self._shift
                self._slots.lease(start, float(reply["gap"]), reply["slots"], int(float(reply["first"])))
            else:
                self._miss(reply["slots"])

    def _nobody_knows(self, at: float) -> None:
        """All others have forgotten the limit."""
        self._unlearn()
        if self.active and self._line:
            self._changed = self._moved = True
            self._wake(at)

    def hear(self, limit: Mapping[str, str]) -> None:
        """Somebody has learned something, or says that the limit is there still."""
        with self._lock:
            at = self._read_clock()
            self._take_in(Standing.read(limit), at)
            self._touched = max(self._touched, at, self._open_at)

    def _take_in(self, standing: Standing, at: float) -> None:
        if standing.epoch < self._epoch:
            return
        if standing.epoch > self._epoch:
            self._adopt(standing, at)
        elif self._pace is not None and not self._changed and standing.kind in {"creep", "search"}:
            standing.refresh(self._pace, self._shift)
        self._open_at = max(self._open_at, standing.open_at - self._shift)
        self._meter.fleet(standing.granted + self._sent, standing.missed + self._missed, standing.burst + self._burst)

    def _adopt(self, standing: Standing, at: float) -> None:
        """Know what the others know."""
        learned, shift, was = standing.learned, self._shift, self._closed
        faster = self._pace.rate if self._pace else math.inf
        self._epoch = standing.epoch
        self._changed = self._moved = False
        self._guess = unpacked(Guess, learned["guess"], shift)
        self._meter.marks = [unpacked(Mark, mark, shift) for mark in learned["marks"]]
        self._pace, self._goal = standing.pace(shift), learned["goal"]
        self._closed, self._doubt = (_closed(learned[name], shift) for name in ("closed", "doubt"))
        self._latency = max(self._latency, learned["latency"])
        reopened = (was is None) is not (self._closed is None)
        if learned["cut"] != self._cut_id or reopened or (self._pace and self._pace.rate < 0.9 * faster):
            self._drop()
        if learned["cut"] != self._cut_id:
            # What was sent before this was heard was sent before the cut.
            self._cut_id, self._cut_at, self._gone = learned["cut"], at, 0
        if was is not None and self._closed is None:
            self._era += 1
            self._misses = 0
        self._touched = at
        self._stir(active=True)


def _closed(fields: Mapping[str, Any] | None, shift: float) -> Closed | None:
    return None if fields is None else unpacked(Closed, {**fields, "probe": None}, shift)
