# SPDX-License-Identifier: Apache-2.0
"""Walking the modules of a tree, and telling an error where it happened."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from rosin.core.declare import Fields
from rosin.core.paths import KeyPath, as_where, path_string
from rosin.errors import RosinError

_ANCHOR = "__rosin_anchor__"


def is_module(node: object) -> bool:
    """Tell whether a node of a tree is a module."""
    return isinstance(getattr(type(node), "declared", None), Fields)


def locate(error: Exception, module: Any) -> None:
    """Write into an error where in `module` the thing stands that raised it."""
    if isinstance(error, RosinError):
        anchor = error.anchor
        suffix = error.where
    else:
        anchor, suffix = getattr(error, _ANCHOR, (module, ""))
    if anchor is None:
        return
    path = "" if anchor is module else find(module, anchor)
    if path is None:
        return
    where = as_where(path) + suffix
    if isinstance(error, RosinError):
        error.where, error.anchor = where, module
    else:
        setattr(error, _ANCHOR, (module, where))
        note = f"raised in model{where}"
        notes = [n for n in getattr(error, "__notes__", ()) if not n.startswith("raised in model")]
        error.__notes__ = [*notes, note] if where else notes


def relocate(error: Exception, rebuilt: Any, original: Any) -> None:
    """Let an error point to a module in place of the copy of it that JAX rebuilt."""
    if isinstance(error, RosinError) and error.anchor is rebuilt:
        error.anchor = original
    elif getattr(error, _ANCHOR, (None,))[0] is rebuilt:
        setattr(error, _ANCHOR, (original, getattr(error, _ANCHOR)[1]))


def find(tree: Any, wanted: object) -> str | None:
    """Return the path at which `wanted` itself stands in a tree, or None."""
    for keys, module in walk_modules(tree):
        if module is wanted:
            return path_string(keys)
    return None


def walk_modules(tree: Any, keys: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every module of a tree with its path, outer ones first."""
    if is_module(tree):
        yield keys, tree
        for name in type(tree).declared.dynamic:
            yield from walk_modules(tree.__dict__[name], (*keys, jax.tree_util.GetAttrKey(name)))
    elif tree is not None and not isinstance(tree, (jax.Array, np.ndarray)):
        for inner, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_module):
            if is_module(node):
                yield from walk_modules(node, (*keys, *inner))
