"""`Standing`: where all processes stand with one limit, as it lies on the server and as a lane uses it.

Translates both ways, and decides nothing. On the server times are seconds by the server's clock,
in a lane they are seconds of its own: whoever translates says what lies between the two (`shift`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

from resilient_agent.gates.pace import FASTEST, HURRY, Creep, Pace, Search

__all__ = ["Standing", "change_of_pace", "packed", "unpacked"]

_MOMENTS: Final = frozenset({"_since", "at", "due", "first", "since"})
"""Fields that are moments, of whatever is packed."""

_T = TypeVar("_T")


class Standing(NamedTuple):
    """What the server keeps of a limit.

    Attributes:
        epoch: grows whenever somebody learned something: a cut, an end of an outage.
        kind: "search", "creep", "closed" or "watched".
        rate: requests a second that all processes together are let go at.
        growth: how far that lies above where it began; of a creep.
        since: when a search grew last.
        tat: the moment of the next slot that is free.
        open_at: the end of the window that a server named.
        granted: how many slots were leased, requests that nobody had leased one for included.
        missed: how many of these were refused, or not used.
        burst: how many refusals the last cut has cost so far.
        learned: what only a lane understands.
    """

    epoch: int
    kind: str
    rate: float
    growth: float
    since: float
    tat: float
    open_at: float
    granted: int
    missed: int
    burst: int
    learned: dict[str, Any]

    @classmethod
    def read(cls, limit: Mapping[str, str]) -> Standing:
        """From the server's fields."""

        def number(name: str) -> float:
            return float(limit.get(name, 0))

        return cls(
            epoch=int(limit["epoch"]),
            kind=limit["kind"],
            rate=number("rate"),
            growth=number("growth"),
            since=number("since"),
            tat=number("tat"),
            open_at=number("open_at"),
            granted=int(number("granted")),
            missed=int(number("missed")),
            burst=int(number("burst")),
            learned=json.loads(limit["learned"]),
        )

    def pace(self, shift: float) -> Pace | None:
        """The pace of the moment, in a lane's own time."""
        packed_pace = self.learned["pace"]
        if packed_pace is None:
            return None
        kind: type[Pace] = Creep if self.learned["creeps"] else Search
        pace = unpacked(kind, packed_pace, shift)
        if self.kind in {"creep", "search"}:
            self.refresh(pace, shift)
        return pace

    def refresh(self, pace: Pace, shift: float) -> None:
        """Let a pace of this epoch grow as it has for all."""
        pace.rate = self.rate
        if isinstance(pace, Creep):
            pace._growth = self.growth  # noqa: SLF001 - one room
        else:
            pace._since = self.since - shift  # noqa: SLF001


def change_of_pace(pace: Pace | None, shift: float) -> dict[str, float | str]:
    """The server's fields for a pace that begins."""
    if isinstance(pace, Creep):
        fields = {"base": pace._base, "growth": pace._growth, "step": pace._step, "turn": pace._turn}  # noqa: SLF001
        return {"kind": "creep", "rate": pace.rate, "hurry": HURRY, "top": FASTEST, **fields}
    if isinstance(pace, Search):
        return {"kind": "search", "rate": pace.rate, "top": min(pace._top, FASTEST), "since": pace._since + shift}  # noqa: SLF001
    return {"kind": "watched"}


def packed(thing: object, shift: float, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of an object that keeps nothing but numbers and words."""
    fields = {name: getattr(thing, name) for name in type(thing).__slots__ if name not in without}  # type: ignore[attr-defined]
    return {name: value + shift if name in _MOMENTS else value for name, value in fields.items()}


def unpacked(kind: type[_T], fields: Mapping[str, Any], shift: float) -> _T:
    """An object with such fields."""
    thing = kind.__new__(kind)
    for name, value in fields.items():
        setattr(thing, name, value - shift if name in _MOMENTS else value)
    return thing
