# SPDX-License-Identifier: Apache-2.0
"""Convolution, and the geometry of windows that it shares with pooling."""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_at_least, expect_floating, expect_rank, is_whole, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, shown

Pairs: TypeAlias = tuple[tuple[int, int], ...]
"""Padding before and after, along each spatial axis."""

Pad: TypeAlias = int | tuple[int, ...] | Pairs | Literal["same"]
"""Padding as a caller may state it."""

_SPACE = {
    1: ("length",),
    2: ("height", "width"),
    3: ("depth", "height", "width"),
}


def conv(
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | tuple[int, ...] = 1,
    pad: Pad = 0,
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
    expect_floating(x, subject=subject)
    expect_floating(weight, subject=subject, name="weight")
    x, weight = jnp.asarray(x), jnp.asarray(weight)
    rank = weight.ndim - 2
    _expect_fits(x, weight, groups, subject=subject)
    step = expand_sizes(stride, rank, subject=subject, name="stride")
    spread = expand_sizes(dilation, rank, subject=subject, name="dilation")
    reach = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[:rank], spread, strict=True))
    around = expand_pad(pad, rank, subject=subject)
    pairs = fitted_pad(x, around, reach, step, subject=subject)
    if groups == 1 and {*weight.shape[:rank], *step} == {1} and not any(map(any, pairs)):
        # A kernel of one tap is a product, which XLA computes faster as such.
        rows = x.reshape(-1, x.shape[-1]) @ weight.reshape(weight.shape[-2:])
        return rows.reshape(*x.shape[:-1], weight.shape[-1])
    features_last = (0, rank + 1, *range(1, rank + 1))
    taps_first = (rank + 1, rank, *range(rank))
    layout = lax.ConvDimensionNumbers(features_last, taps_first, features_last)
    return lax.conv_general_dilated(
        x,
        weight,
        step,
        pairs,
        rhs_dilation=spread,
        dimension_numbers=layout,
        feature_group_count=groups,
    )


def expand_sizes(
    sizes: Any, rank: int, *, subject: object, name: str, bound: int = 1
) -> tuple[int, ...]:
    """Give every spatial axis its size.

    Args:
        sizes: One whole number for all axes, or a tuple with one for each.
        rank: The number of spatial axes.
        subject: What complains in the message.
        name: What the message calls the sizes.
        bound: The least size.

    Raises:
        RangeError: A size is no whole number of at least `bound`, or there are not as
            many as axes.

    Examples:
        >>> expand_sizes(3, 2, subject="example", name="stride")
        (3, 3)
    """
    expanded = sizes if isinstance(sizes, tuple) else (sizes,) * rank
    if len(expanded) != rank or not all(is_whole(n) and n >= bound for n in expanded):
        refuse(
            RangeError,
            subject=subject,
            expected=f"{name} to be a whole number of at least {bound}, or {rank} of them",
            got=shown(sizes),
            fix=f"pass {name}={max(bound, 1)}, or a tuple with one number for each axis",
        )
    return tuple(int(n) for n in expanded)


def expand_pad(pad: Any, rank: int, *, subject: object) -> Pairs | Literal["same"]:
    """Give every spatial axis its padding before and after, or `"same"`.

    Args:
        pad: A whole number for all sides, a tuple with one for each axis, a tuple with a
            (low, high) pair for each axis, or `"same"`.
        rank: The number of spatial axes.
        subject: What complains in the message.

    Raises:
        RangeError: `pad` is none of these.

    Examples:
        >>> expand_pad((0, 1), 2, subject="example")
        ((0, 0), (1, 1))
    """
    if isinstance(pad, str) and pad == "same":
        return "same"
    sides: tuple[Any, ...] = pad if isinstance(pad, tuple) else (pad,) * rank
    pairs: list[tuple[Any, ...]] = [
        side if isinstance(side, tuple) else (side, side) for side in sides
    ]
    if len(pairs) != rank or not all(
        len(pair) == 2 and all(is_whole(n) and n >= 0 for n in pair) for pair in pairs
    ):
        refuse(
            RangeError,
            subject=subject,
            expected="pad to be 'same', a whole number of at least 0, or a tuple of "
            f"{rank} such numbers or (low, high) pairs",
            got=shown(pad),
            fix="pass pad=0, pad='same', or a tuple with one entry for each spatial axis",
        )
    return tuple((int(low), int(high)) for low, high in pairs)


def fitted_pad(
    x: Array,
    pad: Pairs | Literal["same"],
    reach: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    subject: object,
) -> Pairs:
    """Turn `"same"` into numbers, and refuse an input that is smaller than the window.

    Args:
        x: `(batch, *space, channels)`.
        pad: As `expand_pad` returns it.
        reach: The extent of the window along each spatial axis.
        stride: The step of the window along each spatial axis.
        subject: What complains in the message.

    Raises:
        ShapeError: Along an axis the padded input is shorter than the window.

    Examples:
        >>> fitted_pad(jnp.ones((1, 4, 1)), "same", (2,), (1,), subject="example")
        ((0, 1),)
    """
    space = x.shape[1:-1]
    if pad == "same":
        pad = tuple(lax.padtype_to_pads(space, reach, stride, "SAME"))
    padded = tuple(n + low + high for n, (low, high) in zip(space, pad, strict=True))
    if any(n < r for n, r in zip(padded, reach, strict=True)):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a padded input of at least {reach} along the spatial axes",
            got=f"{padded}, from x {shown(x)}",
            fix="pass a larger input, a smaller window or more pad",
        )
    return pad


def expect_space(x: Array, rank: int, *, subject: object) -> None:
    """Refuse an array that is not `(batch, *space, channels)` with `rank` spatial axes.

    Args:
        x: Any array.
        rank: The number of spatial axes.
        subject: What complains in the message.

    Raises:
        ShapeError: `x` has another rank.

    Examples:
        >>> expect_space(jnp.ones((1, 8, 8, 3)), 2, subject="example")
    """
    space = _SPACE.get(rank, tuple(f"space{i}" for i in range(rank)))
    expect_rank(x, ("batch", *space, "channels"), subject=subject)


def _expect_fits(x: Array, weight: Array, groups: int, *, subject: object) -> None:
    if weight.ndim < 3:
        refuse(
            ShapeError,
            subject=subject,
            expected="weight of shape (*kernel, in / groups, out)",
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
