# SPDX-License-Identifier: Apache-2.0
"""Reading images at arbitrary points: grids, affine maps, rotation."""

import functools
import itertools
import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_floating, expect_kind, expect_one_of, expect_sizes, refuse
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.numerics import at_least_float32, real_array
from rosin.functional.windows import expect_space, space_of


def grid_sample(
    x: ArrayLike,
    grid: ArrayLike,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    subject: object = "grid_sample",
) -> Array:
    r"""Read an image at the points of a grid, between its pixels too.

    $$y_{b,p,c} = \sum_q x_{b,q,c} \prod_a \max(0, 1 - \lvert u_{b,p,a} - q_a \rvert), \qquad
    u = \frac{(g + 1)\, n - 1}{2}$$

    along each axis of size $n$, with the point $g$; or $u = (g + 1)(n - 1) / 2$ with
    `align_corners`. -1 and 1 are the outer edges of the first and the last pixel, or with
    `align_corners` their centres.

    Args:
        x: The image, real or complex.
        grid: The points, from -1 to 1 within the image. Coordinates come in the order of
            PyTorch: along the last spatial axis of `x` first.
        mode: `"bilinear"` weighs the nearest pixels on each side, on any number of axes;
            `"nearest"` takes one, and has no derivative for the grid.
        padding_mode: What lies outside: `"zeros"`, `"border"` (the nearest pixel), or
            `"reflection"` at the same edges that -1 and 1 stand for.
        align_corners: Whether -1 and 1 are the centres of pixels.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, one spatial axis or more.
        - grid: `(batch, *points, rank)`, with `rank` the number of spatial axes.
        - result: `(batch, *points, channels)`.

    Raises:
        DtypeError: An array is not of floating point, or the grid is complex.
        RangeError: A mode does not exist.
        ShapeError: `x` has no or an empty spatial axis, or the grid does not fit it.
        StructureError: `align_corners` is no boolean.

    Examples:
        >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
        >>> grid_sample(x, jnp.array([[[0.0, 0.0], [0.5, -0.5]]])).ravel()
        Array([1.5, 1. ], dtype=float32)

    Source:
        Jaderberg et al. 2015, eq. 5; NNlib.jl `grid_sample` is with `align_corners=True`.
    """
    expect_floating(x, subject=subject)
    x, grid = jnp.asarray(x), real_array(grid, subject=subject, name="grid")
    expect_one_of(("bilinear", "nearest"), subject=subject, mode=mode)
    expect_one_of(("zeros", "border", "reflection"), subject=subject, padding_mode=padding_mode)
    expect_kind(bool, subject=subject, align_corners=align_corners)
    rank = _image_rank(x, subject=subject)
    if grid.ndim < 2 or grid.shape[0] != x.shape[0] or grid.shape[-1] != rank:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"grid of shape (batch, *points, {rank})",
            got=f"grid {shown(grid)} and x {shown(x)}",
            fix="give each image of the batch its points, with one coordinate for each "
            "spatial axis last",
        )
    space = jnp.asarray(x.shape[1:-1])
    points = jnp.flip(grid, -1).astype(_wide(x, grid))
    at = (points + 1) / 2 * (space - 1) if align_corners else ((points + 1) * space - 1) / 2
    if padding_mode == "reflection":
        at = _reflected(at, space, align_corners=align_corners)
    if padding_mode != "zeros":
        at = jnp.clip(at, 0, space - 1)
    return _read(x, at, mode)


def affine_grid(
    matrix: ArrayLike,
    size: tuple[int, ...],
    *,
    align_corners: bool = False,
    subject: object = "affine_grid",
) -> Array:
    r"""Make the grid with which `grid_sample` maps an image affinely.

    $$g_{b,p} = A_b\, [\,p; 1\,]$$

    for the place $p$ of each pixel of the result, from -1 to 1.

    Args:
        matrix: The maps $A$, from the result to the image; coordinates in the order of
            `grid_sample`.
        size: The spatial size of the result.
        align_corners: As for `grid_sample`.
        subject: What complains in the message.

    Shapes:
        - matrix: `(batch, rank, rank + 1)`, with `rank` the number of spatial axes.
        - result: `(batch, *size, rank)`.

    Raises:
        DtypeError: `matrix` is not of a real floating-point dtype.
        RangeError: `size` is not a tuple of whole numbers of at least 1.
        ShapeError: `matrix` and `size` do not fit.
        StructureError: `align_corners` is no boolean.

    Examples:
        >>> affine_grid(jnp.array([[[1.0, 0.0]]]), (4,)).ravel()
        Array([-0.75, -0.25,  0.25,  0.75], dtype=float32)

    Source:
        Jaderberg et al. 2015, eq. 1; PyTorch `affine_grid`.
    """
    matrix = real_array(matrix, subject=subject, name="matrix")
    expect_sizes(size, subject=subject, name="size", axes="spatial axes")
    expect_kind(bool, subject=subject, align_corners=align_corners)
    rank = len(size)
    if matrix.ndim != 3 or matrix.shape[1:] != (rank, rank + 1):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"matrix of shape (batch, {rank}, {rank + 1}) for size {shown(size)}",
            got=shown(matrix),
            fix="give each image a linear map and a last column that shifts",
        )
    lines = [
        np.linspace(-1, 1, n) if align_corners and n > 1 else (np.arange(n) * 2 + 1) / n - 1
        for n in size
    ]
    places = np.stack(np.meshgrid(*lines, indexing="ij")[::-1], -1)
    wide = matrix.astype(at_least_float32(matrix))
    linear, shift = wide[..., :-1], wide[..., -1]
    grid = jnp.einsum(
        "...j,bij->b...i", jnp.asarray(places, wide.dtype), linear, precision=lax.Precision.HIGHEST
    )
    return (grid + shift.reshape(-1, *(1,) * rank, rank)).astype(matrix.dtype)


def imrotate(
    x: ArrayLike,
    angle: ArrayLike,
    *,
    method: str = "bilinear",
    midpoint: tuple[float, float] | None = None,
    subject: object = "imrotate",
) -> Array:
    r"""Turn images counterclockwise, and fill with zeros what comes from outside.

    $$y_p = x(R\,(p - m) + m), \qquad
    R = \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}$$

    with places $p$ as (row, column), rows counted downwards.

    Args:
        x: The images, real or complex.
        angle: The angle $\theta$ in radians, one for all images or one for each.
        method: `"bilinear"` or `"nearest"`; the latter has no derivative for the angle.
        midpoint: The (row, column) $m$ that stays in its place; when left out, the middle
            of the image, which is between pixels where a size is even.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, height, width, channels)`.
        - angle: `()` or `(batch,)`.
        - result: as `x`.

    Raises:
        DtypeError: `x` is not of floating point, or the angle not of a real one.
        RangeError: The method does not exist, or `midpoint` is not two numbers.
        ShapeError: `x` has another rank or an empty axis, or the angles do not fit it.

    Examples:
        >>> imrotate(jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None], math.pi / 2)[0, ..., 0]
        Array([[2., 4.], [1., 3.]], dtype=float32)

    Source:
        NNlib.jl `imrotate`, whose `midpoint` is `(height // 2, width // 2)` when left out,
        and which leaves out results that lie within one pixel of the edge.
    """
    expect_floating(x, subject=subject)
    x = jnp.asarray(x)
    expect_one_of(("bilinear", "nearest"), subject=subject, method=method)
    expect_space(x, 2, subject=subject)
    _image_rank(x, subject=subject)
    height, width = x.shape[1:-1]
    middle = ((height - 1) / 2, (width - 1) / 2) if midpoint is None else midpoint
    if not (isinstance(middle, tuple) and len(middle) == 2 and all(map(_is_finite, middle))):
        refuse(
            RangeError,
            subject=subject,
            expected="midpoint to be a tuple of two finite numbers",
            got=shown(midpoint),
            fix="pass midpoint=(row, column), or leave it out for the middle of the image",
        )
    sine, cosine = _sine_and_cosine(x, angle, subject=subject)
    row, column = (
        jnp.asarray(line - m, sine.dtype)
        for line, m in zip(np.ogrid[:height, :width], middle, strict=True)
    )
    rows = cosine * row + sine * column + middle[0]
    columns = cosine * column - sine * row + middle[1]
    at = jnp.stack(jnp.broadcast_arrays(rows, columns), -1)
    return _read(x, jnp.broadcast_to(at, (x.shape[0], *at.shape[1:])), method)


def _is_finite(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _sine_and_cosine(x: Array, angle: ArrayLike, *, subject: object) -> tuple[Array, Array]:
    """Take the angles as `(batch or 1, 1, 1)`."""
    radians = real_array(angle, subject=subject, name="angle")
    if radians.shape not in {(), x.shape[:1]}:
        refuse(
            ShapeError,
            subject=subject,
            expected="angle of shape () or (batch,)",
            got=f"angle {shown(radians)} and x {shown(x)}",
            fix="pass one angle for all images, or one for each",
        )
    wide = _wide(x, radians)
    if isinstance(angle, float):  # a quarter turn is exact to the last pixel in float64 only
        pair: Any = math.sin(angle), math.cos(angle)
    else:
        pair = jnp.sin(radians.astype(wide)), jnp.cos(radians.astype(wide))
    sine, cosine = (jnp.asarray(v, wide).reshape(-1, 1, 1) for v in pair)
    return sine, cosine


def _wide(x: Array, points: Array) -> Any:
    """Name the real dtype to compute places in."""
    return at_least_float32(points, x.real)


def _image_rank(x: Array, *, subject: object) -> int:
    rank = space_of(x, subject=subject)
    if 0 in x.shape[1:-1]:
        refuse(
            ShapeError,
            subject=subject,
            expected="at least 1 pixel along each spatial axis",
            got=shown(x),
            fix="leave empty images out",
        )
    return rank


def _reflected(at: Array, space: Array, *, align_corners: bool) -> Array:
    """Fold the line at both edges of the image until all points are within."""
    low = 0.0 if align_corners else -0.5
    span = jnp.maximum(space - 1 if align_corners else space, 1)  # of 1 pixel all is clipped
    distance = jnp.abs(at - low)
    turns, rest = jnp.floor(distance / span), jnp.mod(distance, span)
    return jnp.where(turns % 2 == 0, rest, span - rest) + low


@functools.partial(jax.jit, static_argnums=2)
def _read(x: Array, at: Array, mode: str) -> Array:
    """Weigh the pixels around `(batch, *points, rank)`; outside of the image are zeros."""
    batch, *space, channels = x.shape
    sizes = np.array(space)
    # Beyond this all is zero; an infinite place would have a weight of NaN.
    at = jnp.clip(at, -2, sizes + 1)
    pixels = x.reshape(batch, math.prod(space), channels)
    steps = np.array([math.prod(space[a + 1 :]) for a in range(len(space))])

    def look(place: Array) -> tuple[Array, Array]:
        """Read whole places; tell which are inside, where NaN counts as inside."""
        inside = ~((place < 0) | (place > sizes - 1)).any(-1)
        index = (jnp.clip(place, 0, sizes - 1).astype(jnp.int32) * steps).sum(-1)
        rows = index.reshape(batch, math.prod(index.shape[1:]), 1)
        seen = jnp.take_along_axis(pixels, rows, 1, mode="clip")  # no place is outside
        return seen.reshape(*index.shape, channels), inside[..., None]

    if mode == "nearest":
        seen, inside = look(jnp.round(at))
        known = ~jnp.isnan(at).any(-1, keepdims=True)
        return jnp.where(known, jnp.where(inside, seen, 0), jnp.nan).astype(x.dtype)
    floor = jnp.floor(at)
    beyond = at - floor
    total = jnp.zeros((), jnp.result_type(at, x.dtype))
    for corner in itertools.product((0, 1), repeat=len(space)):
        shares = (beyond[..., a] if c else 1 - beyond[..., a] for a, c in enumerate(corner))
        weight = functools.reduce(jnp.multiply, shares)[..., None]
        seen, inside = look(floor + np.array(corner))
        total = total + jnp.where(inside, seen.astype(total.dtype) * weight, 0)
    return total.astype(x.dtype)
