# SPDX-License-Identifier: Apache-2.0
"""Write `spectral.npz`: short-time Fourier transforms as PyTorch computes them.

Run with PyTorch 2.13 installed: `python tests/reference/spectral.py`. The gradients are
those of the sum of the squared magnitudes, weighted by the cosine of their number.
"""

from pathlib import Path

import numpy as np
import torch

CASES = {
    "hann": {"n_fft": 16, "hop_length": 4, "window": torch.hann_window},
    "hamming": {"n_fft": 16, "hop_length": 8, "window": torch.hamming_window, "normalized": True},
    "odd": {"n_fft": 15, "hop_length": 5, "window": torch.hann_window},
    "uneven": {"n_fft": 12, "hop_length": 5, "window": torch.hamming_window},
    "begins": {"n_fft": 16, "hop_length": 4, "window": torch.hamming_window, "center": False},
}
generator = torch.Generator().manual_seed(5)
x = torch.randn((2, 53), generator=generator, dtype=torch.float64)
arrays = {"stft.x": x.numpy()}
for name, case in CASES.items():
    options = {**case, "window": case["window"](case["n_fft"], dtype=torch.float64)}
    leaf = x.clone().requires_grad_()
    y = torch.stft(leaf, return_complex=True, **options)
    power = y.abs() ** 2
    weights = torch.cos(torch.arange(power.numel(), dtype=torch.float64)).reshape(power.shape)
    (grad,) = torch.autograd.grad((power * weights).sum(), leaf)
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    mixed = y.detach() + 0.1 * noise  # no transform of any signal
    arrays |= {
        f"stft.{name}.y": torch.view_as_real(y.detach()).numpy(),
        f"stft.{name}.grad": grad.numpy(),
        f"stft.{name}.mixed": torch.view_as_real(mixed).numpy(),
        f"stft.{name}.again": torch.istft(mixed, **options).numpy(),
    }

np.savez(Path(__file__).with_suffix(".npz"), **arrays)
