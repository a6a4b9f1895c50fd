# SPDX-License-Identifier: Apache-2.0
"""Layers made of layers: Chain, Parallel, SkipConnection."""

from collections.abc import Iterator
from typing import Any, overload

from rosin.core.module import Module
from rosin.core.types import Static
from rosin.core.validation import expect_kind
from rosin.layers.parts import (
    as_layer,
    bare,
    expect_parts,
    named_parts,
    one_for_each,
    part,
    shown_parts,
    spread,
)


class Chain(Module):
    r"""Call layers one after the other.

    $$y = (f_n \circ \dots \circ f_1)(x)$$

    Args:
        layers: Modules or any callables, each called with the output of the one before;
            the first may take several arguments.
        named: The same with names; give either kind, not both.

    Shapes:
        - call: what the first layer takes, to what the last one returns. An empty chain
          returns its argument.

    Raises:
        StructureError: A part cannot be called, named and unnamed ones are mixed, or a
            name is that of a field.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> model = Chain(rs.Dense(2, 3, rs.relu), rs.Dense(3, 1))
        >>> model(jnp.ones((5, 2))).shape
        (5, 1)
        >>> model[0]
        Dense(2, 3, relu)
        >>> len(Chain(first=rs.Dense(2, 3), second=rs.relu)[:1])
        1

    Source:
        Flux.jl `Chain`.
    """

    layers: tuple[Any, ...]
    names: Static[tuple[str, ...]]

    def __init__(self, *layers: Any, **named: Any) -> None:
        self.layers, self.names = named_parts(self, layers, named)

    def __call__(self, *args: Any) -> Any:
        """Call the layers in order."""
        if not self.layers:
            return args[0] if len(args) == 1 else args
        first, *others = self.layers
        x = first(*args)
        for layer in others:
            x = layer(x)
        return x

    def activations(self, *args: Any) -> tuple[Any, ...]:
        """Call the layers in order and return what each returns."""
        outputs: list[Any] = []
        for layer in self.layers:
            outputs.append(layer(*args))
            args = (outputs[-1],)
        return tuple(outputs)

    def __len__(self) -> int:
        """Count the layers."""
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        """Go through the layers."""
        return map(bare, self.layers)

    @overload
    def __getitem__(self, index: slice) -> "Chain": ...
    @overload
    def __getitem__(self, index: int | str) -> Any: ...
    def __getitem__(self, index: int | str | slice) -> Any:
        """Return a layer by place or name, or a part of the chain by slice."""
        return part(self, index)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the parts."""
        yield from shown_parts(self)


class Parallel(Module):
    r"""Call layers side by side and connect what they return.

    $$y = c(f_1(x_1), \ldots, f_n(x_n))$$

    Args:
        connection: Called once, with the outputs of all layers as its arguments.
        layers: Modules or any callables.
        named: The same with names; give either kind, not both.

    Shapes:
        - call: one argument goes to every layer; of several, each goes to its layer. A
          single layer takes several arguments one by one. A tuple alone is taken apart, so
          that in a `Chain` the layer before may return several.

    Raises:
        StructureError: A part cannot be called, there is none, named and unnamed ones
            are mixed, or a name is that of a field.
        ShapeError: The number of arguments is neither one nor that of the layers.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> two = Parallel(jnp.add, rs.Dense(2, 3), rs.Dense(2, 3))
        >>> two(jnp.ones((5, 2))).shape
        (5, 3)

    Source:
        Flux.jl `Parallel`.
    """

    layers: tuple[Any, ...]
    connection: Any
    names: Static[tuple[str, ...]]

    def __init__(self, connection: Any, /, *layers: Any, **named: Any) -> None:
        self.connection = as_layer(connection, subject="Parallel")
        self.layers, self.names = named_parts(self, layers, named)
        expect_parts(self.layers, subject="Parallel", example="jnp.add, Dense(2, 3), Dense(2, 3)")

    def __call__(self, *args: Any) -> Any:
        """Call each layer with its argument and connect the outputs."""
        if len(self.layers) == 1 and args:
            return self.connection(*map(self.layers[0], spread(args)))
        pairs = zip(self.layers, one_for_each(self, args), strict=True)
        return self.connection(*(layer(x) for layer, x in pairs))

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


class SkipConnection(Module):
    r"""Call a layer and connect its output with its input.

    $$y = c(f(x), x)$$

    Args:
        layer: A module or any callable.
        connection: Called as `connection(layer(x), x)`; `jnp.add` makes a residual block.

    Shapes:
        - call: what the layer takes, to what the connection returns.

    Raises:
        StructureError: Layer or connection cannot be called.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> SkipConnection(rs.Dense(2, 2), jnp.add)(jnp.ones((5, 2))).shape
        (5, 2)

    Source:
        Flux.jl `SkipConnection`.
    """

    layer: Any
    connection: Any

    def __init__(self, layer: Any, connection: Any) -> None:
        self.layer = as_layer(layer, subject="SkipConnection")
        self.connection = as_layer(connection, subject="SkipConnection")

    def __call__(self, x: Any) -> Any:
        """Map `x` to `connection(layer(x), x)`."""
        return self.connection(self.layer(x), x)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield layer and connection."""
        yield bare(self.layer)
        yield bare(self.connection)


def activations(chain: Chain, *args: Any) -> tuple[Any, ...]:
    """Call a chain and return what each of its layers returns, in order.

    Args:
        chain: A `Chain`.
        args: What the chain is called with.

    Raises:
        StructureError: `chain` is no `Chain`.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> model = rs.Chain(rs.Dense(2, 3, rs.relu), rs.Dense(3, 1))
        >>> [y.shape for y in rs.activations(model, jnp.ones((5, 2)))]
        [(5, 3), (5, 1)]

    Source:
        Flux.jl `activations`.
    """
    expect_kind(Chain, subject="activations", chain=chain)
    return chain.activations(*args)
