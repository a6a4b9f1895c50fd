# SPDX-License-Identifier: Apache-2.0
"""Which class was taken for which: the confusion matrix."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array
from rosin.core.validation import expect_at_least, expect_one_of, refuse
from rosin.errors import RangeError
from rosin.training.metrics.base import Metric, Of
from rosin.training.metrics.labels import (
    answers,
    classified,
    expect_answers,
    expect_classified,
    expect_options,
)
from rosin.training.metrics.tally import Count, add_counts, counted, no_count, whole

Normalise = Literal["target", "prediction", "all"] | None


class Confusions(NamedTuple):
    """How often each class was taken for each, and whether something could not be judged."""

    counts: Count
    flawed: Array


@dataclasses.dataclass(frozen=True, repr=False)
class ConfusionMatrix(Metric):
    """How often each class was taken for each: rows are true, columns are predicted.

    Args:
        classes: How many there are, at least 2.
        threshold: For a yes or a no, with `classes=2`: above which a prediction means yes,
            0 for logits, 0.5 for probabilities. Row and column 0 are the no.
        normalise: "target" divides each row by its sum, "prediction" each column, "all"
            the whole; a sum of 0 gives NaN. None leaves whole numbers.
        ignore_index: A label whose rows do not count.
        of: As in `Metric`; returns prediction, target and, if wanted, a mask.

    Returns:
        An array `(classes, classes)` of int64, or of float64 with `normalise`. If a
        prediction is NaN or, in a compiled function, a label no class, all are NaN.

    Raises:
        RangeError: There are no two classes, or an option is out of its range.
        StructureError: `ignore_index` is no whole number, or comes with `threshold`.

    Examples:
        >>> labels, predicted = jnp.array([0, 0, 1, 2]), jnp.array([0, 1, 1, 2])
        >>> ConfusionMatrix(3)(predicted, labels)
        array([[1, 1, 0],
               [0, 1, 0],
               [0, 0, 1]])

    Source:
        scikit-learn `confusion_matrix`, whose `normalize` says "true" and "pred".
    """

    classes: int
    _: dataclasses.KW_ONLY
    threshold: float | None = None
    normalise: Normalise = None
    ignore_index: int | None = None
    of: Of = None

    def __post_init__(self) -> None:
        """Check the options."""
        subject = "ConfusionMatrix"
        expect_at_least(2, subject=subject, classes=self.classes)
        expect_options(self.threshold, self.ignore_index, subject=subject)
        options = (None, "target", "prediction", "all")
        expect_one_of(options, subject=subject, normalise=self.normalise)
        if self.threshold is not None and self.classes != 2:
            refuse(
                RangeError,
                subject=subject,
                expected="classes=2 with a threshold",
                got=f"classes={self.classes}",
                fix="leave threshold out; of several classes the largest prediction decides",
            )

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        if self.threshold is not None:
            expect_answers(prediction, target, mask, subject="ConfusionMatrix")
            return
        expect_classified(
            prediction,
            target,
            mask,
            subject="ConfusionMatrix",
            classes=self.classes,
            ignore_index=self.ignore_index,
        )

    def empty(self) -> Confusions:
        """Count nothing."""
        return Confusions(no_count((self.classes, self.classes)), jnp.zeros((), bool))

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Confusions:
        """Count the pairs of a batch."""
        if self.threshold is not None:
            decided = answers(prediction, target, mask, self.threshold)
        else:
            index = self.ignore_index
            decided = classified(prediction, target, mask, classes=self.classes, ignore_index=index)
        places = decided.target.astype(jnp.int32), decided.predicted.astype(jnp.int32)
        none = jnp.zeros((self.classes, self.classes), jnp.uint32)
        counts = none.at[places].add(decided.counts.astype(jnp.uint32))
        return Confusions(counted(counts), decided.flawed)

    def merge(self, a: Confusions, b: Confusions) -> Confusions:
        """Add the counts."""
        return Confusions(add_counts(a.counts, b.counts), a.flawed | b.flawed)

    def result(self, state: Confusions) -> np.ndarray[Any, Any]:
        """Read the counts."""
        matrix = whole(state.counts)
        if bool(state.flawed):
            return np.full(matrix.shape, np.nan)
        if self.normalise is None:
            return matrix
        axis = {"target": 1, "prediction": 0, "all": None}[self.normalise]
        totals = matrix.sum(axis=axis, keepdims=True)
        return np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals != 0)
