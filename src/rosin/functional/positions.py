# SPDX-License-Identifier: Apache-2.0
"""Where a token stands: waves, rotations, and biases that fall with the distance."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_integer,
    expect_one_of,
    expect_rank,
    refuse,
)
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.numerics import at_least_float32, real_array

PAIRINGS = ("halves", "interleaved")


def sinusoids(
    time: int, features: int, *, base: float = 10_000.0, offset: Any = 0, dtype: Any = jnp.float32
) -> Array:
    r"""Describe each place by sines and cosines of falling frequencies.

    $$y_{t, 2i} = \sin(t\, \beta^{-2i / d}), \qquad y_{t, 2i + 1} = \cos(t\, \beta^{-2i / d})$$

    Args:
        time: The number of places; at least 0.
        features: The $d$; even.
        base: The $\beta$; above 1.
        offset: The first place, a whole number; may be traced.
        dtype: A real floating-point dtype.

    Shapes:
        - result: `(time, features)`.

    Raises:
        DtypeError: `offset` is no whole number.
        RangeError: `features` is odd, or a number out of range.

    Examples:
        >>> sinusoids(2, 2).round(3)
        Array([[0.   , 1.   ],
               [0.841, 0.54 ]], dtype=float32)

    Source:
        Vaswani et al. 2017, section 3.5.
    """
    expect_at_least(0, subject="sinusoids", time=time)
    expect_even(subject="sinusoids", features=features)
    expect_base(base, subject="sinusoids")
    wide = jnp.promote_types(dtype, jnp.float32)
    angles = _angles(places(time, offset, subject="sinusoids"), features, base, wide)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(time, features).astype(dtype)


def rotate(
    x: ArrayLike,
    positions: ArrayLike,
    *,
    base: float = 10_000.0,
    pairing: str = "halves",
    subject: object = "rotate",
) -> Array:
    r"""Turn pairs of features by angles that grow with the place: rotary positions.

    $$\begin{pmatrix} y_a \\ y_b \end{pmatrix} = \begin{pmatrix} \cos\theta & -\sin\theta \\
    \sin\theta & \cos\theta \end{pmatrix} \begin{pmatrix} x_a \\ x_b \end{pmatrix}, \qquad
    \theta = t\, \beta^{-2i / d}$$

    A product of a query and a key that are both turned depends on the distance between
    their places only. The angle is a fraction of a turn in whole numbers, so it is as
    exact at place 1 000 000 as at place 1.

    Args:
        x: Queries or keys; computed in float32 at least.
        positions: The places, whole numbers.
        base: The $\beta$; above 1.
        pairing: Which features make up pair $i$: `"halves"` takes $(i, i + d/2)$,
            `"interleaved"` takes $(2i, 2i + 1)$.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, time, heads, features)`, with an even number of features.
        - positions: `(time,)` or `(batch, time)`.
        - result: as `x`, and of its dtype.

    Raises:
        DtypeError: `x` is not of a real floating-point dtype, or `positions` not whole.
        RangeError: The features are odd, `base` is not above 1, or `pairing` unknown.
        ShapeError: The shapes do not fit.

    Examples:
        >>> rotate(jnp.array([[[[1.0, 0.0]]]]), jnp.array([1])).round(3)
        Array([[[[0.54 , 0.841]]]], dtype=float32)

    Source:
        Su et al. 2021, eq. 34, which interleaves; halves as in GPT-NeoX and Llama.
    """
    x, positions = real_array(x, subject=subject), jnp.asarray(positions)
    expect_rank(x, ("batch", "time", "heads", "features"), subject=subject)
    expect_integer(positions, subject=subject, name="positions")
    expect_even(subject=subject, features=x.shape[-1])
    expect_base(base, subject=subject)
    expect_one_of(PAIRINGS, subject=subject, pairing=pairing)
    if positions.shape not in (x.shape[1:2], x.shape[:2]):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"positions of shape {x.shape[1:2]} or {x.shape[:2]}",
            got=f"positions {shown(positions)} and x {shown(x)}",
            fix="give one place for each entry of the time axis of x",
        )
    wide = x.astype(at_least_float32(x))
    angles = _angles(positions, x.shape[-1], base, wide.dtype)[..., :, None, :]
    angles = angles[None] if angles.ndim == 3 else angles
    if pairing == "halves":
        a, b = jnp.split(wide, 2, -1)
    else:
        a, b = wide[..., ::2], wide[..., 1::2]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned = a * cos - b * sin, b * cos + a * sin
    if pairing == "halves":
        return jnp.concatenate(turned, -1).astype(x.dtype)
    return jnp.stack(turned, -1).reshape(x.shape).astype(x.dtype)


def alibi_bias(
    heads: int, time: int, key_time: int | None = None, *, offset: Any = 0, dtype: Any = jnp.float32
) -> Array:
    r"""Lower the scores of attention in proportion to the distance.

    $$b_{h, i, j} = -m_h\, |i - j|$$

    Args:
        heads: The number of heads; at least 1.
        time: The number of queries.
        key_time: The number of keys, as many as queries when left out.
        offset: The place of the first query among the keys; may be traced.
        dtype: A real floating-point dtype.

    Shapes:
        - result: `(1, heads, time, key_time)`, for the argument `bias=` of attention.

    Raises:
        RangeError: A number is not whole, or too small.

    Examples:
        >>> alibi_bias(2, 2)[0, 0]
        Array([[-0.    , -0.0625],
               [-0.0625, -0.    ]], dtype=float32)

    Source:
        Press, Smith & Lewis 2022: the slopes $m$ fall from $2^{-8/n}$ to $2^{-8}$ for $n$
        heads; where $n$ is no power of two, every second slope of the next one is added.
    """
    key_time = time if key_time is None else key_time
    expect_at_least(1, subject="alibi_bias", heads=heads)
    expect_at_least(0, subject="alibi_bias", time=time, key_time=key_time)
    whole = 2 ** (heads.bit_length() - 1)
    exponents = [8 * (i + 1) / whole for i in range(whole)]
    exponents += [8 * (i + 0.5) / whole for i in range(heads - whole)]
    slopes = np.exp2(-np.array(exponents))[None, :, None, None]
    query = places(time, offset, subject="alibi_bias")[:, None]
    distance = jnp.abs(query - jnp.arange(key_time)[None])[None, None]
    return jnp.asarray(-slopes, dtype) * distance.astype(dtype)


def places(time: int, offset: Any, *, subject: object) -> Array:
    """Count places from an offset on, a whole number that may be traced."""
    expect_integer(offset, subject=subject, name="offset")
    return jnp.asarray(offset, jnp.int32) + jnp.arange(time, dtype=jnp.int32)


def expect_even(*, subject: object, **named: int) -> None:
    """Refuse anything but an even number of at least 2."""
    expect_at_least(1, subject=subject, **named)
    for name, value in named.items():
        if value % 2:
            refuse(
                RangeError,
                subject=subject,
                expected=f"{name} to be even, to be taken in pairs",
                got=shown(value),
                fix=f"pass {name}={value + 1}, for example",
            )


def expect_base(base: float, *, subject: object) -> None:
    """Refuse a base that does not make frequencies fall."""
    expect_between(1, math.inf, subject=subject, include_low=False, include_high=False, base=base)


def _angles(positions: Array, features: int, base: float, dtype: Any) -> Array:
    """Return the angle of each position (..., time) and frequency, from -pi to pi.

    A product in float32 loses the angle at late places, so a turn is cut into 2**32 parts
    and counted in int32, whose overflow takes whole turns away.
    """
    frequencies = base ** (-np.arange(0, features, 2) / features)
    if dtype == jnp.float64:
        return positions[..., None].astype(dtype) * jnp.asarray(frequencies, dtype)
    parts = frequencies / (2 * np.pi) * 2.0**32
    whole, rest = np.floor(parts).astype(np.uint32).view(np.int32), parts - np.floor(parts)
    count = positions.astype(jnp.int32)[..., None]
    small = jnp.round(count.astype(jnp.float32) * jnp.asarray(rest, jnp.float32))
    turned = count * jnp.asarray(whole) + small.astype(jnp.int32)
    return turned.astype(jnp.float32) * np.float32(2 * np.pi / 2.0**32)
