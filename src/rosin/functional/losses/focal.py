# SPDX-License-Identifier: Apache-2.0
"""Focal losses: cross-entropies in which what is already right weighs less."""

import math

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between
from rosin.functional.focus import agreement, binary_logit_focal, focal, logit_focal
from rosin.functional.logarithms import times
from rosin.functional.losses.classes import class_rows
from rosin.functional.losses.shared import Reduction, Weights, expect_weights, pair, reduced


def focal_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    weights: Weights = None,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the focal loss of predicted probabilities and a distribution over classes.

    $$\ell = -\sum_c w_c\, y_c\, (1 - \hat y_c)^\gamma \log \hat y_c$$

    A probability that rounding put above 1 counts as 1.

    Args:
        prediction: The $\hat y$: probabilities, classes on the last axis.
        target: The $y$: either a probability for each class, or whole numbers, the label
            of each row, counted from 0.
        gamma: The $\gamma$, at least 0; 0 gives the cross-entropy.
        weights: The $w$, at least 0, one for each class; 1 when left out.
        ignore_index: A label, of a class or not, whose rows do not count.
        mask: Which rows count, as booleans; all when left out.
        reduction: Makes one number of the rows' losses; `None` returns them all. The mean
            is over the rows that count, in proportion to $\sum_c w_c\,y_c$.

    Shapes:
        - prediction: `(..., classes)`, at least one class.
        - target: `(..., classes)` if of floating point, `(...)` if labels.
        - weights: `(classes,)`.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: `prediction` or `weights` are not real floating-point numbers, `target`
            is neither that nor of an integer dtype, or the mask not of booleans.
        RangeError: `gamma` or a weight is negative, or a label no class. Inside a trace,
            where labels have no values yet, such a row gives NaN instead.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called, or `ignore_index` is no whole number
            or comes without labels.

    Examples:
        >>> focal_loss(jnp.array([[0.9, 0.1], [0.5, 0.5]]), jnp.array([0, 0])).round(4)
        Array(0.0872, dtype=float32)

    Source:
        Lin et al. 2017, eq. 5; Flux.jl `focal_loss`, with the classes on the last axis and
        without its epsilon, which can make $1 - \hat y$ negative.
    """
    subject = "focal_loss"
    _expect_gamma(gamma, subject=subject)
    rows = class_rows(
        prediction,
        target,
        subject=subject,
        name="prediction",
        weights=weights,
        ignore_index=ignore_index,
        mask=mask,
    )
    rest = jnp.where(rows.x > 1, 0, 1 - rows.x)
    losses = jnp.sum(focal(rows.weighted, rows.x, rest, gamma), -1)
    return reduced(losses, reduction, subject=subject, mask=rows.mask, share=rows.share)


def logitfocal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    weights: Weights = None,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the focal loss of logits and a distribution over classes.

    $$\ell = -\sum_c w_c\, y_c\, (1 - p_c)^\gamma \log p_c, \qquad
    p_c = \frac{e^{x_c}}{\sum_k e^{x_k}}$$

    Args:
        logits: The $x$, classes on the last axis.
        target: The $y$: either a probability for each logit, or whole numbers, the label
            of each row, counted from 0.
        gamma: The $\gamma$, at least 0; 0 gives the cross-entropy.
        weights: The $w$, at least 0, one for each class; 1 when left out.
        ignore_index: A label, of a class or not, whose rows do not count.
        mask: Which rows count, as booleans; all when left out.
        reduction: Makes one number of the rows' losses; `None` returns them all. The mean
            is over the rows that count, in proportion to $\sum_c w_c\,y_c$.

    Shapes:
        - logits: `(..., classes)`, at least one class.
        - target: `(..., classes)` if of floating point, `(...)` if labels.
        - weights: `(classes,)`.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: `logits` or `weights` are not real floating-point numbers, `target` is
            neither that nor of an integer dtype, or the mask not of booleans.
        RangeError: `gamma` or a weight is negative, or a label no class. Inside a trace,
            where labels have no values yet, such a row gives NaN instead.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called, or `ignore_index` is no whole number
            or comes without labels.

    Examples:
        >>> logitfocal_loss(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([0, 0])).round(4)
        Array(0.0875, dtype=float32)

    Source:
        Lin et al. 2017, eq. 5. Not in Flux.jl, whose `focal_loss` takes probabilities.
    """
    subject = "logitfocal_loss"
    _expect_gamma(gamma, subject=subject)
    rows = class_rows(
        logits,
        target,
        subject=subject,
        name="logits",
        weights=weights,
        ignore_index=ignore_index,
        mask=mask,
    )
    losses = logit_focal(rows.x, rows.weighted, gamma)
    return reduced(losses, reduction, subject=subject, mask=rows.mask, share=rows.share)


def binary_focal_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    weights: Weights = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the focal loss of predicted and true probabilities of a yes.

    $$\ell = -w\,(1 - p)^\gamma \log p, \qquad
    p = y\,\hat y + (1 - y)(1 - \hat y), \quad w = w_1\,y + w_0\,(1 - y)$$

    Args:
        prediction: The $\hat y$, 0 to 1.
        target: The $y$, 0 or 1 (or between), of the same shape.
        gamma: The $\gamma$, at least 0; 0 gives the cross-entropy if the $y$ are 0 or 1.
        weights: The $w_0$ of a no and the $w_1$ of a yes, at least 0; 1 when left out.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all. The mean is
            over the entries that count, in proportion to $w$.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `gamma` or a weight is negative.
        ShapeError: The shapes differ, there are not two weights, or a reduction has
            nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> binary_focal_loss(jnp.array([0.9, 0.5]), jnp.array([1.0, 0.0])).round(4)
        Array(0.0872, dtype=float32)

    Source:
        Lin et al. 2017, eq. 4 and 5, with $\alpha$ and $1 - \alpha$ as weights; Flux.jl
        `binary_focal_loss`, without its epsilon, which can make $1 - p$ negative.
    """
    subject = "binary_focal_loss"
    _expect_gamma(gamma, subject=subject)
    x, y = pair(prediction, target, subject=subject, mask=mask)
    share = _share(weights, y, subject=subject)
    right, wrong = agreement(x, y)
    losses = focal(jnp.ones_like(x) if share is None else share, right, wrong, gamma)
    return reduced(losses, reduction, subject=subject, mask=mask, share=share)


def logitbinary_focal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    weights: Weights = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the focal loss of logits and the probabilities of a yes.

    $$\ell = -w\,(1 - p)^\gamma \log p, \qquad
    p = y\,\sigma(x) + (1 - y)\,\sigma(-x), \quad w = w_1\,y + w_0\,(1 - y)$$

    Args:
        logits: The $x$.
        target: The $y$, 0 or 1 (or between), of the same shape.
        gamma: The $\gamma$, at least 0; 0 gives the cross-entropy if the $y$ are 0 or 1.
        weights: The $w_0$ of a no and the $w_1$ of a yes, at least 0; 1 when left out.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all. The mean is
            over the entries that count, in proportion to $w$.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `gamma` or a weight is negative.
        ShapeError: The shapes differ, there are not two weights, or a reduction has
            nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logitbinary_focal_loss(jnp.array([2.0, 0.0]), jnp.array([1.0, 0.0])).round(4)
        Array(0.0875, dtype=float32)

    Source:
        Lin et al. 2017, eq. 4 and 5, with $\alpha$ and $1 - \alpha$ as weights. Not in
        Flux.jl, whose `binary_focal_loss` takes probabilities.
    """
    subject = "logitbinary_focal_loss"
    _expect_gamma(gamma, subject=subject)
    x, y = pair(logits, target, subject=subject, names=("logits", "target"), mask=mask)
    share = _share(weights, y, subject=subject)
    losses = binary_logit_focal(x, y, gamma)
    losses = losses if share is None else times(share, losses)
    return reduced(losses, reduction, subject=subject, mask=mask, share=share)


def _expect_gamma(gamma: float, *, subject: str) -> None:
    expect_between(0, math.inf, subject=subject, include_high=False, gamma=gamma)


def _share(weights: Weights, y: Array, *, subject: str) -> Array | None:
    """Weigh each entry by its answer."""
    heavy = expect_weights(weights, 2, subject=subject)
    return None if heavy is None else (heavy[1] * y + heavy[0] * (1 - y)).astype(y.dtype)
