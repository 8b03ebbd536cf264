"""README, docstrings and examples say what the code does: all of them are run."""

import ast
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_agent
from resilient_agent import _scope
from resilient_agent.testing import FakeLLM

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(resilient_agent.__path__, "resilient_agent.") if "__main__" not in name
]


@pytest.fixture
def home(tmp_path):
    """An environment in which documentation can be run: a model that answers, and a folder for sessions."""
    with FakeLLM() as llm:
        yield {
            **os.environ,
            "OPENAI_BASE_URL": llm.openai_base_url,
            "OPENAI_API_KEY": "test",
            "RESILIENT_AGENT_HOME": str(tmp_path),
        }


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_each_block_of_the_readme_runs(number, home):
    """A newcomer can paste any Python block of the README into a file and run it."""
    code = "import sys; exec(compile(sys.stdin.read(), 'README', 'exec'), {'__name__': '__main__'})"
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(command, input=BLOCKS[number], env=home, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    for promised in re.findall(r"^# (\w+ \| .*)$", BLOCKS[number], re.MULTILINE):
        assert promised in ran.stdout


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_run(module, monkeypatch, tmp_path):
    """Every example in a docstring gives what it says."""
    monkeypatch.setenv("RESILIENT_AGENT_HOME", str(tmp_path))
    monkeypatch.setattr(_scope, "asked_for", 1)  # some of them ask, as a program does that imports what they import
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert failed == 0


def test_every_public_name_has_a_docstring_and_is_in_the_readme_or_an_example():
    """Nothing that users can import is left unexplained."""
    shown = README + "".join(path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py"))
    secondary = {"AsyncSession", "Session", "Interruption", "StoredSession", "Resilient", "FileStore", "Classification"}
    secondary |= {"Explanation", "NearMiss"}  # what `explain` gives
    secondary |= {"AttemptReport", "CallReport", "CurrentAttempt", "Attempts", "Schedule", "BreakerState"}  # likewise
    secondary |= {"Effect", "OpenCall", "Pending"}  # what a session shows
    errors = {name for name in resilient_agent.__all__ if name in vars(resilient_agent.errors)}
    for name in resilient_agent.__all__:
        assert getattr(resilient_agent, name).__doc__, name
        assert name in secondary | errors or name in shown, name


def test_every_public_function_shows_how_it_is_called():
    """Its docstring has an example, which is run with the others."""
    functions = [name for name in resilient_agent.__all__ if inspect.isfunction(getattr(resilient_agent, name))]
    assert [name for name in functions if ">>> " not in getattr(resilient_agent, name).__doc__] == []


def test_the_front_door_lists_what_it_opens():
    """`__all__`, the lazy rooms and `dir()` agree, and an unknown name is an AttributeError."""
    assert sorted(resilient_agent.__all__) == sorted(resilient_agent._ROOMS)
    assert set(resilient_agent.__all__) <= set(dir(resilient_agent))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = resilient_agent.no_such_name


def test_a_room_that_cannot_be_loaded_is_not_taken_for_a_name_that_is_not_there(monkeypatch):
    """An AttributeError in it, as of a driver of another version, comes with its text out of `from ... import`."""

    def load(_):
        raise AttributeError("module 'redis' has no attribute 'RedisCluster'")

    monkeypatch.delitem(vars(resilient_agent), "RedisStore", raising=False)
    monkeypatch.setattr("importlib.import_module", load)
    with pytest.raises(ImportError, match="RedisCluster"):
        from resilient_agent import RedisStore  # noqa: F401


def test_the_changelog_has_an_unreleased_section():
    """What changed since the last release stands under its heading."""
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_test_has_a_sentence():
    """Each test says in one line which behaviour it holds."""
    silent = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                doc = ast.get_docstring(node)
                if not doc or "\n" in doc:
                    silent.append(f"{path.name}: {node.name}")
    assert silent == []
