"""A record is one line, and any change to the line is noticed."""

import datetime
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent.session.record import Record, read_line, write_line

AT = datetime.datetime(2026, 11, 23, 21, 4, 5, 678901, tzinfo=datetime.UTC)
MESSAGE = {"role": "user", "content": 'naïve "東京" \\ \n \0 \ud83d'}


def line_of(*, seq=3, epoch=1, at=AT, count=2, kind="appended", fields=None):
    fields = {"messages": [MESSAGE]} if fields is None else fields
    return write_line(Record(seq=seq, epoch=epoch, at=at, count=count, kind=kind, fields=fields))


LINE = line_of().removesuffix(b"\n")
MOMENTS = st.datetimes(min_value=datetime.datetime(1970, 1, 1), timezones=st.just(datetime.UTC))  # noqa: DTZ001
TEXTS = st.text()


def test_a_record_comes_back_as_it_was_written():
    """Numbers, time, kind and fields of a record are read as they were written."""
    assert read_line(LINE) == Record(seq=3, epoch=1, at=AT, count=2, kind="appended", fields={"messages": [MESSAGE]})


@given(
    seq=st.integers(1, 10**12),
    epoch=st.integers(1, 10**9),
    at=MOMENTS,
    count=st.integers(0, 10**9),
    extra=st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS)),
)
def test_every_record_comes_back_as_it_was_written(seq, epoch, at, count, extra):
    """Whatever the numbers, the moment and the content, writing and reading are inverse."""
    line = line_of(seq=seq, epoch=epoch, at=at, count=count, kind="extra", fields={"extra": extra})
    assert line.count(b"\n") == 1
    assert read_line(line[:-1]) == Record(seq, epoch, at, count, "extra", {"extra": extra})


def test_the_time_is_written_in_utc():
    """A moment in another zone is written as the same moment in UTC, with microseconds."""
    zone = datetime.timezone(datetime.timedelta(hours=9))
    assert json.loads(line_of(at=AT.astimezone(zone)))["at"] == "2026-11-23T21:04:05.678901Z"


def test_a_line_is_plain_json():
    """A line is one flat JSON object that `jq` reads, ended by its only newline."""
    assert line_of().endswith(b"}\n")
    assert line_of().count(b"\n") == 1
    assert list(json.loads(LINE)) == ["seq", "epoch", "at", "count", "kind", "messages", "crc"]
    assert json.loads(LINE)["messages"] == [MESSAGE]


def test_the_checksum_is_the_crc_32_of_what_stands_before_it():
    """Anybody can check a line: `crc` is the CRC-32 of the bytes before `,"crc"`."""
    body = LINE[: LINE.rindex(b',"crc"')]
    assert json.loads(LINE)["crc"] == f"{zlib.crc32(body):08x}"


def test_each_flipped_byte_is_noticed():
    """No byte of a line can be changed, to whatever value, without the line being refused."""
    for place, byte in enumerate(LINE):
        for value in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, byte ^ 0xFF, 0, 0x0A}:
            if value != byte:
                changed = LINE[:place] + bytes([value]) + LINE[place + 1 :]
                assert isinstance(read_line(changed), str), (place, value)


def test_each_cut_is_noticed():
    """A line that lacks its end, or its beginning, is no record, wherever it was cut."""
    for place in range(len(LINE)):
        assert isinstance(read_line(LINE[:place]), str), place
        if place:
            assert isinstance(read_line(LINE[place:]), str), place


@given(st.integers(0, len(LINE)), st.integers(0, len(LINE)), st.binary(max_size=8))
@settings(max_examples=300)
def test_every_splice_is_noticed(start, end, instead):
    """A line in which any stretch was replaced by other bytes is no record."""
    changed = LINE[:start] + instead + LINE[max(start, end) :]
    assert changed == LINE or isinstance(read_line(changed), str)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_record(data):
    """Bytes that no record was written to give words and never an exception."""
    assert isinstance(read_line(data), str)


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"{", b"[1,2]", b'{"seq":1', b'{"seq":1,"epoch":1,"at":5,"count":0,"kind":"x"', b'{"a":' + b"[" * 9999],
    ids=["empty", "half a list", "nothing in it", "a list", "too little in it", "no moment", "too deep"],
)
def test_a_checksum_does_not_make_a_record(body):
    """A line with a fitting checksum that holds no record gives words and never an exception."""
    assert "it is no record" in read_line(b'%s,"crc":"%08x"}' % (body, zlib.crc32(body)))


def test_a_kind_of_a_later_version_is_read():
    """A kind that this version does not know is read with all its fields."""
    record = read_line(line_of(kind="effect_started", fields={"key": "mail", "n": 1})[:-1])
    assert (record.kind, record.fields) == ("effect_started", {"key": "mail", "n": 1})
