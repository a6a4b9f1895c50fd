# SPDX-License-Identifier: Apache-2.0
"""One row for each layer; a new layer joins the contract by adding its own.

A row says how to build the layer, what to feed it and what it must refuse. Parameters
get values away from zero and one, so that a missing bias or scale shows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs

KEY = jax.random.key(7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One layer.

    Args:
        build: Makes the layer.
        shapes: Of its inputs; sizes are odd and unlike each other.
        refused: Shapes of inputs it must refuse with a ShapeError.
        integers: The exclusive upper bound if the inputs are whole numbers.
        stateful: Whether it records state in training.
        smooth: Whether second derivatives can be compared with differences.
        per_example: Whether one example's output depends on that example alone.
        checked: Whether it checks the dtype of its inputs.
    """

    build: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    refused: tuple[tuple[int, ...], ...]
    integers: int = 0
    stateful: bool = False
    smooth: bool = True
    per_example: bool = True
    checked: bool = True

    def layer(self) -> Any:
        """Build the layer, with all parameters moved off their start values."""
        layer = self.build()
        flat, rebuild = rs.destructure(layer)
        return rebuild(flat + 0.1 * jax.random.normal(KEY, flat.shape) + 0.05)

    def inputs(self, dtype: Any = jnp.float32) -> list[Any]:
        """Make the inputs."""
        made = []
        for index, shape in enumerate(self.shapes):
            key = jax.random.fold_in(KEY, index)
            if self.integers:
                made.append(jax.random.randint(key, shape, 0, self.integers))
            else:
                made.append(jax.random.normal(key, shape, jnp.float32).astype(dtype))
        return made


def dense(a: int, b: int, activation: Any = rs.identity, **options: Any) -> Any:
    return rs.Dense(a, b, activation, key=KEY, **options)


def twice(layer: Any) -> Any:
    return rs.Chain(layer, rs.tanh, layer)


class UserLayer(rs.Module):
    """What a user writes: two arrays and a call."""

    weight: rs.Array
    bias: rs.Array

    def __call__(self, x: Any) -> Any:
        """Scale and shift."""
        return x * self.weight + self.bias


LAYERS = {
    "Dense": Row(build=lambda: dense(3, 5), shapes=((2, 3),), refused=((2, 4), ())),
    "Dense with tanh": Row(build=lambda: dense(3, 5, rs.tanh), shapes=((2, 3),), refused=((3, 2),)),
    "Dense with gelu": Row(build=lambda: dense(3, 5, rs.gelu), shapes=((2, 3),), refused=((3, 2),)),
    "Dense with sigmoid, no bias": Row(
        build=lambda: dense(3, 5, rs.sigmoid, bias=False), shapes=((2, 7, 3),), refused=((3, 2),)
    ),
    "Embedding": Row(
        build=lambda: rs.Embedding(11, 3, key=KEY), shapes=((2, 5),), refused=(), integers=11
    ),
    "Conv 1-D": Row(
        build=lambda: rs.Conv((3,), 2, 5, key=KEY),
        shapes=((2, 7, 2),),
        refused=((7, 2), (2, 7, 3), (2, 2, 2)),
    ),
    "Conv 2-D": Row(
        build=lambda: rs.Conv((3, 2), 2, 4, rs.tanh, stride=2, pad=((1, 0), (0, 2)), key=KEY),
        shapes=((2, 7, 5, 2),),
        refused=((7, 5, 2), (2, 7, 5, 3), (2, 7, 2)),
    ),
    "Conv 2-D, groups and dilation": Row(
        build=lambda: rs.Conv(
            (3, 3), 4, 6, pad="same", dilation=(1, 2), groups=2, bias=False, key=KEY
        ),
        shapes=((2, 5, 6, 4),),
        refused=((2, 5, 6, 2),),
    ),
    "Conv 3-D": Row(
        build=lambda: rs.Conv((2, 2, 2), 1, 3, key=KEY),
        shapes=((1, 3, 4, 5, 1),),
        refused=((1, 3, 4, 1),),
    ),
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
    "Dropout": Row(
        build=lambda: rs.Dropout(0.3, key=KEY), shapes=((4, 5),), refused=(), stateful=True
    ),
    "Dropout along one axis": Row(
        build=lambda: rs.Dropout(0.5, axes=0, key=KEY),
        shapes=((4, 5),),
        refused=(),
        stateful=True,
    ),
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
    "a user's layer": Row(
        build=lambda: UserLayer(jnp.ones(3), jnp.zeros(3)),
        shapes=((5, 3),),
        refused=(),
        checked=False,
    ),
}

NAMES = {
    **{name: getattr(rs, name) for name in rs.__all__},
    "add": jnp.add,
    "multiply": jnp.multiply,
    "float32": np.float32,
}
"""What a printed layer may name."""
