# SPDX-License-Identifier: Apache-2.0
"""Parameters with a pattern: orthogonal, identity, sparse."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array, Key, Shape
from rosin.core.validation import expect_between, is_whole, refuse
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.initialisers.checks import checked, fans, in_a_row


def orthogonal(key: Key, shape: Shape, *, gain: float = 1.0, dtype: Any = jnp.float32) -> Array:
    r"""Draw a matrix with orthonormal rows or columns, whichever are fewer.

    $$W^\top W = g^2 I \quad \text{or} \quad W W^\top = g^2 I$$

    More axes are laid out as `(rows, shape[-1])`.

    Args:
        key: The randomness.
        shape: The shape, every size at least 1, with at least two axes.
        gain: The factor $g$.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.
        ShapeError: `shape` has fewer than two axes.

    Examples:
        >>> w = orthogonal(jax.random.key(0), (3, 2))
        >>> abs(w.T @ w).round(4)
        Array([[1., 0.],
               [0., 1.]], dtype=float32)

    Source:
        Saxe, McClelland & Ganguli 2014.
    """
    wide, _, _ = fans(shape, dtype, gain, subject="orthogonal")
    if len(shape) < 2:
        refuse(
            ShapeError,
            subject="orthogonal",
            expected="a shape with at least 2 axes",
            got=shown(shape),
            fix="choose another initialiser for a vector, for example normal",
        )
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = jnp.linalg.qr(jax.random.normal(key, tall, wide))
    # Without the signs of r the result would not be evenly distributed.
    q = q * jnp.where(jnp.diagonal(r) < 0, -1, 1).astype(wide)[None]
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


def identity_init(
    key: Key | None,
    shape: Shape,
    *,
    gain: float = 1.0,
    shift: int | tuple[int, ...] = 0,
    dtype: Any = jnp.float32,
) -> Array:
    """Return what makes a layer hand its input on; the key is not used.

    A matrix has ones on its diagonal. A kernel has them in its middle, from each channel to
    the one with its number, so that a convolution with `pad="same"` is the identity; of a
    grouped one that is the first group. What has one axis, such as a bias, is zero.

    Args:
        key: Not used.
        shape: The shape, every size at least 1; it need not be square.
        gain: What stands in place of ones.
        shift: By how many places the ones are moved on, around the end: along the last
            axis, or a tuple with one number for each axis.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape`, `gain` or `shift` is out of range.

    Examples:
        >>> identity_init(None, (2, 3), shift=1)
        Array([[0., 1., 0.],
               [0., 0., 1.]], dtype=float32)

    Source:
        Flux.jl `identity_init`, whose whole `shift` goes along the first axis.
    """
    del key
    wide, _, _ = fans(shape, dtype, gain, subject="identity_init")
    shifts = shift if isinstance(shift, tuple) else (*(0 for _ in shape[1:]), shift)
    if len(shifts) != max(len(shape), 1) or not all(map(is_whole, shifts)):
        refuse(
            RangeError,
            subject="identity_init",
            expected=f"shift as a whole number, or as a tuple of {len(shape)}",
            got=shown(shift),
            fix="pass shift=1, for example",
        )
    if len(shape) < 2:
        return jnp.zeros(shape, dtype)
    middle = tuple((size - 1) // 2 for size in shape[:-2])
    made = jnp.zeros(shape, wide).at[middle].set(gain * jnp.eye(*shape[-2:], dtype=wide))
    return jnp.roll(made, shifts, tuple(range(len(shape)))).astype(dtype)


def sparse_init(
    key: Key, shape: Shape, *, sparsity: float, std: float = 0.01, dtype: Any = jnp.float32
) -> Array:
    r"""Draw a matrix from a normal, with a set share of zeros for each input.

    $$w \sim \mathcal N(0, \sigma^2), \text{ but } \lceil s\, n_{out} \rceil
    \text{ zeros in each row}$$

    Args:
        key: The randomness.
        shape: `(in, out)`.
        sparsity: The share $s$, from 0 to 1.
        std: The $\sigma$, at least 0.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape`, `sparsity` or `std` is out of range.
        ShapeError: `shape` has not two axes.

    Examples:
        >>> w = sparse_init(jax.random.key(0), (3, 10), sparsity=0.75)
        >>> (w == 0).sum(axis=1)
        Array([8, 8, 8], dtype=int32)

    Source:
        Martens 2010, section 5, with the zeros counted as Flux.jl and PyTorch count them:
        among the weights of one input. Martens counts among those of one output.
    """
    wide = checked(shape, dtype, subject="sparse_init")
    expect_between(0, 1, subject="sparse_init", sparsity=sparsity)
    expect_between(0, math.inf, subject="sparse_init", include_high=False, std=std)
    if len(shape) != 2:
        refuse(
            ShapeError,
            subject="sparse_init",
            expected="a shape (in, out)",
            got=shown(shape),
            fix="choose another initialiser for what is no matrix, for example normal",
        )
    values_key, places_key = jax.random.split(key)
    shares = in_a_row(lambda row: jax.random.uniform(places_key, row), shape)
    places = jnp.argsort(shares, axis=1)
    values = std * in_a_row(lambda row: jax.random.normal(values_key, row, wide), shape)
    return jnp.where(places < math.ceil(sparsity * shape[1]), 0, values).astype(dtype)
