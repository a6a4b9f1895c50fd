# SPDX-License-Identifier: Apache-2.0
"""The words that signatures use, and the two markers that say what a field is.

A field of a `Module` is a parameter unless its annotation is marked:

- `Buffer[...]` is state: part of the data, saved with the model, never trained;
- `Static[...]` is part of the program: hashable, compared when JAX compares programs.
"""

from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar

import jax
import numpy as np

T = TypeVar("T")

Array: TypeAlias = jax.Array
"""A JAX array (or a tracer that stands for one)."""

ArrayLike: TypeAlias = jax.Array | np.ndarray[Any, Any] | float | int
"""What a function of `rosin.functional` takes in place of an array."""

Key: TypeAlias = jax.Array
"""A typed random key, as made by `jax.random.key`."""

PyTree: TypeAlias = Any
"""Any nesting of modules, tuples, lists, dicts, arrays and None."""

Structure: TypeAlias = Any
"""A `jax.tree_util.PyTreeDef`, which JAX does not offer as a type."""

Activation: TypeAlias = Callable[[Array], Array]
"""An elementwise function."""

Shape: TypeAlias = tuple[int, ...]


class Initialiser(Protocol):
    """Draws the first value of a parameter."""

    def __call__(self, key: Key, shape: Shape, /) -> Array:
        """Return an array of `shape` drawn with `key`."""
        ...


class Marker:
    """Tells what the annotated field is to a model."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        """Show the marker's name."""
        return self.name


BUFFER = Marker("Buffer")
STATIC = Marker("Static")

Buffer = Annotated[T, BUFFER]
Static = Annotated[T, STATIC]
