# SPDX-License-Identifier: Apache-2.0
"""A function of a model as JAX differentiates it: a pure function of the trained leaves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.recording import handing_out
from rosin.core.sharing import expect_settled
from rosin.core.tree import Split, expect_trainable
from rosin.core.validation import expect_callable, expect_scalar_loss, name_of, refuse
from rosin.errors import StateError, StructureError, shown


class Traced:
    """A function of a model, made into a pure function of the trained leaves.

    What the function returns beside its first value may hold anything, strings included;
    only what JAX traced travels through it, the rest is kept here.
    """

    def __init__(self, f: Callable[..., Any], model: Any, args: tuple[Any, ...]) -> None:
        expect_callable(subject="gradient", f=f)
        self.f = f
        self.args = args
        self.name = name_of(f)
        model = jax.tree.map(_as_array, model)
        expect_settled(model, subject=self.name)
        self.split = Split(model)
        expect_trainable(self.split, subject=self.name)
        self.reached = False
        self.around: Any = None

    def run(self, trained: list[Any]) -> tuple[Any, list[Any]]:
        """Call the function; return its whole output and the model's new state."""
        model = self.split.join(trained, self.split.rest)
        with handing_out(model, training=True) as copy:
            out = self.f(copy, *self.args)
        return out, self.split.rest_of(copy)

    def arrays(self, trained: list[Any]) -> tuple[Any, list[Any]]:
        """Call the function as one that returns arrays."""
        out, state = self.run(trained)
        out = jax.tree.map(_as_array, out)
        others = [leaf for leaf in jax.tree.leaves(out) if not isinstance(leaf, jax.Array)]
        if others:
            refuse(
                StructureError,
                subject=self.name,
                expected="a function that returns an array, or a tree of arrays",
                got=shown(others[0]),
                fix="return arrays only, or use rs.withgradient, which hands on anything",
            )
        return out, state

    def loss(self, trained: list[Any]) -> tuple[Any, tuple[list[Any], list[Any]]]:
        """Call the function as a loss; return the number, and arrays that come along."""
        out, state = self.run(_noticed(self, trained))
        number = out[0] if isinstance(out, tuple) and out else out
        expect_scalar_loss(number, subject=self.name)
        return number, (self.keep(out), state)

    def keep(self, out: Any) -> list[Any]:
        """Take the arrays out of a result and remember what stood around them."""
        leaves, structure = jax.tree.flatten(out)
        travels = [isinstance(leaf, jax.Array) for leaf in leaves]
        fixed = [None if t else leaf for t, leaf in zip(travels, leaves, strict=True)]
        self.around = structure, travels, fixed
        return [leaf for t, leaf in zip(travels, leaves, strict=True) if t]

    def restore(self, arrays: list[Any]) -> Any:
        """Put a result together again."""
        structure, travels, fixed = self.around
        source = iter(arrays)
        leaves = [next(source) if t else leaf for t, leaf in zip(travels, fixed, strict=True)]
        return structure.unflatten(leaves)

    def expect_reached(self) -> None:
        """Refuse a loss that depends on no parameter."""
        if not self.reached:
            refuse(
                StateError,
                subject=self.name,
                expected="a loss that depends on at least one parameter of the model",
                got="a loss that none reaches",
                fix="use the model that is handed to the loss function, not one from outside, "
                "and no stop_gradient on all of it",
            )


def _as_array(leaf: Any) -> Any:
    plain = isinstance(leaf, (int, float, complex, np.ndarray, np.generic))
    return jnp.asarray(leaf) if plain else leaf


def _noticed(traced: Traced, leaves: list[Any]) -> list[Any]:
    """Pass leaves on, and notice when a gradient comes back to them.

    JAX calls the backward rule only when the result depends on the leaves.
    """

    @jax.custom_vjp
    def passed(leaves: list[Any]) -> list[Any]:
        return leaves

    def forward(leaves: list[Any]) -> tuple[list[Any], None]:
        return leaves, None

    def backward(_: None, cotangents: list[Any]) -> tuple[list[Any]]:
        traced.reached = True
        return (cotangents,)

    passed.defvjp(forward, backward)
    return passed(leaves)
