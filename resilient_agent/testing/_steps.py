"""Decides what a script may say and what it is told: the steps, their defaults, and the request.

Values only.  It must not know how a step is put on the wire, nor which request takes it.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks to have called.

    Attributes:
        name: the tool's name.
        arguments: a mapping, or a str that goes out as it is (malformed JSON, for a test of just that).
        id: the call's id; None numbers it by request and position: ``call_0_1`` (OpenAI), ``toolu_0_1``
            (Anthropic) for the first call in the answer to request 0.

    Raises:
        TypeError: JSON cannot hold the arguments.

    Example:
        >>> ToolCall("search", {"query": "weather"}).arguments_json
        '{"query": "weather"}'
    """

    name: str
    arguments: Mapping[str, Any] | str
    id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.arguments, str):
            _require_json("ToolCall.arguments", self.arguments)

    @property
    def arguments_json(self) -> str:
        """The arguments as the text that OpenAI sends and that both stream."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(dict(self.arguments))

    @property
    def arguments_value(self) -> Any:
        """The arguments as the object that Anthropic sends; a str that is no JSON stays that str."""
        try:
            return json.loads(self.arguments_json)
        except ValueError:
            return self.arguments


@dataclass(frozen=True, slots=True)
class Answer:
    """Step: the model answers, as JSON or as a stream, whichever the request asks for.

    Attributes:
        text: what the model says.
        tool_calls: the `ToolCall`s that it asks for.
        chunks: the pieces in which the text is streamed; by default one for each word.  With chunks, `text`
            may be left out.
        delay: seconds before the first byte of the answer.
        headers: further HTTP headers.

    Raises:
        ValueError: `delay` is negative, or `chunks` do not join to `text`.
        TypeError: `tool_calls` holds something else.

    Example:
        >>> Answer(chunks=["Hel", "lo"]).text
        'Hello'
    """

    text: str = ""
    tool_calls: Sequence[ToolCall] = ()
    chunks: Sequence[str] | None = None
    delay: float = 0.0
    headers: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        _require_seconds("Answer.delay", self.delay)
        if isinstance(self.tool_calls, ToolCall) or not all(isinstance(c, ToolCall) for c in self.tool_calls):
            raise TypeError(f"Answer.tool_calls must be a sequence of ToolCall, not {self.tool_calls!r}")
        joined = self.text if self.chunks is None else "".join(self.chunks)
        if self.text and joined != self.text:
            raise ValueError(f"Answer.chunks join to {joined!r}, not to {self.text!r}: leave out text or chunks")
        object.__setattr__(self, "text", joined)

    @property
    def pieces(self) -> tuple[str, ...]:
        """The pieces in which the text is streamed."""
        return _split_at_words(self.text) if self.chunks is None else tuple(self.chunks)


@dataclass(frozen=True, slots=True)
class Status:
    """Step: an HTTP status, which may be an error or any answer at all.

    Attributes:
        code: the HTTP status, 100 to 599.
        body: a mapping (sent as JSON), or str or bytes (sent as they are, as text/plain unless `headers`
            say otherwise); by default the provider's own error object, or nothing below 400.
        headers: further HTTP headers, such as ``{"retry-after": "2"}``.

    Raises:
        ValueError: `code` is no HTTP status.
        TypeError: `code` is no int; `body` is something else, or JSON cannot hold it.

    Example:
        >>> Status(429, headers={"retry-after": "2"}).code
        429
    """

    code: int
    body: Mapping[str, Any] | str | bytes | None = None
    headers: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.code, int):
            raise TypeError(f"Status.code must be an int such as 429, not {self.code!r}")
        if not 100 <= self.code <= 599:
            raise ValueError(f"Status.code must be an HTTP status from 100 to 599, not {self.code!r}")
        if self.body is not None and not isinstance(self.body, str | bytes):
            _require_json("Status.body", self.body)


@dataclass(frozen=True, slots=True)
class Reset:
    """Step: the connection is torn down with a TCP reset.

    Attributes:
        when: "before" any byte of an answer, or "mid-body": after the headers and half of the JSON body, or
            after the first piece of a stream.

    Raises:
        ValueError: `when` is neither.

    Example:
        >>> Reset(when="mid-body").when
        'mid-body'
    """

    when: Literal["before", "mid-body"] = "before"

    def __post_init__(self) -> None:
        if self.when not in ("before", "mid-body"):
            raise ValueError(f"Reset.when must be 'before' or 'mid-body', not {self.when!r}")


@dataclass(frozen=True, slots=True)
class Hang:
    """Step: no byte is sent, until the client leaves, the server stops or the time is over; then a close.

    Attributes:
        seconds: for how long at most; None has no limit.

    Raises:
        ValueError: `seconds` is negative.

    Example:
        >>> Hang().seconds is None
        True
    """

    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None:
            _require_seconds("Hang.seconds", self.seconds)


@dataclass(frozen=True, slots=True)
class CutStream:
    """Step: a stream breaks before its end; to a request that wants no stream, a JSON body breaks half-way.

    Attributes:
        after: how many pieces are sent before the break: those of the text, then three of each tool call, which are
            its name and the halves of its arguments.
        text: the text that was to be streamed; by default made up, and longer than `after` pieces.
        chunks: its pieces, as in `Answer`.
        reset: True breaks with a TCP reset, False with a plain close.
        tool_calls: the `ToolCall`s that were to be streamed behind the text.

    Raises:
        ValueError: `after` is negative, or more than there are pieces.
        TypeError: `after` is no number; `tool_calls` holds something else.

    Example:
        >>> CutStream(after=2, text="one two three").after
        2
        >>> in_mid_arguments = CutStream(after=2, tool_calls=[ToolCall("pay", {"amount": 5})])
    """

    after: int
    text: str = ""
    chunks: Sequence[str] | None = None
    reset: bool = False
    tool_calls: Sequence[ToolCall] = ()

    def __post_init__(self) -> None:
        _require_pieces(self)

    @property
    def answer(self) -> Answer:
        """The answer of which the stream shows the beginning."""
        return _begun(self)


@dataclass(frozen=True, slots=True)
class StreamError:
    """Step: an error event inside a stream that began with status 200, and the end of the stream.

    To a request that wants no stream: a JSON body with that error under status 200.

    Attributes:
        after: how many pieces are sent before the error: those of the text, then three of each tool call.
        error: the provider's error object, such as ``{"type": "api_error", "message": "..."}``; by default
            that of an overloaded server.
        text: the text that was to be streamed; by default made up, and longer than `after` pieces.
        chunks: its pieces, as in `Answer`.
        tool_calls: the `ToolCall`s that were to be streamed behind the text.

    Raises:
        ValueError: `after` is negative, or more than there are pieces.
        TypeError: JSON cannot hold the error; `after` is no number; `tool_calls` holds something else.

    Example:
        >>> StreamError(after=0, error={"type": "api_error", "message": "Internal server error"}).after
        0
    """

    after: int
    error: Mapping[str, Any] | None = None
    text: str = ""
    chunks: Sequence[str] | None = None
    tool_calls: Sequence[ToolCall] = ()

    def __post_init__(self) -> None:
        _require_pieces(self)
        if self.error is not None:
            _require_json("StreamError.error", self.error)

    @property
    def answer(self) -> Answer:
        """The answer of which the stream shows the beginning."""
        return _begun(self)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in.

    Attributes:
        index: its number, from 0, in the order of arrival.
        method: "POST".
        path: the path with its query.
        headers: the headers, names in lower case.
        json: the parsed body, or None if it is no JSON.
        stream: whether it asks for a stream.
        at: when it had arrived, in seconds of `time.monotonic()`.
    """

    index: int
    method: str
    path: str
    headers: Mapping[str, str]
    json: Any
    stream: bool
    at: float


_CALL_PIECES: Final = 3
"""In how many pieces a tool call is streamed: its name, and the halves of its arguments."""

Step = Answer | Status | Reset | Hang | CutStream | StreamError


def as_steps(script: Iterable[Step | str | int]) -> tuple[Step, ...]:
    """The steps of a script that is no function.

    Raises:
        TypeError: the script is no iterable, or something in it is no step (the error names its index).

    Example:
        >>> as_steps([503, "hello"])[0].code
        503
    """
    # A str is an iterable of str, so a forgotten list would go unnoticed.
    if isinstance(script, str | bytes) or not isinstance(script, Iterable):
        raise TypeError(f"script must be an iterable of steps or a function, not {script!r}: write [{script!r}]")
    return tuple(as_step(step, f"script[{index}]") for index, step in enumerate(script))


def as_step(step: Step | str | int, where: str) -> Step:
    """A step, which a str or an int may stand for; `where` names its place in an error.

    Raises:
        TypeError: it is no step.
    """
    match step:
        case str():
            return Answer(step)
        case int():
            return Status(step)
        case Answer() | Status() | Reset() | Hang() | CutStream() | StreamError():
            return step
    raise TypeError(
        f"{where} is {step!r}, which is no step: give a str, an int, "
        "Answer, Status, Reset, Hang, CutStream or StreamError"
    )


def _split_at_words(text: str) -> tuple[str, ...]:
    """A piece for each word, with the white space before it; together they are the text again."""
    return tuple(re.findall(r"\s*\S+|\s+", text))


def _begun(step: CutStream | StreamError) -> Answer:
    if step.text or step.chunks is not None or step.tool_calls:
        return Answer(step.text, step.tool_calls, chunks=step.chunks)
    return Answer(chunks=["tick "] * (step.after + 1))


def _require_seconds(field: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{field} must be a number of seconds, 0 or more, not {value!r}")


def _require_json(field: str, value: Mapping[str, Any]) -> None:
    # Found out at the time of the request, it would break the connection instead of the test.
    try:
        json.dumps(dict(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{field} must be a mapping that JSON can hold, not {value!r}: {error}") from error


def _require_pieces(step: CutStream | StreamError) -> None:
    name = type(step).__name__
    if isinstance(step.after, bool) or not isinstance(step.after, int):
        raise TypeError(f"{name}.after must be a number of pieces, not {step.after!r}: the text goes by text=")
    if step.after < 0:
        raise ValueError(f"{name}.after must be a number of pieces, 0 or more, not {step.after!r}")
    pieces = len(step.answer.pieces) + _CALL_PIECES * len(step.answer.tool_calls)
    if step.after > pieces:
        raise ValueError(f"{name}.after is {step.after}, but there are only {pieces} pieces: give more text")
