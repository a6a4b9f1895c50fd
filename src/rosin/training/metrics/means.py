# SPDX-License-Identifier: Apache-2.0
"""The mean of numbers over all batches."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from rosin.core.validation import expect_same_shape, refuse
from rosin.errors import DtypeError, RangeError, shown
from rosin.functional.losses.shared import known_values
from rosin.training.metrics.base import Metric, Of
from rosin.training.metrics.tally import (
    Count,
    Sum,
    add_counts,
    add_sums,
    counted,
    no_count,
    no_sum,
    number,
    summed,
    whole,
)


class Total(NamedTuple):
    """A sum of numbers, and of how many.

    Args:
        total: The sum, each number times its weight.
        entries: How many have the weight 1 because none is given.
        weight: The sum of the weights that are given.
    """

    total: Sum
    entries: Count
    weight: Sum


def no_total() -> Total:
    """Start with nothing."""
    return Total(no_sum(), no_count(), no_sum())


def add_totals(a: Total, b: Total) -> Total:
    """Add."""
    return Total(
        add_sums(a.total, b.total), add_counts(a.entries, b.entries), add_sums(a.weight, b.weight)
    )


def mean_of(state: Total) -> float:
    """Divide on the host; NaN where there is nothing."""
    share = int(whole(state.entries)) + float(number(state.weight))
    return float(number(state.total)) / share if share else float("nan")


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Mean(Metric):
    """The mean of all numbers that a function of the model returns.

    A function in place of a metric is such a mean over examples; this one takes arrays of
    any shape, and weights.

    Args:
        of: Called as `of(model, *batch)`, returns the numbers, or a tuple of the numbers
            and their weights of the same shape: floats of at least 0, or booleans, True
            where a number counts.

    Examples:
        >>> import rosin as rs
        >>> of = lambda model, x, lengths: (model(x), jnp.arange(2) < lengths[:, None])
        >>> batches = [(jnp.array([[1.0, 2.0], [6.0, 9.0]]), jnp.array([2, 1]))]
        >>> rs.evaluate(rs.Chain(rs.relu), batches, {"mean": rs.metrics.Mean(of=of)})
        {'mean': 3.0}
    """

    of: Of = None

    def expect(self, values: Any, weights: Any = None) -> None:
        """Refuse what has no mean."""
        _expect_real(values, "values")
        if weights is None:
            return
        _expect_real(weights, "weights")
        expect_same_shape(values, weights, subject="Mean", names=("values", "weights"))
        known = known_values(weights)
        if known is not None and (known < 0).any():
            refuse(
                RangeError,
                subject="Mean",
                expected="weights of at least 0",
                got=f"a least weight of {known.min()}",
                fix="pass weights that are not negative",
            )

    def empty(self) -> Total:
        """Add nothing."""
        return no_total()

    def measure(self, values: Any, weights: Any = None) -> Total:
        """Add up the numbers of a batch."""
        values = jnp.asarray(values)
        weights = jnp.ones(values.shape, bool) if weights is None else jnp.asarray(weights)
        if weights.dtype == jnp.bool_:
            kept = jnp.where(weights, values, jnp.zeros_like(values))
            return Total(summed(kept), counted(weights), no_sum())
        dtype = jnp.zeros(()).dtype
        product = values.astype(dtype) * weights.astype(dtype)
        product = jnp.where(weights == 0, 0, product)  # a weight of 0 leaves NaN out too
        return Total(summed(product), no_count(), summed(weights))

    def merge(self, a: Total, b: Total) -> Total:
        """Add."""
        return add_totals(a, b)

    def result(self, state: Total) -> float:
        """Divide; NaN where there is nothing."""
        return mean_of(state)


def _expect_real(x: Any, name: str) -> None:
    dtype = jnp.result_type(x)
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        refuse(
            DtypeError,
            subject="Mean",
            expected=f"{name} that are real numbers",
            got=shown(x),
            fix=f"pass {name}.real, or jnp.abs({name})",
        )
