# SPDX-License-Identifier: Apache-2.0
"""How little two masks overlap, for segmentation: sums over many entries, then a ratio.

Each loss is written as what is wrong over the whole, not as 1 less what is right, so it
keeps its digits where prediction and target nearly agree.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between, expect_not_empty
from rosin.functional.activations import sigmoid
from rosin.functional.entropy import binary_slope
from rosin.functional.losses.shared import NAMES, Reduction, expect_mask, pair, reduced
from rosin.functional.numerics import expand_axes

_LOGITS = ("logits", "target")
_LARGE = 2.0**50  # beyond it, what is squared and summed is scaled down first


class _Masks(NamedTuple):
    """Two masks, as what the ratios are made of."""

    prediction: Array
    complement: Array  # 1 less the prediction
    error: Array  # the prediction less the target
    target: Array
    rest: Array  # 1 less the target
    smooth: Array
    axes: tuple[int, ...]


def _masks(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    subject: str,
    smooth: float,
    axes: int | tuple[int, ...] | None,
    mask: ArrayLike | None,
) -> _Masks:
    """Check the arguments; return the masks with those entries 0 that do not count."""
    logits = subject.startswith("logit")
    x, y = pair(prediction, target, subject=subject, names=_LOGITS if logits else NAMES, mask=mask)
    expect_between(0, math.inf, subject=subject, include_high=False, smooth=smooth)
    every = tuple(range(x.ndim))
    counted = every if axes is None else expand_axes(axes, x.ndim, subject=subject)
    if any(x.shape[axis] == 0 for axis in counted):
        expect_not_empty(x, subject=subject, name="a batch")
    if logits:
        parts = sigmoid(x), sigmoid(-x), binary_slope(x, y), y, 1 - y
    else:
        parts = x, 1 - x, x - y, y, 1 - y
    kept = expect_mask(mask, x.shape, subject=subject)
    if kept is not None:
        parts = tuple(jnp.where(kept, part, 0) for part in parts)
    # All products are of two parts, so a common factor leaves the ratios as they are.
    largest = jnp.maximum(*(jnp.max(jnp.abs(a), initial=1) for a in (parts[0], y)))
    scale = lax.stop_gradient(jnp.where(largest > _LARGE, 1 / largest, 1))
    return _Masks(*(part * scale for part in parts), smooth=smooth * scale * scale, axes=counted)


def _ratio(wrong: Array, whole: Array) -> Array:
    """Divide; two masks of nothing at all agree."""
    nothing = whole == 0
    return jnp.where(nothing, 0, wrong / jnp.where(nothing, 1, whole))


# --- the three ratios ---------------------------------------------------------------


def _dice(masks: _Masks) -> Array:
    squares = masks.prediction**2 + masks.target**2
    whole = jnp.sum(squares, masks.axes) + masks.smooth
    return _ratio(jnp.sum(masks.error**2, masks.axes), whole)


def _tversky(masks: _Masks, false_positive: float, false_negative: float) -> Array:
    extra = masks.prediction * masks.rest
    missed = masks.target * masks.complement
    wrong = jnp.sum(false_positive * extra + false_negative * missed, masks.axes)
    return _ratio(
        wrong, jnp.sum(masks.prediction * masks.target, masks.axes) + wrong + masks.smooth
    )


def dice_coeff_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    smooth: float = 1.0,
    axes: int | tuple[int, ...] | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Dice loss of two masks.

    $$\ell = 1 - \frac{2 \sum y \hat y + s}{\sum y^2 + \sum \hat y^2 + s}$$

    Args:
        prediction: The $\hat y$, 0 to 1.
        target: The $y$, 0 to 1, of the same shape.
        smooth: Added to both sums, at least 0, so that small masks weigh less; with 0, two
            empty masks agree and cost 0.
        axes: The axes to sum over; all when left out. Sums over the spatial axes alone
            give one loss for each example and class.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the ratios; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `smooth` is negative, or `axes` are not axes of the arrays.
        ShapeError: The shapes differ, or there is nothing to sum or to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> dice_coeff_loss(jnp.array([1.0, 0.5]), jnp.array([1.0, 1.0])).round(4)
        Array(0.0588, dtype=float32)

    Source:
        Milletari, Navab & Ahmadi 2016; Flux.jl `dice_coeff_loss`, which has no `axes`, no
        `mask` and no `reduction`.
    """
    subject = "dice_coeff_loss"
    masks = _masks(prediction, target, subject=subject, smooth=smooth, axes=axes, mask=mask)
    return reduced(_dice(masks), reduction, subject=subject)


def logitdice_coeff_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    smooth: float = 1.0,
    axes: int | tuple[int, ...] | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Dice loss of logits, each a yes or a no, and a mask.

    $$\ell = 1 - \frac{2 \sum y \hat y + s}{\sum y^2 + \sum \hat y^2 + s}$$

    For one class among several, apply a softmax and use `dice_coeff_loss`.

    Args:
        logits: The $x$, of which $\hat y = \sigma(x)$.
        target: The $y$, 0 to 1, of the same shape.
        smooth: Added to both sums, at least 0, so that small masks weigh less; with 0, two
            empty masks agree and cost 0.
        axes: The axes to sum over; all when left out. Sums over the spatial axes alone
            give one loss for each example and class.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the ratios; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `smooth` is negative, or `axes` are not axes of the arrays.
        ShapeError: The shapes differ, or there is nothing to sum or to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logitdice_coeff_loss(jnp.array([100.0, -100.0]), jnp.array([1.0, 0.0]))
        Array(0., dtype=float32)

    Source:
        As for `dice_coeff_loss`; the gradient of a confident logit keeps its digits.
    """
    subject = "logitdice_coeff_loss"
    masks = _masks(logits, target, subject=subject, smooth=smooth, axes=axes, mask=mask)
    return reduced(_dice(masks), reduction, subject=subject)


def tversky_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    beta: float = 0.7,
    smooth: float = 1.0,
    axes: int | tuple[int, ...] | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Tversky loss of two masks, which weighs the two kinds of error.

    $$\ell = 1 - \frac{\sum y \hat y + s}
    {\sum \left(y \hat y + \beta\,(1 - y)\,\hat y + (1 - \beta)\,y\,(1 - \hat y)\right) + s}$$

    Args:
        prediction: The $\hat y$, 0 to 1.
        target: The $y$, 0 to 1, of the same shape.
        beta: The weight $\beta$ of what is wrongly marked, 0 to 1; what is missed weighs
            $1 - \beta$. One half gives a Dice loss without squares.
        smooth: Added to both sums, at least 0, so that small masks weigh less; with 0, two
            empty masks agree and cost 0.
        axes: The axes to sum over; all when left out. Sums over the spatial axes alone
            give one loss for each example and class.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the ratios; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `beta` is not between 0 and 1, `smooth` is negative, or `axes` are not
            axes of the arrays.
        ShapeError: The shapes differ, or there is nothing to sum or to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> prediction, target = jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0])
        >>> tversky_loss(prediction, target).round(4)
        Array(0.2593, dtype=float32)

    Source:
        Salehi, Erdogmus & Gholipour 2017. Flux.jl `tversky_loss` as its code and its tests
        have it; its documentation has $\beta$ and $1 - \beta$ the other way round.
    """
    subject = "tversky_loss"
    expect_between(0, 1, subject=subject, beta=beta)
    masks = _masks(prediction, target, subject=subject, smooth=smooth, axes=axes, mask=mask)
    return reduced(_tversky(masks, beta, 1 - beta), reduction, subject=subject)


def logittversky_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    beta: float = 0.7,
    smooth: float = 1.0,
    axes: int | tuple[int, ...] | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Tversky loss of logits, each a yes or a no, and a mask.

    $$\ell = 1 - \frac{\sum y \hat y + s}
    {\sum \left(y \hat y + \beta\,(1 - y)\,\hat y + (1 - \beta)\,y\,(1 - \hat y)\right) + s}$$

    For one class among several, apply a softmax and use `tversky_loss`.

    Args:
        logits: The $x$, of which $\hat y = \sigma(x)$.
        target: The $y$, 0 to 1, of the same shape.
        beta: The weight $\beta$ of what is wrongly marked, 0 to 1; what is missed weighs
            $1 - \beta$. One half gives a Dice loss without squares.
        smooth: Added to both sums, at least 0, so that small masks weigh less; with 0, two
            empty masks agree and cost 0.
        axes: The axes to sum over; all when left out. Sums over the spatial axes alone
            give one loss for each example and class.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the ratios; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `beta` is not between 0 and 1, `smooth` is negative, or `axes` are not
            axes of the arrays.
        ShapeError: The shapes differ, or there is nothing to sum or to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logittversky_loss(jnp.array([100.0, 100.0]), jnp.array([1.0, 0.0])).round(4)
        Array(0.2593, dtype=float32)

    Source:
        As for `tversky_loss`; the gradient of a confident logit keeps its digits.
    """
    subject = "logittversky_loss"
    expect_between(0, 1, subject=subject, beta=beta)
    masks = _masks(logits, target, subject=subject, smooth=smooth, axes=axes, mask=mask)
    return reduced(_tversky(masks, beta, 1 - beta), reduction, subject=subject)


def jaccard_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    smooth: float = 1.0,
    axes: int | tuple[int, ...] | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Jaccard loss of two masks: 1 less intersection over union.

    $$\ell = 1 - \frac{\sum y \hat y + s}{\sum (y + \hat y - y \hat y) + s}$$

    Args:
        prediction: The $\hat y$, 0 to 1.
        target: The $y$, 0 to 1, of the same shape.
        smooth: Added to both sums, at least 0, so that small masks weigh less; with 0, two
            empty masks agree and cost 0.
        axes: The axes to sum over; all when left out. Sums over the spatial axes alone
            give one loss for each example and class.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the ratios; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `smooth` is negative, or `axes` are not axes of the arrays.
        ShapeError: The shapes differ, or there is nothing to sum or to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> jaccard_loss(jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0]), smooth=0)
        Array(0.5, dtype=float32)

    Source:
        Rahman & Wang 2016. Not in Flux.jl.
    """
    subject = "jaccard_loss"
    masks = _masks(prediction, target, subject=subject, smooth=smooth, axes=axes, mask=mask)
    return reduced(_tversky(masks, 1, 1), reduction, subject=subject)


def logitjaccard_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    smooth: float = 1.0,
    axes: int | tuple[int, ...] | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the Jaccard loss of logits, each a yes or a no, and a mask.

    $$\ell = 1 - \frac{\sum y \hat y + s}{\sum (y + \hat y - y \hat y) + s}$$

    For one class among several, apply a softmax and use `jaccard_loss`.

    Args:
        logits: The $x$, of which $\hat y = \sigma(x)$.
        target: The $y$, 0 to 1, of the same shape.
        smooth: Added to both sums, at least 0, so that small masks weigh less; with 0, two
            empty masks agree and cost 0.
        axes: The axes to sum over; all when left out. Sums over the spatial axes alone
            give one loss for each example and class.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the ratios; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `smooth` is negative, or `axes` are not axes of the arrays.
        ShapeError: The shapes differ, or there is nothing to sum or to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logitjaccard_loss(jnp.array([100.0, 100.0]), jnp.array([1.0, 0.0]), smooth=0)
        Array(0.5, dtype=float32)

    Source:
        As for `jaccard_loss`; the gradient of a confident logit keeps its digits.
    """
    subject = "logitjaccard_loss"
    masks = _masks(logits, target, subject=subject, smooth=smooth, axes=axes, mask=mask)
    return reduced(_tversky(masks, 1, 1), reduction, subject=subject)
