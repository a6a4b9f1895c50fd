# SPDX-License-Identifier: Apache-2.0
"""Counts and sums on the device that lose nothing, however long the stream.

A float32 stops counting at 2**24, and a running sum in float32 loses what is small beside
it. Here a count is two halves of 32 bits with a carry, and a sum carries along what its
rounding left out. Both are read as float64 or int64 on the host, at the end.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, Shape

LONG = 2**14
"""What is longer is cut into rows of this length, which are added up first."""


class Count(NamedTuple):
    """A whole number below 2**64, or an array of them.

    Args:
        low: The lower 32 bits.
        high: The upper ones.
    """

    low: Array
    high: Array


class Sum(NamedTuple):
    """A sum, or an array of them, to about twice the digits of a float.

    Args:
        high: The sum, rounded.
        low: What the rounding left out; 0 where the sum is not finite.
    """

    high: Array
    low: Array


def no_count(shape: Shape = ()) -> Count:
    """Start counting."""
    return Count(jnp.zeros(shape, jnp.uint32), jnp.zeros(shape, jnp.uint32))


def counted(numbers: Array) -> Count:
    """Count the trues of an array; take whole numbers as counts."""
    low = jnp.sum(numbers, dtype=jnp.uint32) if numbers.dtype == jnp.bool_ else numbers
    return Count(low.astype(jnp.uint32), jnp.zeros(low.shape, jnp.uint32))


def add_counts(a: Count, b: Count) -> Count:
    """Add, with a carry."""
    low = a.low + b.low
    return Count(low, a.high + b.high + (low < a.low).astype(jnp.uint32))


def whole(count: Count) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Read a count on the host; exact below 2**63."""
    high, low = (np.asarray(half).astype(np.uint64) for half in (count.high, count.low))
    return ((high << np.uint64(32)) | low).astype(np.int64)


def as_float(count: Count) -> Array:
    """Read a count on the device, rounded to a float."""
    dtype = jnp.zeros(()).dtype
    return count.high.astype(dtype) * 2.0**32 + count.low.astype(dtype)


def no_sum(shape: Shape = ()) -> Sum:
    """Start adding."""
    return Sum(jnp.zeros(shape), jnp.zeros(shape))


def summed(values: Array, axes: tuple[int, ...] | None = None) -> Sum:
    """Add up an array over its first axes, over all if none are named."""
    axes = tuple(range(values.ndim)) if axes is None else axes
    high, low = (half.reshape(-1, *half.shape[len(axes) :]) for half in _halves(values))
    rows = len(high) // LONG
    if rows > 1:  # row on row, which is done many at a time
        high, low = _rows_added(high, low, rows)
    zero = np.zeros((), high.dtype)
    return Sum(*lax.reduce((high, low), (zero, zero), _added, (0,)))


def _rows_added(high: Array, low: Array, rows: int) -> tuple[Array, Array]:
    """Cut into rows and add them up; what is left of the last one stands behind."""
    table = [half[: rows * LONG].reshape(rows, LONG, *half.shape[1:]) for half in (high, low)]
    nothing = (jnp.zeros_like(table[0][0]), jnp.zeros_like(table[1][0]))
    (top, rest), _ = lax.scan(
        lambda total, row: (_added(total, (row[0], row[1])), None), nothing, tuple(table)
    )
    behind = rows * LONG
    return jnp.concatenate([top, high[behind:]]), jnp.concatenate([rest, low[behind:]])


def add_sums(a: Sum, b: Sum) -> Sum:
    """Add."""
    return Sum(*_added(a, b))


def number(total: Sum) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read a sum on the host."""
    return np.asarray(total.high, np.float64) + np.asarray(total.low, np.float64)


def _added(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """Add two sums: Knuth's exact sum of the high parts, then the low parts."""
    plain = a[0] + b[0]
    part = plain - a[0]
    left_out = (a[0] - (plain - part)) + (b[0] - part) + (a[1] + b[1])
    finite = jnp.isfinite(plain)
    high = jnp.where(finite, plain + left_out, plain)
    low = left_out - (high - plain)
    return high, jnp.where(finite & jnp.isfinite(high), low, 0)


def _halves(values: Array) -> tuple[Array, Array]:
    """Write numbers as a float and what it leaves out."""
    dtype = jnp.zeros(()).dtype
    if jnp.issubdtype(values.dtype, jnp.integer):
        bits = 4 * values.dtype.itemsize
        high = (values >> bits).astype(dtype) * 2.0**bits
        low = (values & (2**bits - 1)).astype(dtype)
        return _added((high, jnp.zeros_like(high)), (low, jnp.zeros_like(low)))
    high = values.astype(dtype)
    return high, jnp.zeros_like(high)
