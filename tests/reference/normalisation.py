# SPDX-License-Identifier: Apache-2.0
"""Write `normalisation.npz`: what PyTorch 2.13 computes for norms, in float64.

Run `python tests/reference/normalisation.py` with PyTorch 2.13 and NumPy installed. Arrays
are stored with channels last; inputs are numbers of float32. Each group holds inputs, the
cotangent `g` of the output, outputs and gradients.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

DRAW = np.random.default_rng(3)
STEPS = 3
BATCH, SPACE, CHANNELS = 5, 7, 6


def drawn(*shape, mean=0.0, scale=1.0):
    return DRAW.normal(mean, scale, shape).astype(np.float32).astype(np.float64)


def first(x):
    """Move channels from the last axis to where PyTorch has them."""
    return torch.tensor(np.moveaxis(x, -1, 1))


def last(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def with_gradients(module, x, g):
    """Call a module; return its output and the gradients by input and parameters."""
    x.requires_grad_()
    for parameter in module.parameters():
        parameter.grad = None
    y = module(x)
    (y * g).sum().backward()
    return y, x.grad


def running(module):
    """Train a norm with running statistics for some steps, then use it in inference."""
    found = {"scale": drawn(CHANNELS, mean=1), "shift": drawn(CHANNELS)}
    module.weight.data = torch.tensor(found["scale"])
    module.bias.data = torch.tensor(found["shift"])
    stacked = {}
    for step in range(STEPS):
        x = drawn(BATCH, SPACE, CHANNELS, mean=step, scale=step + 1)
        g = drawn(BATCH, SPACE, CHANNELS)
        y, dx = with_gradients(module, first(x), first(g))
        values = {
            "x": x,
            "g": g,
            "y": last(y),
            "dx": last(dx),
            "dscale": module.weight.grad.numpy(),
            "dshift": module.bias.grad.numpy(),
            "running_mean": module.running_mean.numpy().copy(),
            "running_variance": module.running_var.numpy().copy(),
        }
        for name, value in values.items():
            stacked.setdefault(name, []).append(value)
    module.eval()
    y, dx = with_gradients(module, first(x), first(g))
    found |= {name: np.stack(values) for name, values in stacked.items()}
    return found | {"inferred": last(y), "inferred_dx": last(dx)}


def plain(module, *, moved):
    """Call a norm that is the same in both modes."""
    x, g = drawn(BATCH, SPACE, CHANNELS, mean=2), drawn(BATCH, SPACE, CHANNELS)
    found = {"x": x, "g": g}
    names = {"weight": "scale", "bias": "shift"}
    for name, parameter in module.named_parameters():
        value = drawn(*parameter.shape, mean=1)
        parameter.data = torch.tensor(value)
        found[names[name]] = value
    there, back = (first, last) if moved else (torch.tensor, lambda x: x.detach().numpy())
    y, dx = with_gradients(module, there(x), there(g))
    found |= {"y": back(y), "dx": back(dx)}
    for name, parameter in module.named_parameters():
        found["d" + names[name]] = parameter.grad.numpy()
    return found


def weight_norm():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3, bias=False).double())
    original = layer.parametrizations.weight
    v, g, x, cotangent = drawn(4, 3), drawn(3, mean=1), drawn(BATCH, 4), drawn(BATCH, 3)
    original.original0.data = torch.tensor(g[:, None])
    original.original1.data = torch.tensor(v.T)
    y, _ = with_gradients(layer, torch.tensor(x), torch.tensor(cotangent))
    return {
        "v": v,
        "magnitude": g,
        "x": x,
        "g": cotangent,
        "y": y.detach().numpy(),
        "dv": original.original1.grad.numpy().T,
        "dmagnitude": original.original0.grad.numpy()[:, 0],
    }


def spectral_norm():
    # The older of PyTorch's two, which takes the steps of the paper in the paper's order.
    layer = nn.utils.spectral_norm(nn.Conv1d(4, 3, 2, bias=False).double())
    weight = drawn(2, 4, 3)  # (kernel, in, out); PyTorch has (out, in, kernel)
    u, v = drawn(3), drawn(8)
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    layer.weight_orig.data = torch.tensor(weight.transpose(2, 1, 0).copy())
    layer.weight_u.copy_(torch.tensor(u))
    # PyTorch lays (in, kernel) in a row, Rosin (kernel, in).
    layer.weight_v.copy_(torch.tensor(v.reshape(2, 4).T.ravel()))
    x, g = drawn(BATCH, SPACE, 4), drawn(BATCH, SPACE - 1, 3)
    found = {"weight": weight, "u": u, "v": v, "x": x, "g": g}
    for name, mode in [("trained", True), ("inferred", False)]:
        layer.train(mode)
        y, _ = with_gradients(layer, first(x), first(g))
        found[f"{name}_y"] = last(y)
        found[f"{name}_dweight"] = layer.weight_orig.grad.numpy().transpose(2, 1, 0)
        found[f"{name}_u"] = layer.weight_u.numpy().copy()
        found[f"{name}_v"] = layer.weight_v.numpy().reshape(4, 2).T.ravel().copy()
    return found


def main():
    tracked = {"affine": True, "track_running_stats": True}
    groups = {
        "batch_norm": running(nn.BatchNorm1d(CHANNELS).double()),
        "instance_norm": running(nn.InstanceNorm1d(CHANNELS, **tracked).double()),
        "layer_norm": plain(nn.LayerNorm((SPACE, CHANNELS)).double(), moved=False),
        "rms_norm": plain(nn.RMSNorm(CHANNELS, eps=1e-5).double(), moved=False),
        "group_norm": plain(nn.GroupNorm(3, CHANNELS).double(), moved=True),
        "local_response_norm": plain(nn.LocalResponseNorm(4, alpha=0.5), moved=True),
        "weight_norm": weight_norm(),
        "spectral_norm": spectral_norm(),
    }
    arrays = {f"{g}.{name}": value for g, found in groups.items() for name, value in found.items()}
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
