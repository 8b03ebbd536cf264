"""The house stands as it was drawn: imports go one way, knowledge is data, one room per foreign library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_agent

PACKAGE = Path(resilient_agent.__file__).parent

# From the ground floor up. A room imports from lower rows; within its row only where ALLOWED says so.
ROWS = (
    ("_arrival",),
    ("_callables", "_drivers", "_once", "errors", "verdict", "backoff", "clock", "report", "session._durations"),
    (
        "classify",
        "session._calling",
        "session.content",
        "session.record",
        "session.log",
        "session.effects",
        "session.history",
        "session.resuming",
        "session.redact",
        "session.dialects",
        "session.late",
        "session.repair",
        "session.window",
        "session.pending",
    ),
    (
        "gates",
        "gates.shared",
        "gates.shared.link",
        "gates.shared.moment",
        "fallback",
        "environment",
        "schedule",
        "policy",
        "strategies",
        "session.stores",
    ),
    (
        "_scope",
        "_below",
        "_statistics",
        "_call",
        "_telling",
        "_course",
        "_ordinary",
        "_shapes",
        "_streams",
        "session._crossing",
        "session._terminating",
        "session._core",
    ),
    (
        "_control",
        "decorator",
        "executor",
        "loop",
        "context",
        "session.faces",
        "session.guard",
        "session.recovery",
        "session.snapshots",
        "session",
        "testing",
    ),
    ("",),
)
ALLOWED = {
    ("report", "verdict"),
    ("verdict", "backoff"),
    ("session.history", "session.record"),
    ("session.history", "session.effects"),
    ("session.effects", "session.content"),
    ("session.resuming", "session.history"),
    ("session.late", "session.dialects"),
    ("session.dialects", "session.content"),
    ("session.repair", "session.content"),
    ("session.repair", "session.dialects"),
    ("session.window", "session.dialects"),
    ("session.pending", "session.dialects"),
    ("session.guard", "session.faces"),
    ("session.recovery", "session.faces"),
    ("session.recovery", "session.guard"),
    ("session.stores", "strategies"),
    ("session.record", "session.content"),
    ("session.log", "session.record"),
    ("environment", "policy"),
    ("gates.shared", "gates"),
    ("gates.shared", "gates.shared.link"),
    ("gates.shared.link", "gates.shared.moment"),
    ("environment", "strategies"),
    ("policy", "fallback"),
    ("policy", "gates"),
    ("policy", "schedule"),
    ("schedule", "strategies"),
    ("_call", "_below"),
    ("_call", "_scope"),
    ("_call", "_statistics"),
    ("_statistics", "_below"),
    ("_course", "_telling"),
    ("_shapes", "_telling"),
    ("_telling", "_below"),
    ("_shapes", "_below"),
    ("_streams", "_below"),
    ("_ordinary", "_telling"),
    ("_shapes", "_call"),
    ("_shapes", "_course"),
    ("_shapes", "_ordinary"),
    ("_shapes", "_scope"),
    ("_shapes", "_statistics"),
    ("_streams", "_call"),
    ("_streams", "_course"),
    ("_streams", "_shapes"),
    ("_streams", "_statistics"),
    ("decorator", "_control"),
    ("executor", "_control"),
    ("loop", "_control"),
}
# Libraries that are not ours, and the only rooms that may name them.
FOREIGN = {
    "anyio": {
        "clock",
        "_shapes",
        "_streams",
        "executor",
        "loop",
        "session._crossing",
        "session.faces",
        "session.guard",
        "session.recovery",
    },
    "fcntl": {"session.stores"},
    "logging": {
        "_telling",
        "gates.shared.link",
        "session.stores",
        "session.guard",
        "session.recovery",
        "session.snapshots",
    },
    "msgspec": {"session.content", "session.record", "session.stores"},
    "platformdirs": {"session.stores"},
    "psycopg": {"session.stores"},
    "redis": {"_drivers", "gates.shared.link", "session.stores"},
    "signal": {"session._terminating"},
    "tenacity": {"strategies", "session.stores", "fallback", "_call", "_course", "_control", "decorator"},
    "time": {"clock", "testing"},
    "zlib": {"session.record"},
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix("__init__").removesuffix("."), ast.parse(path.read_text("utf-8"))


def room_of(module):
    """The longest room name that the module is or lies in."""
    rooms = [room for row in ROWS for room in row if room == module or (room and module.startswith(f"{room}."))]
    assert rooms, f"{module} has no room in the table"
    return max(rooms, key=len)


def imports(tree, *, at_run_time_only):
    """Every module that is imported, those for annotations only where they are asked for."""
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if at_run_time_only and node in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from inner if node.module == "resilient_agent" else [node.module]


def test_imports_go_one_way():
    """A room knows only what lies below it."""
    row_of = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
    for module, tree in modules():
        here = room_of(module)
        for name in imports(tree, at_run_time_only=True):
            if not name.startswith("resilient_agent."):
                continue
            there = room_of(name.removeprefix("resilient_agent."))
            fine = there == here or row_of[there] < row_of[here] or (here, there) in ALLOWED
            assert fine, f"{module} must not import {name}"


@pytest.mark.parametrize("library", FOREIGN)
def test_each_foreign_library_has_its_rooms(library):
    """Whoever wants to replace a library finds all its uses in a few rooms."""
    users = {
        room_of(module)
        for module, tree in modules()
        for name in imports(tree, at_run_time_only=False)
        if name.partition(".")[0] == library
    }
    assert users == FOREIGN[library]


def test_knowledge_is_data():
    """The rooms of knowledge hold tuples of rules: no function, no condition, no loop, no foreign library."""
    data = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    for module, tree in modules():
        if not module.startswith("classify.knowledge"):
            continue
        assert all(isinstance(node, data) for node in tree.body), module
        assert not any(isinstance(node, ast.Lambda | ast.IfExp | ast.comprehension) for node in ast.walk(tree)), module
        for name in imports(tree, at_run_time_only=False):
            assert name == "errno" or name.startswith("resilient_agent."), f"{module} imports {name}"


def test_every_module_opens_with_its_reason():
    """A reader learns from the first lines what a file decides."""
    assert [name for name, tree in modules() if not ast.get_docstring(tree)] == []


def test_importing_the_front_door_loads_nothing():
    """`import resilient_agent` costs next to nothing: each name loads its room when it is first used."""
    code = (
        "import sys; import resilient_agent; "
        "loaded = {name for name in sys.modules if name.split('.')[0] in {'tenacity', 'anyio', 'asyncio'}}; "
        "rooms = {name for name in sys.modules if name.startswith('resilient_agent.')}; "
        "print(sorted(loaded | rooms))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
