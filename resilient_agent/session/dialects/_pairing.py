"""What the three dialects share: which result answers which call, and what stands in for a lost one.

Pure. Decides by order alone: a result belongs to the latest call before it that carries its id,
for ids come again in later turns. Knows no provider, no message shape and no session.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

__all__ = [
    "OUTCOME_UNKNOWN",
    "Call",
    "Dialect",
    "Result",
    "Slot",
    "Standing",
    "Unit",
    "by_place",
    "group_start",
    "is_marker",
    "joined",
    "open_calls",
    "role_of",
    "says_nothing",
    "settle",
    "was_cut",
]

OUTCOME_UNKNOWN: Final = (
    "[resilient_agent] outcome unknown: the session was interrupted before this call's result was saved. "
    "It may or may not have taken effect."
)
"""What a synthetic result says, and how it is recognised later: there is no other mark on it."""

_TEXTS: Final = ("text", "output_text")
_BOOKKEEPING: Final = frozenset(
    {
        "role",
        "type",
        "id",
        "name",
        "model",
        "usage",
        "status",
        "phase",
        "finish_reason",
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "container",
    }
)
"""Keys of a message that carry nothing which the model said."""

_CUT_REASONS: Final = frozenset({None, "length", "max_tokens", "model_context_window_exceeded", "pause_turn"})
"""What stands under `finish_reason` or `stop_reason` of a message that was not finished; None is a stream's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A call that a result has to answer.

    Attributes:
        key: what its result carries too.
        id, name, arguments: as stored.
        place: where the message or item stands that holds it.
        group: calls of one group were made together and may share an id.
        source: the object that makes the call.
        waits: whether the model does nothing before the result is there.
    """

    key: str
    id: str
    name: str
    arguments: Any
    place: int
    group: int
    source: dict[str, Any]
    waits: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What answers a call: a message, an item or a block.

    Attributes:
        key: what its call carries too.
        place: where the message or item stands.
        value: as stored.
        placeholder: whether it is a stand-in of ours.
        block: which block of the message's content it is; None where it is the message or item itself.
    """

    key: str
    place: int
    value: dict[str, Any]
    placeholder: bool
    block: int | None = None


@dataclasses.dataclass(slots=True)
class Slot:
    """A call, and the one result that was chosen for it."""

    call: Call
    result: Result | None = None

    @property
    def open(self) -> bool:
        """Whether the outcome is unknown."""
        return self.result is None or self.result.placeholder


class Unit(NamedTuple):
    """Messages that are kept or cut together, and whether a conversation may begin with them."""

    start: int
    stop: int
    head: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """Where a conversation stands: who spoke last once it is repaired, and what is left open."""

    last: Literal["nobody", "user", "results", "model"]
    cut: bool
    calls: tuple[Call, ...]


class Dialect(Protocol):
    """What a dialect's module offers. All of it is pure and leaves its argument as it is."""

    def repair(self, messages: Sequence[Any], /) -> list[Any]:
        """The same conversation, as the provider accepts it."""

    def units(self, messages: Sequence[Any], /) -> list[Unit]:
        """The conversation in pieces that must not be split."""

    def standing(self, messages: Sequence[Any], /) -> Standing:
        """Who is to speak next."""

    def events(self, messages: Sequence[Any], /) -> Iterable[Call | Result]:
        """The calls and their results, in the order in which they stand."""

    def group_start(self, messages: Sequence[Any], stop: int, /) -> int:
        """Where that begins which was made together with what stands before `stop`."""


def group_start(_: Sequence[Any], stop: int) -> int:
    """A dialect's `group_start` where all that was made together is one message."""
    return stop - 1


def settle(events: Iterable[Call | Result]) -> list[Slot]:
    """Give each call its result, in the order in which they stand; results that nobody asked for are left out.

    The first real result of a call wins, and any real one wins over a placeholder.
    """
    slots: list[Slot] = []
    asking: dict[str, list[Slot]] = {}
    for event in events:
        if isinstance(event, Call):
            slots.append(Slot(event))
            alike = asking.setdefault(event.key, [])
            if alike and alike[0].call.group != event.group:
                alike.clear()  # the id was used again: what comes now is the newer call's
            alike.append(slots[-1])
        else:
            _answer(asking.get(event.key, ()), event)
    return slots


def _answer(alike: Sequence[Slot], result: Result) -> None:
    free = next((slot for slot in alike if slot.result is None), None)
    if free is None and not result.placeholder:
        free = next((slot for slot in alike if slot.open), None)
    if free is not None:
        free.result = result


def by_place(slots: Iterable[Slot]) -> dict[int, list[Slot]]:
    """The slots of each message or item that makes calls."""
    places: dict[int, list[Slot]] = {}
    for slot in slots:
        places.setdefault(slot.call.place, []).append(slot)
    return places


def joined(units: Sequence[Unit], slots: Iterable[Slot]) -> list[Unit]:
    """The units, with those made one that lie between a call and its result."""
    bridges = [0] * (units[-1].stop + 1) if units else []
    for slot in slots:
        if slot.result is not None:
            bridges[slot.call.place + 1] += 1
            bridges[slot.result.place + 1] -= 1
    over = list(itertools.accumulate(bridges))
    merged: list[Unit] = []
    for unit in units:
        if merged and over[unit.start]:
            merged[-1] = merged[-1]._replace(stop=unit.stop)
        else:
            merged.append(unit)
    return merged


def role_of(message: Any) -> str | None:
    """Who speaks in a message; None where it does not say."""
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else None


def open_calls(slots: Iterable[Slot], messages: Sequence[Any]) -> tuple[Call, ...]:
    """The calls of the assistant's last message whose outcome is unknown."""
    latest = max((place for place, message in enumerate(messages) if role_of(message) == "assistant"), default=None)
    return tuple(slot.call for slot in slots if slot.open and slot.call.place == latest)


def is_marker(content: Any) -> bool:
    """Whether a result's content is the text of a stand-in, plain or as one text block."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0].get("text")
    return bool(content == OUTCOME_UNKNOWN)


def says_nothing(message: dict[str, Any]) -> bool:
    """Whether nothing but bookkeeping is left of an assistant's message."""
    return not any(value and not _is_blank(value) for key, value in message.items() if key not in _BOOKKEEPING)


def _is_blank(content: Any) -> bool:
    """Whether it is a list of empty texts, as a stream leaves it that was cut at its beginning."""
    return isinstance(content, list) and all(
        isinstance(block, dict) and block.get("type") in _TEXTS and block.get("text") == "" for block in content
    )


def was_cut(message: dict[str, Any]) -> bool:
    """Whether the reason that was stored with a message says that it was not finished."""
    reasons = [message[key] for key in ("finish_reason", "stop_reason") if key in message]
    return any(isinstance(reason, str | None) and reason in _CUT_REASONS for reason in reasons)
