# SPDX-License-Identifier: Apache-2.0
"""The Gaussian error linear unit, exact and in its approximations.

On the left it is |x| times an exponential, whose exponent must be right to some 2**-24
however large it is. So |x| is split into h, a multiple of a power of two, and a rest: of h
the exponent is exact, and what the rest adds is small.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.functional.activations.gated import gate, gate_slope
from rosin.functional.elementary import (
    exponent_unit,
    magnitude,
    polynomial,
    split_exponential,
)
from rosin.functional.elementwise import with_derivative
from rosin.functional.numerics import real_array


def _multiple(a: Array, step: float, reach: float) -> Array:
    """Round what is below `reach` to a multiple of `step`; both are powers of two."""
    if a.dtype != jnp.float32:
        return jnp.round(a / step) * step
    # Among its neighbours above `reach`, whose last bits are cut off: quicker than `round`.
    bits = lax.bitcast_convert_type(a + (reach + step / 2), jnp.int32)
    cut = bits & -int(2**23 * step / reach)
    return lax.bitcast_convert_type(cut, jnp.float32) - reach


def _short(number: float, bits: int, a: Array) -> float:
    """Round to so many bits behind the point, and 16 more in float64."""
    scale = 2.0 ** (bits if a.dtype == jnp.float32 else bits + 16)
    return round(number * scale) / scale


# --- x sigmoid(u) -------------------------------------------------------------------

# u = 2 sqrt(2 / pi) (x + 0.044715 x**3), of Hendrycks & Gimpel 2016.
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR
# What their roundings have taken away, which a float64 exponent of 700 feels.
_LINEAR_REST, _CUBIC_REST = -9.96930880911092e-17, -6.175149918155315e-19
_STEEPNESS = 1.702  # u = 1.702 x
# A float32 and what it lacks: 1 - u'x is small next to the derivative's root.
_LINEAR_HIGH = float(np.float32(_LINEAR))
_LINEAR_LOW = _LINEAR - _LINEAR_HIGH


def _cubic_exponent(a: Array) -> tuple[Array, Array, Array, Array]:
    """Split |u|, which is (linear + cubic a**2) a, for `split_exponential`."""
    unit = exponent_unit(a)
    linear, cubic = unit * _LINEAR, unit * _CUBIC
    cubic_high = _short(cubic, 7, a)
    cubic_low = (cubic - cubic_high) + _CUBIC_REST
    # Such that the two low parts cancel at a = 6.3 and stay small.
    linear_high = _short(linear + 40 * cubic_low, 13, a)
    linear_low = (linear - linear_high) + _LINEAR_REST
    h = _multiple(a, 1 / 8, 16)
    r, square = a - h, h * h
    v = cubic_high * square + linear_high
    # What is left of a**3 = h**3 + 3 r h**2 + r**2 (3 h + r), and of a = h + r.
    bend = cubic_low * square
    low = h * (bend + linear_low) + r * (3 * bend + linear_low + cubic * r * (2 * h + a))
    return a * (linear + cubic * (a * a)), h * v, r * (3 * v - 2 * linear_high), low


def _gelu_tanh_slope(x: Array) -> Array:
    a = magnitude(x, 11, 22)
    rest = (1 - a * _LINEAR_HIGH) - a * (3 * _CUBIC * (a * a) + _LINEAR_LOW)
    return gate_slope(x, split_exponential(*_cubic_exponent(a)), rest)


@with_derivative(_gelu_tanh_slope)
def _gelu_tanh(x: Array) -> Array:
    a = magnitude(x, 11, 22)
    return gate(x, a, split_exponential(*_cubic_exponent(a)))


def _linear_exponent(a: Array, unit: float) -> tuple[Array, Array, Array]:
    """Split |u|, which is 1.702 a."""
    steepness = unit * _STEEPNESS
    high = _short(steepness, 13, a)
    h = _multiple(a, 1 / 8, 128)
    return steepness * a, h * high, h * (steepness - high) + (a - h) * steepness


def _gelu_sigmoid_slope(x: Array) -> Array:
    a = magnitude(x, 67, 470)
    n = split_exponential(*_linear_exponent(a, exponent_unit(a)))
    _, high, low = _linear_exponent(a, 1.0)
    return gate_slope(x, n, (1 - high) - low)


@with_derivative(_gelu_sigmoid_slope)
def _gelu_sigmoid(x: Array) -> Array:
    a = magnitude(x, 67, 470)
    return gate(x, a, split_exponential(*_linear_exponent(a, exponent_unit(a))))


# --- x Phi(x) -----------------------------------------------------------------------

# Phi(-a) = exp(-a**2 / 2) G(a), G(a) = erfcx(a / sqrt 2) / 2. Minimax fits, leading
# coefficient first. In float32, a <= 15: 1 / G(a) = 2 + a (5/2 - q), where q is a quotient
# that is small where a is large; relative error of G 1.3e-8.
_G_ABOVE = (
    -5.5028987874707444e-05,
    0.016114704310894012,
    0.14085522294044495,
    0.5218838453292847,
    0.904229998588562,
)
_G_BELOW = (
    0.008334948681294918,
    0.08195317536592484,
    0.3685029149055481,
    0.8793260455131531,
    1.0,
)
# (G(a) - a / sqrt(2 pi)) / (root - a) in (a - 3) / (a + 3), relative error 4.4e-8. The root
# is a float32 and a rest; times the slope there, the rest is added as a constant.
_ROOT, _REST = 0.7517915368080139, -1.211445e-8 * 0.572406
_BRACKET = (
    -9.87267446516341e-05,
    -8.212729914002649e-05,
    0.0010788050191256249,
    0.00019853548509821188,
    -0.014071612499939639,
    0.05359681492520524,
    -0.11997560193971163,
    0.4782976652478183,
)
# In float64, a <= 40: (a + 3) G(a) in the same variable, relative error 4e-17.
_G = (
    -1.0144100842715811e-09,
    -6.32510353087555e-09,
    -8.938429443455894e-09,
    2.3414772509611075e-08,
    8.73771685651894e-08,
    4.3548578725785964e-08,
    -2.6572568258141765e-07,
    -5.926843555550403e-07,
    3.6996076824796792e-09,
    2.2553819963108475e-06,
    3.641573091403554e-06,
    -3.516846063057168e-06,
    -2.0689492378130545e-05,
    -1.324638397786238e-05,
    7.88127267454889e-05,
    0.0001543945440562321,
    -0.00025657535214361596,
    -0.0010458286328196662,
    0.0010275922595270092,
    0.006972621241140996,
    -0.010462867023329358,
    -0.04726302514299183,
    0.23001771997460405,
    -0.5093319819174893,
    0.729083690133373,
)


def _square_exponent(a: Array) -> tuple[Array, Array, Array, Array]:
    """Split a**2 / 2."""
    half = 0.5 * exponent_unit(a)
    high = _short(half, 8, a)
    h = _multiple(a, 1 / 16, 16)
    square = h * h
    return half * (a * a), high * square, (half * (a - h)) * (a + h), (half - high) * square


def _scaled_tail(a: Array) -> Array:
    """Compute G."""
    if a.dtype == jnp.float32:
        return 1 / (2 + a * (2.5 - polynomial(_G_ABOVE, a) / polynomial(_G_BELOW, a)))
    return polynomial(_G, (a - 3) / (a + 3)) / (a + 3)


def _gelu_erf_slope(x: Array) -> Array:
    a = magnitude(x, 15, 40)
    if a.dtype == jnp.float32:
        bracket = (_ROOT - a) * polynomial(_BRACKET, 1 - 6 / (a + 3)) + _REST
    else:
        bracket = _scaled_tail(a) - a / math.sqrt(2 * math.pi)
    left = split_exponential(*_square_exponent(a)).times(bracket)
    return jnp.where(x < 0, left, 1 - left)


@with_derivative(_gelu_erf_slope)
def _gelu_erf(x: Array) -> Array:
    a = magnitude(x, 15, 40)
    n, tail = split_exponential(*_square_exponent(a)), _scaled_tail(a)
    return jnp.where(x < 0, -n.times(a * tail), x * (1 - n.number * tail))


# --- public -------------------------------------------------------------------------


def gelu(x: ArrayLike, *, approximate: bool = True) -> Array:
    r"""Weigh each number by the chance that a standard normal one is smaller.

    $$y = x\,\Phi(x) \approx \frac{x}{2} \left(1 + \tanh \sqrt{2 / \pi}\,
    (x + 0.044715\,x^3) \right)$$

    Args:
        x: Real floating-point numbers.
        approximate: Whether to compute the form with tanh, as JAX and Flux do, or
            $\Phi$ itself. By name these are `gelu_tanh` and `gelu_erf`.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> gelu(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([-0.,  0., inf], dtype=float32)
        >>> float(gelu(-7.0))  # 1 + tanh would be 0
        -2.315e-15

    Source:
        Hendrycks & Gimpel 2016, section 2.
    """
    return (_gelu_tanh if approximate else _gelu_erf)(real_array(x, subject="gelu"))


def gelu_tanh(x: ArrayLike) -> Array:
    r"""Compute `gelu` in the form with tanh; `gelu` itself does so by default.

    $$y = \frac{x}{2} \left(1 + \tanh \sqrt{2 / \pi}\,(x + 0.044715\,x^3) \right)$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> gelu_tanh(jnp.array([-1.0, 0.0, 1.0]))
        Array([-0.1588,  0.    ,  0.8412  ], dtype=float32)

    Source:
        Hendrycks & Gimpel 2016, section 2.
    """
    return _gelu_tanh(real_array(x, subject="gelu_tanh"))


def gelu_erf(x: ArrayLike) -> Array:
    r"""Weigh each number by the chance that a standard normal one is smaller, exactly.

    $$y = x\,\Phi(x) = \frac{x}{2} \left(1 + \operatorname{erf} \frac{x}{\sqrt 2} \right)$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> gelu_erf(jnp.array([-1.0, 0.0, 1.0]))
        Array([-0.1587,  0.    ,  0.8413 ], dtype=float32)

    Source:
        Hendrycks & Gimpel 2016, section 2.
    """
    return _gelu_erf(real_array(x, subject="gelu_erf"))


def gelu_sigmoid(x: ArrayLike) -> Array:
    r"""Compute `gelu` roughly, from the sigmoid.

    $$y = x\,\sigma(1.702\,x)$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> gelu_sigmoid(jnp.array([-1.0, 0.0, 1.0]))
        Array([-0.1542,  0.    ,  0.8458], dtype=float32)

    Source:
        Hendrycks & Gimpel 2016, section 2; "quick GELU" of CLIP.
    """
    return _gelu_sigmoid(real_array(x, subject="gelu_sigmoid"))
