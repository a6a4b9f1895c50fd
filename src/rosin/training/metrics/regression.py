# SPDX-License-Identifier: Apache-2.0
"""How far predicted numbers are from true ones, and how much of their spread they explain."""

import abc
import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array
from rosin.core.validation import expect_at_least, expect_last_axis
from rosin.functional.losses.shared import pair
from rosin.training.metrics.base import Metric, Of, Value
from rosin.training.metrics.means import Total, add_totals, mean_of, no_total
from rosin.training.metrics.tally import (
    Count,
    Sum,
    add_counts,
    add_sums,
    as_float,
    counted,
    no_count,
    no_sum,
    number,
    summed,
)


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class _Distance(Metric):
    """The mean of a function of the error, over all entries of all batches."""

    of: Of = None

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        pair(prediction, target, subject=type(self).__name__, mask=mask)

    def empty(self) -> Total:
        """Add nothing."""
        return no_total()

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Total:
        """Add up the errors of a batch."""
        x, y = pair(prediction, target, subject=type(self).__name__, mask=mask)
        counts = jnp.ones(x.shape, bool) if mask is None else jnp.asarray(mask)
        return Total(summed(self.error(x - y)), counted(counts), no_sum())

    def merge(self, a: Total, b: Total) -> Total:
        """Add."""
        return add_totals(a, b)

    def result(self, state: Total) -> float:
        """Divide; NaN where there is nothing."""
        return mean_of(state)

    @abc.abstractmethod
    def error(self, difference: Array) -> Array:
        """Say how bad a difference is; that of masked entries is 0."""


class _Squares(_Distance):
    """The square of the error."""

    def error(self, difference: Array) -> Array:
        """Square."""
        return difference * difference


class MSE(_Squares):
    r"""The mean squared error, over all entries of all batches.

    $$\frac{1}{n} \sum (\hat y - y)^2$$

    Args:
        of: As in `Metric`; returns prediction, target and, if wanted, a mask, all of the
            same shape.

    Examples:
        >>> MSE()(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
        2.0

    Source:
        scikit-learn `mean_squared_error`; `rs.mse` is the loss.
    """


class RMSE(_Squares):
    r"""The root of the mean squared error, over all entries of all batches.

    $$\sqrt{\frac{1}{n} \sum (\hat y - y)^2}$$

    Args:
        of: As in `MSE`.

    Examples:
        >>> RMSE()(jnp.array([1.0, 2.0]), jnp.array([2.0, 3.0]))
        1.0

    Source:
        scikit-learn `root_mean_squared_error`.
    """

    def result(self, state: Total) -> float:
        """Take the root, after the last batch."""
        return math.sqrt(mean_of(state))


class MAE(_Distance):
    r"""The mean absolute error, over all entries of all batches.

    $$\frac{1}{n} \sum |\hat y - y|$$

    Args:
        of: As in `MSE`.

    Examples:
        >>> MAE()(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
        1.0

    Source:
        scikit-learn `mean_absolute_error`; `rs.mae` is the loss.
    """

    def error(self, difference: Array) -> Array:
        """Take the amount."""
        return jnp.abs(difference)


class Moments(NamedTuple):
    """What is known of targets and errors.

    Args:
        entries: How many.
        mean: Of the targets.
        spread: The sum of their squared distances from the mean.
        errors: The sum of the squared errors.
        least: The smallest target.
        most: The largest one.
    """

    entries: Count
    mean: Sum
    spread: Sum
    errors: Sum
    least: Array
    most: Array


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class R2(Metric):
    r"""The share of the targets' variance that the predictions explain.

    $$R^2 = 1 - \frac{\sum (\hat y - y)^2}{\sum (y - \bar y)^2}$$

    1 is perfect, 0 as good as the mean of the targets, and below that it is worse. The
    spread is merged from batch to batch about their means, so that it is right for targets
    far from 0 too. Targets that are all equal have none: the result is NaN then, and with
    fewer than two targets.

    Args:
        outputs: The size of the last axis, to get a result for each entry of it, as an
            array; all entries together if left out.
        of: As in `MSE`.

    Raises:
        RangeError: `outputs` is not at least 1.

    Examples:
        >>> R2()(jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0]))
        0.5

    Source:
        Chan, Golub & LeVeque 1983, equation 2.1, for the merge. scikit-learn `r2_score`,
        which calls constant targets 0 or 1.
    """

    outputs: int | None = None
    of: Of = None

    def __post_init__(self) -> None:
        """Check the options."""
        if self.outputs is not None:
            expect_at_least(1, subject="R2", outputs=self.outputs)

    def expect(self, prediction: Any, target: Any, mask: Any = None) -> None:
        """Refuse what does not fit."""
        pair(prediction, target, subject="R2", mask=mask)
        if self.outputs is not None:
            expect_last_axis(prediction, self.outputs, subject="R2", argument="outputs")

    def empty(self) -> Moments:
        """Know nothing."""
        shape = () if self.outputs is None else (self.outputs,)
        nothing = no_sum(shape)
        infinite = jnp.full(shape, jnp.inf, jnp.zeros(()).dtype)
        return Moments(no_count(shape), nothing, nothing, nothing, infinite, -infinite)

    def measure(self, prediction: Any, target: Any, mask: Any = None) -> Moments:
        """Take the moments of a batch, about its own mean."""
        x, y = pair(prediction, target, subject="R2", mask=mask)
        dtype = jnp.zeros(()).dtype
        x, y = x.astype(dtype), y.astype(dtype)
        kept = jnp.ones(y.shape, bool) if mask is None else jnp.asarray(mask)
        axes = tuple(range(y.ndim - (self.outputs is not None)))
        count = counted(jnp.sum(kept, axes, dtype=jnp.uint32))
        n = jnp.maximum(as_float(count), 1)
        centre = jnp.sum(jnp.where(kept, y, 0), axes) / n
        away = jnp.where(kept, y - centre.reshape((1,) * len(axes) + centre.shape), 0)
        rest = summed(away, axes).high / n  # what the rounding left out of the centre
        mean = add_sums(Sum(centre, jnp.zeros_like(centre)), Sum(rest, jnp.zeros_like(rest)))
        spread = summed(away * away, axes)
        spread = add_sums(spread, Sum(-n * rest * rest, jnp.zeros_like(rest)))
        errors = summed((x - y) ** 2, axes)
        least = jnp.min(jnp.where(kept, y, jnp.inf), axes)
        most = jnp.max(jnp.where(kept, y, -jnp.inf), axes)
        return Moments(count, mean, spread, errors, least, most)

    def merge(self, a: Moments, b: Moments) -> Moments:
        """Join the moments."""
        left, right = as_float(a.entries), as_float(b.entries)
        share = right / jnp.maximum(left + right, 1)
        apart = (b.mean.high - a.mean.high) + (b.mean.low - a.mean.low)
        apart = jnp.where((left > 0) & (right > 0), apart, 0)
        zero = jnp.zeros_like(apart)
        between = Sum(apart * apart * share * left, zero)
        moved = add_sums(a.mean, Sum(apart * share, zero))
        mean = Sum(*(jnp.where(left > 0, m, o) for m, o in zip(moved, b.mean, strict=True)))
        return Moments(
            add_counts(a.entries, b.entries),
            mean,
            add_sums(add_sums(a.spread, b.spread), between),
            add_sums(a.errors, b.errors),
            jnp.minimum(a.least, b.least),
            jnp.maximum(a.most, b.most),
        )

    def result(self, state: Moments) -> Value:
        """Divide; NaN where targets have no spread."""
        defined = np.asarray(state.least) < np.asarray(state.most)
        spread = np.where(defined, number(state.spread), np.nan)
        values = 1 - number(state.errors) / spread
        return float(values) if values.ndim == 0 else values
