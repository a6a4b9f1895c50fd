# SPDX-License-Identifier: Apache-2.0
"""What a row of the contract's table says of a layer; the rows stand in `layer_rows/`.

A row says how to build the layer, what to feed it and what it must refuse. Parameters
get values away from zero and one, so that a missing bias or scale shows. They come from
NumPy, since JAX would compile a program for each shape.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs

KEY = jax.random.key(7)


def identity(layer: Any) -> Any:
    return layer


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

    def layer(self, convert: Callable[[Any], Any] = identity) -> Any:
        """Build the layer, converted, with parameters drawn by NumPy."""
        parameters, rest = jax.eval_shape(lambda: rs.partition(convert(self.build())))
        if jax.tree.leaves(rest):
            rest = jax.jit(lambda: rs.partition(convert(self.build()))[1])()
        random = np.random.default_rng(7)
        drawn = jax.tree.map(
            lambda p: jnp.asarray(random.normal(0.05, 0.4, p.shape), p.dtype), parameters
        )
        return rs.combine(drawn, rest)

    def inputs(self, dtype: Any = jnp.float32) -> list[Any]:
        """Make the inputs."""
        random = np.random.default_rng(8)
        return [
            jnp.asarray(random.integers(bound, size=shape), jnp.int32)
            if bound
            else jnp.asarray(random.normal(size=shape).astype(np.float32), dtype)
            for shape, bound in zip(self.shapes, self.bounds, strict=True)
        ]


def dense(a: int, b: int, activation: Any = rs.identity, **options: Any) -> Any:
    return rs.Dense(a, b, activation, key=KEY, **options)
