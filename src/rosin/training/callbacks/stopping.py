# SPDX-License-Identifier: Apache-2.0
"""Callbacks that end training: `EarlyStopping` and `TimeBudget`."""

import math
import time
from collections.abc import Collection, Mapping
from typing import Any

from rosin.core.validation import expect_at_least, expect_kind
from rosin.training.callbacks.base import Callback, expect_seconds
from rosin.training.callbacks.monitor import Mode, Monitor
from rosin.training.callbacks.view import RunView


class EarlyStopping(Callback):
    """Stop when a column of the history has not improved for some epochs.

    A score that stays the same is no improvement, and neither is NaN or an infinity. An
    epoch whose validation was skipped has no score, and does not count.

    Args:
        monitor: The column.
        patience: So many epochs in a row without an improvement end the training; at
            least 1.
        min_delta: An improvement is a change by more than this; at least 0.
        mode: Whether the smallest ("min") or the largest ("max") score is best.
        restore_best: Whether the result has the model of the best epoch, also when all
            epochs were run; a copy of it is kept in memory and in checkpoints. The
            optimiser's state is that of the last epoch. Without any finite score the model
            is the last one. After an exception it is the present one.

    Raises:
        RangeError: `patience`, `min_delta` or `mode` is out of its range.
        StructureError: `monitor` is no text, `restore_best` no boolean. During training:
            the history has no such column.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> def loss(weight, x):
        ...     return (weight * x).sum() * 0
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)]
        >>> stopping = EarlyStopping("loss", patience=2)
        >>> result = rs.train(
        ...     loss, weight, batches, rs.setup(rs.Descent(0.1), weight), epochs=100,
        ...     callbacks=[stopping], progress=False)
        >>> len(result.history), result.stopped
        (3, 'no better loss than 0 of epoch 1 in 2 epochs')

    Source:
        Flux.jl `early_stopping`, which never fires on a constant or a NaN score;
        Prechelt 1998.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Mode = "min",
        restore_best: bool = False,
    ) -> None:
        self._monitor = Monitor("EarlyStopping", monitor, mode, min_delta)
        expect_at_least(1, subject="EarlyStopping", patience=patience)
        expect_kind(bool, subject="EarlyStopping", restore_best=restore_best)
        self.patience = int(patience)
        self.restore_best = restore_best
        self.reads: Collection[str] = {"history", "model"} if restore_best else {"history"}
        self.changes: Collection[str] = {"stop", "model"} if restore_best else {"stop"}
        self._best_epoch = 0
        self._best_model: Any = None

    @property
    def best(self) -> float:
        """The best score so far, or an infinity."""
        return self._monitor.best

    @property
    def best_epoch(self) -> int:
        """The epoch it was reached in, from 1; 0 before the first."""
        return self._best_epoch

    def on_train_begin(self, run: RunView) -> None:
        """Forget an earlier run."""
        self._monitor.begin(run)
        self._best_epoch = 0
        self._best_model = run.model if self.restore_best else None

    def on_epoch_begin(self, run: RunView) -> None:
        """End a run that is resumed from a checkpoint where it had ended."""
        if self._monitor.waited >= self.patience:
            run.stop(self._reason())

    def on_epoch_end(self, run: RunView) -> None:
        """Compare the epoch's score with the best one."""
        score = self._monitor.score(run.row)
        if score is None:
            return
        if self._monitor.improves(score):
            self._best_epoch = run.epoch
            self._best_model = run.model if self.restore_best else None
        elif self._monitor.waited >= self.patience:
            run.stop(self._reason())

    def on_train_end(self, run: RunView) -> None:
        """Put the best model in place."""
        if self.restore_best and self._best_epoch:
            run.replace_model(self._best_model)

    def _reason(self) -> str:
        best = f"than {self.best:.6g} of epoch {self._best_epoch} " if self._best_epoch else ""
        return f"no better {self._monitor.column} {best}in {self._monitor.waited} epochs"

    @property
    def state(self) -> dict[str, Any]:
        """The best score, its epoch and model, and the epochs since."""
        model = {"model": self._best_model} if self.restore_best else {}
        return {**self._monitor.state, "best_epoch": self._best_epoch, **model}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._monitor.restore(state)
        self._best_epoch = state["best_epoch"]
        self._best_model = state.get("model")


class TimeBudget(Callback):
    """Stop at the first step that ends after so much time; a resumed run has it anew.

    Args:
        seconds: From the beginning of the run, above 0.

    Raises:
        RangeError: `seconds` is not a number above 0.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)] * 3
        >>> result = rs.train(
        ...     lambda weight, x: (weight * x).sum(), weight, batches,
        ...     rs.setup(rs.Descent(0.1), weight), callbacks=[TimeBudget(1e-9)], progress=False)
        >>> result.stopped, result.model
        ('the time budget of 1e-09 s', Array([0.9, 0.9], dtype=float32))
    """

    changes = frozenset({"stop"})

    def __init__(self, seconds: float) -> None:
        expect_seconds(seconds, subject="TimeBudget")
        self.seconds = seconds
        self._end = math.inf

    def on_train_begin(self, run: RunView) -> None:
        """Look at the clock."""
        self._end = time.monotonic() + self.seconds

    def on_step_end(self, run: RunView) -> None:
        """Look at it again."""
        if time.monotonic() >= self._end:
            run.stop(f"the time budget of {self.seconds:g} s")
