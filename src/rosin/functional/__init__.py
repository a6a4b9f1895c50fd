# SPDX-License-Identifier: Apache-2.0
"""Arrays in, arrays out: what layers compute, and what losses and loops are written with.

Every public function of the modules here is an attribute of this package, found when it
is first used: `rosin.functional.conv`. There is no table to keep: public is what a module
defines under a plain name and shows with an example.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from rosin.core.lazy import lazily


@functools.cache
def _homes() -> Mapping[str, str]:
    """Tell for each public function, and each module, of this package where it stands."""
    modules = [f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__)]
    functions = {
        name: module
        for module in modules
        for name, value in vars(importlib.import_module(module)).items()
        if not name.startswith(("_", "expect_")) and _is_shown_in(value, module)
    }
    return {**{module.rpartition(".")[2]: module for module in modules}, **functions}


def _is_shown_in(value: object, module: str) -> bool:
    """Tell whether a value is a function that a module, or a part of it, defines and shows."""
    home = getattr(value, "__module__", None) or ""
    shown = ">>>" in (getattr(value, "__doc__", None) or "")
    return shown and not isinstance(value, type) and f"{home}.".startswith(f"{module}.")


__getattr__, __dir__ = lazily(__name__, _homes)
