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
    "RMSNorm": Row(
        build=lambda: rs.RMSNorm(5, rs.tanh), shapes=((2, 3, 5),), refused=((2, 3), (5, 2))
    ),
    "RMSNorm over two axes": Row(
        build=lambda: rs.RMSNorm((3, 5), affine=False, epsilon=1e-3),
        shapes=((2, 3, 5),),
        refused=((2, 5, 3), (5,)),
    ),
    "InstanceNorm": Row(
        build=lambda: rs.InstanceNorm(3, rs.tanh),
        shapes=((2, 5, 3),),
        refused=((2, 5, 2), (5, 3), (2, 1, 3)),
    ),
    "InstanceNorm with statistics": Row(
        build=lambda: rs.InstanceNorm(3, affine=True, track_statistics=True, momentum=0.3),
        shapes=((2, 5, 4, 3),),
        refused=((2, 5, 4, 2), (5, 3)),
        stateful=True,
        per_example=False,
    ),
    "GroupNorm": Row(
        build=lambda: rs.GroupNorm(6, 3, rs.tanh),
        shapes=((2, 5, 3, 6),),
        refused=((2, 5, 4), (6,), ()),
    ),
    "GroupNorm of vectors": Row(
        build=lambda: rs.GroupNorm(6, 2, affine=False, epsilon=1e-3),
        shapes=((2, 6),),
        refused=((2, 5),),
    ),
    "LocalResponseNorm": Row(
        build=lambda: rs.LocalResponseNorm(3, alpha=0.5, beta=0.6), shapes=((2, 3, 5),), refused=()
    ),
}
