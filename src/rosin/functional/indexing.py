# SPDX-License-Identifier: Apache-2.0
"""Reading and writing by index, where an index out of range never goes unnoticed.

An index whose value is known when the call is made is checked. Of a traced one nothing is
known: what it would have read is NaN (of whole numbers the least, of unsigned ones the
greatest), and what it would have written is left out. It is never moved into range.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.types import Array, ArrayLike, Shape
from rosin.core.validation import (
    expect_floating,
    expect_integer,
    expect_one_of,
    expect_sizes,
    refuse,
)
from rosin.errors import RangeError, ShapeError, StructureError, shown

NEUTRAL = {
    "add": 0.0,
    "sub": 0.0,
    "mul": 1.0,
    "div": 1.0,
    "max": -math.inf,
    "min": math.inf,
    "mean": 0.0,
}
"""The operations of `scatter`, and the value each leaves as it is."""


def gather(
    source: ArrayLike, indices: ArrayLike | tuple[ArrayLike, ...], *, subject: object = "gather"
) -> Array:
    r"""Read the entries of an array that the indices name.

    $$y_{k} = x_{i_k}$$

    Args:
        source: Any array; its first axes are looked up.
        indices: Whole numbers from 0, or a tuple of arrays of them, all of one shape, one
            for each of the first axes of `source`.
        subject: Who asks, for the message.

    Shapes:
        - result: the shape of an index array, then the axes of `source` that are not
          looked up.

    Raises:
        DtypeError: The indices are not whole numbers.
        ShapeError: The arrays of indices differ in shape, or are more than the axes.
        RangeError: An index is out of range, as far as its value is known when the call
            is made. Under `jit` such an index gives NaN (of whole numbers the least, of
            unsigned ones the greatest).

    Examples:
        >>> gather(jnp.array([1.0, 2.0]), jnp.array([1, 1, 0]))
        Array([2., 2., 1.], dtype=float32)
        >>> gather(jnp.eye(3), (jnp.array([0, 1]), jnp.array([0, 2])))
        Array([1., 0.], dtype=float32)

    Source:
        NNlib.jl `gather`, over first in place of last axes and from 0. JAX's own
        indexing moves an index into range in silence.
    """
    source = jnp.asarray(source)
    places = _places(indices, subject=subject)
    _expect_in_range(places, source.shape[: len(places)], subject=subject)
    if len(places) > source.ndim:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"at most one array of indices for each axis of {shown(source)}",
            got=f"{len(places)} arrays of indices",
            fix="pass fewer arrays of indices",
        )
    return source.at[places].get(mode="fill", wrap_negative_indices=False)


def scatter(
    operation: str,
    source: ArrayLike,
    indices: ArrayLike | tuple[ArrayLike, ...],
    *,
    size: int | Shape | None = None,
    init: ArrayLike | None = None,
    subject: object = "scatter",
) -> Array:
    r"""Combine entries of an array at the places that the indices name.

    $$y_j = c_j \circ x_{k_1} \circ x_{k_2} \circ \ldots, \qquad i_k = j$$

    Args:
        operation: The $\circ$: "add", "sub", "mul", "div", "max", "min" or "mean". "sub"
            and "div" take all entries from $c_j$; "mean" adds the mean of the entries.
        source: The entries, of floating point for "div" and "mean".
        indices: Whole numbers from 0, or a tuple of arrays of them, all of one shape, one
            for each leading axis of the result.
        size: Lengths of these axes; left out, `init` or else the largest index tells.
        init: The $c$, a number or an array of the result's shape; left out, what the
            operation leaves as it is: 0, 1, or the infinity that every entry beats.
        subject: Who asks, for the message.

    Shapes:
        - source: the shape of an index array, then further axes.
        - result: `size`, then the further axes.

    Raises:
        DtypeError: The indices are not whole numbers, or `source` is not of floating point.
        RangeError: The operation is not one of these, or an index is out of range, as far
            as its value is known when the call is made. Under `jit` the entry of such an
            index is left out.
        ShapeError: The shapes do not fit each other.
        StructureError: The size is not given, and the indices are not known under `jit`.

    Examples:
        >>> scatter("add", jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 0]))
        Array([5., 0., 2.], dtype=float32)
        >>> scatter("max", jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 0]), size=2)
        Array([4., 2.], dtype=float32)

    Source:
        NNlib.jl `scatter`. Equal maxima share the gradient evenly; the gradient of a
        product is that of the other factors, zeros among them or not.
    """
    expect_one_of(tuple(NEUTRAL), subject=subject, operation=operation)
    source = jnp.asarray(source)
    if operation in ("div", "mean"):
        expect_floating(source, subject=subject, name="source")
    places = _places(indices, subject=subject)
    lead = jnp.shape(places[0])
    if source.shape[: len(lead)] != lead:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a source of shape ({', '.join(map(str, lead))}, ...), as the indices",
            got=shown(source),
            fix="pass one entry of source for each index",
        )
    sizes = _sizes(size, init, places, subject=subject)
    _expect_in_range(places, sizes, subject=subject)
    rest = source.shape[len(lead) :]
    start = _start(operation, init, (*sizes, *rest), source.dtype, subject=subject)
    entries = source.reshape(-1, *rest).astype(start.dtype)
    rows = start.reshape(-1, *rest)
    combined = _COMBINE[operation](rows, _rows(places, sizes), entries)
    return combined.reshape(start.shape).astype(source.dtype)


# --- the operations ---------------------------------------------------------------------


def _added(start: Array, rows: Array, entries: Array) -> Array:
    return start.at[rows].add(entries, mode="drop")


def _averaged(start: Array, rows: Array, entries: Array) -> Array:
    counts = jnp.zeros(start.shape[0], start.dtype).at[rows].add(1, mode="drop")
    total = _added(jnp.zeros_like(start), rows, entries)
    return start + total / jnp.expand_dims(jnp.maximum(counts, 1), range(1, start.ndim))


def _multiplied(rows: Array, entries: Array, count: int) -> Array:
    """Multiply the entries of each row: a scan over sorted entries, begun anew at each row.

    JAX has no derivative of its product at repeated indices.
    """
    products = jnp.ones((count, *entries.shape[1:]), entries.dtype)
    if not entries.shape[0]:
        return products
    order = jnp.argsort(rows)
    rows, entries = rows[order], entries[order]
    ends = jnp.append(rows[1:] != rows[:-1], True)
    begins = jnp.expand_dims(jnp.roll(ends, 1), range(1, entries.ndim))

    def joined(before: tuple[Array, Array], after: tuple[Array, Array]) -> tuple[Array, Array]:
        (begun, product), (begins, factor) = before, after
        return begun | begins, jnp.where(begins, 1, product) * factor

    _, running = jax.lax.associative_scan(joined, (begins, entries))
    return products.at[jnp.where(ends, rows, count)].set(running, mode="drop")


_COMBINE: dict[str, Callable[[Array, Array, Array], Array]] = {
    "add": _added,
    "sub": lambda start, rows, entries: _added(start, rows, -entries),
    "mul": lambda start, rows, entries: start * _multiplied(rows, entries, len(start)),
    "div": lambda start, rows, entries: start / _multiplied(rows, entries, len(start)),
    "max": lambda start, rows, entries: start.at[rows].max(entries, mode="drop"),
    "min": lambda start, rows, entries: start.at[rows].min(entries, mode="drop"),
    "mean": _averaged,
}


# --- indices ----------------------------------------------------------------------------


def known(indices: Any) -> np.ndarray[Any, Any] | None:
    """Return the values of indices, or None where they are traced."""
    return None if isinstance(indices, Tracer) else np.asarray(indices)


def _places(indices: Any, *, subject: object) -> tuple[Any, ...]:
    """Take one array of indices or a tuple of them."""
    places = tuple(map(jnp.asarray, indices if isinstance(indices, tuple) else (indices,)))
    if not places or len({jnp.shape(place) for place in places}) > 1:
        refuse(
            ShapeError,
            subject=subject,
            expected="indices as one array, or as a tuple of arrays of one shape",
            got=shown(indices),
            fix="broadcast them first, with jnp.broadcast_arrays",
        )
    for place in places:
        expect_integer(place, subject=subject, name="indices")
    return places


def _expect_in_range(places: tuple[Any, ...], sizes: Shape, *, subject: object) -> None:
    for place, length in zip(places, sizes, strict=False):
        values = known(place)
        if values is None or not values.size:
            continue
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= length:
            refuse(
                RangeError,
                subject=subject,
                expected=f"indices from 0 to {length - 1}",
                got=f"indices from {low} to {high}",
                fix=f"count from 0, and stay below {length}",
            )


def _sizes(size: Any, init: Any, places: tuple[Any, ...], *, subject: object) -> Shape:
    """Tell the lengths of the axes that the indices count along."""
    if size is not None:
        sizes = size if isinstance(size, tuple) else (size,)
        expect_sizes(sizes, subject=subject, name="size", bound=0)
        if len(sizes) != len(places):
            refuse(
                ShapeError,
                subject=subject,
                expected=f"a size with {len(places)} entries, one for each array of indices",
                got=shown(size),
                fix="pass as many lengths as arrays of indices",
            )
        return sizes
    if init is not None and jnp.ndim(init) >= len(places):
        return jnp.shape(init)[: len(places)]
    values = [known(place) for place in places]
    if any(v is None for v in values):
        refuse(
            StructureError,
            subject=subject,
            expected="the size of the result, or an init of its shape",
            got="indices that are not known while jax traces",
            fix="pass size=, for example size=10",
        )
    return tuple(int(v.max()) + 1 if v is not None and v.size else 0 for v in values)


def _start(operation: str, init: Any, shape: Shape, dtype: Any, *, subject: object) -> Array:
    """Make what the entries are combined into, of half types in float32."""
    floating = jnp.issubdtype(dtype, jnp.inexact)
    wide = jnp.promote_types(dtype, jnp.float32) if floating else dtype
    if init is not None and jnp.ndim(init) and jnp.shape(init) != shape:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"init as a number, or of shape {shape}",
            got=shown(init),
            fix="pass one start value for each place of the result",
        )
    if init is not None:
        return jnp.broadcast_to(jnp.asarray(init, wide), shape)
    neutral = NEUTRAL[operation]
    if math.isinf(neutral) and not floating:
        bounds = jnp.iinfo(dtype)
        neutral = bounds.min if neutral < 0 else bounds.max
    return jnp.full(shape, neutral, wide)


def _rows(places: tuple[Array, ...], sizes: Shape) -> Array:
    """Count the places of the result in one row; what is out of range comes after the last."""
    row = jnp.zeros(places[0].shape, jnp.int32)
    inside = jnp.ones(places[0].shape, bool)
    for place, length in zip(places, sizes, strict=True):
        row = row * length + place.astype(jnp.int32)
        inside &= (place >= 0) & (place < length)
    return jnp.where(inside, row, math.prod(sizes)).ravel()
