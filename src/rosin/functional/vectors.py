# SPDX-License-Identifier: Apache-2.0
"""Lengths and angles of vectors on the last axis, scaled so that no square over- or underflows.

The zero vector has no direction: its unit vector and all its derivatives are 0 here.
"""

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_same_shape, refuse
from rosin.errors import ShapeError, shown
from rosin.functional.numerics import at_least_float32, real_array


def _scaled(x: Array) -> tuple[Array, Array, Array]:
    """Compute x times a power of two, to entries of at most 4; its length; the power's inverse."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), -1, keepdims=True, initial=0))
    limits = jnp.finfo(x.dtype)
    # Neither the power nor its inverse is subnormal.
    exponent = jnp.clip(jnp.frexp(largest)[1], limits.minexp, -limits.minexp)
    one = jnp.ones_like(largest)
    z = x * jnp.ldexp(one, -exponent)
    return z, jnp.sqrt(jnp.sum(z * z, -1, keepdims=True)), jnp.ldexp(one, exponent)


@jax.custom_jvp
@jax.jit
def norm(x: Array) -> Array:
    """Compute the length of vectors; its derivative at 0 is 0.

    Examples:
        >>> norm(jnp.array([[3e30, 4e30], [0.0, 0.0]]))
        Array([5.e+30, 0.e+00], dtype=float32)
    """
    _, length, scale = _scaled(x)
    return (length * scale)[..., 0]


@norm.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return norm(*primals), jnp.sum(unit(*primals) * tangents[0], -1)


@jax.custom_jvp
@jax.jit
def unit(x: Array) -> Array:
    """Divide vectors by their length; 0 stays 0.

    Examples:
        >>> unit(jnp.array([[3e-30, 4e-30], [0.0, 0.0]]))
        Array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
    """
    z, length, _ = _scaled(x)
    return z / jnp.where(length == 0, 1, length)


@unit.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    u, length = unit(x), norm(x)[..., None]
    across = dx - u * jnp.sum(u * dx, -1, keepdims=True)
    return u, jnp.where(length == 0, 0, across / jnp.where(length == 0, 1, length))


def cosine(a: Array, b: Array) -> tuple[Array, Array]:
    """Compute the cosine of the angle between vectors, and 1 less it."""
    u, v = unit(a), unit(b)
    product = jnp.sum(u * v, -1)
    # Of vectors nearly parallel, 1 - product would be what rounding left.
    gap = 0.5 * jnp.sum((u - v) ** 2, -1)
    close = lax.stop_gradient(product) > 0.5
    return jnp.where(close, 1 - gap, jnp.maximum(product, -1)), jnp.where(close, gap, 1 - product)


def cosine_similarity(first: ArrayLike, second: ArrayLike) -> Array:
    r"""Compute the cosine of the angle between vectors on the last axis.

    $$c = \frac{a \cdot b}{|a|\,|b|}$$

    With a zero vector the cosine is 0, and so are its derivatives.

    Args:
        first: The $a$.
        second: The $b$, of the same shape.

    Shapes:
        - first, second: `(..., features)`.
        - result: `(...)`, in float32 for the half types.

    Raises:
        DtypeError: An array is not of a real floating-point dtype.
        ShapeError: The shapes differ, or there is no axis.

    Examples:
        >>> cosine_similarity(jnp.array([1.0, 0.0]), jnp.array([1e30, 1e30])).round(4)
        Array(0.7071, dtype=float32)

    Source:
        PyTorch `cosine_similarity`, without its epsilon: lengths do not under- or overflow.
    """
    a, b = vectors(subject="cosine_similarity", first=first, second=second)
    return cosine(a, b)[0]


def vectors(*, subject: str, **named: ArrayLike) -> list[Array]:
    """Check vectors of equal shape and bring them to one dtype, at least float32.

    Raises:
        DtypeError: An array is not of a real floating-point dtype.
        ShapeError: The shapes differ, or there is no axis.
    """
    arrays = [real_array(x, subject=subject, name=name) for name, x in named.items()]
    names = list(named)
    if arrays[0].ndim == 0:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{names[0]} of shape (..., features)",
            got=shown(arrays[0]),
            fix="put the features of a vector on the last axis",
        )
    for name, array in zip(names[1:], arrays[1:], strict=True):
        expect_same_shape(arrays[0], array, subject=subject, names=(names[0], name))
    dtype = at_least_float32(*arrays)
    return [array.astype(dtype) for array in arrays]
