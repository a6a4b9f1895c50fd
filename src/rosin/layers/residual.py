# SPDX-License-Identifier: Apache-2.0
"""Layers for the end of a residual branch: DropPath, LayerScale."""

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Buffer, Key, Static
from rosin.core.validation import expect_at_least, expect_between, expect_last_axis
from rosin.functional.normalisation import expect_at_least_axes
from rosin.functional.stochastic import drop_path
from rosin.layers.inputs import as_input
from rosin.layers.regularise import drawn_key


class DropPath(Module):
    r"""In training set whole examples to zero at random, and scale the others up.

    At the end of a residual branch it leaves those examples to the shortcut, so that
    networks of many depths are trained at once (stochastic depth):
    `SkipConnection(Chain(block, DropPath(0.1)), jnp.add)`. In inference the input passes
    unchanged.

    Args:
        probability: The $p$ with which an example is dropped, from 0 to 1.
        key: Start of the layer's own random stream; drawn from the ambient one when left
            out.

    Shapes:
        - key: `()`, a buffer; moves on with each call in training.
        - call: `(batch, ...)` to the same.

    Raises:
        RangeError: The probability is not between 0 and 1.
        ShapeError: The input has no axis.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> DropPath(0.5)(jnp.ones(3))
        Array([1., 1., 1.], dtype=float32)

    Source:
        Huang et al. 2016, eq. 2, with the scale in training, as in PyTorch Image Models.
    """

    key: Buffer[Key]
    probability: Static[float]

    def __init__(self, probability: float, *, key: Key | None = None) -> None:
        expect_between(0, 1, subject="DropPath", probability=probability)
        self.probability = float(probability)
        self.key = resolve_key(key, subject="DropPath")

    def __call__(self, x: Array) -> Array:
        """Map `(batch, ...)` to the same shape."""
        x = as_input(x, None, subject=self)
        expect_at_least_axes(x, 1, "(batch, ...)", subject=self)
        if not self.training or self.probability == 0:
            return x
        return drop_path(x, self.probability, drawn_key(self), subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.probability


class LayerScale(Module):
    r"""Scale each feature of a residual branch by a learnt factor that starts near zero.

    $$y = \lambda \odot x$$

    Args:
        features: Length of the last axis; at least 1.
        start: The first value of every factor.

    Shapes:
        - scale: `(features,)`, trainable, starts at `start`.
        - call: `(..., features)` to the same.

    Raises:
        RangeError: An argument is out of its range.
        ShapeError: The input's last axis is not `features`.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> LayerScale(2, start=0.1)(jnp.ones(2))
        Array([0.1, 0.1], dtype=float32)

    Source:
        Touvron et al. 2021, "Going deeper with image transformers", eq. 4, which starts at
        0.1 up to 18 blocks, at $10^{-5}$ up to 24 and at $10^{-6}$ beyond.
    """

    scale: Array
    start: Static[float]

    def __init__(self, features: int, *, start: float = 1e-5) -> None:
        expect_at_least(1, subject="LayerScale", features=features)
        bounds = -math.inf, math.inf
        expect_between(
            *bounds, subject="LayerScale", include_low=False, include_high=False, start=start
        )
        self.scale = jnp.full(features, float(start))
        self.start = float(start)

    def __call__(self, x: Array) -> Array:
        """Map `(..., features)` to the same shape."""
        x = as_input(x, self.scale, subject=self)
        expect_last_axis(x, self.scale.shape[0], subject=self, argument="features")
        return x * self.scale

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.scale.shape[0]
        yield "start", self.start, 1e-5
