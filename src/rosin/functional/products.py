# SPDX-License-Identifier: Apache-2.0
"""Products of stacked matrices; the last two axes are the matrices, those before batches."""

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import refuse
from rosin.errors import ShapeError, shown


def batched_product(a: ArrayLike, b: ArrayLike, *, subject: object = "batched_product") -> Array:
    r"""Multiply matrices pair by pair.

    $$C_{n} = A_{n} B_{n}$$

    Args:
        a: The left matrices.
        b: The right ones.
        subject: What complains in the message.

    Shapes:
        - a: `(*batch, rows, inner)`; b: `(*batch, inner, columns)`. A batch axis of
          length 1, or one matrix without batch axes, goes with all of the other.
        - result: `(*batch, rows, columns)`.

    Raises:
        ShapeError: An array is no matrix, the inner sizes differ, or the batch axes do.

    Examples:
        >>> batched_product(jnp.ones((5, 2, 3)), jnp.ones((1, 3, 4))).shape
        (5, 2, 4)

    Source:
        NNlib.jl `batched_mul`, with the batch first.
    """
    a, b = _matrices(a, subject=subject), _matrices(b, subject=subject)
    if a.shape[-1] != b.shape[-2]:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"b of shape (..., {a.shape[-1]}, columns)",
            got=shown(b),
            fix="give b as many rows as a has columns, with batched_transpose perhaps",
        )
    _expect_batches(a.shape[:-2], b.shape[:-2], a, b, subject=subject)
    return jnp.matmul(a, b)


def batched_vector(a: ArrayLike, x: ArrayLike, *, subject: object = "batched_vector") -> Array:
    r"""Multiply matrices with vectors, pair by pair.

    $$y_{n} = A_{n} x_{n}$$

    Args:
        a: The matrices.
        x: The vectors.
        subject: What complains in the message.

    Shapes:
        - a: `(*batch, rows, columns)`; x: `(*batch, columns)`. A batch axis of length 1,
          or an array without batch axes, goes with all of the other.
        - result: `(*batch, rows)`.

    Raises:
        ShapeError: `a` is no matrix, or the sizes differ.

    Examples:
        >>> batched_vector(jnp.ones((5, 2, 3)), jnp.ones((5, 3))).shape
        (5, 2)

    Source:
        NNlib.jl `batched_vec`, with the batch first.
    """
    a, x = _matrices(a, subject=subject), jnp.asarray(x)
    if not x.ndim or x.shape[-1] != a.shape[-1]:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"x of shape (..., {a.shape[-1]})",
            got=shown(x),
            fix="give each vector as many numbers as its matrix has columns",
        )
    _expect_batches(a.shape[:-2], x.shape[:-1], a, x, subject=subject)
    return jnp.matmul(a, x[..., None])[..., 0]


def batched_transpose(a: ArrayLike, *, subject: object = "batched_transpose") -> Array:
    """Swap rows and columns of each matrix.

    Args:
        a: The matrices; complex numbers are not conjugated.
        subject: What complains in the message.

    Shapes:
        - a: `(*batch, rows, columns)`, to `(*batch, columns, rows)`.

    Raises:
        ShapeError: `a` is no matrix.

    Examples:
        >>> batched_transpose(jnp.ones((5, 2, 3))).shape
        (5, 3, 2)

    Source:
        NNlib.jl `batched_transpose`, with the batch first.
    """
    return jnp.swapaxes(_matrices(a, subject=subject), -1, -2)


def batched_adjoint(a: ArrayLike, *, subject: object = "batched_adjoint") -> Array:
    """Swap rows and columns of each matrix, and conjugate.

    Args:
        a: The matrices.
        subject: What complains in the message.

    Shapes:
        - a: `(*batch, rows, columns)`, to `(*batch, columns, rows)`.

    Raises:
        ShapeError: `a` is no matrix.

    Examples:
        >>> batched_adjoint(jnp.array([[1j, 2]]))
        Array([[0.-1.j],
               [2.-0.j]], dtype=complex64)

    Source:
        NNlib.jl `batched_adjoint`, with the batch first.
    """
    return batched_transpose(a, subject=subject).conj()


def _matrices(a: ArrayLike, *, subject: object) -> Array:
    a = jnp.asarray(a)
    if a.ndim < 2:
        refuse(
            ShapeError,
            subject=subject,
            expected="shape (..., rows, columns)",
            got=shown(a),
            fix="add an axis, with a[None] for one row or a[:, None] for one column",
        )
    return a


def _expect_batches(
    first: tuple[int, ...], second: tuple[int, ...], a: Array, b: Array, *, subject: object
) -> None:
    """Refuse batches that differ, unless one is of length 1 or not there."""
    paired = len(first) == len(second) and all(
        m == n or 1 in (m, n) for m, n in zip(first, second, strict=True)
    )
    if first and second and not paired:
        refuse(
            ShapeError,
            subject=subject,
            expected="equal batch axes, or axes of length 1",
            got=f"{shown(a)} and {shown(b)}",
            fix="give both as many batch axes, of equal lengths",
        )
