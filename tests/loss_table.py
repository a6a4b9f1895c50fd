# SPDX-License-Identifier: Apache-2.0
"""One row for each loss; a new loss joins the contract by adding its own.

A row says what the loss is given, which formula it is held to, and what values it has. The
formulas are written for float64 and for harmless inputs; the ends of the range are tested
by `tests/functional/losses` and measured by `make numerics`.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax, rel_entr, xlogy
from scipy.special import softmax as soft

import rosin as rs

SHAPE = (3, 4)
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25])
ROWS_MASK = np.array([True, False, True])
MASK = np.array([[True, False, True, True], [False] * 4, [True, True, True, False]])

DRAWS: dict[str, Callable[[np.random.Generator], Any]] = {
    "real": lambda draw: draw.normal(size=SHAPE),
    "logits": lambda draw: 2 * draw.normal(size=SHAPE),
    "probability": lambda draw: draw.uniform(0.1, 0.9, SHAPE),
    "distribution": lambda draw: soft(0.5 * draw.normal(size=SHAPE), -1),
    "positive": lambda draw: draw.uniform(0.2, 3, SHAPE),
    "count": lambda draw: 1.0 * draw.integers(0, 4, SHAPE),
    "sign": lambda draw: draw.choice([-1.0, 1.0], SHAPE),
    "answer": lambda draw: 1.0 * draw.integers(0, 2, SHAPE),
    "labels": lambda draw: draw.integers(0, 4, 3),
    "row signs": lambda draw: np.array([1, -1, 1]),
    "frames": lambda draw: 2 * draw.normal(size=(2, 4, 3)),
    "words": lambda draw: np.array([[0, 1], [1, 1]]),
}
"""How an argument is drawn. What has a row of classes or features has four of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One loss.

    Args:
        loss: The function.
        given: How its arguments are drawn.
        formula: The losses before the reduction, in NumPy.
        options: What else the loss is called with.
        share: How much each loss counts in the mean.
        least: The least value there is.
        masked: The shape that a mask has; None if it takes none.
        alone: Whether a row's loss depends on that row alone.
        smooth: Whether second derivatives can be compared with differences.
    """

    loss: Callable[..., Any]
    given: tuple[str, ...]
    formula: Callable[..., Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    share: Callable[..., Any] = lambda *_: 1.0
    least: float = 0.0
    masked: tuple[int, ...] | None = SHAPE
    alone: bool = True
    smooth: bool = True

    def arguments(self, dtype: Any = np.float64) -> list[Any]:
        """Draw the arguments; whole numbers stay so."""
        draw = np.random.default_rng(3)
        drawn = [np.asarray(DRAWS[kind](draw)) for kind in self.given]
        return [x if x.dtype.kind == "i" else x.astype(dtype) for x in drawn]

    def call(self, *arguments: Any, **options: Any) -> Any:
        """Compute the loss with the row's options and more."""
        return self.loss(*arguments, **self.options, **options)


# --- formulas -----------------------------------------------------------------------


def one_hot(y: Any) -> Any:
    return np.eye(4)[y] if y.dtype.kind == "i" else y


def smooth(y: Any, alpha: float, classes: int) -> Any:
    return (1 - alpha) * y + alpha / classes


def entropy(p: Any, y: Any) -> Any:
    return -xlogy(one_hot(y), p).sum(-1)


def logit_entropy(x: Any, y: Any, weights: Any = 1.0) -> Any:
    return -(weights * one_hot(y) * log_softmax(x, -1)).sum(-1)


def binary(p: Any, y: Any, no: float = 1.0, yes: float = 1.0) -> Any:
    return -yes * y * np.log(p) - no * (1 - y) * np.log(1 - p)


def focal(p: Any, y: Any, gamma: float = 2.0, weights: Any = 1.0) -> Any:
    return -(weights * one_hot(y) * (1 - p) ** gamma * np.log(p)).sum(-1)


def binary_focal(p: Any, y: Any, gamma: float = 2.0) -> Any:
    right = y * p + (1 - y) * (1 - p)
    return -((1 - right) ** gamma) * np.log(right)


def huber(e: Any, delta: float) -> Any:
    return np.where(abs(e) < delta, e * e / 2, delta * (abs(e) - delta / 2))


def dice(p: Any, y: Any) -> Any:
    return 1 - (2 * (p * y).sum() + 1) / ((p * p).sum() + (y * y).sum() + 1)


def tversky(p: Any, y: Any, extra: float, missed: float, axes: Any = None) -> Any:
    right, s = (p * y).sum(axes), 1
    wrong = (extra * p * (1 - y) + missed * y * (1 - p)).sum(axes)
    return 1 - (right + s) / (right + wrong + s)


def angle(a: Any, b: Any) -> Any:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def signed_angle(a: Any, b: Any, y: Any) -> Any:
    return np.where(y == 1, 1 - angle(a, b), np.maximum(0, angle(a, b) - 0.2))


def triplet(a: Any, p: Any, n: Any) -> Any:
    near, far = np.linalg.norm(a - p, axis=-1), np.linalg.norm(a - n, axis=-1)
    return np.maximum(0, near - far + 2)


def info_nce(q: Any, k: Any, temperature: float = 0.5) -> Any:
    scores = angle(q[:, None], k[None]) / temperature
    return -np.diag(log_softmax(scores, -1))


def nt_xent(a: Any, b: Any) -> Any:
    z = np.concatenate([a, b])
    scores = np.exp(angle(z[:, None], z[None]) / 0.5)
    np.fill_diagonal(scores, 0)
    other = np.roll(np.arange(len(z)), len(a))
    return -np.log(scores[np.arange(len(z)), other] / scores.sum(-1))


def ctc(x: Any, y: Any, blank: int = 2) -> Any:
    """Add up all alignments, one by one."""
    return np.array(
        [-np.log(likelihood(soft(s, -1), tuple(t), blank)) for s, t in zip(x, y, strict=True)]
    )


def likelihood(p: Any, labels: tuple[int, ...], blank: int) -> float:
    paths = itertools.product(range(p.shape[1]), repeat=p.shape[0])
    steps = np.arange(p.shape[0])
    return sum(p[steps, path].prod() for path in paths if read(path, blank) == labels)


def read(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


# --- the rows -----------------------------------------------------------------------

PAIR = {"given": ("real", "real")}
ON_ROWS = {"masked": (3,)}
PROBABILITIES = {"given": ("distribution", "distribution"), **ON_ROWS}
LABELLED = {"given": ("logits", "labels"), **ON_ROWS}
YES_OR_NO = {"given": ("probability", "probability")}
LOGIT = {"given": ("logits", "answer")}

LOSSES = {
    "mae": Row(loss=rs.mae, formula=lambda p, y: abs(p - y), **PAIR),
    "mse": Row(loss=rs.mse, formula=lambda p, y: (p - y) ** 2, **PAIR),
    "msle": Row(
        loss=rs.msle,
        given=("positive", "positive"),
        options={"epsilon": 0.1},
        formula=lambda p, y: (np.log(p + 0.1) - np.log(y + 0.1)) ** 2,
    ),
    "huber_loss": Row(
        loss=rs.huber_loss,
        options={"delta": 0.7},
        formula=lambda p, y: huber(p - y, 0.7),
        smooth=False,
        **PAIR,
    ),
    "logcosh_loss": Row(loss=rs.logcosh_loss, formula=lambda p, y: np.log(np.cosh(p - y)), **PAIR),
    "quantile_loss": Row(
        loss=rs.quantile_loss,
        options={"quantile": 0.8},
        formula=lambda p, y: np.maximum(0.8 * (y - p), 0.2 * (p - y)),
        **PAIR,
    ),
    "poisson_loss": Row(
        loss=rs.poisson_loss,
        given=("positive", "count"),
        formula=lambda p, y: p - y * np.log(p),
        least=-np.inf,
    ),
    "logpoisson_loss": Row(
        loss=rs.logpoisson_loss,
        given=("real", "count"),
        formula=lambda x, y: np.exp(x) - y * x,
        least=-np.inf,
    ),
    "gaussian_nll_loss": Row(
        loss=rs.gaussian_nll_loss,
        given=("real", "real", "positive"),
        formula=lambda p, y, v: (np.log(v) + (p - y) ** 2 / v) / 2,
        least=-np.inf,
    ),
    "loggaussian_nll_loss, full": Row(
        loss=rs.loggaussian_nll_loss,
        given=("real", "real", "real"),
        options={"full": True},
        formula=lambda p, y, s: (s + (p - y) ** 2 * np.exp(-s) + np.log(2 * np.pi)) / 2,
        least=-np.inf,
    ),
    "crossentropy": Row(loss=rs.crossentropy, formula=entropy, **PROBABILITIES),
    "crossentropy of labels": Row(
        loss=rs.crossentropy,
        given=("distribution", "labels"),
        options={"weights": WEIGHTS},
        formula=lambda p, y: WEIGHTS[y] * entropy(p, y),
        share=lambda p, y: WEIGHTS[y],
        masked=(3,),
    ),
    "logitcrossentropy": Row(
        loss=rs.logitcrossentropy,
        given=("logits", "distribution"),
        formula=logit_entropy,
        **ON_ROWS,
    ),
    "logitcrossentropy of labels": Row(
        loss=rs.logitcrossentropy, formula=logit_entropy, **LABELLED
    ),
    "logitcrossentropy, smoothed and weighted": Row(
        loss=rs.logitcrossentropy,
        options={"weights": WEIGHTS, "label_smoothing": 0.2},
        formula=lambda x, y: logit_entropy(x, smooth(one_hot(y), 0.2, 4), WEIGHTS),
        share=lambda x, y: smooth(one_hot(y), 0.2, 4) @ WEIGHTS,
        **LABELLED,
    ),
    "kldivergence": Row(
        loss=rs.kldivergence, formula=lambda p, y: rel_entr(y, p).sum(-1), **PROBABILITIES
    ),
    "logitkldivergence": Row(
        loss=rs.logitkldivergence,
        given=("logits", "distribution"),
        formula=lambda x, y: rel_entr(y, soft(x, -1)).sum(-1),
        **ON_ROWS,
    ),
    "focal_loss": Row(
        loss=rs.focal_loss, given=("distribution", "distribution"), formula=focal, **ON_ROWS
    ),
    "focal_loss of labels": Row(
        loss=rs.focal_loss,
        given=("distribution", "labels"),
        options={"gamma": 0.5, "weights": WEIGHTS},
        formula=lambda p, y: focal(p, y, 0.5, WEIGHTS),
        share=lambda p, y: WEIGHTS[y],
        masked=(3,),
    ),
    "logitfocal_loss": Row(
        loss=rs.logitfocal_loss,
        given=("logits", "distribution"),
        options={"gamma": 1.5},
        formula=lambda x, y: focal(soft(x, -1), y, 1.5),
        **ON_ROWS,
    ),
    "logitfocal_loss of labels": Row(
        loss=rs.logitfocal_loss,
        options={"weights": WEIGHTS},
        formula=lambda x, y: focal(soft(x, -1), y, 2.0, WEIGHTS),
        share=lambda x, y: WEIGHTS[y],
        **LABELLED,
    ),
    "binarycrossentropy": Row(loss=rs.binarycrossentropy, formula=binary, **YES_OR_NO),
    "binarycrossentropy, smoothed and weighted": Row(
        loss=rs.binarycrossentropy,
        options={"weights": (0.5, 3.0), "label_smoothing": 0.2},
        formula=lambda p, y: binary(p, smooth(y, 0.2, 2), 0.5, 3),
        share=lambda p, y: 0.5 + 2.5 * smooth(y, 0.2, 2),
        **YES_OR_NO,
    ),
    "logitbinarycrossentropy": Row(
        loss=rs.logitbinarycrossentropy,
        given=("logits", "probability"),
        formula=lambda x, y: binary(expit(x), y),
    ),
    "logitbinarycrossentropy, weighted": Row(
        loss=rs.logitbinarycrossentropy,
        options={"weights": (0.5, 3.0)},
        formula=lambda x, y: binary(expit(x), y, 0.5, 3),
        share=lambda x, y: 0.5 + 2.5 * y,
        **LOGIT,
    ),
    "binary_focal_loss": Row(loss=rs.binary_focal_loss, formula=binary_focal, **YES_OR_NO),
    "logitbinary_focal_loss": Row(
        loss=rs.logitbinary_focal_loss,
        given=("logits", "probability"),
        options={"gamma": 1.5},
        formula=lambda x, y: binary_focal(expit(x), y, 1.5),
    ),
    "logitbinary_focal_loss, weighted": Row(
        loss=rs.logitbinary_focal_loss,
        options={"weights": (0.5, 3.0)},
        formula=lambda x, y: (0.5 + 2.5 * y) * binary_focal(expit(x), y),
        share=lambda x, y: 0.5 + 2.5 * y,
        given=("logits", "probability"),
    ),
    "hinge_loss": Row(
        loss=rs.hinge_loss, given=("real", "sign"), formula=lambda p, y: np.maximum(0, 1 - p * y)
    ),
    "squared_hinge_loss": Row(
        loss=rs.squared_hinge_loss,
        given=("real", "sign"),
        formula=lambda p, y: np.maximum(0, 1 - p * y) ** 2,
        smooth=False,
    ),
    "dice_coeff_loss": Row(loss=rs.dice_coeff_loss, formula=dice, alone=False, **YES_OR_NO),
    "logitdice_coeff_loss": Row(
        loss=rs.logitdice_coeff_loss, formula=lambda x, y: dice(expit(x), y), alone=False, **LOGIT
    ),
    "tversky_loss": Row(
        loss=rs.tversky_loss,
        formula=lambda p, y: tversky(p, y, 0.7, 0.3),
        alone=False,
        **YES_OR_NO,
    ),
    "logittversky_loss over one axis": Row(
        loss=rs.logittversky_loss,
        options={"beta": 0.4, "axes": 1},
        formula=lambda x, y: tversky(expit(x), y, 0.4, 0.6, 1),
        **LOGIT,
    ),
    "jaccard_loss": Row(
        loss=rs.jaccard_loss, formula=lambda p, y: tversky(p, y, 1, 1), alone=False, **YES_OR_NO
    ),
    "logitjaccard_loss": Row(
        loss=rs.logitjaccard_loss,
        formula=lambda x, y: tversky(expit(x), y, 1, 1),
        alone=False,
        **LOGIT,
    ),
    "siamese_contrastive_loss": Row(
        loss=rs.siamese_contrastive_loss,
        given=("positive", "probability"),
        options={"margin": 1.5},
        formula=lambda p, y: (1 - y) * p**2 + y * np.maximum(0, 1.5 - p) ** 2,
        smooth=False,
    ),
    "cosine_embedding_loss": Row(
        loss=rs.cosine_embedding_loss,
        given=("real", "real", "row signs"),
        options={"margin": 0.2},
        formula=signed_angle,
        **ON_ROWS,
    ),
    "triplet_loss": Row(
        loss=rs.triplet_loss,
        given=("real", "real", "real"),
        options={"margin": 2.0},
        formula=triplet,
        **ON_ROWS,
    ),
    "info_nce_loss": Row(
        loss=rs.info_nce_loss,
        options={"temperature": 0.5},
        formula=info_nce,
        masked=None,
        alone=False,
        **PAIR,
    ),
    "nt_xent_loss": Row(loss=rs.nt_xent_loss, formula=nt_xent, masked=None, alone=False, **PAIR),
    "ctc_loss": Row(loss=rs.ctc_loss, given=("frames", "words"), formula=ctc, masked=None),
}
