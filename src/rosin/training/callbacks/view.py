# SPDX-License-Identifier: Apache-2.0
"""What a callback gets of a run: what it declares to read and to change, and no more.

An event works on a `Moment`, a proposal that the run takes over as a whole when all
callbacks have heard it. So an exception in the middle of an event changes nothing.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from rosin.core.validation import expect_kind, expect_state, refuse
from rosin.errors import StructureError, shortened, shown
from rosin.optimisers.update import OptimiserState, adjust
from rosin.training.callbacks.hyperparameters import hyperparameters, value_of
from rosin.training.history import History

MAX_REASON_CHARACTERS = 200
AFTER_TRAINING = ("on_checkpoint", "on_train_end")


@dataclasses.dataclass(slots=True, kw_only=True)
class Moment:
    """An event of a run: what can be read, and what is to change.

    Args:
        event: Its name.
        epoch: The present epoch, from 1.
        epochs: Those wanted in all.
        step: Steps taken in all.
        rows: The history.
        has_validation: Whether there is validation data.
        tree: Returns model and optimiser state, whose memory the next step takes.
        say: Shows a line.
        loss: Of the step, where there is one.
        checkpoint: The file that was written, in `on_checkpoint`.
        stopped: Why training ends; a callback may set it.
        changed: Model and optimiser state, if a callback changed one.
        skips_validation: Whether a callback wants no validation in this epoch.
        saves: Files to save the run to, each with a note.
    """

    event: str
    epoch: int
    epochs: int
    step: int
    rows: tuple[dict[str, float], ...]
    has_validation: bool
    tree: Callable[[], tuple[Any, OptimiserState]]
    say: Callable[[str], None]
    loss: float | None = None
    checkpoint: Path | None = None
    stopped: str = ""
    changed: tuple[Any, OptimiserState] | None = None
    skips_validation: bool = False
    saves: list[tuple[Path, str]] = dataclasses.field(default_factory=list)

    def present(self) -> tuple[Any, OptimiserState]:
        """Return model and optimiser state as the callbacks so far left them."""
        return self.changed or self.tree()


class RunView:
    """What an event of a callback sees of a run, and may do to it.

    `epoch`, `epochs`, `step`, `stopped`, `has_validation` and `say` are open to all; each of
    the others is to be declared. What comes out is a copy: it can be kept, and changing it
    changes nothing. A view serves one call; later it refuses.

    Examples:
        >>> import rosin as rs
        >>> class Steps(rs.Callback):
        ...     def on_train_end(self, run):
        ...         print(run.epoch, run.epochs, run.step)
        >>> weight, batches = jnp.ones(2), [jnp.ones(2)] * 3
        >>> result = rs.train(
        ...     lambda weight, x: (weight * x).sum(), weight, batches,
        ...     rs.setup(rs.Descent(0.1), weight), callbacks=[Steps()], progress=False)
        1 1 3
    """

    __slots__ = ("_changes", "_moment", "_name", "_over", "_reads")

    def __init__(
        self, moment: Moment, name: str, reads: frozenset[str], changes: frozenset[str]
    ) -> None:
        self._moment = moment
        self._name = name
        self._reads = reads
        self._changes = changes
        self._over = False

    # --- open to all ------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The number of the present epoch, from 1; at the end, of the last one begun."""
        return self._now().epoch

    @property
    def epochs(self) -> int:
        """How many epochs the run is to have."""
        return self._now().epochs

    @property
    def step(self) -> int:
        """How many steps were taken in all epochs."""
        return self._now().step

    @property
    def stopped(self) -> str:
        """Why training ends before its last epoch, or empty."""
        return self._now().stopped

    @property
    def has_validation(self) -> bool:
        """Whether the run has validation data."""
        return self._now().has_validation

    @property
    def checkpoint(self) -> Path:
        """The file that is complete, in `on_checkpoint`.

        Raises:
            StateError: It is another event.
        """
        path = self._now().checkpoint
        self._expect_event(path is not None, "checkpoint", "on_checkpoint")
        return path  # pyright: ignore[reportReturnType]

    def say(self, text: str) -> None:
        """Show a line: above the bar on a terminal, between the lines elsewhere."""
        self._now().say(shortened(str(text), MAX_REASON_CHARACTERS))

    # --- to be declared in `reads` ------------------------------------------------------

    @property
    def loss(self) -> float:
        """The loss of the step, before its update; declared as `loss`.

        Raises:
            StateError: The event is not `on_step_end`.
            StructureError: It is not declared.
        """
        loss = self._reading("loss", "loss").loss
        self._expect_event(loss is not None, "loss", "on_step_end")
        return loss  # pyright: ignore[reportReturnType]

    @property
    def history(self) -> History:
        """The rows of the epochs so far, the last included in `on_epoch_end`.

        Raises:
            StructureError: `history` is not declared.
        """
        return History(list(self._reading("history", "history").rows))

    @property
    def row(self) -> dict[str, float]:
        """The last row of the history, or an empty one; declared as `history`.

        Raises:
            StructureError: `history` is not declared.
        """
        rows = self._reading("row", "history").rows
        return dict(rows[-1]) if rows else {}

    @property
    def model(self) -> Any:
        """A copy of the present model.

        Raises:
            StructureError: `model` is not declared.
        """
        return jax.tree.map(jnp.copy, self._reading("model", "model").present()[0])

    @property
    def opt_state(self) -> OptimiserState:
        """A copy of the present state of the optimiser.

        Raises:
            StructureError: `opt_state` is not declared.
        """
        return jax.tree.map(jnp.copy, self._reading("opt_state", "opt_state").present()[1])

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The numbers of the optimiser's rule at the present step, by name.

        In groups and chains the name of the part stands before: `encoder.learning_rate`.

        Raises:
            StructureError: `hyperparameters` is not declared.
        """
        opt_state = self._reading("hyperparameters", "hyperparameters").present()[1]
        return {p.name: value_of(p, opt_state) for p in hyperparameters(opt_state)}

    def places(self, name: str) -> list[tuple[tuple[str, ...], float]]:
        """List where a hyperparameter stands, as `adjust` takes it, with its value there.

        Raises:
            StructureError: `hyperparameters` is not declared.
        """
        opt_state = self._reading("places", "hyperparameters").present()[1]
        found = [p for p in hyperparameters(opt_state) if p.where[-1] == name]
        return [(place.where[:-1], value_of(place, opt_state)) for place in found]

    def save(self, path: str | os.PathLike[str], *, note: str = "") -> None:
        """Save the run, as it is after this event, to a file `Checkpoint` can resume from.

        Args:
            path: The file; one that exists is replaced.
            note: A text to keep with it, under the name `note` in its metadata.

        Raises:
            StructureError: `checkpoint` is not declared in `reads`, or `path` is no path.
            StateError: The event is neither `on_epoch_end` nor `on_step_end`.
        """
        moment = self._reading("save", "checkpoint")
        expect_kind((str, os.PathLike), subject=self._name, path=path)
        at_end = moment.event in ("on_epoch_end", "on_step_end")
        self._expect_event(at_end, "save", "on_epoch_end or on_step_end")
        moment.saves.append((Path(path), note))

    # --- to be declared in `changes` ----------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the training after this event; the first reason given is the result's.

        Raises:
            StructureError: `stop` is not declared, or `reason` is no text.
            StateError: Training is over.
        """
        moment = self._changing("stop", "stop")
        expect_kind(str, subject=self._name, reason=reason)
        moment.stopped = moment.stopped or shortened(reason, MAX_REASON_CHARACTERS) or "stop"

    def skip_validation(self) -> None:
        """Leave the validation of this epoch out.

        Raises:
            StructureError: `validation` is not declared.
            StateError: The event is neither `on_epoch_begin` nor `on_step_end`.
        """
        moment = self._changing("skip_validation", "validation")
        before = moment.event in ("on_epoch_begin", "on_step_end")
        self._expect_event(before, "skip_validation", "on_epoch_begin or on_step_end")
        moment.skips_validation = True

    def adjust(self, *where: str, **numbers: float) -> None:
        """Set hyperparameters of the optimiser, as `rs.adjust` does; nothing is compiled.

        Args:
            where: Which rule, as for `rs.adjust`.
            numbers: By the names of the rule; each is to be declared in `changes`.

        Raises:
            StructureError: A name is not declared or not known, a value is no number, or a
                schedule stands in its place.
            RangeError: A value is out of its range.
            StateError: Training is over.
        """
        for name, number in numbers.items():
            moment = self._changing(name, name)
            expect_kind((int, float), subject=self._name, **{name: number})
            model, opt_state = moment.present()
            adjusted = adjust(opt_state, *where, **{name: number})
            self._expect_same_program(opt_state, adjusted, name)
            moment.changed = model, adjusted

    def replace_model(self, model: Any) -> None:
        """Put another model of the same structure in the place of the present one.

        Raises:
            StructureError: `model` is not declared in `changes`, or its structure, a shape
                or a dtype is another.
            StateError: The event is `on_checkpoint`.
        """
        moment = self._declared("replace_model", "model", "changes", self._changes)
        self._expect_event(moment.event != "on_checkpoint", "replace_model", "another event")
        present, opt_state = moment.present()
        if _form(model) != _form(present):
            refuse(
                StructureError,
                subject=f"{self._name} in {moment.event}",
                expected="a model of the structure, shapes and dtypes of the one in training",
                got="one that differs",
                fix="pass what view.model returned, or what was built from it",
            )
        moment.changed = jax.tree.map(jnp.copy, model), opt_state

    # --- what holds all this ------------------------------------------------------------

    def close(self) -> None:
        """Serve no more."""
        self._over = True

    def _now(self) -> Moment:
        expect_state(
            not self._over,
            subject=f"the view of {self._name}",
            expected="to be used inside the event it was made for",
            got=f"a use after {self._moment.event} had returned",
            fix="take what is needed out of it during the event",
        )
        return self._moment

    def _reading(self, attribute: str, permission: str) -> Moment:
        return self._declared(attribute, permission, "reads", self._reads)

    def _changing(self, attribute: str, permission: str) -> Moment:
        moment = self._declared(attribute, permission, "changes", self._changes)
        during = moment.event not in AFTER_TRAINING
        self._expect_event(during, attribute, "an event before the end")
        return moment

    def _declared(
        self, attribute: str, permission: str, kind: str, declared: frozenset[str]
    ) -> Moment:
        moment = self._now()
        if permission not in declared:
            own = ", ".join(sorted(declared))
            names = ", ".join(f'"{name}"' for name in sorted({*declared, permission}))
            refuse(
                StructureError,
                subject=f"{self._name} in {moment.event}",
                expected=f"what {kind} declares ({own or 'nothing'}) and no more",
                got=f"a use of {attribute}",
                fix=f"declare {kind} = {{{names}}} in the class, or leave it alone",
            )
        return moment

    def _expect_event(self, fits: object, attribute: str, events: str) -> None:
        expect_state(
            fits,
            subject=f"{self._name} in {self._moment.event}",
            expected=f"{attribute} in {events}",
            got=f"a use in {self._moment.event}",
            fix="do it in that event",
        )

    def _expect_same_program(self, old: OptimiserState, new: OptimiserState, name: str) -> None:
        """Refuse a number in place of a schedule, which would be compiled again."""
        if jax.tree.structure(old) != jax.tree.structure(new):
            refuse(
                StructureError,
                subject=f"{self._name} in {self._moment.event}",
                expected=f"{name} to be a number, which a callback can change",
                got="a schedule, which decides on it already",
                fix=f"build the rule with a number for {name}, or leave the callback out",
            )

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change anything by assignment."""
        if name in RunView.__slots__:
            object.__setattr__(self, name, value)
            return
        refuse(
            StructureError,
            subject=f"{self._name} in {self._moment.event}",
            expected="changes through stop, skip_validation, adjust, replace_model and save",
            got=f"an assignment to {shown(name)}",
            fix="call one of these methods; state of the callback belongs on self",
        )

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what a view does not have."""
        if name.startswith("__"):  # protocols of Python ask for names that need not be there
            raise AttributeError(name)
        known = [n for n in dir(RunView) if not n.startswith("_") and n != "close"]
        refuse(
            StructureError,
            subject=f"{self._name} in {self._moment.event}",
            expected=f"one of {', '.join(known)}",
            got=shown(name),
            fix="use a name listed, and declare it in reads or changes",
        )


def _form(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
