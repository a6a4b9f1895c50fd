# SPDX-License-Identifier: Apache-2.0
"""Write `basic.npz`: bilinear products, embeddings and bags as PyTorch computes them.

Run with PyTorch 2.13 installed: `python tests/reference/basic.py`. Gradients are those of
the sum of the output times a fixed weight.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

ARRAYS = {}


def drawn(name, *shape):
    """Draw an array, keep it under its name, and return it as a leaf."""
    values = torch.randn(shape, generator=GENERATOR, dtype=torch.float64)
    ARRAYS[name] = values.numpy()
    return values.clone().requires_grad_()


def keep(name, output, *leaves):
    """Keep an output, and the gradient of its weighted sum by each leaf."""
    ARRAYS[name] = output.detach().numpy()
    weights = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape)
    for index, grad in enumerate(torch.autograd.grad((output * weights).sum(), leaves)):
        ARRAYS[f"{name}_grad{index}"] = grad.numpy()


GENERATOR = torch.Generator().manual_seed(3)

x, y = drawn("x", 4, 3), drawn("y", 4, 5)
weight, bias = drawn("weight", 2, 3, 5), drawn("bias", 2)
keep("bilinear", functional.bilinear(x, y, weight, bias), x, y, weight, bias)

table = drawn("table", 7, 3)
indices = torch.tensor([[0, 2, 6, 2], [2, 2, 5, 1]])
keep("embedding", functional.embedding(indices, table, padding_idx=2), table)

row, offsets = torch.tensor([0, 2, 6, 2, 2, 5, 1]), torch.tensor([0, 3, 3, 5])
scores = drawn("scores", 7)
for mode in ("sum", "mean", "max"):
    keep(f"bag_{mode}", functional.embedding_bag(indices, table, mode=mode), table)
    ragged = functional.embedding_bag(row, table, offsets, mode=mode)
    keep(f"ragged_{mode}", ragged, table)
    padded = functional.embedding_bag(row, table, offsets, mode=mode, padding_idx=2)
    keep(f"padded_{mode}", padded, table)
weighted = functional.embedding_bag(row, table, offsets, mode="sum", per_sample_weights=scores)
keep("weighted", weighted, table, scores)
ARRAYS |= {"indices": indices.numpy(), "row": row.numpy(), "offsets": offsets.numpy()}

np.savez(Path(__file__).with_suffix(".npz"), **ARRAYS)
