# SPDX-License-Identifier: Apache-2.0
"""Pools whose result has a stated size: adaptive and global."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_floating, expect_not_empty
from rosin.functional.numerics import at_least_float32, real_array
from rosin.functional.pooling import greatest, max_pool, mean_pool
from rosin.functional.windows import expand_sizes, expect_space, space_of


def adaptive_max_pool(
    x: ArrayLike, size: int | tuple[int, ...], *, subject: object = "adaptive_max_pool"
) -> Array:
    r"""Take the greatest value in each of a stated number of bins.

    $$y_{b,q,c} = \max_{\lfloor q n / m \rfloor \le k < \lceil (q + 1) n / m \rceil} x_{b,k,c}$$

    along each axis, from size $n$ to size $m$. Bins may overlap by one value; where $m$
    divides $n$ they are the windows of `max_pool`.

    Args:
        x: Real floating-point numbers.
        size: The size of the result, an int or one for each spatial axis; at least 1.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *size, channels)`.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: A size is out of range.
        ShapeError: `x` has another rank, or an empty spatial axis.

    Examples:
        >>> adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), 3).ravel()
        Array([1., 3., 4.], dtype=float32)

    Source:
        PyTorch `AdaptiveMaxPool`. Flux.jl's takes windows of equal size, which leave
        values out or overlap further where $m$ does not divide $n$.
    """
    most = real_array(x, subject=subject)
    for axis, n in enumerate(_sizes(most, size, subject=subject), 1):
        if most.shape[axis] % n == 0:
            most = max_pool(most, _window(most, axis, n))
        else:
            first, length = _bins(most.shape[axis], n)
            # Shorter bins see their last value twice, which changes no maximum.
            steps = [np.minimum(k, length - 1) for k in range(length.max())]
            most = greatest([_taken(most, first + step, axis) for step in steps])
    return most


def adaptive_mean_pool(
    x: ArrayLike, size: int | tuple[int, ...], *, subject: object = "adaptive_mean_pool"
) -> Array:
    r"""Take the mean of each of a stated number of bins.

    The bins are those of `adaptive_max_pool`; where they are equal in size they are the
    windows of `mean_pool`.

    Args:
        x: Floating-point numbers, real or complex.
        size: The size of the result, an int or one for each spatial axis; at least 1.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *size, channels)`.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: A size is out of range.
        ShapeError: `x` has another rank, or an empty spatial axis.

    Examples:
        >>> adaptive_mean_pool(jnp.arange(5.0).reshape(1, 5, 1), 3).ravel()
        Array([0.5, 2. , 3.5], dtype=float32)

    Source:
        PyTorch `AdaptiveAvgPool`; see `adaptive_max_pool`.
    """
    expect_floating(x, subject=subject)
    x = jnp.asarray(x)
    mean = x.astype(at_least_float32(x))
    for axis, n in enumerate(_sizes(x, size, subject=subject), 1):
        if x.shape[axis] % n == 0:
            mean = mean_pool(mean, _window(mean, axis, n))
        else:
            first, length = _bins(x.shape[axis], n)
            along = [-1 if a == axis else 1 for a in range(x.ndim)]
            inside = [(k < length).reshape(along) for k in range(length.max())]
            total = sum(
                jnp.where(here, _taken(mean, first + np.minimum(k, length - 1), axis), 0)
                for k, here in enumerate(inside)
            )
            mean = total / jnp.asarray(length.reshape(along), mean.dtype)
    return mean.astype(x.dtype)


def global_max_pool(x: ArrayLike, *, subject: object = "global_max_pool") -> Array:
    """Take the greatest value over all spatial axes, and keep them at length 1.

    Of equal values the first one has the whole gradient.

    Args:
        x: Real floating-point numbers.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, 1, …, 1, channels)`.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        ShapeError: `x` has no spatial axis, or an empty one.

    Examples:
        >>> global_max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1))
        Array([[[[3.]]]], dtype=float32)

    Source:
        Flux.jl `GlobalMaxPool`.
    """
    x = real_array(x, subject=subject)
    rank = space_of(x, subject=subject)
    if 0 in x.shape[1:-1]:
        expect_not_empty(x, subject=subject, name="x")
    rows = x.reshape(x.shape[0], -1, x.shape[-1]) if x.size else x.reshape(0, 1, x.shape[-1])
    first = jnp.argmax(rows, 1, keepdims=True)
    most = jnp.take_along_axis(rows, first, 1, mode="clip")  # no place is outside
    return most.reshape(x.shape[0], *(1,) * rank, x.shape[-1])


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
    rank = space_of(x, subject=subject)
    if 0 in x.shape[1:-1]:
        expect_not_empty(x, subject=subject, name="x")
    mean = jnp.mean(x.astype(at_least_float32(x)), tuple(range(1, rank + 1)), keepdims=True)
    return mean.astype(x.dtype)


def _sizes(x: Array, size: int | tuple[int, ...], *, subject: object) -> tuple[int, ...]:
    rank = len(size) if isinstance(size, tuple) else space_of(x, subject=subject)
    expect_space(x, rank, subject=subject)
    if 0 in x.shape[1:-1]:
        expect_not_empty(x, subject=subject, name="x")
    return expand_sizes(size, rank, subject=subject, name="size")


def _window(x: Array, axis: int, n: int) -> tuple[int, ...]:
    """Give the window that takes an axis to size `n`, which divides it."""
    return tuple(x.shape[a] // n if a == axis else 1 for a in range(1, x.ndim - 1))


def _bins(n: int, m: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Give the first place and the length of each of `m` bins."""
    first = np.arange(m) * n // m
    return first, -(-np.arange(1, m + 1) * n // m) - first


def _taken(x: Array, places: np.ndarray[Any, Any], axis: int) -> Array:
    return jnp.take(x, places, axis, mode="clip")  # no place is outside
