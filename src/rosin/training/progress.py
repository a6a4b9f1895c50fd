# SPDX-License-Identifier: Apache-2.0
"""What training shows while it runs: a bar on a terminal, lines elsewhere, or nothing."""

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SECONDS_BETWEEN_DRAWINGS = 0.1


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

    def at(self, step: int) -> None:
        """Start after so many steps, which an earlier run took."""

    def say(self, text: str) -> None:
        """Show a line of a callback."""


class Lines(Silent):
    """A line for each epoch, for logs and pipes."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, row: dict[str, float]) -> None:
        """Print the row."""
        self.say(f"epoch {row['epoch']:.0f}/{self.epochs}  {described(row)}")

    def say(self, text: str) -> None:
        """Print the line."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class _Left(TimeRemainingColumn):
    """The time left, in words, if it can be told."""

    def render(self, task: Task) -> Text:
        """Put a word before it."""
        text = super().render(task)
        return Text.assemble("left ", text) if text.plain else text


class _Below(Progress):
    """A bar with the facts on lines of their own, so that none pushes it off the screen."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, then the facts."""
        yield from super().get_renderables()
        for task in self.tasks:
            if task.fields["facts"]:
                yield Text(task.fields["facts"], style="dim")


class Bar(Silent):
    """A bar with the time left; below it loss, metrics and examples per second."""

    def __init__(self, epochs: int, steps: int | None, console: Console | None = None) -> None:
        self.epochs = epochs
        self.progress = _Below(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            _Left(),
            console=console or Console(),
            auto_refresh=False,
        )
        total = None if steps is None else steps * epochs
        self.task = self.progress.add_task("training", total=total, facts="")
        self.last: dict[str, float] = {}
        self.step_count = 0
        self.drawn = 0.0

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

    def at(self, step: int) -> None:
        """Count from there."""
        self.step_count = step
        self.progress.update(self.task, completed=step)

    def step(self, epoch: int, loss: float, rate: float) -> None:
        """Move the bar, but draw it no more often than an eye can follow."""
        self.step_count += 1
        now = time.monotonic()
        if now - self.drawn < SECONDS_BETWEEN_DRAWINGS:
            return
        self.drawn = now
        facts = {"loss": loss, **self.last, "examples_per_second": rate}
        self.progress.update(
            self.task,
            completed=self.step_count,
            description=f"epoch {epoch}/{self.epochs}",
            facts=described(facts),
            refresh=True,
        )

    def epoch(self, row: dict[str, float]) -> None:
        """Keep the metrics in view; the first epoch tells how long the data are."""
        self.last = {name: v for name, v in row.items() if name.startswith("validation_")}
        facts = described({"loss": row["loss"], **self.last, **row})
        number = int(row["epoch"])
        total = self.progress.tasks[0].total or self.step_count / number * self.epochs
        self.progress.update(
            self.task,
            completed=self.step_count,
            total=total,
            description=f"epoch {number}/{self.epochs}",
            facts=facts,
            refresh=True,
        )

    def say(self, text: str) -> None:
        """Print the line above the bar."""
        self.progress.console.print(text, markup=False, highlight=False, emoji=False)


def shown_progress(*, wanted: bool, epochs: int, steps: int | None) -> Silent:
    """Choose what fits where the output goes."""
    if not wanted:
        return Silent()
    if sys.stdout.isatty():
        return Bar(epochs, steps)
    return Lines(epochs)


def described(row: dict[str, float]) -> str:
    """Spell the quantities of a row that a reader follows."""
    texts: list[str] = []
    for name, value in row.items():
        if "[" in name:
            continue  # of an array there is no end
        if name == "loss" or name.startswith("validation_"):
            texts.append(f"{name.replace('_', ' ')} {value:.4f}")
        elif name == "skipped" and value:
            texts.append(f"skipped {value:.0f}")
        elif name == "examples_per_second":
            texts.append(f"{value:,.0f} examples/s".replace(",", "_"))
    return "  ".join(texts)
