"""The rows are what the label policy says, and each becomes the exception that it tells of."""

import contextlib
import json
import re

import pytest

CATEGORIES = {"retryable", "non_retryable", "degraded", "fatal"}
KINDS = {"http", "stream", "exc", "text"}
FIELDS = {"id", "provider", "via", "kind", "decision", "category", "retry_after_s", "source", "why"}
CUT = {"RemoteProtocolError", "ReadError", "ClientPayloadError", "ChunkedEncodingError", "ProtocolError"}
MADE = [
    ({"exc_type": "websockets.exceptions.InvalidStatus", "http_status": 503}, "HTTP 503"),
    (
        {"exc_type": "aiohttp.ClientConnectorError", "message": "Cannot connect to host a.b:443 ssl:True [Closed]"},
        "Closed",
    ),
    (
        {
            "exc_type": "aiohttp.ClientConnectorCertificateError",
            "message": "Cannot connect to host a.b:443 ssl:True [SSLCertVerificationError: (1, 'bad certificate')]",
        },
        "[SSLCertVerificationError: (1, 'bad certificate')]",
    ),
    ({"exc_type": "openai.APITimeoutError"}, "timed out"),
    ({"exc_type": "builtins.ValueError", "args": [{"bytes": "6f6b"}], "attrs": {"code": 7}}, "b'ok'"),
    ({"exc_type": "text:pkg.Odd", "message": "odd", "context": {"exc_type": "builtins.KeyError", "args": [1]}}, "odd"),
    (
        {
            "exc_type": "openai.LengthFinishReasonError",
            "kwargs": {"completion_tokens": 9, "prompt_tokens": 1, "total_tokens": 10},
        },
        "length limit was reached",
    ),
]


def test_the_ids_are_unique(corpus):
    """No two rows share an id, in whichever files they are."""
    ids = [json.loads(line)["id"] for path in _files(corpus, "rows/*.jsonl") for line in _lines(path)]
    assert len(ids) == len(set(ids)) == len(corpus.load())


def test_the_fields_obey_the_label_policy(row):
    """A row has all fields, is to be retried exactly when it is retryable, and names a wait in seconds or none."""
    assert row.keys() >= FIELDS
    assert row["category"] in CATEGORIES
    assert row["decision"] == ("retry" if row["category"] == "retryable" else "stop")
    assert row["kind"] in KINDS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9.]+)*", row["id"])
    assert row["source"]
    assert row["why"]
    wait = row["retry_after_s"]
    assert wait is None or (isinstance(wait, int | float) and wait >= 0)


def test_the_exception_is_the_one_that_was_seen(row, error):
    """Class, status and causes are those of the row, and the words of the server are within reach."""
    _check_class(row, error)
    if row["kind"] == "http":
        assert _status(error) in {row["status"], None}
        assert _status(error) is not None or row["via"] in {"tencentcloud", "dashscope"}
    if row["via"] != "aiohttp":  # which drops a body
        assert _squeezed(_longest(row)) in _squeezed(" ".join(_texts(error)))
    for told in row.get("cause") or []:
        error = error.__cause__
        assert told["exc_type"].rpartition(".")[2] in {cls.__name__ for cls in type(error).__mro__}
        assert told.get("message", "") in str(error)


def test_nothing_gives_the_label_away(row, error):
    """The URL of the corpus's own server holds neither the id nor a number that reads like a status."""
    for port, path in re.findall(r"127\.0\.0\.1:(\d+)/?([\w-]*)", " ".join(_texts(error))):
        if f"127.0.0.1:{port}" not in json.dumps(row):  # the row's own server is as it was seen
            assert not re.search(r"[1-5]\d\d", port)
            assert path in {"", "r", "v1"} or re.fullmatch(r"[a-z]{16,20}", path)


def test_a_row_is_built_once(corpus):
    """Test modules share the exceptions, as building is slow."""
    row = corpus.load()[0]
    assert corpus.build(dict(row)) is corpus.build(row)


def test_a_recorded_shape_is_rebuilt_as_it_was(corpus, helper, shape):
    """What is rebuilt has the classes, texts, attributes and chain that were recorded: recording it gives the same."""
    again = helper("recording").describe(helper("shapes").rebuild(shape))
    assert json.loads(json.dumps(again)) == shape


def test_shapes_are_of_rows_that_need_them(corpus):
    """No shape is left of a row that is gone or is built through the real SDK, and none is missing."""
    kept = {
        row_id for path in _files(corpus, "shapes/*.json") for row_id in json.loads(path.read_text("utf-8"))["shapes"]
    }
    assert kept == {row["id"] for row in corpus.load() if corpus.way(row) == "shape"}


def test_no_file_tells_of_the_machine_it_was_made_on(corpus):
    """Recorded shapes hold no path of a home, of a temporary folder or of an installation."""
    for path in _files(corpus, "shapes/*.json"):
        assert not re.search(r"/(tmp|home|root|usr|opt|Users|work)/", path.read_text("utf-8")), path.name


def test_a_row_of_an_unknown_sdk_asks_for_a_recording(corpus):
    """Who adds a row that needs a shape is told how to get it."""
    with pytest.raises(corpus.NotRecorded, match=r"recording\.py"):
        corpus.build({"id": "new", "via": "new-sdk", "kind": "http"})


def test_an_answer_that_raises_nothing_is_no_row(corpus):
    """A row whose answer the SDK takes for a good one is a mistake that shows."""
    with pytest.raises(corpus.NothingRaised):
        corpus.build({"id": "fine", "via": "httpx", "kind": "http", "status": 200, "headers": {}, "body": "fine"})


def test_each_scenario_raises(corpus, scenario):
    """A scenario that a row may name makes its library raise something else than a wrong call."""
    row = {"id": scenario, "via": "stdlib", "kind": "exc", "exc_type": "builtins.Exception", "message": ""}
    inner = {"exc_type": "builtins.ValueError", "message": "inner"}
    error = corpus.build(row | {"extra": {"run": scenario, "raises": inner}})
    assert not isinstance(error, NameError | AttributeError)


@pytest.mark.parametrize(
    ("spec", "text"), MADE, ids=lambda value: value.get("exc_type") if isinstance(value, dict) else ""
)
def test_classes_that_want_more_than_a_text_are_made(helper, spec, text):
    """What a row may tell of a class reaches its constructor."""
    assert text in str(helper("making").make(spec))


def test_headers_of_a_shape_are_found_in_any_case(helper):
    """Rebuilt headers behave as those of the HTTP libraries."""
    headers = helper("shapes").Headers([["Retry-After", "7"]])
    assert (headers["retry-after"], headers.get("RETRY-AFTER"), headers.get("age"), dict(headers)) == (
        ("7", "7", None, {"Retry-After": "7"})
    )


# ---- what can be read off rows and exceptions


def _files(corpus, pattern):
    return sorted(corpus.HERE.glob(pattern))


def _lines(path):
    return path.read_text("utf-8").strip().split("\n")


def _check_class(row, error):
    """Check that the class, or a base of it, bears the row's name; an answer is raised by its SDK."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if row["kind"] in {"exc", "text"}:
        assert row["exc_type"].rpartition(".")[2] in names
    elif (row.get("extra") or {}).get("cut"):
        assert names & CUT
    elif row["via"] != "dashscope":  # its users raise what it returns
        assert _package(error) in _packages(row["via"])


def _package(error):
    return type(error).__module__.partition(".")[0]


def _packages(via):
    """Give the packages whose exceptions come out of an SDK: its own, and botocore's for boto3 and the like."""
    others = {"boto3": ["botocore"], "google-genai": ["google"], "pydantic-ai": ["pydantic_ai"], "zai-sdk": ["zai"]}
    return [via, *others.get(via, [])]


def _status(error):
    """Give the status that an exception, or the response that it holds, tells; RFC or not."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "ResponseMetadata" in response:
        return response["ResponseMetadata"]["HTTPStatusCode"]
    told = (getattr(holder, name, None) for holder in (error, response) for name in ("status_code", "status", "code"))
    return next((value for value in told if isinstance(value, int)), None)


def _longest(row):
    """Give the longest text of a row that its exception should still hold."""
    body = row.get("body")
    if row["kind"] in {"exc", "text"}:
        return row["message"]
    if isinstance(body, str) and "<Message>" in body:
        return re.search("<Message>(.*?)</Message>", body)[1]
    if isinstance(body, dict) and row["via"] == "boto3":
        return body.get("message") or body["Message"]  # the rest is parsed away
    if isinstance(body, str) and row["kind"] == "stream":
        body = json.loads(body.strip().rpartition("data: ")[2])
    return max(_strings(body), key=len, default="")


def _texts(error):
    """Give every text that can be reached from an exception."""
    seen, todo = set(), [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield from (str(link), repr(link))
        for name in ("args", "message", "body", "details", "detail", "title", "server_message", "response", "request"):
            yield from _strings(getattr(link, name, None))
        todo += [link.__cause__, link.__context__, getattr(link, "orig", None), *getattr(link, "exceptions", ())]


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    else:
        for name in ("text", "url"):
            with contextlib.suppress(Exception):  # nothing of the kind, or the body of a stream that was not read
                yield str(getattr(value, name))


def _squeezed(text):
    """Take away what quoting and escaping put in."""
    return re.sub(r"""[\s"'\\]|\\[nrt]""", "", text)
