"""`Lane`: when the next caller may go, once somebody was told that he came too often.

Decides who goes when, from what came back so far. It neither waits nor reads a clock: each
question brings its moment (seconds on any clock that goes forward), each answer is a number of
seconds to sleep before asking again. Must not know: exceptions, headers, event loops, threads.

A lane is idle until a limit or an outage is met, and then in one of three states:

    watched    overloads were seen, too few to mean anything: everybody goes at once
    paced      the first in line goes at the next slot (`pace.py`); where the server limits how
               many it takes at a time, as many go as there is room for (`crowd.py`)
    closed     nothing is let through: single probes find out when that ends

One burst of refusals is one cut: whoever was sent before the last cut teaches nothing new but
the end of the window. After a cut the rate is what `Guess` makes of it; then it creeps up, the
faster the longer nobody objects, so a limit that is raised is found and one that is lowered
costs a few refusals. Where cuts turn out to be no help, they end at a `Floor`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, Literal

from resilient_agent.gates._window import Stopwatch
from resilient_agent.gates.crowd import Crowd
from resilient_agent.gates.line import Line, Ticket
from resilient_agent.gates.meter import Meter
from resilient_agent.gates.pace import FIRST, Creep, Floor, Guess, Pace, Search

__all__ = ["AT_ONCE", "QUIET", "Closed", "Lane"]

_FIRST_PAUSE: Final = 0.5
"""Seconds from the moment when nothing is let through to the first probe."""
_LONGER: Final = {"limit": 2.0, "outage": 1.5}
_LONGEST_PAUSE: Final = {"limit": 16.0, "outage": 2.0}
"""A probe against a limit may itself count against it; one against an outage costs next to
nothing, and each second that it comes late is a second lost for all."""
_LATE: Final = 1 / 16
"""Of an outage's length so far: a probe that comes so late adds little to it, and in a long one spares many."""
_SPARING: Final = 2
"""By so much the longest pause grows each time that all who wait have failed once more in an outage: where few
wait there are few retries, and these have to last until it ends. A call's own waits double as well."""
_MANY: Final = 30
"""Who need not spare retries: so many probes, each a sixteenth later, reach six times as far as the first."""
_USUAL: Final = 3
"""Retries after an overload, unless the user gives more: who has failed oftener has many left, and spares none."""
_HEADROOM: Final = 2.0
"""Requests' worth of silence after a cut: on an empty bucket every other request would be refused."""
_HEADROOM_NAMED: Final = 0.5
"""The same after a wait that the server named: then it has room for one."""
_OUTAGE: Final = 3
"""Overloads without as many successes between them: one 503 in a hundred is a bad moment, no outage."""
_CANDIDATES: Final = 8
"""Of so many in front, whoever failed least goes first after a cut: he finds out for all, and it may cost
a retry."""
_UNSURE: Final = 3
"""So many who go after a cut may be refused as well: he who was refused more often than others lets them go first."""
_HALF_A_SLOT: Final = 0.5
"""The longest that he waits for them, and a slot for each refusal after his first: where slots are short, they come
some slots late."""
_CATCH_UP: Final = 0.05
"""Seconds that the line may lie behind its slots and make up for: timers are late by milliseconds."""
_CLOSEST: Final = 0.75
"""Of a slot, between two requests even then: a bucket of one does not take them together."""
AT_ONCE: Final = 0.0001
"""Seconds that are not worth a sleep; no timer is that exact."""
_OF_NAMED: Final = 0.5
"""Of the rate that a named wait tells, where it is that for the next token: one on its way already comes sooner than
that."""
_EXACT: Final = 0.001
"""Seconds. What is named more exactly than that says nothing of a rate."""
_NEAR: Final = 0.1
"""Seconds before its slot from which on a call sleeps until it is the next. Before, it asks again halfway:
by then the rate may have doubled."""
_ROOM_NAP: Final = 0.02
"""Seconds after which the first in line looks again whether there is room."""
_GRACE: Final = 0.25
"""Seconds after which a probe that has not been refused is being answered; where refusals take long,
four times as long as they take."""
_SLOWEST: Final = 2.5
"""Seconds. What takes longer to be refused was held up elsewhere."""
QUIET: Final = 60.0
"""Seconds without a refusal and without anybody waiting, after which the limit is forgotten."""

_Why = Literal["limit", "outage"]


class Closed:
    """A time in which nothing is let through: since when, and who finds out when it ends."""

    __slots__ = ("due", "first", "pause", "probe", "since", "why")

    def __init__(self, why: _Why, now: float, before: Closed | None, spent: int) -> None:
        self.why = why
        self.since = now
        self.first: float = before.first if before else now  # since when nothing succeeds
        self.pause = _FIRST_PAUSE
        if before:
            spent = min(spent, _USUAL)
            longest = max(_LONGEST_PAUSE[why] * _SPARING**spent, (now - self.first) * _LATE * (1 + spent))
            self.pause = min(before.pause * _LONGER[why], longest)
        self.due = now + self.pause
        self.probe: Ticket | None = None


class Lane:
    """What all calls against one limit share. Safe for threads: one lock, never held over a wait.

    Args:
        stirred: called with the lane whenever `active` has changed.

    Attributes:
        active: whether a limit or an overload was met lately. While it is False nobody need
            ask, and a driver should not: reading it is all that a success costs.
    """

    __slots__ = (
        "__weakref__", "_closed", "_crowd", "_cut_at", "_doubt", "_era", "_floor", "_goal", "_gone", "_guess",
        "_latency", "_line", "_lock", "_meter", "_misses", "_next_at", "_next_seq", "_open_at", "_pace", "_stirred",
        "_touched", "_watch", "active",
    )  # fmt: skip

    def __init__(self, stirred: Callable[[Lane], None] = lambda _: None) -> None:
        # Reentrant: the garbage collector may close an abandoned stream, and that leave the line,
        # in the middle of a method of this very lane.
        self._lock = threading.RLock()
        self._stirred = stirred
        self._watch = Stopwatch()
        self._next_seq = 0
        self._era = 0  # how often it opened: what a call was told before does not count after
        self._line = Line()
        self.active = False
        self._forget()

    def _forget(self) -> None:
        """As if no limit had ever been met."""
        self._meter, self._guess, self._floor, self._crowd = Meter(), Guess(), Floor(), Crowd()
        self._pace: Pace | None = None  # None: nobody is held up
        self._goal: float | None = None  # the rate before it closed, to go back to
        self._closed: Closed | None = None
        self._doubt: Closed | None = None  # the last such time, until a success shows that it is over
        self._gone = _UNSURE  # how many went since the last cut
        self._next_at = self._open_at = -math.inf  # the next slot; the end of the window that the server named
        self._cut_at = -math.inf
        self._latency = 0.0  # how long the server takes to refuse
        self._misses = 0  # overloads, less the successes
        self._touched = -math.inf  # when somebody last had to wait or was refused
        self._stir(active=False)

    # What a driver asks and says

    def ticket(self) -> Ticket:
        """A place for one call and all its attempts, behind all who have one."""
        with self._lock:
            self._next_seq += 1
            return Ticket(self._next_seq)

    def ask(self, ticket: Ticket, now: float) -> float:
        """Whether the call may go: 0.0 for yes, at once; else the seconds after which to ask again.

        Whoever was given seconds stands in line until he gets 0.0 or calls `leave`.
        """
        with self._lock:
            at = self._tick(now)
            wait = self._rest(ticket, at)
            if wait <= AT_ONCE:
                wait = self._wait(ticket, at)
                if wait <= AT_ONCE:
                    self._go(ticket, at)
                    return 0.0
                self._line.join(ticket, at + wait)
            self._touched = at
            return wait

    def leave(self, ticket: Ticket, now: float) -> None:
        """Nothing more will come of the call: it was cancelled, waiting or under way, or gave up."""
        with self._lock:
            at = self._tick(now)
            self._line.leave(ticket)
            self._crowd.back(ticket)
            if self._closed is not None and self._closed.probe is ticket:
                self._closed.probe, self._closed.due = None, at

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """The attempt had an answer. Any that shows a server at work will do, a 400 as well."""
        with self._lock:
            at = self._tick(now)
            self._misses = max(0, self._misses - 1)
            self._crowd.let_in(ticket)
            self._crowd.back(ticket)
            if self._doubt is not None and (ticket.sent_at is None or ticket.sent_at <= self._doubt.since):
                return
            self._doubt = None
            if self._closed is not None:
                self._open(at)
            if self._goal is not None:
                self._pace, self._goal = Creep(self._goal, 0.0), None

    def limited(
        self,
        ticket: Ticket,
        now: float,
        wait: float | None = None,
        own_wait: float = 0.0,
        rate: float | None = None,
    ) -> None:
        """The attempt was refused: too many requests (429).

        Args:
            ticket: the call.
            now: the moment of the refusal.
            wait: the seconds that the server named, if it did.
            own_wait: how long the call would wait without a lane. Counts only while nothing is
                let through, from its second failure on: it has few retries, and may be the
                only one there is to probe.
            rate: the requests a second that the server grants, if it said so. Believed until
                something better is known.
        """
        with self._lock:
            at = self._tick(now)
            stale = self._refused(ticket, at, self._cut_at)
            ticket.rest_until = at + own_wait if ticket.failures > 1 else at
            ticket.era = -1
            window = wait if wait is not None and wait > 0 else 0.0
            if window:
                self._open_at = max(self._open_at, at + window)
            if stale:
                self._same_burst(ticket, at, window)
            else:
                self._cut(ticket, at, window, rate)

    def overloaded(self, ticket: Ticket, now: float, wait: float | None = None, own_wait: float = 0.0) -> None:
        """The server is overloaded or down (503, 529). The arguments are those of `limited`."""
        with self._lock:
            at = self._tick(now)
            closed, doubt = self._closed, self._doubt
            probing = closed is not None and closed.probe is ticket
            stale = self._refused(ticket, at, doubt.since if doubt else -math.inf)
            ticket.rest_until = at + max(own_wait, wait or 0.0)
            ticket.era = self._era
            self._misses += 1
            if probing or (not stale and closed is None and (doubt is not None or self._misses >= _OUTAGE)):
                self._close("outage", at, self._spent(ticket))

    def floor(self, now: float) -> float:
        """Seconds before which nobody is let through: what is left of the window that the server named."""
        with self._lock:
            at = self._tick(now)
            return max(0.0, self._open_at - at) if self.active else 0.0

    def outlook(self, ticket: Ticket, now: float) -> float:
        """Seconds after which the call may go, as far as that can be told; for whoever wants to know, not to sleep by.

        Others who are refused, or let in, change it at any time.
        """
        with self._lock:
            at = self._tick(now)
            if not self.active:
                return 0.0
            return max(0.0, self._open_at - at, self._rest(ticket, at), self._told_wait(ticket, at))

    def settle_down(self, now: float) -> None:
        """Forget the limit where it was quiet for long. Does nothing while somebody else is at the lane."""
        if self._lock.acquire(blocking=False):
            try:
                self._tick(now)
            finally:
                self._lock.release()

    # Who goes when

    def _rest(self, ticket: Ticket, now: float) -> float:
        """Seconds for which an overload holds up this call, and nobody else, while the lane is open."""
        held = self.active and self._closed is None and ticket.era == self._era
        return ticket.rest_until - now if held else 0.0

    def _wait(self, ticket: Ticket, now: float) -> float:
        self._line.pass_over(now)
        place = self._line.place(ticket)
        if self._closed is not None and self._let_in(self._closed.probe, now):
            self._open(now)
        if self._closed is not None:
            return self._until_probe(self._closed, ticket, place, now)
        if self._pace is None:
            return 0.0
        due = self._due(now)
        slot = max(0.0, due - now)
        room = self._crowd.free(now, self._grace())
        if room is not None:
            return slot if place < room else max(slot, self._until_room(place - max(room, 0)))
        more = min(self._gone, 1)
        if self._gone < self._at_risk(self._pace) and place < _CANDIDATES and self._line.most_spared(ticket, more):
            # No later than that: whoever stands in front is waited for by all.
            slots = max(_HALF_A_SLOT, ticket.failures - 1) / self._pace.rate
            return max(0.0, due + min(_behind(ticket, place, 1 + more), slots) - now)
        if place == 0:
            return slot
        until = slot + self._ahead(self._pace, place)
        # Asks again before: by then the rate may have grown, or those in front be gone.
        sooner = until - 1 / self._pace.rate if until < _NEAR else until / 2
        return max(0.001, min(sooner, max(_nap(place), until / 16)))

    def _told_wait(self, ticket: Ticket, now: float) -> float:
        """Seconds until it may go, if all goes on as it looks now. Asking changes nothing."""
        place = self._line.place(ticket)
        if self._closed is not None:
            due = self._closed.due - now + _behind(ticket, place)
            return due if self._line else max(due, ticket.rest_until - now)  # alone, it waits for itself
        if self._pace is None:
            return 0.0
        return max(0.0, self._next_at - now) + self._pace.ahead(place)

    def _at_risk(self, pace: Pace) -> float:
        """How many who go after a cut may be refused as well: some, and all who go before the news of the first."""
        return _UNSURE + self._latency * pace.rate

    def _due(self, now: float) -> float:  # noqa: ARG002 - where slots are shared with others, it is looked at
        """The moment of the next slot."""
        return max(self._next_at, self._open_at)

    def _ahead(self, pace: Pace, place: int) -> float:
        """Seconds that so many who stand in front take."""
        return pace.ahead(place)

    def _until_room(self, behind: int) -> float:
        """Seconds after which to look again. In a large room several leave in the time of one look."""
        return _ROOM_NAP * (1 + behind / (1 + (self._crowd.room or 0) / 10))

    def _let_in(self, probe: Ticket | None, now: float) -> bool:
        """Whether the probe has been under way for longer than refusals take: then it is being answered."""
        return probe is not None and probe.sent_at is not None and now >= probe.sent_at + self._grace()

    def _until_probe(self, closed: Closed, ticket: Ticket, place: int, now: float) -> float:
        """Seconds until this call may probe. Who failed least and stands in front asks first."""
        behind = _behind(ticket, place)
        if closed.probe is not None and closed.probe.sent_at is not None:
            return max(0.001, closed.probe.sent_at + self._grace() - now) + behind
        due = max(closed.due, self._open_at) + behind
        if due > now:
            return due - now
        # It rests; another may probe meanwhile, and open the lane for all.
        return max(0.0, min(ticket.rest_until - now, _nap(place)))

    def _go(self, ticket: Ticket, now: float) -> None:
        waited = self._line.leave(ticket)
        self._meter.sent += 1
        ticket.sent_at, ticket.number, ticket.pace = now, self._meter.sent, 0.0
        self._crowd.go(ticket, now)
        if self._closed is not None:
            self._closed.probe = ticket
        elif self._pace is not None:
            self._take_slot(self._pace, ticket, now, wanted=waited or bool(self._line))
            if not waited:  # no timer was late, nobody had come: there is nothing to make up for
                self._next_at = max(self._next_at, now + 1 / self._pace.rate)
            self._gone += 1

    def _take_slot(self, pace: Pace, ticket: Ticket, now: float, *, wanted: bool) -> None:
        self._count_cost(pace, now)
        due = self._due(now)
        on_time = now <= due + 2 / pace.rate + _CATCH_UP  # what nobody asks for in time is not tried either
        pace.go(now, self._latency, wanted=wanted and on_time)
        ticket.pace = pace.rate
        slot = 1 / pace.rate
        caught_up = max(max(due, now - _CATCH_UP) + slot, now + _CLOSEST * slot)
        self._next_at = now + slot if self._gone < _UNSURE else caught_up
        self._outgrow(pace, now)

    def _count_cost(self, pace: Pace, now: float) -> None:
        """The first to go after a cut knows what that has cost."""
        if self._gone == 0:
            cost = self._meter.burst + max(0.0, now - self._cut_at) * pace.rate
            self._guess.costs(cost)
            if isinstance(pace, Creep):
                pace.costs(cost)

    def _outgrow(self, pace: Pace, now: float) -> None:
        """Search for the limit where it must be another one; what was counted below the old one says nothing of it."""
        if isinstance(pace, Creep) and pace.outgrown:
            self._meter.forget()
            # No emptiness: the bucket may hold something, so what is counted from here is a little too much.
            self._meter.mark(now, self._meter.sent, 0.0)
            self._pace = Search(pace.rate, now, self._latency)

    def _grace(self) -> float:
        return max(_GRACE, 4 * self._latency)

    # Refusals

    def _refused(self, ticket: Ticket, now: float, since: float) -> bool:
        """Count a refusal. True where the request had been sent before `since`, when that happened."""
        self._stir(active=True)
        self._touched = now
        self._line.leave(ticket)
        self._crowd.back(ticket)
        self._meter.refused(paced=ticket.sent_at is not None)
        ticket.failures += 1
        if self._closed is not None and self._closed.probe is ticket:
            self._closed.probe = None
        if ticket.sent_at is None:  # from when the lane was idle
            self._meter.sent += 1
            ticket.sent_at, ticket.number = now, self._meter.sent
            return since > -math.inf
        self._latency = max(self._latency * 0.9, min(now - ticket.sent_at, _SLOWEST))
        return ticket.sent_at <= since

    def _same_burst(self, ticket: Ticket, now: float, window: float) -> None:
        """Refused with others: the bucket is still empty, and the window may end later than was said."""
        self._meter.still_empty(_sent(ticket, now) + window, ticket.number)
        if self._closed is not None or self._pace is None:
            return
        if not window:  # it may have cost a token, as those did that were let through
            self._next_at = max(now, self._next_at) + 1 / self._pace.rate
        elif isinstance(self._pace, Search):
            # Where refusals cost tokens, each names a longer wait than the one before: by a token, of as many.
            self._pace.rate = min(self._pace.rate, _first_rate(window / self._meter.told))
            self._next_at = max(self._next_at, self._open_at)

    def _cut(self, ticket: Ticket, now: float, window: float, granted: float | None) -> None:
        """The first refusal since the last cut."""
        sent_at, number = _sent(ticket, now), ticket.number
        passed = self._meter.passed(number)
        average, seen = self._meter.estimate(sent_at, number, window)
        self._guess.met(passed)
        self._meter.mark(sent_at, number, window)
        crowded = self._crowd.refused(ticket, now, window)
        self._cut_at, self._gone = now, 0
        nothing = self._guess.in_vain > 2 or (self._doubt is not None and passed <= 0)
        if self._closed is not None or self._pace is None or nothing:
            self._shut(now, window, granted)
        elif crowded:  # there is no room, whatever the rate: that shall hold up nobody
            self._pace = Search(max(2 * average, self._pace.rate), now, self._latency)
            self._next_at = max(now, self._open_at)
        else:
            failed = ticket.pace or self._pace.rate
            # Few are believed where the server says that being wrong is dear, or little is known.
            least = 0.05 if window * failed > 4 else 0.3 if isinstance(self._pace, Search) else 0.7
            rate = self._guess.rate(failed, average, seen, passed, least)
            self._floor.met(failed, average, passed)
            self._settle(now, failed, self._at_least(rate), window)

    def _at_least(self, rate: float) -> float:
        """Not below the rate from which on going slower was no help."""
        return max(rate, self._floor.rate)

    def _settle(self, now: float, failed: float, rate: float, window: float) -> None:
        """Go on with a new rate."""
        if isinstance(self._pace, Search) and failed > 1.6 * rate:  # slow for long, so the bucket may have been full
            self._meter.restart()
        self._pace, self._goal = Creep(rate, failed / rate - 1), None
        opens = max(now, self._open_at) + (_HEADROOM_NAMED if window else _HEADROOM) / rate
        # The last to go before the news of this may have taken what there was room for.
        self._next_at = max(opens, self._next_at - 1 / failed + 1 / rate)

    def _shut(self, now: float, window: float, granted: float | None) -> None:
        """Nothing is let through, or nothing known: feel for the limit from below."""
        if not self._floor.rate:  # chance lets something through: what was an average before is none now
            self._floor = Floor()
        if self._pace is None and self._goal is None:
            self._goal = granted
        if not window:
            self._close("limit", now)
            return
        self._closed = None
        if self._goal is None:
            self._pace = Search(_first_rate(window), self._open_at, self._latency)
        else:
            self._pace, self._goal = Creep(self._goal, 1.0), None
        self._next_at = self._open_at

    # Closed and open

    def _close(self, why: _Why, now: float, spent: int = 0) -> None:
        if isinstance(self._pace, Creep) and self._goal is None:
            self._goal = self._pace.rate
        self._closed = self._doubt = Closed(why, now, self._doubt, spent)
        if why == "outage":
            self._meter.forget()

    def _open(self, now: float) -> None:
        """A probe was let in. More follow, doubling, until the first answer (then: at the rate known before)."""
        self._closed = None
        self._era += 1
        self._misses = 0
        goal = math.inf if self._goal is None else self._goal
        self._pace = Search(min(FIRST, goal), now, self._latency, goal)
        self._next_at = now

    def _spent(self, ticket: Ticket) -> int:
        """How many retries everybody has spent who may probe; 0 where so many may that it does not matter."""
        return 0 if len(self._line) >= _MANY else min([ticket.failures, *self._line.failures()])

    def _stir(self, *, active: bool) -> None:
        if self.active is not active:
            self.active = active
            self._stirred(self)

    def _tick(self, now: float) -> float:
        """The moment on the lane's own watch. Long silence ends the memory."""
        at = self._watch.read(now)
        if self.active and not self._line and at - self._touched > QUIET:
            self._forget()
        return at

    def __repr__(self) -> str:
        with self._lock:
            return f"<Lane: {self._told()}>"

    def _told(self) -> str:
        waiting = f"{len(self._line)} wait"
        if not self.active:
            return "idle"
        if self._closed is not None:
            return f"closed by {_A[self._closed.why]}, {waiting}"
        if self._pace is None:
            return "watched"
        if self._crowd.room is not None:
            return f"{self._crowd.room} at a time, {waiting}"
        return f"{self._pace.rate:.3g} requests/s, {waiting}"


_A: Final = {"limit": "a limit", "outage": "an outage"}


def _sent(ticket: Ticket, now: float) -> float:
    return now if ticket.sent_at is None else ticket.sent_at


def _first_rate(window: float) -> float:
    """Requests a second to begin with, where the server named so short a wait that it must be fast."""
    return max(FIRST, _OF_NAMED / max(window, _EXACT))


def _behind(ticket: Ticket, place: int, usual: int = 1) -> float:
    """Seconds that one may go later than another, where the first to go finds out for all: it may cost him a retry."""
    return min(place, 200) * 0.0005 + max(0, ticket.failures - usual) * 0.1


def _nap(place: int) -> float:
    """The longest sleep between two questions: a thousand who wait shall not keep the machine awake."""
    return max(0.25, 0.01 * place)
