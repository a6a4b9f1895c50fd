# SPDX-License-Identifier: Apache-2.0
"""Conversion of arrays that were read: what loses nothing, what rounds, what is refused.

Numbers stay of their kind: floating-point numbers become such, whole numbers become such. A
finite number never becomes infinite or NaN, and no whole number wraps around.
"""

from typing import Final, Literal

import ml_dtypes
import numpy as np

Conversion = Literal["exact", "rounded"]
CONVERSIONS: Final = ("exact", "rounded")

_NATIVE: Final = {np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)}


def is_exact(source: np.dtype, target: np.dtype) -> bool:
    """Tell whether each value of one dtype is a value of the other.

    Examples:
        >>> is_exact(np.dtype("float16"), np.dtype("float32"))
        True
        >>> is_exact(np.dtype("float16"), np.dtype(ml_dtypes.bfloat16))
        False
    """
    if source == target:
        return True
    kind = _kind(source)
    if kind is None or kind != _kind(target):
        return False
    if kind == "whole":
        ours, theirs = np.iinfo(source), np.iinfo(target)
        return theirs.min <= ours.min and ours.max <= theirs.max
    if kind == "complex":
        return source.itemsize <= target.itemsize
    return _holds(source, target)


def is_possible(source: np.dtype, target: np.dtype) -> bool:
    """Tell whether one dtype can be rounded to the other."""
    return source == target or (_kind(source) is not None and _kind(source) == _kind(target))


def is_floating(dtype: np.dtype) -> bool:
    """Tell whether a dtype is one of real floating-point numbers.

    Examples:
        >>> is_floating(np.dtype(ml_dtypes.bfloat16)), is_floating(np.dtype("int8"))
        (True, False)
    """
    return _kind(dtype) == "float"


def converted(array: np.ndarray, target: np.dtype) -> np.ndarray | None:
    """Round to the nearest value of another dtype, ties to even.

    Returns:
        The array, or None if a value has no place there: it would overflow, wrap around,
        or turn from a number into NaN.

    Examples:
        >>> converted(np.array([1.0, 2.0]), np.dtype("float16")).dtype
        dtype('float16')
        >>> converted(np.array([1e10]), np.dtype("float16")) is None
        True
    """
    if array.dtype == target:
        return array
    with np.errstate(all="ignore"):  # what goes wrong is looked for in the values
        if _kind(array.dtype) == "whole":
            result = array.astype(target)
            same = (result >= 0) == (array >= 0)
            return result if bool(np.all(same & (result.astype(array.dtype) == array))) else None
        result = _between(array, target).astype(target)
        lost = np.isfinite(array) & ~np.isfinite(result)
        lost |= ~np.isnan(array) & np.isnan(result)
        lost |= np.isnan(array) & ~np.isnan(result)
    return None if bool(lost.any()) else result


def _kind(dtype: np.dtype) -> str | None:
    if dtype.kind in "iu":
        return "whole"
    if dtype.kind == "c":
        return "complex"
    is_float = dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))
    return "float" if is_float else None


def _holds(source: np.dtype, target: np.dtype) -> bool:
    """Compare precision, range, the smallest number, and which special values there are."""
    ours, theirs = ml_dtypes.finfo(source), ml_dtypes.finfo(target)
    return bool(
        ours.nmant <= theirs.nmant
        and float(ours.max) <= float(theirs.max)
        and float(theirs.smallest_subnormal) <= float(ours.smallest_subnormal)
        and _specials(source) <= _specials(target)
    )


def _specials(dtype: np.dtype) -> set[str]:
    """Say which of the special values a dtype has."""
    with np.errstate(all="ignore"):
        infinite, zero = np.array([np.inf, -0.0]).astype(dtype)
        minus = np.array([-1.0]).astype(dtype)[0]
    found = {"zero"} if float(zero) == 0 else set[str]()
    found |= {"infinity"} if np.isinf(infinite) else set()
    found |= {"minus zero"} if np.signbit(float(zero)) else set()
    return found | ({"minus"} if float(minus) == -1 else set())


def _between(array: np.ndarray, target: np.dtype) -> np.ndarray:
    """Go by way of float32 between the dtypes that NumPy itself does not know."""
    if target in _NATIVE or array.dtype == np.float32 or array.dtype.kind == "c":
        return array
    return _to_odd(array) if array.dtype == np.float64 else array.astype(np.float32)


def _to_odd(array: np.ndarray) -> np.ndarray:
    """Round float64 to float32 so that rounding once more rounds right.

    Boldo & Melquiond 2008: what is not exact is cut off, and its last bit set. A direct
    conversion to the small dtypes goes through float32 and would round twice.
    """
    near = array.astype(np.float32)
    exact = (near == array) | ~np.isfinite(array)
    outside = np.abs(near.astype(np.float64)) > np.abs(array)
    cut = np.where(outside, np.nextafter(near, np.float32(0)), near).astype(np.float32)
    odd = (cut.view(np.uint32) | np.uint32(1)).view(np.float32)
    return np.where(exact, near, odd).astype(np.float32)
