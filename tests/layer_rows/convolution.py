# SPDX-License-Identifier: Apache-2.0
"""Convolutional layers."""

import rosin as rs
from tests.layer_row import KEY, Row

ROWS = {
    "Conv 1-D": Row(
        build=lambda: rs.Conv((3,), 2, 5, key=KEY),
        shapes=((2, 7, 2),),
        refused=((7, 2), (2, 7, 3), (2, 2, 2)),
    ),
    "Conv 2-D": Row(
        build=lambda: rs.Conv((3, 2), 2, 4, rs.tanh, stride=2, pad=((1, 0), (0, 2)), key=KEY),
        shapes=((2, 7, 5, 2),),
        refused=((7, 5, 2), (2, 7, 5, 3), (2, 7, 2)),
    ),
    "Conv 2-D, groups and dilation": Row(
        build=lambda: rs.Conv(
            (3, 3), 4, 6, pad="same", dilation=(1, 2), groups=2, bias=False, key=KEY
        ),
        shapes=((2, 5, 6, 4),),
        refused=((2, 5, 6, 2),),
    ),
    "Conv 3-D": Row(
        build=lambda: rs.Conv((2, 2, 2), 1, 3, key=KEY),
        shapes=((1, 3, 4, 5, 1),),
        refused=((1, 3, 4, 1),),
    ),
    "ConvTranspose 1-D": Row(
        build=lambda: rs.ConvTranspose((3,), 2, 5, rs.tanh, stride=2, pad="same", key=KEY),
        shapes=((2, 5, 2),),
        refused=((5, 2), (2, 5, 3), (2, 0, 2)),
    ),
    "ConvTranspose 2-D, groups": Row(
        build=lambda: rs.ConvTranspose(
            (3, 2),
            4,
            6,
            stride=(2, 3),
            pad=((1, 0), (0, 1)),
            output_padding=(1, 2),
            dilation=(1, 2),
            groups=2,
            key=KEY,
        ),
        shapes=((2, 3, 2, 4),),
        refused=((3, 2, 4), (2, 3, 2, 2)),
    ),
    "DepthwiseConv": Row(
        build=lambda: rs.DepthwiseConv((3, 2), 3, stride=(1, 2), pad="same", key=KEY),
        shapes=((2, 5, 4, 3),),
        refused=((5, 4, 3), (2, 5, 4, 6)),
    ),
    "DepthwiseConv with a multiplier": Row(
        build=lambda: rs.DepthwiseConv((3,), 3, rs.tanh, multiplier=2, bias=False, key=KEY),
        shapes=((2, 5, 3),),
        refused=((2, 5, 6), (2, 2, 3)),
    ),
}
