# SPDX-License-Identifier: Apache-2.0
"""Layers that make or extend a sequence of tokens: PatchEmbedding, ClassToken."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Initialiser, Key
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_last_axis,
    expect_rank,
    expect_sizes,
    refuse,
)
from rosin.errors import ShapeError, shown
from rosin.functional.initialisers import glorot_uniform
from rosin.layers.inputs import as_input, made_bias, made_by
from rosin.layers.positions import TOKENS, small_normal


class PatchEmbedding(Module):
    r"""Cut an image into patches and map each to a token.

    $$y_p = \mathrm{vec}(x_p)\, W + b$$

    It computes what a convolution with the patch as kernel and stride does, as one
    product.

    Args:
        patch: The size of a patch along each spatial axis; its length sets the rank.
        in_channels: Channels of the image; at least 1.
        features: Features of a token; at least 1.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$, called as `init(key, shape)`.
        key: Randomness for $W$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(*patch, in_channels, features)`, trainable; the kernel of the
          convolution.
        - bias: `(features,)`, trainable, starts at zero.
        - call: `(batch, *space, in_channels)` to `(batch, patches, features)`, the last
          spatial axis fastest; each size a multiple of the patch's.

    Raises:
        RangeError: A size is not a whole number of at least 1.
        ShapeError: The input has another rank or channel count, or the patches do not
            cover it.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> PatchEmbedding((4, 4), 3, 64)(jnp.ones((2, 32, 32, 3))).shape
        (2, 64, 64)

    Source:
        Dosovitskiy et al. 2021, eq. 1; Metalhead.jl `PatchEmbedding`.
    """

    weight: Array
    bias: Array | None

    def __init__(
        self,
        patch: tuple[int, ...],
        in_channels: int,
        features: int,
        *,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        expect_sizes(patch, subject="PatchEmbedding", name="patch")
        expect_at_least(1, subject="PatchEmbedding", in_channels=in_channels, features=features)
        expect_callable(subject="PatchEmbedding", init=init)
        key = resolve_key(key, subject="PatchEmbedding")
        self.weight = made_by(init, key, (*patch, in_channels, features))
        self.bias = made_bias(bias, self.weight, (features,), subject="PatchEmbedding")

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, in_channels)` to `(batch, patches, features)`."""
        x = as_input(x, self.weight, subject=self)
        *patch, channels, features = self.weight.shape
        rank = len(patch)
        axes = ("height", "width") if rank == 2 else tuple(f"axis{i}" for i in range(rank))
        expect_rank(x, ("batch", *axes, "channels"), subject=self)
        expect_last_axis(x, channels, subject=self, argument="in_channels")
        pairs = list(zip(x.shape[1:-1], patch, strict=True))
        if any(size % part for size, part in pairs):
            refuse(
                ShapeError,
                subject=self,
                expected=f"sizes of which {tuple(patch)} are divisors",
                got=shown(x),
                fix="pad, cut or resize the images, or choose another patch",
            )
        split = [n for size, part in pairs for n in (size // part, part)]
        x = x.reshape(x.shape[0], *split, channels)
        outer, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
        x = x.transpose(0, *outer, *inner, 2 * rank + 1)
        count = math.prod(size // part for size, part in pairs)
        width = math.prod(patch) * channels
        y = x.reshape(x.shape[0], count, width) @ self.weight.reshape(width, features)
        return y if self.bias is None else y + self.bias

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        *patch, in_channels, features = self.weight.shape
        yield tuple(patch)
        yield in_channels
        yield features
        yield "bias", self.bias is not None, True


class ClassToken(Module):
    r"""Put one learnt token in front of each sequence.

    $$y = (c, x_1, \dots, x_n)$$

    Args:
        features: Features of a token; at least 1.
        init: Draws $c$, called as `init(key, shape)`.
        key: Randomness for $c$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(features,)`, trainable.
        - call: `(batch, time, features)` to `(batch, time + 1, features)`.

    Raises:
        RangeError: `features` is not a whole number of at least 1.
        ShapeError: The input is not `(batch, time, features)`.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> ClassToken(8)(jnp.ones((2, 5, 8))).shape
        (2, 6, 8)

    Source:
        Devlin et al. 2019, section 3; Metalhead.jl `ClassTokens`.
    """

    undecayed: ClassVar[frozenset[str]] = frozenset({"weight"})
    weight: Array

    def __init__(
        self,
        features: int,
        *,
        init: Initialiser = small_normal,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="ClassToken", features=features)
        expect_callable(subject="ClassToken", init=init)
        self.weight = made_by(init, resolve_key(key, subject="ClassToken"), (features,))

    def __call__(self, x: Array) -> Array:
        """Map `(batch, time, features)` to `(batch, time + 1, features)`."""
        x = as_input(x, self.weight, subject=self)
        expect_rank(x, TOKENS, subject=self)
        expect_last_axis(x, self.weight.shape[0], subject=self, argument="features")
        first = jnp.broadcast_to(self.weight, (x.shape[0], 1, x.shape[2]))
        return jnp.concatenate([first, x], 1)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from self.weight.shape
