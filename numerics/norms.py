# SPDX-License-Identifier: Apache-2.0
"""Norms: large means, extreme sizes, constant rows; value and gradient.

256 rows of 48 numbers each are normalised along the row, by every norm in its own layout.
*Offset* has a mean that leaves few digits to the deviations: 10⁶ in float32, 1000 in
float16, 100 in bfloat16. *Large* and *small* have a size of 10³⁰ and 10⁻³⁰, and of 10⁴ and
10⁻³ in float16. A cell holds the largest errors of value and gradient, in units of the last
place of the largest entry of the row. *Non-finite* counts infinities and NaN among values,
gradients and second derivatives of rows that are constant, zero, or hold ± the largest
number. The last column has the same for the formula in two passes, written in `jax.numpy`
and computed in float32 for the half types: offset, large, non-finite.

A bar is 0.51 for the half types and 4 for float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

import rosin as rs
from numerics.report import Row, Section, figure
from numerics.ulps import HALF, SINGLE, Real, in_ulps, unit, widened
from rosin.functional.scaling import l2_normalise

Norm = Callable[[Any], Any]

ROWS, LENGTH = 256, 48
EPSILON = 1e-5
BARS = dict.fromkeys(HALF, 0.51) | {SINGLE: 4.0}
OFFSETS = {"float16": 1e3, "bfloat16": 1e2, "float32": 1e6}
SIZES = {"float16": (1e4, 1e-3)}


def _trained(norm: Any, x: Any) -> Any:
    return rs.recording(lambda norm: norm(x), norm)[0]


NORMS: dict[str, Norm] = {
    "LayerNorm": rs.LayerNorm(LENGTH, affine=False),
    "GroupNorm": lambda x: rs.GroupNorm(4, 1, affine=False)(x.reshape(ROWS, -1, 4)).reshape(
        x.shape
    ),
    "InstanceNorm": lambda x: rs.InstanceNorm(1)(x[..., None])[..., 0],
    "BatchNorm": lambda x: _trained(rs.BatchNorm(ROWS, affine=False), x.T).T,
    "RMSNorm": rs.RMSNorm(LENGTH, affine=False),
    "l2_normalise": l2_normalise,
}
UNCENTRED = {"RMSNorm": (EPSILON, 1 / LENGTH), "l2_normalise": (0.0, 1.0)}
"""What is added to the sum of squares, and the weight of each square."""


def reference(name: str, x: Real, g: Real) -> tuple[Real, Real]:
    """Compute the value and the gradient of `sum(y * g)` in float64."""
    epsilon, weight = UNCENTRED.get(name, (EPSILON, 1 / LENGTH))
    centred = x if name in UNCENTRED else x - x.mean(-1, keepdims=True)
    inverse = 1 / np.sqrt(weight * (centred**2).sum(-1, keepdims=True) + epsilon)
    y = centred * inverse
    slope = g if name in UNCENTRED else g - g.mean(-1, keepdims=True)
    return y, inverse * (slope - y * weight * (g * y).sum(-1, keepdims=True))


def plain(name: str, x: Any) -> Any:
    """Compute the formula as one writes it down."""
    epsilon, weight = UNCENTRED.get(name, (EPSILON, 1 / LENGTH))
    wide = x.astype(jnp.float32)
    centred = wide if name in UNCENTRED else wide - wide.mean(-1, keepdims=True)
    square = weight * (centred**2).sum(-1, keepdims=True)
    return (centred / jnp.sqrt(square + epsilon)).astype(x.dtype)


def errors(name: str, norm: Norm, x: Real) -> tuple[float, float]:
    """Measure the largest errors of value and gradient."""
    g = np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype)
    y, pull = jax.vjp(jax.jit(norm), jnp.asarray(x))
    found = []
    for got, true in zip(
        (y, pull(jnp.asarray(g))[0]), reference(name, widened(x), widened(g)), strict=True
    ):
        largest = np.abs(true).max(-1, keepdims=True)
        found.append(float(in_ulps(got, true, x.dtype, coarsest=unit(largest, x.dtype)).max()))
    return found[0], found[1]


def nonfinite(norm: Norm, dtype: Any) -> int:
    """Count infinite and undefined values and derivatives at rows of a kind."""
    top = float(ml_dtypes.finfo(dtype).max)
    rows = np.zeros((ROWS, LENGTH), dtype)
    for index, value in enumerate((0, 1, -7, 1e-4, top, -top)):
        rows[index] = value
    rows[6, ::2], rows[7, 0], rows[8] = top, top, np.linspace(-1, 1, LENGTH) * top
    rows[9, ::2], rows[9, 1::2] = top, -top
    x, ones = jnp.asarray(rows), jnp.ones(rows.shape, dtype)

    def slope(x: Any) -> Any:
        return jax.vjp(norm, x)[1](ones)[0]

    found = jax.jit(lambda x: (norm(x), slope(x), jax.jvp(slope, (x,), (ones,))[1]))(x)
    return sum(int((~np.isfinite(widened(part))).sum()) for part in found)


def inputs(dtype: Any) -> dict[str, Real]:
    """Draw the rows."""
    drawn = np.random.default_rng(0).normal(size=(ROWS, LENGTH))
    large, small = SIZES.get(dtype.name, (1e30, 1e-30))
    made = {
        "offset": drawn + OFFSETS[dtype.name],
        "large": drawn * large,
        "small": drawn * small,
    }
    return {name: x.astype(dtype) for name, x in made.items()}


def section() -> Section:
    """Measure every norm in every dtype, and the plain formula beside it."""
    rows = []
    for name, norm in NORMS.items():
        for dtype in (*HALF, SINGLE):
            bar = BARS[dtype]
            ours = {case: errors(name, norm, x) for case, x in inputs(dtype).items()}
            count = nonfinite(norm, dtype)
            misses = [
                f"{case} off by {_pair(found)}" for case, found in ours.items() if max(found) > bar
            ]
            misses += [f"{count} non-finite results"] if count else []
            rule = functools.partial(plain, name)
            theirs = [_pair(errors(name, rule, inputs(dtype)[c])) for c in ("offset", "large")]
            cells = (*map(_pair, ours.values()), str(count))
            written = "; ".join([*theirs, f"{nonfinite(rule, dtype):,}"])
            rows.append(Row((name, dtype.name, *cells, written), tuple(misses)))
    columns = ("norm", "dtype", "offset", "large", "small", "non-finite", "formula")
    return Section("Norms", (__doc__ or "").partition("\n\n")[2], columns, tuple(rows))


def _pair(found: tuple[float, float]) -> str:
    return f"{figure(found[0])} / {figure(found[1])}"
