# SPDX-License-Identifier: Apache-2.0
"""Quantised blocks of GGUF as numbers: whole numbers of few bits, times a scale per block.

The layouts are those of ggml's `ggml-common.h`. In float32 each value is rounded once.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

_Blocks = np.ndarray  # uint8, one block a row
_HALF_BLOCK: Final = 16
_SUBBLOCKS: Final = 8  # of 32 numbers each, in a block of 256


def unpacked(packing: str, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the numbers of quantised blocks as float32.

    Args:
        packing: A key of `BLOCKS`, which are those of `rosin.scan.gguf.PACKINGS`.
        data: Whole blocks.
        shape: What they fill.

    Examples:
        >>> block = np.float16(0.5).tobytes() + bytes(range(32))
        >>> unpacked("Q8_0", block, (2, 16))[1, -1]
        np.float32(15.5)
    """
    size, values = BLOCKS[packing]
    blocks = np.frombuffer(data, np.uint8).reshape(-1, size)
    with np.errstate(invalid="ignore", over="ignore"):  # a scale may be infinite
        return values(blocks).reshape(shape)


def _float(blocks: _Blocks, at: int) -> np.ndarray:
    """Read a float16 of each block, as a column of float32."""
    return blocks[:, at : at + 2].copy().view("<f2").astype(np.float32)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """Split bytes: the low halves first, then the high ones, along the last axis."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(blocks: _Blocks, at: int) -> np.ndarray:
    """Read 32 bits of each block as 0 and 16."""
    bits = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    return bits << 4


def _q8_0(blocks: _Blocks) -> np.ndarray:
    return _float(blocks, 0) * blocks[:, 2:].view(np.int8)


def _q4_0(blocks: _Blocks) -> np.ndarray:
    return _float(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.int8) - 8)


def _q4_1(blocks: _Blocks) -> np.ndarray:
    return _float(blocks, 0) * _nibbles(blocks[:, 4:]) + _float(blocks, 2)


def _q5_0(blocks: _Blocks) -> np.ndarray:
    whole = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)
    return _float(blocks, 0) * (whole.astype(np.int8) - 16)


def _q5_1(blocks: _Blocks) -> np.ndarray:
    whole = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return _float(blocks, 0) * whole + _float(blocks, 2)


def _scales(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split 12 bytes into 8 scales and 8 minima of 6 bits.

    The low 6 bits of bytes 0 to 7 are the first four of each; of the others, bytes 8 to 11
    hold the low 4 bits, and the top of bytes 0 to 7 the high 2.
    """
    low, high = packed[:, :8] & 63, packed[:, :8] >> 6 << 4
    rest = packed[:, 8:]
    scales = np.concatenate([low[:, :4], (rest & 15) | high[:, :4]], axis=1)
    minima = np.concatenate([low[:, 4:], (rest >> 4) | high[:, 4:]], axis=1)
    return scales, minima


def _scaled(blocks: _Blocks, whole: np.ndarray) -> np.ndarray:
    """Scale 8 times 32 whole numbers and subtract the minimum of each sub-block."""
    scales, minima = _scales(blocks[:, 4:16])
    steps = (_float(blocks, 0) * scales)[:, :, None]
    return steps * whole - (_float(blocks, 2) * minima)[:, :, None]


def _q4_k(blocks: _Blocks) -> np.ndarray:
    whole = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, _SUBBLOCKS, 32)
    return _scaled(blocks, whole)


def _q5_k(blocks: _Blocks) -> np.ndarray:
    whole = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, _SUBBLOCKS, 32)
    shifts = np.arange(_SUBBLOCKS, dtype=np.uint8)[:, None]
    return _scaled(blocks, whole | (blocks[:, None, 16:48] >> shifts & 1) << 4)


def _q6_k(blocks: _Blocks) -> np.ndarray:
    # Two halves of 128: 64 bytes of low nibbles, 32 bytes of four pairs of high bits.
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3
    whole = (low | high << 4).astype(np.int8) - 32
    steps = _float(blocks, 208) * blocks[:, 192:208].view(np.int8)
    return steps[:, :, None] * whole.reshape(-1, 16, _HALF_BLOCK)


BLOCKS: Final[Mapping[str, tuple[int, Callable[[_Blocks], np.ndarray]]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q8_0": (34, _q8_0),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}
"""The bytes of a block, and what they stand for."""
