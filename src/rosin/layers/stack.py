# SPDX-License-Identifier: Apache-2.0
"""Layers over sequences, one after the other: what RNN, LSTM, GRU and GRUv3 are made of."""

from collections.abc import Callable, Iterator
from typing import Any

from rosin.core.types import Array, Key
from rosin.core.validation import expect_at_least, expect_between, refuse
from rosin.errors import RangeError
from rosin.functional.activations import tanh
from rosin.layers.cells import Cell, RNNCell
from rosin.layers.regularise import Dropout
from rosin.layers.sequence import Bidirectional, Recurrence, SequenceLayer, expect_states


class Stack(SequenceLayer):
    """What the recurrent layers share: their layers, one after the other."""

    layers: tuple[Any, ...]
    dropout: Dropout | None

    def run(self, x: Array, state: Any, *, mask: Array | None, reverse: bool) -> tuple[Array, Any]:
        """Map sequences without padding, and a state, to the outputs and the last state."""
        count = len(self.layers)
        states = (state,) if count == 1 else expect_states(state, count, "layer", subject=self)
        last = []
        for index, (layer, before) in enumerate(zip(self.layers, states, strict=True)):
            if index and self.dropout is not None:
                x = self.dropout(x)
            x, after = layer.run(x, before, mask=mask, reverse=reverse)
            last.append(after)
        return x, last[0] if count == 1 else tuple(last)

    def _parameter(self) -> Array | None:
        return self._cell().weight

    def _cell(self) -> Cell:
        """Return the first cell, which is built like all others."""
        first = self.layers[0]
        return first.cell if isinstance(first, Recurrence) else first.forward.cell

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        cell = self._cell()
        yield cell.in_size
        yield cell.hidden_size
        if isinstance(cell, RNNCell) and cell.activation is not tanh:
            yield cell.activation
        yield "layers", len(self.layers), 1
        yield "bidirectional", isinstance(self.layers[0], Bidirectional), False
        yield "dropout", 0.0 if self.dropout is None else self.dropout.probability, 0.0
        yield "bias", cell.bias is not None, True
        yield "trainable_state", cell.start is not None, False
        yield "return_state", self.return_state, False


def expect_stack(subject: str, in_size: int, hidden_size: int, layers: int, dropout: float) -> None:
    """Refuse sizes, a number of layers or a dropout out of range."""
    expect_at_least(1, subject=subject, in_size=in_size, hidden_size=hidden_size, layers=layers)
    expect_between(0, 1, subject=subject, dropout=dropout)
    if dropout and layers == 1:
        refuse(
            RangeError,
            subject=subject,
            expected="dropout to be 0 with one layer, since it acts between layers",
            got=f"dropout={dropout:g}",
            fix="put a Dropout behind the layer in a Chain, or pass layers=2",
        )


def stacked(
    cell: Callable[[int, Key], Cell], sizes: tuple[int, int], keys: Key, *, both: bool
) -> tuple[Any, ...]:
    """Build the layers: with both directions, each but the first has twice the inputs."""
    in_size, hidden_size = sizes
    made = []
    for index in range(0, len(keys), 2):
        size = hidden_size * (1 + both) if index else in_size
        forward = Recurrence(cell(size, keys[index]))
        made.append(Bidirectional(forward, cell(size, keys[index + 1])) if both else forward)
    return tuple(made)
