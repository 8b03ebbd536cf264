"""Reading logs that somebody else may hold: both ends of one, its holder, its messages one by one.

Decides how little of a log has to be read for a question. Writes nothing and locks nothing.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from resilient_agent.session.history import check_unsealed, holder_of
from resilient_agent.session.log import parse
from resilient_agent.session.record import Record, is_whole, read_line
from resilient_agent.session.stores import _posix

__all__ = ["Ends", "ends_of", "holder", "stream"]

_WINDOW: Final = 1 << 16
_OWNED: Final = ("opened", "compacted")  # kinds of records that say who owns the session
_HEAD: Final = re.compile(rb'\{"seq":\d+,"epoch":\d+,"at":"[^"]*","count":(\d+),"kind":"(\w+)"')
_KEPT: Final = re.compile(rb'"kept":(\d+)')
_REPLACING: Final = frozenset({b"replaced", b"compacted"})


class Ends(NamedTuple):
    """What a listing needs of a log.

    Attributes:
        first: the first record, or the first that tells the session's id.
        opened: the record of the last owner, where it stands near the end.
        last: the last whole record.
    """

    first: Record | None
    opened: Record | None
    last: Record | None


def ends_of(fd: int) -> Ends:
    """The two ends of a log; what lies between is not read."""
    size = _posix.size(fd)
    head = read_line(os.pread(fd, _WINDOW, 0).split(b"\n", 1)[0])
    first = head if isinstance(head, Record) and head.kind in _OWNED else None
    window = _WINDOW
    while True:
        start = max(0, size - window)
        lines = os.pread(fd, window, start).split(b"\n")
        # The first piece of a window that begins in mid-file is half a line.
        whole = lines if start == 0 else lines[1:]
        last = next((r for r in map(read_line, reversed(whole)) if isinstance(r, Record)), None)
        if last is not None or start == 0:
            break
        window *= 8
    if first is None:  # damaged or gone, or longer than the window: any later owner wrote the id down as well
        owned: list[Record] = []
        parse(_posix.lines(fd), lambda record: owned.append(record) if record.kind in _OWNED else None)
        first = owned[0] if owned else None
    return Ends(first, _opened(whole), last)


def _opened(lines: list[bytes]) -> Record | None:
    for line in reversed(lines):
        if b'"kind":"opened"' in line[:_WINDOW]:
            record = read_line(line)
            if isinstance(record, Record) and record.kind == "opened":
                return record
    return None


def holder(fd: int) -> str:
    """Who holds a log that is locked, as far as its last record of an owner tells."""
    line = b""
    for found in _posix.lines(fd):
        if (head := _HEAD.match(found)) and head[2].decode() in _OWNED:
            line = found.removesuffix(b"\n")
    record = read_line(line)
    if isinstance(record, str):
        return "a process that has just opened it"
    if record.fields.get("pid") == os.getpid() and record.fields.get("host") == socket.gethostname():
        return f"another guard in this very process, since {record.at:%Y-%m-%d %H:%M:%S} UTC"
    return holder_of(record)


def stream(fd: int, unseal: Callable[[Record], Record]) -> Iterator[Any]:
    """The messages of a log, one by one, with no more than one record in memory.

    It is read twice: first to see which messages count, where later records replaced or repaired some.
    """
    for part in _parts(fd):
        record = read_line(os.pread(fd, part.size, part.offset))
        if isinstance(record, Record):
            opened = unseal(record)
            check_unsealed(opened)
            yield from opened.fields["messages"][: part.messages]


class _Part(NamedTuple):
    """A line, and how many of its messages count."""

    offset: int
    size: int
    messages: int


def _parts(fd: int) -> list[_Part]:
    parts: list[_Part] = []
    end = total = 0
    for whole in _posix.lines(fd):
        line = whole.removesuffix(b"\n")
        offset, end = end, end + len(whole)
        head = _HEAD.match(line)
        if head is None or not is_whole(line):
            continue
        count, kind = int(head[1]), head[2]
        kept = total
        if kind in _REPLACING or (kind == b"opened" and b'"afresh":true' in line):
            kept = 0
        elif kind == b"repaired" and (said := _KEPT.search(line)):
            kept = int(said[1])
        if kept < total:
            parts = _first(parts, kept)
        if count > kept:
            parts.append(_Part(offset, len(line), count - kept))
        total = count
    return parts


def _first(parts: list[_Part], count: int) -> list[_Part]:
    """Those parts that hold the first so many messages; the last of them perhaps not whole."""
    kept: list[_Part] = []
    for part in parts:
        if count <= 0:
            break
        kept.append(part._replace(messages=min(part.messages, count)))
        count -= part.messages
    return kept
