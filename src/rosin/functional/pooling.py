# SPDX-License-Identifier: Apache-2.0
"""Functions that summarise windows of the spatial axes.

A window is taken apart: one axis after the other, as many shifted slices as the window is
long. Their derivative is much cheaper than that of a window reduction.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_floating, expect_not_empty, refuse
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.convolution import (
    Pad,
    Pairs,
    expand_pad,
    expand_sizes,
    expect_space,
    fitted_pad,
)
from rosin.functional.numerics import at_least_float32, real_array

# Longer windows are left to XLA's window reduction: slices would take long to compile.
_MOST_SLICES = 32


def max_pool(
    x: ArrayLike,
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] | None = None,
    pad: Pad = 0,
    subject: object = "max_pool",
) -> Array:
    r"""Take the greatest value in each window.

    $$y_{b,p,c} = \max_{k} x_{b,\,s p + k - a,\,c}$$

    with stride $s$ and low padding $a$. Padding never wins. Of equal values the first
    one, counted along the last axis first, has the whole gradient.

    Args:
        x: Real floating-point numbers.
        window: Its size, an int or one for each spatial axis; at least 1.
        stride: Step of the window; the window's size when left out.
        pad: As for `conv`; below the window's size.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *space', channels)`.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: A window, stride or pad is out of range.
        ShapeError: `x` has another rank, or padded is smaller than the window.

    Examples:
        >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel()
        Array([ 5.,  7., 13., 15.], dtype=float32)

    Source:
        Flux.jl `MaxPool`.
    """
    x = real_array(x, subject=subject)
    size, step, pairs = _geometry(x, window, stride, pad, subject=subject)
    greatest = _padded(x, pairs, -jnp.inf)
    for axis in reversed(range(len(size))):
        if size[axis] <= _MOST_SLICES:
            greatest = _greatest(greatest, axis + 1, size[axis], step[axis])
        else:
            greatest = _reduced(greatest, axis + 1, size[axis], step[axis], lax.max, -jnp.inf)
    return greatest


def mean_pool(
    x: ArrayLike,
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] | None = None,
    pad: Pad = 0,
    count_padding: bool = True,
    subject: object = "mean_pool",
) -> Array:
    r"""Take the mean of each window.

    $$y_{b,p,c} = \frac{1}{|K|} \sum_{k \in K} x_{b,\,s p + k - a,\,c}$$

    with stride $s$ and low padding $a$.

    Args:
        x: Floating-point numbers, real or complex.
        window: Its size, an int or one for each spatial axis; at least 1.
        stride: Step of the window; the window's size when left out.
        pad: As for `conv`; below the window's size.
        count_padding: Whether $|K|$ counts padded zeros too.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *space', channels)`.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: A window, stride or pad is out of range.
        ShapeError: `x` has another rank, or padded is smaller than the window.

    Examples:
        >>> mean_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel()
        Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)

    Source:
        Flux.jl `MeanPool`, which always counts padding.
    """
    expect_floating(x, subject=subject)
    x = jnp.asarray(x)
    size, step, pairs = _geometry(x, window, stride, pad, subject=subject)
    total = _padded(x.astype(at_least_float32(x)), pairs, 0.0)
    for axis in reversed(range(len(size))):
        if size[axis] <= _MOST_SLICES:
            total = functools.reduce(operator.add, _slices(total, axis + 1, size[axis], step[axis]))
        else:
            total = _reduced(total, axis + 1, size[axis], step[axis], lax.add, 0.0)
    if count_padding:
        return (total / math.prod(size)).astype(x.dtype)
    count = _counts(x.shape[1:-1], size, step, pairs)
    return (total / jnp.asarray(count, total.dtype)).astype(x.dtype)


def global_mean_pool(x: ArrayLike, *, subject: object = "global_mean_pool") -> Array:
    """Take the mean over all spatial axes, and keep them at length 1.

    Args:
        x: Floating-point numbers, real or complex.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, 1, …, 1, channels)`.

    Raises:
        DtypeError: `x` holds integers or booleans.
        ShapeError: `x` has no spatial axis, or an empty one.

    Examples:
        >>> global_mean_pool(jnp.ones((2, 4, 4, 3))).shape
        (2, 1, 1, 3)

    Source:
        Flux.jl `GlobalMeanPool`.
    """
    expect_floating(x, subject=subject)
    x = jnp.asarray(x)
    rank = _space_of(x, subject=subject)
    if 0 in x.shape[1:-1]:
        expect_not_empty(x, subject=subject, name="x")
    mean = jnp.mean(x.astype(at_least_float32(x)), tuple(range(1, rank + 1)), keepdims=True)
    return mean.astype(x.dtype)


def _space_of(x: Array, *, subject: object) -> int:
    """Count the spatial axes of an array, which has one at least."""
    if x.ndim < 3:
        refuse(
            ShapeError,
            subject=subject,
            expected="shape (batch, *space, channels)",
            got=shown(x),
            fix="give the array at least 3 axes",
        )
    return x.ndim - 2


def _geometry(
    x: Array,
    window: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None,
    pad: Pad,
    *,
    subject: object,
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    rank = len(window) if isinstance(window, tuple) else _space_of(x, subject=subject)
    size = expand_sizes(window, rank, subject=subject, name="window")
    expect_space(x, rank, subject=subject)
    step = size if stride is None else expand_sizes(stride, rank, subject=subject, name="stride")
    pairs = fitted_pad(x, expand_pad(pad, rank, subject=subject), size, step, subject=subject)
    if any(max(pair) >= n for pair, n in zip(pairs, size, strict=True)):
        refuse(
            RangeError,
            subject=subject,
            expected=f"pad below the window {size}, so that no window holds padding only",
            got=shown(pad),
            fix="pass a smaller pad, or a larger window",
        )
    return size, step, pairs


def _padded(x: Array, pairs: Pairs, value: float) -> Array:
    edges = ((0, 0), *pairs, (0, 0))
    return lax.pad(x, jnp.asarray(value, x.dtype), [(low, high, 0) for low, high in edges])


def _slices(x: Array, axis: int, size: int, stride: int) -> list[Array]:
    """Cut the first, the second, … element of all windows along an axis."""
    steps = (x.shape[axis] - size) // stride
    return [lax.slice_in_dim(x, k, k + steps * stride + 1, stride, axis) for k in range(size)]


def _reduced(
    x: Array, axis: int, size: int, stride: int, operation: Callable[..., Array], start: float
) -> Array:
    window = tuple(size if i == axis else 1 for i in range(x.ndim))
    step = tuple(stride if i == axis else 1 for i in range(x.ndim))
    # A start that is no tracer, even under jit: else JAX does not know the derivative.
    concrete = np.asarray(start, x.dtype)
    return lax.reduce_window(x, concrete, operation, window, step, "VALID")


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _greatest(x: Array, axis: int, size: int, stride: int) -> Array:
    return functools.reduce(jnp.maximum, _slices(x, axis, size, stride))


@_greatest.defjvp
def _(
    axis: int, size: int, stride: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    y = _greatest(*primals, axis, size, stride)
    return y, _greatest_tangent(*primals, y, *tangents, axis, size, stride)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _greatest_tangent(x: Array, y: Array, dx: Array, axis: int, size: int, stride: int) -> Array:
    """Take the tangent of the first value in each window that equals the greatest."""
    dy, free = jnp.zeros_like(y), jnp.ones(y.shape, bool)
    slices, tangents = (_slices(a, axis, size, stride) for a in (x, dx))
    for value, tangent in zip(slices, tangents, strict=True):
        wins = free & (value == y)
        dy = dy + jnp.where(wins, tangent, 0)
        free = free & ~wins
    return dy


def _counts(
    space: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], pairs: Pairs
) -> np.ndarray[Any, Any]:
    """Count the elements of each window that are not padding, to divide `total` by."""
    count = np.ones((1, *(1 for _ in space), 1))
    for axis, (n, k, s, (low, high)) in enumerate(zip(space, size, stride, pairs, strict=True)):
        first = np.arange(0, n + low + high - k + 1, s) - low
        inside = np.minimum(first + k, n) - np.maximum(first, 0)
        count = count * inside.reshape([-1 if i == axis + 1 else 1 for i in range(count.ndim)])
    return count
