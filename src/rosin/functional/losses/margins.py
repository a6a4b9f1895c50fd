# SPDX-License-Identifier: Apache-2.0
"""Losses that are content beyond a margin, of numbers with a sign and of distances."""

import math

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between, refuse
from rosin.errors import RangeError
from rosin.functional.activations import relu
from rosin.functional.losses.shared import Reduction, known_values, pair, reduced


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
        RangeError: A target is 0, as in labels of 0 and 1: its loss has no derivative. Inside
            `jit` this is not seen.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> hinge_loss(jnp.array([2.0, 0.5]), jnp.array([1.0, -1.0]), reduction=None)
        Array([0. , 1.5], dtype=float32)

    Source:
        Flux.jl `hinge_loss`.
    """
    prediction, target = _signed_pair(prediction, target, subject="hinge_loss", mask=mask)
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
        RangeError: A target is 0, as in labels of 0 and 1: its loss has no derivative. Inside
            `jit` this is not seen.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> squared_hinge_loss(jnp.array([2.0, 0.5]), jnp.array([1.0, -1.0]), reduction=None)
        Array([0.  , 2.25], dtype=float32)

    Source:
        Flux.jl `squared_hinge_loss`.
    """
    prediction, target = _signed_pair(prediction, target, subject="squared_hinge_loss", mask=mask)
    short = relu(1 - prediction * target)
    return reduced(short * short, reduction, subject="squared_hinge_loss", mask=mask)


def _signed_pair(
    prediction: ArrayLike, target: ArrayLike, *, subject: str, mask: ArrayLike | None
) -> tuple[Array, Array]:
    """Check a pair whose target is a sign; numbers of any size have one, 0 has none."""
    prediction, target = pair(prediction, target, subject=subject, mask=mask)
    values = known_values(target)
    if values is not None and not values.all():
        refuse(
            RangeError,
            subject=subject,
            expected="targets of -1 and 1",
            got=f"0 among targets from {values.min()} to {values.max()}",
            fix="pass 2 * y - 1 for labels y of 0 and 1",
        )
    return prediction, target


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
