# SPDX-License-Identifier: Apache-2.0
"""Layers that are only their own parameters: Dense, Embedding."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Activation, Array, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_integer,
    expect_last_axis,
)
from rosin.functional.activations import identity
from rosin.functional.indexing import take_rows
from rosin.functional.initialisers import glorot_uniform, normal
from rosin.layers.inputs import as_input, made_by


class Dense(Module):
    r"""Apply an affine map, then an activation, to the last axis.

    $$y = \sigma(x W + b)$$

    Args:
        in_size: Features going in; at least 1.
        out_size: Features coming out; at least 1.
        activation: The elementwise $\sigma$.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$, called as `init(key, shape)`.
        key: Randomness for $W$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(in_size, out_size)`, trainable.
        - bias: `(out_size,)`, trainable, starts at zero.
        - call: `(..., in_size)` to `(..., out_size)`; leading axes are batches.

    Raises:
        RangeError: A size is not a whole number of at least 1.
        ShapeError: The input's last axis is not `in_size`, or `init` returns another shape.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax
        >>> layer = Dense(3, 2, jax.nn.relu, key=jax.random.key(0))
        >>> layer(jnp.ones((5, 3))).shape
        (5, 2)

    Source:
        Flux.jl `Dense`, transposed (Flux stores `(out, in)`). Default `init`:
        Glorot & Bengio 2010, eq. 16.
    """

    weight: Array
    bias: Array | None
    activation: Static[Activation]

    def __init__(
        self,
        in_size: int,
        out_size: int,
        activation: Activation = identity,
        *,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="Dense", in_size=in_size, out_size=out_size)
        expect_callable(subject="Dense", activation=activation, init=init)
        self.weight = made_by(init, resolve_key(key, subject="Dense"), (in_size, out_size))
        self.bias = jnp.zeros(out_size, self.weight.dtype) if bias else None
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Map `(..., in_size)` to `(..., out_size)`."""
        x = as_input(x, self.weight, subject=self)
        expect_last_axis(x, self.weight.shape[0], subject=self)
        y = x @ self.weight
        return self.activation(y if self.bias is None else y + self.bias)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from self.weight.shape
        if self.activation is not identity:
            yield self.activation
        yield "bias", self.bias is not None, True


class Embedding(Module):
    r"""Look up a row of a table for each whole number.

    $$y = W_{x}$$

    Args:
        vocabulary_size: Rows of the table; at least 1.
        features: Numbers in each row; at least 1.
        init: Draws the table, called as `init(key, shape)`.
        key: Randomness for the table; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(vocabulary_size, features)`, trainable.
        - call: integers of shape `(...)` to `(..., features)`.

    Raises:
        RangeError: A size is not a whole number of at least 1, or an index that is known
            outside `jit` is not from 0 to `vocabulary_size - 1`. Under `jit` such an
            index gives a row of NaN.
        DtypeError: The input does not hold whole numbers.

    Examples:
        >>> import jax
        >>> layer = Embedding(10, 4, key=jax.random.key(0))
        >>> layer(jnp.array([[1, 2, 9]])).shape
        (1, 3, 4)

    Source:
        Flux.jl `Embedding`, with rows in place of columns and indices from 0.
    """

    weight: Array

    def __init__(
        self,
        vocabulary_size: int,
        features: int,
        *,
        init: Initialiser = normal,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="Embedding", vocabulary_size=vocabulary_size, features=features)
        expect_callable(subject="Embedding", init=init)
        key = resolve_key(key, subject="Embedding")
        self.weight = made_by(init, key, (vocabulary_size, features))

    def __call__(self, indices: Array) -> Array:
        """Map integers `(...)` to rows `(..., features)`."""
        expect_integer(indices, subject=self, name="indices")
        return take_rows(self.weight, indices, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from self.weight.shape
