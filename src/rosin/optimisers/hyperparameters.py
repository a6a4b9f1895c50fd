# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters: numbers in their ranges that are data, or schedules of such numbers."""

import sys
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.module import Module
from rosin.core.types import Array
from rosin.core.validation import expect_at_least, expect_between, refuse
from rosin.errors import RangeError, shown

INFINITY = float("inf")


class Range(NamedTuple):
    """The values that a number may take, `high` excluded."""

    low: float
    high: float = INFINITY
    include_low: bool = True
    whole: bool = False


RATE = Range(0)
DECAY = Range(0, 1)
POSITIVE = Range(0, include_low=False)
ANY = Range(-INFINITY)
COUNT = Range(1, whole=True)

LAST_STEP = 2**31 - 1
"""The largest count of steps; it stays there."""

PROBED = np.array(
    [*range(8), *(2**k for k in range(3, 31)), *(10**k for k in range(1, 9)), LAST_STEP]
)
"""The steps at which the values of a schedule are looked at before it is taken."""


class Numbers(Module):
    """What has numbers in ranges: a rule, a schedule."""

    ranges: ClassVar[dict[str, Range]] = {}

    def _set(self, **numbers: Any) -> None:
        for name, value in self._checked(numbers).items():
            setattr(self, name, value)

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: as_data(cls.__name__, name, value, cls.ranges[name])
            for name, value in values.items()
        }

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the numbers, and what else the class declares."""
        for name in self.ranges:
            yield name, plain(getattr(self, name))
        yield from self._others()

    def _others(self) -> Iterator[Any]:
        yield from ()


class Schedule(Numbers):
    """A number that depends on the step, counted from 0; called as `schedule(step)`.

    It may stand wherever a rule has a hyperparameter that is no count. The step is a whole
    number, or an array of several; the value depends on nothing else, so there is nothing to
    advance and nothing to reset. Counts of steps end at 2 147 483 647 and stay there. A
    schedule of your own is a subclass with `__call__`.

    Examples:
        >>> import rosin as rs
        >>> class Halving(rs.Schedule):
        ...     start: rs.Buffer[rs.Array]
        ...     def __call__(self, step):
        ...         return self.start * jnp.exp2(-step)
        >>> rs.Descent(Halving(jnp.ones(())))
        Descent(learning_rate=Halving(start=float32[]))

    Source:
        ParameterSchedulers.jl, which counts from 1. Its `Stateful` is a call with a number,
        its `Scheduler` a rule that is given a schedule.
    """

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if isinstance(value, Schedule) and not cls.ranges[name].whole:
                refuse(
                    RangeError,
                    subject=cls.__name__,
                    expected=f"{name} to be a number",
                    got=shown(value),
                    fix=f"use rs.ComposedSchedule({cls.__name__}(...), {name}=...) for a number "
                    "that moves",
                )
        return super()._checked(values)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step, or at each of several."""
        raise NotImplementedError

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the numbers in their ranges; of other classes, all fields."""
        yield from Numbers.__rich_repr__(self) if self.ranges else Module.__rich_repr__(self)


Hyperparameter: TypeAlias = float | Array | Schedule
"""What a rule takes for a hyperparameter."""


def as_data(owner: str, name: str, value: Any, bounds: Range) -> Any:
    """Check a number and make it data, so that changing it compiles nothing again.

    As a weakly typed number it takes on the dtype of what it meets. Of a traced one only
    the shape is known; if it turns out absurd, the guard of the step sees it.
    """
    if isinstance(value, Schedule):
        if bounds.whole:
            expect_at_least(int(bounds.low), subject=owner, **{name: value})
        _expect_values_in(bounds, owner, name, value)
        return value
    dtype = jnp.result_type(int if bounds.whole else float)
    scalar = isinstance(value, (jax.Array, np.ndarray, np.generic)) and value.ndim == 0
    if scalar and isinstance(value, Tracer):
        return value.astype(dtype)
    number: Any = value.item() if scalar else value
    if bounds.whole:
        expect_at_least(int(bounds.low), subject=owner, **{name: number})
        return jnp.asarray(min(int(number), np.iinfo(dtype).max))
    _expect_in(bounds, owner, name, number)
    with np.errstate(over="ignore"):
        stored = np.asarray(min(number, sys.float_info.max), dtype).item()
    # What rounds to a forbidden bound is forbidden too: a beta2 of 1, an epsilon of 0.
    _expect_in(bounds, owner, f"{name}, in {dtype},", stored)
    return jnp.asarray(stored)


def _expect_in(bounds: Range, owner: str, label: str, number: Any) -> None:
    expect_between(
        bounds.low,
        bounds.high,
        subject=owner,
        include_low=bounds.include_low and bounds.low > -INFINITY,
        include_high=False,
        **{label: number},
    )


def _expect_values_in(bounds: Range, owner: str, name: str, schedule: Schedule) -> None:
    """Refuse a schedule that leaves the range at one of the steps looked at."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(schedule)):
        return
    values = np.asarray(schedule(jnp.asarray(PROBED, jnp.int32)))
    if values.shape != PROBED.shape:
        refuse(
            RangeError,
            subject=owner,
            expected=f"the schedule of {name} to give a number for each step",
            got=f"{shown(values)} for {len(PROBED)} steps",
            fix="compute it with jax.numpy, elementwise",
        )
    for step, value in zip(PROBED.tolist(), values.tolist(), strict=True):
        try:
            _expect_in(bounds, owner, f"{name} at step {step}", value)
        except RangeError as error:
            refuse(
                RangeError,
                subject=owner,
                expected=error.expected,
                got=error.got,
                fix="bound the schedule, as in rs.Shortened(schedule, 1000) or "
                "rs.CombinedSchedule(jnp.minimum, schedule, 0.1)",
            )


def plain(value: Any) -> Any:
    """Show a number as the shortest that is the same in its precision."""
    concrete = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    if concrete and value.ndim == 1 and value.dtype.kind == "i":
        return tuple(value.tolist())
    if not concrete or value.ndim:
        return value
    return float(str(np.asarray(value))) if value.dtype.kind == "f" else value.item()
