"""Decides how a model's answer and a provider's error look on the wire, in OpenAI's and Anthropic's protocol.

Pure functions from a turn of the conversation to JSON bodies and server-sent events.  Nothing here may know
of sockets, threads, HTTP framing, or of the script that chose the answer.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from resilient_agent.testing._steps import Answer, ToolCall

Json = dict[str, Any]

# A fixed time of creation (seconds since the epoch): the same request gets the same bytes in every run.
_CREATED = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One request (its number and its body) and what the model says to it."""

    index: int
    ask: Json
    answer: Answer

    @property
    def model(self) -> str:
        """The model that was asked for: a provider's answer names it again."""
        return str(self.ask.get("model", "fake-llm"))

    @property
    def input_tokens(self) -> int:
        """A token for each word in the messages and the system prompt."""
        return _words(self.ask.get("messages")) + _words(self.ask.get("system"))

    @property
    def output_tokens(self) -> int:
        """A token for each word of the text and of the tool calls."""
        return _words(self.answer.text) + sum(
            _words([call.name, call.arguments_json]) for call in self.answer.tool_calls
        )


class Dialect(ABC):
    """How one provider writes answers, streams and errors."""

    path: ClassVar[str]
    request_id_header: ClassVar[str]

    @abstractmethod
    def answer(self, turn: Turn) -> Json:
        """The body of an answer that is not streamed."""

    @abstractmethod
    def opening(self, turn: Turn) -> Iterator[bytes]:
        """The events before the first piece."""

    @abstractmethod
    def pieces(self, turn: Turn) -> Iterator[bytes]:
        """What is sent for each piece of text, and for each of the three of a tool call."""

    @abstractmethod
    def closing(self, turn: Turn) -> Iterator[bytes]:
        """The events after the last piece: reason, usage, end."""

    @abstractmethod
    def error(self, status: int, request_id: str) -> Json:
        """The body of an error with that HTTP status."""

    @abstractmethod
    def error_in_stream(self, error: Mapping[str, Any] | None) -> Json:
        """The payload of an error that comes after status 200; None is an overloaded server."""

    @abstractmethod
    def error_event(self, payload: Json) -> bytes:
        """The event that carries such a payload."""


class _OpenAI(Dialect):
    path = "/v1/chat/completions"
    request_id_header = "x-request-id"

    def answer(self, turn: Turn) -> Json:
        message: Json = {"role": "assistant", "content": turn.answer.text, "refusal": None}
        if turn.answer.tool_calls:
            message["content"] = turn.answer.text or None
            message["tool_calls"] = [
                {
                    "id": _call_id(turn, call, position, "call"),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments_json},
                }
                for position, call in enumerate(turn.answer.tool_calls, start=1)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason(turn)}
        return self._envelope(turn, "chat.completion") | {"choices": [choice], "usage": self._usage(turn)}

    def opening(self, turn: Turn) -> Iterator[bytes]:
        yield self._chunk(turn, {"role": "assistant", "content": ""})

    def pieces(self, turn: Turn) -> Iterator[bytes]:
        for piece in turn.answer.pieces:
            yield self._chunk(turn, {"content": piece})
        for position, call in enumerate(turn.answer.tool_calls):
            yield from self._call_chunks(turn, call, position)

    def closing(self, turn: Turn) -> Iterator[bytes]:
        yield self._chunk(turn, {}, self._reason(turn))
        if self._wants_usage(turn):
            envelope = self._envelope(turn, "chat.completion.chunk")
            yield _event(envelope | {"choices": [], "usage": self._usage(turn)})
        yield b"data: [DONE]\n\n"

    def error(self, status: int, request_id: str) -> Json:  # noqa: ARG002 - OpenAI names it in a header only
        kind, code = _OPENAI_ERRORS.get(status, (None, None))
        kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        message = f"FakeLLM answered with HTTP status {status}."
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def error_in_stream(self, error: Mapping[str, Any] | None) -> Json:
        overloaded = {
            "message": "The server is overloaded.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        return {"error": overloaded if error is None else dict(error)}

    def error_event(self, payload: Json) -> bytes:
        return _event(payload)

    def _call_chunks(self, turn: Turn, call: ToolCall, position: int) -> Iterator[bytes]:
        head = {"id": _call_id(turn, call, position + 1, "call"), "type": "function"}
        function = {"name": call.name, "arguments": ""}
        yield self._chunk(turn, {"tool_calls": [{"index": position, **head, "function": function}]})
        for part in _halves(call.arguments_json):
            yield self._chunk(turn, {"tool_calls": [{"index": position, "function": {"arguments": part}}]})

    def _chunk(self, turn: Turn, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._wants_usage(turn) else {}
        return _event(self._envelope(turn, "chat.completion.chunk") | {"choices": [choice]} | usage)

    def _envelope(self, turn: Turn, kind: str) -> Json:
        return {"id": f"chatcmpl-{turn.index}", "object": kind, "created": _CREATED, "model": turn.model}

    def _usage(self, turn: Turn) -> Json:
        prompt, completion = turn.input_tokens, turn.output_tokens
        total = prompt + completion
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}

    def _wants_usage(self, turn: Turn) -> bool:
        options = turn.ask.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))

    def _reason(self, turn: Turn) -> str:
        return "tool_calls" if turn.answer.tool_calls else "stop"


class _Anthropic(Dialect):
    path = "/v1/messages"
    request_id_header = "request-id"

    def answer(self, turn: Turn) -> Json:
        text = turn.answer.text
        said: list[Json] = [{"type": "text", "text": text, "citations": None}] if text else []
        calls = [
            self._tool_use(turn, call, position, call.arguments_value)
            for position, call in enumerate(turn.answer.tool_calls, start=1)
        ]
        usage = {"input_tokens": turn.input_tokens, "output_tokens": turn.output_tokens}
        return self._message(turn, said + calls, self._reason(turn), usage)

    def opening(self, turn: Turn) -> Iterator[bytes]:
        # The first event counts the prompt; what the answer costs comes with message_delta.
        usage = {"input_tokens": turn.input_tokens, "output_tokens": 1}
        yield self._event("message_start", message=self._message(turn, [], None, usage))
        if turn.answer.pieces:
            block = {"type": "text", "text": "", "citations": None}
            yield self._event("content_block_start", index=0, content_block=block)

    def pieces(self, turn: Turn) -> Iterator[bytes]:
        for piece in turn.answer.pieces:
            yield self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        for position, call in enumerate(turn.answer.tool_calls, start=1):
            yield from self._call_events(turn, call, position)

    def closing(self, turn: Turn) -> Iterator[bytes]:
        if blocks := bool(turn.answer.pieces) + len(turn.answer.tool_calls):
            yield self._event("content_block_stop", index=blocks - 1)
        delta = {"stop_reason": self._reason(turn), "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage={"output_tokens": turn.output_tokens})
        yield self._event("message_stop")

    def error(self, status: int, request_id: str) -> Json:
        fallback = "api_error" if status >= 500 else "invalid_request_error"
        kind = _ANTHROPIC_ERRORS.get(status, fallback)
        message = "Overloaded" if status == 529 else f"FakeLLM answered with HTTP status {status}."
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}

    def error_in_stream(self, error: Mapping[str, Any] | None) -> Json:
        overloaded = {"type": "overloaded_error", "message": "Overloaded"}
        return {"type": "error", "error": overloaded if error is None else dict(error)}

    def error_event(self, payload: Json) -> bytes:
        return _event(payload, "error")

    def _call_events(self, turn: Turn, call: ToolCall, position: int) -> Iterator[bytes]:
        index = position if turn.answer.pieces else position - 1
        # The block before it ends where this one begins.
        before = self._event("content_block_stop", index=index - 1) if index else b""
        block = self._tool_use(turn, call, position, {})
        yield before + self._event("content_block_start", index=index, content_block=block)
        for part in _halves(call.arguments_json):
            delta = {"type": "input_json_delta", "partial_json": part}
            yield self._event("content_block_delta", index=index, delta=delta)

    def _tool_use(self, turn: Turn, call: ToolCall, position: int, value: Any) -> Json:
        call_id = _call_id(turn, call, position, "toolu")
        return {"type": "tool_use", "id": call_id, "name": call.name, "input": value}

    def _message(self, turn: Turn, content: list[Json], reason: str | None, usage: Json) -> Json:
        return {
            "id": f"msg_{turn.index}",
            "type": "message",
            "role": "assistant",
            "model": turn.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        return _event({"type": kind, **fields}, kind)

    def _reason(self, turn: Turn) -> str:
        return "tool_use" if turn.answer.tool_calls else "end_turn"


# HTTP status -> (type, code) where OpenAI says more than "invalid_request_error" or "server_error".
_OPENAI_ERRORS: Mapping[int, tuple[str, str]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_ANTHROPIC_ERRORS: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

DIALECTS: Mapping[str, Dialect] = {dialect.path: dialect for dialect in (_OpenAI(), _Anthropic())}


def _event(payload: Json, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload)}\n\n".encode()


def _call_id(turn: Turn, call: ToolCall, position: int, prefix: str) -> str:
    return call.id or f"{prefix}_{turn.index}_{position}"


def _halves(text: str) -> tuple[str, str]:
    """Two parts, so that a reader of streamed arguments has to join them."""
    middle = len(text) // 2
    return text[:middle], text[middle:]


def _words(value: Any) -> int:
    """The words in all strings of a JSON value: a plausible, repeatable count of tokens."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, Mapping):
        return sum(map(_words, value.values()))
    return sum(map(_words, value)) if isinstance(value, Sequence) else 0
