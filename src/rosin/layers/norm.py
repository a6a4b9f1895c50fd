# SPDX-License-Identifier: Apache-2.0
"""Normalising layers: BatchNorm, LayerNorm."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.types import Activation, Array, Buffer, Static
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_callable,
    expect_last_axes,
    expect_last_axis,
    expect_sizes,
    refuse,
)
from rosin.errors import ShapeError, shown
from rosin.functional.activations import identity
from rosin.functional.normalisation import (
    batch_norm,
    batch_norm_with_statistics,
    layer_norm,
)
from rosin.layers.inputs import as_input


class BatchNorm(Module):
    r"""Normalise each channel over the batch and all spatial axes.

    $$y = \sigma\Big(\gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta\Big)$$

    In training $\mu$ and $v$ (biased) come from the batch and move the running
    statistics by `momentum` (the variance unbiased); in inference the running ones are
    used. Statistics are computed in float32 at least, in two passes.

    Args:
        channels: Length of the last axis; at least 1.
        activation: The elementwise $\sigma$, applied last.
        affine: Whether $\gamma$ and $\beta$ exist.
        track_statistics: Whether running statistics exist; without them the batch's own
            are used in inference too.
        momentum: Weight of the new batch in the running statistics, from 0 to 1.
        epsilon: Added to the variance; above 0.

    Shapes:
        - scale, shift: `(channels,)`, trainable, start at one and zero.
        - running_mean, running_variance: `(channels,)`, buffers, start at zero and one.
        - call: `(batch, *space, channels)` to the same.

    Raises:
        RangeError: An argument is out of its range.
        ShapeError: The input's last axis is not `channels`, or in training it has fewer
            than two values for each channel, of which there is no variance.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> BatchNorm(3)(jnp.ones((8, 4, 4, 3))).shape
        (8, 4, 4, 3)

    Source:
        Ioffe & Szegedy 2015, algorithm 1; defaults of Flux.jl and PyTorch.
    """

    scale: Array | None
    shift: Array | None
    running_mean: Buffer[Array | None]
    running_variance: Buffer[Array | None]
    channels: Static[int]
    activation: Static[Activation]
    momentum: Static[float]
    epsilon: Static[float]

    def __init__(
        self,
        channels: int,
        activation: Activation = identity,
        *,
        affine: bool = True,
        track_statistics: bool = True,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
    ) -> None:
        expect_at_least(1, subject="BatchNorm", channels=channels)
        expect_callable(subject="BatchNorm", activation=activation)
        expect_between(0, 1, subject="BatchNorm", momentum=momentum)
        expect_between(0, math.inf, subject="BatchNorm", include_low=False, epsilon=epsilon)
        self.scale = jnp.ones(channels) if affine else None
        self.shift = jnp.zeros(channels) if affine else None
        self.running_mean = jnp.zeros(channels) if track_statistics else None
        self.running_variance = jnp.ones(channels) if track_statistics else None
        self.channels = channels
        self.activation = activation
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to the same shape."""
        x = as_input(x, self.scale, subject=self)
        expect_last_axis(x, self.channels, subject=self, argument="channels")
        mean, variance = self.running_mean, self.running_variance
        if self.training or mean is None or variance is None:
            return self.activation(self._batch_normalised(x))
        y = batch_norm(
            x, mean, variance, self.scale, self.shift, epsilon=self.epsilon, subject=self
        )
        return self.activation(y)

    def _batch_normalised(self, x: Array) -> Array:
        """Normalise with the batch's own statistics, and in training move the running ones."""
        count = x.size // self.channels
        if count < 2:  # the unbiased variance divides by count - 1
            refuse(
                ShapeError,
                subject=self,
                expected="at least 2 values for each channel, to take a variance of",
                got=f"{shown(x)}, which has {count}",
                fix="use a larger batch, or pin the layer with rs.testmode",
            )
        y, mean, variance = batch_norm_with_statistics(
            x, self.scale, self.shift, epsilon=self.epsilon, subject=self
        )
        if self.training and self.running_mean is not None and self.running_variance is not None:
            unbiased = variance * (count / (count - 1))
            self.record(
                running_mean=_moved(self.running_mean, mean, self.momentum),
                running_variance=_moved(self.running_variance, unbiased, self.momentum),
            )
        return y

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.channels
        if self.activation is not identity:
            yield self.activation
        yield "affine", self.scale is not None, True
        yield "track_statistics", self.running_mean is not None, True
        yield "momentum", self.momentum, 0.1
        yield "epsilon", self.epsilon, 1e-5


def _moved(old: Array, new: Array, momentum: float) -> Array:
    moved = (1 - momentum) * old + momentum * jax.lax.stop_gradient(new).astype(old.dtype)
    return moved.astype(old.dtype)


class LayerNorm(Module):
    r"""Normalise each example over its last axes.

    $$y = \sigma\Big(\gamma \odot \frac{x - \mu}{\sqrt{v + \epsilon}} + \beta\Big)$$

    Statistics (biased) are computed in float32 at least, in two passes.

    Args:
        sizes: Lengths of the last axes, one int or a tuple; all of them are normalised
            together.
        activation: The elementwise $\sigma$, applied last.
        affine: Whether $\gamma$ and $\beta$ exist.
        epsilon: Added to the variance; above 0.

    Shapes:
        - scale, shift: `sizes`, trainable, start at one and zero.
        - call: `(..., *sizes)` to the same; leading axes are batches.

    Raises:
        RangeError: An argument is out of its range.
        ShapeError: The input's last axes are not `sizes`.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> [round(float(y), 2) for y in LayerNorm(4)(jnp.arange(4.0))]
        [-1.34, -0.45, 0.45, 1.34]

    Source:
        Ba, Kiros & Hinton 2016, eq. 4; Flux.jl `LayerNorm`, over last in place of first
        axes.
    """

    scale: Array | None
    shift: Array | None
    sizes: Static[tuple[int, ...]]
    activation: Static[Activation]
    epsilon: Static[float]

    def __init__(
        self,
        sizes: int | tuple[int, ...],
        activation: Activation = identity,
        *,
        affine: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        self.sizes = sizes if isinstance(sizes, tuple) else (sizes,)
        expect_sizes(self.sizes, subject="LayerNorm", name="sizes")
        expect_callable(subject="LayerNorm", activation=activation)
        expect_between(0, math.inf, subject="LayerNorm", include_low=False, epsilon=epsilon)
        self.scale = jnp.ones(self.sizes) if affine else None
        self.shift = jnp.zeros(self.sizes) if affine else None
        self.activation = activation
        self.epsilon = float(epsilon)

    def __call__(self, x: Array) -> Array:
        """Map `(..., *sizes)` to the same shape."""
        x = as_input(x, self.scale, subject=self)
        expect_last_axes(x, self.sizes, subject=self)
        axes = tuple(range(-len(self.sizes), 0))
        y = layer_norm(x, self.scale, self.shift, axes=axes, epsilon=self.epsilon, subject=self)
        return self.activation(y)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.sizes[0] if len(self.sizes) == 1 else self.sizes
        if self.activation is not identity:
            yield self.activation
        yield "affine", self.scale is not None, True
        yield "epsilon", self.epsilon, 1e-5
