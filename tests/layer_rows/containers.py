# SPDX-License-Identifier: Apache-2.0
"""Layers made of layers."""

import jax.numpy as jnp

import rosin as rs
from tests.layer_row import Row, dense

ROWS = {
    "Chain": Row(
        build=lambda: rs.Chain(dense(3, 4, rs.tanh), rs.BatchNorm(4), rs.sigmoid, dense(4, 2)),
        shapes=((5, 3),),
        refused=((5, 4),),
        stateful=True,
        per_example=False,
    ),
    "Chain with names": Row(
        build=lambda: rs.Chain(first=dense(3, 4, rs.tanh), second=dense(4, 2)),
        shapes=((5, 3),),
        refused=((5, 4),),
    ),
    "Parallel": Row(
        build=lambda: rs.Parallel(jnp.multiply, dense(3, 2, rs.tanh), dense(3, 2)),
        shapes=((5, 3),),
        refused=((5, 4),),
    ),
    "Parallel with two inputs": Row(
        build=lambda: rs.Parallel(jnp.add, left=dense(3, 2), right=dense(4, 2)),
        shapes=((5, 3), (5, 4)),
        refused=((5, 2),),
    ),
    "SkipConnection": Row(
        build=lambda: rs.SkipConnection(dense(3, 3, rs.tanh), jnp.add),
        shapes=((5, 3),),
        refused=((5, 4),),
    ),
    "Maxout": Row(
        build=lambda: rs.Maxout(dense(3, 2), dense(3, 2, rs.tanh)),
        shapes=((5, 3),),
        refused=((5, 4),),
        smooth=False,
    ),
    "PairwiseFusion": Row(
        build=lambda: rs.Chain(
            rs.PairwiseFusion(jnp.add, first=dense(3, 4, rs.tanh), second=dense(4, 4)), sum
        ),
        shapes=((5, 3), (5, 4)),
        refused=((5, 2),),
    ),
}
