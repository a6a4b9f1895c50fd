# SPDX-License-Identifier: Apache-2.0
"""Layers that act in training only."""

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
}
