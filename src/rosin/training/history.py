# SPDX-License-Identifier: Apache-2.0
"""What happened in training: a table with a row for each epoch, and its picture."""

import importlib
import os
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from rosin.core.validation import expect_state, refuse
from rosin.errors import StateError, StructureError, shortened, shown
from rosin.files.tables import read_csv, read_json_lines, write_csv, write_json_lines
from rosin.limits import Limits
from rosin.training.picture import draw
from rosin.training.printing import table, table_text


class History:
    """A table of training: one row for each epoch, one column for each quantity.

    The columns are `epoch` (from 1), `step` (steps so far), `loss` (mean over the
    examples of the epoch), `skipped` (batches left out by the guard), `seconds`,
    `examples_per_second`, and with validation data `validation_loss` and one
    `validation_...` for each metric; of a metric that is an array, one for each entry,
    such as `validation_recall[0]`.

    Args:
        rows: A dict of numbers for each epoch; they are copied.

    Examples:
        >>> history = History([{"epoch": 1, "loss": 0.5}])
        >>> history.append({"epoch": 2, "loss": 0.25})
        >>> history["loss"], len(history)
        (array([0.5 , 0.25]), 2)
        >>> print(history)
          epoch    loss
              1     0.5
              2    0.25
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

    # --- elsewhere ------------------------------------------------------------------

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """Return a structured array: a row for each epoch, a field of float64 for each column."""
        table = np.empty(len(self), [(name, np.float64) for name in self.columns])
        for name in self.columns:
            table[name] = self[name]
        return table

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`.

        Raises:
            StateError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            refuse(
                StateError,
                subject="history.to_pandas",
                expected="pandas to be installed",
                got="no module of that name",
                fix="pip install pandas, or use to_numpy()",
            )
        return pandas.DataFrame({name: self[name] for name in self.columns})

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, with a header line; a missing value is an empty cell."""
        write_csv(path, self.rows, self.columns)

    def save_json_lines(self, path: str | os.PathLike[str]) -> None:
        """Write each row as a JSON object on a line of its own; NaN is null there."""
        write_json_lines(path, self.rows)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, limits: Limits | None = None) -> Self:
        """Read a table that `save_csv` wrote, or any CSV of numbers under a header line.

        Args:
            path: The file.
            limits: Bounds on what is accepted; `Limits()` when left out.

        Raises:
            FileError: It is no such table.
            LimitError: It is larger than a bound.
            OSError: The system cannot open it.
        """
        return cls(read_csv(path, Limits() if limits is None else limits))

    @classmethod
    def from_json_lines(cls, path: str | os.PathLike[str], *, limits: Limits | None = None) -> Self:
        """Read a table that `save_json_lines` wrote, or any JSON lines of numbers.

        Args:
            path: The file.
            limits: Bounds on what is accepted; `Limits()` when left out.

        Raises:
            FileError: It is no such table.
            LimitError: It is larger than a bound.
            OSError: The system cannot open it.
        """
        return cls(read_json_lines(path, Limits() if limits is None else limits))

    # --- for eyes -------------------------------------------------------------------

    def plot(self, figure: Any = None) -> Any:
        """Draw the losses over the epochs, and the metrics on axes of their own below.

        Losses that span more than a factor of ten have a logarithmic scale, and epochs in
        which the guard skipped batches are marked. Metrics from 0 to 1 share one pair of axes,
        and so do the classes of one metric; tables of classes are left out.

        Args:
            figure: A figure or subfigure of matplotlib to draw on; a new one when left out.

        Returns:
            The figure.

        Raises:
            StateError: matplotlib is not installed, or the history is empty.
        """
        expect_state(
            self.rows,
            subject="history.plot",
            expected="at least one epoch",
            got="an empty history",
            fix="train first",
        )
        columns = {name: self[name] for name in self.columns}
        return draw({"epoch": np.arange(1.0, len(self) + 1)} | columns, figure)

    def __str__(self) -> str:
        """Print the table, as wide as the terminal."""
        return table_text(self.rows, self.columns) if self.rows else repr(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Print the table where rich prints."""
        del console
        yield table(self.rows, self.columns, options.max_width) if self.rows else repr(self)

    def __repr__(self) -> str:
        """Show the last row."""
        last = ", ".join(f"{k}={v:.4g}" for k, v in self.rows[-1].items()) if self.rows else ""
        return shortened(f"History({len(self)} epochs{'; ' * bool(last)}{last})", 160)
