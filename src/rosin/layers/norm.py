# SPDX-License-Identifier: Apache-2.0
"""Norms of each example by itself, the same in both modes: LayerNorm, RMSNorm and others."""

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.types import Activation, Array, Static
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_callable,
    expect_divides,
    expect_last_axes,
    expect_last_axis,
    expect_sizes,
)
from rosin.functional.activations import identity
from rosin.functional.normalisation import group_norm, layer_norm
from rosin.functional.scaling import local_response_norm, rms_norm
from rosin.layers.inputs import as_input


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
        self.sizes = _sizes(sizes, subject="LayerNorm")
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


class RMSNorm(Module):
    r"""Divide each example by the root of its mean square over the last axes.

    $$y = \sigma\Big(\gamma \odot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}\Big)$$

    A `LayerNorm` without the mean and the shift, as language models use it. Computed in
    float32 at least; no square overflows.

    Args:
        sizes: Lengths of the last axes, one int or a tuple; all of them are normalised
            together.
        activation: The elementwise $\sigma$, applied last.
        affine: Whether $\gamma$ exists.
        epsilon: Added to the mean square; above 0.

    Shapes:
        - scale: `sizes`, trainable, starts at one.
        - call: `(..., *sizes)` to the same; leading axes are batches.

    Raises:
        RangeError: An argument is out of its range.
        ShapeError: The input's last axes are not `sizes`.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> [round(float(y), 2) for y in RMSNorm(2)(jnp.array([1.0, 7.0]))]
        [0.2, 1.4]

    Source:
        Zhang & Sennrich 2019, eq. 4; Flux.jl has none. PyTorch's $\epsilon$ is the machine
        epsilon.
    """

    scale: Array | None
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
        self.sizes = _sizes(sizes, subject="RMSNorm")
        expect_callable(subject="RMSNorm", activation=activation)
        expect_between(0, math.inf, subject="RMSNorm", include_low=False, epsilon=epsilon)
        self.scale = jnp.ones(self.sizes) if affine else None
        self.activation = activation
        self.epsilon = float(epsilon)

    def __call__(self, x: Array) -> Array:
        """Map `(..., *sizes)` to the same shape."""
        x = as_input(x, self.scale, subject=self)
        expect_last_axes(x, self.sizes, subject=self)
        axes = tuple(range(-len(self.sizes), 0))
        y = rms_norm(x, self.scale, axes=axes, epsilon=self.epsilon, subject=self)
        return self.activation(y)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.sizes[0] if len(self.sizes) == 1 else self.sizes
        if self.activation is not identity:
            yield self.activation
        yield "affine", self.scale is not None, True
        yield "epsilon", self.epsilon, 1e-5


def _sizes(sizes: int | tuple[int, ...], *, subject: str) -> tuple[int, ...]:
    chosen = sizes if isinstance(sizes, tuple) else (sizes,)
    expect_sizes(chosen, subject=subject, name="sizes")
    return chosen


class GroupNorm(Module):
    r"""Normalise groups of neighbouring channels of each example, over them and all of space.

    $$y = \sigma\Big(\gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta\Big)$$

    $\mu$ and $v$ (biased) are those of one group, $\gamma$ and $\beta$ those of one
    channel. It does not depend on the batch, and is the same in both modes.

    Args:
        channels: Length of the last axis; at least 1.
        groups: Their number; divides `channels`. 1 normalises all channels together,
            `channels` each on its own, as `InstanceNorm` does.
        activation: The elementwise $\sigma$, applied last.
        affine: Whether $\gamma$ and $\beta$ exist.
        epsilon: Added to the variance; above 0.

    Shapes:
        - scale, shift: `(channels,)`, trainable, start at one and zero.
        - call: `(batch, *space, channels)` to the same.

    Raises:
        RangeError: An argument is out of its range, or `groups` does not divide `channels`.
        ShapeError: The input's last axis is not `channels`, it has no batch axis, or fewer
            than two values in a group.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> GroupNorm(6, 2)(jnp.ones((8, 4, 4, 6))).shape
        (8, 4, 4, 6)

    Source:
        Wu & He 2018, eqs. 1 to 5. PyTorch takes the number of groups first.
    """

    scale: Array | None
    shift: Array | None
    channels: Static[int]
    groups: Static[int]
    activation: Static[Activation]
    epsilon: Static[float]

    def __init__(
        self,
        channels: int,
        groups: int,
        activation: Activation = identity,
        *,
        affine: bool = True,
        epsilon: float = 1e-5,
    ) -> None:
        expect_at_least(1, subject="GroupNorm", channels=channels)
        expect_divides(groups, subject="GroupNorm", name="groups", channels=channels)
        expect_callable(subject="GroupNorm", activation=activation)
        expect_between(0, math.inf, subject="GroupNorm", include_low=False, epsilon=epsilon)
        self.scale = jnp.ones(channels) if affine else None
        self.shift = jnp.zeros(channels) if affine else None
        self.channels = channels
        self.groups = groups
        self.activation = activation
        self.epsilon = float(epsilon)

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to the same shape."""
        x = as_input(x, self.scale, subject=self)
        expect_last_axis(x, self.channels, subject=self, argument="channels")
        y = group_norm(x, self.groups, self.scale, self.shift, epsilon=self.epsilon, subject=self)
        return self.activation(y)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.channels
        yield self.groups
        if self.activation is not identity:
            yield self.activation
        yield "affine", self.scale is not None, True
        yield "epsilon", self.epsilon, 1e-5


class LocalResponseNorm(Module):
    r"""Divide each channel by a power of the mean square of the channels around it.

    $$y_c = x_c \Big(k + \frac{\alpha}{n} \sum_{j=c-\lfloor n/2 \rfloor}^{c+\lfloor (n-1)/2
    \rfloor} x_j^2\Big)^{-\beta}$$

    For models of the time before `BatchNorm`.

    Args:
        size: The number $n$ of channels that are looked at; at least 1.
        alpha: The weight $\alpha$ of the mean square; at least 0.
        beta: The power $\beta$; at least 0.
        k: The summand $k$; above 0.

    Shapes:
        - call: `(..., channels)` to the same.

    Raises:
        RangeError: An argument is out of its range, or the input has no axis.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> LocalResponseNorm(1, alpha=2.0, beta=0.5)(jnp.array([0.0, 2.0, 0.0]))
        Array([0.        , 0.6666667, 0.        ], dtype=float32)

    Source:
        Krizhevsky, Sutskever & Hinton 2012, section 3.3, with $\alpha / n$ for their
        $\alpha$ and the defaults, as in PyTorch.
    """

    size: Static[int]
    alpha: Static[float]
    beta: Static[float]
    k: Static[float]

    def __init__(
        self, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        name = "LocalResponseNorm"
        expect_at_least(1, subject=name, size=size)
        expect_between(0, math.inf, subject=name, include_high=False, alpha=alpha, beta=beta)
        expect_between(0, math.inf, subject=name, include_low=False, include_high=False, k=k)
        self.size = size
        self.alpha, self.beta, self.k = float(alpha), float(beta), float(k)

    def __call__(self, x: Array) -> Array:
        """Map `(..., channels)` to the same shape."""
        x = as_input(x, None, subject=self)
        return local_response_norm(
            x, self.size, alpha=self.alpha, beta=self.beta, k=self.k, subject=self
        )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.size
        yield "alpha", self.alpha, 1e-4
        yield "beta", self.beta, 0.75
        yield "k", self.k, 1.0
