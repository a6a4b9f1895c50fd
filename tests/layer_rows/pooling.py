# SPDX-License-Identifier: Apache-2.0
"""Pooling layers."""

import rosin as rs
from tests.layer_row import Row

ROWS = {
    "MaxPool": Row(
        build=lambda: rs.MaxPool((2, 3), stride=(2, 1), pad=1),
        shapes=((2, 5, 6, 3),),
        refused=((5, 6, 3),),
        smooth=False,
    ),
    "MeanPool": Row(
        build=lambda: rs.MeanPool((2, 3), pad=1, count_padding=False),
        shapes=((2, 5, 6, 3),),
        refused=((5, 6, 3),),
    ),
    "GlobalMeanPool": Row(
        build=rs.GlobalMeanPool, shapes=((2, 5, 6, 3),), refused=((2, 3), (2, 0, 3))
    ),
    "LpPool": Row(
        build=lambda: rs.LpPool(3, (2, 3), stride=(2, 1), pad=1),
        shapes=((2, 5, 6, 3),),
        refused=((5, 6, 3), (2, 5, 0, 3)),
    ),
    "AdaptiveMaxPool": Row(
        build=lambda: rs.AdaptiveMaxPool((3, 4)),
        shapes=((2, 5, 8, 3),),
        refused=((5, 8, 3), (2, 0, 8, 3)),
        smooth=False,
    ),
    "AdaptiveMeanPool": Row(
        build=lambda: rs.AdaptiveMeanPool((3, 4)),
        shapes=((2, 5, 8, 3),),
        refused=((5, 8, 3), (2, 0, 8, 3)),
    ),
    "GlobalMaxPool": Row(
        build=rs.GlobalMaxPool,
        shapes=((2, 5, 6, 3),),
        refused=((2, 3), (2, 0, 3)),
        smooth=False,
    ),
}
