# SPDX-License-Identifier: Apache-2.0
"""Layers made of layers side by side, combined in a set way: Maxout, PairwiseFusion."""

import functools
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.types import Static
from rosin.core.validation import expect_at_least, expect_callable, expect_same_shape, is_whole
from rosin.layers.parts import (
    as_layer,
    bare,
    expect_parts,
    named_parts,
    one_for_each,
    part,
    shown_parts,
)


class Maxout(Module):
    r"""Call layers side by side and keep the greatest value at each place.

    $$y = \max(f_1(x), \ldots, f_n(x))$$

    Args:
        layers: Modules or any callables; or a function that makes a layer, and how many
            to make: `Maxout(lambda: Dense(2, 3), 4)`.

    Shapes:
        - call: what the layers take, to what they return, of equal shape.

    Raises:
        StructureError: A part cannot be called, or there is none.
        RangeError: The number of layers is not a whole number of at least 1.
        ShapeError: The layers return unequal shapes.

    Examples:
        >>> import rosin as rs
        >>> Maxout(lambda: rs.Dense(2, 3), 4)(jnp.ones((5, 2))).shape
        (5, 3)

    Source:
        Goodfellow et al. 2013, "Maxout networks", eq. 1; Flux.jl `Maxout`. Equal values
        share the gradient evenly.
    """

    layers: tuple[Any, ...]

    def __init__(self, *layers: Any) -> None:
        if len(layers) == 2 and (is_whole(layers[1]) or not callable(layers[1])):
            make, count = layers
            expect_callable(subject="Maxout", make=make)
            expect_at_least(1, subject="Maxout", count=count)
            layers = tuple(make() for _ in range(count))
        self.layers = tuple(as_layer(layer, subject="Maxout") for layer in layers)
        expect_parts(self.layers, subject="Maxout", example="lambda: Dense(2, 3), 4")

    def __call__(self, x: Any) -> Any:
        """Map `x` to the elementwise maximum of what the layers return."""
        outputs = [layer(x) for layer in self.layers]
        for other in outputs[1:]:
            expect_same_shape(outputs[0], other, subject=self, names=("one output", "another"))
        return functools.reduce(jnp.maximum, outputs)

    def __len__(self) -> int:
        """Count the layers."""
        return len(self.layers)

    def __getitem__(self, index: int) -> Any:
        """Return a layer by its place."""
        return bare(self.layers[index])

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the parts."""
        yield from map(bare, self.layers)


class PairwiseFusion(Module):
    r"""Call layers in order, each with its input joined to the output of the one before.

    $$y_1 = f_1(x_1), \qquad y_i = f_i(c(y_{i-1}, x_i))$$

    Args:
        connection: Called as `connection(y, x)` before each layer but the first.
        layers: Modules or any callables.
        named: The same with names; give either kind, not both.

    Shapes:
        - call: one argument for each layer, or one for all, to a tuple of what each
          layer returns. A tuple alone is taken apart, as by `Parallel`.

    Raises:
        StructureError: A part cannot be called, there is none, named and unnamed ones
            are mixed, or a name is that of a field.
        ShapeError: The number of arguments is neither one nor that of the layers.

    Examples:
        >>> import rosin as rs
        >>> fusion = PairwiseFusion(jnp.add, rs.Dense(2, 3), rs.Dense(3, 4))
        >>> [y.shape for y in fusion(jnp.ones((5, 2)), jnp.ones((5, 3)))]
        [(5, 3), (5, 4)]

    Source:
        Flux.jl `PairwiseFusion`. For a single input its documentation joins after the
        layer and its code before; this follows the code.
    """

    layers: tuple[Any, ...]
    connection: Any
    names: Static[tuple[str, ...]]

    def __init__(self, connection: Any, /, *layers: Any, **named: Any) -> None:
        self.connection = as_layer(connection, subject="PairwiseFusion")
        self.layers, self.names = named_parts(self, layers, named)
        expect_parts(
            self.layers, subject="PairwiseFusion", example="jnp.add, Dense(2, 3), Dense(3, 4)"
        )

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        """Call the layers in order; return what each returns."""
        first, *others = one_for_each(self, args)
        outputs = [self.layers[0](first)]
        for layer, x in zip(self.layers[1:], others, strict=True):
            outputs.append(layer(self.connection(outputs[-1], x)))
        return tuple(outputs)

    def __len__(self) -> int:
        """Count the layers."""
        return len(self.layers)

    def __getitem__(self, index: int | str | slice) -> Any:
        """Return a layer by place or name, or the same with fewer layers by slice."""
        return part(self, index)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the connection and the parts."""
        yield bare(self.connection)
        yield from shown_parts(self)
