# SPDX-License-Identifier: Apache-2.0
"""First values of parameters, each called as `init(key, shape)`.

An initialiser with options is made with `functools.partial(glorot_uniform, gain=2.0)`.
All draw in float32 or wider and round to the dtype asked for last.

The fans of a shape are what flows into and out of one output: of `(in, out)` its two
sizes, of `(*kernel, in / groups, out)` these times the size of the kernel, and of `(n,)`
1 and n.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, Key, Shape
from rosin.core.validation import expect_between, expect_sizes, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, shown

# The standard deviation of a standard normal cut at -2 and 2.
_CUT_DEVIATION = 0.8796256610342398
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
    _checked(shape, dtype, subject="zeros")
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
    _checked(shape, dtype, subject="ones")
    return jnp.ones(shape, dtype)


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
    wide = _checked(shape, dtype, subject="normal")
    _expect_finite(subject="normal", mean=mean)
    expect_between(0, math.inf, subject="normal", include_high=False, std=std)
    return (mean + std * jax.random.normal(key, shape, wide)).astype(dtype)


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
    wide = _checked(shape, dtype, subject="truncated_normal")
    name = "truncated_normal"
    _expect_finite(subject=name, mean=mean, lower=lower)
    _expect_open(0, subject=name, std=std)
    _expect_open(lower, subject=name, upper=upper)
    below, above = (lower - mean) / std, (upper - mean) / std
    if below > _FAR or above < -_FAR:
        refuse(
            RangeError,
            subject=name,
            expected=f"lower and upper to reach within {_FAR:g} std of the mean",
            got=f"lower={lower!r}, upper={upper!r}, mean={mean!r}, std={std!r}",
            fix="move the mean to the bounds, or pass a larger std",
        )
    drawn = jax.random.truncated_normal(key, below, above, shape, wide)
    return jnp.clip(mean + std * drawn, lower, upper).astype(dtype)


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
    wide, fan_in, fan_out = _fans(shape, dtype, gain, subject="glorot_uniform")
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return _uniform(key, shape, bound, wide).astype(dtype)


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
    wide, fan_in, fan_out = _fans(shape, dtype, gain, subject="glorot_normal")
    std = gain * math.sqrt(2 / (fan_in + fan_out))
    return (std * jax.random.normal(key, shape, wide)).astype(dtype)


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
    wide, fan_in, _ = _fans(shape, dtype, gain, subject="kaiming_uniform")
    return _uniform(key, shape, gain * math.sqrt(3 / fan_in), wide).astype(dtype)


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
    wide, fan_in, _ = _fans(shape, dtype, gain, subject="kaiming_normal")
    std = gain / math.sqrt(fan_in)
    return (std * jax.random.normal(key, shape, wide)).astype(dtype)


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
    wide, fan_in, _ = _fans(shape, dtype, gain, subject="lecun_normal")
    std = gain / math.sqrt(fan_in) / _CUT_DEVIATION
    return (std * jax.random.truncated_normal(key, -2, 2, shape, wide)).astype(dtype)


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
    wide, _, _ = _fans(shape, dtype, gain, subject="orthogonal")
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


def _checked(shape: Shape, dtype: Any, *, subject: str) -> Any:
    """Check a shape and a dtype, and name the dtype to draw in."""
    if shape != ():
        expect_sizes(shape, subject=subject, name="shape")
    if not jnp.issubdtype(dtype, jnp.floating):
        refuse(
            DtypeError,
            subject=subject,
            expected="a real floating-point dtype",
            got=shown(dtype),
            fix="pass dtype=jnp.float32",
        )
    return np.promote_types(dtype, np.float32)


def _fans(shape: Shape, dtype: Any, gain: float, *, subject: str) -> tuple[Any, int, int]:
    """Check the arguments, and return the dtype to draw in and both fans."""
    wide = _checked(shape, dtype, subject=subject)
    _expect_finite(subject=subject, gain=gain)
    if len(shape) < 2:
        return wide, 1, math.prod(shape)
    window = math.prod(shape[:-2])
    return wide, window * shape[-2], window * shape[-1]


def _uniform(key: Key, shape: Shape, bound: float, dtype: Any) -> Array:
    return bound * jax.random.uniform(key, shape, dtype, -1, 1)


def _expect_finite(*, subject: str, **named: float) -> None:
    _expect_open(-math.inf, subject=subject, **named)


def _expect_open(bound: float, /, *, subject: str, **named: float) -> None:
    """Refuse anything but a finite number above `bound`."""
    expect_between(bound, math.inf, subject=subject, include_low=False, include_high=False, **named)
