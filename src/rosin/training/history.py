# SPDX-License-Identifier: Apache-2.0
"""What happened in training: a table with a row for each epoch, and its picture."""

import csv
import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from rosin.core.validation import refuse
from rosin.errors import StateError, StructureError, shortened, shown


class History:
    """A table of training: one row for each epoch, one column for each quantity.

    The columns are `epoch` (from 1), `step` (steps so far), `loss` (mean over the
    examples of the epoch), `skipped` (batches left out by the guard), `seconds`,
    `examples_per_second`, and with validation data `validation_loss` and one
    `validation_...` for each metric.

    Examples:
        >>> history = History()
        >>> history.append({"epoch": 1, "loss": 0.5})
        >>> history["loss"], len(history)
        (array([0.5]), 1)
    """

    def __init__(self, rows: list[dict[str, float]] | None = None) -> None:
        self.rows: list[dict[str, float]] = [dict(row) for row in rows or []]

    def append(self, row: dict[str, float]) -> None:
        """Add the row of an epoch."""
        self.rows.append(row)

    def __add__(self, later: "History") -> "History":
        """Join the history of a run with that of its continuation."""
        last = self.rows[-1] if self.rows else {}
        moved = [
            row | {name: row[name] + last.get(name, 0) for name in ("epoch", "step") if name in row}
            for row in later.rows
        ]
        return History(self.rows + moved)

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order they came up."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Go through the rows."""
        return iter(self.rows)

    def __getitem__(self, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return a column; NaN where a row has no value.

        Raises:
            StructureError: There is no such column.
        """
        if column not in self.columns:
            refuse(
                StructureError,
                subject="history",
                expected=f"one of the columns {', '.join(self.columns) or '(none yet)'}",
                got=shown(column),
                fix="use a column listed",
            )
        return np.array([row.get(column, np.nan) for row in self.rows], np.float64)

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, with a header line."""
        with open(path, "w", newline="", encoding="utf-8") as file:  # noqa: PTH123  any path-like
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def plot(self, axes: Any = None) -> Any:
        """Draw losses, and metrics on a second axis, over the epochs.

        Args:
            axes: Matplotlib axes to draw on; new ones when left out.

        Returns:
            The axes.

        Raises:
            StateError: matplotlib is not installed.
        """
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError:
            refuse(
                StateError,
                subject="history.plot",
                expected="matplotlib to be installed",
                got="no module of that name",
                fix="pip install 'rosin[plots]'",
            )
        axes = pyplot.subplots()[1] if axes is None else axes
        losses = [c for c in self.columns if c in ("loss", "validation_loss")]
        others = [c for c in self.columns if c.startswith("validation_") and c not in losses]
        positive = all((self[column] > 0).all() for column in losses)
        for column in losses:
            axes.plot(self["epoch"], self[column], label=_words(column))
        axes.set(xlabel="epoch", ylabel="loss", yscale="log" if positive else "linear")
        lines, names = axes.get_legend_handles_labels()
        if others:
            right = axes.twinx()
            for index, column in enumerate(others):
                style = f"C{index + len(losses)}--"
                right.plot(self["epoch"], self[column], style, label=_words(column))
            right.set_ylabel(", ".join(_words(c.removeprefix("validation_")) for c in others))
            lines += right.get_legend_handles_labels()[0]
            names += right.get_legend_handles_labels()[1]
        axes.legend(lines, names, loc="right")
        return axes

    def __repr__(self) -> str:
        """Show the last row."""
        last = ", ".join(f"{k}={v:.4g}" for k, v in self.rows[-1].items()) if self.rows else ""
        return shortened(f"History({len(self)} epochs{'; ' * bool(last)}{last})", 160)


def _words(column: str) -> str:
    return column.replace("_", " ")
