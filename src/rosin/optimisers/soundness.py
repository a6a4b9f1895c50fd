# SPDX-License-Identifier: Apache-2.0
"""Whether a step may be taken: gradient and new values finite, or everything as it was.

The numbers that belong to one parameter (gradient, new value, what the optimiser
remembers of it) are looked at together: one pass over memory instead of four.
"""

import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey

from rosin.core.paths import KeyPath, path_string
from rosin.core.types import Array, PyTree

T = TypeVar("T")


def all_sound(grads: PyTree, old: PyTree, new: PyTree) -> Array:
    """Tell whether all gradients and all new values are finite.

    An infinity that stood in the same place before may stay, as masks do.

    Args:
        grads: Shaped like the model, with None where nothing is trained.
        old: A tuple of trees: the model and what goes with it.
        new: The same after the step; leaves that are the very same are not looked at.
    """
    flags: dict[tuple[Any, ...], list[Array]] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(grads):
        flags.setdefault((path_string(keys), leaf.shape), []).append(jnp.isfinite(leaf))
    named = jax.tree_util.tree_leaves_with_path(new)
    for before, (keys, after) in zip(jax.tree.leaves(old), named, strict=True):
        if after is not before and jnp.issubdtype(after.dtype, jnp.inexact):
            sound = jnp.isfinite(after) | (after == before)
            flags.setdefault((_parameter(keys), after.shape), []).append(sound)
    # Said without a negation: XLA takes minutes to compile "not (a or b or ...)" of a deep model.
    groups = [functools.reduce(jnp.logical_and, group).all() for group in flags.values()]
    return functools.reduce(jnp.logical_and, groups, jnp.asarray(True))


def chosen(finite: Array, old: T, new: T) -> T:
    """Return the new tree if the step is finite, else the old one, bit for bit."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(finite, b, a), old, new)


def _parameter(keys: KeyPath) -> str:
    """Name the parameter that a leaf of model or optimiser state belongs to.

    An optimiser's state is kept in dicts by path.
    """
    last = keys[-1]
    by_path = isinstance(last, DictKey) and isinstance(last.key, str)
    return last.key if by_path else path_string(keys[1:])
