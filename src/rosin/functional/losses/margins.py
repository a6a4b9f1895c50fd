# SPDX-License-Identifier: Apache-2.0
"""Losses that are content beyond a margin, of numbers with a sign and of distances."""

import math

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between
from rosin.functional.activations import relu
from rosin.functional.losses.shared import Reduction, pair, reduced


def hinge_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute by how much a prediction of the right sign falls short of 1.

    $$\ell = \max(0, 1 - \hat y\,y)$$

    The derivative at the margin is 0.

    Args:
        prediction: The $\hat y$, any numbers.
        target: The $y$, -1 or 1 in floating point, of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> hinge_loss(jnp.array([2.0, 0.5]), jnp.array([1.0, -1.0]), reduction=None)
        Array([0. , 1.5], dtype=float32)

    Source:
        Flux.jl `hinge_loss`.
    """
    prediction, target = pair(prediction, target, subject="hinge_loss", mask=mask)
    short = relu(1 - prediction * target)
    return reduced(short, reduction, subject="hinge_loss", mask=mask)


def squared_hinge_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the square of the hinge loss.

    $$\ell = \max(0, 1 - \hat y\,y)^2$$

    Args:
        prediction: The $\hat y$, any numbers.
        target: The $y$, -1 or 1 in floating point, of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> squared_hinge_loss(jnp.array([2.0, 0.5]), jnp.array([1.0, -1.0]), reduction=None)
        Array([0.  , 2.25], dtype=float32)

    Source:
        Flux.jl `squared_hinge_loss`.
    """
    prediction, target = pair(prediction, target, subject="squared_hinge_loss", mask=mask)
    short = relu(1 - prediction * target)
    return reduced(short * short, reduction, subject="squared_hinge_loss", mask=mask)


def siamese_contrastive_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 1.0,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Draw equal pairs together, and push unequal ones apart to a margin.

    $$\ell = (1 - y)\,\hat y^2 + y \max(0, m - \hat y)^2$$

    Args:
        prediction: The distances $\hat y$ of the pairs, at least 0.
        target: The $y$, 0 where a pair is equal and 1 where it is not, in floating point
            and of the same shape.
        margin: The $m$, at least 0.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `margin` is negative.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> distances, unequal = jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0])
        >>> siamese_contrastive_loss(distances, unequal, margin=2, reduction=None)
        Array([0.25, 2.25], dtype=float32)

    Source:
        Hadsell, Chopra & LeCun 2006, without its factor one half; Flux.jl
        `siamese_contrastive_loss`.
    """
    subject = "siamese_contrastive_loss"
    prediction, target = pair(prediction, target, subject=subject, mask=mask)
    expect_between(0, math.inf, subject=subject, include_high=False, margin=margin)
    short = relu(margin - prediction)
    # The factor first: a square can overflow where its factor is 0.
    losses = (1 - target) * prediction * prediction + target * short * short
    return reduced(losses, reduction, subject=subject, mask=mask)
