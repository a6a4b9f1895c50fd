# SPDX-License-Identifier: Apache-2.0
"""The activations written again in float64, safe for every finite float32 input."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.special import expit, ndtr

from numerics.ulps import Real

C, K = math.sqrt(2 / math.pi), 0.044715
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
RRELU = (1 / 8 + 1 / 3) / 2


@dataclasses.dataclass(frozen=True)
class Formula:
    """A function, its derivative, and what float32 is measured by."""

    value: Callable[[Real], Real]
    slope: Callable[[Real], Real]
    ends: tuple[float, float]
    """The limits at minus and plus infinity."""
    end_slopes: tuple[float, float]
    """The limits of the derivative."""
    kinks: tuple[float, ...] = ()
    """Where the derivative jumps; it takes the value of the flatter side."""
    root: float | None = None
    """Where the derivative crosses 0, if it does so away from 0 and kinks."""


def tanh_slope(x: Real) -> Real:
    n = np.exp(-2 * np.abs(x))
    return 4 * n / (1 + n) ** 2


def tanhshrink(x: Real) -> Real:
    s = np.minimum(x * x, 1)
    series = x * s * (1 / 3 - s * (2 / 15 - s * (17 / 315 - s * (62 / 2835 - s * 1382 / 155925))))
    return np.where(np.abs(x) < 0.05, series, x - np.tanh(x))


def logcosh(x: Real) -> Real:
    a = np.abs(x)
    small = np.log1p(2 * np.sinh(np.minimum(a, 1) / 2) ** 2)
    return np.where(a < 1, small, a + np.log1p(np.exp(-2 * a)) - math.log(2))


def gelu_angle(x: Real) -> tuple[Real, Real]:
    """Return 2u and its derivative, of the form x * sigmoid(2u)."""
    return 2 * C * (x + K * x**3), 2 * C * (1 + 3 * K * x * x)


def gelu_tanh_slope(x: Real) -> Real:
    u, v = gelu_angle(x)
    return expit(u) + x * v * expit(u) * expit(-u)


def mish_parts(x: Real) -> tuple[Real, Real]:
    """Return tanh(softplus(x)) and the rest of the derivative."""
    n = np.exp(-np.abs(x))
    low, high = n * n + 2 * n + 2, 1 + 2 * n + 2 * n * n
    weight = np.where(x < 0, n * (n + 2) / low, (1 + 2 * n) / high)
    rest = np.where(x < 0, 4 * n * (1 + n) / low**2, 4 * n * n * (1 + n) / high**2)
    return weight, x * rest


def squareplus(x: Real) -> Real:
    root = np.hypot(x, 2)
    return np.where(x < 0, 2 / (root + np.abs(x)), (x + root) / 2)


def elu(x: Real, alpha: float = 1.0) -> Real:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_slope(x: Real, alpha: float = 1.0) -> Real:
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))


def leaky(slope: float) -> Formula:
    return Formula(
        lambda x: np.where(x > 0, x, slope * x),
        lambda x: np.where(x > 0, 1, slope),
        (-math.inf, math.inf),
        (slope, 1),
        kinks=(0,),
    )


def plateau(low: float, high: float, gain: float = 1.0, shift: float = 0.0) -> Formula:
    """Return a straight line between two constants."""
    return Formula(
        lambda x: gain * (np.clip(x, low, high) + shift),
        lambda x: gain * ((low < x) & (x < high)),
        (gain * (low + shift), gain * (high + shift)),
        (0, 0),
        kinks=(low, high),
    )


def swish_like(beta: float, root: float) -> Formula:
    """Return x * sigmoid(beta x)."""
    return Formula(
        lambda x: x * expit(beta * x),
        lambda x: expit(beta * x) * (1 + beta * x * expit(-beta * x)),
        (0, math.inf),
        (0, 1),
        root=root,
    )


SIGMOID = Formula(expit, lambda x: expit(x) * expit(-x), (0, 1), (0, 0))
TANH = Formula(np.tanh, tanh_slope, (-1, 1), (0, 0))
ELU = Formula(elu, elu_slope, (-1, math.inf), (0, 1))
UP, BOTH = (0, math.inf), (-math.inf, math.inf)

FORMULAS = {
    "relu": Formula(lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), UP, (0, 1), (0,)),
    "leakyrelu": leaky(0.01),
    "rrelu": leaky(RRELU),
    "relu6": plateau(0, 6),
    "hardtanh": plateau(-1, 1),
    "hardsigmoid": plateau(-3, 3, 1 / 6, 3),
    "hardswish": Formula(
        lambda x: x * np.clip((x + 3) / 6, 0, 1),
        lambda x: np.where(x < 3, (x > -3) * (2 * np.clip(x, -3, 3) + 3) / 6, 1),
        UP,
        (0, 1),
        kinks=(-3, 3),
        root=-1.5,
    ),
    "softshrink": Formula(
        lambda x: np.where(np.abs(x) > 0.5, x - np.copysign(0.5, x), 0),
        lambda x: 1.0 * (np.abs(x) > 0.5),
        BOTH,
        (1, 1),
        kinks=(-0.5, 0.5),
    ),
    "hardshrink": Formula(
        lambda x: np.where(np.abs(x) > 0.5, x, 0),
        lambda x: 1.0 * (np.abs(x) > 0.5),
        BOTH,
        (1, 1),
        kinks=(-0.5, 0.5),
    ),
    "trelu": Formula(lambda x: np.where(x > 1, x, 0), lambda x: 1.0 * (x > 1), UP, (0, 1), (1,)),
    "elu": ELU,
    "celu": ELU,
    "selu": Formula(
        lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
        lambda x: SELU_SCALE * elu_slope(x, SELU_ALPHA),
        (-SELU_SCALE * SELU_ALPHA, math.inf),
        (0, SELU_SCALE),
        kinks=(0,),
    ),
    "sigmoid": SIGMOID,
    "sigmoid_fast": SIGMOID,
    "logsigmoid": Formula(
        lambda x: -np.logaddexp(0, -x), lambda x: expit(-x), (-math.inf, 0), (1, 0)
    ),
    "softplus": Formula(lambda x: np.logaddexp(0, x), expit, UP, (0, 1)),
    "swish": swish_like(1.0, -1.2784645),
    "gelu_sigmoid": swish_like(1.702, -1.2784645 / 1.702),
    "gelu_tanh": Formula(
        lambda x: x * expit(gelu_angle(x)[0]),
        gelu_tanh_slope,
        UP,
        (0, 1),
        root=-0.7524614,
    ),
    "gelu_erf": Formula(
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
        UP,
        (0, 1),
        root=-0.7517915,
    ),
    "mish": Formula(
        lambda x: x * mish_parts(x)[0],
        lambda x: np.add(*mish_parts(x)),
        UP,
        (0, 1),
        root=-1.1924312,
    ),
    "tanh": TANH,
    "tanh_fast": TANH,
    "lisht": Formula(
        lambda x: x * np.tanh(x),
        lambda x: np.tanh(x) + x * tanh_slope(x),
        (math.inf, math.inf),
        (-1, 1),
    ),
    "tanhshrink": Formula(tanhshrink, lambda x: np.tanh(x) ** 2, BOTH, (1, 1)),
    "logcosh": Formula(logcosh, np.tanh, (math.inf, math.inf), (-1, 1)),
    "softsign": Formula(
        lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2, (-1, 1), (0, 0)
    ),
    "squareplus": Formula(squareplus, lambda x: squareplus(x) / np.hypot(x, 2), UP, (0, 1)),
    "sparse_plus": Formula(
        lambda x: np.where(x < 1, np.maximum(x + 1, 0) ** 2 / 4, x),
        lambda x: np.clip((x + 1) / 2, 0, 1),
        UP,
        (0, 1),
    ),
    "sparse_sigmoid": plateau(-1, 1, 0.5, 1),
}
