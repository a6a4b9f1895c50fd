# SPDX-License-Identifier: Apache-2.0
"""`Callback`: the events of a run, and the declaration of what is read and changed."""

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from rosin.core.validation import expect_between, expect_kind, expect_known, refuse
from rosin.errors import StructureError, shown
from rosin.training.callbacks.view import RunView

EVENTS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_step_end",
    "on_epoch_end",
    "on_checkpoint",
    "on_train_end",
)
READS = ("loss", "history", "model", "opt_state", "hyperparameters", "checkpoint")
CHANGES = ("stop", "validation", "model")
"""What can be changed beside the hyperparameters, whose names the optimiser knows."""


class Callback:
    """What `train` tells of its events; the base of all callbacks, and of your own.

    A subclass defines the events it wants to hear, each called with a `RunView`:

    | method | told |
    |---|---|
    | `on_train_begin` | first, before a checkpoint is resumed; forget earlier runs here |
    | `on_epoch_begin` | before the first step of an epoch |
    | `on_step_end` | after a step |
    | `on_epoch_end` | when the epoch's row, validation included, is in the history |
    | `on_checkpoint` | when a checkpoint is complete on disk |
    | `on_train_end` | last, however training ends, an exception included |

    It declares in `reads` and `changes` what the view is to give it, and gets nothing
    else. `reads` may name `loss` (of the step), `history`, `model`, `opt_state`,
    `hyperparameters` and `checkpoint` (to save the run as a file); `changes` may name
    `stop`, `validation` (to skip it), `model`, and any hyperparameter of the optimiser,
    such as `learning_rate`. A hyperparameter and the model can be changed by one callback
    of a run. Callbacks are told in the order of the list, and see what those before them
    changed.

    `on_step_end` costs nothing where it waits for nothing. A callback that declares no more
    of `reads` than `history`, and of `changes` than `stop` and `validation`, is told when
    the step was sent off. One that reads the loss and changes nothing is told while the
    next step is on its way. All others are told before the next step, which costs the
    overlap of the two; `due` tells after which steps that is worth it.

    Raises:
        StructureError: When the class is defined: an event is not known or takes other
            arguments than the view; `reads` names something that cannot be read.

    Examples:
        >>> import rosin as rs
        >>> class Best(rs.Callback):
        ...     reads = {"history"}
        ...     def on_train_begin(self, run):
        ...         self.loss = float("inf")
        ...     def on_epoch_end(self, run):
        ...         self.loss = min(self.loss, run.row["loss"])
        >>> class Wrong(rs.Callback):
        ...     def on_epoch_ends(self, run):
        ...         pass
        Traceback (most recent call last):
        rosin.errors.StructureError: Wrong: expected events among on_train_begin, ...

    Source:
        FluxTraining.jl `Callback` with `stateaccess`, where a callback that touches
        undeclared state is found by wrapping the learner, too.
    """

    reads: Collection[str] = ()
    changes: Collection[str] = ()

    def __init_subclass__(cls) -> None:
        """Check the names of events and what they take, as early as can be."""
        super().__init_subclass__()
        methods = {name: value for name, value in vars(cls).items() if callable(value)}
        named = [name for name in methods if name.startswith("on_")]
        expect_known(named, EVENTS, subject=cls.__name__, what="events")
        for name in named:
            _expect_takes_view(cls.__name__, name, methods[name])
        expect_names(cls.__name__, reads=cls.reads, changes=cls.changes)
        expect_known(cls.reads, READS, subject=cls.__name__, what="reads")

    def on_train_begin(self, run: RunView) -> None:
        """Hear that a run begins."""

    def on_epoch_begin(self, run: RunView) -> None:
        """Hear that an epoch begins."""

    def on_step_end(self, run: RunView) -> None:
        """Hear that a step is over."""

    def on_epoch_end(self, run: RunView) -> None:
        """Hear that an epoch is over."""

    def on_checkpoint(self, run: RunView) -> None:
        """Hear that a checkpoint is complete."""

    def on_train_end(self, run: RunView) -> None:
        """Hear that the run is over."""

    def due(self, step: int) -> bool:
        """Tell whether `on_step_end` is wanted after this step; nothing is waited for before."""
        return True

    @property
    def name(self) -> str:
        """What messages and checkpoints call it."""
        return type(self).__name__

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback: arrays, numbers and texts.

        Its structure is the same after `on_train_begin` and later, and what is in it does
        not change any more.
        """
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` once returned."""


def events_of(callback: Callback) -> frozenset[str]:
    """List the events that a callback wants to hear."""
    return frozenset(name for name in EVENTS if not _is_inherited(callback, name))


def _is_inherited(callback: Callback, name: str) -> bool:
    method = getattr(callback, name)
    return getattr(method, "__func__", None) is getattr(Callback, name)


def expect_names(subject: str, **named: object) -> None:
    """Refuse declarations that are not collections of names."""
    for name, value in named.items():
        expect_kind((set, frozenset, tuple, list), subject=subject, **{name: value})
        strange = [one for one in value if not isinstance(one, str)]  # pyright: ignore[reportGeneralTypeIssues]
        if strange:
            refuse(
                StructureError,
                subject=subject,
                expected=f"{name} to be a set of names",
                got=shown(strange[0]),
                fix=f'pass, for example, {name} = {{"history"}}',
            )


def expect_seconds(seconds: object, *, subject: str) -> None:
    """Refuse a time that is not above 0 and finite."""
    expect_between(
        0, math.inf, subject=subject, include_low=False, include_high=False, seconds=seconds
    )


def _expect_takes_view(owner: str, name: str, method: Callable[..., Any]) -> None:
    try:
        inspect.signature(method).bind(None, None)
    except TypeError:
        refuse(
            StructureError,
            subject=f"{owner}.{name}",
            expected="a method that takes self and the view of the run",
            got=f"one that takes {shown(str(inspect.signature(method)))}",
            fix=f"write def {name}(self, run)",
        )
    except ValueError:  # a callable without a signature, such as a stand-in
        return
