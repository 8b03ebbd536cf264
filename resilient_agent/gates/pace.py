"""How fast requests follow each other: `Search` while a limit is felt for, `Creep` once one is known.

Both hold only their own numbers and answer the same questions; `Guess` says what the next
`Creep` begins with. Must not know: who waits, what the server said.
"""

from __future__ import annotations

import math
from typing import Final

from resilient_agent.gates.meter import ENOUGH

__all__ = ["FASTEST", "FIRST", "HURRY", "Creep", "Floor", "Guess", "Pace", "Search", "patience"]

FIRST: Final = 4.0
"""Requests a second with which an unknown limit is felt for."""
FASTEST: Final = 1e6
_DOUBLING: Final = 0.25
"""Seconds in which a search doubles, at least: a limit of 200 a second is met after two. With half of it, so much is
refused at such a limit before the first news that the gain is lost."""
_ROUND_TRIPS: Final = 4
"""So many times as long as a refusal takes to come back a doubling takes: what is refused is known before the next."""
_STEP: Final = 16
_UNSURE_STEP: Final = 8
"""Requests in which the growth doubles: with a known limit, and with a guess that may be far off. With 16 a known
limit is tested every 48 requests: a raised one is found early, and a bucket of one loses three to six per cent."""
_CLOSE: Final = 0.98
"""Of what was refused: no guess comes closer."""
_BEGIN: Final = 1 / 8
"""Of what lies between a guess and what was refused: so much faster it becomes at once."""
_BEGIN_MOST: Final = 0.01
"""The most that it becomes faster at once where the limit is known."""
_BEGIN_UNSURE: Final = 0.03
"""What it becomes faster at once where it is not. With more, cuts follow each other so closely that a call which
has the bad luck to go first after several of them runs out of retries."""
_DEAR: Final = 6.0
"""Growth goes on for three steps until it meets the limit, and longer where the bucket is large: six times what
a refusal costs to each of them keeps that cost at some five per cent at most."""
_GAP: Final = 0.3
"""Where the guess lies further below what was refused than this share, it is no more than a guess."""
_WIDE: Final = 2.0
"""The further below what was refused the guess lies, the dearer it is to stay there, and the shorter
are the steps: this over that share, times what a refusal costs."""
_BEYOND: Final = 1.2
"""So many times as far as to what was refused the last time, without a refusal: the limit may have been raised."""
HURRY: Final = 8
"""That is found out in so many times fewer requests."""
_HURRIED: Final = 0.25
"""Seconds in which the growth doubles meanwhile, at least: a large bucket that was full takes its time to be emptied,
and shows only then that the limit is the old one."""
_MOVED: Final = 0.4
"""So much faster than the last limit, and beyond what was refused, without a refusal: it is another limit now."""
_HALFWAY: Final = 0.5
"""Of the way from the average to what was refused: where nothing is known of the bucket, it is refuted fastest."""
_FEW: Final = 8
"""Requests let through that make no average yet."""
_LONG: Final = 15.0
"""Requests let through for each that a refusal costs, from which on a guess was not too high."""
_SOME: Final = 0.25
"""Of what was sent: where less is let through, it was sent too fast. Chance refuses a half at times where it refuses a
fifth; a limit that falls to a fifth and less lets through no more than this at first."""
_HARDLY: Final = 2
_IN_A_ROW: Final = 4
"""Cuts with hardly anything let through before each: so many in a row are rare where chance refuses."""
_ALIKE: Final = 1 / 8
"""What was let through before two cuts is alike if it differs by no more than one and this share."""
_EVEN: Final = 5
"""Cuts in a row whose counts are alike are those of a limit: where chance refuses, they vary."""
_SETTLED: Final = 40
"""Requests let through between two cuts, which chance seldom grants: a limit holds the rate down, and it was met."""


class Search:
    """Doubles, up to `top`, until somebody is refused."""

    __slots__ = ("_doubling", "_since", "_top", "rate")

    def __init__(self, rate: float, since: float, latency: float, top: float = FASTEST) -> None:
        self.rate = rate
        self._top = top
        self._since = since
        self._doubling = patience(latency)

    def go(self, now: float, latency: float, *, wanted: bool) -> None:
        """One more is let go. Where the rate was not what held it up, it does not grow: nobody tries it."""
        self._doubling = patience(latency)
        doublings = min(max((now - self._since) / self._doubling, 0.0), 1.0)
        self._since = max(now, self._since)
        if wanted:
            self.rate = min(self.rate * 2.0**doublings, self._top)

    def slow_down(self, share: float) -> None:
        """Go on with a share of the rate."""
        self.rate *= share

    def ahead(self, place: int) -> float:
        """Seconds in which so many go, if the rate grows as it should."""
        return self._doubling * math.log2(1 + place * math.log(2) / (self.rate * self._doubling))


class Creep:
    """Grows by a hundredth or three, and by ever more while nobody is refused.

    Where the limit is known better than that it begins with a part of what is left to it: a bucket of
    one loses a slot or two with each refusal, and three doublings make these rare.
    """

    __slots__ = ("_base", "_gap", "_growth", "_step", "_turn", "rate")

    def __init__(self, rate: float, gap: float) -> None:
        self.rate = self._base = rate
        self._gap = gap = max(gap, 1 - _CLOSE)
        self._turn = _BEYOND * gap
        self._growth = min(_BEGIN_MOST, gap * _BEGIN) if gap < _GAP else _BEGIN_UNSURE
        self._step: float = _STEP if gap < _GAP else _UNSURE_STEP

    def costs(self, requests: float) -> None:
        """What being refused costs, in requests that might have been served meanwhile."""
        self._step = max(self._step, requests * _WIDE / max(self._gap, _WIDE / _DEAR))

    def go(self, now: float, latency: float, *, wanted: bool) -> None:  # noqa: ARG002 - as a search
        """One more is let go."""
        if wanted:
            step = self._step if self._growth < self._turn else max(self._step / HURRY, _HURRIED * self.rate)
            # Not faster than refusals can come back.
            self._growth *= 2 ** (1 / max(step, _ROUND_TRIPS * latency * self.rate))
            self.rate = min(self._base * (1 + self._growth), FASTEST)

    def slow_down(self, share: float) -> None:
        """Go on with a share of the rate."""
        self._base *= share
        self.rate *= share

    def ahead(self, place: int) -> float:
        """Seconds in which so many go."""
        return place / self.rate

    @property
    def outgrown(self) -> bool:
        """Whether it went so far beyond where it began and what was refused that the limit must be another one."""
        return self._growth > max(_MOVED, self._turn)


Pace = Search | Creep


def patience(latency: float) -> float:
    """Seconds in which a search doubles; `latency` is how long refusals take to come back."""
    return max(_DOUBLING, _ROUND_TRIPS * latency)


class Guess:
    """Where the limit lies, between what was let through on average and the rate that was refused.

    With a large bucket it is the first, and the second is what was borrowed from the bucket.
    With a bucket of one it is the second, and the first what was lost after refusals. So the guess
    goes up and down between the two by how the last one fared, in strides that grow while they
    go the same way and halve where they turn.

    Attributes:
        in_vain: refusals in a row with nothing let through between them.
    """

    __slots__ = ("_few", "_last", "_long", "_passed", "_share", "_stride", "_width", "in_vain")

    def __init__(self) -> None:
        self._share = _HALFWAY
        self._stride = 0.15
        self._last: float | None = None
        self._few = True  # the last guess was made of next to nothing: how it fares teaches nothing
        self._width = 1.0  # by so many times what was refused exceeded the average, the last time
        self._passed = ENOUGH
        self._long = 0.0
        self.in_vain = 0

    def costs(self, requests: float) -> None:
        """What being refused costs, as for `Creep`."""
        self._long = max(ENOUGH, _LONG * requests)

    def met(self, passed: int) -> None:
        """Somebody was refused, after so many were let through."""
        self.in_vain = 0 if passed > 0 else self.in_vain + 1

    def rate(self, failed: float, average: float, seen: float, passed: int, least: float) -> float:
        """Requests a second to go on with.

        Args:
            failed: the rate at which somebody was refused.
            average: what was let through; 0 where that is not known.
            seen: by how many requests that is known.
            passed: how many were let through since the last refusal.
            least: the share of `failed` below which few `seen` are not believed.
        """
        if self._last is not None and not self._few:
            self._learn(low=passed >= self._long or failed > 1.25 * self._last)
        self._few = seen < _FEW
        if average:
            self._weigh(failed / average)
        rate = average * (max(average, failed) / average) ** self._share if average else failed * 0.7
        if passed <= 2 and self._passed <= 2:  # twice next to nothing: whatever was counted before, it is too fast
            rate = min(rate, failed * 0.7)
        self._passed = passed
        self._last = min(max(rate, failed * (least if self._few else 0.05)), failed * _CLOSE)
        return self._last

    def _weigh(self, width: float) -> None:
        """The share was learned where the two lay so far apart. Much further, it says nothing: halfway at most."""
        if width > self._width * (1 + _MOVED):
            self._share = min(self._share, _HALFWAY)
        if not self._few:
            self._width = width

    def _learn(self, *, low: bool) -> None:
        self._stride *= 1.5 if low == (self._stride > 0) else -0.5
        self._stride = math.copysign(min(0.25, max(0.03, abs(self._stride))), self._stride)
        self._share = min(0.95, max(0.0, self._share + self._stride))


class Floor:
    """The rate below which nobody goes, because going slower was no help.

    Below a limit the average is what the limit is, however slowly calls go: a bucket gains as much, and a
    window holds as much. Where a share of all requests is refused whatever their rate (capacity that
    many customers share), the average goes down with each cut, and would do so without an end. An average
    that halved may be a limit that was lowered; one that halved twice, while most of what was sent was let
    through, is none. (In a bucket that refusals empty further, averages fall as well until the rate is
    below the limit; but then most is refused.) Where it was a limit all the same, which fell far, as many
    are let through before each cut, and the floor is given up.

    Attributes:
        rate: requests a second; 0.0 as long as cuts help.
    """

    __slots__ = ("_balance", "_even", "_halved", "_in_vain", "_latest", "_passed", "_top", "rate")

    def __init__(self) -> None:
        self._top = self._latest = self.rate = 0.0
        self._halved = self._in_vain = self._even = self._passed = 0
        self._balance = 0  # since the average last halved: what was let through, less what was refused

    def met(self, failed: float, average: float, passed: int) -> None:
        """Somebody was refused.

        Args:
            failed: the rate at which he was.
            average: what was let through, requests a second; 0 where that is not known.
            passed: how many were let through since the last refusal.
        """
        self._in_vain = self._in_vain + 1 if passed <= _HARDLY else 0
        if self._in_vain >= _IN_A_ROW:  # it is too fast all the same
            self.rate /= 2
            self._in_vain = 0
        alike = passed > _HARDLY and abs(passed - self._passed) <= 1 + passed * _ALIKE
        self._even = self._even + 1 if alike else 0
        self._passed = passed
        if steady := self._even >= _EVEN:  # a limit after all
            self.rate = 0.0
        self._balance += max(0, passed) - 1
        if not average:
            return
        # To go slower helps: more of them come through.
        if steady or average >= 2 * self._latest or average < failed * _SOME or passed >= _SETTLED:
            self._top = self._latest = average
            self._halved = self._balance = 0
        elif average <= self._latest / 2:
            self._latest = average
            self._halved += self._balance > 0
            self._balance = 0
            if self._halved > 1:
                self.rate = max(self.rate, self._top)
