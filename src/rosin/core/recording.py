# SPDX-License-Identifier: Apache-2.0
"""Recording: how new state leaves a call without the model changing under anybody's feet.

A function that is differentiated gets a private copy of the model, whose modules carry a
`Visit`. A visited module may record; any other would record into nothing, so it says so.
JAX rebuilds modules from their leaves under `jit`, `vmap`, `scan` and `checkpoint`;
rebuilt ones carry no visit, and a visit is good for the trace it was made in only.
"""

import contextlib
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import jax
from jax.extend.core import get_opaque_trace_state

from rosin.core.admit import admitted
from rosin.core.declare import VISIT
from rosin.core.locate import is_module, locate_in_tree, relocate, walk_modules
from rosin.core.module import Module, signature, training_context
from rosin.core.paths import path_string
from rosin.core.sharing import SharedAgain, expect_settled, first_place, linked
from rosin.core.types import PyTree
from rosin.core.validation import expect_callable, expect_known, refuse
from rosin.errors import StateError, StructureError, shown

M = TypeVar("M")
R = TypeVar("R")

Around = Callable[[Callable[..., Any], Module, Any, Any], Any]
"""Stands around a call: handed how to call, the module, positional and named arguments."""


class Recorder:
    """One trace in which modules may record.

    Args:
        watch: Told of every call of a module: its path, itself, what it returned.
        around: Makes the calls of modules, if given, in a way of its own.
    """

    def __init__(
        self,
        watch: Callable[[str, Module, Any], None] | None = None,
        around: Around | None = None,
    ) -> None:
        self.watch = watch
        self.around = around
        self.trace = get_opaque_trace_state()
        self.open = True

    @contextlib.contextmanager
    def apart(self) -> Generator[Around | None]:
        """Yield what stands around calls, and let it not stand around those inside."""
        around, self.around = self.around, None
        try:
            yield around
        finally:
            self.around = around

    def observe(self, path: str, module: Module, result: Any) -> None:
        """Pass on that a module was called."""
        if self.watch is not None:
            self.watch(path, module, result)

    @property
    def live(self) -> bool:
        """Whether the code that runs now belongs to this recorder's trace."""
        return self.open and self.trace == get_opaque_trace_state()


class Visit(NamedTuple):
    """Marks a module as handed out by a recorder, and names its place in the model."""

    recorder: Recorder
    path: str


_innermost: ContextVar[Recorder | None] = ContextVar("rosin_recorder", default=None)
"""For messages only: tells a captured module from one that JAX rebuilt."""


def visit_of(module: Module) -> Visit | None:
    """Return the visit of a module that was handed out and may record now."""
    visit = module.__dict__.get(VISIT)
    return visit if visit is not None and visit.recorder.live else None


@contextlib.contextmanager
def handing_out(
    tree: M, *, training: bool, watch: Callable[[str, Module, Any], None] | None = None
) -> Generator[M]:
    """Lend a copy of a tree whose modules may record until the block ends."""
    recorder = Recorder(watch)
    copy = jax.tree.map(lambda leaf: leaf, tree)
    for keys, module in walk_modules(copy):
        vars(module)[VISIT] = Visit(recorder, path_string(keys))
    with _opened(recorder), training_context(training):
        try:
            yield copy
        except Exception as error:
            locate_in_tree(error, copy)
            raise


@contextlib.contextmanager
def _opened(recorder: Recorder) -> Generator[None]:
    token = _innermost.set(recorder)
    try:
        yield
    finally:
        recorder.open = False
        _innermost.reset(token)


def recording(f: Callable[..., R], model: M, *args: Any, training: bool = True) -> tuple[R, M]:
    """Call `f(model, *args)` and return what it returned and the model with its new state.

    This is `withgradient` without the gradient: it moves running statistics and random
    keys on, for instance to re-estimate the statistics of a `BatchNorm`.

    Args:
        f: A function of the model.
        model: A module, or any tree of modules.
        args: Handed on to `f`.
        training: Whether the layers behave as in training.

    Raises:
        StructureError: `f` cannot be called, or the tree holds both places of a shared
            layer without a module around them.

    Examples:
        >>> import jax, jax.numpy as jnp, rosin as rs
        >>> norm = rs.BatchNorm(2)
        >>> y, norm = rs.recording(lambda m: m(jnp.ones((4, 2))), norm)
        >>> norm.running_mean
        Array([0.1, 0.1], dtype=float32)
    """
    expect_callable(subject="recording", f=f)
    expect_settled(model, subject="recording")
    with handing_out(model, training=training) as copy:
        result = f(copy, *args)
    return result, jax.tree.map(lambda leaf: leaf, copy)


# --- what a layer calls -----------------------------------------------------------------


def record(module: Module, values: dict[str, Any]) -> None:
    """Write new buffers into a handed-out module; `Module.record` describes it."""
    buffers = sorted(type(module).declared.buffers)
    expect_known(list(values), buffers, subject=module, what="buffers")
    if visit_of(module) is None:
        _refuse_record(module)
    for name, value in values.items():
        old, new = module.__dict__[name], admitted(value, type(module).__name__, name)
        if jax.tree.map(signature, old) != jax.tree.map(signature, new):
            refuse(
                StructureError,
                subject=module,
                expected=f"{name} to keep its shape and dtype, {shown(old)}",
                got=shown(value),
                fix=f"convert the new value to those of {name} before recording it",
            )
        vars(module)[name] = new


def _refuse_record(module: Module) -> None:
    """Say why nothing collects a record, and what to do about it."""
    visit, innermost = module.__dict__.get(VISIT), _innermost.get()
    if innermost is None:
        got = "a call outside of every gradient"
        fix = (
            "call the model inside rs.gradient, rs.train or rs.recording, or pin it with "
            "rs.testmode"
        )
    elif not innermost.live:
        got = "a call inside a bare transform of JAX, which would lose it"
        fix = (
            "use rs.vmap, rs.scan_layers or rs.remat in place of the one of JAX, with the "
            "module as an argument; leave jax.jit to the outside"
        )
    elif visit is None:
        got = "a module from outside the gradient, or a copy of one"
        fix = (
            "use the model that is handed to the function; pin one that is not trained "
            "with rs.testmode"
        )
    elif visit.recorder.open:
        got = "a module of an outer function, captured by an inner gradient or transform"
        fix = "hand it to the inner function as what rs.vmap maps, or rs.gradient differentiates by"
    else:
        got = "a module kept from a gradient that is over"
        fix = "use the model that rs.withgradient returned"
    expected = "a record that something collects"
    refuse(StateError, subject=module, expected=expected, got=got, fix=fix)


# --- through the transforms of JAX ------------------------------------------------------


class Passage:
    """Takes the modules of a tree through a transform of JAX, and their new state back.

    Made outside the transform. Inside, `call` hands out the modules that JAX rebuilt in
    the places of the original ones; outside again, `absorb` writes their state into those.

    Args:
        original: The tree whose leaves go through the transform.
    """

    def __init__(self, original: PyTree) -> None:
        self.modules = [module for _, module in walk_modules(original)]
        self.visits = [visit_of(module) for module in self.modules]
        self.firsts = [
            first_place(module) if isinstance(module, SharedAgain) else None
            for module in self.modules
        ]

    @property
    def live(self) -> bool:
        """Whether any module may record."""
        return any(visit is not None for visit in self.visits)

    def call(
        self, rebuilt: M, function: Callable[[M], R], *, around: Around | None = None
    ) -> tuple[R, list[PyTree]]:
        """Call a function with the rebuilt tree; return the result and the new state.

        Calls of modules inside are made as the outer recorder has it, or by `around`.
        """
        inner = jax.tree.map(lambda leaf: leaf, rebuilt)
        copies = [module for _, module in walk_modules(inner)]
        outer = next((visit.recorder for visit in self.visits if visit is not None), None)
        recorder = Recorder(outer and outer.observe, around or (outer and outer.around))
        for copy, module, live in zip(copies, self.modules, self.visits, strict=True):
            visit = module.__dict__.get(VISIT)  # a dead one goes along, for messages
            if visit is not None:
                vars(copy)[VISIT] = Visit(recorder, visit.path) if live else visit
        links = {id(c): f for c, f in zip(copies, self.firsts, strict=True) if f is not None}
        opened = _opened(recorder) if _innermost.get() else contextlib.nullcontext()
        with opened, linked(links):
            try:
                return function(inner), buffers_of(copies) if outer else []
            except Exception as error:
                pairs = zip(copies, self.modules, strict=True)
                relocate(error, {id(copy): module for copy, module in pairs})
                raise

    def absorb(self, state: list[PyTree]) -> None:
        """Write the state that `call` returned into the modules that may record."""
        if not self.live:
            return
        for module, visit, values in zip(self.modules, self.visits, state, strict=True):
            for name, value in values.items():
                if visit is not None and not _holds_modules(value):
                    vars(module)[name] = value


def buffers_of(modules: list[Module]) -> list[dict[str, PyTree]]:
    """List the buffers of modules."""
    return [
        {name: module.__dict__[name] for name in sorted(type(module).declared.buffers)}
        for module in modules
    ]


def _holds_modules(value: PyTree) -> bool:
    return any(map(is_module, jax.tree.leaves(value, is_leaf=is_module)))
