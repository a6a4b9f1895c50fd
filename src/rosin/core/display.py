# SPDX-License-Identifier: Apache-2.0
"""How a module prints: as the call that builds it, broken over lines where it is long."""

from collections.abc import Callable, Iterable
from typing import Any

from rosin.errors import shown

LINE_CHARACTERS = 88


def call_text(module: Any) -> str:
    """Spell `Name(arguments)` from what the module's `__rich_repr__` yields."""
    return _lines(module, 0)


def _lines(value: Any, indent: int) -> str:
    """Spell a value on one line if it fits, else one argument on each line."""
    line = value_text(value)
    parts = _parts(value)
    if parts is None or len(line) + indent <= LINE_CHARACTERS:
        return line
    opening, arguments, closing = parts
    pad = " " * (indent + 4)
    body = [f"{pad}{label}{_lines(inner, indent + 4)},\n" for label, inner in arguments]
    return f"{opening}\n{''.join(body)}{' ' * indent}{closing}"


def value_text(value: Any) -> str:
    """Spell a value on one line: functions by name, arrays as dtype[shape], modules as calls."""
    parts = _parts(value)
    if parts is not None:
        opening, arguments, closing = parts
        inside = ", ".join([f"{label}{value_text(inner)}" for label, inner in arguments])
        comma = "," if type(value) is tuple and len(arguments) == 1 else ""
        return f"{opening}{inside}{comma}{closing}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return shown(value)
    return function_name(value) if callable(value) else repr(value)


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """Take apart what may span lines: opening, labelled arguments, closing."""
    if hasattr(value, "__rich_repr__") and not isinstance(value, type):
        return f"{type(value).__name__}(", _arguments(value), ")"
    if isinstance(value, dict):
        return "{", [(f"{key!r}: ", inner) for key, inner in value.items()], "}"
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        opening, closing = "()" if isinstance(value, tuple) else "[]"
        return opening, [("", inner) for inner in value], closing
    return None


def _arguments(module: Any) -> list[tuple[str, Any]]:
    try:
        yielded = list(module.__rich_repr__())
    except Exception:  # noqa: BLE001  of a tree that holds other leaves, such as None
        fields = type(module).declared.names
        yielded = [(name, module.__dict__.get(name)) for name in fields]
    return list(_labelled(yielded))


def _labelled(yielded: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    for item in yielded:
        match item:
            case (str(name), value, default):
                if not _same(value, default):
                    yield f"{name}=", value
            case (str(name), value):
                yield f"{name}=", value
            case _:
                yield "", item


def _same(value: Any, default: Any) -> bool:
    """Compare without asking arrays, which have no single answer."""
    if value is default:
        return True
    return type(value) is type(default) and not hasattr(value, "dtype") and value == default


def function_name(function: Callable[..., Any]) -> str:
    """Spell a function as its name, and a partial one as the call that makes it."""
    inner = getattr(function, "func", None)
    named = getattr(function, "keywords", None)
    if inner is not None and named is not None:
        given = [value_text(value) for value in getattr(function, "args", ())]
        given += [f"{name}={value_text(value)}" for name, value in named.items()]
        return f"partial({', '.join([function_name(inner), *given])})"
    return getattr(function, "__name__", None) or repr(function)
