# SPDX-License-Identifier: Apache-2.0
"""Layers that act in training only, and what else stands on a residual branch."""

import rosin as rs
from tests.layer_row import KEY, Row

ROWS = {
    "Dropout": Row(
        build=lambda: rs.Dropout(0.3, key=KEY), shapes=((4, 5),), refused=(), stateful=True
    ),
    "Dropout along one axis": Row(
        build=lambda: rs.Dropout(0.5, axes=0, key=KEY),
        shapes=((4, 5),),
        refused=(),
        stateful=True,
    ),
    "AlphaDropout": Row(
        build=lambda: rs.AlphaDropout(0.3, key=KEY), shapes=((4, 5),), refused=(), stateful=True
    ),
    "DropBlock": Row(
        build=lambda: rs.DropBlock(0.3, 2, key=KEY),
        shapes=((2, 5, 4, 3),),
        refused=((5, 3),),
        stateful=True,
    ),
    "DropPath": Row(
        build=lambda: rs.DropPath(0.5, key=KEY), shapes=((7, 3),), refused=((),), stateful=True
    ),
    "LayerScale": Row(
        build=lambda: rs.LayerScale(3, start=0.1), shapes=((2, 5, 3),), refused=((2, 4), ())
    ),
    "RReLU": Row(
        build=lambda: rs.RReLU(lower=0.2, key=KEY), shapes=((4, 5),), refused=(), stateful=True
    ),
}
