"""What a codec seals opens with its key in its place, and nowhere else; all that is not said stays readable."""

import base64
import hashlib
import itertools
import json
import os
import re
import runpy
import signal
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent import (
    OutcomeUnknown,
    SessionSealed,
    StorageError,
    discard_session,
    interrupted_sessions,
    prune_sessions,
    session_guard,
)
from resilient_agent.session.stores import _filelog
from resilient_agent.session.stores.file import FileStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "07_encrypted_session.py"
AesGcm = runpy.run_path(str(EXAMPLE))["AesGcm"]  # the one that users are shown

READABLE = {
    "seq", "epoch", "at", "count", "kind", "crc", "sealed",  # of every record
    "format", "session_id", "pid", "host", "resumes", "resuming", "born", "afresh", "kept", "added", "place", "mended",
    "reason", "error", "verdict", "rule", "because", "attempts", "not_before",
}  # fmt: skip


class Toy:
    """A codec that a reader sees through: a mask and a tag from key, session and number. No cryptography."""

    def __init__(self, key=b"key"):
        self._key = key
        self.opened = []  # the numbers of what was decoded

    def encode(self, data, session_id, seq):
        mask, tag = self._made(data, session_id, seq)
        return tag + mask

    def decode(self, data, session_id, seq):
        self.opened.append(seq)
        tag, masked = data[:8], data[8:]
        clear, _ = self._made(masked, session_id, seq)
        if self._made(clear, session_id, seq)[1] != tag:
            raise LookupError("not this key, or not its place")
        return clear

    def _made(self, data, session_id, seq):
        """The data with the mask laid over it, and the data's tag."""
        seed = hashlib.blake2b(f"{seq}:{session_id}".encode(), key=self._key).digest()
        stream = hashlib.shake_256(seed).digest(len(data))
        masked = (int.from_bytes(data) ^ int.from_bytes(stream)).to_bytes(len(data))
        return masked, hashlib.blake2b(data, key=seed, digest_size=8).digest()


class Failing(Toy):
    """A codec whose keys are out of reach when `fails` says so of what is to be sealed."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error or RuntimeError("the key service is away")
        self.fails = lambda data: False

    def encode(self, data, session_id, seq):
        if self.fails(data):
            raise self.error
        return super().encode(data, session_id, seq)


KINDS = {"toy": Toy, "AES-GCM": AesGcm}
KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))


@pytest.fixture(params=KINDS)
def kind(request):
    """A class of codecs: made with a key."""
    return KINDS[request.param]


def says(text, role="user"):
    return {"role": role, "content": text}


SAID = [says("Kilimanjaro"), says("Popocatepetl", "assistant"), says("Nanga Parbat")]


class Crash(Exception):
    """What ends a body, so that the session stays."""


def crash(store, codec, body=None, session_id="ticket-42", **options):
    """A guard whose body ends badly; the log that it leaves."""
    with (
        pytest.raises(Crash),
        session_guard(session_id, store=store, codec=codec, **options) as session,
    ):
        if body is None:
            for message in SAID:
                session.append(message)
        else:
            body(session)
        raise Crash
    return session.path


def records(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def fitting(record):
    """A record as a line with a checksum that fits: whoever writes the file can do that."""
    body = json.dumps({name: value for name, value in record.items() if name != "crc"}, separators=(",", ":"))
    return b'%s,"crc":"%08x"}\n' % (body[:-1].encode(), zlib.crc32(body[:-1].encode()))


def rewrite(path, changed):
    path.write_bytes(b"".join(map(fitting, changed)))


def state(path):
    """What must not change where a log is not opened."""
    stat = path.stat()
    return path.read_bytes(), stat.st_mtime_ns, stat.st_ino, sorted(entry.name for entry in path.parent.iterdir())


def everybody_who_is_refused(store, codec):
    """The ways to a stored session's content; each has to end in SessionSealed."""

    def enter(**options):
        with session_guard("ticket-42", store=store, codec=codec, **options):
            raise AssertionError("it was opened")

    return {
        "with": enter,
        "resume=force": lambda: enter(resume="force"),
        "resume=False": lambda: enter(resume=False),
        "repair=None": lambda: enter(repair=None),
        "read": lambda: store.read("ticket-42", codec=codec),
        "stream": lambda: list(store.stream("ticket-42", codec=codec)),
    }


# -- there and back -------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["\0", "\ud83d", "naïve 東京 🦜", "\u2028"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(session_id=IDS, messages=st.lists(OBJECTS, max_size=5), extra=OBJECTS, result=VALUES)
@settings(max_examples=60)
def test_whatever_was_saved_comes_back_after_a_crash(
    tmp_path_factory, kind, session_id, messages, extra, result
):  # B51 B55
    """Messages, extra state and effects are equal after a restart with the key, whatever JSON they hold."""
    store = FileStore(tmp_path_factory.mktemp("sealed"), durability="process")

    def body(session):
        session.extend(messages[:2])
        for message in messages[2:]:
            session.append(message)
        session.set_extra(extra)
        session.once("effect", lambda argument: result, result)

    crash(store, kind(KEY), body, session_id, repair=None)
    with session_guard(session_id, store=store, codec=kind(KEY), repair=None) as session:
        assert repr((session.messages, session.extra)) == repr((messages, extra))
        effect = session.effects["effect"]
        assert repr((effect.finished, effect.arguments, effect.result)) == repr((True, [result], result))
        session.append(says("on"))
        assert session.messages[-1] == says("on")


@given(data=st.binary(), place=st.tuples(IDS, st.integers(1, 10**9)), other=st.tuples(IDS, st.integers(1, 10**9)))
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_codecs_of_these_tests_keep_what_a_codec_promises(kind, data, place, other):
    """What is sealed opens in its place with its key, and neither in another one nor with another."""
    sealed = kind(KEY).encode(data, *place)
    assert kind(KEY).decode(sealed, *place) == data
    with pytest.raises(Exception):  # noqa: B017 - whatever they like
        kind(OTHER_KEY).decode(sealed, *place)
    if other != place:
        with pytest.raises(Exception):  # noqa: B017
            kind(KEY).decode(sealed, *other)


def test_no_two_seals_of_the_same_are_the_same():
    """The example's codec takes a fresh nonce each time, as a number is used again after a save that failed."""
    codec = AesGcm(KEY)
    sealed = [codec.encode(b"the same", "ticket-42", 7) for _ in range(1000)]
    assert len({one[:12] for one in sealed}) == len(set(sealed)) == 1000


def test_a_codec_sees_the_session_and_the_number_of_each_record(store):
    """It is called once for each record that says something, with the id and the number that stand in its line."""
    seen = []

    class Watching(Toy):
        def encode(self, data, session_id, seq):
            seen.append((type(data), session_id, seq))
            return super().encode(data, session_id, seq)

    path = crash(store, Watching(), session_id="a/b ü")
    sealed = [record["seq"] for record in records(path) if "sealed" in record]
    assert sealed == [2, 3, 4]
    assert seen == [(bytes, "a/b ü", seq) for seq in sealed]


@pytest.mark.anyio
async def test_async_with_seals_as_with_does(store, kind):  # B55
    """A session that was sealed by one face is gone on with by the other."""
    with pytest.raises(Crash):
        async with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
            await session.extend(SAID)
            assert await session.once("climb", lambda: "Aconcagua") == "Aconcagua"
            raise Crash
    assert not spoken(session.path, "Kilimanjaro", "Popocatepetl", "Nanga", "climb", "Aconcagua")
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.messages == SAID
    crash(store, kind(KEY))
    with pytest.raises(SessionSealed):
        async with session_guard("ticket-42", store=store, codec=kind(OTHER_KEY)):
            raise AssertionError("it was opened")
    async with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.messages == SAID


def test_sealed_sessions_of_a_database_are_pruned_by_whoever_has_no_key(url):
    """Their age and how they stand can be read, and that is all that is asked for; what is not old enough stays."""
    with session_guard("sealed", store=url, codec=Toy(), keep=True) as session:
        session.append({"role": "user", "content": "a secret"})
    with session_guard("plain", store=url, keep=True) as session:
        session.append({"role": "user", "content": "no secret"})
    assert prune_sessions(older_than=3600, status="closed", store=url) == []
    removed = prune_sessions(older_than=0, status="closed", store=url)
    assert sorted(found.session_id for found in removed) == ["plain", "sealed"]


def test_a_sealed_session_survives_its_kill(store, start):  # B55
    """A process that is killed leaves what it acknowledged, sealed and whole."""
    code = f"""
    import runpy, sys
    from resilient_agent import session_guard
    codec = runpy.run_path({str(EXAMPLE)!r})["AesGcm"](bytes(range(32)))
    with session_guard("ticket-42", store=sys.argv[1], codec=codec) as session:
        for text in ("Kilimanjaro", "Popocatepetl"):
            session.append({{"role": "user", "content": text}})
            print("saved", flush=True)
        sys.stdin.readline()
    """
    process = start(code, store.folder)
    assert [process.stdout.readline() for _ in range(2)] == ["saved\n"] * 2
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not spoken(store.path("ticket-42"), "Kilimanjaro", "Popocatepetl")
    with session_guard("ticket-42", store=store, codec=AesGcm(KEY)) as session:
        assert session.messages == [says("Kilimanjaro"), says("Popocatepetl")]
        assert session.interruption.reason == "unknown"


def test_a_torn_record_is_cut_and_the_rest_opens(store, kind):
    """Half of a sealed record was never acknowledged; what stands before it is whole."""
    path = crash(store, kind(KEY))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.messages == SAID[:2]
        assert session.damage == ()


def test_a_damaged_record_is_told_and_the_rest_opens(store, kind):
    """A bit that flipped on the disk is damage, as it is without a codec, and no wrong key."""
    path = crash(store, kind(KEY))
    lines = path.read_bytes().splitlines(keepends=True)
    place = lines[2].index(b'"sealed":"') + 15
    lines[2] = lines[2][:place] + bytes([lines[2][place] ^ 1]) + lines[2][place + 1 :]
    path.write_bytes(b"".join(lines))
    with session_guard("ticket-42", store=store, codec=kind(KEY), repair=None) as session:
        assert session.messages == [SAID[0], SAID[2]]
        assert [place.line for place in session.damage] == [3]


def test_a_history_is_repaired_sealed(store, kind):  # B56 B58
    """What a repair puts in, and the late result that takes its place, are sealed and come back."""
    call = {"id": "call_1", "type": "function", "function": {"name": "climb", "arguments": "{}"}}
    asked = [says("Go"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    crash(store, kind(KEY), lambda session: session.extend(asked))
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Aconcagua"}

    def late(session):
        assert [message["role"] for message in session.messages] == ["user", "assistant", "tool"]
        session.append(result)

    path = crash(store, kind(KEY), late)
    assert [record["kind"] for record in records(path)].count("repaired") == 2
    assert not spoken(path, "call_1", "climb", "Aconcagua", "outcome unknown")
    assert list(store.stream("ticket-42", codec=kind(KEY))) == [*asked, result]
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.messages == [*asked, result]


# -- what is readable -----------------------------------------------------------------------------


def spoken(path, *words):
    """Which of these words stand in a log: as they are, or as base64 of what was not sealed."""
    text = path.read_text()
    decoded = b"".join(base64.b64decode(sealed) for sealed in re.findall(r'"sealed":"([^"]*)"', text))
    return [word for word in words if word in text or word.encode() in decoded]


def test_nothing_that_was_said_is_readable_and_everything_else_is(store, kind):  # B55
    """In each kind of record the content is one sealed field; times, kinds, counts and endings stay."""

    def body(session):
        session.append(says("Kilimanjaro"))
        session.extend([says("Popocatepetl"), says("Nanga Parbat")])
        session.replace([says("Annapurna")])
        session.set_extra({"plan": "Matterhorn"})
        session.once("climb-1", lambda peak: {"summit": "Eiger"}, "Aconcagua")
        with pytest.raises(ZeroDivisionError):
            session.once("climb-2", lambda: 1 / 0)
        session.resolve("climb-2", rerun=True)

    path = crash(store, kind(KEY), body)
    found = records(path)
    kinds = ["opened", "appended", "appended", "replaced", "extra"]
    kinds += ["started", "finished", "started", "forgotten", "interrupted"]
    assert [record["kind"] for record in found] == kinds
    assert [record["count"] for record in found] == [0, 1, 3, 1, 1, 1, 1, 1, 1, 1]
    assert set().union(*found) <= READABLE
    assert {record["kind"] for record in found if "sealed" not in record} == {"opened", "interrupted"}
    words = ("Kilimanjaro", "Popocatepetl", "Parbat", "Annapurna", "Matterhorn", "Eiger", "Aconcagua")
    assert not spoken(path, *words, "climb", "summit", "lambda", "content", "messages", "arguments", "result")
    assert (found[-1]["reason"], found[-1]["error"]) == ("exception", "Crash")


def test_effects_are_sealed_and_still_done_once(store, kind):  # B55 B60
    """Key, function, arguments and result of an effect are not in the file, and after a crash nothing runs again."""
    ran = []

    def ascend(peak, *, fails=False):
        ran.append(peak)
        if peak == "Fitzroy":
            raise TimeoutError
        return {"reached": f"{peak} at noon"}

    def body(session):
        assert session.once("expedition-7", ascend, "Aconcagua") == {"reached": "Aconcagua at noon"}
        with pytest.raises(TimeoutError):
            session.once("expedition-8", ascend, "Fitzroy")

    for _ in range(2):
        path = crash(store, kind(KEY), body if not ran else lambda session: session.append(says("on")))
        assert not spoken(path, "expedition", "ascend", "Aconcagua", "Fitzroy", "reached", "noon")
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.once("expedition-7", ascend, "Aconcagua") == {"reached": "Aconcagua at noon"}
        with pytest.raises(OutcomeUnknown) as unknown:
            session.once("expedition-8", ascend, "Fitzroy")
        assert unknown.value.arguments == ["Fitzroy"]
        session.resolve("expedition-8", result="turned round")
        assert session.once("expedition-8", ascend, "Fitzroy") == "turned round"
        assert not spoken(session.path, "turned round")
    assert ran == ["Aconcagua", "Fitzroy"]


def test_sessions_are_listed_and_removed_without_the_codec(store, kind):  # B55
    """Who asks which sessions there are, or throws one away, needs no key."""
    crash(store, kind(KEY))
    with session_guard("ticket-43", store=store, codec=kind(OTHER_KEY), keep=True) as session:
        session.append(SAID[0])
        (live,) = (found for found in store.scan() if found.status == "live")
        assert (live.session_id, live.message_count) == ("ticket-43", 1)
    (found,) = interrupted_sessions(store)
    assert (found.session_id, found.status, found.message_count) == ("ticket-42", "interrupted", 3)
    assert (found.interruption.reason, found.interruption.error) == ("exception", "Crash")
    assert store.find("ticket-43").status == "closed"
    assert [gone.session_id for gone in prune_sessions(older_than=0, status="closed", store=store)] == ["ticket-43"]
    assert discard_session("ticket-42", store=store) is True
    assert list(store.scan()) == []


def test_crashes_are_counted_over_sealed_records(store, kind):
    """How often a session was resumed in a row is told by the listing, without the key."""
    for resumes in range(3):
        crash(store, kind(KEY), lambda session: session.append(says("on")))
        (found,) = interrupted_sessions(store)
        assert (found.interruption.resumes, found.message_count) == (resumes, resumes + 1)


# -- refused --------------------------------------------------------------------------------------

WAYS = ["with", "resume=force", "resume=False", "repair=None", "read", "stream"]


@pytest.mark.parametrize("way", WAYS)
def test_another_key_is_refused_and_the_log_is_left(store, kind, way):  # B55
    """A wrong key is SessionSealed by every way in, and no byte and no time of the file changes."""
    path = crash(store, kind(KEY))
    before = state(path)
    with pytest.raises(SessionSealed, match="record 2 of session 'ticket-42' cannot be unsealed") as refused:
        everybody_who_is_refused(store, kind(OTHER_KEY))[way]()
    assert refused.value.__cause__ is not None
    assert state(path) == before
    assert [found.session_id for found in interrupted_sessions(store)] == ["ticket-42"]
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:  # and nobody holds it
        assert session.messages == SAID


@pytest.mark.parametrize("way", WAYS)
def test_no_codec_is_refused_and_the_log_is_left(store, kind, way):  # B55
    """A sealed session without a codec is SessionSealed by every way in, and names what is missing."""
    path = crash(store, kind(KEY))
    before = state(path)
    with pytest.raises(SessionSealed, match="codec="):
        everybody_who_is_refused(store, None)[way]()
    assert state(path) == before
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.messages == SAID


@pytest.mark.parametrize("codec", [None, "another key"])
def test_a_torn_tail_is_left_too_where_it_cannot_be_opened(store, kind, codec):
    """Not even what a rightful owner would cut is cut, nor what was left of a compaction removed."""
    path = crash(store, kind(KEY))
    path.write_bytes(path.read_bytes() + b'{"seq":6,"epo')
    path.with_name(path.name + _filelog.COMPACTING).write_bytes(b"half")
    before = state(path)
    with pytest.raises(SessionSealed):
        everybody_who_is_refused(store, kind(OTHER_KEY) if codec else None)["with"]()
    assert state(path) == before


@pytest.mark.parametrize("places", list(itertools.combinations([1, 2, 3], 2)), ids=str)
@pytest.mark.parametrize("way", ["with", "read", "stream"])
def test_records_that_changed_places_do_not_open(store, kind, places, way):  # B55
    """What two records of one log say cannot be exchanged, though the checksums fit."""
    path = crash(store, kind(KEY))
    changed, (one, other) = records(path), places
    changed[one]["sealed"], changed[other]["sealed"] = changed[other]["sealed"], changed[one]["sealed"]
    rewrite(path, changed)
    before = state(path)
    with pytest.raises(SessionSealed, match=f"record {one + 1} "):
        everybody_who_is_refused(store, kind(KEY))[way]()
    assert state(path) == before


def test_lines_that_changed_places_say_nothing_in_another_order(store, kind):  # B55
    """Whole lines in another order are damage that is told; what is read keeps the order of the numbers."""
    path = crash(store, kind(KEY))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with session_guard("ticket-42", store=store, codec=kind(KEY), repair=None) as session:
        assert session.messages == SAID[1:]
        assert session.damage


@pytest.mark.parametrize("way", ["with", "read", "stream"])
def test_a_renumbered_record_does_not_open(store, kind, way):  # B55
    """A record that is put behind the others under the next number, as if it were said again, is refused."""
    path = crash(store, kind(KEY))
    changed = records(path)[:-1]
    rewrite(path, [*changed, {**changed[1], "seq": 5, "count": 4}])
    before = state(path)
    with pytest.raises(SessionSealed, match="record 5 "):
        everybody_who_is_refused(store, kind(KEY))[way]()
    assert state(path) == before


@pytest.mark.parametrize("moved", ["one record", "the whole log", "only the name in it is changed"])
def test_what_another_session_said_does_not_open_here(store, kind, moved):  # B55
    """A record at the same number, or the whole log, of another session under the same key is refused."""
    path = crash(store, kind(KEY))
    other = crash(store, kind(KEY), session_id="ticket-43")
    if moved == "one record":
        changed = records(path)
        changed[2] = {**changed[2], "sealed": records(other)[2]["sealed"]}
        rewrite(path, changed)
    elif moved == "the whole log":
        path.write_bytes(other.read_bytes())
    else:
        changed = records(other)
        changed[0]["session_id"] = "ticket-42"
        rewrite(path, changed)
    before = state(path)
    for way in ("with", "read", "stream"):
        with pytest.raises(SessionSealed, match="the session's own log"):
            everybody_who_is_refused(store, kind(KEY))[way]()
    assert state(path) == before
    with session_guard("ticket-43", store=store, codec=kind(KEY)) as session:
        assert session.messages == SAID


class Constant:
    """A codec that makes this of everything that it opens."""

    def __init__(self, opened):
        self._opened = opened

    def encode(self, data, *_):
        return data

    def decode(self, *_):
        return self._opened


@pytest.mark.parametrize("opened", [b"", b"\xff\xfe", b"[]", b"null", b"no JSON", None, 5], ids=repr)
def test_a_codec_that_opens_to_nonsense_is_refused(store, opened):
    """One that does not tell a wrong key, and gives something else than what was sealed, is no way in."""
    path = crash(store, Constant(None))
    before = state(path)
    for way in ("with", "read", "stream"):
        with pytest.raises(SessionSealed):
            everybody_who_is_refused(store, Constant(opened))[way]()
    assert state(path) == before


@pytest.mark.parametrize("sealed", ["", "no base64!", "AAA", 5, None], ids=repr)
def test_a_seal_that_is_none_is_refused(store, kind, sealed):
    """What stands in the place of the sealed bytes and is no base64 of any is refused like a wrong key."""
    path = crash(store, kind(KEY))
    changed = records(path)
    changed[2]["sealed"] = sealed
    rewrite(path, changed)
    before = state(path)
    for way in ("with", "read", "stream"):
        with pytest.raises(SessionSealed, match="record 3 "):
            everybody_who_is_refused(store, kind(KEY))[way]()
    assert state(path) == before


# -- a codec that fails ---------------------------------------------------------------------------

SAVES = {
    "append": lambda session: session.append(says("lost")),
    "extend": lambda session: session.extend([says("lost"), says("lost too")]),
    "replace": lambda session: session.replace([says("lost")]),
    "set_extra": lambda session: session.set_extra({"lost": True}),
    "once": lambda session: session.once("lost", lambda: pytest.fail("it ran and was not written down")),
}


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize(
    "error", [RuntimeError("the key service is away"), ConnectionRefusedError("the key service is away")], ids=repr
)
def test_where_sealing_fails_nothing_is_stored_and_the_next_works(store, save, error):  # B55
    """Whatever encode raises, what was to be saved is neither on the disk nor in memory; the session lives on."""
    codec = Failing(error)

    def body(session):
        session.append(SAID[0])
        session.set_extra({"plan": 1})
        codec.fails = lambda data: True
        before = state(session.path)
        for _ in range(2):
            # An error of the system is told as one of the storage.
            with pytest.raises(StorageError if isinstance(error, OSError) else type(error), match="key service"):
                SAVES[save](session)
        assert state(session.path) == before
        assert (session.messages, session.extra, session.effects) == ([SAID[0]], {"plan": 1}, {})
        codec.fails = lambda data: False
        session.append(SAID[1])

    path = crash(store, codec, body)
    assert [record["seq"] for record in records(path)] == [1, 2, 3, 4, 5]
    with session_guard("ticket-42", store=store, codec=Toy()) as session:
        assert (session.messages, session.extra, session.effects) == (SAID[:2], {"plan": 1}, {})


@pytest.mark.parametrize("made", ["text", None, 5], ids=repr)
def test_a_codec_that_makes_no_bytes_stores_nothing(store, made):
    """What is no bytes cannot be stored: TypeError, and the next save works."""

    class Odd(Toy):
        odd = False

        def encode(self, data, session_id, seq):
            return made if self.odd else super().encode(data, session_id, seq)

    codec = Odd()

    def body(session):
        codec.odd = True
        with pytest.raises(TypeError):
            session.append(says("lost"))
        codec.odd = False
        session.append(SAID[0])

    crash(store, codec, body)
    assert store.read("ticket-42", codec=Toy()).messages == [SAID[0]]


def test_an_effect_whose_result_cannot_be_sealed_has_an_unknown_outcome(store):  # B60
    """It took place and nobody could write that down: it is not run again by itself."""
    codec, ran = Failing(), []
    codec.fails = lambda data: b"Eiger" in data

    def climb():
        ran.append(1)
        return "Eiger"

    def body(session):
        with pytest.raises(RuntimeError):
            session.once("climb", climb)
        with pytest.raises(OutcomeUnknown):
            session.once("climb", climb)

    crash(store, codec, body)
    with session_guard("ticket-42", store=store, codec=Toy()) as session, pytest.raises(OutcomeUnknown):
        session.once("climb", climb)
    assert ran == [1]


def test_a_session_is_marked_and_closed_where_nothing_can_be_sealed(store):
    """How a session ended is not sealed, so an end needs no key."""
    codec = Failing()

    def body(session):
        session.append(SAID[0])
        codec.fails = lambda data: True

    crash(store, codec, body)
    (found,) = interrupted_sessions(store)
    assert found.interruption.error == "Crash"
    with session_guard("ticket-42", store=store, codec=codec, keep=True) as session:
        assert session.messages == [SAID[0]]
    assert store.find("ticket-42").status == "closed"


# -- compaction -----------------------------------------------------------------------------------


@pytest.fixture
def small_logs_are_compacted(monkeypatch):
    monkeypatch.setattr("resilient_agent.session.log.SLACK", 500)


def named(name, result):
    """A function that is told by its name, and gives a result."""

    def fn(peak):
        return result

    fn.__qualname__ = name
    return fn


def long_talk(session):
    """Enough that the log is compacted, and something behind it."""
    session.once("expedition-7", named("ascend", "Eiger"), "Aconcagua")
    session.set_extra({"plan": "Matterhorn"})
    for number in range(20):
        session.replace([says(f"Kilimanjaro {number} " + "x" * 300)])
    session.append(says("Annapurna"))


TOLD = [says("Kilimanjaro 19 " + "x" * 300), says("Annapurna")]
TOLD_WORDS = ("Kilimanjaro", "xxxx", "Annapurna", "expedition", "Eiger", "Aconcagua", "Matterhorn")


@pytest.mark.usefixtures("small_logs_are_compacted")
def test_a_compacted_log_is_sealed_and_opens(store, kind):  # B55
    """All at once is sealed like one by one: nothing readable, and messages, extra and effects come back."""
    path = crash(store, kind(KEY), long_talk)
    found = records(path)
    assert found[0]["kind"] == "compacted"
    assert set().union(*found) <= READABLE
    assert path.stat().st_size < 5_000
    assert not spoken(path, *TOLD_WORDS)
    (listed,) = interrupted_sessions(store)
    assert (listed.session_id, listed.message_count, listed.interruption.error) == ("ticket-42", 2, "Crash")
    assert list(store.stream("ticket-42", codec=kind(KEY))) == TOLD
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert (session.messages, session.extra) == (TOLD, {"plan": "Matterhorn"})
        assert session.once("expedition-7", named("ascend", "again"), "Aconcagua") == "Eiger"


@pytest.mark.usefixtures("small_logs_are_compacted")
@pytest.mark.parametrize("way", WAYS)
def test_a_compacted_log_is_refused_to_another_key_and_left(store, kind, way):  # B55
    """As any other; so is one that is another session's."""
    path = crash(store, kind(KEY), long_talk)
    before = state(path)
    with pytest.raises(SessionSealed):
        everybody_who_is_refused(store, kind(OTHER_KEY))[way]()
    assert state(path) == before
    other = crash(store, kind(KEY), long_talk, "ticket-43")
    path.write_bytes(other.read_bytes())
    with pytest.raises(SessionSealed):
        everybody_who_is_refused(store, kind(KEY))[way]()
    assert path.read_bytes() == other.read_bytes()


def is_of_all(data):
    """Whether this is what a log says all at once."""
    return b'"effects"' in data


@pytest.mark.usefixtures("small_logs_are_compacted")
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            RuntimeError("the key service is away"),
            id="RuntimeError",
        ),
        pytest.param(ConnectionRefusedError("the key service is away"), id="ConnectionRefusedError"),
    ],
)
def test_a_compaction_that_cannot_be_sealed_is_no_failed_save(store, caplog, error):
    """The message is stored, so its save must not fail; the log grows until it can be sealed all at once."""
    codec = Failing(error)

    def body(session):
        codec.fails = is_of_all
        for number in range(20):
            session.replace([says(f"{number} " + "x" * 300)])
            assert session.messages[0]["content"].startswith(f"{number} ")
        assert "was not compacted" in caplog.text
        assert [entry.name for entry in session.path.parent.iterdir()] == [session.path.name]
        codec.fails = lambda data: False
        for number in range(60):
            session.replace([says(f"{number} " + "x" * 300)])
        assert records(session.path)[0]["kind"] == "compacted"

    crash(store, codec, body)
    assert store.read("ticket-42", codec=Toy()).messages == [says("59 " + "x" * 300)]


def test_a_log_that_is_written_anew_after_a_failed_sync_is_sealed(store, kind, monkeypatch):  # B40 B55
    """It goes to the disk as one sealed record, and not as what is in memory."""

    def body(session):
        session.extend(SAID)
        with monkeypatch.context() as patched:

            def sync(fd):
                raise OSError(5, "Input/output error")

            patched.setattr(os, "fsync", sync)
            with pytest.raises(StorageError):
                session.append(says("Annapurna"))
        session.append(says("Matterhorn"))

    path = crash(store, kind(KEY), body)
    assert [record["kind"] for record in records(path)] == ["compacted", "appended", "interrupted"]
    assert not spoken(path, "Kilimanjaro", "Popocatepetl", "Annapurna", "Matterhorn")
    with session_guard("ticket-42", store=store, codec=kind(KEY)) as session:
        assert session.messages == [*SAID, says("Matterhorn")]


# -- with and without -----------------------------------------------------------------------------


def test_a_plain_session_is_gone_on_with_sealed(store, kind, monkeypatch):
    """A codec may come later: what was said before stays readable until the log is written anew."""
    path = crash(store, None)

    def body(session):
        assert session.messages == SAID
        session.append(says("Annapurna"))

    crash(store, kind(KEY), body)
    assert spoken(path, "Kilimanjaro", "Annapurna") == ["Kilimanjaro"]
    with pytest.raises(SessionSealed):
        everybody_who_is_refused(store, None)["with"]()
    assert store.read("ticket-42", codec=kind(KEY)).messages == [*SAID, says("Annapurna")]
    assert list(store.stream("ticket-42", codec=kind(KEY))) == [*SAID, says("Annapurna")]
    monkeypatch.setattr("resilient_agent.session.log.SLACK", 500)
    crash(store, kind(KEY), long_talk)
    assert not spoken(path, *TOLD_WORDS, "Popocatepetl")


def test_a_session_that_said_nothing_yet_opens_to_anybody(store, kind):
    """Nothing of it is sealed, so there is nothing that a key would be needed for."""
    path = crash(store, kind(KEY), lambda session: None)
    assert not [record for record in records(path) if "sealed" in record]
    with session_guard("ticket-42", store=store) as session:
        assert session.messages == []


def test_a_sealed_conversation_that_is_begun_anew_needs_its_key(store, kind):
    """`resume=False` leaves behind what it can read; what it cannot read it does not throw away."""
    crash(store, kind(KEY))
    with pytest.raises(SessionSealed):
        everybody_who_is_refused(store, kind(OTHER_KEY))["resume=False"]()
    with session_guard("ticket-42", store=store, codec=kind(KEY), resume=False, keep=True) as session:
        assert session.messages == []
        session.append(says("Annapurna"))
    assert list(store.stream("ticket-42", codec=kind(KEY))) == [says("Annapurna")]


# -- streams --------------------------------------------------------------------------------------


def test_a_stream_opens_one_record_at_a_time(store):  # B63
    """A long sealed log is opened as it is read, not before."""
    crash(store, Toy(), lambda session: [session.append(says(str(number))) for number in range(50)])
    codec = Toy()
    stream = store.stream("ticket-42", codec=codec)
    assert codec.opened == []
    assert [next(stream)["content"] for _ in range(3)] == ["0", "1", "2"]
    assert codec.opened == [2, 3, 4]
    assert len(list(stream)) == 47


@given(
    steps=st.lists(st.tuples(st.sampled_from(["extend", "replace", "extra", "crash"]), st.integers(0, 3)), max_size=12),
    slack=st.sampled_from([0, 500, 1 << 16]),
)
@settings(max_examples=60)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_sealed_stream_gives_what_the_fold_gives(tmp_path_factory, kind, steps, slack):  # B63
    """Over appends, replacements, crashes and compactions, in whichever order."""
    store = FileStore(tmp_path_factory.mktemp("streams"), durability="process")
    expected, number, rest = [], 0, list(steps)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("resilient_agent.session.log.SLACK", slack)
        while rest:
            until = next((place for place, (step, _) in enumerate(rest) if step == "crash"), len(rest))
            now, rest = rest[:until], rest[until + 1 :]

            def body(session, now=now):
                nonlocal expected, number
                for step, count in now:
                    messages = [says(str(number + place)) for place in range(count)]
                    number += count
                    if step == "extra":
                        session.set_extra({"number": number})
                    else:
                        expected = messages if step == "replace" else expected + messages
                        getattr(session, step)(messages)

            crash(store, kind(KEY), body, max_resumes=None)
            assert list(store.stream("ticket-42", codec=kind(KEY))) == expected
    history = store.read("ticket-42", codec=kind(KEY))
    assert (history.messages if history else []) == expected
