"""What can be seen on an exception, whatever its library, and whatever it does when it is looked at."""

import contextlib
import email.message
import enum
import http
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_agent.classify.evidence import Evidence, chain, class_names, leaves


class Failure(Exception):
    """An SDK's error: what is given becomes its attributes."""

    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


def thing(**shown):
    return types.SimpleNamespace(**shown)


def status_of(**shown):
    return Evidence(Failure(**shown)).status


class Reached(BaseException):
    """Not an Exception: what is being tested may not swallow it."""


@contextlib.contextmanager
def within(seconds):
    """Break off what would loop for ever."""

    def ring(signum, frame):
        raise Reached(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
    ],
    ids=str,
)
def test_the_bodys_own_word_for_the_error_is_found(shown):
    """Codes and types are read from wherever a provider puts them, in lower case."""
    assert "insufficient_quota" in Evidence(Failure(**shown)).codes


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
    assert (evidence.status, evidence.body, evidence.codes) == (500, None, frozenset())
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


def test_the_text_is_lower_case():
    """Messages are compared in lower case."""
    assert "rate limit reached" in Evidence(Failure("Rate LIMIT reached")).text


def test_the_names_of_causes_are_known():
    """An exception's evidence tells what stands behind it."""
    evidence = Evidence(Failure(), (ConnectionResetError(),))
    assert "ConnectionResetError" in evidence.cause_names
    assert "ConnectionResetError" not in evidence.names


def test_the_systems_error_number_is_read():
    """An OSError's number is there; what is no number is none."""
    assert Evidence(OSError(28, "No space left on device")).errno == 28
    assert Evidence(Failure(errno="28")).errno is None


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


# Chains


def chained(*errors, by="__cause__"):
    for outer, inner in itertools.pairwise(errors):
        setattr(outer, by, inner)
    return errors[0]


def test_the_chain_is_the_exception_then_its_causes():
    """An explicit cause is followed, link by link."""
    links = [ValueError("a"), OSError("b"), KeyError("c")]
    assert list(chain(chained(*links))) == links


def test_the_chain_follows_the_context():
    """An exception raised while another was handled leads to that one."""
    links = [ValueError("a"), OSError("b")]
    assert list(chain(chained(*links, by="__context__"))) == links


def test_a_cause_goes_before_the_context():
    """Where there are both, `raise ... from` decides."""
    error = chained(ValueError("a"), OSError("by chance"), by="__context__")
    error.__cause__ = KeyError("on purpose")
    assert list(chain(error)) == [error, error.__cause__]


def test_a_suppressed_context_is_not_looked_at():
    """`raise ... from None` ends the chain."""

    def raising():
        try:
            raise OSError("hidden")
        except OSError:
            raise ValueError("shown") from None

    with pytest.raises(ValueError, match="shown") as caught:
        raising()
    assert caught.value.__context__ is not None
    assert list(chain(caught.value)) == [caught.value]


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("by", ["__cause__", "__context__"])
def test_a_circle_of_causes_ends(length, by):
    """A chain that comes back to itself is walked once."""
    links = [ValueError(str(n)) for n in range(length)]
    chained(*links, by=by)
    if by == "__cause__" or length > 1:
        setattr(links[-1], by, links[0])
    with within(5):
        found = list(chain(links[0]))
    assert found == links


def test_a_chain_of_a_thousand_links_is_cut_short():
    """A very long chain is walked for a while only."""
    links = [ValueError(str(n)) for n in range(1000)]
    found = list(chain(chained(*links)))
    assert 5 <= len(found) <= 100
    assert found == links[: len(found)]


# Groups


def test_the_leaves_of_a_group_are_found_at_any_depth():
    """Groups within groups are opened, in order."""
    one, two, three = ValueError(1), OSError(2), KeyError(3)
    group = ExceptionGroup("outer", [one, ExceptionGroup("inner", [two]), three])
    assert leaves(group) == [one, two, three]


def test_an_exception_is_its_own_leaf():
    """What is no group has one leaf: itself."""
    error = ValueError("x")
    assert leaves(error) == [error]


def test_a_very_deep_group_is_opened():
    """A thousand groups around one failure do not hide it."""
    error = group = OSError("x")
    for _ in range(1000):
        group = ExceptionGroup("deeper", [group])
    assert leaves(group) == [error]


def test_a_group_that_contains_itself_ends():
    """A group whose `exceptions` lead back to it is an answer, not a hang."""

    class Circle(ExceptionGroup):
        @property
        def exceptions(self):
            return (self,)

    with within(2):
        found = leaves(Circle("round", [ValueError("x")]))
    assert isinstance(found, list)


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
        evidence.body,
        evidence.codes,
        evidence.errno,
        evidence.text,
        evidence.outside,
        evidence.names,
        list(chain(error)),
        leaves(error),
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
ATTRIBUTES = ["status_code", "status", "code", "type", "response", "request", "headers", "body", "details", "errno"]


@settings(deadline=None, max_examples=100)
@given(
    shown=st.dictionaries(st.sampled_from(ATTRIBUTES), ODD), inside=st.dictionaries(st.sampled_from(ATTRIBUTES), ODD)
)
def test_any_values_in_any_place_are_evidence_or_none(shown, inside):
    """Whatever stands in the attributes, everything is of its type, and nothing raises."""
    error = Failure(**({"response": thing(**inside)} | shown))
    status, header, _, codes, errno, text, outside, *_ = everything_of(error)
    assert status is None or 100 <= status <= 599
    assert header is None or isinstance(header, str)
    assert all(isinstance(code, str) for code in codes)
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
