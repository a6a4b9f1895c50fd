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

    Running statistics stay in float32, and losses and norms are computed in it, so that they
    do not overflow. Whole numbers, booleans, keys and complex numbers stay as they are, and
    what is shared stays shared.

    Examples:
        >>> import rosin as rs
        >>> rs.f16(rs.Dense(2, 3)).weight.dtype
        dtype('float16')

    Source:
        Flux.jl `f16`, which leaves the scale and the shift of batch, group and instance
        norms in Float32 as well; here they are float16, as those of `LayerNorm` are.
    """
    return converted(tree, jnp.float16)


def bf16(tree: M) -> M:
    """Convert the parameters of a model to bfloat16; buffers keep their precision.

    What stays as it is, is the same as for `f16`.

    Examples:
        >>> import rosin as rs
        >>> rs.bf16(rs.Dense(2, 3)).weight.dtype
        dtype(bfloat16)

    Source:
        Flux.jl `bf16`; see `f16`.
    """
    return converted(tree, jnp.bfloat16)


def f32(tree: M) -> M:
    """Convert the floating-point leaves of a model to float32, complex ones to complex64.

    Buffers are converted too; whole numbers, booleans and keys stay as they are.

    Examples:
        >>> import rosin as rs
        >>> rs.f32(rs.bf16(rs.Dense(2, 3))).weight.dtype
        dtype('float32')

    Source:
        Flux.jl `f32`.
    """
    return converted(tree, jnp.float32)


def f64(tree: M) -> M:
    """Convert the floating-point leaves of a model to float64, complex ones to complex128.

    Buffers are converted too; whole numbers, booleans and keys stay as they are.

    Raises:
        StateError: JAX has float64 switched off.

    Examples:
        >>> import rosin as rs
        >>> with jax.enable_x64(True):
        ...     rs.f64(jnp.ones(2, jnp.float32)).dtype
        dtype('float64')

    Source:
        Flux.jl `f64`.
    """
    expect_state(
        jnp.zeros(0, jax.dtypes.canonicalize_dtype(jnp.float64)).dtype == jnp.float64,
        subject="f64",
        expected="JAX to have float64 switched on",
        got="jax_enable_x64 = False",
        fix='call jax.config.update("jax_enable_x64", True) at the start of the program',
    )
    return converted(tree, jnp.float64)
