# SPDX-License-Identifier: Apache-2.0
"""Small layers with each kind of leaf, so that training is tested without `rosin.layers`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs


class Affine(rs.Module):
    """Parameters and an activation."""

    weight: rs.Array
    bias: rs.Array
    activation: rs.Static[Callable[..., Any]]

    def __init__(self, in_size, out_size, activation=jnp.tanh, seed=0):
        key = jax.random.key(seed)
        self.weight = jax.random.normal(key, (in_size, out_size)) / in_size**0.5
        self.bias = jnp.linspace(-0.5, 0.5, out_size)
        self.activation = activation

    def __call__(self, x):
        return self.activation(x @ self.weight + self.bias[None])


class Centre(rs.Module):
    """A running mean, taken off in inference."""

    mean: rs.Buffer[rs.Array]

    def __init__(self, size):
        self.mean = jnp.zeros(size)

    def __call__(self, x):
        if not self.training:
            return x - self.mean[None]
        mean = x.mean(0)
        self.record(mean=0.9 * self.mean + 0.1 * mean)
        return x - mean[None]


class Noise(rs.Module):
    """A random key that moves on with each call in training."""

    key: rs.Buffer[rs.Key]

    def __init__(self, seed=5):
        self.key = jax.random.key(seed)

    def __call__(self, x):
        if not self.training:
            return x
        following, key = jax.random.split(self.key)
        self.record(key=following)
        return jnp.where(jax.random.bernoulli(key, 0.75, x.shape), x, 0)


class Net(rs.Module):
    """Layers in a row."""

    layers: tuple[Any, ...]

    def __init__(self, *layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def net(seed=0):
    """Build a model with parameters, a running mean and a random key."""
    return Net(Affine(3, 4, seed=seed), Centre(4), Noise(), Affine(4, 1, identity, seed=seed + 1))


def identity(x):
    """Return what came."""
    return x


def loss(model, x, y):
    """Square and average, as a mean over the batch."""
    return ((model(x) - y) ** 2).mean()


def data(examples=22, seed=0):
    """Draw inputs and targets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, 3)).astype(np.float32)
    return x, np.sin(x.sum(1, keepdims=True)).astype(np.float32)


def loader(examples=22, batch_size=4, **options):
    """Hand the data out in batches, the last of which is smaller."""
    return rs.DataLoader(data(examples), batch_size=batch_size, shuffle=True, seed=3, **options)


def copied(tree):
    """Copy a tree into NumPy, keys as their numbers, where nobody can donate it."""

    def copy(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return [copy(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same_bits(a, b):
    """Compare two trees leaf by leaf, bit by bit."""
    a, b = (copied(tree) for tree in (a, b))
    assert [(x.dtype, x.shape, x.tobytes()) for x in a] == [
        (x.dtype, x.shape, x.tobytes()) for x in b
    ]


class Scripted:
    """Data that differs from epoch to epoch; an exception in it is raised."""

    def __init__(self, *epochs):
        self.epochs = list(epochs)
        self.begun = 0

    def __iter__(self):
        epoch = self.epochs[self.begun]
        self.begun += 1
        for batch in epoch:
            if isinstance(batch, BaseException):
                raise batch
            yield batch


def batches(examples=22, size=4):
    """Cut the data in order; the last batch is smaller."""
    x, y = data(examples)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, examples, size)]


def poisoned(batch, value=np.nan):
    """Spoil one number of a batch."""
    x = batch[0].copy()
    x[1, 2] = value
    return x, batch[1]
