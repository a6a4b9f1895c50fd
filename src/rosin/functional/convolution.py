# SPDX-License-Identifier: Apache-2.0
"""Convolution, its adjoint, and the convolution of each channel alone."""

from typing import Any

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_at_least, expect_floating, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, shown
from rosin.functional.correlation import correlate, spread_out
from rosin.functional.windows import (
    Padding,
    Pairs,
    expand_pad,
    expand_sizes,
    expect_space,
    fitted_pad,
    reach_of,
)


def conv(
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | tuple[int, ...] = 1,
    pad: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    subject: object = "conv",
) -> Array:
    r"""Slide a kernel over the spatial axes, without flipping it.

    $$y_{b,p,o} = \sum_{k,i} W_{k,i,o}\, x_{b,\,s p + d k - a,\,i}$$

    with stride $s$, dilation $d$ and low padding $a$. With several groups, output
    channels see the input channels of their own group only.

    Args:
        x: The input, real or complex.
        weight: The kernel $W$, of the dtype of `x`.
        stride: Step of the kernel, an int or one for each axis; at least 1.
        pad: Zeros around the input: an int, one for each axis, a (low, high) pair for
            each axis, or `"same"`, which keeps the size at stride 1 and puts the larger
            part last.
        dilation: Distance between taps of the kernel, an int or one for each axis.
        groups: Groups of channels that do not mix.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, in)`, one spatial axis or more.
        - weight: `(*kernel, in / groups, out)`.
        - result: `(batch, *space', out)`.

    Raises:
        DtypeError: An array is not of floating point, or the dtypes differ.
        RangeError: A stride, pad, dilation or group count is out of range.
        ShapeError: The ranks or channels do not fit, or the padded input is smaller than
            the kernel.

    Examples:
        >>> x = jnp.arange(4.0).reshape(1, 4, 1)
        >>> conv(x, jnp.array([1.0, 10.0]).reshape(2, 1, 1)).ravel()
        Array([10., 21., 32.], dtype=float32)

    Source:
        Flux.jl `CrossCor` with groups; `"same"` by the rule of XLA, where Flux puts the
        larger part first.
    """
    x, weight = _arrays(x, weight, groups, "in / groups, out", subject=subject)
    _expect_channels(x, weight, groups, subject=subject)
    rank = weight.ndim - 2
    step = expand_sizes(stride, rank, subject=subject, name="stride")
    spread = expand_sizes(dilation, rank, subject=subject, name="dilation")
    around = expand_pad(pad, rank, subject=subject)
    reach = reach_of(weight.shape[:rank], spread)
    pairs = fitted_pad(x, around, reach, step, subject=subject)
    return correlate(x, weight, step, pairs, spread, groups)


def depthwise_conv(
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | tuple[int, ...] = 1,
    pad: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    subject: object = "depthwise_conv",
) -> Array:
    r"""Slide kernels over each channel alone.

    $$y_{b,p,\,i m + j} = \sum_k W_{k,0,\,i m + j}\, x_{b,\,s p + d k - a,\,i}$$

    for $0 \le j < m$, with stride $s$, dilation $d$, low padding $a$ and $m$ kernels for
    each channel.

    Args:
        x: The input, real or complex.
        weight: The kernels $W$, of the dtype of `x`.
        stride: As for `conv`.
        pad: As for `conv`.
        dilation: As for `conv`.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - weight: `(*kernel, 1, channels * m)`.
        - result: `(batch, *space', channels * m)`.

    Raises:
        DtypeError: An array is not of floating point, or the dtypes differ.
        RangeError: A stride, pad or dilation is out of range.
        ShapeError: The ranks or channels do not fit, or the padded input is smaller than
            the kernel.

    Examples:
        >>> x = jnp.arange(6.0).reshape(1, 3, 2)
        >>> depthwise_conv(x, jnp.array([[1.0, 10.0]]).reshape(1, 1, 2))[0]
        Array([[ 0., 10.], [ 2., 30.], [ 4., 50.]], dtype=float32)

    Source:
        Flux.jl `DepthwiseConv`: `conv` with as many groups as channels.
    """
    channels = jnp.shape(x)[-1] if jnp.ndim(x) else 1
    options: dict[str, Any] = {"stride": stride, "pad": pad, "dilation": dilation}
    return conv(x, weight, groups=max(channels, 1), subject=subject, **options)


def conv_transpose(
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | tuple[int, ...] = 1,
    pad: Padding = 0,
    output_padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    subject: object = "conv_transpose",
) -> Array:
    r"""Apply the adjoint of `conv`: spread each value over the kernel, and add up.

    $$y_{b,\,s q + d k - a,\,o} = \sum_{q,k,i} W_{k,o,i}\, x_{b,q,i}$$

    with stride $s$, dilation $d$ and low padding $a$, summed over all $q$ and $k$ that
    meet at one place; so that $\langle \mathrm{conv}(z), x \rangle = \langle z, y \rangle$
    with equal weight and options. Along each axis the size is
    $(n - 1) s + d (k - 1) + 1$, less the padding, plus the output padding.

    Args:
        x: The input, real or complex.
        weight: The kernel $W$, of the dtype of `x`.
        stride: Distance between the places of neighbours, an int or one for each axis.
        pad: What is cut off the result's ends: an int, one for each axis, a (low, high)
            pair for each axis, or `"same"`, which gives `stride` times the size.
        output_padding: What the result is longer by at its high end, below `stride`; it
            tells apart the sizes that `conv` takes to the size of `x`.
        dilation: Distance between taps of the kernel, an int or one for each axis.
        groups: Groups of channels that do not mix.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, in)`, one spatial axis or more.
        - weight: `(*kernel, out / groups, in)`, as of the `conv` that goes from `out` to
          `in` channels.
        - result: `(batch, *space', out)`.

    Raises:
        DtypeError: An array is not of floating point, or the dtypes differ.
        RangeError: A stride, pad, output padding, dilation or group count is out of range.
        ShapeError: The ranks or channels do not fit, or nothing would be left.

    Examples:
        >>> x = jnp.array([1.0, 2.0]).reshape(1, 2, 1)
        >>> conv_transpose(x, jnp.array([1.0, 10.0]).reshape(2, 1, 1), stride=2).ravel()
        Array([ 1., 10.,  2., 20.], dtype=float32)

    Source:
        Flux.jl `ConvTranspose`, with the kernel unflipped as in `conv`, and `outpad`
        called `output_padding`. PyTorch also allows it up to the dilation.
    """
    x, weight = _arrays(x, weight, groups, "out / groups, in", subject=subject)
    rank = weight.ndim - 2
    incoming = weight.shape[-1]
    if x.shape[-1] != incoming or incoming % groups:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{incoming} channels going in, a multiple of {groups}",
            got=f"x {shown(x)}, weight {shown(weight)} and groups={groups}",
            fix="give x as many channels as weight.shape[-1]",
        )
    step = expand_sizes(stride, rank, subject=subject, name="stride")
    spread = expand_sizes(dilation, rank, subject=subject, name="dilation")
    reach = reach_of(weight.shape[:rank], spread)
    pairs = _cuts(reach, step, pad, output_padding, subject=subject)
    grown = [
        (n - 1) * s + r - low - high
        for n, s, r, (low, high) in zip(x.shape[1:-1], step, reach, pairs, strict=True)
    ]
    if min(grown) < 1 or 0 in x.shape[1:-1]:
        refuse(
            ShapeError,
            subject=subject,
            expected="a result of at least 1 along the spatial axes",
            got=f"{tuple(grown)}, from x {shown(x)} and pad {shown(pad)}",
            fix="pass a larger input or less pad",
        )
    return spread_out(x, weight, step, pairs, spread, groups)


def expand_output_padding(
    sizes: Any, stride: tuple[int, ...], pad: Pairs | str, *, subject: object
) -> tuple[int, ...]:
    """Give every spatial axis its output padding.

    Args:
        sizes: One whole number for all axes, or a tuple with one for each.
        stride: The stride along each axis.
        pad: As `expand_pad` returns it.
        subject: What complains in the message.

    Raises:
        RangeError: A size is no whole number of at least 0 and below the stride, or there
            are not as many as axes, or `pad` sets the size of the result already.
    """
    extra = expand_sizes(sizes, len(stride), subject=subject, name="output_padding", bound=0)
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        refuse(
            RangeError,
            subject=subject,
            expected=f"output_padding below the stride {stride}",
            got=shown(sizes),
            fix="pass a smaller output_padding, or less pad for a larger result",
        )
    if pad == "same" and any(extra):
        refuse(
            RangeError,
            subject=subject,
            expected="no output_padding with pad='same', which sets the size of the result",
            got=f"output_padding={shown(sizes)}",
            fix="leave output_padding out, or pass pad in numbers",
        )
    return extra


def _arrays(
    x: ArrayLike, weight: ArrayLike, groups: int, channels: str, *, subject: object
) -> tuple[Array, Array]:
    """Check what the two directions have in common."""
    expect_floating(x, subject=subject)
    expect_floating(weight, subject=subject, name="weight")
    x, weight = jnp.asarray(x), jnp.asarray(weight)
    if weight.ndim < 3:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"weight of shape (*kernel, {channels})",
            got=shown(weight),
            fix="give the weight at least 3 axes",
        )
    expect_space(x, weight.ndim - 2, subject=subject)
    expect_at_least(1, subject=subject, groups=groups)
    if x.dtype != weight.dtype:
        refuse(
            DtypeError,
            subject=subject,
            expected="x and weight of equal dtype",
            got=f"x {shown(x)} and weight {shown(weight)}",
            fix="convert one of them, for example x.astype(weight.dtype)",
        )
    return x, weight


def _expect_channels(x: Array, weight: Array, groups: int, *, subject: object) -> None:
    incoming, outgoing = weight.shape[-2:]
    if x.shape[-1] != incoming * groups or outgoing % groups:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{incoming * groups} channels going in, and a multiple of {groups} "
            "coming out",
            got=f"x {shown(x)}, weight {shown(weight)} and groups={groups}",
            fix="give x as many channels as weight.shape[-2] * groups",
        )


def _cuts(
    reach: tuple[int, ...],
    stride: tuple[int, ...],
    pad: Padding,
    output_padding: int | tuple[int, ...],
    *,
    subject: object,
) -> Pairs:
    """Say what is cut off both ends of a transposed convolution; below 0, what is added."""
    around = expand_pad(pad, len(stride), subject=subject)
    extra = expand_output_padding(output_padding, stride, around, subject=subject)
    if around == "same":
        halves = [(max(r - s, 0) // 2, r - s) for r, s in zip(reach, stride, strict=True)]
        return tuple((low, total - low) for low, total in halves)
    return tuple((low, high - e) for (low, high), e in zip(around, extra, strict=True))
