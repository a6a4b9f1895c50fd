# SPDX-License-Identifier: Apache-2.0
"""`auto`: a size that is not known yet, and what may be reckoned with it.

A class that is called with it makes no layer but a note of the call, and `autosize` makes
the layer from the first input that arrives there: `rosin.core.autosize`.
"""

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from rosin.core.locate import walk_modules
from rosin.core.paths import as_where
from rosin.core.validation import expect_at_least, is_whole, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, StateError, StructureError, shown

_SYMBOLS: dict[str, tuple[Callable[[int, int], int], int]] = {
    "+": (operator.add, 2),
    "-": (operator.sub, 2),
    "*": (operator.mul, 1),
    "//": (operator.floordiv, 1),
}
"""What a symbol does, and how loosely it binds."""


class Unfinished:
    """The base of what stands in a model for a layer whose sizes are not known."""


def refuse_unfinished(layer: Unfinished, path: str = "") -> NoReturn:
    """Refuse to do with such a layer what only a built one can do."""
    refuse(
        StateError,
        subject=f"{layer!r} at model{as_where(path)}" if path else layer,
        expected="a layer whose sizes are known",
        got="rs.auto in their place",
        fix="fill them in first: model = rs.autosize(model, (1, 28, 28, 3)), with the shape "
        "of an input",
    )


class Auto:
    """The size of what arrives here, to be filled in by `autosize`.

    `auto` alone is the last axis of the first input. `auto[1]` is that of the second, and
    `auto[0, -2]` the last but one of the first. Sums, differences, products and floor
    divisions with whole numbers are such sizes again: `auto // 4`, `2 * auto + 1`.

    Examples:
        >>> import rosin as rs
        >>> layer = rs.Dense(rs.auto, rs.auto // 2)
        >>> layer
        Dense(auto, auto // 2)
        >>> rs.autosize(layer, (1, 6))
        Dense(6, 3)

    Source:
        Flux.jl `@autosize`, where it is written `_`.
    """

    def __init__(
        self, text: str, size: Callable[[tuple[Any, ...]], int], looseness: int = 0
    ) -> None:
        self.text = text
        self.size = size
        self.looseness = looseness

    def __getitem__(self, place: int | tuple[int, int]) -> "Auto":
        """Take another input, or another axis of it."""
        index, axis = place if isinstance(place, tuple) else (place, -1)
        expect_at_least(0, subject="auto", input=index)
        if not is_whole(axis):
            refuse(
                RangeError,
                subject="auto",
                expected="an axis as a whole number",
                got=shown(axis),
                fix="write auto[0, -2], for example",
            )
        text = f"auto[{index}]" if axis == -1 else f"auto[{index}, {axis}]"
        return Auto(text, lambda inputs: _length(inputs, index, axis))

    def __repr__(self) -> str:
        """Show the size as it is written."""
        return self.text

    def __add__(self, other: Any) -> "Auto":
        """Add a whole number."""
        return _joined(self, "+", other)

    def __radd__(self, other: Any) -> "Auto":
        """Add to a whole number."""
        return _joined(other, "+", self)

    def __sub__(self, other: Any) -> "Auto":
        """Subtract a whole number."""
        return _joined(self, "-", other)

    def __rsub__(self, other: Any) -> "Auto":
        """Subtract from a whole number."""
        return _joined(other, "-", self)

    def __mul__(self, other: Any) -> "Auto":
        """Multiply by a whole number."""
        return _joined(self, "*", other)

    def __rmul__(self, other: Any) -> "Auto":
        """Multiply a whole number."""
        return _joined(other, "*", self)

    def __truediv__(self, other: Any) -> "Auto":
        """Refuse: a size is a whole number."""
        refuse(
            RangeError,
            subject="auto",
            expected="a size to be a whole number",
            got=f"{self!r} / {shown(other)}",
            fix=f"round down with {self!r} // {shown(other)}",
        )

    def __floordiv__(self, other: Any) -> "Auto":
        """Divide by a whole number, and round down."""
        return _joined(self, "//", other)

    def __rfloordiv__(self, other: Any) -> "Auto":
        """Divide a whole number, and round down."""
        return _joined(other, "//", self)


auto: Any = Auto("auto", lambda inputs: _length(inputs, 0, -1))
"""The last axis of the first input, wherever it stands in place of a size; an `Auto`."""


def holds_auto(value: object) -> bool:
    """Tell whether an argument is such a size, or a tuple or list with one inside."""
    if isinstance(value, (tuple, list)):
        return any(map(holds_auto, value))
    return isinstance(value, Auto)


def holds_unfinished(value: object) -> bool:
    """Tell whether an argument is a layer that waits for its sizes, or has one inside."""
    return any(isinstance(module, Unfinished) for _, module in walk_modules(value))


def resolved(value: Any, inputs: tuple[Any, ...]) -> Any:
    """Put numbers in the places of such sizes."""
    if isinstance(value, Auto):
        return value.size(inputs)
    if type(value) in (tuple, list):
        return type(value)(resolved(item, inputs) for item in value)
    return value


def _joined(a: Any, symbol: str, b: Any) -> Auto:
    for operand in (a, b):
        if not isinstance(operand, Auto) and not is_whole(operand):
            refuse(
                RangeError,
                subject="auto",
                expected="a whole number to reckon with",
                got=shown(operand),
                fix="write auto // 2, for example",
            )
    apply, looseness = _SYMBOLS[symbol]

    def size(inputs: tuple[Any, ...]) -> int:
        return apply(resolved(a, inputs), resolved(b, inputs))

    left, right = _spelled(a, looseness), _spelled(b, looseness - 1)
    return Auto(f"{left} {symbol} {right}", size, looseness)


def _spelled(operand: Any, looseness: int) -> str:
    loose = isinstance(operand, Auto) and operand.looseness > looseness
    return f"({operand})" if loose else str(operand)


def _length(inputs: tuple[Any, ...], index: int, axis: int) -> int:
    leaves = jax.tree.leaves(inputs[index : index + 1])
    shape = getattr(leaves[0], "shape", None) if leaves else None
    if shape is None:
        refuse(
            StructureError,
            subject="auto",
            expected=f"an array as input {index}",
            got=f"inputs {shown(inputs)}",
            fix="count inputs from 0, or write the size out",
        )
    if not jnp.issubdtype(leaves[0].dtype, jnp.inexact):
        refuse(
            DtypeError,
            subject="auto",
            expected="an input with features on an axis",
            got=f"{shown(leaves[0])}, whose numbers may be indices",
            fix="write the size out, such as that of the vocabulary",
        )
    if not -len(shape) <= axis < len(shape):
        refuse(
            ShapeError,
            subject="auto",
            expected=f"an input with an axis {axis}",
            got=shown(leaves[0]),
            fix="choose an axis that the input has, or write the size out",
        )
    return shape[axis]
