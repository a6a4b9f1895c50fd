# SPDX-License-Identifier: Apache-2.0
"""One training step of a multilayer perceptron, 64-128-128-10, batch 64, Adam.

Rosin's step has the guard against non-finite numbers in it, the others have none.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import rosin as rs

TITLE = "Training step: a small multilayer perceptron"
BASE = "plain jax and optax"
CALLS = 50
BARS: dict[str, float] = {}
SIZES = (64, 128, 128, 10)


def contenders() -> dict[str, Callable[[], Any]]:
    """Build the same step in each library; each call takes one, and returns its loss."""
    key = jax.random.key(0)
    x = jax.random.normal(key, (64, SIZES[0]))
    y = jax.random.randint(key, (64,), 0, SIZES[-1])
    return {
        BASE: _plain(x, y),
        "rosin, trainstep": _rosin(x, y),
        "equinox, eqx.filter_jit": _equinox(x, y),
        "flax nnx, nnx.jit": _nnx(x, y),
    }


def _cross_entropy(scores: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def _plain(x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    keys = jax.random.split(jax.random.key(1), len(SIZES) - 1)
    parameters = [
        (jax.random.normal(k, (a, b)) / a**0.5, jnp.zeros(b))
        for k, a, b in zip(keys, SIZES, SIZES[1:], strict=False)
    ]
    rule = optax.adam(1e-3)
    held = [parameters, rule.init(parameters)]

    def loss(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = parameters[-1]
        return _cross_entropy(x @ weight + bias, y)

    @jax.jit
    def step(parameters: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        value, grads = jax.value_and_grad(loss)(parameters, x, y)
        updates, state = rule.update(grads, state)
        return value, optax.apply_updates(parameters, updates), state

    def call() -> Any:
        value, held[0], held[1] = step(held[0], held[1], x, y)
        return value

    return call


def _rosin(x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    a, b, c, d = SIZES
    model = rs.Chain(rs.Dense(a, b, rs.relu), rs.Dense(b, c, rs.relu), rs.Dense(c, d))
    held: list[Any] = [model, rs.setup(rs.Adam(1e-3), model)]

    def loss(model: Any, x: Any, y: Any) -> Any:
        return rs.logitcrossentropy(model(x), y)

    def call() -> Any:
        result = rs.trainstep(loss, held[0], (x, y), held[1])
        held[:] = result.model, result.opt_state
        return result.loss

    return call


def _equinox(x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    a, b, _, d = SIZES
    model = eqx.nn.MLP(a, d, b, 2, key=jax.random.key(1))
    rule = optax.adam(1e-3)
    held: list[Any] = [model, rule.init(eqx.filter(model, eqx.is_array))]

    @eqx.filter_value_and_grad
    def loss(model: Any, x: Any, y: Any) -> Any:
        return _cross_entropy(jax.vmap(model)(x), y)

    @eqx.filter_jit
    def step(model: Any, state: Any, x: Any, y: Any) -> Any:
        value, grads = loss(model, x, y)
        updates, state = rule.update(grads, state)
        return value, eqx.apply_updates(model, updates), state

    def call() -> Any:
        value, held[0], held[1] = step(held[0], held[1], x, y)
        return value

    return call


def _nnx(x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    rngs = nnx.Rngs(1)
    a, b, c, d = SIZES
    model = nnx.Sequential(
        nnx.Linear(a, b, rngs=rngs),
        nnx.relu,
        nnx.Linear(b, c, rngs=rngs),
        nnx.relu,
        nnx.Linear(c, d, rngs=rngs),
    )
    held = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, held: Any, x: Any, y: Any) -> Any:
        value, grads = nnx.value_and_grad(lambda m: _cross_entropy(m(x), y))(model)
        held.update(model, grads)
        return value

    return lambda: step(model, held, x, y)
