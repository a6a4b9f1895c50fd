# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells, which take one step: RNNCell, LSTMCell, GRUCell, GRUv3Cell."""

import abc
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Activation, Array, Initialiser, Key, Shape, Static
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_callable,
    expect_kind,
    refuse,
)
from rosin.errors import StructureError
from rosin.functional.activations import tanh
from rosin.functional.initialisers import glorot_uniform
from rosin.functional.numerics import at_least_float32
from rosin.functional.recurrence import Weights, full_state, one_step, over_time
from rosin.functional.sweeps import Elman, Gru, GruV3, Lstm, Rule
from rosin.layers.inputs import as_input, made_by


class Cell(Module):
    """What the cells of Rosin share: one step, whole sequences, and a first state.

    A cell of your own needs no more than a `__call__` like this one, and `initial_state`
    if it is to start without being given a state; `Recurrence` does the rest.
    """

    weight: Array
    recurrent_weight: Array
    bias: Array | None
    start: Any

    @abc.abstractmethod
    def _recipe(self) -> tuple[Rule, Weights]:
        """Return what one step computes, and with what."""

    @property
    def in_size(self) -> int:
        """Features going in."""
        return self.weight.shape[0]

    @property
    def hidden_size(self) -> int:
        """Features of the state."""
        return self.recurrent_weight.shape[0]

    def __call__(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Map `(..., in_size)` and a state to `(..., hidden_size)` and the next state."""
        x = as_input(x, self.weight, subject=self)
        state = self.initial_state(x.shape[:-1]) if state is None else state
        rule, weights = self._recipe()
        return one_step(rule, x, weights, state, subject=self)

    def sequence(
        self, x: Array, state: Any = None, *, mask: Array | None = None, reverse: bool = False
    ) -> tuple[Array, Any]:
        """Map `(..., time, in_size)` to all outputs and the last state, in one program."""
        x = as_input(x, self.weight, subject=self)
        state = self.initial_state(x.shape[:-2]) if state is None else state
        rule, weights = self._recipe()
        return over_time(rule, x, weights, state, mask=mask, reverse=reverse, subject=self)

    def initial_state(self, batch_shape: Shape = ()) -> Any:
        """Return the state before the first step, in float32 at least."""
        rule, _ = self._recipe()
        shape = (*batch_shape, self.hidden_size)
        made = full_state(
            self.start, rule.states, shape, at_least_float32(self.weight), subject=self
        )
        return made if rule.states > 1 else made[0]

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this cell."""
        yield self.in_size
        yield self.hidden_size
        if isinstance(self, RNNCell) and self.activation is not tanh:
            yield self.activation
        yield "bias", self.bias is not None, True
        yield "trainable_state", self.start is not None, False


class RNNCell(Cell):
    r"""Take one step of a simple recurrence.

    $$h' = \sigma(x W + h U + b)$$

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        activation: The $\sigma$.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$, called as `init(key, shape)`.
        recurrent_init: Draws $U$ likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        key: Randomness for both; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(in_size, hidden_size)`, trainable.
        - recurrent_weight: `(hidden_size, hidden_size)`, trainable.
        - bias: `(hidden_size,)`, trainable, starts at zero.
        - start: `(hidden_size,)` with `trainable_state`, trainable, starts at zero.
        - call: `(..., in_size)` and a state, `(..., hidden_size)` or `(hidden_size,)`, to
          the output and the next state, both `(..., hidden_size)`.

    Raises:
        RangeError: A size is not a whole number of at least 1.
        ShapeError: The input's last axis is not `in_size`, or the state does not fit it.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> cell = RNNCell(2, 3, key=jax.random.key(0))
        >>> y, state = cell(jnp.ones((5, 2)), cell.initial_state((5,)))
        >>> y.shape, state.shape
        ((5, 3), (5, 3))

    Source:
        Elman 1990; Flux.jl `RNNCell`. PyTorch has two biases; ours is their sum.
    """

    activation: Static[Activation]

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        activation: Activation = tanh,
        *,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="RNNCell", in_size=in_size, hidden_size=hidden_size)
        expect_kind(bool, subject="RNNCell", bias=bias, trainable_state=trainable_state)
        expect_callable(subject="RNNCell", activation=activation)
        keys = jax.random.split(resolve_key(key, subject="RNNCell"))
        self.weight = _gates(init, keys[0], in_size, hidden_size, 1)
        self.recurrent_weight = _gates(recurrent_init, keys[1], hidden_size, hidden_size, 1)
        self.bias = jnp.zeros(hidden_size, self.weight.dtype) if bias else None
        self.start = jnp.zeros(hidden_size, self.weight.dtype) if trainable_state else None
        self.activation = activation

    def _recipe(self) -> tuple[Rule, Weights]:
        weights = Weights(self.weight, self.bias, (self.recurrent_weight,))
        return Elman(self.activation), weights


class LSTMCell(Cell):
    r"""Take one step of a long short-term memory.

    $$i, f, g, o = x W + h U + b, \quad
    c' = \sigma(f) c + \sigma(i) \tanh g, \quad h' = \sigma(o) \tanh c'$$

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        bias: Whether $b$ exists; `False` stores no array.
        forget_bias: First value of $b_f$. Above zero, such as 1.0, the cell remembers
            from the start.
        init: Draws $W$ gate by gate, called as `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws $U$ likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        key: Randomness for both; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(in_size, 4 * hidden_size)`, gates i, f, g, o, trainable.
        - recurrent_weight: `(hidden_size, 4 * hidden_size)`, trainable.
        - bias: `(4 * hidden_size,)`, trainable, starts at zero save for `forget_bias`.
        - start: twice `(hidden_size,)` with `trainable_state`, trainable, starts at zero.
        - call: `(..., in_size)` and a state `(h, c)`, each `(..., hidden_size)` or
          `(hidden_size,)`, to the output, which is `h`, and the next state.

    Raises:
        RangeError: A size is not a whole number of at least 1.
        StructureError: There is a `forget_bias` without a bias, or the state is no pair.
        ShapeError: The input's last axis is not `in_size`, or the state does not fit it.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> cell = LSTMCell(2, 3, key=jax.random.key(0))
        >>> y, (h, c) = cell(jnp.ones((5, 2)), cell.initial_state((5,)))
        >>> y.shape, bool((y == h).all())
        ((5, 3), True)

    Source:
        Gers, Schmidhuber & Cummins 2000, without peepholes; `forget_bias` after
        Jozefowicz et al. 2015. Flux.jl `LSTMCell`, which draws all gates in one call of
        `init`. PyTorch has two biases; ours is their sum.
    """

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        forget_bias: float = 0.0,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="LSTMCell", in_size=in_size, hidden_size=hidden_size)
        expect_kind(bool, subject="LSTMCell", bias=bias, trainable_state=trainable_state)
        _expect_forget_bias(forget_bias, bias=bias)
        keys = jax.random.split(resolve_key(key, subject="LSTMCell"))
        self.weight = _gates(init, keys[0], in_size, hidden_size, 4)
        self.recurrent_weight = _gates(recurrent_init, keys[1], hidden_size, hidden_size, 4)
        zeros = jnp.zeros(hidden_size, self.weight.dtype)
        first = jnp.concatenate([zeros, zeros + forget_bias, zeros, zeros])
        self.bias = first if bias else None
        self.start = (zeros, zeros) if trainable_state else None

    def _recipe(self) -> tuple[Rule, Weights]:
        return Lstm(), Weights(self.weight, self.bias, (self.recurrent_weight,))


class GRUCell(Cell):
    r"""Take one step of a gated recurrent unit, in the form of cuDNN.

    $$r = \sigma(x W_r + h U_r + b_r), \quad z = \sigma(x W_z + h U_z + b_z),$$
    $$n = \tanh(x W_n + b_n + r (h U_n + d)), \quad h' = (1 - z) n + z h$$

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        bias: Whether $b$ and $d$ exist; `False` stores no array.
        init: Draws $W$ gate by gate, called as `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws $U$ likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        key: Randomness for both; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(in_size, 3 * hidden_size)`, gates r, z, n, trainable.
        - recurrent_weight: `(hidden_size, 3 * hidden_size)`, trainable.
        - bias: `(3 * hidden_size,)`, trainable, starts at zero.
        - recurrent_bias: `(hidden_size,)`, the $d$, trainable, starts at zero.
        - start: `(hidden_size,)` with `trainable_state`, trainable, starts at zero.
        - call: `(..., in_size)` and a state, `(..., hidden_size)` or `(hidden_size,)`, to
          the output and the next state, both `(..., hidden_size)`.

    Raises:
        RangeError: A size is not a whole number of at least 1.
        ShapeError: The input's last axis is not `in_size`, or the state does not fit it.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> cell = GRUCell(2, 3, key=jax.random.key(0))
        >>> y, state = cell(jnp.ones((5, 2)))
        >>> y.shape, state.shape
        ((5, 3), (5, 3))

    Source:
        Cho et al. 2014, version 1 of the paper. Flux.jl `GRUCell` has no $d$ and draws
        all gates in one call of `init`. PyTorch's biases are ours with
        $b = b_{ih} + (b_{hr}, b_{hz}, 0)$ and $d = b_{hn}$.
    """

    recurrent_bias: Array | None

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="GRUCell", in_size=in_size, hidden_size=hidden_size)
        expect_kind(bool, subject="GRUCell", bias=bias, trainable_state=trainable_state)
        keys = jax.random.split(resolve_key(key, subject="GRUCell"))
        self.weight = _gates(init, keys[0], in_size, hidden_size, 3)
        self.recurrent_weight = _gates(recurrent_init, keys[1], hidden_size, hidden_size, 3)
        dtype = self.weight.dtype
        self.bias = jnp.zeros(3 * hidden_size, dtype) if bias else None
        self.recurrent_bias = jnp.zeros(hidden_size, dtype) if bias else None
        self.start = jnp.zeros(hidden_size, dtype) if trainable_state else None

    def _recipe(self) -> tuple[Rule, Weights]:
        recurrent = (self.recurrent_weight, self.recurrent_bias)
        return Gru(), Weights(self.weight, self.bias, recurrent)


class GRUv3Cell(Cell):
    r"""Take one step of a gated recurrent unit, with the reset before the product.

    $$r = \sigma(x W_r + h U_r + b_r), \quad z = \sigma(x W_z + h U_z + b_z),$$
    $$n = \tanh(x W_n + b_n + (r h) V), \quad h' = (1 - z) n + z h$$

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$ gate by gate, called as `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws $U$ and $V$ likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        key: Randomness for all; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(in_size, 3 * hidden_size)`, gates r, z, n, trainable.
        - recurrent_weight: `(hidden_size, 2 * hidden_size)`, gates r, z, trainable.
        - candidate_weight: `(hidden_size, hidden_size)`, the $V$, trainable.
        - bias: `(3 * hidden_size,)`, trainable, starts at zero.
        - start: `(hidden_size,)` with `trainable_state`, trainable, starts at zero.
        - call: `(..., in_size)` and a state, `(..., hidden_size)` or `(hidden_size,)`, to
          the output and the next state, both `(..., hidden_size)`.

    Raises:
        RangeError: A size is not a whole number of at least 1.
        ShapeError: The input's last axis is not `in_size`, or the state does not fit it.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> cell = GRUv3Cell(2, 3, key=jax.random.key(0))
        >>> y, state = cell(jnp.ones((5, 2)))
        >>> y.shape, state.shape
        ((5, 3), (5, 3))

    Source:
        Cho et al. 2014, version 3 of the paper, eqs. 5-8. Flux.jl `GRUv3Cell` stores a
        third block of $U$ that it does not use.
    """

    candidate_weight: Array

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="GRUv3Cell", in_size=in_size, hidden_size=hidden_size)
        expect_kind(bool, subject="GRUv3Cell", bias=bias, trainable_state=trainable_state)
        keys = jax.random.split(resolve_key(key, subject="GRUv3Cell"), 3)
        self.weight = _gates(init, keys[0], in_size, hidden_size, 3)
        self.recurrent_weight = _gates(recurrent_init, keys[1], hidden_size, hidden_size, 2)
        self.candidate_weight = _gates(recurrent_init, keys[2], hidden_size, hidden_size, 1)
        dtype = self.weight.dtype
        self.bias = jnp.zeros(3 * hidden_size, dtype) if bias else None
        self.start = jnp.zeros(hidden_size, dtype) if trainable_state else None

    def _recipe(self) -> tuple[Rule, Weights]:
        recurrent = (self.recurrent_weight, self.candidate_weight)
        return GruV3(), Weights(self.weight, self.bias, recurrent)


def _gates(init: Initialiser, key: Key, in_size: int, hidden_size: int, count: int) -> Array:
    """Draw the matrices of several gates, side by side."""
    expect_callable(subject="a recurrent cell", init=init)
    keys = jax.random.split(key, count)
    return jnp.concatenate([made_by(init, key, (in_size, hidden_size)) for key in keys], axis=-1)


def _expect_forget_bias(forget_bias: float, *, bias: bool) -> None:
    expect_between(
        -math.inf,
        math.inf,
        subject="LSTMCell",
        include_low=False,
        include_high=False,
        forget_bias=forget_bias,
    )
    if forget_bias and not bias:
        refuse(
            StructureError,
            subject="LSTMCell",
            expected="a bias that starts at forget_bias",
            got=f"forget_bias={forget_bias:g} with bias=False",
            fix="leave out bias=False, or leave out forget_bias",
        )
