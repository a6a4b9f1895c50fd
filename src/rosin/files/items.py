# SPDX-License-Identifier: Apache-2.0
"""What a file holds under one name, before it is read: an array, a random key, a number."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from rosin.errors import shown


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One thing in a file.

    Args:
        dtype: The dtype of an array; None for a number or a text.
        shape: The shape of an array.
        read: Reads the array into memory of its own, or returns the number or text.
        kind: Of which kind the random keys are that the array holds.
    """

    dtype: np.dtype | None
    shape: tuple[int, ...]
    read: Callable[[], Any]
    kind: str | None = None

    @classmethod
    def of(cls, value: Any) -> "Item":
        """Stand for a value that is at hand."""
        dtype = getattr(value, "dtype", None)
        return cls(dtype, () if dtype is None else tuple(value.shape), lambda: value)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        """Read the array, for what takes whatever NumPy can convert."""
        return np.asarray(self.read())

    def __str__(self) -> str:
        """Describe it as messages do: dtype and shape, or the class of a number."""
        return type(self.read()).__name__ if self.dtype is None else shown(self)
