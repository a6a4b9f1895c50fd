# SPDX-License-Identifier: Apache-2.0
"""Looking things up by index, where an index out of range never goes unnoticed."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.types import Array
from rosin.core.validation import expect_integer, refuse
from rosin.errors import RangeError


def take_rows(table: Array, indices: Array, *, subject: object = "take_rows") -> Array:
    """Return the rows of a table that the indices name.

    Args:
        table: Any array of a floating-point dtype; its first axis is looked up.
        indices: Whole numbers from 0 to `len(table) - 1`.
        subject: Who asks, for the message.

    Shapes:
        - result: `(*indices.shape, *table.shape[1:])`.

    Raises:
        DtypeError: The indices are not whole numbers.
        RangeError: An index is out of range, as far as its value is known when the call
            is made; under `jit` such an index gives NaN.

    Examples:
        >>> take_rows(jnp.array([1.0, 2.0]), jnp.array([1, 1, 0]))
        Array([2., 2., 1.], dtype=float32)
    """
    expect_integer(indices, subject=subject, name="indices")
    length = table.shape[0]
    known = np.zeros(0, int) if isinstance(indices, Tracer) else np.asarray(indices)
    if known.size:
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= length:
            refuse(
                RangeError,
                subject=subject,
                expected=f"indices from 0 to {length - 1}",
                got=f"indices from {low} to {high}",
                fix="count from 0, and check the vocabulary size",
            )
    rows = table.at[jnp.asarray(indices)]
    return rows.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
