# SPDX-License-Identifier: Apache-2.0
"""Steps of renaming rules that make one array out of several, or several out of one."""

import dataclasses
from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar, Literal

import numpy as np

from rosin.core.validation import is_whole
from rosin.files.dtypes import converted, is_floating
from rosin.files.steps import (
    Arrays,
    Shape,
    Step,
    expect_axis,
    expect_numbers,
    is_axis,
    refuse_step,
)

MAX_PARTS = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Split(Step):
    """Cut one array into parts along an axis, such as a fused projection.

    Args:
        parts: How many equal parts, or the sizes of all parts.
        axis: The axis.

    Raises:
        RangeError: There is no part, a size is no whole number of at least 1, or `axis`
            is no whole number.

    Examples:
        >>> Split(3, axis=-1).shapes([(4, 12)])
        [(4, 4), (4, 4), (4, 4)]
    """

    parts: int | tuple[int, ...]
    axis: int = 0
    arity: ClassVar[Literal["each", "merge", "part"]] = "part"

    def __post_init__(self) -> None:
        """Check parts and axis."""
        if isinstance(self.parts, tuple):
            expect_numbers("Split", "parts", self.parts, least=1)
        elif not is_whole(self.parts) or not 1 <= self.parts <= MAX_PARTS:
            refuse_step(
                "Split", f"parts from 1 to {MAX_PARTS}, or sizes", self.parts, "pass parts=2"
            )
        expect_axis("Split", self.axis)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        (shape,) = shapes
        sizes = self._sizes(shape[self.axis]) if is_axis(self.axis, shape) else ()
        if not sizes or sum(sizes) != shape[self.axis]:
            wanted = self.parts if isinstance(self.parts, tuple) else f"{self.parts} equal parts"
            return f"an axis {self.axis} of {wanted} for Split"
        return [_with(shape, self.axis, size) for size in sizes]

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays:
        """Cut the array; the parts are views of it."""
        (array,) = arrays
        sizes = self._sizes(array.shape[self.axis])
        return np.split(array, list(accumulate(sizes))[:-1], self.axis)

    def inverse(self, count: int | None) -> "Join":
        """Undo it."""
        del count
        return Join(self.axis, self.parts if isinstance(self.parts, tuple) else None)

    def count(self, count: int | None) -> int | None:
        """Say how many parts there are."""
        del count
        return len(self.parts) if isinstance(self.parts, tuple) else self.parts

    def _sizes(self, whole: int) -> Shape:
        if isinstance(self.parts, tuple):
            return self.parts
        return (whole // self.parts,) * self.parts


@dataclasses.dataclass(frozen=True, slots=True)
class Join(Step):
    """Put arrays end to end along an axis.

    Args:
        axis: The axis.
        sizes: Their sizes there; they must be equal if this is left out.

    Raises:
        RangeError: A size is no whole number of at least 1, or `axis` is no whole number.
    """

    axis: int = 0
    sizes: tuple[int, ...] | None = None
    arity: ClassVar[Literal["each", "merge", "part"]] = "merge"

    def __post_init__(self) -> None:
        """Check axis and sizes."""
        expect_axis("Join", self.axis)
        if self.sizes is not None:
            expect_numbers("Join", "sizes", self.sizes, least=1)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        if not all(is_axis(self.axis, shape) for shape in shapes):
            return f"an axis {self.axis} for Join"
        if len({_with(shape, self.axis, 0) for shape in shapes}) > 1:
            return f"shapes that differ in axis {self.axis} only for Join"
        found = tuple(shape[self.axis] for shape in shapes)
        if found != (self.sizes or found[:1] * len(found)):
            return f"sizes {self.sizes or 'that are equal'} along axis {self.axis} for Join"
        return [_with(shapes[0], self.axis, sum(found))]

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays:
        """Join the arrays."""
        return [np.concatenate(arrays, self.axis)]

    def inverse(self, count: int | None) -> Split | None:
        """Undo it, if it is known how many arrays were joined."""
        parts = self.sizes or count
        return None if parts is None else Split(parts, self.axis)


@dataclasses.dataclass(frozen=True, slots=True)
class Stack(Step):
    """Put arrays of equal shape side by side along a new axis.

    Args:
        axis: Where the new axis stands among those of the result.

    Raises:
        RangeError: `axis` is no whole number.
    """

    axis: int = 0
    arity: ClassVar[Literal["each", "merge", "part"]] = "merge"

    def __post_init__(self) -> None:
        """Check the axis."""
        expect_axis("Stack", self.axis)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        if len(set(shapes)) > 1:
            return "equal shapes for Stack"
        shape = shapes[0]
        if not is_axis(self.axis, (*shape, 1)):
            return f"room for an axis {self.axis} for Stack"
        place = self.axis % (len(shape) + 1)
        return [(*shape[:place], len(shapes), *shape[place:])]

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays:
        """Stack the arrays."""
        return [np.stack(arrays, self.axis)]

    def inverse(self, count: int | None) -> "Unstack":
        """Undo it."""
        del count
        return Unstack(self.axis)


@dataclasses.dataclass(frozen=True, slots=True)
class Unstack(Step):
    """Take one array apart along an axis, which goes.

    Args:
        axis: The axis.

    Raises:
        RangeError: `axis` is no whole number.
    """

    axis: int = 0
    arity: ClassVar[Literal["each", "merge", "part"]] = "part"

    def __post_init__(self) -> None:
        """Check the axis."""
        expect_axis("Unstack", self.axis)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        (shape,) = shapes
        if not is_axis(self.axis, shape) or not 1 <= shape[self.axis] <= MAX_PARTS:
            return f"an axis {self.axis} of length 1 to {MAX_PARTS} for Unstack"
        place = self.axis % len(shape)
        return [(*shape[:place], *shape[place + 1 :])] * shape[place]

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays:
        """Take the array apart; the parts are views of it."""
        (array,) = arrays
        return list(np.moveaxis(array, self.axis, 0))

    def count(self, count: int | None) -> int | None:
        """Leave the number of parts to the array."""
        del count
        return None

    def inverse(self, count: int | None) -> Stack:
        """Undo it."""
        del count
        return Stack(self.axis)


@dataclasses.dataclass(frozen=True, slots=True)
class Add(Step):
    """Add arrays of equal shape, such as the two biases of PyTorch's recurrent layers."""

    arity: ClassVar[Literal["each", "merge", "part"]] = "merge"

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        return [shapes[0]] if len(set(shapes)) == 1 else "equal shapes for Add"

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays | str:
        """Add the arrays, in float64, and round once."""
        dtype = arrays[0].dtype
        if not is_floating(dtype):
            return "floating-point arrays for Add"
        total = arrays[0].astype(np.float64)
        for array in arrays[1:]:
            total += array.astype(np.float64)
        rounded = converted(total, dtype)
        return f"sums that {dtype} can hold for Add" if rounded is None else [rounded]


@dataclasses.dataclass(frozen=True, slots=True)
class Same(Step):
    """Keep one of several arrays that are equal bit for bit, such as tied weights.

    That they are is checked.
    """

    arity: ClassVar[Literal["each", "merge", "part"]] = "merge"

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        return [shapes[0]] if len(set(shapes)) == 1 else "equal shapes for Same"

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays | str:
        """Compare the arrays and keep the first."""
        first, *others = map(_bits, arrays)
        equal = all(np.array_equal(first, other) for other in others)
        return [arrays[0]] if equal else "equal values for Same"


def _bits(array: np.ndarray) -> np.ndarray:
    """View an array as its bytes, so that NaN equals itself and 0 is not -0."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    changed = list(shape)
    changed[axis] = size
    return tuple(changed)
