# SPDX-License-Identifier: Apache-2.0
"""What is done to a model as a whole: split it, list it, flatten it, change it, freeze it."""

import functools
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, PyTreeDef

from rosin.core.declare import Marks, marks_of, set_marks
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.paths import KeyPath, parse_path, path_string
from rosin.core.types import Array, PyTree
from rosin.core.validation import refuse
from rosin.errors import DtypeError, ShapeError, StructureError, shown

M = TypeVar("M")


class Slot(NamedTuple):
    """What a structure says of one leaf."""

    path: str
    buffer: bool
    frozen: bool


@functools.lru_cache(maxsize=512)
def slots(structure: PyTreeDef) -> tuple[Slot, ...]:
    """Describe every leaf of a structure, in JAX's order."""
    numbered = structure.unflatten(list(range(structure.num_leaves)))
    return tuple(_slots(numbered, (), buffer=False, frozen=False))


def _slots(tree: PyTree, keys: KeyPath, *, buffer: bool, frozen: bool) -> list[Slot]:
    found: list[Slot] = []
    if is_module(tree):
        for name in type(tree).declared.dynamic:
            found += _slots(
                tree.__dict__[name],
                (*keys, GetAttrKey(name)),
                buffer=buffer or name in type(tree).declared.buffers,
                frozen=frozen or name in marks_of(tree).frozen,
            )
        return found
    for inner_keys, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_module):
        here = (*keys, *inner_keys)
        if is_module(node):
            found += _slots(node, here, buffer=buffer, frozen=frozen)
        else:
            found.append(Slot(path_string(here), buffer, frozen))
    return found


def is_trainable(slot: Slot, leaf: Any) -> bool:
    """Tell whether a leaf is a parameter: declared so, not frozen, of a float dtype."""
    if slot.buffer or slot.frozen:
        return False
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


class Split(Generic[M]):
    """A tree taken apart into its trained leaves and the rest, as flat lists."""

    def __init__(self, tree: M) -> None:
        leaves, self.structure = jax.tree.flatten(tree)
        self.slots = slots(self.structure)
        self.mask = [is_trainable(s, leaf) for s, leaf in zip(self.slots, leaves, strict=True)]
        self.trained = [leaf for leaf, kept in zip(leaves, self.mask, strict=True) if kept]
        self.rest = [leaf for leaf, kept in zip(leaves, self.mask, strict=True) if not kept]

    def join(self, trained: list[Any], rest: list[Any]) -> M:
        """Put a tree of this structure together from new leaves."""
        sources = {True: iter(trained), False: iter(rest)}
        return self.structure.unflatten([next(sources[kept]) for kept in self.mask])

    def only(self, trained: list[Any]) -> M:
        """Put a tree together that holds None at every leaf that is not trained."""
        source = iter(trained)
        return self.structure.unflatten([next(source) if kept else None for kept in self.mask])

    def rest_of(self, tree: M) -> list[Any]:
        """List the leaves of an equally built tree that are not trained."""
        leaves = jax.tree.leaves(tree)
        return [leaf for leaf, kept in zip(leaves, self.mask, strict=True) if not kept]

    @property
    def paths(self) -> list[str]:
        """The paths of the trained leaves."""
        return [slot.path for slot, kept in zip(self.slots, self.mask, strict=True) if kept]


def partition(tree: M, keep: Callable[[str, Any], bool] | None = None) -> tuple[M, M]:
    """Split a tree into two of its shape, each with None where the other has the leaf.

    Args:
        tree: A model, or any tree.
        keep: Called with path and leaf; tells whether the leaf goes to the first tree.
            Left out, the trainable leaves do.

    Examples:
        >>> import rosin as rs
        >>> parameters, state = rs.partition(rs.BatchNorm(2))
        >>> state
        BatchNorm(2)
        >>> [leaf.shape for leaf in jax.tree.leaves(parameters)]
        [(2,), (2,)]
    """
    leaves, structure = jax.tree.flatten(tree)
    places = slots(structure)
    chosen = [
        is_trainable(slot, leaf) if keep is None else keep(slot.path, leaf)
        for slot, leaf in zip(places, leaves, strict=True)
    ]
    first = [leaf if c else None for leaf, c in zip(leaves, chosen, strict=True)]
    second = [None if c else leaf for leaf, c in zip(leaves, chosen, strict=True)]
    return structure.unflatten(first), structure.unflatten(second)


def combine(first: M, second: M) -> M:
    """Undo `partition`: take each leaf from the tree that has it."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, first, second, is_leaf=lambda x: x is None
    )


@overload
def trainables(tree: PyTree, *, paths: Literal[False] = False) -> list[Array]: ...
@overload
def trainables(tree: PyTree, *, paths: Literal[True]) -> dict[str, Array]: ...
def trainables(tree: PyTree, *, paths: bool = False) -> list[Array] | dict[str, Array]:
    """List the trainable arrays of a model, each once.

    Args:
        tree: A model, or any tree of models.
        paths: Return a dict from path to array.

    Examples:
        >>> import rosin as rs
        >>> list(rs.trainables(rs.Chain(rs.Dense(2, 3)), paths=True))
        ['layers[0].weight', 'layers[0].bias']
    """
    split = Split(tree)
    return dict(zip(split.paths, split.trained, strict=True)) if paths else split.trained


def destructure(model: M) -> tuple[Array, Callable[[Array], M]]:
    """Lay the trainable arrays end to end in one vector, and give the way back.

    Dtypes are promoted to one; `rebuild` puts each leaf back into its own.

    Returns:
        The vector, and `rebuild(vector)`, which makes a model like the given one.

    Raises:
        ShapeError: `rebuild` gets a vector of another length.

    Examples:
        >>> import rosin as rs
        >>> flat, rebuild = rs.destructure(rs.Dense(3, 2))
        >>> flat.shape, rebuild(0 * flat).bias
        ((8,), Array([0., 0.], dtype=float32))
    """
    split = Split(model)
    shapes = [leaf.shape for leaf in split.trained]
    dtypes = [leaf.dtype for leaf in split.trained]
    ends: list[int] = []
    for leaf in split.trained:
        ends.append((ends[-1] if ends else 0) + leaf.size)
    common = functools.reduce(jnp.promote_types, dtypes, dtypes[0]) if dtypes else jnp.float32
    parts = [leaf.ravel().astype(common) for leaf in split.trained]
    flat = jnp.concatenate(parts) if parts else jnp.zeros(0)

    def rebuild(vector: Array) -> M:
        if vector.shape != flat.shape:
            refuse(
                ShapeError,
                subject="rebuild",
                expected=f"a vector of shape {flat.shape}",
                got=shown(vector),
                fix="pass a vector as long as the one destructure returned",
            )
        pieces = jnp.split(vector, ends[:-1]) if ends else []
        leaves = [
            piece.reshape(shape).astype(dtype)
            for piece, shape, dtype in zip(pieces, shapes, dtypes, strict=True)
        ]
        return split.join(leaves, split.rest)

    return flat, rebuild


def modules(tree: PyTree) -> dict[str, Module]:
    """List all modules of a tree by path, outer ones first.

    Examples:
        >>> import rosin as rs
        >>> list(rs.modules(rs.Chain(rs.Dense(2, 3), rs.tanh)))
        ['', 'layers[0]', 'layers[1]']
    """
    return {path_string(keys): module for keys, module in walk_modules(tree)}


# --- marks: mode and freezing ---------------------------------------------------------


def _remarked(tree: M, change: Callable[[KeyPath, Module], Marks]) -> M:
    copy = jax.tree.map(lambda leaf: leaf, tree)
    for keys, module in walk_modules(copy):
        set_marks(module, change(keys, module))
    return copy


def trainmode(model: M) -> M:
    """Pin a model to training: its layers behave so outside a gradient too.

    Every sub-module is reached, trainable or not. Layers that record state (BatchNorm,
    Dropout) then need `rosin.recording` around a call that is not inside a gradient.

    Examples:
        >>> import rosin as rs
        >>> rs.trainmode(rs.Dropout(0.5)).training
        True
    """
    return _remarked(model, lambda _, module: marks_of(module)._replace(training=True))


def testmode(model: M) -> M:
    """Pin a model to inference: its layers behave so inside a gradient too.

    Examples:
        >>> import rosin as rs
        >>> rs.testmode(rs.Dropout(0.5)).training
        False
    """
    return _remarked(model, lambda _, module: marks_of(module)._replace(training=False))


def automode(model: M) -> M:
    """Undo `trainmode` and `testmode`: training inside a gradient, inference outside.

    Examples:
        >>> import rosin as rs
        >>> rs.automode(rs.trainmode(rs.Dropout(0.5))).training
        False
    """
    return _remarked(model, lambda _, module: marks_of(module)._replace(training=None))


def freeze(model: M, *paths: str) -> M:
    """Exclude parts of a model from training; without paths, all of it.

    The gradient holds None there, and optimisers leave the leaves as they are.

    Args:
        model: A model, or any tree of models.
        paths: Of modules or fields, such as `"layers[0]"`; `[*]` stands for any index.

    Raises:
        StructureError: A path names nothing that is trained.

    Examples:
        >>> import rosin as rs
        >>> model = rs.freeze(rs.Chain(rs.Dense(2, 3), rs.Dense(3, 1)), "layers[0]")
        >>> list(rs.trainables(model, paths=True))
        ['layers[1].weight', 'layers[1].bias']
    """
    return _with_frozen(model, paths, lambda old, names: old | names, "freeze")


def thaw(model: M, *paths: str) -> M:
    """Undo `freeze`, for the given paths or for the whole model.

    Raises:
        StructureError: A path names nothing.
    """
    return _with_frozen(model, paths, lambda old, names: old - names, "thaw")


def _with_frozen(
    model: M,
    paths: tuple[str, ...],
    change: Callable[[frozenset[str], frozenset[str]], frozenset[str]],
    subject: str,
) -> M:
    patterns = {path: parse_path(path) for path in paths} or {"": ()}
    missed = set(patterns)

    def marks(keys: KeyPath, module: Module) -> Marks:
        chosen: set[str] = set()
        for name in type(module).declared.dynamic:
            for path, pattern in patterns.items():
                if _covers(pattern, (*keys, GetAttrKey(name))):
                    chosen.add(name)
                    missed.discard(path)
        old = marks_of(module)
        return old._replace(frozen=change(old.frozen, frozenset(chosen)))

    remarked = _remarked(model, marks)
    if missed:
        listed = ", ".join(path for path in modules(model) if path) or "(no module inside)"
        refuse(
            StructureError,
            subject=subject,
            expected="paths of modules or of their fields",
            got=", ".join(sorted(map(repr, missed))),
            fix="use a path such as rs.modules(model) lists",
            details=(f"modules: {listed[:400]}",),
        )
    return remarked


def _covers(pattern: KeyPath, keys: KeyPath) -> bool:
    """Tell whether a pattern names a path or something around it."""
    return len(pattern) <= len(keys) and all(
        p == k or (getattr(p, "idx", None) == "*" and hasattr(k, "idx"))
        for p, k in zip(pattern, keys, strict=False)
    )


# --- surgery --------------------------------------------------------------------------


class At(Generic[M]):
    """One place of a tree; made by `at`."""

    def __init__(self, tree: M, path: str) -> None:
        self._tree = tree
        self._path = path
        self._keys = parse_path(path)

    def get(self) -> Any:
        """Return what stands at the place."""
        found: list[Any] = []
        _changed(self._tree, self._keys, lambda node: (found.append(node), node)[1], self._path)
        return found[0] if "[*]" not in self._path else found

    def set(self, value: Any) -> M:
        """Return a copy of the tree with `value` at the place."""
        return _changed(self._tree, self._keys, lambda _: value, self._path)

    def apply(self, function: Callable[[Any], Any]) -> M:
        """Return a copy of the tree with `function` applied at the place."""
        return _changed(self._tree, self._keys, function, self._path)


def at(tree: M, path: str) -> At[M]:
    """Name a place of a model, to read it or to build a changed copy.

    Args:
        tree: A model, or any tree of models.
        path: Such as `"layers[1].weight"`; `[*]` stands for every index.

    Raises:
        StructureError: The path does not exist.

    Examples:
        >>> import rosin as rs
        >>> model = rs.Chain(rs.Dense(2, 3), rs.Dense(3, 1))
        >>> rs.at(model, "layers[1].bias").set(jnp.ones(1)).layers[1].bias
        Array([1.], dtype=float32)
    """
    return At(tree, path)


def _changed(node: Any, keys: KeyPath, function: Callable[[Any], Any], path: str) -> Any:
    if not keys:
        return function(node)
    key, rest = keys[0], keys[1:]

    def descend(child: Any) -> Any:
        return _changed(child, rest, function, path)

    name = getattr(key, "name", None)
    if is_module(node) and name in type(node).declared.names:
        return node.replace(**{name: descend(getattr(node, name))})
    if hasattr(node, "_fields") and name in node._fields:
        return node._replace(**{name: descend(getattr(node, name))})
    index = getattr(key, "idx", None)
    if isinstance(node, (tuple, list)) and index is not None:
        chosen = range(len(node)) if index == "*" else [index]  # pyright: ignore[reportUnknownArgumentType]
        if all(i < len(node) for i in chosen):  # pyright: ignore[reportUnknownArgumentType]
            items = [descend(n) if i in chosen else n for i, n in enumerate(node)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            return tuple(items) if type(node) is tuple else type(node)(*items) if hasattr(node, "_fields") else items
    if isinstance(node, dict) and (name or getattr(key, "key", None)) in node:
        chosen_key = name or key.key
        return {k: descend(v) if k == chosen_key else v for k, v in node.items()}  # pyright: ignore[reportUnknownVariableType]
    refuse(
        StructureError,
        subject="at",
        expected=f"a path that exists; there is no {path_string((key,))} in {_kind(node)}",
        got=shown(path),
        fix=f"use one of: {_choices(node)}",
    )


def _kind(node: Any) -> str:
    return shown(node) if hasattr(node, "shape") else f"the {type(node).__name__}"


def _choices(node: Any) -> str:
    if is_module(node):
        return ", ".join(type(node).declared.names) or "(it has no fields)"
    if isinstance(node, (tuple, list)):
        return f"[0] to [{len(node) - 1}]" if node else "(it is empty)"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(node, dict):
        return ", ".join(map(str, node))  # pyright: ignore[reportUnknownArgumentType]
    return "(nothing is inside)"


def expect_trainable(split: Split[Any], *, subject: str) -> None:
    """Refuse a model without any parameter to differentiate by."""
    if not split.trained:
        leaves = ", ".join(sorted({shown(leaf) for leaf in split.rest})) or "no arrays at all"
        refuse(
            DtypeError,
            subject=subject,
            expected="a model with at least one trainable floating-point array",
            got=leaves[:80],
            fix="convert the model with rs.f32(model), or thaw a part of it",
        )
