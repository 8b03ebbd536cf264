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
        "clientsecret", "cookie", "dbpass", "dbpwd", "emailpass", "ftppass", "ldappass", "mailpass", "mysqlpwd",
        "openaiapikey", "passwd", "password", "pgpass", "privatekey", "proxyauthorization", "proxypass",
        "rabbitmqdefaultpass", "redispass", "refreshtoken", "rootpass", "secret", "secretaccesskey", "secretkey",
        "sessiontoken", "setcookie", "smtppass", "sqlpwd", "sshpass", "userpass", "xamzsecuritytoken", "xapikey",
        "xgoogapikey",
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
    "encryptionkey",
    "signingkey",
    "subscriptionkey",
    "accountkey",
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
    r"AIza[A-Za-z0-9_-]{30,}",  # Google
    r"(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"hf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"gsk_[A-Za-z0-9]{20,}",  # Groq
    r"xai-[A-Za-z0-9]{20,}",  # xAI
    r"x(?:ox[abprs]|app)-[A-Za-z0-9-]{10,}",  # Slack
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
    r"gl(?:pat|ptt|dt|rt|cbt|oas|soat|agent|imt|ft)-[A-Za-z0-9_.-]{20,}",  # GitLab
    r"npm_[A-Za-z0-9]{36}\b",  # npm
    r"pypi-AgE[A-Za-z0-9_-]{16,}",  # PyPI
    r"SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"pplx-[A-Za-z0-9]{32,}",  # Perplexity
    r"r8_[A-Za-z0-9]{32,}",  # Replicate
    r"ya29\.[A-Za-z0-9_-]{20,}",  # Google OAuth
    r"GOCSPX-[A-Za-z0-9_-]{20,}",
    r"AQ\.[A-Za-z0-9_-]{30,}",  # Google, the keys that are bound to an account
    r"ABSK[A-Za-z0-9+/]{60,}={0,2}",  # Amazon Bedrock
    r"bedrock-api-key-[A-Za-z0-9+/]{20,}={0,2}",
    r"[A-Za-z0-9_~.]{1,3}\dQ~[A-Za-z0-9_~.-]{31,34}",  # Microsoft Entra
    r"LTAI[A-Za-z0-9]{12,26}\b",  # Alibaba Cloud
    r"AKID[A-Za-z0-9]{32}\b",  # Tencent Cloud
    r"do[opr]_v1_[0-9a-f]{64}\b",  # DigitalOcean
    r"hv[sbr]\.[A-Za-z0-9_-]{20,}",  # HashiCorp Vault
    r"dapi[0-9a-f]{32}\b",  # Databricks
    r"nvapi-[A-Za-z0-9_-]{40,}",  # NVIDIA
    r"fw_(?=[A-Za-z]{0,60}\d)[A-Za-z0-9]{20,}+",  # Fireworks
    r"tgp_v1_[A-Za-z0-9_-]{40,}",  # Together
    r"csk-[a-z0-9]{40,}",  # Cerebras
    r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}\b",  # LangSmith
    r"tvly-(?=[A-Za-z-]{0,60}\d)[A-Za-z0-9-]{20,}+",  # Tavily
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b",  # Shopify
    r"sntry[su]_[A-Za-z0-9+/=_-]{20,}",  # Sentry
    r"dckr_[po]at_[A-Za-z0-9_-]{20,}",  # Docker
    r"AT[AC]TT3[A-Za-z0-9_=-]{30,}",  # Atlassian
    r"\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])",  # Telegram
    r"(?:ntn|secret)_[A-Za-z0-9]{40,}",  # Notion
    r"lin_api_[A-Za-z0-9]{40}\b",  # Linear
    r"whsec_[A-Za-z0-9+/]{24,}={0,2}",  # Stripe, Standard Webhooks
    r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",  # age
    # A JSON web token, encrypted (five parts, the second may be empty) or signed. Its parts have a bound, or a
    # hostile text could hold up a save for minutes.
    r"eyJ[A-Za-z0-9_-]{8,3000}+\.[A-Za-z0-9_-]{0,2000}+(?:\.[A-Za-z0-9_-]{4,6000}+){3}",
    r"eyJ[A-Za-z0-9_-]{8,3000}+\.[A-Za-z0-9_-]{8,6000}+\.[A-Za-z0-9_-]{4,2000}+",
)
"""How keys begin that begin where a word does, each from the documentation of the service that gives them."""
_OTHER_FORMS: Final = (
    r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{16,}+",  # OpenAI, Anthropic, DeepSeek, OpenRouter
    r"(?<![\w/])1//0[A-Za-z0-9_-]{30,}",  # Google OAuth
    _PEM,
)
_SECRETS: Final = re.compile("|".join((rf"\b(?:{'|'.join(_FORMS)})", *_OTHER_FORMS)))

# Pictures, files, signatures of thoughts, sealed reasoning. By chance they hold what looks like a key, and are broken
# where it is taken out. A text that is nothing else, and longer than any key.
_DATA: Final = re.compile(r"(?:data:[\w/.+;=-]{0,200}+,)?[A-Za-z0-9+/_-]{10000,}+={0,2}")

# A password in an address, or a token in the place of a user. One that begins like a variable of a template is none.
_IN_ADDRESS: Final = re.compile(
    r"(?P<lead>://[^\s:/?#@\"'\\<>]{0,100}:)(?![{$<*])[^\s/?#\"'\\<>]{1,200}(?=@)"
    r"|(?P<user>://)(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{20,200}+(?=@)",
)

# A secret's own letters: no quote, no backslash (the text may be JSON), no bracket (it may be a program).
_LETTERS: Final = r"[A-Za-z0-9._~+/=@!$%^*-]"
_WITH_DIGIT: Final = rf"(?=[^\s\d]{{0,200}}\d){_LETTERS}{{8,}}+"
_ARGUMENT: Final = r"(?![{$<*/-])[^\s\"'\\]{4,200}+"
"""What stands behind an option of a command that takes a password; not a variable, a path or the next option."""
_NAMED: Final = (
    r"(?:x-)?api[_-]?key|(?:access|refresh|session)[_-]?token|client[_-]?secret"
    r"|(?:aws[_-])?secret[_-]?access[_-]?key|secret[_-]?key|password|passwd"
)
_ENDS: Final = (
    "password|passwd|passphrase|secret|(?:api|access|private|secret|encryption|signing|subscription|account)[_-]?key"
)
"""How names of secrets end in a text, but for tokens, which are words of a text as well."""
_QUOTES: Final = r"[\"'\\]*"
_COOKIES: Final = r"[^\s=;\"'\\]{1,100}=[^\s\"'\\]{1,4000}+(?:(?<=;) [^\s\"'\\]{1,4000}+){0,50}"
_SCHEMES: Final = "bearer|basic|token|apikey|api-key|key|bot|negotiate|ntlm|splunk"
_REST: Final = r"(?:[^\n|;&]|&(?!&)){0,300}?\s"
"""What may lie between a command and its option."""
_LED_IN: Final = tuple(
    re.compile(f"(?P<lead>{lead}){secret}", re.IGNORECASE)
    for lead, secret in (
        # Authorization: Bearer …, in a header, a command line or JSON; with or without the scheme.
        (rf"\bauthorization{_QUOTES}\s*[:=]\s*{_QUOTES}(?:(?:{_SCHEMES})\s+)?", rf"{_LETTERS}{{8,}}+"),
        (r"\bbearer\s+", rf"{_WITH_DIGIT}(?!\()"),
        # Cookie: session=…; the whole line goes, for any of its values may be the one.
        (r"\b(?:set-)?cookie:\s*", r"[^\s=;,\"'\\]{1,100}=[^\"'\\\r\n]{1,8000}+"),
        # "api_key": "…", x-api-key: …; three and more levels deep in JSON, where `_FIELD` does not reach.
        (rf"\b(?:{_NAMED})\\*[\"']\s*:\s*\\*[\"']", rf"{_LETTERS}{{4,}}+"),
        (r"\bx-(?:goog-)?api-key\s*:\s*", rf"{_LETTERS}{{8,}}+"),
        (r"\b(?:private|deploy|job|x-[a-z-]{1,40})-token:\s*", _WITH_DIGIT),
        # ?key=… in an address; anywhere else `key` and `token` are words of programs.
        (r"(?:[?&;]|\b(?-i:AWS|OPENAI|ANTHROPIC)_\w{0,40})(?:key|token|secret)=", rf"{_LETTERS}{{8,}}+(?!\()"),
        (r"[?&;](?:sig|x-(?:amz|goog)-signature)=|\baccountkey=", rf"{_LETTERS}{{8,}}+"),
        (r"[?&]code=", r"(?=[A-Za-z_/+=%-]{0,60}\d)[A-Za-z0-9_/+=%-]{36,}+"),  # Azure Functions
        (r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"[A-Za-z0-9/_-]{8,}+"),
        (r"discord(?:app)?\.com/api/webhooks/\d{1,30}/", r"[A-Za-z0-9_-]{8,}+"),
        # Connection strings: ODBC's Pwd=…, Oracle's user/password@…
        (r";\s{0,3}pwd=", r"(?![{$<*/])[^\s;\"'\\]{4,200}+"),
        (r"\bjdbc:oracle:\w{1,10}:[^\s/@:]{1,100}/", r"[^\s/@\"'\\]{1,200}(?=@)"),
        # As files of settings have it. In a sentence no word behind the colon has a digit.
        (
            rf"(?:{_ENDS}|(?:auth|access|session)[_-]?token)[ \t]{{0,3}}(?::[ \t]{{1,8}}|[ \t]=[ \t])",
            rf"{_WITH_DIGIT}(?![(\[])",
        ),
        (r"(?:密码|口令|密钥)[ \t]{0,3}[:\uff1a=][ \t]{0,3}", _WITH_DIGIT),
        (r"\blogin\s{1,8}\S{1,100}\s{1,8}password\s{1,8}", _ARGUMENT),  # .netrc
        # Commands. A user without a password has no colon; `docker run -u 1000:1000` is none of them.
        (rf"\bcurl\b{_REST}(?:-u|-U|--user|--proxy-user)[ =]?{_QUOTES}[^\s:\"'\\]{{1,100}}:", _ARGUMENT),
        (rf"\bcurl\b{_REST}(?:(?-i:-b)|--cookie)[ =]{_QUOTES}", _COOKIES),
        (rf"\b(?:mysql|mariadb)(?:dump|admin)?\b{_REST}(?-i:-p){_QUOTES}(?!\d{{1,5}}\b)", _ARGUMENT),
        (r"\bsshpass\s{1,8}-p ?" + _QUOTES, _ARGUMENT),
        (rf"\b(?:docker|podman|nerdctl|helm registry) login\b{_REST}(?:-p |--password[ =]){_QUOTES}", _ARGUMENT),
        (rf"\b(?:redis|valkey)-cli\b{_REST}(?:(?-i:-a)|--pass)[ =]{_QUOTES}", _ARGUMENT),
        # Options of other commands.
        (
            rf"(?<![^\s\"'])--(?:[\w-]{{0,40}}-)?(?:{_ENDS}|token)[ \t]{{1,8}}{_QUOTES}",
            rf"(?![\w-]{{1,60}}=)(?=[^\sA-Za-z]{{0,200}}[A-Za-z]){_WITH_DIGIT}",
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
    rf"(?P<lead>[\"'](?P<name>[\w-]{{0,60}}(?:{_ENDS}|token|pass|pwd|cookie))"
    r"\\*[\"']\s{0,8}:\s{0,8})" + _QUOTED,
    re.IGNORECASE,
)
# DB_PASSWORD=…, password="…". A comma, a bracket or a colon behind a quote is where a string of JSON ends.
_ASSIGNED: Final = re.compile(
    r"(?P<lead>(?:password|passwd|passphrase|pass|pwd|secret|token|key)=)"
    rf"(?:(?P<bare>(?!=){_LETTERS}{{4,}}+(?![(\[]))|(?![\"'\\]*[\s,:}}\]{{$]){_QUOTED})",
    re.IGNORECASE,
)
# SECRET_KEY = "…", password: '…', as programs and files of settings have it. In a form of a web page it is a label.
_SETTING: Final = re.compile(
    rf"(?P<lead>(?P<name>{_ENDS}|token)[ \t]{{0,3}}(?::[ \t]{{1,8}}|[ \t]=[ \t]))" + _QUOTED,
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
    if _DATA.fullmatch(text):
        return text
    found = 1
    while found:  # of two keys without a gap the second one begins like a word only when the first one is gone
        text, found = _SECRETS.subn(REDACTED, text)
    text = _IN_ADDRESS.sub(_put_out, text)
    text = _FIELD.sub(_put_out_field, text)
    text = _ASSIGNED.sub(_put_out_assigned, text)
    text = _SETTING.sub(_put_out_setting, text)
    for led_in in _LED_IN:
        text = led_in.sub(_put_out, text)
    return text


def _put_out(found: re.Match[str]) -> str:
    return next(lead for lead in found.groups() if lead is not None) + REDACTED


def _put_out_field(found: re.Match[str]) -> str:
    name = found["name"]
    return _put_out_quoted(found, name) if _holds_secrets(name) else found[0]


def _put_out_setting(found: re.Match[str]) -> str:
    name = _name_before(found, found.end("name"))
    untold = not _may_be_a_token(_in_quotes(found)) or not _holds_secrets(name)
    return found[0] if untold else _put_out_quoted(found, name)


def _put_out_assigned(found: re.Match[str]) -> str:
    name = _name_before(found, found.end("lead") - 1)
    if not _holds_secrets(name):
        return found[0]
    if found["bare"] is None:
        return _put_out_quoted(found, name)
    # In a program `token=tokenizer` is an argument; in capitals it is a variable of the environment.
    untold = _is_token(name) and not name.isupper() and not _may_be_a_token(found["bare"])
    return found[0] if untold or _is_variable(found["bare"], name) else _put_out(found)


def _name_before(found: re.Match[str], end: int) -> str:
    """The whole name that ends there: looking for it from its beginning would take long."""
    before = _NAME_BEFORE.search(found.string, max(0, end - 60), end)
    return before[0] if before else ""


def _is_variable(text: str, name: str) -> bool:
    """Whether a value is a word of a program: `password=None`, `api_key=self.api_key`, `secret=client_secret`."""
    last = text.rpartition(".")[2].lstrip("_").lower()
    name = name.lstrip("_").lower()
    same = _holds_secrets(last) and ("." in text or name.endswith(last))
    return text in _NOTHING or same or last.endswith(f"_{name}")


def _put_out_quoted(found: re.Match[str], name: str) -> str:
    if _is_token(name) and not _may_be_a_token(_in_quotes(found)):
        return found[0]
    quote = '\\"' if found["escaped"] else "'" if found["single"] else '"'
    return found["lead"] + quote + REDACTED  # the quote at its end was not taken


def _in_quotes(found: re.Match[str]) -> str:
    return found["double"] or found["single"] or found["escaped"]


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
