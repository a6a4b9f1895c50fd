# SPDX-License-Identifier: Apache-2.0
"""Activations that make small numbers smaller, or 0."""

import math

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between
from rosin.functional.activations.bounded import hyperbolic_tangent
from rosin.functional.elementary import exponential, magnitude, polynomial
from rosin.functional.elementwise import with_derivative
from rosin.functional.numerics import real_array


def _shrink_slope(x: Array, threshold: float) -> Array:
    return (jnp.abs(x) > threshold).astype(x.dtype)


@with_derivative(_shrink_slope)
def _softshrink(x: Array, threshold: float) -> Array:
    return x - jnp.clip(x, -threshold, threshold)


def softshrink(x: ArrayLike, *, threshold: float = 0.5) -> Array:
    r"""Move each number towards 0, and no further than to it.

    $$y = x - \min(\max(x, -\lambda), \lambda)$$

    The derivative at $\pm\lambda$ is 0.

    Args:
        x: Real floating-point numbers.
        threshold: The $\lambda$, at least 0 and finite.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `threshold` is negative or not finite.

    Examples:
        >>> softshrink(jnp.array([-2.0, 0.25, 1.0]))
        Array([-1.5,  0. ,  0.5], dtype=float32)

    Source:
        Donoho 1995, equation 2.
    """
    expect_between(0, math.inf, subject="softshrink", include_high=False, threshold=threshold)
    return _softshrink(real_array(x, subject="softshrink"), threshold)


@with_derivative(_shrink_slope)
def _hardshrink(x: Array, threshold: float) -> Array:
    return jnp.where(jnp.abs(x) <= threshold, 0, x)


def hardshrink(x: ArrayLike, *, threshold: float = 0.5) -> Array:
    r"""Set small numbers to 0, and leave the others.

    $$y = x \text{ if } |x| > \lambda \text{, else } 0$$

    The derivative at $\pm\lambda$ is 0.

    Args:
        x: Real floating-point numbers.
        threshold: The $\lambda$, at least 0 and finite.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `threshold` is negative or not finite.

    Examples:
        >>> hardshrink(jnp.array([-2.0, 0.25, 1.0]))
        Array([-2.,  0.,  1.], dtype=float32)

    Source:
        Donoho & Johnstone 1994, equation 9.
    """
    expect_between(0, math.inf, subject="hardshrink", include_high=False, threshold=threshold)
    return _hardshrink(real_array(x, subject="hardshrink"), threshold)


# s x / (x - tanh x) in s = x**2 <= 2.6; relative error 3e-17. Its nearest pole is at
# s = -20.2, where the fraction of tanh has poles at -2.5.
_TANHSHRINK = (
    -9.032520156072146e-14,
    3.1154911777979683e-12,
    -7.088807296671048e-11,
    1.4596089924948428e-09,
    -2.9560781311350656e-08,
    5.987624939102788e-07,
    -1.2203667243166965e-05,
    0.0002539682532900089,
    -0.005714285714173241,
    1.1999999999999926,
    3.0,
)


def _near_0(x: Array) -> Array:
    s = jnp.minimum(x * x, 2.6)
    return x * (s / polynomial(_TANHSHRINK, s))


def _tanhshrink_slope(x: Array) -> Array:
    z = jnp.clip(x, -1.6, 1.6)
    tanh = z - _near_0(z)
    n = exponential(magnitude(x, 57, 400), -2).number
    return jnp.where(jnp.abs(x) < 1.6, tanh * tanh, 1 - 4 * n / ((1 + n) * (1 + n)))


@with_derivative(_tanhshrink_slope)
def _tanhshrink(x: Array) -> Array:
    return jnp.where(jnp.abs(x) < 1.6, _near_0(x), x - hyperbolic_tangent(x))


def tanhshrink(x: ArrayLike) -> Array:
    r"""Move each number towards 0 by its tanh.

    $$y = x - \tanh x, \qquad y' = \tanh^2 x$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> tanhshrink(jnp.array([-2.0, 1e-4, 1.0]))
        Array([-1.036e+00,  3.333e-13,  2.384e-01], dtype=float32)
    """
    return _tanhshrink(real_array(x, subject="tanhshrink"))
