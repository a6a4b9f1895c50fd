# SPDX-License-Identifier: Apache-2.0
"""Functions that only change the shape of an array."""

import math

import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import refuse
from rosin.errors import ShapeError, shown


def flatten(x: ArrayLike, *, subject: object = "flatten") -> Array:
    """Lay all axes but the first out as one.

    Args:
        x: An array with a batch axis and at least one more.
        subject: What complains in the message.

    Shapes:
        - x: `(batch, ...)`; the batch may be empty.
        - result: `(batch, features)`.

    Raises:
        ShapeError: `x` has fewer than two axes.

    Examples:
        >>> flatten(jnp.ones((8, 4, 4, 3))).shape
        (8, 48)

    Source:
        Flux.jl `flatten`, with the batch first.
    """
    x = jnp.asarray(x)
    if x.ndim < 2:
        refuse(
            ShapeError,
            subject=subject,
            expected="shape (batch, ...) with at least 2 axes",
            got=shown(x),
            fix="add a batch axis with x[None]",
        )
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))
