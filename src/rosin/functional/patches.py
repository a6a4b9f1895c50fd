# SPDX-License-Identifier: Apache-2.0
"""Functions that exchange places and channels: patches, and the shuffling of pixels."""

import math

import jax
import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_floating, refuse
from rosin.errors import ShapeError, shown
from rosin.functional.numerics import at_least_float32
from rosin.functional.windows import (
    Padding,
    Pairs,
    around_space,
    count_steps,
    expand_pad,
    expand_sizes,
    expect_space,
    fitted_pad,
    padded_with,
    reach_of,
    space_of,
    windows_along,
)


def unfold(
    x: ArrayLike,
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] = 1,
    pad: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    subject: object = "unfold",
) -> Array:
    """Lay what each window sees out along the channels.

    Channels vary fastest, then the taps of the window from the last axis to the first, so
    that `unfold(x, weight.shape[:-2]) @ weight.reshape(-1, out)` is `conv(x, weight)`.

    Args:
        x: Floating-point numbers, real or complex.
        window: Its size, an int or one for each spatial axis; at least 1.
        stride: As for `conv`.
        pad: As for `conv`.
        dilation: As for `conv`.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *space', taps * channels)`.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: A window, stride, pad or dilation is out of range.
        ShapeError: `x` has another rank, or padded is smaller than the window.

    Examples:
        >>> unfold(jnp.arange(4.0).reshape(1, 4, 1), 2)[0]
        Array([[0., 1.], [1., 2.], [2., 3.]], dtype=float32)

    Source:
        NNlib.jl `unfold`, which orders the taps backwards unless `flipped=true` and gives
        windows one axis. PyTorch's has the taps vary fastest.
    """
    expect_floating(x, subject=subject)
    x = jnp.asarray(x)
    rank = len(window) if isinstance(window, tuple) else space_of(x, subject=subject)
    taps = expand_sizes(window, rank, subject=subject, name="window")
    expect_space(x, rank, subject=subject)
    step = expand_sizes(stride, rank, subject=subject, name="stride")
    spread = expand_sizes(dilation, rank, subject=subject, name="dilation")
    around = expand_pad(pad, rank, subject=subject)
    pairs = fitted_pad(x, around, reach_of(taps, spread), step, subject=subject)
    return _unfolded(x, taps, step, pairs, spread)


def fold(
    patches: ArrayLike,
    size: int | tuple[int, ...],
    window: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] = 1,
    pad: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    subject: object = "fold",
) -> Array:
    """Put each patch back to its place, and add up where patches overlap.

    This is the adjoint of `unfold`, and its inverse where no patches overlap. To average
    in place of adding, divide by `fold(unfold(jnp.ones_like(y), ...), ...)`.

    Args:
        patches: Floating-point numbers, real or complex.
        size: The spatial size of the result, an int or one for each axis.
        window: As for `unfold`.
        stride: As for `unfold`.
        pad: As for `unfold`.
        dilation: As for `unfold`.
        subject: What complains in the message.

    Shapes:
        - patches: `(batch, *space', taps * channels)`, as `unfold` makes them.
        - result: `(batch, *size, channels)`.

    Raises:
        DtypeError: `patches` hold integers or booleans.
        RangeError: A size, window, stride, pad or dilation is out of range.
        ShapeError: `patches` are not those of an array of that size.

    Examples:
        >>> fold(jnp.ones((1, 3, 2)), 4, 2).ravel()
        Array([1., 2., 2., 1.], dtype=float32)

    Source:
        NNlib.jl `fold`; see `unfold` for the order.
    """
    expect_floating(patches, subject=subject, name="patches")
    patches = jnp.asarray(patches)
    stated = next((len(n) for n in (size, window) if isinstance(n, tuple)), None)
    rank = space_of(patches, subject=subject) if stated is None else stated
    expect_space(patches, rank, subject=subject)
    space = expand_sizes(size, rank, subject=subject, name="size")
    taps = expand_sizes(window, rank, subject=subject, name="window")
    step = expand_sizes(stride, rank, subject=subject, name="stride")
    spread = expand_sizes(dilation, rank, subject=subject, name="dilation")
    channels, rest = divmod(patches.shape[-1], math.prod(taps))
    like = jax.ShapeDtypeStruct((patches.shape[0], *space, channels), at_least_float32(patches))
    reach = reach_of(taps, spread)
    pairs = fitted_pad(like, expand_pad(pad, rank, subject=subject), reach, step, subject=subject)
    padded = tuple(n + low + high for n, (low, high) in zip(space, pairs, strict=True))
    counts = count_steps(padded, reach, step)
    if rest or patches.shape[1:-1] != counts:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"patches of shape (batch, {', '.join(map(str, counts))}, "
            f"{math.prod(taps)} * channels)",
            got=shown(patches),
            fix="pass the window, stride, pad and dilation that unfold was called with",
        )
    transposed = jax.linear_transpose(lambda x: _unfolded(x, taps, step, pairs, spread), like)
    (y,) = transposed(patches.astype(like.dtype))
    return y.astype(patches.dtype)


def pixel_shuffle(
    x: ArrayLike, factor: int | tuple[int, ...], *, subject: object = "pixel_shuffle"
) -> Array:
    r"""Turn groups of channels into pixels: fewer channels, a larger image.

    $$y_{b,\,r p + i,\,c} = x_{b,\,p,\,c R + i}$$

    with factor $r$ along each axis, $R$ the product of the factors, and $0 \le i < r$
    counted along all axes at once, the last one fastest.

    Args:
        x: Numbers of any dtype.
        factor: What each spatial axis is multiplied by, an int or one for each axis.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels * R)`, one spatial axis or more.
        - result: `(batch, *(r * space), channels)`.

    Raises:
        RangeError: A factor is out of range.
        ShapeError: `x` has another rank, or channels that $R$ does not divide.

    Examples:
        >>> pixel_shuffle(jnp.arange(6.0).reshape(1, 3, 2), 2).ravel()
        Array([0., 1., 2., 3., 4., 5.], dtype=float32)

    Source:
        Shi et al. 2016, eq. 4; the order of channels of Flux.jl and PyTorch.
    """
    x = jnp.asarray(x)
    factors = _factors(x, factor, subject=subject)
    channels, rest = divmod(x.shape[-1], math.prod(factors))
    if rest:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a multiple of {math.prod(factors)} channels",
            got=shown(x),
            fix="pass a smaller factor, or make more channels in the layer before",
        )
    batch, *space, _ = x.shape
    rank = len(space)
    y = x.reshape(batch, *space, channels, *factors)
    pairs = [axis for a in range(1, rank + 1) for axis in (a, rank + 1 + a)]
    y = y.transpose(0, *pairs, rank + 1)
    grown = (n * r for n, r in zip(space, factors, strict=True))
    return y.reshape(batch, *grown, channels)


def pixel_unshuffle(
    x: ArrayLike, factor: int | tuple[int, ...], *, subject: object = "pixel_unshuffle"
) -> Array:
    """Turn pixels into groups of channels: the inverse of `pixel_shuffle`.

    Args:
        x: Numbers of any dtype.
        factor: What each spatial axis is divided by, an int or one for each axis.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *(space / r), channels * R)`, with the product `R` of the factors.

    Raises:
        RangeError: A factor is out of range.
        ShapeError: `x` has another rank, or a spatial axis that its factor does not divide.

    Examples:
        >>> pixel_unshuffle(jnp.arange(4.0).reshape(1, 4, 1), 2)[0]
        Array([[0., 1.], [2., 3.]], dtype=float32)

    Source:
        PyTorch `PixelUnshuffle`; see `pixel_shuffle`.
    """
    x = jnp.asarray(x)
    factors = _factors(x, factor, subject=subject)
    batch, *space, channels = x.shape
    rank = len(space)
    if any(n % r for n, r in zip(space, factors, strict=True)):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"spatial axes that the factors {factors} divide",
            got=shown(x),
            fix="pad or cut the input to a multiple of the factor",
        )
    split = [part for n, r in zip(space, factors, strict=True) for part in (n // r, r)]
    y = x.reshape(batch, *split, channels)
    places = range(1, 2 * rank, 2)
    y = y.transpose(0, *places, 2 * rank + 1, *(p + 1 for p in places))
    return y.reshape(*y.shape[: rank + 1], channels * math.prod(factors))


def _unfolded(
    x: Array,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    pads: Pairs,
    dilation: tuple[int, ...],
) -> Array:
    x = padded_with(x, around_space(x, pads), 0.0)
    rank = len(window)
    for a in reversed(range(rank)):  # the axes before keep their places
        x = windows_along(x, a + 1, window[a], stride[a], dilation[a])
    places = range(1, 2 * rank, 2)
    x = x.transpose(0, *places, *(p + 1 for p in places), 2 * rank + 1)
    return x.reshape(*x.shape[: rank + 1], math.prod(x.shape[rank + 1 :]))


def _factors(x: Array, factor: int | tuple[int, ...], *, subject: object) -> tuple[int, ...]:
    rank = len(factor) if isinstance(factor, tuple) else space_of(x, subject=subject)
    expect_space(x, rank, subject=subject)
    return expand_sizes(factor, rank, subject=subject, name="factor")
