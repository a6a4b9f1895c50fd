# SPDX-License-Identifier: Apache-2.0
"""Surgery on a tree: what stands at a path, and a copy with something else there."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from jax.tree_util import DictKey, GetAttrKey

from rosin.core.locate import is_module
from rosin.core.paths import ANY, KeyPath, matches, parse_path, path_string
from rosin.core.validation import refuse
from rosin.errors import StructureError, shown

M = TypeVar("M")


class At(Generic[M]):
    """One place of a tree, or with `[*]` several; made by `at`."""

    def __init__(self, tree: M, path: str) -> None:
        self._tree = tree
        self._path = path
        self._keys = parse_path(path)

    def get(self) -> Any:
        """Return what stands at the place; a list if the path holds `[*]`."""
        nodes: list[Any] = [self._tree]
        for key in self._keys:
            nodes = [inner for node in nodes for inner in self._inside(node, key).values()]
        return nodes if ANY in self._keys else nodes[0]

    def set(self, value: Any) -> M:
        """Return a copy of the tree with `value` at the place."""
        return self.apply(lambda _: value)

    def apply(self, function: Callable[[Any], Any]) -> M:
        """Return a copy of the tree with `function` applied at the place."""

        def visit(node: Any, keys: KeyPath) -> Any:
            if not keys:
                return function(node)
            inside = self._inside(node, keys[0])
            return changed(node, {at: visit(inner, keys[1:]) for at, inner in inside.items()})

        return visit(self._tree, self._keys)

    def _inside(self, node: Any, key: Any) -> dict[Any, Any]:
        found = children(node, key)
        if not found:
            step = path_string((key,))
            refuse(
                StructureError,
                subject="at",
                expected=f"a path that exists; there is no {step} in {_kind(node)}",
                got=shown(self._path),
                fix=f"use one of: {_choices(node)}",
            )
        return found


def at(tree: M, path: str) -> At[M]:
    """Name a place of a model, to read it or to build a changed copy.

    Args:
        tree: A model, or any tree of models.
        path: Such as `"layers[1].weight"`; `[*]` stands for every index.

    Raises:
        StructureError: The path does not exist.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> model = rs.Chain(rs.Dense(2, 3), rs.Dense(3, 1))
        >>> rs.at(model, "layers[1].bias").set(jnp.ones(1)).layers[1].bias
        Array([1.], dtype=float32)
    """
    return At(tree, path)


def _kind(node: Any) -> str:
    return shown(node) if hasattr(node, "shape") else f"the {type(node).__name__}"


def _choices(node: Any) -> str:
    if is_module(node):
        return ", ".join(type(node).declared.names) or "(it has no fields)"
    if isinstance(node, dict):
        return ", ".join(map(shown, node))[:200] or "(it is empty)"
    if isinstance(node, (tuple, list)):
        names = getattr(node, "_fields", ())
        return ", ".join(names) or (f"[0] to [{len(node) - 1}]" if node else "(it is empty)")
    return "(nothing is inside)"


# --- one step ---------------------------------------------------------------------------


def children(node: Any, step: Any) -> dict[Any, Any]:
    """Return the children of a node that a step of a path names, by name or index."""
    if is_module(node):
        places = [(GetAttrKey(name), name) for name in type(node).declared.names]
        return {name: node.__dict__[name] for key, name in places if matches(step, key)}
    if isinstance(node, dict):
        return {name: child for name, child in node.items() if matches(step, DictKey(name))}
    if isinstance(node, (tuple, list)):
        names, index = getattr(node, "_fields", ()), getattr(step, "idx", None)
        if names:
            return {i: node[i] for i, n in enumerate(names) if matches(step, GetAttrKey(n))}
        if step is ANY:
            return dict(enumerate(node))
        return {index: node[index]} if index is not None and index < len(node) else {}
    return {}


def changed(node: Any, changes: dict[Any, Any]) -> Any:
    """Copy a node with some of the children that `children` returned put anew."""
    if is_module(node):
        return node.replace(**changes)
    if isinstance(node, dict):
        return node | changes
    items = [changes.get(index, child) for index, child in enumerate(node)]
    return type(node)(*items) if hasattr(node, "_fields") else type(node)(items)


def reach(node: Any, keys: KeyPath) -> Any:
    """Return what stands at a path, or None if nothing does."""
    for step in keys:
        found = children(node, step)
        if not found:
            return None
        (node,) = found.values()
    return node
