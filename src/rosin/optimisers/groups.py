# SPDX-License-Identifier: Apache-2.0
"""`Groups`: a rule for each group of parameters, chosen by globs over paths."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from rosin.core.paths import Glob
from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import refuse
from rosin.errors import StructureError, shown
from rosin.optimisers.chain import expect_rule
from rosin.optimisers.rule import Progress, Rule

MAX_LISTED = 8
MAX_NEAR = 3


class Groups(Rule):
    """What `setup` makes of a dict of rules; `adjust` names a group by its glob."""

    rules: Buffer[tuple[Rule, ...]]
    globs: Static[tuple[str, ...]]
    paths: Static[tuple[frozenset[str], ...]]

    def begin(self, parameters: dict[str, Array]) -> tuple[Progress, ...]:
        """Begin each rule with its own parameters."""
        return tuple(
            rule.start(_only(parameters, paths))
            for rule, paths in zip(self.rules, self.paths, strict=True)
        )

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Let each rule move its own; one without gradients waits."""
        descents: dict[str, Array] = {}
        after: list[Progress] = []
        for rule, paths, progress in zip(self.rules, self.paths, memory, strict=True):
            own = _only(gradients, paths)
            moved, progressed = (
                rule.proceed(own, progress, _only(parameters, paths)) if own else ({}, progress)
            )
            descents |= moved
            after.append(progressed)
        return descents, tuple(after)

    def settled(self, model: Any) -> Self:
        """Settle each rule."""
        return self.replace(rules=tuple(rule.settled(model) for rule in self.rules))

    def parts(self) -> dict[str, Rule]:
        """Name the rules by their globs."""
        return dict(zip(self.globs, self.rules, strict=True))

    def with_part(self, name: str, part: Rule) -> Self:
        """Return the groups with another rule for one."""
        pairs = zip(self.globs, self.rules, strict=True)
        return self.replace(rules=tuple(part if glob == name else rule for glob, rule in pairs))

    def partitioned(self, paths: Sequence[str]) -> list[frozenset[str]]:
        """Return the paths of each group."""
        return list(self.paths)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the dict."""
        yield self.parts()


def grouped(rules: Mapping[str, Rule], paths: Sequence[str]) -> Groups:
    """Give each path to the first glob that covers it."""
    if not rules:
        refuse(
            StructureError,
            subject="setup",
            expected="a rule for at least one glob over paths",
            got="an empty dict",
            fix='pass {"**": rs.Adam(1e-3)} for every parameter',
        )
    members: dict[str, list[str]] = {glob: [] for glob in rules}
    for rule in rules.values():
        expect_rule(rule, subject="setup")
    covering = {glob: Glob(glob) for glob in rules}
    left: list[str] = []
    for path in paths:
        first = next((glob for glob in rules if covering[glob].covers(path)), None)
        (left if first is None else members[first]).append(path)
    _expect_members(members, covering, paths)
    if left:
        refuse(
            StructureError,
            subject="setup",
            expected="every parameter in a group",
            got=f"{len(left)} that no glob covers",
            fix='add {"**": rule} at the end for the rest, or freeze them before setup',
            details=tuple(left[:MAX_LISTED]),
        )
    return Groups(
        tuple(rules.values()), tuple(rules), tuple(frozenset(group) for group in members.values())
    )


def _expect_members(
    members: dict[str, list[str]], covering: dict[str, Glob], paths: Sequence[str]
) -> None:
    """Refuse a group without a parameter, and say what it may have meant."""
    for glob, group in members.items():
        if group:
            continue
        taken = any(covering[glob].covers(path) for path in paths)
        near = difflib.get_close_matches(glob, paths, n=MAX_NEAR, cutoff=0.0)
        refuse(
            StructureError,
            subject="setup",
            expected=f"the group {shown(glob)} to hold a parameter",
            got="none that an earlier group has left" if taken else "none of that path",
            fix="put the narrower glob first"
            if taken
            else "use a path that rs.trainables(model, paths=True) lists; the nearest are above",
            details=() if taken else tuple(near),
        )


def _only(leaves: dict[str, Array], paths: frozenset[str]) -> dict[str, Array]:
    return {path: leaf for path, leaf in leaves.items() if path in paths}
