# SPDX-License-Identifier: Apache-2.0
"""Which parameters decay: `Decay`, and the base of the rules that have it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeAlias, cast

import jax.numpy as jnp

from rosin.core.paths import Glob, joined, parse_path
from rosin.core.tree import modules
from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import refuse
from rosin.errors import StructureError, shown
from rosin.optimisers.rule import LeafRule, Place

DecayChoice: TypeAlias = str | tuple[str, ...] | Callable[[str, Array], bool] | None

SPARED = ("bias", "scale", "shift")
"""Names of fields that do not decay by default."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decay:
    """A choice of parameters: by glob, by a function of path and array, or the default.

    `spared` lists the tables of embeddings of the model at hand.
    """

    chosen: DecayChoice = None
    spared: frozenset[str] = frozenset()

    @classmethod
    def of(cls, choice: Any, *, subject: str) -> Self:
        """Check a choice."""
        globs: Any = choice if isinstance(choice, (tuple, list)) else (choice,)
        if choice is None or callable(choice):
            return cls(cast("DecayChoice", choice))
        if not globs or not all(isinstance(glob, str) for glob in globs):
            refuse(
                StructureError,
                subject=subject,
                expected="decay to be a glob over paths, several, a function or None",
                got=shown(choice),
                fix="pass decay='**' for every parameter",
            )
        for glob in globs:
            Glob(glob)
        return cls(choice if isinstance(choice, str) else tuple(globs))

    def of_model(self, model: Any) -> Self:
        """Note which parameters of a model are tables of embeddings."""
        spared = {
            joined(path, name)
            for path, module in modules(model).items()
            for name in getattr(type(module), "undecayed", ())
        }
        return dataclasses.replace(self, spared=frozenset(spared))

    def takes(self, path: str, parameter: Array) -> bool:
        """Tell whether a parameter decays."""
        if self.chosen is None:
            name = _last_name(path)
            return parameter.ndim >= 2 and path not in self.spared and name not in SPARED
        if callable(self.chosen):
            return bool(self.chosen(path, parameter))
        globs = (self.chosen,) if isinstance(self.chosen, str) else self.chosen
        return any(Glob(glob).covers(path) for glob in globs)


def _last_name(path: str) -> str:
    keys = parse_path(path)
    return str(getattr(keys[-1], "name", "")) if keys else ""


class DecayRule(LeafRule):
    """A rule with weight decay; the base of those that have it."""

    weight_decay: Buffer[Array]
    decay: Static[Decay]

    def settled(self, model: Any) -> Self:
        """Find the tables of embeddings."""
        return self.replace(decay=self.decay.of_model(model))

    def decayed(self, place: Place) -> Array:
        """Return what decay adds to the descent of a parameter: nothing, or its share."""
        if self.decay.takes(place.path, place.parameter):
            return self.weight_decay * place.parameter
        return jnp.zeros((), place.parameter.dtype)

    def _others(self) -> Iterator[Any]:
        yield "decay", self.decay.chosen, None
