# SPDX-License-Identifier: Apache-2.0
"""Write `activations.npz`: activations and their derivatives as PyTorch computes them.

Run with PyTorch 2.13 installed: `python tests/reference/activations.py`.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

FUNCTIONS = {
    "relu": functional.relu,
    "leakyrelu": functional.leaky_relu,
    "rrelu": functional.rrelu,
    "relu6": functional.relu6,
    "elu": functional.elu,
    "celu": functional.celu,
    "selu": functional.selu,
    "trelu": lambda x: functional.threshold(x, 1.0, 0.0),
    "sigmoid": torch.sigmoid,
    "hardsigmoid": functional.hardsigmoid,
    "tanh": torch.tanh,
    "hardtanh": functional.hardtanh,
    "softsign": functional.softsign,
    "swish": functional.silu,
    "hardswish": functional.hardswish,
    "mish": functional.mish,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_erf": functional.gelu,
    "softplus": functional.softplus,
    "logsigmoid": functional.logsigmoid,
    "softshrink": functional.softshrink,
    "hardshrink": functional.hardshrink,
    "tanhshrink": functional.tanhshrink,
}
# Kinks among them.
POINTS = [-9.5, -6, -3.25, -3, -1.5, -1, -0.75, -0.5, -0.1, 0, 0.2, 0.5, 0.9, 1, 1.7, 3, 4, 6, 8]

x = torch.tensor(POINTS, dtype=torch.float64)
arrays = {"x": x.numpy()}
for name, function in FUNCTIONS.items():
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    (slope,) = torch.autograd.grad(y.sum(), leaf)
    arrays |= {f"{name}.y": y.detach().numpy(), f"{name}.slope": slope.numpy()}

np.savez(
    Path(__file__).with_suffix(".npz"), **{f"activations.{key}": a for key, a in arrays.items()}
)
