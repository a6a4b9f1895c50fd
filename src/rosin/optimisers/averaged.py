# SPDX-License-Identifier: Apache-2.0
"""The model with averaged parameters, where an optimiser keeps them."""

from collections.abc import Iterator
from typing import TypeVar

from rosin.core.tree import Split
from rosin.core.types import Array
from rosin.core.validation import expect_state
from rosin.errors import shown
from rosin.optimisers.averages import ExponentialMovingAverage, ScheduleFree
from rosin.optimisers.chain import MixedPrecision, OptimiserChain
from rosin.optimisers.groups import Groups
from rosin.optimisers.rule import Progress, Rule
from rosin.optimisers.update import OptimiserState, expect_opt_state, expect_same_model

M = TypeVar("M")


def averaged(opt_state: OptimiserState, model: M) -> M:
    """Return the model with the averages that the optimiser keeps in place of parameters.

    For evaluation: `ExponentialMovingAverage` and `ScheduleFree` keep such averages.
    Parameters without one, those of another group, stay as they are.

    Args:
        opt_state: From `setup`, `update` or `train`.
        model: The model that it belongs to.

    Raises:
        StateError: The rule keeps no average.
        StructureError: `opt_state` is not what `setup` returned for this model.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> rule = rs.OptimiserChain(rs.Descent(1.0), rs.ScheduleFree(0.5))
        >>> opt_state, model = rs.setup(rule, jnp.zeros(1)), jnp.zeros(1)
        >>> for _ in range(2):
        ...     opt_state, model = rs.update(opt_state, model, -jnp.ones(1))
        >>> model, rs.averaged(opt_state, model)
        (Array([1.75], dtype=float32), Array([1.5], dtype=float32))
    """
    expect_opt_state(opt_state)
    split = Split(model)
    parameters = dict(zip(split.paths, split.trained, strict=True))
    expect_same_model(opt_state, model, parameters)
    found = dict(_averages(opt_state.rule, opt_state.state))
    expect_state(
        found,
        subject="averaged",
        expected="a rule that keeps an average of the parameters",
        got=shown(opt_state.rule),
        fix="train with rs.OptimiserChain(rule, rs.ExponentialMovingAverage())",
    )
    leaves = [
        found[path].astype(leaf.dtype) if path in found else leaf
        for path, leaf in parameters.items()
    ]
    return split.join(leaves, split.rest)


def _averages(rule: Rule, progress: Progress) -> Iterator[tuple[str, Array]]:
    """Yield the averages that a rule, or a part of it, keeps by path."""
    if isinstance(rule, (ExponentialMovingAverage, ScheduleFree)):
        yield from progress.memory.average.items()
    if isinstance(rule, MixedPrecision):
        yield from _averages(rule.rule, progress.memory.inner)
    elif isinstance(rule, (OptimiserChain, Groups)):
        for part, inner in zip(rule.rules, progress.memory, strict=True):
            yield from _averages(part, inner)
