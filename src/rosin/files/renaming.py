# SPDX-License-Identifier: Apache-2.0
"""Renaming rules: data that says which array of a file becomes which array of a model.

A rule takes names that fit its patterns and gives the arrays other names, on the way through
steps that change their layout, split them or join them. Rules are values: they can be
written in Python or in a JSON file (`rosin.files.rule_files`), and hold no code. Each name
goes to the first rule that takes it; a name that no rule takes stays what it is.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rosin.core.validation import expect_kind, refuse
from rosin.errors import StructureError, shortened
from rosin.files.items import Item
from rosin.files.layouts import Flip, Reorder, Reshape, Transpose
from rosin.files.merges import Add, Join, Same, Split, Stack, Unstack
from rosin.files.patterns import Pattern, as_index
from rosin.files.rules import Drop, Rename, Rule, free_placeholders
from rosin.files.steps import Step
from rosin.limits import Limits

__all__ = [
    "Add",
    "Drop",
    "Flip",
    "Join",
    "Rename",
    "Renaming",
    "Reorder",
    "Reshape",
    "Same",
    "Split",
    "Stack",
    "Transpose",
    "Unstack",
    "as_renaming",
]

MAX_LISTED = 20
_MAX_NAMES = Limits().max_tensors
_FIX = "mend the rules; Drop(pattern) leaves arrays out"


def as_renaming(names: "Renaming | Iterable[Rule]") -> "Renaming":
    """Take rules in a row as they are, or as a list."""
    return names if isinstance(names, Renaming) else Renaming(names)


class Renaming:
    """Rules in a row, checked.

    Args:
        rules: The rules; a name goes to the first that takes it.

    Raises:
        StructureError: Something is no rule.

    Examples:
        >>> rules = Renaming([Rename("layer{s}.{*rest}", "stages[{s-1}].{*rest}")])
        >>> list(rules.rename({"layer1.weight": np.ones(2)}))
        ['stages[0].weight']
        >>> list(rules.inverse().rename({"stages[0].weight": np.ones(2)}))
        ['layer1.weight']
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        for rule in self.rules:
            expect_kind((Rename, Drop), subject="Renaming", rule=rule)
        self._takers = [_Taker(rule) for rule in self.rules]

    def rename(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Apply the rules to arrays at hand.

        Args:
            arrays: NumPy arrays by name.

        Returns:
            The arrays by their new names; those that no rule takes keep theirs.

        Raises:
            StructureError: An array that a rule needs is missing, arrays do not fit the
                steps, or two of them get one name. Everything is listed at once.
        """
        items = self.apply({name: Item.of(array) for name, array in arrays.items()})
        return {name: item.read() for name, item in items.items()}

    def apply(self, items: Mapping[str, Item]) -> dict[str, Item]:
        """Apply the rules to what a file holds; nothing is read before it is asked for.

        Raises:
            StructureError: As for `rename`.
        """
        faults: list[str] = []
        renamed: dict[str, Item] = {}
        origins: dict[str, str] = {}
        for target, origin, item in self._made(items, faults):
            if target in renamed:
                faults.append(
                    f"{shortened(target)} is filled twice, by {origins[target]} and {origin}"
                )
            if len(renamed) >= _MAX_NAMES:
                faults.append(f"more than {_MAX_NAMES} arrays are made")
                break
            renamed[target], origins[target] = item, origin
        if faults:
            more = len(faults) - MAX_LISTED
            refuse(
                StructureError,
                subject="the renaming rules",
                expected="rules that fit the names and shapes in the file",
                got=f"{len(faults)} that do not",
                fix=_FIX,
                details=(*faults[:MAX_LISTED], *([f"and {more} more"] if more > 0 else [])),
            )
        return renamed

    def taker(self, name: str) -> Rule | None:
        """Find the rule that takes a name; `None` if it stays what it is.

        Examples:
            >>> Renaming([Drop("**.steps"), Rename("fc.{x}", "head.{x}")]).taker("fc.bias")
            Rename('fc.{x}', 'head.{x}')
        """
        return next((one.given for one in self._takers if one.place(name) is not None), None)

    def inverse(self) -> "Renaming":
        """Return the rules for the way back; what was dropped is not made again.

        Raises:
            StructureError: A rule has a step that cannot be undone.
        """
        return Renaming([rule.inverse() for rule in self.rules if isinstance(rule, Rename)])

    def _made(
        self, items: Mapping[str, Item], faults: list[str]
    ) -> Iterator[tuple[str, str, Item]]:
        """Yield each new name, what it is made of, and the item."""
        groups: dict[tuple[int, tuple[str, ...]], dict[int, str]] = {}
        for name in items:
            for number, taker in enumerate(self._takers):
                place = taker.place(name)
                if place is None:
                    continue
                if taker.rule is not None:
                    values, slot = place
                    groups.setdefault((number, values), {})[slot] = name
                break
            else:
                yield name, shortened(name), items[name]
        for (number, values), group in groups.items():
            yield from self._takers[number].make(values, group, items, faults)

    def __repr__(self) -> str:
        """Show how many rules there are."""
        return f"Renaming({len(self.rules)} rules)"


class _Taker:
    """A rule with its patterns read."""

    def __init__(self, rule: Rule) -> None:
        self.given = rule
        self.rule = rule if isinstance(rule, Rename) else None
        sources = rule.sources if isinstance(rule, Rename) else (rule.pattern,)
        targets = rule.targets if isinstance(rule, Rename) else ()
        self.sources = [Pattern(text) for text in sources]
        self.targets = [Pattern(text) for text in targets]
        self.gathered, self.spread = ("", "") if self.rule is None else free_placeholders(self.rule)
        names = self.sources[0].names
        self.keys = sorted(name for name in names if name != self.gathered)

    def place(self, name: str) -> tuple[tuple[str, ...], int] | None:
        """Find the group that a name belongs to, and its place in it."""
        for index, source in enumerate(self.sources):
            values = source.match(name)
            if values is None:
                continue
            slot = as_index(values[self.gathered]) if self.gathered else index
            if slot is not None:
                return tuple(values[key] for key in self.keys), slot
        return None

    def make(
        self,
        values: tuple[str, ...],
        group: Mapping[int, str],
        items: Mapping[str, Item],
        faults: list[str],
    ) -> Iterator[tuple[str, str, Item]]:
        """Make the arrays of one group."""
        rule = self.rule
        if rule is None:
            return
        bound = dict(zip(self.keys, values, strict=True))
        origin = " and ".join(shortened(group[slot]) for slot in sorted(group)[:2])
        lacking = self._lacking(group, bound)
        if lacking:
            faults.append(f"{lacking} is missing beside {origin}")
            return
        names = [group[slot] for slot in sorted(group)]
        made = _through([items[name] for name in names], rule.steps)
        if isinstance(made, str):
            first = items[names[0]]
            faults.append(f"{origin} {first}: expected {made}")
            return
        for target in self._targets(bound, len(made)):
            if target is None:
                faults.append(f"{origin} binds {bound}, which {rule.targets} cannot count with")
                return
        for target, item in zip(self._targets(bound, len(made)), made, strict=True):
            yield str(target), origin, item

    def _lacking(self, group: Mapping[int, str], bound: Mapping[str, str]) -> str:
        """Name the first array that a group lacks."""
        wanted = len(group) if self.gathered else len(self.sources)
        gap = next((slot for slot in range(wanted) if slot not in group), None)
        if gap is None:
            return ""
        source = self.sources[0 if self.gathered else gap]
        values = dict(bound) | ({self.gathered: str(gap)} if self.gathered else {})
        return shortened(source.fill(values) or source.text)

    def _targets(self, bound: Mapping[str, str], count: int) -> list[str | None]:
        if not self.spread:
            return [target.fill(bound) for target in self.targets]
        return [self.targets[0].fill({**bound, self.spread: str(i)}) for i in range(count)]


class _Group:
    """The arrays of one rule on their way through its steps; each is read once."""

    def __init__(self, items: Sequence[Item], steps: Sequence[Step]) -> None:
        self._items, self._steps = items, steps
        self._made: dict[int, np.ndarray] = {}

    def read(self, index: int) -> np.ndarray:
        """Return one of the arrays that come out; it is kept for nobody else."""
        if index not in self._made:
            self._made = dict(enumerate(self._computed()))
        return self._made.pop(index)

    def _computed(self) -> list[np.ndarray]:
        arrays: Any = [item.read() for item in self._items]
        for step in self._steps:
            arrays = step.arrays(arrays)
            if isinstance(arrays, str):
                refuse(
                    StructureError,
                    subject="the renaming rules",
                    expected=arrays,
                    got=" and ".join(str(item) for item in self._items[:2]) + " that are not",
                    fix=_FIX,
                )
        return arrays


def _through(items: Sequence[Item], steps: Sequence[Step]) -> list[Item] | str:
    """Send items through the steps by their shapes alone; say what does not fit."""
    if not steps:
        return list(items)
    if any(item.dtype is None or item.kind is not None for item in items):
        return "arrays of numbers for steps, no random keys, numbers or texts"
    if len({item.dtype for item in items}) > 1:
        return "arrays of one dtype to be merged"
    shapes = [item.shape for item in items]
    for step in steps:
        found = step.shapes(shapes)
        if isinstance(found, str):
            return found
        shapes = found
    group = _Group(items, steps)
    return [
        Item(items[0].dtype, shape, functools.partial(group.read, index))
        for index, shape in enumerate(shapes)
    ]
