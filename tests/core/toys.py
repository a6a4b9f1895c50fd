# SPDX-License-Identifier: Apache-2.0
"""Small layers with each kind of leaf, so that the core is tested without `rosin.layers`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.module import Module
from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_last_axis

X = np.linspace(-1.0, 1.0, 6, dtype=np.float32).reshape(2, 3)


def array(*shape, seed=0):
    """Draw numbers that are neither zero nor one."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Affine(Module):
    """Parameters, an activation, and a check of its input."""

    weight: Array
    bias: Array | None
    activation: Static[Callable[..., Any]]

    def __init__(self, in_size, out_size, activation=jnp.tanh, *, seed=0, bias=True):
        self.weight = array(in_size, out_size, seed=seed)
        self.bias = array(out_size, seed=seed + 100) if bias else None
        self.activation = activation

    def __call__(self, x):
        expect_last_axis(x, self.weight.shape[0], subject=self)
        y = x @ self.weight
        return self.activation(y if self.bias is None else y + self.bias[None])


class Centre(Module):
    """Takes the mean off, as BatchNorm does: of the batch in training, else the running one."""

    scale: Array
    mean: Buffer[Array]
    steps: Buffer[Array]

    def __init__(self, size):
        self.scale = jnp.full(size, 1.5)
        self.mean = jnp.zeros(size)
        self.steps = jnp.zeros((), jnp.int32)

    def __call__(self, x):
        mean = self.mean
        if self.training:
            mean = x.mean(0)
            self.record(mean=0.5 * self.mean + 0.5 * mean, steps=self.steps + 1)
        return (x - mean[None]) * self.scale[None]


class Noise(Module):
    """Adds noise in training, as Dropout does, and keeps its key."""

    key: Buffer[Array]

    def __init__(self, seed=0):
        self.key = jax.random.key(seed)

    def __call__(self, x):
        if not self.training:
            return x
        now, later = jax.random.split(self.key)
        self.record(key=later)
        return x + jax.random.normal(now, x.shape)


class Seq(Module):
    """Calls layers in a row."""

    layers: tuple[Any, ...]

    def __init__(self, *layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Broken(Module):
    """Raises an error of somebody else when it is called."""

    weight: Array
    error: Static[type[Exception]]

    def __call__(self, x):
        raise self.error("broken")


def mean_of(model, *args):
    """Compute a loss."""
    return model(*args).mean()


def assert_trees_close(a, b, rtol=1e-6, atol=1e-7):
    """Compare two trees leaf by leaf; random keys by their bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(_numbers(left), _numbers(right), rtol=rtol, atol=atol)


def _numbers(leaf):
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if key else leaf
