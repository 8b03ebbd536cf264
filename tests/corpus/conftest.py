"""The corpus for the tests in this folder.

Pytest imports test modules here by path, so that they cannot import their neighbours. The helper modules are therefore
made a package in this one place, under a name of its own (its path is this folder), and given out as fixtures:

corpus   the module building.py: `load()`, `build(row)`, `way(row)`
row      each row of each file in rows/, one after the other
error    the exception of `row`
field_row  each row of the files field_*: met in the field after the classifier was first measured
swap_row each row that was an answer, a stream or a text, and has ids, counts, hosts or models that can be swapped
shape    each recorded shape
scenario the name of each scenario that a row may name
helper   what imports another helper module by its name
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

PACKAGE = "error_corpus"


def _package():
    if PACKAGE not in sys.modules:
        spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(Path(__file__).parent)]
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{PACKAGE}.building")


_building = _package()


def pytest_generate_tests(metafunc):
    """Run a test once for each row, recorded shape or scenario that it takes."""
    if "row" in metafunc.fixturenames:
        metafunc.parametrize("row", _building.load(), ids=lambda row: row["id"])
    if "field_row" in metafunc.fixturenames:
        metafunc.parametrize("field_row", _building.load("field_*"), ids=lambda row: row["id"])
    if "swap_row" in metafunc.fixturenames:
        swapping = importlib.import_module(f"{PACKAGE}.swapping")
        rows = [row for row in _building.load() if row["kind"] != "exc" and swapping.changes(row)]
        metafunc.parametrize("swap_row", rows, ids=lambda row: row["id"])
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", sorted(_building.scenarios.SCENARIOS))
    if "shape" in metafunc.fixturenames:
        shapes = _building.recorded()
        metafunc.parametrize("shape", shapes.values(), ids=shapes.keys())


@pytest.fixture(scope="session")
def corpus():
    """Give the module that loads rows and builds their exceptions, and stop its server in the end."""
    yield _building
    _building.close()


@pytest.fixture
def error(corpus, row):
    """Give the exception of a row; only a row that refers to one which is not here is passed over."""
    try:
        return corpus.build(row)
    except corpus.AbsentRow as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="session")
def helper():
    """Give the function that imports a helper module of this folder by its name."""
    return lambda name: importlib.import_module(f"{PACKAGE}.{name}")
