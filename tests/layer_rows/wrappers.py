# SPDX-License-Identifier: Apache-2.0
"""What is put around layers: sharing, remat, scan_layers, norms of weights."""

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
    "WeightNorm": Row(
        build=lambda: rs.WeightNorm(dense(3, 5, rs.tanh)), shapes=((2, 3),), refused=((2, 4), ())
    ),
    "WeightNorm inside a chain": Row(
        build=lambda: rs.WeightNorm(
            rs.Chain(rs.Conv((3,), 2, 4, key=KEY), rs.Dropout(0.5, key=KEY)),
            "layers[0].weight",
            axis=(-1, -2),
        ),
        shapes=((2, 5, 2),),
        refused=((2, 5, 3),),
        stateful=True,
    ),
    # After so many iterations the singular vectors no longer depend on the weight, so that
    # the gradient is that of differences; the second derivative holds the vectors fixed.
    "SpectralNorm": Row(
        build=lambda: rs.SpectralNorm(dense(3, 5, rs.tanh), iterations=60, key=KEY),
        shapes=((2, 3),),
        refused=((2, 4), ()),
        stateful=True,
        smooth=False,
    ),
}
