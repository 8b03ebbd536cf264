"""The error corpus: rows of failures that LLM calls really met, and the exceptions that they are.

A row of rows/*.jsonl says what was seen (kind, via, status, headers, body, exc_type, message), where (source), and what
is right to do about it (decision, category, retry_after_s) with a word on why. `load` gives the rows of the files there;
`build` gives the exception of one, by one of four ways that ways.py chooses: the real SDK is served the answer, the real
class is made, an application's class is named, or the recorded shape of the real exception is rebuilt.
"""

import contextlib
import fnmatch
import functools
import json
import os
import warnings
from pathlib import Path

from . import calls, making, scenarios, shapes, ways
from .server import CorpusServer

HERE = Path(__file__).parent
way = ways.way

# SDKs read these. A corpus that is the same everywhere has them unset while it is built ...
_FOREIGN = ("ANTHROPIC_", "AWS_", "GEMINI_", "GOOGLE_", "OPENAI_", "BOTO_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# ... and these set.
_OWN = {
    "NO_PROXY": "*",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class AbsentRow(LookupError):
    """A row refers to another one that no file here holds."""


class NotRecorded(LookupError):
    """A row came through an SDK that is not in the test extra, and its shape was not recorded (see recording.py)."""


class NothingRaised(AssertionError):
    """The SDK took the row's answer for a good one."""


def load(files="*"):
    """Give the rows of all files, or of those whose names fit, file by file."""
    return [dict(row) for name, rows in _files().items() if fnmatch.fnmatch(name, files) for row in rows]


def names():
    """Give the names of the files, without their endings."""
    return set(_files())


def build(row):
    """Give the exception of a row: the same object each time, as building is slow; so raise it, but do not change it."""
    return _built(json.dumps(row))  # in its order, as the body is sent in it


def close():
    """Stop the server, if one was needed, and let go of the exceptions, whose frames hold open streams."""
    _built.cache_clear()
    if _server.cache_info().currsize:
        _server().stop()
        _server.cache_clear()


@functools.cache
def _files():
    # not split at other marks than the line's end: texts may hold them
    texts = {path.stem: path.read_text("utf-8") for path in sorted((HERE / "rows").glob("*.jsonl"))}
    return {name: [json.loads(line) for line in text.strip().split("\n")] for name, text in texts.items()}


@functools.cache
def _rows():
    rows = {}
    for name, found in _files().items():
        for row in found:
            if rows.setdefault(row["id"], row) is not row:
                raise ValueError(f"{name}: the id {row['id']} is taken")
    return rows


@functools.cache
def recorded():
    """Give the recorded shapes by the ids of their rows."""
    files = [json.loads(path.read_text("utf-8")) for path in sorted((HERE / "shapes").glob("*.json"))]
    return {row_id: shape for file in files for row_id, shape in file["shapes"].items()}


@functools.cache
def _server():
    return CorpusServer()


@functools.cache
def _built(row_as_json):
    row = json.loads(row_as_json)
    with _own_environment(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _BUILDERS[ways.way(row)](row)


@contextlib.contextmanager
def _own_environment():
    before = dict(os.environ)
    for name in before:
        if name.upper().startswith(_FOREIGN):
            del os.environ[name]
    os.environ.update(_OWN)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _live(row):
    return _raised_by(calls.call, _server().serve(row), row)


def _made(row):
    spec = _spec(row)
    if "run" in spec:
        return _raised_by(scenarios.run, spec["run"], making.make(spec["raises"]) if "raises" in spec else None)
    return making.make(spec)


def _text(row):
    return making.make(_spec(row) | {"exc_type": f"text:{row['exc_type']}"})


def _shape(row):
    if row["id"] not in recorded():
        raise NotRecorded(f"{row['id']} came through {row['via']}: record its shape with recording.py")
    return shapes.rebuild(recorded()[row["id"]])


_BUILDERS = {ways.LIVE: _live, ways.MADE: _made, ways.TEXT: _text, ways.SHAPE: _shape}


def _raised_by(function, *arguments):
    try:
        answer = function(*arguments)
    except ImportError as error:
        if error.name:
            raise  # a package is missing: that is no row's exception
        return error
    except Exception as error:
        return error
    raise NothingRaised(f"{arguments} gave {answer!r:.200}")


def _spec(row):
    """Give the description that making.py reads. Some rows hold theirs in `extra`, others in `args` and `cause`."""
    spec = {"exc_type": row["exc_type"], "message": row["message"], **(row.get("extra") or {})}
    args = row.get("args")
    if isinstance(args, dict):
        spec |= {"title": args["title"], "line_errors": args["errors"]} if "errors" in args else {"kwargs": args}
    elif args is not None:
        spec["args"] = args
    below = None
    for link in reversed(row.get("cause") or []):
        below = {**link, "cause": below}
    return _with_rows(spec | ({"cause": below} if below else {}))


def _with_rows(spec):
    """Put the exception of another row where {"row": id} stands."""
    if isinstance(spec, list):
        return [_with_rows(item) for item in spec]
    if not isinstance(spec, dict):
        return spec
    if spec.keys() == {"row"}:
        if spec["row"] not in _rows():
            raise AbsentRow(f"the row {spec['row']} is in no file of {HERE.name}/rows")
        return build(_rows()[spec["row"]])
    return {name: _with_rows(value) for name, value in spec.items()}
