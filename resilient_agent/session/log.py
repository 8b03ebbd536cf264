"""A log's bytes: which records they hold, which places cannot be read, and where the log ends. Pure.

Decides what counts. Does not know where the bytes come from, nor what the records mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final

from resilient_agent.session.record import Damage, Record, read_line

__all__ = ["SLACK", "Parsed", "Weight", "parse"]


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """What a log holds.

    Attributes:
        damage: the places that cannot be read.
        end: the byte at which the next record goes.
        unended: whether the last record is whole but for its newline.
        torn: how many bytes of an unfinished record stand behind the end.
        live: how many of the bytes hold what still counts; see `Weight`.
    """

    damage: tuple[Damage, ...]
    end: int
    unended: bool
    torn: int
    live: Weight


class Weight:
    """How many bytes of a log hold what still counts, as far as it matters for compacting it.

    Attributes:
        live: the bytes.
    """

    __slots__ = ("_extra", "live")

    def __init__(self) -> None:
        self.live = 0
        self._extra = 0  # of the record that set the extra state last

    def add(self, kind: str, fields: dict[str, Any], size: int) -> None:
        """A record of so many bytes came to the log."""
        if kind == "appended":
            self.live += size
        elif kind == "replaced":
            self.live = size + (0 if "extra" in fields else self._extra)
        elif kind == "compacted" or (kind == "opened" and fields.get("afresh")):
            self.live, self._extra = size, 0
        elif kind == "extra":
            self.live += size - self._extra
            self._extra = size
        elif kind not in _PASSING:
            self.live += size

    def is_outgrown(self, size: int, kind: str) -> bool:
        """Whether a log of so many bytes is worth compacting, after a record of this kind."""
        return size > 2 * self.live + SLACK and kind in _GROWING


SLACK: Final = 1 << 16
"""Bytes: smaller logs are not worth the trouble."""
_GROWING: Final = frozenset({"appended", "replaced", "repaired", "extra"})  # at an end nobody waits for order
_PASSING: Final = frozenset({"opened", "interrupted", "closed", "forgotten"})
"""Kinds that say nothing any more once the next record is there."""


def parse(lines: Iterable[bytes], take: Callable[[Record], object]) -> Parsed:
    """The records of a log, one by one, the places that cannot be read, and where the log ends.

    What stands behind the last newline was never acknowledged: a whole record (its checksum
    says so) counts, anything else is torn. A whole line that cannot be read was damaged
    later; it is told and left where it is.

    Args:
        lines: those of the log, each with its newline; what stands behind the last newline, too.
        take: given each record that counts, in their order, each once. Not a list of them: of a long log it
            would cost a start as much as the messages.

    Example:
        >>> parse([b'{"seq":1}'], print).torn
        9
    """
    damage: list[Damage] = []
    offset = unread = 0
    live = Weight()
    due = 1  # the number of the record that comes next, where nothing is wrong
    tail = b""
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            tail = line
            break
        record = read_line(line[:-1])
        if isinstance(record, str):
            damage.append(Damage(number, offset, record))
            unread += 1
        else:
            if record.seq != due and (fault := _disorder(record, due, unread)):
                damage.append(Damage(number, offset, fault))
            unread = 0
            if record.seq >= due:  # a line that stands twice counts once
                take(record)
                live.add(record.kind, record.fields, len(line))
                due = record.seq + 1
        offset += len(line)
    last = read_line(tail) if tail else ""
    if isinstance(last, Record):
        take(last)
        live.add(last.kind, last.fields, len(tail) + 1)
        return Parsed(tuple(damage), offset + len(tail), unended=True, torn=0, live=live)
    return Parsed(tuple(damage), offset, unended=False, torn=len(tail), live=live)


def _disorder(record: Record, expected: int, unread: int) -> str:
    """What is wrong with a record's number, where `unread` lines before it could not be read."""
    if expected == 1 and record.kind == "compacted":
        return ""  # the first that counts: it stands for all before it
    if record.seq < expected:
        return f"record {record.seq} stands here again"
    missing = range(expected + unread, record.seq)
    return f"records {missing[0]} to {missing[-1]} are missing before it" if missing else ""
