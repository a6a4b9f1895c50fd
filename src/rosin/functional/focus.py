# SPDX-License-Identifier: Apache-2.0
"""What the focal losses compute, each with a gradient of its own.

With p the probability of what is right, q = 1 - p and the cost -log p, the loss is
`q**gamma * cost`, and its derivative by log p is `-q**gamma (1 + gamma p cost / q)`, where
cost / q is 1 in the limit. No q here is a difference from 1 that has lost its digits.
Arguments are checked in `rosin.functional.losses.focal`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array
from rosin.functional.entropy import complement, half_surprise, surprise
from rosin.functional.logarithms import log, quotient, times
from rosin.functional.softmax_family import softmax_rows

_HIGHEST = 1e4  # exp(-1e4) is 0 in float64 too


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def power(q: Array, gamma: float) -> Array:
    """Raise a number of at least 0 to a power; the derivative at 0 is finite."""
    if gamma == 0:
        return jnp.ones_like(q)
    if gamma in (1, 2):
        return q if gamma == 1 else q * q
    return jnp.power(q, gamma)


@power.defjvp
def _(gamma: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (q,), (dq,) = primals, tangents
    value = power(q, gamma)
    slope = power(q, gamma - 1) if gamma >= 1 else value / jnp.where(q == 0, jnp.inf, q)
    return value, gamma * slope * dq


def _slope(p: Array, q: Array, cost: Array, gamma: float) -> Array:
    """Compute minus the derivative of the loss by log p."""
    certain = q == 0
    # Where the cost is higher p is 0, and the product with p would overflow in a derivative.
    cost = jnp.minimum(cost, _HIGHEST)
    ratio = jnp.where(certain, 1, quotient(cost, jnp.where(certain, 1, q)))
    return power(q, gamma) * (1 + gamma * times(p, ratio))


# --- probabilities ------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
@functools.partial(jax.jit, static_argnums=3)
def focal(weight: Array, p: Array, q: Array, gamma: float) -> Array:
    """Compute `weight * q**gamma * -log p` of each entry, where q is 1 - p."""
    return times(weight, times(power(q, gamma), _cost(p, q)))


def _cost(p: Array, q: Array) -> Array:
    likely = p > 0.5
    return -jnp.where(likely, jnp.log1p(jnp.where(likely, -q, 0)), log(jnp.where(likely, 1, p)))


def _focal_rule(
    gamma: float, primals: tuple[Array, ...], tangents: tuple[Any, ...]
) -> tuple[Array, Array]:
    (weight, p, q), (dweight, dp, _) = primals, tangents  # q moves against p
    loss = focal(weight, p, q, gamma)
    slope = jnp.zeros_like(loss)
    if not isinstance(dweight, SymbolicZero):  # times a zero, the log of 0 would give NaN
        slope += times(power(q, gamma), _cost(p, q)) * dweight
    if not isinstance(dp, SymbolicZero):
        off = weight == 0
        by_p = quotient(_slope(p, q, _cost(p, q), gamma), jnp.where(off, 1, p))
        slope -= jnp.where(off, 0, weight * by_p) * dp
    return loss, slope


focal.defjvp(_focal_rule, symbolic_zeros=True)


@jax.custom_jvp
def agreement(p: Array, y: Array) -> tuple[Array, Array]:
    """Compute the probability of the answer, `y p + (1 - y)(1 - p)`, and 1 less it."""
    q = jnp.where(p > 1, 0, 1 - p)
    return y * p + (1 - y) * q, y * q + (1 - y) * p


@agreement.defjvp
def _(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (p, y), (dp, dy) = primals, tangents
    # One factor for each: an infinite slope times y and times 1 - y would give NaN.
    move = (2 * y - 1) * dp + (2 * p - 1) * dy
    return agreement(p, y), (move, -move)


# --- logits -------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
@functools.partial(jax.jit, static_argnums=2)
def logit_focal(x: Array, y: Array, gamma: float) -> Array:
    """Compute `sum(y * q**gamma * -log p)` of each row, where p is softmax(x).

    Examples:
        >>> logit_focal(jnp.array([20.0, 0.0]), jnp.array([1.0, 0.0]), 1.0)
        Array(4.248...e-18, dtype=float32)
    """
    # In halves, for a cost can overflow where its share does not.
    return 2 * jnp.sum(times(y, times(power(complement(x), gamma), half_surprise(x))), -1)


def _logit_focal_rule(
    gamma: float, primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    loss = logit_focal(x, y, gamma)
    slope = jnp.zeros_like(loss)
    p, q, cost = softmax_rows(x), complement(x), surprise(x)
    if not isinstance(dx, SymbolicZero):
        each = times(y, _slope(p, q, cost, gamma))
        others = jnp.sum(each, -1, keepdims=True) - each
        slope += jnp.sum((p * others - q * each) * dx, -1)
    if not isinstance(dy, SymbolicZero):  # times a zero, a logit of -inf would give NaN
        slope += jnp.sum(times(power(q, gamma), cost) * dy, -1)
    return loss, slope


logit_focal.defjvp(_logit_focal_rule, symbolic_zeros=True)


# --- yes or no ----------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
@functools.partial(jax.jit, static_argnums=2)
def binary_logit_focal(x: Array, y: Array, gamma: float) -> Array:
    """Compute `q**gamma * -log p` of each entry, p = y sigmoid(x) + (1 - y) sigmoid(-x).

    Examples:
        >>> binary_logit_focal(jnp.array([0.0, -100.0]), jnp.array([1.0, 1.0]), 2.0).round(4)
        Array([  0.1733, 100.    ], dtype=float32)
    """
    _, q, cost, _ = _sides(x, y)
    return times(power(q, gamma), cost)


def _sides(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Compute p, q, -log p and the derivative of log p by x."""
    left = x < 0
    size = jnp.where(left, -x, x)  # whose derivative at 0 is that of the right side
    n = jnp.exp(-size)
    likely, other = jnp.where(left, 1 - y, y), jnp.where(left, y, 1 - y)
    wrong = likely == 0  # p is `other * n`, which can be 0 where its logarithm is not
    mixed = jnp.where(wrong, other, likely + other * n)
    cost = jnp.where(wrong, size, 0) + jnp.log1p(n) - jnp.log(mixed)
    towards = jnp.where(left, other - likely, likely - other)
    by_x = towards * jnp.where(wrong, 1, n) / mixed / (1 + n)
    return (likely + other * n) / (1 + n), (other + likely * n) / (1 + n), cost, by_x


def _binary_logit_focal_rule(
    gamma: float, primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    loss = binary_logit_focal(x, y, gamma)
    slope = jnp.zeros_like(loss)
    p, q, cost, by_x = _sides(x, y)
    by_log = _slope(p, q, cost, gamma)
    if not isinstance(dx, SymbolicZero):
        slope -= by_log * by_x * dx
    if not isinstance(dy, SymbolicZero):
        slope -= by_log * jnp.tanh(0.5 * x) / p * dy
    return loss, slope


binary_logit_focal.defjvp(_binary_logit_focal_rule, symbolic_zeros=True)
