# SPDX-License-Identifier: Apache-2.0
"""Normalising layers."""

import rosin as rs
from tests.layer_row import Row

ROWS = {
    "BatchNorm": Row(
        build=lambda: rs.BatchNorm(3, rs.tanh, momentum=0.3),
        shapes=((5, 2, 3),),
        refused=((5, 2), ()),
        stateful=True,
        per_example=False,
    ),
    "BatchNorm, not affine, no statistics": Row(
        build=lambda: rs.BatchNorm(3, affine=False, track_statistics=False, epsilon=1e-3),
        shapes=((7, 3),),
        refused=((7, 2),),
        per_example=False,
    ),
    "LayerNorm": Row(build=lambda: rs.LayerNorm(5), shapes=((2, 3, 5),), refused=((2, 3), (5, 2))),
    "LayerNorm over two axes": Row(
        build=lambda: rs.LayerNorm((3, 5), rs.tanh, epsilon=1e-3),
        shapes=((2, 3, 5),),
        refused=((2, 5, 3), (5,)),
    ),
}
