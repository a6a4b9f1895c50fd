# SPDX-License-Identifier: Apache-2.0
"""Loss and gradient of one transformer block: 8 sequences of 128 tokens, width 128, 4 heads.

Causal, norms first, hidden width 512, gelu, float32. Plain jax writes the scores out;
`jax.nn.dot_product_attention` stands in for them in the second row.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

import rosin as rs

TITLE = "Transformer block: loss and gradient"
BASE = "plain jax"
CALLS = 5
BARS: dict[str, float] = {"rosin": 1.1}
BATCH, TIME, WIDTH, HEADS, HIDDEN = 8, 128, 128, 4, 512


def contenders() -> dict[str, Callable[[], Any]]:
    """Build the same step in each library; each call returns its loss."""
    x = jax.random.normal(jax.random.key(0), (BATCH, TIME, WIDTH))
    return {
        BASE: _plain(x, _attention),
        "plain jax, jax.nn.dot_product_attention": _plain(x, _jax_attention),
        "rosin": _rosin(x),
        "equinox": _equinox(x),
        "flax nnx": _nnx(x),
    }


def _attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    scores = jnp.einsum("bthf,bshf->bhts", q, k) * q.shape[-1] ** -0.5
    keep = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    weights = jax.nn.softmax(jnp.where(keep, scores, -jnp.inf))
    return jnp.einsum("bhts,bshf->bthf", weights, v)


def _jax_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


def _plain(x: jax.Array, attention: Callable[..., jax.Array]) -> Callable[[], Any]:
    shapes = [(WIDTH, WIDTH)] * 4 + [(WIDTH, HIDDEN), (HIDDEN, WIDTH)]
    keys = jax.random.split(jax.random.key(1), len(shapes))
    parameters = [
        (jax.random.normal(key, shape) * shape[0] ** -0.5, jnp.zeros(shape[1]))
        for key, shape in zip(keys, shapes, strict=True)
    ]
    norms = [(jnp.ones(WIDTH), jnp.zeros(WIDTH))] * 2

    def norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale + shift

    def loss(parameters: Any, norms: Any, x: jax.Array) -> jax.Array:
        def dense(index: int, x: jax.Array) -> jax.Array:
            weight, bias = parameters[index]
            return x @ weight + bias

        y = norm(x, *norms[0])
        q, k, v = (dense(i, y).reshape(BATCH, TIME, HEADS, -1) for i in range(3))
        x = x + dense(3, attention(q, k, v).reshape(BATCH, TIME, WIDTH))
        x = x + dense(5, jax.nn.gelu(dense(4, norm(x, *norms[1]))))
        return (x * x).mean()

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    return lambda: step(parameters, norms, x)[0]


def _rosin(x: jax.Array) -> Callable[[], Any]:
    model = rs.TransformerEncoderBlock(WIDTH, heads=HEADS, causal=True, key=jax.random.key(1))
    step = jax.jit(lambda m, x: rs.withgradient(lambda m: (m(x) ** 2).mean(), m)[:2])
    return lambda: step(model, x)[0]


class _EquinoxBlock(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    first: eqx.nn.LayerNorm
    second: eqx.nn.LayerNorm
    hidden: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        a, b, c = jax.random.split(key, 3)
        biases = dict.fromkeys(("query", "key", "value", "output"), True)
        biases = {f"use_{name}_bias": value for name, value in biases.items()}
        self.attention = eqx.nn.MultiheadAttention(HEADS, WIDTH, key=a, **biases)
        self.first, self.second = eqx.nn.LayerNorm(WIDTH), eqx.nn.LayerNorm(WIDTH)
        self.hidden = eqx.nn.Linear(WIDTH, HIDDEN, key=b)
        self.out = eqx.nn.Linear(HIDDEN, WIDTH, key=c)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.vmap(self.first)(x)
        x = x + self.attention(y, y, y, mask=jnp.tril(jnp.ones((TIME, TIME), bool)))
        y = jax.nn.gelu(jax.vmap(self.hidden)(jax.vmap(self.second)(x)))
        return x + jax.vmap(self.out)(y)


def _equinox(x: jax.Array) -> Callable[[], Any]:
    model = _EquinoxBlock(jax.random.key(1))

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def step(model: Any, x: jax.Array) -> jax.Array:
        return (jax.vmap(model)(x) ** 2).mean()

    return lambda: step(model, x)[0]


class _NnxBlock(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.first, self.second = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
        self.hidden = nnx.Linear(WIDTH, HIDDEN, rngs=rngs)
        self.out = nnx.Linear(HIDDEN, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        mask = jnp.tril(jnp.ones((TIME, TIME), bool))[None, None]
        x = x + self.attention(self.first(x), mask=mask)
        return x + self.out(nnx.gelu(self.hidden(self.second(x))))


def _nnx(x: jax.Array) -> Callable[[], Any]:
    model = _NnxBlock(nnx.Rngs(1))

    @nnx.jit
    def step(model: Any, x: jax.Array) -> Any:
        return nnx.value_and_grad(lambda m: (m(x) ** 2).mean())(model)

    return lambda: step(model, x)[0]
