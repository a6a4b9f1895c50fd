# SPDX-License-Identifier: Apache-2.0
"""Recording: how new state leaves a call without the model changing under anybody's feet.

A function that is differentiated gets a private copy of the model, whose modules carry a
`Visit`. A visited module may record; any other would record into nothing, so it says so.
JAX rebuilds modules from their leaves under `jit`, `vmap`, `scan` and `checkpoint`;
rebuilt ones carry no visit, and a visit is good for the trace it was made in only.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
from jax.extend.core import get_opaque_trace_state

from rosin.core.declare import VISIT
from rosin.core.locate import is_module, relocate, walk_modules
from rosin.core.module import Module, training_context
from rosin.core.paths import joined, path_string
from rosin.core.types import PyTree

M = TypeVar("M")
R = TypeVar("R")


class Recorder:
    """One trace in which modules may record."""

    def __init__(self) -> None:
        self.trace = get_opaque_trace_state()
        self.open = True

    def observe(self, path: str, module: Module, result: Any) -> None:
        """Learn that a module was called; the base class takes no interest."""

    @property
    def live(self) -> bool:
        """Whether the code that runs now belongs to this recorder's trace."""
        return self.open and self.trace == get_opaque_trace_state()


class Visit(NamedTuple):
    """Marks a module as handed out by a recorder, and names its place in the model."""

    recorder: Recorder
    path: str


def hand_out(tree: M, recorder: Recorder, prefix: str = "") -> M:
    """Copy a tree so that its modules may record with `recorder`."""
    copy = jax.tree.map(lambda leaf: leaf, tree)
    for keys, module in walk_modules(copy):
        module.__dict__[VISIT] = Visit(recorder, joined(prefix, path_string(keys)))
    return copy


def take_back(tree: M) -> M:
    """Copy a handed-out tree into one that nobody records in, recorded values included."""
    return jax.tree.map(lambda leaf: leaf, tree)


def recording(
    f: Callable[..., R], model: M, *args: Any, training: bool = True
) -> tuple[R, M]:
    """Call `f(model, *args)` and return what it returned and the model with its new state.

    This is `withgradient` without the gradient: it moves running statistics and random
    keys on, for instance to re-estimate the statistics of a `BatchNorm`.

    Args:
        f: A function of the model.
        model: A module, or any tree of modules.
        args: Handed on to `f`.
        training: Whether the layers behave as in training.

    Examples:
        >>> import jax, jax.numpy as jnp, rosin as rs
        >>> norm = rs.BatchNorm(2)
        >>> y, norm = rs.recording(lambda m: m(jnp.ones((4, 2))), norm)
        >>> norm.running_mean
        Array([0.1, 0.1], dtype=float32)
    """
    recorder = Recorder()
    copy = hand_out(model, recorder)
    try:
        with training_context(training):
            result = f(copy, *args)
    finally:
        recorder.open = False
    return result, take_back(copy)


def nested(original: PyTree, call: Callable[[Any], R]) -> Callable[[Any], tuple[R, list[PyTree]]]:
    """Make a function of a *rebuilt* tree, for use under a JAX transform.

    The function hands out the rebuilt modules in the places of the original ones, calls
    `call` with them, and returns the result and their new state, for `absorb`.
    """

    def run(rebuilt: Any) -> tuple[R, list[PyTree]]:
        inner = jax.tree.map(lambda leaf: leaf, rebuilt)
        pairs = [(o, n) for (_, o), (_, n) in _side_by_side(original, inner)]
        recorder = _continued(original)
        for module, copy in pairs:
            if VISIT in module.__dict__:
                copy.__dict__[VISIT] = Visit(recorder, module.__dict__[VISIT].path)
        try:
            return call(inner), buffers_of(inner)
        except Exception as error:
            for module, copy in pairs:
                relocate(error, copy, module)
            raise
        finally:
            recorder.open = False

    return run


def _continued(original: PyTree) -> Recorder:
    """Make a recorder for an inner trace that reports calls to the outer one."""
    recorder = Recorder()
    for _, module in walk_modules(original):
        if VISIT in module.__dict__:
            recorder.observe = module.__dict__[VISIT].recorder.observe
    return recorder


def _side_by_side(a: PyTree, b: PyTree) -> Iterator[tuple[Any, Any]]:
    return zip(walk_modules(a), walk_modules(b), strict=True)


def buffers_of(tree: PyTree) -> list[PyTree]:
    """List the buffers of all modules of a tree, in the order of `walk_modules`."""
    return [
        {name: module.__dict__[name] for name in sorted(type(module).declared.buffers)}
        for _, module in walk_modules(tree)
    ]


def absorb(tree: PyTree, state: list[PyTree]) -> None:
    """Write the state that a `nested` call returned into the handed-out modules of a tree."""
    for (_, module), values in zip(walk_modules(tree), state, strict=True):
        if VISIT in module.__dict__:
            module.__dict__.update(
                (name, value) for name, value in values.items() if not _holds_modules(value)
            )


def _holds_modules(value: PyTree) -> bool:
    return any(map(is_module, jax.tree.leaves(value, is_leaf=is_module)))
