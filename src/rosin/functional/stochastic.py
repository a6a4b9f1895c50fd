# SPDX-License-Identifier: Apache-2.0
"""Functions that draw random numbers; the key comes in as an argument."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike, Key
from rosin.core.validation import expect_at_least, expect_between, expect_floating
from rosin.functional.normalisation import expect_at_least_axes
from rosin.functional.numerics import at_least_float32, expand_axes, real_array

# Where SELU ends on the left: -lambda * alpha of Klambauer et al. 2017, eq. 14.
_SELU_LOW = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717


def dropout(
    x: ArrayLike,
    probability: float,
    key: Key,
    *,
    axes: int | tuple[int, ...] | None = None,
    subject: object = "dropout",
) -> Array:
    r"""Set values to zero at random, and scale the others up to keep the mean.

    $$y = \frac{m \odot x}{1 - p}, \qquad m \sim \mathrm{Bernoulli}(1 - p)$$

    Args:
        x: Floating-point numbers, real or complex.
        probability: The $p$ with which a value is dropped, from 0 to 1.
        key: The randomness of the mask.
        axes: Axes along which the mask varies, it is equal along the others; every axis
            when left out.
        subject: What complains in the message.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: The probability is not between 0 and 1, or `axes` are not axes of `x`.

    Examples:
        >>> dropout(jnp.ones((2, 3)), 0.5, jax.random.key(1), axes=0)
        Array([[2., 2., 2.],
               [0., 0., 0.]], dtype=float32)

    Source:
        Srivastava et al. 2014, section 4, with the scale in training; Flux.jl `dropout`.
    """
    expect_floating(x, subject=subject)
    expect_between(0, 1, subject=subject, probability=probability)
    x = jnp.asarray(x)
    varied = range(x.ndim) if axes is None else expand_axes(axes, x.ndim, subject=subject)
    if probability == 0:
        return x
    if probability == 1:  # 1 / (1 - p) is infinite, and so would its gradient be
        return jnp.zeros_like(x)
    shape = tuple(size if axis in varied else 1 for axis, size in enumerate(x.shape))
    kept = jax.random.bernoulli(key, 1 - probability, shape)
    # The factor is not rounded to a half type: all that is kept would be off by as much.
    scaled = (x.astype(at_least_float32(x)) * (1 / (1 - probability))).astype(x.dtype)
    return jnp.where(kept, scaled, jnp.zeros_like(x))


def alpha_dropout(
    x: ArrayLike, probability: float, key: Key, *, subject: object = "alpha_dropout"
) -> Array:
    r"""Set values to the low end of SELU at random, and keep mean 0 and variance 1.

    $$y = a\,(m \odot x + (1 - m)\,\alpha') + b, \qquad
    a = \big(q + \alpha'^2 q (1 - q)\big)^{-1/2}, \quad b = -a\,(1 - q)\,\alpha'$$

    with $m \sim \mathrm{Bernoulli}(q)$, $q = 1 - p$ and $\alpha' \approx -1.758$.

    Args:
        x: Real floating-point numbers, of mean 0 and variance 1 as SELU makes them.
        probability: The $p$ with which a value is dropped, from 0 to 1; 1 gives zeros.
        key: The randomness of the mask.
        subject: What complains in the message.

    Raises:
        DtypeError: `x` holds integers, booleans or complex numbers.
        RangeError: The probability is not between 0 and 1.

    Examples:
        >>> y = alpha_dropout(jax.random.normal(jax.random.key(0), 10_000), 0.3, jax.random.key(1))
        >>> abs(float(y.mean())) < 0.05, abs(float(y.std()) - 1) < 0.05
        (True, True)

    Source:
        Klambauer et al. 2017, section "New Dropout Technique"; Flux.jl `AlphaDropout`.
    """
    x = real_array(x, subject=subject)
    expect_between(0, 1, subject=subject, probability=probability)
    if probability == 0:
        return x
    if probability == 1:  # a would multiply nothing but the low end, to b's opposite
        return jnp.zeros_like(x)
    q = 1 - probability
    a = (q + _SELU_LOW**2 * q * probability) ** -0.5
    b = -a * probability * _SELU_LOW
    kept = jax.random.bernoulli(key, q, x.shape)
    wide = x.astype(at_least_float32(x))
    return jnp.where(kept, a * wide + b, a * _SELU_LOW + b).astype(x.dtype)


def drop_path(
    x: ArrayLike, probability: float, key: Key, *, subject: object = "drop_path"
) -> Array:
    r"""Set whole examples to zero at random, and scale the others up to keep the mean.

    Args:
        x: Floating-point numbers, what a residual branch returns.
        probability: The $p$ with which an example is dropped, from 0 to 1.
        key: The randomness of the mask.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, ...)`.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: The probability is not between 0 and 1.
        ShapeError: `x` has no axis.

    Examples:
        >>> drop_path(jnp.ones((2, 3)), 0.5, jax.random.key(1))
        Array([[2., 2., 2.],
               [0., 0., 0.]], dtype=float32)

    Source:
        Huang et al. 2016, eq. 2, with the scale in training, as in PyTorch Image Models.
    """
    x = jnp.asarray(x)
    expect_at_least_axes(x, 1, "(batch, ...)", subject=subject)
    return dropout(x, probability, key, axes=0, subject=subject)


def drop_block(
    x: ArrayLike,
    probability: float,
    block: int,
    key: Key,
    *,
    subject: object = "drop_block",
) -> Array:
    r"""Set blocks of neighbouring positions to zero at random, and scale up the others.

    Every position where a block of $b$ along each of $d$ spatial axes of sizes $n_i$ fits
    in starts one with probability

    $$\gamma = p \prod_{i=1}^{d} \frac{n_i}{b\,(n_i - b + 1)}$$

    in each channel of each example on its own. What no block covers is multiplied by
    the size of the example over the count of such values. Blocks overlap, so the share
    that is dropped is near $p$ only while $p$ is small.

    Args:
        x: Floating-point numbers, real or complex.
        probability: The $p$ of the share to drop; at least 0 and below 1.
        block: The length $b$ of a block along each spatial axis; at least 1. Along a
            shorter axis the block covers it all.
        key: The randomness of the blocks.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, *space, channels)`, with at least one spatial axis.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: `x` holds integers or booleans.
        RangeError: `probability` or `block` is out of its range.
        ShapeError: `x` has no spatial axis.

    Examples:
        >>> drop_block(jnp.ones((1, 6, 1)), 0.3, 3, jax.random.key(5)).ravel()
        Array([2., 2., 2., 0., 0., 0.], dtype=float32)

    Source:
        Ghiasi, Lin & Le 2018, algorithm 1 and eq. 1, for any number of axes; counts are
        taken over one example, in torchvision over the batch.
    """
    expect_floating(x, subject=subject)
    expect_between(0, 1, subject=subject, include_high=False, probability=probability)
    expect_at_least(1, subject=subject, block=block)
    x = jnp.asarray(x)
    expect_at_least_axes(x, 3, "(batch, *space, channels)", subject=subject)
    if probability == 0 or x.size == 0:
        return x
    space = x.shape[1:-1]
    sides = [min(block, size) for size in space]
    starts = [size - side + 1 for size, side in zip(space, sides, strict=True)]
    share = math.prod(space) / math.prod(sides) / math.prod(starts)
    shape = (x.shape[0], *starts, x.shape[-1])
    seeds = jax.random.bernoulli(key, min(1.0, probability * share), shape)
    pad = [(0, 0), *((side - 1, side - 1) for side in sides), (0, 0)]
    window = (1, *sides, 1)
    hit = lax.reduce_window(
        seeds.astype(jnp.int8), jnp.int8(0), lax.max, window, (1,) * x.ndim, pad
    )
    kept = hit == 0
    axes = tuple(range(1, x.ndim))
    wide = at_least_float32(x)
    left = jnp.sum(kept, axes, dtype=jnp.int32, keepdims=True).astype(jnp.finfo(wide).dtype)
    factor = math.prod(x.shape[1:]) / jnp.maximum(left, 1)
    return jnp.where(kept, (x.astype(wide) * factor).astype(x.dtype), jnp.zeros_like(x))
