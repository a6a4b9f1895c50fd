# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies of a yes or a no: one loss for each entry."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between
from rosin.functional.entropy import binary_cross_entropy
from rosin.functional.logarithms import log, times
from rosin.functional.losses.classes import smoothed
from rosin.functional.losses.shared import NAMES, Reduction, Weights, expect_weights, pair, reduced


class _Answers(NamedTuple):
    """The checked arguments."""

    x: Array
    target: Array
    yes: Array  # the weight of a yes times its probability
    no: Array
    share: Array | None  # how much each entry counts in the mean


def _answers(
    x: ArrayLike,
    target: ArrayLike,
    *,
    subject: str,
    names: tuple[str, str],
    weights: Weights,
    mask: ArrayLike | None,
    alpha: float,
) -> _Answers:
    x, target = pair(x, target, subject=subject, names=names, mask=mask)
    expect_between(0, 1, subject=subject, label_smoothing=alpha)
    heavy = expect_weights(weights, 2, subject=subject)
    target = smoothed(target, alpha, 2)
    if heavy is None:
        return _Answers(x, target, target, 1 - target, None)
    yes, no = heavy[1].astype(x.dtype) * target, heavy[0].astype(x.dtype) * (1 - target)
    return _Answers(x, target, yes, no, yes + no)


@jax.custom_jvp
@jax.jit
def _surprise(p: Array, yes: Array, no: Array) -> Array:
    """Compute `-yes log p - no log(1 - p)`; a weight of 0 adds nothing."""
    return times(yes, -log(p)) - times(no, jnp.log1p(-p))


def _surprise_rule(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (p, yes, no), (dp, dyes, dno) = primals, tangents
    loss = _surprise(p, yes, no)
    slope = jnp.zeros_like(loss)
    if not isinstance(dp, SymbolicZero):
        # One fraction where both answers have a weight, for there the two would cancel.
        left, right = jnp.where(yes == 0, 1, p), jnp.where(no == 0, 1, 1 - p)
        both = jnp.where(yes == 0, no, jnp.where(no == 0, -yes, (yes + no) * p - yes))
        slope += both / left / right * dp
    if not isinstance(dyes, SymbolicZero):  # times a zero, the log of 0 would give NaN
        slope -= log(p) * dyes
    if not isinstance(dno, SymbolicZero):
        slope -= jnp.log1p(-p) * dno
    return loss, slope


_surprise.defjvp(_surprise_rule, symbolic_zeros=True)


def binarycrossentropy(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    weights: Weights = None,
    mask: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the cross-entropy of a predicted and a true probability of a yes.

    $$\ell = -w_1\,y \log \hat y - w_0\,(1 - y) \log(1 - \hat y)$$

    A certain prediction that is right costs 0, one that is wrong costs infinity: let the
    model end in logits and use `logitbinarycrossentropy`, which has no such edge.

    Args:
        prediction: The $\hat y$, 0 to 1.
        target: The $y$, 0 to 1, of the same shape.
        weights: The $w_0$ of a no and the $w_1$ of a yes, at least 0; 1 when left out.
        mask: Which entries count, as booleans of the same shape; all when left out.
        label_smoothing: The share of $y$, 0 to 1, that is spread over yes and no.
        reduction: Makes one number of the losses; `None` returns them all. The mean is
            over the entries that count, in proportion to $w_1\,y + w_0\,(1 - y)$.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: A weight is negative, or `label_smoothing` not between 0 and 1.
        ShapeError: The shapes differ, there are not two weights, or a reduction has
            nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> binarycrossentropy(jnp.array([1.0, 0.5]), jnp.array([1.0, 0.0])).round(4)
        Array(0.3466, dtype=float32)

    Source:
        Flux.jl `binarycrossentropy`, without its epsilon: the logarithm is exact, and
        where the loss is infinite it says so. PyTorch stops at 100.
    """
    subject = "binarycrossentropy"
    given = _answers(
        prediction,
        target,
        subject=subject,
        names=NAMES,
        weights=weights,
        mask=mask,
        alpha=label_smoothing,
    )
    losses = _surprise(given.x, given.yes, given.no)
    return reduced(losses, reduction, subject=subject, mask=mask, share=given.share)


def logitbinarycrossentropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weights: Weights = None,
    mask: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the cross-entropy of a logit and the probability of a yes.

    $$\ell = -w_1\,y \log \sigma(x) - w_0\,(1 - y) \log(1 - \sigma(x))$$

    Args:
        logits: The $x$.
        target: The $y$, 0 to 1, of the same shape.
        weights: The $w_0$ of a no and the $w_1$ of a yes, at least 0; 1 when left out.
        mask: Which entries count, as booleans of the same shape; all when left out.
        label_smoothing: The share of $y$, 0 to 1, that is spread over yes and no.
        reduction: Makes one number of the losses; `None` returns them all. The mean is
            over the entries that count, in proportion to $w_1\,y + w_0\,(1 - y)$.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: A weight is negative, or `label_smoothing` not between 0 and 1.
        ShapeError: The shapes differ, there are not two weights, or a reduction has
            nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logitbinarycrossentropy(jnp.array([0.0, 100.0]), jnp.array([1.0, 1.0])).round(4)
        Array(0.3466, dtype=float32)

    Source:
        Flux.jl `logitbinarycrossentropy`. PyTorch's `pos_weight=w` is `weights=(1, w)`
        with a sum in place of the mean, which there is over the number of entries.
    """
    subject = "logitbinarycrossentropy"
    given = _answers(
        logits,
        target,
        subject=subject,
        names=("logits", "target"),
        weights=weights,
        mask=mask,
        alpha=label_smoothing,
    )
    if given.share is None:
        losses = binary_cross_entropy(given.x, given.target)
    else:
        one = jnp.ones_like(given.x)
        if_yes, if_no = binary_cross_entropy(given.x, one), binary_cross_entropy(given.x, 0 * one)
        losses = times(given.yes, if_yes) + times(given.no, if_no)
    return reduced(losses, reduction, subject=subject, mask=mask, share=given.share)
