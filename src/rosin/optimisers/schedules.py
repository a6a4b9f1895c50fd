# SPDX-License-Identifier: Apache-2.0
"""Schedules: numbers that follow a curve over the steps, counted from 0.

Where the curve has an end, it stays there. What combines schedules stands in
`combined_schedules`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_at_least, expect_kind, expect_sizes
from rosin.optimisers.hyperparameters import (
    ANY,
    COUNT,
    LAST_STEP,
    POSITIVE,
    RATE,
    Range,
    Schedule,
    plain,
)

SHARE = Range(0, 1, include_low=False)


def as_step(step: Any) -> Array:
    """Take a step as an array: a whole number of 32 bits, or a number of floating point."""
    step = jnp.asarray(min(step, LAST_STEP) if isinstance(step, int) else step)
    if not jnp.issubdtype(step.dtype, jnp.integer):
        return step.astype(jnp.result_type(float))
    return (step if np.can_cast(step.dtype, np.int32) else step.clip(max=LAST_STEP)).astype("i4")


def as_time(step: Any) -> Array:
    """Take a step, a whole number or not, as an array of floating point."""
    return as_step(step).astype(jnp.result_type(float))


def as_counts(counts: int | Sequence[int]) -> Array:
    """Make whole numbers data; those beyond any count of steps become the largest."""
    return jnp.asarray(np.minimum(np.asarray(counts, object), LAST_STEP), jnp.int32)


def ends(lengths: Array) -> list[Array]:
    """Add up how long parts last, one after another, without going beyond the last step."""
    sums = [lengths[0]]
    for length in lengths[1:]:
        sums.append(sums[-1] + jnp.minimum(length, LAST_STEP - sums[-1]))
    return sums


def cycle(step: Any, period: Array) -> tuple[Array, Array]:
    """Return the number of the cycle, and how far the step is in it, from 0 to below 1.

    Whole numbers are divided as such: as a float32 a step above 16 777 216 is not exact.
    """
    step = as_step(step)
    if jnp.issubdtype(step.dtype, jnp.integer):
        length = period.astype(step.dtype)
        number, within = step // length, step % length
        return as_time(number), as_time(within) / as_time(period)
    turns = step / as_time(period)
    return jnp.floor(turns), turns - jnp.floor(turns)


class Constant(Schedule):
    """The same number at every step.

    Args:
        value: The number.

    Examples:
        >>> float(Constant(0.5)(1000))
        0.5

    Source:
        ParameterSchedulers.jl `Constant`.
    """

    ranges: ClassVar[dict[str, Range]] = {"value": ANY}
    value: Buffer[Array]

    def __init__(self, value: float) -> None:
        self._set(value=value)

    def __call__(self, step: Array | float) -> Array:
        """Return the number."""
        return self.value + 0 * as_time(step)


class Step(Schedule):
    r"""Multiply by `decay` after each `step_sizes` steps: $start \cdot decay^k$.

    Args:
        start: The first value.
        decay: The factor, at least 0.
        step_sizes: How long each value holds, a whole number of at least 1; or a tuple of
            how long each value holds but the last, which stays.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> Step(1.0, 0.5, 10)(jnp.array([0, 9, 10, 20]))
        Array([1.  , 1.  , 0.5 , 0.25], dtype=float32)

    Source:
        ParameterSchedulers.jl `Step`.
    """

    ranges: ClassVar[dict[str, Range]] = {"start": ANY, "decay": RATE}
    start: Buffer[Array]
    decay: Buffer[Array]
    step_sizes: Buffer[Array]

    def __init__(self, start: float, decay: float, step_sizes: int | Sequence[int]) -> None:
        self._set(start=start, decay=decay)
        if isinstance(step_sizes, (list, tuple)):
            step_sizes = tuple(step_sizes)
            expect_sizes(step_sizes, subject="Step", name="step_sizes")
        else:
            expect_at_least(1, subject="Step", step_sizes=step_sizes)
        self.step_sizes = as_counts(step_sizes)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        if self.step_sizes.ndim:
            over = [step >= end.astype(step.dtype) for end in ends(self.step_sizes)]
            done = as_time(sum(past.astype(jnp.int32) for past in over))
        else:
            done = cycle(step, self.step_sizes)[0]
        return self.start * self.decay**done

    def _others(self) -> Iterator[Any]:
        yield "step_sizes", plain(self.step_sizes)


class Exp(Schedule):
    r"""Multiply by `decay` at each step: $start \cdot decay^t$.

    Args:
        start: The first value.
        decay: The factor, at least 0.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> Exp(1.0, 0.5)(jnp.arange(4))
        Array([1.   , 0.5  , 0.25 , 0.125], dtype=float32)

    Source:
        ParameterSchedulers.jl `Exp`.
    """

    ranges: ClassVar[dict[str, Range]] = {"start": ANY, "decay": RATE}
    start: Buffer[Array]
    decay: Buffer[Array]

    def __init__(self, start: float, decay: float) -> None:
        self._set(start=start, decay=decay)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self.start * self.decay ** as_time(step)


class Poly(Schedule):
    r"""Fall to 0 as a power: $start \cdot (1 - t / T)^{degree}$, and 0 from $T$ on.

    Args:
        start: The first value.
        degree: The power, above 0.
        max_iter: The $T$, at least 1.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> Poly(1.0, 2, 4)(jnp.array([0, 2, 4, 100]))
        Array([1.  , 0.25, 0.  , 0.  ], dtype=float32)

    Source:
        ParameterSchedulers.jl `Poly`, which fails beyond $T$.
    """

    ranges: ClassVar[dict[str, Range]] = {"start": ANY, "degree": POSITIVE, "max_iter": COUNT}
    start: Buffer[Array]
    degree: Buffer[Array]
    max_iter: Buffer[Array]

    def __init__(self, start: float, degree: float, max_iter: int) -> None:
        self._set(start=start, degree=degree, max_iter=max_iter)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        step = as_step(step)
        left = jnp.maximum(self.max_iter.astype(step.dtype) - step, 0)
        return self.start * (as_time(left) / as_time(self.max_iter)) ** self.degree


class Inv(Schedule):
    r"""Fall as a power of the step: $start / (1 + t \cdot decay)^{degree}$.

    Args:
        start: The first value.
        decay: How soon, at least 0.
        degree: The power, above 0.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> Inv(1.0, 1.0, 2)(jnp.array([0, 1, 3]))
        Array([1.    , 0.25  , 0.0625], dtype=float32)

    Source:
        ParameterSchedulers.jl `Inv`.
    """

    ranges: ClassVar[dict[str, Range]] = {"start": ANY, "decay": RATE, "degree": POSITIVE}
    start: Buffer[Array]
    decay: Buffer[Array]
    degree: Buffer[Array]

    def __init__(self, start: float, decay: float, degree: float) -> None:
        self._set(start=start, decay=decay, degree=degree)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        return self.start / (1 + as_time(step) * self.decay) ** self.degree


class CosAnneal(Schedule):
    r"""Fall from the larger to the smaller of two values along half a cosine.

    $$l + (h - l)\, \frac{1 + \cos(\pi \hat t / T)}{2}, \qquad \hat t = t \bmod T$$

    Args:
        l0: One of the values.
        l1: The other.
        period: The $T$, at least 1.
        restart: Begin anew after each period; else the smaller value stays.

    Raises:
        RangeError: A number is out of its range.
        StructureError: `restart` is no boolean.

    Examples:
        >>> CosAnneal(1.0, 0.0, 4)(jnp.array([0, 2, 4]))
        Array([1. , 0.5, 1. ], dtype=float32)
        >>> CosAnneal(1.0, 0.0, 4, restart=False)(jnp.array([0, 2, 4, 100]))
        Array([1. , 0.5, 0. , 0. ], dtype=float32)

    Source:
        Loshchilov & Hutter 2017, eq. 5; ParameterSchedulers.jl `CosAnneal`, which without
        `restart` rises again.
    """

    ranges: ClassVar[dict[str, Range]] = {"l0": ANY, "l1": ANY, "period": COUNT}
    l0: Buffer[Array]
    l1: Buffer[Array]
    period: Buffer[Array]
    restart: Static[bool]

    def __init__(self, l0: float, l1: float, period: int, *, restart: bool = True) -> None:
        self._set(l0=l0, l1=l1, period=period)
        expect_kind(bool, subject="CosAnneal", restart=restart)
        self.restart = restart

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        number, within = cycle(step, self.period)
        if not self.restart:
            within = jnp.where(number > 0, 1, within)
        return eased(jnp.maximum(self.l0, self.l1), jnp.minimum(self.l0, self.l1), within)

    def _others(self) -> Iterator[Any]:
        yield "restart", self.restart, True


def eased(start: Array, end: Array, share: Array) -> Array:
    """Go from `start` to `end` along half a cosine; at both ends exactly there."""
    weight = jnp.sin(jnp.pi / 2 * share) ** 2
    return jnp.where(share >= 1, end, start + (end - start) * weight)


class OneCycle(Schedule):
    r"""Rise along half a cosine, then fall along another.

    Args:
        nsteps: Length of both together, at least 2. The last value is that of step
            `nsteps - 1`, and stays.
        maxval: The largest value.
        startval: The first value; a 25th of `maxval` if left out.
        endval: The last value; a 100 000th of `maxval` if left out.
        percent_start: The share of the steps that rise, above 0 and below 1, rounded up to
            whole steps.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> OneCycle(8, 1.0, startval=0.0, endval=0.5)(jnp.array([0, 2, 7, 100]))
        Array([0. , 1. , 0.5, 0.5], dtype=float32)

    Source:
        Smith & Topin 2018; ParameterSchedulers.jl `OneCycle`, PyTorch `OneCycleLR`.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "nsteps": Range(2, whole=True),
        "maxval": ANY,
        "startval": ANY,
        "endval": ANY,
        "percent_start": SHARE,
    }
    nsteps: Buffer[Array]
    maxval: Buffer[Array]
    startval: Buffer[Array]
    endval: Buffer[Array]
    percent_start: Buffer[Array]

    def __init__(
        self,
        nsteps: int,
        maxval: float,
        *,
        startval: float | None = None,
        endval: float | None = None,
        percent_start: float = 0.25,
    ) -> None:
        self._set(nsteps=nsteps, maxval=maxval, percent_start=percent_start)
        start: Any = self.maxval / 25 if startval is None else startval
        end: Any = self.maxval / 1e5 if endval is None else endval
        self._set(startval=start, endval=end)

    def __call__(self, step: Array | float) -> Array:
        """Return the value at a step."""
        time, length = as_time(step), as_time(self.nsteps)
        # A share such as 0.07 is above its value in float32, and its product not to be 8 then.
        rising = jnp.ceil(self.percent_start * length * (1 - 2**-22))
        up = eased(self.startval, self.maxval, time / rising)
        falling = jnp.maximum(length - 1 - rising, 1)
        down = eased(self.maxval, self.endval, (time - rising) / falling)
        return jnp.where(time < rising, up, down)
