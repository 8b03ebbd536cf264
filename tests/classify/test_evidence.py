"""What can be seen on an exception, whatever its library, and whatever it does when it is looked at."""

import email.message
import enum
import http
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent.classify.case import Case
from resilient_agent.classify.chains import chain, leaves
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.kinds import class_names


class Failure(Exception):
    """An SDK's error: what is given becomes its attributes."""

    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def thing(**shown):
    return types.SimpleNamespace(**shown)


def status_of(**shown):
    return Evidence(Failure(**shown)).status


# The status


class Code(enum.Enum):
    SLOW_DOWN = 429
    AS_TEXT = "503"
    NO_STATUS = "slow down"


@pytest.mark.parametrize(
    "shown",
    [
        {"status_code": 429},
        {"status": 429},
        {"http_status": 429},
        {"code": 429},
        {"status_code": "429"},
        {"status_code": http.HTTPStatus.TOO_MANY_REQUESTS},
        {"status_code": Code.SLOW_DOWN},
        {"response": thing(status_code=429)},
        {"response": thing(status=429)},
        {"response": {"ResponseMetadata": {"HTTPStatusCode": 429}}},
        {"status_code": None, "response": thing(status_code=429)},
        {"code": "rate_limit_exceeded", "response": thing(status_code=429)},
    ],
    ids=str,
)
def test_the_status_is_found_where_libraries_put_it(shown):
    """A status is read from the exception, its response or botocore's dict; as number, text or enum."""
    assert status_of(**shown) == 429


@pytest.mark.parametrize(
    "shown",
    [
        {"body": {"error": {"code": 429}}},
        {"body": {"error": {"code": "429", "message": "x"}}},
        {"body": '{"status": 429}'},
        {"response": thing(status_code=200, _content=b'{"error": {"code": 429}}')},
        {"status_code": 200, "body": {"error": {"status": 429}}},
        {"message": "Error code: 429 - {'error': {}}"},
        {"message": "Client error '429 Too Many Requests' for url"},
    ],
    ids=str,
)
def test_a_status_that_the_answer_only_speaks_of_counts_where_there_is_no_other(shown):
    """Inside a stream that began with 200, and where a library keeps the text alone."""  # A47
    assert status_of(**shown) == 429


def test_an_answers_own_error_status_counts_before_what_is_said():
    """A 503 of a gateway stays one, whichever status its text quotes."""
    assert status_of(status_code=503, body={"error": {"code": 429}}) == 503
    assert Evidence(Failure("HTTP 429", status_code=503)).status == 503


@pytest.mark.parametrize("kind", [KeyError, ValueError, OSError, TimeoutError])
def test_on_pythons_own_exceptions_there_is_nothing_to_see(kind):
    """They carry no status, no header and no body, unless somebody put it on them."""
    evidence = Evidence(kind("x"))
    assert (evidence.status, evidence.header("retry-after"), evidence.codes) == (None, None, frozenset())
    error = kind("x")
    error.status_code, error.headers = 429, {"Retry-After": "3"}
    assert (Evidence(error).status, Evidence(error).header("retry-after")) == (429, "3")


def test_the_exception_knows_its_status_better_than_its_response():
    """Where both have a status, the exception's own counts."""
    assert status_of(status_code=529, response=thing(status_code=200)) == 529


def test_a_status_as_the_text_of_an_enum_is_read():
    """The value of an enum counts like the value itself."""
    assert status_of(status_code=Code.AS_TEXT) == 503


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, 99, 600, -429, 1006, 10**30, 429.5),
        *("", "4290", "42", "٤٢٩", "4²9", b"429", "teapot"),
        *([429], Code.NO_STATUS, {"status": 429}, len),
    ],
    ids=repr,
)
def test_what_is_no_http_status_is_none(value):
    """Booleans, other numbers, digits of other alphabets and odd objects are no status."""
    assert status_of(status_code=value) is None


def test_a_response_that_counts_as_false_is_a_response():
    """A `requests` response with status 404 is falsy, and is looked at all the same."""  # A46

    class Response:
        status_code = 404
        headers = types.MappingProxyType({"Retry-After": "2"})

        def __bool__(self):
            return False

    evidence = Evidence(Failure(response=Response()))
    assert evidence.status == 404
    assert evidence.header("retry-after") == "2"


# Headers


class Foreign(Mapping):
    """A mapping of somebody's own that knows no other case than the server's."""

    def __init__(self, **pairs):
        self._pairs = {name.replace("_", "-"): value for name, value in pairs.items()}

    def __getitem__(self, name):
        return self._pairs[name]

    def __iter__(self):
        return iter(self._pairs)

    def __len__(self):
        return len(self._pairs)


def as_message(**pairs):
    message = email.message.Message()
    for name, value in pairs.items():
        message[name.replace("_", "-")] = value
    return message


def as_dict(**pairs):
    return {name.replace("_", "-"): value for name, value in pairs.items()}


@pytest.mark.parametrize("make", [as_dict, as_message, Foreign])
@pytest.mark.parametrize("name", ["retry_after", "Retry_After", "RETRY_AFTER", "rEtRy_aFtEr"])
def test_headers_are_found_in_any_case(make, name):
    """A header is found however the server wrote its name, in dicts and in header objects."""
    headers = make(**{name: "7"})
    assert Evidence(Failure(headers=headers)).header("retry-after") == "7"
    assert Evidence(Failure(response=thing(headers=headers))).header("retry-after") == "7"


def test_headers_are_found_in_botocores_dict():
    """Botocore keeps the headers in its metadata."""
    response = {"ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "3"}}}
    assert Evidence(Failure(response=response)).header("retry-after") == "3"


def test_the_exceptions_headers_count_where_the_response_has_not_that_one():
    """The response is asked first, then the exception."""
    error = Failure(response=thing(headers={"date": "today"}), headers={"Retry-After": "4"})
    assert Evidence(error).header("retry-after") == "4"


@pytest.mark.parametrize(
    "headers",
    [None, "retry-after: 3", b"retry-after", 3, ["retry-after"], [("x", "3")], {3: 4, None: None}, {}, len],
    ids=repr,
)
def test_odd_headers_are_no_headers(headers):
    """Headers that are no mapping, or have no text in them, give no header and no error."""
    assert Evidence(Failure(headers=headers)).header("retry-after") is None


@pytest.mark.parametrize("value", [None, 3.5, b"3", ["3"], {"a": 1}], ids=repr)
def test_a_header_that_is_no_text_is_no_header(value):
    """What is no string is never handed to the readers of headers."""
    found = Evidence(Failure(headers={"retry-after": value})).header("retry-after")
    assert found is None or isinstance(found, str)


# Bodies


@pytest.mark.parametrize(
    "shown",
    [
        {"body": {"error": {"code": "insufficient_quota"}}},
        {"body": {"error": {"type": "insufficient_quota"}}},
        {"body": {"code": "Insufficient_Quota"}},
        {"body": {"code": "InsufficientQuota"}},
        {"body": {"code": "insufficient-quota"}},
        {"body": {"code": "Account.InsufficientQuota"}},
        {"body": {"type": "insufficient_quota", "code": None}},
        {"body": {"detail": {"code": "insufficient_quota"}}},
        {"body": [{"error": {"status": "INSUFFICIENT_QUOTA"}}]},
        {"body": '{"error": {"code": "insufficient_quota"}}'},
        {"body": b'{"error": {"code": "insufficient_quota"}}'},
        {"details": {"error": {"code": "insufficient_quota"}}},
        {"code": "insufficient_quota"},
        {"type": "insufficient_quota"},
        {"response": {"Error": {"Code": "insufficient_quota"}}},
        {"response": thing(_content=b'{"error": {"code": "insufficient_quota"}}')},
        {"message": "Error code: 429 - {'error': {'code': 'insufficient_quota'}}"},
        {"message": "<Code>InsufficientQuota</Code>"},
        {"error_code": "InsufficientQuota"},
        {"sqlstate": "insufficient_quota"},
        {"error": thing(code="insufficient_quota")},
    ],
    ids=str,
)
def test_the_bodys_own_word_for_the_error_is_found(shown):
    """Codes and types are read from wherever a provider puts them, in one style."""
    assert "insufficient_quota" in Evidence(Failure(**shown)).codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Failure(code=1213), "1213"),
        (Failure(1213), "1213"),
        (Failure(sqlstate="40001"), "40001"),
        (Failure(body={"error": {"code": 1113}}), "1113"),
        (OSError(28, "No space left"), None),
        (Failure("1213"), None),
        (Failure(code=True), None),
        (Failure(code=10**30), None),
        (Failure(code="..."), None),
    ],
    ids=repr,
)
def test_numbers_that_name_the_error_are_codes(error, code):
    """As databases have them; the system's error numbers, booleans, huge numbers and dots are none."""
    assert Evidence(error).codes == (frozenset() if code is None else {code})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Limit 8000, Requested 10139, please reduce your message size", True),
        ("Limit: 30,000 / min. Requested: 30,001", True),
        ("Limit 8000, Used 7000, Requested 1500. Please try again in 3s", False),
        ("Limit 8000, Requested 8000", False),
        ("Requested 10139", False),
    ],
)
def test_a_request_that_is_larger_than_the_whole_limit_has_a_code(said, expected):
    """What can never fit is told from what fits later."""
    assert ("requested_over_limit" in Evidence(Failure(body={"error": {"message": said}})).codes) is expected


def test_beside_a_sentence_that_an_sdk_keeps_alone_the_whole_answer_is_read():
    """The client of OpenAI keeps of `{"error": "text", "retryAfter": 900}` the text; the answer itself still has the rest."""
    sent = b'{"error": "the limit is reached", "code": "busy", "retryAfter": 900}'
    body = Evidence(Failure(body="the limit is reached", response=thing(_content=sent))).body
    assert (body.waits, body.codes, body.sentences) == ({"retryafter": 900}, ("busy",), ("the limit is reached",))


@pytest.mark.parametrize("sent", [b"a page", b"", b"[1]", None])
def test_a_sentence_counts_where_the_whole_answer_is_no_object(sent):
    """A text stays the body where there is nothing better."""
    shown = Evidence(Failure(body="the limit is reached", response=thing(_content=sent)))
    assert shown.said == "the limit is reached"


@pytest.mark.parametrize(
    ("shown", "days"),
    [
        ({"message": "your quota will reset after 42h1m"}, True),
        ({"message": "your quota will reset after 23h"}, False),
        ({"message": "the quota of 42h1m is spent"}, False),
        ({"body": {"error": {"retryDelay": "581981.3s"}}}, True),
        ({"body": {"error": {"retryDelay": "30s"}}}, False),
        ({"body": {"retryDelay": "30s", "message": "resets in 3 days"}}, False),
    ],
)
def test_a_wait_of_more_than_a_day_is_a_code(shown, days):
    """So that rules can ask for it; the field of a body counts before its sentences."""
    assert ("wait_of_days" in Evidence(Failure(**shown)).codes) is days


def test_a_grpc_errors_code_and_metadata_are_read():
    """Errors of grpc keep both behind methods."""

    class AioRpcError(Exception):
        def code(self):
            return thing(name="RESOURCE_EXHAUSTED", value=(8, "resource exhausted"))

        def trailing_metadata(self):
            return (("Retry-After", "3"), ("grpc-status-details-bin", b"x"))

    AioRpcError.__module__ = "grpc.aio"
    evidence = Evidence(AioRpcError())
    assert "resource_exhausted" in evidence.codes
    assert evidence.header("retry-after") == "3"


def test_the_codes_of_a_closed_websocket_are_read_without_a_warning():
    """The library has deprecated `code`, so the frames are asked."""

    class ConnectionClosedError(Exception):
        rcvd, sent = thing(code=1011), None

        @property
        def code(self):
            raise AssertionError("this warns")

    ConnectionClosedError.__module__ = "websockets.exceptions"
    evidence = Evidence(ConnectionClosedError())
    assert evidence.codes == {"1011"}
    assert evidence.status is None


def test_what_is_said_is_the_bodys_words_or_else_the_exceptions():
    """A body's sentences are closer to the failure than what an SDK makes of them."""
    assert (
        Evidence(Failure("Error code: 400", body={"error": {"message": "The prompt is too long"}})).said
        == "The prompt is too long"
    )
    assert Evidence(Failure("Error code: 400", body={"error": {"code": 5}})).said == "Error code: 400"


def test_headers_that_speak_of_limits_are_given_all_together():
    """Of an answer whose headers speak of limits or waits all are there, the response's before the exception's."""
    error = Failure(response=thing(headers={"X-RateLimit-Reset": "5", "Date": "today"}), headers={"retry-after": "4"})
    assert Evidence(error).limits == {"x-ratelimit-reset": "5", "date": "today", "retry-after": "4"}
    assert Evidence(Failure(headers={"date": "today"})).limits == {}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("try again in 5s", True),
        ("Please WAIT 3 s", True),
        ("请在 30 秒后重试", True),
        ("try again", False),
        ("code 5", False),
        ("", False),
    ],
)
def test_a_text_that_cannot_name_a_wait_is_not_searched_for_one(said, expected):
    """Without a digit, or without a word for waiting, there is no wait in it."""
    assert Evidence(Failure(said)).speaks_of_time is expected


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "<html>502</html>",
        b"\xff\xfe",
        "[" * 60_000,
        "9" * 5000,
        5,
        [],
        [None],
        {"error": None},
        {"error": [1]},
    ],
    ids=lambda body: repr(body)[:20],
)
def test_a_body_that_says_nothing_gives_no_codes(body):
    """A page, broken JSON, other types, or an error without a word: no code, no exception."""
    assert Evidence(Failure(body=body)).codes == frozenset()


def test_a_response_that_was_not_read_stays_unread():
    """Looking at a response never reads from the network."""

    class Streaming:
        status_code = 500
        reads = 0

        @property
        def content(self):
            self.reads += 1
            return b"{}"

        @property
        def text(self):
            self.reads += 1
            return "{}"

        def json(self):
            self.reads += 1
            return {}

        def read(self):
            self.reads += 1
            return b"{}"

    response = Streaming()
    evidence = Evidence(Failure(response=response))
    assert (evidence.status, evidence.body.sentences, evidence.codes) == (500, (), frozenset())
    assert response.reads == 0


# Names and words


def test_class_names_are_those_of_all_bases_bare_and_behind_their_package():
    """`asyncio.TimeoutError` and a subclass of it are both known as TimeoutError."""

    class ReadTimeout(TimeoutError):
        pass

    names = class_names(ReadTimeout)
    assert {"ReadTimeout", "TimeoutError", "OSError", "Exception", "builtins.TimeoutError"} <= names
    assert "object" not in names


def test_a_package_is_named_by_its_top_only():
    """A class deep inside a package is known behind the package's first name."""
    deep = type("ConnectError", (Exception,), {"__module__": "httpx._exceptions"})
    assert {"ConnectError", "httpx.ConnectError"} <= class_names(deep)
    assert "httpx._exceptions.ConnectError" not in class_names(deep)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RateLimitError", "rate limit error"),
        ("APITimeoutError", "api timeout error"),
        ("Gateway_Timeout", "gateway timeout"),
        ("TooManyRequests", "too many requests"),
    ],
)
def test_a_class_name_can_be_read_as_words(name, words):
    """Class names are spelled out, so that phrases find them."""
    assert words in Evidence(type(name, (Exception,), {})("hello")).text


@pytest.mark.parametrize("said", ["Rate LIMIT reached!", "rate-limit (reached)", "rate_limit reached:"])
def test_the_text_is_plain_words_between_blanks(said):
    """Messages are compared as words: without case and punctuation, with a blank at both ends."""
    text = Evidence(Failure(said)).text
    assert text.startswith(" rate limit reached ")
    assert text.endswith(" failure ")


def test_the_text_holds_the_codes_as_words():
    """What a body says in an identifier is found like what it says in words."""
    evidence = Evidence(Failure(body={"error": {"code": "RateLimitExceeded", "message": "so it is"}}))
    assert " so it is " in evidence.text
    assert " rate limit exceeded " in evidence.text


def test_the_names_of_causes_are_known():
    """An exception's evidence tells what stands behind it."""
    error = Failure()
    error.__cause__ = ConnectionResetError()
    evidence = Case(error).first
    assert {"ConnectionResetError", "Failure"} <= evidence.cause_names
    assert "ConnectionResetError" not in evidence.names


def test_the_systems_error_number_is_read():
    """An OSError's number is there; what is no number is none."""
    assert Evidence(OSError(28, "No space left on device")).errno == 28
    assert Evidence(Failure(errno="28")).errno is None


def test_libraries_that_count_otherwise_have_no_system_error_number():
    """The `errno` of a resolver's or of TLS's error is none of the system's."""
    assert Evidence(socket.gaierror(28, "x")).errno is None
    assert Evidence(ssl.SSLError(28, "x")).errno is None


@pytest.mark.parametrize(
    "error",
    [OSError("?"), Failure(response=thing()), Failure(request=thing()), Failure(status_code=418), Failure(body={})],
    ids=repr,
)
def test_what_an_answer_or_the_system_stands_behind_comes_from_outside(error):
    """A response, a request, a status, a body or the operating system mean: from outside."""
    assert Evidence(error).outside is True


@pytest.mark.parametrize("error", [ValueError("x"), Failure(), Failure(response=None, body=None)], ids=repr)
def test_all_else_comes_from_the_program(error):
    """Nothing outside the program is seen on a plain exception."""
    assert Evidence(error).outside is False


# Whatever it does when it is looked at


class Raising(Exception):
    """Every attribute that evidence knows raises."""

    def __str__(self):
        raise RuntimeError("no words")

    def __repr__(self):
        raise RuntimeError("no words either")

    def _refuse(self):
        raise RuntimeError("nothing to see")

    response = status_code = status = http_status = code = type = headers = body = details = property(_refuse)
    error = error_code = sqlstate = error_type = args = litellm_response_headers = property(_refuse)
    errno = request = __cause__ = __context__ = __suppress_context__ = property(_refuse)


class Locked(Exception):
    """No attribute at all can be looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


class Unbound:
    """A proxy with nothing behind it, as flask's and werkzeug's are outside of a request."""

    @property
    def __class__(self):
        raise RuntimeError("working outside of request context")

    def __getattr__(self, name):
        raise RuntimeError("working outside of request context")


class Refusing(dict):
    """A dict that gives nothing."""

    def get(self, *args):  # noqa: ARG002
        raise RuntimeError("no")

    items = __getitem__ = __iter__ = __contains__ = get


def everything_of(error):
    evidence = Evidence(error)
    return (
        evidence.status,
        evidence.header("retry-after"),
        evidence.limits,
        evidence.codes,
        evidence.errno,
        evidence.text,
        evidence.outside,
        evidence.names,
        list(chain(error)),
        leaves(error),
        evidence.body,
        evidence.said,
        evidence.speaks_of_time,
        evidence.cause_names,
    )


HOSTILE = {
    "raising": Raising,
    "locked": Locked,
    "response": lambda: Failure(response=Unbound()),
    "body": lambda: Failure(body=Unbound()),
    "proxies": lambda: Failure(headers=Unbound(), status_code=Unbound(), code=Unbound(), errno=Unbound()),
    "dict as body": lambda: Failure(body=Refusing(a=1)),
    "dict as response": lambda: Failure(response=Refusing(a=1)),
    "dict as headers": lambda: Failure(headers=Refusing(a=1)),
    "dict as headers of a response": lambda: Failure(response=thing(headers=Refusing(a=1))),
    "dict in a body": lambda: Failure(body={"error": Refusing(code="x")}),
    "proxy as message": lambda: Failure(Unbound()),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_exception_that_raises_when_it_is_looked_at_gives_what_evidence_there_is(kind):
    """Properties, proxies and dicts that raise are as good as absent: reading raises nothing."""
    error = HOSTILE[kind]()
    found = everything_of(error)
    assert found[0] is None
    assert found[1] is None
    assert found[8][0] is error


def test_a_text_that_is_no_text_is_none():
    """A `__str__` that returns no string leaves the class name as all there is to read."""

    class Silent(Exception):
        def __str__(self):
            return 5  # noqa: PLE0307 - that is the point

    assert Evidence(Silent()).text.split() == ["silent"]


def test_what_wants_the_process_to_end_is_not_held_up():
    """A KeyboardInterrupt that arrives while an attribute is looked at gets through."""

    class Interrupted(Exception):
        @property
        def status_code(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _ = Evidence(Interrupted()).status


HUGE = 10_000_000


LARGE = {
    "body as text": lambda: Failure(body="x" * HUGE),
    "body as bytes": lambda: Failure(body=b'{"error": "' + b"x" * HUGE + b'"}'),
    "message in a dict": lambda: Failure(body={"error": {"message": "x" * HUGE, "code": "server_error"}}),
    "body as list": lambda: Failure(body=["x"] * (HUGE // 10)),
    "content": lambda: Failure(response=thing(_content=b"[" + b"1," * (HUGE // 2) + b"1]", status_code=500)),
    "message": lambda: Failure("x" * HUGE),
    "message in latin": lambda: Failure("é" * HUGE),
    "code": lambda: Failure(code="x" * HUGE),
    "code in latin": lambda: Failure(code="é" * HUGE),
    "headers": lambda: Failure(headers={"retry-after": "9" * HUGE, "date": "x" * HUGE}),
    "many headers": lambda: Failure(headers={f"x-{n}": "x" for n in range(HUGE // 50)}),
}


@pytest.mark.parametrize("kind", LARGE)
def test_ten_megabytes_are_answered_within_fifty_milliseconds(kind):
    """Whatever is huge on an exception is not read through."""
    error = LARGE[kind]()
    took = []
    for _ in range(3):
        begun = time.process_time()
        everything_of(error)
        took.append(time.process_time() - begun)
    assert min(took) < 0.05


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTES = [
    *("status_code", "status", "code", "type", "response", "request", "headers", "body", "details", "errno"),
    *("error", "sqlstate", "error_code", "_content", "ResponseMetadata", "original_exception", "last_attempt"),
]


@settings(max_examples=100)
@given(
    shown=st.dictionaries(st.sampled_from(ATTRIBUTES), ODD), inside=st.dictionaries(st.sampled_from(ATTRIBUTES), ODD)
)
def test_any_values_in_any_place_are_evidence_or_none(shown, inside):
    """Whatever stands in the attributes, everything is of its type, and nothing raises."""
    error = Failure(**({"response": thing(**inside)} | shown))
    status, header, limits, codes, errno, text, outside, *_ = everything_of(error)
    assert status is None or 100 <= status <= 599
    assert header is None or isinstance(header, str)
    assert all(isinstance(code, str) for code in codes)
    assert isinstance(limits, dict)
    assert errno is None or isinstance(errno, int)
    assert isinstance(text, str)
    assert isinstance(outside, bool)


def test_evidence_of_one_exception_can_be_read_by_many_threads():
    """Looking does not change the exception, so several may look at once."""
    error = Failure(body={"error": {"code": "server_error"}}, response=thing(status_code=500, headers={"A": "b"}))
    found = []
    threads = [threading.Thread(target=lambda: found.append(everything_of(error))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(other == found[0] for other in found)


FOREIGN = ("openai", "anthropic", "httpx", "httpx2", "requests", "aiohttp", "botocore", "urllib3", "trio")
USE = """
import json, sys
import resilient_agent
from resilient_agent import ErrorClassifier, resilient
class RateLimitError(Exception):
    status_code = 429
    body = {"error": {"code": "rate_limit_exceeded"}}
    headers = {"retry-after": "2"}
ErrorClassifier().classify(RateLimitError("slow down"))
answers = [RateLimitError("slow down"), "ok"]
@resilient(sleep=lambda seconds: None)
def ask():
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer
assert ask() == "ok"
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_no_sdk_and_no_http_library_is_ever_imported():
    """A process that classifies and retries has loaded neither an SDK nor an HTTP library."""
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(done.stdout))
    assert "resilient_agent" in loaded
    assert loaded.isdisjoint(FOREIGN)
