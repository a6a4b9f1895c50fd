# SPDX-License-Identifier: Apache-2.0
"""Walking the modules of a tree, and telling an error its place."""

import weakref
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from rosin.core.declare import Fields
from rosin.core.paths import KeyPath, as_where, path_string
from rosin.errors import RosinError, UsageError

_TRAIL = "_rosin_trail"
_SOMEWHERE = "…"


def is_module(node: object) -> bool:
    """Tell whether a node of a tree is a module."""
    return isinstance(getattr(type(node), "declared", None), Fields)


def walk_modules(tree: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every module of a tree with its path, outer ones first."""
    waiting: list[tuple[KeyPath, Any]] = [((), tree)]
    while waiting:
        keys, node = waiting.pop()
        if is_module(node):
            yield keys, node
            names = type(node).declared.dynamic
            inside = [((*keys, GetAttrKey(name)), node.__dict__[name]) for name in names]
        elif node is None or isinstance(node, (jax.Array, np.ndarray)):
            continue
        else:
            found = jax.tree_util.tree_leaves_with_path(node, is_leaf=is_module)
            inside = [((*keys, *inner), leaf) for inner, leaf in found if is_module(leaf)]
        waiting.extend(reversed(inside))


def find(tree: Any, wanted: object) -> str | None:
    """Return the path at which `wanted` itself stands in a tree, or None."""
    for keys, module in walk_modules(tree):
        if module is wanted:
            return path_string(keys)
    return None


# --- where an error happened ------------------------------------------------------------


class _Trail(list[tuple[Any, str]]):
    """The modules that an error came through, each with the place inside it.

    The last one is the outermost. They are weak references, so that an error keeps no
    model alive, and are left out when it is pickled.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _Trail, ()


def locate(error: Exception, module: Any) -> None:
    """Write into an error where in `module` the thing stands that raised it."""
    trail = _trail_of(error)
    if not trail:
        foreign = isinstance(error, RosinError) and not isinstance(error, UsageError)
        if foreign or getattr(error, "where", ""):  # it names a place in a file, say
            return
        trail.append((weakref.ref(module), ""))
    where = _place(trail, module)
    if where is None:  # JAX rebuilt the part that raised
        where = _SOMEWHERE + trail[-1][1]
    _write(error, trail[-1][1], where)
    trail.append((weakref.ref(module), where))


def locate_in_tree(error: Exception, tree: Any) -> None:
    """Put in front of an error's place where its model stands in a tuple, list or dict."""
    trail = _trail_of(error)
    where = None if is_module(tree) else _place(trail, tree)
    if where is not None:
        _write(error, trail[-1][1], where)


def relocate(error: Exception, originals: dict[int, Any]) -> None:
    """Let an error know modules in place of the copies (by identity) that were called."""
    trail = _trail_of(error)
    for index, (known, where) in enumerate(trail):
        original = originals.get(id(known()))
        if original is not None:
            trail[index] = weakref.ref(original), where


def _trail_of(error: Exception) -> _Trail:
    trail = error.__dict__.setdefault(_TRAIL, _Trail())  # not setattr, which may be refused
    if not trail and isinstance(error, RosinError) and error.anchor is not None:
        trail.append((weakref.ref(error.anchor), error.where))
    return trail


def _place(trail: _Trail, tree: Any) -> str | None:
    """Find the outermost known module that stands in a tree, and so the error's place."""
    for known, where in reversed(trail):
        module = known()
        path = "" if module is tree else find(tree, module)
        if module is not None and path is not None:
            return as_where(path) + where
    return None


def _write(error: Exception, before: str, where: str) -> None:
    if isinstance(error, RosinError):
        error.where = where
        return
    notes = error.__dict__.get("__notes__", [])
    if isinstance(notes, list):
        kept = [note for note in notes if note != f"raised in model{before}"]
        error.__dict__["__notes__"] = [*kept, *([f"raised in model{where}"] if where else [])]
