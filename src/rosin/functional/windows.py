# SPDX-License-Identifier: Apache-2.0
"""The geometry of windows, which convolution, pooling, padding and patches share."""

from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array
from rosin.core.validation import expect_rank, is_whole, refuse
from rosin.errors import RangeError, ShapeError, shown

Pairs: TypeAlias = tuple[tuple[int, int], ...]
"""Padding before and after, along each spatial axis."""

Widths: TypeAlias = int | tuple[int, ...] | Pairs
"""Padding as a caller may state it in numbers."""

Padding: TypeAlias = Widths | Literal["same"]
"""Padding as a caller may state it."""

MOST_SLICES = 32
"""Windows that are longer are not cut into slices, which would take long to compile."""

_SPACE = {
    1: ("length",),
    2: ("height", "width"),
    3: ("depth", "height", "width"),
}


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
        pad: As for `expand_widths`, or `"same"`.
        rank: The number of spatial axes.
        subject: What complains in the message.

    Raises:
        RangeError: `pad` is none of these.
    """
    if isinstance(pad, str) and pad == "same":
        return "same"
    return expand_widths(pad, rank, subject=subject, word="'same'")


def expand_widths(pad: Any, rank: int, *, subject: object, word: str = "") -> Pairs:
    """Give every axis its padding before and after.

    Args:
        pad: A whole number for all sides, a tuple with one for each axis, or a tuple with
            a (low, high) pair for each axis.
        rank: The number of axes.
        subject: What complains in the message.
        word: What the caller takes in place of numbers.

    Raises:
        RangeError: `pad` is none of these.
    """
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
            expected=f"pad to be {word}{', ' * bool(word)}a whole number of at least 0, or a "
            f"tuple of {rank} such numbers or (low, high) pairs",
            got=shown(pad),
            fix=f"pass pad=0, {f'pad={word}, ' * bool(word)}or a tuple with one entry for "
            "each spatial axis",
        )
    return tuple((int(low), int(high)) for low, high in pairs)


def fitted_pad(
    x: Array | jax.ShapeDtypeStruct,
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


def reach_of(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Say how far a kernel reaches along each spatial axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def count_steps(
    space: tuple[int, ...], reach: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[int, ...]:
    """Count the places that a window takes along each spatial axis."""
    return tuple((n - r) // s + 1 for n, r, s in zip(space, reach, stride, strict=True))


def tap(x: Array, at: tuple[int, ...], stride: tuple[int, ...], counts: tuple[int, ...]) -> Array:
    """Cut out what one tap of a window sees, at all the places that the window takes.

    Args:
        x: `(batch, *space, ...)`.
        at: Where the tap is when the window is at its first place.
        stride: Step of the window along each spatial axis.
        counts: How many places the window takes along each spatial axis.
    """
    rest = x.shape[1 + len(at) :]
    ends = tuple(a + (n - 1) * s + 1 for a, n, s in zip(at, counts, stride, strict=True))
    starts, steps = (0, *at, *(0 for _ in rest)), (1, *stride, *(1 for _ in rest))
    return lax.slice(x, starts, (x.shape[0], *ends, *rest), steps)


def padded_with(x: Array, pairs: Pairs, value: float) -> Array:
    """Put one value around all axes, for each of which there is a pair."""
    edges = [(low, high, 0) for low, high in pairs]
    return lax.pad(x, jnp.asarray(value, x.dtype), edges)


def around_space(x: Array, pairs: Pairs) -> Pairs:
    """Give the axes that are not spatial their padding of 0."""
    return ((0, 0), *pairs, *((0, 0) for _ in range(x.ndim - 1 - len(pairs))))


def windows_along(x: Array, axis: int, size: int, stride: int, dilation: int = 1) -> Array:
    """Lay the windows along an axis out on a new axis behind it."""
    count = (x.shape[axis] - (size - 1) * dilation - 1) // stride + 1
    if size == stride and dilation == 1:
        whole = lax.slice_in_dim(x, 0, count * size, axis=axis)
        return whole.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    if size <= MOST_SLICES:
        return jnp.stack(slices_along(x, axis, size, stride, dilation), axis + 1)
    places = np.arange(count)[:, None] * stride + np.arange(size) * dilation
    return jnp.take(x, places, axis, mode="clip")  # no place is outside


def slices_along(x: Array, axis: int, size: int, stride: int, dilation: int = 1) -> list[Array]:
    """Cut the first, the second, … element of all windows along an axis."""
    last = (x.shape[axis] - (size - 1) * dilation - 1) // stride * stride
    starts = range(0, size * dilation, dilation)
    return [lax.slice_in_dim(x, k, k + last + 1, stride, axis) for k in starts]


def expect_space(x: Array, rank: int, *, subject: object) -> None:
    """Refuse an array that is not `(batch, *space, channels)` with `rank` spatial axes.

    Args:
        x: Any array.
        rank: The number of spatial axes.
        subject: What complains in the message.

    Raises:
        ShapeError: `x` has another rank.
    """
    space = _SPACE.get(rank, tuple(f"space{i}" for i in range(rank)))
    expect_rank(x, ("batch", *space, "channels"), subject=subject)


def space_of(x: Array, *, subject: object) -> int:
    """Count the spatial axes of an array, or refuse one that has none.

    Args:
        x: `(batch, *space, channels)`.
        subject: What complains in the message.

    Raises:
        ShapeError: `x` has fewer than 3 axes.
    """
    if x.ndim < 3:
        refuse(
            ShapeError,
            subject=subject,
            expected="shape (batch, *space, channels)",
            got=shown(x),
            fix="give the array at least 3 axes",
        )
    return x.ndim - 2
