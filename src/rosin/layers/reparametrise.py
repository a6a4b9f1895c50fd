# SPDX-License-Identifier: Apache-2.0
"""Layers around a layer, which compute one of its arrays anew at each call.

The inner layer keeps its place, its name in files and its records; only while it is
called does it hold the computed array.
"""

import functools
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from rosin.core.locate import is_module
from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.recording import Passage
from rosin.core.surgery import at
from rosin.core.tree import modules
from rosin.core.types import Array, Buffer, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_floating,
    expect_kind,
    refuse,
)
from rosin.errors import RangeError, ShapeError, StructureError, shown
from rosin.functional.numerics import at_least_float32, expand_axes
from rosin.functional.scaling import l2_normalise, lengths

M = TypeVar("M")


class WeightNorm(Module):
    r"""Split an array of a layer into its direction and its magnitude, trained apart.

    $$w = g\,\frac{v}{\lVert v \rVert_2}$$

    At first $v$ is the array and $g$ its length, so that nothing changes.
    `remove_weight_norms` puts a model back together.

    Args:
        layer: The layer whose array is split; after that it holds $v$.
        which: Path of the array in the layer.
        axis: The axis or the axes along which magnitudes differ, the last by default: one
            for each output of a `Dense` or a `Conv`. With `()` there is one for the whole
            array.

    Shapes:
        - magnitude: the sizes of the axes, trainable, starts at the lengths.
        - layer: as it is, with $v$ in place of the array.
        - call: what the layer takes, to what it returns.

    Raises:
        StructureError: `layer` is no module, or it has no such array.
        RangeError: `axis` is no axis of the array, or is all of them, or a part of the
            array is all zero and so has no direction.
        DtypeError: The array is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> layer = WeightNorm(rs.Dense(2, 3))
        >>> layer(jnp.ones((5, 2))).shape, layer.magnitude.shape
        ((5, 3), (3,))

    Source:
        Salimans & Kingma 2016, eq. 2; Flux.jl `WeightNorm`, which adds an $\epsilon$.
    """

    looks_inside = True
    layer: Any
    magnitude: Array
    which: Static[str]
    axis: Static[tuple[int, ...]]

    def __init__(
        self, layer: Any, which: str = "weight", *, axis: int | tuple[int, ...] = -1
    ) -> None:
        array = _array_of(layer, which, subject="WeightNorm")
        chosen = ()
        if axis != ():
            chosen = expand_axes(axis, array.ndim, subject="WeightNorm", name="axis")
        if len(chosen) == array.ndim:
            refuse(
                RangeError,
                subject="WeightNorm",
                expected=f"axis to leave out at least one axis of {which}, {shown(array)}",
                got=shown(axis),
                fix="pass axis=() for one magnitude of the whole array",
            )
        size = lengths(array, _others(array, chosen))
        _expect_direction(size, which, subject="WeightNorm")
        self.layer = layer
        self.magnitude = size.reshape([array.shape[a] for a in chosen]).astype(array.dtype)
        self.which = which
        self.axis = tuple(a - array.ndim for a in chosen)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with the array put together."""
        return _call_with(self.layer, self.which, self.array(), args, kwargs)

    def array(self) -> Array:
        """Put the array together."""
        v = at(self.layer, self.which).get()
        wide = v.astype(at_least_float32(v))
        axes = tuple(a % v.ndim for a in self.axis)
        shape = [n if a in axes else 1 for a, n in enumerate(v.shape)]
        magnitude = self.magnitude.astype(wide.dtype).reshape(shape)
        return (magnitude * l2_normalise(wide, _others(v, axes))).astype(v.dtype)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.layer
        if self.which != "weight":
            yield self.which
        yield "axis", self.axis[0] if len(self.axis) == 1 else self.axis, -1


class SpectralNorm(Module):
    r"""Divide an array of a layer by its largest singular value, so that it stretches nothing.

    $$\hat W = \frac{W}{\sigma}, \qquad \sigma = u^\top W v$$

    $W$ is taken as a matrix, the last axis against all others. $u$ and $v$ approach its
    first singular vectors by power iteration: 15 times when the layer is built, and
    `iterations` times at each call in training. No gradient flows through them. In
    inference they stay, so that the layer is a function of its input alone.

    Args:
        layer: The layer whose array is divided.
        which: Path of the array in the layer.
        iterations: Of the power method at each call in training; at least 1.
        key: Randomness of the first $u$; drawn from the ambient stream when left out.

    Shapes:
        - u: `(outputs,)`, the last axis of the array; a buffer.
        - v: `(inputs,)`, all other axes of the array; a buffer.
        - layer: as it is.
        - call: what the layer takes, to what it returns.

    Raises:
        StructureError: `layer` is no module, or it has no such array.
        ShapeError: The array has fewer than two axes.
        RangeError: An argument is out of its range, or the array is all zero.
        DtypeError: The array is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> layer = SpectralNorm(rs.Dense(4, 4))
        >>> round(float(jnp.linalg.norm(layer.array(), 2)), 1)
        1.0

    Source:
        Miyato et al. 2018, algorithm 1. The 15 first iterations are those of PyTorch,
        whose newer `parametrizations.spectral_norm` moves $u$ before $v$.
    """

    looks_inside = True
    layer: Any
    u: Buffer[Array]
    v: Buffer[Array]
    which: Static[str]
    iterations: Static[int]

    def __init__(
        self,
        layer: Any,
        which: str = "weight",
        *,
        iterations: int = 1,
        key: Key | None = None,
    ) -> None:
        name = "SpectralNorm"
        array = _array_of(layer, which, subject=name)
        expect_at_least(1, subject=name, iterations=iterations)
        if array.ndim < 2:
            refuse(
                ShapeError,
                subject=name,
                expected=f"{which} to have at least 2 axes",
                got=shown(array),
                fix='name a matrix or a kernel, for example which="weight"',
            )
        matrix = _as_matrix(array)
        _expect_direction(lengths(matrix, (0, 1)), which, subject=name)
        start = jax.random.normal(resolve_key(key, subject=name), matrix.shape[1:], matrix.dtype)
        self.layer = layer
        self.which = which
        self.iterations = iterations
        self.u, self.v = _power(matrix, start, 15)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer with the array divided; in training move `u` and `v` first."""
        if self.training:
            matrix = lax.stop_gradient(_as_matrix(at(self.layer, self.which).get()))
            u, v = _power(matrix, self.u.astype(matrix.dtype), self.iterations)
            self.record(u=u.astype(self.u.dtype), v=v.astype(self.v.dtype))
        return _call_with(self.layer, self.which, self.array(), args, kwargs)

    def array(self) -> Array:
        """Divide the array by its largest singular value, as `u` and `v` have it."""
        weight = at(self.layer, self.which).get()
        matrix = _as_matrix(weight)
        u, v = self.u.astype(matrix.dtype), self.v.astype(matrix.dtype)
        sigma = v @ (matrix @ u)
        divisor = jnp.where(sigma == 0, 1, sigma)  # of an array that training has made zero
        return (matrix / divisor).reshape(weight.shape).astype(weight.dtype)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.layer
        if self.which != "weight":
            yield self.which
        yield "iterations", self.iterations, 1


def remove_weight_norms(model: M) -> M:
    """Put in the place of every `WeightNorm` and `SpectralNorm` its layer with the final array.

    The model computes what it computed in inference, and its layers are plain again.

    Args:
        model: A module, or any tree of modules.

    Examples:
        >>> import rosin as rs
        >>> remove_weight_norms(rs.Chain(WeightNorm(rs.Dense(2, 3)), rs.tanh))
        Chain(Dense(2, 3), tanh)

    Source:
        Flux.jl `remove_weight_norms`.
    """
    for path, module in reversed(modules(model).items()):
        if isinstance(module, (WeightNorm, SpectralNorm)):
            model = at(model, path).apply(_folded)
    return model


def _folded(norm: WeightNorm | SpectralNorm) -> Any:
    return at(norm.layer, norm.which).set(norm.array())


def _call_with(
    layer: Any, which: str, array: Array, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a layer that holds another array; its records and errors stay its own."""
    passage = Passage(layer)
    result, state = passage.call(
        at(layer, which).set(array), lambda changed: changed(*args, **kwargs)
    )
    passage.absorb(state)
    return result


def _array_of(layer: Any, which: str, *, subject: str) -> Array:
    if not is_module(layer):
        refuse(
            StructureError,
            subject=subject,
            expected="a layer with an array to split",
            got=shown(layer),
            fix="pass a layer such as Dense(2, 3)",
        )
    expect_kind(str, subject=subject, which=which)
    array = at(layer, which).get()
    if not hasattr(array, "dtype"):
        refuse(
            StructureError,
            subject=subject,
            expected=f"{which} of {shown(layer)} to be an array",
            got=shown(array),
            fix='pass the path of one, for example which="weight"',
        )
    expect_floating(array, subject=subject, name=which)
    return array


def _others(array: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a for a in range(array.ndim) if a not in axes)


def _expect_direction(size: Array, which: str, *, subject: str) -> None:
    """Refuse an array, known outside of traces, with a part that is all zero."""
    if not isinstance(size, Tracer) and not (size > 0).all():
        refuse(
            RangeError,
            subject=subject,
            expected=f"{which} without a part that is all zero, which has no direction",
            got=f"{int((size == 0).sum())} such parts of {size.size}",
            fix="draw it at random, for example with init=glorot_uniform",
        )


def _as_matrix(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1]).astype(at_least_float32(array))


@functools.partial(jax.jit, static_argnums=2)
def _power(matrix: Array, u: Array, iterations: int) -> tuple[Array, Array]:
    """Move the singular vectors on: `v` from `u`, then `u` from `v`."""

    def step(_: int, vectors: tuple[Array, Array]) -> tuple[Array, Array]:
        u = vectors[0]
        v = l2_normalise(matrix @ u)
        following = l2_normalise(v @ matrix)
        return jnp.where((following == 0).all(), u, following), v  # a zero would stay one

    start = l2_normalise(u), jnp.zeros(matrix.shape[0], matrix.dtype)
    return lax.fori_loop(0, iterations, step, start)
