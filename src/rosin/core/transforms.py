# SPDX-License-Identifier: Apache-2.0
"""Transforms that change how often a layer runs, with its recorded state carried through.

Under the bare transforms of JAX a layer is rebuilt from its leaves, so what it records
would vanish; `record` refuses there and names these.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.declare import VISIT
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.random import is_key, split_each
from rosin.core.recording import absorb, buffers_of, nested
from rosin.core.tree import slots
from rosin.core.types import PyTree, Static
from rosin.core.validation import expect_at_least, expect_callable, refuse
from rosin.errors import StateError, StructureError, shown


class Remat(Module):
    """A layer whose inner values are computed again in the backward pass; see `remat`."""

    layer: Any

    def __init__(self, layer: Any) -> None:
        _expect_module(layer, subject="remat")
        self.layer = layer

    def __call__(self, *args: Any) -> Any:
        """Call the layer under `jax.checkpoint`."""

        @jax.checkpoint
        def run(rebuilt: Any, args: tuple[Any, ...]) -> Any:
            return nested(self.layer, lambda layer: layer(*args))(rebuilt)

        result, state = run(self.layer, args)
        absorb(self.layer, state)
        return result

    def __rich_repr__(self) -> Iterator[Any]:
        """Show the layer."""
        yield self.layer


def remat(layer: Module) -> Remat:
    """Trade time for memory: forget the layer's inner values, compute them again backward.

    Args:
        layer: Any module; called with arrays.

    Examples:
        >>> import rosin as rs
        >>> rs.remat(rs.Dense(2, 3, rs.tanh))(jnp.ones((1, 2))).shape
        (1, 3)

    Source:
        Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """
    return Remat(layer)


class ScanLayers(Module):
    """Equal blocks in a row, compiled once; see `scan_layers`."""

    blocks: Any
    length: Static[int]

    def __init__(self, layers: Sequence[Module]) -> None:
        expect_at_least(1, subject="scan_layers", number_of_layers=len(layers))
        first = layers[0]
        _expect_module(first, subject="scan_layers")
        for index, layer in enumerate(layers):
            _expect_equal_build(first, layer, index)
        self.blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        self.length = len(layers)

    def __call__(self, x: Any, *args: Any) -> Any:
        """Map `x` through all blocks; `args` go to each block as they are."""

        def step(carry: Any, block: Module) -> tuple[Any, Any]:
            return nested(self.blocks, lambda layer: layer(carry, *args))(block)

        x, state = jax.lax.scan(step, x, self.blocks)
        absorb(self.blocks, state)
        return x

    def __len__(self) -> int:
        """Count the blocks."""
        return self.length

    def __getitem__(self, index: int) -> Any:
        """Return one block, with leaves of its own."""
        if not -self.length <= index < self.length:
            raise IndexError(index)
        return jax.tree.map(lambda leaf: leaf[index], self.blocks)

    def __rich_repr__(self) -> Iterator[Any]:
        """Show the blocks, if they are not stacked any further."""
        yield [self[i] for i in range(self.length)]


def scan_layers(layers: Sequence[Module]) -> ScanLayers:
    """Stack equal blocks so that they are traced and compiled once, however many there are.

    Args:
        layers: Modules of equal class, structure, shapes and static fields, each of
            which maps its input to an output of the same shape and dtype.

    Shapes:
        - blocks: the leaves of one block with a leading axis `len(layers)`.

    Raises:
        StructureError: The blocks differ.

    Examples:
        >>> import rosin as rs
        >>> deep = rs.scan_layers([rs.Dense(4, 4, rs.tanh) for _ in range(12)])
        >>> deep.blocks.weight.shape, deep(jnp.ones((2, 4))).shape
        ((12, 4, 4), (2, 4))
    """
    return ScanLayers(list(layers))


def vmap(
    f: Callable[..., Any], *, in_axes: Any = 0, out_axes: Any = 0
) -> Callable[..., Any]:
    """Map a function or a layer over an axis, as `jax.vmap`, with state carried through.

    A module among the mapped arguments (an ensemble, stacked along the axis) records for
    each member. A module that is not mapped (`in_axes` None, or `f` itself) gets random
    keys of its own for each index, and may record nothing else: there would be as many
    new values as indices.

    Args:
        f: A layer, or a function whose arguments may hold modules.
        in_axes: As for `jax.vmap`: an int, None, or a tuple with one for each argument.
        out_axes: As for `jax.vmap`.

    Raises:
        StateError: A module that is not mapped records something that is not a key.

    Examples:
        >>> import rosin as rs
        >>> layer = rs.Dense(2, 3)
        >>> rs.vmap(layer)(jnp.ones((5, 4, 2))).shape
        (5, 4, 3)
    """
    expect_callable(subject="vmap", f=f)

    def mapped(*args: Any) -> Any:
        axes = in_axes if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
        if is_module(f):
            return _mapped(lambda layer, *rest: layer(*rest), (f, *args), (None, *axes), out_axes)
        return _mapped(f, args, tuple(axes), out_axes)

    return mapped


def _mapped(
    f: Callable[..., Any], args: tuple[Any, ...], axes: tuple[Any, ...], out_axes: Any
) -> Any:
    """Call `jax.vmap` and return the modules' new state through it."""
    if len(axes) != len(args):
        refuse(
            StructureError,
            subject="vmap",
            expected=f"one entry of in_axes for each of {len(args)} arguments",
            got=f"{len(axes)} entries",
            fix="pass in_axes as an int, or as a tuple with one entry for each argument",
        )
    walked = list(walk_modules(args))
    if not any(VISIT in module.__dict__ for _, module in walked):
        return jax.vmap(f, in_axes=axes, out_axes=out_axes)(*args)
    size = _size(args, axes)
    broadcast = [axes[keys[0].idx] is None for keys, _ in walked]
    spread, spread_axes, following = _with_own_keys(args, axes, size)
    touched: list[set[str]] = [set() for _ in walked]

    def run(*inner: Any) -> tuple[Any, list[PyTree]]:
        before = buffers_of(inner)
        result, state = nested(args, lambda copy: f(*copy))(inner)
        for index, (old, new) in enumerate(zip(before, state, strict=True)):
            changed = {name for name in new if new[name] is not old[name]}
            if broadcast[index]:
                _expect_only_keys(walked[index][1], {n: old[n] for n in changed})
                touched[index], state[index] = changed, {}
        return result, state

    result, state = jax.vmap(run, in_axes=spread_axes, out_axes=(out_axes, 0))(*spread)
    for index, (_, module) in enumerate(walk_modules(following)):
        if broadcast[index]:
            state[index] = {name: module.__dict__[name] for name in touched[index]}
    absorb(args, state)
    return result


def _with_own_keys(
    args: tuple[Any, ...], axes: tuple[Any, ...], size: int
) -> tuple[list[Any], tuple[Any, ...], tuple[Any, ...]]:
    """Give every index keys of its own where an argument is not mapped.

    Returns the arguments with such keys split, their axes, and the arguments with the
    keys that come next.
    """
    spread: list[Any] = []
    spread_axes: list[Any] = []
    following: list[Any] = []
    for arg, axis in zip(args, axes, strict=True):
        leaves, structure = jax.tree.flatten(arg)
        if axis is not None:
            triples = [(leaf, None, leaf) for leaf in leaves]
        else:
            triples = [_own_keys(leaf, size) for leaf in leaves]
        spread.append(structure.unflatten([leaf for leaf, _, _ in triples]))
        inner_axes = structure.unflatten([inner for _, inner, _ in triples])
        spread_axes.append(inner_axes if axis is None else axis)
        following.append(structure.unflatten([leaf for _, _, leaf in triples]))
    return spread, tuple(spread_axes), tuple(following)


def _own_keys(leaf: Any, size: int) -> tuple[Any, int | None, Any]:
    if not is_key(leaf):
        return leaf, None, leaf
    keys = split_each(leaf, size + 1)
    return keys[:size], 0, keys[size]


def _expect_only_keys(module: Module, changed: dict[str, Any]) -> None:
    others = sorted(name for name, value in changed.items() if not is_key(value))
    if others:
        refuse(
            StateError,
            subject=module,
            expected="a module that rs.vmap does not map to record random keys only",
            got=f"a record of {', '.join(others)}, with one value for each index",
            fix="map the module too (stack its leaves, in_axes=0), or call it on the whole batch",
        )


def _size(args: tuple[Any, ...], axes: tuple[Any, ...]) -> int:
    for arg, axis in zip(args, axes, strict=True):
        for leaf in jax.tree.leaves(arg) if isinstance(axis, int) else ():
            return jnp.shape(leaf)[axis]
    return refuse(
        StructureError,
        subject="vmap",
        expected="at least one argument with an int in in_axes",
        got=shown(axes),
        fix="map at least one argument, for example in_axes=(None, 0)",
    )


def _expect_module(layer: object, *, subject: str) -> None:
    if not is_module(layer):
        refuse(
            StructureError,
            subject=subject,
            expected="a module",
            got=shown(layer),
            fix="pass a layer; for a plain function use the transform of JAX itself",
        )


def _expect_equal_build(first: Module, layer: Module, index: int) -> None:
    a, b = jax.tree.structure(first), jax.tree.structure(layer)
    shapes_a = [shown(leaf) for leaf in jax.tree.leaves(first)]
    shapes_b = [shown(leaf) for leaf in jax.tree.leaves(layer)]
    if a == b and shapes_a == shapes_b:
        return
    paths = [slot.path for slot in slots(a)] if a == b else []
    unequal = [p for p, x, y in zip(paths, shapes_a, shapes_b, strict=False) if x != y]
    refuse(
        StructureError,
        subject="scan_layers",
        expected=f"layer {index} to be built like layer 0, {first!r}"[:160],
        got=f"{layer!r}"[:80] + (f", other at {', '.join(unequal)}" if unequal else ""),
        fix="use equal blocks, with equal sizes and the same functions; put others in a Chain",
    )
