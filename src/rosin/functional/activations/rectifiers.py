# SPDX-License-Identifier: Apache-2.0
"""Activations that return a positive number as it is, or in proportion."""

import math

import jax
import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike, Key
from rosin.core.validation import expect_between
from rosin.functional.elementary import exp, expm1
from rosin.functional.elementwise import with_derivative
from rosin.functional.numerics import at_least_float32, real_array

# Of Klambauer et al. 2017, equation 14: they keep mean 0 and variance 1.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def identity(x: Array) -> Array:
    """Return `x`, whatever it is.

    Examples:
        >>> identity(3)
        3
    """
    return x


def _relu_slope(x: Array) -> Array:
    return (x > 0).astype(x.dtype)


@with_derivative(_relu_slope)
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


def relu(x: ArrayLike) -> Array:
    r"""Cut off what is negative.

    $$y = \max(x, 0)$$

    The derivative at 0 is 0.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> relu(jnp.array([-1.0, 0.0, 2.0]))
        Array([0., 0., 2.], dtype=float32)

    Source:
        Nair & Hinton 2010.
    """
    return _relu(real_array(x, subject="relu"))


def _leakyrelu_slope(x: Array, slope: float) -> Array:
    return jnp.where(x > 0, 1, jnp.asarray(slope, x.dtype))


@with_derivative(_leakyrelu_slope)
def _leakyrelu(x: Array, slope: float) -> Array:
    return jnp.where(x > 0, x, slope * x)


def leakyrelu(x: ArrayLike, *, slope: float = 0.01) -> Array:
    r"""Shrink what is negative.

    $$y = \max(x, a x)$$

    The derivative at 0 is $a$.

    Args:
        x: Real floating-point numbers.
        slope: The $a$, from 0 to 1.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `slope` is not between 0 and 1.

    Examples:
        >>> leakyrelu(jnp.array([-1.0, 0.0, 2.0]), slope=0.25)
        Array([-0.25,  0.  ,  2.  ], dtype=float32)

    Source:
        Maas et al. 2013, equation 2.
    """
    expect_between(0, 1, subject="leakyrelu", slope=slope)
    x = real_array(x, subject="leakyrelu")
    return _leakyrelu(x, slope) if slope > 0 else _relu(x)  # -inf * 0 would be NaN


def rrelu(
    x: ArrayLike, *, lower: float = 1 / 8, upper: float = 1 / 3, key: Key | None = None
) -> Array:
    r"""Shrink what is negative, each number by a random factor.

    $$y = \max(x, a x), \qquad a \sim \mathcal{U}(l, u)$$

    Args:
        x: Real floating-point numbers.
        lower: The $l$, from 0 to 1.
        upper: The $u$, from $l$ to 1.
        key: Draws a factor for each number; without it all are the mean, $(l + u) / 2$.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `lower` or `upper` is not between 0 and 1, or `upper` is below `lower`.

    Examples:
        >>> rrelu(jnp.array([-1.0, 2.0]), lower=0.25, upper=0.75)
        Array([-0.5,  2. ], dtype=float32)

    Source:
        Xu et al. 2015, section 3.4; Flux.jl `rrelu`, which always draws.
    """
    expect_between(0, 1, subject="rrelu", lower=lower)
    expect_between(lower, 1, subject="rrelu", upper=upper)
    x = real_array(x, subject="rrelu")
    if key is None or upper == 0:
        return leakyrelu(x, slope=(lower + upper) / 2)
    slopes = jax.random.uniform(key, x.shape, at_least_float32(x), lower, upper)
    return jnp.where(x > 0, x, (slopes * x.astype(slopes.dtype)).astype(x.dtype))


def _relu6_slope(x: Array) -> Array:
    return ((x > 0) & (x < 6)).astype(x.dtype)


@with_derivative(_relu6_slope)
def _relu6(x: Array) -> Array:
    return jnp.clip(x, 0, 6)


def relu6(x: ArrayLike) -> Array:
    r"""Cut off what is negative and what is above 6.

    $$y = \min(\max(x, 0), 6)$$

    The derivative at 0 and at 6 is 0.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> relu6(jnp.array([-1.0, 2.0, 9.0]))
        Array([0., 2., 6.], dtype=float32)

    Source:
        Krizhevsky 2010, section 3.
    """
    return _relu6(real_array(x, subject="relu6"))


def _trelu_slope(x: Array, theta: float) -> Array:
    return (x > theta).astype(x.dtype)


@with_derivative(_trelu_slope)
def _trelu(x: Array, theta: float) -> Array:
    return jnp.where(x <= theta, 0, x)


def trelu(x: ArrayLike, *, theta: float = 1.0) -> Array:
    r"""Return 0 up to a threshold, and above it the number itself.

    $$y = x \text{ if } x > \theta \text{, else } 0$$

    The derivative at $\theta$ is 0.

    Args:
        x: Real floating-point numbers.
        theta: The $\theta$, at least 0 and finite.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `theta` is negative or not finite.

    Examples:
        >>> trelu(jnp.array([-1.0, 0.5, 2.0]))
        Array([0., 0., 2.], dtype=float32)

    Source:
        Konda et al. 2014.
    """
    expect_between(0, math.inf, subject="trelu", include_high=False, theta=theta)
    return _trelu(real_array(x, subject="trelu"), theta)


def _exp_below(x: Array) -> Array:
    """Compute e**x of what is negative, and 1 of the rest."""
    return exp(jnp.clip(x, -115 if x.dtype == jnp.float32 else -800, 0))


def _expm1_below(x: Array) -> Array:
    """Compute e**x - 1 of what is negative, and 0 of the rest; it is -1 from -40 down."""
    return expm1(jnp.clip(x, -40, 0))


def _elu_slope(x: Array, alpha: float) -> Array:
    return jnp.where(x > 0, 1, alpha * _exp_below(x))


@with_derivative(_elu_slope)
def _elu(x: Array, alpha: float) -> Array:
    return jnp.where(x > 0, x, alpha * _expm1_below(x))


def elu(x: ArrayLike, *, alpha: float = 1.0) -> Array:
    r"""Let negative numbers decay to a constant.

    $$y = x \text{ if } x > 0 \text{, else } \alpha (e^x - 1)$$

    Args:
        x: Real floating-point numbers.
        alpha: The $\alpha$, at least 0 and finite.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `alpha` is negative or not finite.

    Examples:
        >>> elu(jnp.array([-jnp.inf, -1.0, 2.0]))
        Array([-1.   , -0.632,  2.   ], dtype=float32)

    Source:
        Clevert et al. 2016, equation 15.
    """
    expect_between(0, math.inf, subject="elu", include_high=False, alpha=alpha)
    return _elu(real_array(x, subject="elu"), alpha)


def _celu_slope(x: Array, alpha: float) -> Array:
    return jnp.where(x > 0, 1, _exp_below(x / alpha))


@with_derivative(_celu_slope)
def _celu(x: Array, alpha: float) -> Array:
    return jnp.where(x > 0, x, alpha * _expm1_below(x / alpha))


def celu(x: ArrayLike, *, alpha: float = 1.0) -> Array:
    r"""Let negative numbers decay to a constant, with derivative 1 at 0 for every $\alpha$.

    $$y = x \text{ if } x > 0 \text{, else } \alpha (e^{x / \alpha} - 1)$$

    Args:
        x: Real floating-point numbers.
        alpha: The $\alpha$, above 0 and finite.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `alpha` is not positive, or not finite.

    Examples:
        >>> celu(jnp.array([-jnp.inf, 0.0, 2.0]), alpha=0.5)
        Array([-0.5,  0. ,  2. ], dtype=float32)

    Source:
        Barron 2017, equation 2.
    """
    expect_between(0, math.inf, subject="celu", include_low=False, include_high=False, alpha=alpha)
    return _celu(real_array(x, subject="celu"), alpha)


def _selu_slope(x: Array) -> Array:
    return jnp.where(x > 0, _SELU_SCALE, _SELU_ALPHA * _SELU_SCALE * _exp_below(x))


@with_derivative(_selu_slope)
def _selu(x: Array) -> Array:
    return jnp.where(x > 0, _SELU_SCALE * x, _SELU_ALPHA * _SELU_SCALE * _expm1_below(x))


def selu(x: ArrayLike) -> Array:
    r"""Scale `elu` so that mean 0 and variance 1 go from layer to layer.

    $$y = \lambda x \text{ if } x > 0 \text{, else } \lambda \alpha (e^x - 1)$$

    with $\alpha = 1.67326\ldots$ and $\lambda = 1.05070\ldots$; the derivative at 0 is
    that from the left, $\lambda \alpha$.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> selu(jnp.array([-jnp.inf, 0.0, 1.0]))
        Array([-1.758,  0.   ,  1.051 ], dtype=float32)

    Source:
        Klambauer et al. 2017, equation 2.
    """
    return _selu(real_array(x, subject="selu"))
