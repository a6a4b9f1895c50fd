# SPDX-License-Identifier: Apache-2.0
"""Saving a training run so that it can go on, bit for bit."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rosin.core.validation import expect_at_least, expect_kind, expect_state, refuse
from rosin.errors import StructureError, shown
from rosin.files.models import load, load_metadata, save
from rosin.optimisers.update import OptimiserState

METADATA = "training"


@dataclasses.dataclass(kw_only=True)
class Progressed:
    """How far a run has come.

    Args:
        epoch: Epochs finished.
        step: Steps taken in all.
        losses: Loss and number of examples of each finite step of the present epoch.
        skipped: Steps of the present epoch that were not finite.
        position: The data's own state, after the last step taken.
    """

    epoch: int = 0
    step: int = 0
    losses: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    skipped: int = 0
    position: Mapping[str, int] | None = None

    @property
    def examples(self) -> int:
        """Examples of the present epoch so far."""
        return sum(count for _, count in self.losses)

    @property
    def mean_loss(self) -> float:
        """The mean loss over the examples of the present epoch."""
        total = sum(loss * count for loss, count in self.losses)
        return total / self.examples if self.examples else float("nan")


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where and when `train` saves, and whether it goes on from what is there.

    A checkpoint is one safetensors file, replaced as a whole: model, optimiser state,
    random keys, position in the data and history. It is written after each epoch and
    when an exception, Ctrl-C included, ends the training.

    Args:
        path: The file.
        every_steps: Save after so many steps too.
        resume: Go on from the file if it exists. If False, a file that exists is an
            error, so that no run overwrites another.

    Raises:
        RangeError: `every_steps` is not at least 1.

    Examples:
        >>> Checkpoint("run.safetensors", every_steps=100).resume
        False
    """

    path: str | os.PathLike[str]
    _: dataclasses.KW_ONLY
    every_steps: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        if self.every_steps is not None:
            expect_at_least(1, subject="Checkpoint", every_steps=self.every_steps)
        expect_kind(bool, subject="Checkpoint", resume=self.resume)

    @classmethod
    def of(cls, given: "Checkpoint | str | os.PathLike[str] | None") -> "Checkpoint | None":
        """Take a path as a checkpoint with default options."""
        if given is None or isinstance(given, Checkpoint):
            return given
        expect_kind((str, os.PathLike), subject="train", checkpoint=given)
        return cls(given)

    def is_due(self, step: int) -> bool:
        """Tell whether to save after this step."""
        return self.every_steps is not None and step % self.every_steps == 0

    def begin(
        self, model: Any, opt_state: OptimiserState, data: Any, epochs: int
    ) -> tuple[Any, OptimiserState, Progressed, list[dict[str, float]]] | None:
        """Check that the run can be saved, and read what is to be resumed."""
        if not (hasattr(data, "state") and hasattr(data, "restore")):
            refuse(
                StructureError,
                subject="Checkpoint",
                expected="data that tells its position: attributes state and restore",
                got=shown(data),
                fix="pass a DataLoader",
            )
        path = Path(self.path)
        if not path.exists():
            return None
        expect_state(
            self.resume,
            subject="Checkpoint",
            expected="a file that does not exist yet",
            got=shown(path.name),
            fix="pass Checkpoint(path, resume=True) to go on from it, or another path",
        )
        tree = load(path, like={"model": model, "opt_state": opt_state})
        saved = json.loads(load_metadata(path)[METADATA])
        done = Progressed(**saved["done"])
        done.losses = [(loss, count) for loss, count in done.losses]
        if done.position is not None:
            data.restore(done.position)
        return tree["model"], tree["opt_state"], done, saved["history"]

    def save(
        self,
        model: Any,
        opt_state: OptimiserState,
        done: Progressed,
        rows: list[dict[str, float]],
    ) -> None:
        """Replace the file."""
        text = json.dumps({"done": dataclasses.asdict(done), "history": rows})
        save(self.path, {"model": model, "opt_state": opt_state}, metadata={METADATA: text})
