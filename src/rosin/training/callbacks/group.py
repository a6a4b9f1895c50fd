# SPDX-License-Identifier: Apache-2.0
"""The callbacks of one run: who hears what, who may change what, what is kept of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rosin.core.validation import expect_known, refuse
from rosin.errors import StructureError, shown
from rosin.optimisers.update import OptimiserState
from rosin.training.callbacks.base import CHANGES, READS, Callback, events_of, expect_names
from rosin.training.callbacks.hyperparameters import hyperparameters
from rosin.training.callbacks.view import Moment, RunView

STEP = "on_step_end"
SHARED = ("stop", "validation")
"""What any number of callbacks may change: the order makes no difference."""


class Member(NamedTuple):
    """A callback with what it has declared, which cannot change during the run."""

    callback: Callback
    name: str
    events: frozenset[str]
    reads: frozenset[str]
    changes: frozenset[str]

    @property
    def is_free(self) -> bool:
        """Whether it can be told of a step that was only sent off."""
        return self.reads <= {"history"} and self.changes <= set(SHARED)

    @property
    def is_late(self) -> bool:
        """Whether it can be told of a step while the next one is on its way."""
        return self.reads <= {"history", "loss"} and not self.changes and "loss" in self.reads


class Callbacks:
    """The callbacks of a run, in the order in which they are told."""

    def __init__(self, given: object) -> None:
        if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
            given = [given]
        seen: dict[str, int] = {}
        self.members = [_member(one, seen) for one in given]
        hears = {event for member in self.members for event in member.events}
        self.hears = frozenset(hears)
        on_step = [member for member in self.members if STEP in member.events]
        self.free = [m for m in on_step if m.is_free]
        self.late = [m for m in on_step if m.is_late]
        self.waiting = [m for m in on_step if not (m.is_free or m.is_late)]
        self.reads_checkpoint = any("checkpoint" in m.reads for m in self.members)

    def expect_one_owner(self, opt_state: OptimiserState) -> None:
        """Refuse changes of what is not there, and two callbacks that change one thing."""
        known = {place.where[-1]: None for place in hyperparameters(opt_state)}
        owners: dict[str, str] = {}
        for member in self.members:
            names = sorted(member.changes)
            expect_known(names, [*CHANGES, *known], subject=member.name, what="changes")
            for name in member.changes - set(SHARED):
                if name in owners:
                    refuse(
                        StructureError,
                        subject="train",
                        expected=f"one callback that changes {name}",
                        got=f"two: {owners[name]} and {member.name}",
                        fix="leave one of them out, or make one callback of the two",
                    )
                owners[name] = member.name

    def tell(self, moment: Moment, members: Sequence[Member] | None = None) -> None:
        """Let callbacks hear an event, one after the other."""
        for member in self.members if members is None else members:
            if moment.event in member.events:
                view = RunView(moment, member.name, member.reads, member.changes)
                try:
                    getattr(member.callback, moment.event)(view)
                except BaseException as error:
                    error.add_note(f"in the callback {member.name}, {moment.event}")
                    raise
                finally:
                    view.close()

    def due(self, members: Sequence[Member], step: int) -> list[Member]:
        """List those that want to hear of a step."""
        return [member for member in members if member.callback.due(step)]

    def states(self) -> dict[str, Any]:
        """Return what is to be kept, by the names of the callbacks that keep something."""
        states = {member.name: member.callback.state for member in self.members}
        return {name: state for name, state in states.items() if state}

    def restore(self, states: Mapping[str, Any]) -> None:
        """Give each callback what was kept of it."""
        for member in self.members:
            if member.name in states:
                member.callback.restore(states[member.name])


def _member(callback: object, seen: dict[str, int]) -> Member:
    if not isinstance(callback, Callback):
        is_class = isinstance(callback, type) and issubclass(callback, Callback)
        refuse(
            StructureError,
            subject="train",
            expected="callbacks to be objects of classes derived from rs.Callback",
            got=shown(callback),
            fix=f"call it: {shown(callback).removeprefix('class ')}()"
            if is_class
            else "derive its class from rs.Callback, or wrap a function as rs.every(100, function)",
        )
    name = callback.name
    expect_names(name, reads=callback.reads, changes=callback.changes)
    expect_known(callback.reads, READS, subject=name, what="reads")
    seen[name] = seen.get(name, 0) + 1
    label = name if seen[name] == 1 else f"{name}_{seen[name]}"
    reads, changes = frozenset(callback.reads), frozenset(callback.changes)
    return Member(callback, label, events_of(callback), reads, changes)
