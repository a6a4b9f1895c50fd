# SPDX-License-Identifier: Apache-2.0
"""Of what was predicted, what is true, and of what is true, what was predicted."""

import abc
import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_last_axis,
    expect_one_of,
    refuse,
)
from rosin.errors import RangeError, shown
from rosin.training.metrics.base import Metric, Of, Value
from rosin.training.metrics.labels import (
    answers,
    classified,
    expect_answers,
    expect_classified,
    expect_options,
)
from rosin.training.metrics.tally import Count, add_counts, counted, no_count, whole

Average = Literal["macro", "micro", "weighted"] | None

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Found(NamedTuple):
    """For each class, how often it was found, predicted, and there.

    Args:
        hits: Predicted and true.
        predicted: Predicted.
        actual: True.
        flawed: Whether something could not be judged.
    """

    hits: Count
    predicted: Count
    actual: Count
    flawed: Array


@dataclasses.dataclass(frozen=True, repr=False)
class _Score(Metric):
    """A ratio of such counts; the options are those of each score."""

    classes: int | None = None
    _: dataclasses.KW_ONLY
    threshold: float | None = None
    average: Average = "macro"
    zero_division: float = 0.0
    ignore_index: int | None = None
    of: Of = None

    def __post_init__(self) -> None:
        """Check the options."""
        subject = type(self).__name__
        if self.classes is not None:
            expect_at_least(2, subject=subject, classes=self.classes)
        expect_options(self.threshold, self.ignore_index, subject=subject)
        options = ("macro", "micro", "weighted", None)
        expect_one_of(options, subject=subject, average=self.average)
        if not (isinstance(self.zero_division, float) and math.isnan(self.zero_division)):
            expect_between(0, 1, subject=subject, zero_division=self.zero_division)
        if self.classes is None and (self.average != "macro" or self.ignore_index is not None):
            refuse(
                RangeError,
                subject=subject,
                expected="average and ignore_index together with classes",
                got=f"average={self.average!r}, ignore_index={shown(self.ignore_index)} "
                "and no classes",
                fix="pass classes, or leave the two out: a yes or a no has one score",
            )

    @property
    def _limit(self) -> float | None:
        """Above which a prediction means yes; None where the largest one decides."""
        return 0.0 if self.classes is None and self.threshold is None else self.threshold

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        subject = type(self).__name__
        if self._limit is None:
            index = self.ignore_index
            expect_classified(
                prediction,
                target,
                mask,
                subject=subject,
                classes=self.classes,
                ignore_index=index,
            )
            return
        expect_answers(prediction, target, mask, subject=subject)
        if self.classes is not None:
            expect_last_axis(prediction, self.classes, subject=subject, argument="classes")

    def empty(self) -> Found:
        """Count nothing."""
        none = no_count(() if self.classes is None else (self.classes,))
        return Found(none, none, none, jnp.zeros((), bool))

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Found:
        """Count, class by class."""
        if self._limit is not None:
            decided = answers(prediction, target, mask, self._limit)
            axes = tuple(range(decided.counts.ndim - (self.classes is not None)))

            def count(flags: Array, of: Array) -> Count:
                return counted(jnp.sum(flags & of & decided.counts, axes, dtype=jnp.uint32))

            hits = count(decided.predicted, decided.target)
            predicted = count(decided.predicted, decided.predicted)
            actual = count(decided.target, decided.target)
            return Found(hits, predicted, actual, decided.flawed)
        decided = classified(
            prediction, target, mask, classes=self.classes, ignore_index=self.ignore_index
        )
        none = jnp.zeros((self.classes or 0,), jnp.uint32)
        true = (decided.predicted == decided.target) & decided.counts
        hits = none.at[decided.target].add(true.astype(jnp.uint32))
        counts = decided.counts.astype(jnp.uint32)
        predicted = none.at[decided.predicted].add(counts)
        actual = none.at[decided.target].add(counts)
        return Found(counted(hits), counted(predicted), counted(actual), decided.flawed)

    def merge(self, a: Found, b: Found) -> Found:
        """Add the counts."""
        hits, predicted = add_counts(a.hits, b.hits), add_counts(a.predicted, b.predicted)
        return Found(hits, predicted, add_counts(a.actual, b.actual), a.flawed | b.flawed)

    def result(self, state: Found) -> Value:
        """Divide, and average over the classes."""
        hits, predicted, actual = (whole(count) for count in state[:3])
        if self.classes is not None and self.average == "micro":
            hits, predicted, actual = (n.sum() for n in (hits, predicted, actual))
        parts, totals = self.ratio(hits, predicted, actual)
        undefined = np.full(np.shape(totals), float(self.zero_division))
        scores = np.divide(parts, totals, out=undefined, where=totals != 0)
        if bool(state.flawed):
            scores = np.full(scores.shape, np.nan)
            return scores if scores.ndim and self.average is None else float("nan")
        if scores.ndim == 0 or self.average is None:
            return scores if scores.ndim else float(scores)
        weights = actual if self.average == "weighted" else np.ones_like(actual)
        weights = np.where(np.isnan(scores), 0, weights)  # NaN asks to leave a class out
        if not weights.any():
            return float(self.zero_division)
        return float(np.average(np.nan_to_num(scores), weights=weights))

    @abc.abstractmethod
    def ratio(self, hits: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Any, Any]:
        """Return what is divided by what."""


class Precision(_Score):
    r"""Of what was predicted to be of a class, the share that is.

    $$\text{precision} = \frac{\text{predicted and true}}{\text{predicted}}$$

    Args:
        classes: How many there are, at least 2. Left out, each entry is a yes or a no, and
            the score is that of the yes.
        threshold: Above which a prediction means yes: 0 for logits, which is the default
            without `classes`, 0.5 for probabilities. With `classes`, each of them is a
            yes or a no of its own (several labels for one example); left out, targets are
            labels and the largest prediction decides.
        average: "macro" is the mean over the classes, "weighted" one in proportion to how
            often they are true, "micro" counts all classes as one, and None returns an
            array with a score for each.
        zero_division: The score of a class without anything to divide by, 0 to 1; NaN
            leaves such classes out of the average.
        ignore_index: A label whose rows do not count.
        of: As in `Metric`; returns prediction, target and, if wanted, a mask.

    Shapes:
        - prediction: `(...)`; with `classes`, `(..., classes)`, or `(...)` if labels.
        - target: `(...)`; with `classes` and `threshold`, `(..., classes)`.

    Raises:
        RangeError: An option is out of its range, or one of classes comes without them.
        StructureError: `ignore_index` is no whole number, or comes with `threshold`.

    Examples:
        >>> logits, answers = jnp.array([2.0, 1.0, -1.0]), jnp.array([1, 0, 1])
        >>> Precision()(logits, answers)
        0.5
        >>> Precision(3, average=None)(jnp.array([0, 1, 1, 2]), jnp.array([0, 0, 1, 2]))
        array([1. , 0.5, 1. ])

    Source:
        scikit-learn `precision_score`.
    """

    def ratio(self, hits: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Any, Any]:
        """Divide by what was predicted."""
        del actual
        return hits, predicted


class Recall(_Score):
    r"""Of what is of a class, the share that was predicted to be.

    $$\text{recall} = \frac{\text{predicted and true}}{\text{true}}$$

    Args:
        classes: As in `Precision`.
        threshold: As in `Precision`.
        average: As in `Precision`.
        zero_division: As in `Precision`.
        ignore_index: As in `Precision`.
        of: As in `Precision`.

    Raises:
        RangeError: An option is out of its range, or one of classes comes without them.
        StructureError: `ignore_index` is no whole number, or comes with `threshold`.

    Examples:
        >>> Recall()(jnp.array([2.0, 1.0, -1.0, -2.0]), jnp.array([1, 0, 1, 1])).__round__(4)
        0.3333

    Source:
        scikit-learn `recall_score`.
    """

    def ratio(self, hits: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Any, Any]:
        """Divide by what is true."""
        del predicted
        return hits, actual


class F1(_Score):
    r"""The harmonic mean of precision and recall.

    $$F_1 = \frac{2 \cdot \text{predicted and true}}{\text{predicted} + \text{true}}$$

    Args:
        classes: As in `Precision`.
        threshold: As in `Precision`.
        average: As in `Precision`.
        zero_division: As in `Precision`.
        ignore_index: As in `Precision`.
        of: As in `Precision`.

    Raises:
        RangeError: An option is out of its range, or one of classes comes without them.
        StructureError: `ignore_index` is no whole number, or comes with `threshold`.

    Examples:
        >>> logits, answers = jnp.array([2.0, 1.0, -1.0]), jnp.array([1, 0, 1])
        >>> F1(threshold=0.0)(logits, answers)
        0.5

    Source:
        scikit-learn `f1_score`.
    """

    def ratio(self, hits: Numbers, predicted: Numbers, actual: Numbers) -> tuple[Any, Any]:
        """Divide twice the hits by both."""
        return 2 * hits, predicted + actual
