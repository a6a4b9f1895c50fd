# SPDX-License-Identifier: Apache-2.0
"""Layers that tell tokens where they stand: SinusoidalPositions, LearnedPositions, Rotary."""

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_last_axis,
    expect_one_of,
    expect_rank,
    is_whole,
    refuse,
)
from rosin.errors import RangeError
from rosin.functional.indexing import gather
from rosin.functional.initialisers import normal
from rosin.functional.positions import (
    PAIRINGS,
    expect_base,
    expect_even,
    places,
    rotate,
    sinusoids,
)
from rosin.layers.inputs import as_input, made_by

TOKENS = ("batch", "time", "features")
small_normal: Initialiser = functools.partial(normal, std=0.02)


class SinusoidalPositions(Module):
    r"""Add sines and cosines of the place to each token.

    $$y_{t, 2i} = x_{t, 2i} + \sin(t\, \beta^{-2i / d}), \qquad
    y_{t, 2i + 1} = x_{t, 2i + 1} + \cos(t\, \beta^{-2i / d})$$

    Args:
        features: The $d$; even.
        base: The $\beta$; above 1.

    Shapes:
        - call: `(batch, time, features)` to the same; `offset` is the place of the first
          token, 0 when left out, and may be traced.

    Raises:
        RangeError: `features` is not an even number of at least 2, or `base` not above 1.
        ShapeError: The input is not `(batch, time, features)`.
        DtypeError: The input is not of a floating-point dtype, or `offset` not whole.

    Examples:
        >>> import jax.numpy as jnp
        >>> SinusoidalPositions(2)(jnp.zeros((1, 2, 2))).round(3)
        Array([[[0.   , 1.   ],
                [0.841, 0.54 ]]], dtype=float32)

    Source:
        Vaswani et al. 2017, section 3.5.
    """

    features: Static[int]
    base: Static[float]

    def __init__(self, features: int, *, base: float = 10_000.0) -> None:
        expect_even(subject="SinusoidalPositions", features=features)
        expect_base(base, subject="SinusoidalPositions")
        self.features = features
        self.base = float(base)

    def __call__(self, x: Array, offset: Any = 0) -> Array:
        """Map `(batch, time, features)` to the same shape."""
        x = as_input(x, None, subject=self)
        expect_rank(x, TOKENS, subject=self)
        expect_last_axis(x, self.features, subject=self, argument="features")
        waves = sinusoids(x.shape[1], self.features, base=self.base, offset=offset, dtype=x.dtype)
        return x + waves[None]

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.features
        yield "base", self.base, 10_000.0


class LearnedPositions(Module):
    r"""Add a learnt row of its own to the token at each place.

    $$y_t = x_t + W_t$$

    Args:
        length: The number of places; at least 1.
        features: Numbers in each row; at least 1.
        init: Draws $W$, called as `init(key, shape)`.
        key: Randomness for $W$; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(length, features)`, trainable.
        - call: `(batch, time, features)` to the same; `offset` is the place of the first
          token, 0 when left out.

    Raises:
        RangeError: A size is not a whole number of at least 1, or the tokens go on beyond
            `length`. Where `offset` is traced, such a token becomes NaN.
        ShapeError: The input is not `(batch, time, features)`.
        DtypeError: The input is not of a floating-point dtype, or `offset` not whole.

    Examples:
        >>> import jax.numpy as jnp
        >>> LearnedPositions(16, 4)(jnp.zeros((1, 10, 4))).shape
        (1, 10, 4)

    Source:
        Gehring et al. 2017, section 3.1; the deviation 0.02 of the start from GPT-2.
    """

    undecayed: ClassVar[frozenset[str]] = frozenset({"weight"})
    weight: Array

    def __init__(
        self,
        length: int,
        features: int,
        *,
        init: Initialiser = small_normal,
        key: Key | None = None,
    ) -> None:
        expect_at_least(1, subject="LearnedPositions", length=length, features=features)
        expect_callable(subject="LearnedPositions", init=init)
        key = resolve_key(key, subject="LearnedPositions")
        self.weight = made_by(init, key, (length, features))

    def __call__(self, x: Array, offset: Any = 0) -> Array:
        """Map `(batch, time, features)` to the same shape."""
        x = as_input(x, self.weight, subject=self)
        expect_rank(x, TOKENS, subject=self)
        expect_last_axis(x, self.weight.shape[1], subject=self, argument="features")
        return x + self._rows(x.shape[1], offset)[None]

    def _rows(self, time: int, offset: Any) -> Array:
        if not is_whole(offset):  # an array, perhaps traced
            return gather(self.weight, places(time, offset, subject=self), subject=self)
        length = self.weight.shape[0]
        if not 0 <= offset <= length - time:
            refuse(
                RangeError,
                subject=self,
                expected=f"tokens at places from 0 to {length - 1}",
                got=f"places from {offset} to {offset + time - 1}",
                fix=f"cut the sequences, or build the layer with length={offset + time}",
            )
        return self.weight[offset : offset + time]

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from self.weight.shape


class RotaryPositions(Module):
    r"""Turn pairs of features of queries and keys by angles that grow with the place.

    $$\begin{pmatrix} y_a \\ y_b \end{pmatrix} = \begin{pmatrix} \cos\theta & -\sin\theta \\
    \sin\theta & \cos\theta \end{pmatrix} \begin{pmatrix} x_a \\ x_b \end{pmatrix}, \qquad
    \theta = t\, \beta^{-2i / d}$$

    For the argument `rotary=` of an attention layer, whose scores then depend on the
    distance of two tokens and not on their places.

    Args:
        base: The $\beta$; above 1.
        pairing: Which features make up pair $i$: `"halves"` takes $(i, i + d/2)$,
            `"interleaved"` takes $(2i, 2i + 1)$. Weights of others need the one they were
            trained with.

    Shapes:
        - call: `(batch, time, heads, features)` to the same, with an even number of
          features; `offset` is the place of the first token, 0 when left out, and may be
          traced.

    Raises:
        RangeError: `base` is not above 1, `pairing` unknown, or the features are odd.
        ShapeError: The input has another rank.
        DtypeError: The input is not of a real floating-point dtype, or `offset` not whole.

    Examples:
        >>> import jax.numpy as jnp
        >>> RotaryPositions()(jnp.array([[[[1.0, 0.0]]]]), offset=1).round(3)
        Array([[[[0.54 , 0.841]]]], dtype=float32)

    Source:
        Su et al. 2021, eq. 34, which interleaves; halves as in GPT-NeoX and Llama.
    """

    base: Static[float]
    pairing: Static[str]

    def __init__(self, *, base: float = 10_000.0, pairing: str = "halves") -> None:
        expect_base(base, subject="RotaryPositions")
        expect_one_of(PAIRINGS, subject="RotaryPositions", pairing=pairing)
        self.base = float(base)
        self.pairing = pairing

    def __call__(self, x: Array, offset: Any = 0) -> Array:
        """Map `(batch, time, heads, features)` to the same shape."""
        x = as_input(x, None, subject=self)
        expect_rank(x, ("batch", "time", "heads", "features"), subject=self)
        positions = places(x.shape[1], offset, subject=self)
        return rotate(x, positions, base=self.base, pairing=self.pairing, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield "base", self.base, 10_000.0
        yield "pairing", self.pairing, "halves"
