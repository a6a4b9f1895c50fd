# SPDX-License-Identifier: Apache-2.0
"""Functions that bring data to mean 0 and variance 1; what is learnt comes in as arguments."""

import math

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between, expect_divides, refuse
from rosin.errors import ShapeError, shown
from rosin.functional.numerics import at_least_float32, expand_axes, real_array
from rosin.functional.standardise import Affine, standardised


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
    expect_epsilon(epsilon, subject="normalise")
    return standardised(x, axes, epsilon, subject="normalise")[0].astype(x.dtype)


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
    expect_epsilon(epsilon, subject=subject)
    affine = _laid(x, scale, shift, axes, subject=subject)
    y, _, _ = standardised(x, axes, epsilon, affine=affine, subject=subject)
    return y.astype(x.dtype)


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
    expect_epsilon(epsilon, subject=subject)
    axes = expand_axes(-1, x.ndim, subject=subject)
    mean = along(mean, x, axes, subject=subject, name="mean")
    variance = along(variance, x, axes, subject=subject, name="variance")
    wide = at_least_float32(x, mean, variance)
    variance = variance.astype(wide)
    inverse = jnp.where(variance < jnp.inf, lax.rsqrt(variance + epsilon), jnp.nan)
    factor, summand = _laid(x, scale, shift, axes, subject=subject)
    factor = inverse if factor is None else inverse * factor.astype(wide)
    y = (x.astype(wide) - mean.astype(wide)) * factor
    return (y if summand is None else y + summand.astype(wide)).astype(x.dtype)


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
    expect_epsilon(epsilon, subject=subject)
    expect_at_least_axes(x, 2, "(batch, ..., channels)", subject=subject)
    axes = tuple(range(x.ndim - 1))
    affine = _laid(x, scale, shift, (x.ndim - 1,), subject=subject)
    y, mean, variance = standardised(x, axes, epsilon, affine=affine, subject=subject)
    return y.astype(x.dtype), mean.squeeze(axes), variance.squeeze(axes)


def instance_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    subject: object = "instance_norm",
) -> Array:
    r"""Normalise each channel of each example over its spatial axes, then scale and shift.

    Args:
        x: Real floating-point numbers.
        scale: The factor $\gamma$; left out, 1.
        shift: The summand $\beta$; left out, 0.
        epsilon: Keeps the root away from 0; at least 0.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, with at least one spatial axis.
        - scale, shift: `(channels,)`.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: An array holds integers, booleans or complex numbers.
        RangeError: `epsilon` is negative or not finite.
        ShapeError: `x` has no spatial axis or fewer than two values along them, or
            `scale` or `shift` is not one number per channel.

    Examples:
        >>> instance_norm(jnp.array([[[1.0], [3.0]], [[10.0], [50.0]]])).round(3).ravel()
        Array([-1.,  1., -1.,  1.], dtype=float32)

    Source:
        Ulyanov, Vedaldi & Lempitsky 2016, eq. 3.
    """
    return instance_norm_with_statistics(x, scale, shift, epsilon=epsilon, subject=subject)[0]


def instance_norm_with_statistics(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    subject: object = "instance_norm",
) -> tuple[Array, Array, Array]:
    """Normalise as `instance_norm`; return the mean and the biased variance too.

    They have shape `(batch, channels)`, and are in float32 for the half types.
    """
    x = real_array(x, subject=subject)
    expect_epsilon(epsilon, subject=subject)
    expect_at_least_axes(x, 3, "(batch, *space, channels)", subject=subject)
    axes = tuple(range(1, x.ndim - 1))
    _expect_several(x, math.prod(x.shape[1:-1]), what="channel", subject=subject)
    affine = _laid(x, scale, shift, (x.ndim - 1,), subject=subject)
    y, mean, variance = standardised(x, axes, epsilon, affine=affine, subject=subject)
    return y.astype(x.dtype), mean.squeeze(axes), variance.squeeze(axes)


def group_norm(
    x: ArrayLike,
    groups: int,
    scale: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    *,
    epsilon: float = 1e-5,
    subject: object = "group_norm",
) -> Array:
    r"""Normalise groups of neighbouring channels of each example, then scale and shift.

    Mean and variance are taken over the spatial axes and the channels of one group.

    Args:
        x: Real floating-point numbers.
        groups: Their number; divides the channels. With 1 all channels are normalised
            together, with as many as channels each on its own.
        scale: The factor $\gamma$; left out, 1.
        shift: The summand $\beta$; left out, 0.
        epsilon: Keeps the root away from 0; at least 0.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`.
        - scale, shift: `(channels,)`.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: An array holds integers, booleans or complex numbers.
        RangeError: `groups` does not divide the channels, or `epsilon` is negative or not
            finite.
        ShapeError: `x` has fewer than two axes or fewer than two values in a group, or
            `scale` or `shift` is not one number per channel.

    Examples:
        >>> group_norm(jnp.array([[1.0, 3.0, 10.0, 50.0]]), 2).round(3)
        Array([[-1.,  1., -1.,  1.]], dtype=float32)

    Source:
        Wu & He 2018, eqs. 1 to 5.
    """
    x = real_array(x, subject=subject)
    expect_epsilon(epsilon, subject=subject)
    expect_at_least_axes(x, 2, "(batch, *space, channels)", subject=subject)
    expect_divides(groups, subject=subject, name="groups", channels=x.shape[-1])
    factor, summand = _laid(x, scale, shift, (x.ndim - 1,), subject=subject)
    parts = (groups, x.shape[-1] // groups)
    grouped = x.reshape(*x.shape[:-1], *parts)
    axes = (*range(1, x.ndim - 1), x.ndim)
    _expect_several(x, math.prod(x.shape[1:]) // groups, what="group", subject=subject)
    affine = (
        None if factor is None else factor.reshape(*factor.shape[:-1], *parts),
        None if summand is None else summand.reshape(*summand.shape[:-1], *parts),
    )
    y, _, _ = standardised(grouped, axes, epsilon, affine=affine, subject=subject)
    return y.reshape(x.shape).astype(x.dtype)


def expect_epsilon(epsilon: float, *, subject: object) -> None:
    """Refuse an epsilon that is negative or not finite."""
    expect_between(0, float("inf"), subject=subject, include_high=False, epsilon=epsilon)


def expect_at_least_axes(x: Array, count: int, shape: str, *, subject: object) -> None:
    """Refuse an array of a lower rank than the shape asks for."""
    if x.ndim < count:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"shape {shape}",
            got=shown(x),
            fix=f"give the array at least {count} axes; add a batch axis with x[None]",
        )


def _expect_several(x: Array, count: int, *, what: str, subject: object) -> None:
    """Refuse to normalise single values: the result would be 0 whatever they are."""
    if count < 2:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"at least 2 values for each {what} of an example",
            got=f"{shown(x)}, which has {count}",
            fix="feed it larger examples, or use another norm, such as LayerNorm",
        )


def _laid(
    x: Array,
    scale: ArrayLike | None,
    shift: ArrayLike | None,
    axes: tuple[int, ...],
    *,
    subject: object,
) -> Affine:
    """Lay the factor and the summand along some axes of `x`."""
    return (
        None if scale is None else along(scale, x, axes, subject=subject, name="scale"),
        None if shift is None else along(shift, x, axes, subject=subject, name="shift"),
    )


def along(a: ArrayLike, x: Array, axes: tuple[int, ...], *, subject: object, name: str) -> Array:
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
