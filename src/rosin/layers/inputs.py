# SPDX-License-Identifier: Apache-2.0
"""What every layer does with what it is given: inputs, initialisers."""

import inspect
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, Initialiser, Key, Shape
from rosin.core.validation import expect_floating, expect_kind, refuse
from rosin.errors import ShapeError, StructureError, shown


def as_input(x: Any, parameter: Array | None, *, subject: object) -> Array:
    """Take a floating-point input, in the dtype of the layer's parameter.

    A float64 NumPy array given to a narrower layer is cast with one warning for each
    place that calls.

    Raises:
        StructureError: The input is no array.
        DtypeError: The input is not of a floating-point dtype.
    """
    if not hasattr(x, "dtype"):
        refuse(
            StructureError,
            subject=subject,
            expected="an array",
            got=shown(x),
            fix="convert it with jnp.asarray(x, jnp.float32)",
        )
    expect_floating(x, subject=subject)
    if parameter is None:
        return jnp.asarray(x)
    if isinstance(x, np.ndarray) and x.dtype == np.float64 != parameter.dtype:
        warnings.warn(
            f"a float64 NumPy array is cast to {parameter.dtype} here; convert the data "
            f"once, with x.astype(np.{parameter.dtype})",
            stacklevel=_depth_of_caller(),
        )
    real_input = not jnp.issubdtype(jnp.result_type(x), jnp.complexfloating)
    return jnp.asarray(x, parameter.dtype if real_input else None)


def _depth_of_caller() -> int:
    """Count the frames up to the first that is not Rosin's, for `warnings.warn`."""
    depth, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("rosin."):
        frame = frame.f_back
        depth += 1
    return depth


def made_by(init: Initialiser, key: Key | None, shape: Shape) -> Array:
    """Draw a parameter and check that the initialiser kept to the shape."""
    value = init(key, shape)  # pyright: ignore[reportArgumentType]  constants take no key
    if jnp.shape(value) != shape:
        refuse(
            ShapeError,
            subject="init",
            expected=f"an array of shape {shape}",
            got=shown(value),
            fix="return an array of the shape that init is called with",
        )
    expect_floating(value, subject="init", name="the parameter")
    return jnp.asarray(value)


def made_bias(
    bias: bool,  # noqa: FBT001  what the layer was given, as it was given
    weight: Array,
    shape: Shape,
    *,
    subject: str,
) -> Array | None:
    """Make the zeros that a bias starts at, in the dtype of the weight, or none."""
    expect_kind(bool, subject=subject, bias=bias)
    return jnp.zeros(shape, weight.dtype) if bias else None
