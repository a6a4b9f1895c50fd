# SPDX-License-Identifier: Apache-2.0
"""Activations that squash numbers into an interval."""

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.functional.elementary import expm1, exponential, magnitude
from rosin.functional.elementwise import with_derivative
from rosin.functional.numerics import real_array


def logistic_tail(x: Array) -> Array:
    """Compute the sigmoid of -|x|, at most 1/2."""
    n = exponential(magnitude(x, 115, 800), -1)
    return n.odds * n.last


def _sigmoid_slope(x: Array) -> Array:
    tail = logistic_tail(x)
    return tail * (1 - tail)


@with_derivative(_sigmoid_slope)
def _sigmoid(x: Array) -> Array:
    return logistic(x)


def logistic(x: Array) -> Array:
    """Compute the sigmoid of float32 or float64."""
    tail = logistic_tail(x)
    return jnp.where(x < 0, tail, 1 - tail)


def sigmoid(x: ArrayLike) -> Array:
    r"""Squash to the interval from 0 to 1.

    $$y = \frac{1}{1 + e^{-x}}, \qquad y' = t (1 - t), \quad t = \frac{1}{1 + e^{|x|}}$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> sigmoid(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([0. , 0.5, 1. ], dtype=float32)
        >>> import jax
        >>> float(jax.grad(sigmoid)(20.0))  # y * (1 - y) would be 0
        2.061e-09
    """
    return _sigmoid(real_array(x, subject="sigmoid"))


def sigmoid_fast(x: ArrayLike) -> Array:
    r"""Squash to the interval from 0 to 1; the same as `sigmoid`.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> sigmoid_fast(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([0. , 0.5, 1. ], dtype=float32)

    Source:
        Flux.jl `sigmoid_fast`, which trades digits for speed. Here `sigmoid` has both.
    """
    return _sigmoid(real_array(x, subject="sigmoid_fast"))


def _hardsigmoid_slope(x: Array) -> Array:
    return jnp.where(jnp.abs(x) < 3, 1 / 6, jnp.zeros_like(x))


@with_derivative(_hardsigmoid_slope)
def _hardsigmoid(x: Array) -> Array:
    return jnp.clip(x + 3, 0, 6) / 6


def hardsigmoid(x: ArrayLike) -> Array:
    r"""Squash to the interval from 0 to 1 with three straight lines.

    $$y = \min(\max(x + 3, 0), 6) / 6$$

    The derivative at $\pm 3$ is 0.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> hardsigmoid(jnp.array([-9.0, 0.0, 1.5, 9.0]))
        Array([0.  , 0.5 , 0.75, 1.  ], dtype=float32)

    Source:
        Howard et al. 2019, equation 4.
    """
    return _hardsigmoid(real_array(x, subject="hardsigmoid"))


def _sparse_sigmoid_slope(x: Array) -> Array:
    return jnp.where(jnp.abs(x) < 1, 0.5, jnp.zeros_like(x))


@with_derivative(_sparse_sigmoid_slope)
def _sparse_sigmoid(x: Array) -> Array:
    return 0.5 * jnp.clip(x + 1, 0, 2)


def sparse_sigmoid(x: ArrayLike) -> Array:
    r"""Squash to the interval from 0 to 1, exactly 0 below -1 and exactly 1 above 1.

    $$y = \min(\max(x + 1, 0), 2) / 2$$

    The derivative at $\pm 1$ is 0. It is the derivative of `sparse_plus`.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> sparse_sigmoid(jnp.array([-9.0, 0.0, 0.5, 9.0]))
        Array([0.  , 0.5 , 0.75, 1.  ], dtype=float32)

    Source:
        Martins & Astudillo 2016, section 2.3, for two classes; `jax.nn.sparse_sigmoid`.
    """
    return _sparse_sigmoid(real_array(x, subject="sparse_sigmoid"))


def _tanh_slope(x: Array) -> Array:
    n = exponential(magnitude(x, 57, 400), -2)
    d = 1 + n.number
    return n.large / (d * d) * (4 * n.half * n.last)


@with_derivative(_tanh_slope)
def _tanh(x: Array) -> Array:
    return hyperbolic_tangent(x)


def hyperbolic_tangent(x: Array) -> Array:
    """Compute tanh of float32 or float64."""
    e = expm1(jnp.maximum(x, -20), 2)  # from 20 on tanh is 1, in float64, too
    return jnp.where(x > 20, 1, e / (e + 2))


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
        >>> import jax
        >>> float(jax.grad(tanh)(20.0))  # 1 - y**2 would be 0
        1.699e-17
    """
    return _tanh(real_array(x, subject="tanh"))


def tanh_fast(x: ArrayLike) -> Array:
    r"""Squash to the interval from -1 to 1; the same as `tanh`.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> tanh_fast(jnp.array([-jnp.inf, 0.0, jnp.inf]))
        Array([-1.,  0.,  1.], dtype=float32)

    Source:
        Flux.jl `tanh_fast`, which trades digits for speed. Here `tanh` has both.
    """
    return _tanh(real_array(x, subject="tanh_fast"))


def _hardtanh_slope(x: Array) -> Array:
    return (jnp.abs(x) < 1).astype(x.dtype)


@with_derivative(_hardtanh_slope)
def _hardtanh(x: Array) -> Array:
    return jnp.clip(x, -1, 1)


def hardtanh(x: ArrayLike) -> Array:
    r"""Cut off what is below -1 and what is above 1.

    $$y = \min(\max(x, -1), 1)$$

    The derivative at $\pm 1$ is 0.

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> hardtanh(jnp.array([-9.0, 0.5, 9.0]))
        Array([-1. ,  0.5,  1. ], dtype=float32)

    Source:
        Collobert 2004.
    """
    return _hardtanh(real_array(x, subject="hardtanh"))


def _softsign_slope(x: Array) -> Array:
    r = 1 / (1 + jnp.abs(x))
    return r * r


@with_derivative(_softsign_slope)
def _softsign(x: Array) -> Array:
    a = jnp.abs(x)
    return jnp.where(a > 2.0**60, jnp.sign(x), x / (1 + a))  # 1 + a is a long before


def softsign(x: ArrayLike) -> Array:
    r"""Squash to the interval from -1 to 1, slowly.

    $$y = \frac{x}{1 + |x|}$$

    Args:
        x: Real floating-point numbers.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.

    Examples:
        >>> softsign(jnp.array([-jnp.inf, 1.0, 3.0]))
        Array([-1.  ,  0.5 ,  0.75], dtype=float32)

    Source:
        Bergstra et al. 2009, equation 8.
    """
    return _softsign(real_array(x, subject="softsign"))
