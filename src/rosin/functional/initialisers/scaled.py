# SPDX-License-Identifier: Apache-2.0
"""Parameters whose variance follows from the fans of their shape."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array, Key, Shape
from rosin.functional.initialisers.checks import evenly, fans, in_a_row

# The standard deviation of a standard normal cut at -2 and 2.
_CUT_DEVIATION = 0.8796256610342398


def glorot_uniform(key: Key, shape: Shape, *, gain: float = 1.0, dtype: Any = jnp.float32) -> Array:
    r"""Draw evenly, with the variance that keeps forward and backward signals alike.

    $$w \sim \mathcal U(-a, a), \qquad a = g \sqrt{\frac{6}{n_{in} + n_{out}}}$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        gain: The factor $g$.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.

    Examples:
        >>> w = glorot_uniform(jax.random.key(0), (2, 4))
        >>> w.shape, bool(abs(w).max() <= 1)
        ((2, 4), True)

    Source:
        Glorot & Bengio 2010, eq. 16.
    """
    wide, fan_in, fan_out = fans(shape, dtype, gain, subject="glorot_uniform")
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return evenly(key, shape, bound, wide).astype(dtype)


def glorot_normal(key: Key, shape: Shape, *, gain: float = 1.0, dtype: Any = jnp.float32) -> Array:
    r"""Draw from a normal with the variance that keeps both signals alike.

    $$w \sim \mathcal N(0, \sigma^2), \qquad \sigma = g \sqrt{\frac{2}{n_{in} + n_{out}}}$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        gain: The factor $g$.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.

    Examples:
        >>> glorot_normal(jax.random.key(0), (3, 3, 1, 8)).shape
        (3, 3, 1, 8)

    Source:
        Glorot & Bengio 2010, eq. 12.
    """
    wide, fan_in, fan_out = fans(shape, dtype, gain, subject="glorot_normal")
    std = gain * math.sqrt(2 / (fan_in + fan_out))
    drawn = in_a_row(lambda row: jax.random.normal(key, row, wide), shape)
    return (std * drawn).astype(dtype)


def kaiming_uniform(
    key: Key, shape: Shape, *, gain: float = math.sqrt(2), dtype: Any = jnp.float32
) -> Array:
    r"""Draw evenly, with the variance that keeps the forward signal alike.

    $$w \sim \mathcal U(-a, a), \qquad a = g \sqrt{\frac{3}{n_{in}}}$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        gain: The factor $g$; the default is the one for relu.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.

    Examples:
        >>> bool(abs(kaiming_uniform(jax.random.key(0), (6, 4))).max() <= 1)
        True

    Source:
        He et al. 2015, eq. 10.
    """
    wide, fan_in, _ = fans(shape, dtype, gain, subject="kaiming_uniform")
    return evenly(key, shape, gain * math.sqrt(3 / fan_in), wide).astype(dtype)


def kaiming_normal(
    key: Key, shape: Shape, *, gain: float = math.sqrt(2), dtype: Any = jnp.float32
) -> Array:
    r"""Draw from a normal with the variance that keeps the forward signal alike.

    $$w \sim \mathcal N(0, \sigma^2), \qquad \sigma = \frac{g}{\sqrt{n_{in}}}$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        gain: The factor $g$; the default is the one for relu.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.

    Examples:
        >>> kaiming_normal(jax.random.key(0), (6, 4), dtype=jnp.bfloat16).dtype
        dtype(bfloat16)

    Source:
        He et al. 2015, eq. 10.
    """
    wide, fan_in, _ = fans(shape, dtype, gain, subject="kaiming_normal")
    std = gain / math.sqrt(fan_in)
    drawn = in_a_row(lambda row: jax.random.normal(key, row, wide), shape)
    return (std * drawn).astype(dtype)


def lecun_uniform(key: Key, shape: Shape, *, gain: float = 1.0, dtype: Any = jnp.float32) -> Array:
    r"""Draw evenly, with the variance that keeps a linear layer's signal alike.

    $$w \sim \mathcal U(-a, a), \qquad a = g \sqrt{\frac{3}{n_{in}}}$$

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        gain: The factor $g$.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.

    Examples:
        >>> bool(abs(lecun_uniform(jax.random.key(0), (3, 4))).max() <= 1)
        True

    Source:
        LeCun et al. 1998, "Efficient BackProp", eq. 16.
    """
    wide, fan_in, _ = fans(shape, dtype, gain, subject="lecun_uniform")
    return evenly(key, shape, gain * math.sqrt(3 / fan_in), wide).astype(dtype)


def lecun_normal(key: Key, shape: Shape, *, gain: float = 1.0, dtype: Any = jnp.float32) -> Array:
    r"""Draw from a normal cut at two standard deviations, with the variance for selu.

    $$w \sim \mathcal N(0, s^2), \quad |w| \le 2 s, \qquad
    \sigma_w = \frac{g}{\sqrt{n_{in}}}$$

    $s$ is larger than $\sigma_w$, to make up for the cut.

    Args:
        key: The randomness.
        shape: The shape, every size at least 1.
        gain: The factor $g$.
        dtype: A floating-point dtype.

    Raises:
        DtypeError: `dtype` is not one of floating point.
        RangeError: `shape` or `gain` is out of range.

    Examples:
        >>> lecun_normal(jax.random.key(0), (6, 4)).shape
        (6, 4)

    Source:
        Klambauer et al. 2017, section 2, cut as JAX does; Flux.jl cuts at -2 and 2
        whatever the fan.
    """
    wide, fan_in, _ = fans(shape, dtype, gain, subject="lecun_normal")
    std = gain / math.sqrt(fan_in) / _CUT_DEVIATION
    drawn = in_a_row(lambda row: jax.random.truncated_normal(key, -2, 2, row, wide), shape)
    return (std * drawn).astype(dtype)
