# SPDX-License-Identifier: Apache-2.0
"""Write `checkpoints/*` and `checkpoints.npz`: files of `torch.save`, and what they hold.

Run it with PyTorch 2.13 installed: `python tests/reference/checkpoints.py`. Each file of the
table is written as a zip archive (`.pt`) and in the legacy format (`.legacy.pt`). The arrays
of the npz are named `file/array`; dtypes that NumPy lacks are stored as float32, exactly.
Files in `refused` are those that a reader of plain tensors does not take.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "checkpoints"
KINDS = {"float": (64, 32, 16), "int": (8, 16, 32, 64), "uint": (8, 16, 32, 64)}
DTYPES = [f"{kind}{bits}" for kind, sizes in KINDS.items() for bits in sizes]
DTYPES += ["bfloat16", "bool", "complex64", "complex128"]
DTYPES += [f"float8_{form}" for form in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")]


def numbers(*shape):
    """Return numbers that every dtype holds exactly."""
    return (torch.arange(np.prod(shape)) % 4).reshape(shape)


def views():
    """Return tensors that share storages or do not fill them."""
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "row": base[2],
        "column": base[:, 1],
        "stepped": base[::2, 1::2],
        "expanded": torch.tensor([7.0]).expand(3, 2),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "channels_last": torch.arange(24.0)
        .reshape(1, 2, 3, 4)
        .to(memory_format=torch.channels_last),
    }


def model():
    """Return a small network with parameters, buffers and a trained optimiser."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.randn(5, 1, 4, 4)).square().mean().backward()
    optimiser.step()
    return net, optimiser


def table():
    """Name what is saved."""
    net, optimiser = model()
    return {
        "dtypes": {name: numbers(2, 3).to(getattr(torch, name)) for name in DTYPES},
        "views": views(),
        "state_dict": net.state_dict(),
        "run": {
            "model": net.state_dict(),
            "optimiser": optimiser.state_dict(),
            "epoch": 3,
            "best": float("inf"),
            "note": "a run with ünïcode",
            "flags": [True, False, None, (1, 2), {"a": 1j}],
            "size": torch.Size([2, 3]),
            "dtype": torch.bfloat16,
            "device": torch.device("cpu"),
            "rng": torch.get_rng_state()[:16].clone(),
        },
        "parameters": [torch.nn.Parameter(numbers(2, 2).float()), net[3].bias],
        "tensor": numbers(3, 2).float(),
        "numpy": {"array": np.arange(6, dtype=">i4").reshape(2, 3), "loss": np.float64(0.25)},
        "ordered": OrderedDict([(0, numbers(2)), (1, {"deep": [numbers(1), (numbers(2),)]})]),
        "nothing": {},
    }


def refused():
    """Name what a reader of plain tensors refuses."""
    return {
        "sparse": {"a": torch.eye(3).to_sparse()},
        "csr": {"a": torch.eye(3).to_sparse_csr()},
        "quantised": {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        "module": torch.nn.Linear(2, 1),
        "conjugate": {"a": torch.ones(2, dtype=torch.complex64).conj()},
        "meta": {"a": torch.ones(2, device="meta")},
    }


def arrays(value, name=""):
    """Flatten a value as the reader names it."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach()
        foreign = tensor.dtype == torch.bfloat16 or "float8" in str(tensor.dtype)
        yield name or "tensor", (tensor.float() if foreign else tensor).numpy()
    elif isinstance(value, (np.ndarray, np.generic)):
        yield name or "tensor", np.asarray(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from arrays(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from arrays(item, f"{name}.{index}" if name else str(index))


def main():
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name, value in table().items():
        torch.save(value, FOLDER / f"{name}.pt")
        torch.save(value, FOLDER / f"{name}.legacy.pt", _use_new_zipfile_serialization=False)
        expected |= {f"{name}/{key}": array for key, array in arrays(value)}
    for protocol in (3, 4, 5):
        torch.save(table()["run"], FOLDER / f"run.{protocol}.pt", pickle_protocol=protocol)
    for name, value in refused().items():
        torch.save(value, FOLDER / f"refused.{name}.pt")
    torch.jit.script(torch.nn.Linear(2, 1)).save(FOLDER / "refused.script.pt")
    np.savez_compressed(FOLDER.with_suffix(".npz"), **expected)


if __name__ == "__main__":
    main()
