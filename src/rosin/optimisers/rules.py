# SPDX-License-Identifier: Apache-2.0
"""Optimiser rules: Descent, Momentum, Adam, AdamW.

A rule holds its hyperparameters as data, so that changing one does not recompile; the
mathematics is optax's. What applies a rule to a model stands in `update`.
"""

import sys
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from rosin.core.module import Module
from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_between, expect_known

INFINITY = float("inf")


class Range(NamedTuple):
    """The values that a hyperparameter may take, `high` excluded."""

    low: float
    high: float = INFINITY
    include_low: bool = True


RATE = Range(0)
DECAY = Range(0, 1)
POSITIVE = Range(0, include_low=False)


class Rule(Module):
    """A rule: hyperparameters in their ranges, and how optax is called with them."""

    ranges: ClassVar[dict[str, Range]] = {}

    def transformation(self) -> optax.GradientTransformation:
        """Build the optax transformation from the present hyperparameters."""
        raise NotImplementedError

    def adjusted(self, **changes: Any) -> Self:
        """Return the rule with other hyperparameters, checked as at construction."""
        expect_known(list(changes), list(self.ranges), subject=self, what="hyperparameters")
        return self.replace(**self._checked(changes))

    def _set(self, **hyperparameters: Any) -> None:
        for name, number in self._checked(hyperparameters).items():
            setattr(self, name, number)

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> dict[str, Array]:
        return {name: _as_data(cls, name, value) for name, value in values.items()}

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the hyperparameters as numbers."""
        for name in self.ranges:
            yield name, _plain(getattr(self, name))


def _as_data(rule: type[Rule], name: str, value: Any) -> Array:
    """Check a hyperparameter and make it data, so that changing it compiles nothing again.

    As a weakly typed number it takes on the dtype of the parameters it meets. Of a traced
    one only the shape is known; if it turns out absurd, the guard of the step sees it.
    """
    dtype = jnp.result_type(float)
    scalar = isinstance(value, (jax.Array, np.ndarray, np.generic)) and value.ndim == 0
    if scalar and isinstance(value, Tracer):
        return value.astype(dtype)
    number: Any = value.item() if scalar else value
    bounds = rule.ranges[name]
    _expect_in(bounds, rule, name, number)
    with np.errstate(over="ignore"):
        stored = np.asarray(min(number, sys.float_info.max), dtype).item()
    # What rounds to a forbidden bound is forbidden too: a beta2 of 1, an epsilon of 0.
    _expect_in(bounds, rule, f"{name}, in {dtype},", stored)
    return jnp.asarray(stored)


def _expect_in(bounds: Range, rule: type[Rule], label: str, number: Any) -> None:
    expect_between(
        bounds.low,
        bounds.high,
        subject=rule.__name__,
        include_low=bounds.include_low,
        include_high=False,
        **{label: number},
    )


def _plain(value: Any) -> Any:
    """Show a hyperparameter as the shortest number that is the same in its precision."""
    concrete = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    return float(str(np.asarray(value))) if concrete and value.ndim == 0 else value


class Descent(Rule):
    r"""Plain gradient descent.

    $$\theta \leftarrow \theta - \eta g$$

    Args:
        learning_rate: The $\eta$, at least 0.

    Raises:
        RangeError: The rate is negative or no number.

    Examples:
        >>> Descent(0.1)
        Descent(learning_rate=0.1)

    Source:
        Flux.jl `Descent`; `optax.sgd`.
    """

    ranges: ClassVar[dict[str, Range]] = {"learning_rate": RATE}
    learning_rate: Buffer[Array]

    def __init__(self, learning_rate: float = 0.1) -> None:
        self._set(learning_rate=learning_rate)

    def transformation(self) -> optax.GradientTransformation:
        """Build `optax.sgd`."""
        return optax.sgd(self.learning_rate)


class Momentum(Rule):
    r"""Gradient descent with a decaying sum of past gradients.

    $$v \leftarrow \rho v + g, \qquad \theta \leftarrow \theta - \eta v$$

    Args:
        learning_rate: The $\eta$, at least 0.
        momentum: The $\rho$, from 0 to below 1.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Momentum(0.01, momentum=0.95)
        Momentum(learning_rate=0.01, momentum=0.95)

    Source:
        Polyak 1964; `optax.sgd`, PyTorch `SGD`. Flux.jl keeps $\eta$ inside $v$, which
        differs when the rate changes on the way.
    """

    ranges: ClassVar[dict[str, Range]] = {"learning_rate": RATE, "momentum": DECAY}
    learning_rate: Buffer[Array]
    momentum: Buffer[Array]

    def __init__(self, learning_rate: float = 0.01, *, momentum: float = 0.9) -> None:
        self._set(learning_rate=learning_rate, momentum=momentum)

    def transformation(self) -> optax.GradientTransformation:
        """Build `optax.sgd` with momentum."""
        return optax.sgd(self.learning_rate, momentum=self.momentum)


class Adam(Rule):
    r"""Steps scaled by running first and second moments of the gradient.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
      v \leftarrow \beta_2 v + (1 - \beta_2) g^2$$
    $$\theta \leftarrow \theta -
      \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Adam(1e-3, beta2=0.99)
        Adam(learning_rate=0.001, beta1=0.9, beta2=0.99, epsilon=1e-08)

    Source:
        Kingma & Ba 2015, algorithm 1; `optax.adam`.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "learning_rate": RATE,
        "beta1": DECAY,
        "beta2": DECAY,
        "epsilon": POSITIVE,
    }
    learning_rate: Buffer[Array]
    beta1: Buffer[Array]
    beta2: Buffer[Array]
    epsilon: Buffer[Array]

    def __init__(
        self,
        learning_rate: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self._set(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def transformation(self) -> optax.GradientTransformation:
        """Build `optax.adam`."""
        return optax.adam(self.learning_rate, b1=self.beta1, b2=self.beta2, eps=self.epsilon)


class AdamW(Rule):
    r"""Adam with weight decay beside the moments.

    $$\theta \leftarrow \theta - \eta \Big(
      \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}
      + \lambda \theta \Big)$$

    Args:
        learning_rate: The $\eta$, at least 0.
        weight_decay: The $\lambda$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AdamW(1e-3, weight_decay=0.1).adjusted(learning_rate=1e-4).learning_rate
        Array(1.e-04, dtype=float32, weak_type=True)

    Source:
        Loshchilov & Hutter 2019, algorithm 2; `optax.adamw`, with PyTorch's default decay
        of 0.01 (Flux.jl: 0).
    """

    ranges: ClassVar[dict[str, Range]] = {**Adam.ranges, "weight_decay": RATE}
    learning_rate: Buffer[Array]
    beta1: Buffer[Array]
    beta2: Buffer[Array]
    epsilon: Buffer[Array]
    weight_decay: Buffer[Array]

    def __init__(
        self,
        learning_rate: float = 1e-3,
        *,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self._set(
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )

    def transformation(self) -> optax.GradientTransformation:
        """Build `optax.adamw`."""
        return optax.adamw(
            self.learning_rate,
            b1=self.beta1,
            b2=self.beta2,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )


class Transformation(Rule):
    """Any optax transformation, taken as it is; it has no hyperparameters to adjust."""

    given: Static[optax.GradientTransformation]

    def transformation(self) -> optax.GradientTransformation:
        """Return it."""
        return self.given

    def __rich_repr__(self) -> Iterator[Any]:
        """Show nothing: it has no name of its own."""
        yield from ()
