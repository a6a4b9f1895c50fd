# SPDX-License-Identifier: Apache-2.0
"""`Rule`: hyperparameters, and how a gradient becomes a descent.

A rule turns gradients, by path, into descents: what is subtracted from the parameters.
So rules can stand in a row (`OptimiserChain`), each taking the descent of the one before
for its gradient. What applies a rule to a model stands in `update`.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_known, refuse
from rosin.errors import StructureError
from rosin.optimisers.hyperparameters import Numbers, Schedule
from rosin.optimisers.numerics import real_dtype, saturated


class Progress(NamedTuple):
    """The state of a rule: how many steps it has taken, and what it remembers."""

    step: Array
    memory: Any


class Place(NamedTuple):
    """Which parameter a rule moves, and when.

    Args:
        path: Of the parameter.
        parameter: Its value now, in float32 if the model has it in half precision.
        step: Steps that the rule has taken before, a whole number.
    """

    path: str
    parameter: Array
    step: Array

    @property
    def number(self) -> Array:
        """This step's number from 1 on, in the dtype of the parameter."""
        return self.step.astype(real_dtype(self.parameter)) + 1


class Rule(Numbers):
    """Anything that turns the gradients of a model into descents; see `LeafRule`.

    Examples:
        >>> import rosin as rs
        >>> isinstance(rs.Adam(), rs.Rule), isinstance(rs.ClipNorm(), rs.LeafRule)
        (True, False)
    """

    def begin(self, parameters: dict[str, Array]) -> Any:
        """Return what the rule remembers before its first step."""
        raise NotImplementedError

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Return the descents, and what is remembered then."""
        raise NotImplementedError

    def start(self, parameters: dict[str, Array]) -> Progress:
        """Return the state before the first step."""
        return Progress(jnp.zeros((), jnp.int32), self.begin(parameters))

    def proceed(
        self, gradients: dict[str, Array], progress: Progress, parameters: dict[str, Array]
    ) -> tuple[dict[str, Array], Progress]:
        """Take a step: return the descents and the next state."""
        present = self.at(progress.step)
        descents, memory = present.advance(gradients, progress.memory, parameters, progress.step)
        return descents, Progress(jnp.asarray(optax.safe_increment(progress.step)), memory)

    def transformation(self) -> optax.GradientTransformation:
        """Return the rule as a transformation for optax, which works on dicts by path."""

        def init(params: Any) -> Any:
            return self.start(params)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            descents, progress = self.proceed(updates, state, params)
            return jax.tree.map(jnp.negative, descents), progress

        return optax.GradientTransformation(init, update)

    def at(self, step: Array) -> Self:
        """Put the present values in place of schedules."""
        values = {name: getattr(self, name) for name in self.ranges}
        moving = {n: v(step) for n, v in values.items() if isinstance(v, Schedule)}
        return self.replace(**moving) if moving else self

    def emits(self, progress: Progress) -> Array | bool:
        """Tell whether the rules behind this one in a chain get to see the next step."""
        return True

    @property
    def asks(self) -> bool:
        """Whether the rule takes more than gradients and parameters."""
        return False

    def told(self, more: dict[str, Any]) -> Self:
        """Return the rule with what it takes beside gradients and parameters, for one step."""
        return self

    def settled(self, model: Any) -> Self:
        """Look at the model that the rule is to move, once, in `setup`."""
        return self

    def parts(self) -> dict[str, "Rule"]:
        """Return the rules inside by the names that `adjust` knows them by."""
        return {}

    def with_part(self, name: str, part: "Rule") -> Self:
        """Return the rule with another rule in the place of that name."""
        raise NotImplementedError

    def partitioned(self, paths: Sequence[str]) -> list[frozenset[str]]:
        """Return the sets of paths by which the rule keeps what it remembers."""
        return [frozenset(paths)]

    def adjusted(self, *where: str, **changes: Any) -> Self:
        """Return the rule with other hyperparameters, checked as at construction.

        Args:
            where: Names the rule inside that is meant, from the outside in. It may be left
                out where one rule alone has a hyperparameter of this name.
            changes: The hyperparameters.

        Raises:
            StructureError: A name is not known, or several rules have it.
            RangeError: A value is out of its range.
        """
        if where:
            parts = self.parts()
            owner = type(self).__name__
            expect_known([where[0]], list(parts), subject=owner, what="parts")
            return self.with_part(where[0], parts[where[0]].adjusted(*where[1:], **changes))
        changed: Any = self
        for name, value in changes.items():
            changed = _with(changed, name, value)
        return changed


def _with(rule: Any, name: str, value: Any) -> Any:
    """Change one hyperparameter, here or in the one rule inside that has it."""
    if name in rule.ranges:
        return rule.replace(**rule._checked({name: value}))  # noqa: SLF001  of this very class
    owners = list(dict.fromkeys(_owners(rule, name)))
    if len(owners) > 1:
        listed = ", ".join(" ".join(map(repr, owner)) for owner in owners)
        chosen = ", ".join(map(repr, owners[0]))
        refuse(
            StructureError,
            subject="adjust",
            expected=f"to be told whose {name}",
            got=f"{len(owners)} rules that have it: {listed}",
            fix=f"name one of them: rs.adjust(opt_state, {chosen}, {name}=...)",
        )
    if not owners:
        owner = type(rule).__name__
        expect_known([name], _known(rule), subject=owner, what="hyperparameters")
    return rule.adjusted(*owners[0], **{name: value})


def _owners(rule: Rule, name: str) -> list[tuple[str, ...]]:
    """List where inside a rule a hyperparameter of this name stands; each place once."""
    if name in rule.ranges:
        return [()]
    found: list[tuple[str, ...]] = []
    seen: list[Rule] = []
    for label, part in rule.parts().items():
        if not any(part is other for other in seen):
            seen.append(part)
            found += [(label, *inner) for inner in _owners(part, name)]
    return found


def _known(rule: Rule) -> list[str]:
    inside = [name for part in rule.parts().values() for name in _known(part)]
    return list(dict.fromkeys([*rule.ranges, *inside]))


class LeafRule(Rule):
    """A rule that moves each parameter by itself; the base of most, and of your own.

    Declare hyperparameters in `ranges` and as fields, and define `remember` and `move`.
    Without an `__init__` the fields are the arguments.

    Examples:
        >>> import rosin as rs
        >>> class SignDescent(rs.LeafRule):
        ...     learning_rate: rs.Buffer[rs.Array]
        ...     def move(self, gradient, memory, place):
        ...         return self.learning_rate * jnp.sign(gradient), memory
        >>> opt_state = rs.setup(SignDescent(jnp.asarray(0.1)), jnp.ones(2))
        >>> rs.update(opt_state, jnp.ones(2), jnp.array([3.0, -0.5]))[1]
        Array([0.9, 1.1], dtype=float32)
    """

    def remember(self, parameter: Array) -> Any:
        """Return a named tuple of arrays: what is remembered of one parameter at first."""
        return ()

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Return the descent of one parameter, and what is remembered of it then.

        Numbers may overflow in the descent: infinities become the largest finite number.
        """
        raise NotImplementedError

    def begin(self, parameters: dict[str, Array]) -> Any:
        """Return what is remembered of all parameters: for each name, a dict by path."""
        return _by_name({path: self.remember(leaf) for path, leaf in parameters.items()})

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Move the parameters one by one."""
        descents: dict[str, Array] = {}
        remembered: dict[str, Any] = {}
        in_dtype = functools.cache(self._in_dtype)
        for path, gradient in gradients.items():
            past = memory and type(memory)(*[part[path] for part in memory])
            place = Place(path, parameters[path], step)
            rule = in_dtype(real_dtype(parameters[path]))
            descent, remembered[path] = rule.move(gradient, past, place)
            descents[path] = saturated(descent)
        return descents, _by_name(remembered)

    def _in_dtype(self, dtype: jnp.dtype) -> Self:
        """Bring the hyperparameters into the dtype of a parameter."""
        return jax.tree.map(
            lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, self
        )


def _by_name(remembered: dict[str, Any]) -> Any:
    """Turn named tuples by path into one named tuple of dicts by path."""
    first: Any = next(iter(remembered.values()), ())
    parts = [{path: memory[i] for path, memory in remembered.items()} for i in range(len(first))]
    return type(first)(*parts)


class Transformation(Rule):
    """Any optax transformation, taken as it is; it has no hyperparameters to adjust."""

    given: Static[optax.GradientTransformation]
    more: Buffer[dict[str, Any] | None] = None

    @property
    def asks(self) -> bool:
        """Whether the transformation takes further arguments."""
        return isinstance(self.given, optax.GradientTransformationExtraArgs)

    def told(self, more: dict[str, Any]) -> Self:
        """Return the transformation with further arguments."""
        return self.replace(more=more) if self.asks else self

    def begin(self, parameters: dict[str, Array]) -> Any:
        """Return its first state."""
        return self.given.init(parameters)

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Take its step; optax adds where a descent is subtracted."""
        further: dict[str, Any] = self.more or {}
        transformation: Any = self.given
        try:
            steps, after = transformation.update(gradients, memory, parameters, **further)
        except TypeError as error:
            _expect_told(error, further)
            raise
        return {path: -step for path, step in steps.items()}, jax.tree.map(jnp.asarray, after)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield nothing: a transformation is functions."""
        yield from ()


def _expect_told(error: TypeError, further: dict[str, Any]) -> None:
    """Say which arguments a transformation misses, if that is what was wrong."""
    _, missing, names = str(error).partition("missing")
    if not missing or "keyword-only" not in names:
        return
    missed = names.partition(": ")[2]
    refuse(
        StructureError,
        subject="update",
        expected=f"what the optax transformation asks for: {missed}",
        got=", ".join(further) or "no further arguments",
        fix="apply a transformation that calls functions to rs.trainables(model, paths=True)"
        if "_fn" in missed
        else "pass it by name: rs.update(opt_state, model, grads, value=loss)",
    )
