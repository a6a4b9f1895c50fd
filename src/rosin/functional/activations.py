# SPDX-License-Identifier: Apache-2.0
"""The elementwise functions between layers.

Each keeps its tails: the derivative comes from `exp(-|x|)`, never from `1 - y**2` or
`y * (1 - y)`, which are exactly 0 long before the true derivative is. The half types are
computed in float32 and rounded once, the gradient too. All have derivatives of every
order, and all pass NaN on.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Activation, Array, ArrayLike
from rosin.functional.numerics import at_least_float32, real_array

# Beyond this magnitude both forms of gelu are x or 0; it keeps x**3 and inf * 0 away.
_GELU_REACH = 64.0
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_CUBIC = 0.044715

# Minimax fits for float32, leading coefficient first; float64 does without them. Each root
# is a float32 and a rest; the rest is added as a constant, where XLA cannot fold it away.
# Tanh form: (1 + n - a v) / (root - a) in a - 1, 0.5 <= a <= 1.5; relative error 3.2e-8.
_TANH_ROOT, _TANH_REST = 0.7524614334106445, -1.133963e-8 * 2.460657
_TANH_BRACKET = (
    0.002310027781558767,
    -0.007320773445151508,
    0.019345541947765124,
    -0.051674090886161206,
    0.35372327299720224,
    0.2858561532244742,
    2.508878884259556,
)
# Erf form: erfcx(a / sqrt 2) / 2 * (a + 3) in (a - 3) / (a + 3), a <= 13.5; error 4.2e-8.
_ERFCX = (
    -0.0002706357971452986,
    -0.0009090320965125704,
    0.0010771226227499488,
    0.006927899274140791,
    -0.010479662938284723,
    -0.047256905010373246,
    0.23001928710035724,
    -0.5093322434528124,
    0.7290836701992365,
)
# (erfcx(a / sqrt 2) / 2 - a / sqrt(2 pi)) / (root - a), in the same variable; error 4.4e-8.
_ERF_ROOT, _ERF_REST = 0.7517915368080139, -1.211445e-8 * 0.572406
_ERF_BRACKET = (
    -9.87267446516341e-05,
    -8.212729914002649e-05,
    0.0010788050191256249,
    0.00019853548509821188,
    -0.014071612499939639,
    0.05359681492520524,
    -0.11997560193971163,
    0.4782976652478183,
)


def _with_derivative(derivative: Activation) -> Callable[[Activation], Activation]:
    """Give a function its derivative; both are computed in float32 or wider."""

    def decorate(value: Activation) -> Activation:
        @jax.custom_jvp
        @jax.jit
        @functools.wraps(value)
        def function(x: Array) -> Array:
            return value(x.astype(at_least_float32(x))).astype(x.dtype)

        @jax.jit
        @functools.wraps(derivative)
        def tangent(x: Array, dx: Array) -> Array:
            wide = at_least_float32(x)
            return (derivative(x.astype(wide)) * dx.astype(wide)).astype(x.dtype)

        @function.defjvp
        def _rule(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
            return function(*primals), tangent(*primals, *tangents)

        return function

    return decorate


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    total = jnp.full_like(t, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * t + coefficient
    return total


def identity(x: Array) -> Array:
    """Return `x`, whatever it is.

    Examples:
        >>> identity(3)
        3
    """
    return x


def _relu_slope(x: Array) -> Array:
    return (x > 0).astype(x.dtype)


@_with_derivative(_relu_slope)
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


def _sigmoid_slope(x: Array) -> Array:
    n = jnp.exp(-jnp.abs(x))
    return n / ((1 + n) * (1 + n))


@_with_derivative(_sigmoid_slope)
def _sigmoid(x: Array) -> Array:
    n = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, n, 1) / (1 + n)


def sigmoid(x: ArrayLike) -> Array:
    r"""Squash to the interval from 0 to 1.

    $$y = \frac{1}{1 + e^{-x}}, \qquad y' = \frac{n}{(1 + n)^2}, \quad n = e^{-|x|}$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> sigmoid(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([0. , 0.5, 1. ], dtype=float32)
    """
    return _sigmoid(real_array(x, subject="sigmoid"))


def _tanh_slope(x: Array) -> Array:
    # 4n/(1+n)² as a square: n itself would be flushed to 0 before 4n is.
    m = jnp.exp(-jnp.abs(x))
    s = 2 * m / (1 + m * m)
    return s * s


@_with_derivative(_tanh_slope)
def _tanh(x: Array) -> Array:
    return lax.tanh(x)


def tanh(x: ArrayLike) -> Array:
    r"""Squash to the interval from -1 to 1.

    $$y = \tanh x, \qquad y' = \frac{4n}{(1 + n)^2}, \quad n = e^{-2|x|}$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> tanh(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([-1.,  0.,  1.], dtype=float32)
        >>> float(jax.grad(tanh)(20.0))  # 1 - y**2 would be 0
        1.69934...e-17
    """
    return _tanh(real_array(x, subject="tanh"))


def _root_of_n(a: Array) -> Array:
    # Half of gelu's exponent: exp of all of it would be flushed to 0 before a * exp is.
    return jnp.exp(-_SQRT_2_OVER_PI * (a + _CUBIC * a * a * a))


def _gelu_tanh_slope(x: Array) -> Array:
    a = jnp.minimum(jnp.abs(x), _GELU_REACH)
    m = _root_of_n(a)
    r = 1 / (1 + m * m)
    v = 2 * _SQRT_2_OVER_PI * (1 + 3 * _CUBIC * a * a)
    bracket = 1 + m * m - a * v
    if x.dtype == jnp.float32:
        near = (_TANH_ROOT - a) * _polynomial(_TANH_BRACKET, a - 1) + _TANH_REST
        bracket = jnp.where((a > 0.5) & (a < 1.5), near, bracket)
    left = m * (m * (r * r * bracket))
    return jnp.where(x < 0, left, 1 - left)


@_with_derivative(_gelu_tanh_slope)
def _gelu_tanh(x: Array) -> Array:
    a = jnp.minimum(jnp.abs(x), _GELU_REACH)
    m = _root_of_n(a)
    r = 1 / (1 + m * m)
    return jnp.where(x < 0, -(a * m) * (m * r), x * r)


def _erf_parts(a: Array) -> tuple[Array, Array, Array]:
    # exp(-a²/4), which is squared later; the Φ(-a) and the φ(a) that it multiplies twice.
    m = jnp.exp(-0.25 * a * a)
    r = 1 / (a + 3)
    t = 1 - 6 * r
    slope = (_ERF_ROOT - a) * _polynomial(_ERF_BRACKET, t) + _ERF_REST
    return m, _polynomial(_ERFCX, t) * r, slope


def _gelu_erf_slope(x: Array) -> Array:
    a = jnp.minimum(jnp.abs(x), _GELU_REACH)
    if x.dtype == jnp.float32:
        m, _, bracket = _erf_parts(a)
        left = m * (m * bracket)
    else:
        density = jnp.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)
        left = 0.5 * lax.erfc(a * math.sqrt(0.5)) - a * density
    return jnp.where(x < 0, left, 1 - left)


@_with_derivative(_gelu_erf_slope)
def _gelu_erf(x: Array) -> Array:
    a = jnp.minimum(jnp.abs(x), _GELU_REACH)
    if x.dtype == jnp.float32:
        m, tail, _ = _erf_parts(a)
        return jnp.where(x < 0, -(a * m) * (m * tail), x * (1 - m * m * tail))
    tail = 0.5 * lax.erfc(a * math.sqrt(0.5))
    return jnp.where(x < 0, -a * tail, x * (1 - tail))


def gelu(x: ArrayLike, *, approximate: bool = True) -> Array:
    r"""Weigh each number by the chance that a standard normal one is smaller.

    $$y = x\,\Phi(x) \approx \frac{x}{2} \left(1 + \tanh \sqrt{2 / \pi}\,
    (x + 0.044715\,x^3) \right)$$

    Args:
        x: Real floating-point numbers.
        approximate: Whether to compute the form with tanh, as JAX and Flux do, or
            $\Phi$ itself.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> gelu(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([-0.,  0., inf], dtype=float32)
        >>> float(gelu(-7.0))  # 1 + tanh would be 0
        -2.315...e-15

    Source:
        Hendrycks & Gimpel 2016, section 2.
    """
    return (_gelu_tanh if approximate else _gelu_erf)(real_array(x, subject="gelu"))
