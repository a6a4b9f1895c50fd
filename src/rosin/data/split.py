# SPDX-License-Identifier: Apache-2.0
"""Data in parts: one for training and one for testing, or folds.

With `stratified` every part holds each class in proportion. For that the observations of
a class are spread evenly over the unit interval and all classes are merged in its order:
any stretch of the merged order then holds each class very nearly in proportion.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import jax
import numpy as np

from rosin.core.types import PyTree
from rosin.core.validation import expect_between, expect_kind, is_whole, refuse
from rosin.data.order import SPLIT_STREAM, Indices, resolve_seed, round_keys, shuffled
from rosin.data.sources import Subset, count, is_source, mapped
from rosin.errors import DtypeError, RangeError, ShapeError, shown

Labels: TypeAlias = np.ndarray[Any, Any] | jax.Array | Sequence[Any]


def splitobs(
    data: PyTree,
    *,
    at: float | tuple[float, ...] = 0.8,
    shuffle: bool = False,
    stratified: Labels | None = None,
    seed: int | None = None,
) -> tuple[PyTree, ...]:
    """Split data into parts, the last of which takes what the others leave.

    Every part has the structure of `data`. It is a view of the arrays where that is
    possible, so write to neither; a part of a source is a source.

    Args:
        data: An array, a tuple, named tuple or dict of arrays, of any depth, whose first
            axes count the observations; or a `Source`.
        at: The size of the first part, or a tuple for more parts: fractions between 0 and
            1, rounded to the nearest number of observations, or else whole numbers of
            observations. `1.0` is a fraction, `1` is one observation.
        shuffle: Whether the observations are dealt out in random order.
        stratified: A class for each observation, as whole numbers, booleans or text;
            every part gets each class in proportion.
        seed: Chooses the random order, from 0 to 2**63 - 1; left out, it is drawn from
            the ambient stream, which `rs.seed` sets.

    Returns:
        One part more than `at` has numbers.

    Raises:
        RangeError: `at` leaves a part without an observation or mixes fractions with
            whole numbers; `seed` is out of range.
        ShapeError: Arrays differ in length, or `stratified` does.
        DtypeError: The classes are neither whole numbers, booleans nor text.
        StructureError: `data` is neither arrays nor a source.

    Examples:
        >>> x, y = np.arange(10.0), np.arange(10)
        >>> (x_train, y_train), (x_test, y_test) = splitobs((x, y), at=0.7)
        >>> y_train, y_test
        (array([0, 1, 2, 3, 4, 5, 6]), array([7, 8, 9]))
        >>> [len(part) for part in splitobs(x, at=(0.5, 0.2), shuffle=True, seed=0)]
        [5, 2, 3]

    Source:
        MLUtils.jl `splitobs`, which allows empty parts.
    """
    length = count(data, subject="splitobs")
    cuts = [0, *_cuts(at, length), length]
    deal = _Deal(length, shuffle=shuffle, stratified=stratified, seed=seed, subject="splitobs")
    return tuple(selected(data, deal.rows(start, stop)) for start, stop in pairwise(cuts))


def kfolds(
    data: PyTree,
    k: int = 5,
    *,
    shuffle: bool = False,
    stratified: Labels | None = None,
    seed: int | None = None,
) -> Iterator[tuple[PyTree, PyTree]]:
    """Yield `k` pairs of training and validation data that validate each observation once.

    The validation parts differ in size by one at most.

    Args:
        data: As for `splitobs`.
        k: The number of folds, from 2 to the number of observations.
        shuffle: Whether the observations are dealt out in random order.
        stratified: A class for each observation; every fold gets each in proportion.
        seed: Chooses the random order; left out, it is drawn from the ambient stream.

    Raises:
        RangeError: `k` or `seed` is out of range.
        ShapeError: Arrays differ in length, or `stratified` does.
        DtypeError: The classes are neither whole numbers, booleans nor text.
        StructureError: `data` is neither arrays nor a source.

    Examples:
        >>> for train, validation in kfolds(np.arange(5), k=2):
        ...     print(train, validation)
        [2 3 4] [0 1]
        [0 1] [2 3 4]

    Source:
        MLUtils.jl `kfolds`.
    """
    length = count(data, subject="kfolds")
    if not is_whole(k) or not 2 <= k <= length:
        refuse(
            RangeError,
            subject="kfolds",
            expected=f"k to be a whole number from 2 to {length}, the number of observations",
            got=shown(k),
            fix="pass, for example, k=2",
        )
    deal = _Deal(length, shuffle=shuffle, stratified=stratified, seed=seed, subject="kfolds")
    cuts = pairwise(length * fold // k for fold in range(k + 1))
    return (
        (selected(data, deal.rows(stop, start)), selected(data, deal.rows(start, stop)))
        for start, stop in cuts
    )


def selected(data: PyTree, rows: Indices) -> PyTree:
    """Return the observations at `rows`: a view where they follow each other.

    Examples:
        >>> selected((np.arange(5), np.arange(5) * 10), np.array([0, 3]))
        (array([0, 3]), array([ 0, 30]))
    """
    if is_source(data):
        return Subset(data, rows)
    run = bool((np.diff(rows) == 1).all())
    part = slice(int(rows[0]), int(rows[-1]) + 1) if run else rows
    return mapped(lambda leaf, _: leaf[part], data)


class _Deal:
    """The observations in the order in which they are dealt out to parts."""

    def __init__(
        self,
        length: int,
        *,
        shuffle: bool,
        stratified: Labels | None,
        seed: int | None,
        subject: str,
    ) -> None:
        expect_kind(bool, subject=subject, shuffle=shuffle)
        number = resolve_seed(seed, shuffle=shuffle, subject=subject)
        self.order = self.turns = np.arange(length, dtype=np.int64)
        if shuffle:
            self.order = shuffled(0, length, length=length, seed=number, stream=SPLIT_STREAM)
        if stratified is not None:
            labels = _checked(stratified, length, subject)[self.order]
            self.turns = _merged(labels, number if shuffle else None)

    def rows(self, start: int, stop: int) -> Indices:
        """Return the observations of a part; all others, if it ends before it starts."""
        if start <= stop:
            turns = self.turns[start:stop]
        else:
            turns = np.concatenate([self.turns[:stop], self.turns[start:]])
        return self.order[np.sort(turns)]


def _merged(labels: np.ndarray[Any, Any], seed: int | None) -> Indices:
    """Order places so that every stretch holds each class in proportion."""
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(codes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    spread = (rank + _offsets(len(sizes), seed)[codes]) / sizes[codes]
    return np.argsort(spread, kind="stable")


def _offsets(classes: int, seed: int | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Space evenly where the classes start, or all the rare ones would come at once.

    With a seed each offset alone is uniform, so that a class of one may land anywhere.
    """
    if seed is None:
        return (np.arange(classes) + 0.5) / classes
    turns = shuffled(0, classes, length=classes, seed=seed, stream=SPLIT_STREAM + 1)
    (shift, *_) = round_keys(seed, SPLIT_STREAM + 2)
    return (turns + int(shift >> np.uint64(11)) / 2**53) / classes


def _checked(stratified: Labels, length: int, subject: str) -> np.ndarray[Any, Any]:
    labels = np.asarray(stratified)
    if labels.shape != (length,):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"stratified with one class for each of {length} observations",
            got=shown(labels),
            fix="pass the labels of the data, as one axis",
        )
    if labels.dtype.kind not in "biuUS":
        refuse(
            DtypeError,
            subject=subject,
            expected="stratified to hold whole numbers, booleans or text",
            got=shown(labels),
            fix="sort the values into classes first, for example with np.digitize",
        )
    return labels


def _cuts(at: float | tuple[float, ...], length: int) -> list[int]:
    """Return where the parts meet, having checked that each part holds something."""
    sizes = at if isinstance(at, tuple) else (at,)
    if all(map(is_whole, sizes)):
        cuts = list(accumulate(map(int, sizes)))
    else:
        for size in sizes:
            expect_between(0, 1, subject="splitobs", include_low=False, include_high=False, at=size)
        cuts = [round(total * length) for total in accumulate(map(float, sizes))]
    if not cuts or any(start >= stop for start, stop in pairwise([0, *cuts, length])):
        refuse(
            RangeError,
            subject="splitobs",
            expected="at to leave at least one observation for every part, the last included",
            got=f"at={shown(at)} for {length} observations",
            fix="pass fractions, for example at=(0.7, 0.2), or whole numbers, for example at=1",
        )
    return cuts
