# SPDX-License-Identifier: Apache-2.0
"""How well a model foresees a text: perplexity."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from rosin.functional.entropy import label_cross_entropy
from rosin.functional.losses.classes import expect_ignore_index
from rosin.functional.losses.shared import blank
from rosin.functional.numerics import real_array
from rosin.training.metrics.base import Metric, Of
from rosin.training.metrics.labels import expect_classified, rows_that_count
from rosin.training.metrics.means import Total, add_totals, mean_of, no_total
from rosin.training.metrics.tally import counted, no_sum, summed


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Perplexity(Metric):
    r"""The exponential of the mean cross-entropy over all tokens that count.

    $$\exp\Big(-\frac{1}{n} \sum_t \log p(y_t)\Big)$$

    A model that chooses evenly among $k$ tokens has a perplexity of $k$.

    Args:
        ignore_index: A label whose tokens do not count, such as that of padding.
        of: As in `Metric`; returns logits `(..., vocabulary)`, labels `(...)` and, if
            wanted, a mask `(...)`.

    Raises:
        StructureError: `ignore_index` is no whole number.

    Examples:
        >>> round(Perplexity(ignore_index=0)(jnp.zeros((1, 3, 8)), jnp.array([[5, 1, 0]])), 4)
        8.0

    Source:
        Jelinek et al. 1977. Averaged over tokens before the exponential, not over batches.
    """

    ignore_index: int | None = None
    of: Of = None

    def __post_init__(self) -> None:
        """Check the options."""
        expect_ignore_index(self.ignore_index, subject="Perplexity")

    def expect(self, logits: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        real_array(logits, subject="Perplexity", name="logits")
        index = self.ignore_index
        expect_classified(logits, target, mask, subject="Perplexity", ignore_index=index)

    def empty(self) -> Total:
        """Add nothing."""
        return no_total()

    def measure(self, logits: Any, target: Any, mask: Any = None) -> Total:
        """Add up the cross-entropies of a batch."""
        labels, counts = rows_that_count(jnp.asarray(target), mask, self.ignore_index)
        (x,) = blank(counts, jnp.asarray(logits, jnp.zeros(()).dtype))
        losses = jnp.where(counts, label_cross_entropy(x, labels), 0)
        return Total(summed(losses), counted(counts), no_sum())

    def merge(self, a: Total, b: Total) -> Total:
        """Add."""
        return add_totals(a, b)

    def result(self, state: Total) -> float:
        """Take the exponential, after the last batch."""
        mean = mean_of(state)
        return math.exp(mean) if mean < 709 else mean * math.inf  # exp(710) is no float
