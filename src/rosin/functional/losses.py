# SPDX-License-Identifier: Apache-2.0
"""How far a prediction is from its target, as one number or one per sample.

Every loss is computed in float32 or wider and returned so. Prediction and target have
equal shape; nothing is broadcast.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

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
from rosin.functional.entropy import (
    binary_cross_entropy,
    cross_entropy,
    label_cross_entropy,
    surprise,
)
from rosin.functional.numerics import at_least_float32, real_array

Reduction: TypeAlias = Callable[[Array], Array] | None
"""Makes one number of many, such as `jnp.mean`; None keeps them."""


def mse(prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = jnp.mean) -> Array:
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
        rows = label_cross_entropy(logits, jnp.asarray(target))
        if label_smoothing > 0:
            even = jnp.mean(surprise(logits), -1)
            rows = (1 - label_smoothing) * rows + label_smoothing * even
    else:
        target = _widened(real_array(target, subject=name, name="target"))
        expect_same_shape(logits, target, subject=name, names=("logits", "target"))
        dtype = at_least_float32(logits, target)
        if label_smoothing > 0:
            target = target * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
        rows = cross_entropy(logits.astype(dtype), target.astype(dtype))
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
    losses = binary_cross_entropy(logits.astype(dtype), target.astype(dtype))
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
    if isinstance(labels, Tracer) or 0 in jnp.shape(labels):
        return
    if not getattr(labels, "is_fully_addressable", True):  # parts are on other hosts
        return
    values, classes = np.asarray(labels), logits.shape[-1]
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        refuse(
            RangeError,
            subject=subject,
            expected=f"labels of at least 0 and below {classes}, the number of classes",
            got=f"labels from {low} to {high}",
            fix="count labels from 0, and give the logits one entry for each class",
        )
