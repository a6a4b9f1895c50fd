# SPDX-License-Identifier: Apache-2.0
"""Steps of renaming rules that change the layout of each array: order and direction of axes."""

import dataclasses
import math

import numpy as np

from rosin.core.validation import expect_kind
from rosin.files.steps import Each, Shape, expect_axis, expect_numbers, is_axis, refuse_step


@dataclasses.dataclass(frozen=True, slots=True)
class Transpose(Each):
    """Put the axes of each array in another order.

    Args:
        axes: A letter for each axis before and after, such as `"OIHW->HWIO"` for a
            kernel of PyTorch or `"OI->IO"` for a dense weight.

    Raises:
        RangeError: The letters before and after are not the same, each once.

    Examples:
        >>> Transpose("OIHW->HWIO").shapes([(8, 3, 5, 7)])
        [(5, 7, 3, 8)]
    """

    axes: str

    def __post_init__(self) -> None:
        """Check the letters."""
        expect_kind(str, subject="Transpose", axes=self.axes)
        before, arrow, after = self._sides()
        fits = arrow and before.isalpha() and sorted(before) == sorted(after)
        if not fits or len(set(before)) < len(before):
            refuse_step(
                "Transpose",
                "axes to name the same letters, each once, before and after an arrow",
                self.axes,
                'pass, for example, axes="OIHW->HWIO"',
            )

    def inverse(self, count: int | None) -> "Transpose":
        """Undo it."""
        del count
        before, _, after = self._sides()
        return Transpose(f"{after}->{before}")

    def _sides(self) -> tuple[str, str, str]:
        before, arrow, after = self.axes.replace(" ", "").partition("->")
        return before, arrow, after

    def _order(self) -> Shape:
        before, _, after = self._sides()
        return tuple(before.index(letter) for letter in after)

    def _shape(self, shape: Shape) -> Shape | str:
        order = self._order()
        if len(shape) != len(order):
            return f"{len(order)} axes for Transpose({self.axes!r})"
        return tuple(shape[axis] for axis in order)

    def _array(self, array: np.ndarray) -> np.ndarray:
        return array.transpose(self._order())


@dataclasses.dataclass(frozen=True, slots=True)
class Flip(Each):
    """Turn axes of each array round, such as the kernel of a true convolution.

    Args:
        axes: The axes, counted from 0 or from -1 backwards.

    Raises:
        RangeError: `axes` is no tuple of whole numbers.
    """

    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the axes."""
        expect_numbers("Flip", "axes", self.axes)

    def inverse(self, count: int | None) -> "Flip":
        """Undo it by doing it again."""
        del count
        return self

    def _shape(self, shape: Shape) -> Shape | str:
        wrong = [axis for axis in self.axes if not is_axis(axis, shape)]
        return f"an axis {wrong[0]} for Flip" if wrong else shape

    def _array(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, self.axes)


@dataclasses.dataclass(frozen=True, slots=True)
class Reshape(Each):
    """Give each array another shape with as many elements, in C order.

    Args:
        shape: The sizes; one of them may be -1, for what is left.

    Raises:
        RangeError: A size is no whole number of at least 0, or more than one is -1.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the sizes."""
        expect_numbers("Reshape", "shape", self.shape, least=-1)
        if self.shape.count(-1) > 1:
            refuse_step(
                "Reshape", "shape to have at most one -1", self.shape, "write the others out"
            )

    def _shape(self, shape: Shape) -> Shape | str:
        wanted = self._filled(shape)
        fits = math.prod(wanted) == math.prod(shape)
        return wanted if fits else f"a number of elements that fits Reshape({self.shape})"

    def _array(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self._filled(array.shape))

    def _filled(self, shape: Shape) -> Shape:
        """Put what is left in the place of -1."""
        known = math.prod(size for size in self.shape if size >= 0)
        rest = math.prod(shape) // known if known else 0
        return tuple(rest if size < 0 else size for size in self.shape)


@dataclasses.dataclass(frozen=True, slots=True)
class Reorder(Each):
    """Put equal blocks along one axis in another order, such as the gates of a GRU.

    Args:
        order: For each block that comes out, which one it was, counted from 0.
        axis: The axis.

    Raises:
        RangeError: `order` does not name each block once, or `axis` is no whole number.

    Examples:
        >>> Reorder((1, 0)).arrays([np.arange(4)])
        [array([2, 3, 0, 1])]
    """

    order: tuple[int, ...]
    axis: int = 0

    def __post_init__(self) -> None:
        """Check the order."""
        expect_numbers("Reorder", "order", self.order, least=0)
        expect_axis("Reorder", self.axis)
        if sorted(self.order) != list(range(len(self.order))):
            refuse_step(
                "Reorder", "order to name each block once, from 0", self.order, "count from 0"
            )

    def inverse(self, count: int | None) -> "Reorder":
        """Undo it."""
        del count
        return Reorder(tuple(self.order.index(i) for i in range(len(self.order))), self.axis)

    def _shape(self, shape: Shape) -> Shape | str:
        if not is_axis(self.axis, shape) or shape[self.axis] % len(self.order):
            return f"an axis {self.axis} of {len(self.order)} equal blocks for Reorder"
        return shape

    def _array(self, array: np.ndarray) -> np.ndarray:
        blocks = np.split(array, len(self.order), self.axis)
        return np.concatenate([blocks[index] for index in self.order], self.axis)
