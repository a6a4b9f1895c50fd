# SPDX-License-Identifier: Apache-2.0
"""Blocks of transformers: attention, and a small network for each token."""

import abc
from collections.abc import Iterator
from typing import Any

import jax

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Activation, Array, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_kind,
    expect_last_axis,
    expect_rank,
)
from rosin.functional.activations import gelu
from rosin.functional.initialisers import glorot_uniform
from rosin.layers.attention import KeyValueCache, MultiHeadAttention
from rosin.layers.basic import Dense
from rosin.layers.containers import Chain
from rosin.layers.inputs import as_input
from rosin.layers.norm import LayerNorm
from rosin.layers.positions import TOKENS, RotaryPositions
from rosin.layers.regularise import Dropout


class Block(Module, abc.ABC):
    """What the blocks of encoders and decoders share."""

    attention: MultiHeadAttention
    attention_norm: LayerNorm
    feedforward: Chain
    norm: LayerNorm
    drop: Dropout | None
    pre_norm: Static[bool]

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Map `(batch, time, size)` to the same shape."""

    def empty_cache(self, batch: int, length: int) -> KeyValueCache:
        """Make the cache with which decoding starts.

        Args:
            batch: The number of sequences; at least 1.
            length: The number of tokens that it can hold; at least 1.

        Raises:
            RangeError: A number is not whole or not at least 1.
        """
        return self.attention.empty_cache(batch, length)

    def _furnish(
        self,
        size: int,
        hidden_size: int | None,
        activation: Activation,
        *,
        pre_norm: bool,
        dropout: float,
        epsilon: float,
        key: Key,
        **options: Any,
    ) -> None:
        """Make all parts but the attention."""
        name = type(self).__name__
        expect_at_least(1, subject=name, size=size)
        hidden_size = 4 * size if hidden_size is None else hidden_size
        expect_at_least(1, subject=name, hidden_size=hidden_size)
        expect_between(0, 1, subject=name, dropout=dropout)
        expect_kind(bool, subject=name, pre_norm=pre_norm)
        keys = jax.random.split(key, 4)
        parts = [
            Dense(size, hidden_size, activation, key=keys[0], **options),
            Dense(hidden_size, size, key=keys[1], **options),
        ]
        if dropout > 0:
            parts.insert(1, Dropout(dropout, key=keys[2]))
        self.feedforward = Chain(*parts)
        self.drop = Dropout(dropout, key=keys[3]) if dropout > 0 else None
        self.attention_norm = LayerNorm(size, epsilon=epsilon)
        self.norm = LayerNorm(size, epsilon=epsilon)
        self.pre_norm = pre_norm

    def _input(self, x: Array) -> Array:
        x = as_input(x, self.attention.query.weight, subject=self)
        expect_rank(x, TOKENS, subject=self)
        expect_last_axis(x, self.attention.query.weight.shape[0], subject=self, argument="size")
        return x

    def _before(self, x: Array, norm: LayerNorm) -> Array:
        return norm(x) if self.pre_norm else x

    def _added(self, x: Array, y: Array, norm: LayerNorm) -> Array:
        x = x + (y if self.drop is None else self.drop(y))
        return x if self.pre_norm else norm(x)

    def _fed(self, x: Array) -> Array:
        return self._added(x, self.feedforward(self._before(x, self.norm)), self.norm)

    def _decoded(self, x: Array, cache: KeyValueCache) -> tuple[Array, KeyValueCache]:
        x = self._input(x)
        y, cache = self.attention.decode(self._before(x, self.attention_norm), cache)
        return self._added(x, y, self.attention_norm), cache

    def _arguments(self, **own: tuple[Any, Any]) -> Iterator[Any]:
        """Yield the arguments that build this block, `own` with value and default."""
        attention, hidden = self.attention, self.feedforward.layers[0]
        size = attention.query.weight.shape[0]
        yield size
        yield "heads", attention.heads, 8
        yield "hidden_size", hidden.weight.shape[1], 4 * size
        yield "activation", hidden.activation, gelu
        yield "pre_norm", self.pre_norm, True
        yield "dropout", attention.dropout, 0.0
        yield "kv_heads", attention.kv_heads, attention.heads
        yield "rotary", attention.rotary, None
        yield "bias", hidden.bias is not None, True
        yield "epsilon", self.norm.epsilon, 1e-5
        for name, (value, default) in own.items():
            yield name, value, default


class TransformerEncoderBlock(Block):
    r"""Let tokens attend to each other, then map each by a network of two layers.

    $$u = x + \mathrm{attention}(\mathrm{norm}(x)), \qquad
    y = u + W_2\, \sigma(W_1\, \mathrm{norm}(u))$$

    With `pre_norm=False` the norms come after the sums instead. With `causal=True` it is
    the block of a language model, which `decode` runs token by token.

    Args:
        size: Features of a token, in and out; at least 1.
        heads: The number of attention heads; divides `size`.
        hidden_size: Features between $W_1$ and $W_2$; four times `size` when left out.
        activation: The elementwise $\sigma$.
        pre_norm: Whether the norms stand before the two parts, or after the two sums.
        dropout: The probability with which, in training, attention weights, hidden
            features and what is added to $x$ and $u$ are dropped.
        causal: Whether a token sees only those up to its own place.
        kv_heads: Heads of keys and values, as for `MultiHeadAttention`.
        rotary: Turns queries and keys by their places.
        bias: Whether the products have biases.
        epsilon: Added to the variance in the norms; above 0.
        init: Draws each weight, called as `init(key, shape)`.
        key: Randomness for weights and dropout; drawn from the ambient stream when left
            out.

    Shapes:
        - attention: a `MultiHeadAttention`; feedforward: a `Chain`; attention_norm, norm:
          each a `LayerNorm`; drop: a `Dropout`, if there is one.
        - call: `(batch, time, size)` to the same; `mask` and `attention_bias` are as for
          `dot_product_attention`.

    Raises:
        RangeError: An argument is out of its range, or `heads` does not divide `size`.
        ShapeError: The input is not `(batch, time, size)`, or the mask does not fit.
        DtypeError: The input is not of a floating-point dtype, or the mask not boolean.
        StateError: `decode` is called on a block that is not causal, or a cache is full.

    Examples:
        >>> import jax.numpy as jnp
        >>> block = TransformerEncoderBlock(8, heads=2, causal=True)
        >>> block(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)
        >>> y, cache = block.decode(jnp.ones((1, 1, 8)), block.empty_cache(1, 16))

    Source:
        Vaswani et al. 2017, section 3.1; norms first: Xiong et al. 2020. PyTorch's
        `TransformerEncoderLayer` starts with the norms last, and with relu.
    """

    def __init__(  # noqa: PLR0913  what papers vary in a block
        self,
        size: int,
        *,
        heads: int = 8,
        hidden_size: int | None = None,
        activation: Activation = gelu,
        pre_norm: bool = True,
        dropout: float = 0.0,
        causal: bool = False,
        kv_heads: int | None = None,
        rotary: RotaryPositions | None = None,
        bias: bool = True,
        epsilon: float = 1e-5,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        keys = jax.random.split(resolve_key(key, subject="TransformerEncoderBlock"))
        self._furnish(
            size,
            hidden_size,
            activation,
            pre_norm=pre_norm,
            dropout=dropout,
            epsilon=epsilon,
            bias=bias,
            init=init,
            key=keys[0],
        )
        self.attention = MultiHeadAttention(
            size,
            heads=heads,
            kv_heads=kv_heads,
            bias=bias,
            dropout=dropout,
            causal=causal,
            rotary=rotary,
            init=init,
            key=keys[1],
        )

    def __call__(self, x: Array, *, mask: Any = None, attention_bias: Any = None) -> Array:
        """Map `(batch, time, size)` to the same shape."""
        x = self._input(x)
        seen = self._before(x, self.attention_norm)
        y = self.attention(seen, mask=mask, bias=attention_bias)
        return self._fed(self._added(x, y, self.attention_norm))

    def decode(self, x: Array, cache: KeyValueCache) -> tuple[Array, KeyValueCache]:
        """Map the next tokens, given those in the cache; return the cache moved on.

        Raises:
            ShapeError: The tokens do not have the sizes of the block or of the cache.
            StateError: The block is not causal, or the cache has no room.
        """
        x, cache = self._decoded(x, cache)
        return self._fed(x), cache

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this block."""
        yield from self._arguments(causal=(self.attention.causal, False))


class TransformerDecoderBlock(Block):
    r"""Let tokens attend to each other and to a memory, then map each by a network.

    $$u = x + \mathrm{attention}(\mathrm{norm}(x)), \quad
    v = u + \mathrm{cross}(\mathrm{norm}(u), m), \quad
    y = v + W_2\, \sigma(W_1\, \mathrm{norm}(v))$$

    The attention among the tokens is causal. With `pre_norm=False` the norms come after
    the sums instead.

    Args:
        size: Features of a token, in and out; at least 1.
        memory_size: Features of the memory $m$; `size` when left out.
        heads: The number of attention heads; divides `size`.
        hidden_size: Features between $W_1$ and $W_2$; four times `size` when left out.
        activation: The elementwise $\sigma$.
        pre_norm: Whether the norms stand before the three parts, or after the three sums.
        dropout: The probability with which, in training, attention weights, hidden
            features and what is added are dropped.
        kv_heads: Heads of keys and values, as for `MultiHeadAttention`.
        rotary: Turns queries and keys by their places, not those of the memory.
        bias: Whether the products have biases.
        epsilon: Added to the variance in the norms; above 0.
        init: Draws each weight, called as `init(key, shape)`.
        key: Randomness for weights and dropout; drawn from the ambient stream when left
            out.

    Shapes:
        - attention, cross: each a `MultiHeadAttention`; feedforward: a `Chain`;
          attention_norm, cross_norm, norm: each a `LayerNorm`; drop: a `Dropout`, if
          there is one.
        - call: `(batch, time, size)` and a memory `(batch, key_time, memory_size)` to
          `(batch, time, size)`; `mask` and `memory_mask` are as for
          `dot_product_attention`.

    Raises:
        RangeError: An argument is out of its range, or `heads` does not divide `size`.
        ShapeError: An input does not have the sizes of the block, or a mask does not fit.
        DtypeError: An input is not of a floating-point dtype, or a mask not boolean.
        StateError: A cache is full.

    Examples:
        >>> import jax.numpy as jnp
        >>> block = TransformerDecoderBlock(8, heads=2)
        >>> block(jnp.ones((1, 5, 8)), jnp.ones((1, 3, 8))).shape
        (1, 5, 8)

    Source:
        Vaswani et al. 2017, section 3.1; norms first: Xiong et al. 2020. PyTorch's
        `TransformerDecoderLayer` starts with the norms last and relu, and wants the causal
        mask as an argument.
    """

    cross: MultiHeadAttention
    cross_norm: LayerNorm

    def __init__(  # noqa: PLR0913  what papers vary in a block
        self,
        size: int,
        *,
        memory_size: int | None = None,
        heads: int = 8,
        hidden_size: int | None = None,
        activation: Activation = gelu,
        pre_norm: bool = True,
        dropout: float = 0.0,
        kv_heads: int | None = None,
        rotary: RotaryPositions | None = None,
        bias: bool = True,
        epsilon: float = 1e-5,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        keys = jax.random.split(resolve_key(key, subject="TransformerDecoderBlock"), 3)
        self._furnish(
            size,
            hidden_size,
            activation,
            pre_norm=pre_norm,
            dropout=dropout,
            epsilon=epsilon,
            bias=bias,
            init=init,
            key=keys[0],
        )
        memory_size = size if memory_size is None else memory_size
        shared: dict[str, Any] = {
            "heads": heads,
            "kv_heads": kv_heads,
            "bias": bias,
            "dropout": dropout,
            "init": init,
        }
        self.attention = MultiHeadAttention(size, causal=True, rotary=rotary, key=keys[1], **shared)
        sizes = (size, memory_size, memory_size)
        self.cross = MultiHeadAttention(sizes, key=keys[2], **shared)
        self.cross_norm = LayerNorm(size, epsilon=epsilon)

    def __call__(
        self, x: Array, memory: Array, *, mask: Any = None, memory_mask: Any = None
    ) -> Array:
        """Map `(batch, time, size)` and a memory to `(batch, time, size)`."""
        x = self._input(x)
        y = self.attention(self._before(x, self.attention_norm), mask=mask)
        return self._finished(self._added(x, y, self.attention_norm), memory, memory_mask)

    def decode(
        self, x: Array, memory: Array, cache: KeyValueCache, *, memory_mask: Any = None
    ) -> tuple[Array, KeyValueCache]:
        """Map the next tokens, given those in the cache; return the cache moved on.

        Raises:
            ShapeError: The tokens do not have the sizes of the block or of the cache.
            StateError: The cache has no room.
        """
        x, cache = self._decoded(x, cache)
        return self._finished(x, memory, memory_mask), cache

    def _finished(self, x: Array, memory: Array, memory_mask: Any) -> Array:
        y = self.cross(self._before(x, self.cross_norm), memory, mask=memory_mask)
        return self._fed(self._added(x, y, self.cross_norm))

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this block."""
        size, memory_size = (layer.weight.shape[0] for layer in (self.cross.query, self.cross.key))
        yield from self._arguments(memory_size=(memory_size, size))
