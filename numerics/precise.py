# SPDX-License-Identifier: Apache-2.0
"""Activations in float64, against mpmath at 400 digits.

A sample of points from 1e-10 to 300 on both sides, kinks left out. Errors of value and
derivative are in ULP of float64, those of the second derivative in ULP of its largest
magnitude. The bar is 8 ULP, and 64 for the second derivative, which JAX forms from the
formula of the first; a derivative next to its root is treated as in float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import mpmath
import numpy as np

import rosin as rs
from numerics.activations import bend, coarsest, slope
from numerics.formulas import FORMULAS, RRELU
from numerics.report import Row, Section, figure
from numerics.ulps import Real, in_ulps, unit

DIGITS = 400
DOUBLE = np.dtype(np.float64)
BARS = (8.0, 8.0, 64.0)
ONE_SIDE = (1e-10, 1e-3, 0.03, 0.2, 0.4, 0.6, 0.76, 0.9, 1.2, 1.3, 1.55, 1.7, 2.3, 3.7, 5.3, 8.1)
SAMPLE = np.array([sign * x for x in (*ONE_SIDE, 12.7, 21, 36.6, 90.3, 300) for sign in (-1, 1)])

m = mpmath.mp
Exact = Callable[[Any], Any]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + m.exp(-x))


def elu(x: Any, alpha: float = 1.0, scale: float = 1.0) -> Any:
    return scale * (x if x > 0 else alpha * m.expm1(x))


def clip(x: Any, low: float, high: float) -> Any:
    return min(max(x, low), high)


EXACT: dict[str, Exact] = {
    "relu": lambda x: max(x, 0),
    "leakyrelu": lambda x: x if x > 0 else 0.01 * x,
    "rrelu": lambda x: x if x > 0 else RRELU * x,
    "relu6": lambda x: clip(x, 0, 6),
    "hardtanh": lambda x: clip(x, -1, 1),
    "hardsigmoid": lambda x: clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * clip(x + 3, 0, 6) / 6,
    "softshrink": lambda x: x - clip(x, -0.5, 0.5),
    "hardshrink": lambda x: x if abs(x) > 0.5 else 0 * x,
    "trelu": lambda x: x if x > 1 else 0 * x,
    "elu": elu,
    "celu": elu,
    "selu": lambda x: elu(x, 1.6732632423543772, 1.0507009873554805),
    "sigmoid": sigmoid,
    "sigmoid_fast": sigmoid,
    "logsigmoid": lambda x: -m.log1p(m.exp(-x)),
    "softplus": lambda x: m.log1p(m.exp(x)),
    "swish": lambda x: x * sigmoid(x),
    "gelu_sigmoid": lambda x: x * sigmoid(1.702 * x),
    "gelu_tanh": lambda x: x * sigmoid(2 * m.sqrt(2 / m.pi) * (x + m.mpf("0.044715") * x**3)),
    "gelu_erf": lambda x: x * m.erfc(-x / m.sqrt(2)) / 2,
    "mish": lambda x: x * m.tanh(m.log1p(m.exp(x))),
    "tanh": m.tanh,
    "tanh_fast": m.tanh,
    "lisht": lambda x: x * m.tanh(x),
    "tanhshrink": lambda x: x - m.tanh(x),
    "logcosh": lambda x: m.log(m.cosh(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "squareplus": lambda x: (x + m.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: x if x > 1 else max(x + 1, 0) ** 2 / 4,
    "sparse_sigmoid": lambda x: clip(x + 1, 0, 2) / 2,
}


def derivatives(function: Exact, x: Real) -> list[Real]:
    """Compute value, derivative and second derivative in float64."""
    with m.workdps(DIGITS):
        rows = [[m.diff(function, m.mpf(float(value)), order) for value in x] for order in range(3)]
        return [np.array([float(number) for number in row]) for row in rows]


def measure(name: str) -> tuple[float, float, float]:
    """Return the errors of value, derivative and second derivative, in ULP."""
    function = getattr(rs, name)
    with jax.enable_x64(True):
        got = [np.asarray(f(SAMPLE)) for f in (function, _of(slope, function), _of(bend, function))]
    true = derivatives(EXACT[name], SAMPLE)
    units = (
        0.0,
        coarsest(FORMULAS[name], SAMPLE, DOUBLE),
        float(unit(np.abs(true[2]).max(), DOUBLE)),
    )
    errors = [in_ulps(g, t, DOUBLE, coarsest=u) for g, t, u in zip(got, true, units, strict=True)]
    value, first, second = (float(error.max()) for error in errors)
    return value, first, second


def _of(derivative: Any, function: Any) -> Any:
    return jax.jit(lambda x: derivative(function, x))


def section() -> Section:
    """Measure every activation."""
    rows = []
    for name in EXACT:
        errors = measure(name)
        words = ("value", "derivative", "second derivative")
        misses = tuple(
            f"{word} off by {figure(error)} ULP"
            for word, error, bar in zip(words, errors, BARS, strict=True)
            if error > bar
        )
        rows.append(Row((name, *map(figure, errors)), misses))
    columns = ("function", "value", "derivative", "second derivative")
    text = (__doc__ or "").partition("\n\n")[2]
    return Section("Activations in float64", text, columns, tuple(rows))
