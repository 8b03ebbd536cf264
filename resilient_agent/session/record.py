"""One line of a session's log: a record to bytes, and bytes to a record or to a verdict of damage.

Pure. A line is one JSON object, so that `jq` and `tail -f` read it:

    {"seq":3,"epoch":1,"at":"2026-11-23T21:04:05.678901Z","count":2,"kind":"appended","messages":[…],"crc":"5f0c2a91"}

`seq` counts the records of the session from 1 without a hole; `epoch` counts its owners;
`count` is the number of messages that the session has after this record, so that a listing
reads two lines of a log and not all of it; `crc` is the CRC-32 of everything before it.
Does not know what the kinds do (`history.py`) nor where lines are kept (`stores/`).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import zlib
from typing import Any, Final, Literal

from resilient_agent.session.content import write

__all__ = ["FORMAT", "Damage", "Kind", "Record", "read_line", "write_line"]

FORMAT: Final = 1
"""The version that an `opened` record carries. A log with a higher one is left alone."""

Kind = Literal["opened", "appended", "replaced", "extra", "interrupted", "closed"]
"""opened: an owner took the session. appended: messages came to it. replaced: these messages stand
in place of all before; both may set the extra state in the same instant. extra: the extra state
is now this. interrupted: it ended badly, and how. closed: it ended well and was kept."""

_TAIL: Final = len(b',"crc":"00000000"}')


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read.

    Attributes:
        seq: its number in the session, from 1.
        epoch: the number of the owner that wrote it, from 1.
        at: when, in the writer's wall clock, aware.
        count: the messages of the session after it.
        kind: one of `Kind`, or a word of a later version.
        fields: whatever else the line holds, by name.
    """

    seq: int
    epoch: int
    at: datetime.datetime
    count: int
    kind: str
    fields: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """A place in a log that could not be read.

    Attributes:
        line: the line's number, from 1.
        offset: its first byte in the file.
        reason: what is wrong with it.
    """

    line: int
    offset: int
    reason: str


def write_line(record: Record) -> bytes:
    """A record as a line, newline included. Its fields hold JSON's own types (`content.plain`)."""
    moment = record.at.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = f'{{"seq":{record.seq},"epoch":{record.epoch},"at":"{moment}","count":{record.count},"kind":"{record.kind}"'
    more = write(record.fields)[1:-1]
    body = head.encode() + (b"," + more if more else b"")
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def read_line(line: bytes) -> Record | str:
    """The record in a line without its newline, or in words what is wrong with it."""
    body, tail = line[:-_TAIL], line[-_TAIL:]
    if tail != b',"crc":"%08x"}' % zlib.crc32(body):
        return "the checksum does not fit"
    try:
        fields: dict[str, Any] = json.loads(body + b"}")
        return Record(
            seq=fields.pop("seq"),
            epoch=fields.pop("epoch"),
            at=datetime.datetime.fromisoformat(fields.pop("at")),
            count=fields.pop("count"),
            kind=fields.pop("kind"),
            fields=fields,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"it is no record: {type(error).__name__}"
