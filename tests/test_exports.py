# SPDX-License-Identifier: Apache-2.0
"""The public names: they exist, are typed, documented and listed in one place."""

import ast
import inspect
from pathlib import Path

import pytest

import rosin

STUB = Path(rosin.__file__).with_suffix(".pyi")


@pytest.mark.parametrize("name", rosin.__all__)
def test_every_public_name_has_a_docstring_with_an_example(name):
    value = getattr(rosin, name)
    if name in ("Array", "Key", "Buffer", "Static"):
        return  # words of signatures
    assert value.__doc__
    if not (inspect.isclass(value) and issubclass(value, (Exception, tuple))):
        assert ">>>" in value.__doc__ or name == "OptimiserState"


def test_the_type_stub_names_the_same_things_in_the_same_homes():
    imports = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            imports |= {alias.asname: node.module for alias in node.names}
    assert imports == rosin._HOME


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Dens'"):
        rosin.Dens  # noqa: B018  the access is what is tested


def test_dir_lists_the_public_names():
    assert set(rosin.__all__) <= set(dir(rosin))


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert rosin.__version__ == version("rosin")
