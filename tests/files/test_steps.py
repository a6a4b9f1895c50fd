# SPDX-License-Identifier: Apache-2.0
"""Steps of renaming rules: what comes out, beforehand and in fact, and the way back."""

import ml_dtypes
import numpy as np
import pytest

from rosin.errors import RangeError, StructureError
from rosin.files.renaming import (
    Add,
    Flip,
    Join,
    Reorder,
    Reshape,
    Same,
    Split,
    Stack,
    Transpose,
    Unstack,
)


def numbers(*shape, start=0):
    return np.arange(start, start + np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


A, B = numbers(2, 3), numbers(2, 3, start=6)

MADE = {
    "transpose": (Transpose("OI->IO"), [A], [A.T]),
    "transpose with spaces": (Transpose("OIHW -> HWIO"), [numbers(2, 3, 4, 5)], [
        numbers(2, 3, 4, 5).transpose(2, 3, 1, 0)
    ]),
    "transpose each": (Transpose("ab->ba"), [A, B], [A.T, B.T]),
    "flip": (Flip((0, -1)), [A], [A[::-1, ::-1]]),
    "reshape": (Reshape((3, -1)), [A], [A.reshape(3, 2)]),
    "reshape of nothing": (Reshape((-1, 2)), [numbers(0, 3)], [numbers(0, 2)]),
    "reshape to zero": (Reshape((0, 4)), [numbers(0, 3)], [numbers(0, 4)]),
    "reorder": (Reorder((2, 0, 1), axis=1), [A], [A[:, [2, 0, 1]]]),
    "reorder blocks": (Reorder((1, 0)), [numbers(4, 1)], [numbers(4, 1)[[2, 3, 0, 1]]]),
    "split": (Split(3, axis=-1), [A], [A[:, :1], A[:, 1:2], A[:, 2:]]),
    "split by sizes": (Split((2, 1), axis=1), [A], [A[:, :2], A[:, 2:]]),
    "split in one": (Split(1), [A], [A]),
    "join": (Join(1), [A, B], [np.hstack([A, B])]),
    "join of sizes": (Join(0, (2, 1)), [A, A[:1]], [np.vstack([A, A[:1]])]),
    "stack": (Stack(), [A, B], [np.stack([A, B])]),
    "stack last": (Stack(-1), [A, B], [np.stack([A, B], -1)]),
    "unstack": (Unstack(), [A], [A[0], A[1]]),
    "unstack last": (Unstack(-1), [A], [A[:, 0], A[:, 1], A[:, 2]]),
    "add": (Add(), [A, B], [A + B]),
    "same": (Same(), [A, A.copy()], [A]),
}  # fmt: skip


@pytest.mark.parametrize(("step", "given", "wanted"), MADE.values(), ids=MADE)
def test_arrays_and_shapes_are_those_of_numpy(step, given, wanted):
    before = [array.copy() for array in given]
    got = step.arrays(given)
    assert step.shapes([array.shape for array in given]) == [array.shape for array in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for one, other in zip(given, before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", [c for c in MADE if MADE[c][0].inverse(2) is not None])
def test_the_way_back_gives_the_arrays_again(case):
    step, given, wanted = MADE[case]
    for one, other in zip(step.inverse(len(given)).arrays(wanted), given, strict=True):
        np.testing.assert_array_equal(one, other)


def test_there_is_no_way_back_from_what_forgets():
    assert [step.inverse(2) for step in (Add(), Same(), Reshape((6,)))] == [None] * 3
    assert Join().inverse(None) is None


MISFIT = {
    "transpose of other axes": (Transpose("OI->IO"), [(2,)]),
    "flip of no axis": (Flip((2,)), [(2, 3)]),
    "reshape to another count": (Reshape((4, -1)), [(2, 3)]),
    "reshape of something to zero": (Reshape((0, -1)), [(2, 3)]),
    "reshape of nothing to something": (Reshape((2, 3)), [(0,)]),
    "reorder of unequal blocks": (Reorder((1, 0)), [(3,)]),
    "reorder of no axis": (Reorder((1, 0), axis=1), [(4,)]),
    "split of unequal parts": (Split(2), [(3,)]),
    "split of other sizes": (Split((1, 1)), [(3,)]),
    "split of no axis": (Split(2, axis=2), [(2, 2)]),
    "split of a number": (Split(1), [()]),
    "join of other ranks": (Join(), [(2,), (2, 1)]),
    "join of other shapes": (Join(), [(2, 1), (2, 2)]),
    "join of unequal parts": (Join(), [(2,), (3,)]),
    "join of other sizes": (Join(0, (2, 2)), [(2,), (3,)]),
    "join of fewer": (Join(0, (2, 2, 2)), [(2,), (2,)]),
    "join of numbers": (Join(), [(), ()]),
    "stack of unequal shapes": (Stack(), [(2,), (3,)]),
    "stack along no axis": (Stack(3), [(2,), (2,)]),
    "unstack of a number": (Unstack(), [()]),
    "unstack of nothing": (Unstack(), [(0, 2)]),
    "unstack of very much": (Unstack(), [(10**6,)]),
    "add of unequal shapes": (Add(), [(2,), (1,)]),
    "same of unequal shapes": (Same(), [(2,), (2, 1)]),
}


@pytest.mark.parametrize(("step", "shapes"), MISFIT.values(), ids=MISFIT)
def test_shapes_that_do_not_fit_are_told_beforehand(step, shapes):
    assert type(step).__name__ in step.shapes(shapes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Transpose("OI"),
        lambda: Transpose("OI->IOH"),
        lambda: Transpose("OO->OO"),
        lambda: Transpose("01->10"),
        lambda: Transpose("->"),
        lambda: Transpose((1, 0)),
        lambda: Flip(0),
        lambda: Flip(()),
        lambda: Flip((0.5,)),
        lambda: Reshape((-1, -1)),
        lambda: Reshape((-2,)),
        lambda: Reshape([2]),
        lambda: Reorder((1, 2)),
        lambda: Reorder((0, 0)),
        lambda: Reorder((0,), axis="x"),
        lambda: Split(0),
        lambda: Split(True),
        lambda: Split((2, 0)),
        lambda: Split(2, axis=None),
        lambda: Split(10**9),
        lambda: Join(0.0),
        lambda: Join(0, (0,)),
        lambda: Stack("0"),
        lambda: Unstack(True),
    ],
)
def test_arguments_are_checked_when_a_step_is_made(make):
    with pytest.raises((RangeError, StructureError)):
        make()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_a_sum_is_rounded_once(dtype):
    a, b, c = (np.array([x], dtype) for x in (1.0, 2.0**-9, 2.0**-9))
    (got,) = Add().arrays([a, b, c])
    assert got.dtype == dtype
    assert got == np.array([1 + 2.0**-8]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int32, bool])
def test_only_floating_point_numbers_are_added(dtype):
    assert "Add" in Add().arrays([np.ones(2, dtype)] * 2)


def test_a_sum_that_overflows_is_none():
    assert "Add" in Add().arrays([np.array([6e4], np.float16)] * 2)


def test_arrays_that_differ_in_one_bit_are_not_the_same():
    nan = np.array([np.nan, 0.0], np.float32)
    assert isinstance(Same().arrays([nan, nan.copy()]), list)
    assert Same().arrays([nan, -nan]) == "equal values for Same"
