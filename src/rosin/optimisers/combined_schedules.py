# SPDX-License-Identifier: Apache-2.0
"""Schedules made of several: warm-up, sequences, values that move numbers, functions of values.

Where they take a schedule, a number stands for `Constant`.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_kind,
    expect_known,
    refuse,
)
from rosin.errors import StructureError, shown
from rosin.optimisers.hyperparameters import COUNT, Range, Schedule, as_data, plain
from rosin.optimisers.schedules import Constant, as_counts, as_step, as_time, ends


def as_schedule(given: Any) -> Schedule:
    """Take a number as a schedule that stays at it."""
    return given if isinstance(given, Schedule) else Constant(given)


class Around(Schedule):
    """A schedule inside, which prints first."""

    schedule: Buffer[Schedule]

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the schedule inside, and the numbers."""
        yield self.schedule
        yield from Schedule.__rich_repr__(self)


class WarmUp(Around):
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
        step = as_step(step)
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
    lengths: Buffer[Array]

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
        self.lengths = as_counts(tuple(length for _, length in parts))

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        value = self.schedules[0](step)
        for schedule, end in zip(self.schedules[1:], ends(self.lengths), strict=False):
            begun = end.astype(step.dtype)
            later = schedule(jnp.maximum(step - begun, 0))
            value = jnp.where(step >= begun, later, value)
        return value

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the pairs."""
        lengths = plain(self.lengths)
        known = isinstance(lengths, tuple)
        yield from zip(self.schedules, lengths, strict=True) if known else (self.schedules, lengths)


class ComposedSchedule(Schedule):
    """Let schedules move the numbers of a schedule.

    Args:
        schedule: Whose numbers move.
        numbers: By the names of its arguments, schedules or numbers; counts of steps cannot
            move.

    Raises:
        StructureError: `schedule` is none, or has no number of that name.
        RangeError: A number, or the value of a schedule, is out of its range.

    Examples:
        >>> import rosin as rs
        >>> ComposedSchedule(rs.Triangle(0.0, 1.0, 2), l1=rs.Exp(1.0, 0.5))(jnp.arange(4))
        Array([0.   , 0.5  , 0.   , 0.125], dtype=float32)

    Source:
        ParameterSchedulers.jl `ComposedSchedule`.
    """

    schedule: Buffer[Schedule]
    names: Static[tuple[str, ...]]
    numbers: Buffer[tuple[Schedule, ...]]

    def __init__(self, schedule: Schedule, **numbers: Schedule | float) -> None:
        expect_kind(Schedule, subject="ComposedSchedule", schedule=schedule)
        owner = type(schedule)
        expect_known(numbers, list(owner.ranges), subject=owner.__name__, what="numbers")
        for name, number in numbers.items():
            as_data(owner.__name__, name, number, owner.ranges[name])
        self.schedule, self.names = schedule, tuple(numbers)
        self.numbers = tuple(map(as_schedule, numbers.values()))

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        moved = zip(self.names, self.numbers, strict=True)
        return self.schedule.replace(**{name: number(step) for name, number in moved})(step)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments."""
        yield self.schedule
        yield from zip(self.names, self.numbers, strict=True)


class CombinedSchedule(Schedule):
    """Combine the values of schedules by a function.

    Args:
        function: Takes as many arrays as there are schedules, returns one, elementwise.
        schedules: At least one; or numbers.

    Raises:
        StructureError: `function` cannot be called, or there is no schedule.

    Examples:
        >>> import rosin as rs
        >>> CombinedSchedule(jnp.maximum, rs.Exp(1.0, 0.5), 0.2)(jnp.array([0, 1, 9]))
        Array([1. , 0.5, 0.2], dtype=float32)
    """

    function: Static[Callable[..., Array]]
    schedules: Buffer[tuple[Schedule, ...]]

    def __init__(self, function: Callable[..., Array], *schedules: Schedule | float) -> None:
        expect_callable(subject="CombinedSchedule", function=function)
        if not schedules:
            refuse(
                StructureError,
                subject="CombinedSchedule",
                expected="at least one schedule after the function",
                got="none",
                fix="pass, for example, jnp.maximum, rs.Exp(1e-3, 0.999), 1e-5",
            )
        self.function = function
        self.schedules = tuple(map(as_schedule, schedules))

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self.function(*[schedule(step) for schedule in self.schedules])

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments."""
        yield self.function
        yield from self.schedules
