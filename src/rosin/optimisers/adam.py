# SPDX-License-Identifier: Apache-2.0
"""Adam, AdamW, AdaMax, RAdam: a first moment of the gradient, scaled by a second.

Own mathematics in place of optax's: the second moment is kept as its root (see
`numerics`), so that a step is right for every finite gradient, where optax's is 0 from
1.8e19 on in float32, and NaN for a gradient of 0 where its epsilon is 0 in float16.
"""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.optimisers.decay import Decay, DecayChoice, DecayRule
from rosin.optimisers.hyperparameters import DECAY, POSITIVE, RATE, Hyperparameter, Range
from rosin.optimisers.numerics import divided, filled, mixed, rooted, saturated
from rosin.optimisers.rule import LeafRule, Place

RANGES = {"learning_rate": RATE, "beta1": DECAY, "beta2": DECAY, "epsilon": POSITIVE}


class Moments(NamedTuple):
    """A running mean of the gradient, and the root of one of its squares."""

    first: Any
    second: Any


def fresh(parameter: Array) -> Moments:
    """Begin with zero moments."""
    return Moments(jnp.zeros_like(parameter), jnp.zeros_like(jnp.abs(parameter)))


def adam_direction(rule: Any, gradient: Array, memory: Any, place: Place) -> tuple[Array, Moments]:
    r"""Return $\hat m / (\sqrt{\hat v} + \epsilon)$ and the new moments."""
    first = mixed(memory.first, gradient, rule.beta1)
    second = rooted(memory.second, gradient, rule.beta2)
    direction = unbiased(rule, first, second, place, filled(rule.beta1, place.number))
    return direction, Moments(first, second)


def unbiased(
    rule: Any, first: Array, second: Array, place: Place, taken_in: Array | float = 1.0
) -> Array:
    """Divide by the root of the second moment, both moments free of bias.

    The first has taken in the share `taken_in`. Numbers are divided by numbers, not arrays:
    XLA splits a loop of much arithmetic among threads, which costs more than the loop.
    """
    share = jnp.sqrt(filled(rule.beta2, place.number))
    return divided(first, second + rule.epsilon * share) * (share / taken_in)


class MomentRule(LeafRule):
    """The hyperparameters and the first moments of most rules of this family."""

    ranges: ClassVar[dict[str, Range]] = RANGES
    learning_rate: Buffer[Array]
    beta1: Buffer[Array]
    beta2: Buffer[Array]
    epsilon: Buffer[Array]

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-3,
        *,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-8,
    ) -> None:
        self._set(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def remember(self, parameter: Array) -> Any:
        """Begin with zero moments."""
        return fresh(parameter)


class Adam(MomentRule):
    r"""Steps scaled by running first and second moments of the gradient.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
      v \leftarrow \beta_2 v + (1 - \beta_2) g^2$$
    $$\theta \leftarrow \theta -
      \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$

    Args:
        learning_rate: The $\eta$, at least 0; a number or a schedule, as all that follow.
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

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient."""
        direction, moments = adam_direction(self, gradient, memory, place)
        return self.learning_rate * direction, moments


class AdamW(DecayRule):
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
        decay: Which parameters decay; see `WeightDecay`. By default not biases, norms and
            embeddings.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AdamW(1e-3, weight_decay=0.1).adjusted(learning_rate=1e-4).learning_rate
        Array(1.e-04, dtype=float32, weak_type=True)

    Source:
        Loshchilov & Hutter 2019, algorithm 2; `optax.adamw`, with PyTorch's default decay
        of 0.01 (Flux.jl: 0). Elsewhere every parameter decays by default.
    """

    ranges: ClassVar[dict[str, Range]] = {**RANGES, "weight_decay": RATE}
    learning_rate: Buffer[Array]
    beta1: Buffer[Array]
    beta2: Buffer[Array]
    epsilon: Buffer[Array]
    weight_decay: Buffer[Array]
    decay: Static[Decay]

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-3,
        *,
        weight_decay: Hyperparameter = 0.01,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-8,
        decay: DecayChoice = None,
    ) -> None:
        self._set(
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )
        self.decay = Decay.of(decay, subject="AdamW")

    def remember(self, parameter: Array) -> Any:
        """Begin with zero moments."""
        return fresh(parameter)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient, and decay."""
        direction, moments = adam_direction(self, gradient, memory, place)
        return self.learning_rate * (direction + self.decayed(place)), moments


class AdaMax(MomentRule):
    r"""Adam with the largest recent gradient in place of the root of the second moment.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad u \leftarrow \max(\beta_2 u, |g|),
      \qquad \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{u + \epsilon}$$

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the maximum, from 0 to below 1.
        epsilon: Added to the maximum; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AdaMax(2e-3)
        AdaMax(learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-08)

    Source:
        Kingma & Ba 2015, algorithm 2, with the epsilon of Flux.jl and `optax.adamax`.
    """

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient by the maximum."""
        first = mixed(memory.first, gradient, self.beta1)
        most = jnp.maximum(self.beta2 * memory.second, jnp.abs(gradient))
        share = filled(self.beta1, place.number)
        direction = divided(first, most + self.epsilon) / share
        return self.learning_rate * direction, Moments(first, most)


class RAdam(MomentRule):
    r"""Adam that waits for its second moment: Rectified Adam.

    $$\rho_\infty = \frac{2}{1 - \beta_2} - 1, \qquad
      \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}$$

    While $\rho_t \le 4$ the step is $\eta\, m / (1 - \beta_1^t)$; then it is Adam's, times
    $\sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2)
    \rho_t}}$.

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1; up to 0.6 no step is ever
            rectified.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> RAdam()
        RAdam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)

    Source:
        Liu et al. 2020, algorithm 2, with its bound of 4, as Flux.jl; PyTorch and optax
        take 5.
    """

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient once that is sound."""
        direction, moments = adam_direction(self, gradient, memory, place)
        share = filled(self.beta2, place.number)
        longest = 2 / (1 - self.beta2) - 1
        length = longest - 2 * place.number * (1 - share) / share
        numerator = (length - 4) * (length - 2) * longest
        factor = divided(numerator, (longest - 4) * (longest - 2) * length)
        rectified = jnp.sqrt(jnp.maximum(factor, 0)) * direction
        plain = moments.first / filled(self.beta1, place.number)
        step = self.learning_rate * jnp.where(length > 4, rectified, saturated(plain))
        return step, moments
