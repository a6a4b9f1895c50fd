# SPDX-License-Identifier: Apache-2.0
"""Convolutional layers: Conv, ConvTranspose, DepthwiseConv."""

from collections.abc import Iterator
from typing import Any

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Activation, Array, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_divides,
    expect_sizes,
    refuse,
)
from rosin.errors import ShapeError, shown
from rosin.functional.activations import identity
from rosin.functional.convolution import (
    conv,
    conv_transpose,
    depthwise_conv,
    expand_output_padding,
)
from rosin.functional.initialisers import glorot_uniform
from rosin.functional.windows import Padding, expand_pad, expand_sizes, expect_space
from rosin.layers.inputs import as_input, made_bias, made_by


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
        >>> import jax.numpy as jnp
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
    pad: Static[Padding]
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
        pad: Padding = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        expect_sizes(kernel, subject="Conv", name="kernel", axes="spatial axes")
        expect_at_least(1, subject="Conv", in_channels=in_channels, out_channels=out_channels)
        expect_callable(subject="Conv", activation=activation, init=init)
        expect_divides(
            groups,
            subject="Conv",
            name="groups",
            in_channels=in_channels,
            out_channels=out_channels,
        )
        rank = len(kernel)
        self.stride = expand_sizes(stride, rank, subject="Conv", name="stride")
        self.pad = expand_pad(pad, rank, subject="Conv")
        self.dilation = expand_sizes(dilation, rank, subject="Conv", name="dilation")
        self.groups = groups
        shape = (*kernel, in_channels // groups, out_channels)
        self.weight = made_by(init, resolve_key(key, subject="Conv"), shape)
        self.bias = made_bias(bias, self.weight, (out_channels,), subject="Conv")
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, in_channels)` to `(batch, *space', out_channels)`."""
        x = _as_channels(x, self.weight, self.weight.shape[-2] * self.groups, subject=self)
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


class ConvTranspose(Module):
    r"""Apply the adjoint of `Conv`, which makes the spatial axes longer, then an activation.

    $$y_{b,\,s q + d k - a,\,o} = \sigma\Big(\sum_{q,k,i} W_{k,o,i}\, x_{b,q,i} + b_o\Big)$$

    with stride $s$, dilation $d$ and low padding $a$. Along each axis the size is
    $(n - 1) s + d (k - 1) + 1$, less the padding, plus the output padding.

    Args:
        kernel: Its size along each spatial axis, such as `(3, 3)`; its length sets the rank.
        in_channels: Channels going in; at least 1.
        out_channels: Channels coming out; at least 1.
        activation: The elementwise $\sigma$.
        stride: What the size is multiplied by, an int or one for each axis.
        pad: What is cut off the result's ends: an int, one for each axis, a (low, high)
            pair for each axis, or `"same"`, which gives `stride` times the size.
        output_padding: What the result is longer by at its high end, below `stride`.
        dilation: Distance between taps of the kernel, an int or one for each axis.
        groups: Groups of channels that do not mix; divides both channel counts.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$, called as `init(key, shape)`.
        key: Randomness for $W$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(*kernel, out_channels / groups, in_channels)`, trainable.
        - bias: `(out_channels,)`, trainable, starts at zero.
        - call: `(batch, *space, in_channels)` to `(batch, *space', out_channels)`.

    Raises:
        RangeError: A size, stride, pad, dilation or group count is out of range.
        ShapeError: The input has another rank or channel count, or nothing would be left.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> layer = ConvTranspose((4, 4), 8, 3, stride=2, pad="same", key=jax.random.key(0))
        >>> layer(jnp.ones((2, 14, 14, 8))).shape
        (2, 28, 28, 3)

    Source:
        Flux.jl `ConvTranspose`, with the kernel unflipped, and `outpad` called
        `output_padding`; Dumoulin & Visin 2016, section 4.
    """

    weight: Array
    bias: Array | None
    activation: Static[Activation]
    stride: Static[tuple[int, ...]]
    pad: Static[Padding]
    output_padding: Static[tuple[int, ...]]
    dilation: Static[tuple[int, ...]]
    groups: Static[int]

    def __init__(  # noqa: PLR0913  the published arguments of a transposed convolution
        self,
        kernel: tuple[int, ...],
        in_channels: int,
        out_channels: int,
        activation: Activation = identity,
        *,
        stride: int | tuple[int, ...] = 1,
        pad: Padding = 0,
        output_padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        subject = "ConvTranspose"
        expect_sizes(kernel, subject=subject, name="kernel", axes="spatial axes")
        expect_at_least(1, subject=subject, in_channels=in_channels, out_channels=out_channels)
        expect_callable(subject=subject, activation=activation, init=init)
        expect_divides(
            groups,
            subject=subject,
            name="groups",
            in_channels=in_channels,
            out_channels=out_channels,
        )
        rank = len(kernel)
        self.stride = expand_sizes(stride, rank, subject=subject, name="stride")
        self.pad = expand_pad(pad, rank, subject=subject)
        self.output_padding = expand_output_padding(
            output_padding, self.stride, self.pad, subject=subject
        )
        self.dilation = expand_sizes(dilation, rank, subject=subject, name="dilation")
        self.groups = groups
        shape = (*kernel, out_channels // groups, in_channels)
        self.weight = made_by(init, resolve_key(key, subject=subject), shape)
        self.bias = made_bias(bias, self.weight, (out_channels,), subject=subject)
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, in_channels)` to `(batch, *space', out_channels)`."""
        x = _as_channels(x, self.weight, self.weight.shape[-1], subject=self)
        y = conv_transpose(
            x,
            self.weight,
            stride=self.stride,
            pad=self.pad,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
            subject=self,
        )
        return self.activation(y if self.bias is None else y + self.bias)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        *kernel, group_out, in_channels = self.weight.shape
        rank = len(kernel)
        yield tuple(kernel)
        yield in_channels
        yield group_out * self.groups
        if self.activation is not identity:
            yield self.activation
        yield "stride", self.stride, (1,) * rank
        yield "pad", self.pad, ((0, 0),) * rank
        yield "output_padding", self.output_padding, (0,) * rank
        yield "dilation", self.dilation, (1,) * rank
        yield "groups", self.groups, 1
        yield "bias", self.bias is not None, True


class DepthwiseConv(Module):
    r"""Slide kernels over each channel alone, then apply an activation.

    $$y_{b,p,\,i m + j} = \sigma\Big(\sum_k W_{k,0,\,i m + j}\, x_{b,\,s p + d k - a,\,i}
    + b_{i m + j}\Big)$$

    for $0 \le j < m$, with stride $s$, dilation $d$, low padding $a$ and multiplier $m$.

    Args:
        kernel: Its size along each spatial axis, such as `(3, 3)`; its length sets the rank.
        channels: Channels going in; at least 1.
        activation: The elementwise $\sigma$.
        multiplier: Channels coming out for each that goes in; at least 1.
        stride: As for `Conv`.
        pad: As for `Conv`.
        dilation: As for `Conv`.
        bias: Whether $b$ exists; `False` stores no array.
        init: Draws $W$, called as `init(key, shape)`.
        key: Randomness for $W$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(*kernel, 1, channels * multiplier)`, trainable.
        - bias: `(channels * multiplier,)`, trainable, starts at zero.
        - call: `(batch, *space, channels)` to `(batch, *space', channels * multiplier)`.

    Raises:
        RangeError: A size, stride, pad or dilation is out of range.
        ShapeError: The input has another rank or channel count, or is smaller than the
            kernel.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> layer = DepthwiseConv((3, 3), 8, multiplier=2, key=jax.random.key(0))
        >>> layer(jnp.ones((2, 28, 28, 8))).shape
        (2, 26, 26, 16)

    Source:
        Flux.jl `DepthwiseConv(kernel, in => out)`, with `multiplier` for `out / in`.
    """

    weight: Array
    bias: Array | None
    activation: Static[Activation]
    stride: Static[tuple[int, ...]]
    pad: Static[Padding]
    dilation: Static[tuple[int, ...]]
    multiplier: Static[int]

    def __init__(  # noqa: PLR0913  the published arguments of a convolution
        self,
        kernel: tuple[int, ...],
        channels: int,
        activation: Activation = identity,
        *,
        multiplier: int = 1,
        stride: int | tuple[int, ...] = 1,
        pad: Padding = 0,
        dilation: int | tuple[int, ...] = 1,
        bias: bool = True,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        subject = "DepthwiseConv"
        expect_sizes(kernel, subject=subject, name="kernel", axes="spatial axes")
        expect_at_least(1, subject=subject, channels=channels, multiplier=multiplier)
        expect_callable(subject=subject, activation=activation, init=init)
        rank = len(kernel)
        self.stride = expand_sizes(stride, rank, subject=subject, name="stride")
        self.pad = expand_pad(pad, rank, subject=subject)
        self.dilation = expand_sizes(dilation, rank, subject=subject, name="dilation")
        self.multiplier = multiplier
        shape = (*kernel, 1, channels * multiplier)
        self.weight = made_by(init, resolve_key(key, subject=subject), shape)
        self.bias = made_bias(bias, self.weight, (channels * multiplier,), subject=subject)
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *space', channels * multiplier)`."""
        y = depthwise_conv(
            _as_channels(x, self.weight, self.weight.shape[-1] // self.multiplier, subject=self),
            self.weight,
            stride=self.stride,
            pad=self.pad,
            dilation=self.dilation,
            subject=self,
        )
        return self.activation(y if self.bias is None else y + self.bias)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        *kernel, _, outgoing = self.weight.shape
        rank = len(kernel)
        yield tuple(kernel)
        yield outgoing // self.multiplier
        if self.activation is not identity:
            yield self.activation
        yield "multiplier", self.multiplier, 1
        yield "stride", self.stride, (1,) * rank
        yield "pad", self.pad, ((0, 0),) * rank
        yield "dilation", self.dilation, (1,) * rank
        yield "bias", self.bias is not None, True


def _as_channels(x: Array, weight: Array, channels: int, *, subject: Module) -> Array:
    """Take an input of the rank of the kernel, with that many channels."""
    x = as_input(x, weight, subject=subject)
    expect_space(x, weight.ndim - 2, subject=subject)
    if x.shape[-1] != channels:
        name = "channels" if isinstance(subject, DepthwiseConv) else "in_channels"
        refuse(
            ShapeError,
            subject=subject,
            expected=f"shape (batch, *space, {channels}), channels last",
            got=shown(x),
            fix="move the channels to the last axis with jnp.moveaxis(x, 1, -1), or build "
            f"the layer with {name}={x.shape[-1]}",
        )
    return x
