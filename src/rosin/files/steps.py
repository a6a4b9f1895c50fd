# SPDX-License-Identifier: Apache-2.0
"""What a step of a renaming rule is: a change of arrays that is checked before it is made.

A step maps a list of arrays to another. `shapes` tells beforehand what comes out, or what
does not fit, so that nothing is read or allocated for arrays that do not fit. The steps
themselves stand in `rosin.files.layouts` and `rosin.files.merges`.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NoReturn, TypeAlias

import numpy as np

from rosin.core.validation import is_whole, refuse
from rosin.errors import RangeError, shown

Shape: TypeAlias = tuple[int, ...]
Arrays: TypeAlias = list["np.ndarray[Any, Any]"]


@dataclasses.dataclass(frozen=True, slots=True)
class Step(abc.ABC):
    """One change of arrays.

    Its `arity` says how many it takes and makes: `"each"` changes every array by itself,
    `"merge"` makes one out of several, `"part"` several out of one.
    """

    arity: ClassVar[Literal["each", "merge", "part"]]

    @abc.abstractmethod
    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""

    @abc.abstractmethod
    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays | str:
        """Change arrays whose shapes fit; say so if their values do not."""

    def inverse(self, count: int | None) -> "Step | None":
        """Return the step that undoes this one, if there is one.

        Args:
            count: How many arrays this step takes, if that is known beforehand.
        """
        del count
        return None

    def count(self, count: int | None) -> int | None:
        """Say how many arrays come out of so many, if it is known beforehand."""
        return 1 if self.arity == "merge" else count


@dataclasses.dataclass(frozen=True, slots=True)
class Each(Step):
    """A step that changes every array by itself."""

    arity: ClassVar[Literal["each", "merge", "part"]] = "each"

    @abc.abstractmethod
    def _shape(self, shape: Shape) -> Shape | str: ...

    @abc.abstractmethod
    def _array(self, array: np.ndarray) -> np.ndarray: ...

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape] | str:
        """Say what comes out, or what does not fit."""
        found: list[Shape] = []
        for shape in shapes:
            one = self._shape(shape)
            if isinstance(one, str):
                return one
            found.append(one)
        return found

    def arrays(self, arrays: Sequence[np.ndarray]) -> Arrays:
        """Change each array."""
        return [self._array(array) for array in arrays]


def is_axis(axis: int, shape: Shape) -> bool:
    """Tell whether a shape has an axis, counted from 0 or from -1 backwards."""
    return -len(shape) <= axis < len(shape)


def expect_axis(subject: str, axis: object) -> None:
    """Refuse an axis that is no whole number."""
    if not is_whole(axis):
        refuse_step(subject, "axis to be a whole number", axis, "pass axis=0 for the first")


def expect_numbers(subject: str, name: str, numbers: Any, *, least: int | None = None) -> None:
    """Refuse anything but a non-empty tuple of whole numbers."""
    fits = isinstance(numbers, tuple) and len(numbers) > 0
    if not fits or not all(is_whole(n) and (least is None or n >= least) for n in numbers):
        bound = "" if least is None else f" of at least {least}"
        fix = f"pass, for example, {name}=(0, 1)"
        refuse_step(subject, f"{name} to be a tuple of whole numbers{bound}", numbers, fix)


def refuse_step(subject: str, expected: str, got: object, fix: str) -> NoReturn:
    """Raise what is wrong with the arguments of a step."""
    refuse(RangeError, subject=subject, expected=expected, got=shown(got), fix=fix)
