# SPDX-License-Identifier: Apache-2.0
"""What is done to a model as a whole: split it, list it, flatten it, change it, freeze it."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar, overload

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey

from rosin.core.auto import Unfinished, refuse_unfinished
from rosin.core.declare import Marks, marks_of, set_marks
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.paths import Glob, KeyPath, path_string
from rosin.core.slots import is_float, is_trainable, slots
from rosin.core.types import Array, PyTree
from rosin.core.validation import refuse, suggestion
from rosin.errors import DtypeError, ShapeError, StructureError, shown

M = TypeVar("M")


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
        >>> parameters.running_mean, state.scale
        (None, None)
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
    """Undo `partition`: take each leaf from the tree that has it.

    Raises:
        StructureError: The trees are not built alike, or both have a leaf at one place.

    Examples:
        >>> import rosin as rs
        >>> model = rs.BatchNorm(2)
        >>> rs.combine(*rs.partition(model)) == model
        True
    """
    ours, structure = jax.tree.flatten(first, is_leaf=_is_none)
    theirs, other = jax.tree.flatten(second, is_leaf=_is_none)
    clash = structure != other or any(
        a is not None and b is not None for a, b in zip(ours, theirs, strict=True)
    )
    if clash:
        refuse(
            StructureError,
            subject="combine",
            expected="two trees built alike, each with None where the other has a leaf",
            got=f"{shown(first)} and {shown(second)}",
            fix="pass the two trees that rs.partition returned, or changed copies of them",
        )
    pairs = zip(ours, theirs, strict=True)
    return structure.unflatten([b if a is None else a for a, b in pairs])


def _is_none(node: object) -> bool:
    return node is None


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
    with jax.numpy_dtype_promotion("standard"):
        common = functools.reduce(jnp.promote_types, dtypes) if dtypes else jnp.dtype("float32")
    parts = [leaf.ravel().astype(common) for leaf in split.trained]
    flat = jnp.concatenate(parts) if parts else jnp.zeros(0)
    size = flat.size
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))[:-1]

    def rebuild(vector: Array) -> M:
        if jnp.shape(vector) != (size,):
            refuse(
                ShapeError,
                subject="rebuild",
                expected=f"a vector of shape ({size},)",
                got=shown(vector),
                fix="pass a vector as long as the one destructure returned",
            )
        pieces = jnp.split(jnp.asarray(vector), ends) if shapes else []
        leaves = [
            _as_dtype(piece, dtype).reshape(shape)
            for piece, shape, dtype in zip(pieces, shapes, dtypes, strict=True)
        ]
        return split.join(leaves, split.rest)

    return flat, rebuild


def _as_dtype(piece: Array, dtype: Any) -> Array:
    """Convert; of a complex number that was real the real part is taken."""
    real = jnp.iscomplexobj(piece) and not jnp.issubdtype(dtype, jnp.complexfloating)
    return (piece.real if real else piece).astype(dtype)


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
        paths: Globs over the paths of modules and fields: `"layers[0]"`, `"layers[*].bias"`,
            `"**.bias"`. `*` stands for anything within a step of the path, `**` for any steps.

    Raises:
        StructureError: A path names nothing that can be trained.

    Examples:
        >>> import rosin as rs
        >>> model = rs.freeze(rs.Chain(rs.Dense(2, 3), rs.Dense(3, 1)), "layers[0]")
        >>> list(rs.trainables(model, paths=True))
        ['layers[1].weight', 'layers[1].bias']
    """
    return _with_frozen(model, paths, lambda old, names: old | names, "freeze")


def thaw(model: M, *paths: str) -> M:
    """Undo `freeze`, for the given paths or for the whole model.

    Args:
        model: A model, or any tree of models.
        paths: As for `freeze`.

    Raises:
        StructureError: A path names nothing that can be trained.

    Examples:
        >>> import rosin as rs
        >>> model = rs.freeze(rs.Chain(rs.Dense(2, 3), rs.Dense(3, 1)))
        >>> list(rs.trainables(rs.thaw(model, "layers[1].bias"), paths=True))
        ['layers[1].bias']
    """
    return _with_frozen(model, paths, lambda old, names: old - names, "thaw")


def _with_frozen(
    model: M,
    paths: tuple[str, ...],
    change: Callable[[frozenset[str], frozenset[str]], frozenset[str]],
    subject: str,
) -> M:
    globs = {path: Glob(path) for path in paths or ("",)}
    missed, known = set(globs), list[str]()

    def marks(keys: KeyPath, module: Module) -> Marks:
        if isinstance(module, Unfinished):
            refuse_unfinished(module, path_string(keys))
        chosen: set[str] = set()
        for name in filter(functools.partial(_has_parameters, module), module.declared.dynamic):
            known.append(path_string((*keys, GetAttrKey(name))))
            covering = [path for path, glob in globs.items() if glob.covers(known[-1])]
            missed.difference_update(covering)
            chosen.update([name] if covering else [])
        old = marks_of(module)
        return old._replace(frozen=change(old.frozen, frozenset(chosen)))

    remarked = _remarked(model, marks)
    if missed:
        listed = ", ".join(path for path in modules(model) if path) or "(no module inside)"
        refuse(
            StructureError,
            subject=subject,
            expected="paths of modules or of their fields, with parameters inside",
            got=", ".join(map(shown, sorted(missed))),
            fix=f"use a path such as rs.modules(model) lists{suggestion(min(missed), known)}",
            details=(f"modules: {listed[:400]}",),
        )
    return remarked


def _has_parameters(module: Module, name: str) -> bool:
    """Tell whether a field holds parameters itself, not only in modules, which have marks."""
    leaves = jax.tree.leaves(module.__dict__[name], is_leaf=is_module)
    return name not in type(module).declared.buffers and any(map(is_float, leaves))


def expect_trainable(split: Split[Any], *, subject: str) -> None:
    """Refuse a model without any parameter to differentiate by."""
    if not split.trained:
        leaves = ", ".join(sorted({shown(leaf) for leaf in split.rest})) or "no arrays at all"
        refuse(
            DtypeError,
            subject=subject,
            expected="a model with at least one trainable floating-point array",
            got=leaves[:80],
            fix="make it of floating-point numbers, such as x.astype(jnp.float32), or thaw a part "
            "of it",
        )
