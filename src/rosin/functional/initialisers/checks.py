# SPDX-License-Identifier: Apache-2.0
"""What the initialisers check, and the fans of a shape."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, Key, Shape
from rosin.core.validation import expect_between, expect_sizes, refuse
from rosin.errors import DtypeError, shown


def checked(shape: Shape, dtype: Any, *, subject: str) -> Any:
    """Check a shape and a dtype, and name the dtype to draw in."""
    if shape != ():
        expect_sizes(shape, subject=subject, name="shape")
    if not jnp.issubdtype(dtype, jnp.floating):
        refuse(
            DtypeError,
            subject=subject,
            expected="a real floating-point dtype",
            got=shown(dtype),
            fix="pass dtype=jnp.float32",
        )
    return np.promote_types(dtype, np.float32)


def fans(shape: Shape, dtype: Any, gain: float, *, subject: str) -> tuple[Any, int, int]:
    """Check the arguments, and return the dtype to draw in and both fans."""
    wide = checked(shape, dtype, subject=subject)
    expect_finite(subject=subject, gain=gain)
    if len(shape) < 2:
        return wide, 1, math.prod(shape)
    window = math.prod(shape[:-2])
    return wide, window * shape[-2], window * shape[-1]


def in_a_row(draw: Callable[[Shape], Array], shape: Shape) -> Array:
    """Draw along one axis and fold: the same numbers, from a program compiled far sooner."""
    return draw((math.prod(shape),)).reshape(shape)


def evenly(key: Key, shape: Shape, bound: float, dtype: Any) -> Array:
    """Draw from -bound to bound."""
    return bound * in_a_row(lambda row: jax.random.uniform(key, row, dtype, -1, 1), shape)


def expect_finite(*, subject: str, **named: float) -> None:
    """Refuse anything but a finite number."""
    expect_above(-math.inf, subject=subject, **named)


def expect_above(bound: float, /, *, subject: str, **named: float) -> None:
    """Refuse anything but a finite number above `bound`."""
    expect_between(bound, math.inf, subject=subject, include_low=False, include_high=False, **named)
