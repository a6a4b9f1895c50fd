# SPDX-License-Identifier: Apache-2.0
"""Rules that scale by squares alone, without Adam's moments: RMSProp, AdaGrad, AdaDelta.

The squares are kept as their root, for the reason that `adam` gives.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_kind
from rosin.optimisers.hyperparameters import DECAY, POSITIVE, RATE, Hyperparameter, Range
from rosin.optimisers.numerics import divided, mixed, rooted, saturated
from rosin.optimisers.rule import LeafRule, Place


class _Squares(NamedTuple):
    root: Any


class _Centred(NamedTuple):
    root: Any
    mean: Any


class RMSProp(LeafRule):
    r"""Steps scaled by a running mean of the squares of the gradient.

    $$s \leftarrow \rho s + (1 - \rho) g^2, \qquad
      \theta \leftarrow \theta - \eta \frac{g}{\sqrt{s} + \epsilon}$$

    Centred, $s$ is the running variance: the mean of the squares less the square of the
    mean, $\rho (s + (1 - \rho)(g - m)^2)$, which is never negative.

    Args:
        learning_rate: The $\eta$, at least 0.
        rho: The $\rho$, from 0 to below 1.
        epsilon: Added outside the root; above 0.
        centred: Scale by the variance.

    Raises:
        RangeError: A hyperparameter is out of its range.
        StructureError: `centred` is no boolean.

    Examples:
        >>> RMSProp(0.01, centred=True)
        RMSProp(learning_rate=0.01, rho=0.9, epsilon=1e-08, centred=True)

    Source:
        Tieleman & Hinton 2012; Graves 2013, eq. 38 to 42, without its momentum. Flux.jl
        `RMSProp`; PyTorch's default `rho` is 0.99.
    """

    ranges: ClassVar[dict[str, Range]] = {
        "learning_rate": RATE,
        "rho": DECAY,
        "epsilon": POSITIVE,
    }
    learning_rate: Buffer[Array]
    rho: Buffer[Array]
    epsilon: Buffer[Array]
    centred: Static[bool]

    def __init__(
        self,
        learning_rate: Hyperparameter = 1e-3,
        *,
        rho: Hyperparameter = 0.9,
        epsilon: Hyperparameter = 1e-8,
        centred: bool = False,
    ) -> None:
        self._set(learning_rate=learning_rate, rho=rho, epsilon=epsilon)
        expect_kind(bool, subject="RMSProp", centred=centred)
        self.centred = centred

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros."""
        root = jnp.zeros_like(jnp.abs(parameter))
        return _Centred(root, jnp.zeros_like(parameter)) if self.centred else _Squares(root)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the gradient."""
        if self.centred:
            away = saturated(gradient - memory.mean)
            root = rooted(memory.root, jnp.sqrt(self.rho) * away, self.rho)
            after: Any = _Centred(root, mixed(memory.mean, gradient, self.rho))
        else:
            root = rooted(memory.root, gradient, self.rho)
            after = _Squares(root)
        return self.learning_rate * divided(gradient, root + self.epsilon), after

    def _others(self) -> Iterator[Any]:
        yield "centred", self.centred, False


class AdaGrad(LeafRule):
    r"""Steps scaled by the sum of all squares of the gradient.

    $$s \leftarrow s + g^2, \qquad
      \theta \leftarrow \theta - \eta \frac{g}{\sqrt{s} + \epsilon}$$

    Args:
        learning_rate: The $\eta$, at least 0.
        epsilon: Added outside the root; above 0.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AdaGrad(0.1)
        AdaGrad(learning_rate=0.1, epsilon=1e-08)

    Source:
        Duchi et al. 2011; PyTorch `Adagrad`. Flux.jl's sum begins at epsilon, optax's at 0.1.
    """

    ranges: ClassVar[dict[str, Range]] = {"learning_rate": RATE, "epsilon": POSITIVE}
    learning_rate: Buffer[Array]
    epsilon: Buffer[Array]

    def __init__(
        self, learning_rate: Hyperparameter = 0.1, *, epsilon: Hyperparameter = 1e-8
    ) -> None:
        self._set(learning_rate=learning_rate, epsilon=epsilon)

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros."""
        return _Squares(jnp.zeros_like(jnp.abs(parameter)))

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the gradient."""
        root = saturated(jnp.hypot(memory.root, jnp.abs(gradient)))
        return self.learning_rate * divided(gradient, root + self.epsilon), _Squares(root)


class _Deltas(NamedTuple):
    root: Any
    steps: Any


class AdaDelta(LeafRule):
    r"""Steps scaled by the ratio of past steps to past gradients: no rate to choose.

    $$s \leftarrow \rho s + (1 - \rho) g^2, \qquad
      d = g\, \frac{\sqrt{\Delta + \epsilon}}{\sqrt{s + \epsilon}}, \qquad
      \Delta \leftarrow \rho \Delta + (1 - \rho) d^2, \qquad
      \theta \leftarrow \theta - \eta d$$

    Args:
        rho: The $\rho$, from 0 to below 1.
        epsilon: Added inside the roots; above 0. It sets the size of the first steps.
        learning_rate: The $\eta$, at least 0; 1 in the paper.

    Raises:
        RangeError: A hyperparameter is out of its range.

    Examples:
        >>> AdaDelta(0.95)
        AdaDelta(rho=0.95, epsilon=1e-08, learning_rate=1.0)

    Source:
        Zeiler 2012, algorithm 1; Flux.jl `AdaDelta`, PyTorch `Adadelta` (epsilon 1e-6).
    """

    ranges: ClassVar[dict[str, Range]] = {
        "rho": DECAY,
        "epsilon": POSITIVE,
        "learning_rate": RATE,
    }
    rho: Buffer[Array]
    epsilon: Buffer[Array]
    learning_rate: Buffer[Array]

    def __init__(
        self,
        rho: Hyperparameter = 0.9,
        *,
        epsilon: Hyperparameter = 1e-8,
        learning_rate: Hyperparameter = 1.0,
    ) -> None:
        self._set(rho=rho, epsilon=epsilon, learning_rate=learning_rate)

    def remember(self, parameter: Array) -> Any:
        """Begin with zeros."""
        zeros = jnp.zeros_like(jnp.abs(parameter))
        return _Deltas(zeros, zeros)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Scale the gradient to the size of past steps."""
        floor = jnp.sqrt(self.epsilon)
        root = rooted(memory.root, gradient, self.rho)
        relative = divided(gradient, jnp.hypot(root, floor))
        step = saturated(relative * jnp.hypot(memory.steps, floor))
        return self.learning_rate * step, _Deltas(root, rooted(memory.steps, step, self.rho))
