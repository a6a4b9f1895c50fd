# SPDX-License-Identifier: Apache-2.0
"""One training step, compiled: gradient, guard, update."""

import operator
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.gradient import withgradient
from rosin.core.tree import Split
from rosin.core.types import Array, PyTree
from rosin.core.validation import expect_at_least, expect_callable, expect_kind, refuse
from rosin.errors import ShapeError, StructureError, shown
from rosin.optimisers.soundness import all_sound, chosen
from rosin.optimisers.update import OptimiserState, apply, expect_opt_state, strong
from rosin.training.precision import LEAST_SCALE, LossScale, Precision, as_precision
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
        overflowed: Whether the step was left out because its gradient overflowed in float16;
            then it is not finite, and the loss scale was reduced.
    """

    model: M
    opt_state: OptimiserState
    loss: Array
    aux: Any
    finite: Array
    overflowed: Array


class Options(NamedTuple):
    """How a step is taken; part of the program.

    Args:
        precision: In which the model computes, if not as it is.
        accumulate: In how many parts the batch is taken.
    """

    precision: Precision | None = None
    accumulate: int = 1


PLAIN = Options()


def trainstep(
    loss: Callable[..., Any],
    model: M,
    batch: PyTree,
    opt_state: OptimiserState,
    *,
    precision: Precision | Literal["bf16", "f16"] | None = None,
    accumulate: int = 1,
    donate: bool = False,
) -> StepResult[M]:
    """Take one training step on one batch, compiled as a whole.

    The compiled program is kept for each loss function, structure of the model and
    shapes of the batch; changing a hyperparameter does not compile again. What the loss
    function captures, and the globals it names, are part of the program: another value
    compiles again, a change inside a value (an item of a list) goes unseen.

    If the loss, the gradient or a new value is not finite, model and optimiser state come
    back as they were, bit for bit, and `finite` is False. Only the loss scale of float16 is
    another one after its gradient has overflowed.

    Args:
        loss: Called as `loss(model, *batch)` for a tuple, else `loss(model, batch)`;
            returns a number, or a tuple `(number, aux)` whose aux holds arrays.
        model: A module, or any tree.
        batch: Arrays with the example as first axis.
        opt_state: From `setup`.
        precision: "bf16" or "f16", or a `Precision` for its options: the model is kept in
            float32 and computes in half precision. For "f16" the returned `opt_state` holds
            the loss scale.
        accumulate: Take the gradient as the mean over so many equal parts of the batch, one
            after the other: a smaller memory holds a larger batch. For a loss that is a
            mean over its batch. Each array of aux comes back with a first axis for the parts.
        donate: Let the step reuse the memory of `model` and `opt_state`, which are
            gone then.

    Raises:
        ShapeError: The batch is empty or `accumulate` does not divide it, or the loss is not
            a scalar.
        RangeError: An option is out of its range.
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
    options = as_options(precision, accumulate, subject="trainstep")
    if options.precision is not None:
        opt_state = options.precision.prepared(opt_state)
    step = _donating_step if donate else _step
    return step(SameCode(loss), options, strong(model), opt_state, batch)


def as_options(precision: Any, accumulate: Any, *, subject: str) -> Options:
    """Check the options of a step."""
    expect_at_least(1, subject=subject, accumulate=accumulate)
    return Options(as_precision(precision, subject=subject), int(accumulate))


def guarded_step(
    loss: Callable[..., Any],
    model: M,
    opt_state: OptimiserState,
    batch: PyTree,
    *,
    alive: Array | bool = True,
    options: Options = PLAIN,
) -> StepResult[M]:
    """Trace the step, to be called inside a compiled function.

    With `alive` False it changes nothing and counts as not finite.
    """
    precision = options.precision
    function = loss if precision is None else precision.applied(loss, opt_state)
    number, aux, grads, recorded = gradient_of(function, model, batch, options.accumulate)
    new_opt_state, new_model = apply(opt_state, recorded, grads, value=number)
    old, new = (model, opt_state), (new_model, new_opt_state)
    finite = jnp.isfinite(number) & all_sound(grads, old, new) & alive
    kept_model, kept_state = chosen(finite, old, new)
    overflowed: Any = False
    if precision is not None and opt_state.loss_scale is not None:
        overflowed = _overflowed(number, grads, opt_state.loss_scale) & alive
        kept_state = precision.rescaled(kept_state, finite, overflowed)
    return StepResult(kept_model, kept_state, number, aux, finite, jnp.asarray(overflowed))


def _overflowed(number: Array, grads: Any, scale: LossScale) -> Array:
    """Tell whether a smaller loss scale may mend a gradient that is not finite."""
    reducible = jnp.isfinite(number) & (scale.value > LEAST_SCALE)
    return jnp.where(all_sound(grads, (), ()), False, reducible)


def _traced_step(
    loss: SameCode, options: Options, model: M, opt_state: OptimiserState, batch: PyTree
) -> StepResult[M]:
    return guarded_step(loss.function, model, opt_state, batch, options=options)


_step = jax.jit(_traced_step, static_argnums=(0, 1))
_donating_step = jax.jit(_traced_step, static_argnums=(0, 1), donate_argnums=(2, 3))


# --- the gradient of a batch ------------------------------------------------------------


class Gradient(NamedTuple):
    """What a batch gives.

    Args:
        loss: Of the batch.
        aux: What the loss function returned beside it, or None; of a batch in parts with
            a first axis for these.
        grads: Shaped like the model.
        model: With the state that its layers recorded.
    """

    loss: Any
    aux: Any
    grads: Any
    model: Any


def gradient_of(loss: Callable[..., Any], model: Any, batch: PyTree, parts: int = 1) -> Gradient:
    """Take the gradient of a batch, one part after the other.

    Each part goes on from what the layers recorded at the one before.
    """
    if parts == 1:
        value, grads, recorded = withgradient(loss, model, *arguments_of(batch))
        number, aux = split_loss(value)
        _expect_arrays(aux)
        return Gradient(number, aux, grads, recorded)
    split = Split(model)

    def step(carry: Any, part: PyTree) -> Any:
        state, total = carry
        one = gradient_of(loss, split.join(split.trained, state), part)
        added = [one.loss, *jax.tree.leaves(one.grads)]
        total = [t + a.astype(t.dtype) / parts for t, a in zip(total, added, strict=True)]
        return (Split(one.model).rest, total), one.aux

    zeros = [jnp.zeros((), jnp.float32), *(_wide_zeros(leaf) for leaf in split.trained)]
    (state, total), aux = jax.lax.scan(step, (split.rest, zeros), cut(batch, parts))
    number, *grads = total
    return Gradient(number, aux, split.only(grads), split.join(split.trained, state))


def cut(batch: PyTree, parts: int) -> PyTree:
    """Cut the arrays of a batch into equal parts along a new first axis; repeat numbers.

    Raises:
        ShapeError: The parts would not be equal.
    """
    leaves, structure = jax.tree.flatten(batch)
    counts = {jnp.shape(leaf)[0] for leaf in leaves if jnp.ndim(leaf)}
    if len(counts) != 1 or any(count % parts for count in counts):
        listed = " and ".join(map(str, sorted(counts))) or "no"
        refuse(
            ShapeError,
            subject="accumulate",
            expected=f"a batch whose number of examples is a multiple of {parts}",
            got=f"{listed} examples",
            fix=f"choose a batch_size that {parts} divides, and leave a smaller last batch out "
            "with DataLoader(..., partial=False)",
        )

    def divided(leaf: Any) -> Array:
        shape = jnp.shape(leaf)
        if not shape:
            return jnp.broadcast_to(leaf, (parts,))
        return jnp.reshape(jnp.asarray(leaf), (parts, shape[0] // parts, *shape[1:]))

    return structure.unflatten(map(divided, leaves))


def parts_of(batch: PyTree, count: int) -> list[PyTree]:
    """List the parts of a batch."""
    if count == 1:
        return [batch]
    parts = cut(batch, count)
    return [jax.tree.map(operator.itemgetter(i), parts) for i in range(count)]


def _wide_zeros(leaf: Array) -> Array:
    """Begin a sum of arrays like this one: in float32 at least."""
    return jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32))


# --- batches ------------------------------------------------------------------------------


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
