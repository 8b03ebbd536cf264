"""`redact_secrets`: keys, tokens and passwords taken out of what is about to be stored. Pure.

Decides what looks like a secret: by the name it stands under, and by the forms in which providers
give their keys. Ids of calls and messages are left alone, as a history without them is broken.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["REDACTED", "redact_secrets"]

REDACTED: Final = "[redacted]"
"""What stands in a secret's place."""

_NAMES: Final = frozenset(
    {
        "accesstoken", "apikey", "authorization", "clientsecret", "cookie", "openaiapikey", "anthropicapikey",
        "passwd", "password", "privatekey", "proxyauthorization", "refreshtoken", "secret", "secretaccesskey",
        "secretkey", "setcookie", "sessiontoken", "xamzsecuritytoken", "xapikey", "xgoogapikey",
    }
)  # fmt: skip
"""Names of fields and headers that hold secrets, in small letters without `-` and `_`."""

_FORMS: Final = (
    # Where each form comes from: the documentation of the service that gives such keys.
    r"\bsk-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic, DeepSeek, OpenRouter
    r"\bAIza[A-Za-z0-9_-]{30,}",  # Google
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bhf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"\bgsk_[A-Za-z0-9]{20,}",  # Groq
    r"\bxai-[A-Za-z0-9]{20,}",  # xAI
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}",  # a JSON web token
)
_SECRETS: Final = re.compile("|".join(_FORMS))
_LED_IN: Final = re.compile(
    # Authorization: Bearer …; ?key=…, api_key=… in an address or a command line.
    r"(?P<lead>\b(?:bearer|basic)\s+|[?&;\s\"'](?:api[_-]?key|key|access_token|token|secret|password)=)"
    r"(?P<secret>[^\s&\"'#,;]{8,})",
    re.IGNORECASE,
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
        return _LED_IN.sub(rf"\g<lead>{REDACTED}", _SECRETS.sub(REDACTED, value))
    if isinstance(value, dict):
        return {key: REDACTED if _is_secret(key, item) else redact_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_secrets(item) for item in value]
    return value


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and isinstance(name, str) and re.sub(r"[-_ ]", "", name).lower() in _NAMES
