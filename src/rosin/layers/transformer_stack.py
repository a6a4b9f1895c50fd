# SPDX-License-Identifier: Apache-2.0
"""Stacks of equal transformer blocks, compiled once however many there are."""

import abc
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.module import Module
from rosin.core.transforms import ScanLayers, scan_layers
from rosin.core.types import Array
from rosin.core.validation import expect_kind
from rosin.layers.attention import KeyValueCache
from rosin.layers.norm import LayerNorm
from rosin.layers.transformer import Block, TransformerDecoderBlock, TransformerEncoderBlock


class Stack(Module, abc.ABC):
    """What stacks of encoder and of decoder blocks share."""

    looks_inside = True
    blocks: ScanLayers
    norm: LayerNorm | None

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Map `(batch, time, size)` to the same shape."""

    def empty_cache(self, batch: int, length: int) -> KeyValueCache:
        """Make the cache with which decoding starts, one for all blocks.

        Args:
            batch: The number of sequences; at least 1.
            length: The number of tokens that it can hold; at least 1.

        Raises:
            RangeError: A number is not whole or not at least 1.
        """
        cache = self.blocks[0].empty_cache(batch, length)
        return jax.tree.map(lambda a: jnp.repeat(a[None], len(self.blocks), 0), cache)

    def _stack(self, blocks: Sequence[Any], kind: type[Block]) -> None:
        for block in blocks:
            expect_kind(kind, subject=type(self).__name__, block=block)
        self.blocks = scan_layers(blocks)
        first: Block = blocks[0]
        self.norm = (
            LayerNorm(first.norm.sizes, epsilon=first.norm.epsilon) if first.pre_norm else None
        )

    def _normed(self, x: Array) -> Array:
        return x if self.norm is None else self.norm(x)

    def _decoded(
        self, x: Array, cache: KeyValueCache, *memory: Array, **options: Any
    ) -> tuple[Array, KeyValueCache]:
        expect_kind(KeyValueCache, subject=self, cache=cache)
        cache.expect_room(x.shape[1], subject=self)

        def step(x: Array, both: tuple[Any, KeyValueCache]) -> tuple[Array, KeyValueCache]:
            block, cache = both
            return block.decode(x, *memory, cache, **options)

        x, cache = lax.scan(step, jnp.asarray(x), (self.blocks.blocks, cache))
        return self._normed(x), cache

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the blocks."""
        yield self.blocks


class TransformerEncoder(Stack):
    r"""Map tokens through equal encoder blocks, and norm the result of pre-norm ones.

    $$y = \mathrm{norm}\big((f_n \circ \dots \circ f_1)(x)\big)$$

    Args:
        blocks: The blocks, of equal sizes and options; at least one. They are copied into
            one stack and compiled once.

    Shapes:
        - blocks: the leaves of a block with a leading axis, as `rs.scan_layers` makes them.
        - norm: a `LayerNorm`, if the blocks are pre-norm; otherwise they end in one.
        - call: `(batch, time, size)` to the same; `mask` and `attention_bias` go to each
          block.

    Raises:
        RangeError: There is no block.
        StructureError: Something is no encoder block, or the blocks differ.
        ShapeError: The input is not `(batch, time, size)`, or the mask does not fit.
        DtypeError: The input is not of a floating-point dtype, or the mask not boolean.
        StateError: `decode` is called on blocks that are not causal, or a cache is full.

    Examples:
        >>> import rosin as rs
        >>> encoder = TransformerEncoder(
        ...     [rs.TransformerEncoderBlock(8, heads=2) for _ in range(6)]
        ... )
        >>> encoder(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)

    Source:
        Vaswani et al. 2017, figure 1, left.
    """

    def __init__(self, blocks: Sequence[TransformerEncoderBlock]) -> None:
        self._stack(blocks, TransformerEncoderBlock)

    def __call__(self, x: Array, *, mask: Any = None, attention_bias: Any = None) -> Array:
        """Map `(batch, time, size)` to the same shape."""
        return self._normed(self.blocks(x, mask=mask, attention_bias=attention_bias))

    def decode(self, x: Array, cache: KeyValueCache) -> tuple[Array, KeyValueCache]:
        """Map the next tokens, given those in the cache; return the cache moved on.

        Raises:
            ShapeError: The tokens do not have the sizes of the blocks or of the cache.
            StateError: The blocks are not causal, or the cache has no room.
        """
        return self._decoded(x, cache)


class TransformerDecoder(Stack):
    r"""Map tokens and a memory through equal decoder blocks; norm that of pre-norm ones.

    $$y = \mathrm{norm}\big((f_n(\cdot, m) \circ \dots \circ f_1(\cdot, m))(x)\big)$$

    Args:
        blocks: The blocks, of equal sizes and options; at least one. They are copied into
            one stack and compiled once.

    Shapes:
        - blocks: the leaves of a block with a leading axis, as `rs.scan_layers` makes them.
        - norm: a `LayerNorm`, if the blocks are pre-norm; otherwise they end in one.
        - call: `(batch, time, size)` and a memory `(batch, key_time, memory_size)` to
          `(batch, time, size)`; `mask` and `memory_mask` go to each block.

    Raises:
        RangeError: There is no block.
        StructureError: Something is no decoder block, or the blocks differ.
        ShapeError: An input does not have the sizes of the blocks, or a mask does not fit.
        DtypeError: An input is not of a floating-point dtype, or a mask not boolean.
        StateError: A cache is full.

    Examples:
        >>> import rosin as rs
        >>> decoder = TransformerDecoder(
        ...     [rs.TransformerDecoderBlock(8, heads=2) for _ in range(6)]
        ... )
        >>> decoder(jnp.ones((1, 5, 8)), jnp.ones((1, 3, 8))).shape
        (1, 5, 8)

    Source:
        Vaswani et al. 2017, figure 1, right.
    """

    def __init__(self, blocks: Sequence[TransformerDecoderBlock]) -> None:
        self._stack(blocks, TransformerDecoderBlock)

    def __call__(
        self, x: Array, memory: Array, *, mask: Any = None, memory_mask: Any = None
    ) -> Array:
        """Map `(batch, time, size)` and a memory to `(batch, time, size)`."""
        return self._normed(self.blocks(x, memory, mask=mask, memory_mask=memory_mask))

    def decode(
        self, x: Array, memory: Array, cache: KeyValueCache, *, memory_mask: Any = None
    ) -> tuple[Array, KeyValueCache]:
        """Map the next tokens, given those in the cache; return the cache moved on.

        Raises:
            ShapeError: The tokens do not have the sizes of the blocks or of the cache.
            StateError: The cache has no room.
        """
        return self._decoded(x, cache, memory, memory_mask=memory_mask)
