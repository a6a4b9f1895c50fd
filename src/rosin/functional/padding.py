# SPDX-License-Identifier: Apache-2.0
"""Functions that put something around the spatial axes: numbers, or values from within."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between, refuse
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.numerics import expand_axes
from rosin.functional.windows import (
    Pairs,
    Widths,
    expand_widths,
    expect_space,
    padded_with,
    space_of,
)


def pad_constant(
    x: ArrayLike,
    pad: Widths,
    value: float = 0,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "pad_constant",
) -> Array:
    """Put one number around an array.

    Args:
        x: An array of any dtype.
        pad: How many before and after: an int, one for each axis, or a (low, high) pair
            for each axis.
        value: The number, which the dtype of `x` can hold.
        axes: The axes to pad, counted in ascending order; when left out, the spatial
            ones: all but the first and the last.
        subject: What complains in the message.

    Raises:
        RangeError: A width is no whole number of at least 0, `x` cannot hold the value,
            or an axis does not exist.
        ShapeError: `x` has no spatial axis.

    Examples:
        >>> pad_constant(jnp.ones((1, 2, 1)), ((1, 2),), 7).ravel()
        Array([7., 1., 1., 7., 7.], dtype=float32)

    Source:
        NNlib.jl `pad_constant`, with pairs in place of a flat tuple.
    """
    x, pairs = _given(x, pad, axes, subject=subject)
    expect_between(-np.inf, np.inf, subject=subject, value=value)
    exact = jnp.issubdtype(x.dtype, jnp.inexact)
    if not exact and not (np.isfinite(value) and np.array(value).astype(x.dtype) == value):
        refuse(
            RangeError,
            subject=subject,
            expected=f"value to be a number of dtype {x.dtype}",
            got=shown(value),
            fix="pass a whole number in its range, or x.astype(jnp.float32)",
        )
    return padded_with(x, pairs, value)


def pad_zeros(
    x: ArrayLike,
    pad: Widths,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "pad_zeros",
) -> Array:
    """Put zeros around an array.

    Args:
        x: An array of any dtype.
        pad: As for `pad_constant`.
        axes: As for `pad_constant`.
        subject: What complains in the message.

    Raises:
        RangeError: A width is no whole number of at least 0, or an axis does not exist.
        ShapeError: `x` has no spatial axis.

    Examples:
        >>> pad_zeros(jnp.ones((1, 2, 1)), 1).ravel()
        Array([0., 1., 1., 0.], dtype=float32)

    Source:
        NNlib.jl `pad_zeros`.
    """
    return pad_constant(x, pad, axes=axes, subject=subject)


def pad_reflect(
    x: ArrayLike,
    pad: Widths,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "pad_reflect",
) -> Array:
    """Put an array's mirror image around it, the value on the edge once.

    Args:
        x: An array of any dtype.
        pad: As for `pad_constant`; below the size of the axis.
        axes: As for `pad_constant`.
        subject: What complains in the message.

    Raises:
        RangeError: A width is no whole number of at least 0, or an axis does not exist.
        ShapeError: `x` has no spatial axis, or is not longer than a width.

    Examples:
        >>> pad_reflect(jnp.arange(4).reshape(1, 4, 1), 2).ravel()
        Array([2, 1, 0, 1, 2, 3, 2, 1], dtype=int32)

    Source:
        NNlib.jl `pad_reflect`.
    """
    return _extended(x, pad, axes, _reflected, subject=subject, spare=1)


def pad_symmetric(
    x: ArrayLike,
    pad: Widths,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "pad_symmetric",
) -> Array:
    """Put an array's mirror image around it, the value on the edge twice.

    Args:
        x: An array of any dtype.
        pad: As for `pad_constant`; at most the size of the axis.
        axes: As for `pad_constant`.
        subject: What complains in the message.

    Raises:
        RangeError: A width is no whole number of at least 0, or an axis does not exist.
        ShapeError: `x` has no spatial axis, or is shorter than a width.

    Examples:
        >>> pad_symmetric(jnp.arange(4).reshape(1, 4, 1), 2).ravel()
        Array([1, 0, 0, 1, 2, 3, 3, 2], dtype=int32)

    Source:
        NNlib.jl `pad_symmetric`.
    """
    return _extended(x, pad, axes, _mirrored, subject=subject)


def pad_circular(
    x: ArrayLike,
    pad: Widths,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "pad_circular",
) -> Array:
    """Put the other end of an array at each end, as if the axis were a ring.

    Args:
        x: An array of any dtype.
        pad: As for `pad_constant`; at most the size of the axis.
        axes: As for `pad_constant`.
        subject: What complains in the message.

    Raises:
        RangeError: A width is no whole number of at least 0, or an axis does not exist.
        ShapeError: `x` has no spatial axis, or is shorter than a width.

    Examples:
        >>> pad_circular(jnp.arange(4).reshape(1, 4, 1), 2).ravel()
        Array([2, 3, 0, 1, 2, 3, 0, 1], dtype=int32)

    Source:
        NNlib.jl `pad_circular`.
    """
    return _extended(x, pad, axes, _turned, subject=subject)


def pad_repeat(
    x: ArrayLike,
    pad: Widths,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "pad_repeat",
) -> Array:
    """Repeat the value on each edge outwards.

    Args:
        x: An array of any dtype.
        pad: As for `pad_constant`.
        axes: As for `pad_constant`.
        subject: What complains in the message.

    Raises:
        RangeError: A width is no whole number of at least 0, or an axis does not exist.
        ShapeError: `x` has no spatial axis, or an empty one.

    Examples:
        >>> pad_repeat(jnp.arange(4).reshape(1, 4, 1), 2).ravel()
        Array([0, 0, 0, 1, 2, 3, 3, 3], dtype=int32)

    Source:
        NNlib.jl `pad_repeat`; PyTorch calls it replicate.
    """
    return _extended(x, pad, axes, _repeated, subject=subject, bounded=False)


def _repeated(x: Array, axis: int, low: int, high: int) -> list[Array]:
    n = x.shape[axis]
    edges = ((_cut(x, axis, 0, 1), low), (_cut(x, axis, n - 1, n), high))
    return [
        jnp.broadcast_to(edge, (*x.shape[:axis], width, *x.shape[axis + 1 :]))
        for edge, width in edges
    ]


def _reflected(x: Array, axis: int, low: int, high: int) -> list[Array]:
    n = x.shape[axis]
    sides = _cut(x, axis, 1, low + 1), _cut(x, axis, n - 1 - high, n - 1)
    return [jnp.flip(side, axis) for side in sides]


def _mirrored(x: Array, axis: int, low: int, high: int) -> list[Array]:
    n = x.shape[axis]
    return [jnp.flip(side, axis) for side in (_cut(x, axis, 0, low), _cut(x, axis, n - high, n))]


def _turned(x: Array, axis: int, low: int, high: int) -> list[Array]:
    n = x.shape[axis]
    return [_cut(x, axis, n - low, n), _cut(x, axis, 0, high)]


def _cut(x: Array, axis: int, start: int, end: int) -> Array:
    return lax.slice_in_dim(x, start, end, axis=axis)


def _extended(
    x: ArrayLike,
    pad: Widths,
    axes: int | tuple[int, ...] | None,
    sides: Callable[[Array, int, int, int], list[Array]],
    *,
    subject: object,
    spare: int = 0,
    bounded: bool = True,
) -> Array:
    """Put two sides around each axis, no wider than the axis less what it must spare."""
    x, pairs = _given(x, pad, axes, subject=subject)
    for axis, (low, high) in enumerate(pairs):
        if low == high == 0:
            continue
        n = x.shape[axis]
        least = max(low, high) + spare if bounded else 1
        if n < least:
            refuse(
                ShapeError,
                subject=subject,
                expected=f"at least {least} values on axis {axis}",
                got=f"{n}, from x {shown(x)}, and pad {shown(pad)}",
                fix="pass a smaller pad, or zeros or repeated edges, which may be wider than x",
            )
        before, after = sides(x, axis, low, high)
        x = jnp.concatenate([before, x, after], axis)
    return x


def _given(
    x: ArrayLike, pad: Widths, axes: int | tuple[int, ...] | None, *, subject: object
) -> tuple[Array, Pairs]:
    """Take the array and a pair of widths for each of its axes."""
    x = jnp.asarray(x)
    if axes is None:
        rank = len(pad) if isinstance(pad, tuple) else space_of(x, subject=subject)
        expect_space(x, max(rank, 1), subject=subject)
        chosen = tuple(range(1, x.ndim - 1))
    else:
        chosen = expand_axes(axes, x.ndim, subject=subject)
    pairs = expand_widths(pad, len(chosen), subject=subject)
    widths = dict(zip(chosen, pairs, strict=True))
    return x, tuple(widths.get(axis, (0, 0)) for axis in range(x.ndim))
