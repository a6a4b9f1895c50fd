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
    "Scale": Row(
        build=lambda: rs.Scale((3, 5), rs.tanh), shapes=((2, 3, 5),), refused=((2, 5, 3), (5,))
    ),
    "Bilinear": Row(
        build=lambda: rs.Bilinear((3, 4), 2, rs.tanh, key=KEY),
        shapes=((5, 3), (5, 4)),
        refused=((5, 2), (4, 3), (3,)),
    ),
    "Bilinear of one input": Row(
        build=lambda: rs.Bilinear(3, 2, bias=False, key=KEY),
        shapes=((2, 5, 3),),
        refused=((5, 2),),
    ),
    "Embedding with padding": Row(  # which no index here is, for it has no gradient
        build=lambda: rs.Embedding(5, 3, padding_index=4, key=KEY),
        shapes=((3, 5),),
        refused=(),
        integers=4,
    ),
    "EmbeddingBag": Row(
        build=lambda: rs.EmbeddingBag(7, 3, "sum", padding_index=0, key=KEY),
        shapes=((4, 5),),
        refused=(),
        integers=7,
    ),
    "EmbeddingBag with the greatest": Row(
        build=lambda: rs.EmbeddingBag(7, 3, "max", key=KEY),
        shapes=((4, 5),),
        refused=(),
        integers=7,
        smooth=False,
    ),
    "a user's layer": Row(
        build=lambda: UserLayer(jnp.ones(3), jnp.zeros(3)),
        shapes=((5, 3),),
        refused=(),
        checked=False,
    ),
}
