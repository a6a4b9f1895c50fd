# SPDX-License-Identifier: Apache-2.0
"""Value and gradient of a norm by input, scale and shift, beside the formula in `jax.numpy`."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

import rosin as rs

FORMULA = "formula in two passes"
SQUARES = "formula from the mean of squares, which loses large means"


class LayerNorms:
    """Forward and backward of `LayerNorm` on float32 of shape (8, 128, 512).

    The formula overflows where numbers are large and loses a large mean; Rosin's layer looks
    at the largest number and centres twice.
    """

    TITLE = "LayerNorm"
    CALLS = 20
    BARS: ClassVar = {"rosin": 1.3}

    @staticmethod
    def contenders() -> dict[str, Callable[[], Any]]:
        """Build the calls."""
        return _contenders((8, 128, 512), (2,), rs.LayerNorm(512))


class BatchNorms:
    """Forward and backward of `BatchNorm` in training on float32 of shape (64, 32, 32, 32).

    Rosin's layer moves its running statistics too. Its derivative needs two sums for each
    channel, and the gradients of scale and shift are these sums.
    """

    TITLE = "BatchNorm"
    CALLS = 5
    BARS: ClassVar = {"rosin": 1.0}

    @staticmethod
    def contenders() -> dict[str, Callable[[], Any]]:
        """Build the calls."""
        return _contenders((64, 32, 32, 32), (0, 1, 2), rs.BatchNorm(32))


def _contenders(
    shape: tuple[int, ...], axes: tuple[int, ...], norm: Any
) -> dict[str, Callable[[], Any]]:
    x, g = (jax.random.normal(jax.random.key(i), shape) for i in range(2))

    def formula(x: Any, scale: Any, shift: Any) -> Any:
        centred = x - x.mean(axes, keepdims=True)
        variance = (centred**2).mean(axes, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * scale + shift

    def of_squares(x: Any, scale: Any, shift: Any) -> Any:
        mean = x.mean(axes, keepdims=True)
        variance = (x**2).mean(axes, keepdims=True) - mean**2
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + shift

    def layer(norm: Any, x: Any) -> Any:
        value, grads, (moved, _) = rs.withgradient(
            lambda both: (both[0](both[1]) * g).sum(), (norm, x)
        )
        return value, grads, moved

    def written(function: Any) -> Callable[[], Any]:
        vector = jnp.ones((1,) * (len(shape) - 1) + shape[-1:])

        def loss(*arguments: Any) -> Any:
            return (function(*arguments) * g).sum()

        return _waiting(jax.value_and_grad(loss, (0, 1, 2)), x, vector, vector)

    return {
        FORMULA: written(formula),
        SQUARES: written(of_squares),
        "rosin": _waiting(layer, norm, x),
    }


def _waiting(function: Any, *arguments: Any) -> Callable[[], Any]:
    """Compile a function; a call returns one array of its result, to be waited for."""
    compiled = jax.jit(function)
    return lambda: jax.tree.leaves(compiled(*arguments))[0]
