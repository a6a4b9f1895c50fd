# SPDX-License-Identifier: Apache-2.0
"""Files that NumPy writes are read as the arrays that were saved."""

import numpy as np
import pytest

from rosin.files import read, read_tree
from rosin.scan import Level, scan

NUMBERS = np.arange(-12, 12).reshape(2, 3, 4)
DTYPES = [
    "?",
    "i1",
    "u1",
    "<i2",
    ">u2",
    "<i4",
    ">i4",
    "<u8",
    ">i8",
    "<f2",
    ">f4",
    "<f8",
    "<c8",
    ">c16",
]
ORDERS = {
    "C": NUMBERS,
    "F": np.asfortranarray(NUMBERS),
    "empty": NUMBERS[:0],
    "scalar": NUMBERS[0, 0, 0],
}


def same(array, wanted):
    assert (array.dtype, array.shape) == (wanted.dtype.newbyteorder("="), wanted.shape)
    np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("order", ORDERS)
def test_an_array_is_read_in_every_dtype_and_order(tmp_path, order):
    for dtype in DTYPES:
        wanted = ORDERS[order].astype(dtype)
        np.save(tmp_path / "a.npy", wanted)
        assert scan(tmp_path / "a.npy").verdict == Level.SAFE
        array = read(tmp_path / "a.npy")["tensor"]
        same(array, wanted)
        assert array.flags.f_contiguous == wanted.flags.f_contiguous
        assert not array.flags.writeable


def test_the_fields_of_records_are_arrays(tmp_path):
    dtype = [("a", "u1"), ("b", ">f4", (2, 2)), ("c", "<i8"), ("d", "f2", 3)]
    for order in "CF":
        wanted = np.zeros((3, 5), dtype, order)
        for name in wanted.dtype.names:
            wanted[name] = np.arange(wanted[name].size).reshape(wanted[name].shape)
        np.save(tmp_path / "a.npy", wanted)
        arrays = read(tmp_path / "a.npy")
        assert list(arrays) == ["a", "b", "c", "d"]
        for name, array in arrays.items():
            same(array, wanted[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read_under_the_names_of_its_arrays(tmp_path, save):
    records = np.zeros(2, [("x", "<f4"), ("y", "<i2")])
    records["y"] = 1, 2
    wanted = {"a": NUMBERS.astype("f4"), "b/c": NUMBERS.T, "empty": np.zeros((0, 2))}
    save(tmp_path / "a.npz", **wanted, records=records)
    report = scan(tmp_path / "a.npz")
    assert (report.verdict, report.files[0].format, report.files[0].tensors) == (
        Level.SAFE,
        "npz",
        5,
    )
    arrays = read(tmp_path / "a.npz")
    assert list(arrays) == ["a", "b/c", "empty", "records.x", "records.y"]
    for name, array in wanted.items():
        same(arrays[name], array)
    same(arrays["records.y"], records["y"])
    assert set(read_tree(tmp_path / "a.npz")["records"]) == {"x", "y"}
