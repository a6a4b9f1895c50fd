# SPDX-License-Identifier: Apache-2.0
"""Functions that draw random numbers; the key comes in as an argument."""

import jax
import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike, Key
from rosin.core.validation import expect_between, expect_floating
from rosin.functional.numerics import at_least_float32, expand_axes


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
