# SPDX-License-Identifier: Apache-2.0
"""Parts that end a chain and average parameters: moving average, Lookahead, ScheduleFree."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array, Buffer
from rosin.optimisers.hyperparameters import COUNT, DECAY, Hyperparameter, Range
from rosin.optimisers.numerics import mixed, saturated
from rosin.optimisers.rule import LeafRule, Place


class _Averaged(NamedTuple):
    average: Any


class ExponentialMovingAverage(LeafRule):
    r"""Keep a moving average of the parameters beside them; training is as without.

    $$a \leftarrow \gamma_t a + (1 - \gamma_t) \theta, \qquad
      \gamma_t = \min\Big(\gamma, \frac{1 + t}{10 + t}\Big)$$

    with $\theta$ after the step. It ends a chain; `averaged` returns the model with the
    average in place of the parameters.

    Args:
        decay: The $\gamma$, from 0 to below 1; a number or a schedule.

    Raises:
        RangeError: `decay` is out of its range.

    Examples:
        >>> import rosin as rs
        >>> rule = rs.OptimiserChain(rs.Descent(1.0), ExponentialMovingAverage(0.5))
        >>> opt_state, model = rs.update(rs.setup(rule, jnp.ones(1)), jnp.ones(1), jnp.ones(1))
        >>> model, rs.averaged(opt_state, model)
        (Array([0.], dtype=float32), Array([0.1], dtype=float32))

    Source:
        Polyak & Juditsky 1992; the slow start is that of TensorFlow's
        `ExponentialMovingAverage(num_updates=)`, so that the first values count little.
    """

    ranges: ClassVar[dict[str, Range]] = {"decay": DECAY}
    decay: Buffer[Array]

    def __init__(self, decay: Hyperparameter = 0.999) -> None:
        self._set(decay=decay)

    def remember(self, parameter: Array) -> Any:
        """Begin at the parameters."""
        return _Averaged(parameter)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Average; hand the descent on."""
        decay = jnp.minimum(self.decay, place.number / (place.number + 9))
        moved = saturated(place.parameter - gradient)
        return gradient, _Averaged(mixed(memory.average, moved, decay))


class _Slow(NamedTuple):
    slow: Any


class Lookahead(LeafRule):
    r"""Let the rules in front go $k$ steps ahead, then follow part of the way.

    After every $k$-th step $\phi \leftarrow \phi + \alpha (\theta - \phi)$, and $\theta$
    goes on from $\phi$. It ends a chain.

    Args:
        period: The $k$, at least 1.
        alpha: The $\alpha$, from 0 to below 1; a number or a schedule.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> import rosin as rs
        >>> rs.OptimiserChain(rs.Adam(1e-3), Lookahead(5)).rules[1]
        Lookahead(period=5, alpha=0.5)

    Source:
        Zhang et al. 2019, algorithm 1; `optax.lookahead`.
    """

    ranges: ClassVar[dict[str, Range]] = {"period": COUNT, "alpha": DECAY}
    period: Buffer[Array]
    alpha: Buffer[Array]

    def __init__(self, period: int = 5, *, alpha: Hyperparameter = 0.5) -> None:
        self._set(period=period, alpha=alpha)

    def remember(self, parameter: Array) -> Any:
        """Begin where the parameters are."""
        return _Slow(parameter)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Follow at every `period`-th step."""
        due = place.step % self.period == self.period - 1
        fast = saturated(place.parameter - gradient)
        slow = jnp.where(due, mixed(fast, memory.slow, self.alpha), memory.slow)
        return jnp.where(due, place.parameter - slow, gradient), _Slow(slow)


class _Base(NamedTuple):
    base: Any
    average: Any


class ScheduleFree(LeafRule):
    r"""Train at a point between the steps and their mean; no schedule is needed.

    $$z \leftarrow z - d, \qquad x \leftarrow x + \frac{z - x}{t}, \qquad
      \theta \leftarrow (1 - \beta) z + \beta x$$

    with the descent $d$ of the rules in front, which are to have no momentum of their own:
    `Descent`, or `Adam(beta1=0)`. It ends a chain. `averaged` returns the model with the
    mean $x$ in place of the parameters; that is the one to evaluate and to keep.

    Args:
        beta: The $\beta$, from 0 to below 1; a number or a schedule.

    Raises:
        RangeError: `beta` is out of its range.

    Examples:
        >>> import rosin as rs
        >>> rs.OptimiserChain(rs.Adam(1e-3, beta1=0), ScheduleFree()).rules[1]
        ScheduleFree(beta=0.9)

    Source:
        Defazio et al. 2024, eq. 1 to 3, with equal weights for all steps;
        `optax.contrib.schedule_free`.
    """

    ranges: ClassVar[dict[str, Range]] = {"beta": DECAY}
    beta: Buffer[Array]

    def __init__(self, beta: Hyperparameter = 0.9) -> None:
        self._set(beta=beta)

    def remember(self, parameter: Array) -> Any:
        """Begin at the parameters."""
        return _Base(parameter, parameter)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Move the steps, their mean, and the parameters between them."""
        base = saturated(memory.base - gradient)
        average = mixed(memory.average, base, 1 - 1 / place.number)
        between = mixed(average, base, self.beta)
        return place.parameter - between, _Base(base, average)
