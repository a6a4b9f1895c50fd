# SPDX-License-Identifier: Apache-2.0
"""Layers that are only their own parameters, and a user's own."""

import jax.numpy as jnp

import rosin as rs
from tests.layer_row import KEY, Row, dense


class UserLayer(rs.Module):
    """What a user writes: two arrays and a call."""

    weight: rs.Array
    bias: rs.Array

    def __call__(self, x):
        """Scale and shift."""
        return x * self.weight + self.bias


ROWS = {
    "Dense": Row(build=lambda: dense(3, 5), shapes=((2, 3),), refused=((2, 4), ())),
    "Dense with tanh": Row(build=lambda: dense(3, 5, rs.tanh), shapes=((2, 3),), refused=((3, 2),)),
    "Dense with gelu": Row(build=lambda: dense(3, 5, rs.gelu), shapes=((2, 3),), refused=((3, 2),)),
    "Dense with sigmoid, no bias": Row(
        build=lambda: dense(3, 5, rs.sigmoid, bias=False), shapes=((2, 7, 3),), refused=((3, 2),)
    ),
    "Embedding": Row(
        build=lambda: rs.Embedding(11, 3, key=KEY), shapes=((2, 5),), refused=(), integers=11
    ),
    "a user's layer": Row(
        build=lambda: UserLayer(jnp.ones(3), jnp.zeros(3)),
        shapes=((5, 3),),
        refused=(),
        checked=False,
    ),
}
