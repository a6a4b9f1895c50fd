# SPDX-License-Identifier: Apache-2.0
"""Activations that round the corner of `relu`, or of the magnitude."""

import math

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between
from rosin.functional.activations.bounded import logistic, tanh
from rosin.functional.elementary import exponential, log1p, magnitude, polynomial
from rosin.functional.elementwise import with_derivative
from rosin.functional.numerics import real_array


def _log1p_exp(x: Array) -> Array:
    """Compute log(1 + e**-|x|)."""
    return log1p(exponential(magnitude(x, 115, 800), -1).number)


@with_derivative(logistic)
def _softplus(x: Array) -> Array:
    rest = _log1p_exp(x)
    return jnp.where(x < 0, rest, x + rest)


def softplus(x: ArrayLike) -> Array:
    r"""Round the corner of `relu`.

    $$y = \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|})$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> softplus(jnp.array([-jnp.inf, 0.0, 100.0]))
        Array([  0.   ,   0.693, 100.   ], dtype=float32)

    Source:
        Dugas et al. 2001, section 2.
    """
    return _softplus(real_array(x, subject="softplus"))


def _logsigmoid_slope(x: Array) -> Array:
    return logistic(-x)


@with_derivative(_logsigmoid_slope)
def _logsigmoid(x: Array) -> Array:
    rest = _log1p_exp(x)
    return jnp.where(x < 0, x - rest, -rest)


def logsigmoid(x: ArrayLike) -> Array:
    r"""Compute the logarithm of the sigmoid, where the sigmoid itself is 0 or 1.

    $$y = \log \sigma(x) = -\log(1 + e^{-x})$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> logsigmoid(jnp.array([-100.0, 0.0, 20.0]))
        Array([-1.000e+02, -6.931e-01, -2.061e-09], dtype=float32)
    """
    return _logsigmoid(real_array(x, subject="logsigmoid"))


# --- squareplus: scaled to b = 1, where it is max(u, 0) + 1 / (2 (sqrt(u**2 + 1) + |u|)) --

_SQUARES = 2.0**63  # the square of this has a finite sum with itself


def _squareplus_slope(x: Array, b: float) -> Array:
    u = jnp.minimum(jnp.abs(x) * (1 / math.sqrt(b)), _SQUARES)
    s = u * u + 1
    left = 0.5 / (s + u * jnp.sqrt(s))
    return jnp.where(x < 0, left, 1 - left)


@with_derivative(_squareplus_slope)
def _squareplus(x: Array, b: float) -> Array:
    u = jnp.abs(x) * (1 / math.sqrt(b))
    z = jnp.minimum(u, _SQUARES)
    root = jnp.maximum(jnp.sqrt(z * z + 1), u)
    left = (0.5 * math.sqrt(b)) / (root + u)
    return jnp.where(x < 0, left, x + left)


def squareplus(x: ArrayLike, *, b: float = 4.0) -> Array:
    r"""Round the corner of `relu` with a hyperbola.

    $$y = \frac{x + \sqrt{x^2 + b}}{2}$$

    Args:
        x: Real floating-point numbers.
        b: How round the corner is, above 0 and finite; with 4 the value at 0 is 1.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: `b` is not positive, or not finite.

    Examples:
        >>> squareplus(jnp.array([-1e30, 0.0, 1e30]))
        Array([1.e-30, 1.e+00, 1.e+30], dtype=float32)

    Source:
        Barron 2021, equation 1; `jax.nn.squareplus`.
    """
    expect_between(0, math.inf, subject="squareplus", include_low=False, include_high=False, b=b)
    return _squareplus(real_array(x, subject="squareplus"), b)


def _sparse_plus_slope(x: Array) -> Array:
    return 0.5 * jnp.clip(x + 1, 0, 2)


@with_derivative(_sparse_plus_slope)
def _sparse_plus(x: Array) -> Array:
    t = 0.5 * jnp.clip(x + 1, 0, 2)
    return jnp.where(x < 1, t * t, x)


def sparse_plus(x: ArrayLike) -> Array:
    r"""Round the corner of `relu` with a parabola; exactly `relu` below -1 and above 1.

    $$y = \frac{(x + 1)^2}{4} \text{ for } |x| < 1$$

    Its derivative is `sparse_sigmoid`.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> sparse_plus(jnp.array([-9.0, 0.0, 9.0]))
        Array([0.  , 0.25, 9.  ], dtype=float32)

    Source:
        `jax.nn.sparse_plus`.
    """
    return _sparse_plus(real_array(x, subject="sparse_plus"))


# x**2 / log cosh x in x**2 <= 1; relative error 1e-17.
_LOGCOSH = (
    9.00378128309514e-09,
    -8.843196209219869e-08,
    4.4752570250654794e-07,
    -1.6391970436351776e-06,
    5.164738929723785e-06,
    -1.5512512288267078e-05,
    4.6830203593183786e-05,
    -0.00014564244483278692,
    0.0004749862198453677,
    -0.0016666664512633954,
    0.006613756597838613,
    -0.03333333333271684,
    0.3333333333333239,
    2.0,
)


def _logcosh_slope(x: Array) -> Array:
    return tanh(x)  # which has a derivative of its own


@with_derivative(_logcosh_slope)
def _logcosh(x: Array) -> Array:
    a = jnp.abs(x)
    s = jnp.minimum(a * a, 1)
    large = (a - math.log(2)) + _log1p_exp(a + a)
    return jnp.where(a < 1, s / polynomial(_LOGCOSH, s), large)


def logcosh(x: ArrayLike) -> Array:
    r"""Round the corner of the magnitude.

    $$y = \log \cosh x = |x| + \log(1 + e^{-2|x|}) - \log 2$$

    Its derivative is `tanh`.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> logcosh(jnp.array([1e-10, 1.0, 100.0]))
        Array([5.000e-21, 4.338e-01, 9.931e+01], dtype=float32)
    """
    return _logcosh(real_array(x, subject="logcosh"))
