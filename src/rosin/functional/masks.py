# SPDX-License-Identifier: Apache-2.0
"""Masks: which entry takes part, True for those that do.

A mask of attention is `(time, key_time)`, the same for all, or
`(batch, heads, time, key_time)`, where every axis may have size 1.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array
from rosin.core.validation import expect_at_least, expect_integer, expect_rank, refuse
from rosin.errors import DtypeError, ShapeError, shown

# What to do about a mask, or a bias, of so many axes.
_AXES_TO_ADD = {
    1: "add an axis for the queries, {0}[None]",
    3: "add the axis of the heads, {0}[:, None]",
}


def make_causal_mask(time: int, key_time: int | None = None, *, offset: Any = 0) -> Array:
    """Let each query see the keys up to its own place.

    Args:
        time: The number of queries; at least 0.
        key_time: The number of keys, as many as queries when left out.
        offset: The place of the first query among the keys; may be traced.

    Shapes:
        - result: `(time, key_time)`.

    Raises:
        RangeError: A number is not whole, or negative.

    Examples:
        >>> make_causal_mask(2, 3).astype(int)
        Array([[1, 0, 0],
               [1, 1, 0]], dtype=int32)

    Source:
        Flux.jl `make_causal_mask`, with queries along rows, and from sizes in place of an
        array.
    """
    return make_window_mask(time, key_time, before=None, after=0, offset=offset)


def make_window_mask(
    time: int,
    key_time: int | None = None,
    *,
    before: int | None,
    after: int | None = 0,
    offset: Any = 0,
) -> Array:
    """Let each query see the keys near its own place: a sliding window.

    Args:
        time: The number of queries; at least 0.
        key_time: The number of keys, as many as queries when left out.
        before: How many keys before its own place a query sees; `None` for all.
        after: How many keys after it; `None` for all.
        offset: The place of the first query among the keys; may be traced.

    Shapes:
        - result: `(time, key_time)`.

    Raises:
        RangeError: A number is not whole, or negative.

    Examples:
        >>> make_window_mask(3, before=1).astype(int)
        Array([[1, 0, 0],
               [1, 1, 0],
               [0, 1, 1]], dtype=int32)

    Source:
        Beltagy, Peters & Cohan 2020, section 3.1.
    """
    key_time = time if key_time is None else key_time
    expect_at_least(0, subject="a mask", time=time, key_time=key_time)
    bounds = {"before": before, "after": after}
    expect_at_least(0, subject="a mask", **{n: b for n, b in bounds.items() if b is not None})
    shape = (time, key_time)
    query = offset + lax.broadcasted_iota(jnp.int32, shape, 0)
    distance = lax.broadcasted_iota(jnp.int32, shape, 1) - query
    mask = jnp.ones(shape, bool)
    if before is not None:
        mask &= distance >= -before
    return mask if after is None else mask & (distance <= after)


def make_padding_mask(lengths: Any, time: int) -> Array:
    """Leave out what pads each sequence of a batch at its end.

    Args:
        lengths: How many entries of each sequence count, from 0 to `time`.
        time: The padded length; at least 0.

    Shapes:
        - lengths: `(batch,)`.
        - result: `(batch, 1, 1, time)`, for the keys of attention.

    Raises:
        DtypeError: `lengths` are not whole numbers.
        RangeError: `time` is not a whole number of at least 0.
        ShapeError: `lengths` has another rank.

    Examples:
        >>> make_padding_mask(jnp.array([2, 3]), 3)[:, 0, 0].astype(int)
        Array([[1, 1, 0],
               [1, 1, 1]], dtype=int32)
    """
    lengths = jnp.asarray(lengths)
    expect_integer(lengths, subject="make_padding_mask", name="lengths")
    expect_rank(lengths, ("batch",), subject="make_padding_mask")
    expect_at_least(0, subject="make_padding_mask", time=time)
    return jnp.arange(time)[None, None, None] < lengths[:, None, None, None]


def combine_masks(*masks: Array | None) -> Array | None:
    """Keep what every mask keeps; `None` keeps everything.

    Args:
        masks: Masks of attention, of two axes or four, or `None`.

    Returns:
        A mask that each of them broadcasts to, or `None` if all are.

    Raises:
        DtypeError: A mask is not boolean.
        ShapeError: A mask has neither two axes nor four, or two do not fit each other.

    Examples:
        >>> padding = make_padding_mask(jnp.array([1, 2]), 2)
        >>> combine_masks(make_causal_mask(2), padding, None).shape
        (2, 1, 2, 2)
    """
    given = [four_axes(jnp.asarray(m), subject="combine_masks") for m in masks if m is not None]
    shapes = [m.shape for m in given]
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        refuse(
            ShapeError,
            subject="combine_masks",
            expected="masks that fit each other, axis by axis",
            got=" and ".join(map(shown, given)),
            fix="give each axis one size in all masks, or size 1",
        )
    return functools.reduce(jnp.logical_and, given) if given else None


def four_axes(a: Array, *, subject: object, name: str = "mask") -> Array:
    """Return a mask or a bias of attention with all four axes, or refuse it."""
    if name == "mask":
        _expect_boolean(a, subject=subject)
    if a.ndim not in (2, 4):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{name} of shape (time, key_time) or (batch, heads, time, key_time)",
            got=shown(a),
            fix=_AXES_TO_ADD.get(a.ndim, "give it two axes, or four").format(name),
        )
    return a if a.ndim == 4 else a[None, None]


def as_mask(mask: Any, shape: tuple[int, ...], *, subject: object) -> Array:
    """Broadcast a mask to a shape, or refuse it.

    Raises:
        DtypeError: The mask is not boolean.
        ShapeError: It does not broadcast to the shape.
    """
    mask = jnp.asarray(mask)
    _expect_boolean(mask, subject=subject)
    expect_broadcasts(mask, shape, subject=subject, name="mask")
    return jnp.broadcast_to(mask, shape)


def expect_broadcasts(a: Array, shape: tuple[int, ...], *, subject: object, name: str) -> None:
    """Refuse an array that does not broadcast to a shape."""
    sizes = zip(a.shape[::-1], shape[::-1], strict=False)
    if a.ndim > len(shape) or any(n not in (1, size) for n, size in sizes):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{name} that broadcasts to shape {shape}",
            got=shown(a),
            fix="give each of its axes the size of the scores, or 1",
        )


def _expect_boolean(mask: Array, *, subject: object) -> None:
    if mask.dtype != bool:
        refuse(
            DtypeError,
            subject=subject,
            expected="mask of booleans, True for what is kept",
            got=shown(mask),
            fix="compare to make one, for example mask > 0; what is to be added goes into bias=",
        )
