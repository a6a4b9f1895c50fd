# SPDX-License-Identifier: Apache-2.0
"""The values of a run: what is asked for, where it stands, what comes out.

Everything that changes stands in one value, `Now`, which each change replaces as a whole:
an interrupt, wherever it comes, finds the state before the change or the one after.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from rosin.core.types import Array, PyTree
from rosin.optimisers.averaged import averaged
from rosin.optimisers.update import OptimiserState
from rosin.training.checkpoint import Checkpoint, Done
from rosin.training.history import History
from rosin.training.step import Options

M = TypeVar("M")


class TrainResult(NamedTuple, Generic[M]):
    """What training returns.

    Args:
        model: The trained model.
        opt_state: The optimiser's state, to go on with.
        history: One row for each epoch.
        stopped: Why training ended before its last epoch; empty if it did not.
    """

    model: M
    opt_state: OptimiserState
    history: History
    stopped: str = ""

    @property
    def averaged_model(self) -> M:
        """The model with the averages that the optimiser keeps; see `averaged`."""
        return averaged(self.opt_state, self.model)


class Sent(NamedTuple):
    """A step that was sent off and not looked at yet.

    Args:
        batch: What it was taken on.
        loss: Before the update.
        finite: Whether it was taken.
        harmless: Whether it was, or was left out for its loss scale alone.
        position: Of the data after it.
    """

    batch: PyTree
    loss: Array
    finite: Array
    harmless: Array
    position: dict[str, Any] | None


class Now(NamedTuple):
    """Where a run stands.

    Args:
        leaves: Of model and optimiser state, after all steps that were sent off. The next
            step takes their memory.
        alive: Whether none of these steps ends the training, as an array: nothing waits.
        sent: The steps that `done` does not count yet.
        done: How far the run has come without them.
        states: What the callbacks keep, by their names.
    """

    leaves: list[Any]
    alive: Array
    sent: tuple[Sent, ...]
    done: Done
    states: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is asked to do.

    Args:
        loss: The loss function.
        data: Gives the batches of an epoch.
        epochs: Passes over the data in all.
        has_validation: Whether validation follows each epoch.
        on_nonfinite: "raise", "skip" or "stop".
        checkpoint: Where to save, and whether to resume.
        seed: What to seed the random parts with, if anything.
        options: How each step is taken.
        evaluate_average: Whether the validation is of the averaged parameters.
    """

    loss: Callable[..., Any]
    data: Any
    epochs: int
    has_validation: bool
    on_nonfinite: str
    checkpoint: Checkpoint | None
    seed: int | None
    options: Options
    evaluate_average: bool
