# SPDX-License-Identifier: Apache-2.0
"""Rows of a table in place of whole numbers, one by one or a bag of them as one row."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_integer,
    expect_one_of,
    expect_same_shape,
    refuse,
)
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError, shown
from rosin.functional.indexing import gather, known, scatter

Reduction: TypeAlias = str | Callable[..., Array]
REDUCTIONS = ("mean", "sum", "max")


def embedding(
    table: Array,
    indices: ArrayLike,
    *,
    padding_index: int | None = None,
    subject: object = "embedding",
) -> Array:
    """Return the rows of a table that the indices name.

    Args:
        table: Any array of a floating-point dtype; its first axis is looked up.
        indices: Whole numbers from 0 to `len(table) - 1`.
        padding_index: The row that no gradient reaches.
        subject: What complains in the message.

    Shapes:
        - result: `(*indices.shape, *table.shape[1:])`.

    Raises:
        DtypeError: The indices are not whole numbers.
        RangeError: An index is out of range, as far as its value is known when the call
            is made; under `jit` such an index gives NaN.

    Examples:
        >>> embedding(jnp.array([[1.0], [2.0]]), jnp.array([1, 0])).ravel()
        Array([2., 1.], dtype=float32)
    """
    _expect_indices(indices, len(table), subject=subject)
    rows = gather(table, indices, subject=subject)
    if padding_index is None:
        return rows
    padding = jnp.asarray(indices) == padding_index
    padding = jnp.expand_dims(padding, range(padding.ndim, rows.ndim))
    return jnp.where(padding, jax.lax.stop_gradient(rows), rows)


def embedding_bag(
    table: Array,
    indices: ArrayLike,
    offsets: ArrayLike | None = None,
    *,
    reduction: Reduction = "mean",
    weights: ArrayLike | None = None,
    padding_index: int | None = None,
    subject: object = "embedding_bag",
) -> Array:
    r"""Reduce the rows of a table over each bag of indices.

    $$y_b = \operatorname{reduce}_{k \in \text{bag } b} \; w_k\, W_{i_k}$$

    Args:
        table: The $W$, of a floating-point dtype; its first axis is looked up.
        indices: Whole numbers from 0 to `len(table) - 1`, with a bag along the last axis;
            with `offsets` all bags in one row.
        offsets: Where each bag begins in the row: from 0 on, never falling.
        reduction: "mean", "sum", "max", or, without `offsets`, a function called as
            `reduction(rows, axis=-2)`.
        weights: The $w$, one for each index; for "sum" alone.
        padding_index: An index that is left out of its bag.
        subject: What complains in the message.

    Shapes:
        - indices: `(..., bag)`, or `(n,)` with offsets of shape `(bags,)`.
        - result: `(..., features)`, or `(bags, features)`. An empty bag gives zeros.

    Raises:
        DtypeError: Indices or offsets are not whole numbers.
        ShapeError: `weights` is not of the shape of the indices, or axes are missing.
        RangeError: An index is out of range or the offsets are out of order, as far as
            their values are known when the call is made; under `jit` the bag of such an
            index, or every bag, is NaN. Or `reduction` is not one of these.
        StructureError: A function reduces with offsets or padding, or `weights` come with
            another reduction than "sum".

    Examples:
        >>> table = jnp.arange(8.0).reshape(4, 2)
        >>> embedding_bag(table, jnp.array([[0, 2], [3, 3]]), reduction="sum")
        Array([[ 4.,  6.],
               [12., 14.]], dtype=float32)
        >>> embedding_bag(table, jnp.array([0, 2, 3]), jnp.array([0, 2]), reduction="max")
        Array([[4., 5.],
               [6., 7.]], dtype=float32)

    Source:
        PyTorch `embedding_bag`, Flux.jl `EmbeddingBag`. As in PyTorch an empty bag is
        zero; in Flux it is an error.
    """
    _expect_reduction(reduction, offsets, weights, padding_index, subject=subject)
    _expect_indices(indices, len(table), subject=subject)
    rows = gather(table, indices, subject=subject)
    if callable(reduction):
        _expect_bags(indices, subject=subject)
        return reduction(rows, axis=-2)
    wide = rows.astype(jnp.promote_types(rows.dtype, jnp.float32))
    counted = jnp.ones(jnp.shape(indices), bool)
    if padding_index is not None:
        counted = jnp.asarray(indices) != padding_index
    if weights is not None:
        expect_same_shape(weights, indices, subject=subject, names=("weights", "indices"))
        wide = wide * jnp.asarray(weights, wide.dtype)[..., None]
    wide = jnp.where(counted[..., None], wide, -jnp.inf if reduction == "max" else 0)
    if offsets is None:
        _expect_bags(indices, subject=subject)
        y = _reduced(reduction, wide, counted)
    else:
        y = _reduced_rows(reduction, wide, counted, offsets, subject=subject)
    return y.astype(rows.dtype)


def _reduced(reduction: str, rows: Array, counted: Array) -> Array:
    """Reduce over the last axis but one."""
    counts = counted.sum(-1)[..., None]
    if reduction == "max":
        return jnp.where(counts > 0, rows.max(-2, initial=-jnp.inf), 0)
    total = rows.sum(-2)
    return total if reduction == "sum" else total / jnp.maximum(counts, 1).astype(total.dtype)


def _reduced_rows(
    reduction: str, rows: Array, counted: Array, offsets: ArrayLike, *, subject: object
) -> Array:
    """Reduce over the stretches that begin at the offsets."""
    if rows.ndim != 2:
        refuse(
            ShapeError,
            subject=subject,
            expected="indices of shape (n,), for offsets are places in one row",
            got=f"rows {shown(rows)}",
            fix="leave the offsets out, or pass all bags in one row",
        )
    expect_integer(offsets, subject=subject, name="offsets")
    _expect_in_order(offsets, len(rows), subject=subject)
    starts = jnp.asarray(offsets)
    bags = starts.shape[0]
    bag = jnp.searchsorted(starts, jnp.arange(len(rows)), side="right") - 1
    counts = scatter("add", counted.astype(jnp.int32), bag, size=bags)[:, None]
    operation = "max" if reduction == "max" else "add"
    y = scatter(operation, rows, bag, size=bags)
    if reduction == "max":
        y = jnp.where(counts > 0, y, 0)
    elif reduction == "mean":
        y = y / jnp.maximum(counts, 1).astype(y.dtype)
    ordered = (starts[:1] == 0).all() & (jnp.diff(starts) >= 0).all() & (starts <= len(rows)).all()
    return jnp.where(ordered, y, jnp.nan)


def _expect_indices(indices: Any, length: int, *, subject: object) -> None:
    """Refuse one-hot rows, whose whole numbers would be wrong indices."""
    shape = getattr(indices, "shape", ())
    if shape[-1:] == (length,) and not jnp.issubdtype(indices.dtype, jnp.integer):
        refuse(
            DtypeError,
            subject=subject,
            expected="indices of an integer dtype",
            got=f"{shown(indices)}, with as many entries in a row as the table has rows",
            fix="turn one-hot rows into indices with rs.onecold(x)",
        )


def _expect_in_order(offsets: Any, length: int, *, subject: object) -> None:
    values = known(offsets)
    if jnp.ndim(offsets) != 1:
        refuse(
            ShapeError,
            subject=subject,
            expected="offsets of shape (bags,)",
            got=shown(offsets),
            fix="pass the place at which each bag begins, such as jnp.array([0, 4])",
        )
    if values is None or (not values.size and not length):
        return
    bounds = [0, *values.tolist(), length]
    if bounds[1] != 0 or any(a > b for a, b in pairwise(bounds)):
        refuse(
            RangeError,
            subject=subject,
            expected=f"offsets that begin with 0, never fall and end at {length} at most",
            got=f"offsets {shown(bounds[1:-1])}",
            fix="pass the place at which each bag begins, such as jnp.array([0, 4])",
        )


def _expect_bags(indices: Any, *, subject: object) -> None:
    if not jnp.ndim(indices):
        refuse(
            ShapeError,
            subject=subject,
            expected="indices of shape (..., bag)",
            got=shown(indices),
            fix="pass a bag of one as indices[None]",
        )


def _expect_reduction(
    reduction: Any, offsets: Any, weights: Any, padding_index: Any, *, subject: object
) -> None:
    if not callable(reduction):
        expect_one_of(REDUCTIONS, subject=subject, reduction=reduction)
    if weights is not None and reduction != "sum":
        refuse(
            StructureError,
            subject=subject,
            expected='weights with reduction="sum" alone',
            got=f"weights with reduction={shown(reduction)}",
            fix='pass reduction="sum"; a weighted mean has weights that sum to one',
        )
    if callable(reduction) and (offsets is not None or padding_index is not None):
        refuse(
            StructureError,
            subject=subject,
            expected=f"one of {', '.join(REDUCTIONS)} for bags of unequal length",
            got=f"reduction={shown(reduction)}",
            fix="pass indices with one bag in each row, and no padding_index",
        )
