# SPDX-License-Identifier: Apache-2.0
"""Conversion of a whole model between floating-point precisions."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from rosin.core.slots import slots
from rosin.core.validation import expect_state

M = TypeVar("M")

_COMPLEX = {jnp.dtype(jnp.float32): jnp.complex64, jnp.dtype(jnp.float64): jnp.complex128}


def converted(tree: M, dtype: Any) -> M:
    """Convert float leaves; integers, booleans and keys stay, and so does state at half.

    Complex leaves follow to the complex dtype of the same width; there is none at half.
    """
    target = jnp.dtype(dtype)
    half = target.itemsize == 2  # bytes
    leaves, structure = jax.tree.flatten(tree)

    def convert(leaf: Any, *, buffer: bool) -> Any:
        kind = getattr(leaf, "dtype", None)
        if kind is None or (half and buffer):
            return leaf
        if jnp.issubdtype(kind, jnp.floating):
            return _cast(leaf, target)
        if jnp.issubdtype(kind, jnp.complexfloating) and not half:
            return _cast(leaf, _COMPLEX[target])
        return leaf

    return structure.unflatten(
        [
            convert(leaf, buffer=slot.buffer)
            for leaf, slot in zip(leaves, slots(structure), strict=True)
        ]
    )


def _cast(leaf: Any, dtype: Any) -> Any:
    if leaf.dtype == dtype:
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.update(dtype=dtype)
    return leaf.astype(dtype)


def f16(tree: M) -> M:
    """Convert the parameters of a model to float16; buffers keep their precision.

    Running statistics, losses and norms stay in float32, so that they do not overflow.

    Examples:
        >>> import rosin as rs
        >>> rs.f16(rs.Dense(2, 3)).weight.dtype
        dtype('float16')
    """
    return converted(tree, jnp.float16)


def bf16(tree: M) -> M:
    """Convert the parameters of a model to bfloat16; buffers keep their precision.

    Examples:
        >>> import rosin as rs
        >>> rs.bf16(rs.Dense(2, 3)).weight.dtype
        dtype(bfloat16)
    """
    return converted(tree, jnp.bfloat16)


def f32(tree: M) -> M:
    """Convert the floating-point leaves of a model to float32.

    Examples:
        >>> import rosin as rs
        >>> rs.f32(rs.bf16(rs.Dense(2, 3))).weight.dtype
        dtype('float32')
    """
    return converted(tree, jnp.float32)


def f64(tree: M) -> M:
    """Convert the floating-point leaves of a model to float64.

    Raises:
        StateError: JAX has float64 switched off.

    Examples:
        >>> import rosin as rs
        >>> with jax.enable_x64(True):
        ...     rs.f64(jnp.ones(2, jnp.float32)).dtype
        dtype('float64')
    """
    expect_state(
        jnp.zeros(0, jax.dtypes.canonicalize_dtype(jnp.float64)).dtype == jnp.float64,
        subject="f64",
        expected="JAX to have float64 switched on",
        got="jax_enable_x64 = False",
        fix='call jax.config.update("jax_enable_x64", True) at the start of the program',
    )
    return converted(tree, jnp.float64)
