# SPDX-License-Identifier: Apache-2.0
"""Transforms that change how often a layer runs, with its recorded state carried through.

Under the bare transforms of JAX a layer is rebuilt from its leaves, so what it records
would vanish; `record` refuses there and names these.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module, signature
from rosin.core.random import is_key, split_each
from rosin.core.recording import Passage, buffers_of
from rosin.core.sharing import expect_settled
from rosin.core.slots import describe, slots
from rosin.core.types import PyTree, Static
from rosin.core.validation import expect_at_least, expect_callable, is_whole, refuse
from rosin.errors import ShapeError, StateError, StructureError, shown


class Remat(Module):
    """A layer whose inner values are computed again in the backward pass; see `remat`."""

    layer: Any

    def __init__(self, layer: Any) -> None:
        _expect_module(layer, subject="remat")
        self.layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer under `jax.checkpoint`."""
        leaves, structure = jax.tree.flatten((args, kwargs))
        arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
        passage = Passage(self.layer)

        @jax.checkpoint
        def run(rebuilt: Any, arrays: list[Any]) -> Any:
            pairs = zip(arrays, leaves, strict=True)
            inputs = [leaf if array is None else array for array, leaf in pairs]
            args, kwargs = structure.unflatten(inputs)
            return passage.call(rebuilt, lambda layer: layer(*args, **kwargs))

        result, state = run(self.layer, arrays)
        passage.absorb(state)
        return result

    def __rich_repr__(self) -> Iterator[Any]:
        """Show the layer."""
        yield self.layer


def remat(layer: Module) -> Remat:
    """Trade time for memory: forget the layer's inner values, compute them again backward.

    Args:
        layer: Any module. Of its arguments, what is no array stays as it is.

    Raises:
        StructureError: `layer` is no module.

    Examples:
        >>> import rosin as rs
        >>> rs.remat(rs.Dense(2, 3, rs.tanh))(jnp.ones((1, 2))).shape
        (1, 3)

    Source:
        Chen et al. 2016, "Training deep nets with sublinear memory cost".
    """
    return Remat(layer)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


class ScanLayers(Module):
    """Equal blocks in a row, compiled once; see `scan_layers`."""

    blocks: Any
    length: Static[int]

    def __init__(self, layers: Sequence[Module]) -> None:
        expect_at_least(1, subject="scan_layers", number_of_layers=len(layers))
        for layer in layers:
            _expect_module(layer, subject="scan_layers")
        expect_settled(tuple(layers), subject="scan_layers")
        for index, layer in enumerate(layers):
            _expect_equal_build(layers[0], layer, index)
        self.blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        self.length = len(layers)

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Map `x` through all blocks; the other arguments go to each block as they are."""
        passage = Passage(self.blocks)

        def step(carry: Any, rebuilt: Any) -> tuple[Any, Any]:
            result, state = passage.call(rebuilt, lambda block: block(carry, *args, **kwargs))
            self._expect_alike(carry, result)
            return result, state

        x = jax.tree.map(jnp.asarray, x)
        x, state = jax.lax.scan(step, x, self.blocks)
        passage.absorb(state)
        return x

    def _expect_alike(self, before: Any, after: Any) -> None:
        if jax.tree.map(signature, before) != jax.tree.map(signature, after):
            refuse(
                ShapeError,
                subject=self,
                expected=f"blocks that return what they take, {shown(before)}",
                got=shown(after),
                fix="use blocks whose output has the shape and dtype of their input",
            )

    def __len__(self) -> int:
        """Count the blocks."""
        return self.length

    def __getitem__(self, index: int) -> Any:
        """Return one block, with leaves of its own."""
        place = operator.index(index)
        if not -self.length <= place < self.length:
            raise IndexError(place)
        return jax.tree.map(lambda leaf: leaf[place], self.blocks)

    def __rich_repr__(self) -> Iterator[Any]:
        """Show one block and their number."""
        yield one_of(self.blocks)
        yield "length", self.length


def one_of(blocks: Any) -> Any:
    """Return what is stacked as one block, without its values."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), blocks)


def scan_layers(layers: Sequence[Module]) -> ScanLayers:
    """Stack equal blocks so that they are traced and compiled once, however many there are.

    Args:
        layers: Modules of equal class, structure, shapes and static fields, each of
            which maps its input to an output of the same shape and dtype.

    Shapes:
        - blocks: the leaves of one block with a leading axis `len(layers)`.

    Raises:
        RangeError: There is no layer.
        StructureError: The blocks differ, or one layer is shared between them.

    Examples:
        >>> import rosin as rs
        >>> deep = rs.scan_layers([rs.Dense(4, 4, rs.tanh) for _ in range(12)])
        >>> deep.blocks.weight.shape, deep(jnp.ones((2, 4))).shape
        ((12, 4, 4), (2, 4))
    """
    return ScanLayers(list(layers))


# --- vmap -------------------------------------------------------------------------------


class Vmap(Module):
    """A layer that is mapped over an axis of its arguments; see `vmap`."""

    layer: Any
    in_axes: Static[Any]
    out_axes: Static[Any]

    def __call__(self, *args: Any) -> Any:
        """Call the layer for each index."""
        axes = _expect_axes(self.in_axes, args)
        return _mapped(_called, (self.layer, *args), (None, *axes), self.out_axes)

    def __rich_repr__(self) -> Iterator[Any]:
        """Show the layer, and axes other than the first."""
        yield self.layer
        yield "in_axes", self.in_axes, 0
        yield "out_axes", self.out_axes, 0


def _called(layer: Callable[..., Any], *args: Any) -> Any:
    return layer(*args)


def vmap(f: Callable[..., Any], *, in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Map a layer or a function over an axis, as `jax.vmap`, with state carried through.

    A module among the mapped arguments (an ensemble, stacked along the axis) records for
    each member. A module that is not mapped (`in_axes` None, or `f` itself) gets random
    keys of its own for each index, and may record nothing else: there would be as many
    new values as indices.

    Args:
        f: A layer, or a function whose arguments may hold modules.
        in_axes: An int, None, or a tuple with one for each argument; for an argument
            without modules also what `jax.vmap` takes.
        out_axes: As for `jax.vmap`.

    Returns:
        A layer if `f` is one, else a function.

    Raises:
        StateError: A module that is not mapped records something that is not a key.
        StructureError: `in_axes` does not fit the arguments.

    Examples:
        >>> import rosin as rs
        >>> layer = rs.Dense(2, 3)
        >>> rs.vmap(layer)(jnp.ones((5, 4, 2))).shape
        (5, 4, 3)
    """
    expect_callable(subject="vmap", f=f)
    if is_module(f):
        return Vmap(f, tuple(in_axes) if isinstance(in_axes, list) else in_axes, out_axes)

    def mapped(*args: Any) -> Any:
        return _mapped(f, args, _expect_axes(in_axes, args), out_axes)

    return mapped


def _mapped(
    f: Callable[..., Any], args: tuple[Any, ...], axes: tuple[Any, ...], out_axes: Any
) -> Any:
    """Call `jax.vmap` and return the modules' new state through it."""
    passage = Passage(args)
    spread, spread_axes, following = _with_own_keys(args, axes, live=passage.live)
    owners = [axes[keys[0].idx] for keys, _ in walk_modules(args)]
    touched: list[set[str]] = [set() for _ in owners]

    def run(*inner: Any) -> tuple[Any, list[PyTree]]:
        before = buffers_of([module for _, module in walk_modules(inner)])
        result, state = passage.call(inner, lambda copy: f(*copy))
        for index, values in enumerate(state):
            if owners[index] is None:
                touched[index] = _changed(before[index], values)
                _expect_only_keys(passage.modules[index], before[index], touched[index])
                state[index] = {}
        return result, state

    state_axes = [axis or 0 for axis in owners] if passage.live else []
    result, state = jax.vmap(run, spread_axes, (out_axes, state_axes))(*spread)
    for index, (_, module) in enumerate(walk_modules(following)):
        if touched[index]:
            state[index] = {name: module.__dict__[name] for name in touched[index]}
    passage.absorb(state)
    return result


def _with_own_keys(
    args: tuple[Any, ...], axes: tuple[Any, ...], *, live: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Give every index random keys of its own where a module is not mapped.

    Returns the arguments with the keys of such modules split, their axes, and the
    arguments with the keys that come next.
    """
    size = _size(args, axes)

    def split(arg: Any, axis: Any) -> tuple[Any, Any, Any]:
        leaves, structure = jax.tree.flatten(arg)
        places = zip(describe(structure)[0], leaves, strict=True)
        own = [live and axis is None and slot.buffer and is_key(leaf) for slot, leaf in places]
        if not any(own):
            return arg, axis, arg
        pairs = list(zip(own, leaves, strict=True))
        keys = [split_each(leaf, size + 1) if is_own else leaf for is_own, leaf in pairs]
        first = [leaf[:size] if is_own else leaf for is_own, leaf in zip(own, keys, strict=True)]
        last = [leaf[size] if is_own else leaf for is_own, leaf in zip(own, keys, strict=True)]
        inner_axes = structure.unflatten([0 if is_own else None for is_own in own])
        return structure.unflatten(first), inner_axes, structure.unflatten(last)

    parts = [split(arg, axis) for arg, axis in zip(args, axes, strict=True)]
    spread, spread_axes, following = zip(*parts, strict=True) if parts else ((), (), ())
    return spread, spread_axes, following


def _changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Name the buffers that hold other arrays than before."""

    def arrays(value: Any) -> list[int]:
        return [id(leaf) for leaf in jax.tree.leaves(value)]

    return {name for name in after if arrays(after[name]) != arrays(before[name])}


def _expect_only_keys(module: Module, buffers: dict[str, Any], names: set[str]) -> None:
    others = sorted(n for n in names if not all(map(is_key, jax.tree.leaves(buffers[n]))))
    if others:
        refuse(
            StateError,
            subject=module,
            expected="a module that rs.vmap does not map to record random keys only",
            got=f"a record of {', '.join(others)}, with one value for each index",
            fix="map the module too (stack its leaves, in_axes=0), or call it on the whole batch",
        )


def _expect_axes(in_axes: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return one entry of `in_axes` for each argument."""
    axes = tuple(in_axes) if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
    if len(axes) != len(args):
        refuse(
            StructureError,
            subject="vmap",
            expected=f"one entry of in_axes for each of {len(args)} arguments",
            got=f"{len(axes)} entries",
            fix="pass in_axes as an int, or as a tuple with one entry for each argument",
        )
    for axis, arg in zip(axes, args, strict=True):
        if axis is not None and not is_whole(axis) and any(walk_modules(arg)):
            refuse(
                StructureError,
                subject="vmap",
                expected="in_axes of a module to be a whole number or None",
                got=shown(axis),
                fix="map all arrays of the module over one axis, or none of them",
            )
    return axes


def _size(args: tuple[Any, ...], axes: tuple[Any, ...]) -> int:
    """Return the length of the first axis that is mapped."""
    lengths: list[int] = []

    def measure(axis: int | None, part: Any) -> None:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(part)] if axis is not None else []
        lengths.extend(s[axis] for s in shapes if axis is not None and -len(s) <= axis < len(s))

    jax.tree.map(measure, axes, args, is_leaf=lambda node: node is None)
    if not lengths:
        refuse(
            StructureError,
            subject="vmap",
            expected="at least one array with an axis to map",
            got=f"in_axes {shown(axes)}",
            fix="map at least one argument, for example in_axes=(None, 0)",
        )
    return lengths[0]


# --- what may be transformed --------------------------------------------------------------


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
    shapes_a, shapes_b = map(shown, jax.tree.leaves(first)), map(shown, jax.tree.leaves(layer))
    pairs = zip(slots(a), shapes_a, shapes_b, strict=False) if a == b else ()
    unequal = [slot.path for slot, x, y in pairs if x != y]
    if a == b and not unequal:
        return
    refuse(
        StructureError,
        subject="scan_layers",
        expected=f"layer {index} to be built like layer 0, {shown(first)}",
        got=shown(layer) + (f", other at {', '.join(unequal)}" if unequal else ""),
        fix="use equal blocks, with equal sizes and the same functions; put others in a Chain",
    )
