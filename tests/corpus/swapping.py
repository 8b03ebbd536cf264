"""Rows as another day would have brought them: other ids, counts, hosts and models, the same failure.

Decides what in a row is accidental. Ids and addresses are replaced sign by sign and get digits that read like an HTTP
status; counts of tokens are all moved by one rising line, so that what was above a limit stays above it; a model becomes
another one of its family. Waits, codes and dates stay. All is drawn from the row's id: the same in every run.
"""

import random
import re

from . import building, shapes, ways

_DECOYS = ("429", "503", "401", "500")
_ID_KEYS = frozenset(
    [
        "request-id",
        "x-request-id",
        "apim-request-id",
        "x-ds-trace-id",
        "cf-ray",
        "request_id",
        "requestid",
        "trace_id",
        "user_id",
        "sid",
    ]
)
_KEPT_KEYS = frozenset({"classes", "class", "$"})  # of a recorded shape
_COUNT_KEY = re.compile("token|ctx")

_IDS = re.compile(
    r"(?<![\w-])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![\w-])"
    r"|(?<![A-Za-z0-9])(?:req|org|proj|user|call|toolu|tooluse|run|thread|rs|chatcmpl|tok|msg|ak)[-_](?=\w*\d)\w{8,}"
    r"|(?<![\w./-])(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{15,}(?![a-z0-9.])"
    r"|(?<![\w./-])(?!1\d{12}\b)\d{12,}(?![\w.])"  # not a moment in milliseconds
)
_PREFIX = re.compile(r"[a-z]+[-_]")
_RUN = re.compile(r"[0-9a-f]{4,}|\w{6,}")

_COUNT = re.compile(
    r"(?<![\w.#:/'\"-])(?<![A-Z][a-z]{2} )(?!1\d{12}\b)\d[\d,]*\d{3}(?![\w-])(?!\.\d)(?!\s*(?:ms|milli|sec|min|hour)\w*\b)"
)
_COUNTED = re.compile(r"token|context|length|characters|Limit|Requested", re.IGNORECASE)
_CODE_IN_BRACKETS = re.compile(r"\(\d{4}\)")  # MiniMax ends its sentences so

_ADDRESS = re.compile(
    r"(?<=://)(?P<host>[A-Za-z0-9.-]*[A-Za-z0-9])(?P<port>:\d+)?"
    r"|(?<=host=')(?P<named>[\w.-]+)(?=')"
    r"|(?<=to host )(?P<dialled>[\w.-]+)"
    r"|(?<![\w.])(?P<ip>(?:\d{1,3}\.){3}\d{1,3})(?P<ip_port>:\d+)?(?![\w.])"
)
_MODELS = {
    "claude": ("claude-sonnet-4-5", "claude-3-7-sonnet-20250219", "claude-opus-4-1"),
    "deepseek": ("deepseek-v3.2", "deepseek-r1"),
    "doubao": ("doubao-1.5-lite-32k", "doubao-seed-1-7"),
    "gemini": ("gemini-1.5-flash", "gemini-2.5-pro-preview", "gemini-3-flash"),
    "gemma": ("gemma-2-9b-it", "gemma3n-e4b"),
    "glm": ("glm-4.5-air", "glm-4-plus"),
    "gpt": ("gpt-4-turbo", "gpt-4.1-nano", "gpt-5.2"),
    "grok": ("grok-3-mini", "grok-4-fast"),
    "kimi": ("kimi-k2-turbo-preview", "kimi-k1.5"),
    "llama": ("llama-4-scout-17b", "llama-3.2-3b"),
    "minimax": ("MiniMax-M1", "MiniMax-M3-highspeed"),
    "mixtral": ("mixtral-8x22b", "mixtral-8x7b-instruct"),
    "qwen": ("qwen2.5-72b-instruct", "qwen3-32b", "qwen-turbo"),
}
_MODEL = re.compile(
    rf"(?<![A-Za-z0-9_/.])(?P<family>{'|'.join(_MODELS)})"
    r"-?(?:\d|[mkrv]\d|opus|sonnet|haiku|pro|flash|plus|max|turbo)[\w:-]*(?:\.\w[\w:-]*)*",
    re.IGNORECASE,
)


def swapped(row):
    """Give the row with other ids, counts, hosts and models; the same row where it has none."""
    parts = {name: row[name] for name in ("headers", "body", "message", "extra", "args", "cause") if row.get(name)}
    return row | {name: _Swap(row["id"]).value(part) for name, part in parts.items()}


def error(row):
    """Give the exception that the row with other ids, counts, hosts and models is."""
    if ways.way(row) == ways.SHAPE:
        return shapes.rebuild(_Swap(row["id"]).value(building.recorded()[row["id"]]))
    return building.build(swapped(row))


def changes(row):
    """Say whether there is something to swap."""
    if ways.way(row) == ways.SHAPE:
        shape = building.recorded()[row["id"]]
        return _Swap(row["id"]).value(shape) != shape
    return swapped(row) != row


class _Swap:
    def __init__(self, seed):
        self._seed = seed
        line = random.Random(f"{seed} counts")
        self._slope, self._start = line.choice((2, 3)), line.randrange(100)

    def value(self, value, key=""):
        """Swap in all texts and counts of a JSON value."""
        if isinstance(value, dict):
            return {name: v if name in _KEPT_KEYS else self.value(v, name.lower()) for name, v in value.items()}
        if isinstance(value, list):
            return [self.value(item, key) for item in value]
        if isinstance(value, str):
            return self._id(value) if key in _ID_KEYS and value else self._text(value)
        if isinstance(value, int) and _COUNT_KEY.search(key) and value >= 1000:
            return self._moved(value)
        return value

    def _text(self, text):
        text = _IDS.sub(lambda found: self._id(found[0]), text)
        text = _ADDRESS.sub(self._address, text)
        text = _MODEL.sub(self._model, text)
        if not _COUNTED.search(text) or _CODE_IN_BRACKETS.search(text):
            return text
        return _COUNT.sub(self._count, text)

    def _id(self, old):
        """Give an id of the same look, with digits that read like a status."""
        draw = self._draw(old)
        prefix = _PREFIX.match(old)
        start = prefix.end() if prefix else 0
        new = old[:start] + "".join(draw.choice(_alike(sign)) for sign in old[start:])
        runs = list(_RUN.finditer(new, start))
        if not runs:
            return new
        run, decoy = draw.choice(runs), draw.choice(_DECOYS)
        place = draw.randrange(run.start(), run.end() - len(decoy) + 1)
        return new[:place] + decoy + new[place + len(decoy) :]

    def _address(self, found):
        draw, parts = self._draw(found[0]), found.groupdict()
        host = parts["ip"] or parts["host"] or parts["named"] or parts["dialled"]
        port = parts["port"] or parts["ip_port"] or ""
        return self._host(host, draw) + (port and f":{draw.choice((429, 503, 4290, 50301))}")

    def _host(self, host, draw):
        if re.fullmatch(r"[\d.]+", host):
            if host.startswith(("0.", "127.")):
                return host
            kept = host.split(".")[: 2 if host.startswith(("10.", "192.168.")) else 3]  # private ones stay private
            return ".".join([*kept, *(str(draw.randrange(1, 255)) for _ in range(4 - len(kept)))])
        if host.endswith((".internal", "localhost")):
            return host
        return f"{draw.choice(('www', 'docs', 'eu'))}-{draw.choice(_DECOYS)}.example.{draw.choice(('com', 'org'))}"

    def _model(self, found):
        if "Per" in found[0]:
            return found[0]  # the name of a quota
        return self._draw(found[0]).choice([name for name in _MODELS[found["family"].lower()] if name != found[0]])

    def _count(self, found):
        moved = self._moved(int(found[0].replace(",", "")))
        return f"{moved:,}" if "," in found[0] else str(moved)

    def _moved(self, count):
        return count * self._slope + self._start

    def _draw(self, old):
        """Give the randomness of one old value: it becomes the same everywhere in the row."""
        return random.Random(f"{self._seed} {old}")


def _alike(sign):
    if sign.isdigit():
        return "0123456789"
    if sign in "abcdef":
        return "abcdef"
    if sign.islower():
        return "ghjkmnpqrstvwxyz"
    return "ABCDEFGHJKMNPQRSTVWXYZ" if sign.isupper() else sign
