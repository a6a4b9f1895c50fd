# SPDX-License-Identifier: Apache-2.0
"""When two functions are the same program, so that one compilation serves both."""

import dis
import functools
import types
from collections.abc import Callable
from typing import Any


class SameCode:
    """A function, equal to another made by the same code with the same values around it.

    A lambda written inside a loop is a new object each time; compared like this it does
    not compile again. The values around it are what it captures, its defaults, the object
    it is a method of, and the globals that its own code names; two are the same if they
    are one object.

    Args:
        function: What is called in the end.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.parts = _parts(function)

    def __eq__(self, other: object) -> bool:
        """Compare the parts by identity."""
        return (
            isinstance(other, SameCode)
            and len(self.parts) == len(other.parts)
            and all(a is b for a, b in zip(self.parts, other.parts, strict=True))
        )

    def __hash__(self) -> int:
        """Hash the code."""
        return hash(id(self.parts[0]))


def _parts(function: Callable[..., Any]) -> tuple[Any, ...]:
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    if not isinstance(plain, types.FunctionType):
        return (function,)
    named = [plain.__globals__.get(name) for name in _global_names(plain.__code__)]
    captured = [_content(cell) for cell in plain.__closure__ or ()]
    defaults = [*(plain.__defaults__ or ()), *(plain.__kwdefaults__ or {}).values()]
    owner = getattr(function, "__self__", None)
    return (plain.__code__, plain.__globals__, owner, *named, *captured, *defaults)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name of the outer function that has no value yet
        return None


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """List the globals that a piece of code names, functions written inside it included."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return tuple(sorted(own.union(*map(_global_names, inner))))
