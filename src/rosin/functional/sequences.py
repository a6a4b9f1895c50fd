# SPDX-License-Identifier: Apache-2.0
"""Sequences `(..., time, features)`, and sequences of unequal length in one array.

Padding is replaced before anything is computed from it: what stands there, NaN included,
reaches neither an output nor a gradient.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.types import Array
from rosin.core.validation import expect_integer, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError, shown


def expect_sequence(x: Array, *, subject: object) -> None:
    """Refuse an array without an axis for time and one for features.

    Raises:
        ShapeError: `x` has fewer than two axes.
    """
    if x.ndim < 2:
        refuse(
            ShapeError,
            subject=subject,
            expected="shape (..., time, features)",
            got=shown(x),
            fix="give it an axis for time before the features; for one step call the cell",
        )


def valid_steps(
    x: Array, lengths: Any = None, mask: Any = None, *, subject: object
) -> tuple[Array, Array | None]:
    """Turn lengths or a mask into a mask, and take what is padding out of the sequences.

    Args:
        x: The sequences, `(..., time, features)`.
        lengths: How many steps of each count, `(...)`, from 0 to `time`.
        mask: Which steps count, `(..., time)`.
        subject: What complains in the message.

    Returns:
        The sequences with zeros for padding, and the mask, `(..., time)`, or None where
        every step counts. A length that is out of range and known under `jit` only turns
        its whole sequence into NaN.

    Raises:
        StructureError: Lengths and mask are both given.
        ShapeError: They do not fit the sequences.
        DtypeError: Lengths are no whole numbers, or the mask is not boolean.
        RangeError: A length is out of range.

    Examples:
        >>> x, mask = valid_steps(jnp.ones((2, 3, 1)), np.array([1, 3]), subject="example")
        >>> mask.tolist(), float(x.sum())
        ([[True, False, False], [True, True, True]], 4.0)
    """
    expect_sequence(x, subject=subject)
    if lengths is not None and mask is not None:
        refuse(
            StructureError,
            subject=subject,
            expected="lengths or mask",
            got="both",
            fix="leave out lengths: the mask says it all",
        )
    if lengths is not None:
        x, mask = _within(x, lengths, subject=subject)
    if mask is None:
        return x, None
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        refuse(
            DtypeError,
            subject=subject,
            expected="mask of dtype bool, True where a step counts",
            got=shown(mask),
            fix="compare, for example mask=tokens != padding, or pass lengths=",
        )
    if mask.shape != x.shape[:-1]:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"mask of shape {x.shape[:-1]}, one entry for each step",
            got=shown(mask),
            fix="give the mask the leading axes of x, without the features",
        )
    return jnp.where(mask[..., None], x, 0), mask


def _within(x: Array, lengths: Any, *, subject: object) -> tuple[Array, Array]:
    lengths = lengths if hasattr(lengths, "dtype") else np.asarray(lengths)
    expect_integer(lengths, subject=subject, name="lengths")
    *batch, time, _ = x.shape
    if lengths.shape != tuple(batch):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"lengths of shape {tuple(batch)}, one for each sequence",
            got=shown(lengths),
            fix="count the steps of each sequence, or pass mask=",
        )
    known = np.zeros(0, int) if isinstance(lengths, Tracer) else np.asarray(lengths)
    if known.size and (known.min() < 0 or known.max() > time):
        refuse(
            RangeError,
            subject=subject,
            expected=f"lengths from 0 to {time}, the steps of x",
            got=f"lengths from {known.min()} to {known.max()}",
            fix="pass the number of steps of each sequence, without its padding",
        )
    outside = ((lengths < 0) | (lengths > time))[..., None]
    mask = (jnp.arange(time) < lengths[..., None]) | outside
    return jnp.where(outside[..., None], jnp.nan, x), mask
