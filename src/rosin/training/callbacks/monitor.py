# SPDX-License-Identifier: Apache-2.0
"""Watching a column of the history: whether it got better, and for how long it has not."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from rosin.core.validation import expect_between, expect_kind, expect_one_of, refuse, suggestion
from rosin.errors import StructureError, shown
from rosin.training.callbacks.view import RunView

VALIDATION = "validation_"

Mode = Literal["min", "max"]


class Monitor:
    """The best value of a column so far, and how many epochs it has stood.

    A value is better if it is finite and by more than `min_delta` below the best one, or
    above it with `mode="max"`. So a score that stays the same, and NaN, are no improvement.
    """

    def __init__(self, owner: str, column: str, mode: Mode, min_delta: float) -> None:
        expect_kind(str, subject=owner, monitor=column)
        expect_one_of(("min", "max"), subject=owner, mode=mode)
        expect_between(0, math.inf, subject=owner, include_high=False, min_delta=min_delta)
        self.owner = owner
        self.column = column
        self.sign = 1.0 if mode == "min" else -1.0
        self.min_delta = float(min_delta)
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.best = self.sign * math.inf
        self.waited = 0

    def begin(self, run: RunView) -> None:
        """Forget what was seen before, and refuse a column that no row will have."""
        self.reset()
        if self.column.startswith(VALIDATION) and not run.has_validation:
            refuse(
                StructureError,
                subject=self.owner,
                expected=f"validation data, to monitor {shown(self.column)}",
                got="none",
                fix='pass train(validation=...), or monitor="loss" for the training loss',
            )

    def score(self, row: dict[str, float]) -> float | None:
        """Return the value in a row; None in an epoch whose validation was skipped.

        Raises:
            StructureError: There is no such column.
        """
        if self.column in row:
            return float(row[self.column])
        measured = any(name.startswith(VALIDATION) for name in row)
        if self.column.startswith(VALIDATION) and not measured:
            return None
        refuse(
            StructureError,
            subject=self.owner,
            expected=f"monitor to be one of {', '.join(row)}",
            got=shown(self.column),
            fix=f"use one of the names listed{suggestion(self.column, row)}",
        )

    def improves(self, score: float) -> bool:
        """Note the score of an epoch; tell whether it is the best so far."""
        better = math.isfinite(score) and self.sign * (self.best - score) > self.min_delta
        if better:
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        return better

    @property
    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best, self.waited = state["best"], state["waited"]
