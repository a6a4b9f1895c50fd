# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers, and their cells, each called with no more than its input."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import rosin as rs
from tests.layer_row import KEY, Row


class Blend(rs.Module):
    """A cell that a user writes, with a Dropout inside."""

    inner: rs.Dense
    dropout: rs.Dropout
    decay: rs.Array

    def __call__(self, x: Any, state: Any) -> Any:
        """Blend the input into the state."""
        state = self.decay * state + rs.tanh(self.inner(x))
        return self.dropout(state), state

    def initial_state(self, batch_shape: Any = ()) -> Any:
        """Begin with zeros."""
        return jnp.zeros((*batch_shape, 4), self.inner.weight.dtype)


def blend() -> Any:
    return Blend(rs.Dense(3, 4, key=KEY), rs.Dropout(0.3, key=KEY), jnp.full(4, 0.5))


def output(layer: Any, *inputs: Any) -> Any:
    return layer(*inputs)[0]


def ragged(layer: Any, x: Any) -> Any:
    return layer(x, lengths=np.arange(x.shape[0]) * 3 % 6)


SHAPES: Any = {"shapes": ((3, 5, 3),), "refused": ((3, 5, 4), (3,), ())}
STEP: Any = {"shapes": ((2, 3),), "refused": ((2, 4), ()), "call": output}

ROWS = {
    "RNNCell": Row(build=lambda: rs.RNNCell(3, 4, rs.sigmoid, key=KEY), **STEP),
    "LSTMCell": Row(build=lambda: rs.LSTMCell(3, 4, trainable_state=True, key=KEY), **STEP),
    "GRUCell": Row(build=lambda: rs.GRUCell(3, 4, key=KEY), **STEP),
    "GRUv3Cell": Row(build=lambda: rs.GRUv3Cell(3, 4, bias=False, key=KEY), **STEP),
    "RNN": Row(build=lambda: rs.RNN(3, 4, trainable_state=True, key=KEY), **SHAPES),
    "LSTM": Row(build=lambda: rs.LSTM(3, 4, key=KEY), **SHAPES),
    "RNN, stacked, both directions, ragged": Row(
        build=lambda: rs.RNN(3, 4, layers=2, bidirectional=True, dropout=0.2, key=KEY),
        call=ragged,
        stateful=True,
        per_example=False,  # each row has a length of its own
        **SHAPES,
    ),
    "GRU": Row(build=lambda: rs.GRU(3, 4, bias=False, key=KEY), **SHAPES),
    "GRUv3": Row(build=lambda: rs.GRUv3(3, 4, return_state=True, key=KEY), call=output, **SHAPES),
    "Recurrence over a user's cell": Row(
        build=lambda: rs.Recurrence(blend()), stateful=True, **SHAPES
    ),
    "Recurrence, in reverse": Row(
        build=lambda: rs.Recurrence(rs.GRUCell(3, 4, key=KEY), reverse=True), **SHAPES
    ),
    "Bidirectional": Row(
        build=lambda: rs.Bidirectional(
            rs.LSTMCell(3, 4, key=KEY), rs.GRUCell(3, 4, key=KEY), merge=jnp.multiply
        ),
        **SHAPES,
    ),
}
