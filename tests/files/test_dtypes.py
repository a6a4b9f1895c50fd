# SPDX-License-Identifier: Apache-2.0
"""Conversions: which lose nothing, how values are rounded, what is refused."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from rosin.files.dtypes import converted, is_exact, is_possible
from rosin.files.header import DTYPES

ALL = dict(DTYPES)
SMALL = [name for name, dtype in ALL.items() if dtype.itemsize <= 2 and name != "BOOL"]


def every_value(dtype):
    bits = np.arange(256**dtype.itemsize, dtype=f"u{dtype.itemsize}")
    return bits.view(dtype)


def as_doubles(array):
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return array.astype(np.float64)


def same(a, b):
    """Compare values as float64, NaN with NaN, and the sign of zero."""
    a, b = as_doubles(a), as_doubles(b)
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(
        np.signbit(a[a == 0]), np.signbit(b[a == 0])
    )


FLOATS = [n for n in SMALL if n[0] in "FB"]


@pytest.mark.parametrize("source", SMALL)
def test_exact_is_what_every_single_value_survives(source):
    values = every_value(ALL[source])
    for target in [*SMALL, "F32", "F64", "I64", "U64"]:
        if (source in FLOATS) != (target[0] in "FB"):
            assert not is_exact(ALL[source], ALL[target])
            continue
        got = converted(values, ALL[target])
        survives = got is not None and same(got, values)
        assert is_exact(ALL[source], ALL[target]) == survives, target


def test_kinds_of_numbers_never_mix():
    for a, b in itertools.product(ALL.values(), repeat=2):
        if is_exact(a, b):
            assert is_possible(a, b)
    for name in ("I32", "BOOL", "C64"):
        assert not is_possible(ALL[name], ALL["F32"])
        assert not is_possible(ALL["F32"], ALL[name])
    assert is_possible(ALL["BOOL"], ALL["BOOL"])


@pytest.mark.parametrize("target", ["BF16", "F16", "F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_rounding_is_to_the_nearest_value_ties_to_even(source, target):
    dtype = ALL[target]
    grid = np.unique(as_doubles(every_value(dtype)[: 256**dtype.itemsize // 2]))
    grid = grid[np.isfinite(grid)][:: max(1, len(grid) // 500)]  # 0 and above
    steps = np.sort(np.concatenate([grid, -grid]))
    near = as_doubles(every_value(dtype))
    near = np.unique(near[np.isfinite(near)])
    low = np.searchsorted(near, steps).clip(0, len(near) - 2)
    half = (near[low] + near[low + 1]) / 2
    tiny = np.abs(half) * 2.0 ** (-20 if source is np.float32 else -45)
    for move, index in ((-1, low), (1, low + 1)):
        beside = (half + move * tiny).astype(source)
        held = beside != half  # float32 has no number so near a tie of its own smallest
        assert held.mean() > 0.9
        got = converted(beside[held], dtype)
        assert np.array_equal(got.astype(np.float64), near[index][held])
    ties = converted(half.astype(source), dtype).view(f"u{dtype.itemsize}")
    assert not (ties & 1).any()


LOST = {
    "overflow": (np.array([1.0, 1e6], np.float32), "F16"),
    "overflow below": (np.array([-1e39]), "F32"),
    "what becomes infinite by rounding": (np.array([3.4e38], np.float32), "BF16"),
    "an infinity without a place": (np.array([np.inf], np.float32), "F8_E4M3"),
    "a negative number without a place": (np.array([-1.0], np.float32), "F8_E8M0"),
    "a whole number too large": (np.array([1, 2**31]), "I32"),
    "a whole number below zero": (np.array([-1]), "U64"),
    "a whole number that would wrap to negative": (np.array([2**63], np.uint64), "I64"),
}


@pytest.mark.parametrize(("array", "target"), LOST.values(), ids=LOST)
def test_a_value_that_has_no_place_is_never_made_up(array, target):
    assert converted(array, ALL[target]) is None


def test_what_is_not_finite_stays_so():
    array = np.array([np.nan, np.inf, -np.inf, 5e-324, -5e-324])
    for target in ("F32", "BF16", "F16"):
        got = converted(array, ALL[target]).astype(np.float64)
        np.testing.assert_array_equal(got, [np.nan, np.inf, -np.inf, 0, -0.0])
        assert np.signbit(got).tolist()[1:] == [False, True, False, True]


def test_whole_numbers_that_fit_are_converted():
    got = converted(np.array([-128, 127]), ALL["I8"])
    assert got.dtype == np.int8
    assert got.tolist() == [-128, 127]


def test_what_has_the_dtype_already_is_not_touched():
    array = np.array([True])
    assert converted(array, np.dtype(bool)) is array


def test_a_double_is_rounded_once():
    array = np.array([1 + 2.0**-8 + 2.0**-40, -1 - 2.0**-8 - 2.0**-40])
    got = converted(array, np.dtype(ml_dtypes.bfloat16))
    assert got.astype(float).tolist() == [1 + 2**-7, -1 - 2**-7]
