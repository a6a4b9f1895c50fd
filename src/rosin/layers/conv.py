# SPDX-License-Identifier: Apache-2.0
"""Convolutional layers: Conv."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Activation, Array, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_sizes,
    refuse,
)
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.activations import identity
from rosin.functional.convolution import Pad, conv, expand_pad, expand_sizes, expect_space
from rosin.functional.initialisers import glorot_uniform
from rosin.layers.inputs import as_input, made_by


class Conv(Module):
    r"""Slide a kernel over the spatial axes, then apply an activation.

    $$y_{b,p,o} = \sigma\Big(\sum_{k,i} W_{k,i,o}\, x_{b,\,s p + d k - a,\,i} + b_o\Big)$$

    with stride $s$, dilation $d$ and low padding $a$: cross-correlation, the kernel is
    not flipped.

    Args:
        kernel: Its size along each spatial axis, such as `(3, 3)`; its length sets the rank.
        in_channels: Channels going in; at least 1.
        out_channels: Channels coming out; at least 1.
        activation: The elementwise $\sigma$.
        stride: Step of the kernel, an int or one for each axis.
        pad: Zeros around the input: an int, one for each axis, a (low, high) pair for
            each axis, or `"same"`, which keeps the size at stride 1.
        dilation: Distance between taps of the kernel, an int or one for each axis.
        groups: Groups of channels that do not mix; divides both channel counts.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$, called as `init(key, shape)`.
        key: Randomness for $W$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(*kernel, in_channels / groups, out_channels)`, trainable.
        - bias: `(out_channels,)`, trainable, starts at zero.
        - call: `(batch, *space, in_channels)` to `(batch, *space', out_channels)`.

    Raises:
        RangeError: A size, stride, pad, dilation or group count is out of range.
        ShapeError: The input has another rank or channel count, or is smaller than the
            kernel.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax
        >>> layer = Conv((3, 3), 1, 8, pad="same", key=jax.random.key(0))
        >>> layer(jnp.ones((2, 28, 28, 1))).shape
        (2, 28, 28, 8)

    Source:
        Flux.jl `CrossCor` with groups; Flux's own `Conv` flips the kernel.
    """

    weight: Array
    bias: Array | None
    activation: Static[Activation]
    stride: Static[tuple[int, ...]]
    pad: Static[Pad]
    dilation: Static[tuple[int, ...]]
    groups: Static[int]

    def __init__(  # noqa: PLR0913  the published arguments of a convolution
        self,
        kernel: tuple[int, ...],
        in_channels: int,
        out_channels: int,
        activation: Activation = identity,
        *,
        stride: int | tuple[int, ...] = 1,
        pad: Pad = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        expect_sizes(kernel, subject="Conv", name="kernel")
        expect_at_least(1, subject="Conv", in_channels=in_channels, out_channels=out_channels)
        expect_at_least(1, subject="Conv", groups=groups)
        expect_callable(subject="Conv", activation=activation, init=init)
        _expect_divides(groups, in_channels=in_channels, out_channels=out_channels)
        rank = len(kernel)
        self.stride = expand_sizes(stride, rank, subject="Conv", name="stride")
        self.pad = expand_pad(pad, rank, subject="Conv")
        self.dilation = expand_sizes(dilation, rank, subject="Conv", name="dilation")
        self.groups = groups
        shape = (*kernel, in_channels // groups, out_channels)
        self.weight = made_by(init, resolve_key(key, subject="Conv"), shape)
        self.bias = jnp.zeros(out_channels, self.weight.dtype) if bias else None
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, in_channels)` to `(batch, *space', out_channels)`."""
        x = as_input(x, self.weight, subject=self)
        expect_space(x, self.weight.ndim - 2, subject=self)
        self._expect_channels(x)
        y = conv(
            x,
            self.weight,
            stride=self.stride,
            pad=self.pad,
            dilation=self.dilation,
            groups=self.groups,
            subject=self,
        )
        return self.activation(y if self.bias is None else y + self.bias)

    def _expect_channels(self, x: Array) -> None:
        channels = self.weight.shape[-2] * self.groups
        if x.shape[-1] != channels:
            refuse(
                ShapeError,
                subject=self,
                expected=f"shape (batch, *space, {channels}), channels last",
                got=shown(x),
                fix="move the channels to the last axis with jnp.moveaxis(x, 1, -1), or build "
                f"the layer with in_channels={x.shape[-1]}",
            )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        *kernel, in_group, out_channels = self.weight.shape
        rank = len(kernel)
        yield tuple(kernel)
        yield in_group * self.groups
        yield out_channels
        if self.activation is not identity:
            yield self.activation
        yield "stride", self.stride, (1,) * rank
        yield "pad", self.pad, ((0, 0),) * rank
        yield "dilation", self.dilation, (1,) * rank
        yield "groups", self.groups, 1
        yield "bias", self.bias is not None, True


def _expect_divides(groups: int, **channels: int) -> None:
    for name, count in channels.items():
        if count % groups:
            refuse(
                RangeError,
                subject="Conv",
                expected=f"groups to divide {name}={count}",
                got=f"groups={groups}",
                fix=f"pass {name} as a multiple of {groups}, or groups=1",
            )
