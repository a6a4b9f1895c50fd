# SPDX-License-Identifier: Apache-2.0
"""What a row of the contract's table says of a layer; the rows stand in `layer_rows/`.

A row says how to build the layer, what to feed it and what it must refuse. Parameters
get values away from zero and one, so that a missing bias or scale shows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import rosin as rs

KEY = jax.random.key(7)


def plainly(layer: Any, *inputs: Any) -> Any:
    return layer(*inputs)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One layer.

    Args:
        build: Makes the layer.
        shapes: Of its inputs; sizes are odd and unlike each other.
        refused: Shapes of a first input that it must refuse with a ShapeError.
        integers: The exclusive upper bound where inputs are whole numbers: of all of
            them, or one bound for each input with 0 for those of floating point.
        call: How the layer is called with its inputs, if not just so.
        stateful: Whether it records state in training.
        smooth: Whether second derivatives can be compared with differences.
        per_example: Whether one example's output depends on that example alone.
        checked: Whether it checks the dtype of its first input.
    """

    build: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    refused: tuple[tuple[int, ...], ...]
    integers: int | tuple[int, ...] = 0
    call: Callable[..., Any] = plainly
    stateful: bool = False
    smooth: bool = True
    per_example: bool = True
    checked: bool = True

    @property
    def bounds(self) -> tuple[int, ...]:
        """The exclusive upper bound of each input, 0 for floating point."""
        if isinstance(self.integers, tuple):
            return self.integers
        return (self.integers,) * len(self.shapes)

    def layer(self) -> Any:
        """Build the layer, with all parameters moved off their start values."""
        layer = self.build()
        flat, rebuild = rs.destructure(layer)
        return rebuild(flat + 0.1 * jax.random.normal(KEY, flat.shape) + 0.05)

    def inputs(self, dtype: Any = jnp.float32) -> list[Any]:
        """Make the inputs."""
        made = []
        for index, (shape, bound) in enumerate(zip(self.shapes, self.bounds, strict=True)):
            key = jax.random.fold_in(KEY, index)
            if bound:
                made.append(jax.random.randint(key, shape, 0, bound))
            else:
                made.append(jax.random.normal(key, shape, jnp.float32).astype(dtype))
        return made


def dense(a: int, b: int, activation: Any = rs.identity, **options: Any) -> Any:
    return rs.Dense(a, b, activation, key=KEY, **options)
