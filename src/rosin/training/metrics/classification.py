# SPDX-License-Identifier: Apache-2.0
"""How often a prediction is right: accuracy, and top-k accuracy."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_at_least, refuse
from rosin.errors import RangeError, shown
from rosin.functional.losses.classes import expect_ignore_index
from rosin.functional.numerics import at_least_float32
from rosin.training.metrics.base import Metric, Of
from rosin.training.metrics.labels import (
    Decided,
    answers,
    classified,
    expect_answers,
    expect_classified,
    expect_options,
)
from rosin.training.metrics.tally import Count, add_counts, counted, no_count, whole


class Share(NamedTuple):
    """How many of how many, and whether something could not be judged."""

    hits: Count
    total: Count
    flawed: Array


def accuracy(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    threshold: float | None = None,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
) -> Array:
    """Compute the share of predictions that are right.

    Args:
        prediction: One number for each class on the last axis, logits or probabilities,
            of which the largest decides, the first one of equals; or labels.
        target: Labels, whole numbers from 0. With `threshold`, 0 for a no and 1 for a yes.
        threshold: Above which a prediction means yes: 0 for logits, 0.5 for
            probabilities. Each entry is then a question of its own.
        ignore_index: A label whose rows do not count.
        mask: Which rows count, as booleans; all when left out.

    Shapes:
        - prediction: `(..., classes)`; `(...)` if labels, or with `threshold`.
        - target, mask: `(...)`.

    Returns:
        A number from 0 to 1. NaN if no row counts, or if one that does holds a NaN or, in
        a compiled function, a label that is no class.

    Raises:
        DtypeError: Labels are no whole numbers, a prediction no real numbers, or the mask
            no booleans.
        RangeError: A label is no class, or with `threshold` neither 0 nor 1.
        ShapeError: The shapes do not fit, or there are no two classes.

    Examples:
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
        >>> accuracy(logits, jnp.array([0, 1, 1])).round(4)
        Array(0.6667, dtype=float32)
        >>> accuracy(jnp.array([1.5, -0.5]), jnp.array([1, 1]), threshold=0.0)
        Array(0.5, dtype=float32)

    Source:
        FluxTraining.jl `accuracy`. `rs.Accuracy` is the same over many batches.
    """
    metric = Accuracy(threshold=threshold, ignore_index=ignore_index)
    metric.expect(prediction, target, mask)
    decided = metric.decided(prediction, target, mask)
    return _mean(decided.predicted == decided.target, decided.counts, decided.flawed)


def top_k_accuracy(
    prediction: ArrayLike,
    target: ArrayLike,
    k: int = 5,
    *,
    ignore_index: int | None = None,
    mask: ArrayLike | None = None,
) -> Array:
    """Compute the share of labels among the `k` classes with the largest predictions.

    Of classes that are predicted with equal numbers the first ones come first.

    Args:
        prediction: One number for each class on the last axis, logits or probabilities.
        target: Labels, whole numbers from 0.
        k: How many classes are looked at, at least 1 and at most as many as there are.
        ignore_index: A label whose rows do not count.
        mask: Which rows count, as booleans; all when left out.

    Returns:
        A number from 0 to 1; NaN as for `accuracy`.

    Raises:
        DtypeError: As for `accuracy`.
        RangeError: A label is no class, or there are fewer classes than `k`.
        ShapeError: As for `accuracy`.

    Examples:
        >>> logits = jnp.array([[2.0, 0.0, 1.0], [3.0, 1.0, 0.0]])
        >>> top_k_accuracy(logits, jnp.array([2, 2]), 2)
        Array(0.5, dtype=float32)
    """
    metric = TopKAccuracy(k, ignore_index=ignore_index)
    metric.expect(prediction, target, mask)
    hits, counts, flawed = metric.hits(prediction, target, mask)
    return _mean(hits, counts, flawed)


def _mean(hits: Array, counts: Array, flawed: Array) -> Array:
    dtype = at_least_float32()
    share = jnp.sum(hits & counts).astype(dtype) / jnp.sum(counts).astype(dtype)
    return jnp.where(flawed, jnp.nan, share)


class _Rate(Metric):
    """A share of hits."""

    def empty(self) -> Share:
        """Count nothing."""
        return Share(no_count(), no_count(), jnp.zeros((), bool))

    def merge(self, a: Share, b: Share) -> Share:
        """Add the counts."""
        hits, total = add_counts(a.hits, b.hits), add_counts(a.total, b.total)
        return Share(hits, total, a.flawed | b.flawed)

    def result(self, state: Share) -> float:
        """Divide; NaN where nothing was counted."""
        total = int(whole(state.total))
        sound = total > 0 and not bool(state.flawed)
        return int(whole(state.hits)) / total if sound else float("nan")


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Accuracy(_Rate):
    """The share of predictions that are right.

    Args:
        threshold: Above which a prediction means yes: 0 for logits, 0.5 for
            probabilities. Left out, predictions are `(..., classes)` and targets are
            labels.
        ignore_index: A label whose rows do not count.
        of: As in `Metric`; returns prediction, target and, if wanted, a mask.

    Raises:
        RangeError: `threshold` is no number.
        StructureError: `ignore_index` is no whole number, or comes with `threshold`.

    Examples:
        >>> import rosin as rs
        >>> batches = [(jnp.eye(3), jnp.array([0, 1, 1])), (jnp.eye(3)[:1], jnp.array([0]))]
        >>> rs.evaluate(rs.Chain(rs.relu), batches, {"accuracy": rs.Accuracy()})
        {'accuracy': 0.75}

    Source:
        FluxTraining.jl `accuracy` with `Metrics`; scikit-learn `accuracy_score`.
    """

    threshold: float | None = None
    ignore_index: int | None = None
    of: Of = None

    def __post_init__(self) -> None:
        """Check the options."""
        expect_options(self.threshold, self.ignore_index, subject="Accuracy")

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        if self.threshold is not None:
            expect_answers(prediction, target, mask, subject="Accuracy")
        else:
            index = self.ignore_index
            expect_classified(prediction, target, mask, subject="Accuracy", ignore_index=index)

    def decided(self, prediction: Any, target: Any, mask: Any = None) -> Decided:
        """Decide what was predicted."""
        if self.threshold is not None:
            return answers(prediction, target, mask, self.threshold)
        return classified(prediction, target, mask, ignore_index=self.ignore_index)

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Share:
        """Count the hits of a batch."""
        decided = self.decided(prediction, target, mask)
        hits = (decided.predicted == decided.target) & decided.counts
        return Share(counted(hits), counted(decided.counts), decided.flawed)


@dataclasses.dataclass(frozen=True, repr=False)
class TopKAccuracy(_Rate):
    """The share of labels among the `k` classes with the largest predictions.

    Args:
        k: How many classes are looked at, at least 1 and at most as many as there are.
        ignore_index: A label whose rows do not count.
        of: As in `Metric`; returns prediction, target and, if wanted, a mask.

    Raises:
        RangeError: `k` is not at least 1.
        StructureError: `ignore_index` is no whole number.

    Examples:
        >>> logits = jnp.array([[2.0, 0.0, 1.0], [3.0, 1.0, 0.0]])
        >>> TopKAccuracy(2)(logits, jnp.array([2, 2]))
        0.5

    Source:
        scikit-learn `top_k_accuracy_score`, but for ties: there the last class of equals
        comes first, here the first, so that `TopKAccuracy(1)` is `Accuracy()`.
    """

    k: int = 5
    _: dataclasses.KW_ONLY
    ignore_index: int | None = None
    of: Of = None

    def __post_init__(self) -> None:
        """Check the options."""
        expect_at_least(1, subject="TopKAccuracy", k=self.k)
        expect_ignore_index(self.ignore_index, subject="TopKAccuracy")

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        classes = jnp.shape(prediction)[-1:]
        if jnp.issubdtype(jnp.result_type(prediction), jnp.integer) or classes < (self.k,):
            refuse(
                RangeError,
                subject="TopKAccuracy",
                expected=f"predictions for at least k={self.k} classes on the last axis",
                got=shown(prediction),
                fix="pass a smaller k, and numbers for all classes in place of labels",
            )
        index = self.ignore_index
        expect_classified(prediction, target, mask, subject="TopKAccuracy", ignore_index=index)

    def hits(self, prediction: Any, target: Any, mask: Any = None) -> tuple[Array, Array, Array]:
        """Tell which rows are hits, which count, and whether one is flawed."""
        decided = classified(prediction, target, mask, ignore_index=self.ignore_index)
        x = jnp.asarray(prediction)
        place = decided.target[..., None]
        own = jnp.take_along_axis(x, place, -1, mode="fill", fill_value=jnp.nan)
        earlier = jnp.arange(x.shape[-1]).reshape((1,) * (x.ndim - 1) + (-1,)) < place
        ahead = (x > own) | ((x == own) & earlier)
        return jnp.sum(ahead, -1) < self.k, decided.counts, decided.flawed

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Share:
        """Count the hits of a batch."""
        hits, counts, flawed = self.hits(prediction, target, mask)
        return Share(counted(hits & counts), counted(counts), flawed)
