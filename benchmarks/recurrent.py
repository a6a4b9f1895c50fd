# SPDX-License-Identifier: Apache-2.0
"""Value and gradient of an LSTM, 64 features to 128, 100 steps, batch 64, in float32.

The gradient is taken by the input and by all weights.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

import rosin as rs

TITLE = "LSTM over sequences: value and gradient"
BASE = "plain jax, lax.scan over joined gates"
CALLS = 2
BARS = {"rosin": 1.0}
BATCH, TIME, IN, HIDDEN = 64, 100, 64, 128


def contenders() -> dict[str, Callable[[], Any]]:
    """Build the same layer in each library; each call returns the value and the gradient."""
    x = jax.random.normal(jax.random.key(0), (BATCH, TIME, IN))
    weights = jax.random.normal(jax.random.key(1), (BATCH, TIME, HIDDEN))
    models = {
        BASE: (_plain_model(), _plain),
        "rosin": (rs.LSTM(IN, HIDDEN), _called),
        "equinox, scan over LSTMCell": (
            eqx.nn.LSTMCell(IN, HIDDEN, key=jax.random.key(2)),
            _equinox,
        ),
        "flax nnx, nnx.RNN": _nnx(),
    }

    def call(model: Any, run: Callable[..., jax.Array]) -> Callable[[], Any]:
        def loss(model: Any, x: jax.Array) -> jax.Array:
            return (run(model, x) * weights).sum()

        taken = jax.jit(jax.value_and_grad(loss, (0, 1)))
        return lambda: jax.block_until_ready(taken(model, x))

    return {name: call(model, run) for name, (model, run) in models.items()}


def _called(model: Any, x: jax.Array) -> jax.Array:
    return model(x)


def _plain_model() -> dict[str, jax.Array]:
    """Draw the weights of input and state, one above the other."""
    key = jax.random.key(2)
    scale = (IN + HIDDEN) ** -0.5
    weight = scale * jax.random.normal(key, (IN + HIDDEN, 4 * HIDDEN))
    return {"weight": weight, "bias": jnp.zeros(4 * HIDDEN)}


def _plain(model: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    def step(state: Any, x: jax.Array) -> Any:
        h, c = state
        gates = jnp.concatenate([x, h], axis=-1) @ model["weight"] + model["bias"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((x.shape[0], HIDDEN))
    _, y = jax.lax.scan(step, (start, start), jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(y, 0, 1)


def _equinox(cell: Any, x: jax.Array) -> jax.Array:
    def step(state: Any, x: jax.Array) -> Any:
        state = cell(x, state)
        return state, state[0]

    def one(x: jax.Array) -> jax.Array:
        start = jnp.zeros(HIDDEN)
        return jax.lax.scan(step, (start, start), x)[1]

    return jax.vmap(one)(x)


def _nnx() -> tuple[Any, Callable[..., jax.Array]]:
    layer = nnx.RNN(nnx.OptimizedLSTMCell(IN, HIDDEN, rngs=nnx.Rngs(2)))
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def run(parameters: Any, x: jax.Array) -> jax.Array:
        start = jnp.zeros((x.shape[0], HIDDEN))  # drawing one moves a counter out of its trace
        return nnx.merge(graph, parameters, rest)(x, initial_carry=(start, start))

    return parameters, run
