# SPDX-License-Identifier: Apache-2.0
"""Saving a training run so that it can go on, bit for bit."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.random import is_key
from rosin.core.validation import expect_at_least, expect_kind, expect_state, refuse
from rosin.errors import FileError, StructureError, shortened, shown
from rosin.files.models import load_with_metadata, save
from rosin.training.step import source_name

METADATA = "training"
NOTE = "note"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How far a run has come.

    Args:
        epoch: Epochs finished.
        step: Steps taken in all.
        rows: The history: a row for each finished epoch.
        examples: Examples of the present epoch in steps that were finite.
        total_loss: The sum of their losses.
        skipped: Steps of the present epoch that were not finite.
        seconds: Spent on the present epoch before the run was last resumed.
        position: The data's own state, after the last step taken.
        begun: Whether the present epoch has begun.
        validates: Whether validation follows the present epoch.
    """

    epoch: int = 0
    step: int = 0
    rows: tuple[dict[str, float], ...] = ()
    examples: int = 0
    total_loss: float = 0.0
    skipped: int = 0
    seconds: float = 0.0
    position: dict[str, Any] | None = None
    begun: bool = False
    validates: bool = True

    @property
    def mean_loss(self) -> float:
        """The mean loss over the examples of the present epoch."""
        return self.total_loss / self.examples if self.examples else float("nan")


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where and when `train` saves, and whether it goes on from what is there.

    A checkpoint is one safetensors file, replaced as a whole: model, optimiser state,
    random keys, position in the data, history, and what callbacks keep. It is written after
    each epoch and when something ends the training early: an exception, a signal, or a
    non-finite step.

    Training waits for the copy to the host only. A thread of its own writes the file, one
    at a time; if it fails, the next save raises the error, or else the end of the training.

    Args:
        path: The file.
        every_steps: Save after so many steps too.
        resume: Go on from the file if it exists. If False, a file that exists is an
            error, so that no run overwrites another.

    Raises:
        RangeError: `every_steps` is not at least 1.
        StructureError: `path` is no path, `resume` no boolean.

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
        expect_kind((str, os.PathLike), subject="Checkpoint", path=self.path)
        if self.every_steps is not None:
            expect_at_least(1, subject="Checkpoint", every_steps=self.every_steps)
        expect_kind(bool, subject="Checkpoint", resume=self.resume)

    def is_due(self, step: int) -> bool:
        """Tell whether to save after this step."""
        return self.every_steps is not None and step % self.every_steps == 0

    def expect_ready(self, data: Any) -> bool:
        """Refuse now what would fail later; tell whether there is a run to resume."""
        if not (hasattr(data, "state") and hasattr(data, "restore")):
            refuse(
                StructureError,
                subject="Checkpoint",
                expected="data that tells its position: attributes state and restore",
                got=source_name(data),
                fix="pass a DataLoader",
            )
        path = Path(self.path)
        if not path.exists():
            self._expect_folder(path)
            return False
        expect_state(
            self.resume,
            subject="Checkpoint",
            expected="a file that does not exist yet",
            got=shown(path.name),
            fix="pass Checkpoint(path, resume=True) to go on from it, or another path",
        )
        return True

    def load(self, like: dict[str, Any], data: Any) -> tuple[dict[str, Any], Done]:
        """Read what is to be resumed, and bring the data to its place."""
        tree, metadata = load_with_metadata(self.path, like)
        done = _decoded(metadata.get(METADATA, "null"), Path(self.path).name)
        if done.position is not None:
            data.restore(done.position)
        return tree, done

    def _expect_folder(self, path: Path) -> None:
        """Refuse now what would fail after the first epoch."""
        expect_state(
            path.parent.is_dir() and os.access(path.parent, os.W_OK),
            subject="Checkpoint",
            expected=f"a folder to write {shown(path.name)} into",
            got="none that exists and can be written to",
            fix="create the folder first",
        )


def on_host(tree: Any) -> Any:
    """Copy a tree to the host, where no step takes its memory; keys stay JAX's."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf) if is_key(leaf) else _copied(leaf), tree)


def _copied(leaf: Any) -> Any:
    return np.array(leaf) if hasattr(leaf, "dtype") else leaf


def write(path: Path, tree: dict[str, Any], done: Done, note: str = "") -> None:
    """Replace a file by a checkpoint."""
    metadata = {METADATA: json.dumps(dataclasses.asdict(done))} | ({NOTE: note} if note else {})
    save(path, tree, metadata=metadata)


def as_checkpoint(given: object) -> Checkpoint | None:
    """Take a path as a checkpoint with default options."""
    if given is None or isinstance(given, Checkpoint):
        return given
    expect_kind((str, os.PathLike), subject="train", checkpoint=given)
    return Checkpoint(cast("str | os.PathLike[str]", given))


def _decoded(text: str, name: str) -> Done:
    """Read what `write` noted; foreign text is checked field by field."""
    try:
        noted = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_note(name, f"a fault: {shown(str(error))}") from error
    if not isinstance(noted, dict):
        raise _bad_note(name, shown(noted) if noted is not None else "none")
    fields = cast("dict[str, Any]", noted)
    wrong = [key for key, fits in _FIELDS.items() if not fits(fields.get(key))]
    wrong += [key for key in fields if key not in _FIELDS]
    if wrong:
        raise _bad_note(name, f"other values for {', '.join(map(shown, wrong))}")
    fields["rows"] = tuple(fields["rows"])
    return Done(**fields)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_boolean(value: Any) -> bool:
    return type(value) is bool


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict) and all(map(_is_number, row.values())) for row in value
    )


_FIELDS = {
    "epoch": _is_count,
    "step": _is_count,
    "rows": _are_rows,
    "examples": _is_count,
    "total_loss": _is_number,
    "skipped": _is_count,
    "seconds": _is_number,
    "position": lambda value: value is None or isinstance(value, dict),
    "begun": _is_boolean,
    "validates": _is_boolean,
}


def _bad_note(name: str, got: str) -> FileError:
    return FileError(
        subject=shortened(repr(name)),
        where=f"metadata {METADATA!r}",
        expected="the notes of a training run that rs.train saved",
        got=got,
        fix="resume from a file that a Checkpoint wrote; rs.load reads other files",
    )
