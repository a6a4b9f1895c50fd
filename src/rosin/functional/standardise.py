# SPDX-License-Identifier: Apache-2.0
"""The one core of all norms: numbers over the root of their mean square.

Its derivative is written out, from the result and one over the root, which keeps it exact
where the mean is large and costs two sums in the backward pass.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array
from rosin.core.validation import expect_not_empty
from rosin.functional.numerics import at_least_float32, safe_scale

Affine = tuple[Array | None, Array | None]


def standardised(
    x: Array,
    axes: tuple[int, ...],
    epsilon: float,
    *,
    affine: Affine = (None, None),
    centre: bool = True,
    subject: object,
) -> tuple[Array, Array, Array]:
    r"""Compute the norm of some axes, its mean and its variance, in float32 at least.

    $$y = \gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta$$

    Args:
        x: Real floating-point numbers.
        axes: The axes to average over, counted from the front; they stay, with size 1.
        epsilon: Keeps the root away from 0; at least 0.
        affine: The factor and the summand, laid along `x`.
        centre: Whether the mean is taken away; without, $\mu$ is 0 and $v$ the mean square.
        subject: What complains in the message.

    Returns:
        The result, the mean and the biased variance.

    Raises:
        ShapeError: There is nothing to average.
    """
    if any(x.shape[axis] == 0 for axis in axes):
        expect_not_empty(x, subject=subject, name="x")
    x = x.astype(at_least_float32(x))
    scale, shift = (None if a is None else a.astype(x.dtype) for a in affine)
    return _scaled(x, scale, shift, axes, float(epsilon), centre)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _scaled(
    x: Array,
    scale: Array | None,
    shift: Array | None,
    axes: tuple[int, ...],
    epsilon: float,
    centre: bool,  # noqa: FBT001  custom_jvp hands it by its place  custom_jvp takes arguments by place
) -> tuple[Array, Array, Array]:
    y, _, mean, variance = _whitened(x, axes, epsilon, centre)
    return _affine(y, scale, shift), mean, variance


@_scaled.defjvp
def _scaled_jvp(
    axes: tuple[int, ...],
    epsilon: float,
    centre: bool,  # noqa: FBT001  custom_jvp hands it by its place
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
) -> tuple[Any, Any]:
    x, scale, shift = primals
    dx, dscale, dshift = tangents
    y, inverse, mean, variance = _whitened(x, axes, epsilon, centre)
    dmean, projection = _projections(y, dx, axes, centre=centre)
    out = _affine(y, scale, shift), mean, variance
    factor = inverse if scale is None else scale * inverse
    if factor.shape == x.shape:  # of a layer norm
        by_x = _affine(inverse * (dx - dmean - y * projection), scale, dshift)
        change = by_x if dscale is None else by_x + y * dscale
    else:
        # What varies along few axes is added up first, so that each sum is made once.
        by_y, by_one = -factor * projection, -factor * dmean
        by_y = by_y if dscale is None else dscale + by_y
        by_one = by_one if dshift is None else dshift + by_one
        change = factor * dx + y * by_y + by_one
    return out, (change, dmean, 2 * projection * _root(inverse))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _whitened(
    x: Array,
    axes: tuple[int, ...],
    epsilon: float,
    centre: bool,  # noqa: FBT001  custom_jvp hands it by its place
) -> tuple[Array, Array, Array, Array]:
    """Return the result, one over the root, the mean and the variance."""
    scale = safe_scale(x, axes, floor=epsilon**0.5)
    mean = jnp.zeros_like(scale)
    # Of x as it is, which is quicker; any guess does, should the sum overflow.
    guess = jnp.mean(x, axes, keepdims=True) if centre else mean
    x = x * scale
    if centre:  # twice, since a large mean is rounded
        guess = jnp.where(jnp.isfinite(guess), guess, 0) * scale
        x = x - guess
        rest = jnp.mean(x, axes, keepdims=True)
        x, mean = x - rest, guess + rest
    variance = jnp.mean(x * x, axes, keepdims=True)
    square = variance + epsilon * scale * scale
    # Only constant data without an epsilon are below; all derivatives are finite down to it.
    smallest = 2.0 ** (int(jnp.finfo(x.dtype).minexp) * 2 // 3)
    inverse = lax.rsqrt(jnp.maximum(square, smallest))
    # Divided twice, since scale**2 can underflow.
    return x * inverse, inverse * scale, mean / scale, variance / scale / scale


@_whitened.defjvp
def _whitened_jvp(
    axes: tuple[int, ...],
    epsilon: float,
    centre: bool,  # noqa: FBT001  custom_jvp hands it by its place
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    y, inverse, mean, variance = _whitened(x, axes, epsilon, centre)
    dmean, projection = _projections(y, dx, axes, centre=centre)
    dy = inverse * (dx - dmean - y * projection)
    changes = dy, -inverse * inverse * projection, dmean, 2 * projection * _root(inverse)
    return (y, inverse, mean, variance), changes


def _projections(
    y: Array, dx: Array, axes: tuple[int, ...], *, centre: bool
) -> tuple[Array, Array]:
    """Average a change of `x`, and its product with the result."""
    projection = jnp.mean(y * dx, axes, keepdims=True)
    return jnp.mean(dx, axes, keepdims=True) if centre else jnp.zeros_like(projection), projection


def _root(inverse: Array) -> Array:
    """Invert one over the root; 0 where that has underflown, so that nothing becomes NaN."""
    seen = inverse > 0
    return jnp.where(seen, 1 / jnp.where(seen, inverse, 1), 0)


def _affine(y: Array, scale: Array | None, shift: Array | None) -> Array:
    y = y if scale is None else y * scale
    return y if shift is None else y + shift
