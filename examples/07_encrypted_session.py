"""A sealed session: no word of it is readable on the disk, and no record opens anywhere but in its place.

    python examples/07_encrypted_session.py

It needs `pip install cryptography`, no server and no model. The key is that in SESSION_KEY (32
bytes in base64, from wherever you keep secrets), else one that is made for this run.

`codec=` seals what a conversation says: messages, extra state, effects with their arguments and
results. The session's id, the times, kinds and sizes of its records and the class of the error
that ended it stay readable, so that sessions are listed without the key: put no name in an id.

Whoever may write the files can still remove a session or its last records, or put plain ones
there. What the key holder must not keep either, `redact=` takes out before anything is sealed.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import tempfile
import zlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resilient_agent import FileStore, SessionSealed, interrupted_sessions, redact_secrets, session_guard

MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": "This is Ada Lovelace, of Marylebone. My statement shows nineteen pounds twice."},
    {"role": "user", "content": "To look it up, use my key: sk-proj-0123456789abcdefghijklmnop"},
    {"role": "assistant", "content": "Thank you, Countess. The second amount goes back to your account."},
]
RECEIPT = {"refunded": 19, "reference": "Babbage-1843"}
LATER = {"role": "user", "content": "Splendid. Does that take until Thursday?"}


class AesGcm:
    """A codec with AES-256 in GCM, which tells a wrong key and any change, and keeps a record in its place."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encode(self, data: bytes, session_id: str, seq: int) -> bytes:
        # A fresh random nonce, never one made from `seq`: a save that failed and the next one have the same number,
        # and a nonce that is used twice gives both texts away. Change the key before 2**32 records were sealed.
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, data, self._place(session_id, seq))

    def decode(self, data: bytes, session_id: str, seq: int) -> bytes:
        return self._cipher.decrypt(data[:12], data[12:], self._place(session_id, seq))

    @staticmethod
    def _place(session_id: str, seq: int) -> bytes:
        """What is sealed opens only where this is the same; digits and a colon first, so no two places are."""
        return f"{seq}:{session_id}".encode()


def key_of_run() -> bytes:
    given = os.environ.get("SESSION_KEY")
    return base64.b64decode(given, validate=True) if given else AESGCM.generate_key(bit_length=256)


def refund(pounds: int) -> dict[str, Any]:
    print(f"a refund is made: {pounds} pounds")
    return RECEIPT


def talk(session_id: str, folder: Path, codec: AesGcm) -> None:
    """A conversation that an exception ends."""
    with session_guard(session_id, store=folder, codec=codec, redact=redact_secrets) as session:
        session.extend(MESSAGES[:2])
        session.once("refund-nineteen-pounds", refund, 19)
        session.append(MESSAGES[2])
        raise ConnectionResetError("the line to the model is cut")


# -- what somebody sees who has the files and not the key ------------------------------------------


def refused(session_id: str, folder: Path, codec: AesGcm) -> str:
    """What a guard says that must not open this session; and that it left every byte of the log."""
    log = path_of(session_id, folder)
    before = log.read_bytes()
    try:
        with session_guard(session_id, store=folder, codec=codec):
            raise AssertionError("it was opened")
    except SessionSealed as error:
        assert log.read_bytes() == before
        return str(error)


def path_of(session_id: str, folder: Path) -> Path:
    return FileStore(folder).path(session_id)


def move(taken: Path, from_line: int, into: Path, to_line: int) -> None:
    """Put what is sealed in one record into another, with a checksum that fits: that needs no key."""
    records = [json.loads(line) for line in into.read_bytes().splitlines()]
    record = records[to_line]
    record["sealed"] = json.loads(taken.read_bytes().splitlines()[from_line])["sealed"]
    del record["crc"]
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    lines = into.read_bytes().splitlines(keepends=True)
    lines[to_line] = b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))
    into.write_bytes(b"".join(lines))


def main(folder: Path) -> None:
    logging.getLogger("resilient_agent").setLevel(logging.CRITICAL)  # what it would say is printed here
    codec = AesGcm(key_of_run())
    for session_id in ("ticket-42", "ticket-43"):
        try:
            talk(session_id, folder, codec)
        except ConnectionResetError as error:
            print(f"{session_id} ended: {error}")
    log = path_of("ticket-42", folder)
    lines = log.read_bytes().splitlines()

    print("\nA record on the disk:")
    print(" ", re.sub(rb'("sealed":".{24})[^"]*', rb"\1...", lines[1]).decode())
    said = re.findall(r"\w{6,}", json.dumps([MESSAGES, "refund-nineteen-pounds", RECEIPT]))
    stored = b"".join(path.read_bytes() for path in folder.iterdir()).decode()
    print(f"  of {len(said)} words of the conversation, there stand on the disk: {[w for w in said if w in stored]}")
    print("Listed without the key:")
    for found in interrupted_sessions(folder):
        ended = found.interruption.error if found.interruption else "nothing"
        print(f"  {found.session_id}: {found.message_count} messages, ended by {ended}")
    print("With another key:")
    print(" ", refused("ticket-42", folder, AesGcm(AESGCM.generate_key(bit_length=256))))

    print("With its first messages replaced by those of ticket-43, at the same number:")
    move(path_of("ticket-43", folder), 1, log, 1)
    print(" ", refused("ticket-42", folder, codec))
    log.write_bytes(b"\n".join([*lines, b""]))
    print("With its first messages replaced by its own last one:")
    move(log, 4, log, 1)
    print(" ", refused("ticket-42", folder, codec))
    log.write_bytes(b"\n".join([*lines, b""]))

    print("As it was, with its key:")
    with session_guard("ticket-42", store=folder, codec=codec, redact=redact_secrets) as session:
        for message in session.messages:
            print(f"  {message['role']}: {message['content']}")
        assert session.once("refund-nineteen-pounds", refund, 19) == RECEIPT  # as it was stored: none is made again
        session.append(LATER)
        assert session.messages[-1] == LATER
        print(f"  resumed: {session.resumed}; goes on with {len(session.messages)} messages")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))
