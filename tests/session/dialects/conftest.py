"""Makes the helper modules of this folder a package, `dialect_tests`: pytest imports test modules by path alone."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

PACKAGE = "dialect_tests"

if PACKAGE not in sys.modules:
    spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [str(Path(__file__).parent)]
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
