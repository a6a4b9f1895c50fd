# SPDX-License-Identifier: Apache-2.0
"""What training shows while it runs: a bar on a terminal, lines elsewhere, or nothing."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Silent:
    """Shows nothing; the base of what does."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, and leave the terminal in order."""

    def step(self, epoch: int, loss: float, rate: float) -> None:
        """Show a step: the epoch it belongs to, its loss, examples per second."""

    def epoch(self, row: dict[str, float]) -> None:
        """Show the row of an epoch that is over."""


class Lines(Silent):
    """A line for each epoch, for logs and pipes."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, row: dict[str, float]) -> None:
        """Print the row."""
        sys.stdout.write(f"epoch {row['epoch']:.0f}/{self.epochs}  {described(row)}\n")
        sys.stdout.flush()


class Bar(Silent):
    """A bar with loss, metrics, examples per second and the time left."""

    def __init__(self, epochs: int, steps: int | None, done_steps: int) -> None:
        self.epochs = epochs
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=Console(),
        )
        total = None if steps is None else steps * epochs
        self.task = self.progress.add_task("training", total=total, completed=done_steps, facts="")
        self.last: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Draw the bar."""
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands."""
        self.progress.stop()

    def step(self, epoch: int, loss: float, rate: float) -> None:
        """Move the bar."""
        facts = {"loss": loss, **self.last, "examples_per_second": rate}
        self.progress.update(
            self.task,
            advance=1,
            description=f"epoch {epoch}/{self.epochs}",
            facts=described(facts),
        )

    def epoch(self, row: dict[str, float]) -> None:
        """Keep the metrics in view."""
        self.last = {name: v for name, v in row.items() if name.startswith("validation_")}
        facts = described({"loss": row["loss"], **self.last, **row})
        self.progress.update(self.task, facts=facts)


def shown_progress(*, wanted: bool, epochs: int, steps: int | None, done_steps: int) -> Silent:
    """Choose what fits where the output goes."""
    if not wanted:
        return Silent()
    if sys.stdout.isatty():
        return Bar(epochs, steps, done_steps)
    return Lines(epochs)


def described(row: dict[str, float]) -> str:
    """Spell the quantities of a row that a reader follows."""
    texts: list[str] = []
    for name, value in row.items():
        if name == "loss" or name.startswith("validation_"):
            texts.append(f"{name.replace('_', ' ')} {value:.4f}")
        elif name == "skipped" and value:
            texts.append(f"skipped {value:.0f}")
        elif name == "examples_per_second":
            texts.append(f"{value:,.0f} examples/s".replace(",", "_"))
    return "  ".join(texts)
