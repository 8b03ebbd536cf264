"""Decides what a step means for a request: the bytes of the reply, and what becomes of the connection.

Pure functions, from a request and a step to a `Reply`.  They must not know of sockets or threads (the server
in `fake_llm` has those), nor how a protocol words an answer (that is `_dialects`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resilient_agent.testing._dialects import DIALECTS, Dialect, Turn
from resilient_agent.testing._steps import Answer, CutStream, Hang, Request, Reset, Status, Step, StreamError

_Ending = Literal["keep", "close", "reset"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes over the wire: after `delay` seconds (None: never) a head and frames, then an ending.

    Without a code there is no head.
    """

    code: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    frames: Sequence[bytes] = ()
    ending: _Ending = "keep"
    delay: float | None = 0.0


def reply_to(request: Request, step: Step, dialect: Dialect) -> Reply:
    """What a step means for a request, in its dialect."""
    request_id = f"req_{request.index}"
    headers = {dialect.request_id_header: request_id}
    match step:
        case Hang(seconds):
            return Reply(delay=seconds, ending="close")
        case Reset(when):
            half = _cut(request, CutStream(after=1, reset=True), dialect, headers)
            return half if when == "mid-body" else Reply(ending="reset")
        case CutStream():
            return _cut(request, step, dialect, headers)
        case Status(code, body):
            default = dialect.error(code, request_id) if code >= 400 else b""
            return _whole(code, default if body is None else body, headers, step.headers)
        case StreamError():
            return _stream_error(request, step, dialect, headers)
        case Answer():
            return _answer(request, step, dialect, headers)


def not_found(method: str, path: str) -> Reply:
    """The reply to a request that is in no dialect; both SDKs can read its body."""
    known = " and ".join(f"POST {known}" for known in DIALECTS)
    message = f"FakeLLM knows {known}, not {method} {path}: check the client's base_url"
    return _whole(404, {"type": "error", "error": {"type": "not_found_error", "message": message}})


def _answer(request: Request, step: Answer, dialect: Dialect, headers: Mapping[str, str]) -> Reply:
    turn = _turn(request, step)
    if not request.stream:
        return _whole(200, dialect.answer(turn), headers, step.headers, delay=step.delay)
    events = [*dialect.opening(turn), *dialect.pieces(turn), *dialect.closing(turn)]
    return _events([*events, b""], headers, step.headers, delay=step.delay)


def _cut(request: Request, step: CutStream, dialect: Dialect, headers: Mapping[str, str]) -> Reply:
    turn = _turn(request, step.answer)
    ending: _Ending = "reset" if step.reset else "close"
    if request.stream:
        events = [*dialect.opening(turn), *list(dialect.pieces(turn))[: step.after]]
        return _events(events, headers, ending=ending)
    whole = _whole(200, dialect.answer(turn), headers)
    body = whole.frames[0]
    return Reply(200, whole.headers, [body[: len(body) // 2]], ending)


def _stream_error(request: Request, step: StreamError, dialect: Dialect, headers: Mapping[str, str]) -> Reply:
    payload = dialect.error_in_stream(step.error)
    if not request.stream:
        return _whole(200, payload, headers)
    turn = _turn(request, step.answer)
    events = [*dialect.opening(turn), *list(dialect.pieces(turn))[: step.after]]
    return _events([*events, dialect.error_event(payload), b""], headers)


def _whole(
    code: int,
    body: Mapping[str, Any] | str | bytes,
    *headers: Mapping[str, str] | None,
    delay: float = 0.0,
) -> Reply:
    """A reply with a body of known length; later headers win."""
    kind = "application/json" if isinstance(body, Mapping) else "text/plain; charset=utf-8"
    text = json.dumps(dict(body)) if isinstance(body, Mapping) else body
    content = text.encode() if isinstance(text, str) else text
    if code < 200 or code in (204, 304):  # HTTP gives these no body, and after 1xx there is more to come
        return Reply(code, _merged({}, *headers), ending="close" if code < 200 else "keep", delay=delay)
    basic = {"content-type": kind, "content-length": str(len(content))}
    return Reply(code, _merged(basic, *headers), [content], delay=delay)


def _events(
    events: Sequence[bytes],
    *headers: Mapping[str, str] | None,
    ending: _Ending = "keep",
    delay: float = 0.0,
) -> Reply:
    """A stream in HTTP chunks, of which an empty one is the end: without it the client sees a broken body."""
    basic = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    frames = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return Reply(200, _merged(basic, *headers), frames, ending, delay)


def _merged(*headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for part in headers if part for name, value in part.items()}


def _turn(request: Request, answer: Answer) -> Turn:
    ask = request.json if isinstance(request.json, dict) else {}
    return Turn(request.index, ask, answer)
