# SPDX-License-Identifier: Apache-2.0
"""Layers that act in training only, at random: Dropout and its kin."""

from collections.abc import Iterator
from typing import Any

import jax

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Buffer, Key, Static
from rosin.core.validation import expect_at_least, expect_between, is_whole, refuse
from rosin.errors import RangeError, shown
from rosin.functional.activations import rrelu
from rosin.functional.normalisation import expect_at_least_axes
from rosin.functional.stochastic import alpha_dropout, drop_block, dropout
from rosin.layers.inputs import as_input


class Dropout(Module):
    r"""In training set values to zero at random, and scale the others up.

    $$y = \frac{m \odot x}{1 - p}, \qquad m \sim \mathrm{Bernoulli}(1 - p)$$

    In inference the input passes unchanged. On a sequence `(batch, time, features)`,
    `axes=(0, 2)` drops the same features at all times (variational dropout); on an image
    `axes=(0, -1)` drops whole channels.

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
        Srivastava et al. 2014, section 4, with the scale in training; Flux.jl `Dropout`,
        whose `dims` are our `axes`. Equal masks in time: Gal & Ghahramani 2016.
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
        return dropout(x, self.probability, drawn_key(self), axes=self.axes, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.probability
        yield "axes", self.axes, None


class AlphaDropout(Module):
    r"""In training set values to the low end of SELU at random, and keep mean and variance.

    $$y = a\,(m \odot x + (1 - m)\,\alpha') + b, \qquad m \sim \mathrm{Bernoulli}(1 - p)$$

    with $\alpha' \approx -1.758$, and $a$ and $b$ such that mean 0 and variance 1 stay. For
    networks with SELU. In inference the input passes unchanged.

    Args:
        probability: The $p$ with which a value is dropped, from 0 to 1; 1 gives zeros.
        key: Start of the layer's own random stream; drawn from the ambient one when left
            out.

    Shapes:
        - key: `()`, a buffer; moves on with each call in training.
        - call: any shape to the same.

    Raises:
        RangeError: The probability is not between 0 and 1.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> AlphaDropout(0.5)(jnp.ones(3))
        Array([1., 1., 1.], dtype=float32)

    Source:
        Klambauer et al. 2017, section "New Dropout Technique"; Flux.jl `AlphaDropout`.
    """

    key: Buffer[Key]
    probability: Static[float]

    def __init__(self, probability: float, *, key: Key | None = None) -> None:
        expect_between(0, 1, subject="AlphaDropout", probability=probability)
        self.probability = float(probability)
        self.key = resolve_key(key, subject="AlphaDropout")

    def __call__(self, x: Array) -> Array:
        """Map an array to one of the same shape."""
        x = as_input(x, None, subject=self)
        if not self.training or self.probability == 0:
            return x
        return alpha_dropout(x, self.probability, drawn_key(self), subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.probability


class DropBlock(Module):
    r"""In training set blocks of neighbouring positions to zero, and scale up the others.

    Every position where a block of $b$ along each of $d$ spatial axes of sizes $n_i$ fits
    in starts one, in each channel of each example on its own, with probability

    $$\gamma = p \prod_{i=1}^{d} \frac{n_i}{b\,(n_i - b + 1)}$$

    What no block covers is multiplied by the size of the example over the count of such
    values. Blocks overlap, so the share that is dropped is near $p$ only while $p$ is
    small. In inference the input passes unchanged.

    Args:
        probability: The $p$ of the share to drop; at least 0 and below 1.
        block: The length $b$ of a block along each spatial axis; at least 1. Along a
            shorter axis the block covers it all.
        key: Start of the layer's own random stream; drawn from the ambient one when left
            out.

    Shapes:
        - key: `()`, a buffer; moves on with each call in training.
        - call: `(batch, *space, channels)`, with at least one spatial axis, to the same.

    Raises:
        RangeError: `probability` or `block` is out of its range.
        ShapeError: The input has no spatial axis.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> DropBlock(0.1, 3)(jnp.ones((2, 8, 8, 4))).shape
        (2, 8, 8, 4)

    Source:
        Ghiasi, Lin & Le 2018, algorithm 1 and eq. 1, for any number of axes; counts are
        taken over one example, in torchvision over the batch.
    """

    key: Buffer[Key]
    probability: Static[float]
    block: Static[int]

    def __init__(self, probability: float, block: int, *, key: Key | None = None) -> None:
        expect_between(0, 1, subject="DropBlock", include_high=False, probability=probability)
        expect_at_least(1, subject="DropBlock", block=block)
        self.probability = float(probability)
        self.block = block
        self.key = resolve_key(key, subject="DropBlock")

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to the same shape."""
        x = as_input(x, None, subject=self)
        expect_at_least_axes(x, 3, "(batch, *space, channels)", subject=self)
        if not self.training or self.probability == 0:
            return x
        return drop_block(x, self.probability, self.block, drawn_key(self), subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.probability
        yield self.block


class RReLU(Module):
    r"""Shrink what is negative: in training each number by a random factor.

    $$y = \max(x, a x), \qquad a \sim \mathcal{U}(l, u)$$

    In inference every $a$ is the mean, $(l + u) / 2$, as in `rs.rrelu(x)`.

    Args:
        lower: The $l$, from 0 to 1.
        upper: The $u$, from $l$ to 1.
        key: Start of the layer's own random stream; drawn from the ambient one when left
            out.

    Shapes:
        - key: `()`, a buffer; moves on with each call in training.
        - call: any shape to the same.

    Raises:
        RangeError: `lower` or `upper` is not between 0 and 1, or `upper` is below `lower`.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> RReLU(lower=0.25, upper=0.75)(jnp.array([-1.0, 2.0]))
        Array([-0.5,  2. ], dtype=float32)

    Source:
        Xu et al. 2015, section 3.4; the bounds of Flux.jl and PyTorch. Flux.jl has no layer.
    """

    key: Buffer[Key]
    lower: Static[float]
    upper: Static[float]

    def __init__(
        self, *, lower: float = 1 / 8, upper: float = 1 / 3, key: Key | None = None
    ) -> None:
        expect_between(0, 1, subject="RReLU", lower=lower)
        expect_between(lower, 1, subject="RReLU", upper=upper)
        self.lower, self.upper = float(lower), float(upper)
        self.key = resolve_key(key, subject="RReLU")

    def __call__(self, x: Array) -> Array:
        """Map an array to one of the same shape."""
        x = as_input(x, None, subject=self)
        key = drawn_key(self) if self.training else None
        return rrelu(x, lower=self.lower, upper=self.upper, key=key)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield "lower", self.lower, 1 / 8
        yield "upper", self.upper, 1 / 3


def drawn_key(layer: Any) -> Key:
    """Draw a key from the layer's own stream, and record where the stream goes on."""
    following, key = jax.random.split(layer.key)
    layer.record(key=following)
    return key
