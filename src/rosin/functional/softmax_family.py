# SPDX-License-Identifier: Apache-2.0
"""The softmax family: exponentials of a row, divided by their sum, and their logarithms.

An entry of minus infinity takes no part, exactly as one that a mask leaves out. Where a
row is nearly decided, the derivative is formed from the small entries alone, forwards and
backwards: the large one follows, since the entries of a gradient sum to zero.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import refuse
from rosin.errors import ShapeError, shown
from rosin.functional.activations import sigmoid
from rosin.functional.masks import as_mask
from rosin.functional.numerics import at_least_float32, expand_axes, real_array

Axes = tuple[int, ...]


def softmax(x: ArrayLike, *, axis: int | Axes = -1, mask: Any = None) -> Array:
    r"""Turn scores into probabilities.

    $$p_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$

    A row without any score, all of it masked or $-\infty$, gives zeros, and has a gradient
    of zero. Scores of $+\infty$ share the whole probability. NaN makes its row NaN, unless
    it is masked.

    Args:
        x: Real floating-point numbers.
        axis: The axis of the classes, or several that make up one row.
        mask: Booleans that broadcast to the shape of `x`; True keeps a score.

    Raises:
        DtypeError: `x` is not of a real floating-point dtype, or `mask` not boolean.
        RangeError: `axis` is no axis of `x`.
        ShapeError: `mask` does not broadcast to the shape of `x`.

    Examples:
        >>> softmax(jnp.array([0.0, 0.0, jnp.nan]), mask=jnp.array([True, True, False]))
        Array([0.5, 0.5, 0. ], dtype=float32)

    Source:
        Flux.jl `softmax`, over the last axis in place of the first. Flux, `jax.nn` and
        PyTorch return NaN for a row of $-\infty$.
    """
    wide, axes, dtype = _prepared(x, axis, mask, subject="softmax")
    return softmax_rows(wide, axes).astype(dtype)


def logsoftmax(x: ArrayLike, *, axis: int | Axes = -1, mask: Any = None) -> Array:
    r"""Compute the logarithm of the softmax, which keeps what the softmax rounds to 1 or 0.

    $$y_i = x_i - \log \sum_j e^{x_j}$$

    A score that is masked or $-\infty$ gives $-\infty$; in a row without any other score
    all do, and the gradient is zero.

    Args:
        x: Real floating-point numbers.
        axis: The axis of the classes, or several that make up one row.
        mask: Booleans that broadcast to the shape of `x`; True keeps a score.

    Raises:
        DtypeError: `x` is not of a real floating-point dtype, or `mask` not boolean.
        RangeError: `axis` is no axis of `x`.
        ShapeError: `mask` does not broadcast to the shape of `x`.

    Examples:
        >>> logsoftmax(jnp.array([0.0, 20.0]))
        Array([-2.0000000e+01, -2.0611537e-09], dtype=float32)

    Source:
        Flux.jl `logsoftmax`, over the last axis in place of the first.
    """
    wide, axes, dtype = _prepared(x, axis, mask, subject="logsoftmax")
    return logsoftmax_rows(wide, axes).astype(dtype)


def logsumexp(
    x: ArrayLike, *, axis: int | Axes = -1, mask: Any = None, keepdims: bool = False
) -> Array:
    r"""Compute the logarithm of a sum of exponentials, without overflow.

    $$y = \log \sum_j e^{x_j}$$

    Without any score, or with nothing but $-\infty$, it is $-\infty$ with a gradient of
    zero.

    Args:
        x: Real floating-point numbers.
        axis: The axis to sum over, or several.
        mask: Booleans that broadcast to the shape of `x`; True keeps a score.
        keepdims: Whether the axis stays, with size 1.

    Raises:
        DtypeError: `x` is not of a real floating-point dtype, or `mask` not boolean.
        RangeError: `axis` is no axis of `x`.
        ShapeError: `mask` does not broadcast to the shape of `x`.

    Examples:
        >>> logsumexp(jnp.array([1000.0, 1000.0]))
        Array(1000.6932, dtype=float32)

    Source:
        Flux.jl `logsumexp`, over the last axis unless told otherwise; Flux's and JAX's
        sum over all.
    """
    wide, axes, dtype = _prepared(x, axis, mask, subject="logsumexp")
    y = logsumexp_rows(wide, axes).astype(dtype)
    return y if keepdims else y.squeeze(axes)


def glu(x: ArrayLike, *, axis: int = -1) -> Array:
    r"""Let the second half of an axis be the gate of the first, which halves the axis.

    $$y = a \odot \sigma(b), \qquad (a, b) = x$$

    Args:
        x: Real floating-point numbers.
        axis: The axis to halve, of even size.

    Raises:
        DtypeError: `x` is not of a real floating-point dtype.
        RangeError: `axis` is no axis of `x`.
        ShapeError: The axis has an odd size.

    Examples:
        >>> glu(jnp.array([2.0, 4.0, 0.0, 100.0]))
        Array([1., 4.], dtype=float32)

    Source:
        Dauphin et al. 2017, eq. 1; Flux.jl `glu`, over the last axis in place of the first.
    """
    x = real_array(x, subject="glu")
    (axis,) = expand_axes((axis,), x.ndim, subject="glu", name="axis")
    if x.shape[axis] % 2:
        refuse(
            ShapeError,
            subject="glu",
            expected=f"an even size on axis {axis}",
            got=shown(x),
            fix="give it two features, a value and its gate, for each one that comes out",
        )
    value, gate = jnp.split(x.astype(at_least_float32(x)), 2, axis)
    return (value * sigmoid(gate)).astype(x.dtype)


def _prepared(
    x: ArrayLike, axis: int | Axes, mask: Any, *, subject: str
) -> tuple[Array, Axes, Any]:
    """Check the arguments; return the scores in float32 or wider, masked by infinity."""
    x = real_array(x, subject=subject)
    axes = expand_axes(axis, x.ndim, subject=subject, name="axis")
    wide = x.astype(at_least_float32(x))
    if mask is not None:
        wide = jnp.where(as_mask(mask, x.shape, subject=subject), wide, -jnp.inf)
    return wide, axes, x.dtype


# --- rows, of float32 or wider and unchecked --------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def softmax_rows(x: Array, axes: Axes = (-1,)) -> Array:
    """Compute the softmax over some axes."""
    power = jnp.exp(_shifted(x, axes)[0])
    total = jnp.sum(power, axes, keepdims=True)
    return power / jnp.where(total == 0, 1, total)


@softmax_rows.defjvp
def _(axes: Axes, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    p = softmax_rows(*primals, axes)
    return p, _softmax_tangent(p, *tangents, axes)


def _softmax_tangent(p: Array, dx: Array, axes: Axes) -> Array:
    """Multiply by `diag(p) - p p^T`, in a form whose transpose keeps its digits too.

    An entry above one half, the only one where digits would cancel, is what the others
    are measured from, and takes what they sum to.
    """
    major = p > 0.5
    base = jnp.sum(jnp.where(major, dx, 0), axes, keepdims=True)
    flow = jnp.where(major, 0, p) * (dx - base)
    return flow - p * jnp.sum(flow, axes, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def logsoftmax_rows(x: Array, axes: Axes = (-1,)) -> Array:
    """Compute the logarithm of the softmax over some axes."""
    shifted, _ = _shifted(x, axes)
    return shifted - jnp.log1p(sum_less_one(shifted == 0, jnp.exp(shifted), axes))


@logsoftmax_rows.defjvp
def _(axes: Axes, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    p = softmax_rows(x, axes)
    major = p > 0.5  # as in `_softmax_tangent`
    base = jnp.sum(jnp.where(major, dx, 0), axes, keepdims=True)
    rest = jnp.where(major, 0, dx - base)
    dy = rest - jnp.sum(p * rest, axes, keepdims=True)
    empty = jnp.sum(p, axes, keepdims=True) == 0
    return logsoftmax_rows(x, axes), jnp.where(empty, 0, dy)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
@functools.partial(jax.jit, static_argnums=1)
def logsumexp_rows(x: Array, axes: Axes = (-1,)) -> Array:
    """Compute the logarithm of the sum of exponentials over some axes, which stay."""
    shifted, base = _shifted(x, axes)
    power = jnp.exp(shifted)
    log = base + jnp.log1p(sum_less_one(shifted == 0, power, axes))
    return jnp.where(jnp.sum(power, axes, keepdims=True) == 0, -jnp.inf, log)


@logsumexp_rows.defjvp
def _(axes: Axes, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    p = softmax_rows(*primals, axes)
    return logsumexp_rows(*primals, axes), jnp.sum(p * tangents[0], axes, keepdims=True)


def _shifted(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Move the maximum to 0, an infinite one too; return where it was.

    NaN stays in its place: on CPUs XLA's maximum may pass it over.
    """
    largest = jnp.max(x, axes, keepdims=True, initial=-jnp.inf)
    base = jnp.where(largest == -jnp.inf, 0, largest)
    return jnp.where(x == jnp.inf, 0, x - base), base


def sum_less_one(top: Array, power: Array, axes: Axes) -> Array:
    """Sum exponentials of which the greatest, those at the `top`, are 1; less 1.

    One of them is left out, so that nothing cancels; without any, nothing is.
    """
    others = jnp.sum(jnp.where(top, 0, power), axes, keepdims=True)
    ties = jnp.sum(top, axes, keepdims=True, dtype=power.dtype)
    return others + (jnp.maximum(ties, 1) - 1)
