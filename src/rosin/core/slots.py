# SPDX-License-Identifier: Apache-2.0
"""What the structure of a tree says of its leaves: path, buffer or parameter, frozen or not."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey

from rosin.core.auto import Unfinished, refuse_unfinished
from rosin.core.declare import marks_of
from rosin.core.locate import is_module, walk_modules
from rosin.core.paths import KeyPath, path_string
from rosin.core.types import PyTree, Structure


class Slot(NamedTuple):
    """What a structure says of one leaf."""

    path: str
    buffer: bool
    frozen: bool


def slots(structure: Structure) -> tuple[Slot, ...]:
    """Describe every leaf of a structure, in JAX's order.

    Raises:
        StateError: The structure holds a layer whose sizes are not known.
    """
    described, unfinished = describe(structure)
    for path, layer in unfinished:
        refuse_unfinished(layer, path)
    return described


@functools.lru_cache(maxsize=512)
def describe(
    structure: Structure,
) -> tuple[tuple[Slot, ...], tuple[tuple[str, Unfinished], ...]]:
    """Describe every leaf of a structure, and find the layers whose sizes are not known."""
    numbered = structure.unflatten(list(range(structure.num_leaves)))
    unfinished = [
        (path_string(keys), module)
        for keys, module in walk_modules(numbered)
        if isinstance(module, Unfinished)
    ]
    return tuple(_slots(numbered, (), buffer=False, frozen=False)), tuple(unfinished)


def _slots(tree: PyTree, keys: KeyPath, *, buffer: bool, frozen: bool) -> Iterator[Slot]:
    if is_module(tree):
        for name in type(tree).declared.dynamic:
            yield from _slots(
                tree.__dict__[name],
                (*keys, GetAttrKey(name)),
                buffer=buffer or name in type(tree).declared.buffers,
                frozen=name in marks_of(tree).frozen,
            )
        return
    for inner_keys, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_module):
        here = (*keys, *inner_keys)
        if is_module(node):
            yield from _slots(node, here, buffer=buffer, frozen=False)
        else:
            yield Slot(path_string(here), buffer, frozen)


def is_trainable(slot: Slot, leaf: Any) -> bool:
    """Tell whether a leaf is a parameter: declared so, not frozen, of a float dtype."""
    if slot.buffer or slot.frozen:
        return False
    return is_float(leaf)


def is_float(leaf: Any) -> bool:
    """Tell whether a leaf is an array of floating point, or complex."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
