# SPDX-License-Identifier: Apache-2.0
"""One training step, compiled: gradient, guard, update."""

import functools
import types
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from rosin.core.gradient import withgradient
from rosin.core.types import Array, PyTree
from rosin.core.validation import expect_callable, expect_kind, refuse
from rosin.errors import ShapeError, shown
from rosin.optimisers.update import OptimiserState, apply, expect_state

M = TypeVar("M")


class StepResult(NamedTuple, Generic[M]):
    """What a step returns.

    Args:
        model: The new model; the old one's values if the step was not finite.
        opt_state: The new optimiser state; likewise.
        loss: Of the batch, before the update.
        aux: What the loss function returned beside the loss, or None.
        finite: Whether loss, gradient, new parameters and new state were all finite.
    """

    model: M
    opt_state: OptimiserState
    loss: Array
    aux: Any
    finite: Array


class SameCode:
    """A function, equal to another made by the same code with the same captured values.

    A lambda written inside a loop is a new object each time; compared like this it does
    not compile again.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        plain = function.__func__ if isinstance(function, types.MethodType) else function
        if isinstance(plain, types.FunctionType):
            cells = tuple(cell.cell_contents for cell in plain.__closure__ or ())
            values = (*cells, *(plain.__defaults__ or ()), *(plain.__kwdefaults__ or {}).values())
            owner = getattr(function, "__self__", None)
            self.parts: tuple[Any, ...] = (plain.__code__, plain.__globals__, owner, *values)
        else:
            self.parts = (function,)

    def __eq__(self, other: object) -> bool:
        """Compare code and captured values by identity."""
        return (
            isinstance(other, SameCode)
            and len(self.parts) == len(other.parts)
            and all(a is b for a, b in zip(self.parts, other.parts, strict=True))
        )

    def __hash__(self) -> int:
        """Hash the code."""
        return hash(id(self.parts[0]))


def trainstep(
    loss: Callable[..., Any],
    model: M,
    batch: PyTree,
    opt_state: OptimiserState,
    *,
    donate: bool = False,
) -> StepResult[M]:
    """Take one training step on one batch, compiled as a whole.

    The compiled program is kept for each loss function, structure of the model and
    shapes of the batch; changing a hyperparameter does not compile again. If the loss,
    the gradient or a new value is not finite, model and optimiser state come back as
    they were, bit for bit, and `finite` is False.

    Args:
        loss: Called as `loss(model, *batch)` for a tuple, else `loss(model, batch)`;
            returns a number, or a tuple `(number, aux)` whose aux holds arrays.
        model: A module, or any tree.
        batch: Arrays with the example as first axis.
        opt_state: From `setup`.
        donate: Let the step reuse the memory of `model` and `opt_state`, which are
            gone then.

    Raises:
        ShapeError: The batch is empty, or the loss is not a scalar.
        StateError: No parameter reaches the loss.
        StructureError: `opt_state` is not what `setup` returned for this model.

    Examples:
        >>> import rosin as rs
        >>> model = rs.Dense(2, 1)
        >>> def loss(model, x, y):
        ...     return rs.mse(model(x), y)
        >>> result = rs.trainstep(
        ...     loss, model, (jnp.ones((4, 2)), jnp.zeros((4, 1))), rs.setup(rs.Adam(), model)
        ... )
        >>> result.loss.shape, bool(result.finite)
        ((), True)

    Source:
        Flux.jl `trainstep!`.
    """
    expect_callable(subject="trainstep", loss=loss)
    expect_kind(bool, subject="trainstep", donate=donate)
    expect_state(opt_state)
    step = _donating_step if donate else _step
    return step(SameCode(loss), model, opt_state, batch)


def guarded_step(
    loss: Callable[..., Any],
    model: M,
    opt_state: OptimiserState,
    batch: PyTree,
    *,
    alive: Array | None = None,
) -> StepResult[M]:
    """Trace the step, to be called inside a compiled function.

    With `alive` False it changes nothing and counts as not finite.
    """
    expect_examples(batch)
    arguments = batch if isinstance(batch, tuple) else (batch,)
    value, grads, recorded = withgradient(loss, model, *arguments)
    number, aux = split_loss(value)
    new_opt_state, new_model = apply(opt_state, recorded, grads)
    finite = all_finite((number, grads, new_model, new_opt_state))
    finite = finite if alive is None else finite & alive
    return StepResult(
        chosen(finite, new_model, model),
        chosen(finite, new_opt_state, opt_state),
        number,
        aux,
        finite,
    )


def _traced_step(
    loss: SameCode, model: M, opt_state: OptimiserState, batch: PyTree
) -> StepResult[M]:
    return guarded_step(loss.function, model, opt_state, batch)


_step = jax.jit(_traced_step, static_argnums=0)
_donating_step = jax.jit(_traced_step, static_argnums=0, donate_argnums=(1, 2))


def split_loss(value: Any) -> tuple[Any, Any]:
    """Take the number apart from what came with it."""
    if not isinstance(value, tuple):
        return value, None
    return value[0], value[1] if len(value) == 2 else value[1:]  # noqa: PLR2004  (number, aux)


def all_finite(tree: PyTree) -> Array:
    """Tell whether a tree holds no NaN and no infinity."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    checks = [jnp.isfinite(x).all() for x in floats]
    return functools.reduce(jnp.logical_and, checks, jnp.asarray(True))  # noqa: FBT003  an array


def chosen(condition: Array, new: M, old: M) -> M:
    """Take one of two equal trees, leaf by leaf."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(condition, a, b), new, old)


def expect_examples(batch: PyTree) -> None:
    """Refuse a batch without arrays or without examples."""
    leaves = jax.tree.leaves(batch)
    empty = [leaf for leaf in leaves if 0 in jnp.shape(leaf)]
    if empty or not leaves:
        refuse(
            ShapeError,
            subject="the batch",
            expected="arrays with at least one example",
            got=shown(empty[0]) if empty else "no array",
            fix="leave empty batches out of the data",
        )
