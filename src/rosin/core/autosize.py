# SPDX-License-Identifier: Apache-2.0
"""Sizes filled in from an example: `autosize`, and the layers that wait for it."""

import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from rosin.core.auto import Unfinished, holds_unfinished, refuse_unfinished, resolved
from rosin.core.declare import marks_of
from rosin.core.locate import relocate, walk_modules
from rosin.core.module import Module
from rosin.core.paths import path_string
from rosin.core.random import draw_key
from rosin.core.summary import abstract_call
from rosin.core.tree import testmode, trainmode
from rosin.core.types import Static
from rosin.core.validation import refuse
from rosin.errors import StructureError

M = TypeVar("M")


class Recipe:
    """The call that builds a layer, with sizes to fill in; known by its identity.

    A layer that draws its parameters gets its key now, so that layers have the same
    parameters whether their sizes are written out or filled in.
    """

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        takes_key = "key" in inspect.signature(layer.__init__).parameters
        self.key = draw_key() if takes_key and kwargs.get("key") is None else None

    def build(self, inputs: tuple[Any, ...]) -> Any:
        """Build the layer for what arrives, even while a function around it is traced."""
        with jax.ensure_compile_time_eval():
            args = [_filled(value, inputs) for value in self.args]
            kwargs = {name: _filled(value, inputs) for name, value in self.kwargs.items()}
            if self.key is not None:
                kwargs["key"] = self.key
            return self.layer(*args, **kwargs)


def _filled(value: Any, inputs: tuple[Any, ...]) -> Any:
    """Fill in an argument; layers among them take what arrives at the one around them."""
    if not holds_unfinished(value):
        return resolved(value, inputs)
    if isinstance(value, (tuple, list)):
        return type(value)(_filled(item, inputs) for item in value)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), inputs)
    return _traced(value, value, shapes)


_building: ContextVar[dict[Recipe, Any] | None] = ContextVar("rosin_autosize", default=None)
"""The layers that the `autosize` in progress has built."""


class Deferred(Unfinished, Module):
    """What stands in a model for a layer that `autosize` will build."""

    recipe: Static[Recipe]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the layer at the first call, and call it."""
        built = _building.get()
        if built is None:
            refuse_unfinished(self)
        if self.recipe not in built:
            built[self.recipe] = _pinned(self.recipe.build(args), marks_of(self).training)
        layer = built[self.recipe]
        try:
            return layer(*args, **kwargs)
        except Exception as error:
            relocate(error, {id(layer): self})
            raise

    def __getattr__(self, name: str) -> Any:
        """Tell why the layer has nothing yet."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"{name}: {self!r} is built by rosin.autosize, and has nothing before")

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build the layer."""
        yield from self.recipe.args
        yield from ((n, value) for n, value in self.recipe.kwargs.items() if n != "key")

    def _shown_name(self) -> str:
        return self.recipe.layer.__name__


def _pinned(layer: M, training: bool | None) -> M:  # noqa: FBT001  as the mark is
    if training is None:
        return layer
    return trainmode(layer) if training else testmode(layer)


def deferred(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Deferred:
    """Note a call of a layer's class with `auto` among its arguments."""
    return Deferred(Recipe(layer, args, kwargs))


def autosize(model: M, *inputs: Any, dtype: Any = jnp.float32) -> M:
    """Fill in the sizes that a model leaves open, from the shapes of an example.

    The model is called once without computing anything. Each layer that was built with
    `rosin.auto` in place of a size is built anew for what arrives at it.

    Args:
        model: A layer or a model, with `auto` among the arguments of its layers.
        inputs: For each argument of the model a shape or an array.
        dtype: Of the inputs that are given as shapes.

    Returns:
        The model with all layers built. Their parameters are those they would have with
        the sizes written out.

    Raises:
        StructureError: A layer is not reached by a call with these inputs, or the model
            does not take them.
        DtypeError: A size would be read off whole numbers, which may be indices.
        ShapeError: The model does not accept inputs of these shapes.

    Examples:
        >>> import rosin as rs
        >>> model = rs.Chain(
        ...     rs.Conv((3, 3), rs.auto, 8, rs.relu),
        ...     rs.flatten,
        ...     rs.Dense(rs.auto, rs.auto // 8),
        ... )
        >>> model
        Chain(Conv((3, 3), auto, 8, relu), flatten, Dense(auto, auto // 8))
        >>> rs.autosize(model, (1, 12, 12, 3))
        Chain(Conv((3, 3), 3, 8, relu), flatten, Dense(800, 100))

    Source:
        Flux.jl `@autosize`.
    """
    if not inputs:
        refuse(
            StructureError,
            subject="autosize",
            expected="the shape of at least one input",
            got="none",
            fix="pass the shape of a batch, such as rs.autosize(model, (1, 28, 28, 3))",
        )
    called, arguments = abstract_call(model, inputs, dtype, {}, subject="autosize")
    return _traced(called, model, arguments)


def _traced(called: Any, model: M, arguments: Any) -> M:
    """Build the layers of a model, by a call that reaches all of them."""
    built: dict[Recipe, Any] = {}
    token = _building.set(built)
    try:
        jax.eval_shape(called, *arguments)
    finally:
        _building.reset(token)
    return _finished(model, built)


def _finished(model: M, built: dict[Recipe, Any]) -> M:
    """Put the layers in the places of those that waited for them."""
    waiting = [(keys, m) for keys, m in walk_modules(model) if isinstance(m, Deferred)]
    missed = [path_string(keys) or repr(m) for keys, m in waiting if m.recipe not in built]
    if missed:
        refuse(
            StructureError,
            subject="autosize",
            expected="a model that calls all its layers",
            got=f"no call of {', '.join(missed)}",
            fix="write the sizes of these layers out",
        )

    def finish(node: Any) -> Any:
        return _finished(built[node.recipe], built) if isinstance(node, Deferred) else node

    return jax.tree.map(finish, model, is_leaf=lambda node: isinstance(node, Deferred))
