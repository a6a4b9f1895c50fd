# SPDX-License-Identifier: Apache-2.0
"""The public names: they exist, are typed, documented and listed in one place."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import rosin
from rosin import functional


@pytest.mark.parametrize("name", rosin.__all__)
def test_every_public_name_has_a_docstring_with_an_example(name):
    value = getattr(rosin, name)
    if name in ("Array", "Key", "Buffer", "Static"):
        return  # words of signatures
    assert value.__doc__
    if not (inspect.isclass(value) and issubclass(value, (Exception, tuple))):
        assert ">>>" in value.__doc__ or name == "OptimiserState"


def test_the_type_stubs_are_those_that_scripts_stub_writes():
    for package, homes in (("rosin", rosin._HOMES), ("rosin.functional", functional._homes())):
        imports = {}
        for node in ast.parse(stub_of(package)).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    itself = f".{alias.name}" if node.module == package else ""
                    imports[alias.asname] = f"{node.module}{itself}"
        assert imports == homes, "run python scripts/stub.py"


def stub_of(package):
    return Path(importlib.import_module(package).__file__).with_suffix(".pyi").read_text()


def shown_functions(path):
    """Name the functions that a file defines under a plain name and shows with an example."""
    functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
    for node in functions:
        shown = ">>>" in (ast.get_docstring(node) or "")
        if shown and not node.name.startswith(("_", "expect_")):
            yield node.name


def test_every_public_function_is_an_attribute_of_functional():
    root = Path(functional.__file__).parent
    found = [
        (name, f"rosin.functional.{path.relative_to(root).parts[0].removesuffix('.py')}")
        for path in sorted(root.rglob("*.py"))
        if path.parent != root or path.stem != "__init__"
        for name in shown_functions(path)
    ]
    names = [name for name, _ in found]
    modules = {found.name for found in pkgutil.iter_modules(functional.__path__)}
    assert len(set(names)) == len(names), "two functions have one name"
    assert not modules & set(names), "a function has the name of a module"
    homes = {name: home for name, home in functional._homes().items() if name not in modules}
    assert homes == dict(found)
    assert rosin.functional.orthogonal is functional.initialisers.orthogonal
    assert set(names) <= set(dir(functional))


def test_an_unknown_name_is_an_attribute_error_that_names_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'Dens'; 'Dense' is the nearest"):
        rosin.Dens
    with pytest.raises(AttributeError, match=r"no attribute 'xyzzy'$"):
        rosin.xyzzy
    with pytest.raises(AttributeError, match="'conv' is the nearest"):
        functional.conf
    with pytest.raises(AttributeError, match="'relu' is the nearest"):
        rosin.ReLU
    with pytest.raises(AttributeError, match="'Linear'; here it is 'Dense'"):
        rosin.Linear
    assert not hasattr(rosin, "__path_of_nothing__")


def test_the_names_of_other_libraries_lead_to_public_ones():
    assert set(rosin.FOREIGN.values()) <= set(rosin.__all__)
    assert not set(rosin.FOREIGN) & set(rosin.__all__)


def test_dir_lists_the_public_names():
    assert set(rosin.__all__) | {"functional", "__version__"} <= set(dir(rosin))


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert rosin.__version__ == version("rosin")
