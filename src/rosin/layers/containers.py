# SPDX-License-Identifier: Apache-2.0
"""Layers made of layers: Chain, Parallel, SkipConnection."""

from collections.abc import Callable, Iterator
from typing import Any, overload

import jax

from rosin.core.display import function_name
from rosin.core.locate import is_module
from rosin.core.module import Module
from rosin.core.types import Static
from rosin.core.validation import expect_callable, refuse
from rosin.errors import ShapeError, StructureError, shown


class Function(Module):
    """A plain function that stands where a layer can stand."""

    function: Static[Callable[..., Any]]

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self.function(*args)

    def __repr__(self) -> str:
        """Show the function's name, as a container shows it."""
        return function_name(self.function)


def as_layer(layer: Any, *, subject: str) -> Any:
    """Take a layer, or any callable, as a part of a container.

    A callable that JAX knows as a tree keeps its leaves; any other becomes a `Function`.
    """
    expect_callable(subject=subject, layer=layer)
    if isinstance(layer, type):
        refuse(
            StructureError,
            subject=subject,
            expected="a layer",
            got=shown(layer),
            fix=f"build it: {layer.__name__}(...)",
        )
    if is_module(layer) or not jax.tree_util.all_leaves([layer]):
        return layer
    return Function(layer)


def bare(layer: Any) -> Any:
    """Show a part of a container as the user gave it."""
    return layer.function if isinstance(layer, Function) else layer


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
        StructureError: A part cannot be called, or named and unnamed ones are mixed.

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
        self.layers, self.names = _parts("Chain", layers, named)

    def __call__(self, *args: Any) -> Any:
        """Call the layers in order."""
        if not self.layers:
            return args[0] if len(args) == 1 else args
        first, *others = self.layers
        x = first(*args)
        for layer in others:
            x = layer(x)
        return x

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
        if isinstance(index, slice):
            return self.replace(layers=self.layers[index], names=self.names[index])
        return bare(self.layers[_place(self.names, index)])

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the parts."""
        yield from _shown_parts(self.layers, self.names)


class Parallel(Module):
    r"""Call layers side by side and connect what they return.

    $$y = c(f_1(x_1), \ldots, f_n(x_n))$$

    Args:
        connection: Called once, with the outputs of all layers as its arguments.
        layers: Modules or any callables.
        named: The same with names; give either kind, not both.

    Shapes:
        - call: one argument goes to every layer; of several, each goes to its layer. A
          single layer takes several arguments one by one.

    Raises:
        StructureError: A part cannot be called, there is none, or named and unnamed
            ones are mixed.
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

    def __init__(self, connection: Any, *layers: Any, **named: Any) -> None:
        self.connection = as_layer(connection, subject="Parallel")
        self.layers, self.names = _parts("Parallel", layers, named)
        if not self.layers:
            refuse(
                StructureError,
                subject="Parallel",
                expected="at least one layer after the connection",
                got="none",
                fix="pass layers, for example Parallel(jnp.add, Dense(2, 3), Dense(2, 3))",
            )

    def __call__(self, *args: Any) -> Any:
        """Call each layer with its argument and connect the outputs."""
        count = len(self.layers)
        if len(args) not in (1, count) and (count != 1 or not args):
            refuse(
                ShapeError,
                subject=self,
                expected=f"1 argument, or {count}, one for each layer",
                got=f"{len(args)} arguments",
                fix="pass one argument for all layers, or one for each",
            )
        if count == 1:
            return self.connection(*map(self.layers[0], args))
        inputs = args * count if len(args) == 1 else args
        pairs = zip(self.layers, inputs, strict=True)
        return self.connection(*(layer(x) for layer, x in pairs))

    def __len__(self) -> int:
        """Count the layers."""
        return len(self.layers)

    def __getitem__(self, index: int | str) -> Any:
        """Return a layer by place or name."""
        return bare(self.layers[_place(self.names, index)])

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the connection and the parts."""
        yield bare(self.connection)
        yield from _shown_parts(self.layers, self.names)


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


def _parts(
    subject: str, layers: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    if layers and named:
        refuse(
            StructureError,
            subject=subject,
            expected="all layers with names, or all without",
            got=f"{len(layers)} without and {len(named)} with",
            fix="name all of them, or none",
        )
    if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
        refuse(
            StructureError,
            subject=subject,
            expected="layers as arguments of their own",
            got=shown(layers[0])[:40],
            fix=f"unpack them: {subject}(*layers)",
        )
    chosen = layers or tuple(named.values())
    return tuple(as_layer(layer, subject=subject) for layer in chosen), tuple(named)


def _place(names: tuple[str, ...], index: int | str) -> int:
    if isinstance(index, str):
        if index not in names:
            refuse(
                StructureError,
                subject="a layer's name",
                expected=f"one of {', '.join(names) or '(the layers have no names)'}",
                got=shown(index),
                fix="use a name listed, or the layer's place as a whole number",
            )
        return names.index(index)
    return index


def _shown_parts(layers: tuple[Any, ...], names: tuple[str, ...]) -> Iterator[Any]:
    for index, layer in enumerate(layers):
        yield (names[index], bare(layer)) if names else bare(layer)
