# SPDX-License-Identifier: Apache-2.0
"""What makes an activation of two formulas, its value and its derivative."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from rosin.core.types import Array
from rosin.functional.numerics import at_least_float32

Formula = Callable[..., Array]


def with_derivative(slope: Formula) -> Callable[[Formula], Formula]:
    """Give an elementwise function its derivative; both take `x` and plain parameters.

    The half types are computed in float32 and rounded once, the derivative after it is
    multiplied with the tangent. Derivatives of higher order are those of `slope`.

    Args:
        slope: Computes the derivative, called with the same arguments as the function.
    """

    def decorate(value: Formula) -> Formula:
        def compute(x: Array, parameters: tuple[Any, ...]) -> Array:
            return value(x.astype(at_least_float32(x)), *parameters).astype(x.dtype)

        def tangent(x: Array, dx: Array, parameters: tuple[Any, ...]) -> Array:
            wide = at_least_float32(x)
            return (slope(x.astype(wide), *parameters) * dx.astype(wide)).astype(x.dtype)

        compute.__name__, tangent.__name__ = value.__name__, slope.__name__  # for profiles
        compute = jax.custom_jvp(jax.jit(compute, static_argnums=1), nondiff_argnums=(1,))
        tangent = jax.jit(tangent, static_argnums=2)

        @compute.defjvp
        def _rule(
            parameters: tuple[Any, ...], primals: tuple[Array], tangents: tuple[Array]
        ) -> tuple[Array, Array]:
            return compute(*primals, parameters), tangent(*primals, *tangents, parameters)

        @functools.wraps(value)
        def call(x: Array, *parameters: Any) -> Array:
            return compute(x, parameters)

        return call

    return decorate
