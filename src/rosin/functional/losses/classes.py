# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies of one class among several: one loss for each row."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_between,
    expect_same_shape,
    has_dtype,
    is_whole,
    refuse,
)
from rosin.errors import DtypeError, StructureError, shown
from rosin.functional.entropy import cross_entropy, label_cross_entropy, wide_enough
from rosin.functional.logarithms import times, xlogy
from rosin.functional.losses.shared import (
    Reduction,
    Weights,
    blank,
    expect_classes,
    expect_labels,
    expect_mask,
    expect_weights,
    reduced,
)
from rosin.functional.numerics import at_least_float32, real_array


def label_smoothing(target: ArrayLike, alpha: float, *, binary: bool = False) -> Array:
    r"""Take a share from each target and spread it evenly over the classes.

    $$y' = (1 - \alpha)\,y + \frac{\alpha}{K}$$

    Args:
        target: The $y$: a probability for each class, the $K$ classes on the last axis.
        alpha: The share $\alpha$, above 0 and below 1.
        binary: Whether each entry is the probability of a yes, so that $K = 2$.

    Raises:
        DtypeError: `target` is not of a real floating-point dtype.
        RangeError: `alpha` is not above 0 and below 1.
        ShapeError: There is no class.

    Examples:
        >>> label_smoothing(jnp.array([0.0, 1.0]), 0.5)
        Array([0.25, 0.75], dtype=float32)

    Source:
        Szegedy et al. 2016, section 7; Flux.jl `label_smoothing`, whose `dims=0` is
        `binary=True`. The losses have it as an argument too.
    """
    target = real_array(target, subject="label_smoothing", name="target")
    expect_between(
        0, 1, subject="label_smoothing", include_low=False, include_high=False, alpha=alpha
    )
    if not binary:
        expect_classes(target, subject="label_smoothing", name="a target")
    return smoothed(target, alpha, 2 if binary else target.shape[-1])


def smoothed(target: Array, alpha: float, classes: int) -> Array:
    """Spread a share of the target; no share leaves it as it is."""
    return target if alpha == 0 else target * (1 - alpha) + alpha / classes


def crossentropy(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    weights: Weights = None,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the cross-entropy of predicted probabilities and a distribution over classes.

    $$\ell = -\sum_c w_c\, y_c \log \hat y_c$$

    A class of probability 0 adds nothing, even where it is predicted with probability 0.
    A class that occurs and is predicted with 0 costs infinity: let the model end in logits
    and use `logitcrossentropy`, which has no such edge.

    Args:
        prediction: The $\hat y$: probabilities, classes on the last axis.
        target: The $y$: either a probability for each class, or whole numbers, the label
            of each row, counted from 0.
        weights: The $w$, at least 0, one for each class; 1 when left out.
        ignore_index: A label, of a class or not, whose rows do not count.
        mask: Which rows count, as booleans; all when left out.
        label_smoothing: The share of $y$, 0 to 1, that is spread evenly over the classes.
        reduction: Makes one number of the rows' losses; `None` returns them all. The mean
            is over the rows that count, in proportion to $\sum_c w_c\,y_c$; it is 0 where
            no row counts.

    Shapes:
        - prediction: `(..., classes)`, at least one class.
        - target: `(..., classes)` if of floating point, `(...)` if labels.
        - weights: `(classes,)`.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: `prediction` or `weights` are not real floating-point numbers, `target`
            is neither that nor of an integer dtype, or the mask not of booleans.
        RangeError: A label is negative or not below the number of classes. Inside a
            trace, where labels have no values yet, such a row gives NaN instead.
            Or a weight is negative, or `label_smoothing` not between 0 and 1.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called, or `ignore_index` is no whole number
            or comes without labels.

    Examples:
        >>> prediction = jnp.array([[0.9, 0.1], [0.5, 0.5]])
        >>> crossentropy(prediction, jnp.array([0, 1]), reduction=None).round(4)
        Array([0.1054, 0.6931], dtype=float32)

    Source:
        Flux.jl `crossentropy`, with the classes on the last axis and without its epsilon:
        the logarithm is exact, and where the loss is infinite it says so.
    """
    subject = "crossentropy"
    rows = class_rows(
        prediction,
        target,
        subject=subject,
        name="prediction",
        weights=weights,
        ignore_index=ignore_index,
        mask=mask,
        alpha=label_smoothing,
    )
    losses = -jnp.sum(xlogy(rows.weighted, rows.x), -1)
    return reduced(losses, reduction, subject=subject, mask=rows.mask, share=rows.share)


def logitcrossentropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weights: Weights = None,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the cross-entropy of logits and a distribution over classes.

    $$\ell = -\sum_c w_c\, y_c \log \frac{e^{x_c}}{\sum_k e^{x_k}}$$

    A class of probability 0 adds nothing, even where its logit is $-\infty$. A row whose
    logits are all $-\infty$ has no distribution and gives NaN.

    Args:
        logits: The $x$, classes on the last axis.
        target: The $y$: either a probability for each logit, or whole numbers, the label
            of each row, counted from 0.
        weights: The $w$, at least 0, one for each class; 1 when left out.
        ignore_index: A label, of a class or not, whose rows do not count.
        mask: Which rows count, as booleans; all when left out.
        label_smoothing: The share of $y$, 0 to 1, that is spread evenly over the classes.
        reduction: Makes one number of the rows' losses; `None` returns them all. The mean
            is over the rows that count, in proportion to $\sum_c w_c\,y_c$; it is 0 where
            no row counts.

    Shapes:
        - logits: `(..., classes)`, at least one class.
        - target: `(..., classes)` if of floating point, `(...)` if labels.
        - weights: `(classes,)`.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: `logits` or `weights` are not real floating-point numbers, `target` is
            neither that nor of an integer dtype, or the mask not of booleans.
        RangeError: A label is negative or not below the number of classes. Inside a
            trace, where labels have no values yet, such a row gives NaN instead.
            Or a weight is negative, or `label_smoothing` not between 0 and 1.
        ShapeError: The shapes do not fit, there is no class, or a reduction has nothing
            to reduce.
        StructureError: `reduction` cannot be called, or `ignore_index` is no whole number
            or comes without labels.

    Examples:
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 0.0]])
        >>> logitcrossentropy(logits, jnp.array([0, 1]), reduction=None).round(4)
        Array([0.1269, 0.6931], dtype=float32)
        >>> logitcrossentropy(logits, jnp.array([0, -1]), ignore_index=-1).round(4)
        Array(0.1269, dtype=float32)

    Source:
        Flux.jl `logitcrossentropy`, with the classes on the last axis. PyTorch divides by
        the rows' weights too if targets are labels, though by those before smoothing, and
        by the number of rows if they are probabilities; here labels and their one-hot rows
        give the same.
    """
    subject = "logitcrossentropy"
    rows = class_rows(
        logits,
        target,
        subject=subject,
        name="logits",
        weights=weights,
        ignore_index=ignore_index,
        mask=mask,
        alpha=label_smoothing,
    )
    share = rows.share
    if not rows.labelled or label_smoothing > 0:
        losses = cross_entropy(rows.x, rows.weighted)
    else:
        losses = label_cross_entropy(rows.x, rows.target)
        losses = losses if share is None else times(share, losses)
    return reduced(losses, reduction, subject=subject, mask=rows.mask, share=share)


# --- the arguments ------------------------------------------------------------------


class Rows(NamedTuple):
    """The checked arguments of a loss over classes."""

    x: Array  # prediction or logits, at least float32
    target: Array  # labels or a distribution
    labelled: bool
    mask: Array | None
    weights: Array | None
    alpha: float

    @property
    def weighted(self) -> Array:
        """The target as a distribution, smoothed, times the weights of the classes."""
        classes = self.x.shape[-1]
        y = _one_hot(self.target, classes, self.x.dtype) if self.labelled else self.target
        y = smoothed(y, self.alpha, classes)
        return y if self.weights is None else y * self.weights

    @property
    def share(self) -> Array | None:
        """How much each row counts in the mean; None if all count the same."""
        return None if self.weights is None else jnp.sum(self.weighted, -1)


def class_rows(
    x: ArrayLike,
    target: ArrayLike,
    *,
    subject: str,
    name: str,
    weights: Weights = None,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
    alpha: float = 0.0,
) -> Rows:
    """Check what a loss over classes is given; rows that do not count become harmless."""
    labelled = _expect_order(x, target, subject=subject, name=name)
    x = real_array(x, subject=subject, name=name)
    expect_between(0, 1, subject=subject, label_smoothing=alpha)
    expect_classes(x, subject=subject, name=name)
    kept = expect_mask(mask, x.shape[:-1], subject=subject)
    if labelled:
        expect_ignore_index(ignore_index, subject=subject)
        expect_labels(target, x, subject=subject, name=name, ignore_index=ignore_index)
        target, kept = kept_labels(jnp.asarray(target), kept, ignore_index)
        (x,) = blank(kept, x.astype(at_least_float32(x)))
    else:
        target = real_array(target, subject=subject, name="target")
        _expect_distribution(x, target, subject=subject, name=name)
        _expect_no_index(ignore_index, subject=subject)
        dtype = at_least_float32(x, target)
        x, target = blank(kept, x.astype(dtype), target.astype(dtype))
    heavy = expect_weights(weights, x.shape[-1], subject=subject)
    heavy = None if heavy is None else heavy.astype(x.dtype)
    return Rows(x, target, labelled, kept, heavy, alpha)


def _expect_order(x: Any, target: Any, *, subject: str, name: str) -> bool:
    """Tell whether targets are labels; refuse arguments that are swapped, or no arrays."""
    if not has_dtype(target):
        refuse(
            DtypeError,
            subject=subject,
            expected="a target of an integer or a floating-point dtype",
            got=shown(target),
            fix="convert it with jnp.asarray(target)",
        )
    whole = [has_dtype(a) and jnp.issubdtype(jnp.result_type(a), jnp.integer) for a in (x, target)]
    if whole == [True, False] and jnp.ndim(target) == jnp.ndim(x) + 1:
        refuse(
            DtypeError,
            subject=subject,
            expected=f"{name} first and the labels second",
            got=f"{name} {shown(x)} and target {shown(target)}",
            fix="swap the two arguments",
        )
    return whole[1]


def _expect_distribution(x: Array, target: Array, *, subject: str, name: str) -> None:
    if target.shape == x.shape[:-1]:
        refuse(
            DtypeError,
            subject=subject,
            expected="labels of an integer dtype, or a probability for each class",
            got=f"target {shown(target)} and {name} {shown(x)}",
            fix="convert labels with target.astype(jnp.int32)",
        )
    expect_same_shape(x, target, subject=subject, names=(name, "target"))


def _one_hot(labels: Array, classes: int, dtype: Any) -> Array:
    """Spell labels as rows of 0 and 1, and NaN where a label is no class."""
    labels = wide_enough(labels)[..., None]
    shape = (*labels.shape[:-1], classes)
    hit = labels == lax.broadcasted_iota(labels.dtype, shape, len(shape) - 1)
    known = (labels >= 0) & (labels < classes)
    return jnp.where(known, hit, jnp.nan).astype(dtype)


def kept_labels(
    labels: Array, kept: Array | None, ignore_index: int | None
) -> tuple[Array, Array | None]:
    """Return the labels, 0 where they do not count, and which do."""
    if ignore_index is not None:
        limits = jnp.iinfo(labels.dtype)
        if limits.min <= ignore_index <= limits.max:
            counted = labels != ignore_index
            kept = counted if kept is None else kept & counted
    return (labels if kept is None else jnp.where(kept, labels, 0)), kept


def expect_ignore_index(ignore_index: object, *, subject: str) -> None:
    """Refuse anything but a label, or none, to leave out."""
    if ignore_index is not None and not is_whole(ignore_index):
        refuse(
            StructureError,
            subject=subject,
            expected="ignore_index to be a whole number",
            got=shown(ignore_index),
            fix="pass the label to ignore, or leave ignore_index out",
        )


def _expect_no_index(ignore_index: object, *, subject: str) -> None:
    if ignore_index is not None:
        refuse(
            StructureError,
            subject=subject,
            expected="labels, whole numbers, to compare with ignore_index",
            got="probabilities",
            fix="pass labels as the target, or mask= in place of ignore_index=",
        )
