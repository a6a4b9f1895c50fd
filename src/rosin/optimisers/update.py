# SPDX-License-Identifier: Apache-2.0
"""Applying a rule to a model: setup, update, adjust."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax

from rosin.core.module import Module
from rosin.core.paths import path_string
from rosin.core.sharing import expect_settled
from rosin.core.tree import Split, expect_trainable
from rosin.core.types import Array, Buffer, PyTree, Shape, Static
from rosin.core.validation import expect_kind, refuse
from rosin.errors import StructureError, shown
from rosin.optimisers.groups import grouped
from rosin.optimisers.hyperparameters import Hyperparameter
from rosin.optimisers.numerics import saturated
from rosin.optimisers.rule import Rule, Transformation
from rosin.optimisers.soundness import all_sound, chosen

M = TypeVar("M")

HALF_BYTES = 2
MAX_LISTED = 8


class OptimiserState(Module):
    """A rule with its hyperparameters, and what it remembers of each parameter.

    Made by `setup`. `state` holds the number of steps and the rule's memory. The rule sees
    the parameters as a dict from path to array: it does not matter to it how the model is
    built around them.

    Shapes:
        - rule: its hyperparameters, each `()`, buffers.
        - state: buffers; half-precision parameters have theirs in float32.
        - skipped: `()`, how many steps `update` has left out as not finite, a buffer.
        - loss_scale: None, or the `LossScale` of training in float16, buffers.
    """

    rule: Buffer[Rule]
    state: Buffer[Any]
    skipped: Buffer[Array]
    paths: Static[tuple[str, ...]]
    shapes: Static[tuple[Shape, ...]]
    loss_scale: Buffer[Any] = None

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the rule and the number of parameters."""
        yield self.rule
        yield "arrays", len(self.paths)


def setup(
    rule: Rule | optax.GradientTransformation | Mapping[str, Rule], model: Any
) -> OptimiserState:
    """Prepare the optimiser's state for the trainable parts of a model.

    Args:
        rule: A rule of Rosin, or any `optax.GradientTransformation`. Or a dict from globs
            over paths to rules: `{"encoder": rs.Adam(1e-4), "**": rs.Adam(1e-3)}`. A glob
            covers what it names and all inside of that; `*` stands for anything within a
            step of the path, `**` for any steps. Each parameter belongs to the first glob
            that covers it, so narrow ones go first.
        model: A module, or any tree. Parts that are frozen now get no state.

    Raises:
        StructureError: The first argument is no rule, or a glob is left without a
            parameter, or a parameter without a glob.
        DtypeError: The model has nothing to train.

    Examples:
        >>> import rosin as rs
        >>> rs.setup(rs.Adam(1e-3), jnp.ones(3)).rule.learning_rate
        Array(0.001, dtype=float32, weak_type=True)

    Source:
        Flux.jl `setup`.
    """
    expect_kind((Rule, optax.GradientTransformation, dict), subject="setup", rule=rule)
    expect_settled(model, subject="setup")
    split = Split(model)
    expect_trainable(split, subject="setup")
    if isinstance(rule, dict):
        known = grouped(rule, split.paths).settled(model)
    else:
        known = rule.settled(model) if isinstance(rule, Rule) else Transformation(rule)
    shapes = tuple(leaf.shape for leaf in split.trained)
    parameters = dict(zip(split.paths, map(_wide, split.trained), strict=True))
    # Copied, because some rules begin with the parameters themselves as their state.
    state = jax.tree.map(jnp.copy, known.start(parameters))
    skipped = jnp.zeros((), jnp.int32)
    return OptimiserState(known, state, skipped, tuple(split.paths), shapes)


def update(
    opt_state: OptimiserState, model: M, grads: M, **more: Array | float
) -> tuple[OptimiserState, M]:
    """Take one step: return the new optimiser state and the new model.

    Leaves whose gradient is None stay as they are, and so does what the optimiser
    remembers of them. If a gradient, or a new value, is not finite, everything comes back
    as it was, bit for bit, and `skipped` of the state counts one more. The step itself is
    compiled, once for each structure.

    Args:
        opt_state: From `setup`, or from the step before.
        model: The model the gradient belongs to.
        grads: From `gradient` or `withgradient`.
        more: What an optax transformation asks for beside gradient and parameters, such as
            `value=loss` for `optax.polyak_sgd`. In `train` the loss is always there.

    Raises:
        StructureError: The arguments do not belong together, and the message names the
            leaves; or the optimiser asks for more arguments, or has no use for these.

    Examples:
        >>> import rosin as rs
        >>> opt_state = rs.setup(rs.Descent(0.5), jnp.ones(2))
        >>> rs.update(opt_state, jnp.ones(2), jnp.ones(2))[1]
        Array([0.5, 0.5], dtype=float32)
    """
    expect_opt_state(opt_state)
    _expect_gradient(model, grads)
    _expect_wanted(opt_state.rule, more)
    return _guarded(opt_state, strong(model), strong(grads), more)


def apply(
    opt_state: OptimiserState, model: M, grads: M, **more: Array | float
) -> tuple[OptimiserState, M]:
    """Take the step that `update` describes, traced, whether finite or not.

    The gradient is known to fit. Arguments that the rule has no use for are left out.
    """
    split = Split(model)
    parameters = dict(zip(split.paths, split.trained, strict=True))
    expect_same_model(opt_state, model, parameters)
    gradients = {path: _wide(g) for path, g in _by_path(grads).items() if g is not None}
    if not gradients:
        return opt_state, model
    live = {path: _wide(parameters[path]) for path in gradients}
    held = frozenset(opt_state.paths) - frozenset(live)
    parts = opt_state.rule.partitioned(opt_state.paths)
    before = _without(opt_state.state, parts, held)
    descents, after = opt_state.rule.told(more).proceed(gradients, before, live)
    moved = {path: _moved(live[path], descents[path], parameters[path].dtype) for path in live}
    leaves = [moved.get(path, leaf) for path, leaf in parameters.items()]
    state = _refilled(after, opt_state.state, parts, held)
    return opt_state.replace(state=state), split.join(leaves, split.rest)


def _moved(parameter: Any, descent: Any, dtype: Any) -> Any:
    """Subtract; what overflows in the dtype of the parameter becomes its largest number."""
    finite = jnp.isfinite(parameter) & jnp.isfinite(descent)
    limit = jnp.where(
        finite, jnp.finfo(dtype).max.astype(jnp.finfo(parameter.dtype).dtype), jnp.inf
    )
    return saturated(parameter - descent, limit).astype(dtype)


@jax.jit
def _guarded(
    opt_state: OptimiserState, model: M, grads: M, more: dict[str, Any]
) -> tuple[OptimiserState, M]:
    new_state, new_model = apply(opt_state, model, grads, **more)
    old, new = (model, opt_state), (new_model, new_state)
    finite = all_sound(grads, old, new)
    kept_model, kept_state = chosen(finite, old, new)
    skipped = kept_state.skipped + jnp.where(finite, 0, 1).astype(jnp.int32)
    return kept_state.replace(skipped=skipped), kept_model


def adjust(
    opt_state: OptimiserState, *where: str, **hyperparameters: Hyperparameter
) -> OptimiserState:
    """Return the state with other hyperparameters; nothing is compiled again.

    A number in place of another compiles nothing; a schedule in place of a number does.

    Args:
        opt_state: From `setup`.
        where: Which rule, if several have the hyperparameter: the glob of its group, and
            in a chain the name of its class, or its place as `"[0]"`.
        hyperparameters: By the names of the rule, such as `learning_rate=1e-4`.

    Raises:
        StructureError: No rule has a hyperparameter of that name, and the known are listed;
            or several do.
        RangeError: A value is out of its range.

    Examples:
        >>> import rosin as rs
        >>> opt_state = rs.setup(rs.Adam(1e-3), jnp.ones(3))
        >>> rs.adjust(opt_state, learning_rate=1e-4).rule
        Adam(learning_rate=0.0001, beta1=0.9, beta2=0.999, epsilon=1e-08)
        >>> two = rs.setup({"a": rs.Descent(1.0), "b": rs.Descent(2.0)}, {"a": jnp.ones(1),
        ...     "b": jnp.ones(1)})
        >>> rs.adjust(two, "b", learning_rate=0.5).rule
        Groups({'a': Descent(learning_rate=1.0), 'b': Descent(learning_rate=0.5)})

    Source:
        Flux.jl `adjust!`, which ignores names it does not know.
    """
    expect_opt_state(opt_state)
    if not hyperparameters:
        refuse(
            StructureError,
            subject="adjust",
            expected="at least one hyperparameter by name",
            got="none",
            fix="pass, for example, learning_rate=1e-4",
        )
    return opt_state.replace(rule=opt_state.rule.adjusted(*where, **hyperparameters))


def _wide(leaf: Any) -> Any:
    """Take half-precision numbers to float32, where squares and small sums survive.

    Either way the dtype is a fixed one afterwards: a weak one would not outlive a step.
    """
    array = jnp.asarray(leaf)
    half = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize <= HALF_BYTES
    return array.astype(jnp.float32 if half else array.dtype)


def strong(tree: M) -> M:
    """Fix the dtype of weakly typed leaves, which would be another one after a step."""
    leaves, structure = jax.tree.flatten(tree)
    if not any(getattr(leaf, "weak_type", False) for leaf in leaves):
        return tree
    return structure.unflatten(
        [leaf.astype(leaf.dtype) if getattr(leaf, "weak_type", False) else leaf for leaf in leaves]
    )


def _by_path(tree: PyTree) -> dict[str, Any]:
    """List the leaves of a tree, None included, by path."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=lambda node: node is None)
    return dict(zip(_paths(structure), leaves, strict=True))


@functools.lru_cache(maxsize=512)
def _paths(structure: Any) -> tuple[str, ...]:
    numbered = structure.unflatten(list(range(structure.num_leaves)))
    return tuple(path_string(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(numbered))


# --- state of some of the parameters ------------------------------------------------

Parts: TypeAlias = list[frozenset[str]]


def _without(state: PyTree, parts: Parts, held: frozenset[str]) -> PyTree:
    """Take the held leaves out of every part of the state that is kept by path."""

    def change(part: Any) -> Any:
        return {p: v for p, v in part.items() if p not in held} if isinstance(part, dict) else part

    return jax.tree.map(change, state, is_leaf=_is_part(parts)) if held else state


def _refilled(new: PyTree, old: PyTree, parts: Parts, held: frozenset[str]) -> PyTree:
    """Put the held leaves back, as they were."""
    if not held:
        return new
    old_parts = jax.tree.leaves(old, is_leaf=_is_part(parts))
    new_parts, structure = jax.tree.flatten(new, is_leaf=_is_part([p - held for p in parts]))
    pairs = zip(new_parts, old_parts, strict=True)
    return structure.unflatten(
        [n | {p: o[p] for p in o if p in held} if isinstance(n, dict) else n for n, o in pairs]
    )


def _is_part(parts: Parts) -> Callable[[Any], bool]:
    return lambda node: isinstance(node, dict) and frozenset(node) in parts


# --- what fits together --------------------------------------------------------------


def expect_opt_state(opt_state: object) -> None:
    """Refuse anything but what `setup` returns."""
    if isinstance(opt_state, OptimiserState):
        return
    rule = isinstance(opt_state, (Rule, optax.GradientTransformation))
    refuse(
        StructureError,
        subject="the optimiser",
        expected="the state that rs.setup returns",
        got=f"the rule {shown(opt_state)}" if rule else shown(opt_state),
        fix="call opt_state = rs.setup(rule, model) once, before the first step",
    )


def _expect_wanted(rule: Rule, more: dict[str, Any]) -> None:
    """Refuse further arguments to a rule that takes none, and functions."""
    strange = {name: value for name, value in more.items() if callable(value)}
    if strange or (more and not rule.asks):
        refuse(
            StructureError,
            subject="update",
            expected="numbers and arrays for the optimiser" if strange else "no further argument",
            got=", ".join(f"{name}={shown(value)}" for name, value in more.items()),
            fix="apply a transformation that calls functions to rs.trainables(model, paths=True)"
            if strange
            else "leave it out; only an optax transformation may ask for more",
        )


def _expect_gradient(model: Any, grads: Any) -> None:
    """Refuse a gradient of another model, and say where the two differ."""
    if isinstance(grads, tuple) and not isinstance(model, tuple):
        refuse(
            StructureError,
            subject="update",
            expected="the gradient alone, shaped like the model",
            got=f"a tuple of {len(grads)}",
            fix="unpack it: loss, grads, model = rs.withgradient(...)",
        )
    split = Split(model)
    wanted, given = _by_path(split.only(split.trained)), _by_path(grads)
    wrong = [f"{_named(path)}: none" for path in wanted if path not in given]
    wrong += [
        f"{_named(path)}: {shown(g)} for {'a leaf that is not trained' if w is None else shown(w)}"
        for path, g in given.items()
        if not _fits(g, w := wanted.get(path))
    ]
    if wrong or list(wanted) != list(given):
        refuse(
            StructureError,
            subject="update",
            expected="a gradient of the shape of each trainable leaf, and None elsewhere",
            got=f"{len(wrong)} that differ" if wrong else "leaves in other places",
            fix="pass what rs.gradient or rs.withgradient returned for this model",
            details=tuple(wrong[:MAX_LISTED]),
        )


def _named(path: str) -> str:
    return path or "the model"


def _fits(gradient: Any, parameter: Any) -> bool:
    """Tell whether a gradient, or None in its place, can move a parameter."""
    if gradient is None:
        return True
    if parameter is None or not hasattr(gradient, "dtype"):
        return False
    kinds = [jnp.iscomplexobj(gradient), jnp.iscomplexobj(parameter)]
    floating = jnp.issubdtype(gradient.dtype, jnp.inexact)
    return floating and gradient.shape == parameter.shape and kinds[0] == kinds[1]


def expect_same_model(opt_state: OptimiserState, model: Any, parameters: dict[str, Any]) -> None:
    """Refuse a model with other parameters than `setup` saw; frozen ones count as there."""
    there, known = _by_path(model), dict(zip(opt_state.paths, opt_state.shapes, strict=True))
    wrong = [f"{_named(p)}: not trainable in setup" for p in parameters if p not in known]
    wrong += [
        f"{_named(path)}: {shown(there.get(path))}, and of shape {shape} in setup"
        for path, shape in known.items()
        if getattr(there.get(path), "shape", None) != shape
    ]
    if wrong:
        refuse(
            StructureError,
            subject="update",
            expected="the parameters that were trainable when setup was called",
            got=f"a model that differs in {len(wrong)}",
            fix="call rs.setup again after rs.thaw or after changing the model",
            details=tuple(wrong[:MAX_LISTED]),
        )
