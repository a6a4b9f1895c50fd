# SPDX-License-Identifier: Apache-2.0
"""The architecture, held to the code: imports point downwards, importing does no work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rosin

SRC = Path(rosin.__file__).parent

FLOORS = {
    "errors": set(),
    "limits": {"errors"},
    "core": {"errors", "limits"},
    "scan": {"errors", "limits"},
    "functional": {"errors", "limits", "core"},
    "layers": {"errors", "limits", "core", "functional"},
    "optimisers": {"errors", "limits", "core", "functional"},
    "data": {"errors", "limits", "core", "functional"},
    "files": {"errors", "limits", "core", "scan"},
    "training": {"errors", "limits", "core", "functional", "optimisers", "data", "files"},
    "cli": {"__init__", "errors", "limits", "scan", "files"},
}
"""What each package may import beside itself; `__init__` imports nothing but by name."""


def imported(path):
    """List the packages of Rosin that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name == "rosin" or name.startswith("rosin."):
                yield name.partition(".")[2].partition(".")[0] or "__init__"


def files():
    return sorted(path for path in SRC.rglob("*.py") if path.parent != SRC or path.stem[0] != "_")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_point_downwards(path):
    home = path.relative_to(SRC).parts[0].removesuffix(".py")
    assert set(imported(path)) <= FLOORS[home] | {home}


def test_the_floor_test_sees_an_import_that_points_upwards(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from rosin.layers.basic import Dense\n")
    assert not set(imported(bad)) <= FLOORS["core"] | {"core"}


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )


LOADED = "import sys; sys.exit(42 if {names!r} & sys.modules.keys() else 0)"
HEAVY = {"jax", "jaxlib", "numpy", "optax", "ml_dtypes", "rich", "typer", "matplotlib"}


def test_importing_rosin_loads_nothing_heavy():
    program = "import rosin; import rosin.functional; "
    assert run(program + LOADED.format(names=HEAVY)).returncode == 0


def test_the_import_probe_sees_what_is_loaded():
    assert run("import rosin; rosin.Dense; " + LOADED.format(names=HEAVY)).returncode == 42


def test_reading_a_file_of_arrays_needs_no_jax():
    program = "import rosin.files.tensors; " + LOADED.format(names={"jax", "jaxlib", "optax"})
    assert run(program).returncode == 0


AUDIT = """
import sys
def hook(event, arguments):
    if event in ("socket.connect", "subprocess.Popen", "os.system"):
        sys.exit(42)
    if event == "open" and arguments[1] and set(arguments[1]) & set("wax+"):
        sys.exit(42)
sys.dont_write_bytecode = True
sys.addaudithook(hook)
import rosin
{more}
for name in rosin.__all__: getattr(rosin, name)
"""


def test_importing_writes_no_file_and_starts_nothing():
    assert run(AUDIT.format(more="")).returncode == 0


def test_the_audit_probe_sees_a_file_written():
    more = "import tempfile; tempfile.TemporaryFile()"
    assert run(AUDIT.format(more=more)).returncode == 42


def test_no_source_file_is_longer_than_the_budget():
    long = {str(p.relative_to(SRC)): n for p in SRC.rglob("*.py") if (n := lines(p)) > 400}
    assert not long


def lines(path):
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SRC)))
def test_usage_errors_are_worded_in_one_place(path):
    usage = {"UsageError", "ShapeError", "DtypeError", "RangeError", "StructureError", "StateError"}
    raised = {
        node.exc.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    assert not raised & usage or path.name == "limits.py"
