# SPDX-License-Identifier: Apache-2.0
"""How well predictions put the yes before the no, whatever the threshold."""

import abc
import dataclasses
import math
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array
from rosin.core.validation import expect_at_least, expect_last_axis, expect_one_of, refuse
from rosin.errors import RangeError
from rosin.functional.numerics import real_array
from rosin.training.metrics.base import Metric, Of, Value
from rosin.training.metrics.labels import expect_answers, expect_classified

Average = Literal["macro", "weighted"] | None

NO, YES, LEFT_OUT, FLAWED = 0, 1, 2, 3


class Scored(NamedTuple):
    """The entries of a batch: what was predicted, and what it is."""

    scores: Array
    kinds: Array


Chunks: TypeAlias = tuple[Scored, ...]


@dataclasses.dataclass(frozen=True, repr=False)
class _Ranking(Metric):
    """A function of the whole ranking, for which every score is kept."""

    classes: int | None = None
    _: dataclasses.KW_ONLY
    average: Average = "macro"
    of: Of = None

    grows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options."""
        subject = type(self).__name__
        if self.classes is not None:
            expect_at_least(2, subject=subject, classes=self.classes)
        expect_one_of(("macro", "weighted", None), subject=subject, average=self.average)
        if self.classes is None and self.average != "macro":
            refuse(
                RangeError,
                subject=subject,
                expected="average together with classes",
                got=f"average={self.average!r} and no classes",
                fix="pass classes, or leave average out: a yes or a no has one score",
            )

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        subject = type(self).__name__
        if self.classes is None or jnp.shape(target) == jnp.shape(prediction):
            expect_answers(prediction, target, mask, subject=subject)
            if self.classes is not None:
                expect_last_axis(prediction, self.classes, subject=subject, argument="classes")
            return
        real_array(prediction, subject=subject, name="prediction")
        expect_classified(prediction, target, mask, subject=subject, classes=self.classes)

    def empty(self) -> Chunks:
        """Keep nothing."""
        return ()

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Chunks:
        """Keep the scores of a batch: five bytes for each."""
        scores, truth = jnp.asarray(prediction).astype(jnp.zeros(()).dtype), jnp.asarray(target)
        counts = jnp.ones(truth.shape, bool) if mask is None else jnp.asarray(mask)
        if truth.ndim < scores.ndim:  # labels: each class against the rest
            truth = truth[..., None] - jnp.arange(scores.shape[-1], dtype=truth.dtype)
            within = (truth >= 0).any(-1, keepdims=True) & (truth <= 0).any(-1, keepdims=True)
            truth = jnp.where(within, (truth == 0).astype(jnp.int8), FLAWED)
            counts = jnp.broadcast_to(counts[..., None], scores.shape)
            scores = _log_odds(scores)
        kinds = jnp.where(truth == 1, YES, jnp.where(truth == 0, NO, FLAWED))
        kinds = jnp.where(jnp.isnan(scores), FLAWED, kinds)
        kinds = jnp.where(counts, kinds, LEFT_OUT).astype(jnp.int8)
        columns = self.classes or 1
        return (Scored(scores.reshape(-1, columns), kinds.reshape(-1, columns)),)

    def merge(self, a: Chunks, b: Chunks) -> Chunks:
        """Keep both."""
        return (*a, *b)

    def result(self, state: Chunks) -> Value:
        """Sort on the host, and judge the ranking of each class."""
        none = np.zeros((0, self.classes or 1))
        scores = np.concatenate([none.astype(np.float32), *(np.asarray(c.scores) for c in state)])
        kinds = np.concatenate([none.astype(np.int8), *(np.asarray(c.kinds) for c in state)])
        values = np.array([self._one(x, k) for x, k in zip(scores.T, kinds.T, strict=True)])
        if self.classes is None:
            return float(values[0])
        if self.average is None:
            return values
        yes = (kinds == YES).sum(0)
        if self.average == "macro" or not yes.any():
            return float(values.mean())
        return float(values[yes > 0] @ yes[yes > 0] / yes.sum())

    def _one(self, scores: Any, kinds: Any) -> float:
        """Judge the ranking of one class."""
        scores, kinds = scores[kinds != LEFT_OUT], kinds[kinds != LEFT_OUT]
        yes, no = int((kinds == YES).sum()), int((kinds == NO).sum())
        if (kinds == FLAWED).any() or not yes:
            return float("nan")
        order = np.argsort(scores)
        scores, hits = scores[order], (kinds[order] == YES).astype(np.int64)
        starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))  # of equal scores
        found = np.add.reduceat(hits, starts)
        missed = np.diff(np.append(starts, len(scores))) - found
        return self.judged(found, missed, yes, no)

    @abc.abstractmethod
    def judged(self, found: Any, missed: Any, yes: int, no: int) -> float:
        """Judge counts of yes and no for each different score, from the lowest one up."""


def _log_odds(logits: Array) -> Array:
    """Compute the log of the odds of each class, which ranks as its probability does."""
    nothing = jnp.full_like(logits[..., :1], -jnp.inf)
    axis = logits.ndim - 1
    before = jnp.concatenate([nothing, lax.cumlogsumexp(logits, axis)[..., :-1]], axis)
    behind = lax.cumlogsumexp(logits, axis, reverse=True)[..., 1:]
    return logits - jnp.logaddexp(before, jnp.concatenate([behind, nothing], axis))


class AUROC(_Ranking):
    r"""The area under the ROC curve: the probability that a yes is scored above a no.

    $$\text{AUROC} = \frac{\#\{x_+ > x_-\} + \frac12\, \#\{x_+ = x_-\}}{n_+\, n_-}$$

    This is the Mann-Whitney statistic over all pairs, equal scores as one half, computed in
    whole numbers from all scores. They are kept until the end: five bytes for each entry,
    on the host in `evaluate`. A histogram would need less and be no more than near.

    Without a yes or without a no it is not defined, and NaN.

    Args:
        classes: How many there are, at least 2. Left out, each entry is a yes or a no.
            With labels as the target, each class is ranked against the rest by its
            probability, for which predictions are logits (of probabilities $p$ pass
            $\log p$); with a yes or a no for each class, the columns are ranked as they are.
        average: "macro" is the mean over the classes, "weighted" one in proportion to how
            often they are true, and None returns an array with a value for each. A class
            that never occurs makes the macro average NaN.
        of: As in `Metric`; returns prediction and target and, if wanted, a mask.

    Shapes:
        - prediction: `(...)`; with `classes`, `(..., classes)`.
        - target, mask: `(...)`, or with `classes` also `(..., classes)`.

    Raises:
        RangeError: An option is out of its range.

    Examples:
        >>> AUROC()(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))
        0.75

    Source:
        Hanley & McNeil 1982; scikit-learn `roc_auc_score`.
    """

    def judged(self, found: Any, missed: Any, yes: int, no: int) -> float:
        """Count the pairs in the right order twice, equal ones once."""
        below = np.cumsum(missed) - missed
        twice = int((found * (2 * below + missed)).sum())  # exact for 2**32 entries
        return twice / (2 * yes * no) if no else float("nan")


class AveragePrecision(_Ranking):
    r"""The mean precision over the thresholds at which another yes is found.

    $$\text{AP} = \sum_k (R_k - R_{k-1})\, P_k$$

    with recall $R_k$ and precision $P_k$ of the entries scored at least as high as the
    $k$-th different score. All scores are kept, as for `AUROC`. Without a yes it is not
    defined, and NaN.

    Args:
        classes: As in `AUROC`.
        average: As in `AUROC`.
        of: As in `AUROC`.

    Raises:
        RangeError: An option is out of its range.

    Examples:
        >>> AveragePrecision()(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))
        0.8333333333333333

    Source:
        scikit-learn `average_precision_score`; no interpolation.
    """

    def judged(self, found: Any, missed: Any, yes: int, no: int) -> float:
        """Go down from the highest score."""
        del no
        hits = np.cumsum(found[::-1])
        precision = hits / (hits + np.cumsum(missed[::-1]))
        return math.fsum(found[::-1] * precision) / yes
