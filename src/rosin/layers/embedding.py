# SPDX-License-Identifier: Apache-2.0
"""Layers that look whole numbers up in a table: Embedding, EmbeddingBag."""

from collections.abc import Iterator
from typing import Any, ClassVar

from rosin.core.module import Module
from rosin.core.random import resolve_key
from rosin.core.types import Array, Initialiser, Key, Static
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_index,
    expect_one_of,
)
from rosin.functional.initialisers import normal
from rosin.functional.lookup import REDUCTIONS, Reduction, embedding, embedding_bag
from rosin.layers.inputs import made_by


class Embedding(Module):
    r"""Look up a row of a table for each whole number.

    $$y = W_{x}$$

    Args:
        vocabulary_size: Rows of the table; at least 1.
        features: Numbers in each row; at least 1.
        padding_index: A row that starts at zero and that no gradient reaches, so that it
            stays zero; it stands for "nothing here".
        init: Draws the table, called as `init(key, shape)`.
        key: Randomness for the table; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(vocabulary_size, features)`, trainable.
        - call: integers of shape `(...)` to `(..., features)`.

    Raises:
        RangeError: A size is not a whole number of at least 1, `padding_index` is no row,
            or an index that is known outside `jit` is not from 0 to
            `vocabulary_size - 1`. Under `jit` such an index gives a row of NaN.
        DtypeError: The input does not hold whole numbers.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> layer = Embedding(10, 4, padding_index=0, key=jax.random.key(0))
        >>> layer(jnp.array([[1, 2, 9]])).shape
        (1, 3, 4)
        >>> layer(jnp.array(0))
        Array([0., 0., 0., 0.], dtype=float32)

    Source:
        Flux.jl `Embedding`, with rows in place of columns and indices from 0. One-hot
        rows are not taken: `x @ layer.weight` maps them.
    """

    undecayed: ClassVar[frozenset[str]] = frozenset({"weight"})
    weight: Array
    padding_index: Static[int | None]

    def __init__(
        self,
        vocabulary_size: int,
        features: int,
        *,
        padding_index: int | None = None,
        init: Initialiser = normal,
        key: Key | None = None,
    ) -> None:
        self.weight = _table(
            vocabulary_size, features, padding_index, init, key, subject="Embedding"
        )
        self.padding_index = padding_index

    def __call__(self, indices: Array) -> Array:
        """Map integers `(...)` to rows `(..., features)`."""
        return embedding(self.weight, indices, padding_index=self.padding_index, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from self.weight.shape
        yield "padding_index", self.padding_index, None


class EmbeddingBag(Module):
    r"""Look up rows of a table and reduce them over each bag of whole numbers.

    $$y_b = \operatorname{reduce}_{k \in \text{bag } b} \; w_k\, W_{x_k}$$

    Args:
        vocabulary_size: Rows of the table; at least 1.
        features: Numbers in each row; at least 1.
        reduction: "mean", "sum", "max", or a function called as `reduction(rows, axis=-2)`,
            which takes bags of equal length only.
        padding_index: An index that is left out of its bag; its row starts at zero and no
            gradient reaches it. With it bags of unequal length fit into one array.
        init: Draws the table, called as `init(key, shape)`.
        key: Randomness for the table; drawn from the ambient stream when left out.

    Shapes:
        - weight: `(vocabulary_size, features)`, trainable.
        - call: integers `(..., bag)` to `(..., features)`; or integers `(n,)` and the
          offsets `(bags,)` at which each bag begins, to `(bags, features)`. `weights=`
          has the shape of the integers. An empty bag gives zeros.

    Raises:
        RangeError: A size is not a whole number of at least 1, `reduction` or
            `padding_index` is none of those possible, or, known outside `jit`, an index is
            not from 0 to `vocabulary_size - 1` or the offsets fall. Under `jit` such a
            bag is NaN.
        DtypeError: An input does not hold whole numbers.
        ShapeError: The inputs do not fit each other.
        StructureError: A function reduces bags of unequal length, or `weights` come with
            another reduction than "sum".

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> layer = EmbeddingBag(10, 4, key=jax.random.key(0))
        >>> layer(jnp.array([[1, 2, 9], [0, 0, 3]])).shape
        (2, 4)
        >>> layer(jnp.array([1, 2, 9, 0]), jnp.array([0, 3])).shape
        (2, 4)

    Source:
        Flux.jl `EmbeddingBag` and PyTorch's, with indices from 0.
    """

    undecayed: ClassVar[frozenset[str]] = frozenset({"weight"})
    weight: Array
    reduction: Static[Reduction]
    padding_index: Static[int | None]

    def __init__(
        self,
        vocabulary_size: int,
        features: int,
        reduction: Reduction = "mean",
        *,
        padding_index: int | None = None,
        init: Initialiser = normal,
        key: Key | None = None,
    ) -> None:
        if not callable(reduction):
            expect_one_of(REDUCTIONS, subject="EmbeddingBag", reduction=reduction)
        self.weight = _table(
            vocabulary_size, features, padding_index, init, key, subject="EmbeddingBag"
        )
        self.reduction = reduction
        self.padding_index = padding_index

    def __call__(
        self, indices: Array, offsets: Array | None = None, *, weights: Array | None = None
    ) -> Array:
        """Map bags of integers to one row for each bag."""
        return embedding_bag(
            self.weight,
            indices,
            offsets,
            reduction=self.reduction,
            weights=weights,
            padding_index=self.padding_index,
            subject=self,
        )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield from self.weight.shape
        if self.reduction != "mean":
            yield self.reduction
        yield "padding_index", self.padding_index, None


def _table(
    vocabulary_size: int,
    features: int,
    padding_index: int | None,
    init: Initialiser,
    key: Key | None,
    *,
    subject: str,
) -> Array:
    """Draw a table, with zeros in the row for padding."""
    expect_at_least(1, subject=subject, vocabulary_size=vocabulary_size, features=features)
    expect_callable(subject=subject, init=init)
    table = made_by(init, resolve_key(key, subject=subject), (vocabulary_size, features))
    if padding_index is None:
        return table
    expect_index(vocabulary_size, subject=subject, padding_index=padding_index)
    return table.at[padding_index].set(0)
