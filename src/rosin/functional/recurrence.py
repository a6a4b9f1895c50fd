# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers as functions: whole sequences, and sequences of unequal length.

A sequence is `(..., time, features)`; leading axes are batches. The state and all sums
are kept in float32 at least, outputs come in the dtype of the input.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Activation, Array, ArrayLike
from rosin.core.validation import expect_last_axis, refuse
from rosin.errors import ShapeError, StructureError, shown
from rosin.functional.activations import tanh
from rosin.functional.numerics import at_least_float32, real_array
from rosin.functional.sequences import valid_steps
from rosin.functional.sweeps import Elman, Gru, GruV3, Lstm, Rule, State, sweep


class Weights(NamedTuple):
    """What a cell computes with."""

    weight: Array
    bias: Array | None
    recurrent: tuple[Any, ...]
    """What acts on the state, as the rule names it."""


# --- the four recurrences --------------------------------------------------------------


def rnn(  # noqa: PLR0913  the arrays of the equation
    x: ArrayLike,
    weight: Array,
    recurrent_weight: Array,
    bias: Array | None = None,
    state: ArrayLike | None = None,
    *,
    activation: Activation = tanh,
    mask: Array | None = None,
    reverse: bool = False,
    subject: object = "rnn",
) -> tuple[Array, Array]:
    r"""Run a simple recurrence over sequences.

    $$h_t = \sigma(x_t W + h_{t-1} U + b)$$

    Args:
        x: The sequences.
        weight: $W$.
        recurrent_weight: $U$.
        bias: $b$.
        state: $h_0$; zeros when left out.
        activation: $\sigma$, applied to whole states.
        mask: Which steps count. At the others the state stays and the output is zero.
        reverse: Whether to begin with the last step.
        subject: What complains in the message.

    Shapes:
        - x: `(..., time, in)`; weight: `(in, hidden)`; recurrent_weight: `(hidden, hidden)`;
          bias: `(hidden,)`; state: `(..., hidden)` or `(hidden,)`; mask: `(..., time)`.
        - result: `(..., time, hidden)` and the last state, `(..., hidden)`.

    Raises:
        ShapeError: Shapes do not fit each other.
        DtypeError: The sequences are not of a real floating-point dtype.

    Examples:
        >>> y, state = rnn(jnp.ones((5, 7, 2)), jnp.ones((2, 3)), jnp.ones((3, 3)))
        >>> y.shape, state.shape
        ((5, 7, 3), (5, 3))

    Source:
        Elman 1990; Flux.jl `RNN`, batch first.
    """
    weights = Weights(weight, bias, (recurrent_weight,))
    return over_time(
        Elman(activation), x, weights, state, mask=mask, reverse=reverse, subject=subject
    )


def lstm(
    x: ArrayLike,
    weight: Array,
    recurrent_weight: Array,
    bias: Array | None = None,
    state: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
    subject: object = "lstm",
) -> tuple[Array, tuple[Array, Array]]:
    r"""Run a long short-term memory over sequences.

    $$i, f, g, o = x_t W + h_{t-1} U + b, \quad
    c_t = \sigma(f) c_{t-1} + \sigma(i) \tanh g, \quad h_t = \sigma(o) \tanh c_t$$

    Args:
        x: The sequences.
        weight: $W$, with the gates i, f, g, o side by side.
        recurrent_weight: $U$, likewise.
        bias: $b$, likewise.
        state: $(h_0, c_0)$; zeros when left out.
        mask: Which steps count. At the others the state stays and the output is zero.
        reverse: Whether to begin with the last step.
        subject: What complains in the message.

    Shapes:
        - x: `(..., time, in)`; weight: `(in, 4 * hidden)`; recurrent_weight:
          `(hidden, 4 * hidden)`; bias: `(4 * hidden,)`; both arrays of the state:
          `(..., hidden)` or `(hidden,)`; mask: `(..., time)`.
        - result: `(..., time, hidden)` and the last state, twice `(..., hidden)`.

    Raises:
        ShapeError: Shapes do not fit each other.
        StructureError: The state is no pair.
        DtypeError: The sequences are not of a real floating-point dtype.

    Examples:
        >>> y, (h, c) = lstm(jnp.ones((5, 7, 2)), jnp.ones((2, 12)), jnp.ones((3, 12)))
        >>> y.shape, c.shape
        ((5, 7, 3), (5, 3))

    Source:
        Gers, Schmidhuber & Cummins 2000, without peepholes; Flux.jl `LSTM`, batch first.
    """
    weights = Weights(weight, bias, (recurrent_weight,))
    return over_time(Lstm(), x, weights, state, mask=mask, reverse=reverse, subject=subject)


def gru(  # noqa: PLR0913  the arrays of the equation
    x: ArrayLike,
    weight: Array,
    recurrent_weight: Array,
    bias: Array | None = None,
    recurrent_bias: Array | None = None,
    state: ArrayLike | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
    subject: object = "gru",
) -> tuple[Array, Array]:
    r"""Run a gated recurrent unit over sequences, in the form of cuDNN.

    $$r = \sigma(x_t W_r + h_{t-1} U_r + b_r), \quad z = \sigma(x_t W_z + h_{t-1} U_z + b_z),$$
    $$n = \tanh(x_t W_n + b_n + r (h_{t-1} U_n + d)), \quad h_t = (1 - z) n + z h_{t-1}$$

    Args:
        x: The sequences.
        weight: $W$, with the gates r, z, n side by side.
        recurrent_weight: $U$, likewise.
        bias: $b$, likewise.
        recurrent_bias: $d$.
        state: $h_0$; zeros when left out.
        mask: Which steps count. At the others the state stays and the output is zero.
        reverse: Whether to begin with the last step.
        subject: What complains in the message.

    Shapes:
        - x: `(..., time, in)`; weight: `(in, 3 * hidden)`; recurrent_weight:
          `(hidden, 3 * hidden)`; bias: `(3 * hidden,)`; recurrent_bias: `(hidden,)`;
          state: `(..., hidden)` or `(hidden,)`; mask: `(..., time)`.
        - result: `(..., time, hidden)` and the last state, `(..., hidden)`.

    Raises:
        ShapeError: Shapes do not fit each other.
        DtypeError: The sequences are not of a real floating-point dtype.

    Examples:
        >>> y, state = gru(jnp.ones((5, 7, 2)), jnp.ones((2, 9)), jnp.ones((3, 9)))
        >>> y.shape, state.shape
        ((5, 7, 3), (5, 3))

    Source:
        Cho et al. 2014, version 1 of the paper, with the bias $d$ of cuDNN and PyTorch,
        which Flux.jl `GRU` leaves out.
    """
    weights = Weights(weight, bias, (recurrent_weight, recurrent_bias))
    return over_time(Gru(), x, weights, state, mask=mask, reverse=reverse, subject=subject)


def gruv3(  # noqa: PLR0913  the arrays of the equation
    x: ArrayLike,
    weight: Array,
    recurrent_weight: Array,
    candidate_weight: Array,
    bias: Array | None = None,
    state: ArrayLike | None = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
    subject: object = "gruv3",
) -> tuple[Array, Array]:
    r"""Run a gated recurrent unit over sequences, with the reset before the product.

    $$r = \sigma(x_t W_r + h_{t-1} U_r + b_r), \quad z = \sigma(x_t W_z + h_{t-1} U_z + b_z),$$
    $$n = \tanh(x_t W_n + b_n + (r h_{t-1}) V), \quad h_t = (1 - z) n + z h_{t-1}$$

    Args:
        x: The sequences.
        weight: $W$, with the gates r, z, n side by side.
        recurrent_weight: $U$, with the gates r, z side by side.
        candidate_weight: $V$.
        bias: $b$, with the gates r, z, n side by side.
        state: $h_0$; zeros when left out.
        mask: Which steps count. At the others the state stays and the output is zero.
        reverse: Whether to begin with the last step.
        subject: What complains in the message.

    Shapes:
        - x: `(..., time, in)`; weight: `(in, 3 * hidden)`; recurrent_weight:
          `(hidden, 2 * hidden)`; candidate_weight: `(hidden, hidden)`; bias:
          `(3 * hidden,)`; state: `(..., hidden)` or `(hidden,)`; mask: `(..., time)`.
        - result: `(..., time, hidden)` and the last state, `(..., hidden)`.

    Raises:
        ShapeError: Shapes do not fit each other.
        DtypeError: The sequences are not of a real floating-point dtype.

    Examples:
        >>> ones = jnp.ones
        >>> y, state = gruv3(ones((5, 7, 2)), ones((2, 9)), ones((3, 6)), ones((3, 3)))
        >>> y.shape, state.shape
        ((5, 7, 3), (5, 3))

    Source:
        Cho et al. 2014, version 3 of the paper, eqs. 5-8. Flux.jl `GRUv3` stores a third
        block of $U$ that it does not use.
    """
    weights = Weights(weight, bias, (recurrent_weight, candidate_weight))
    return over_time(GruV3(), x, weights, state, mask=mask, reverse=reverse, subject=subject)


# --- any rule --------------------------------------------------------------------------


def over_time(
    rule: Rule,
    x: ArrayLike,
    weights: Weights,
    state: Any = None,
    *,
    mask: Array | None = None,
    reverse: bool = False,
    subject: object,
) -> tuple[Array, Any]:
    """Run a rule over sequences `(..., time, in)`; return its outputs and the last state.

    Raises:
        ShapeError: Shapes do not fit each other.
        StructureError: The state has not as many arrays as the rule's.
        DtypeError: The sequences are not of a real floating-point dtype.
    """
    x = real_array(x, subject=subject)
    x, mask = valid_steps(x, mask=mask, subject=subject)
    hidden = _expect_fitting(x, rule, weights, subject=subject)
    *batch, time, features = x.shape
    count = math.prod(batch)
    rows = jnp.moveaxis(x.reshape(count, time, features), 1, 0)
    z = _projected(rows.reshape(time * count, features), weights)
    start = full_state(state, rule.states, (*batch, hidden), z.dtype, subject=subject)
    outputs, last = sweep(
        rule,
        reverse,
        z.reshape(time, count, z.shape[-1]),
        _wide(weights.recurrent, z.dtype),
        tuple(s.reshape(count, hidden) for s in start),
        None if mask is None else mask.reshape(count, time).T[:, :, None],
    )
    y = jnp.moveaxis(outputs, 0, 1).reshape(*batch, time, hidden).astype(x.dtype)
    if mask is not None:
        y = jnp.where(mask[..., None], y, 0)
    return y, _bare(tuple(s.reshape(*batch, hidden) for s in last))


def one_step(
    rule: Rule, x: ArrayLike, weights: Weights, state: Any = None, *, subject: object
) -> tuple[Array, Any]:
    """Run one step of a rule on `(..., in)`; return its output and the next state.

    Raises:
        ShapeError: Shapes do not fit each other.
        StructureError: The state has not as many arrays as the rule's.
        DtypeError: The input is not of a real floating-point dtype.
    """
    x = real_array(x, subject=subject)
    hidden = _expect_fitting(x, rule, weights, subject=subject)
    z = _projected(x, weights)
    shape = (*x.shape[:-1], hidden)
    start = full_state(state, rule.states, shape, z.dtype, subject=subject)
    new, _ = rule.step(start, z, _wide(weights.recurrent, z.dtype))
    return new[0].astype(x.dtype), _bare(new)


def _expect_fitting(x: Array, rule: Rule, weights: Weights, *, subject: object) -> int:
    """Hold all shapes to the units of the first recurrent weight; return their number."""
    hidden = weights.recurrent[0].shape[0] if weights.recurrent[0].ndim else 0
    wanted = rule.shapes(hidden)
    arrays = dict(zip(wanted, weights.recurrent, strict=True))
    wanted |= {"weight": (*weights.weight.shape[:1], rule.gates * hidden)}
    wanted |= {"bias": (rule.gates * hidden,)}
    arrays |= {"weight": weights.weight, "bias": weights.bias}
    for name, array in arrays.items():
        if array is not None and array.shape != wanted[name]:
            refuse(
                ShapeError,
                subject=subject,
                expected=f"{name} of shape {wanted[name]}, for {hidden} units",
                got=shown(array),
                fix="give all weights the same units, with the gates side by side",
            )
    expect_last_axis(x, weights.weight.shape[0], subject=subject)
    return hidden


def _projected(x: Array, weights: Weights) -> Array:
    """Compute `x W + b` in float32 at least."""
    wide = at_least_float32(x, weights.weight)
    z = x.astype(wide) @ weights.weight.astype(wide)
    return z if weights.bias is None else z + weights.bias.astype(wide)


def _wide(arrays: tuple[Any, ...], dtype: Any) -> tuple[Any, ...]:
    return tuple(None if array is None else array.astype(dtype) for array in arrays)


def _bare(state: State) -> Any:
    return state[0] if len(state) == 1 else state


def full_state(
    state: Any, count: int, shape: tuple[int, ...], dtype: Any, *, subject: object
) -> State:
    """Return the arrays of a state in full: one for each example; zeros where there is none.

    Raises:
        StructureError: The state has not `count` arrays.
        ShapeError: An array has neither `shape` nor only its last axis.
        DtypeError: An array is not of a real floating-point dtype.
    """
    if state is None:
        return (jnp.zeros(shape, dtype),) * count
    arrays = state if count > 1 else (state,)
    if not isinstance(arrays, (tuple, list)) or len(arrays) != count or not _are_arrays(arrays):
        refuse(
            StructureError,
            subject=subject,
            expected="the state to be " + ("one array" if count == 1 else "a pair (h, c)"),
            got=shown(state),
            fix="pass the state that the layer returned, or leave it out to start from zeros",
        )
    made = [real_array(array, subject=subject, name="the state") for array in arrays]
    for array in made:
        if array.shape not in (shape, shape[-1:]):
            refuse(
                ShapeError,
                subject=subject,
                expected=f"a state of shape {shape} or {shape[-1:]}",
                got=shown(array),
                fix="pass one state for each example, or one for all of them",
            )
    return tuple(jnp.broadcast_to(array.astype(dtype), shape) for array in made)


def _are_arrays(values: Any) -> bool:
    return all(hasattr(value, "dtype") and hasattr(value, "shape") for value in values)
