# SPDX-License-Identifier: Apache-2.0
"""The losses written again with mpmath, one row at a time, safe for every finite input.

A formula takes a row of the prediction and a row of the target, as lists of mpmath
numbers, and returns the loss of the row. Derivatives are those of mpmath, in 60 digits.
"""

import itertools
from collections.abc import Callable
from typing import Any

from mpmath import mp

Row = list[Any]
Formula = Callable[[Row, Row], Any]

mp.dps = 60


def xlogy(x: Any, y: Any) -> Any:
    """Compute x log y, which is 0 if x is."""
    if x == 0:
        return mp.mpf(0)
    return x * (mp.log(y) if y > 0 else -mp.inf)


def power(q: Any, gamma: float) -> Any:
    return q**gamma if q > 0 else mp.mpf(gamma == 0)


def shares(x: Row) -> tuple[Row, Row]:
    """Return the softmax of a row, and 1 less it."""
    top = max(x)
    e = [mp.exp(v - top) if v > -mp.inf else mp.mpf(0) for v in x]
    total = mp.fsum(e)
    return [v / total for v in e], [mp.fsum(e[:i] + e[i + 1 :]) / total for i in range(len(e))]


def log_softmax(x: Row) -> Row:
    top = max(x)
    total = mp.log(mp.fsum(mp.exp(v - top) if v > -mp.inf else 0 for v in x))
    return [v - top - total for v in x]


def entropy(log_p: Row, y: Row) -> Any:
    return -mp.fsum(b * a for a, b in zip(log_p, y, strict=True) if b != 0)


def focal(p: Row, q: Row, log_p: Row, y: Row, gamma: float) -> Any:
    terms = zip(p, q, log_p, y, strict=True)
    return -mp.fsum(t * power(b, gamma) * c for _, b, c, t in terms if t != 0)


# --- numbers ------------------------------------------------------------------------


def each(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Make a formula of numbers one of rows that have one entry."""
    return lambda *rows, **options: formula(*(row[0] for row in rows), **options)


def softplus(x: Any) -> Any:
    return max(x, mp.mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def sigmoid(x: Any) -> Any:
    n = mp.exp(-abs(x))
    return (n if x < 0 else 1) / (1 + n)


def _huber(p: Any, y: Any) -> Any:
    e = abs(p - y)
    return e * e / 2 if e < 1 else e - mp.mpf(0.5)


def _logcosh(p: Any, y: Any) -> Any:
    e = abs(p - y)
    return e + mp.log1p(mp.expm1(-2 * e) / 2) if e > 1 else mp.log1p(2 * mp.sinh(e / 2) ** 2)


def _binary(p: Any, y: Any) -> Any:
    return -xlogy(y, p) - xlogy(1 - y, 1 - p)


def _binary_focal(p: Any, y: Any) -> Any:
    right, wrong = y * p + (1 - y) * (1 - p), y * (1 - p) + (1 - y) * p
    return -power(wrong, 2) * mp.log(right)


def _logit_binary_focal(x: Any, y: Any, gamma: float = 2.0) -> Any:
    x = x if y == 1 else -x
    return power(sigmoid(-x), gamma) * softplus(-x)


def _siamese(p: Any, y: Any) -> Any:
    return (1 - y) * p * p + y * max(0, 1 - p) ** 2


mae = each(lambda p, y: abs(p - y))
mse = each(lambda p, y: (p - y) ** 2)
msle = each(lambda p, y: mp.log(p / y) ** 2)
huber = each(_huber)
logcosh = each(_logcosh)
quantile = each(lambda p, y: max(mp.mpf(0.75) * (y - p), mp.mpf(0.25) * (p - y)))
poisson = each(lambda p, y: p - xlogy(y, p))
log_poisson = each(lambda x, y: mp.exp(x) - y * x)
gaussian = each(lambda p, y, v: (mp.log(v) + (p - y) ** 2 / v) / 2)
log_gaussian = each(lambda p, y, s: (s + (p - y) ** 2 * mp.exp(-s)) / 2)
hinge = each(lambda p, y: max(mp.mpf(0), 1 - p * y))
squared_hinge = each(lambda p, y: max(mp.mpf(0), 1 - p * y) ** 2)
siamese = each(_siamese)
binary = each(_binary)
binary_focal = each(_binary_focal)
logit_binary = each(lambda x, y: y * softplus(-x) + (1 - y) * softplus(x))
logit_binary_focal = each(_logit_binary_focal)

# --- classes ------------------------------------------------------------------------


def crossentropy(p: Row, y: Row) -> Any:
    return -mp.fsum(xlogy(b, a) for a, b in zip(p, y, strict=True))


def kl(p: Row, y: Row) -> Any:
    return mp.fsum(xlogy(b, b) - xlogy(b, a) for a, b in zip(p, y, strict=True))


def focal_loss(p: Row, y: Row) -> Any:
    terms = zip(p, y, strict=True)
    return -mp.fsum(b * max(0, 1 - a) ** 2 * mp.log(a) for a, b in terms if b != 0)


def logit_crossentropy(x: Row, y: Row) -> Any:
    return entropy(log_softmax(x), y)


def of_label(x: Row, label: Row) -> Any:
    return -log_softmax(x)[int(label[0])]


def logit_kl(x: Row, y: Row) -> Any:
    return entropy(log_softmax(x), y) + mp.fsum(xlogy(b, b) for b in y)


def logit_focal(x: Row, y: Row, gamma: float = 2.0) -> Any:
    return focal(*shares(x), log_softmax(x), y, gamma)


# --- masks, vectors, sequences ------------------------------------------------------


def of_logits(formula: Formula, x: Row, y: Row) -> Any:
    return formula([sigmoid(v) for v in x], y)


def dot(a: Row, b: Row) -> Any:
    return mp.fsum(v * w for v, w in zip(a, b, strict=True))


def dice(p: Row, y: Row) -> Any:
    return 1 - (2 * dot(p, y) + 1) / (dot(p, p) + dot(y, y) + 1)


def tversky(p: Row, y: Row, extra: float = 0.7, missed: float = 0.3) -> Any:
    right = dot(p, y) + 1
    wrong = extra * dot(p, [1 - v for v in y]) + missed * dot([1 - v for v in p], y)
    return 1 - right / (right + wrong)


def jaccard(p: Row, y: Row) -> Any:
    return tversky(p, y, 1, 1)


def cosine(a: Row, b: Row, sign: Row) -> Any:
    length = mp.sqrt(dot(a, a) * dot(b, b))
    angle = dot(a, b) / length if length else mp.mpf(0)
    return 1 - angle if sign[0] == 1 else max(mp.mpf(0), angle)


def distance(a: Row, b: Row) -> Any:
    return mp.sqrt(mp.fsum((v - w) ** 2 for v, w in zip(a, b, strict=True)))


def triplet(a: Row, p: Row, n: Row) -> Any:
    return max(mp.mpf(0), distance(a, p) - distance(a, n) + 1)


def ctc(x: Row, labels: Row) -> Any:
    """Add up the alignments of labels with three steps; the last class of three is the blank."""
    shares_of = [shares(x[i : i + 3])[0] for i in (0, 3, 6)]
    wanted = tuple(int(v) for v in labels)
    total = mp.mpf(0)
    for path in itertools.product(range(3), repeat=3):
        if tuple(k for k, _ in itertools.groupby(path) if k != 2) == wanted:
            total += mp.fprod(p[k] for p, k in zip(shares_of, path, strict=True))
    return -mp.log(total)
