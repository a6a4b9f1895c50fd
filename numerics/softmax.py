# SPDX-License-Identifier: Apache-2.0
"""Softmax and attention: rows of 2 to 32 scores, nearly even ones to decided ones.

Errors are in eps, the distance of 1 to the next number of the type, times the largest entry
of the row: of the values, and of the derivative of one entry by all scores, which is small
as a whole where the row is decided; a logarithm in eps of itself, or that of a sum in eps
of its largest score where that is more. Scores are multiples of 1/1024, so that their
differences are exact: what rounding the input costs is not counted. *Non-finite* counts
entries of values and derivatives that are NaN or infinite and need not be, on rows with
scores of ±∞ and of the largest numbers, with a part masked that holds NaN, and masked as a
whole; *limits* counts wrong values there. The last column has the same figures of `jax.nn`.

A bar is 4 eps; for the half types, whose result is rounded once, 0.51.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs
from numerics.report import Row, Section, figure
from numerics.ulps import HALF, SINGLE, Real, widened

Function = Callable[..., Any]

ROWS = 4096
BARS = dict.fromkeys(HALF, 0.51) | {SINGLE: 4.0}
INF, NAN = math.inf, math.nan

ROSIN: dict[str, Function] = {
    "softmax": rs.softmax,
    "logsoftmax": rs.logsoftmax,
    "logsumexp": rs.logsumexp,
}
JAX: dict[str, Function] = {
    "softmax": lambda x, mask=None: jax.nn.softmax(x, where=mask),
    "logsoftmax": lambda x, mask=None: jax.nn.log_softmax(x, where=mask),
    "logsumexp": lambda x, mask=None: jax.nn.logsumexp(x, -1, where=mask),
}


@dataclasses.dataclass(frozen=True)
class Figures:
    """What is measured of one function in one dtype."""

    value: float
    slope: float
    nonfinite: int
    limits: int

    def cells(self) -> tuple[str, str, str, str]:
        """Write the figures."""
        return figure(self.value), figure(self.slope), str(self.nonfinite), str(self.limits)

    def misses(self, bar: float) -> tuple[str, ...]:
        """Say which bars are missed."""
        held = {
            f"value off by {figure(self.value)} eps": self.value <= bar,
            f"derivative off by {figure(self.slope)} eps": self.slope <= bar,
            f"{self.nonfinite} non-finite results": self.nonfinite == 0,
            f"{self.limits} wrong limits": self.limits == 0,
        }
        return tuple(miss for miss, holds in held.items() if not holds)


# --- the formulas, in float64 ---------------------------------------------------------


def _parts(x: Real) -> tuple[Real, Real, Real]:
    """Return the exponentials, and their sums with and without each entry itself."""
    power = np.exp(x - x.max(-1, keepdims=True))
    total = power.sum(-1, keepdims=True)
    others = np.where(power == 1, (power * (power != 1)).sum(-1, keepdims=True), total - power)
    ties = (power == 1).sum(-1, keepdims=True) - 1
    return power, total, np.where(power == 1, others + ties, others)


def _values(name: str, x: Real) -> Real:
    power, total, others = _parts(x)
    if name == "softmax":
        return power / total
    if name == "logsoftmax":
        return np.where(power == 1, -np.log1p(others), x - x.max(-1, keepdims=True) - np.log(total))
    return x.max(-1) + np.log(total[..., 0])


def _slopes(name: str, x: Real, chosen: Real) -> Real:
    """Differentiate the chosen entry of each row by all scores."""
    power, total, others = _parts(x)
    p, rest = power / total, others / total
    if name == "logsumexp":
        return p
    hit = np.arange(x.shape[-1]) == chosen[:, None]
    log = np.where(hit, rest, -p)
    if name == "logsoftmax":
        return log
    return log * np.take_along_axis(p, chosen[:, None], -1)


# --- what is measured -------------------------------------------------------------------


def _scores(dtype: Any) -> tuple[Real, Real]:
    """Draw rows of scores at many spreads, and an entry of each."""
    draw = np.random.default_rng(0)
    spread = 2.0 ** draw.uniform(-3, 5, (ROWS, 1))
    x = np.round(draw.normal(size=(ROWS, 32)) * spread * 1024) / 1024
    x[np.arange(32) >= draw.integers(2, 33, (ROWS, 1))] = -INF
    return x.astype(dtype), draw.integers(0, 2, ROWS)


def _picked(function: Function, x: Any, chosen: Any) -> Any:
    y = function(x)
    return y if y.ndim == 1 else jnp.take_along_axis(y, chosen[:, None], -1)[:, 0]


def measure(name: str, function: Function, dtype: Any) -> Figures:
    """Compare a function with its formula."""
    x, chosen = _scores(dtype)
    value = np.asarray(jax.jit(function)(x))
    slope = np.asarray(jax.jit(jax.grad(lambda x: _picked(function, x, chosen).sum()))(x))
    wide = widened(x)
    return Figures(
        _error(value, _values(name, wide), dtype, floor=_floor(name, wide)),
        _error(slope, _slopes(name, wide, chosen), dtype),
        *_ends(name, function, dtype),
    )


def _floor(name: str, x: Real) -> Any:
    """Return the least size that errors of a row are measured by: that of its maximum."""
    return np.abs(x.max(-1)) if name == "logsumexp" else 0.0


def _error(got: Real, true: Real, dtype: Any, *, floor: Any = 0.0) -> float:
    """Measure in eps of the largest entry of a row, of a logarithm in eps of each entry."""
    finite = np.isfinite(true)
    size = np.maximum(np.abs(np.where(finite, true, 0)), floor)
    if true.ndim == 2 and (true >= 0).any():
        size = size.max(-1, keepdims=True)
    least = 2.0**-24 if dtype == np.float16 else float(jnp.finfo(dtype).tiny)
    unit = np.maximum(np.ldexp(1.0, np.frexp(size)[1] - 1) * float(jnp.finfo(dtype).eps), least)
    with np.errstate(invalid="ignore"):
        error = np.where(finite, np.abs(widened(got) - true), 0) / unit
    return float(np.nan_to_num(error, nan=INF).max())


def _ends(name: str, function: Function, dtype: Any) -> tuple[int, int]:
    """Count non-finite entries that need not be, and wrong values, at the ends."""
    most = float(jnp.finfo(dtype).max)
    scores = np.array(
        [[INF, 0, 1], [INF, INF, 0], [-INF, 0, 0], [-INF] * 3, [most, 0, -most], [most] * 3]
    )
    shares = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0] * 3, [1, 0, 0], [1 / 3] * 3])
    with np.errstate(divide="ignore"):
        logs = np.log(shares)
    logs[4] = [0, -most, -INF]  # twice the largest number
    totals = np.array([INF, INF, math.log(2), -INF, most, most])
    right = {"softmax": shares, "logsoftmax": logs, "logsumexp": totals}[name]
    nonfinite, wrong = _counted(function, scores.astype(dtype), right, None)
    mask = np.array([[True, True, False], [False] * 3])
    junk = np.array([[0, 0, NAN], [NAN, INF, 0]])
    half = np.array([[0.5, 0.5, 0], [0, 0, 0]])
    with np.errstate(divide="ignore"):
        logs = np.log(half)
    totals = np.array([math.log(2), -INF])
    right = {"softmax": half, "logsoftmax": logs, "logsumexp": totals}[name]
    masked = _counted(function, junk.astype(dtype), right, mask)
    return nonfinite + masked[0], wrong + masked[1]


def _counted(function: Function, x: Real, right: Real, mask: Any) -> tuple[int, int]:
    def total(x: Any) -> Any:
        y = function(x, mask=mask)
        return jnp.where(jnp.isfinite(y), y, 0).sum(), y

    slope, value = jax.grad(total, has_aux=True)(x)
    value, slope = widened(value), widened(slope)
    close = np.isclose(value, right, rtol=2.0**-7, atol=0)
    nonfinite = (np.isfinite(right) & ~np.isfinite(value)).sum() + (~np.isfinite(slope)).sum()
    return int(nonfinite), int((~close).sum())


# --- attention ------------------------------------------------------------------------------


def attention(attend: Function, dtype: Any) -> Figures | None:
    """Measure attention with a causal mask, and with one that leaves a query without keys."""
    draw = np.random.default_rng(0)
    q, k, v = draw.normal(size=(3, 4, 16, 2, 8)).astype(dtype)
    weights = draw.normal(size=q.shape)
    mask = np.tri(16, dtype=bool)
    mask[3] = False
    dirty = np.array([k, v])
    dirty[:, :, 15] = NAN  # the last key is seen by the last query only
    hidden = mask & (np.arange(16) < 15)

    def loss(q: Any, k: Any, v: Any, mask: Any) -> Any:
        y = attend(q, k, v, mask=mask)
        return (y * jnp.asarray(weights, y.dtype)).sum().astype(jnp.float32), y

    gradient = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))
    with jax.enable_x64(True):
        exact = [jnp.asarray(widened(a)) for a in (q, k, v)]
        slopes, value = jax.jit(
            jax.grad(
                lambda *a: _reference(*a, mask, widened(weights.astype(dtype))),
                (0, 1, 2),
                has_aux=True,
            )
        )(*exact)
    try:
        got_slopes, got = gradient(q, k, v, mask)
        masked = gradient(q, *dirty, hidden)
    except ValueError:  # of float16, by jax.nn on a CPU
        return None
    flat = [jax.tree.map(lambda a: widened(a).reshape(4, -1), s) for s in (got_slopes, slopes)]
    every = [widened(leaf) for leaf in jax.tree.leaves(masked)]
    return Figures(
        _error(widened(got).reshape(4, -1), widened(value).reshape(4, -1), dtype),
        max(_error(a, b, dtype) for a, b in zip(*flat, strict=True)),
        int(sum((~np.isfinite(leaf)).sum() for leaf in every)),
        int((widened(got)[:, 3] != 0).sum()),
    )


def _reference(q: Any, k: Any, v: Any, mask: Any, weights: Any) -> Any:
    scores = jnp.einsum("bthf,bshf->bhts", q, k) / math.sqrt(q.shape[-1])
    power = jnp.where(mask, jnp.exp(scores - scores.max(-1, keepdims=True)), 0)
    p = power / jnp.maximum(power.sum(-1, keepdims=True), 1e-300)
    y = jnp.einsum("bhts,bshf->bthf", p, v)
    return (y * weights).sum(), y


def _jax_attention(q: Any, k: Any, v: Any, mask: Any) -> Any:
    return jax.nn.dot_product_attention(q, k, v, mask=jnp.asarray(mask)[None, None])


def section() -> Section:
    """Measure the softmax family and attention in every dtype, and `jax.nn` beside them."""
    rows = []
    for name, function in ROSIN.items():
        for dtype in (*HALF, SINGLE):
            ours = measure(name, function, dtype)
            theirs = measure(name, JAX[name], dtype)
            cells = (name, dtype.name, *ours.cells(), " / ".join(theirs.cells()))
            rows.append(Row(cells, ours.misses(BARS[dtype])))
    for dtype in (*HALF, SINGLE):
        ours = attention(rs.functional.dot_product_attention, dtype)
        theirs = attention(_jax_attention, dtype)
        other = "raises" if theirs is None else " / ".join(theirs.cells())
        if ours is None:
            raise RuntimeError("attention raises")
        cells = ("dot_product_attention", dtype.name, *ours.cells(), other)
        rows.append(Row(cells, ours.misses(BARS[dtype])))
    columns = ("function", "dtype", "value", "derivative", "non-finite", "limits", "jax.nn")
    return Section("Softmax", (__doc__ or "").partition("\n\n")[2], columns, tuple(rows))
