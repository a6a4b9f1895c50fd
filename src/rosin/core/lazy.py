# SPDX-License-Identifier: Apache-2.0
"""Names of a package that are imported when they are first used."""

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


def lazily(
    package: str,
    homes: Callable[[], Mapping[str, str]],
    foreign: Mapping[str, str] = types.MappingProxyType({}),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package.

    Args:
        package: Its name.
        homes: Tells for each public name the module that holds it; for a name that is
            itself a module of the package, that module.
        foreign: What other libraries call what has another name here.

    Examples:
        >>> find, names = lazily("rosin", lambda: {"Limits": "rosin.limits"})
        >>> find("Limits").__name__
        'Limits'
        >>> find("Limit")
        Traceback (most recent call last):
        AttributeError: module 'rosin' has no attribute 'Limit'; 'Limits' is the nearest
    """

    def find(name: str) -> Any:
        home = homes().get(name) if not name.startswith("_") else None
        if home is None:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}{_nearest(name, homes(), foreign)}"
            )
        module = importlib.import_module(home)
        value = module if home == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes()})

    return find, names


def _nearest(name: str, names: Mapping[str, str], foreign: Mapping[str, str]) -> str:
    from difflib import get_close_matches

    if name in foreign:
        return f"; here it is {foreign[name]!r}"
    alike = [n for n in names if n.lower() == name.lower()]  # ReLU for relu
    near = alike or get_close_matches(name, names, n=1)
    return f"; {near[0]!r} is the nearest" if near and not name.startswith("_") else ""
