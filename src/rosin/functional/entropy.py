# SPDX-License-Identifier: Apache-2.0
"""The cross-entropies of logits, each with a gradient of its own.

The derivative of a stable formula is not itself stable: that of a logarithm of a sum of
exponentials is p - y, which is 0 in float32 long before a row is fully learnt. Here what
is small is a sum of small numbers, and so is its derivative. Arguments are checked in
`rosin.functional.losses`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array
from rosin.functional.activations import sigmoid
from rosin.functional.softmax_family import logsoftmax_rows, softmax_rows, sum_less_one

# --- labels -------------------------------------------------------------------------


@jax.custom_jvp
@jax.jit
def label_cross_entropy(x: Array, labels: Array) -> Array:
    """Compute `-log softmax(x)[label]` of each row; NaN where the label is no class.

    Examples:
        >>> label_cross_entropy(jnp.array([0.0, 20.0]), jnp.array(1))
        Array(2.0611537e-09, dtype=float32)
    """
    row = _label_row(x, labels)
    low, high = jnp.log1p(row.against), row.margin + jnp.log(row.against + row.own)
    return jnp.where(row.margin > 0, high, low)[..., 0]


@label_cross_entropy.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    slope = _label_slope(*primals)
    return label_cross_entropy(*primals), jnp.sum(slope * tangents[0], -1)


@jax.custom_jvp
@jax.jit
def _label_slope(x: Array, labels: Array) -> Array:
    """Compute p, and at the label p - 1 as minus the sum of the others."""
    row = _label_row(x, labels)
    total = row.against + row.own
    return jnp.where(row.hit, -row.against / total, row.power * (row.factor / total))


@_label_slope.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    return _label_slope(*primals), jax.jvp(softmax_rows, primals[:1], tangents[:1])[1]


class _LabelRow(NamedTuple):
    """The parts of a row of logits, all scaled so that the greatest exponential is 1."""

    hit: Array  # which entry is the label
    power: Array  # exp of the others, relative to the greatest of them
    factor: Array  # what `power` is to be scaled by
    against: Array  # the scaled sum of the others
    own: Array  # the scaled exp of the label
    margin: Array  # by how much the greatest of the others exceeds the label


def _label_row(x: Array, labels: Array) -> _LabelRow:
    labels = wide_enough(labels)[..., None]
    hit = labels == lax.broadcasted_iota(labels.dtype, x.shape, x.ndim - 1)
    others = jnp.where(hit, -jnp.inf, x)
    largest = jnp.max(others, -1, keepdims=True)
    power = jnp.exp(others - jnp.where(largest == -jnp.inf, 0, largest))
    total = jnp.sum(power, -1, keepdims=True)
    known = (labels >= 0) & (labels < x.shape[-1])
    label = jnp.take_along_axis(x, jnp.where(known, labels, 0), -1)
    margin = jnp.where(known & (label < jnp.inf), largest - label, jnp.nan)
    lesser = jnp.exp(-jnp.abs(margin))
    factor = jnp.where(margin > 0, 1, lesser)
    return _LabelRow(hit, power, factor, total * factor, jnp.where(margin > 0, lesser, 1), margin)


def wide_enough(labels: Array) -> Array:
    """Widen labels of a dtype that may be too narrow to count the classes."""
    return labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels


# --- probabilities ------------------------------------------------------------------


@jax.custom_jvp
@jax.jit
def cross_entropy(x: Array, y: Array) -> Array:
    """Compute `-sum(y * log softmax(x))` of each row; a y of 0 adds nothing.

    Examples:
        >>> cross_entropy(jnp.array([0.0, 0.0, -jnp.inf]), jnp.array([0.5, 0.5, 0.0]))
        Array(0.6931472, dtype=float32)
    """
    rest = _row(x)[2][..., 0]
    # Half the distance to the maximum, for all of it can overflow.
    distance = 0.5 * jnp.max(x, -1, keepdims=True) - 0.5 * x
    linear = 2 * jnp.sum(jnp.where(y == 0, 0, y * distance), -1)
    return linear + jnp.sum(y, -1) * jnp.log1p(rest)


def _cross_entropy_rule(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    loss = cross_entropy(x, y)
    slope = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        slope += jnp.sum(cross_entropy_slope(x, y) * dx, -1)
    if not isinstance(dy, SymbolicZero):  # times a zero, a logit of -inf would give NaN
        slope += jnp.sum(surprise(x) * dy, -1)
    return loss, slope


cross_entropy.defjvp(_cross_entropy_rule, symbolic_zeros=True)


@jax.custom_jvp
@jax.jit
def cross_entropy_slope(x: Array, y: Array) -> Array:
    """Compute p Σy - y; at the maximum of a confident row as p (Σ_other y - y rest)."""
    top, power, rest = _row(x)
    mass = jnp.sum(y, -1, keepdims=True)
    others = jnp.sum(jnp.where(top, 0, y), -1, keepdims=True)
    at_top = (others - y * rest) / (1 + rest)
    return jnp.where(top & (rest < 0.5), at_top, power * (mass / (1 + rest)) - y)


@cross_entropy_slope.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    mass, dmass = jnp.sum(y, -1, keepdims=True), jnp.sum(dy, -1, keepdims=True)
    p, dp = jax.jvp(softmax_rows, (x,), (dx,))
    return cross_entropy_slope(x, y), dp * mass + p * dmass - dy


def surprise(x: Array) -> Array:
    """Compute `-log softmax(x)` over the last axis.

    Examples:
        >>> surprise(jnp.array([0.0, 20.0]))
        Array([2.0000000e+01, 2.0611537e-09], dtype=float32)
    """
    return -logsoftmax_rows(x)


def half_surprise(x: Array) -> Array:
    """Compute `-0.5 log softmax(x)`, which fits where twice it may not."""
    return (0.5 * jnp.max(x, -1, keepdims=True) - 0.5 * x) + 0.5 * jnp.log1p(_row(x)[2])


@jax.custom_jvp
@jax.jit
def complement(x: Array) -> Array:
    """Compute `1 - softmax(x)`, at the maximum of a confident row as a sum of the others."""
    top, power, rest = _row(x)
    return jnp.where(top & (rest < 0.5), rest, 1 + rest - power) / (1 + rest)


@complement.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return complement(*primals), -jax.jvp(softmax_rows, primals, tangents)[1]


def _row(x: Array) -> tuple[Array, Array, Array]:
    """Compute, of each row, where the maximum is, exp, and the sum of exp less 1.

    In a confident row that sum leaves the maximum out, so that nothing cancels.
    """
    power = jnp.exp(x - jnp.max(x, -1, keepdims=True))
    top = power == 1  # not where x is infinite: there all is NaN
    return top, power, sum_less_one(top, power, (-1,))


# --- yes or no ----------------------------------------------------------------------


@jax.custom_jvp
@jax.jit
def binary_cross_entropy(x: Array, y: Array) -> Array:
    """Compute `-y log sigmoid(x) - (1 - y) log sigmoid(-x)` of each entry.

    Examples:
        >>> binary_cross_entropy(jnp.array([0.0, 20.0]), jnp.array([0.0, 1.0]))
        Array([6.9314718e-01, 2.0611537e-09], dtype=float32)
    """
    weight = jnp.where(x < 0, y, 1 - y)
    linear = jnp.where(weight == 0, 0, jnp.abs(x) * weight)
    return linear + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _binary_cross_entropy_rule(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    loss = binary_cross_entropy(x, y)
    slope = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        slope += binary_slope(x, y) * dx
    if not isinstance(dy, SymbolicZero):  # times a zero, an infinite logit would give NaN
        slope -= x * dy
    return loss, slope


binary_cross_entropy.defjvp(_binary_cross_entropy_rule, symbolic_zeros=True)


@jax.custom_jvp
@jax.jit
def binary_slope(x: Array, y: Array) -> Array:
    """Compute sigmoid(x) - y; nothing cancels near 0 if y = 1/2, or far out if 0 or 1."""
    n = jnp.exp(-jnp.abs(x))
    small = n / (1 + n)
    far = jnp.where(x < 0, small - y, (1 - y) - small)
    return jnp.where(jnp.abs(x) < 1, 0.5 * jnp.tanh(0.5 * x) + (0.5 - y), far)


@binary_slope.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return binary_slope(x, y), jax.jvp(sigmoid, (x,), (dx,))[1] - dy
