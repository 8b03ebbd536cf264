"""What an answer's body says: codes, sentences, a status and waits, whatever its shape.

Providers agree on no shape, so the body is walked as a tree and read by the names of its keys.
Walks a bounded number of nodes. Does not judge, and does not know where a body was found.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, Final, NamedTuple

from resilient_agent.classify.looking import as_status, cut, kind_is
from resilient_agent.classify.words import parts

__all__ = ["CODE_LIMIT", "COUNTED", "Body", "as_body", "codes_said", "read", "status_said"]

_BODY_LIMIT: Final = 64_000  # bytes; what is longer is no error object but a page or a document
_NODES: Final = 96
_WIDTH: Final = 32
CODE_LIMIT: Final = 120  # characters; a longer text is no code
_SENTENCE_LIMIT: Final = 1_500

# Keys (lower case) under which bodies name their errors.
_CODE_KEYS: Final = frozenset(
    "code type status reason error_code errorcode err_code error_type errortype __type status_code statuscode"  # noqa: SIM905
    " quotaid quota_limit quotametric error_name kind errcode".split()
)
_STATUS_KEYS: Final = frozenset(
    "code status status_code statuscode http_status_code http_status error_code".split()  # noqa: SIM905
)
# Keys under which a wait is named (`hints.py` reads the values).
_WAIT_KEYS: Final = frozenset(
    "retry_after retryafter retry_after_seconds retryafterseconds retry_after_ms retryafterms retrydelay retry_delay"  # noqa: SIM905
    " estimated_time resets_in_seconds".split()
)
# Keys whose texts are the request's, an id or an address: nothing in them is about the failure.
_MUTE_KEYS: Final = frozenset(
    "id request_id requestid user_id trace_id traceid ray_id instance url ua input link help documentation_url"  # noqa: SIM905
    " allowed_values value param stack model provider_name origin domain service @type object resource".split()
)

COUNTED: Final = 10**18  # a larger number is no code, and printing it may be slow or refused
_ONE_WORD: Final = re.compile(r"[\w.#/:-]+", re.ASCII)

_KEYS: Final = {
    **dict.fromkeys(_MUTE_KEYS, "mute"),
    **dict.fromkeys(_CODE_KEYS, "code"),
    **dict.fromkeys(_WAIT_KEYS, "wait"),
}

_SAID_CODE: Final = re.compile(
    r"""\b(?:code|type|status|reason|error_?code|error_?type|quota_?id|quota_?limit)\\*["']?\s*[:=]\s*"""
    r"""(?:\\*["']([\w.#/ -]{2,100})|(-?\w[\w.#/-]{1,100}))"""
    r"""|<(?:code|type|reason)>([^<]{2,100})<|^\((\d{4}), |\bAn error occurred \((\w{2,100})\) when calling"""
    # gRPC's names as they are printed; in a row of other words in capitals they may be anything.
    r"""|(?<![A-Za-z] )\b(?-i:(RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED))\b(?! (?-i:[A-Z]{2}))""",
    re.IGNORECASE,
)
_ANY_STATUS: Final = re.compile(r"[45]\d\d")  # a quick look: without these digits there is none
_SAID_STATUS: Final = re.compile(
    r"\b(?:error code|status code|statuscode|http status|status|http|http error|https?/[\d.]+"
    r"|api error|request failed|request rejected)"
    r"(?: code)?[\s:=(\[]{1,3}([45]\d\d)\b(?![.\d]|,\d| (?:times|tokens|ms|seconds|of)\b)"
    r"|[\"']code[\"']\s*:\s*[\"']?([45]\d\d)[\"']?\s*[,}]|(?:Error|Exception)\(([45]\d\d), "
    # as google-api-core and the openai client for Node begin their texts
    r"|\A(?-i:([45]\d\d) (?=[A-Z][A-Za-z_]+\b))"
    # a number that nobody counts with: alone in its brackets, or before a sentence or an end
    r"|\((?:code|http):? ([45]\d\d)\)|\A\[([45]\d\d)\](?= ?\w)|\bfailed [\[(]([45]\d\d)[\])](?=\Z|[:. ])"
    r"|(?:\A|[^a-z \d_-]\s?|\b(?:response|http) )code: ?([45]\d\d)(?=\Z|[;)\]}\n]|,(?!\d))"
    r"|\b(?:error|failed): ([45]\d\d)(?=:(?!\d)| (?-i:[A-Z{]))"
    r"|(?:\A|[:;.,(\n]\s?|\b(?:server|upstream|client|provider) )error (?:([45]\d\d):(?!\d)|[\[(]([45]\d\d)[\])])"
    r"|\b(?:(400) bad request|(401) unauthorized|(402) payment required|(403) forbidden|(404) not found"
    r"|(407) proxy authentication required|(408) request time-?out|(409) conflict"
    r"|(413) (?:payload|content|request entity) too large|(422) unprocessable|(429) too many requests"
    r"|(500) internal server error|(501) not implemented"
    r"|(502) bad gateway|(503) service (?:temporarily )?unavailable|(504) gateway time-?out)",
    re.IGNORECASE,
)


class Body(NamedTuple):
    """What a body says."""

    codes: tuple[str, ...]
    """The words by which it names its error, in one style (`words.snake`)."""
    sentences: tuple[str, ...]
    """What it tells in words, verbatim."""
    status: int | None
    """The HTTP status that it speaks of."""
    waits: dict[str, Any]
    """Waits by the (lower-case) key that names them, verbatim."""


def as_body(raw: Any) -> Any:
    """A body as a JSON value, as its text where it is no JSON, or None where there is none."""
    if raw is None or type(raw) is dict:  # as SDKs keep it
        return raw
    if kind_is(raw, (bytes, bytearray)):
        raw = bytes(raw).decode("utf-8", "replace") if len(raw) <= _BODY_LIMIT else _beginning(raw)
    if not kind_is(raw, str):
        return raw if kind_is(raw, (dict, list)) else None
    if len(raw) > _BODY_LIMIT:
        return cut(raw) or None
    if raw.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            pass
    return cut(raw) or None


def _beginning(raw: bytes) -> str:
    return bytes(raw[:_SENTENCE_LIMIT]).decode("utf-8", "replace")


def read(body: Any) -> Body:
    """Walk a body and tell what it says. Raises nothing; what cannot be read says nothing."""
    walk = _Walk()
    try:  # noqa: SIM105 - contextlib costs more than most bodies
        walk.into("", body)
    except Exception:  # noqa: S110 - a dict that changes meanwhile
        pass
    return Body(tuple(walk.codes), tuple(walk.sentences), walk.status, walk.waits)


class _Walk:
    """One walk through a body, in the order in which it is written, and what was found on it."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.sentences: list[str] = []
        self.status: int | None = None
        self.waits: dict[str, Any] = {}
        self._left = _NODES

    def into(self, key: str, value: Any) -> None:
        """Look at a JSON value; `key` is the (lower-case) key above it."""
        self._left -= 1
        if self._left < 0:
            return
        kind = type(value)
        if kind is str:
            self._text(key, value if len(value) <= _SENTENCE_LIMIT else cut(value, _SENTENCE_LIMIT))
        elif kind is dict:
            for name, member in value.items() if len(value) <= _WIDTH else itertools.islice(value.items(), _WIDTH):
                if member is not None:
                    self.into(name.lower() if type(name) is str else "", member)
        elif kind is list:
            for member in value[:_WIDTH]:
                self.into(key, member)
        elif kind is int or kind is float:
            self._number(key, value)
        elif issubclass(kind, (dict, list, str)):  # a subclass may do anything when it is asked: take what it is
            self.into(key, _plainly(value))

    def _text(self, key: str, text: str) -> None:
        about = _KEYS.get(key)
        if about is None:  # a message, by whatever name
            if text and (len(text) > CODE_LIMIT or " " in text or not _ONE_WORD.fullmatch(text)):
                self.sentences.append(text)
            else:
                self.codes += parts(text)  # `{"error": "rate_limited"}`, `{"message": "Overloaded"}`
        elif about == "code":
            self._code(key, text)
        elif about == "wait":
            self.waits.setdefault(key, text)

    def _number(self, key: str, number: float) -> None:
        about = _KEYS.get(key)
        if about == "code" and -COUNTED < number < COUNTED:
            self._code(key, number)
        elif about == "wait":
            self.waits.setdefault(key, number)

    def _code(self, key: str, code: str | float) -> None:
        if self.status is None and key in _STATUS_KEYS:
            self.status = as_status(code)
        self.codes += parts(str(code)[:CODE_LIMIT])


def _plainly(value: Any) -> Any:
    if kind_is(value, dict):
        return dict(itertools.islice(dict.items(value), _WIDTH))
    return list.__getitem__(value, slice(_WIDTH)) if kind_is(value, list) else str.__str__(value)


def codes_said(text: str) -> tuple[str, ...]:
    """The codes in a body that was printed into a text, as JSON, as Python or as XML.

    Example:
        >>> codes_said("Error code: 413 - {'error': {'code': 'tokens_limit_reached', 'param': None}}")
        ('tokens_limit_reached',)
    """
    if not ("_" in text or ":" in text or "=" in text or "<" in text or "(" in text):
        return ()
    found = ("".join(groups) for groups in _SAID_CODE.findall(text))
    # `Error code: 413` names a status, which is read as one.
    return tuple(itertools.chain.from_iterable(parts(code) for code in found if as_status(code) is None))


def status_said(text: str) -> int | None:
    """The HTTP status that a text names as one; digits by themselves are none.

    Example:
        >>> status_said("Client error '401 Unauthorized' for url"), status_said("Error code: 413 - {}")
        (401, 413)
        >>> status_said("request 429 of 503 failed") is None
        True
    """
    match = _SAID_STATUS.search(text) if _ANY_STATUS.search(text) else None
    return int(next(filter(None, match.groups()))) if match else None
