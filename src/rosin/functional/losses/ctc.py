# SPDX-License-Identifier: Apache-2.0
"""Connectionist temporal classification: labels whose place in time is not known."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_integer, is_whole, refuse
from rosin.errors import RangeError, ShapeError, shown
from rosin.functional.alignment import alignment_loss, lattice
from rosin.functional.losses.shared import Reduction, known_values, reduced
from rosin.functional.numerics import at_least_float32, real_array

_SUBJECT = "ctc_loss"


def ctc_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    logit_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute how unlikely label sequences are under all their alignments with time.

    $$\ell = -\log \sum_{\pi \,\in\, B^{-1}(y)} \; \prod_t \frac{e^{x_{t \pi_t}}}
    {\sum_k e^{x_{tk}}}$$

    $B$ merges what is repeated and then drops the blanks. A sequence that no alignment
    fits, because it is too long or its logits are $-\infty$, costs infinity and has a
    gradient of 0; with `reduction=None` such sequences can be left out.

    Args:
        logits: The $x$, classes on the last axis, time on the axis before it.
        labels: The $y$: whole numbers, classes other than the blank, counted from 0.
        logit_lengths: How many steps of each sequence count; all when left out.
        label_lengths: How many labels of each sequence count; all when left out.
        blank: The class that is no label; the last one when left out.
        reduction: Makes one number of the sequences' losses; `None` returns them all.

    Shapes:
        - logits: `(..., time, classes)`.
        - labels: `(..., length)`.
        - logit_lengths, label_lengths, and the result before the reduction: `(...)`.

    Raises:
        DtypeError: `logits` are not real floating-point numbers, or `labels` or lengths
            not of an integer dtype.
        RangeError: A label that counts is the blank or no class, a length is negative or
            too large, or `blank` is no class. Inside a trace, where labels and lengths
            have no values yet, such a sequence gives NaN instead.
        ShapeError: The shapes do not fit, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logits = jnp.zeros((1, 3, 4))  # 3 steps, 3 labels and the blank
        >>> ctc_loss(logits, jnp.array([[0, 1]]), reduction=None).round(4)
        Array([2.5494], dtype=float32)

    Source:
        Graves et al. 2006, eq. 6 to 8; Flux.jl `ctc_loss`, which takes one sequence with
        one-hot labels. PyTorch's `ctc_loss` has 0 as the blank, takes log-probabilities,
        divides each loss by its number of labels for the mean, and has a gradient of NaN
        where no alignment fits, unless told otherwise.
    """
    x = real_array(logits, subject=_SUBJECT, name="logits")
    expect_integer(labels, subject=_SUBJECT, name="labels")
    shape = jnp.shape(labels)
    if x.ndim < 2 or len(shape) != x.ndim - 1 or shape[:-1] != x.shape[:-2] or x.shape[-1] == 0:
        refuse(
            ShapeError,
            subject=_SUBJECT,
            expected="logits of shape (..., time, classes) and labels of shape (..., length)",
            got=f"logits {shown(x)} and labels {shown(labels)}",
            fix="put the batch first in both; pad the labels and pass label_lengths=",
        )
    time, classes = x.shape[-2:]
    if blank is None:
        blank = classes - 1
    elif not is_whole(blank) or not 0 <= blank < classes:
        refuse(
            RangeError,
            subject=_SUBJECT,
            expected=f"blank to be a whole number from 0 to {classes - 1}",
            got=shown(blank),
            fix="pass the index of the class that is no label",
        )
    batch = x.shape[:-2]
    steps, long = _lengths(logit_lengths, time, batch, "logit_lengths")
    counts, wide = _lengths(label_lengths, shape[-1], batch, "label_lengths")
    _expect_labels(labels, label_lengths, classes, blank)
    labels = jnp.asarray(labels)
    inside = jnp.arange(labels.shape[-1]) < counts[..., None]
    no_label = inside & ((labels < 0) | (labels >= classes) | (labels == blank))
    labels = jnp.where(inside & ~no_label, labels, 0).astype(jnp.int32)
    # What stands beyond a sequence must not reach it, not even as NaN.
    within = jnp.arange(time) < steps[..., None]
    x = jnp.where(within[..., None], x.astype(at_least_float32(x)), 0)
    losses = alignment_loss(x, lattice(labels, counts, steps, blank))
    bad = long | wide | jnp.any(no_label, -1)
    return reduced(jnp.where(bad, jnp.nan, losses), reduction, subject=_SUBJECT)


def _lengths(lengths: Any, limit: int, batch: tuple[int, ...], name: str) -> tuple[Array, Array]:
    """Return lengths within the limit, and which of those given are not."""
    if lengths is None:
        return jnp.full(batch, limit, jnp.int32), jnp.zeros(batch, bool)
    expect_integer(lengths, subject=_SUBJECT, name=name)
    if jnp.shape(lengths) != batch:
        refuse(
            ShapeError,
            subject=_SUBJECT,
            expected=f"{name} of shape {batch}, one for each sequence",
            got=shown(lengths),
            fix=f"pass one whole number for each sequence as {name}",
        )
    values = known_values(lengths)
    if values is not None and values.size and not (values.min() >= 0 and values.max() <= limit):
        refuse(
            RangeError,
            subject=_SUBJECT,
            expected=f"{name} from 0 to {limit}",
            got=f"{name} from {values.min()} to {values.max()}",
            fix="count the entries of each sequence without its padding",
        )
    given = jnp.asarray(lengths).astype(jnp.int32)
    return jnp.clip(given, 0, limit), (given < 0) | (given > limit)


def _expect_labels(labels: Any, lengths: Any, classes: int, blank: int) -> None:
    """Refuse a label that is none, as far as labels and lengths are known."""
    values = known_values(labels)
    counts = known_values(jnp.shape(labels)[-1] if lengths is None else lengths)
    if values is None or counts is None:
        return
    inside = np.arange(values.shape[-1]) < counts[..., None]
    wrong = values[inside & ((values < 0) | (values >= classes) | (values == blank))]
    if wrong.size:
        refuse(
            RangeError,
            subject=_SUBJECT,
            expected=f"labels from 0 to {classes - 1} other than the blank, {blank}",
            got=f"labels such as {wrong[0]}",
            fix="count labels from 0, pass blank=, or leave padding out by label_lengths=",
        )
