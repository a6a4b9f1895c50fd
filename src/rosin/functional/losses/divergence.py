# SPDX-License-Identifier: Apache-2.0
"""How far a predicted distribution is from the true one: one loss for each row."""

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_same_shape
from rosin.functional.entropy import cross_entropy
from rosin.functional.logarithms import xlogx, xlogy
from rosin.functional.losses.shared import Reduction, blank, expect_classes, expect_mask, reduced
from rosin.functional.numerics import at_least_float32, real_array


def kldivergence(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Kullback-Leibler divergence of the target from the prediction.

    $$\ell = \sum_c y_c \log y_c - y_c \log \hat y_c$$

    A class of probability 0 adds nothing, even where it is predicted with probability 0.
    Where both rows sum to 1, as nearly as the dtype tells, the loss is never negative.

    Args:
        prediction: The $\hat y$: probabilities, classes on the last axis.
        target: The $y$: probabilities, of the same shape.
        mask: Which rows count, as booleans; all when left out.
        reduction: Makes one number of the rows' losses; `None` returns them all.

    Shapes:
        - prediction, target: `(..., classes)`, at least one class.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> kldivergence(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])).round(4)
        Array(0.6931, dtype=float32)

    Source:
        Kullback & Leibler 1951; Flux.jl `kldivergence`, with the classes on the last axis
        and without its epsilon: where the loss is infinite it says so.
    """
    subject = "kldivergence"
    p, y, kept = _distributions(prediction, target, subject=subject, name="prediction", mask=mask)
    losses = jnp.sum(xlogx(y) - xlogy(y, p), -1)
    losses = _at_least_zero(losses, jnp.sum(y, -1), jnp.sum(p, -1), y.shape[-1])
    return reduced(losses, reduction, subject=subject, mask=kept)


def logitkldivergence(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Kullback-Leibler divergence of the target from the softmax of logits.

    $$\ell = \sum_c y_c \log y_c - y_c \log \frac{e^{x_c}}{\sum_k e^{x_k}}$$

    Args:
        logits: The $x$, classes on the last axis.
        target: The $y$: probabilities, of the same shape.
        mask: Which rows count, as booleans; all when left out.
        reduction: Makes one number of the rows' losses; `None` returns them all.

    Shapes:
        - logits, target: `(..., classes)`, at least one class.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logitkldivergence(jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 0.0]))
        Array(0., dtype=float32)

    Source:
        As for `kldivergence`. PyTorch's `kl_div` of a `log_softmax`, summed over classes.
    """
    subject = "logitkldivergence"
    x, y, kept = _distributions(logits, target, subject=subject, name="logits", mask=mask)
    losses = cross_entropy(x, y) + jnp.sum(xlogx(y), -1)
    mass = jnp.sum(y, -1)
    losses = _at_least_zero(losses, mass, jnp.ones_like(mass), y.shape[-1])
    return reduced(losses, reduction, subject=subject, mask=kept)


def _distributions(
    x: ArrayLike, target: ArrayLike, *, subject: str, name: str, mask: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    x = real_array(x, subject=subject, name=name)
    y = real_array(target, subject=subject, name="target")
    expect_classes(x, subject=subject, name=name)
    expect_same_shape(x, y, subject=subject, names=(name, "target"))
    kept = expect_mask(mask, x.shape[:-1], subject=subject)
    dtype = at_least_float32(x, y)
    x, y = blank(kept, x.astype(dtype), y.astype(dtype))
    return x, y, kept


def _at_least_zero(losses: Array, mass: Array, predicted: Array, classes: int) -> Array:
    """Take away what rounding leaves below zero; the derivative stays that of the formula."""
    rounding = classes * jnp.finfo(losses.dtype).eps
    equal = jnp.abs(mass - predicted) <= rounding * mass
    below = lax.stop_gradient(jnp.where(equal & (losses < 0), losses, 0))
    return losses - below
