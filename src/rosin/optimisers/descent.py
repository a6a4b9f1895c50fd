# SPDX-License-Identifier: Apache-2.0
"""Rules without a scale of their own: Descent, Momentum, Nesterov; and by sign: Rprop, Lion."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.optimisers.decay import Decay, DecayChoice, DecayRule
from rosin.optimisers.hyperparameters import (
    DECAY,
    RATE,
    Hyperparameter,
    Range,
)
from rosin.optimisers.numerics import mixed, saturated
from rosin.optimisers.rule import LeafRule, Place


class Velocity(NamedTuple):
    """What Momentum, Nesterov and Lion remember."""

    momentum: Any


class Descent(LeafRule):
    r"""Plain gradient descent.

    $$\theta \leftarrow \theta - \eta g$$

    Args:
        learning_rate: The $\eta$, at least 0; a number or a schedule.

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

    def __init__(self, learning_rate: Hyperparameter = 0.1) -> None:
        self._set(learning_rate=learning_rate)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the gradient."""
        return self.learning_rate * gradient, memory


class _Accelerated(LeafRule):
    """What Momentum and Nesterov have in common."""

    ranges: ClassVar[dict[str, Range]] = {"learning_rate": RATE, "momentum": DECAY}
    learning_rate: Buffer[Array]
    momentum: Buffer[Array]

    def remember(self, parameter: Array) -> Velocity:
        """Begin at rest."""
        return Velocity(jnp.zeros_like(parameter))


class Momentum(_Accelerated):
    r"""Gradient descent with a decaying sum of past gradients.

    $$v \leftarrow \rho v + g, \qquad \theta \leftarrow \theta - \eta v$$

    Args:
        learning_rate: The $\eta$, at least 0; a number or a schedule.
        momentum: The $\rho$, from 0 to below 1; likewise.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Momentum(0.01, momentum=0.95)
        Momentum(learning_rate=0.01, momentum=0.95)

    Source:
        Polyak 1964; `optax.sgd`, PyTorch `SGD`. Flux.jl keeps $\eta$ inside $v$, which
        differs when the rate changes on the way.
    """

    def __init__(
        self, learning_rate: Hyperparameter = 0.01, *, momentum: Hyperparameter = 0.9
    ) -> None:
        self._set(learning_rate=learning_rate, momentum=momentum)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Move with the sum."""
        velocity = saturated(self.momentum * memory.momentum + gradient)
        return self.learning_rate * velocity, Velocity(velocity)


class Nesterov(_Accelerated):
    r"""Momentum that looks one step ahead.

    $$v \leftarrow \rho v + g, \qquad \theta \leftarrow \theta - \eta (\rho v + g)$$

    Args:
        learning_rate: The $\eta$, at least 0; a number or a schedule.
        momentum: The $\rho$, from 0 to below 1; likewise.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Nesterov(0.01)
        Nesterov(learning_rate=0.01, momentum=0.9)

    Source:
        Nesterov 1983, in the form of Sutskever et al. 2013; `optax.sgd(nesterov=True)`.
        Flux.jl keeps $\eta$ inside $v$.
    """

    def __init__(
        self, learning_rate: Hyperparameter = 0.001, *, momentum: Hyperparameter = 0.9
    ) -> None:
        self._set(learning_rate=learning_rate, momentum=momentum)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Move with the sum as it will be if the gradient stays."""
        velocity = saturated(self.momentum * memory.momentum + gradient)
        rate = self.learning_rate
        ahead = saturated(rate * (self.momentum * velocity)) + saturated(rate * gradient)
        return ahead, Velocity(velocity)


class _Strides(NamedTuple):
    stride: Any
    sign: Any


class Rprop(LeafRule):
    r"""Steps whose size depends on the signs of successive gradients alone.

    Each number has a stride of its own. It is multiplied by `growth` while the sign of
    the gradient stays, by `shrinkage` when it turns, and is kept between `least` and
    `most`; in the step of a turn the number does not move.

    Args:
        learning_rate: The first stride, at least 0. It has no effect after the first step.
        shrinkage: From 0 to below 1.
        growth: At least 1.
        least: Of a stride; at least 0.
        most: Likewise.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Rprop(0.01, growth=1.1).growth
        Array(1.1, dtype=float32, weak_type=True)

    Source:
        Riedmiller & Braun 1993, as iRprop⁻ (Igel & Hüsken 2000); Flux.jl `Rprop`,
        PyTorch `Rprop`. For full batches: noise turns signs.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "learning_rate": RATE,
        "shrinkage": DECAY,
        "growth": Range(1),
        "least": RATE,
        "most": RATE,
    }
    learning_rate: Buffer[Array]
    shrinkage: Buffer[Array]
    growth: Buffer[Array]
    least: Buffer[Array]
    most: Buffer[Array]

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-3,
        *,
        shrinkage: Hyperparameter = 0.5,
        growth: Hyperparameter = 1.2,
        least: Hyperparameter = 1e-6,
        most: Hyperparameter = 50.0,
    ) -> None:
        self._set(
            learning_rate=learning_rate,
            shrinkage=shrinkage,
            growth=growth,
            least=least,
            most=most,
        )

    def remember(self, parameter: Array) -> _Strides:
        """Begin without a sign."""
        return _Strides(jnp.zeros_like(jnp.abs(parameter)), jnp.zeros_like(parameter))

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Compare the sign with the one before."""
        sign = jnp.sign(gradient)
        agreement = (sign * jnp.conj(memory.sign)).real
        stride = jnp.where(place.step == 0, self.learning_rate, memory.stride)
        factor = jnp.where(agreement > 0, self.growth, 1)
        factor = jnp.where(agreement < 0, self.shrinkage, factor)
        bounded = jnp.minimum(jnp.maximum(stride * factor, self.least), self.most)
        stride = jnp.where(agreement == 0, stride, bounded)
        kept = jnp.where(agreement < 0, jnp.zeros_like(sign), sign)
        return stride * kept, _Strides(stride, kept)


class Lion(DecayRule):
    r"""Steps of equal size, in the direction of the sign of a momentum.

    $$\theta \leftarrow \theta - \eta \left(
      \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) + \lambda \theta \right), \qquad
      m \leftarrow \beta_2 m + (1 - \beta_2) g$$

    Args:
        learning_rate: The $\eta$, at least 0; a third to a tenth of what suits Adam.
        beta1: Share of the momentum in the direction, from 0 to below 1.
        beta2: Decay of the momentum, from 0 to below 1.
        weight_decay: The $\lambda$, at least 0.
        decay: Which parameters decay; see `WeightDecay`.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Lion(3e-5, weight_decay=0.1)
        Lion(learning_rate=3e-05, beta1=0.9, beta2=0.99, weight_decay=0.1)

    Source:
        Chen et al. 2023, algorithm 2; `optax.lion`. Flux.jl's `Lion` weighs gradient and
        momentum the other way round and takes 0.999 for `beta2`: with its defaults each
        step is the sign of the gradient alone.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "learning_rate": RATE,
        "beta1": DECAY,
        "beta2": DECAY,
        "weight_decay": RATE,
    }
    learning_rate: Buffer[Array]
    beta1: Buffer[Array]
    beta2: Buffer[Array]
    weight_decay: Buffer[Array]
    decay: Static[Decay]

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-4,
        *,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.99,
        weight_decay: Hyperparameter = 0.0,
        decay: DecayChoice = None,
    ) -> None:
        self._set(learning_rate=learning_rate, beta1=beta1, beta2=beta2, weight_decay=weight_decay)
        self.decay = Decay.of(decay, subject="Lion")

    def remember(self, parameter: Array) -> Velocity:
        """Begin at rest."""
        return Velocity(jnp.zeros_like(parameter))

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Move by the sign."""
        # The sign of the mean, of which a share of the least gradient would be 0.
        sign = jnp.sign(self.beta1 / (1 - self.beta1) * memory.momentum + gradient)
        direction = sign + self.decayed(place)
        return self.learning_rate * direction, Velocity(
            mixed(memory.momentum, gradient, self.beta2)
        )
