"""Whatever an exception is or does when it is looked at, it is judged: quietly, without a change to it, and in one form.

Decides nothing about which judgement is right. Hypothesis draws recipes (plain data, so that a failing one can be read),
and the exceptions are made of them here: attributes that raise, values that refuse to be read, bodies of every JSON
type, circles, long chains, classes that lie.
"""

import enum
import functools
import http
import logging
import math
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resilient_agent import BackoffConfig, Classification, ErrorClassifier, ErrorType

EXAMPLES = 2_000
LONG_EXAMPLES = 100_000

# ---- values that are no plain JSON


class Refusing(Exception):
    """What hostile things raise."""


def _refuse(*_args, **_kwargs):
    raise Refusing("do not look at me")


_READING = (
    *("__len__", "__bool__", "__iter__", "__getitem__", "__contains__", "__eq__", "__str__", "__repr__", "__format__"),
    *("__lt__", "__le__", "__gt__", "__ge__", "__int__", "__index__", "__float__", "__getattribute__", "__add__"),
    *("get", "items", "keys", "values", "lower", "strip", "lstrip", "split", "isdigit", "isascii", "translate"),
    *("isdecimal", "decode", "startswith", "partition", "replace", "encode", "find", "append", "copy", "__hash__"),
)


def _refusing(base):
    """Give a subclass whose every way of being read raises."""
    return type(f"Refusing{base.__name__.title()}", (base,), dict.fromkeys(_READING, _refuse))


REFUSING = {base: _refusing(base) for base in (str, bytes, dict, list, tuple, int, float, object)}


class Proxy:
    """What asks somebody else who it is, and that one is gone."""

    @property
    def __class__(self):
        raise Refusing("the proxied object is gone")


class Liar:
    """What says that it is a text."""

    @property
    def __class__(self):
        return str


class Level(enum.Enum):
    """An enum whose values are no statuses."""

    LOW = "low"
    SELF = object()


class Holder:
    """What has the attributes that it is given."""

    def __init__(self, attributes):
        self.__dict__.update(attributes)


class Key(str):
    """A key that refuses to be compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    __eq__ = _refuse


class Raw:
    """Headers as httpx keeps them, with something else in them."""

    def __init__(self, raw):
        self.raw = raw


class Endless(dict):
    """A mapping whose items never end."""

    def items(self):
        """Give them."""
        while True:
            yield "name", "value"


@functools.cache
def _deep(kind, depth):
    value = "bottom"
    for _ in range(depth):
        value = {"error": value} if kind == "dict" else [value]
    return value


def _circle(kind):
    value = {} if kind == "dict" else []
    value.update(error=value, message="round") if kind == "dict" else value.append(value)
    return value


VALUES = {  # made anew for each example
    "proxy": Proxy,
    "liar": Liar,
    "deep dict": lambda: _deep("dict", 20_000),
    "deep list": lambda: _deep("list", 20_000),
    "deep text": lambda: "[" * 20_000,
    "dict circle": lambda: _circle("dict"),
    "list circle": lambda: _circle("list"),
    "enum": lambda: http.HTTPStatus.TOO_MANY_REQUESTS,
    "odd enum": lambda: Level.SELF,
    "text enum": lambda: Level.LOW,
    "huge number": lambda: 10**5000,
    "long text": lambda: "rate limit 429 " * 20_000,
    "endless": Endless,
    "function": lambda: _refuse,
    "type": lambda: ValueError,
    "generator": lambda: (_refuse() for _ in range(2)),
    "set": lambda: {1, 2},
    "complex": lambda: 1j,
    "memory": lambda: memoryview(b"{}"),
    "surrogate": lambda: "\ud83d rate limit",
    "raw headers": lambda: Raw([(b"retry-after", b"7"), (1, None), "x"]),
    "long raw headers": lambda: Raw([(b"x-ratelimit-limit", b"\xff")] * 1_000),
    "refusing keys": lambda: {Key(name): 1 for name in KEYS},
    "pairs": lambda: [("Retry-After", "7"), (None, 1), "odd", ("a",)],
    **{
        f"refusing {base.__name__}": cls for base, cls in REFUSING.items() if base not in {str, bytes, int, float, dict}
    },
    "refusing str": lambda: str.__new__(REFUSING[str], "429"),
    "refusing bytes": lambda: bytes.__new__(REFUSING[bytes], b'{"error": 1}'),
    "refusing int": lambda: int.__new__(REFUSING[int], 429),
    "refusing float": lambda: float.__new__(REFUSING[float], 1.5),
    "refusing dict": lambda: dict.__new__(REFUSING[dict]),
}

# ---- recipes

NAMES = (  # what evidence is known to be kept under, by whichever library
    *("status_code", "http_status", "status", "code", "type", "sqlstate", "error_code", "error_type", "error", "errno"),
    *("response", "request", "headers", "litellm_response_headers", "body", "details", "_content", "content", "text"),
    *("args", "orig", "original_exception", "reason", "_cause", "inner_exception", "original_error", "_os_error"),
    *("last_attempt", "_exception", "trailing_metadata", "rcvd", "sent", "exceptions", "message", "raw", "name"),
    *("retry_after", "ResponseMetadata", "__notes__", "__traceback__", "__cause__", "__suppress_context__"),
)
WORDS = (
    *("rate limit", "429", "try again in 7s", "retry-after", "Limit 8000, Requested 9000", "insufficient_quota", "503"),
    *(
        "RateLimitExceeded",
        "context length",
        "请在 30 秒后重试",
        "Error code: 400 - {'error': {'code': 'x'}}",
        "",
        "\0",
    ),
    *('{"error": {"code": 429, "retry_after": "soon"}}', "{", "[1, 2", "<code>x</code>", "retry after 1e999 s", "-1"),
)
KEYS = (
    *("error", "code", "message", "status", "type", "retry_after", "retryDelay", "HTTPStatusCode", "ResponseMetadata"),
    *("retry-after", "Retry-After", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "HTTPHeaders"),
)
CLASSES = (
    *("APIError", "RateLimitError", "OperationalError", "HTTPStatusError", "RpcError", "ConnectionClosed", "Odd"),
    *("TimeoutError", "RetryError", "APIStatusError", "ClientError", "x" * 300),
)
MODULES = (
    "builtins",
    "openai",
    "grpc",
    "websockets.exceptions",
    "httpx",
    "botocore.exceptions",
    "tenacity",
    "",
    "a..b",
)
BASES = (Exception, ValueError, OSError, KeyError, UnicodeDecodeError, SystemExit, BaseException, ConnectionError)
HOSTILITIES = ("__str__", "__repr__", "__getattribute__", "__class__", "__dict__", "__eq__", "__hash__", "__bool__")

SCALARS = (None, True, False, 0, 429, 503, -1, 99, 600, 10**12, 1.5, -0.0, math.nan, math.inf, *WORDS)
ATOMS = (
    *SCALARS,
    *(("odd", name) for name in sorted(VALUES)),
    *(("raises", way) for way in ("property", "method")),
    *(("link", kind) for kind in ("self", "timeout", "text", "group", "group of self")),
)

texts = st.sampled_from(WORDS) | st.text(max_size=20)
scalars = st.sampled_from(SCALARS) | st.integers() | st.floats() | texts
bodies = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)
atoms = st.sampled_from(ATOMS)
holders = st.tuples(st.just("holder"), st.dictionaries(st.sampled_from(NAMES), atoms, min_size=1, max_size=3))
dicts = st.tuples(st.just("dict"), st.dictionaries(st.sampled_from(KEYS), atoms, min_size=1, max_size=3))
values = atoms | bodies | holders | dicts
odd = st.tuples(st.just("odd"), st.sampled_from(sorted(VALUES)))
chains = st.sampled_from(
    (None, "self", "circle", "deep causes", "deep contexts", "deep groups", "wide group", "timeout")
)
recipes = st.fixed_dictionaries(
    {
        "name": st.sampled_from(CLASSES),
        "module": st.sampled_from(MODULES),
        "base": st.sampled_from(BASES),
        "hostile": st.frozensets(st.sampled_from(HOSTILITIES), max_size=2),
        "args": st.lists(values, max_size=2),
        "own": st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
        "properties": st.dictionaries(st.sampled_from(NAMES), atoms, max_size=2),
        "chain": chains,
        "told": st.none() | texts | odd,
        "members": st.integers(0, 3),
    }
)


# ---- exceptions from recipes


def make(recipe):
    """Make the exception of a recipe."""
    error = _bare(recipe)
    own = {name: _value(value, error) for name, value in recipe["own"].items()}
    _dict(error).update(own)
    args = tuple(_value(value, error) for value in recipe["args"])
    if args or recipe["base"] is not UnicodeDecodeError:
        BaseException.args.__set__(error, args)
    _chain(recipe["chain"], error)
    return _group([error] * recipe["members"]) if recipe["members"] else error


def _bare(recipe):
    own = {name: _property(value) for name, value in recipe["properties"].items() if not name.startswith("__")}
    own |= {name: _hostile(name) for name in recipe["hostile"]}
    if recipe["told"] is not None:
        told = _value(recipe["told"], None)
        own["__str__"] = lambda _self: told
    cls = type(recipe["name"], (recipe["base"],), {"__module__": recipe["module"], **own})
    return recipe["base"].__new__(cls)


def _hostile(name):
    if name in {"__class__", "__dict__"}:
        return property(_refuse)
    return None if name == "__hash__" else _refuse


def _property(recipe):
    return property(lambda self: _value(recipe, self))


def _value(recipe, error):
    """Give the value of a recipe; `self` in it is the exception."""
    if not isinstance(recipe, tuple):
        return recipe
    kind, told = recipe
    if kind == "odd":
        return VALUES[told]()
    if kind == "link":
        return _link(told, error)
    if kind == "raises":
        return type("Raising", (), {name: property(_refuse) if told == "property" else _refuse for name in NAMES})()
    inner = {name: _value(value, error) for name, value in told.items()}
    return Holder(inner) if kind == "holder" else inner


def _link(kind, error):
    if kind == "group":
        return ExceptionGroup("several", [TimeoutError(), ValueError("rate limit")])
    if kind == "group of self" and error is not None:
        return _group([error, error])
    return {"self": error, "timeout": TimeoutError("timed out")}.get(kind, "no exception")


def _chain(kind, error):
    """Put causes, contexts or groups behind the exception."""
    behind = TimeoutError("the last")
    if kind == "deep groups":
        for _ in range(1_000):
            behind = ExceptionGroup("one more", [behind])
    elif kind == "wide group":
        behind = _group([error, TimeoutError()] * 50)
    elif kind in {"deep causes", "deep contexts"}:
        for _ in range(1_000):
            behind = _behind(ValueError("between"), behind, context=kind == "deep contexts")
    elif kind == "circle":
        _behind(behind, error)
    if kind is not None:
        _behind(error, error if kind == "self" else behind, context=kind == "deep contexts")


def _group(members):
    """Give a group, or its first member where a member cannot even be put into one."""
    try:
        return BaseExceptionGroup("several", members)
    except Refusing:
        return members[0]


def _behind(error, cause, *, context=False):
    (BaseException.__context__ if context else BaseException.__cause__).__set__(error, cause)
    return error


# ---- what holds for all of them


class Heard(logging.Handler):
    """What was logged above DEBUG."""

    def __init__(self):
        super().__init__(logging.DEBUG + 1)
        self.records = []

    def emit(self, record):
        """Keep it."""
        self.records.append(record)


def check(recipe):
    """Judge the exception of a recipe, and check all that holds for every judgement."""
    error = make(recipe)
    links = [error, *(error.exceptions if issubclass(type(error), BaseExceptionGroup) else ())]
    before = [_state(link) for link in links]
    heard = Heard()
    logging.getLogger().addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            said = ErrorClassifier().classify(error)
    finally:
        logging.getLogger().removeHandler(heard)
    _check_form(said)
    assert (heard.records, warned) == ([], [])
    assert [_state(link) for link in links] == before


def _check_form(said):
    assert type(said) is Classification
    assert type(said.error_type) is ErrorType
    assert isinstance(said.backoff, BackoffConfig)
    assert type(said.rule) is type(said.because) is str
    assert said.rule
    assert said.because
    wait = said.retry_after
    assert wait is None or (type(wait) in {int, float} and math.isfinite(wait) and wait > 0)


def _state(error):
    """Give what the exception holds, each thing by its identity, past whatever the exception does when it is asked."""
    own = [(name, id(value)) for name, value in _dict(error).items()]
    slots = (BaseException.args, BaseException.__cause__, BaseException.__context__, BaseException.__suppress_context__)
    return own, [id(slot.__get__(error)) for slot in slots]


def _dict(error):
    return vars(BaseException)["__dict__"].__get__(error)


_fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@_fuzzed
@given(recipe=recipes)
def test_any_exception_is_judged_quietly_and_left_alone(recipe):
    """A judgement of the one form comes out, nothing is raised, logged or warned of, and nothing is changed."""
    check(recipe)


@pytest.mark.long
@settings(_fuzzed, max_examples=LONG_EXAMPLES, derandomize=False)
@given(recipe=recipes)
def test_any_exception_is_judged_in_the_long_run_too(recipe):
    """The same holds for many more exceptions, other ones in each run."""
    check(recipe)
