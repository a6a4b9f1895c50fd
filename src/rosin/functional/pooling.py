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
from rosin.core.validation import expect_between, expect_floating, refuse
from rosin.errors import RangeError, shown
from rosin.functional.numerics import at_least_float32, real_array
from rosin.functional.windows import (
    MOST_SLICES,
    Padding,
    Pairs,
    around_space,
    expand_pad,
    expand_sizes,
    expect_space,
    fitted_pad,
    padded_with,
    slices_along,
    space_of,
    windows_along,
)


def max_pool(
    x: ArrayLike,
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] | None = None,
    pad: Padding = 0,
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
    most = padded_with(x, around_space(x, pairs), -jnp.inf)
    for axis in _axes(size, step):
        if size[axis] <= MOST_SLICES:
            most = greatest(slices_along(most, axis + 1, size[axis], step[axis]))
        else:
            most = _reduced(most, axis + 1, size[axis], step[axis], lax.max, -jnp.inf)
    return most


def mean_pool(
    x: ArrayLike,
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] | None = None,
    pad: Padding = 0,
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
    total = padded_with(x.astype(at_least_float32(x)), around_space(x, pairs), 0.0)
    for axis in _axes(size, step):
        if size[axis] <= MOST_SLICES:
            total = functools.reduce(
                operator.add, slices_along(total, axis + 1, size[axis], step[axis])
            )
        else:
            total = _reduced(total, axis + 1, size[axis], step[axis], lax.add, 0.0)
    if count_padding:
        return (total / math.prod(size)).astype(x.dtype)
    count = _counts(x.shape[1:-1], size, step, pairs)
    return (total / jnp.asarray(count, total.dtype)).astype(x.dtype)


def lp_pool(
    x: ArrayLike,
    p: float,
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] | None = None,
    pad: Padding = 0,
    subject: object = "lp_pool",
) -> Array:
    r"""Take the p-norm of each window.

    $$y_{b,q,c} = \Big(\sum_k \lvert x_{b,\,s q + k - a,\,c} \rvert^p\Big)^{1/p}$$

    with stride $s$ and low padding $a$. Values are scaled before they are raised, so that
    no power overflows; the gradient is 0 where a window holds zeros only.

    Args:
        x: Real floating-point numbers.
        p: The exponent; at least 1.
        window: Its size, an int or one for each spatial axis; at least 1.
        stride: Step of the window; the window's size when left out.
        pad: Zeros, as for `conv`; below the window's size.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *space', channels)`.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `p`, a window, stride or pad is out of range.
        ShapeError: `x` has another rank, or padded is smaller than the window.

    Examples:
        >>> lp_pool(jnp.array([3.0, -4.0, 0.0, 2.0]).reshape(1, 4, 1), 2, 2).ravel()
        Array([5., 2.], dtype=float32)

    Source:
        NNlib.jl `lpnormpool`. PyTorch's `LPPool` leaves the absolute value out, which
        differs at odd `p`.
    """
    x = real_array(x, subject=subject)
    expect_between(1, math.inf, subject=subject, include_high=False, p=p)
    size, step, pairs = _geometry(x, window, stride, pad, subject=subject)
    # A norm over several axes is the norm of the norms along one of them.
    y = jnp.abs(padded_with(x.astype(at_least_float32(x)), around_space(x, pairs), 0.0))
    for axis in _axes(size, step):
        y = _norm(windows_along(y, axis + 1, size[axis], step[axis]), axis + 2, float(p))
    return y.astype(x.dtype)


def _geometry(
    x: Array,
    window: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None,
    pad: Padding,
    *,
    subject: object,
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
    rank = len(window) if isinstance(window, tuple) else space_of(x, subject=subject)
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


def _axes(size: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """List the spatial axes along which a pool does something, the last one first."""
    return [a for a in reversed(range(len(size))) if (size[a], stride[a]) != (1, 1)]


def _reduced(
    x: Array, axis: int, size: int, stride: int, operation: Callable[..., Array], start: float
) -> Array:
    window = tuple(size if i == axis else 1 for i in range(x.ndim))
    step = tuple(stride if i == axis else 1 for i in range(x.ndim))
    # A start that is no tracer, even under jit: else JAX does not know the derivative.
    concrete = np.asarray(start, x.dtype)
    return lax.reduce_window(x, concrete, operation, window, step, "VALID")


@jax.custom_jvp
@jax.jit
def greatest(parts: list[Array]) -> Array:
    """Take the greatest of several arrays elementwise; of equals, the first has the gradient."""
    return functools.reduce(jnp.maximum, parts)


@greatest.defjvp
def _(primals: tuple[list[Array]], tangents: tuple[list[Array]]) -> tuple[Array, Array]:
    y = greatest(*primals)
    return y, _greatest_tangent(*primals, y, *tangents)


@jax.jit
def _greatest_tangent(parts: list[Array], y: Array, tangents: list[Array]) -> Array:
    """Take the tangent of the first part that equals the greatest."""
    dy, free = jnp.zeros_like(y), jnp.ones(y.shape, bool)
    for part, tangent in zip(parts, tangents, strict=True):
        wins = free & (part == y)
        dy = dy + jnp.where(wins, tangent, 0)
        free = free & ~wins
    return dy


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _norm(x: Array, axis: int, p: float) -> Array:
    size = jnp.abs(x)
    if p == 1:
        return jnp.sum(size, axis)
    largest = jnp.max(size, axis, keepdims=True)
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1)
    total = jnp.sum((size / scale) ** p, axis) ** (1 / p)
    return total * scale.squeeze(axis)


@_norm.defjvp
def _(axis: int, p: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    r"""Sum `dx` times the sign of x times $\lvert x / y \rvert^{p-1}$."""
    (x,), (dx,) = primals, tangents
    y = _norm(x, axis, p)
    whole = jnp.expand_dims(jnp.where(y == 0, 1, y), axis)
    ratio = jnp.where(jnp.isinf(x), jnp.sign(x), x / whole)
    if p != 2:
        # Raised away from 0, where a power has no second derivative.
        safe = jnp.where(ratio == 0, 1, ratio)
        ratio = jnp.where(ratio == 0, 0, jnp.sign(safe) * jnp.abs(safe) ** (p - 1))
    return y, jnp.sum(ratio * dx, axis)


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
