# SPDX-License-Identifier: Apache-2.0
"""Write `convolution.npz`: convolutions, pools, resampling and patches as PyTorch has them.

Run with PyTorch 2.13 installed: `python tests/reference/convolution.py`. A key is the call
that `rosin.functional` is to make: `test_against_pytorch.py` reads it, and draws the same
inputs. Arrays have their channels last. Gradients are those of the output times a wave.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

ARRAYS = {}


def wave(*shape):
    """Fill an array with numbers from -1 to 1 that no two places near each other share."""
    return torch.cos(torch.arange(math.prod(shape), dtype=torch.float64) ** 1.5).reshape(shape)


def first(x):
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def turned(weight):
    """Turn (*kernel, a, b) into (b, a, *kernel)."""
    return weight.movedim((-1, -2), (0, 1))


def keep(name, call, *inputs, gradients=False, **options):
    """Keep what a call gives, and its gradients if wanted."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = call(*leaves)
    shapes = [tuple(x.shape) for x in inputs]
    key = f"{name} {shapes} {options}"
    ARRAYS[key] = y.detach().numpy().astype(np.float32)
    if gradients:
        for i, g in enumerate(torch.autograd.grad((y * wave(*y.shape)).sum(), leaves)):
            ARRAYS[f"{key} gradient {i}"] = g.numpy().astype(np.float32)


SPACES = {1: (7,), 2: (5, 6), 3: (4, 3, 5)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 2, 3)}


def convolutions():
    counts = itertools.product((1, 2, 3), (1, 2), (0, 1), (1, 2), (1, 2))
    for rank, stride, pad, dilation, groups in counts:
        if rank != 2 and groups != dilation:
            continue
        given = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
        options = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
        conv = getattr(functional, f"conv{rank}d")
        keep(
            "conv",
            lambda x, w, conv=conv, given=given: last(conv(first(x), turned(w), **given)),
            wave(2, *SPACES[rank], 2 * groups),
            wave(*KERNELS[rank], 2, 2 * groups),
            gradients=stride == groups == 2 and pad == 1,
            **options,
        )
        transpose = getattr(functional, f"conv_transpose{rank}d")
        for extra in range(stride):
            given["output_padding"] = extra
            keep(
                "conv_transpose",
                lambda x, w, conv=transpose, given=dict(given): last(
                    conv(first(x), turned(w), **given)
                ),
                wave(1, *(n - 1 for n in SPACES[rank]), 2 * groups),
                wave(*KERNELS[rank], 1, 2 * groups),
                gradients=stride == 2 and pad == extra == 1 and dilation == groups,
                **options,
                output_padding=extra,
            )
    for rank in (1, 2, 3):
        conv = getattr(functional, f"conv{rank}d")
        keep(
            "depthwise_conv",
            lambda x, w, conv=conv: last(conv(first(x), turned(w), groups=3, padding=1)),
            wave(2, *SPACES[rank], 3),
            wave(*KERNELS[rank], 1, 6),
            gradients=True,
            pad=1,
        )


def pools():
    for rank, (stride, pad) in itertools.product((1, 2, 3), [(2, 0), (1, 1)]):
        x = wave(2, *SPACES[rank], 2)
        window = (3, 2, 3)[:rank]
        options = {"window": window, "stride": stride, "pad": pad}
        pool = getattr(functional, f"max_pool{rank}d")
        keep(
            "max_pool",
            lambda x, p=pool, o=options: last(p(first(x), *o.values())),
            x,
            gradients=pad == 1,
            **options,
        )
        pool = getattr(functional, f"avg_pool{rank}d")
        for count in (True, False):
            keep(
                "mean_pool",
                lambda x, p=pool, o=options, c=count: last(
                    p(first(x), *o.values(), count_include_pad=c)
                ),
                x,
                **options,
                count_padding=count,
            )
    for rank, size in [(1, (3,)), (1, (9,)), (2, (3, 4)), (3, (3, 2, 2))]:
        for name, torch_name in [("adaptive_max_pool", "max"), ("adaptive_mean_pool", "avg")]:
            pool = getattr(functional, f"adaptive_{torch_name}_pool{rank}d")
            keep(
                name,
                lambda x, p=pool, n=size: last(p(first(x), n)),
                wave(2, *SPACES[rank], 2),
                gradients=rank == 2,
                size=size,
            )
    for p, (rank, stride) in itertools.product((1, 2, 4), [(1, 3), (2, 1)]):
        pool = getattr(functional, f"lp_pool{rank}d")
        window = (3, 2)[:rank]
        keep(
            "lp_pool",
            # PyTorch takes the absolute value out of odd powers.
            lambda x, f=pool, p=p, w=window[0] if rank == 1 else window, s=stride: last(
                f(first(x).abs(), p, w, s)
            ),
            wave(2, *SPACES[rank], 2),
            gradients=p != 1,
            p=p,
            window=window,
            stride=stride,
        )


def resampling():
    modes = {1: ("linear",), 2: ("bilinear", "bicubic"), 3: ("trilinear",)}
    targets = {1: [{"scale_factor": 2.0}, {"size": (3,)}], 3: [{"scale_factor": 2.0}]}
    targets[2] = [{"scale_factor": 2.0}, {"scale_factor": 1.5}, {"size": (11, 3)}]
    targets[2] += [{"scale_factor": (0.6, 3.0)}]
    for rank, names in modes.items():
        for mode, target in itertools.product(("nearest-exact", *names), targets[rank]):
            extras = [{}]
            if mode != "nearest-exact":
                extras.append({"align_corners": True})
            if rank == 2 and mode != "nearest-exact":
                extras.append({"antialias": True})
            for extra in extras:
                keep(
                    "upsample",
                    lambda x, m=mode, t=target, e=extra: last(
                        functional.interpolate(first(x), mode=m, **t, **e)
                    ),
                    wave(1, *SPACES[rank], 2),
                    gradients=target.get("scale_factor") == 1.5,
                    mode=mode.removesuffix("-exact"),
                    **{k.removesuffix("_factor"): v for k, v in target.items()},
                    **extra,
                )


def sampling():
    for rank, size in [(2, (3, 4)), (3, (2, 2, 3))]:
        grid = 1.6 * wave(2, *size, rank)
        x = wave(2, *SPACES[rank], 2)
        options = itertools.product(
            ("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)
        )
        fewer = [
            ("bilinear", "zeros", False),
            ("bilinear", "reflection", True),
            ("nearest", "border", False),
            ("nearest", "zeros", True),
        ]
        for mode, outside, corners in options if rank == 2 else fewer:
            keep(
                "grid_sample",
                lambda x, g, m=mode, o=outside, c=corners: last(
                    functional.grid_sample(first(x), 1.6 * g, m, o, align_corners=c)
                ),
                x,
                grid / 1.6,
                gradients=mode == "bilinear" and rank == 2 and corners == (outside == "border"),
                mode=mode,
                padding_mode=outside,
                align_corners=corners,
            )
        for corners in (False, True):
            keep(
                "affine_grid",
                lambda m, n=size, c=corners: functional.affine_grid(m, [2, 1, *n], c),
                wave(2, rank, rank + 1),
                size=size,
                align_corners=corners,
            )


def patches():
    for window, stride, pad, dilation in [((3, 2), 1, 0, 1), ((2, 2), 2, 1, 1), ((2, 3), 1, 2, 2)]:
        options = {"window": window, "stride": stride, "pad": pad, "dilation": dilation}
        given = {"padding": pad, "stride": stride, "dilation": dilation}
        space = SPACES[2]
        spread = zip(space, window, strict=True)
        counts = [(n + 2 * pad - (k - 1) * dilation - 1) // stride + 1 for n, k in spread]

        def unfolded(x, window=window, given=given, counts=counts):
            y = functional.unfold(first(x), window, **given)
            taps = y.reshape(2, -1, math.prod(window), *counts)  # batch, channel, tap, …
            return taps.permute(0, 3, 4, 2, 1).reshape(2, *counts, -1)

        def folded(x, window=window, given=given):
            taps = x.reshape(2, -1, math.prod(window), 3).permute(0, 3, 2, 1)
            taps = taps.reshape(2, -1, taps.shape[-1])
            return last(functional.fold(taps, SPACES[2], window, **given))

        keep("unfold", unfolded, wave(2, *space, 3), **options)
        keep("fold", folded, wave(2, *counts, math.prod(window) * 3), size=space, **options)
    shuffle, unshuffle = functional.pixel_shuffle, functional.pixel_unshuffle
    keep("pixel_shuffle", lambda x: last(shuffle(first(x), 2)), wave(2, 2, 3, 12), factor=2)
    keep("pixel_unshuffle", lambda x: last(unshuffle(first(x), 3)), wave(2, 3, 6, 2), factor=3)
    for rank, mode in itertools.product((1, 2, 3), ("reflect", "replicate", "circular")):
        pairs = ((2, 1), (0, 2), (1, 1))[:rank]
        flat = [n for pair in reversed(pairs) for n in pair]
        name = {"replicate": "pad_repeat"}.get(mode, f"pad_{mode}")
        keep(
            name,
            lambda x, f=flat, m=mode: last(functional.pad(first(x), f, mode=m)),
            wave(1, *SPACES[rank], 2),
            gradients=rank == 2,
            pad=pairs,
        )


for family in (convolutions, pools, resampling, sampling, patches):
    family()
# One array of all values takes half the space of an array for each.
np.savez_compressed(
    Path(__file__).with_suffix(".npz"),
    calls=np.array(list(ARRAYS)),
    shapes=np.array([str(a.shape) for a in ARRAYS.values()]),
    values=np.concatenate([a.ravel() for a in ARRAYS.values()]),
)
