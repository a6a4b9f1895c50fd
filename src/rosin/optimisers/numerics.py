# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of the rules that neither over- nor underflows where the result does not.

A sum of squares is kept as its root: the square of a float32 above 1.8e19 is infinite,
and that of one below 1e-23 is 0.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array


def real_dtype(array: Array) -> jnp.dtype:
    """Return the dtype of an array, or of the parts of a complex one."""
    return jnp.finfo(array.dtype).dtype


def saturated(x: Array, limit: Any = None) -> Array:
    """Bound a number, or both parts of a complex one, by the largest finite one."""
    bound = jnp.finfo(x.dtype).max if limit is None else limit
    if jnp.iscomplexobj(x):
        return jax.lax.complex(saturated(x.real, bound), saturated(x.imag, bound))
    return jnp.clip(x, -bound, bound)


def bounded(x: Array) -> Array:
    """Bound a number a little below the largest, so that no average of such rounds beyond it.

    XLA stores what is bounded after the arithmetic, and passes over memory once more for it.
    """
    return saturated(x, float(jnp.finfo(x.dtype).max) * (1 - 2**-20))


def mixed(old: Array, new: Array, decay: Array) -> Array:
    """Average: `decay * old + (1 - decay) * new`."""
    return decay * bounded(old) + (1 - decay) * bounded(new)


def rooted(old: Array, new: Array, decay: Array) -> Array:
    """Average squares: the root of `decay * old**2 + (1 - decay) * abs(new)**2`.

    What is old is a root, and so not negative. The larger part goes before the root.
    """
    a = jnp.sqrt(decay) * bounded(old)
    b = jnp.sqrt(1 - decay) * bounded(jnp.abs(new))
    top = jnp.maximum(a, b)
    share = divided(jnp.minimum(a, b), top)
    return top * jnp.sqrt(1 + share * share)


def divided(x: Array, by: Array) -> Array:
    """Divide by a number of at least 0; where that is 0, by the least normal one."""
    return x / jnp.maximum(by, jnp.finfo(by.dtype).tiny)


def filled(decay: Array, count: Array) -> Array:
    """Return `1 - decay**count`, the share that an average has taken in; to full precision."""
    return -jnp.expm1(count * jnp.log1p(decay - 1))


def scale_of(top: Array) -> Array:
    """Bound a largest size so that it and its reciprocal are normal numbers.

    XLA may multiply by the reciprocal where a division stands.
    """
    info = jnp.finfo(top.dtype)
    return jnp.clip(top, 4 * info.tiny, info.max / 8)


def root_mean_square(x: Array, axis: int | None = None) -> Array:
    """Return the root of the mean of the squares, whatever their size."""
    size = jnp.abs(x)
    scale = scale_of(size.max(axis=axis, initial=0))
    spread = scale if axis is None else jnp.expand_dims(scale, axis)
    return saturated(scale * jnp.sqrt(jnp.mean((size / spread) ** 2, axis=axis)))


def scaled_norm(arrays: Sequence[Array], p: float = 2) -> tuple[Array, Array]:
    """Return the p-norm of all numbers together in two factors, since it may not be finite.

    The first is above 0 and near the largest size, the second is 0 only if all are.
    """
    tops = [jnp.abs(x).max(initial=0) for x in arrays]
    common = jnp.result_type(*tops)
    scale = scale_of(jnp.stack([top.astype(common) for top in tops]).max())
    sizes = [jnp.abs(x).astype(common) / scale for x in arrays]
    if p == float("inf"):
        return scale, jnp.stack([size.max(initial=0) for size in sizes]).max()
    total = jnp.stack([(size**p).sum() for size in sizes]).sum()
    return scale, jnp.sqrt(total) if p == 2 else total ** (1 / p)
