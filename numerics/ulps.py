# SPDX-License-Identifier: Apache-2.0
"""Inputs of each floating-point type, and errors in units of the last place (ULP)."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

Real = np.ndarray[Any, Any]

HALF = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
SINGLE = np.dtype(np.float32)


def every(dtype: Any) -> Real:
    """Return all finite numbers of a half type."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    return x[np.isfinite(widened(x))]


def stratified(count: int, *, near: tuple[float, ...] = (), seed: int = 0) -> Real:
    """Draw float32 numbers from all strata: exponents, the usual range, around some points.

    Half of the `count` is spread evenly over the bit patterns, which gives each exponent
    its share, from the subnormal numbers to the largest one. A quarter each is uniform in
    [-110, 110], where exponentials have their tails, and in [-10, 10]. Of `near` come the
    256 neighbours of each point, beyond the `count`.
    """
    draw = np.random.default_rng(seed)
    patterns = (np.arange(count // 2) + draw.uniform(size=count // 2)) * (2**33 / count)
    bits = patterns.astype(np.uint64).astype(np.uint32)
    uniform = [draw.uniform(-reach, reach, count // 4).astype(np.float32) for reach in (110, 10)]
    around = [np.float32(p).view(np.uint32) + np.arange(-128, 128) for p in near]
    neighbours = [b.astype(np.uint32).view(np.float32) for b in around]
    x = np.concatenate([bits.view(np.float32), *uniform, *neighbours])
    return x[np.isfinite(x)]


def widened(x: Any) -> Real:
    """Convert to float64; NaN passes without NumPy's warning."""
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(np.float64)


def least_normal(dtype: Any) -> float:
    """Return the least positive number that XLA never flushes to 0 on a CPU.

    That is the least normal number, but for float16, which is computed in float32.
    """
    info = ml_dtypes.finfo(dtype)
    return float(info.smallest_subnormal if dtype == np.float16 else info.tiny)


def unit(true: Real, dtype: Any) -> Real:
    """Return the distance between two neighbours in `dtype`, at the size of `true`."""
    info = ml_dtypes.finfo(dtype)
    exponent = np.frexp(np.maximum(np.abs(true), float(info.tiny)))[1] - 1
    return np.ldexp(1.0, exponent - info.nmant)


def in_ulps(got: Any, true: Any, dtype: Any, *, coarsest: Any = 0.0) -> Real:
    """Measure |got - true| in units of the last place of `dtype`, rounding included.

    What the type must round to infinity is right as infinity, and what lies below its
    least normal number is right as 0: XLA on a CPU flushes it. NaN is right where `true`
    is NaN and infinitely wrong elsewhere. `coarsest` is a unit that is used where it is
    larger, an absolute error in place of a relative one.
    """
    got, true = widened(got), widened(true)
    info = ml_dtypes.finfo(dtype)
    largest, least = float(info.max), least_normal(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - true) / np.maximum(unit(true, dtype), coarsest)
    half = float(unit(np.asarray(largest), dtype)) / 2
    overflow = (np.abs(true) >= largest + half) & (got == np.copysign(np.inf, true))
    flushed = (np.abs(true) < least) & (np.abs(got) <= least)
    equal = (got == true) | (np.isnan(got) & np.isnan(true))
    return np.where(equal | overflow | flushed, 0.0, np.nan_to_num(error, nan=np.inf))


def worst(
    got: Any, formula: Callable[[Real], Real], x: Any, dtype: Any, *, coarsest: Any = 0.0
) -> float:
    """Return the largest error over the inputs, in ULP; a subnormal input may be read as 0."""
    wide = widened(x)
    error = in_ulps(got, formula(wide), dtype, coarsest=coarsest)
    small = (np.abs(wide) < least_normal(dtype)) & (wide != 0)
    if small.any():
        as_zero = in_ulps(np.asarray(got)[small], formula(0 * wide[small]), dtype)
        error[small] = np.minimum(error[small], as_zero)
    return float(error.max())


def spurious(got: Any, true: Real) -> int:
    """Count infinities and NaN where the true result fits into the type."""
    got = np.asarray(got)
    with np.errstate(over="ignore"):
        fits = np.isfinite(widened(true.astype(got.dtype)))
    return int((fits & ~np.isfinite(widened(got))).sum())
