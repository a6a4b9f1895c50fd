# SPDX-License-Identifier: Apache-2.0
"""Attention as a layer, and the cache with which it goes on token by token."""

from collections.abc import Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Buffer, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_divides,
    expect_kind,
    expect_rank,
    expect_sizes,
    expect_state,
    refuse,
)
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.attention import dot_product_attention
from rosin.functional.initialisers import glorot_uniform
from rosin.functional.masks import make_causal_mask
from rosin.layers.basic import Dense
from rosin.layers.positions import TOKENS, RotaryPositions


class KeyValueCache(Module):
    """Keys and values of the tokens so far, in arrays of fixed length.

    An argument and a result of `decode`, made by `empty_cache`. The caches of a stack of
    blocks are one, with the blocks along a new first axis.

    Shapes:
        - keys: `(batch, length, key_heads, features)`, a buffer.
        - values: `(batch, length, key_heads, out_features)`, a buffer.
        - position: `()`, the number of tokens so far, a buffer.

    Examples:
        >>> layer = MultiHeadAttention(8, heads=2, causal=True)
        >>> layer.empty_cache(1, 16)
        KeyValueCache(keys=float32[1,16,2,4], values=float32[1,16,2,4], position=int32[])
    """

    keys: Buffer[Array]
    values: Buffer[Array]
    position: Buffer[Array]

    @property
    def length(self) -> int:
        """The number of tokens that it can hold."""
        return self.keys.shape[-3]

    def appended(self, keys: Array, values: Array) -> Self:
        """Return the cache with the keys and values of the next tokens, and moved on."""
        start = self.position
        return self.replace(
            keys=lax.dynamic_update_slice_in_dim(self.keys, keys, start, 1),
            values=lax.dynamic_update_slice_in_dim(self.values, values, start, 1),
            position=start + keys.shape[1],
        )

    def expect_room(self, tokens: int, *, subject: object) -> None:
        """Refuse more tokens than there is room for, as far as the position is known."""
        known = not isinstance(self.position, Tracer)
        used = int(jnp.max(self.position)) if known else 0
        expect_state(
            used + tokens <= self.length,
            subject=subject,
            expected=f"a cache of length {self.length} to have room for {tokens} more",
            got=f"one that holds {used} tokens",
            fix="start with a longer one, empty_cache(batch, length), or decode fewer tokens",
        )


class MultiHeadAttention(Module):
    r"""Let each token gather from others what it looks for, with several heads at once.

    $$y = \big[\,\mathrm{attention}(q W^Q_h,\, k W^K_h,\, v W^V_h)\,\big]_h\, W^O$$

    Args:
        in_size: Features going in, or three numbers: of queries, of keys, of values.
        heads: The number of heads; divides the sizes.
        qk_size: Features of all projected queries together; as many as a query has when
            left out.
        value_size: Features of all projected values together; `qk_size` when left out.
        out_size: Features coming out; as many as a query has when left out.
        kv_heads: Heads of keys and values, each for a group of query heads; divides
            `heads`, which it is when left out.
        bias: Whether the four projections have biases.
        dropout: The probability with which an attention weight is dropped in training.
        causal: Whether a token sees only those up to its own place.
        rotary: Turns queries and keys by their places.
        init: Draws each projection, called as `init(key, shape)`.
        key: Randomness for the projections and the dropout; drawn from the ambient stream
            when left out.

    Shapes:
        - query, key, value, out: the projections, each a `Dense`.
        - dropout_key: `()`, a buffer, if there is a dropout; moves on in training.
        - call: `layer(x)` attends `(batch, time, in_size)` to itself; `layer(q, k)` takes
          keys and values from `(batch, key_time, in_size)`, and `layer(q, k, v)` the
          values from another. `mask` and `bias` are as for `dot_product_attention`. The
          result is `(batch, time, out_size)`, with `return_scores=True` a pair of it and
          the weights `(batch, heads, time, key_time)`.

    Raises:
        RangeError: An argument is out of its range, or the heads do not divide the sizes.
        ShapeError: The inputs do not have the sizes of the layer, or do not fit each
            other.
        DtypeError: An input is not of a floating-point dtype, or the mask not boolean.
        StateError: `decode` is called on a layer that is not causal, or a cache is full.

    Examples:
        >>> import jax
        >>> layer = MultiHeadAttention(8, heads=2, causal=True, key=jax.random.key(0))
        >>> layer(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)

    Source:
        Vaswani et al. 2017, section 3.2.2; Flux.jl `MultiHeadAttention`, which has no
        biases by default either (PyTorch has), and returns the weights always.
    """

    query: Dense
    key: Dense
    value: Dense
    out: Dense
    rotary: RotaryPositions | None
    dropout_key: Buffer[Key | None]
    heads: Static[int]
    kv_heads: Static[int]
    dropout: Static[float]
    causal: Static[bool]

    def __init__(  # noqa: PLR0913  the published arguments of attention
        self,
        in_size: int | tuple[int, int, int],
        *,
        heads: int = 8,
        qk_size: int | None = None,
        value_size: int | None = None,
        out_size: int | None = None,
        kv_heads: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
        causal: bool = False,
        rotary: RotaryPositions | None = None,
        init: Initialiser = glorot_uniform,
        key: Key | None = None,
    ) -> None:
        name = "MultiHeadAttention"
        sizes = in_size if isinstance(in_size, tuple) else (in_size,) * 3
        expect_sizes(sizes, subject=name, name="in_size")
        kv_heads = heads if kv_heads is None else kv_heads
        expect_at_least(1, subject=name, heads=heads, kv_heads=kv_heads)
        query_size, key_size, memory_size = _expect_three(sizes)
        qk_size = query_size if qk_size is None else qk_size
        value_size = qk_size if value_size is None else value_size
        out_size = query_size if out_size is None else out_size
        expect_at_least(1, subject=name, qk_size=qk_size, value_size=value_size, out_size=out_size)
        expect_divides(heads, subject=name, name="heads", qk_size=qk_size, value_size=value_size)
        expect_divides(kv_heads, subject=name, name="kv_heads", heads=heads)
        expect_between(0, 1, subject=name, dropout=dropout)
        expect_kind(bool, subject=name, causal=causal)
        if rotary is not None:
            expect_kind(RotaryPositions, subject=name, rotary=rotary)
            _expect_pairs(qk_size, heads)
        keys = jax.random.split(resolve_key(key, subject=name), 5)
        shares = {"bias": bias, "init": init}
        self.query = Dense(query_size, qk_size, key=keys[0], **shares)
        self.key = Dense(key_size, qk_size // heads * kv_heads, key=keys[1], **shares)
        self.value = Dense(memory_size, value_size // heads * kv_heads, key=keys[2], **shares)
        self.out = Dense(value_size, out_size, key=keys[3], **shares)
        self.rotary = rotary
        self.dropout_key = keys[4] if dropout > 0 else None
        self.heads = heads
        self.kv_heads = kv_heads
        self.dropout = float(dropout)
        self.causal = causal

    def __call__(
        self,
        q: Array,
        k: Array | None = None,
        v: Array | None = None,
        *,
        mask: Any = None,
        bias: Any = None,
        return_scores: bool = False,
    ) -> Any:
        """Map `(batch, time, in_size)` to `(batch, time, out_size)`."""
        k = q if k is None else k
        queries, keys, values = self._projected(q, k, k if v is None else v, 0)
        dropout, key = self._chance()
        attended = dot_product_attention(
            queries,
            keys,
            values,
            bias,
            mask=mask,
            causal=self.causal,
            dropout=dropout,
            key=key,
            return_scores=return_scores,
            subject=self,
        )
        y, *scores = attended if return_scores else (attended,)
        y = self.out(_joined(y))
        return (y, *scores) if return_scores else y

    def empty_cache(self, batch: int, length: int) -> KeyValueCache:
        """Make the cache with which decoding starts.

        Args:
            batch: The number of sequences; at least 1.
            length: The number of tokens that it can hold; at least 1.

        Raises:
            RangeError: A number is not whole or not at least 1.
        """
        expect_at_least(1, subject="empty_cache", batch=batch, length=length)
        shape = (batch, length, self.kv_heads)
        return KeyValueCache(
            jnp.zeros((*shape, self.key.weight.shape[1] // self.kv_heads), self.key.weight.dtype),
            jnp.zeros(
                (*shape, self.value.weight.shape[1] // self.kv_heads), self.value.weight.dtype
            ),
            jnp.zeros((), jnp.int32),
        )

    def decode(self, x: Array, cache: KeyValueCache) -> tuple[Array, KeyValueCache]:
        """Attend the next tokens to those in the cache and to themselves, causally.

        Token by token, or several at a time, gives what the call on the whole sequence
        gives. Where a full cache cannot be noticed, since it is traced, the result is NaN.

        Args:
            x: The next tokens, `(batch, time, in_size)`.
            cache: What `empty_cache` or the `decode` before returned.

        Returns:
            The result `(batch, time, out_size)`, and the cache for the tokens after these.

        Raises:
            ShapeError: The tokens do not have the sizes of the layer or of the cache.
            StateError: The layer is not causal, or the cache has no room.
        """
        expect_state(
            self.causal,
            subject=self,
            expected="a causal layer, which alone can go on token by token",
            got="causal=False",
            fix="build it with causal=True",
        )
        expect_kind(KeyValueCache, subject=self, cache=cache)
        queries, keys, values = self._projected(x, x, x, cache.position)
        self._expect_cache(keys, cache)
        cache.expect_room(x.shape[1], subject=self)
        mask = make_causal_mask(x.shape[1], cache.length, offset=cache.position)
        cache = cache.appended(keys, values)
        y = dot_product_attention(queries, cache.keys, cache.values, mask=mask, subject=self)
        y = self.out(_joined(y))
        return jnp.where(cache.position <= cache.length, y, jnp.nan), cache

    def _projected(self, q: Array, k: Array, v: Array, offset: Any) -> tuple[Array, Array, Array]:
        """Project the inputs and cut the features into heads."""
        for x in (q, k, v):
            expect_rank(x, TOKENS, subject=self)
        if k.shape[0] != q.shape[0] or v.shape[:2] != k.shape[:2]:
            refuse(
                ShapeError,
                subject=self,
                expected="q (batch, time, ...), k (batch, key_time, ...) and v like k",
                got=f"q {shown(q)}, k {shown(k)} and v {shown(v)}",
                fix="give them one batch, and one value for each key",
            )
        queries = _in_heads(self.query(q), self.heads)
        keys, values = (
            _in_heads(layer(x), self.kv_heads) for layer, x in ((self.key, k), (self.value, v))
        )
        if self.rotary is not None:
            queries, keys = self.rotary(queries, offset), self.rotary(keys, offset)
        return queries, keys, values

    def _chance(self) -> tuple[float, Key | None]:
        """Return the dropout of this call and its randomness, and move the stream on."""
        if not self.training or self.dropout_key is None:
            return 0.0, None
        following, key = jax.random.split(self.dropout_key)
        self.record(dropout_key=following)
        return self.dropout, key

    def _expect_cache(self, keys: Array, cache: KeyValueCache) -> None:
        shape = cache.keys.shape
        if (shape[0], *shape[2:]) != (keys.shape[0], *keys.shape[2:]):
            refuse(
                ShapeError,
                subject=self,
                expected=f"a cache with keys of shape ({keys.shape[0]}, length, "
                f"{keys.shape[2]}, {keys.shape[3]})",
                got=shown(cache.keys),
                fix=f"make it with empty_cache({keys.shape[0]}, length) of this layer",
            )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        sizes = tuple(layer.weight.shape[0] for layer in (self.query, self.key, self.value))
        qk_size, value_size = self.query.weight.shape[1], self.out.weight.shape[0]
        yield sizes[0] if len(set(sizes)) == 1 else sizes
        yield "heads", self.heads, 8
        yield "qk_size", qk_size, sizes[0]
        yield "value_size", value_size, qk_size
        yield "out_size", self.out.weight.shape[1], sizes[0]
        yield "kv_heads", self.kv_heads, self.heads
        yield "bias", self.out.bias is not None, False
        yield "dropout", self.dropout, 0.0
        yield "causal", self.causal, False
        yield "rotary", self.rotary, None


def _in_heads(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads)


def _joined(y: Array) -> Array:
    return y.reshape(*y.shape[:2], y.shape[2] * y.shape[3])


def _expect_three(sizes: tuple[int, ...]) -> tuple[int, int, int]:
    if len(sizes) != 3:
        refuse(
            RangeError,
            subject="MultiHeadAttention",
            expected="in_size to be one number, or three: of queries, keys and values",
            got=shown(sizes),
            fix="pass in_size=64, or in_size=(64, 32, 32)",
        )
    return sizes[0], sizes[1], sizes[2]


def _expect_pairs(qk_size: int, heads: int) -> None:
    if qk_size // heads % 2:
        refuse(
            RangeError,
            subject="MultiHeadAttention",
            expected="an even number of features for each head, since rotary turns pairs of them",
            got=f"qk_size={qk_size} with heads={heads}",
            fix=f"pass qk_size as a multiple of {2 * heads}",
        )
