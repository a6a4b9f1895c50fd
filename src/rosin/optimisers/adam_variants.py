# SPDX-License-Identifier: Apache-2.0
"""Further relatives of Adam: NAdam, AMSGrad, AdaBelief, OAdam."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array
from rosin.optimisers.adam import MomentRule, Moments, adam_direction, fresh, unbiased
from rosin.optimisers.hyperparameters import Hyperparameter
from rosin.optimisers.numerics import divided, filled, mixed, rooted, saturated
from rosin.optimisers.rule import Place


class NAdam(MomentRule):
    r"""Adam with Nesterov's look ahead.

    $$\theta \leftarrow \theta - \eta\, \frac{\beta_1 m / (1 - \beta_1^{t+1}) +
      (1 - \beta_1) g / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$

    with the moments $m$ and $v$ of Adam.

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> NAdam(2e-3).learning_rate
        Array(0.002, dtype=float32, weak_type=True)

    Source:
        Dozat 2016; `optax.nadam`. Flux.jl multiplies $v$ by $\beta_2$ as well; PyTorch
        has a schedule for $\beta_1$.
    """

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient as it will be next."""
        first = mixed(memory.first, gradient, self.beta1)
        second = rooted(memory.second, gradient, self.beta2)
        old = self.beta1 / filled(self.beta1, place.number + 1)
        new = (1 - self.beta1) / filled(self.beta1, place.number)
        direction = old * unbiased(self, first, second, place)
        direction += new * unbiased(self, gradient, second, place)
        return self.learning_rate * direction, Moments(first, second)


class _Largest(NamedTuple):
    first: Any
    second: Any
    largest: Any


class AMSGrad(MomentRule):
    r"""Adam whose second moment never falls, without its correction of bias.

    $$\hat v \leftarrow \max(\hat v, v), \qquad
      \theta \leftarrow \theta - \eta\, \frac{m}{\sqrt{\hat v} + \epsilon}$$

    with the moments $m$ and $v$ of Adam.

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AMSGrad(1e-3).beta1
        Array(0.9, dtype=float32, weak_type=True)

    Source:
        Reddi et al. 2018, algorithm 2, with an epsilon. Flux.jl begins with moments of
        epsilon; PyTorch and optax correct the bias.
    """

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros."""
        first, second = fresh(parameter)
        return _Largest(first, second, second)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient by the largest mean of squares."""
        first = mixed(memory.first, gradient, self.beta1)
        second = rooted(memory.second, gradient, self.beta2)
        largest = jnp.maximum(memory.largest, second)
        step = self.learning_rate * divided(first, largest + self.epsilon)
        return step, _Largest(first, second, largest)


class AdaBelief(MomentRule):
    r"""Adam that scales by how far gradients are from their mean.

    $$s \leftarrow \beta_2 s + (1 - \beta_2)(g - m)^2 + \epsilon, \qquad
      \theta \leftarrow \theta -
      \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}$$

    with the first moment $m$ of Adam.

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the squares, from 0 to below 1.
        epsilon: Added twice, inside and outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AdaBelief(1e-3, epsilon=1e-14).epsilon
        Array(1.e-14, dtype=float32, weak_type=True)

    Source:
        Zhuang et al. 2020, algorithm 2; Flux.jl `AdaBelief`, `optax.adabelief`.
    """

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-3,
        *,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-16,
    ) -> None:
        self._set(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the mean of the gradient by the distance from it."""
        first = mixed(memory.first, gradient, self.beta1)
        away = rooted(memory.second, saturated(gradient - first), self.beta2)
        second = saturated(jnp.hypot(away, jnp.sqrt(self.epsilon)))
        direction = unbiased(self, first, second, place, filled(self.beta1, place.number))
        return self.learning_rate * direction, Moments(first, second)


class _Optimistic(NamedTuple):
    first: Any
    second: Any
    direction: Any


class OAdam(MomentRule):
    r"""Optimistic Adam: twice Adam's step, less the one before.

    $$\theta \leftarrow \theta - \eta\,(2 d_t - d_{t-1}), \qquad
      d = \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$

    with the moments $m$ and $v$ of Adam and $d_0 = 0$. For games, such as GANs.

    Args:
        learning_rate: The $\eta$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> OAdam(1e-3)
        OAdam(learning_rate=0.001, beta1=0.5, beta2=0.9, epsilon=1e-08)

    Source:
        Daskalakis et al. 2018, algorithm 1; Flux.jl `OAdam`, which keeps $\eta$ inside
        $d$, `optax.optimistic_adam`.
    """

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-3,
        *,
        beta1: Hyperparameter = 0.5,
        beta2: Hyperparameter = 0.9,
        epsilon: Hyperparameter = 1e-8,
    ) -> None:
        self._set(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros."""
        return _Optimistic(*fresh(parameter), jnp.zeros_like(parameter))

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Take back the step before, and take this one twice."""
        direction, moments = adam_direction(self, gradient, memory, place)
        step = self.learning_rate * (2 * direction - memory.direction)
        return step, _Optimistic(*moments, direction)
