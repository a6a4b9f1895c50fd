# SPDX-License-Identifier: Apache-2.0
r"""Activations: every half input, a stratified sample of the single ones, limits, NaN.

Errors are in units of the last place (ULP); 0.50 is correct rounding. The inputs are all
65,536 numbers of float16 and of bfloat16, and 2²⁰ of float32, half of them spread over the
bit patterns and half over the range where something happens. *Non-finite* counts inputs
with an infinite or undefined value, derivative or second derivative where the true one
fits into the type. *Limits* counts what is wrong among values and derivatives at ±∞ and
the value of NaN. The last column has the same figures of `jax.nn`: value, derivative,
non-finite, limits.

A bar is 0.51 ULP for the half types and 4 ULP for float32. Two allowances hold: where
XLA flushes subnormal numbers, a subnormal result may be 0 and a subnormal input read as 0;
and within 0.5 of its root, the error of a float32 derivative is counted in quarters of an
ULP of the local maximum next to the root, so that 4 is one such ULP. At a kink Rosin takes
the derivative of the flatter side, and `jax.nn` may take any.

Of `celu` with another $\alpha$ than a power of two the tail is less exact, since
$x / \alpha$ is rounded before the exponential: by $|x / \alpha| / 2$ ULP.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs
from numerics.formulas import FORMULAS, Formula
from numerics.report import Row, Section, figure
from numerics.ulps import HALF, SINGLE, Real, every, spurious, stratified, unit, worst

Activation = Callable[[Any], Any]

SINGLES = 2**20
BARS = dict.fromkeys(HALF, 0.51) | {SINGLE: 4.0}

ROSIN: dict[str, Activation] = {name: getattr(rs, name) for name in FORMULAS}

JAX: dict[str, Activation] = {
    "relu": jax.nn.relu,
    "leakyrelu": jax.nn.leaky_relu,
    "relu6": jax.nn.relu6,
    "hardtanh": jax.nn.hard_tanh,
    "hardsigmoid": jax.nn.hard_sigmoid,
    "hardswish": jax.nn.hard_swish,
    "elu": jax.nn.elu,
    "celu": jax.nn.celu,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "logsigmoid": jax.nn.log_sigmoid,
    "softplus": jax.nn.softplus,
    "swish": jax.nn.swish,
    "gelu_tanh": jax.nn.gelu,
    "gelu_erf": functools.partial(jax.nn.gelu, approximate=False),
    "mish": jax.nn.mish,
    "tanh": jax.nn.tanh,
    "softsign": jax.nn.soft_sign,
    "squareplus": jax.nn.squareplus,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
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
        return figure(self.value), figure(self.slope), f"{self.nonfinite:,}", str(self.limits)

    def misses(self, bar: float) -> tuple[str, ...]:
        """Say which bars are missed."""
        held = {
            f"value off by {figure(self.value)} ULP": self.value <= bar,
            f"derivative off by {figure(self.slope)} ULP": self.slope <= bar,
            f"{self.nonfinite} non-finite results": self.nonfinite == 0,
            f"{self.limits} wrong limits": self.limits == 0,
        }
        return tuple(miss for miss, holds in held.items() if not holds)


def slope(function: Activation, x: Any) -> Any:
    """Compute the derivative of an elementwise function."""
    y, pull = jax.vjp(function, x)
    return pull(jnp.ones_like(y))[0]


def bend(function: Activation, x: Any) -> Any:
    """Compute the second derivative, forward over reverse."""
    return jax.jvp(lambda x: slope(function, x), (x,), (jnp.ones_like(x),))[1]


def bend_again(function: Activation, x: Any) -> Any:
    """Compute it in reverse over reverse, where 0 times infinity in a branch not taken is NaN."""
    return slope(lambda x: slope(function, x), x)


def measure(function: Activation, formula: Formula, x: Real, *, kinks: bool = True) -> Figures:
    """Compare a function with its formula at all `x`, its kinks included or not."""
    if not kinks:
        x = x[~np.isin(x, np.asarray(formula.kinks, x.dtype))]
    measured = (_call, slope, bend, bend_again)
    got = [np.asarray(jax.jit(functools.partial(f, function))(x)) for f in measured]
    wide = x.astype(np.float64)
    true = [formula.value(wide), formula.slope(wide), *[np.zeros_like(wide)] * 2]
    return Figures(
        worst(got[0], formula.value, x, x.dtype),
        worst(got[1], formula.slope, x, x.dtype, coarsest=coarsest(formula, wide, x.dtype)),
        sum(map(spurious, got, true)),
        _wrong_limits(function, formula, x.dtype),
    )


def _call(function: Activation, x: Any) -> Any:
    return function(x)


def coarsest(formula: Formula, x: Real, dtype: Any) -> Any:
    """Return the unit of errors next to a root: a quarter ULP of the local maximum.

    All the local maxima lie between 1 and 2. The half types are not given this.
    """
    if formula.root is None or dtype in HALF:
        return 0.0
    return np.where(np.abs(x - formula.root) < 0.5, unit(np.asarray(1.0), dtype) / 4, 0.0)


def _wrong_limits(function: Activation, formula: Formula, dtype: Any) -> int:
    ends = jnp.asarray([-math.inf, math.inf, math.nan], dtype)
    values, slopes = np.asarray(function(ends)), np.asarray(slope(function, ends))
    right = np.asarray([*formula.ends, math.nan], dtype)
    right_slopes = np.asarray(formula.end_slopes, dtype)
    wrong = ~_near(values, right), ~_near(slopes[:2], right_slopes)
    return int(sum(w.sum() for w in wrong))


def _near(got: Real, right: Real) -> Real:
    """Compare limits: to a few units of the last place, since not all of them are exact."""
    got, right = got.astype(np.float64), right.astype(np.float64)
    return np.isclose(got, right, rtol=2.0**-7, atol=0.0, equal_nan=True)


def inputs(formula: Formula, dtype: Any) -> Real:
    """Return what a function is measured at."""
    if dtype != SINGLE:
        return every(dtype)
    near = (*formula.kinks, *([] if formula.root is None else [formula.root]))
    return stratified(SINGLES, near=near)


def section() -> Section:
    """Measure every activation in every dtype, and `jax.nn` beside it."""
    rows = []
    for name, function in ROSIN.items():
        formula = FORMULAS[name]
        for dtype in (*HALF, SINGLE):
            x = inputs(formula, dtype)
            ours = measure(function, formula, x)
            theirs = "none"
            if name in JAX:
                theirs = " / ".join(measure(JAX[name], formula, x, kinks=False).cells())
            cells = (name, dtype.name, *ours.cells(), theirs)
            rows.append(Row(cells, ours.misses(BARS[dtype])))
    columns = ("function", "dtype", "value", "derivative", "non-finite", "limits", "jax.nn")
    return Section("Activations", (__doc__ or "").partition("\n\n")[2], columns, tuple(rows))
