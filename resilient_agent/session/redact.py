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

_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
"""Headers, which some libraries give as lists of values. Under other names a list may be anything: a schema."""

IDS: Final = frozenset({"id", "tool_call_id", "tool_use_id", "call_id", "approval_request_id"})
"""Names of fields that are never touched: results find their calls by them."""

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
    # A JSON web token. Its parts have a bound, or a hostile text could hold up a save for minutes.
    r"\beyJ[A-Za-z0-9_-]{8,3000}+\.[A-Za-z0-9_-]{8,6000}+\.[A-Za-z0-9_-]{4,2000}+",
)
_SECRETS: Final = re.compile("|".join(_FORMS))

# A secret's own letters: no quote, no backslash (the text may be JSON), no bracket (it may be a program).
_LETTERS: Final = r"[A-Za-z0-9._~+/=@!$%^*-]"
_NAMED: Final = (
    r"(?:x-)?api[_-]?key|(?:access|refresh|session)[_-]?token|client[_-]?secret"
    r"|(?:aws[_-])?secret[_-]?access[_-]?key|secret[_-]?key|password|passwd"
)
_QUOTES: Final = r"[\"'\\]*"
_LED_IN: Final = tuple(
    re.compile(f"(?P<lead>{lead}){secret}", re.IGNORECASE)
    for lead, secret in (
        # Authorization: Bearer …, in a header, a command line or JSON; with or without the scheme.
        (rf"\bauthorization{_QUOTES}\s*[:=]\s*{_QUOTES}(?:(?:bearer|basic|token)\s+)?", rf"{_LETTERS}{{8,}}+"),
        (r"\bbearer\s+", rf"(?=[^\s\d]{{0,200}}\d){_LETTERS}{{8,}}+(?!\()"),
        # password=…, "api_key": "…", x-api-key: …
        (rf"\b(?:{_NAMED})=", rf"{_LETTERS}{{4,}}+(?!\()"),
        (rf"\b(?:{_NAMED})\\*[\"']\s*:\s*\\*[\"']", rf"{_LETTERS}{{4,}}+"),
        (r"\bx-(?:goog-)?api-key\s*:\s*", rf"{_LETTERS}{{8,}}+"),
        # ?key=… in an address; anywhere else `key` and `token` are words of programs.
        (r"(?:[?&;]|\b(?:AWS|API|OPENAI|ANTHROPIC)_\w{0,40})(?:key|token|secret)=", rf"{_LETTERS}{{8,}}+(?!\()"),
    )
)


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
        return {key: _redacted(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and _holds_secrets(value[0]) and isinstance(value[1], str):
            return [value[0], REDACTED]
        return [redact_secrets(item) for item in value]
    return value


def _without_secrets(text: str) -> str:
    text = _SECRETS.sub(REDACTED, text)
    for led_in in _LED_IN:
        text = led_in.sub(_put_out, text)
    return text


def _put_out(found: re.Match[str]) -> str:
    return found["lead"] + REDACTED


def _redacted(name: Any, value: Any) -> Any:
    if isinstance(value, str) and _holds_secrets(name):
        return REDACTED
    if isinstance(value, list) and isinstance(name, str) and name.lower() in _HEADERS:
        return [_redacted(name, item) for item in value]
    return value if name in IDS and isinstance(value, str) else redact_secrets(value)


def _holds_secrets(name: Any) -> bool:
    return isinstance(name, str) and re.sub(r"[-_ ]", "", name).lower() in _NAMES
