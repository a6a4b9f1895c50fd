# SPDX-License-Identifier: Apache-2.0
"""Schedules made of schedules: warm-up, sequences, loops, changes of time.

Where they take a schedule, a number stands for `Constant`.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_at_least, expect_callable, refuse
from rosin.errors import StructureError, shown
from rosin.optimisers.hyperparameters import COUNT, POSITIVE, Range, Schedule
from rosin.optimisers.schedules import Constant, as_time


def as_schedule(given: Any) -> Schedule:
    """Take a number as a schedule that stays at it."""
    return given if isinstance(given, Schedule) else Constant(given)


class _Around(Schedule):
    """A schedule inside, which prints first."""

    schedule: Buffer[Schedule]

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the schedule inside, and the numbers."""
        yield self.schedule
        yield from Schedule.__rich_repr__(self)


class WarmUp(_Around):
    r"""Rise in a line to the first value of a schedule, then follow it.

    At step $t < n$ the value is $(t + 1) / (n + 1)$ of the first one; the first step is not
    wasted on a rate of 0. From step $n$ on the schedule runs from its own step 0.

    Args:
        schedule: What follows; a number for a constant.
        steps: The $n$, at least 1.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> WarmUp(1.0, 3)(jnp.arange(5))
        Array([0.25, 0.5 , 0.75, 1.  , 1.  ], dtype=float32)

    Source:
        Goyal et al. 2017, section 2.2; `optax.warmup_constant_schedule`.
    """

    ranges: ClassVar[dict[str, Range]] = {"steps": COUNT}
    steps: Buffer[Array]

    def __init__(self, schedule: Schedule | float, steps: int) -> None:
        self.schedule = as_schedule(schedule)
        self._set(steps=steps)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = jnp.asarray(step)
        after = jnp.maximum(step - self.steps.astype(step.dtype), 0)
        share = (as_time(step) + 1) / (as_time(self.steps) + 1)
        return jnp.minimum(share, 1) * self.schedule(after)


class Sequence(Schedule):
    """Schedules one after another, each from its own step 0.

    Args:
        parts: Pairs of a schedule (or a number) and how many steps it lasts, at least 1.
            The last one goes on beyond its end.

    Raises:
        StructureError: There is no part, or one that is no pair.
        RangeError: A length is not a whole number of at least 1.

    Examples:
        >>> Sequence((1.0, 2), (0.1, 1))(jnp.array([0, 1, 2, 100]))
        Array([1. , 1. , 0.1, 0.1], dtype=float32)

    Source:
        ParameterSchedulers.jl `Sequence`.
    """

    schedules: Buffer[tuple[Schedule, ...]]
    lengths: Static[tuple[int, ...]]

    def __init__(self, *parts: tuple[Schedule | float, int]) -> None:
        if not parts or not all(isinstance(part, tuple) and len(part) == 2 for part in parts):
            refuse(
                StructureError,
                subject="Sequence",
                expected="pairs of a schedule and its number of steps",
                got=shown(parts),
                fix="pass, for example, (rs.CosAnneal(1e-3, 0.0, 100), 100), (1e-5, 50)",
            )
        for _, length in parts:
            expect_at_least(1, subject="Sequence", steps=length)
        self.schedules = tuple(as_schedule(schedule) for schedule, _ in parts)
        self.lengths = tuple(int(length) for _, length in parts)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = jnp.asarray(step)
        value, begun = self.schedules[0](step), 0
        for schedule, length in zip(self.schedules[1:], self.lengths, strict=False):
            begun += length
            later = schedule(jnp.maximum(step - begun, 0))
            value = jnp.where(step >= begun, later, value)
        return value

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the pairs."""
        yield from zip(self.schedules, self.lengths, strict=True)


class Loop(_Around):
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
        step = jnp.asarray(step)
        return self.schedule(step % self.period.astype(step.dtype))


class Shortened(_Around):
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
        step = jnp.asarray(step)
        return self.schedule(jnp.minimum(step, self.steps.astype(step.dtype) - 1))


class Shifted(_Around):
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
        step = jnp.asarray(step)
        return self.schedule(step + self.offset.astype(step.dtype))


class Interpolator(_Around):
    """Slow a schedule down: the value at step `t` is the schedule's at `t / rate`.

    With the number of steps in an epoch as the rate, a schedule counts epochs.

    Args:
        schedule: What is followed.
        rate: Above 0.

    Raises:
        RangeError: The rate is not above 0.

    Examples:
        >>> import rosin as rs
        >>> Interpolator(rs.Exp(1.0, 0.25), 2)(jnp.arange(3))
        Array([1.  , 0.5 , 0.25], dtype=float32)

    Source:
        ParameterSchedulers.jl `Interpolator`.
    """

    ranges: ClassVar[dict[str, Range]] = {"rate": POSITIVE}
    rate: Buffer[Array]

    def __init__(self, schedule: Schedule | float, rate: float) -> None:
        self.schedule = as_schedule(schedule)
        self._set(rate=rate)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self.schedule(as_time(step) / self.rate)


class ComposedSchedule(Schedule):
    """Combine the values of schedules by a function.

    Args:
        function: Takes as many arrays as there are schedules, returns one, elementwise.
        schedules: Or numbers.

    Raises:
        StructureError: `function` cannot be called.

    Examples:
        >>> import rosin as rs
        >>> ComposedSchedule(jnp.maximum, rs.Exp(1.0, 0.5), 0.2)(jnp.array([0, 1, 9]))
        Array([1. , 0.5, 0.2], dtype=float32)

    Source:
        ParameterSchedulers.jl `ComposedSchedule`.
    """

    function: Static[Callable[..., Array]]
    schedules: Buffer[tuple[Schedule, ...]]

    def __init__(self, function: Callable[..., Array], *schedules: Schedule | float) -> None:
        expect_callable(subject="ComposedSchedule", function=function)
        self.function = function
        self.schedules = tuple(map(as_schedule, schedules))

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self.function(*[schedule(step) for schedule in self.schedules])

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments."""
        yield self.function
        yield from self.schedules
