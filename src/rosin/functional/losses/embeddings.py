# SPDX-License-Identifier: Apache-2.0
"""Losses that place vectors: what belongs together near, the rest apart."""

import math

import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_between,
    expect_not_empty,
    expect_rank,
    expect_same_shape,
    refuse,
)
from rosin.errors import DtypeError, RangeError, shown
from rosin.functional.activations import relu
from rosin.functional.entropy import label_cross_entropy
from rosin.functional.losses.shared import Reduction, blank, expect_mask, known_values, reduced
from rosin.functional.vectors import cosine, norm, unit, vectors


def cosine_embedding_loss(
    first: ArrayLike,
    second: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Turn vectors of a pair into one direction, or away from each other.

    $$\ell = \begin{cases} 1 - c & y = 1 \\ \max(0, c - m) & y = -1 \end{cases}, \qquad
    c = \frac{a \cdot b}{|a|\,|b|}$$

    With a zero vector $c$ is 0, and so are its derivatives.

    Args:
        first: The $a$.
        second: The $b$, of the same shape.
        target: The $y$ of each pair, 1 or -1, whole or floating-point numbers.
        margin: The $m$, -1 to 1.
        mask: Which pairs count, as booleans; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Shapes:
        - first, second: `(..., features)`.
        - target, mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: `first` or `second` is not of a real floating-point dtype, `target`
            neither that nor of an integer dtype, or the mask not of booleans.
        RangeError: `margin` is not between -1 and 1, or a target neither 1 nor -1. Inside
            a trace, where targets have no values yet, such a pair gives NaN instead.
        ShapeError: The shapes do not fit, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> first, second = jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 4.0]])
        >>> cosine_embedding_loss(first, second, jnp.array([1])).round(4)
        Array(0.4, dtype=float32)

    Source:
        PyTorch `cosine_embedding_loss`, without its epsilon.
    """
    subject = "cosine_embedding_loss"
    a, b = vectors(subject=subject, first=first, second=second)
    expect_between(-1, 1, subject=subject, margin=margin)
    _expect_signs(target, a, subject=subject)
    kept = expect_mask(mask, a.shape[:-1], subject=subject)
    a, b, sign = blank(kept, a, b, jnp.asarray(target))
    similarity, distance = cosine(a, b)
    apart = jnp.where(sign == -1, relu(similarity - margin), jnp.nan)
    return reduced(jnp.where(sign == 1, distance, apart), reduction, subject=subject, mask=kept)


def _expect_signs(target: ArrayLike, vectors: Array, *, subject: str) -> None:
    dtype = jnp.result_type(target)
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)):
        refuse(
            DtypeError,
            subject=subject,
            expected="a target of an integer or a floating-point dtype",
            got=shown(target),
            fix="pass 1 for pairs that belong together and -1 for the others",
        )
    names = ("a row of first", "target")
    expect_same_shape(vectors[..., 0], target, subject=subject, names=names)
    values = known_values(target)
    if values is not None and not (abs(values) == 1).all():
        refuse(
            RangeError,
            subject=subject,
            expected="targets that are 1 or -1",
            got=f"targets from {values.min()} to {values.max()}",
            fix="pass 1 for pairs that belong together and -1 for the others",
        )


def triplet_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = 1.0,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Bring each anchor nearer to its positive than to its negative, by a margin.

    $$\ell = \max(0, |a - p| - |a - n| + m)$$

    The derivative of the distance of equal points is 0.

    Args:
        anchor: The $a$.
        positive: The $p$, of the same shape: what belongs to the anchors.
        negative: The $n$, of the same shape: what does not.
        margin: The $m$, at least 0.
        mask: Which triplets count, as booleans; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Shapes:
        - anchor, positive, negative: `(..., features)`.
        - mask, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `margin` is negative.
        ShapeError: The shapes do not fit, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> anchor, near, far = jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.full((1, 2), 1.5)
        >>> triplet_loss(anchor, near, far).round(4)
        Array(0.2929, dtype=float32)

    Source:
        Weinberger & Saul 2009; PyTorch `triplet_margin_loss`, without its epsilon.
        Schroff et al. 2015 square the distances.
    """
    subject = "triplet_loss"
    a, p, n = vectors(subject=subject, anchor=anchor, positive=positive, negative=negative)
    expect_between(0, math.inf, subject=subject, include_high=False, margin=margin)
    kept = expect_mask(mask, a.shape[:-1], subject=subject)
    a, p, n = blank(kept, a, p, n)
    # A difference of distances can be small where a distance is too large for the dtype.
    largest = jnp.max(jnp.abs(jnp.stack([a, p, n])), (0, -1), initial=0)
    limits = jnp.finfo(a.dtype)
    scale = lax.stop_gradient(jnp.where(largest > float(limits.max) ** 0.75, limits.max**-0.5, 1))
    near, far = (norm(scale[..., None] * a - scale[..., None] * b) for b in (p, n))
    losses = relu(near - far + scale * margin) / scale
    return reduced(losses, reduction, subject=subject, mask=kept)


def info_nce_loss(
    queries: ArrayLike,
    keys: ArrayLike,
    *,
    temperature: float = 0.1,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Let each query tell its own key from the keys of all others in the batch.

    $$\ell_i = -\log \frac{e^{c_{ii} / \tau}}{\sum_j e^{c_{ij} / \tau}}, \qquad
    c_{ij} = \frac{q_i \cdot k_j}{|q_i|\,|k_j|}$$

    For both directions, as in CLIP, add `info_nce_loss(keys, queries)` and halve.

    Args:
        queries: The $q$.
        keys: The $k$, in the same order and of the same shape.
        temperature: The $\tau$, above 0.
        reduction: Makes one number of the losses; `None` returns them all.

    Shapes:
        - queries, keys: `(batch, features)`.
        - result before the reduction: `(batch,)`.

    Raises:
        DtypeError: An array is not of a real floating-point dtype.
        RangeError: `temperature` is not above 0.
        ShapeError: The shapes do not fit, or the batch is empty.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> info_nce_loss(jnp.eye(3), jnp.eye(3), temperature=1.0).round(4)
        Array(0.5514, dtype=float32)

    Source:
        van den Oord, Li & Vinyals 2018, eq. 4, with the cosine as the score.
    """
    subject = "info_nce_loss"
    q, k = vectors(subject=subject, queries=queries, keys=keys)
    scores = _scores(q, k, temperature, subject=subject)
    losses = label_cross_entropy(scores, jnp.arange(len(scores)))
    return reduced(losses, reduction, subject=subject)


def nt_xent_loss(
    first: ArrayLike,
    second: ArrayLike,
    *,
    temperature: float = 0.5,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Let each view of an example tell the other view from those of all other examples.

    $$\ell_i = -\log \frac{e^{c_{i p(i)} / \tau}}{\sum_{j \ne i} e^{c_{ij} / \tau}}, \qquad
    c_{ij} = \frac{z_i \cdot z_j}{|z_i|\,|z_j|}$$

    The $z$ are both views of the batch, and $p(i)$ is the other view of what $i$ shows.

    Args:
        first: One view of each example.
        second: The other views, in the same order and of the same shape.
        temperature: The $\tau$, above 0.
        reduction: Makes one number of the losses; `None` returns them all.

    Shapes:
        - first, second: `(batch, features)`.
        - result before the reduction: `(2 * batch,)`, the first views before the second.

    Raises:
        DtypeError: An array is not of a real floating-point dtype.
        RangeError: `temperature` is not above 0.
        ShapeError: The shapes do not fit, or the batch is empty.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> nt_xent_loss(jnp.eye(3), jnp.eye(3), temperature=1.0).round(4)
        Array(0.9048, dtype=float32)

    Source:
        Chen et al. 2020 (SimCLR), eq. 1.
    """
    subject = "nt_xent_loss"
    z = jnp.concatenate(vectors(subject=subject, first=first, second=second))
    scores = _scores(z, z, temperature, subject=subject)
    itself = jnp.eye(len(z), dtype=bool)
    other = jnp.roll(jnp.arange(len(z)), len(z) // 2)
    losses = label_cross_entropy(jnp.where(itself, -jnp.inf, scores), other)
    return reduced(losses, reduction, subject=subject)


def _scores(a: Array, b: Array, temperature: float, *, subject: str) -> Array:
    expect_rank(a, ("batch", "features"), subject=subject)
    expect_not_empty(a, subject=subject, name="a batch")
    expect_between(
        0, math.inf, subject=subject, include_low=False, include_high=False, temperature=temperature
    )
    # Products of fewer bits, the default on some devices, would show after the division.
    return jnp.matmul(unit(a), unit(b).T, precision=lax.Precision.HIGHEST) / temperature
