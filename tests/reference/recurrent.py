# SPDX-License-Identifier: Apache-2.0
"""Write `recurrent.npz`: what PyTorch's recurrent layers compute, gradients included.

Run it with PyTorch 2.13 installed: `python tests/reference/recurrent.py`. Arrays are
float64 and named `case/what`; weights have PyTorch's names and layouts.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BATCH, TIME, IN, HIDDEN = 3, 5, 2, 3
LENGTHS = [5, 2, 4]
KINDS = {
    "rnn": lambda **options: torch.nn.RNN(IN, HIDDEN, **options),
    "relu": lambda **options: torch.nn.RNN(IN, HIDDEN, nonlinearity="relu", **options),
    "lstm": lambda **options: torch.nn.LSTM(IN, HIDDEN, **options),
    "gru": lambda **options: torch.nn.GRU(IN, HIDDEN, **options),
}
VARIANTS = {
    "plain": {"num_layers": 1, "bidirectional": False},
    "stacked": {"num_layers": 2, "bidirectional": False},
    "ragged": {"num_layers": 2, "bidirectional": True},
}


def weights_like(a):
    """Weigh every number of an output in its own way."""
    return torch.cos(torch.arange(a.numel(), dtype=torch.float64)).view_as(a)


def case(kind, variant):
    """Run one layer from a state that is not zero; return its arrays by name."""
    options = VARIANTS[variant]
    layer = KINDS[kind](batch_first=True, dtype=torch.float64, **options)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    count = options["num_layers"] * (1 + options["bidirectional"])
    x = torch.randn(BATCH, TIME, IN, dtype=torch.float64, requires_grad=True)
    shape = (count, BATCH, HIDDEN)
    state = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    given = tuple(state) if kind == "lstm" else state[0]
    if variant == "ragged":
        packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        y, last = layer(packed, given)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=TIME)
    else:
        y, last = layer(x, given)
    last = list(last) if kind == "lstm" else [last]
    state = state[: len(last)]
    sum((a * weights_like(a)).sum() for a in [y, *last]).backward()
    arrays = {"x": x, "y": y, "dx": x.grad}
    for name, before, after in zip("hc", state, last, strict=False):
        arrays |= {f"{name}0": before, f"{name}1": after, f"d{name}0": before.grad}
    for name, parameter in layer.named_parameters():
        arrays |= {name: parameter, f"d{name}": parameter.grad}
    return {f"{kind} {variant}/{name}": a.detach().numpy() for name, a in arrays.items()}


def main():
    """Write the file beside this one."""
    torch.manual_seed(0)
    arrays = {}
    for kind in KINDS:
        for variant in ["plain"] if kind == "relu" else VARIANTS:
            arrays |= case(kind, variant)
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
