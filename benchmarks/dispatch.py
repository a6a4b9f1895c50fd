# SPDX-License-Identifier: Apache-2.0
"""What a jitted call costs before any arithmetic: taking the model apart.

One model of 50 modules with three arrays each is handed to `jax.jit`, as each library
keeps it, and as a flat list of its 150 arrays.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

import rosin as rs

BLOCKS = 50
TITLE = "Dispatch: one jitted call on 50 modules, 150 arrays"
BASE = "flat list of the arrays"
CALLS = 200
BARS = {"rosin": 1.25}


class Block(rs.Module):
    """Three arrays, for Rosin."""

    scale: rs.Array
    weight: rs.Array
    bias: rs.Array
    activation: rs.Static[Callable[[rs.Array], rs.Array]]
    size: rs.Static[int]

    def __call__(self, x: rs.Array) -> rs.Array:
        """Map one vector to one."""
        return self.activation(x * self.scale) * self.weight + self.bias


class EquinoxBlock(eqx.Module):
    """The same for Equinox."""

    scale: jax.Array
    weight: jax.Array
    bias: jax.Array
    activation: Callable[[jax.Array], jax.Array] = eqx.field(static=True)
    size: int = eqx.field(static=True)


class NnxBlock(nnx.Module):
    """The same for Flax NNX."""

    def __init__(self, arrays: tuple[jax.Array, ...]) -> None:
        self.scale, self.weight, self.bias = map(nnx.Param, arrays)
        self.activation = jnp.tanh
        self.size = 4


class NnxModel(nnx.Module):
    """The blocks in a row."""

    def __init__(self, blocks: list[NnxBlock]) -> None:
        self.blocks = nnx.List(blocks)


def contenders() -> dict[str, Callable[[], Any]]:
    """Build the same model in each library, and a jitted call on it."""
    arrays = [tuple(jnp.full(4, i + 0.25 * j) for j in range(3)) for i in range(BLOCKS)]
    flat = [array for block in arrays for array in block]
    rosin = rs.Chain(*(Block(*block, jnp.tanh, 4) for block in arrays))
    equinox = [EquinoxBlock(*block, jnp.tanh, 4) for block in arrays]
    model = NnxModel([NnxBlock(block) for block in arrays])
    graph, state = nnx.split(model)

    def first(tree: Any) -> jax.Array:
        return jax.tree.leaves(tree)[0]

    def first_of_nnx(model: NnxModel) -> jax.Array:
        return model.blocks[0].scale[...]

    jitted = {
        BASE: (jax.jit(first), flat),
        "rosin": (jax.jit(first), rosin),
        "equinox, jax.jit": (jax.jit(first), equinox),
        "equinox, eqx.filter_jit": (eqx.filter_jit(first), equinox),
        "flax nnx, jax.jit on nnx.State": (jax.jit(first), state),
        "flax nnx, nnx.cached_partial": (nnx.cached_partial(nnx.jit(first_of_nnx), model), None),
        "flax nnx, nnx.jit": (nnx.jit(first_of_nnx), model),
    }
    del graph

    def call(function: Any, argument: Any) -> Callable[[], Any]:
        return function if argument is None else lambda: function(argument)

    return {name: call(function, argument) for name, (function, argument) in jitted.items()}
