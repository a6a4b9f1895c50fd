# SPDX-License-Identifier: Apache-2.0
"""One renaming rule as a value: which names it takes, what becomes of the arrays.

Everything about a rule that does not depend on a file is checked when it is made.
"""

import dataclasses
from collections.abc import Sequence
from typing import NoReturn, TypeAlias

from rosin.core.validation import expect_kind, refuse
from rosin.errors import StructureError, shortened, shown
from rosin.files.patterns import Pattern
from rosin.files.steps import Step


@dataclasses.dataclass(frozen=True, init=False)
class Rename:
    """Give arrays new names, and change them on the way.

    Args:
        sources: The pattern of a name, or several: `{i}` stands for what lies between two
            dots or brackets, `{i+1}` for a number one above, `{*rest}` for any text.
        targets: The pattern of the new name, or several.
        steps: What is done to the arrays, in this order. A placeholder that stands in the
            one source only is counted through from 0, and all its arrays go into the
            steps; one that stands in the one target only numbers what comes out.

    Raises:
        StructureError: The patterns do not have the same placeholders, or the steps do not
            make as many arrays as there are targets.

    Examples:
        >>> from rosin.files.layouts import Transpose
        >>> Rename("fc.weight", "head.weight", Transpose("OI->IO"))
        Rename('fc.weight', 'head.weight', Transpose(axes='OI->IO'))
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    steps: tuple[Step, ...]

    def __init__(
        self, sources: str | Sequence[str], targets: str | Sequence[str], *steps: Step
    ) -> None:
        for name, value in (("sources", _tupled(sources)), ("targets", _tupled(targets))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "steps", steps)
        for step in steps:
            expect_kind(Step, subject="Rename", step=step)
        _expect_names(self)
        _expect_arity(self)

    def inverse(self) -> "Rename":
        """Return the rule that undoes this one.

        Raises:
            StructureError: A step cannot be undone.
        """
        steps: list[Step] = []
        count = None if free_placeholders(self)[0] else len(self.sources)
        for step in self.steps:
            back = step.inverse(count)
            if back is None:
                refuse(
                    StructureError,
                    subject=shortened(repr(self)),
                    expected="steps that can be undone",
                    got=repr(step),
                    fix="write the rule for the way back by hand",
                )
            steps.insert(0, back)
            count = step.count(count)
        return Rename(self.targets, self.sources, *steps)

    def __repr__(self) -> str:
        """Show the call that builds the rule."""
        names = (one[0] if len(one) == 1 else list(one) for one in (self.sources, self.targets))
        return f"Rename({', '.join(map(repr, (*names, *self.steps)))})"


@dataclasses.dataclass(frozen=True)
class Drop:
    """Leave arrays out.

    Args:
        pattern: Their names; `*` stands for anything within a step, `**` for any text.

    Raises:
        StructureError: It is no pattern.
    """

    pattern: str

    def __post_init__(self) -> None:
        """Check the pattern."""
        Pattern(self.pattern)


Rule: TypeAlias = Rename | Drop


# --- checks of one rule --------------------------------------------------------------


def _tupled(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def free_placeholders(rule: Rename) -> tuple[str, str]:
    """Name the placeholder that only the sources have, and that which only the targets have."""
    ours, theirs = (set(Pattern(one[0]).names) for one in (rule.sources, rule.targets))
    return "".join(sorted(ours - theirs)[:1]), "".join(sorted(theirs - ours)[:1])


def _expect_names(rule: Rename) -> None:
    """Refuse patterns whose placeholders do not say what becomes what."""
    for side in (rule.sources, rule.targets):
        if not side:
            _refuse(rule, "a source and a target", "none", "drop arrays with Drop(pattern)")
        patterns = [Pattern(text) for text in side]
        if any(pattern.has_wildcards for pattern in patterns):
            _refuse(rule, "no * or **", shown(side), "write {*rest}, which the target can repeat")
        if len({frozenset(pattern.names) for pattern in patterns}) > 1:
            fix = "give each of them the same placeholders"
            _refuse(rule, "the same placeholders in each pattern of a side", shown(side), fix)
        if len(set(side)) < len(side):
            _refuse(rule, "patterns that differ", shown(side), "name each array once")
    first, second = Pattern(rule.sources[0]), Pattern(rule.targets[0])
    ours, theirs = set(first.names), set(second.names)
    alone = (ours - theirs) | (theirs - ours)
    if len(alone) > 1 or alone & (first.stars | second.stars):
        fix = "repeat each placeholder on the other side; one may be counted through"
        _refuse(rule, "the same placeholders in sources and targets", shown(sorted(alone)), fix)
    if (ours - theirs and len(rule.sources) > 1) or (theirs - ours and len(rule.targets) > 1):
        fix = f"repeat {{{alone.pop()}}} on the other side"
        _refuse(rule, "one pattern beside a placeholder that is counted through", "more", fix)


def _expect_arity(rule: Rename) -> None:
    """Refuse steps that do not make as many arrays as there are targets."""
    gathered, spread = free_placeholders(rule)
    count: int | None = None if gathered else len(rule.sources)
    for step in rule.steps:
        if step.arity == "part" and count != 1:
            fix = "merge them before, with Join, Stack, Add or Same"
            _refuse(rule, f"one array for {step!r}", _many(count), fix)
        count = step.count(count)
    wanted = None if spread else len(rule.targets)
    if count != wanted:
        fix = "add Join, Stack, Add, Same, Split or Unstack to the steps, or mend the patterns"
        _refuse(rule, f"steps that make {_many(wanted)}", _many(count), fix)


def _many(count: int | None) -> str:
    return "any number of arrays" if count is None else f"{count} array{'s' * (count != 1)}"


def _refuse(rule: Rename, expected: str, got: str, fix: str) -> NoReturn:
    refuse(StructureError, subject=shortened(repr(rule)), expected=expected, got=got, fix=fix)
