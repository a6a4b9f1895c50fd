# SPDX-License-Identifier: Apache-2.0
"""Class labels as rows with a single one, and scores back to labels.

Whole-number labels are preferred everywhere in Rosin; this is for what needs rows.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_at_least,
    expect_integer,
    expect_state,
    is_whole,
    refuse,
    suggestion,
)
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError, shown

Classes: TypeAlias = Sequence[str] | Sequence[int] | np.ndarray[Any, Any]
"""What the classes are called, in the order of their rows' places."""


def onehot(labels: ArrayLike | Sequence[Any], classes: int | Classes) -> Array:
    r"""Turn each label into a row that is one at its class and zero elsewhere.

    $$y_{\ldots k} = [\,\text{label}_{\ldots} = \text{class } k\,]$$

    Args:
        labels: Whole numbers from 0 to `classes - 1`; or members of `classes`, if that
            names them.
        classes: How many classes there are, or what they are called, in order.

    Shapes:
        - labels: any shape `(...)`.
        - result: `(..., class)`, float32.

    Raises:
        RangeError: A label is none of the classes; `classes` is less than 1. While a
            function is traced the value is not known, and such a row is NaN.
        DtypeError: The labels are not whole numbers, or not text where the classes are.
        StructureError: `classes` holds nothing, something twice, or a mixture.
        StateError: Names are looked up while a function is traced.

    Examples:
        >>> onehot(np.array([2, 0]), 3)
        Array([[0., 0., 1.], [1., 0., 0.]], dtype=float32)
        >>> onehot(["cat", "dog"], ["dog", "cat", "owl"])
        Array([[0., 1., 0.], [1., 0., 0.]], dtype=float32)

    Source:
        OneHotArrays.jl `onehotbatch`, with the class on the last axis. It stores whole
        numbers and shows them as booleans; here the rows are stored.
    """
    if isinstance(classes, (int, np.integer)):
        expect_at_least(1, subject="onehot", classes=classes)
        size = int(classes)
        codes = _whole(labels, size)
    else:
        names = _names(classes, subject="onehot")
        size = len(names)
        codes = _looked_up(labels, names)
    rows = jax.nn.one_hot(codes, size, dtype=jnp.float32)
    inside = (codes >= 0) & (codes < size)
    return jnp.where(inside[..., None], rows, jnp.nan)


@overload
def onecold(scores: ArrayLike) -> Array: ...
@overload
def onecold(scores: ArrayLike, classes: None) -> Array: ...
@overload
def onecold(scores: ArrayLike, classes: Classes) -> np.ndarray[Any, Any]: ...
def onecold(scores: ArrayLike, classes: Classes | None = None) -> Array | np.ndarray[Any, Any]:
    r"""Return the class with the highest score, the first among equals.

    $$k_{\ldots} = \operatorname{arg\,max}_k \text{score}_{\ldots k}$$

    Args:
        scores: One-hot rows, probabilities or logits.
        classes: What the classes are called; left out, they are whole numbers from 0.

    Shapes:
        - scores: `(..., class)`.
        - result: `(...)`; int32, or an array of the names.

    Raises:
        RangeError: A score is NaN. While a function is traced the value is not known, and
            the result there is -1.
        ShapeError: There is no axis of classes, or `classes` has another length.
        StructureError: `classes` holds nothing, something twice, or a mixture.
        StateError: Names are looked up while a function is traced.

    Examples:
        >>> scores = jnp.array([[0.1, 0.7, 0.2], [3.0, 1.0, 2.0]])
        >>> onecold(scores)
        Array([1, 0], dtype=int32)
        >>> onecold(scores, ["dog", "cat", "owl"]).tolist()
        ['cat', 'dog']

    Source:
        OneHotArrays.jl `onecold`, which checks single vectors for NaN, not batches.
    """
    names = None if classes is None else _names(classes, subject="onecold")
    _expect_scores(scores, names)
    x = jnp.asarray(scores)
    unknown = jnp.isnan(x).any(axis=-1)
    if not isinstance(unknown, Tracer) and unknown.any():
        refuse(
            RangeError,
            subject="onecold",
            expected="scores without NaN",
            got=f"{shown(x)} with NaN in {int(unknown.sum())} of {unknown.size} rows",
            fix="find where the NaN arises; rs.train does with on_nonfinite='raise'",
        )
    winner = jnp.where(unknown, -1, jnp.argmax(x, axis=-1)).astype(jnp.int32)
    if names is None:
        return winner
    _expect_concrete(winner, subject="onecold")
    return np.asarray(names)[np.asarray(winner)]


def _whole(labels: Any, size: int) -> Array:
    """Return whole labels as an array, having checked those whose value is known."""
    if isinstance(labels, Tracer):
        expect_integer(labels, subject="onehot", name="labels")
        return labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels
    host = np.asarray(labels)
    expect_integer(host, subject="onehot", name="labels")
    if host.size and not (host.min() >= 0 and host.max() < size):
        refuse(
            RangeError,
            subject="onehot",
            expected=f"labels from 0 to {size - 1}",
            got=f"labels from {host.min()} to {host.max()}",
            fix=f"pass classes={max(int(host.max()) + 1, 1)}, or count the labels from 0",
        )
    return jnp.asarray(host, jnp.int32)


def _looked_up(labels: Any, names: list[Any]) -> Array:
    """Return the place of each label among the names."""
    _expect_concrete(labels, subject="onehot")
    host = np.asarray(labels)
    text = isinstance(names[0], str)
    if host.dtype.kind not in ("UT" if text else "iu"):
        refuse(
            DtypeError,
            subject="onehot",
            expected=f"labels of {'text' if text else 'whole numbers'}, as classes are",
            got=shown(host),
            fix="pass labels and classes of one kind",
        )
    values, places = np.unique(host, return_inverse=True)
    known = {name: code for code, name in enumerate(names)}
    for value in values.tolist():
        if value not in known:
            refuse(
                RangeError,
                subject="onehot",
                expected=f"labels among the {len(names)} classes",
                got=shown(value),
                fix=f"add it to classes, or leave it out of the data{suggestion(value, names)}",
            )
    codes = np.array([known[value] for value in values.tolist()], np.int32)
    return jnp.asarray(codes[places].reshape(host.shape))


def _names(classes: Any, *, subject: str) -> list[Any]:
    """Return the names of the classes as a list, having checked that they tell apart."""
    sequence = isinstance(classes, (Sequence, np.ndarray)) and not isinstance(classes, str)
    names = [n.item() if isinstance(n, np.generic) else n for n in classes] if sequence else []
    alike = all(isinstance(n, str) for n in names) or all(is_whole(n) for n in names)
    if not names or not alike or len(set(names)) < len(names):
        refuse(
            StructureError,
            subject=subject,
            expected="classes to be a sequence of distinct names, all text or all whole numbers",
            got=shown(classes),
            fix="pass, for example, classes=['cat', 'dog']",
        )
    return names


def _expect_scores(scores: Any, names: list[Any] | None) -> None:
    shape = jnp.shape(scores)
    classes = shape[-1] if shape else 0
    if classes == 0 or (names is not None and classes != len(names)):
        refuse(
            ShapeError,
            subject="onecold",
            expected="shape (..., class)" if names is None else f"shape (..., {len(names)})",
            got=shown(scores),
            fix="give each class a score, on the last axis",
        )


def _expect_concrete(x: Any, *, subject: str) -> None:
    expect_state(
        not isinstance(x, Tracer),
        subject=subject,
        expected="names of classes to be looked up outside jax.jit and other traces",
        got=shown(x),
        fix="use whole-number labels inside, and names outside",
    )
