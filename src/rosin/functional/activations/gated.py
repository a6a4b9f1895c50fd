# SPDX-License-Identifier: Apache-2.0
"""Activations that multiply a number with a weight between 0 and 1, the gate.

A gate of the form x sigmoid(u), with u odd in x, is computed from t = sigmoid(-|u|) alone:
y = x t on the left and x (1 - t) on the right. Its derivative on the left is
t (1 - |u'x| (1 - t)), and on the right 1 less that of -x.
"""

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.functional.activations.bounded import hyperbolic_tangent
from rosin.functional.elementary import Exponential, expm1, exponential, magnitude
from rosin.functional.elementwise import with_derivative
from rosin.functional.numerics import real_array


def gate(x: Array, a: Array, n: Exponential) -> Array:
    """Compute x sigmoid(u), where `a` is |x| and `n` is exp(-|u|)."""
    return jnp.where(x < 0, -(a * n.odds) * n.last, x * (1 - n.odds * n.last))


def gate_slope(x: Array, n: Exponential, rest: Array) -> Array:
    """Compute its derivative, where `rest` is 1 - |u'x|."""
    tail = n.odds * n.last
    bracket = rest + tail * (1 - rest)
    # n (1 - tail) is the tail again, without what the rounding of 1 + n has done to it.
    left = n.times(bracket - bracket * tail)
    return jnp.where(x < 0, left, 1 - left)


def _swish_slope(x: Array) -> Array:
    a = magnitude(x, 115, 800)
    return gate_slope(x, exponential(a, -1), 1 - a)


@with_derivative(_swish_slope)
def _swish(x: Array) -> Array:
    a = magnitude(x, 115, 800)
    return gate(x, a, exponential(a, -1))


def swish(x: ArrayLike) -> Array:
    r"""Weigh each number by its sigmoid.

    $$y = x\,\sigma(x) = \frac{x}{1 + e^{-x}}$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> swish(jnp.array([-jnp.inf, 0.0, 1.0]))
        Array([-0.   ,  0.   ,  0.731], dtype=float32)
        >>> float(swish(-90.0))  # the sigmoid alone would be 0
        -7.374e-38

    Source:
        Ramachandran et al. 2017, with beta 1.
    """
    return _swish(real_array(x, subject="swish"))


def silu(x: ArrayLike) -> Array:
    r"""Weigh each number by its sigmoid; the same as `swish`.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> silu(jnp.array([-jnp.inf, 0.0, 1.0]))
        Array([-0.   ,  0.   ,  0.731], dtype=float32)

    Source:
        Elfwing et al. 2018, equation 4.
    """
    return _swish(real_array(x, subject="silu"))


def _hardswish_slope(x: Array) -> Array:
    # Exact at the root, -3/2.
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, (2 * x + 3) / 6))


@with_derivative(_hardswish_slope)
def _hardswish(x: Array) -> Array:
    return jnp.where(x <= -3, 0, x * (jnp.clip(x + 3, 0, 6) / 6))


def hardswish(x: ArrayLike) -> Array:
    r"""Weigh each number by its `hardsigmoid`.

    $$y = x \min(\max(x + 3, 0), 6) / 6$$

    The derivative at -3 is 0, and at 3 it is 1.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> hardswish(jnp.array([-jnp.inf, -1.5, 0.0, 3.0]))
        Array([ 0.   , -0.375,  0.   ,  3.   ], dtype=float32)

    Source:
        Howard et al. 2019, equation 4.
    """
    return _hardswish(real_array(x, subject="hardswish"))


# tanh(softplus(x)) is h / (1 + h) with h = e**x (1 + e**x / 2): with n = e**-|x| that is
# n + n**2 / 2 on the left; on the right numerator and denominator are divided by e**2x.


def _mish_slope(x: Array) -> Array:
    a = magnitude(x, 115, 800)
    e = exponential(a, -1)
    n = e.number
    square = e.times_plus(2 + n * (2 + n * (1 + 0.25 * n)), jnp.ones_like(n))
    left = e.times(e.times_plus((1.5 - a) + n * (1 + 0.25 * n), 1 - a) / square)
    m, p = 2 * (n + n * n), 1 + 2 * n
    right = (p + m * p + 4 * a * n * (n + n * n)) / (1 + m * (2 + m))
    return jnp.where(x < 0, left, right)


@with_derivative(_mish_slope)
def _mish(x: Array) -> Array:
    a = magnitude(x, 115, 800)
    e = exponential(a, -1)
    n = e.number
    left = e.times(a * ((1 + 0.5 * n) / (1 + (n + 0.5 * n * n))))
    right = x * ((1 + 2 * n) / (1 + 2 * (n + n * n)))
    return jnp.where(x < 0, -left, right)


def mish(x: ArrayLike) -> Array:
    r"""Weigh each number by the tanh of its softplus.

    $$y = x \tanh(\log(1 + e^x)) = x\,\frac{h}{1 + h}, \quad h = e^x + \tfrac12 e^{2x}$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> mish(jnp.array([-jnp.inf, 0.0, 1.0]))
        Array([-0.   ,  0.   ,  0.865], dtype=float32)

    Source:
        Misra 2020, equation 1.
    """
    return _mish(real_array(x, subject="mish"))


def _lisht_slope(x: Array) -> Array:
    a = magnitude(x, 40, 370)
    e, n = expm1(a, -2), exponential(a, -2).number
    slope = (4 * a * n - e * (2 + e)) / (1 + n * (2 + n))  # tanh a + a / cosh(a)**2
    return jnp.where(x < 0, -slope, slope)


@with_derivative(_lisht_slope)
def _lisht(x: Array) -> Array:
    return x * hyperbolic_tangent(x)


def lisht(x: ArrayLike) -> Array:
    r"""Weigh each number by its tanh; the result is even in x and never negative.

    $$y = x \tanh x$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> lisht(jnp.array([-jnp.inf, 0.0, 1.0]))
        Array([  inf, 0.   , 0.762], dtype=float32)

    Source:
        Roy et al. 2019, equation 1.
    """
    return _lisht(real_array(x, subject="lisht"))
