# SPDX-License-Identifier: Apache-2.0
"""Rules that look at a parameter as a whole: LAMB, Adafactor, Muon.

Own mathematics in place of optax's for the reason that `adam` gives: squares are kept as
their roots, and norms are taken of numbers scaled by the largest.
"""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.optimisers.adam import RANGES, Moments, adam_direction, fresh
from rosin.optimisers.decay import Decay, DecayChoice, DecayRule
from rosin.optimisers.hyperparameters import DECAY, POSITIVE, RATE, Hyperparameter, Range
from rosin.optimisers.numerics import divided, root_mean_square, saturated, scale_of, scaled_norm
from rosin.optimisers.rule import LeafRule, Place


class LAMB(DecayRule):
    r"""Adam whose step in each array is as long as the array, for large batches.

    $$d = \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} + \lambda\theta,
      \qquad \theta \leftarrow \theta - \eta \frac{\lVert\theta\rVert}{\lVert d\rVert} d$$

    with the moments $m$ and $v$ of Adam; where one of the norms is 0, their ratio is 1.

    Args:
        learning_rate: The $\eta$, at least 0.
        weight_decay: The $\lambda$, at least 0.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added outside the root; above 0.
        decay: Which parameters decay; see `WeightDecay`.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> LAMB(1e-2)
        LAMB(learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-06, weight_decay=0.01)

    Source:
        You et al. 2020, algorithm 2 with $\phi(z) = z$; `optax.lamb`.
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
        epsilon: Hyperparameter = 1e-6,
        decay: DecayChoice = None,
    ) -> None:
        self._set(
            learning_rate=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )
        self.decay = Decay.of(decay, subject="LAMB")

    def remember(self, parameter: Array) -> Any:
        """Begin with zero moments."""
        return fresh(parameter)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale Adam's direction to the length of the parameter."""
        direction, moments = adam_direction(self, gradient, memory, place)
        direction += self.decayed(place)
        own, step = root_mean_square(place.parameter), root_mean_square(direction)
        ratio = jnp.where((own > 0) & (step > 0), divided(own, step), 1)
        return self.learning_rate * saturated(ratio * direction), moments


class _Factors(NamedTuple):
    rows: Any
    columns: Any


class Adafactor(LeafRule):
    r"""Steps scaled by squares that a matrix keeps as one number for each row and column.

    $$R \leftarrow \hat\beta_t R + (1 - \hat\beta_t) \operatorname{mean}_{cols}(g^2), \qquad
      C \leftarrow \hat\beta_t C + (1 - \hat\beta_t) \operatorname{mean}_{rows}(g^2), \qquad
      u = g \big/ \sqrt{R C / \operatorname{mean}(R)}$$
    $$\theta \leftarrow \theta - \alpha_t\,
      \frac{u}{\max(1, \operatorname{rms}(u) / d)}, \qquad
      \alpha_t = \max(\epsilon_2, \operatorname{rms}(\theta)) \min(\eta, 1 / \sqrt t), \qquad
      \hat\beta_t = 1 - t^{-0.8}$$

    Parameters of more than two axes are taken as stacks of matrices; those of fewer keep
    the squares themselves.

    Args:
        learning_rate: The $\eta$, at least 0: relative to the size of the parameter.
        clip: The $d$, above 0.
        least_scale: The $\epsilon_2$, above 0: how small a parameter is taken to be at
            least.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Adafactor()
        Adafactor(learning_rate=0.01, clip=1.0, least_scale=0.001)

    Source:
        Shazeer & Stern 2018, algorithms 4 to 6 without their $\epsilon_1$ of 1e-30, which
        roots have no need of; `optax.adafactor` factors from 128 rows on only.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "learning_rate": RATE,
        "clip": POSITIVE,
        "least_scale": POSITIVE,
    }
    learning_rate: Buffer[Array]
    clip: Buffer[Array]
    least_scale: Buffer[Array]

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-2,
        *,
        clip: Hyperparameter = 1.0,
        least_scale: Hyperparameter = 1e-3,
    ) -> None:
        self._set(learning_rate=learning_rate, clip=clip, least_scale=least_scale)

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros."""
        size = jnp.abs(parameter)
        if parameter.ndim < 2:
            return _Factors(jnp.zeros_like(size), jnp.zeros((), size.dtype))
        shape = parameter.shape
        return _Factors(
            jnp.zeros(shape[:-1], size.dtype),
            jnp.zeros((*shape[:-2], shape[-1]), size.dtype),
        )

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the gradient by what its row and column have seen."""
        decay = 1 - place.number**-0.8

        def average(old: Array, new: Array) -> Array:
            return saturated(jnp.hypot(jnp.sqrt(decay) * old, jnp.sqrt(1 - decay) * new))

        if gradient.ndim < 2:
            rows = average(memory.rows, jnp.abs(gradient))
            after, scaled = _Factors(rows, memory.columns), divided(gradient, rows)
        else:
            rows = average(memory.rows, root_mean_square(gradient, -1))
            columns = average(memory.columns, root_mean_square(gradient, -2))
            whole = root_mean_square(rows, -1)[..., None, None]
            scale = scale_of(whole)
            share = jnp.where(whole > 0, divided(rows[..., None] / scale, whole / scale), 1)
            after = _Factors(rows, columns)
            relative = divided(gradient / scale, columns[..., None, :] / scale)
            scaled = saturated(divided(relative, share))
        length = jnp.maximum(1, root_mean_square(scaled) / self.clip)
        size = jnp.maximum(self.least_scale, root_mean_square(place.parameter))
        rate = jnp.minimum(self.learning_rate, 1 / jnp.sqrt(place.number))
        return rate * size * (scaled / length), after


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that brings singular values near 1 (Jordan et al. 2024)."""


class Muon(DecayRule):
    r"""Momentum whose matrices are made orthogonal: all directions get equal steps.

    $$M \leftarrow \mu M + G, \qquad
      W \leftarrow W - \eta \Big( \sqrt{\max(1, n / m)}\;
      \operatorname{orthogonal}(G + \mu M) + \lambda W \Big)$$

    for weights of shape $(m, n)$: five steps of a Newton-Schulz iteration bring all
    singular values to between 0.7 and 1.2. Parameters that are no matrices are moved by Adam
    with a rate of their own. Tables of embeddings and the last layer are better off with
    another rule: `setup({"embedding": rs.AdamW(3e-4), "**": rs.Muon()}, model)`.

    Args:
        learning_rate: The $\eta$ of matrices, at least 0.
        momentum: The $\mu$, from 0 to below 1.
        adam_rate: Adam's learning rate, at least 0.
        beta1: Of Adam, from 0 to below 1.
        beta2: Of Adam, from 0 to below 1.
        epsilon: Of Adam, above 0.
        weight_decay: The $\lambda$, at least 0, of matrices.
        decay: Which of them decay; see `WeightDecay`.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> Muon(0.02).adam_rate
        Array(0.0003, dtype=float32, weak_type=True)

    Source:
        Jordan et al. 2024, "Muon"; `optax.contrib.muon`. Weights here are `(in, out)`, so
        the factor is of out over in, as there.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "learning_rate": RATE,
        "momentum": DECAY,
        "adam_rate": RATE,
        "beta1": DECAY,
        "beta2": DECAY,
        "epsilon": POSITIVE,
        "weight_decay": RATE,
    }
    learning_rate: Buffer[Array]
    momentum: Buffer[Array]
    adam_rate: Buffer[Array]
    beta1: Buffer[Array]
    beta2: Buffer[Array]
    epsilon: Buffer[Array]
    weight_decay: Buffer[Array]
    decay: Static[Decay]

    def __init__(
        self,
        learning_rate: Hyperparameter = 0.02,
        *,
        momentum: Hyperparameter = 0.95,
        adam_rate: Hyperparameter = 3e-4,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        decay: DecayChoice = None,
    ) -> None:
        self._set(
            learning_rate=learning_rate,
            momentum=momentum,
            adam_rate=adam_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )
        self.decay = Decay.of(decay, subject="Muon")

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros; a matrix has no second moment."""
        first, second = fresh(parameter)
        return Moments(first, jnp.zeros((), second.dtype) if parameter.ndim == 2 else second)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Make a matrix orthogonal; leave the rest to Adam."""
        if gradient.ndim != 2:
            direction, moments = adam_direction(self, gradient, memory, place)
            return self.adam_rate * direction, moments
        rows, columns = gradient.shape
        first = saturated(self.momentum * memory.first + gradient)
        ahead = saturated(gradient + self.momentum * first)
        factor = max(1, columns / max(rows, 1)) ** 0.5
        step = factor * orthogonalised(ahead) + self.decayed(place)
        return self.learning_rate * step, Moments(first, memory.second)


def orthogonalised(matrix: Array) -> Array:
    """Bring the singular values of a matrix to about 1; a matrix of zeros stays."""
    scale, length = scaled_norm([matrix])
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T) / scale / jnp.where(length > 0, length, 1)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ jnp.conj(x.T)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide else x.T
