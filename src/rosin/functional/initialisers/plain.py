# SPDX-License-Identifier: Apache-2.0
"""Parameters drawn from one distribution whatever their shape, or set to one value."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array, Key, Shape
from rosin.core.validation import expect_between, refuse
from rosin.errors import RangeError
from rosin.functional.initialisers.checks import checked, expect_above, expect_finite, in_a_row

# Further out, a float32 has too few digits to tell the quantiles apart.
_FAR = 3.0


def zeros(key: Key | None, shape: Shape, *, dtype: Any = jnp.float32) -> Array:
    """Return zeros; the key is not used.

    Args:
        key: Not used.
        shape: The shape, every size at least 1.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` is not a tuple of whole numbers of at least 1.

    Examples:
        >>> zeros(None, (2,))
        Array([0., 0.], dtype=float32)
    """
    del key
    checked(shape, dtype, subject="zeros")
    return jnp.zeros(shape, dtype)


def ones(key: Key | None, shape: Shape, *, dtype: Any = jnp.float32) -> Array:
    """Return ones; the key is not used.

    Args:
        key: Not used.
        shape: The shape, every size at least 1.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` is not a tuple of whole numbers of at least 1.

    Examples:
        >>> ones(None, (2,))
        Array([1., 1.], dtype=float32)
    """
    del key
    checked(shape, dtype, subject="ones")
    return jnp.ones(shape, dtype)


def constant(key: Key | None, shape: Shape, *, value: float, dtype: Any = jnp.float32) -> Array:
    """Return one value everywhere; the key is not used.

    Args:
        key: Not used.
        shape: The shape, every size at least 1.
        value: A finite number.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` is not a tuple of whole numbers of at least 1, or `value` is
            not finite.

    Examples:
        >>> constant(None, (2,), value=0.5)
        Array([0.5, 0.5], dtype=float32)
    """
    del key
    checked(shape, dtype, subject="constant")
    expect_finite(subject="constant", value=value)
    return jnp.full(shape, value, dtype)


def uniform(
    key: Key,
    shape: Shape,
    *,
    lower: float = 0.0,
    upper: float = 1.0,
    dtype: Any = jnp.float32,
) -> Array:
    r"""Draw evenly between two bounds.

    $$w \sim \mathcal U(a, b)$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        lower: The least value $a$.
        upper: The bound $b$, above `lower`.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or a bound is out of range.

    Examples:
        >>> bool(uniform(jax.random.key(0), (100,), lower=-1).min() < 0)
        True
    """
    wide = checked(shape, dtype, subject="uniform")
    expect_finite(subject="uniform", lower=lower)
    expect_above(lower, subject="uniform", upper=upper)
    share = in_a_row(lambda row: jax.random.uniform(key, row, wide), shape)
    return jnp.clip(lower * (1 - share) + upper * share, lower, upper).astype(dtype)


def normal(
    key: Key,
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    dtype: Any = jnp.float32,
) -> Array:
    r"""Draw from the normal distribution.

    $$w \sim \mathcal N(\mu, \sigma^2)$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        mean: The $\mu$.
        std: The $\sigma$, at least 0.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape`, `mean` or `std` is out of range.

    Examples:
        >>> normal(jax.random.key(0), (2, 3), std=0.01).shape
        (2, 3)
    """
    wide = checked(shape, dtype, subject="normal")
    expect_finite(subject="normal", mean=mean)
    expect_between(0, math.inf, subject="normal", include_high=False, std=std)
    drawn = in_a_row(lambda row: jax.random.normal(key, row, wide), shape)
    return (mean + std * drawn).astype(dtype)


def truncated_normal(
    key: Key,
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    lower: float = -2.0,
    upper: float = 2.0,
    dtype: Any = jnp.float32,
) -> Array:
    r"""Draw from the normal distribution, cut at two bounds.

    $$w \sim \mathcal N(\mu, \sigma^2), \qquad a \le w \le b$$

    The bounds are values, not multiples of $\sigma$. What is drawn has a smaller standard
    deviation than $\sigma$.

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        mean: The $\mu$ before the cut.
        std: The $\sigma$ before the cut, above 0.
        lower: The least value $a$.
        upper: The greatest value $b$, above `lower`.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape`, `mean` or `std` is out of range, `upper` is not above `lower`,
            or the bounds lie further than 3 `std` to one side of the mean.

    Examples:
        >>> bool(abs(truncated_normal(jax.random.key(0), (100,))).max() <= 2)
        True

    Source:
        Flux.jl `truncated_normal`.
    """
    wide = checked(shape, dtype, subject="truncated_normal")
    name = "truncated_normal"
    expect_finite(subject=name, mean=mean, lower=lower)
    expect_above(0, subject=name, std=std)
    expect_above(lower, subject=name, upper=upper)
    below, above = (lower - mean) / std, (upper - mean) / std
    if below > _FAR or above < -_FAR:
        refuse(
            RangeError,
            subject=name,
            expected=f"lower and upper to reach within {_FAR:g} std of the mean",
            got=f"lower={lower!r}, upper={upper!r}, mean={mean!r}, std={std!r}",
            fix="move the mean to the bounds, or pass a larger std",
        )
    drawn = in_a_row(lambda row: jax.random.truncated_normal(key, below, above, row, wide), shape)
    return jnp.clip(mean + std * drawn, lower, upper).astype(dtype)
