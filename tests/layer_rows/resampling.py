# SPDX-License-Identifier: Apache-2.0
"""Layers that resample, rearrange or pad the spatial axes."""

import rosin as rs
from tests.layer_row import Row

ROWS = {
    "Upsample": Row(
        build=lambda: rs.Upsample(scale=(2, 1.4)),
        shapes=((2, 3, 5, 2),),
        refused=((3, 5, 2), (2, 3, 0, 2)),
    ),
    "Upsample, bilinear": Row(
        build=lambda: rs.Upsample(scale=2, mode="bilinear"),
        shapes=((2, 3, 5, 2),),
        refused=((3, 5, 2), (2, 3, 4, 5, 2)),
    ),
    "Upsample, cubic to a size": Row(
        build=lambda: rs.Upsample(size=7, mode="cubic", align_corners=True),
        shapes=((2, 5, 3),),
        refused=((2, 0, 3), (2, 3)),
    ),
    "Upsample, antialiased": Row(
        build=lambda: rs.Upsample(size=(2, 7), mode="linear", antialias=True),
        shapes=((2, 5, 3, 2),),
        refused=((5, 3, 2),),
    ),
    "PixelShuffle": Row(
        build=lambda: rs.PixelShuffle((2, 3)),
        shapes=((2, 3, 1, 12),),
        refused=((3, 1, 12), (2, 3, 1, 4)),
    ),
    "PixelUnshuffle": Row(
        build=lambda: rs.PixelUnshuffle(2), shapes=((2, 4, 6, 3),), refused=((2, 4, 5, 3), (2, 3))
    ),
    "Pad": Row(
        build=lambda: rs.Pad(((1, 2), (0, 1)), value=0.5),
        shapes=((2, 3, 5, 2),),
        refused=((3, 5, 2),),
    ),
    "Pad, reflecting": Row(
        build=lambda: rs.Pad(2, mode="reflect"),
        shapes=((2, 3, 5, 2),),
        refused=((2, 2, 5, 2), (2, 3)),
    ),
    "Pad, circular": Row(
        build=lambda: rs.Pad((1, 3), mode="circular"),
        shapes=((2, 3, 5, 2),),
        refused=((2, 3, 2, 2),),
    ),
}
