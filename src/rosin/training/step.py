# SPDX-License-Identifier: Apache-2.0
"""One training step, compiled: gradient, guard, update."""

import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.gradient import withgradient
from rosin.core.types import Array, PyTree
from rosin.core.validation import expect_callable, expect_kind, refuse
from rosin.errors import ShapeError, StructureError, shown
from rosin.optimisers.update import OptimiserState, apply, expect_opt_state, is_sound, strong
from rosin.training.samecode import SameCode

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
    shapes of the batch; changing a hyperparameter does not compile again. What the loss
    function captures, and the globals it names, are part of the program: another value
    compiles again, a change inside a value (an item of a list) goes unseen.

    If the loss, the gradient or a new value is not finite, model and optimiser state come
    back as they were, bit for bit, and `finite` is False.

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
        StructureError: `opt_state` is not what `setup` returned for this model, or batch
            or aux hold something that is no array.

    Examples:
        >>> import rosin as rs
        >>> def loss(weight, x, y):
        ...     return rs.mse(x @ weight, y)
        >>> weight = jnp.zeros((2, 1))
        >>> batch = jnp.ones((4, 2)), jnp.ones((4, 1))
        >>> result = rs.trainstep(loss, weight, batch, rs.setup(rs.Descent(0.1), weight))
        >>> float(result.loss), bool(result.finite), result.model.ravel()
        (1.0, True, Array([0.2, 0.2], dtype=float32))

    Source:
        Flux.jl `trainstep!`.
    """
    expect_callable(subject="trainstep", loss=loss)
    expect_kind(bool, subject="trainstep", donate=donate)
    expect_opt_state(opt_state)
    expect_batch(batch)
    step = _donating_step if donate else _step
    return step(SameCode(loss), strong(model), opt_state, batch)


def guarded_step(
    loss: Callable[..., Any],
    model: M,
    opt_state: OptimiserState,
    batch: PyTree,
    *,
    alive: Array | bool = True,
) -> StepResult[M]:
    """Trace the step, to be called inside a compiled function.

    With `alive` False it changes nothing and counts as not finite.
    """
    value, grads, recorded = withgradient(loss, model, *arguments_of(batch))
    number, aux = split_loss(value)
    _expect_arrays(aux)
    new_opt_state, new_model = apply(opt_state, recorded, grads)
    old, structure = jax.tree.flatten((model, opt_state))
    new = jax.tree.leaves((new_model, new_opt_state))
    # Said without a negation: XLA takes minutes to compile "not (a or b or ...)" of a deep model.
    sound = [jnp.isfinite(x).all() for x in (number, *jax.tree.leaves(grads))]
    sound += [is_sound(a, b) for a, b in zip(old, new, strict=True) if a is not b]
    finite = functools.reduce(jnp.logical_and, sound, jnp.asarray(alive))
    chosen = [a if a is b else jnp.where(finite, b, a) for a, b in zip(old, new, strict=True)]
    kept_model, kept_state = structure.unflatten(chosen)
    return StepResult(kept_model, kept_state, number, aux, finite)


def _traced_step(
    loss: SameCode, model: M, opt_state: OptimiserState, batch: PyTree
) -> StepResult[M]:
    return guarded_step(loss.function, model, opt_state, batch)


_step = jax.jit(_traced_step, static_argnums=0)
_donating_step = jax.jit(_traced_step, static_argnums=0, donate_argnums=(1, 2))


def arguments_of(batch: PyTree) -> tuple[Any, ...]:
    """List what a function of a batch is called with, after the model."""
    return batch if isinstance(batch, tuple) else (batch,)


def split_loss(value: Any) -> tuple[Any, Any]:
    """Take the number apart from what came with it."""
    if not isinstance(value, tuple):
        return value, None
    return value[0], value[1] if len(value) == 2 else value[1:]


def example_count(batch: PyTree) -> int:
    """Count the examples of a batch: the length of the first axis of its first array."""
    leaves = jax.tree.leaves(batch)
    shape = jnp.shape(leaves[0]) if leaves else ()
    return shape[0] if shape else 1


def source_name(data: object) -> str:
    """Name in a message what was to give batches; many print no more than an address."""
    return shown(data) if hasattr(data, "dtype") else f"an object of class {type(data).__name__}"


def expect_batch(batch: PyTree) -> None:
    """Refuse a batch without arrays, without examples, or with anything but arrays."""
    leaves = jax.tree.leaves(batch)
    strange = [leaf for leaf in leaves if not is_numeric(leaf)]
    if strange:
        refuse(
            StructureError,
            subject="the batch",
            expected="arrays, or tuples and dicts of arrays",
            got=shown(strange[0]),
            fix="turn it into numbers before it reaches the model, or leave it out",
        )
    empty = [leaf for leaf in leaves if jnp.shape(leaf)[:1] == (0,)]
    if empty or not leaves:
        refuse(
            ShapeError,
            subject="the batch",
            expected="arrays with at least one example",
            got=shown(empty[0]) if empty else "no array",
            fix="leave empty batches out of the data",
        )


def _expect_arrays(aux: Any) -> None:
    """Refuse what cannot leave a compiled step."""
    strange = [leaf for leaf in jax.tree.leaves(aux) if not is_numeric(leaf)]
    if strange:
        refuse(
            StructureError,
            subject="trainstep",
            expected="a loss function whose aux holds arrays and numbers",
            got=shown(strange[0]),
            fix="leave it out of aux; the step is compiled, and only arrays come out of it",
        )


def is_numeric(leaf: Any) -> bool:
    """Tell whether JAX takes a value as an array."""
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.dtype.kind not in "OSUMm"  # objects, bytes, text, times
    return isinstance(leaf, (jax.Array, int, float, complex))
