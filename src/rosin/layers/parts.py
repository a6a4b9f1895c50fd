# SPDX-License-Identifier: Apache-2.0
"""What containers do with their parts: take them, name them, find them, show them."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from rosin.core.display import function_name
from rosin.core.locate import is_module
from rosin.core.module import Module
from rosin.core.types import Static
from rosin.core.validation import expect_callable, refuse, suggestion
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


def named_parts(
    container: Any, layers: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Take the layers that a container is given, and their names."""
    subject = type(container).__name__
    taken = [name for name in type(container).declared.names if name in named]
    if taken:
        refuse(
            StructureError,
            subject=subject,
            expected="names of layers that are no fields of the container",
            got=", ".join(taken),
            fix=f"rename the layer, for example to {taken[0]}_",
        )
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


def expect_parts(layers: tuple[Any, ...], *, subject: str, example: str) -> None:
    """Refuse a container that cannot be without layers."""
    if not layers:
        refuse(
            StructureError,
            subject=subject,
            expected="at least one layer",
            got="none",
            fix=f"pass layers, for example {subject}({example})",
        )


def part(container: Any, index: int | str | slice) -> Any:
    """Return a layer of a container by place or name, or a part of the container by slice."""
    layers, names = container.layers, container.names
    if isinstance(index, slice):
        return container.replace(layers=layers[index], names=names[index])
    if not isinstance(index, str):
        return bare(layers[index])
    if index not in names:
        refuse(
            StructureError,
            subject="a layer's name",
            expected=f"one of {', '.join(names) or '(the layers have no names)'}",
            got=shown(index),
            fix="use a name listed, or the layer's place as a whole number"
            f"{suggestion(index, names)}",
        )
    return bare(layers[names.index(index)])


def shown_parts(container: Any) -> Iterator[Any]:
    """Yield the layers of a container as arguments that build it."""
    for index, layer in enumerate(container.layers):
        yield (container.names[index], bare(layer)) if container.names else bare(layer)


def spread(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Take a tuple that is the only argument apart: what a layer before has returned."""
    return args[0] if len(args) == 1 and type(args[0]) is tuple else args


def one_for_each(container: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give each layer its argument: the only one to all, or to each its own."""
    args, count = spread(args), len(container.layers)
    if len(args) not in (1, count):
        refuse(
            ShapeError,
            subject=container,
            expected=f"1 argument, or {count}, one for each layer",
            got=f"{len(args)} arguments",
            fix="pass one argument for all layers, or one for each",
        )
    return args * count if len(args) == 1 else args
