# SPDX-License-Identifier: Apache-2.0
"""What is put around layers: sharing, remat, scan_layers."""

import rosin as rs
from tests.layer_row import KEY, Row, dense


def twice(layer):
    return rs.Chain(layer, rs.tanh, layer)


ROWS = {
    "a shared layer": Row(
        build=lambda: twice(rs.share(dense(3, 3))),
        shapes=((5, 3),),
        refused=((5, 4),),
    ),
    "remat": Row(
        build=lambda: rs.remat(rs.Chain(dense(3, 4, rs.tanh), rs.Dropout(0.5, key=KEY))),
        shapes=((5, 3),),
        refused=((5, 4),),
        stateful=True,
    ),
    "scan_layers": Row(
        build=lambda: rs.scan_layers([rs.Chain(dense(3, 3, rs.tanh), rs.LayerNorm(3))] * 3),
        shapes=((5, 3),),
        refused=((5, 4),),
    ),
}
