# SPDX-License-Identifier: Apache-2.0
"""One layer in several places: one set of leaves, so one gradient, one file entry.

The module that is built around all places of a shared layer keeps it at the first of
them and puts a `SharedAgain` without leaves at the others. While that module is called,
the others find the layer through it.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import jax

from rosin.core.declare import marks_of, set_marks
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.paths import KeyPath, parse_path, path_string
from rosin.core.types import PyTree, Static
from rosin.core.validation import expect_callable, refuse
from rosin.errors import StateError, StructureError

_owned: ContextVar[Mapping[str, Any] | None] = ContextVar("rosin_shared", default=None)


class _Token:
    """Tells one call of `share` from another until a model settles it."""


class Shared(Module):
    """The first place of a shared layer, and the owner of its leaves."""

    layer: Any
    name: Static[Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer."""
        return self.layer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Look up what the layer has, such as `weight`."""
        if name.startswith("_") or "layer" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __rich_repr__(self) -> Iterator[Any]:
        """Show the layer; two places show the same name."""
        yield self.layer


class SharedAgain(Module):
    """A further place of a shared layer, without leaves of its own."""

    name: Static[str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer that the first place owns."""
        return self._layer()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Look up what the layer has, such as `weight`."""
        if name.startswith("_") or "name" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._layer(), name)

    def _layer(self) -> Any:
        layer = (_owned.get() or {}).get(self.name)
        if layer is None:
            refuse(
                StateError,
                subject=f"SharedAgain({self.name!r})",
                expected="to be reached through the model that holds all its places",
                got="a call from outside of it",
                fix=f"call the whole model, or take the layer from its first place, {self.name}",
            )
        return layer

    def __rich_repr__(self) -> Iterator[Any]:
        """Show where the layer is."""
        yield self.name


def share(layer: Any) -> Shared:
    """Mark one layer that is used in several places of a model.

    Put the result into the model as often as needed. The model holds one set of leaves,
    at the first place; the gradient is the sum over all places; saving, loading and
    updating see one layer. The innermost module around all places has to be the one that
    is called (or one outside of it).

    Raises:
        StructureError: The layer cannot be called.

    Examples:
        >>> import rosin as rs
        >>> tied = rs.share(rs.Dense(3, 3))
        >>> model = rs.Chain(tied, rs.tanh, tied)
        >>> len(rs.trainables(model))
        2
    """
    expect_callable(subject="share", layer=layer)
    return Shared(layer, _Token())


def settle(module: Module) -> None:
    """Keep each shared layer once inside a freshly built module."""
    places: dict[_Token, list[tuple[KeyPath, Module]]] = {}
    for keys, node in walk_modules(module):
        if type(node) is Shared and isinstance(node.name, _Token):
            places.setdefault(node.name, []).append((keys, node))
    repeated = [found for found in places.values() if len(found) > 1]
    if not repeated:
        return
    taken = {name for _, node in walk_modules(module) for name, _ in marks_of(node).shared}
    replaced: dict[int, list[Module]] = {}
    links: list[tuple[str, str]] = []
    for found in repeated:
        path = name = path_string(found[0][0])
        while name in taken:
            name += "'"
        taken.add(name)
        links.append((name, path))
        for index, (_, node) in enumerate(found):
            again = SharedAgain(name) if index else Shared(node.layer, name)
            replaced.setdefault(id(node), []).append(again)
    contents = module.__dict__
    for field in type(module).declared.dynamic:
        contents[field] = _substituted(contents[field], replaced)
    marks = marks_of(module)
    set_marks(module, marks._replace(shared=marks.shared + tuple(links)))


def _substituted(tree: PyTree, replaced: dict[int, list[Module]]) -> PyTree:
    """Copy a tree, taking at each visit of a replaced module its next replacement."""

    def visit(node: Any) -> Any:
        if id(node) in replaced:
            return replaced[id(node)].pop(0)
        if not is_module(node) or not any(id(m) in replaced for _, m in walk_modules(node)):
            return node
        copy = object.__new__(type(node))
        copy.__dict__.update(node.__dict__)
        for field in type(node).declared.dynamic:
            copy.__dict__[field] = _substituted(copy.__dict__[field], replaced)
        return copy

    return jax.tree.map(visit, tree, is_leaf=is_module)


@contextlib.contextmanager
def providing(module: Module) -> Iterator[None]:
    """Let further places find the shared layers that `module` holds."""
    shared = marks_of(module).shared
    if not shared:
        yield
        return
    owned = dict(_owned.get() or {})
    owned.update((name, _reach(module, path)) for name, path in shared)
    token = _owned.set(owned)
    try:
        yield
    finally:
        _owned.reset(token)


def _reach(module: Module, path: str) -> Any:
    node: Any = module
    for key in _keys(path):
        match key:
            case jax.tree_util.GetAttrKey(name=name):
                node = node.__dict__[name]
            case jax.tree_util.SequenceKey(idx=index):
                node = node[index]
            case _:
                node = node[key.key]
    return node.layer


_keys = functools.lru_cache(maxsize=256)(parse_path)


def expect_settled(tree: PyTree, *, subject: str) -> None:
    """Refuse a tree that holds a shared layer twice without a module around both places."""
    seen: set[object] = set()
    for keys, node in walk_modules(tree):
        if type(node) is Shared and isinstance(node.name, _Token):
            if node.name in seen:
                refuse(
                    StructureError,
                    subject=subject,
                    expected="both places of a shared layer inside one module",
                    got=f"a second place at {path_string(keys)} of a plain tuple, list or dict",
                    fix="put both parts into one Module or Chain, and call that",
                )
            seen.add(node.name)
