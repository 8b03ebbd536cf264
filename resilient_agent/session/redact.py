"""`redact_secrets`: keys, tokens and passwords taken out of what is about to be stored. Pure.

Decides what looks like a secret: by the name it stands under, and by the forms in which providers
give their keys. Ids of calls and messages are left alone, as a history without them is broken.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["IDS", "REDACTED", "redact_secrets"]

REDACTED: Final = "[redacted]"
"""What stands in a secret's place."""

_NAMES: Final = frozenset(
    {
        "accesstoken", "anthropicapikey", "apikey", "authorization", "awssecretaccesskey", "awssessiontoken",
        "clientsecret", "cookie", "openaiapikey", "passwd", "password", "privatekey", "proxyauthorization",
        "refreshtoken", "secret", "secretaccesskey", "secretkey", "sessiontoken", "setcookie", "xamzsecuritytoken",
        "xapikey", "xgoogapikey",
    }
)  # fmt: skip
"""Names of fields and headers that hold secrets, in small letters without `-` and `_`."""

_ENDINGS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "token",
)
"""How other names of secrets end: db_password, githubToken."""

_HARMLESS: Final = (
    "pagetoken", "nexttoken", "continuationtoken", "paginationtoken", "cursortoken", "synctoken", "resumetoken",
    "clienttoken", "bostoken", "eostoken", "padtoken", "unktoken", "masktoken", "septoken", "clstoken", "stoptoken",
    "starttoken", "endtoken", "specialtoken", "pertoken",
)  # fmt: skip
"""And of names that are none: a place in a listing, a word of a model's vocabulary, a price."""

_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
"""Headers, which some libraries give as lists of values. Under other names a list may be anything: a schema."""

IDS: Final = frozenset({"id", "tool_call_id", "tool_use_id", "call_id", "approval_request_id"})
"""Names of fields that are never touched: results find their calls by them."""

# A private key. Where its end was cut off, its lines go.
_PEM: Final = (
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-\"']|-(?!----)){1,20000}+-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:(?:\s|\\[nr]){0,4}[A-Za-z0-9+/=]{32,}+)+)"
)
_FORMS: Final = (
    # Where each form comes from: the documentation of the service that gives such keys. A key has a digit somewhere.
    r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{16,}+",  # OpenAI, Anthropic, DeepSeek, OpenRouter
    r"\bAIza[A-Za-z0-9_-]{30,}",  # Google
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bhf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"\bgsk_[A-Za-z0-9]{20,}",  # Groq
    r"\bxai-[A-Za-z0-9]{20,}",  # xAI
    r"\bx(?:ox[abprs]|app)-[A-Za-z0-9-]{10,}",  # Slack
    r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
    r"\bglpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"\bnpm_[A-Za-z0-9]{36}\b",  # npm
    r"\bpypi-AgE[A-Za-z0-9_-]{16,}",  # PyPI
    r"\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"\bpplx-[A-Za-z0-9]{32,}",  # Perplexity
    r"\br8_[A-Za-z0-9]{32,}",  # Replicate
    r"\bya29\.[A-Za-z0-9_-]{20,}",  # Google OAuth
    _PEM,
    # A JSON web token. Its parts have a bound, or a hostile text could hold up a save for minutes.
    r"\beyJ[A-Za-z0-9_-]{8,3000}+\.[A-Za-z0-9_-]{8,6000}+\.[A-Za-z0-9_-]{4,2000}+",
)
_SECRETS: Final = re.compile("|".join(_FORMS))

# A password in an address. One that begins like a variable of a template is none.
_IN_ADDRESS: Final = re.compile(
    r"(?P<lead>://[^\s:/?#@\"'\\<>]{0,100}:)(?![{$<*])[^\s/?#\"'\\<>]{1,200}(?=@)",
)

# A secret's own letters: no quote, no backslash (the text may be JSON), no bracket (it may be a program).
_LETTERS: Final = r"[A-Za-z0-9._~+/=@!$%^*-]"
_NAMED: Final = (
    r"(?:x-)?api[_-]?key|(?:access|refresh|session)[_-]?token|client[_-]?secret"
    r"|(?:aws[_-])?secret[_-]?access[_-]?key|secret[_-]?key|password|passwd"
)
_ENDS: Final = "password|passwd|passphrase|secret|(?:api|access|private|secret)[_-]?key"
"""How names of secrets end in a text, but for tokens, which are words of a text as well."""
_QUOTES: Final = r"[\"'\\]*"
_LED_IN: Final = tuple(
    re.compile(f"(?P<lead>{lead}){secret}", re.IGNORECASE)
    for lead, secret in (
        # Authorization: Bearer …, in a header, a command line or JSON; with or without the scheme.
        (rf"\bauthorization{_QUOTES}\s*[:=]\s*{_QUOTES}(?:(?:bearer|basic|token)\s+)?", rf"{_LETTERS}{{8,}}+"),
        (r"\bbearer\s+", rf"(?=[^\s\d]{{0,200}}\d){_LETTERS}{{8,}}+(?!\()"),
        # "api_key": "…", x-api-key: …; three and more levels deep in JSON, where `_FIELD` does not reach.
        (rf"\b(?:{_NAMED})\\*[\"']\s*:\s*\\*[\"']", rf"{_LETTERS}{{4,}}+"),
        (r"\bx-(?:goog-)?api-key\s*:\s*", rf"{_LETTERS}{{8,}}+"),
        # ?key=… in an address; anywhere else `key` and `token` are words of programs.
        (r"(?:[?&;]|\b(?-i:AWS|OPENAI|ANTHROPIC)_\w{0,40})(?:key|token|secret)=", rf"{_LETTERS}{{8,}}+(?!\()"),
        (r"[?&;]sig=|\baccountkey=", rf"{_LETTERS}{{8,}}+"),
        # As files of settings have it. In a sentence no word behind the colon has a digit.
        (
            rf"(?:{_ENDS}|(?:auth|access|session)[_-]?token)[ \t]{{0,3}}(?::[ \t]{{1,8}}|[ \t]=[ \t])",
            rf"(?=[^\s\d]{{0,200}}\d){_LETTERS}{{8,}}+(?![(\[])",
        ),
    )
)

# What stands in quotes, whatever it is, up to the quote that ends it; also one level deep in JSON, where
# the quotes are escaped.
_QUOTED: Final = (
    r"(?:\"(?P<double>(?:[^\\\"\n]|\\.)++)(?=\")"
    r"|'(?P<single>(?:[^\\'\"\n]|\\.)++)(?=')"
    r"|\\\"(?P<escaped>(?:[^\\\"\n]|\\[^\\\"]|\\\\(?:\\\\|\\\"|[^\\\"]))++)(?=\\\"))"
)
# "db_password": "…". Only what may be a secret: else the arguments of a call would be passed by as one text.
_FIELD: Final = re.compile(
    rf"(?P<lead>[\"'](?P<name>[\w-]{{0,60}}(?:{_ENDS}|token))"
    r"\\*[\"']\s{0,8}:\s{0,8})" + _QUOTED,
    re.IGNORECASE,
)
# DB_PASSWORD=…, password="…". A comma, a bracket or a colon behind a quote is where a string of JSON ends.
_ASSIGNED: Final = re.compile(
    r"(?P<lead>(?:password|passwd|passphrase|secret|token|key)=)"
    rf"(?:(?P<bare>(?!=){_LETTERS}{{4,}}+(?![(\[]))|(?![\"'\\]*[\s,:}}\]{{$]){_QUOTED})",
    re.IGNORECASE,
)
_NAME_BEFORE: Final = re.compile(r"[\w-]{1,60}\Z")
_NOTHING: Final = frozenset({"None", "True", "False", "null", "true", "false"})


def redact_secrets(value: Any) -> Any:
    """A copy of a JSON value without the secrets that can be told as such; for `session_guard(redact=...)`.

    Args:
        value: a message, an extra state, an argument: dicts, lists, strings and so on.

    Returns:
        The same with `[redacted]` in the place of each key, token or password.

    Example:
        >>> redact_secrets({"role": "tool", "content": "curl -H 'Authorization: Bearer abcdefghi'"})
        {'role': 'tool', 'content': "curl -H 'Authorization: Bearer [redacted]'"}
        >>> redact_secrets({"headers": {"x-api-key": "1234"}, "text": "my key is sk-ant-REDACTED-0123456789"})
        {'headers': {'x-api-key': '[redacted]'}, 'text': 'my key is [redacted]'}
    """
    if isinstance(value, str):
        return _without_secrets(value)
    if isinstance(value, dict):
        words = "logprob" in value  # what stands under `token` there is a piece of the answer
        return {key: item if words and key == "token" else _redacted(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and _bare(value[0]) in _NAMES and isinstance(value[1], str):
            return [value[0], REDACTED]
        return [redact_secrets(item) for item in value]
    return value


def _without_secrets(text: str) -> str:
    text = _SECRETS.sub(REDACTED, text)
    text = _IN_ADDRESS.sub(_put_out, text)
    text = _FIELD.sub(_put_out_field, text)
    text = _ASSIGNED.sub(_put_out_assigned, text)
    for led_in in _LED_IN:
        text = led_in.sub(_put_out, text)
    return text


def _put_out(found: re.Match[str]) -> str:
    return found["lead"] + REDACTED


def _put_out_field(found: re.Match[str]) -> str:
    name = found["name"]
    return _put_out_quoted(found, name) if _holds_secrets(name) else found[0]


def _put_out_assigned(found: re.Match[str]) -> str:
    end = found.end("lead") - 1
    before = _NAME_BEFORE.search(found.string, max(0, end - 60), end)
    name = before[0] if before else ""
    if not _holds_secrets(name):
        return found[0]
    if found["bare"] is None:
        return _put_out_quoted(found, name)
    # In a program `token=tokenizer` is an argument; in capitals it is a variable of the environment.
    untold = _is_token(name) and not name.isupper() and not _may_be_a_token(found["bare"])
    return found[0] if untold or _is_variable(found["bare"], name) else _put_out(found)


def _is_variable(text: str, name: str) -> bool:
    """Whether a value is a word of a program: `password=None`, `api_key=self.api_key`, `secret=client_secret`."""
    last = text.rpartition(".")[2].lstrip("_").lower()
    name = name.lstrip("_").lower()
    same = name.endswith(last) and _holds_secrets(last)
    return text in _NOTHING or same or last.endswith(f"_{name}")


def _put_out_quoted(found: re.Match[str], name: str) -> str:
    if _is_token(name) and not _may_be_a_token(found["double"] or found["single"] or found["escaped"]):
        return found[0]
    quote = '\\"' if found["escaped"] else "'" if found["single"] else '"'
    return found["lead"] + quote + REDACTED  # the quote at its end was not taken


def _is_token(name: str) -> bool:
    return name.lower().endswith("token")


def _may_be_a_token(text: str) -> bool:
    """Whether a text can be a key and not a word: in a text the name alone does not tell."""
    return len(text) >= 8 and not any(letter.isspace() for letter in text) and any(map(str.isdigit, text))


def _redacted(name: Any, value: Any) -> Any:
    if isinstance(value, str) and _holds_secrets(name):
        return REDACTED
    if isinstance(value, list) and isinstance(name, str) and name.lower() in _HEADERS:
        return [_redacted(name, item) for item in value]
    return value if name in IDS and isinstance(value, str) else redact_secrets(value)


def _holds_secrets(name: Any) -> bool:
    name = _bare(name)
    return name in _NAMES or (name.endswith(_ENDINGS) and not name.endswith(_HARMLESS))


def _bare(name: Any) -> str:
    return re.sub(r"[-_ ]", "", name).lower() if isinstance(name, str) else ""
