# SPDX-License-Identifier: Apache-2.0
"""The hyperparameters of an optimiser, each with the place that `adjust` knows it by."""

from collections.abc import Iterator
from typing import NamedTuple

from rosin.optimisers.hyperparameters import Schedule
from rosin.optimisers.rule import Rule
from rosin.optimisers.update import OptimiserState


class Place(NamedTuple):
    """A hyperparameter.

    Args:
        where: The parts of the rule from the outside in, and last its name.
        rule: The rule it belongs to.
    """

    where: tuple[str, ...]
    rule: Rule

    @property
    def name(self) -> str:
        """The place in words."""
        return ".".join(self.where)


def hyperparameters(opt_state: OptimiserState) -> list[Place]:
    """List the hyperparameters of a rule and of the rules inside it, each once."""
    return list(_inside(opt_state.rule, ()))


def value_of(place: Place, opt_state: OptimiserState) -> float:
    """Return the number that the next step uses; waits for the steps on their way."""
    value = getattr(place.rule, place.where[-1])
    return float(value(opt_state.state.step) if isinstance(value, Schedule) else value)


def _inside(rule: Rule, where: tuple[str, ...]) -> Iterator[Place]:
    for name in rule.ranges:
        yield Place((*where, name), rule)
    seen: list[Rule] = []
    for label, part in rule.parts().items():
        if not any(part is other for other in seen):
            seen.append(part)
            yield from _inside(part, (*where, label))
