# SPDX-License-Identifier: Apache-2.0
"""How far a prediction is from its target, as one number or one per sample.

Every loss is computed in float32 or wider and returned so. Prediction and target have
equal shape; nothing is broadcast. Each loss of logits states its own gradient, because
the derivative of a stable formula is not itself stable.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_between,
    expect_callable,
    expect_floating,
    expect_not_empty,
    expect_same_shape,
    refuse,
)
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.activations import sigmoid
from rosin.functional.numerics import at_least_float32, real_array

Reduction: TypeAlias = Callable[[Array], Array] | None
"""Makes one number of many, such as `jnp.mean`; None keeps them."""


def mse(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = jnp.mean
) -> Array:
    r"""Compute the mean squared error.

    $$\ell = |\hat y - y|^2$$

    Args:
        prediction: The $\hat y$, real or complex.
        target: The $y$, of the same shape.
        reduction: Makes one number of the squares; `None` returns them all.

    Raises:
        DtypeError: An array holds integers or booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
        Array(2., dtype=float32)
        >>> mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]), reduction=None)
        Array([0., 4.], dtype=float32)

    Source:
        Flux.jl `mse`.
    """
    expect_floating(prediction, subject="mse", name="prediction")
    expect_floating(target, subject="mse", name="target")
    expect_same_shape(prediction, target, subject="mse", names=("prediction", "target"))
    error = _widened(jnp.asarray(prediction)) - _widened(jnp.asarray(target))
    if jnp.issubdtype(error.dtype, jnp.complexfloating):
        return _reduced(error.real**2 + error.imag**2, reduction, subject="mse")
    return _reduced(error * error, reduction, subject="mse")


def logitcrossentropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    reduction: Reduction = jnp.mean,
    label_smoothing: float = 0.0,
) -> Array:
    r"""Compute the cross-entropy of logits and a distribution over classes.

    $$\ell = -\sum_c y_c \log \frac{e^{x_c}}{\sum_k e^{x_k}}$$

    A class of probability 0 adds nothing, even where its logit is $-\infty$. A row whose
    logits are all $-\infty$ has no distribution and gives NaN.

    Args:
        logits: The $x$, classes on the last axis.
        target: The $y$: either a probability for each logit, or whole numbers, the label
            of each row, counted from 0.
        reduction: Makes one number of the rows' losses; `None` returns them all.
        label_smoothing: The share of $y$, 0 to 1, that is spread evenly over the classes.

    Shapes:
        - logits: `(..., classes)`, at least one class.
        - target: `(..., classes)` if of floating point, `(...)` if labels.
        - result before the reduction: `(...)`.

    Raises:
        DtypeError: `logits` are not real floating-point numbers, or `target` is neither
            that nor of an integer dtype.
        RangeError: A label is negative or not below the number of classes. Inside a
            trace, where labels have no values yet, such a row gives NaN instead.
            Or `label_smoothing` is not between 0 and 1.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 0.0]])
        >>> logitcrossentropy(logits, jnp.array([0, 1]), reduction=None).round(4)
        Array([0.1269, 0.6931], dtype=float32)

    Source:
        Flux.jl `logitcrossentropy`, with the classes on the last axis.
    """
    name = "logitcrossentropy"
    logits = _widened(real_array(logits, subject=name, name="logits"))
    expect_between(0, 1, subject=name, label_smoothing=label_smoothing)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        refuse(
            ShapeError,
            subject=name,
            expected="logits of shape (..., classes) with at least one class",
            got=shown(logits),
            fix="put one logit for each class on the last axis",
        )
    if jnp.issubdtype(jnp.result_type(target), jnp.integer):
        _expect_labels(target, logits, subject=name)
        rows = _label_cross_entropy(logits, jnp.asarray(target))
        if label_smoothing > 0:
            even = jnp.mean(_surprise(logits), -1)
            rows = (1 - label_smoothing) * rows + label_smoothing * even
    else:
        target = _widened(real_array(target, subject=name, name="target"))
        expect_same_shape(logits, target, subject=name, names=("logits", "target"))
        dtype = at_least_float32(logits, target)
        if label_smoothing > 0:
            target = target * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
        rows = _cross_entropy(logits.astype(dtype), target.astype(dtype))
    return _reduced(rows, reduction, subject=name)


def logitbinarycrossentropy(
    logits: ArrayLike, target: ArrayLike, *, reduction: Reduction = jnp.mean
) -> Array:
    r"""Compute the cross-entropy of a logit and the probability of a yes.

    $$\ell = -y \log \sigma(x) - (1 - y) \log(1 - \sigma(x))$$

    Args:
        logits: The $x$.
        target: The $y$, from 0 to 1, of the same shape.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logitbinarycrossentropy(jnp.array([0.0, 100.0]), jnp.array([1.0, 1.0])).round(4)
        Array(0.3466, dtype=float32)

    Source:
        Flux.jl `logitbinarycrossentropy`.
    """
    name = "logitbinarycrossentropy"
    logits = _widened(real_array(logits, subject=name, name="logits"))
    target = _widened(real_array(target, subject=name, name="target"))
    expect_same_shape(logits, target, subject=name, names=("logits", "target"))
    dtype = at_least_float32(logits, target)
    losses = _binary_cross_entropy(logits.astype(dtype), target.astype(dtype))
    return _reduced(losses, reduction, subject=name)


# --- what they share ----------------------------------------------------------------


def _widened(x: Array) -> Array:
    return x.astype(at_least_float32(x))


def _reduced(losses: Array, reduction: Reduction, *, subject: str) -> Array:
    if reduction is None:
        return losses
    expect_callable(subject=subject, reduction=reduction)
    expect_not_empty(losses, subject=subject, name="a batch")
    return reduction(losses)


# --- cross-entropy with labels ------------------------------------------------------


def _expect_labels(labels: Any, logits: Array, *, subject: str) -> None:
    """Refuse a label that is no class; labels inside a trace cannot be looked at."""
    if jnp.shape(labels) != logits.shape[:-1]:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"labels of shape {logits.shape[:-1]}, one for each row of logits",
            got=f"labels {shown(labels)} and logits {shown(logits)}",
            fix="drop the class axis of the labels, or pass probabilities as float32",
        )
    known = getattr(labels, "is_fully_addressable", True)
    if isinstance(labels, jax.core.Tracer) or 0 in jnp.shape(labels) or not known:
        return
    low, high, classes = int(np.min(labels)), int(np.max(labels)), logits.shape[-1]
    if low < 0 or high >= classes:
        refuse(
            RangeError,
            subject=subject,
            expected=f"labels of at least 0 and below {classes}, the number of classes",
            got=f"labels from {low} to {high}",
            fix="count labels from 0, and give the logits one entry for each class",
        )


def _label_parts(x: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Compute where the label is, p of the other classes among themselves, the log odds.

    The odds are those against the label, which keep their digits in a confident row. An
    unknown label has odds of NaN.
    """
    if labels.dtype.itemsize < 4:  # too narrow to count the classes
        labels = labels.astype(jnp.int32)
    labels = labels[..., None]
    hit = labels == lax.broadcasted_iota(labels.dtype, x.shape, x.ndim - 1)
    others = jnp.where(hit, -jnp.inf, x)
    largest = jnp.max(others, -1, keepdims=True)
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    power = jnp.exp(others - largest)
    total = jnp.sum(power, -1, keepdims=True)
    known = (labels >= 0) & (labels < x.shape[-1])
    own = jnp.take_along_axis(x, jnp.where(known, labels, 0), -1)
    odds = jnp.where(known, jnp.log(total) + (largest - own), jnp.nan)
    return hit, power / jnp.where(total == 0, 1, total), odds


@jax.custom_jvp
@jax.jit
def _label_cross_entropy(x: Array, labels: Array) -> Array:
    odds = _label_parts(x, labels)[2][..., 0]
    return jnp.maximum(odds, 0) + jnp.log1p(jnp.exp(-jnp.abs(odds)))


@_label_cross_entropy.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    slope = _label_cross_entropy_slope(*primals)
    return _label_cross_entropy(*primals), jnp.sum(slope * tangents[0], -1)


@jax.custom_jvp
@jax.jit
def _label_cross_entropy_slope(x: Array, labels: Array) -> Array:
    hit, share, odds = _label_parts(x, labels)
    against = sigmoid(odds)
    return jnp.where(hit, -against, share * against)


@_label_cross_entropy_slope.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    curvature = jax.jvp(_softmax, primals[:1], tangents[:1])[1]
    return _label_cross_entropy_slope(*primals), curvature


# --- cross-entropy with probabilities -----------------------------------------------


def _row_parts(x: Array) -> tuple[Array, Array, Array]:
    """Compute, of each row, where the maximum is, exp, and the sum of exp less 1.

    In a confident row the sum leaves the maximum out: nothing cancels.
    """
    largest = jnp.max(x, -1, keepdims=True)
    top = x == largest
    power = jnp.exp(x - largest)
    total = jnp.sum(power, -1, keepdims=True)
    rest = jnp.sum(jnp.where(top, 0, power), -1, keepdims=True)
    return top, power, jnp.where(total < 1.5, rest, total - 1)


@jax.custom_jvp
@jax.jit
def _cross_entropy(x: Array, y: Array) -> Array:
    rest = _row_parts(x)[2][..., 0]
    # Half the distance to the maximum: all of it can overflow. The barrier keeps XLA from
    # taking the half out again.
    half = lax.optimization_barrier(jnp.asarray(0.5, x.dtype))
    distance = jnp.max(x, -1, keepdims=True) * half - x * half
    linear = 2 * jnp.sum(jnp.where(y == 0, 0, y * distance), -1)
    return linear + jnp.sum(y, -1) * jnp.log1p(rest)


def _cross_entropy_rule(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    loss = _cross_entropy(x, y)
    slope = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        slope += jnp.sum(_cross_entropy_slope(x, y) * dx, -1)
    if not isinstance(dy, SymbolicZero):  # times a zero, a logit of -inf would give NaN
        slope += jnp.sum(_surprise(x) * dy, -1)
    return loss, slope


_cross_entropy.defjvp(_cross_entropy_rule, symbolic_zeros=True)


@jax.custom_jvp
@jax.jit
def _cross_entropy_slope(x: Array, y: Array) -> Array:
    """Compute p Σy - y; at the maximum of a confident row as p (Σ_other y - y rest)."""
    top, power, rest = _row_parts(x)
    mass = jnp.sum(y, -1, keepdims=True)
    others = jnp.sum(jnp.where(top, 0, y), -1, keepdims=True)
    at_top = (others - y * rest) / (1 + rest)
    return jnp.where(top & (rest < 0.5), at_top, power * (mass / (1 + rest)) - y)


@_cross_entropy_slope.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    mass, dmass = jnp.sum(y, -1, keepdims=True), jnp.sum(dy, -1, keepdims=True)
    p, dp = jax.jvp(_softmax, (x,), (dx,))
    return _cross_entropy_slope(x, y), dp * mass + p * dmass - dy


@jax.custom_jvp
@jax.jit
def _softmax(x: Array) -> Array:
    _, power, rest = _row_parts(x)
    return power / (1 + rest)


@_softmax.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    top = _row_parts(lax.stop_gradient(x))[0].astype(x.dtype)
    p = _softmax(x)
    # Measured from the maximum, so that nothing cancels there in a confident row.
    dx = dx - jnp.sum(top * dx, -1, keepdims=True) / jnp.sum(top, -1, keepdims=True)
    return p, p * (dx - jnp.sum(p * dx, -1, keepdims=True))


@jax.custom_jvp
@jax.jit
def _surprise(x: Array) -> Array:
    """Compute -log p."""
    largest = jnp.max(x, -1, keepdims=True)
    return (largest - x) + jnp.log1p(_row_parts(x)[2])


@_surprise.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _surprise(x), jnp.sum(_softmax(x) * dx, -1, keepdims=True) - dx


# --- binary cross-entropy -----------------------------------------------------------


@jax.custom_jvp
@jax.jit
def _binary_cross_entropy(x: Array, y: Array) -> Array:
    weight = jnp.where(x < 0, y, 1 - y)
    linear = jnp.where(weight == 0, 0, jnp.abs(x) * weight)
    return linear + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _binary_cross_entropy_rule(
    primals: tuple[Array, Array], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    loss = _binary_cross_entropy(x, y)
    slope = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        slope += _binary_cross_entropy_slope(x, y) * dx
    if not isinstance(dy, SymbolicZero):  # times a zero, an infinite logit would give NaN
        slope -= x * dy
    return loss, slope


_binary_cross_entropy.defjvp(_binary_cross_entropy_rule, symbolic_zeros=True)


@jax.custom_jvp
@jax.jit
def _binary_cross_entropy_slope(x: Array, y: Array) -> Array:
    """Compute σ(x) - y without cancelling: near 0 if y is near 1/2, far out if 0 or 1."""
    n = jnp.exp(-jnp.abs(x))
    small = n / (1 + n)
    far = jnp.where(x < 0, small - y, (1 - y) - small)
    return jnp.where(jnp.abs(x) < 1, 0.5 * jnp.tanh(0.5 * x) + (0.5 - y), far)


@_binary_cross_entropy_slope.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    return _binary_cross_entropy_slope(x, y), jax.jvp(sigmoid, (x,), (dx,))[1] - dy
