# SPDX-License-Identifier: Apache-2.0
"""`ReduceOnPlateau`: a lower learning rate when a score no longer improves."""

import math
from collections.abc import Mapping
from typing import Any

from rosin.core.validation import expect_at_least, expect_between
from rosin.training.callbacks.base import Callback
from rosin.training.callbacks.monitor import Mode, Monitor
from rosin.training.callbacks.view import RunView


class ReduceOnPlateau(Callback):
    r"""Multiply the learning rate by a factor when a column of the history does not improve.

    $$\eta \leftarrow \max(f \eta, \eta_{\min})$$

    Every learning rate of the optimiser, in each group, is reduced. Nothing is compiled
    again. What counts as an improvement is said at `EarlyStopping`.

    Args:
        monitor: The column.
        factor: $f$, above 0 and below 1.
        patience: So many epochs in a row without an improvement reduce the rate; at least 1.
        min_delta: An improvement is a change by more than this; at least 0.
        mode: Whether the smallest ("min") or the largest ("max") score is best.
        cooldown: Epochs after a reduction that do not count; at least 0.
        lowest: $\eta_{\min}$, at least 0. Rates that are below it already stay.

    Raises:
        RangeError: An argument is out of its range.
        StructureError: `monitor` is no text. During training: the history has no such
            column, or the learning rate follows a schedule.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)]
        >>> result = rs.train(
        ...     lambda weight, x: (weight * x).sum() * 0, weight, batches,
        ...     rs.setup(rs.Descent(0.4), weight), epochs=5, progress=False,
        ...     callbacks=[ReduceOnPlateau("loss", factor=0.5, patience=2)])
        >>> result.opt_state.rule  # the loss is 0 from the first epoch on
        Descent(learning_rate=0.1)

    Source:
        PyTorch `ReduceLROnPlateau`, whose threshold is relative by default and whose
        `patience` is smaller by one; Keras counts as here.
    """

    reads = frozenset({"history", "hyperparameters"})
    changes = frozenset({"learning_rate"})

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        mode: Mode = "min",
        cooldown: int = 0,
        lowest: float = 0.0,
    ) -> None:
        self._monitor = Monitor("ReduceOnPlateau", monitor, mode, min_delta)
        expect_between(
            0,
            1,
            subject="ReduceOnPlateau",
            include_low=False,
            include_high=False,
            factor=factor,
        )
        expect_at_least(1, subject="ReduceOnPlateau", patience=patience)
        expect_at_least(0, subject="ReduceOnPlateau", cooldown=cooldown)
        expect_between(0, math.inf, subject="ReduceOnPlateau", include_high=False, lowest=lowest)
        self.factor = factor
        self.patience = int(patience)
        self.cooldown = int(cooldown)
        self.lowest = lowest
        self._cooling = 0

    def on_train_begin(self, run: RunView) -> None:
        """Forget an earlier run."""
        self._monitor.begin(run)
        self._cooling = 0
        for where, rate in run.places("learning_rate"):
            run.adjust(*where, learning_rate=rate)  # refuses a schedule now, not on the way

    def on_epoch_end(self, run: RunView) -> None:
        """Compare the epoch's score with the best one, and reduce the rate if it is time."""
        score = self._monitor.score(run.row)
        if score is None:
            return
        better = self._monitor.improves(score)
        if self._cooling:
            self._cooling -= 1
            self._monitor.waited = 0
        elif not better and self._monitor.waited >= self.patience:
            self._reduce(run)
            self._cooling, self._monitor.waited = self.cooldown, 0

    def _reduce(self, run: RunView) -> None:
        for where, rate in run.places("learning_rate"):
            if rate > self.lowest:
                reduced = max(rate * self.factor, self.lowest)
                run.adjust(*where, learning_rate=reduced)
                name = ".".join((*where, "learning rate"))
                run.say(f"epoch {run.epoch}: {name} reduced from {rate:.4g} to {reduced:.4g}")

    @property
    def state(self) -> dict[str, Any]:
        """The best score, the epochs since, and those of the cooldown that are left."""
        return {**self._monitor.state, "cooling": self._cooling}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._monitor.restore(state)
        self._cooling = state["cooling"]
