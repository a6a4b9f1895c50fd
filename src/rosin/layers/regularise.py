# SPDX-License-Identifier: Apache-2.0
"""Layers that act in training only: Dropout."""

from collections.abc import Iterator
from typing import Any

import jax

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Buffer, Key, Static
from rosin.core.validation import expect_between, is_whole, refuse
from rosin.errors import RangeError, shown
from rosin.functional.stochastic import dropout
from rosin.layers.inputs import as_input


class Dropout(Module):
    r"""In training set values to zero at random, and scale the others up.

    $$y = \frac{m \odot x}{1 - p}, \qquad m \sim \mathrm{Bernoulli}(1 - p)$$

    In inference the input passes unchanged.

    Args:
        probability: The $p$ with which a value is dropped, from 0 to 1.
        axes: Axes along which the mask varies, it is equal along the others; every axis
            when left out.
        key: Start of the layer's own random stream; drawn from the ambient one when left
            out.

    Shapes:
        - key: `()`, a buffer; moves on with each call in training.
        - call: any shape to the same.

    Raises:
        RangeError: The probability is not between 0 and 1, or an axis is no whole number.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> Dropout(0.5)(jnp.ones(3))
        Array([1., 1., 1.], dtype=float32)

    Source:
        Srivastava et al. 2014, section 4, with the scale in training; Flux.jl `Dropout`.
    """

    key: Buffer[Key]
    probability: Static[float]
    axes: Static[tuple[int, ...] | None]

    def __init__(
        self,
        probability: float,
        *,
        axes: int | tuple[int, ...] | None = None,
        key: Key | None = None,
    ) -> None:
        expect_between(0, 1, subject="Dropout", probability=probability)
        chosen = (axes,) if isinstance(axes, int) else axes
        if chosen is not None and not all(map(is_whole, chosen)):
            refuse(
                RangeError,
                subject="Dropout",
                expected="axes to be whole numbers",
                got=shown(axes),
                fix="pass axes=(0, -1), for example",
            )
        self.probability = float(probability)
        self.axes = chosen
        self.key = resolve_key(key, subject="Dropout")

    def __call__(self, x: Array) -> Array:
        """Map an array to one of the same shape."""
        x = as_input(x, None, subject=self)
        if not self.training or self.probability == 0:
            return x
        following, key = jax.random.split(self.key)
        self.record(key=following)
        return dropout(x, self.probability, key, axes=self.axes)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.probability
        yield "axes", self.axes, None
