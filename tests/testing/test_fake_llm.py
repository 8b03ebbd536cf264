"""What FakeLLM promises, seen through the official SDKs over a real socket."""

import doctest
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time

import anthropic
import anyio
import openai
import pytest

from resilient_agent.testing import (
    Answer,
    CutStream,
    FakeLLM,
    Hang,
    Reset,
    Status,
    StreamError,
    ToolCall,
    _dialects,
    _steps,
    fake_llm,
)

ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
SEARCH = ToolCall("search", {"query": "weather Oslo", "days": 2})


@pytest.fixture(scope="module")
def sdks():
    """A client of each SDK for all tests, as the making of one is slow."""
    options = {"base_url": "http://127.0.0.1:1", "api_key": "test", "max_retries": 0}
    with openai.OpenAI(**options) as one, anthropic.Anthropic(**options) as other:
        yield {"openai": one, "anthropic": other}


@pytest.fixture
def start(sdks):
    """Give what starts a FakeLLM with an SDK client for it; the end of the test stops it."""
    starter = _Starter(sdks)
    yield starter
    for llm in starter.started:
        llm.stop()


class _Starter:
    def __init__(self, sdks):
        self._sdks = sdks
        self.started = []

    def openai(self, script=(), **options):
        llm = self._start(script)
        return llm, self._sdks["openai"].with_options(base_url=llm.openai_base_url, **options)

    def anthropic(self, script=(), **options):
        llm = self._start(script)
        return llm, self._sdks["anthropic"].with_options(base_url=llm.anthropic_base_url, **options)

    def _start(self, script):
        self.started.append(FakeLLM(script).start())
        return self.started[-1]


def chat(client, **options):
    return client.chat.completions.create(model="gpt-test", messages=ASK, **options)


def message(client, **options):
    return client.messages.create(model="claude-test", max_tokens=64, messages=ASK, **options)


def post(llm, path, body=b"{}", method="POST"):
    """One plain HTTP request, for what no SDK would send."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(llm), timeout=5)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def port_of(llm):
    return int(llm.anthropic_base_url.rpartition(":")[2])


def until(condition):
    """Wait for what another thread is about to do."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def raised_by(stream):
    """What a stream gave before it broke, and the error."""
    got = []
    try:
        for event in stream:
            got.append(event)
    except Exception as error:
        return got, error
    return got, None


def contents(chunks):
    return [text for chunk in chunks for choice in chunk.choices if (text := choice.delta.content)]


def deltas(events):
    return [event.delta.text for event in events if event.type == "content_block_delta"]


class TestAnswers:
    def test_openai_text(self, start):
        """A str in the script is an answer with that text, and its usage counts words."""
        _, client = start.openai(["It rains a lot."])
        answer = chat(client)
        assert answer.choices[0].message.content == "It rains a lot."
        assert answer.choices[0].finish_reason == "stop"
        assert (answer.id, answer.model) == ("chatcmpl-0", "gpt-test")
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 4)
        assert answer.usage.total_tokens == 11

    def test_anthropic_text(self, start):
        """The same step answers in Anthropic's dialect too."""
        _, client = start.anthropic(["It rains a lot."])
        answer = message(client, system="Be brief.")
        assert [block.text for block in answer.content] == ["It rains a lot."]
        assert (answer.id, answer.stop_reason, answer.model) == ("msg_0", "end_turn", "claude-test")
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 4)

    def test_openai_tool_calls(self, start):
        """Tool calls get ids by request and position, unless the step names one."""
        named = ToolCall("stop", "not json", id="call_mine")
        _, client = start.openai(["first", Answer(tool_calls=[SEARCH, named])])
        chat(client)
        choice = chat(client).choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        one, two = choice.message.tool_calls
        assert (one.id, one.function.name) == ("call_1_1", "search")
        assert json.loads(one.function.arguments) == SEARCH.arguments
        assert (two.id, two.function.arguments) == ("call_mine", "not json")

    def test_anthropic_tool_calls(self, start):
        """Tool calls are tool_use blocks after the text, with their arguments as an object."""
        as_text = ToolCall("search", '{"query": "rain"}')
        _, client = start.anthropic([Answer("Let me see.", tool_calls=[SEARCH, as_text])])
        answer = message(client)
        assert answer.stop_reason == "tool_use"
        assert [block.type for block in answer.content] == ["text", "tool_use", "tool_use"]
        assert answer.content[1].id == "toolu_0_1"
        assert [block.input for block in answer.content[1:]] == [SEARCH.arguments, {"query": "rain"}]

    def test_malformed_arguments_reach_an_anthropic_client_as_text(self, start):
        """Arguments that are no JSON go out as the plain str."""
        _, client = start.anthropic([Answer(tool_calls=[ToolCall("search", "{broken")])])
        assert message(client).content[0].input == "{broken"

    def test_headers_of_an_answer(self, start):
        """An answer carries the step's headers and a request id."""
        _, client = start.openai([Answer("a", headers={"x-ratelimit-remaining-requests": "9"})])
        raw = client.chat.completions.with_raw_response.create(model="m", messages=ASK)
        assert raw.headers["x-ratelimit-remaining-requests"] == "9"
        assert raw.headers["x-request-id"] == "req_0"

    def test_delay(self, start):
        """A delayed answer comes no sooner."""
        _, client = start.openai([Answer("late", delay=0.05)])
        begin = time.monotonic()
        assert chat(client).choices[0].message.content == "late"
        assert time.monotonic() - begin >= 0.05

    def test_a_delay_beyond_the_clients_timeout_is_a_timeout(self, start):
        """A client that gives up during a delay gets its timeout, and its step is spent."""
        llm, client = start.openai([Answer("late", delay=30), "second"], timeout=0.05)
        with pytest.raises(openai.APITimeoutError):
            chat(client)
        until(lambda: llm.request_count == 1)
        assert chat(client.with_options(timeout=5)).choices[0].message.content == "second"
        assert llm.request_count == 2


class TestStreams:
    def test_openai_text(self, start):
        """Text is streamed word by word: role first, then content, then the reason."""
        _, client = start.openai(["It rains  a lot."])
        chunks = list(chat(client, stream=True))
        assert chunks[0].choices[0].delta.role == "assistant"
        assert contents(chunks) == ["It", " rains", "  a", " lot."]
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 5 + ["stop"]
        assert all(chunk.usage is None for chunk in chunks)

    def test_openai_chunks_and_usage(self, start):
        """The step's chunks go out as they are, and include_usage adds a last chunk without choices."""
        _, client = start.openai([Answer(chunks=["It ra", "ins."])])
        chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
        assert contents(chunks) == ["It ra", "ins."]
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 2

    def test_openai_tool_calls(self, start):
        """Streamed arguments come in parts that join to the JSON text."""
        _, client = start.openai([Answer(tool_calls=[SEARCH, SEARCH])])
        chunks = list(chat(client, stream=True))
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert [(call.index, call.id) for call in calls if call.id] == [(0, "call_0_1"), (1, "call_0_2")]
        second = "".join(call.function.arguments for call in calls if call.index == 1)
        assert json.loads(second) == SEARCH.arguments
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    def test_openai_accumulates(self, start):
        """OpenAI's own stream helper puts the answer together again."""
        _, client = start.openai([Answer("Let me see.", tool_calls=[SEARCH])])
        with client.chat.completions.stream(model="m", messages=ASK) as stream:
            final = stream.get_final_completion().choices[0].message
        assert final.content == "Let me see."
        assert json.loads(final.tool_calls[0].function.arguments) == SEARCH.arguments

    def test_anthropic_event_order(self, start):
        """The events come in the documented order, each block opened and closed."""
        _, client = start.anthropic([Answer("Yes.", tool_calls=[SEARCH])])
        events = [(event.type, getattr(event, "index", None)) for event in message(client, stream=True)]
        assert events == [
            ("message_start", None),
            ("content_block_start", 0),
            ("content_block_delta", 0),
            ("content_block_stop", 0),
            ("content_block_start", 1),
            ("content_block_delta", 1),
            ("content_block_delta", 1),
            ("content_block_stop", 1),
            ("message_delta", None),
            ("message_stop", None),
        ]

    def test_anthropic_accumulates(self, start):
        """Anthropic's own stream helper puts the answer together again."""
        _, client = start.anthropic([Answer("Let me see.", tool_calls=[SEARCH])])
        with client.messages.stream(model="m", max_tokens=9, messages=ASK) as stream:
            final = stream.get_final_message()
        assert final.content[0].text == "Let me see."
        assert final.content[1].input == SEARCH.arguments
        assert final.stop_reason == "tool_use"
        assert (final.usage.input_tokens, final.usage.output_tokens) == (7, 9)

    def test_anthropic_tool_call_alone(self, start):
        """Without text the first tool_use block has index 0."""
        _, client = start.anthropic([Answer(tool_calls=[SEARCH])])
        starts = [e for e in message(client, stream=True) if e.type == "content_block_start"]
        assert [(e.index, e.content_block.type) for e in starts] == [(0, "tool_use")]


OPENAI_STATUSES = [
    (400, openai.BadRequestError, "invalid_request_error", None),
    (401, openai.AuthenticationError, "invalid_request_error", "invalid_api_key"),
    (403, openai.PermissionDeniedError, "invalid_request_error", None),
    (404, openai.NotFoundError, "invalid_request_error", "model_not_found"),
    (409, openai.ConflictError, "invalid_request_error", None),
    (422, openai.UnprocessableEntityError, "invalid_request_error", None),
    (429, openai.RateLimitError, "requests", "rate_limit_exceeded"),
    (500, openai.InternalServerError, "server_error", None),
    (503, openai.InternalServerError, "server_error", None),
]
ANTHROPIC_STATUSES = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (402, anthropic.APIStatusError, "billing_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.APIStatusError, "request_too_large"),
    (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (504, anthropic.InternalServerError, "timeout_error"),
    (529, anthropic.InternalServerError, "overloaded_error"),
]


class TestStatuses:
    @pytest.mark.parametrize(("code", "error", "kind", "error_code"), OPENAI_STATUSES)
    def test_openai(self, start, code, error, kind, error_code):
        """An int in the script is that status with OpenAI's error object."""
        _, client = start.openai([code])
        with pytest.raises(error) as caught:
            chat(client)
        assert caught.value.status_code == code
        assert (caught.value.type, caught.value.code) == (kind, error_code)
        assert caught.value.body.keys() == {"message", "type", "param", "code"}

    @pytest.mark.parametrize(("code", "error", "kind"), ANTHROPIC_STATUSES)
    def test_anthropic(self, start, code, error, kind):
        """An int in the script is that status with Anthropic's documented error type."""
        _, client = start.anthropic([code])
        with pytest.raises(error) as caught:
            message(client)
        assert caught.value.status_code == code
        assert caught.value.body["type"] == "error"
        assert caught.value.body["error"]["type"] == kind
        assert caught.value.request_id == "req_0"

    @pytest.mark.parametrize("stream", [False, True])
    def test_headers(self, start, stream):
        """Headers such as retry-after are on the error's response."""
        _, client = start.anthropic([Status(429, headers={"Retry-After": "2"})])
        with pytest.raises(anthropic.RateLimitError) as caught:
            message(client, stream=stream)
        assert caught.value.response.headers["retry-after"] == "2"

    def test_body_as_mapping(self, start):
        """A mapping is the JSON body."""
        quota = {"message": "No quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
        _, client = start.openai([Status(429, {"error": quota})])
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client)
        assert caught.value.code == "insufficient_quota"

    @pytest.mark.parametrize("body", ["<html>Bad gateway</html>", b"<html>Bad gateway</html>"])
    def test_body_as_text(self, start, body):
        """A str or bytes go out as they are, under the content type of the step."""
        _, client = start.openai([Status(502, body, {"Content-Type": "text/html"})])
        with pytest.raises(openai.InternalServerError) as caught:
            chat(client)
        assert caught.value.response.text == "<html>Bad gateway</html>"
        assert caught.value.response.headers.get_list("content-type") == ["text/html"]

    @pytest.mark.parametrize("code", [200, 204, 304])
    def test_no_error_has_an_empty_body(self, start, code):
        """Below 400 there is no body unless the step gives one."""
        llm, _ = start.openai([code])
        assert post(llm, "/v1/messages") == (code, b"")

    def test_an_informational_status_is_no_answer(self, start):
        """After a 1xx the connection closes, so that the client does not wait for more."""
        _, client = start.openai([103])
        with pytest.raises(openai.APIConnectionError):
            chat(client)


class TestBrokenConnections:
    @pytest.mark.parametrize("stream", [False, True])
    def test_reset_before(self, start, stream):
        """A reset before the first byte is a connection error whose cause is a reset."""
        _, client = start.openai([Reset(), "fine"])
        with pytest.raises(openai.APIConnectionError) as caught:
            chat(client, stream=stream)
        assert "reset" in str(caught.value.__cause__).lower()
        assert chat(client).choices[0].message.content == "fine"

    def test_reset_before_with_anthropic(self, start):
        """Anthropic's SDK says the same."""
        _, client = start.anthropic([Reset()])
        with pytest.raises(anthropic.APIConnectionError):
            message(client)

    def test_reset_is_a_tcp_reset(self, start):
        """On the bare socket it is ECONNRESET and no byte."""
        llm, _ = start.openai([Reset()])
        with socket.create_connection(("127.0.0.1", port_of(llm)), timeout=5) as client:
            client.sendall(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    def test_reset_mid_body(self, start):
        """A reset amid a JSON body breaks the reading of the answer, as an error of the transport."""
        _, client = start.openai([Reset("mid-body")])
        with pytest.raises(openai.APIConnectionError):
            chat(client)

    def test_reset_mid_stream(self, start):
        """On a stream, "mid-body" is after the first piece."""
        _, client = start.openai([Reset("mid-body")])
        got, error = raised_by(chat(client, stream=True))
        assert len(contents(got)) == 1
        assert isinstance(error, openai.APIConnectionError)

    def test_half_a_json_body(self, start):
        """The head promises the whole body and half of it comes."""
        llm, _ = start.openai([CutStream(0, text="one two three")])
        with pytest.raises(http.client.IncompleteRead) as caught:
            post(llm, "/v1/chat/completions")
        assert 0 <= len(caught.value.partial) - caught.value.expected <= 1

    @pytest.mark.parametrize("reset", [False, True])
    def test_cut_of_an_openai_stream(self, start, reset):
        """So many pieces come, then the stream breaks."""
        _, client = start.openai([CutStream(2, text="one two three four", reset=reset)])
        got, error = raised_by(chat(client, stream=True))
        assert contents(got) == ["one", " two"]
        assert isinstance(error, openai.APIConnectionError)

    @pytest.mark.parametrize("reset", [False, True])
    def test_cut_of_an_anthropic_stream(self, start, reset):
        """So many pieces come; Anthropic's SDK lets the transport's own error through."""
        _, client = start.anthropic([CutStream(2, chunks=["a", "b", "c"], reset=reset)])
        got, error = raised_by(message(client, stream=True))
        assert deltas(got) == ["a", "b"]
        assert type(error).__name__ == ("ReadError" if reset else "RemoteProtocolError")

    @pytest.mark.parametrize("after", [0, 7])
    def test_a_cut_makes_up_its_text(self, start, after):
        """Without a text there are always enough pieces."""
        _, client = start.openai([CutStream(after)])
        got, error = raised_by(chat(client, stream=True))
        assert len(contents(got)) == after
        assert error is not None

    @pytest.mark.parametrize(
        ("after", "names", "arguments"), [(1, [], ""), (2, ["search"], ""), (3, ["search"], "half")]
    )
    def test_cut_of_an_openai_stream_in_a_tool_call(self, start, after, names, arguments):
        """Behind the text come the call's name and the halves of its arguments: what was got is no JSON."""
        _, client = start.openai([CutStream(after, text="wait", tool_calls=[SEARCH])])
        got, error = raised_by(chat(client, stream=True))
        parts = [call.function for chunk in got for call in chunk.choices[0].delta.tool_calls or ()]
        assert [part.name for part in parts if part.name] == names
        whole = SEARCH.arguments_json
        assert "".join(part.arguments for part in parts) == (whole[: len(whole) // 2] if arguments else "")
        assert isinstance(error, openai.APIConnectionError)

    @pytest.mark.parametrize("text", ["", "wait"])
    def test_cut_of_an_anthropic_stream_in_the_second_tool_call(self, start, text):
        """The first one is whole, and its block has ended."""
        cut = CutStream(bool(text) + 3 + 2, text=text, tool_calls=[SEARCH, SEARCH])
        _, client = start.anthropic([cut])
        got, error = raised_by(message(client, stream=True))
        begun = [event.index for event in got if event.type == "content_block_start"]
        ended = [event.index for event in got if event.type == "content_block_stop"]
        assert begun == [*range(len(begun))]
        assert ended == begun[:-1]
        parts = [
            event.delta.partial_json
            for event in got
            if getattr(event, "delta", None) and event.delta.type != "text_delta"
        ]
        whole = SEARCH.arguments_json
        assert "".join(parts) == whole + whole[: len(whole) // 2]
        assert error is not None

    def test_an_error_in_a_tool_call(self, start):
        """The stream that breaks off with an error event may do so there as well."""
        _, client = start.openai([StreamError(1, tool_calls=[SEARCH])])
        got, error = raised_by(chat(client, stream=True))
        assert got[-1].choices[0].delta.tool_calls[0].function.name == "search"
        assert isinstance(error, openai.APIError)

    def test_cut_of_a_json_answer(self, start):
        """To a request for JSON a cut is half a body."""
        _, client = start.anthropic([CutStream(3), "fine"])
        with pytest.raises(anthropic.APIConnectionError):
            message(client)
        assert message(client).content[0].text == "fine"

    def test_hang_until_the_client_leaves(self, start):
        """A hanging request ends by the client's timeout."""
        _, client = start.openai([Hang()], timeout=0.05)
        with pytest.raises(openai.APITimeoutError):
            chat(client)

    def test_hang_for_a_time(self, start):
        """A hang with a limit ends with a close and no byte."""
        _, client = start.openai([Hang(0.05)])
        begin = time.monotonic()
        with pytest.raises(openai.APIConnectionError) as caught:
            chat(client)
        assert not isinstance(caught.value, openai.APITimeoutError)
        assert 0.05 <= time.monotonic() - begin < 2


class TestErrorsInStreams:
    def test_openai(self, start):
        """An error event in a 200 stream is an APIError without a status."""
        _, client = start.openai([StreamError(1, text="one two")])
        got, error = raised_by(chat(client, stream=True))
        assert contents(got) == ["one"]
        assert type(error) is openai.APIError
        assert error.type == "server_error"

    def test_anthropic(self, start):
        """An error event is Anthropic's overloaded error under status 200."""
        _, client = start.anthropic([StreamError(1, text="one two")])
        got, error = raised_by(message(client, stream=True))
        assert deltas(got) == ["one"]
        assert isinstance(error, anthropic.APIStatusError)
        assert error.status_code == 200
        assert error.body == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    def test_an_error_of_ones_own(self, start):
        """The step's error object goes out in either dialect."""
        own = {"type": "api_error", "message": "Internal server error"}
        _, client = start.openai([StreamError(0, error=own)])
        assert raised_by(chat(client, stream=True))[1].message == "Internal server error"
        _, client = start.anthropic([StreamError(0, error=own)])
        assert raised_by(message(client, stream=True))[1].body["error"] == own

    def test_without_a_stream(self, start):
        """To a request for JSON it is an error object under status 200."""
        llm, _ = start.openai([StreamError(2)])
        status, body = post(llm, "/v1/messages")
        assert status == 200
        assert json.loads(body)["error"]["type"] == "overloaded_error"


class TestScript:
    def test_steps_are_taken_in_order(self, start):
        """Each request takes one step; when they are over, `then` answers."""
        llm, client = start.openai(["one", "two"])
        assert llm.pending == 2
        said = [chat(client).choices[0].message.content for _ in range(4)]
        assert said == ["one", "two", "ok", "ok"]
        assert (llm.pending, llm.request_count) == (0, 4)

    def test_then(self):
        """`then` is a step like any other."""
        with FakeLLM(then=503) as llm:
            assert [post(llm, "/v1/messages")[0] for _ in range(2)] == [503, 503]

    def test_function(self, start):
        """A function answers according to the conversation, and may look at the requests so far."""

        def script(request):
            return f"{request.json['messages'][-1]['content']} {llm.request_count}"

        llm, client = start.openai(script)
        assert chat(client).choices[0].message.content == "What is the weather in Oslo? 1"
        assert llm.pending is None

    def test_a_function_that_raises(self):
        """The client gets a 400 that says so, and leaving the block raises the error."""

        def script(request):
            raise KeyError("no such city")

        with pytest.raises(KeyError, match="no such city") as caught, FakeLLM(script) as llm:
            status, body = post(llm, "/v1/messages")
        assert status == 400
        assert b"no such city" in body
        assert caught.value.__notes__ == ["raised by the script of a FakeLLM, for request 0"]
        llm.stop()  # has nothing left to say

    def test_a_function_that_gives_no_step(self):
        """The error names the request."""
        llm = FakeLLM(lambda _: None).start()
        post(llm, "/v1/messages")
        with pytest.raises(TypeError, match="returned for request 0 is None"):
            llm.stop()

    def test_an_error_in_the_block_goes_first(self):
        """A script's error does not replace one that is on its way already."""
        with pytest.raises(AssertionError), FakeLLM(lambda _: None) as llm:
            assert post(llm, "/v1/messages")[0] == 200

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            (["a", 429, None], r"script\[2\] is None"),
            ([Answer], r"script\[0\]"),
            ("hello", r"write \['hello'\]"),
            (Reset(), "iterable of steps or a function"),
        ],
    )
    def test_what_is_no_script(self, script, message):
        """A wrong script is refused at once, and the error says where."""
        with pytest.raises(TypeError, match=message):
            FakeLLM(script)

    def test_a_wrong_then(self):
        """A wrong `then` is named as such."""
        with pytest.raises(TypeError, match=r"then is 1\.5"):
            FakeLLM(then=1.5)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Status(99), r"Status\.code"),
            (lambda: Status(600), r"Status\.code"),
            (lambda: FakeLLM([7]), r"Status\.code"),
            (lambda: Answer(delay=-1), r"Answer\.delay"),
            (lambda: Answer(delay=float("nan")), r"Answer\.delay"),
            (lambda: Answer("ab", chunks=["a"]), r"Answer\.chunks"),
            (lambda: Hang(-0.1), r"Hang\.seconds"),
            (lambda: Reset("later"), r"Reset\.when"),
            (lambda: CutStream(-1), r"CutStream\.after"),
            (lambda: CutStream(3, text="one two"), r"CutStream\.after is 3"),
            (lambda: CutStream(4, tool_calls=[SEARCH]), r"CutStream\.after is 4, but there are only 3 pieces"),
            (lambda: StreamError(-1), r"StreamError\.after"),
        ],
    )
    def test_what_is_no_step(self, make, message):
        """A wrong value is refused at once, and the error names the field."""
        with pytest.raises(ValueError, match=message):
            make()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: ToolCall("search", {"at": object()}), r"ToolCall\.arguments"),
            (lambda: Status(200, {"at": object()}), r"Status\.body"),
            (lambda: Status(200, 5), r"Status\.body"),
            (lambda: Status("429"), r"Status\.code must be an int such as 429, not '429'"),
            (lambda: Status(None), r"Status\.code"),
            (lambda: StreamError(0, error={"at": object()}), r"StreamError\.error"),
            (lambda: CutStream("one two"), r"CutStream\.after must be a number of pieces, not 'one two'.*text="),
            (lambda: StreamError(True), r"StreamError\.after must be a number"),
            (lambda: CutStream(0, tool_calls=SEARCH), r"tool_calls must be a sequence of ToolCall"),
        ],
    )
    def test_what_cannot_be_sent(self, make, message):
        """A value of the wrong kind is refused at once, and the error names the field."""
        with pytest.raises(TypeError, match=message):
            make()

    @pytest.mark.parametrize("calls", [SEARCH, ["search"]])
    def test_what_is_no_tool_call(self, calls):
        """Tool calls are a sequence of ToolCall."""
        with pytest.raises(TypeError, match=r"Answer\.tool_calls"):
            Answer(tool_calls=calls)


class TestRequests:
    def test_record(self, start):
        """A request is recorded with its body, headers and time."""
        before = time.monotonic()
        llm, client = start.openai()
        chat(client, extra_headers={"X-Trace": "abc"})
        chat(client, stream=True).close()
        first, second = llm.requests
        assert (first.index, first.method, first.path) == (0, "POST", "/v1/chat/completions")
        assert first.headers["x-trace"] == "abc"
        assert first.json["messages"] == ASK
        assert (first.stream, second.stream) == (False, True)
        assert before <= first.at <= second.at <= time.monotonic()

    def test_requests_is_a_copy(self, start):
        """What a test does to the list changes nothing."""
        llm, client = start.openai()
        chat(client)
        llm.requests.clear()
        assert llm.request_count == 1

    def test_query_and_body_that_is_no_json(self, start):
        """A query does not matter to the path, and a body that is no JSON is recorded as None."""
        llm, _ = start.openai()
        assert post(llm, "/v1/messages?beta=true", b"\xff{")[0] == 200
        assert (llm.requests[0].path, llm.requests[0].json) == ("/v1/messages?beta=true", None)

    @pytest.mark.parametrize(("method", "path"), [("POST", "/v2/chat"), ("GET", "/v1/messages"), ("PUT", "/")])
    def test_unknown_path(self, start, method, path):
        """Anything else is a 404 that names the two paths, takes no step and is not recorded."""
        llm, _ = start.openai(["kept"])
        status, body = post(llm, path, method=method)
        assert status == 404
        assert b"POST /v1/chat/completions and POST /v1/messages" in body
        assert (llm.request_count, llm.pending) == (0, 1)

    def test_a_wrong_base_url_is_explained(self, start):
        """The SDK's error shows what the right path would be."""
        llm, client = start.openai()
        client = client.with_options(base_url=f"{llm.openai_base_url}/v1")
        with pytest.raises(openai.NotFoundError, match="check the client's base_url"):
            chat(client)

    def test_keep_alive(self, start):
        """Many requests share one connection, errors and streams among them."""
        llm, _ = start.openai(["a", 429, Answer("b", delay=0.01), StreamError(1)])
        connection = http.client.HTTPConnection("127.0.0.1", port_of(llm), timeout=5)
        connection.connect()
        port = connection.sock.getsockname()[1]
        for _ in range(6):
            connection.request("POST", "/v1/messages", b'{"stream": true}')
            connection.getresponse().read()
            assert connection.sock.getsockname()[1] == port
        connection.close()

    def test_a_client_that_leaves_amid_its_request(self, start, capfd):
        """Half a request takes no step, and nothing is printed."""
        llm, _ = start.openai()
        with socket.create_connection(("127.0.0.1", port_of(llm))) as client:
            client.sendall(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 9\r\n\r\n{}")
        llm.stop()
        assert llm.request_count == 0
        assert capfd.readouterr() == ("", "")

    def test_nothing_is_printed(self, start, capfd):
        """Garbage, a client that leaves, and an unknown path leave the output alone."""
        llm, client = start.openai([Answer("x " * 20_000)])
        chat(client, stream=True).close()
        for garbage in (b"\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port_of(llm))) as raw:
                raw.sendall(garbage)
                raw.recv(100)
        post(llm, "/elsewhere")
        llm.stop()
        assert capfd.readouterr() == ("", "")


def fake_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("FakeLLM")]


class TestLife:
    def test_stop_ends_hanging_requests_at_once(self):
        """Stop breaks a hanging and a delayed request quickly and leaves no thread behind."""
        llm = FakeLLM([Hang(), Hang(60), Answer(delay=60)]).start()
        errors = []

        def call():
            try:
                post(llm, "/v1/messages")
            except (http.client.HTTPException, OSError) as error:
                errors.append(error)

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        until(lambda: llm.request_count == 3)
        begin = time.monotonic()
        llm.stop()
        assert time.monotonic() - begin < 2
        assert fake_threads() == []
        for caller in callers:
            caller.join()
        assert len(errors) == 3

    def test_stop_closes_idle_connections(self, start):
        """A connection kept alive by a client does not delay the stop."""
        llm, client = start.anthropic()
        message(client)
        begin = time.monotonic()
        llm.stop()
        assert time.monotonic() - begin < 2
        with pytest.raises(anthropic.APIConnectionError):
            message(client)

    def test_start_and_stop_twice(self):
        """Starting or stopping again changes nothing."""
        llm = FakeLLM()
        llm.stop()
        assert llm.start() is llm.start()
        assert post(llm, "/v1/messages")[0] == 200
        llm.stop()
        llm.stop()

    def test_a_provider_that_was_down(self, start):
        """Started again it has the same address and goes on with the script."""
        llm, client = start.openai(["one", "two"])
        chat(client)
        llm.stop()
        with pytest.raises(openai.APIConnectionError):
            chat(client)
        llm.start()
        assert chat(client).choices[0].message.content == "two"

    def test_no_address_before_the_start(self):
        """An address asked for too early is an error that says what to do."""
        with pytest.raises(RuntimeError, match="call start"):
            FakeLLM().openai_base_url  # noqa: B018 - the property raises

    def test_two_servers(self, start):
        """Servers share nothing."""
        one, client = start.openai(["one"])
        two, _ = start.openai(["two"])
        chat(client)
        assert (one.pending, two.pending) == (0, 1)

    def test_a_child_process_is_a_client(self, start):
        """A process started by the test can use the address."""
        llm, _ = start.openai([503])
        code = "import sys, urllib.request as u; u.urlopen(sys.argv[1], b'{}')"
        url = f"{llm.openai_base_url}/chat/completions"
        done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, check=False, text=True)
        assert "503" in done.stderr
        assert llm.request_count == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_holds_no_connection(self, start):
        """A fork amid a request keeps neither the reset from the client nor the port from the server."""
        asked, forked = threading.Event(), threading.Event()

        def script(request):
            asked.set()
            assert forked.wait(5)
            return Reset()

        llm, _ = start.openai(script)
        with socket.create_connection(("127.0.0.1", port_of(llm)), timeout=5) as client:
            client.sendall(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            assert asked.wait(5)
            go_on, tell = os.pipe()
            if (child := os.fork()) == 0:
                # The lock was held by a thread that is not in this process.
                os.close(tell)
                llm.stop()
                os._exit(llm.request_count + len(os.read(go_on, 1)))
            forked.set()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        llm.stop()
        llm.start()
        os.write(tell, b".")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        os.close(go_on)
        os.close(tell)

    @pytest.mark.parametrize("module", [fake_llm, _dialects, _steps], ids=lambda module: module.__name__)
    def test_examples(self, module):
        """The examples in the docstrings do what they show."""
        assert doctest.testmod(module).failed == 0


class TestAsync:
    pytestmark = pytest.mark.anyio

    # OpenAI's async client stops at [DONE] and drops the generators that read the rest, which trio reports.
    @pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
    async def test_openai(self):
        """The async client gets answers, errors and streams."""
        async with FakeLLM(["hello", 429, "one two", CutStream(1)]) as llm, self.openai(llm) as client:
            assert (await chat(client)).choices[0].message.content == "hello"
            with pytest.raises(openai.RateLimitError):
                await chat(client)
            assert contents([c async for c in await chat(client, stream=True)]) == ["one", " two"]
            with pytest.raises(openai.APIConnectionError):
                async for _ in await chat(client, stream=True):
                    pass

    async def test_anthropic(self):
        """So does Anthropic's."""
        async with FakeLLM(["hello", 529, "one two", Reset()]) as llm, self.anthropic(llm) as client:
            assert (await message(client)).content[0].text == "hello"
            with pytest.raises(anthropic.InternalServerError):
                await message(client)
            assert deltas([e async for e in await message(client, stream=True)]) == ["one", " two"]
            with pytest.raises(anthropic.APIConnectionError):
                await message(client)

    @pytest.mark.parametrize("reset", [False, True])
    async def test_pieces_before_a_cut_all_arrive(self, reset):
        """Even a reset lets the async client read what was sent before it."""
        async with FakeLLM([CutStream(3, reset=reset)]) as llm, self.anthropic(llm) as client:
            got, broken = [], None
            try:
                async for event in await message(client, stream=True):
                    got.append(event)
            except Exception as error:
                broken = type(error).__name__
            assert len(deltas(got)) == 3
            assert broken == ("ReadError" if reset else "RemoteProtocolError")

    async def test_a_cancelled_request_leaves_the_server_well(self):
        """A client that is cancelled while the server hangs makes room for the next."""
        async with FakeLLM([Hang(), "fine"]) as llm, self.openai(llm) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(chat, client)
                while not llm.request_count:
                    await anyio.sleep(0.005)
                group.cancel_scope.cancel()
            assert (await chat(client)).choices[0].message.content == "fine"

    async def test_concurrent_requests_take_one_step_each(self):
        """Of 200 requests at the same moment each takes one step and is counted once."""
        said = []

        async def call(client):
            said.append((await chat(client)).choices[0].message.content)

        steps = [f"step {number}" for number in range(200)]
        async with FakeLLM(steps) as llm, self.openai(llm) as client, anyio.create_task_group() as group:
            for _ in steps:
                group.start_soon(call, client)
        assert sorted(said) == sorted(steps)
        assert [request.index for request in llm.requests] == list(range(200))
        assert llm.pending == 0
        assert fake_threads() == []

    def openai(self, llm):
        return openai.AsyncOpenAI(base_url=llm.openai_base_url, api_key="test", max_retries=0)

    def anthropic(self, llm):
        return anthropic.AsyncAnthropic(base_url=llm.anthropic_base_url, api_key="test", max_retries=0)
