"""A log's bytes: which records they hold, which places cannot be read, and where the log ends. Pure.

Decides what counts. Does not know where the bytes come from, nor what the records mean.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from resilient_agent.session.record import Damage, Record, read_line

__all__ = ["SLACK", "Parsed", "Weight", "parse"]


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """What a log holds.

    Attributes:
        records: in their order, each once.
        damage: the places that cannot be read.
        end: the byte at which the next record goes.
        unended: whether the last record is whole but for its newline.
        torn: how many bytes of an unfinished record stand behind the end.
        live: how many of the bytes hold what still counts; see `Weight`.
    """

    records: list[Record]
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


def parse(data: bytes) -> Parsed:
    """The records of a log, the places that cannot be read, and where it ends.

    What stands behind the last newline was never acknowledged: a whole record (its checksum
    says so) counts, anything else is torn. A whole line that cannot be read was damaged
    later; it is told and left where it is.

    Example:
        >>> parse(b'{"seq":1}').torn
        9
    """
    records: list[Record] = []
    damage: list[Damage] = []
    number = offset = unread = 0
    live = Weight()
    due = 1  # the number of the record that comes next, where nothing is wrong
    # Line by line and not by split: a second copy of a long log costs a start as much as reading it.
    while (end := data.find(b"\n", offset)) >= 0:
        number += 1
        record = read_line(data[offset:end])
        if isinstance(record, str):
            damage.append(Damage(number, offset, record))
            unread += 1
        else:
            if record.seq != due and (fault := _disorder(records, record, unread)):
                damage.append(Damage(number, offset, fault))
            unread = 0
            if record.seq >= due:  # a line that stands twice counts once
                records.append(record)
                live.add(record.kind, record.fields, end + 1 - offset)
                due = record.seq + 1
        offset = end + 1
    tail = data[offset:]
    last = read_line(tail) if tail else ""
    if isinstance(last, Record):
        records.append(last)
        live.add(last.kind, last.fields, len(tail) + 1)
        return Parsed(records, tuple(damage), len(data), unended=True, torn=0, live=live)
    return Parsed(records, tuple(damage), offset, unended=False, torn=len(tail), live=live)


def _disorder(records: list[Record], record: Record, unread: int) -> str:
    """What is wrong with a record's number, where `unread` lines before it could not be read."""
    if not records and record.kind == "compacted":
        return ""  # it stands for all before it
    expected = records[-1].seq + 1 if records else 1
    if record.seq < expected:
        return f"record {record.seq} stands here again"
    missing = range(expected + unread, record.seq)
    return f"records {missing[0]} to {missing[-1]} are missing before it" if missing else ""
