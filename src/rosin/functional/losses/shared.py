# SPDX-License-Identifier: Apache-2.0
"""What all losses share: how arguments are checked and masked, and what the mean is."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import (
    expect_callable,
    expect_floating,
    expect_not_empty,
    expect_same_shape,
    refuse,
)
from rosin.errors import DtypeError, RangeError, ShapeError, shown
from rosin.functional.numerics import at_least_float32, real_array

Reduction: TypeAlias = Callable[[Array], Array] | None
"""Makes one number of many, such as `jnp.mean`; None keeps them."""

Weights: TypeAlias = ArrayLike | tuple[float, ...] | list[float] | None
"""One number for each class; None stands for ones."""

NAMES = ("prediction", "target")


def pair(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    subject: str,
    names: tuple[str, str] = NAMES,
    mask: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Check two real arrays of equal shape; return them in one dtype, masked ones as 1.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask of no booleans.
        ShapeError: The shapes differ.
    """
    first = real_array(prediction, subject=subject, name=names[0])
    second = real_array(target, subject=subject, name=names[1])
    return equal_pair(first, second, subject=subject, names=names, mask=mask)


def numbers_pair(
    prediction: ArrayLike, target: ArrayLike, *, subject: str, mask: ArrayLike | None
) -> tuple[Array, Array]:
    """Do what `pair` does for arrays that may be complex.

    Raises:
        DtypeError: An array holds integers or booleans, or the mask no booleans.
        ShapeError: The shapes differ.
    """
    for name, x in zip(NAMES, (prediction, target), strict=True):
        expect_floating(x, subject=subject, name=name)
    return equal_pair(jnp.asarray(prediction), jnp.asarray(target), subject=subject, mask=mask)


def equal_pair(
    a: Array,
    b: Array,
    *,
    subject: str,
    names: tuple[str, str] = NAMES,
    mask: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Check the shapes of two arrays and the mask, and bring the arrays to one dtype."""
    expect_same_shape(a, b, subject=subject, names=names)
    dtype = at_least_float32(a, b)
    kept = expect_mask(mask, a.shape, subject=subject)
    a, b = blank(kept, a.astype(dtype), b.astype(dtype))
    return a, b


# --- masks --------------------------------------------------------------------------


def expect_mask(
    mask: ArrayLike | None,
    shape: tuple[int, ...],
    *,
    subject: str,
    what: str = "loss",
    fix: str = "give the mask the shape that reduction=None returns",
) -> Array | None:
    """Return a mask as an array, or refuse one that does not fit the losses.

    Raises:
        DtypeError: The mask holds no booleans.
        ShapeError: Its shape is not that of the losses.
    """
    if mask is None:
        return None
    if jnp.result_type(mask) != jnp.bool_:
        refuse(
            DtypeError,
            subject=subject,
            expected=f"a mask of booleans, True where a {what} counts",
            got=shown(mask),
            fix="compare, for example mask > 0",
        )
    if jnp.shape(mask) != shape:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a mask of shape {shape}, one entry for each {what}",
            got=shown(mask),
            fix=fix,
        )
    return jnp.asarray(mask)


def blank(mask: Array | None, *arrays: Array) -> tuple[Array, ...]:
    """Put 1 where the mask leaves out, so that nothing there reaches a derivative."""
    if mask is None:
        return arrays
    return tuple(
        jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, 1) for a in arrays
    )


# --- the mean -----------------------------------------------------------------------


def reduced(
    losses: Array,
    reduction: Reduction,
    *,
    subject: str,
    mask: ArrayLike | None = None,
    share: Array | None = None,
) -> Array:
    """Reduce losses; the mean is over those that count, in proportion to their share.

    Args:
        losses: One for each entry or row, already multiplied by its share.
        reduction: Makes one number of the losses; `None` returns them all.
        subject: Which loss complains.
        mask: Which losses count; the others become 0.
        share: How much each counts in the mean; 1 when left out.

    Raises:
        ShapeError: A reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.
    """
    if mask is not None:
        losses = jnp.where(mask, losses, 0)
    if reduction is None:
        return losses
    expect_callable(subject=subject, reduction=reduction)
    expect_not_empty(losses, subject=subject, name="a batch")
    if reduction is not jnp.mean:
        return reduction(losses)
    if share is None and mask is None:
        return _mean(losses, jnp.asarray(losses.size, losses.dtype))
    count = jnp.ones_like(losses) if share is None else share
    total = jnp.sum(count if mask is None else jnp.where(mask, count, 0))
    return _mean(losses, jnp.where(total == 0, 1, total))


@jax.custom_jvp
def _mean(losses: Array, total: Array) -> Array:
    """Divide the sum of the losses; where it overflows, they are added up once more, shrunk."""

    def carefully() -> Array:
        shrink = 0.5 ** (losses.size - 1).bit_length()
        return jnp.sum(losses * shrink) / total / shrink

    plain = jnp.sum(losses)
    return lax.cond(jnp.isfinite(plain), lambda: plain / total, carefully)


def _mean_rule(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (losses, total), (dlosses, dtotal) = primals, tangents
    mean = _mean(losses, total)
    slope = jnp.zeros_like(mean)
    if not isinstance(dlosses, SymbolicZero):
        slope += jnp.sum(dlosses) / total
    if not isinstance(dtotal, SymbolicZero):
        slope -= mean / total * dtotal
    return mean, slope


_mean.defjvp(_mean_rule, symbolic_zeros=True)


# --- classes ------------------------------------------------------------------------


def expect_classes(x: Array, *, subject: str, name: str) -> None:
    """Refuse an array without a class axis.

    Raises:
        ShapeError: The last axis is missing or empty.
    """
    if x.ndim == 0 or x.shape[-1] == 0:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{name} of shape (..., classes) with at least one class",
            got=shown(x),
            fix="put one entry for each class on the last axis",
        )


def expect_labels(
    labels: Any, x: Array, *, subject: str, name: str, ignore_index: int | None = None
) -> None:
    """Refuse a label that is no class; labels inside a trace cannot be looked at.

    Raises:
        RangeError: A label is negative or not below the number of classes.
        ShapeError: There is not one label for each row.
    """
    if jnp.shape(labels) != x.shape[:-1]:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"labels of shape {x.shape[:-1]}, one for each row of {name}",
            got=f"labels {shown(labels)} and {name} {shown(x)}",
            fix=f"move the classes to the last axis with jnp.moveaxis({name}, 1, -1)"
            if jnp.shape(labels) == x.shape[:1] + x.shape[2:]
            else "drop the class axis of the labels, or pass probabilities as float32",
        )
    values, classes = known_values(labels), x.shape[-1]
    if values is not None and ignore_index is not None:
        values = values[values != ignore_index]
    if values is None or values.size == 0:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        refuse(
            RangeError,
            subject=subject,
            expected=f"labels of at least 0 and below {classes}, the number of classes",
            got=f"labels from {low} to {high}",
            fix=f"count labels from 0, give the {name} one entry for each class, "
            "or pass ignore_index=",
        )


def known_values(x: Any) -> np.ndarray[Any, Any] | None:
    """Return what can be looked at now: None inside a trace, or if parts are on other hosts."""
    if isinstance(x, Tracer) or not getattr(x, "is_fully_addressable", True):
        return None
    return np.asarray(x)


def expect_weights(weights: Weights, classes: int, *, subject: str) -> Array | None:
    """Return the weights of the classes as an array, or refuse them.

    Raises:
        DtypeError: They are not of a real floating-point dtype.
        RangeError: One is negative or NaN, as far as values are known.
        ShapeError: There is not one for each class.
    """
    if weights is None:
        return None
    if isinstance(weights, tuple | list):
        weights = np.asarray(weights, np.float32)
    array = real_array(weights, subject=subject, name="weights")
    if array.shape != (classes,):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"weights of shape ({classes},), one for each class",
            got=shown(weights),
            fix="pass one weight for each class, or multiply what reduction=None returns",
        )
    values = known_values(weights)
    if values is not None and not (values >= 0).all():
        refuse(
            RangeError,
            subject=subject,
            expected="weights of at least 0",
            got=f"a least weight of {values.min()}",
            fix="pass weights that are not negative",
        )
    return array
