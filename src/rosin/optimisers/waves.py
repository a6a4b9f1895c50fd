# SPDX-License-Identifier: Apache-2.0
"""Schedules that swing between two values: Triangle, Sin, and both with falling height."""

from typing import ClassVar

import jax.numpy as jnp

from rosin.core.types import Array, Buffer
from rosin.optimisers.hyperparameters import ANY, COUNT, RATE, Range, Schedule
from rosin.optimisers.schedules import as_time, cycle


class _Wave(Schedule):
    """Two values and a period."""

    ranges: ClassVar[dict[str, Range]] = {"l0": ANY, "l1": ANY, "period": COUNT}
    l0: Buffer[Array]
    l1: Buffer[Array]
    period: Buffer[Array]

    def __init__(self, l0: float, l1: float, period: int) -> None:
        self._set(l0=l0, l1=l1, period=period)

    def _swung(self, height: Array) -> Array:
        """Go up from the smaller value by a share of the distance."""
        return jnp.minimum(self.l0, self.l1) + jnp.abs(self.l0 - self.l1) * height


class _FallingWave(_Wave):
    """A wave whose height falls at each step."""

    ranges: ClassVar[dict[str, Range]] = {**_Wave.ranges, "decay": RATE}
    decay: Buffer[Array]

    def __init__(self, l0: float, l1: float, period: int, decay: float) -> None:
        self._set(l0=l0, l1=l1, period=period, decay=decay)


def _triangle(share: Array) -> Array:
    return 1 - jnp.abs(2 * share - 1)


def _sine(share: Array) -> Array:
    return jnp.sin(jnp.pi * share)


class Triangle(_Wave):
    """Rise from the smaller of two values to the larger and fall back, again and again.

    Args:
        l0: One of the values.
        l1: The other.
        period: Steps up and down together, at least 1.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> Triangle(0.0, 1.0, 4)(jnp.arange(6))
        Array([0. , 0.5, 1. , 0.5, 0. , 0.5], dtype=float32)

    Source:
        Smith 2017; ParameterSchedulers.jl `Triangle`.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self._swung(_triangle(cycle(step, self.period)[1]))


class TriangleDecay2(_Wave):
    """A `Triangle` of half the height in each period after the first.

    Args:
        l0: One of the values.
        l1: The other.
        period: Steps up and down together, at least 1.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> TriangleDecay2(0.0, 1.0, 2)(jnp.arange(4))
        Array([0. , 1. , 0. , 0.5], dtype=float32)

    Source:
        Smith 2017; ParameterSchedulers.jl `TriangleDecay2`.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        number, share = cycle(step, self.period)
        return self._swung(jnp.exp2(-number) * _triangle(share))


class TriangleExp(_FallingWave):
    """A `Triangle` whose height is multiplied by `decay` at each step.

    Args:
        l0: One of the values.
        l1: The other.
        period: Steps up and down together, at least 1.
        decay: The factor, at least 0.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> TriangleExp(0.0, 1.0, 2, 0.5)(jnp.arange(4))
        Array([0.   , 0.5  , 0.   , 0.125], dtype=float32)

    Source:
        ParameterSchedulers.jl `TriangleExp`.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        height = self.decay ** as_time(step)
        return self._swung(height * _triangle(cycle(step, self.period)[1]))


class Sin(_Wave):
    r"""Swing between two values as half waves of a sine: $l + (h - l) |\sin(\pi t / T)|$.

    Args:
        l0: One of the values.
        l1: The other.
        period: The $T$, at least 1.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> Sin(0.0, 1.0, 2)(jnp.arange(4))
        Array([0., 1., 0., 1.], dtype=float32)

    Source:
        ParameterSchedulers.jl `Sin`.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self._swung(_sine(cycle(step, self.period)[1]))


class SinDecay2(_Wave):
    """A `Sin` of half the height in each period after the first.

    Args:
        l0: One of the values.
        l1: The other.
        period: At least 1.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> SinDecay2(0.0, 1.0, 2)(jnp.arange(4))
        Array([0. , 1. , 0. , 0.5], dtype=float32)

    Source:
        ParameterSchedulers.jl `SinDecay2`.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        number, share = cycle(step, self.period)
        return self._swung(jnp.exp2(-number) * _sine(share))


class SinExp(_FallingWave):
    """A `Sin` whose height is multiplied by `decay` at each step.

    Args:
        l0: One of the values.
        l1: The other.
        period: At least 1.
        decay: The factor, at least 0.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> SinExp(0.0, 1.0, 2, 0.5)(jnp.arange(4))
        Array([0.   , 0.5  , 0.   , 0.125], dtype=float32)

    Source:
        ParameterSchedulers.jl `SinExp`.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        height = self.decay ** as_time(step)
        return self._swung(height * _sine(cycle(step, self.period)[1]))
