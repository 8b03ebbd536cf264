"""`Effect`: something that is done to the world once, as a session remembers it. Pure."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from resilient_agent.errors import NotStorable, OutcomeUnknown
from resilient_agent.session.content import copied, plain

__all__ = ["Effect", "is_the_same", "shown_arguments"]

_SHOWN: Final = 200  # characters of an argument that cannot be stored
_LOOKED_AT: Final = 20_000  # characters of it that are redacted before
_DEEP: Final = 8  # levels of it that are shown


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """One effect of a session.

    Attributes:
        key: what it is told by, within its session.
        name: the function's name.
        arguments: what it was called with; what JSON cannot hold stands as text.
        at: when it was started; aware, UTC.
        finished: whether its end is known.
        result: what it came to; None before it finished, and where it was skipped.
    """

    key: str
    name: str
    arguments: list[Any]
    at: datetime.datetime
    finished: bool = False
    result: Any = None

    def finish(self, result: Any) -> Self:
        """The same, with its end known."""
        return dataclasses.replace(self, finished=True, result=result)

    @property
    def call(self) -> str:
        """What was called and with what, cut to a line."""
        return f"{self.name}({', '.join(map(repr, self.arguments))[:_SHOWN]})"

    def copy(self) -> Self:
        """The same, for somebody who may change what is in it."""
        return dataclasses.replace(self, arguments=copied(self.arguments), result=copied(self.result))

    def unknown(self) -> OutcomeUnknown:
        """What is raised where it cannot be said what it came to."""
        return OutcomeUnknown(self.key, self.name, copied(self.arguments), self.at)

    def as_fields(self) -> dict[str, Any]:
        """In JSON's own types; `from_fields` is the way back."""
        return {**dataclasses.asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The effect that `as_fields` wrote down. What a later version added is left out."""
        known = {field.name: fields[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**known, "at": datetime.datetime.fromisoformat(known["at"])})


def is_the_same(known: Effect, args: Sequence[Any], redact: Callable[[Any], Any]) -> bool:
    """Whether it is this call that an effect was, as far as arguments tell: functions are renamed."""
    pairs = zip(known.arguments, args, strict=False)
    alike = len(known.arguments) == len(args)
    return alike and all(_is_the_same_argument(stored, arg, redact) for stored, arg in pairs)


def _is_the_same_argument(stored: Any, arg: Any, redact: Callable[[Any], Any]) -> bool:
    try:
        given = plain(arg)
    except NotStorable:
        return True  # of an open connection and the like only the looks are stored, and those may change
    return bool(given == stored or redact(given) != given)  # what is redacted cannot be told from any other


def shown_arguments(args: Sequence[Any], redact: Callable[[Any], Any]) -> list[Any]:
    """Arguments for a record: as JSON where that is possible, else what they look like; redacted in any case."""
    return [_shown_argument(arg, redact) for arg in args]


def _shown_argument(arg: Any, redact: Callable[[Any], Any]) -> Any:
    try:
        stored = plain(arg)
    except NotStorable:
        return _cut(redact(_shown(arg)))
    return redact(stored)  # not in the try: what a redactor refuses is not shown in another form


def _shown(value: Any, depth: int = 0) -> Any:
    """A value with what JSON cannot hold as text. Names stay, for a redactor goes by them."""
    if isinstance(value, dict) and depth < _DEEP:
        return {str(key): _shown(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEP:
        return [_shown(item, depth + 1) for item in value]
    try:
        return plain(value)
    except NotStorable:
        return repr(value)[:_LOOKED_AT]


def _cut(shown: Any) -> Any:
    """Long texts cut off; after the redaction, so that no secret is cut in two and stays."""
    if isinstance(shown, str):
        return shown[:_SHOWN]
    if isinstance(shown, dict):
        return {key: _cut(item) for key, item in shown.items()}
    return [_cut(item) for item in shown] if isinstance(shown, list) else shown
