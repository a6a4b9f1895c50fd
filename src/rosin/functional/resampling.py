# SPDX-License-Identifier: Apache-2.0
"""Resampling of the spatial axes, one after the other.

Along an axis each result is a weighted sum of a few neighbours, whose places and weights
are known when a call is traced.
"""

import dataclasses
import functools
import math
import numbers
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_floating, expect_kind, expect_one_of, is_whole, refuse
from rosin.errors import RangeError, ShapeError, StructureError, shown
from rosin.functional.numerics import at_least_float32
from rosin.functional.windows import expand_sizes, expect_space, space_of

_Numbers = np.ndarray[Any, Any]

_RANKS = {
    "nearest": None,
    "linear": None,
    "cubic": None,
    "bilinear": 2,
    "trilinear": 3,
    "bicubic": 2,
}

# With more neighbours one product makes the smaller program.
_MOST_TAPS = 32


def upsample(
    x: ArrayLike,
    *,
    scale: float | tuple[float, ...] | None = None,
    size: int | tuple[int, ...] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
    subject: object = "upsample",
) -> Array:
    r"""Resample the spatial axes to a multiple of their size, or to a stated size.

    $$y_i = \sum_j h(u_i - j)\, x_j, \qquad u_i = \frac{i + 1/2}{s} - \frac 1 2$$

    along each axis of size $n$, with scale $s$ and an index $j$ beyond the edge standing
    for the edge. $h(t) = \max(0, 1 - \lvert t \rvert)$ is linear; the cubic one is that of
    Keys with $a = -3/4$; the nearest value is the one whose interval holds $u_i$. With
    `align_corners`, $u_i = i (n - 1) / (m - 1)$ where $m$ is the new size.

    Args:
        x: Floating-point numbers, real or complex.
        scale: What sizes are multiplied by and rounded down, a number above 0 or one for
            each axis.
        size: The new size, an int or one for each axis; pass this or `scale`.
        mode: `"nearest"`, `"linear"` or `"cubic"` for any rank; `"bilinear"` and
            `"bicubic"` are the same for 2 spatial axes, `"trilinear"` for 3.
        align_corners: Whether the first and the last value keep their places.
        antialias: Whether to make $h$ wider where an axis becomes shorter, so that no
            value is left out; the cubic one then has $a = -1/2$.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - result: `(batch, *size, channels)`.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: A scale, a size or the mode is out of range, or they do not go together.
        ShapeError: `x` has another rank or an empty spatial axis, or nothing would be left.
        StructureError: Both of scale and size are given, or neither.

    Examples:
        >>> x = jnp.array([1.0, 2.0]).reshape(1, 2, 1)
        >>> upsample(x, scale=2).ravel(), upsample(x, scale=2, mode="linear").ravel()
        (Array([1., 1., 2., 2.], dtype=float32), Array([1.  , 1.25, 1.75, 2.  ], dtype=float32))

    Source:
        Flux.jl `Upsample`, whose linear modes are those of `align_corners=True`; Keys
        1981. Equal to PyTorch's `interpolate`, of which `nearest` is `"nearest-exact"`.
    """
    expect_floating(x, subject=subject)
    x = jnp.asarray(x)
    expect_target(scale, size, subject=subject)
    expect_mode(mode, align_corners=align_corners, antialias=antialias, subject=subject)
    options = _Options(mode, align_corners, antialias)
    lines = _lines(x, scale, size, mode, subject=subject)
    y = x.astype(at_least_float32(x))
    # What shrinks comes first and leaves the others less to do.
    for axis, line in sorted(enumerate(lines, 1), key=lambda entry: entry[1].ratio):
        y = _resampled(y, axis, line, options)
    return y.astype(x.dtype)


def expect_target(scale: Any, size: Any, *, subject: object) -> None:
    """Refuse anything but one of scale and size, each above 0.

    Args:
        scale: A number or a tuple of numbers, or None.
        size: A whole number or a tuple of them, or None.
        subject: What complains in the message.

    Raises:
        RangeError: A scale or a size is out of range.
        StructureError: Both are given, or neither.
    """
    if (scale is None) == (size is None):
        refuse(
            StructureError,
            subject=subject,
            expected="one of scale and size",
            got="neither" if scale is None else f"scale={shown(scale)} and size={shown(size)}",
            fix="pass scale=2 to double every spatial axis, or size to state the new sizes",
        )
    scales = scale if isinstance(scale, tuple) else (scale,)
    if scale is not None and not (scales and all(map(_is_scale, scales))):
        refuse(
            RangeError,
            subject=subject,
            expected="scale to be a finite number above 0, or one for each spatial axis",
            got=shown(scale),
            fix="pass scale=2, for example",
        )
    sizes = size if isinstance(size, tuple) else (size,)
    if size is not None and not (sizes and all(is_whole(n) and n > 0 for n in sizes)):
        refuse(
            RangeError,
            subject=subject,
            expected="size to be a whole number of at least 1, or one for each spatial axis",
            got=shown(size),
            fix="pass size=32, for example",
        )


def expect_mode(mode: Any, *, align_corners: Any, antialias: Any, subject: object) -> None:
    """Refuse a mode that does not exist, and options that it does not have.

    Args:
        mode: The name of the mode.
        align_corners: Whether the first and the last value keep their places.
        antialias: Whether values are averaged where an axis becomes shorter.
        subject: What complains in the message.

    Raises:
        RangeError: The mode does not exist, or does not have an option.
        StructureError: An option is no boolean.
    """
    expect_one_of(tuple(_RANKS), subject=subject, mode=mode)
    expect_kind(bool, subject=subject, align_corners=align_corners, antialias=antialias)
    if mode == "nearest" and (align_corners or antialias):
        option = "align_corners" if align_corners else "antialias"
        refuse(
            RangeError,
            subject=subject,
            expected=f"a linear or cubic mode with {option}=True",
            got="mode='nearest'",
            fix=f"leave {option} out, or pass mode='linear'",
        )
    if align_corners and antialias:
        refuse(
            RangeError,
            subject=subject,
            expected="one of align_corners and antialias",
            got="align_corners=True and antialias=True",
            fix="leave align_corners out to average where an axis becomes shorter",
        )


def _is_scale(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and 0 < value < math.inf  # pyright: ignore[reportOperatorIssue]


@dataclasses.dataclass(frozen=True)
class _Options:
    mode: str
    align_corners: bool
    antialias: bool


@dataclasses.dataclass(frozen=True)
class _Line:
    """An axis: its size, the new size, and the scale between the grids of the two."""

    old: int
    new: int
    ratio: Fraction


def _lines(x: Array, scale: Any, size: Any, mode: str, *, subject: object) -> list[_Line]:
    target = scale if size is None else size
    rank = len(target) if isinstance(target, tuple) else space_of(x, subject=subject)
    rank = _RANKS[mode] or rank
    expect_space(x, rank, subject=subject)
    space = x.shape[1:-1]
    if size is not None:
        sizes = expand_sizes(size, rank, subject=subject, name="size")
        ratios = [Fraction(m, max(n, 1)) for n, m in zip(space, sizes, strict=True)]
    else:
        scales = target if isinstance(target, tuple) else (target,) * rank
        if len(scales) != rank:
            refuse(
                RangeError,
                subject=subject,
                expected=f"scale to be one number, or {rank} of them",
                got=shown(scale),
                fix="pass one number for all spatial axes, or a tuple with one for each",
            )
        sizes = tuple(math.floor(n * s) for n, s in zip(space, scales, strict=True))
        ratios = [Fraction(s) for s in scales]
    if 0 in space or 0 in sizes:
        refuse(
            ShapeError,
            subject=subject,
            expected="at least 1 value along each spatial axis, before and after",
            got=f"{space} before and {tuple(sizes)} after, from x {shown(x)}",
            fix="pass a larger input or a larger scale",
        )
    return [_Line(*line) for line in zip(space, sizes, ratios, strict=True)]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _resampled(x: Array, axis: int, line: _Line, options: _Options) -> Array:
    shares = _shares(line, options)
    return _weighed(x, axis, *_by_row(shares, line.new), line.old)


@_resampled.defjvp
def _(
    axis: int, line: _Line, options: _Options, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """Take the tangent as the adjoint of the adjoint.

    Going back JAX takes the adjoint once more, and so reads neighbours, which on a CPU
    takes a fortieth of the time that adding to them takes.
    """
    (x,), (dx,) = primals, tangents
    y = _resampled(x, axis, line, options)
    rows, columns, weights = _shares(line, options)
    back = _by_row((columns, rows, weights), line.old)
    (dy,) = jax.linear_transpose(lambda g: _weighed(g, axis, *back, line.new), y)(dx)
    return y, dy


def _weighed(x: Array, axis: int, places: _Numbers, weights: _Numbers, n: int) -> Array:
    """Add up the neighbours at `(result, tap)` with their weights; `n` is the axis's size."""
    if places.shape[1] > _MOST_TAPS:
        matrix = np.zeros((len(places), n))
        np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
        dense = jnp.asarray(matrix, x.dtype)
        y = jnp.tensordot(dense, x, (1, axis), precision=lax.Precision.HIGHEST)
        return jnp.moveaxis(y, 0, axis)
    along = [-1 if a == axis else 1 for a in range(x.ndim)]
    parts: list[Array] = []
    for place, weight in zip(places.T, weights.T, strict=True):
        part = jnp.take(x, place, axis, mode="clip")  # no place is outside
        part = part * jnp.asarray(weight.reshape(along), x.dtype)
        # Where there is no neighbour, an infinity would become NaN.
        parts.append(part if weight.all() else jnp.where(weight.reshape(along) != 0, part, 0))
    return functools.reduce(jnp.add, parts)


def _by_row(shares: tuple[_Numbers, _Numbers, _Numbers], count: int) -> tuple[_Numbers, _Numbers]:
    """Lay the shares of each row side by side, filled up with weights of 0."""
    rows, columns, weights = shares
    order = np.argsort(rows, kind="stable")
    rows, columns, weights = rows[order], columns[order], weights[order]
    lengths = np.bincount(rows, minlength=count)
    taps = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shape = (count, max(int(lengths.max()), 1))
    places, laid = np.zeros(shape, int), np.zeros(shape)
    places[rows, taps], laid[rows, taps] = columns, weights
    return places, laid


def _shares(line: _Line, options: _Options) -> tuple[_Numbers, _Numbers, _Numbers]:
    """List which value goes into which result with which weight: results, values, weights."""
    n, m = line.old, line.new
    results = np.arange(m)
    if options.align_corners:
        centres = results * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        centres = (results + 0.5) / float(line.ratio) - 0.5
    if options.mode == "nearest":
        # In whole numbers, where a rounded quotient could choose the neighbour.
        up, down = line.ratio.numerator, line.ratio.denominator
        nearest = [min((2 * i + 1) * down // (2 * up), n - 1) for i in range(m)]
        return results, np.array(nearest), np.ones(m)
    wide = max(1 / float(line.ratio), 1.0) if options.antialias else 1.0
    cubic = "cubic" in options.mode
    reach = (2 if cubic else 1) * wide
    first = np.ceil(centres - reach).astype(int)
    places = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
    distances = (places - centres[:, None]) / wide
    weights = (
        _cubic(distances, -0.5 if options.antialias else -0.75) if cubic else _linear(distances)
    )
    if options.antialias:  # what is outside does not count, in place of the edge
        weights = np.where((places >= 0) & (places < n), weights, 0)
        weights /= weights.sum(1, keepdims=True)
    # Several places stand for one edge.
    pairs = results[:, None] * n + np.clip(places, 0, n - 1)
    merged, inverse = np.unique(pairs, return_inverse=True)
    total = np.bincount(inverse.ravel(), weights.ravel())
    kept = total != 0
    return merged[kept] // n, merged[kept] % n, total[kept]


def _linear(distances: _Numbers) -> _Numbers:
    return np.maximum(1 - np.abs(distances), 0)


def _cubic(distances: _Numbers, a: float) -> _Numbers:
    """Keys 1981, eq. 4, with the free number `a`."""
    t = np.abs(distances)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
