# SPDX-License-Identifier: Apache-2.0
"""How a module prints: as the call that builds it, broken over lines where it is long."""

from collections.abc import Callable
from typing import Any

import jax

from rosin.errors import shown

LINE_CHARACTERS = 88


def call_text(module: Any) -> str:
    """Spell `Name(arguments)` from what the module's `__rich_repr__` yields."""
    return _call(type(module).__name__, list(_arguments(module)), indent=0)


def _arguments(module: Any) -> list[tuple[str, Any]]:
    arguments: list[tuple[str, Any]] = []
    for item in module.__rich_repr__():
        match item:
            case (str(name), value, default):
                if value is not default and not _plainly_equal(value, default):
                    arguments.append((f"{name}=", value))
            case (str(name), value):
                arguments.append((f"{name}=", value))
            case _:
                arguments.append(("", item))
    return arguments


def _plainly_equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not isinstance(value, jax.Array) and value == default


def _call(name: str, arguments: list[tuple[str, Any]], indent: int) -> str:
    flat = [f"{label}{value_text(value, indent)}" for label, value in arguments]
    line = f"{name}({', '.join(flat)})"
    if "\n" not in line and len(line) + indent <= LINE_CHARACTERS:
        return line
    pad = " " * (indent + 4)
    body = [f"{pad}{label}{value_text(value, indent + 4)},\n" for label, value in arguments]
    return f"{name}(\n{''.join(body)}{' ' * indent})"


def value_text(value: Any, indent: int = 0) -> str:
    """Spell one argument: functions by name, arrays as dtype[shape], modules as calls."""
    if hasattr(value, "__rich_repr__") and not isinstance(value, type):
        return _call(type(value).__name__, _arguments(value), indent)
    if isinstance(value, jax.Array) or (hasattr(value, "dtype") and hasattr(value, "shape")):
        return shown(value)
    if isinstance(value, tuple):
        inner: list[tuple[str, Any]] = [("", item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        text = _call("", inner, indent)
        return f"{text[:-1]},)" if len(inner) == 1 and "\n" not in text else text
    if isinstance(value, dict):
        pairs = ", ".join(f"{k!r}: {value_text(v, indent)}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return f"{{{pairs}}}"
    return function_name(value) if callable(value) else repr(value)


def function_name(function: Callable[..., Any]) -> str:
    """Spell a function as its name, and a partial one as the call that makes it."""
    bound = getattr(function, "keywords", None)
    inner = getattr(function, "func", None)
    if inner is not None and bound is not None:
        given = [*map(repr, getattr(function, "args", ())), *(f"{k}={v!r}" for k, v in bound.items())]
        return f"partial({', '.join([function_name(inner), *given])})"
    return getattr(function, "__name__", None) or repr(function)
