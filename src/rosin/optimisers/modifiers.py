# SPDX-License-Identifier: Apache-2.0
"""Parts of a chain that change a gradient: decay, clipping, noise, accumulation."""

import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from rosin.core.types import Array, Buffer, Static
from rosin.core.validation import expect_at_least, expect_between, expect_kind
from rosin.optimisers.decay import Decay, DecayChoice, DecayRule
from rosin.optimisers.hyperparameters import (
    COUNT,
    INFINITY,
    POSITIVE,
    RATE,
    Hyperparameter,
    Range,
)
from rosin.optimisers.numerics import mixed, real_dtype, saturated, scaled_norm
from rosin.optimisers.rule import LeafRule, Place, Progress, Rule


class WeightDecay(DecayRule):
    r"""Add a share of the parameter: $g \leftarrow g + \lambda \theta$.

    In front of a rule that is a penalty of $\frac{\lambda}{2} \lVert\theta\rVert^2$ in the
    loss; behind one that scales, such as Adam, it is decay that nothing scales, not the
    learning rate either (`AdamW` scales it by the rate).

    By default biases, norms and embeddings do not decay: only parameters of at least two
    axes do, except fields called `bias`, `scale` or `shift` and the tables of embeddings
    and of learned positions. `decay="**"` takes every parameter, another glob over paths
    (`"encoder"`, `"**.weight"`) or a tuple of them what they cover, and a function
    `(path, array) -> bool` whatever it says.

    Args:
        weight_decay: The $\lambda$, at least 0; a number or a schedule.
        decay: Which parameters decay.

    Raises:
        RangeError: `weight_decay` is out of its range.
        StructureError: `decay` is none of the above.

    Examples:
        >>> import rosin as rs
        >>> rs.OptimiserChain(WeightDecay(5e-4), rs.Momentum(0.1))
        OptimiserChain(
            WeightDecay(weight_decay=0.0005),
            Momentum(learning_rate=0.1, momentum=0.9),
        )

    Source:
        Flux.jl `WeightDecay`, where every parameter decays.
    """

    ranges: ClassVar[dict[str, Range]] = {"weight_decay": RATE}
    weight_decay: Buffer[Array]
    decay: Static[Decay]

    def __init__(self, weight_decay: Hyperparameter = 5e-4, *, decay: DecayChoice = None) -> None:
        self._set(weight_decay=weight_decay)
        self.decay = Decay.of(decay, subject="WeightDecay")

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Add the share."""
        return gradient + self.decayed(place), memory


class SignDecay(DecayRule):
    r"""Add the sign of the parameter: $g \leftarrow g + \lambda \operatorname{sign}(\theta)$.

    In front of a rule that is a penalty of $\lambda \lVert\theta\rVert_1$ in the loss.

    Args:
        weight_decay: The $\lambda$, at least 0; a number or a schedule.
        decay: Which parameters decay; see `WeightDecay`.

    Raises:
        RangeError: `weight_decay` is out of its range.
        StructureError: `decay` is no choice of parameters.

    Examples:
        >>> SignDecay(1e-4, decay="**")
        SignDecay(weight_decay=0.0001, decay='**')

    Source:
        Flux.jl `SignDecay`.
    """

    ranges: ClassVar[dict[str, Range]] = {"weight_decay": RATE}
    weight_decay: Buffer[Array]
    decay: Static[Decay]

    def __init__(self, weight_decay: Hyperparameter = 1e-3, *, decay: DecayChoice = None) -> None:
        self._set(weight_decay=weight_decay)
        self.decay = Decay.of(decay, subject="SignDecay")

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Add the sign."""
        signs = place._replace(parameter=jnp.sign(place.parameter))
        return gradient + self.decayed(signs), memory


class ClipGrad(LeafRule):
    r"""Bound each number of the gradient to between $-\delta$ and $\delta$.

    Args:
        limit: The $\delta$, above 0; a number or a schedule.

    Raises:
        RangeError: The limit is out of its range.

    Examples:
        >>> ClipGrad(5)
        ClipGrad(limit=5.0)

    Source:
        Flux.jl `ClipGrad`; `optax.clip`. It changes the direction; see `ClipNorm`.
    """

    ranges: ClassVar[dict[str, Range]] = {"limit": POSITIVE}
    limit: Buffer[Array]

    def __init__(self, limit: Hyperparameter = 10.0) -> None:
        self._set(limit=limit)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Bound it."""
        return saturated(gradient, self.limit), memory


class ClipNorm(Rule):
    r"""Shorten the gradient to a norm of at most $\omega$; its direction stays.

    $$g \leftarrow g \cdot \min(1, \omega / \lVert g \rVert_p)$$

    Args:
        max_norm: The $\omega$, above 0; a number or a schedule.
        p: Of the norm: 2 for the Euclidean one, at least 1, infinity for the largest size.
        per_array: Take the norm of each parameter's gradient by itself, not of all
            together.

    Raises:
        RangeError: `max_norm` or `p` is out of its range.
        StructureError: `per_array` is no boolean.

    Examples:
        >>> ClipNorm(1.0)
        ClipNorm(max_norm=1.0)

    Source:
        Pascanu et al. 2013, algorithm 1; `optax.clip_by_global_norm`, which returns 0 where
        the square of the norm overflows. Flux.jl `ClipNorm` is the one per array.
    """

    ranges: ClassVar[dict[str, Range]] = {"max_norm": POSITIVE}
    max_norm: Buffer[Array]
    p: Static[float]
    per_array: Static[bool]

    def __init__(
        self, max_norm: Hyperparameter = 10.0, *, p: float = 2.0, per_array: bool = False
    ) -> None:
        self._set(max_norm=max_norm)
        expect_between(1, INFINITY, subject="ClipNorm", p=p)
        self.p = float(p)
        expect_kind(bool, subject="ClipNorm", per_array=per_array)
        self.per_array = per_array

    def begin(self, parameters: dict[str, Array]) -> Any:
        """Remember nothing."""
        return ()

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Shorten what is longer."""
        if self.per_array:
            norms = {path: scaled_norm([g], self.p) for path, g in gradients.items()}
        else:
            norms = dict.fromkeys(gradients, scaled_norm(list(gradients.values()), self.p))
        return {path: self._shortened(g, *norms[path]) for path, g in gradients.items()}, memory

    def _shortened(self, gradient: Array, scale: Array, length: Array) -> Array:
        """Divide by the norm's two factors one after the other: their product may overflow."""
        limit = self.max_norm.astype(length.dtype)
        factor = limit / jnp.where(length > 0, length, 1)
        short = (gradient / scale.astype(gradient.dtype)) * factor.astype(gradient.dtype)
        return jnp.where(scale * length > limit, short, gradient)

    def _others(self) -> Iterator[Any]:
        yield "p", self.p, 2.0
        yield "per_array", self.per_array, False


class GradientNoise(LeafRule):
    r"""Add normal noise whose variance falls: $\mathcal N(0, \eta / (1 + t)^\gamma)$.

    Args:
        eta: The $\eta$, at least 0; a number or a schedule.
        gamma: The $\gamma$, at least 0; likewise.
        seed: Of the noise, a whole number of at least 0. Noise depends on it, the step and
            the path of the parameter alone.

    Raises:
        RangeError: A number is out of its range.

    Examples:
        >>> GradientNoise(0.01, seed=1)
        GradientNoise(eta=0.01, gamma=0.55, seed=1)

    Source:
        Neelakantan et al. 2015, eq. 1; `optax.add_noise`.
    """

    ranges: ClassVar[dict[str, Range]] = {"eta": RATE, "gamma": RATE}
    eta: Buffer[Array]
    gamma: Buffer[Array]
    seed: Static[int]

    def __init__(
        self, eta: Hyperparameter = 0.01, *, gamma: Hyperparameter = 0.55, seed: int = 0
    ) -> None:
        self._set(eta=eta, gamma=gamma)
        expect_at_least(0, subject="GradientNoise", seed=seed)
        self.seed = int(seed)

    def move(self, gradient: Array, memory: Any, place: Place) -> tuple[Array, Any]:
        """Add the noise."""
        stream = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(place.path.encode()))
        key = jax.random.fold_in(stream, place.step)
        deviation = jnp.sqrt(self.eta / place.number**self.gamma)
        noise = jax.random.normal(key, gradient.shape, gradient.dtype)
        return gradient + deviation * noise, memory

    def _others(self) -> Iterator[Any]:
        yield "seed", self.seed, 0


class _Window(NamedTuple):
    taken: Array
    mean: Any


class AccumGrad(Rule):
    r"""Collect the mean of $n$ gradients; the rules behind see every $n$-th step only.

    It goes in front of a chain. In the steps between the parameters stay, and so does all
    that the rules behind it remember: their counts, moments and schedules. To take one
    batch in parts within one step, use `accumulate=` of `train` or `trainstep`.

    Args:
        count: The $n$, at least 1. Changed by `adjust` on the way, it counts for the
            gradients that are being collected.

    Raises:
        RangeError: The count is not a whole number of at least 1.

    Examples:
        >>> import rosin as rs
        >>> rs.OptimiserChain(AccumGrad(4), rs.Adam(1e-3)).rules[0]
        AccumGrad(count=4)

    Source:
        Flux.jl `AccumGrad`; `optax.MultiSteps`.
    """

    ranges: ClassVar[dict[str, Range]] = {"count": COUNT}
    count: Buffer[Array]

    def __init__(self, count: int) -> None:
        self._set(count=count)

    def begin(self, parameters: dict[str, Array]) -> _Window:
        """Begin with nothing collected."""
        zeros = {path: jnp.zeros_like(leaf) for path, leaf in parameters.items()}
        return _Window(jnp.zeros((), jnp.int32), zeros)

    def advance(
        self,
        gradients: dict[str, Array],
        memory: Any,
        parameters: dict[str, Array],
        step: Array,
    ) -> tuple[dict[str, Array], Any]:
        """Collect; hand on the mean, and begin anew after the last."""
        before, taken = memory.taken, memory.taken + 1
        means = {
            path: mixed(memory.mean[path], g, (before / taken).astype(real_dtype(g)))
            for path, g in gradients.items()
        }
        full = taken >= self.count
        kept = {path: jnp.where(full, jnp.zeros_like(mean), mean) for path, mean in means.items()}
        return means, _Window(jnp.where(full, 0, taken), kept)

    def emits(self, progress: Progress) -> Array:
        """Tell whether the next gradient is the last of its `count`."""
        return progress.memory.taken + 1 >= self.count
