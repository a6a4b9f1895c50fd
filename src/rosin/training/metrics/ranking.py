# SPDX-License-Identifier: Apache-2.0
"""How well predictions put the yes before the no, whatever the threshold."""

import abc
import dataclasses
import math
from typing import Any, ClassVar, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array
from rosin.training.metrics.base import Metric, Of
from rosin.training.metrics.labels import answers, expect_answers

NO, YES, LEFT_OUT, FLAWED = 0, 1, 2, 3


class Scored(NamedTuple):
    """The entries of a batch: what was predicted, and what it is."""

    scores: Array
    kinds: Array


Chunks: TypeAlias = tuple[Scored, ...]


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class _Ranking(Metric):
    """A function of the whole ranking, for which every score is kept."""

    of: Of = None

    grows: ClassVar[bool] = True

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        expect_answers(prediction, target, mask, subject=type(self).__name__)

    def empty(self) -> Chunks:
        """Keep nothing."""
        return ()

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Chunks:
        """Keep the scores of a batch: five bytes for each entry."""
        decided = answers(prediction, target, mask, 0.0)
        scores = jnp.asarray(prediction).astype(jnp.zeros(()).dtype)
        kinds = jnp.where(decided.target, YES, NO)
        if jnp.result_type(target) != jnp.bool_:
            known = (jnp.asarray(target) == 0) | (jnp.asarray(target) == 1)
            kinds = jnp.where(known, kinds, FLAWED)
        kinds = jnp.where(jnp.isnan(scores), FLAWED, kinds)
        kinds = jnp.where(decided.counts, kinds, LEFT_OUT).astype(jnp.int8)
        return (Scored(scores.ravel(), kinds.ravel()),)

    def merge(self, a: Chunks, b: Chunks) -> Chunks:
        """Keep both."""
        return (*a, *b)

    def result(self, state: Chunks) -> float:
        """Sort on the host, and judge the ranking."""
        kinds = np.concatenate([np.zeros(0, np.int8), *(np.asarray(c.kinds) for c in state)])
        scores = np.concatenate([np.zeros(0, np.float32), *(np.asarray(c.scores) for c in state)])
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


class AUROC(_Ranking):
    r"""The area under the ROC curve: the probability that a yes is scored above a no.

    $$\text{AUROC} = \frac{\#\{x_+ > x_-\} + \frac12\, \#\{x_+ = x_-\}}{n_+\, n_-}$$

    This is the Mann-Whitney statistic over all pairs, equal scores as one half, computed in
    whole numbers from all scores. They are kept until the end: five bytes for each entry,
    on the host in `evaluate`. A histogram would need less and be no more than near.

    Without a yes or without a no it is not defined, and NaN.

    Args:
        of: As in `Metric`; returns prediction and target of equal shape and, if wanted, a
            mask. Logits or probabilities give the same, but for the ties that a
            probability next to 0 or 1 is rounded to. Of several classes, `of` chooses one.

    Raises:
        RangeError: An answer is neither 0 nor 1.
        ShapeError: Prediction and target are of different shapes.

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
        of: As in `AUROC`.

    Raises:
        RangeError: An answer is neither 0 nor 1.
        ShapeError: Prediction and target are of different shapes.

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
