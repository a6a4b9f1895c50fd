# SPDX-License-Identifier: Apache-2.0
"""Functions that bring data to mean 0 and variance 1; what is learnt comes in as arguments."""

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between, refuse
from rosin.errors import ShapeError, shown
from rosin.functional.numerics import (
    at_least_float32,
    expand_axes,
    real_array,
    scaled_deviations,
)


def normalise(x: ArrayLike, axes: int | tuple[int, ...], *, epsilon: float = 1e-5) -> Array:
    r"""Bring `x` to mean 0 and variance 1 over some axes.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}$$

    Args:
        x: Real floating-point numbers.
        axes: The axis or the axes to take the mean and the biased variance over.
        epsilon: Keeps the root away from 0; at least 0.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `axes` are not axes of `x`, or `epsilon` is negative or not finite.
        ShapeError: There is nothing to take a mean over.

    Examples:
        >>> normalise(jnp.array([1.0, 2.0, 3.0]), 0, epsilon=0.0).round(3)
        Array([-1.225,  0.   ,  1.225], dtype=float32)

    Source:
        Flux.jl `normalise`.
    """
    x = real_array(x, subject="normalise")
    axes = expand_axes(axes, x.ndim, subject="normalise")
    _expect_epsilon(epsilon, subject="normalise")
    return _normalised(x, axes, epsilon, subject="normalise")[0].astype(x.dtype)


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    axes: int | tuple[int, ...] = -1,
    epsilon: float = 1e-5,
    subject: object = "layer_norm",
) -> Array:
    r"""Normalise each sample over some axes, the last by default, then scale and shift.

    $$y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta$$

    Args:
        x: Real floating-point numbers.
        scale: The factor $\gamma$; left out, 1.
        shift: The summand $\beta$; left out, 0.
        axes: The axis or the axes that make up one sample.
        epsilon: Keeps the root away from 0; at least 0.
        subject: What complains in the message.

    Shapes:
        - x: any shape that has the axes.
        - scale, shift: the sizes of the axes, in the order in which `x` has them.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: An array holds integers, booleans or complex numbers.
        RangeError: `axes` are not axes of `x`, or `epsilon` is negative or not finite.
        ShapeError: A sample is empty, or `scale` or `shift` has another shape than one.

    Examples:
        >>> layer_norm(jnp.array([[1.0, 3.0]]), jnp.array([2.0, 4.0])).round(3)
        Array([[-2.,  4.]], dtype=float32)

    Source:
        Ba, Kiros & Hinton 2016.
    """
    x = real_array(x, subject=subject)
    axes = expand_axes(axes, x.ndim, subject=subject)
    _expect_epsilon(epsilon, subject=subject)
    y = _normalised(x, axes, epsilon, subject=subject)[0]
    return _affine(y, scale, shift, axes, subject=subject).astype(x.dtype)


def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    subject: object = "batch_norm",
) -> Array:
    r"""Normalise each channel with a given mean and variance, then scale and shift.

    $$y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta$$

    A variance that is infinite gives NaN, not a silent 0.

    Args:
        x: Real floating-point numbers.
        mean: The mean $\mu$ of each channel.
        variance: The variance $\sigma^2$ of each channel.
        scale: The factor $\gamma$; left out, 1.
        shift: The summand $\beta$; left out, 0.
        epsilon: Keeps the root away from 0; at least 0.
        subject: What complains in the message.

    Shapes:
        - x: `(..., channels)`.
        - mean, variance, scale, shift: `(channels,)`.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: An array holds integers, booleans or complex numbers.
        RangeError: `x` has no axis, or `epsilon` is negative or not finite.
        ShapeError: Another array is not one number per channel.

    Examples:
        >>> batch_norm(jnp.ones((1, 2)), jnp.zeros(2), jnp.full(2, 0.25)).round(3)
        Array([[2., 2.]], dtype=float32)

    Source:
        Ioffe & Szegedy 2015, algorithm 2.
    """
    x = real_array(x, subject=subject)
    _expect_epsilon(epsilon, subject=subject)
    axes = expand_axes(-1, x.ndim, subject=subject)
    mean = _along(mean, x, axes, subject=subject, name="mean")
    variance = _along(variance, x, axes, subject=subject, name="variance")
    wide = at_least_float32(x, mean, variance)
    variance = variance.astype(wide)
    inverse = jnp.where(variance < jnp.inf, lax.rsqrt(variance + epsilon), jnp.nan)
    y = (x.astype(wide) - mean.astype(wide)) * inverse
    return _affine(y, scale, shift, axes, subject=subject).astype(x.dtype)


def batch_norm_with_statistics(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    subject: object = "batch_norm",
) -> tuple[Array, Array, Array]:
    r"""Normalise each channel with the mean and variance of the batch itself.

    Exact at large means, where `batch_norm` with a rounded mean cannot be.

    Args:
        x: Real floating-point numbers.
        scale: The factor $\gamma$; left out, 1.
        shift: The summand $\beta$; left out, 0.
        epsilon: Keeps the root away from 0; at least 0.
        subject: What complains in the message.

    Shapes:
        - x: `(..., channels)`, with at least one axis before the channels.
        - scale, shift: `(channels,)`.

    Returns:
        The result, as `x`; then the mean and the biased variance, `(channels,)`, in
        float32 for the half types.

    Raises:
        DtypeError: An array holds integers, booleans or complex numbers.
        RangeError: `epsilon` is negative or not finite.
        ShapeError: `x` is empty or has fewer than two axes, or another array is not one
            number per channel.

    Examples:
        >>> y, mean, variance = batch_norm_with_statistics(jnp.array([[1.0], [3.0]]))
        >>> mean.tolist(), variance.tolist()
        ([2.0], [1.0])

    Source:
        Ioffe & Szegedy 2015, algorithm 1.
    """
    x = real_array(x, subject=subject)
    _expect_epsilon(epsilon, subject=subject)
    if x.ndim < 2:
        refuse(
            ShapeError,
            subject=subject,
            expected="shape (batch, ..., channels)",
            got=shown(x),
            fix="give the array at least 2 axes; add a batch axis with x[None]",
        )
    axes = tuple(range(x.ndim - 1))
    y, mean, variance = _normalised(x, axes, epsilon, subject=subject)
    y = _affine(y, scale, shift, (x.ndim - 1,), subject=subject)
    return y.astype(x.dtype), mean.squeeze(axes), variance.squeeze(axes)


def _expect_epsilon(epsilon: float, *, subject: object) -> None:
    expect_between(0, float("inf"), subject=subject, include_high=False, epsilon=epsilon)


def _normalised(
    x: Array, axes: tuple[int, ...], epsilon: float, *, subject: object
) -> tuple[Array, Array, Array]:
    centred, mean, scale = scaled_deviations(x, axes, subject=subject)
    variance = jnp.mean(centred * centred, axes, keepdims=True)
    square = variance + epsilon * scale * scale
    # The derivative of rsqrt is finite down to this bound, which only constant data reach.
    smallest = 2.0 ** (int(jnp.finfo(centred.dtype).minexp) * 2 // 3)
    usual = square > smallest
    inverse = jnp.where(usual, lax.rsqrt(jnp.where(usual, square, 1)), smallest**-0.5)
    return centred * inverse, mean / scale, variance / scale / scale


def _affine(
    y: Array,
    scale: ArrayLike | None,
    shift: ArrayLike | None,
    axes: tuple[int, ...],
    *,
    subject: object,
) -> Array:
    if scale is not None:
        y = y * _along(scale, y, axes, subject=subject, name="scale").astype(y.dtype)
    if shift is not None:
        y = y + _along(shift, y, axes, subject=subject, name="shift").astype(y.dtype)
    return y


def _along(a: ArrayLike, x: Array, axes: tuple[int, ...], *, subject: object, name: str) -> Array:
    """Lay an array along some axes of `x`, or refuse its shape."""
    a = real_array(a, subject=subject, name=name)
    sizes = tuple(x.shape[axis] for axis in axes)
    if a.shape != sizes:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{name} of shape {sizes}",
            got=f"{name} {shown(a)} and x {shown(x)}",
            fix=f"make {name} and the axes {axes} of x agree",
        )
    return a.reshape(tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape)))
