# SPDX-License-Identifier: Apache-2.0
"""Callbacks that write down what happens: `JSONLines` and `TensorBoard`."""

import importlib
import json
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rosin.core.validation import expect_at_least, expect_kind, expect_state, refuse
from rosin.errors import StateError, shown
from rosin.training.callbacks.base import Callback
from rosin.training.callbacks.view import RunView


class _Log(Callback):
    """What both logs have: rows of epochs with the hyperparameters, and losses of steps."""

    def __init__(self, path: str | os.PathLike[str], *, every_steps: int | None = None) -> None:
        owner = type(self).__name__
        expect_kind((str, os.PathLike), subject=owner, path=path)
        if every_steps is not None:
            expect_at_least(1, subject=owner, every_steps=every_steps)
        self.path = Path(path)
        self.every_steps = every_steps
        self.reads: Collection[str] = {"history", "hyperparameters"}
        if every_steps is not None:
            self.reads = {*self.reads, "loss"}

    def due(self, step: int) -> bool:
        """Count the steps."""
        return self.every_steps is not None and step % self.every_steps == 0


class JSONLines(_Log):
    """Append a line of JSON for each epoch, and for every so many steps, to a file.

    A line of an epoch is its row of the history, with `event` "epoch" and the
    hyperparameters under their names. A line of a step has `event` "step", `epoch`, `step`
    and `loss`. NaN and infinities, which JSON lacks, are null. Each line is in the file
    before training goes on. A run that is resumed from a checkpoint repeats the lines of
    the steps it repeats.

    Args:
        path: The file; lines are added to one that exists.
        every_steps: Write a line after so many steps too; it waits for these steps.

    Raises:
        RangeError: `every_steps` is not at least 1.
        StructureError: `path` is no path.
        StateError: When training begins: the folder does not exist.

    Examples:
        >>> import tempfile, jax.numpy as jnp, rosin as rs
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)] * 4
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = rs.train(
        ...         lambda weight, x: (weight * x).sum(), weight, batches,
        ...         rs.setup(rs.Descent(0.25), weight), progress=False,
        ...         callbacks=[JSONLines(f"{folder}/log.jsonl", every_steps=3)])
        ...     print(Path(folder, "log.jsonl").read_text().splitlines()[0])
        {"event": "step", "epoch": 1, "step": 3, "loss": 1.0}
    """

    def on_train_begin(self, run: RunView) -> None:
        """Refuse now what would fail after the first epoch."""
        expect_state(
            self.path.parent.is_dir(),
            subject="JSONLines",
            expected=f"a folder to write {shown(self.path.name)} into",
            got="none",
            fix="create the folder first",
        )

    def on_step_end(self, run: RunView) -> None:
        """Write the line of a step."""
        self._append({"event": "step", "epoch": run.epoch, "step": run.step, "loss": run.loss})

    def on_epoch_end(self, run: RunView) -> None:
        """Write the line of an epoch."""
        self._append({"event": "epoch", **run.row, **run.hyperparameters})

    def _append(self, entry: dict[str, Any]) -> None:
        plain = {k: None if _is_strange(value) else value for k, value in entry.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")


def _is_strange(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


class TensorBoard(_Log):
    """Write the history, the hyperparameters and losses of steps for TensorBoard.

    The columns of the history stand under their names, `validation_loss` as
    `validation/loss`; the losses of steps under `step/loss`; hyperparameters under
    `hyperparameters/`.

    Args:
        folder: Where TensorBoard looks for runs; made if it is not there.
        every_steps: Write the loss after so many steps too; it waits for these steps.

    Raises:
        RangeError: `every_steps` is not at least 1.
        StructureError: `folder` is no path.
        StateError: When it is built: tensorboardX is not installed.

    Examples:
        >>> import rosin as rs
        >>> def callbacks(folder):  # tensorboardX comes with pip install 'rosin[plots]'
        ...     return [rs.TensorBoard(folder, every_steps=100)]
    """

    def __init__(self, folder: str | os.PathLike[str], *, every_steps: int | None = None) -> None:
        super().__init__(folder, every_steps=every_steps)
        try:
            self._make: Any = importlib.import_module("tensorboardX").SummaryWriter
        except ImportError:
            refuse(
                StateError,
                subject="TensorBoard",
                expected="tensorboardX to be installed",
                got="no module of that name",
                fix="pip install 'rosin[plots]'",
            )
        self._writer: Any = None

    def on_train_begin(self, run: RunView) -> None:
        """Open the file."""
        self._writer = self._make(str(self.path))

    def on_step_end(self, run: RunView) -> None:
        """Write the loss of a step."""
        self._writer.add_scalar("step/loss", run.loss, run.step)

    def on_epoch_end(self, run: RunView) -> None:
        """Write the row of an epoch, at the number of its last step."""
        for name, value in run.row.items():
            if name not in ("epoch", "step"):
                tag = name.replace("validation_", "validation/", 1)
                self._writer.add_scalar(tag, value, run.step)
        for name, value in run.hyperparameters.items():
            self._writer.add_scalar(f"hyperparameters/{name}", value, run.step)
        self._writer.flush()

    def on_train_end(self, run: RunView) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
