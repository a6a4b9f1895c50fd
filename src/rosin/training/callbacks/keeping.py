# SPDX-License-Identifier: Apache-2.0
"""`Checkpoints`: a folder with the best and the last checkpoints of a run.

A file is deleted only if this callback, or the run it goes on from, wrote it: its name is in
the list kept, and the mark inside the file is the run's own.
"""

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rosin.core.validation import expect_at_least, expect_kind, expect_state
from rosin.errors import FileError, shown
from rosin.files.models import load_metadata
from rosin.training.callbacks.base import Callback
from rosin.training.callbacks.monitor import Mode, Monitor
from rosin.training.callbacks.view import RunView
from rosin.training.checkpoint import NOTE

PREFIX, SUFFIX = "epoch-", ".safetensors"


class Kept(NamedTuple):
    """A file of the run.

    Args:
        epoch: The epoch after which it was written.
        score: What was monitored, or NaN.
    """

    epoch: int
    score: float

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{PREFIX}{self.epoch:06d}{SUFFIX}"


class Checkpoints(Callback):
    """Keep the checkpoints of the best and of the last epochs in a folder.

    Each is a file `epoch-000012.safetensors` that `Checkpoint(path, resume=True)` can go on
    from. A file that is no longer among the best or the last is deleted when the next one
    is complete on disk. Nothing else in the folder is touched: a file is deleted only if
    this run wrote it, by its name and by a mark inside.

    Args:
        folder: A folder that exists, without checkpoints of another run.
        keep_best: How many of the best epochs to keep; at least 0.
        keep_last: How many of the last epochs to keep; at least 0, and 1 with none of the
            best.
        monitor: The column of the history that tells which is best; an epoch without a
            finite score is not among them.
        mode: Whether the smallest ("min") or the largest ("max") score is best.

    Raises:
        RangeError: `keep_best`, `keep_last` or `mode` is out of its range.
        StructureError: `folder` is no path, `monitor` no text. During training: the history
            has no such column.
        StateError: When training begins: the folder does not exist. When a file is to be
            written: one of its name is there that this run has not written.

    Examples:
        >>> import tempfile, jax.numpy as jnp, rosin as rs
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = rs.train(
        ...         lambda weight, x: (weight * x).sum(), weight, batches,
        ...         rs.setup(rs.Descent(0.25), weight), epochs=5, progress=False,
        ...         callbacks=[Checkpoints(folder, keep_best=0, keep_last=2, monitor="loss")])
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['epoch-000004.safetensors', 'epoch-000005.safetensors']

    Source:
        FluxTraining.jl `Checkpointer`, whose files are whole models in BSON.
    """

    reads = frozenset({"history", "checkpoint"})

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_best: int = 1,
        keep_last: int = 1,
        monitor: str = "validation_loss",
        mode: Mode = "min",
    ) -> None:
        expect_kind((str, os.PathLike), subject="Checkpoints", folder=folder)
        expect_at_least(0, subject="Checkpoints", keep_best=keep_best)
        expect_at_least(0 if keep_best else 1, subject="Checkpoints", keep_last=keep_last)
        self._monitor = Monitor("Checkpoints", monitor, mode, 0.0)
        self.folder = Path(folder)
        self.keep_best = int(keep_best)
        self.keep_last = int(keep_last)
        self._kept: tuple[Kept, ...] = ()
        self._mark = ""

    @property
    def best(self) -> Path | None:
        """The file of the best epoch, if there is one."""
        best = self._best(self._kept)
        return self.folder / best[0].name if best else None

    @property
    def paths(self) -> list[Path]:
        """The files that are kept, the oldest first."""
        return [self.folder / one.name for one in self._kept]

    def on_train_begin(self, run: RunView) -> None:
        """Forget an earlier run."""
        if self.keep_best:
            self._monitor.begin(run)
        self._kept, self._mark = (), secrets.token_hex(16)
        expect_state(
            self.folder.is_dir() and os.access(self.folder, os.W_OK),
            subject="Checkpoints",
            expected=f"a folder {shown(self.folder.name)} to write into",
            got="none that exists and can be written to",
            fix="create the folder first",
        )

    def on_epoch_end(self, run: RunView) -> None:
        """Have the epoch saved, if it is to be kept at all."""
        score = self._monitor.score(run.row) if self.keep_best else None
        new = Kept(run.epoch, math.nan if score is None else score)
        if new not in self._chosen((*self._kept, new)):
            return
        path = self.folder / new.name
        expect_state(
            not path.exists() or self._is_own(path),
            subject="Checkpoints",
            expected=f"no file {path.name} but this run's own",
            got="one of another origin",
            fix="keep the checkpoints of each run in a folder of its own",
        )
        run.save(path, note=self._mark)
        self._kept = (*self._kept, new)

    def on_checkpoint(self, run: RunView) -> None:
        """Delete what is no longer to be kept, now that what takes its place is there."""
        names = [one.name for one in self._kept]
        if run.checkpoint.parent != self.folder or run.checkpoint.name not in names:
            return
        until = names.index(run.checkpoint.name) + 1
        complete, coming = self._kept[:until], self._kept[until:]
        chosen = self._chosen(complete)
        for one in complete:
            path = self.folder / one.name
            if one not in chosen and self._is_own(path):
                path.unlink(missing_ok=True)
        self._kept = (*chosen, *coming)

    def _best(self, kept: tuple[Kept, ...]) -> list[Kept]:
        finite = [one for one in kept if math.isfinite(one.score)]
        sign = self._monitor.sign
        return sorted(finite, key=lambda one: (sign * one.score, one.epoch))[: self.keep_best]

    def _chosen(self, kept: tuple[Kept, ...]) -> list[Kept]:
        last = kept[-self.keep_last :] if self.keep_last else ()
        return [one for one in kept if one in last or one in self._best(kept)]

    def _is_own(self, path: Path) -> bool:
        """Tell whether the file is there and has the mark of this run inside."""
        try:
            return load_metadata(path).get(NOTE) == self._mark
        except (FileError, OSError):
            return False

    @property
    def state(self) -> dict[str, Any]:
        """The files kept with their scores, and the mark of the run."""
        return {"kept": json.dumps(self._kept), "mark": self._mark}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._kept = tuple(Kept(*one) for one in _decoded(state["kept"]))
        self._mark = state["mark"]


def _decoded(text: str) -> list[tuple[int, float]]:
    """Read the list of files from a checkpoint, which is foreign text."""
    try:
        entries = json.loads(text)
        return [(epoch, float(score)) for epoch, score in entries if type(epoch) is int]
    except (TypeError, ValueError, RecursionError) as error:
        raise FileError(
            subject="the checkpoint",
            where="the state of Checkpoints",
            expected="a list of epochs and scores",
            got=shown(text),
            fix="resume from a file that a Checkpoint wrote",
        ) from error
