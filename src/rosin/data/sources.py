# SPDX-License-Identifier: Apache-2.0
"""What batches are read from: `source[int64 indices] -> batch`, and arrays as a source.

A source is any object with a length that takes an array of indices at once. Arrays come
alone or in tuples, named tuples and dicts of any depth, and the first axis counts the
observations. Lists are refused: nobody can tell a list of observations from a list of
arrays that run in parallel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.types import PyTree
from rosin.core.validation import refuse
from rosin.data.order import Indices
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError, shown


class Source(Protocol):
    """Anything that has a length and hands out many observations at once.

    The indices are whole numbers from 0 to `len(source) - 1`, in any order, and cannot be
    written to. What comes back is the batch: arrays whose first axis is as long as the
    indices, in any tree. They are new at each call and never written to again, because
    JAX may read the memory of a NumPy array long after it was handed over.

    Examples:
        >>> class Squares:
        ...     def __len__(self):
        ...         return 1000
        ...
        ...     def __getitem__(self, indices):
        ...         return indices**2
        >>> Squares()[np.array([2, 3])]
        array([4, 9])
    """

    def __len__(self) -> int:
        """Count the observations."""
        ...

    def __getitem__(self, indices: Indices, /) -> PyTree:
        """Return the batch of the observations at `indices`."""
        ...


def mapped(function: Callable[[Any, str], Any], tree: PyTree, path: str = "data") -> PyTree:
    """Apply `function(leaf, path)` to what is no tuple, named tuple or dict.

    Dicts keep the order of their keys.

    Examples:
        >>> mapped(lambda leaf, path: f"{leaf} at {path}", (1, {"b": 2, "a": 3}))
        ('1 at data[0]', {'b': "2 at data[1]['b']", 'a': "3 at data[1]['a']"})
    """
    if isinstance(tree, dict):
        return {key: mapped(function, part, f"{path}[{key!r}]") for key, part in tree.items()}
    if not isinstance(tree, tuple):
        return function(tree, path)
    fields: tuple[str, ...] | None = getattr(tree, "_fields", None)
    if fields is None:
        return tuple(mapped(function, part, f"{path}[{i}]") for i, part in enumerate(tree))
    named = zip(fields, tree, strict=True)
    return type(tree)(*(mapped(function, part, f"{path}.{name}") for name, part in named))


def is_source(data: object) -> TypeGuard[Source]:
    """Tell whether data reads itself, rather than being arrays or what is mistaken for them.

    Examples:
        >>> is_source(ArraySource(np.zeros(3))), is_source(np.zeros(3)), is_source([1, 2])
        (True, False, False)
    """
    if isinstance(data, (type, tuple, Mapping, Sequence)) or hasattr(data, "__array__"):
        return False
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


def count(data: PyTree, *, subject: str) -> int:
    """Count the observations of a source or of arrays, having checked each array.

    Raises:
        ShapeError: Arrays differ in length or have no axis, or there is no observation.
        DtypeError: An array holds Python objects or random keys.
        StructureError: Something is neither a source nor arrays.

    Examples:
        >>> count((np.zeros((5, 2)), {"label": np.ones(5)}), subject="count")
        5
    """
    lengths = {"data": len(data)} if is_source(data) else _lengths(data, subject)
    distinct = set(lengths.values())
    if len(distinct) > 1:
        refuse(
            ShapeError,
            subject=subject,
            expected="arrays of equal length on the first axis",
            got=f"lengths from {min(distinct)} to {max(distinct)}",
            fix="put the observations on the first axis of every array",
            details=tuple(f"{path}: {length} observations" for path, length in lengths.items()),
        )
    if distinct == {0}:
        refuse(
            ShapeError,
            subject=subject,
            expected="data with at least one observation",
            got="0 observations",
            fix="check what the data was read or selected from",
        )
    return distinct.pop()


def _lengths(data: PyTree, subject: str) -> dict[str, int]:
    lengths: dict[str, int] = {}

    def measure(leaf: object, path: str) -> None:
        lengths[path] = len(_array(leaf, path, subject))

    mapped(measure, data)
    if not lengths:
        refuse(
            StructureError,
            subject=subject,
            expected="data with at least one array",
            got=shown(data),
            fix="pass an array, or a tuple or dict of arrays",
        )
    return lengths


def _array(leaf: Any, path: str, subject: str) -> jax.Array | np.ndarray[Any, Any]:
    """Return the leaf if it is an array of observations, and refuse it otherwise."""
    array = isinstance(leaf, (jax.Array, np.ndarray)) and not isinstance(leaf, np.ma.MaskedArray)
    if isinstance(leaf, (bool, int, float, complex, np.generic)) or (array and leaf.ndim == 0):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{path} with a first axis that counts the observations",
            got=shown(leaf),
            fix="pass one value for each observation, or leave it out of the data",
        )
    if not array:
        refuse(
            StructureError,
            subject=subject,
            expected=f"{path} to be a NumPy or JAX array",
            got=_kind(leaf),
            fix=_conversion(leaf),
        )
    keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    if keys or leaf.dtype.hasobject:
        refuse(
            DtypeError,
            subject=subject,
            expected=f"{path} to hold numbers or text",
            got=shown(leaf),
            fix="pass jax.random.key_data(keys)" if keys else "convert it with .astype(np.float32)",
        )
    return leaf


def _kind(leaf: object) -> str:
    """Show what is no array without what it holds, which may be the data."""
    plain = leaf is None or isinstance(leaf, (type, np.ndarray))
    return shown(leaf) if plain else f"an object of class {type(leaf).__name__}"


def _conversion(leaf: object) -> str:
    """Say how to make arrays of what is none."""
    if isinstance(leaf, list):
        return "join its items with np.stack, or pass a tuple if they run in parallel"
    if isinstance(leaf, np.ma.MaskedArray):
        return "fill in what is masked with .filled(value)"
    if isinstance(leaf, Mapping):
        return "convert it with dict(data)"
    return "convert it with np.asarray"


def as_source(data: PyTree, *, subject: str) -> Source:
    """Return data that is a source as it is, and arrays as an `ArraySource`.

    Raises:
        ShapeError: Arrays differ in length or have no axis, or there is no observation.
        DtypeError: An array holds Python objects or random keys.
        StructureError: Something is neither a source nor arrays.

    Examples:
        >>> len(as_source(np.zeros((5, 2)), subject="as_source"))
        5
    """
    count(data, subject=subject)
    return data if is_source(data) else ArraySource(data)


class ArraySource:
    """Arrays in memory as a source.

    JAX arrays are copied to the host once, if they are not there. NumPy arrays are neither
    copied nor changed: a later change of theirs shows in later batches. A batch comes in
    the precision and byte order that JAX takes, so with 64-bit mode off (the default)
    float64 becomes float32 and complex128 becomes complex64; integers keep their width.

    Args:
        data: An array, or a tuple, named tuple or dict of arrays, of any depth; the first
            axis of each counts the observations.

    Raises:
        ShapeError: Arrays differ in length or have no axis, or there is no observation.
        DtypeError: An array holds Python objects or random keys.
        StructureError: Something is not an array.

    Examples:
        >>> source = ArraySource({"x": np.arange(3.0), "label": np.array([7, 8, 9])})
        >>> source[np.array([2, 0])]
        {'x': array([2., 0.], dtype=float32), 'label': array([9, 7])}
    """

    def __init__(self, data: PyTree) -> None:
        self._length = count(data, subject="ArraySource")
        self.arrays = mapped(lambda leaf, _: np.asarray(leaf), data)

    def __len__(self) -> int:
        """Count the observations."""
        return self._length

    def __getitem__(self, indices: Indices, /) -> PyTree:
        """Copy the observations at `indices` into new arrays.

        Raises:
            RangeError: A float64 is too large for the float32 that JAX would make of it.
        """
        return mapped(lambda array, path: _taken(array, indices, path), self.arrays)

    def __repr__(self) -> str:
        """Show dtype and shape of each array."""
        return f"ArraySource({described(self.arrays)})"


def _taken(array: np.ndarray[Any, Any], indices: Indices, path: str) -> np.ndarray[Any, Any]:
    batch = np.take(array, indices, axis=0)
    dtype = batch.dtype if batch.dtype.isnative else batch.dtype.newbyteorder("=")
    if dtype.char in "dD":  # float64 and complex128; integers are left as they are
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    if dtype == batch.dtype:
        return batch
    try:
        with np.errstate(over="raise"):
            return batch.astype(dtype)
    except FloatingPointError:
        refuse(
            RangeError,
            subject="ArraySource",
            expected=f"{path} with values that {dtype} can hold, of at most 3.4e38",
            got=shown(batch),
            fix="rescale the array, or turn on 64-bit mode with jax.config.update",
        )


class Subset:
    """Some observations of another source, in an order of their own.

    Args:
        source: Where the observations are read from.
        rows: Their indices in that source.

    Examples:
        >>> odd = Subset(ArraySource(np.arange(6)), np.array([1, 3, 5]))
        >>> len(odd), odd[np.array([2, 0])]
        (3, array([5, 1]))
    """

    def __init__(self, source: Source, rows: Indices) -> None:
        self._source = source
        self._rows = rows

    def __len__(self) -> int:
        """Count the observations."""
        return len(self._rows)

    def __getitem__(self, indices: Indices, /) -> PyTree:
        """Return the batch of the observations at `indices`, counted in the subset."""
        return self._source[self._rows[indices]]

    def __repr__(self) -> str:
        """Show the source and how many of its observations these are."""
        return f"Subset({self._source!r}, {shown(self._rows)})"


def described(data: PyTree) -> str:
    """Write data down with each array as dtype[shape].

    Examples:
        >>> described((np.zeros((5, 2), np.float32), {"label": np.ones(5, np.int32)}))
        "(float32[5,2], {'label': int32[5]})"
    """
    if isinstance(data, dict):
        return "{" + ", ".join(f"{key!r}: {described(part)}" for key, part in data.items()) + "}"
    if not isinstance(data, tuple):
        return shown(data)
    fields: tuple[str, ...] | None = getattr(data, "_fields", None)
    if fields is None:
        return "(" + ", ".join(map(described, data)) + ("," if len(data) == 1 else "") + ")"
    named = zip(fields, data, strict=True)
    parts = ", ".join(f"{name}={described(part)}" for name, part in named)
    return f"{type(data).__name__}({parts})"
