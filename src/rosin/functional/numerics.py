# SPDX-License-Identifier: Apache-2.0
"""What the other functions compute with: dtypes, axes, and moments that stay exact."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_floating, expect_not_empty, is_whole, refuse
from rosin.errors import DtypeError, RangeError, shown

# Inputs beyond these are scaled by a power of two before they are squared and summed.
_LARGE = 2.0**50
_SMALL = 2.0**-30


def real_array(x: Any, *, subject: object, name: str = "x") -> Array:
    """Return `x` as an array of a real floating-point dtype, or refuse it.

    Args:
        x: An array, or a number.
        subject: What complains in the message.
        name: What the message calls `x`.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> real_array(1.5, subject="example").dtype
        dtype('float32')
    """
    expect_floating(x, subject=subject, name=name)
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        refuse(
            DtypeError,
            subject=subject,
            expected=f"{name} of a real floating-point dtype",
            got=shown(x),
            fix=f"apply it to {name}.real and {name}.imag, or take jnp.abs({name})",
        )
    return array


def at_least_float32(*arrays: Array) -> Any:
    """Name the dtype to compute in: that of the widest array, float32 for the half types.

    Examples:
        >>> at_least_float32(jnp.ones(2, jnp.float16), jnp.ones(2, jnp.bfloat16))
        dtype('float32')
    """
    # NumPy's promotion: that of JAX can be set to refuse.
    return functools.reduce(np.promote_types, (a.dtype for a in arrays), np.dtype(np.float32))


def expand_axes(
    axes: int | tuple[int, ...], rank: int, *, subject: object, name: str = "axes"
) -> tuple[int, ...]:
    """Count axes from the front and sort them.

    Args:
        axes: One axis or several, each from `-rank` to `rank - 1`.
        rank: The rank of the array.
        subject: What complains in the message.
        name: What the message calls the axes.

    Raises:
        RangeError: There is no axis, one that the array does not have, or one twice.

    Examples:
        >>> expand_axes((-1, 1), 4, subject="example")
        (1, 3)
    """
    given = axes if isinstance(axes, tuple) else (axes,)
    if all(is_whole(axis) and -rank <= axis < rank for axis in given):
        counted = tuple(sorted({axis % rank for axis in given}))
        if counted and len(counted) == len(given):
            return counted
    refuse(
        RangeError,
        subject=subject,
        expected=f"{name} to be different whole numbers of at least {-rank} and below {rank}",
        got=shown(axes),
        fix=f"pass {name}=-1, or a tuple of axes that the array has",
    )


def mean_and_variance(
    x: ArrayLike, axes: int | tuple[int, ...], *, keepdims: bool = True
) -> tuple[Array, Array]:
    r"""Compute the mean and the biased variance over some axes.

    $$\mu = \frac{1}{n} \sum_i x_i, \qquad \sigma^2 = \frac{1}{n} \sum_i (x_i - \mu)^2$$

    The data are centred twice before they are squared, which keeps the variance exact
    where the mean is large, and scaled by a power of two where the squares would overflow.

    Args:
        x: Real floating-point numbers.
        axes: The axis or the axes to reduce.
        keepdims: Whether the reduced axes stay, with size 1.

    Returns:
        The mean and the variance, in float32 for the half types.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `axes` are not axes of `x`.
        ShapeError: There is nothing to reduce.

    Examples:
        >>> mean, variance = mean_and_variance(jnp.array([1e6, 1e6 + 1]), 0, keepdims=False)
        >>> float(mean), float(variance)
        (1000000.5, 0.25)
    """
    x = real_array(x, subject="mean_and_variance")
    axes = expand_axes(axes, x.ndim, subject="mean_and_variance")
    centred, mean, scale = scaled_deviations(x, axes, subject="mean_and_variance")
    # Divided twice, since scale**2 can underflow.
    variance = jnp.mean(centred * centred, axes, keepdims=True) / scale / scale
    mean = mean / scale
    return (mean, variance) if keepdims else (mean.squeeze(axes), variance.squeeze(axes))


def scaled_deviations(
    x: Array, axes: tuple[int, ...], *, subject: object
) -> tuple[Array, Array, Array]:
    """Compute `scale * (x - mean)`, `scale * mean`, and the `scale` that avoids overflow.

    Args:
        x: Real floating-point numbers.
        axes: The axes to average over, counted from the front.
        subject: What complains in the message.

    Raises:
        ShapeError: There is nothing to average.

    Examples:
        >>> centred, mean, scale = scaled_deviations(jnp.array([1.0, 3.0]), (0,), subject="")
        >>> centred.tolist(), mean.tolist(), scale.tolist()
        ([-1.0, 1.0], [2.0], [1.0])
    """
    if any(x.shape[axis] == 0 for axis in axes):
        expect_not_empty(x, subject=subject, name="x")
    x = x.astype(at_least_float32(x))
    scale = safe_scale(x, axes)
    x = x * scale
    # The result does not depend on the first guess, and neither does its derivative.
    guess = lax.stop_gradient(jnp.mean(x, axes, keepdims=True))
    centred = x - guess
    rest = jnp.mean(centred, axes, keepdims=True)
    return centred - rest, guess + rest, scale


def safe_scale(x: Array, axes: tuple[int, ...], *, floor: float = 0.0) -> Array:
    """Find the power of two that brings numbers to where their squares are safe to sum.

    It is 1 for all but very large and very small numbers, and rounds nothing.

    Args:
        x: Numbers of float32 or wider.
        axes: The axes to be summed over; they stay, with size 1.
        floor: What is added to the numbers is as large as this; smaller ones may vanish.

    Examples:
        >>> safe_scale(jnp.array([[1.0, -3.0], [1e30, 0.0]]), (1,)).ravel().tolist()
        [1.0, 3.1554436208840472e-30]
    """
    x = lax.stop_gradient(x)
    # Not of |x|: XLA on a CPU reduces what it reads twice as quickly as what it computes.
    ends = jnp.max(x, axes, keepdims=True, initial=0), jnp.min(x, axes, keepdims=True, initial=0)
    largest = jnp.maximum(jnp.maximum(ends[0], -ends[1]), floor)
    # To a maximum between 2 and 4, while the scale itself is a number; NaN stays NaN anyway.
    exponent = jnp.minimum(2 - jnp.frexp(largest)[1], int(jnp.finfo(x.dtype).maxexp) - 2)
    outside = (largest > _LARGE) | ((largest < _SMALL) & (largest > 0))
    return jnp.where(outside, jnp.ldexp(jnp.ones_like(largest), exponent), 1)
