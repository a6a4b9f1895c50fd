# SPDX-License-Identifier: Apache-2.0
"""Losses: values and gradients at the ends of the range, of every loss that has any.

Each loss is computed on rows of small, large, tied, confident, impossible and huge numbers,
up to the largest of the type, and compared with mpmath, in 60 digits or more. *Non-finite*
counts values and gradients that are infinite or undefined where the true ones fit into the
type, *negative* the values below zero where the true one is not. *Value* is the largest
error of a value, relative to it, and *gradient* that of an entry of the gradient, relative
to the largest entry of its row; both in units of the machine epsilon of float32. For half
types only the gradient is rounded: there it is in units of theirs. Where a loss is a
difference of numbers that can nearly meet, as the divergence of a distribution from itself
is, its value is measured against at least 1 and its gradient against at least 0.001; that
of `ctc_loss`, whose steps may leave a class open, against 1.

The bars are 0 non-finite, 0 negative, and a gradient within 4 epsilon of float32, or within
0.51 of a half type. Two allowances hold, as for the activations.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mpmath import mp

import rosin as rs
from numerics import loss_formulas as true
from numerics.report import Row, Section, figure
from numerics.ulps import HALF, SINGLE, Real, least_normal, unit, widened

MAX, INF = float(np.finfo(np.float32).max), float("inf")
BARS = dict.fromkeys(HALF, 0.51) | {SINGLE: 4.0}

NUMBERS = [0.0, 1e-30, -3e-8, 1e-4, -0.3, 0.5, 1.0, -2.0, 7.0, 20.0, -90.0, 3e4, -1e15, 1e30, -MAX]
POSITIVE = [1e-37, 1e-30, 1e-7, 0.01, 0.5, 0.75, 1.0, 1.0000001, 3.0, 100.0, 1e10, 1e30, MAX]
SHARES = [1e-37, 1e-20, 1e-6, 0.1, 0.3, 0.5, 0.75, 0.99999994]
LOGITS = [
    (0.0, 0.0, 0.0),
    (1.0, -2.0, 0.5),
    (3.0, 3.0, -30.0),
    (20.0, 0.0, 1.0),
    (-1.0, 60.0, 0.0),
    (100.0, 0.0, -100.0),
    (-1e4, 1e4, 0.0),
    (1e30, 0.0, -1e30),
    (MAX / 2, -MAX / 2, 0.0),
    (-INF, 2.0, 1.0),
    (-INF, -INF, 5.0),
]
TARGETS = [
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 1.0),
    (0.5, 0.5, 0.0),
    (0.25, 0.5, 0.25),
    (1 - 2.0**-20, 2.0**-21, 2.0**-21),
]
SIMPLEX = [*TARGETS, (1e-30, 0.5, 0.5), (0.9999999, 1e-7, 1e-20), (1 / 3, 1 / 3, 1 / 3)]
VECTORS = [
    (1.0, 2.0, -1.0),
    (3.0, 0.0, 0.5),
    (1e30, 2e30, 5e29),
    (1e-30, -3e-30, 2e-30),
    (MAX, 1.0, MAX / 4),
    (0.0, 0.0, 0.0),
]
MASKS = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.25, 0.5, 0.75)]
CERTAIN = [(2.0, -1.0, 0.5), (20.0, -20.0, 15.0), (-30.0, 40.0, -50.0), (200.0, -300.0, 1e30)]

Case = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A loss, its formula, the rows it is measured at, whether it can be negative.

    A gradient is measured against its largest entry, or against `floor` where that is larger.
    """

    loss: Callable[..., Any]
    formula: Callable[..., Any]
    cases: list[Case]
    signed: bool = False
    floor: float = 0.0


def pairs(first: list[Any], second: list[Any], *, equal: bool = True) -> list[Case]:
    """Pair each with each; numbers become rows of one."""
    rows = [[a if isinstance(a, tuple) else (a,) for a in each] for each in (first, second)]
    return [(a, b) for a, b in itertools.product(*rows) if equal or a != b]


def possible(logits: list[Any], targets: list[Any]) -> list[Case]:
    """Pair logits with targets whose loss is finite."""

    def fits(x: Any, y: Any) -> bool:
        return all(a > -INF or b == 0 for a, b in zip(x, y, strict=True))

    return [case for case in pairs(logits, targets) if fits(*case)]


def labelled(logits: list[Any]) -> list[Case]:
    return [(x, i) for x in logits for i, a in enumerate(x) if a > -INF]


def subjects() -> dict[str, Subject]:
    """List what is measured."""
    part = functools.partial
    halves, classes = [0.0, 0.5, 1.0, 0.25], possible(LOGITS, TARGETS)
    strict = [
        (p, y)
        for p, y in pairs(SIMPLEX, TARGETS)
        if all(a > 0 or b == 0 for a, b in zip(p, y, strict=True))
    ]
    certain = [0.0, 1.0]
    return {
        "mae": Subject(rs.mae, true.mae, pairs(NUMBERS, NUMBERS, equal=False)),
        "mse": Subject(rs.mse, true.mse, pairs(NUMBERS, NUMBERS)),
        "msle": Subject(
            part(rs.msle, epsilon=0.0), true.msle, pairs(POSITIVE, POSITIVE, equal=False)
        ),
        "huber_loss": Subject(rs.huber_loss, true.huber, pairs(NUMBERS, NUMBERS)),
        "logcosh_loss": Subject(rs.logcosh_loss, true.logcosh, pairs(NUMBERS, NUMBERS)),
        "quantile_loss": Subject(
            part(rs.quantile_loss, quantile=0.75),
            true.quantile,
            pairs(NUMBERS, NUMBERS, equal=False),
        ),
        "poisson_loss": Subject(
            rs.poisson_loss, true.poisson, pairs(POSITIVE, [0.0, 1.0, 7.0, 1e6]), signed=True
        ),
        "logpoisson_loss": Subject(
            rs.logpoisson_loss,
            true.log_poisson,
            pairs([x for x in NUMBERS if x < 80], [0.0, 2.0, 1e6]),
            signed=True,
        ),
        "gaussian_nll_loss": Subject(
            rs.gaussian_nll_loss,
            true.gaussian,
            [((p,), (0.5,), (v,)) for p in NUMBERS[:12] for v in POSITIVE],
            signed=True,
        ),
        "loggaussian_nll_loss": Subject(
            rs.loggaussian_nll_loss,
            true.log_gaussian,
            [((p,), (0.5,), (s,)) for p in NUMBERS[:12] for s in NUMBERS[:11]],
            signed=True,
        ),
        "hinge_loss": Subject(
            rs.hinge_loss, true.hinge, pairs([x for x in NUMBERS if abs(x) != 1], [-1.0, 1.0])
        ),
        "squared_hinge_loss": Subject(
            rs.squared_hinge_loss, true.squared_hinge, pairs(NUMBERS, [-1.0, 1.0])
        ),
        "siamese_contrastive_loss": Subject(
            rs.siamese_contrastive_loss, true.siamese, pairs([0.0, *POSITIVE], certain)
        ),
        "crossentropy": Subject(rs.crossentropy, true.crossentropy, strict),
        "kldivergence": Subject(rs.kldivergence, true.kl, strict, floor=1e-3),
        "focal_loss": Subject(rs.focal_loss, true.focal_loss, strict),
        "logitcrossentropy": Subject(
            rs.logitcrossentropy, true.logit_crossentropy, classes, floor=1e-3
        ),
        "logitcrossentropy of labels": Subject(
            rs.logitcrossentropy, true.of_label, labelled(LOGITS)
        ),
        "logitkldivergence": Subject(rs.logitkldivergence, true.logit_kl, classes, floor=1e-3),
        "logitfocal_loss": Subject(rs.logitfocal_loss, true.logit_focal, classes, floor=1e-3),
        "logitfocal_loss, gamma 0.5": Subject(
            part(rs.logitfocal_loss, gamma=0.5),
            part(true.logit_focal, gamma=0.5),
            classes,
            floor=1e-3,
        ),
        "binarycrossentropy": Subject(
            rs.binarycrossentropy,
            true.binary,
            [*pairs(SHARES, [0.0, 1.0, 0.25]), ((0.0,), (0.0,)), ((1.0,), (1.0,))],
        ),
        "binary_focal_loss": Subject(
            rs.binary_focal_loss,
            true.binary_focal,
            [*pairs(SHARES, certain), ((0.0,), (0.0,)), ((1.0,), (1.0,))],
        ),
        "logitbinarycrossentropy": Subject(
            rs.logitbinarycrossentropy, true.logit_binary, pairs(NUMBERS, halves)
        ),
        "logitbinary_focal_loss": Subject(
            rs.logitbinary_focal_loss, true.logit_binary_focal, pairs(NUMBERS, certain)
        ),
        "logitbinary_focal_loss, gamma 0.5": Subject(
            part(rs.logitbinary_focal_loss, gamma=0.5),
            part(true.logit_binary_focal, gamma=0.5),
            pairs(NUMBERS, certain),
        ),
        "dice_coeff_loss": Subject(rs.dice_coeff_loss, true.dice, pairs(SIMPLEX, MASKS)),
        "tversky_loss": Subject(rs.tversky_loss, true.tversky, pairs(SIMPLEX, MASKS)),
        "jaccard_loss": Subject(rs.jaccard_loss, true.jaccard, pairs(SIMPLEX, MASKS)),
        "logitdice_coeff_loss": Subject(
            rs.logitdice_coeff_loss, part(true.of_logits, true.dice), pairs(CERTAIN, MASKS[:3])
        ),
        "logittversky_loss": Subject(
            rs.logittversky_loss, part(true.of_logits, true.tversky), pairs(CERTAIN, MASKS[:3])
        ),
        "logitjaccard_loss": Subject(
            rs.logitjaccard_loss, part(true.of_logits, true.jaccard), pairs(CERTAIN, MASKS[:3])
        ),
        "cosine_embedding_loss": Subject(
            rs.cosine_embedding_loss,
            true.cosine,
            [(a, b, s) for a, b in pairs(VECTORS, VECTORS, equal=False) for s in (1, -1)],
        ),
        "triplet_loss": Subject(
            rs.triplet_loss,
            true.triplet,
            [
                tuple(tuple(size * v for v in vector) for vector in three)
                for three in itertools.permutations(
                    [*VECTORS[:2], (0.0, 0.5, -1.5), VECTORS[-1]], 3
                )
                for size in (1e-30, 1.0, 1e30, MAX / 4)
            ],
        ),
        "ctc_loss": Subject(
            rs.ctc_loss,
            true.ctc,
            [
                (tuple(itertools.chain(*frames)), labels)
                for frames in itertools.product(LOGITS[1:5], repeat=3)
                for labels in ((0, 1), (1, 0), (0, 0))
            ],
            floor=1.0,
        ),
    }


@dataclasses.dataclass(frozen=True)
class Figures:
    """What is measured of one loss in one dtype."""

    nonfinite: int
    negative: int
    value: float
    gradient: float

    def misses(self, bar: float) -> tuple[str, ...]:
        """Say which bars are missed."""
        held = {
            f"{self.nonfinite} non-finite results": self.nonfinite == 0,
            f"{self.negative} negative values": self.negative == 0,
            f"gradient off by {figure(self.gradient)} epsilon": self.gradient <= bar,
        }
        return tuple(miss for miss, holds in held.items() if not holds)


def arguments(cases: list[Case], dtype: Any) -> list[Any]:
    """Stack the cases, rounded to the dtype, but for those that rounding turns into others."""
    limit, least = float(jnp.finfo(dtype).max), float(jnp.finfo(dtype).tiny)

    def fits(row: Any) -> bool:
        size = np.abs(np.asarray(row))
        return bool(np.all((size == 0) | np.isinf(size) | ((size >= least) & (size <= limit))))

    kept = [case for case in cases if all(fits(row) for row in case)]
    columns = [np.asarray(column) for column in zip(*kept, strict=True)]
    return [c if c.dtype.kind == "i" else c.astype(dtype) for c in columns]


def computed(subject: Subject, given: list[Any]) -> tuple[Real, Real]:
    """Compute the losses of all cases and their gradients by the first argument."""

    def one(*row: Any) -> Any:
        if subject.formula is true.ctc:
            row = (row[0].reshape(3, 3), *row[1:])
        return subject.loss(*row, reduction=jnp.sum)

    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(one)))(*given)
    return widened(values), widened(slopes)


def expected(subject: Subject, given: list[Any]) -> tuple[list[Any], list[list[Any]]]:
    """Compute what they are, in mpmath."""
    values, slopes = [], []
    for row in zip(*given, strict=True):
        x, *others = [[mp.mpf(float(v)) for v in np.atleast_1d(a)] for a in row]
        values.append(subject.formula(x, *others))
        slopes.append([_slope(subject.formula, x, others, i) for i in range(len(x))])
    return values, slopes


def _slope(formula: Any, x: list[Any], others: list[Any], place: int) -> Any:
    if mp.isinf(x[place]):
        return mp.mpf(0)
    return mp.diff(lambda v: formula([*x[:place], v, *x[place + 1 :]], *others), x[place])


def measure(subject: Subject, dtype: Any) -> Figures:
    """Compare a loss with its formula at all its cases."""
    given = arguments(subject.cases, dtype)
    values, slopes = computed(subject, given)
    true_values, true_slopes = expected(subject, [widened(a) for a in given])
    limit, least = float(jnp.finfo(dtype).max), least_normal(SINGLE)
    eps = float(jnp.finfo(dtype).eps)
    nonfinite = negative = 0
    value_error = slope_error = 0.0
    for value, slope, right, rights in zip(values, slopes, true_values, true_slopes, strict=True):
        if abs(right) <= MAX:
            nonfinite += not np.isfinite(value)
            negative += right >= 0 > value and not subject.signed
            if abs(right) > least and np.isfinite(value):
                size = max(abs(right), 1) if subject.floor else abs(right)
                value_error = max(value_error, float(abs(value - right) / size))
        largest = max(abs(r) for r in rights)
        if largest <= limit:
            nonfinite += int((~np.isfinite(slope)).sum())
            size = max(largest, subject.floor)
            if size >= least and np.isfinite(slope).all():
                error = max(abs(a - b) for a, b in zip(slope, rights, strict=True))
                coarsest = float(unit(np.zeros(()), dtype))
                slope_error = max(slope_error, float(error / max(size * eps, coarsest)))
    return Figures(nonfinite, negative, value_error / 2.0**-23, slope_error)


def section() -> Section:
    """Measure every loss in every dtype."""
    rows = []
    for name, subject in subjects().items():
        for dtype in (SINGLE, *HALF):
            found = measure(subject, dtype)
            cells = (
                name,
                dtype.name,
                str(len(subject.cases)),
                str(found.nonfinite),
                str(found.negative),
                figure(found.value),
                figure(found.gradient),
            )
            rows.append(Row(cells, found.misses(BARS[dtype])))
    columns = ("loss", "dtype", "rows", "non-finite", "negative", "value", "gradient")
    return Section("Losses", (__doc__ or "").partition("\n\n")[2], columns, tuple(rows))
