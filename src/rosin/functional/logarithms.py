# SPDX-License-Identifier: Apache-2.0
"""Products with a logarithm, which are 0 where their factor is 0, and so are their slopes."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array, ArrayLike
from rosin.functional.numerics import at_least_float32, real_array


def log(x: Array) -> Array:
    """Compute the logarithm; of a subnormal too, which XLA on a CPU reads as 0."""
    limits = jnp.finfo(x.dtype)
    bits = lax.bitcast_convert_type(x, jnp.int64 if limits.bits == 64 else jnp.int32)
    subnormal = (bits > 0) & (bits < 1 << limits.nmant)
    # Its bits are a whole number of the smallest steps there are.
    steps = lax.stop_gradient(bits.astype(x.dtype))
    unit = (limits.minexp - limits.nmant) * math.log(2)
    return jnp.log(jnp.where(subnormal, steps, x)) + jnp.where(subnormal, unit, 0)


@jax.custom_jvp
@jax.jit
def _xlogy(x: Array, y: Array) -> Array:
    off = (x == 0) & ~jnp.isnan(y)
    return jnp.where(off, 0, x * log(jnp.where(off, 1, y)))


def _xlogy_rule(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    value = _xlogy(x, y)
    slope = jnp.zeros_like(value)
    if not isinstance(dx, SymbolicZero):  # times a zero, the log of 0 would give NaN
        slope += log(y) * dx
    if not isinstance(dy, SymbolicZero):
        slope += quotient(x, jnp.where((x == 0) & (y == 0), 1, y)) * dy
    return value, slope


_xlogy.defjvp(_xlogy_rule, symbolic_zeros=True)


def xlogy(x: ArrayLike, y: ArrayLike) -> Array:
    r"""Compute a number times the logarithm of another; 0 where the first is 0.

    $$z = x \log y, \qquad 0 \log y = 0 \text{ for every } y$$

    The derivative with respect to $y$ is 0 as well where $x$ is 0, even at $y = 0$.

    Args:
        x: Real floating-point numbers.
        y: Real floating-point numbers, at least 0; broadcast against `x`.

    Raises:
        DtypeError: An array is not of a real floating-point dtype.

    Examples:
        >>> xlogy(jnp.array([0.0, 2.0]), jnp.array([0.0, 1.0]))
        Array([0., 0.], dtype=float32)
        >>> jax.grad(xlogy, argnums=1)(0.0, 0.0)
        Array(0., dtype=float32, weak_type=True)

    Source:
        Flux.jl `xlogy`, where NaN as the second argument is lost if the first is 0; here
        NaN in gives NaN out. The half types are computed in float32.
    """
    given = [(real_array(a, subject="xlogy", name=n), a) for a, n in ((x, "x"), (y, "y"))]
    (x, _), (y, _) = given
    dtypes = [array.dtype for array, a in given if not isinstance(a, float)]  # a number has none
    wide = at_least_float32(x, y)
    x, y = jnp.broadcast_arrays(x.astype(wide), y.astype(wide))
    return _xlogy(x, y).astype(functools.reduce(np.promote_types, dtypes or [wide]))


@jax.custom_jvp
@jax.jit
def _xlogx(x: Array) -> Array:
    return jnp.where(x == 0, 0, x * log(x))


@_xlogx.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _xlogx(x), (log(x) + 1) * dx


def xlogx(x: ArrayLike) -> Array:
    r"""Compute a number times its logarithm; 0 at 0.

    $$y = x \log x, \qquad y' = \log x + 1$$

    The derivative at 0 is $-\infty$, as it is.

    Args:
        x: Real floating-point numbers, at least 0.

    Raises:
        DtypeError: `x` is not of a real floating-point dtype.

    Examples:
        >>> xlogx(jnp.array([0.0, 1.0, 2.0])).round(4)
        Array([0.    , 0.    , 1.3863], dtype=float32)

    Source:
        Flux.jl `xlogx`. The half types are computed in float32.
    """
    x = real_array(x, subject="xlogx")
    return _xlogx(x.astype(at_least_float32(x))).astype(x.dtype)


@jax.custom_jvp
@jax.jit
def log_ratio(x: Array, y: Array) -> Array:
    """Compute `log(x / y)` of positive numbers; nothing cancels where they are close."""
    close = jnp.abs(x - y) < 0.5 * y
    near = jnp.log1p((x - y) / jnp.where(close, y, 1))
    return jnp.where(close, near, log(x) - log(y))


@log_ratio.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return log_ratio(x, y), dx / x - dy / y


@jax.custom_jvp
@jax.jit
def quotient(x: Array, y: Array) -> Array:
    """Divide; the derivative has no square of the divisor, which can leave the dtype."""
    return x / y


@quotient.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    ratio = quotient(x, y)
    # Not divided twice: XLA makes that one division by the square.
    return ratio, quotient(dx, y) - ratio * (1 / y) * dy


@jax.custom_jvp
@jax.jit
def times(weight: Array, cost: Array) -> Array:
    """Multiply; a weight of 0 makes even an infinite cost 0."""
    off = (weight == 0) & ~jnp.isnan(cost)
    return jnp.where(off, 0, weight * jnp.where(off, 1, cost))


def _times_rule(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (weight, cost), (dweight, dcost) = primals, tangents
    value = times(weight, cost)
    slope = jnp.zeros_like(value)
    if not isinstance(dweight, SymbolicZero):  # times a zero, infinity would give NaN
        slope += cost * dweight
    if not isinstance(dcost, SymbolicZero):
        slope += weight * dcost
    return value, slope


times.defjvp(_times_rule, symbolic_zeros=True)
