# SPDX-License-Identifier: Apache-2.0
"""Which observations a batch holds: a pure function of seed, epoch and step.

All arithmetic is on 64-bit words and written out here, so the order is the same on every
machine and with every version of NumPy; `numpy.random` gives no such promise (NEP 19).
Nothing here knows data or keeps state.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rosin.core.random import draw_seed
from rosin.core.validation import is_whole, refuse
from rosin.errors import RangeError, shown

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""Places of observations, counted from 0."""

Words: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]

SEED_BOUND = 2**63
"""Seeds and epochs stay below it, so that a state fits signed 64-bit integers."""

SPLIT_STREAM = 2**63
"""The first of the streams that split data; no epoch counts as far."""

SORTED_BITS = 20  # up to 2^20 observations an epoch's order is a sorted table of 8 MiB
BLOCK_STEPS = 64  # above, so many batches are computed at a time
ROUNDS = 8

# splitmix64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"
GAMMA = 0x9E3779B97F4A7C15
MIX_A = 0xBF58476D1CE4E5B9
MIX_B = 0x94D049BB133111EB
WORD = 2**64 - 1


class Order(NamedTuple):
    """The order in which a loader visits its observations.

    Args:
        length: Observations in an epoch; at least 1.
        batch_size: Observations in a batch; at least 1.
        shuffle: Whether each epoch has an order of its own.
        partial: Whether a last, smaller batch counts.
        seed: Chooses the orders; from 0 to 2**63 - 1.

    Examples:
        >>> order = Order(length=5, batch_size=2, shuffle=True, partial=True, seed=0)
        >>> [rows.tolist() for rows in order.batches(epoch=0)]
        [[3, 1], [2, 0], [4]]
    """

    length: int
    batch_size: int
    shuffle: bool
    partial: bool
    seed: int

    @property
    def steps(self) -> int:
        """The number of batches in an epoch.

        Examples:
            >>> Order(5, batch_size=2, shuffle=True, partial=False, seed=0).steps
            2
        """
        rest = self.batch_size - 1 if self.partial else 0
        return (self.length + rest) // self.batch_size

    def batches(self, epoch: int, step: int = 0) -> Iterator[Indices]:
        """Yield the indices of each batch of an epoch, from a step on.

        Starting late costs no more than starting at 0. The arrays cannot be written to.

        Args:
            epoch: Which epoch, from 0.
            step: The first batch wanted, from 0 to `steps`.

        Examples:
            >>> order = Order(5, batch_size=2, shuffle=False, partial=True, seed=0)
            >>> [rows.tolist() for rows in order.batches(epoch=7, step=1)]
            [[2, 3], [4]]
        """
        size = self.batch_size
        block = self.steps if self.length <= 2**SORTED_BITS else BLOCK_STEPS
        for first in range(step, self.steps, max(block, 1)):
            last = min(first + block, self.steps)
            rows = self._rows(epoch, first * size, min(last * size, self.length))
            rows.setflags(write=False)
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    def _rows(self, epoch: int, start: int, stop: int) -> Indices:
        if not self.shuffle:
            return np.arange(start, stop, dtype=np.int64)
        return shuffled(start, stop, length=self.length, seed=self.seed, stream=epoch)


def shuffled(start: int, stop: int, *, length: int, seed: int, stream: int) -> Indices:
    """Return the part from `start` to `stop` of a permutation of `length` indices.

    Up to 2^20 indices are sorted by a keyed hash; above that a Feistel network permutes
    each place by itself, in memory that does not grow with `length`.

    Args:
        start: The first place wanted.
        stop: One past the last place wanted.
        length: How many indices are permuted.
        seed: Chooses the permutation, together with `stream`.
        stream: Numbers the permutations of one seed; below 2**64.

    Examples:
        >>> shuffled(0, 6, length=6, seed=0, stream=0)
        array([3, 1, 5, 2, 0, 4])

    Source:
        Cycle walking: Black & Rogaway 2002, "Ciphers with arbitrary finite domains".
    """
    keys = round_keys(seed, stream)
    if length <= 2**SORTED_BITS:
        return _sorted_by_hash(length, keys)[start:stop]
    places = np.arange(start, stop, dtype=np.uint64)
    return _walked(places, length, keys).view(np.int64)


def round_keys(seed: int, stream: int) -> list[np.uint64]:
    """Derive eight words of key from a seed and the number of a stream.

    Examples:
        >>> len(set(round_keys(0, 0) + round_keys(0, 1) + round_keys(1, 0)))
        24
    """
    state = _mixed_int(_mixed_int(seed + GAMMA) ^ stream)
    return [np.uint64(_mixed_int(state + i * GAMMA)) for i in range(1, ROUNDS + 1)]


def resolve_seed(seed: int | None, *, shuffle: bool, subject: str) -> int:
    """Return the seed that was given, or draw one where a shuffle needs it.

    Raises:
        RangeError: The seed is not a whole number from 0 to 2**63 - 1.
        StateError: A seed is to be drawn while a function is traced.

    Examples:
        >>> resolve_seed(3, shuffle=True, subject="DataLoader")
        3
    """
    if seed is None and shuffle:
        return draw_seed()
    number = 0 if seed is None else seed
    if not is_whole(number) or not 0 <= number < SEED_BOUND:
        refuse(
            RangeError,
            subject=subject,
            expected="seed to be a whole number from 0 to 2**63 - 1",
            got=shown(seed),
            fix="pass, for example, seed=0",
        )
    return int(number)


def _mixed_int(x: int) -> int:
    """Scramble one word held in a Python integer; the same map as `_mixed`."""
    x &= WORD
    x = ((x ^ (x >> 30)) * MIX_A) & WORD
    x = ((x ^ (x >> 27)) * MIX_B) & WORD
    return x ^ (x >> 31)


def _mixed(words: Words) -> Words:
    """Scramble each word in place, one to one."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(MIX_A)
    words ^= words >> np.uint64(27)
    words *= np.uint64(MIX_B)
    words ^= words >> np.uint64(31)
    return words


def _sorted_by_hash(length: int, keys: list[np.uint64]) -> Indices:
    """Sort indices by the upper 44 bits of a keyed hash, ties by the index below them."""
    index = np.arange(length, dtype=np.uint64)
    low = np.uint64(2**SORTED_BITS - 1)
    # Two keyed rounds: after one, the orders of two keys could be the same but for an XOR.
    words = _mixed(_mixed(index ^ keys[0]) ^ keys[1])
    words &= ~low
    words |= index
    words.sort()
    words &= low
    return words.view(np.int64)


def _walked(places: Words, length: int, keys: list[np.uint64]) -> Words:
    """Permute places below `length`: repeat the network until each is below it again."""
    words = _network(places, length, keys)
    outside = np.flatnonzero(words >= np.uint64(length))
    while outside.size:
        moved = _network(words[outside], length, keys)
        words[outside] = moved
        outside = outside[moved >= np.uint64(length)]
    return words


def _network(words: Words, length: int, keys: list[np.uint64]) -> Words:
    """Permute the words below the next power of two with a Feistel network."""
    bits = max(2, (length - 1).bit_length())
    width = np.uint64(bits // 2)
    low = np.uint64(2 ** (bits // 2) - 1)
    high = np.uint64(2 ** (bits - bits // 2) - 1)
    left, right = words >> width, words & low
    for i in range(0, ROUNDS, 2):
        left ^= _mixed(right ^ keys[i]) & high
        right ^= _mixed(left ^ keys[i + 1]) & low
    return (left << width) | right
