# SPDX-License-Identifier: Apache-2.0
"""What metrics of classes share: how predictions and labels are checked and decided.

One class among several is a label, a whole number from 0; the prediction holds one number
for each class on its last axis, or labels too. A yes or a no is an entry of its own, and
the prediction of it is compared with a threshold.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between, expect_integer, expect_same_shape, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError, shown
from rosin.functional.entropy import wide_enough
from rosin.functional.losses.classes import expect_ignore_index, kept_labels
from rosin.functional.losses.shared import expect_labels, expect_mask, known_values
from rosin.functional.numerics import real_array

NAMES = ("prediction", "target")


class Decided(NamedTuple):
    """What was predicted and what is true, entry by entry.

    Args:
        predicted: Labels, or a yes or a no; labels stand in for rows that do not count.
        target: Likewise.
        counts: Which entries count.
        flawed: Whether one that counts holds a NaN, or a label that is no class.
    """

    predicted: Array
    target: Array
    counts: Array
    flawed: Array


def expect_options(threshold: Any, ignore_index: Any, *, subject: str) -> None:
    """Refuse a threshold that is no number, a label that is none, and both together."""
    expect_ignore_index(ignore_index, subject=subject)
    if threshold is None:
        return
    expect_between(-np.inf, np.inf, subject=subject, threshold=threshold)
    if ignore_index is not None:
        refuse(
            StructureError,
            subject=subject,
            expected="labels, whole numbers, to compare with ignore_index",
            got="a threshold, so that the target says yes or no",
            fix="leave ignore_index out, and entries with a mask",
        )


# --- one class among several --------------------------------------------------------


def expect_classified(
    prediction: Any,
    target: Any,
    mask: ArrayLike | None,
    *,
    subject: str,
    classes: int | None = None,
    ignore_index: int | None = None,
) -> None:
    """Refuse predictions and labels that do not fit.

    Raises:
        DtypeError: Labels are no whole numbers, a prediction no real numbers, or a mask no
            booleans.
        RangeError: A label that counts is no class, as far as values are known.
        ShapeError: The shapes do not fit, or there are no two classes.
    """
    expect_integer(target, subject=subject, name="target")
    kept = _expect_row_mask(mask, jnp.shape(target), subject=subject)
    rows = _known_rows(target, kept, ignore_index)
    if not jnp.issubdtype(jnp.result_type(prediction), jnp.integer):
        x = real_array(prediction, subject=subject, name="prediction")
        _expect_columns(x, classes, subject=subject)
        expect_labels(_known(target, rows), x, subject=subject, name="prediction")
        return
    expect_same_shape(prediction, target, subject=subject, names=NAMES)
    if classes is not None:
        _expect_below(_known(prediction, rows), classes, subject=subject, name="prediction")
        _expect_below(_known(target, rows), classes, subject=subject, name="target")


def classified(
    prediction: ArrayLike,
    target: ArrayLike,
    mask: ArrayLike | None,
    *,
    classes: int | None = None,
    ignore_index: int | None = None,
) -> Decided:
    """Decide for the class of the largest number, the first one if several are as large."""
    x = jnp.asarray(prediction)
    labels, counts = rows_that_count(wide_enough(jnp.asarray(target)), mask, ignore_index)
    if jnp.issubdtype(x.dtype, jnp.integer):
        predicted, flawed = jnp.where(counts, wide_enough(x), 0), jnp.zeros(labels.shape, bool)
        if classes is not None:
            flawed = _is_outside(predicted, classes)
    else:
        classes = x.shape[-1]
        predicted, flawed = jnp.argmax(x, -1), jnp.isnan(x).any(-1)
    if classes is not None:
        flawed |= _is_outside(labels, classes)
    return Decided(predicted.astype(labels.dtype), labels, counts, jnp.any(flawed & counts))


def rows_that_count(
    labels: Array, mask: ArrayLike | None, ignore_index: int | None
) -> tuple[Array, Array]:
    """Return the labels, 0 where they do not count, and which do."""
    kept = None if mask is None else jnp.asarray(mask)
    labels, kept = kept_labels(labels, kept, ignore_index)
    return labels, jnp.ones(labels.shape, bool) if kept is None else kept


def _is_outside(labels: Array, classes: int) -> Array:
    return (labels < 0) | (labels >= classes)


def _expect_columns(x: Array, classes: int | None, *, subject: str) -> None:
    """Refuse predictions without one number for each of two classes or more."""
    columns = x.shape[-1] if x.ndim else 0
    if columns < 2 and (classes is None or classes != columns):
        refuse(
            ShapeError,
            subject=subject,
            expected="a prediction of shape (..., classes) with at least two classes",
            got=shown(x),
            fix="put one number for each class on the last axis; for a yes or a no pass "
            "threshold=0.0, and prediction and target of equal shape",
        )
    if classes is not None and columns != classes:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a prediction of shape (..., {classes})",
            got=shown(x),
            fix=f"give it one number for each class, or pass classes={columns}",
        )


def _expect_below(labels: np.ndarray[Any, Any], classes: int, *, subject: str, name: str) -> None:
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        refuse(
            RangeError,
            subject=subject,
            expected=f"labels of at least 0 and below {classes}, the number of classes",
            got=f"labels from {low} to {high} in the {name}",
            fix="count labels from 0, pass more classes, or leave rows out with mask=",
        )


def _known_rows(
    labels: Any, kept: Array | None, ignore_index: int | None
) -> np.ndarray[Any, Any] | None:
    """Tell which rows count, or None where that is not known yet."""
    values = known_values(labels)
    rows = np.True_ if kept is None else known_values(kept)
    if values is None or rows is None:
        return None
    return rows & (values != ignore_index)


def _known(labels: Any, rows: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """Return labels to be looked at: 0 for those that do not count or are not known yet."""
    values = known_values(labels)
    if rows is None or values is None:
        return np.zeros(jnp.shape(labels), int)
    return np.where(rows, values, 0)


def _expect_row_mask(
    mask: ArrayLike | None, shape: tuple[int, ...], *, subject: str
) -> Array | None:
    return expect_mask(
        mask,
        shape,
        subject=subject,
        what="label",
        fix="give the mask the shape of the target",
    )


# --- a yes or a no ------------------------------------------------------------------


def expect_answers(prediction: Any, target: Any, mask: ArrayLike | None, *, subject: str) -> None:
    """Refuse predictions and answers that do not fit.

    Raises:
        DtypeError: A prediction is no real floating-point numbers or booleans, or a mask no
            booleans.
        RangeError: An answer that counts is neither 0 nor 1, as far as values are known.
        ShapeError: The shapes differ.
    """
    if jnp.result_type(prediction) != jnp.bool_:
        real_array(prediction, subject=subject, name="prediction")
    if jnp.issubdtype(jnp.result_type(target), jnp.complexfloating):
        refuse(
            DtypeError,
            subject=subject,
            expected="answers, 0 for a no and 1 for a yes",
            got=shown(target),
            fix="compare, for example target > 0",
        )
    expect_same_shape(prediction, target, subject=subject, names=NAMES)
    kept = _expect_row_mask(mask, jnp.shape(target), subject=subject)
    values = known_values(target)
    if values is None or (kept is not None and known_values(kept) is None):
        return
    wrong = (values != 0) & (values != 1) & (values == values)  # noqa: PLR0124  NaN gives NaN
    if (wrong if kept is None else wrong & np.asarray(kept)).any():
        refuse(
            RangeError,
            subject=subject,
            expected="answers that are 0 for a no and 1 for a yes",
            got=f"other numbers in {shown(target)}",
            fix="compare, for example target > 0.5; of labels of several classes leave "
            "threshold out",
        )


def answers(
    prediction: ArrayLike, target: ArrayLike, mask: ArrayLike | None, threshold: float
) -> Decided:
    """Decide for a yes where the prediction is above the threshold."""
    x, truth = jnp.asarray(prediction), jnp.asarray(target)
    counts = jnp.ones(truth.shape, bool) if mask is None else jnp.asarray(mask)
    yes = x if x.dtype == jnp.bool_ else x > threshold
    flawed = jnp.zeros(truth.shape, bool) if x.dtype == jnp.bool_ else jnp.isnan(x)
    if truth.dtype != jnp.bool_:
        flawed |= (truth != 0) & (truth != 1)
    return Decided(yes, truth.astype(bool), counts, jnp.any(flawed & counts))
