# SPDX-License-Identifier: Apache-2.0
"""Rules made of rules: `OptimiserChain`, one behind the other, and `MixedPrecision`."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from rosin.core.types import Array, Buffer
from rosin.core.validation import refuse
from rosin.errors import StructureError, shown
from rosin.optimisers.rule import Progress, Rule, Transformation


class OptimiserChain(Rule):
    """Rules in a row: each takes what the one before returns for its gradient.

    Args:
        rules: At least one; a chain inside becomes part of this one.

    Raises:
        StructureError: There is no rule, or something else among them.

    Examples:
        >>> import rosin as rs
        >>> chain = OptimiserChain(rs.ClipNorm(1.0), rs.AdamW(1e-3))
        >>> chain.adjusted(learning_rate=1e-4).rules[1].learning_rate
        Array(1.e-04, dtype=float32, weak_type=True)

    Source:
        Flux.jl `OptimiserChain`; `optax.chain`, where each step is negative.
    """

    rules: Buffer[tuple[Rule, ...]]

    def __init__(self, *rules: Rule) -> None:
        flat: list[Rule] = []
        for rule in rules:
            expect_rule(rule, subject="OptimiserChain")
            flat += rule.rules if isinstance(rule, OptimiserChain) else [rule]
        if not flat:
            refuse(
                StructureError,
                subject="OptimiserChain",
                expected="at least one rule",
                got="none",
                fix="pass rules, such as OptimiserChain(rs.ClipNorm(1.0), rs.Adam(1e-3))",
            )
        self.rules = tuple(flat)

    def begin(self, parameters: dict[str, Array]) -> tuple[Progress, ...]:
        """Begin each rule."""
        return tuple(rule.start(parameters) for rule in self.rules)

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Hand the gradients from rule to rule."""
        return _advance(self.rules, gradients, tuple(memory), parameters)

    def settled(self, model: Any) -> Self:
        """Settle each rule."""
        return self.replace(rules=tuple(rule.settled(model) for rule in self.rules))

    def parts(self) -> dict[str, Rule]:
        """Name the rules by class where that is unique, and by place: `[0]`, `[1]`."""
        names = [type(rule).__name__ for rule in self.rules]
        named = {n: r for n, r in zip(names, self.rules, strict=True) if names.count(n) == 1}
        return named | {f"[{i}]": rule for i, rule in enumerate(self.rules)}

    def with_part(self, name: str, part: Rule) -> Self:
        """Return the chain with another rule in one place."""
        old = self.parts()[name]
        return self.replace(rules=tuple(part if rule is old else rule for rule in self.rules))

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the rules."""
        yield from self.rules


def _advance(
    rules: tuple[Rule, ...],
    gradients: dict[str, Array],
    progress: tuple[Progress, ...],
    parameters: dict[str, Array],
) -> tuple[dict[str, Array], tuple[Progress, ...]]:
    if not rules:
        return gradients, ()
    emits = rules[0].emits(progress[0])
    descents, first = rules[0].proceed(gradients, progress[0], parameters)
    behind = tuple(progress[1:])

    def go(descents: dict[str, Array]) -> Any:
        return _advance(rules[1:], descents, behind, parameters)

    def wait(descents: dict[str, Array]) -> Any:
        return jax.tree.map(jnp.zeros_like, descents), behind

    last, rest = go(descents) if emits is True else jax.lax.cond(emits, go, wait, descents)
    return last, (first, *rest)


class _Master(NamedTuple):
    inner: Any
    master: Any


class MixedPrecision(Rule):
    """Keep the parameters in float32 beside a model in half precision.

    Steps too small to be seen in half precision add up in the copy, from which the
    model's parameters are rounded after each step. Only the outermost rule can be one.
    Change parameters by hand, and `setup` has to be called again. A model that is itself
    in float32 computes in half precision by `precision=` of `train` or `trainstep`, which
    needs no copy and scales gradients in float16.

    Args:
        rule: What moves the copy.

    Raises:
        StructureError: `rule` is no rule.

    Examples:
        >>> import rosin as rs
        >>> model = jnp.ones(1, jnp.bfloat16)
        >>> opt_state = rs.setup(MixedPrecision(rs.Descent(1e-3)), model)
        >>> for _ in range(8):
        ...     opt_state, model = rs.update(opt_state, model, jnp.ones(1, jnp.bfloat16))
        >>> model  # without the copy: 1
        Array([0.992188], dtype=bfloat16)

    Source:
        Micikevicius et al. 2018, section 3.1; Flux.jl `MixedPrecision`.
    """

    rule: Buffer[Rule]

    def __init__(self, rule: Rule) -> None:
        expect_rule(rule, subject="MixedPrecision")
        self.rule = rule

    def begin(self, parameters: dict[str, Array]) -> Any:
        """Copy the parameters."""
        return _Master(self.rule.start(parameters), dict(parameters))

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Move the copy, and lead the parameters to it."""
        held = {path: memory.master[path] for path in gradients}
        descents, inner = self.rule.proceed(gradients, memory.inner, held)
        master = {path: held[path] - descents[path] for path in gradients}
        leads = {path: parameters[path] - master[path] for path in gradients}
        return leads, _Master(inner, master)

    def settled(self, model: Any) -> Self:
        """Settle the rule inside."""
        return self.replace(rule=self.rule.settled(model))

    def parts(self) -> dict[str, Rule]:
        """Name the rule inside by its class."""
        return {type(self.rule).__name__: self.rule}

    def with_part(self, name: str, part: Rule) -> Self:
        """Return the same around another rule."""
        return self.replace(rule=part)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the rule inside."""
        yield self.rule


def expect_rule(rule: object, *, subject: str) -> None:
    """Refuse what cannot be part of a rule."""
    if not isinstance(rule, Rule) or isinstance(rule, (MixedPrecision, Transformation)):
        foreign = isinstance(rule, tuple) and hasattr(rule, "update")
        refuse(
            StructureError,
            subject=subject,
            expected="rules of Rosin, such as rs.Adam(1e-3)",
            got="an optax transformation" if foreign else shown(rule),
            fix="join it by optax.chain with rule.transformation() of the others"
            if foreign
            else "call the class of a rule; MixedPrecision goes outside of all others",
        )
