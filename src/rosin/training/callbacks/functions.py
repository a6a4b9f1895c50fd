# SPDX-License-Identifier: Apache-2.0
"""Callbacks around other things: `every` around a function, `Throttle` around a callback."""

import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_kind,
    expect_one_of,
)
from rosin.training.callbacks.base import Callback, events_of, expect_seconds
from rosin.training.callbacks.view import RunView


def every(
    count: int,
    function: Callable[[RunView], object],
    *,
    unit: Literal["steps", "epochs"] = "steps",
    reads: Collection[str] = (),
    changes: Collection[str] = (),
) -> Callback:
    """Make a callback of a function, called after so many steps or epochs.

    Steps are counted over all epochs, those before a resumption included.

    Args:
        count: At least 1.
        function: Called with the view of the run.
        unit: "steps" or "epochs".
        reads: What the function reads, as in `Callback`.
        changes: What it changes.

    Raises:
        RangeError: `count` is not at least 1, or `unit` another word.
        StructureError: `function` cannot be called.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)] * 4
        >>> show = every(2, lambda run: print(run.step, run.loss), reads={"loss"})
        >>> result = rs.train(
        ...     lambda weight, x: (weight * x).sum(), weight, batches,
        ...     rs.setup(rs.Descent(0.25), weight), callbacks=[show], progress=False)
        2 1.5
        4 0.5
    """
    expect_at_least(1, subject="every", count=count)
    expect_callable(subject="every", function=function)
    expect_one_of(("steps", "epochs"), subject="every", unit=unit)
    kind = _EverySteps if unit == "steps" else _EveryEpochs
    return kind(int(count), function, reads, changes)


class _Every(Callback):
    """A function, and how often it is called."""

    def __init__(
        self,
        count: int,
        function: Callable[[RunView], object],
        reads: Collection[str],
        changes: Collection[str],
    ) -> None:
        self.count = count
        self.function = function
        self.reads = reads
        self.changes = changes

    @property
    def name(self) -> str:
        """The name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)


class _EverySteps(_Every):
    def due(self, step: int) -> bool:
        """Count."""
        return step % self.count == 0

    def on_step_end(self, run: RunView) -> None:
        """Call the function."""
        self.function(run)


class _EveryEpochs(_Every):
    def on_epoch_end(self, run: RunView) -> None:
        """Count, and call the function."""
        if run.epoch % self.count == 0:
            self.function(run)


class Throttle(Callback):
    """Tell a callback of steps no more often than so many seconds apart.

    The first step is told of, and all other events are. It reads and changes what the
    callback declares, and goes by its name.

    Args:
        callback: Any callback.
        seconds: From one step that is told of to the next, above 0.

    Raises:
        RangeError: `seconds` is not a number above 0.
        StructureError: `callback` is none.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)] * 4
        >>> show = every(1, lambda run: print(run.step, run.loss), reads={"loss"})
        >>> result = rs.train(
        ...     lambda weight, x: (weight * x).sum(), weight, batches,
        ...     rs.setup(rs.Descent(0.25), weight), callbacks=[Throttle(show, 60)],
        ...     progress=False)
        1 2.0

    Source:
        Flux.jl `throttle` with `leading=true, trailing=false`.
    """

    def __init__(self, callback: Callback, seconds: float) -> None:
        expect_kind(Callback, subject="Throttle", callback=callback)
        expect_seconds(seconds, subject="Throttle")
        self.callback = callback
        self.seconds = seconds
        self.reads = callback.reads
        self.changes = callback.changes
        for event in events_of(callback):
            setattr(self, event, getattr(callback, event))
        self._next = -math.inf

    @property
    def name(self) -> str:
        """The name of the callback."""
        return self.callback.name

    def due(self, step: int) -> bool:
        """Look at the clock."""
        now = time.monotonic()
        if now < self._next or not self.callback.due(step):
            return False
        self._next = now + self.seconds
        return True

    @property
    def state(self) -> dict[str, Any]:
        """That of the callback."""
        return self.callback.state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the callback."""
        self.callback.restore(state)
