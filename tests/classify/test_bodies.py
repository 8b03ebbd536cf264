"""What a body says, whatever its shape: codes, sentences, a status and waits."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.classify.bodies import Body, as_body, codes_said, read, status_said

HUGE = 10_000_000


def took(reader, value):
    """The least seconds of work of three times."""
    spent = []
    for _ in range(3):
        begun = time.process_time()
        reader(value)
        spent.append(time.process_time() - begun)
    return min(spent)


# From what was sent to a JSON value


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        ({"error": "x"}, {"error": "x"}),
        (["x"], ["x"]),
        ('{"error": "x"}', {"error": "x"}),
        (b'{"error": "x"}', {"error": "x"}),
        (bytearray(b' [{"error": "x"}]'), [{"error": "x"}]),
        ("upstream connect error", "upstream connect error"),
        (b"upstream connect error", "upstream connect error"),
        ('{"error": ', '{"error": '),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("", None),
        (b"", None),
        (None, None),
        (5, None),
        (True, None),
        (object(), None),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_body_is_json_or_its_text_or_nothing(raw, body):
    """JSON is opened, other texts stay texts, and what is neither is no body."""
    if type(raw) is object:
        raw = object()
    assert as_body(raw) == body


@pytest.mark.parametrize(
    "raw", ["[" * 60_000, '{"a":' * 12_000, "{" + "9" * 60_000, "[" + "9" * 5000 + "]"], ids=lambda raw: raw[:6]
)
def test_json_that_cannot_be_read_is_a_text(raw):
    """Nesting without end and numbers without end raise nothing."""
    assert isinstance(as_body(raw), str)


@pytest.mark.parametrize(
    "raw",
    ["x" * HUGE, b"x" * HUGE, b'{"error": "' + b"x" * HUGE + b'"}', bytearray(HUGE)],
    ids=["text", "bytes", "json", "array"],
)
def test_of_a_huge_body_only_the_ends_are_kept(raw):
    """Ten megabytes become a few thousand characters, quickly."""
    body = as_body(raw)
    assert took(as_body, raw) < 0.05
    assert isinstance(body, str)
    assert len(body) < 10_000


# The walk


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "insufficient_quota"}},
        {"error": {"type": "insufficient_quota"}},
        {"error": {"status": "INSUFFICIENT_QUOTA"}},
        {"error": {"details": [{"reason": "INSUFFICIENT_QUOTA"}]}},
        {"code": "InsufficientQuota"},
        {"Code": "Insufficient-Quota"},
        {"__type": "com.amazonaws#InsufficientQuota"},
        {"detail": {"code": "insufficient_quota"}},
        {"detail": [{"loc": ["body"], "type": "insufficient_quota"}]},
        [{"error": {"status": "INSUFFICIENT_QUOTA"}}],
        {"error": "insufficient_quota"},
        {"message": "insufficient_quota"},
        {"errorCode": "insufficientQuota"},
        {"error": {"innererror": {"inner": {"deeper": {"code": "insufficient_quota"}}}}},
        {"error": {"metadata": {"raw": {"error": {"code": "insufficient_quota"}}}}},
    ],
    ids=json.dumps,
)
def test_the_word_for_the_error_is_found_under_any_depth(body):
    """Codes, types, states and reasons come out in one style, however deep and under whichever key."""
    assert "insufficient_quota" in read(body).codes


def test_a_numbers_code_is_its_digits():
    """Some providers count their errors."""
    assert "1113" in read({"error": {"code": "1113"}}).codes
    assert "1113" in read({"error": {"code": 1113}}).codes


def test_what_is_told_in_words_is_kept_verbatim():
    """Sentences come out as they were written, in their order, and a single word is a code as well."""
    body = read({"error": {"message": "Rate limit reached for gpt-4o!", "details": [{"text": "请稍后再试"}]}})
    assert body.sentences == ("Rate limit reached for gpt-4o!", "请稍后再试")
    assert read({"message": "Overloaded"}).codes == ("overloaded",)


@pytest.mark.parametrize(
    "key", ["id", "request_id", "trace_id", "url", "input", "documentation_url", "param", "model", "@type"]
)
def test_what_is_the_requests_is_not_the_failures(key):
    """An id, an address or the request's own words tell nothing of the failure."""
    assert read({"error": {key: "rate limit exceeded"}}) == Body((), (), None, {})
    assert read({"error": {key: "insufficient_quota"}}) == Body((), (), None, {})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 503}}, 503),
        ({"error": {"code": "503"}}, 503),
        ({"status": 429, "error": "x"}, 429),
        ({"statusCode": 500, "message": "Internal server error"}, 500),
        ({"error": {"code": "rate_limited", "status": 429}}, 429),
        ({"error": {"code": 1113}}, None),
        ({"error": {"code": "slow_down"}}, None),
        ({"error": {"code": True}}, None),
        ({"count": 503}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_status_in_the_body_is_found(body, status):
    """Three digits under a key for statuses are one; other numbers are none."""
    assert read(body).status == status


@pytest.mark.parametrize(
    ("body", "waits"),
    [
        ({"retry_after": 5}, {"retry_after": 5}),
        ({"error": {"retryAfter": "5s"}}, {"retryafter": "5s"}),
        ({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "13s"}]}}, {"retrydelay": "13s"}),
        ({"error": "loading", "estimated_time": 20.5}, {"estimated_time": 20.5}),
        ({"retry_after_ms": 432, "retry_after": 1}, {"retry_after_ms": 432, "retry_after": 1}),
        ({"parameters": {"wait": 5}}, {}),
    ],
    ids=str,
)
def test_waits_are_kept_by_the_key_that_names_them(body, waits):
    """The values come out as they are: what they mean is for the hints to say."""
    assert read(body).waits == waits


def test_the_first_wait_under_a_key_counts():
    """Of two waits under the same key the one that is read first is kept."""
    assert read({"retry_after": 5, "error": {"retry_after": 9}}).waits == {"retry_after": 5}


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        5,
        5.5,
        True,
        [],
        {},
        [None],
        {"error": None},
        {"error": [1]},
        {"error": {}},
        {1: {2: 3}},
        object(),
        b"x",
        ({"code": "x"},),
    ],
    ids=repr,
)
def test_a_body_that_says_nothing_says_nothing(body):
    """Odd values and empty ones give no word and raise nothing."""
    assert read(body) == Body((), (), None, {})


def test_a_text_is_a_sentence():
    """A body that is no JSON is what it says."""
    assert read("upstream connect error").sentences == ("upstream connect error",)


@pytest.mark.parametrize("code", ["x" * HUGE, 10**5000, -(10**9)], ids=["text", "number", "negative"])
def test_a_code_without_end_is_no_reason_to_raise(code):
    """A code of megabytes is cut, and of the next one nothing is lost."""
    body = read({"error": {"message": "the server had an error", "code": code}})
    assert body.sentences == ("the server had an error",)
    assert all(len(found) < 1000 for found in body.codes)


def test_a_code_that_cannot_be_printed_hides_nothing_behind_it():
    """Python refuses to print a number of five thousand digits: what else the body says is still read."""
    body = read({"error": {"code": 10**5000, "type": "insufficient_quota", "message": "you exceeded your quota"}})
    assert "insufficient_quota" in body.codes


class Refusing(dict):
    """A dict that gives nothing to its own methods."""

    def get(self, *args):  # noqa: ARG002
        raise RuntimeError("no")

    items = __getitem__ = __iter__ = __contains__ = __len__ = get


class Names(list):
    def __getitem__(self, place):
        raise RuntimeError("no")

    __iter__ = __len__ = __getitem__


class Text(str):
    __slots__ = ()

    def __len__(self):
        raise RuntimeError("no")

    lower = __getitem__ = __str__ = __len__


def test_containers_that_refuse_are_read_all_the_same():
    """Subclasses of dict, list and str are taken for what they hold and not asked."""
    assert "busy" in read({"error": Refusing(code="busy")}).codes
    assert "busy" in read({"errors": Names([{"code": "busy"}])}).codes
    assert "busy" in read({"error": {"code": Text("busy")}}).codes
    assert "busy" in read(Refusing(code="busy")).codes


def test_a_body_that_contains_itself_ends():
    """A circle of dicts and lists is walked for a while only."""
    body = {"code": "busy"}
    body["error"] = body
    body["errors"] = [body, [body]]
    assert "busy" in read(body).codes


def deep(levels):
    body = {"code": "busy"}
    for _ in range(levels):
        body = {"error": body}
    return body


@pytest.mark.parametrize(
    "body",
    [
        deep(100_000),
        {f"key {n}": "some words" for n in range(100_000)},
        [{"code": f"code_{n}"} for n in range(100_000)],
        {"message": "word " * (HUGE // 5)},
        {"code": "x." * (HUGE // 2)},
        [["x"] * 1000] * 1000,
    ],
    ids=["deep", "wide", "list", "message", "code", "matrix"],
)
def test_only_so_much_of_a_body_is_walked(body):
    """Depth, width and length are bounded, so a body of any size is read at once."""
    found = read(body)
    assert took(read, body) < 0.05
    assert len(found.codes) < 1000
    assert sum(map(len, found.sentences)) < 500_000
    while isinstance(body, dict) and "error" in body:  # taken apart by hand: freeing it at once would recurse
        body = body.pop("error")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["busy", "slow down, please", "429"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["error", "code", "type", "status", "message", "retry_after"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_gives_words_and_a_status(body):
    """Whatever JSON was sent: codes and sentences are texts, the status is one or none, and nothing raises."""
    found = read(body)
    assert all(isinstance(word, str) for word in (*found.codes, *found.sentences))
    assert found.status is None or 100 <= found.status <= 599
    assert isinstance(found.waits, dict)


@given(JSON)
def test_a_body_says_the_same_before_and_after_it_was_parsed(body):
    """JSON as text and JSON as objects are the same body."""
    if isinstance(body, (dict, list)):
        assert repr(read(as_body(json.dumps(body)))) == repr(read(body))


@given(
    st.recursive(
        st.just({"code": "busy"}),
        lambda inner: st.fixed_dictionaries({"error": inner}) | st.lists(inner, min_size=1, max_size=2),
        max_leaves=20,
    )
)
def test_a_code_is_found_wherever_it_stands(body):
    """Any nesting of dicts and lists of a common size leads to the code."""
    assert "busy" in read(body).codes


# Bodies that were printed into a text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Error code: 413 - {'error': {'code': 'tokens_limit_reached', 'param': None}}", "tokens_limit_reached"),
        ('{"error": {"code": "insufficient_quota", "type": null}}', "insufficient_quota"),
        ('Error: {"error":{"type":"overloaded_error","message":"Overloaded"}}', "overloaded_error"),
        ('b\'{"error":{"type":"overloaded_error"}}\'', "overloaded_error"),
        ('{"raw": "{\\"error\\": {\\"code\\": \\"insufficient_quota\\"}}"}', "insufficient_quota"),
        ("<Error><Code>SlowDown</Code><Message>x</Message></Error>", "slow_down"),
        ('reason: "RATE_LIMIT_EXCEEDED"\ndomain: "googleapis.com"', "rate_limit_exceeded"),
        ("status = StatusCode.UNAVAILABLE\ndetails = 'x'", "unavailable"),
        ("error_code=ModelNotReady", "model_not_ready"),
        ("(1213, 'Deadlock found when trying to get lock')", "1213"),
        ("(psycopg.errors) code: 40001", "40001"),
        ("agent failed: RESOURCE_EXHAUSTED, spent", "resource_exhausted"),
        ("UNAVAILABLE: io exception", "unavailable"),
        (
            "Error raised by bedrock service: An error occurred (InternalServerException) when calling the InvokeModel",
            "internal_server_exception",
        ),
    ],
)
def test_codes_are_found_in_a_printed_body(text, code):
    """As JSON, as Python, as XML, as protocol text, and escaped inside another text."""
    assert code in codes_said(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rate limit",
        "insufficient_quota",
        "the code was wrong",
        "decode: utf-8",
        "see the type of the model",
        "request (1213, 5)",
        "THE SHIP: IT IS UNAVAILABLE NOW",
        "resource_exhausted: a variable",
        "UNAVAILABLE IN YOUR REGION: a shop",
        "an error occurred (see below) when calling",
    ],
)
def test_a_sentence_has_no_codes(text):
    """Words are no codes as long as nothing names them so."""
    assert codes_said(text) == ()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Error code: 429 - {'error': {}}", 429),
        ("Client error '401 Unauthorized' for url", 401),
        ("Server error '503 Service Unavailable' for url", 503),
        ("HTTP 502", 502),
        ("HTTP/1.1 504 Gateway Timeout", 504),
        ("HTTP Error 500: x", 500),
        ("status code 503", 503),
        ("Status Code: 429; Request ID: x", 429),
        ("received status: 404", 404),
        ('{"code": 429, "message": "x"}', 429),
        ("{'code': '503'}", 503),
        ("429 Too Many Requests", 429),
        ("<h1>502 Bad Gateway</h1>", 502),
        ("503 UNAVAILABLE. {'error': {}}", 503),
        ("API Error: 503 upstream unavailable", 503),
        ("API error 402: {}", 402),
        ("API Error: Request rejected (429)", 429),
        ("OpenAI-compat request failed: 429", 429),
        ("429 Rate of traffic exceeds capacity.", 429),
        ("RESOURCE_EXHAUSTED (code 429): spent", 429),
        ("x failed [503]: gone", 503),
        ("[429] Rate limited", 429),
        ("Error (429)", 429),
        ("upstream error [503] gone", 503),
        ("{code: 503}", 503),
        ("HTTP code: 429", 429),
        ("Execution failed: 402 You have no quota", 402),
        ("error 402: insufficient", 402),
        ("upstream error: 503: gone", 503),
    ],
)
def test_a_status_that_a_text_names_as_one_is_found(text, status):
    """Behind a word for it, or before its own reason phrase, three digits are a status."""
    assert status_said(text) == status


@pytest.mark.parametrize(
    "text",
    [
        *("", "429", "request 429 of 503 failed", "id 402-429", "https://x/429", "used 429 of 402 tokens"),
        *(
            "took 500 ms",
            "line 404",
            "port 503",
            "HTTP 200",
            "status 4290",
            "error code: 1429",
            "status: 429.5",
            "status 42",
            "500 items failed",
            "read 404 Files",
            "the request failed 500 times",
            "request failed: 500 of 600 items",
            "HTTP 429,000 hits",
            "failed: 404 rows",
            "rows failed: 404",
            "error 500 of 1000",
            "mean error 500: too large",
            "exit code 429",
            "exit code: 429",
            "zip code: 404",
            "items[404]",
            "row [503] is wrong",
            "[404, 500]",
            "5 tests failed (404 of them)",
            "code: 500 of",
        ),
    ],
)
def test_digits_by_themselves_are_no_status(text):
    """Bare digits, other numbers and statuses that are no error name none."""
    assert status_said(text) is None


@given(st.text(max_size=200) | st.text(st.sampled_from("code:=\"' {}<>type429-\\(,"), max_size=120))
def test_any_text_names_codes_and_a_status_or_none(text):
    """Whatever a text holds, nothing raises and a status is an error's."""
    assert all(isinstance(code, str) for code in codes_said(text))
    status = status_said(text)
    assert status is None or 400 <= status < 600


@pytest.mark.parametrize(
    "text",
    [
        "code " * 1000,
        "status" + " " * 4000,
        "\\" * 4000,
        "code" + "\\" * 4000,
        "<code>" * 600,
        "a:" * 2000,
        "error: 429 " * 400,
        "[" * 4000,
    ],
    ids=lambda t: t[:6],
)
@pytest.mark.parametrize("reader", [codes_said, status_said])
def test_no_text_makes_the_readers_slow(reader, text):
    """As many characters as are ever looked through take no time that anybody notices."""
    assert took(reader, text) < 0.05
