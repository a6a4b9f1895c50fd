# SPDX-License-Identifier: Apache-2.0
"""How a module prints: as the call that builds it, broken over lines where it is long."""

from collections.abc import Callable, Iterable
from typing import Any

from rosin.errors import shown

LINE_CHARACTERS = 88
MAX_NESTING = 40


def call_text(module: Any) -> str:
    """Spell `Name(arguments)` from what the module's `__rich_repr__` yields."""
    return _Text(module).lines(0)


def value_text(value: Any) -> str:
    """Spell a value on one line: functions by name, arrays as dtype[shape], modules as calls."""
    return _Text(value).line


class _Text:
    """One value, on one line and taken apart; each value is spelled once."""

    def __init__(self, value: Any, depth: int = 0) -> None:
        parts = _parts(value) if depth < MAX_NESTING else ("…", [], "")
        self.opening, arguments, self.closing = parts or (_atom(value), [], "")
        self.arguments = [(label, _Text(inner, depth + 1)) for label, inner in arguments]
        inside = ", ".join(f"{label}{text.line}" for label, text in self.arguments)
        comma = "," if type(value) is tuple and len(arguments) == 1 else ""
        self.line = f"{self.opening}{inside}{comma}{self.closing}"

    def lines(self, indent: int) -> str:
        """Spell on one line if it fits, else with one argument on each line."""
        if not self.arguments or len(self.line) + indent <= LINE_CHARACTERS:
            return self.line
        pad = " " * (indent + 4)
        body = "".join(f"{pad}{label}{t.lines(indent + 4)},\n" for label, t in self.arguments)
        return f"{self.opening}\n{body}{' ' * indent}{self.closing}"


def _atom(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return shown(value)
    return function_name(value) if callable(value) else repr(value)


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """Take apart what may span lines: opening, labelled arguments, closing."""
    if hasattr(value, "__rich_repr__") and not isinstance(value, type):
        named = getattr(type(value), "_shown_name", None)
        name = named(value) if named else type(value).__name__
        return f"{name}(", _arguments(value), ")"
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
