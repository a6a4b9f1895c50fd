# SPDX-License-Identifier: Apache-2.0
"""Applying a rule to a model: setup, update, adjust."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from rosin.core.module import Module
from rosin.core.sharing import expect_settled
from rosin.core.tree import Split, expect_trainable, slots
from rosin.core.types import Buffer, PyTree, Static
from rosin.core.validation import expect_kind, refuse
from rosin.errors import StructureError, shown, shortened
from rosin.optimisers.rules import Rule, Transformation

M = TypeVar("M")

HALF_BYTES = 2


class OptimiserState(Module):
    """A rule with its hyperparameters, and what it remembers of each parameter.

    Made by `setup`. `state` is the state of the optax transformation, which sees the
    parameters as a dict from path to array: it does not matter to it how the model is
    built around them.

    Shapes:
        - rule: its hyperparameters, each `()`, buffers.
        - state: buffers; half-precision parameters have theirs in float32.
    """

    rule: Buffer[Rule]
    state: Buffer[Any]
    paths: Static[tuple[str, ...]]

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the rule and the number of parameters."""
        yield self.rule
        yield "arrays", len(self.paths)


def setup(rule: Rule | optax.GradientTransformation, model: Any) -> OptimiserState:
    """Prepare the optimiser's state for the trainable parts of a model.

    Args:
        rule: A rule of Rosin, or any `optax.GradientTransformation`.
        model: A module, or any tree. Parts that are frozen now get no state.

    Raises:
        StructureError: The first argument is no rule.
        DtypeError: The model has nothing to train.

    Examples:
        >>> import rosin as rs
        >>> rs.setup(rs.Adam(1e-3), rs.Dense(2, 3)).rule.learning_rate
        Array(0.001, dtype=float32, weak_type=True)

    Source:
        Flux.jl `setup`.
    """
    if isinstance(rule, optax.GradientTransformation):
        rule = Transformation(rule)
    expect_kind(Rule, subject="setup", rule=rule)
    expect_settled(model, subject="setup")
    split = Split(model)
    expect_trainable(split, subject="setup")
    wide = map(_wide, split.trained)
    state = rule.transformation().init(dict(zip(split.paths, wide, strict=True)))
    return OptimiserState(rule, state, tuple(split.paths))


def update(opt_state: OptimiserState, model: M, grads: M) -> tuple[OptimiserState, M]:
    """Take one step: return the new optimiser state and the new model.

    Leaves whose gradient is None stay as they are, and so does what the optimiser
    remembers of them. The step itself is compiled, once for each structure.

    Args:
        opt_state: From `setup`, or from the step before.
        model: The model the gradient belongs to.
        grads: From `gradient` or `withgradient`.

    Raises:
        StructureError: The arguments do not belong together; the message names the leaves.

    Examples:
        >>> import rosin as rs
        >>> opt_state = rs.setup(rs.Descent(0.5), jnp.ones(2))
        >>> rs.update(opt_state, jnp.ones(2), jnp.ones(2))[1]
        Array([0.5, 0.5], dtype=float32)
    """
    expect_state(opt_state)
    _expect_gradient(model, grads)
    return apply(opt_state, model, grads)


@jax.jit
def apply(opt_state: OptimiserState, model: M, grads: M) -> tuple[OptimiserState, M]:
    """Take the step that `update` describes; the arguments are known to fit."""
    split = Split(model)
    parameters = dict(zip(split.paths, split.trained, strict=True))
    gradients = {
        path: gradient
        for path, gradient in zip(split.paths, _gradients(split, grads), strict=True)
        if gradient is not None
    }
    _expect_covered(opt_state, gradients)
    live = {path: _wide(parameters[path]) for path in gradients}
    held = set(opt_state.paths) - set(live)
    state = _without(opt_state.state, opt_state.paths, held)
    steps, state = opt_state.rule.transformation().update(
        {path: _wide(gradient) for path, gradient in gradients.items()}, state, live
    )
    moved = {
        path: (live[path] + steps[path]).astype(parameters[path].dtype)  # pyright: ignore[reportIndexIssue]
        for path in live
    }
    leaves = [moved.get(path, leaf) for path, leaf in parameters.items()]
    state = _refilled(state, opt_state.state, opt_state.paths, held)
    return opt_state.replace(state=state), split.join(leaves, split.rest)


def adjust(opt_state: OptimiserState, **hyperparameters: float) -> OptimiserState:
    """Return the state with other hyperparameters; nothing is compiled again.

    Args:
        opt_state: From `setup`.
        hyperparameters: By the names of the rule, such as `learning_rate=1e-4`.

    Raises:
        StructureError: The rule has no hyperparameter of that name; the known are listed.
        RangeError: A value is out of its range.

    Examples:
        >>> import rosin as rs
        >>> opt_state = rs.setup(rs.Adam(1e-3), rs.Dense(2, 3))
        >>> rs.adjust(opt_state, learning_rate=1e-4).rule
        Adam(learning_rate=0.0001, beta1=0.9, beta2=0.999, epsilon=1e-08)

    Source:
        Flux.jl `adjust!`, which ignores names it does not know.
    """
    expect_state(opt_state)
    if not hyperparameters:
        refuse(
            StructureError,
            subject="adjust",
            expected="at least one hyperparameter by name",
            got="none",
            fix="pass, for example, learning_rate=1e-4",
        )
    return opt_state.replace(rule=opt_state.rule.adjusted(**hyperparameters))


def _wide(leaf: Any) -> Any:
    """Take half-precision numbers to float32, where squares and small sums survive."""
    half = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize <= HALF_BYTES
    return leaf.astype(jnp.float32) if half else leaf


def _gradients(split: Split[Any], grads: Any) -> list[Any]:
    """List the gradient of each trained leaf, None where there is none."""
    whole = _with_holes(split.only(split.trained))
    pairs = zip(whole, _with_holes(grads), strict=True)
    return [gradient for leaf, gradient in pairs if leaf is not None]


def _with_holes(tree: PyTree) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda node: node is None)


def _without(state: PyTree, paths: tuple[str, ...], held: set[str]) -> PyTree:
    """Take the held leaves out of every part of the state that is kept by path."""

    def change(part: Any) -> Any:
        return {p: v for p, v in part.items() if p not in held} if isinstance(part, dict) else part

    return jax.tree.map(change, state, is_leaf=_by_path(paths)) if held else state


def _refilled(new: PyTree, old: PyTree, paths: tuple[str, ...], held: set[str]) -> PyTree:
    """Put the held leaves back, as they were."""
    if not held:
        return new
    live = tuple(path for path in paths if path not in held)
    old_parts = jax.tree.leaves(old, is_leaf=_by_path(paths))
    new_parts, structure = jax.tree.flatten(new, is_leaf=_by_path(live))
    return structure.unflatten(
        [n | {path: o[path] for path in held} if isinstance(n, dict) else n
         for n, o in zip(new_parts, old_parts, strict=True)]
    )


def _by_path(paths: tuple[str, ...]) -> Callable[[Any], bool]:
    names = set(paths)
    return lambda node: isinstance(node, dict) and node.keys() == names


def expect_state(opt_state: object) -> None:
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


def _expect_gradient(model: Any, grads: Any) -> None:
    """Refuse a gradient of another model, and say where the two differ."""
    if isinstance(grads, tuple) and not isinstance(model, tuple):
        refuse(
            StructureError,
            subject="update",
            expected="the gradient alone, shaped like the model",
            got=f"a tuple of {len(grads)}",  # pyright: ignore[reportUnknownArgumentType]
            fix="unpack it: loss, grads, model = rs.withgradient(...)",
        )
    split = Split(model)
    parameters = dict(zip(split.paths, split.trained, strict=True))
    leaves, structure = jax.tree.flatten(grads)
    gradients = {slot.path: g for slot, g in zip(slots(structure), leaves, strict=True)}
    wrong = [
        f"{path or 'the model'}: {shown(g)} for {shown(parameters.get(path))}"
        for path, g in gradients.items()
        if path not in parameters or jnp.shape(g) != parameters[path].shape
    ]
    if wrong or len(_with_holes(grads)) != len(_with_holes(model)):
        refuse(
            StructureError,
            subject="update",
            expected="a gradient of the shape of each trainable leaf, and None elsewhere",
            got=f"{len(wrong)} that differ" if wrong else shortened(repr(grads)),
            fix="pass what rs.gradient or rs.withgradient returned for this model",
            details=tuple(wrong[:8]),
        )


def _expect_covered(opt_state: OptimiserState, live: Iterable[str]) -> None:
    new = [path for path in live if path not in opt_state.paths]
    if new:
        refuse(
            StructureError,
            subject="update",
            expected="gradients of parameters that were trainable when setup was called",
            got=f"{len(new)} others: {', '.join(new)[:60]}",
            fix="call rs.setup again after rs.thaw or after changing the model",
        )
