# SPDX-License-Identifier: Apache-2.0
"""Write `attention.npz`: what PyTorch 2.13 computes in float64 for the attention family.

Run it with PyTorch 2.13 installed: `python tests/reference/attention.py`. Weights are drawn
with a fixed seed and stored beside the results, in PyTorch's own layout.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
STORED: dict[str, np.ndarray] = {}


def store(name, **arrays):
    for part, array in arrays.items():
        STORED[f"{name}/{part}"] = array.detach().numpy()


def graded(name, function, **inputs):
    """Store inputs, the output, and the gradient of a weighted sum of it."""
    leaves = {n: a.clone().requires_grad_() for n, a in inputs.items()}
    y = function(**leaves)
    finite = torch.where(torch.isfinite(y), y, 0.0)
    weights = torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    grads = torch.autograd.grad((finite * weights).sum(), list(leaves.values()))
    store(name, y=y, **inputs)
    store(name, **{f"d{n}": g for n, g in zip(leaves, grads, strict=True)})


# --- softmax family -----------------------------------------------------------------

x = torch.randn(3, 4, 5) * 3
for axis in (-1, 1):
    graded(f"softmax {axis}", lambda x, axis=axis: functional.softmax(x, axis), x=x)
    graded(f"logsoftmax {axis}", lambda x, axis=axis: functional.log_softmax(x, axis), x=x)
    graded(f"logsumexp {axis}", lambda x, axis=axis: torch.logsumexp(x, axis), x=x)
graded("glu -1", lambda x: functional.glu(x, -1), x=x[..., :4])
graded("glu 1", lambda x: functional.glu(x, 1), x=x)

# --- scaled dot-product attention: (batch, heads, time, features) -------------------

q, k, v = torch.randn(2, 4, 5, 3), torch.randn(2, 4, 7, 3), torch.randn(2, 4, 7, 6)
mask = torch.rand(2, 1, 5, 7) > 0.4
mask[0, :, 1] = False
bias = torch.randn(1, 4, 5, 7)
attention = functional.scaled_dot_product_attention
graded("attention", attention, query=q, key=k, value=v)
graded("causal", lambda **a: attention(**a, is_causal=True), query=q, key=k, value=v)
graded("scaled", lambda **a: attention(**a, scale=0.2), query=q, key=k, value=v)
graded("masked", lambda **a: attention(**a, attn_mask=mask), query=q, key=k, value=v)
store("masked", mask=mask)
graded("biased", attention, query=q, key=k, value=v, attn_mask=bias)
graded(
    "grouped",
    lambda **a: attention(**a, enable_gqa=True, is_causal=True),
    query=q,
    key=k[:, :2],
    value=v[:, :2],
)

# --- layers: (batch, time, features) ------------------------------------------------


def parameters(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return dict(module.named_parameters())


layer = torch.nn.MultiheadAttention(6, 2, batch_first=True, kdim=5, vdim=4)
store("mha", **parameters(layer))
q, k, v = torch.randn(2, 3, 6), torch.randn(2, 5, 5), torch.randn(2, 5, 4)
padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
y, scores = layer(q, k, v, key_padding_mask=padding, average_attn_weights=False)
store("mha", q=q, k=k, v=v, y=y, scores=scores)

x, memory = torch.randn(2, 4, 6), torch.randn(2, 3, 6)
causal = torch.nn.Transformer.generate_square_subsequent_mask(4)
for first in (True, False):
    options = {"batch_first": True, "norm_first": first, "dropout": 0.0}
    block = torch.nn.TransformerEncoderLayer(6, 2, 8, **options)
    store(f"encoder {first}", **parameters(block), x=x)
    store(f"encoder {first}", y=block(x), causal=block(x, causal, is_causal=True))
    block = torch.nn.TransformerDecoderLayer(6, 2, 8, activation="gelu", **options)
    store(f"decoder {first}", **parameters(block), x=x, memory=memory)
    store(f"decoder {first}", y=block(x, memory, causal, tgt_is_causal=True))

np.savez_compressed(Path(__file__).with_suffix(".npz"), **STORED)
