"""One line of a session's log: a record to bytes, and bytes to a record or to a verdict of damage.

Pure. A line is one JSON object, so that `jq` and `tail -F` read it:

    {"seq":3,"epoch":1,"at":"2026-11-23T21:04:05.678901Z","count":2,"kind":"appended","messages":[…],"crc":"5f0c2a91"}

`seq` counts the records of the session from 1 without a hole; `epoch` counts its owners;
`count` is the number of messages that the session has after this record, so that a listing
reads two lines of a log and not all of it; `crc` is the CRC-32 of everything before it.
Does not know what the kinds do (`history.py`) nor where lines are kept (`stores/`).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import zlib
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from resilient_agent.session.content import write

__all__ = [
    "CONTENT",
    "FORMAT",
    "Damage",
    "Kind",
    "Record",
    "is_whole",
    "read_line",
    "unsealed",
    "without_content",
    "write_line",
]

FORMAT: Final = 1
"""The version that an `opened` record carries. A log with a higher one is left alone."""

Kind = Literal[
    "opened", "appended", "replaced", "repaired", "extra", "started", "finished", "forgotten",
    "interrupted", "closed", "compacted",
]  # fmt: skip
"""opened: an owner took the session, and whether it begins anew. appended: messages came to it. replaced:
these messages stand in place of all before; both may set the extra state in the same instant.
repaired: behind the first so many messages these stand from now on. extra: the extra state is now this.
started, finished, forgotten: an effect set out, came to its end, may run again. interrupted: it ended
badly, and how. closed: it ended well and was kept. compacted: all that went before, in one record."""

CONTENT: Final = frozenset({"messages", "extra", "effects", "key", "name", "arguments", "result"})
"""The fields that hold what a conversation says: with a codec they are written sealed, all in one."""

_DECODE: Final = msgspec.json.Decoder().decode  # reads a thousand messages in two fifths of the time of `json`
_TAIL: Final = len(b',"crc":"00000000"}')


@dataclasses.dataclass(slots=True)
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


def write_line(record: Record, seal: Callable[[bytes, int], bytes] | None = None) -> bytes:
    """A record as a line, newline included. Its fields hold JSON's own types (`content.plain`).

    Args:
        record: the record.
        seal: turns the JSON of the content into bytes that nobody else reads, given the record's number.
    """
    fields = record.fields
    if seal is not None and not CONTENT.isdisjoint(fields):
        content = {name: value for name, value in fields.items() if name in CONTENT}
        sealed = base64.b64encode(seal(write(content), record.seq)).decode()
        fields = {**without_content(fields), "sealed": sealed}
    moment = msgspec.to_builtins(record.at.astimezone(datetime.UTC))  # with a Z, and twice as fast as isoformat
    head = {"seq": record.seq, "epoch": record.epoch, "at": moment, "count": record.count, "kind": record.kind}
    body = write(head | fields)[:-1]
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def read_line(line: bytes) -> Record | str:
    """The record in a line without its newline, or in words what is wrong with it."""
    if not is_whole(line):
        return "the checksum does not fit"
    try:
        try:
            fields = _DECODE(line)
        except ValueError:  # a lone surrogate, which JSON allows and few read
            fields = json.loads(line)
        del fields["crc"]
        pop = fields.pop
        moment = datetime.datetime.fromisoformat(pop("at"))
        record = Record(pop("seq"), pop("epoch"), moment, pop("count"), pop("kind"), fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"it is no record: {type(error).__name__}"
    return record


def is_whole(line: bytes) -> bool:
    """Whether a line's checksum fits."""
    return line.endswith(b',"crc":"%08x"}' % zlib.crc32(memoryview(line)[:-_TAIL]))


def unsealed(record: Record, unseal: Callable[[bytes, int], bytes]) -> Record:
    """A record with its fields as they were before `write_line` sealed them.

    Raises:
        ValueError: what came out is no JSON object; and whatever `unseal` raises.
    """
    content = json.loads(unseal(base64.b64decode(record.fields["sealed"]), record.seq))
    if not isinstance(content, dict):
        raise ValueError("what was unsealed is no record")  # noqa: TRY004 - a wrong key is no wrong type
    return dataclasses.replace(record, fields={**without_content(record.fields), **content})


def without_content(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that anybody may read, whether the others are sealed or not."""
    return {name: value for name, value in fields.items() if name not in CONTENT and name != "sealed"}
