# SPDX-License-Identifier: Apache-2.0
"""How far a prediction is from its target, as one number or one per sample.

Every loss is computed in float32 or wider and returned so. Prediction and target have
equal shape, or the target holds whole numbers where that is said; nothing is broadcast.
A name that starts with `logit` takes what comes before the softmax or the sigmoid.
"""

from rosin.functional.losses.binary import binarycrossentropy, logitbinarycrossentropy
from rosin.functional.losses.classes import crossentropy, label_smoothing, logitcrossentropy
from rosin.functional.losses.ctc import ctc_loss
from rosin.functional.losses.divergence import kldivergence, logitkldivergence
from rosin.functional.losses.embeddings import (
    cosine_embedding_loss,
    info_nce_loss,
    nt_xent_loss,
    triplet_loss,
)
from rosin.functional.losses.focal import (
    binary_focal_loss,
    focal_loss,
    logitbinary_focal_loss,
    logitfocal_loss,
)
from rosin.functional.losses.likelihood import (
    gaussian_nll_loss,
    loggaussian_nll_loss,
    logpoisson_loss,
    poisson_loss,
)
from rosin.functional.losses.margins import hinge_loss, siamese_contrastive_loss, squared_hinge_loss
from rosin.functional.losses.overlap import (
    dice_coeff_loss,
    jaccard_loss,
    logitdice_coeff_loss,
    logitjaccard_loss,
    logittversky_loss,
    tversky_loss,
)
from rosin.functional.losses.regression import (
    huber_loss,
    logcosh_loss,
    mae,
    mse,
    msle,
    quantile_loss,
)

__all__ = [
    "binary_focal_loss",
    "binarycrossentropy",
    "cosine_embedding_loss",
    "crossentropy",
    "ctc_loss",
    "dice_coeff_loss",
    "focal_loss",
    "gaussian_nll_loss",
    "hinge_loss",
    "huber_loss",
    "info_nce_loss",
    "jaccard_loss",
    "kldivergence",
    "label_smoothing",
    "logcosh_loss",
    "loggaussian_nll_loss",
    "logitbinary_focal_loss",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "logitdice_coeff_loss",
    "logitfocal_loss",
    "logitjaccard_loss",
    "logitkldivergence",
    "logittversky_loss",
    "logpoisson_loss",
    "mae",
    "mse",
    "msle",
    "nt_xent_loss",
    "poisson_loss",
    "quantile_loss",
    "siamese_contrastive_loss",
    "squared_hinge_loss",
    "triplet_loss",
    "tversky_loss",
]
