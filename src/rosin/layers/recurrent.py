# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers over whole sequences: RNN, LSTM, GRU, GRUv3."""

import jax

from rosin.core.random import resolve_key
from rosin.core.types import Activation, Initialiser, Key
from rosin.core.validation import expect_kind
from rosin.functional.activations import tanh
from rosin.functional.initialisers import glorot_uniform
from rosin.layers.cells import Cell, GRUCell, GRUv3Cell, LSTMCell, RNNCell
from rosin.layers.regularise import Dropout
from rosin.layers.stack import Stack, expect_stack, stacked


class RNN(Stack):
    r"""Take a simple recurrence through sequences.

    $$h_t = \sigma(x_t W + h_{t-1} U + b), \qquad y_t = h_t$$

    At a step that does not count (`lengths=`, `mask=`) the output is zero and the state
    stays, so the last state is that after each sequence's own last step, and the backward
    direction begins there.

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        activation: The $\sigma$.
        layers: How many of them, each over the outputs of the one before.
        bidirectional: Whether each layer runs from both ends too, and puts the outputs
            side by side.
        dropout: Probability with which, in training, a value between two layers is set to
            zero; from 0 to 1.
        bias: Whether biases exist; `False` stores no array.
        init: Draws what multiplies the input, called as
            `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws what multiplies the state likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        return_state: Whether to return the last state too.
        key: All randomness; drawn from the ambient stream when left out.

    Shapes:
        - layers: one `Recurrence` of a `RNNCell` for each layer, or one `Bidirectional`
          of two; their arrays are listed there.
        - call: `(..., time, in_size)`, and if wanted a state, `lengths=` of shape `(...)` or
          `mask=` of shape `(..., time)`, to `(..., time, hidden_size)`, or to twice as many
          features if bidirectional.
        - state: `(..., hidden_size)`, as the cell's. Of a bidirectional layer it is
          the pair of both directions, of several layers the tuple of theirs.

    Raises:
        RangeError: A size, a number of layers or a probability is out of range, a length
            is larger than the time axis, or there is dropout with one layer only.
        ShapeError: The input's last axis is not `in_size`, or state, lengths or mask do
            not fit the input.
        StructureError: The state has not one part for each layer and direction.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> RNN(2, 3)(jnp.ones((5, 7, 2))).shape
        (5, 7, 3)

    Source:
        Elman 1990; Flux.jl `RNN`, batch first, with more than one layer. PyTorch has two
        biases; ours is their sum.
    """

    def __init__(  # noqa: PLR0913  the published arguments of the layer
        self,
        in_size: int,
        hidden_size: int,
        activation: Activation = tanh,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        return_state: bool = False,
        key: Key | None = None,
    ) -> None:
        def cell(in_size: int, key: Key) -> Cell:
            return RNNCell(
                in_size,
                hidden_size,
                activation,
                bias=bias,
                init=init,
                recurrent_init=recurrent_init,
                trainable_state=trainable_state,
                key=key,
            )

        expect_stack("RNN", in_size, hidden_size, layers, dropout)
        expect_kind(bool, subject="RNN", bidirectional=bidirectional, return_state=return_state)
        keys = jax.random.split(resolve_key(key, subject="RNN"), 2 * layers + 1)
        self.layers = stacked(cell, (in_size, hidden_size), keys[1:], both=bidirectional)
        self.dropout = Dropout(dropout, key=keys[0]) if dropout else None
        self.return_state = return_state


class LSTM(Stack):
    r"""Take a long short-term memory through sequences.

    $$i, f, g, o = x_t W + h_{t-1} U + b, \quad
    c_t = \sigma(f) c_{t-1} + \sigma(i) \tanh g, \quad y_t = h_t = \sigma(o) \tanh c_t$$

    At a step that does not count (`lengths=`, `mask=`) the output is zero and the state
    stays, so the last state is that after each sequence's own last step, and the backward
    direction begins there.

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        layers: How many of them, each over the outputs of the one before.
        bidirectional: Whether each layer runs from both ends too, and puts the outputs
            side by side.
        dropout: Probability with which, in training, a value between two layers is set to
            zero; from 0 to 1.
        bias: Whether biases exist; `False` stores no array.
        forget_bias: First value of $b_f$. Above zero, such as 1.0, the cells remember
            from the start.
        init: Draws what multiplies the input, gate by gate, called as
            `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws what multiplies the state likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        return_state: Whether to return the last state too.
        key: All randomness; drawn from the ambient stream when left out.

    Shapes:
        - layers: one `Recurrence` of a `LSTMCell` for each layer, or one `Bidirectional`
          of two; their arrays are listed there.
        - call: `(..., time, in_size)`, and if wanted a state, `lengths=` of shape `(...)` or
          `mask=` of shape `(..., time)`, to `(..., time, hidden_size)`, or to twice as many
          features if bidirectional.
        - state: a pair `(h, c)`, each `(..., hidden_size)`, as the cell's. Of a bidirectional
          layer it is the pair of both directions, of several layers the tuple of theirs.

    Raises:
        RangeError: A size, a number of layers or a probability is out of range, a length
            is larger than the time axis, or there is dropout with one layer only.
        ShapeError: The input's last axis is not `in_size`, or state, lengths or mask do
            not fit the input.
        StructureError: The state has not one part for each layer and direction, or there is a
            `forget_bias` without a bias.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> layer = LSTM(2, 3, layers=2, bidirectional=True, dropout=0.1)
        >>> layer(jnp.ones((5, 7, 2)), lengths=[7, 3, 1, 7, 0]).shape
        (5, 7, 6)

    Source:
        Gers, Schmidhuber & Cummins 2000, without peepholes; `forget_bias` after
        Jozefowicz et al. 2015. Flux.jl `LSTM`, batch first, with more than one layer.
        PyTorch's arrays, of which it has two biases, are ours with
        `weight = weight_ih.T`, `recurrent_weight = weight_hh.T`, `bias = bias_ih + bias_hh`.
    """

    def __init__(  # noqa: PLR0913  the published arguments of the layer
        self,
        in_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        forget_bias: float = 0.0,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        return_state: bool = False,
        key: Key | None = None,
    ) -> None:
        def cell(in_size: int, key: Key) -> Cell:
            return LSTMCell(
                in_size,
                hidden_size,
                forget_bias=forget_bias,
                bias=bias,
                init=init,
                recurrent_init=recurrent_init,
                trainable_state=trainable_state,
                key=key,
            )

        expect_stack("LSTM", in_size, hidden_size, layers, dropout)
        expect_kind(bool, subject="LSTM", bidirectional=bidirectional, return_state=return_state)
        keys = jax.random.split(resolve_key(key, subject="LSTM"), 2 * layers + 1)
        self.layers = stacked(cell, (in_size, hidden_size), keys[1:], both=bidirectional)
        self.dropout = Dropout(dropout, key=keys[0]) if dropout else None
        self.return_state = return_state


class GRU(Stack):
    r"""Take a gated recurrent unit, in the form of cuDNN, through sequences.

    $$r = \sigma(x_t W_r + h_{t-1} U_r + b_r), \quad z = \sigma(x_t W_z + h_{t-1} U_z + b_z),$$
    $$n = \tanh(x_t W_n + b_n + r (h_{t-1} U_n + d)), \quad
    y_t = h_t = (1 - z) n + z h_{t-1}$$

    At a step that does not count (`lengths=`, `mask=`) the output is zero and the state
    stays, so the last state is that after each sequence's own last step, and the backward
    direction begins there.

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        layers: How many of them, each over the outputs of the one before.
        bidirectional: Whether each layer runs from both ends too, and puts the outputs
            side by side.
        dropout: Probability with which, in training, a value between two layers is set to
            zero; from 0 to 1.
        bias: Whether biases exist; `False` stores no array.
        init: Draws what multiplies the input, gate by gate, called as
            `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws what multiplies the state likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        return_state: Whether to return the last state too.
        key: All randomness; drawn from the ambient stream when left out.

    Shapes:
        - layers: one `Recurrence` of a `GRUCell` for each layer, or one `Bidirectional`
          of two; their arrays are listed there.
        - call: `(..., time, in_size)`, and if wanted a state, `lengths=` of shape `(...)` or
          `mask=` of shape `(..., time)`, to `(..., time, hidden_size)`, or to twice as many
          features if bidirectional.
        - state: `(..., hidden_size)`, as the cell's. Of a bidirectional layer it is
          the pair of both directions, of several layers the tuple of theirs.

    Raises:
        RangeError: A size, a number of layers or a probability is out of range, a length
            is larger than the time axis, or there is dropout with one layer only.
        ShapeError: The input's last axis is not `in_size`, or state, lengths or mask do
            not fit the input.
        StructureError: The state has not one part for each layer and direction.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> y, state = GRU(2, 3, return_state=True)(jnp.ones((5, 7, 2)))
        >>> y.shape, state.shape
        ((5, 7, 3), (5, 3))

    Source:
        Cho et al. 2014, version 1 of the paper. Flux.jl `GRU`, batch first, with the bias
        $d$ and more than one layer. PyTorch's arrays are ours with
        `weight = weight_ih.T`, `recurrent_weight = weight_hh.T`, `recurrent_bias` the last
        third of `bias_hh`, and `bias = bias_ih + bias_hh` with that third left out.
    """

    def __init__(  # noqa: PLR0913  the published arguments of the layer
        self,
        in_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        return_state: bool = False,
        key: Key | None = None,
    ) -> None:
        def cell(in_size: int, key: Key) -> Cell:
            return GRUCell(
                in_size,
                hidden_size,
                bias=bias,
                init=init,
                recurrent_init=recurrent_init,
                trainable_state=trainable_state,
                key=key,
            )

        expect_stack("GRU", in_size, hidden_size, layers, dropout)
        expect_kind(bool, subject="GRU", bidirectional=bidirectional, return_state=return_state)
        keys = jax.random.split(resolve_key(key, subject="GRU"), 2 * layers + 1)
        self.layers = stacked(cell, (in_size, hidden_size), keys[1:], both=bidirectional)
        self.dropout = Dropout(dropout, key=keys[0]) if dropout else None
        self.return_state = return_state


class GRUv3(Stack):
    r"""Take a gated recurrent unit with the reset before the product through sequences.

    $$r = \sigma(x_t W_r + h_{t-1} U_r + b_r), \quad z = \sigma(x_t W_z + h_{t-1} U_z + b_z),$$
    $$n = \tanh(x_t W_n + b_n + (r h_{t-1}) V), \quad y_t = h_t = (1 - z) n + z h_{t-1}$$

    At a step that does not count (`lengths=`, `mask=`) the output is zero and the state
    stays, so the last state is that after each sequence's own last step, and the backward
    direction begins there.

    Args:
        in_size: Features going in; at least 1.
        hidden_size: Features of the state; at least 1.
        layers: How many of them, each over the outputs of the one before.
        bidirectional: Whether each layer runs from both ends too, and puts the outputs
            side by side.
        dropout: Probability with which, in training, a value between two layers is set to
            zero; from 0 to 1.
        bias: Whether biases exist; `False` stores no array.
        init: Draws what multiplies the input, gate by gate, called as
            `init(key, (in_size, hidden_size))`.
        recurrent_init: Draws what multiplies the state likewise.
        trainable_state: Whether the state before the first step is a parameter; else it
            is zero.
        return_state: Whether to return the last state too.
        key: All randomness; drawn from the ambient stream when left out.

    Shapes:
        - layers: one `Recurrence` of a `GRUv3Cell` for each layer, or one `Bidirectional`
          of two; their arrays are listed there.
        - call: `(..., time, in_size)`, and if wanted a state, `lengths=` of shape `(...)` or
          `mask=` of shape `(..., time)`, to `(..., time, hidden_size)`, or to twice as many
          features if bidirectional.
        - state: `(..., hidden_size)`, as the cell's. Of a bidirectional layer it is
          the pair of both directions, of several layers the tuple of theirs.

    Raises:
        RangeError: A size, a number of layers or a probability is out of range, a length
            is larger than the time axis, or there is dropout with one layer only.
        ShapeError: The input's last axis is not `in_size`, or state, lengths or mask do
            not fit the input.
        StructureError: The state has not one part for each layer and direction.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> GRUv3(2, 3)(jnp.ones((5, 7, 2))).shape
        (5, 7, 3)

    Source:
        Cho et al. 2014, version 3 of the paper, eqs. 5-8. Flux.jl `GRUv3`, batch first,
        with more than one layer and without the block of $U$ that is never used.
    """

    def __init__(  # noqa: PLR0913  the published arguments of the layer
        self,
        in_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        recurrent_init: Initialiser = glorot_uniform,
        trainable_state: bool = False,
        return_state: bool = False,
        key: Key | None = None,
    ) -> None:
        def cell(in_size: int, key: Key) -> Cell:
            return GRUv3Cell(
                in_size,
                hidden_size,
                bias=bias,
                init=init,
                recurrent_init=recurrent_init,
                trainable_state=trainable_state,
                key=key,
            )

        expect_stack("GRUv3", in_size, hidden_size, layers, dropout)
        expect_kind(bool, subject="GRUv3", bidirectional=bidirectional, return_state=return_state)
        keys = jax.random.split(resolve_key(key, subject="GRUv3"), 2 * layers + 1)
        self.layers = stacked(cell, (in_size, hidden_size), keys[1:], both=bidirectional)
        self.dropout = Dropout(dropout, key=keys[0]) if dropout else None
        self.return_state = return_state
