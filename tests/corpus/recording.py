"""Record what exceptions of SDKs look like that are not in the test extra.

Run by hand where those SDKs are:

    python tests/corpus/recording.py --builder MODULE --rows tests/corpus/rows/F.jsonl --out tests/corpus/shapes/F.json

MODULE (found on PYTHONPATH) has a function `build(row)` that gives the exception which the real SDK raises for a row, by
serving it the row's answer. Of the rows in F, those that need a shape (ways.py) are recorded, with `--via groq` (may be
repeated) only those of that SDK. What OUT holds of other rows stays, so F can be recorded in several environments.

Recorded are, for the exception and everything in its chain and groups: its classes with their modules and bases, args,
text, notes, each public attribute that is plain data or another exception, those attributes that evidence may come from
when they are objects (EVIDENCE, and of such an object what INSIDE names), and the answers of the methods in METHODS.
Nothing of the machine stays: ports, addresses and paths are replaced, and so is a date that is not the row's own.
"""

import argparse
import collections.abc
import enum
import importlib
import importlib.metadata
import json
import re
import sys
import warnings
from pathlib import Path

EVIDENCE = {
    *("body", "data", "detail", "details", "diag", "error", "headers", "http_response", "last_attempt", "orig"),
    *("original_exception", "raw_response", "rcvd", "reason", "request", "response", "response_headers", "sent"),
    *("trailing_metadata", "url"),
}
INSIDE = {
    *("attempt_number", "body", "code", "data", "detail", "details", "error", "failed", "headers", "message"),
    *("message_primary", "method", "output", "param", "reason", "reason_phrase", "request_id", "severity", "sqlstate"),
    *("status", "status_code", "text", "type", "url", "usage"),
}
METHODS = {
    *("code", "debug_error_string", "details", "exception", "initial_metadata", "json", "trailing_metadata"),
}
PLAIN = (str, int, float, bool, type(None))
DATE = "Thu, 20 Aug 2026 09:15:32 GMT"
_SCRUBBED = (
    (re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:|%3A)\d+"), r"\1\g<2>60606"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x0"),
    (re.compile(r"(/[\w.+-]+)+/(site-packages|lib/python3\.\d+)/"), "/python/"),
    (re.compile(r"port=\d+(?=\D)"), "port=60606"),
)
_MISSING = object()


def describe(error):
    """Give the shape of an exception, for shapes.rebuild."""
    recorder = _Recorder()
    recorder.number(error)
    return {"errors": recorder.errors}


class _Recorder:
    def __init__(self):
        self.errors = []
        self._numbers = {}

    def number(self, error):
        """Give the number of an exception in the shape, recording it when it is new."""
        if error is None:
            return None
        if id(error) not in self._numbers:
            self._numbers[id(error)] = len(self.errors)
            self.errors.append({})
            self.errors[self._numbers[id(error)]].update(self._error(error))
        return self._numbers[id(error)]

    def _error(self, error):
        group = isinstance(error, BaseExceptionGroup)
        names = [name for name in dir(error) if name not in dir(BaseExceptionGroup if group else BaseException)]
        return {
            "classes": _classes(type(error)),
            "text": str(error),
            "args": [value for value in map(self.plain, error.args) if value is not _MISSING],
            "state": self._state(error, names),
            "answers": self._answers(error),
            "notes": list(getattr(error, "__notes__", ())),
            "members": [self.number(member) for member in error.exceptions] if group else [],
            "cause": self.number(error.__cause__),
            "context": self.number(error.__context__),
            "suppress_context": error.__suppress_context__,
        }

    def _state(self, holder, names):
        state = {}
        for name in names:
            value = _read(holder, name)
            if name.startswith("_") or callable(value):
                continue
            kept = self._plain_or_object(value) if name in EVIDENCE else self.plain(value)
            if kept is not _MISSING:
                state[name] = kept
        return state

    def _answers(self, holder):
        answers = {}
        for name in sorted(METHODS):
            method = _read(holder, name)
            if callable(method):
                answer = _answer(method)
                kept = _MISSING if answer is holder else self.plain(answer)
                if kept is not _MISSING:
                    answers[name] = kept
        return answers

    def plain(self, value):
        """Give plain data for plain data, exceptions, headers and members of an enum; _MISSING for other things."""
        if isinstance(value, BaseException):
            return {"$": "error", "number": self.number(value)}
        if isinstance(value, enum.Enum):
            cls = type(value)
            return {"$": "enum", "class": [cls.__module__, cls.__qualname__], "name": value.name, "value": value.value}
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, list | tuple):
            items = [self.plain(item) for item in value]
            return _MISSING if _MISSING in items else items
        if isinstance(value, collections.abc.Mapping):
            items = {str(name): self.plain(item) for name, item in value.items()}
            return _mapping(value, {name: item for name, item in items.items() if item is not _MISSING})
        return _MISSING

    def _plain_or_object(self, value):
        kept = self.plain(value)
        return self._object(value) if kept is _MISSING and value is not _MISSING else kept

    def _object(self, value):
        cls = type(value)
        if "URL" in cls.__name__:
            return str(value)
        inside = {"method", "url"} if "Request" in cls.__name__ else INSIDE  # its headers tell of the machine
        names = [name for name in inside if not callable(_read(value, name))]
        inside = {name: self._inside(name, _read(value, name)) for name in sorted(names)}
        return {
            "$": "object",
            "class": [cls.__module__, cls.__qualname__],
            "text": None if cls.__str__ is object.__str__ and cls.__repr__ is object.__repr__ else str(value),
            "state": {name: item for name, item in inside.items() if item is not _MISSING},
            "answers": self._answers(value),
        }

    def _inside(self, name, value):
        return str(value) if name == "url" and value is not _MISSING else self.plain(value)


def _mapping(value, kept):
    """Give a dict as it is, but tell of one whose items are attributes too, and of headers."""
    if not isinstance(value, dict):
        return {"$": "headers", "items": [list(item) for item in kept.items()]}
    if kept and all(_read(value, name) is not _MISSING for name in kept):
        return {"$": "open_dict", "items": kept}
    return kept


def _read(holder, name):
    """Give an attribute; some properties raise where there is nothing to give."""
    try:
        return getattr(holder, name, _MISSING)
    except Exception:
        return _MISSING


def _answer(method):
    """Give what a method answers; some want arguments, or have no answer."""
    try:
        return method()
    except Exception:
        return _MISSING


def _classes(cls):
    """Give the classes of an exception up to those of the standard library, in the order of its MRO."""
    ours, todo = [], [cls]
    for base in cls.__mro__:
        if base in todo:
            ours.append(base)
            if not _is_standard(base):
                todo.extend(base.__bases__)
    return [_told(base, ours) for base in ours]


def _told(base, ours):
    named = {"module": base.__module__, "name": base.__qualname__}
    return named if _is_standard(base) else {**named, "bases": [ours.index(above) for above in base.__bases__]}


def _is_standard(cls):
    return cls.__module__.partition(".")[0] in sys.stdlib_module_names


def _scrub(value, row):
    """Give a shape without anything of the machine that it was recorded on."""
    if isinstance(value, str):
        for pattern, instead in _SCRUBBED:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, list):
        if len(value) == 2 and str(value[0]).lower() == "date" and "date" not in _header_names(row):
            return [value[0], DATE]
        return [_scrub(item, row) for item in value]
    if isinstance(value, dict):
        return {name: DATE if _is_foreign_date(name, row) else _scrub(item, row) for name, item in value.items()}
    return value


def _is_foreign_date(name, row):
    return name.lower() in {"date", "llm_provider-date"} and "date" not in _header_names(row)


def _header_names(row):
    return {name.lower() for name in row.get("headers") or {}}


def record(build, row):
    """Give the shape of what `build` makes of a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = build(row)
        if isinstance(error, ModuleNotFoundError):
            raise error
        return _scrub(describe(error), row)


def main(arguments=None):
    """Record, and say which rows could not be."""
    from ways import SHAPE, way

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--builder", required=True, help="a module with build(row)")
    parser.add_argument("--rows", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--via", action="append", help="only rows of this SDK; may be repeated")
    given = parser.parse_args(arguments)
    build = importlib.import_module(given.builder).build
    kept = json.loads(given.out.read_text("utf-8")) if given.out.exists() else {"versions": {}, "shapes": {}}
    for row in map(json.loads, given.rows.read_text("utf-8").strip().split("\n")):
        if way(row) == SHAPE and (not given.via or row["via"] in given.via):
            _record_into(kept, build, row)
    if kept["shapes"]:
        given.out.write_text(_json(kept), "utf-8")


def _json(kept):
    """Give the text of a file: a line for the versions, and one for each row."""
    versions = json.dumps(dict(sorted(kept["versions"].items())))
    shapes = sorted(kept["shapes"].items())
    lines = [f"{json.dumps(row_id)}: {json.dumps(shape, ensure_ascii=False)}" for row_id, shape in shapes]
    return f'{{"versions": {versions},\n"shapes": {{\n' + ",\n".join(lines) + "\n}}\n"


def _record_into(kept, build, row):
    try:
        shape = record(build, row)
    except Exception as error:
        sys.stderr.write(f"{row['id']}: not recorded: {type(error).__name__}: {error}\n")
        return
    kept["shapes"][row["id"]] = shape
    modules = {told["module"].partition(".")[0] for error in shape["errors"] for told in error["classes"]}
    packages = importlib.metadata.packages_distributions()
    for package in {package for module in modules for package in packages.get(module, ())}:
        kept["versions"][package] = importlib.metadata.version(package)


if __name__ == "__main__":
    main()
