# SPDX-License-Identifier: Apache-2.0
"""Norms of each channel, which may keep running statistics: BatchNorm, InstanceNorm."""

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.types import Activation, Array, Buffer, Static
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_callable,
    expect_last_axis,
    expect_not_empty,
    refuse,
)
from rosin.errors import ShapeError, shown
from rosin.functional.activations import identity
from rosin.functional.normalisation import (
    batch_norm,
    batch_norm_with_statistics,
    expect_at_least_axes,
    instance_norm_with_statistics,
)
from rosin.layers.inputs import as_input


class BatchNorm(Module):
    r"""Normalise each channel over the batch and all spatial axes.

    $$y = \sigma\Big(\gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta\Big)$$

    In training $\mu$ and $v$ (biased) come from the batch and move the running
    statistics by `momentum` (the variance unbiased); in inference the running ones are
    used. Statistics are computed in float32 at least, in two passes; a batch that lies on
    several devices is one batch.

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
        _build(
            self,
            channels,
            activation,
            affine=affine,
            track_statistics=track_statistics,
            momentum=momentum,
            epsilon=epsilon,
        )

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to the same shape."""
        x = _as_channels(self, x)
        if not self.training and self.running_mean is not None:
            return self.activation(_with_running_statistics(self, x))
        count = x.size // self.channels
        if count < 2:  # the unbiased variance divides by count - 1
            tracked = self.running_mean is not None
            other = "pin the layer with rs.testmode" if tracked else "pass track_statistics=True"
            refuse(
                ShapeError,
                subject=self,
                expected="at least 2 values for each channel, to take a variance of",
                got=f"{shown(x)}, which has {count}",
                fix=f"use a larger batch, or {other}",
            )
        y, mean, variance = batch_norm_with_statistics(
            x, self.scale, self.shift, epsilon=self.epsilon, subject=self
        )
        if self.training:
            _record(self, mean, variance * (count / (count - 1)))
        return self.activation(y)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from _arguments(self, affine=True, track_statistics=True)


class InstanceNorm(Module):
    r"""Normalise each channel of each example over its spatial axes.

    $$y = \sigma\Big(\gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta\Big)$$

    $\mu$ and $v$ (biased) come from the example itself, in both modes. With
    `track_statistics` their means over the batch (of the variance the unbiased one) move
    running statistics in training, and these are used in inference.

    Args:
        channels: Length of the last axis; at least 1.
        activation: The elementwise $\sigma$, applied last.
        affine: Whether $\gamma$ and $\beta$ exist.
        track_statistics: Whether running statistics exist.
        momentum: Weight of the new batch in the running statistics, from 0 to 1.
        epsilon: Added to the variance; above 0.

    Shapes:
        - scale, shift: `(channels,)`, trainable, start at one and zero.
        - running_mean, running_variance: `(channels,)`, buffers, start at zero and one.
        - call: `(batch, *space, channels)`, with at least one spatial axis, to the same.

    Raises:
        RangeError: An argument is out of its range.
        ShapeError: The input's last axis is not `channels`, it has no spatial axis, or
            fewer than two values along them; with `track_statistics` in training the
            batch is empty.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> InstanceNorm(3)(jnp.ones((8, 4, 4, 3))).shape
        (8, 4, 4, 3)

    Source:
        Ulyanov, Vedaldi & Lempitsky 2016, eq. 3; defaults of Flux.jl and PyTorch.
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
        affine: bool = False,
        track_statistics: bool = False,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
    ) -> None:
        _build(
            self,
            channels,
            activation,
            affine=affine,
            track_statistics=track_statistics,
            momentum=momentum,
            epsilon=epsilon,
        )

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to the same shape."""
        x = _as_channels(self, x)
        expect_at_least_axes(x, 3, "(batch, *space, channels)", subject=self)
        if not self.training and self.running_mean is not None:
            return self.activation(_with_running_statistics(self, x))
        y, mean, variance = instance_norm_with_statistics(
            x, self.scale, self.shift, epsilon=self.epsilon, subject=self
        )
        if self.training and self.running_mean is not None:
            expect_not_empty(x, subject=self, name="x")
            count = math.prod(x.shape[1:-1])
            _record(self, mean.mean(0), variance.mean(0) * (count / (count - 1)))
        return self.activation(y)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from _arguments(self, affine=False, track_statistics=False)


# --- what both do -----------------------------------------------------------------------

_Norm: TypeAlias = BatchNorm | InstanceNorm


def _build(
    norm: _Norm,
    channels: int,
    activation: Activation,
    *,
    affine: bool,
    track_statistics: bool,
    momentum: float,
    epsilon: float,
) -> None:
    name = type(norm).__name__
    expect_at_least(1, subject=name, channels=channels)
    expect_callable(subject=name, activation=activation)
    expect_between(0, 1, subject=name, momentum=momentum)
    expect_between(0, math.inf, subject=name, include_low=False, epsilon=epsilon)
    norm.scale = jnp.ones(channels) if affine else None
    norm.shift = jnp.zeros(channels) if affine else None
    norm.running_mean = jnp.zeros(channels) if track_statistics else None
    norm.running_variance = jnp.ones(channels) if track_statistics else None
    norm.channels = channels
    norm.activation = activation
    norm.momentum = float(momentum)
    norm.epsilon = float(epsilon)


def _as_channels(norm: _Norm, x: Array) -> Array:
    x = as_input(x, norm.scale, subject=norm)
    expect_last_axis(x, norm.channels, subject=norm, argument="channels")
    return x


def _with_running_statistics(norm: _Norm, x: Array) -> Array:
    mean, variance = norm.running_mean, norm.running_variance
    if mean is None or variance is None:
        return x
    return batch_norm(x, mean, variance, norm.scale, norm.shift, epsilon=norm.epsilon, subject=norm)


def _record(norm: _Norm, mean: Array, variance: Array) -> None:
    """Move the running statistics, where they exist, towards those of a batch."""
    if norm.running_mean is not None and norm.running_variance is not None:
        norm.record(
            running_mean=_moved(norm.running_mean, mean, norm.momentum),
            running_variance=_moved(norm.running_variance, variance, norm.momentum),
        )


def _moved(old: Array, new: Array, momentum: float) -> Array:
    moved = (1 - momentum) * old + momentum * jax.lax.stop_gradient(new).astype(old.dtype)
    return moved.astype(old.dtype)


def _arguments(norm: _Norm, *, affine: bool, track_statistics: bool) -> Iterator[Any]:
    """Yield the arguments that build a layer with these defaults."""
    yield norm.channels
    if norm.activation is not identity:
        yield norm.activation
    yield "affine", norm.scale is not None, affine
    yield "track_statistics", norm.running_mean is not None, track_statistics
    yield "momentum", norm.momentum, 0.1
    yield "epsilon", norm.epsilon, 1e-5
