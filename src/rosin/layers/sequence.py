# SPDX-License-Identifier: Apache-2.0
"""Layers that take a cell through whole sequences: Recurrence, Bidirectional."""

import abc
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.locate import walk_modules
from rosin.core.module import Module, signature
from rosin.core.recording import Passage, buffers_of
from rosin.core.tree import slots
from rosin.core.types import Array, Static
from rosin.core.validation import expect_kind, refuse
from rosin.errors import ShapeError, StructureError, shown
from rosin.functional.sequences import valid_steps
from rosin.layers.cells import Cell
from rosin.layers.containers import as_layer, bare
from rosin.layers.inputs import as_input


class SequenceLayer(Module):
    """What layers over sequences share: the call, with padding and the state."""

    looks_inside = True
    return_state: Static[bool]

    @abc.abstractmethod
    def run(self, x: Array, state: Any, *, mask: Array | None, reverse: bool) -> tuple[Array, Any]:
        """Map sequences without padding, and a state, to the outputs and the last state."""

    @abc.abstractmethod
    def _parameter(self) -> Array | None:
        """Return a parameter whose dtype the input takes."""

    def __call__(
        self, x: Array, state: Any = None, *, lengths: Any = None, mask: Any = None
    ) -> Any:
        """Map `(..., time, features)` to outputs, or with `return_state` to a pair.

        Args:
            x: The sequences.
            state: Before the first step; the layer's own when left out.
            lengths: How many steps of each sequence count, `(...)`.
            mask: Which steps count, `(..., time)`; give lengths or a mask, not both.
        """
        x = as_input(x, self._parameter(), subject=self)
        x, mask = valid_steps(x, lengths, mask, subject=self)
        y, last = self.run(x, state, mask=mask, reverse=False)
        return (y, last) if self.return_state else y


class Recurrence(SequenceLayer):
    r"""Take a cell through sequences, step by step, as one compiled loop.

    $$y_t, s_t = f(x_t, s_{t-1})$$

    At a step that does not count (`lengths=`, `mask=`) the state stays as it is and the
    output is zero.

    Args:
        cell: Called as `cell(x, state)`, returns the output and the next state, which has
            the shapes and dtypes of the state before. Its method
            `initial_state(batch_shape)`, if it has one, makes the first state.
        reverse: Whether to begin with the last step.
        return_state: Whether to return the last state too.

    Shapes:
        - call: `(..., time, features)` and a state to `(..., time, *out)`, or with
          `return_state` to that and the last state. All arrays of a state begin with the
          batch axes; for a cell with `initial_state` they may leave these out.

    Raises:
        StructureError: The cell cannot be called, does not return a pair, or there is no
            state to begin with.
        ShapeError: A state has other shapes than the cell returns.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import rosin as rs
        >>> total = Recurrence(lambda x, state: (x + state, x + state))
        >>> total(jnp.ones((3, 1)), jnp.zeros(1)).ravel()
        Array([1., 2., 3.], dtype=float32)
        >>> Recurrence(rs.GRUCell(2, 4))(jnp.ones((5, 7, 2))).shape
        (5, 7, 4)

    Source:
        Flux.jl `Recurrence`, batch first. What a cell records, such as the key of a
        Dropout inside it, goes from step to step.
    """

    cell: Any
    reverse: Static[bool]

    def __init__(self, cell: Any, *, reverse: bool = False, return_state: bool = False) -> None:
        expect_kind(bool, subject="Recurrence", reverse=reverse, return_state=return_state)
        self.cell = as_layer(cell, subject="Recurrence")
        self.reverse = reverse
        self.return_state = return_state

    def run(self, x: Array, state: Any, *, mask: Array | None, reverse: bool) -> tuple[Array, Any]:
        """Map sequences without padding, and a state, to the outputs and the last state."""
        backward = reverse != self.reverse
        if isinstance(self.cell, Cell):
            return self.cell.sequence(x, state, mask=mask, reverse=backward)
        return self._step_by_step(x, self._first_state(state, x), mask, reverse=backward)

    def _parameter(self) -> Array | None:
        return self.cell.weight if isinstance(self.cell, Cell) else None

    def _first_state(self, state: Any, x: Array) -> Any:
        make = getattr(self.cell, "initial_state", None)
        if make is None and state is None:
            refuse(
                StructureError,
                subject=self,
                expected="a state to begin with",
                got="none, and a cell without the method initial_state",
                fix="pass one, as in layer(x, state), or define initial_state(self, batch_shape)",
            )
        if make is None:
            return jax.tree.map(jnp.asarray, state)
        batch = x.shape[:-2]
        made = jax.tree.map(jnp.asarray, make(batch))
        return made if state is None else self._in_full(state, made, batch)

    def _in_full(self, state: Any, made: Any, batch: tuple[int, ...]) -> Any:
        """Give the arrays of a state the batch axes that they leave out."""
        if jax.tree.structure(state) != jax.tree.structure(made):
            self._refuse_state(made, state)

        def full(leaf: Any, like: Array) -> Array:
            array = jnp.asarray(leaf, like.dtype)
            if array.shape not in (like.shape, like.shape[len(batch) :]):
                self._refuse_state(made, state)
            return jnp.broadcast_to(array, like.shape)

        return jax.tree.map(full, state, made)

    def _step_by_step(self, x: Array, state: Any, mask: Array | None, *, reverse: bool) -> Any:
        batch = x.shape[:-2]
        passage = Passage(self.cell)
        leaves, structure = jax.tree.flatten(self.cell)
        moving = [passage.live and slot.buffer for slot in slots(structure)]

        def rebuilt(buffers: list[Any]) -> Any:
            rest = iter(buffers)
            pairs = zip(moving, leaves, strict=True)
            return structure.unflatten([next(rest) if moves else leaf for moves, leaf in pairs])

        def moved(cell: Any) -> list[Any]:
            pairs = zip(moving, jax.tree.leaves(cell), strict=True)
            return [leaf for moves, leaf in pairs if moves]

        def step(carry: Any, inputs: Any) -> tuple[Any, Any]:
            (before, buffers), (x, keep) = carry, inputs
            (result, buffers), _ = passage.call(
                rebuilt(buffers), lambda cell: (cell(x, before), moved(cell))
            )
            y, after = self._pair(result)
            if jax.tree.map(signature, before) != jax.tree.map(signature, after):
                self._refuse_state(after, before)
            self._expect_batched((y, after), batch)
            return (_held(keep, after, before), buffers), y

        inputs = (jnp.moveaxis(x, -2, 0), None if mask is None else jnp.moveaxis(mask, -1, 0))
        carry = (state, moved(self.cell))
        (state, buffers), y = jax.lax.scan(step, carry, inputs, reverse=reverse)
        passage.absorb(buffers_of([module for _, module in walk_modules(rebuilt(buffers))]))
        y = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, len(batch)), y)
        return _held(mask, y, jax.tree.map(jnp.zeros_like, y)), state

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple) or len(result) != 2:
            refuse(
                StructureError,
                subject=self,
                expected="the cell to return a pair, the output and the next state",
                got=shown(result),
                fix="end its call with return y, state, or return state, state",
            )
        return jax.tree.map(jnp.asarray, result)

    def _refuse_state(self, wanted: Any, given: Any) -> None:
        refuse(
            ShapeError,
            subject=self,
            expected=f"a state like that of the cell, {_shapes(wanted)}",
            got=_shapes(given),
            fix="begin with a state of these shapes and dtypes, or change what the cell returns",
        )

    def _expect_batched(self, values: Any, batch: tuple[int, ...]) -> None:
        for leaf in jax.tree.leaves(values):
            if leaf.shape[: len(batch)] != batch:
                refuse(
                    ShapeError,
                    subject=self,
                    expected=f"outputs and states of the cell with the batch axes {batch} first",
                    got=shown(leaf),
                    fix="compute one value for each example, or call the cell in a loop of "
                    "your own with jax.lax.scan",
                )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield bare(self.cell)
        yield "reverse", self.reverse, False
        yield "return_state", self.return_state, False


def _shapes(tree: Any) -> str:
    leaves, structure = jax.tree.flatten(tree)
    texts = [shown(leaf) for leaf in leaves]
    return texts[0] if jax.tree.structure(0) == structure else f"({', '.join(texts)})"


def _held(keep: Array | None, new: Any, old: Any) -> Any:
    """Take the new values where a step counts; `keep` has the leading axes of them."""
    if keep is None:
        return new

    def chosen(a: Array, b: Array) -> Array:
        return jnp.where(keep.reshape(keep.shape + (1,) * (a.ndim - keep.ndim)), a, b)

    return jax.tree.map(chosen, new, old)


def concatenate(forward: Array, backward: Array) -> Array:
    """Put the features of both directions side by side."""
    return jnp.concatenate([forward, backward], axis=-1)


class Bidirectional(SequenceLayer):
    r"""Take sequences through two cells, one from each end, and merge the outputs.

    $$y_t = c(f(x_1, \ldots, x_t), g(x_T, \ldots, x_t))$$

    With `lengths=` or `mask=` the backward direction begins at each sequence's own end.

    Args:
        forward: A cell, or a layer over sequences such as `LSTM`.
        backward: The same for the other direction.
        merge: Called as `merge(forward, backward)` with the outputs of both, such as
            `jnp.add`; puts the features side by side when left out.
        return_state: Whether to return the last states too, as a pair.

    Shapes:
        - call: `(..., time, features)` to what `merge` returns for twice `(..., time, out)`,
          by default `(..., time, 2 * out)`, or with `return_state` to that and the pair of
          last states. The state that it takes is such a pair.

    Raises:
        StructureError: A part cannot be called, or a state is no pair.

    Examples:
        >>> import rosin as rs
        >>> both = Bidirectional(rs.LSTMCell(2, 3), rs.LSTMCell(2, 3))
        >>> both(jnp.ones((5, 7, 2))).shape
        (5, 7, 6)
        >>> Bidirectional(rs.GRU(2, 3), rs.GRU(2, 3), merge=jnp.add)(jnp.ones((5, 7, 2))).shape
        (5, 7, 3)

    Source:
        Schuster & Paliwal 1997.
    """

    forward: Any
    backward: Any
    merge: Any

    def __init__(
        self, forward: Any, backward: Any, *, merge: Any = concatenate, return_state: bool = False
    ) -> None:
        expect_kind(bool, subject="Bidirectional", return_state=return_state)
        self.forward = _over_sequences(forward)
        self.backward = _over_sequences(backward)
        self.merge = as_layer(merge, subject="Bidirectional")
        self.return_state = return_state

    def run(self, x: Array, state: Any, *, mask: Array | None, reverse: bool) -> tuple[Array, Any]:
        """Map sequences without padding, and a state, to the outputs and the last states."""
        first, second = expect_states(state, 2, "direction", subject=self)
        a, first = self.forward.run(x, first, mask=mask, reverse=reverse)
        b, second = self.backward.run(x, second, mask=mask, reverse=not reverse)
        y = self.merge(a, b)
        return _held(mask, y, jax.tree.map(jnp.zeros_like, y)), (first, second)

    def _parameter(self) -> Array | None:
        return self.forward._parameter()  # noqa: SLF001  of its own kind

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield _cell_of(self.forward)
        yield _cell_of(self.backward)
        yield "merge", bare(self.merge), concatenate
        yield "return_state", self.return_state, False


def _over_sequences(part: Any) -> Any:
    return part if isinstance(part, SequenceLayer) else Recurrence(part)


def _cell_of(part: Any) -> Any:
    """Show a cell as it was given, without the Recurrence around it."""
    plain = isinstance(part, Recurrence) and not part.reverse and not part.return_state
    return bare(part.cell) if plain else part


def expect_states(state: Any, count: int, what: str, *, subject: object) -> tuple[Any, ...]:
    """Return one state for each part; without a state None for each.

    Raises:
        StructureError: There are not as many states as parts.
    """
    if state is None:
        return (None,) * count
    if not isinstance(state, (tuple, list)) or len(state) != count:
        refuse(
            StructureError,
            subject=subject,
            expected=f"a state with {count} parts, one for each {what}",
            got=shown(state),
            fix="pass the state that the layer returned with return_state=True",
        )
    return tuple(state)
