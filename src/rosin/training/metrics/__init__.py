# SPDX-License-Identifier: Apache-2.0
"""What `evaluate` and `train` measure: metrics that add up over batches without loss.

Examples:
    >>> import jax.numpy as jnp, rosin as rs
    >>> f1 = rs.metrics.F1(3, average="macro")
    >>> labels = jnp.array([0, 1, 2])
    >>> rs.evaluate(rs.Chain(rs.relu), [(jnp.eye(3), labels), (jnp.eye(3)[:2], labels[1:])], f1)
    {'F1': 0.611111111111111}
"""

from rosin.training.metrics.base import Metric
from rosin.training.metrics.classification import (
    Accuracy,
    TopKAccuracy,
    accuracy,
    top_k_accuracy,
)
from rosin.training.metrics.confusion import ConfusionMatrix
from rosin.training.metrics.means import Mean
from rosin.training.metrics.ranking import AUROC, AveragePrecision
from rosin.training.metrics.regression import MAE, MSE, R2, RMSE
from rosin.training.metrics.scores import F1, Precision, Recall
from rosin.training.metrics.text import Perplexity

__all__ = [
    "AUROC",
    "F1",
    "MAE",
    "MSE",
    "R2",
    "RMSE",
    "Accuracy",
    "AveragePrecision",
    "ConfusionMatrix",
    "Mean",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "accuracy",
    "top_k_accuracy",
]
