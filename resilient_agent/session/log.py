"""A log's bytes: which records they hold, which places cannot be read, and where the log ends. Pure.

Decides what counts. Does not know where the bytes come from, nor what the records mean.
"""

from __future__ import annotations

import dataclasses

from resilient_agent.session.record import Damage, Record, read_line

__all__ = ["Parsed", "parse"]


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """What a log holds.

    Attributes:
        records: in their order, each once.
        damage: the places that cannot be read.
        end: the byte at which the next record goes.
        unended: whether the last record is whole but for its newline.
        torn: how many bytes of an unfinished record stand behind the end.
    """

    records: list[Record]
    damage: tuple[Damage, ...]
    end: int
    unended: bool
    torn: int


def parse(data: bytes) -> Parsed:
    """The records of a log, the places that cannot be read, and where it ends.

    What stands behind the last newline was never acknowledged: a whole record (its checksum
    says so) counts, anything else is torn. A whole line that cannot be read was damaged
    later; it is told and left where it is.

    Example:
        >>> parse(b'{"seq":1}').torn
        9
    """
    *lines, tail = data.split(b"\n")
    records: list[Record] = []
    damage: list[Damage] = []
    offset = unread = 0
    for number, line in enumerate(lines, 1):
        record = read_line(line)
        fault = record if isinstance(record, str) else _disorder(records, record, unread)
        if fault:
            damage.append(Damage(number, offset, fault))
        if isinstance(record, Record):
            unread = 0
            if not records or record.seq > records[-1].seq:  # a line that stands twice counts once
                records.append(record)
        else:
            unread += 1
        offset += len(line) + 1
    last = read_line(tail) if tail else ""
    if isinstance(last, Record):
        records.append(last)
        return Parsed(records, tuple(damage), len(data), unended=True, torn=0)
    return Parsed(records, tuple(damage), offset, unended=False, torn=len(tail))


def _disorder(records: list[Record], record: Record, unread: int) -> str:
    """What is wrong with a record's number, where `unread` lines before it could not be read."""
    expected = records[-1].seq + 1 if records else 1
    if record.seq < expected:
        return f"record {record.seq} stands here again"
    missing = range(expected + unread, record.seq)
    return f"records {missing[0]} to {missing[-1]} are missing before it" if missing else ""
