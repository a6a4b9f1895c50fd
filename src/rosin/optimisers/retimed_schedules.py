# SPDX-License-Identifier: Apache-2.0
"""Schedules of another time: repeated, cut short, shifted, slowed down, turned round.

Where they take a schedule, a number stands for `Constant`.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_kind
from rosin.optimisers.combined_schedules import Around, as_schedule
from rosin.optimisers.hyperparameters import COUNT, LAST_STEP, POSITIVE, Range, Schedule
from rosin.optimisers.schedules import as_step, as_time


class Loop(Around):
    """Begin a schedule anew after each period.

    Args:
        schedule: What is repeated.
        period: At least 1.

    Raises:
        RangeError: The period is not a whole number of at least 1.

    Examples:
        >>> import rosin as rs
        >>> Loop(rs.Exp(1.0, 0.5), 3)(jnp.arange(5))
        Array([1.  , 0.5 , 0.25, 1.  , 0.5 ], dtype=float32)

    Source:
        ParameterSchedulers.jl `Loop`.
    """

    ranges: ClassVar[dict[str, Range]] = {"period": COUNT}
    period: Buffer[Array]

    def __init__(self, schedule: Schedule | float, period: int) -> None:
        self.schedule = as_schedule(schedule)
        self._set(period=period)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        return self.schedule(step % self.period.astype(step.dtype))


class Shortened(Around):
    """Follow a schedule for some steps, then stay at the last value.

    Args:
        schedule: What is followed.
        steps: How many of its values are taken, at least 1.

    Raises:
        RangeError: `steps` is not a whole number of at least 1.

    Examples:
        >>> import rosin as rs
        >>> Shortened(rs.Exp(1.0, 0.5), 3)(jnp.arange(5))
        Array([1.  , 0.5 , 0.25, 0.25, 0.25], dtype=float32)

    Source:
        ParameterSchedulers.jl `Shortened`, which fails beyond its end.
    """

    ranges: ClassVar[dict[str, Range]] = {"steps": COUNT}
    steps: Buffer[Array]

    def __init__(self, schedule: Schedule | float, steps: int) -> None:
        self.schedule = as_schedule(schedule)
        self._set(steps=steps)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        return self.schedule(jnp.minimum(step, self.steps.astype(step.dtype) - 1))


class Shifted(Around):
    """Begin a schedule at a later step of its own.

    Args:
        schedule: What is followed.
        offset: The step of the schedule that is the first one here; at least 0.

    Raises:
        RangeError: The offset is not a whole number of at least 0.

    Examples:
        >>> import rosin as rs
        >>> Shifted(rs.Exp(1.0, 0.5), 2)(jnp.arange(3))
        Array([0.25  , 0.125 , 0.0625], dtype=float32)

    Source:
        ParameterSchedulers.jl `Shifted`, which counts from 1.
    """

    ranges: ClassVar[dict[str, Range]] = {"offset": Range(0, whole=True)}
    offset: Buffer[Array]

    def __init__(self, schedule: Schedule | float, offset: int) -> None:
        self.schedule = as_schedule(schedule)
        self._set(offset=offset)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        offset = self.offset
        if jnp.issubdtype(step.dtype, jnp.integer):
            offset = jnp.minimum(offset, LAST_STEP - step)
        return self.schedule(step + offset.astype(step.dtype))


class Interpolator(Around):
    """Slow a schedule down: the value at step `t` is the schedule's at `t / rate`.

    With the number of steps in an epoch as the rate, a schedule counts epochs.

    Args:
        schedule: What is followed.
        rate: Above 0.
        whole: Stay at each value until the next whole number of `t / rate`.

    Raises:
        RangeError: The rate is not above 0.
        StructureError: `whole` is no boolean.

    Examples:
        >>> import rosin as rs
        >>> Interpolator(rs.Exp(1.0, 0.25), 2)(jnp.arange(4))
        Array([1.   , 0.5  , 0.25 , 0.125], dtype=float32)
        >>> Interpolator(rs.Exp(1.0, 0.25), 2, whole=True)(jnp.arange(4))
        Array([1.  , 1.  , 0.25, 0.25], dtype=float32)

    Source:
        ParameterSchedulers.jl `Interpolator`, where whole numbers are the default.
    """

    ranges: ClassVar[dict[str, Range]] = {"rate": POSITIVE}
    rate: Buffer[Array]
    whole: Static[bool]

    def __init__(self, schedule: Schedule | float, rate: float, *, whole: bool = False) -> None:
        self.schedule = as_schedule(schedule)
        self._set(rate=rate)
        expect_kind(bool, subject="Interpolator", whole=whole)
        self.whole = whole

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        time = as_time(step) / self.rate
        # XLA may multiply by a reciprocal, which takes 3 / 3 to below 1.
        return self.schedule(jnp.floor(time * (1 + 2**-21)) if self.whole else time)

    def _others(self) -> Iterator[Any]:
        yield "whole", self.whole, False


class _Turned(Around):
    """A schedule and the step at which it is turned round."""

    ranges: ClassVar[dict[str, Range]] = {"period": COUNT}
    period: Buffer[Array]

    def __init__(self, schedule: Schedule | float, period: int) -> None:
        self.schedule = as_schedule(schedule)
        self._set(period=period)

    def _left(self, step: Array) -> Array:
        """Count the steps that are left of the period."""
        return jnp.maximum(self.period.astype(step.dtype) - step, 0)


class Reversed(_Turned):
    r"""Follow a schedule backwards: the value at step $t$ is the one at $T - t$.

    From step $T$ on it stays at the schedule's first value.

    Args:
        schedule: What is followed.
        period: The $T$, at least 1.

    Raises:
        RangeError: The period is not a whole number of at least 1.

    Examples:
        >>> import rosin as rs
        >>> Reversed(rs.Exp(1.0, 0.5), 3)(jnp.arange(5))
        Array([0.125, 0.25 , 0.5  , 1.   , 1.   ], dtype=float32)

    Source:
        ParameterSchedulers.jl `reverse`, which counts from 1.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self.schedule(self._left(as_step(step)))


class Symmetric(_Turned):
    r"""Follow a schedule for half a period, and back: $t$ up to $T / 2$, then $T - t$.

    From step $T$ on it stays at the schedule's first value; a `Loop` repeats it.

    Args:
        schedule: What is followed.
        period: The $T$, at least 1.

    Raises:
        RangeError: The period is not a whole number of at least 1.

    Examples:
        >>> import rosin as rs
        >>> Symmetric(rs.Exp(1.0, 0.5), 4)(jnp.arange(6))
        Array([1.  , 0.5 , 0.25, 0.5 , 1.  , 1.  ], dtype=float32)

    Source:
        ParameterSchedulers.jl `symmetric`, which counts from 1.
    """

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        return self.schedule(jnp.minimum(step, self._left(step)))
