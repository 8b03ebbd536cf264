"""Streams that begin well and end with a row's error, in the wire format of each SDK."""

import json
import struct
import zlib

_EVENTS = "text/event-stream; charset=utf-8"


def chunks(row):
    """Give the content type and the chunks. A body that is text is the stream itself; no body is a cut one."""
    body = row["body"]
    if isinstance(body, str):
        return _EVENTS, [body.encode()]
    if row["via"] == "boto3":
        return _amazon(body, (row.get("extra") or {}).get("error_name"))
    beginning, error_event = _BEGINNINGS.get(row["via"], _PLAIN)
    end = [] if body is None else [(error_event, body)]
    return _EVENTS, [_event(name, data) for name, data in [*beginning, *end]]


def _event(name, data):
    return ((f"event: {name}\n" if name else "") + f"data: {json.dumps(data, ensure_ascii=False)}\n\n").encode()


_CLAUDE = {"id": "msg_a", "type": "message", "role": "assistant", "model": "claude", "content": []}
_COUNT = {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
_TEXT = {"type": "text_delta", "text": "Hel"}
_CHUNK = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
_CHOICE = {"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}
_CANDIDATE = {"content": {"role": "model", "parts": [{"text": "Hel"}]}}
_PLAIN = ([(None, {"delta": "Hel"})], None)
_BEGINNINGS = {  # by SDK: the first events, and the name of the event that tells of an error
    "anthropic": (
        [
            ("message_start", {"type": "message_start", "message": _CLAUDE | _COUNT}),
            (
                "content_block_start",
                {"type": "content_block_start", "index": 0, "content_block": _TEXT | {"type": "text"}},
            ),
            ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": _TEXT}),
        ],
        "error",
    ),
    "openai": ([(None, _CHUNK | {"choices": [_CHOICE]})], None),
    "google-genai": ([(None, {"candidates": [_CANDIDATE]})], None),
}


def _amazon(body, error):
    beginning = [
        _message({":event-type": "messageStart"}, "event", {"role": "assistant"}),
        _message({":event-type": "contentBlockDelta"}, "event", {"delta": {"text": "Hel"}, "contentBlockIndex": 0}),
    ]
    end = [] if body is None else [_message({":exception-type": error}, "exception", body)]
    return "application/vnd.amazon.eventstream", beginning + end


def _message(headers, kind, data):
    """Encode one message of the AWS event stream: lengths, their checksum, headers, payload, checksum of it all."""
    named = {":message-type": kind, ":content-type": "application/json", **headers}
    head = b"".join(_counted(">B", name) + b"\x07" + _counted(">H", value) for name, value in named.items())
    payload = json.dumps(data, ensure_ascii=False).encode()
    lengths = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _counted(width, text):
    return struct.pack(width, len(text)) + text.encode()
