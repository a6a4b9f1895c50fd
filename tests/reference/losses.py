# SPDX-License-Identifier: Apache-2.0
"""Write `losses.npz`: losses and gradients of PyTorch, in float64.

With PyTorch 2.13 installed: `python tests/reference/losses.py`. Each case is a group of
arrays: the inputs `0`, `1`, …, the losses before the reduction `each`, their mean `mean`,
and the mean's gradient by the first input, `gradient`.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as f

DRAW = np.random.default_rng(11)
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25, 3.0], dtype=torch.float64)
X = 2 * DRAW.normal(size=(6, 5))
Y = DRAW.normal(size=(6, 5))
P = DRAW.dirichlet(np.ones(5), 6)
Q = DRAW.dirichlet(np.ones(5), 6)
LABELS = DRAW.integers(0, 5, 6)
IGNORED = np.where([1, 1, 0, 1, 0, 1], LABELS, -100)
COUNTS = 1.0 * DRAW.integers(0, 4, (6, 5))
YES = DRAW.uniform(0.05, 0.95, (6, 5))
ANSWERS = 1.0 * DRAW.integers(0, 2, (6, 5))
SIGNS = DRAW.choice([-1, 1], 6)
FRAMES = 2 * DRAW.normal(size=(5, 7, 4))  # batch, time, classes; the last class is the blank
WORDS = np.array([[0, 1, 2], [1, 1, 2], [2, 0, 0], [0, 0, 0], [0, 1, 0]])
STEPS, LENGTHS = np.array([7, 7, 5, 3, 3]), np.array([3, 3, 1, 0, 3])


def ctc(x, words, steps, lengths, reduction):
    log_p = f.log_softmax(x, -1).transpose(0, 1)
    each = f.ctc_loss(log_p, words, steps, lengths, blank=3, reduction="none")
    return each if reduction == "none" else each.mean()


def weighted(loss, **options):
    return lambda *given, reduction: loss(*given, reduction=reduction, **options)


def rows(loss, **options):
    """Sum over classes what PyTorch gives for each of them."""

    def summed(*given, reduction):
        each = loss(*given, reduction="none", **options).sum(-1)
        return each if reduction == "none" else each.mean()

    return summed


CASES = {
    "mae": (f.l1_loss, X, Y),
    "mse": (f.mse_loss, X, Y),
    "huber": (weighted(f.huber_loss, delta=0.7), X, Y),
    "labels": (f.cross_entropy, X, LABELS),
    "labels, weighted": (weighted(f.cross_entropy, weight=WEIGHTS), X, LABELS),
    "labels, ignored": (weighted(f.cross_entropy, weight=WEIGHTS, ignore_index=-100), X, IGNORED),
    "labels, smoothed": (weighted(f.cross_entropy, label_smoothing=0.2), X, LABELS),
    "distribution": (f.cross_entropy, X, Q),
    "kl": (rows(lambda p, q, **kw: f.kl_div(p.log(), q, **kw)), P, Q),
    "logit kl": (rows(lambda x, q, **kw: f.kl_div(f.log_softmax(x, -1), q, **kw)), X, Q),
    "binary": (f.binary_cross_entropy, YES, YES[::-1].copy()),
    "logit binary": (f.binary_cross_entropy_with_logits, X, YES),
    "poisson": (weighted(f.poisson_nll_loss, log_input=False, eps=0.0), YES, COUNTS),
    "log poisson": (f.poisson_nll_loss, X, COUNTS),
    "gaussian": (weighted(f.gaussian_nll_loss, full=True), X, Y, YES),
    "cosine": (weighted(f.cosine_embedding_loss, margin=0.1), X, Y, SIGNS),
    "triplet": (weighted(f.triplet_margin_loss, margin=2.0, eps=0.0), X, Y, X[::-1].copy()),
    "ctc": (ctc, FRAMES[:4], WORDS[:4], STEPS[:4], LENGTHS[:4]),
}


def main():
    arrays = {}
    for name, (loss, *given) in CASES.items():
        tensors = [torch.from_numpy(np.asarray(x)) for x in given]
        tensors[0].requires_grad_()
        mean = loss(*tensors, reduction="mean")
        mean.backward()
        each = loss(*tensors, reduction="none")
        arrays |= {f"{name}.{i}": np.asarray(x) for i, x in enumerate(given)}
        arrays[f"{name}.each"] = each.detach().numpy()
        arrays[f"{name}.mean"] = mean.detach().numpy()
        arrays[f"{name}.gradient"] = tensors[0].grad.numpy()
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
