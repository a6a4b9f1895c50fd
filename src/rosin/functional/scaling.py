# SPDX-License-Identifier: Apache-2.0
"""Functions that scale numbers by their own size and take no mean away."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_at_least, expect_between
from rosin.functional.normalisation import along, expect_epsilon
from rosin.functional.numerics import at_least_float32, expand_axes, real_array, safe_scale
from rosin.functional.standardise import standardised


def rms_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    axes: int | tuple[int, ...] = -1,
    epsilon: float = 1e-5,
    subject: object = "rms_norm",
) -> Array:
    r"""Divide each sample by the root of its mean square over some axes, then scale.

    $$y = \gamma\,\frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}$$

    Args:
        x: Real floating-point numbers.
        scale: The factor $\gamma$; left out, 1.
        axes: The axis or the axes that make up one sample, the last by default.
        epsilon: Keeps the root away from 0; at least 0.
        subject: What complains in the message.

    Shapes:
        - x: any shape that has the axes.
        - scale: the sizes of the axes, in the order in which `x` has them.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: An array holds integers, booleans or complex numbers.
        RangeError: `axes` are not axes of `x`, or `epsilon` is negative or not finite.
        ShapeError: A sample is empty, or `scale` has another shape than one.

    Examples:
        >>> rms_norm(jnp.array([[1.0, 7.0]]), epsilon=0.0)
        Array([[0.2, 1.4]], dtype=float32)

    Source:
        Zhang & Sennrich 2019, eq. 4, with an $\epsilon$ that keeps zeros finite.
    """
    x = real_array(x, subject=subject)
    axes = expand_axes(axes, x.ndim, subject=subject)
    expect_epsilon(epsilon, subject=subject)
    factor = None if scale is None else along(scale, x, axes, subject=subject, name="scale")
    y, _, _ = standardised(x, axes, epsilon, affine=(factor, None), centre=False, subject=subject)
    return y.astype(x.dtype)


def l2_normalise(
    x: ArrayLike, axes: int | tuple[int, ...] = -1, *, subject: object = "l2_normalise"
) -> Array:
    r"""Bring vectors to length 1; a vector of zeros stays one, with gradient zero.

    $$y = \frac{x}{\lVert x \rVert_2}$$

    No length is too small or too large: the squares are summed after scaling by a power
    of two.

    Args:
        x: Real floating-point numbers.
        axes: The axis or the axes along which a vector runs.
        subject: What complains in the message.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `axes` are not axes of `x`.

    Examples:
        >>> l2_normalise(jnp.array([[3e30, 4e30], [0.0, 0.0]])).round(3)
        Array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)

    Source:
        Julia's `LinearAlgebra.normalize` has NaN at zero; PyTorch's
        `functional.normalize` divides by at least $10^{-12}$ instead.
    """
    x = real_array(x, subject=subject)
    axes = expand_axes(axes, x.ndim, subject=subject)
    return _unit(x.astype(at_least_float32(x)), axes)[0].astype(x.dtype)


def lengths(x: Array, axes: tuple[int, ...]) -> Array:
    """Compute the Euclidean length along some axes, which stay, with size 1.

    Args:
        x: Real floating-point numbers.
        axes: Counted from the front.

    Examples:
        >>> (lengths(jnp.array([[3e30, 4e30]]), (1,)) / 1e30).round(3).tolist()
        [[5.0]]
    """
    x = x.astype(at_least_float32(x))
    scale = safe_scale(x, axes)
    x = x * scale
    return jnp.sqrt(jnp.sum(x * x, axes, keepdims=True)) / scale


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _unit(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return unit vectors, and one over the lengths or 0."""
    scale = safe_scale(x, axes)
    x = x * scale
    square = jnp.sum(x * x, axes, keepdims=True)
    inverse = jnp.where(square == 0, 0, lax.rsqrt(jnp.where(square == 0, 1, square)))
    return x * inverse, inverse * scale


@_unit.defjvp
def _unit_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    y, inverse = _unit(x, axes)
    projection = jnp.sum(y * dx, axes, keepdims=True)
    return (y, inverse), (inverse * (dx - y * projection), -inverse * inverse * projection)


def local_response_norm(
    x: ArrayLike,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    subject: object = "local_response_norm",
) -> Array:
    r"""Divide each channel by a power of the mean square of the channels around it.

    $$y_c = x_c \Big(k + \frac{\alpha}{n} \sum_{j=c-\lfloor n/2 \rfloor}^{c+\lfloor (n-1)/2
    \rfloor} x_j^2\Big)^{-\beta}$$

    Channels beyond the first and the last count as zeros.

    Args:
        x: Real floating-point numbers.
        size: The number $n$ of channels that are looked at; at least 1.
        alpha: The weight $\alpha$ of the mean square; at least 0.
        beta: The power $\beta$; at least 0.
        k: The summand $k$; above 0.
        subject: What complains in the message.

    Shapes:
        - x: `(..., channels)`.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: An argument is out of its range, or `x` has no axis.

    Examples:
        >>> local_response_norm(jnp.array([0.0, 2.0, 0.0]), 1, alpha=2.0, beta=0.5)
        Array([0.        , 0.6666667, 0.        ], dtype=float32)

    Source:
        Krizhevsky, Sutskever & Hinton 2012, section 3.3, with $\alpha / n$ for their
        $\alpha$ and the defaults, as in PyTorch.
    """
    expect_at_least(1, subject=subject, size=size)
    expect_between(0, float("inf"), subject=subject, include_high=False, alpha=alpha, beta=beta)
    expect_between(0, float("inf"), subject=subject, include_low=False, include_high=False, k=k)
    x = real_array(x, subject=subject)
    axes = expand_axes(-1, x.ndim, subject=subject)
    wide = x.astype(at_least_float32(x))
    # Not below 2**-60, so that k * small**2 is still a number.
    small = jnp.maximum(safe_scale(wide, axes, floor=1.0), 2.0**-60)
    square = (wide * small * (alpha / size) ** 0.5) ** 2
    window, pad = [1] * x.ndim, [(0, 0)] * x.ndim
    window[-1], pad[-1] = size, (size // 2, (size - 1) // 2)
    total = lax.reduce_window(square, 0.0, lax.add, window, [1] * x.ndim, pad)
    return (wide * (k * small * small + total) ** -beta * small ** (2 * beta)).astype(x.dtype)
