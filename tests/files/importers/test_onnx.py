# SPDX-License-Identifier: Apache-2.0
"""The initialisers of ONNX are read in each of the fields that may hold their numbers."""

import ml_dtypes
import numpy as np
import pytest

from rosin.files import read
from rosin.scan import Level, scan
from tests.attacks.onnx import field, onnx, packed, tensor

KINDS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
}
FIELDS = {1: 4, 14: 4, 11: 10, 15: 10, 7: 7, 12: 11, 13: 11}


def numbers(kind):
    least = 0 if KINDS[kind].startswith("u") else -3
    return (
        np.arange(least, least + 6)
        .reshape(2, 3)
        .astype(getattr(ml_dtypes, KINDS[kind], KINDS[kind]))
    )


def same(path, wanted):
    assert scan(path).verdict == Level.SAFE
    array = read(path)["w"]
    assert array.dtype == wanted.dtype
    np.testing.assert_array_equal(array, wanted)
    assert not array.flags.writeable


@pytest.mark.parametrize("kind", KINDS)
def test_raw_numbers_are_read(tmp_path, kind):
    path, wanted = tmp_path / "a.onnx", numbers(kind)
    path.write_bytes(onnx(tensor(shape=(2, 3), kind=kind, data=field(9, wanted.tobytes()))))
    same(path, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_in_the_field_of_their_dtype_are_read(tmp_path, kind):
    path, wanted = tmp_path / "a.onnx", numbers(kind)
    number = FIELDS.get(kind, 5)
    if number in {4, 10}:
        data = field(number, wanted.tobytes())
    else:
        bits = wanted.view("u2") if KINDS[kind].endswith("float16") else wanted
        data = packed(number, [int(value) for value in bits.ravel()])
    path.write_bytes(onnx(tensor(shape=(2, 3), kind=kind, data=data)))
    same(path, wanted)


def test_whole_numbers_with_a_tag_each_are_read(tmp_path):
    path = tmp_path / "a.onnx"
    data = b"".join(field(7, value) for value in (-5, 2**62))
    path.write_bytes(
        onnx(tensor(kind=7, data=data), tensor("scalar", shape=(), kind=7, data=packed(7, [4])))
    )
    same(path, np.array([-5, 2**62]))
    assert read(path)["scalar"] == 4


def test_nothing_has_no_numbers(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx(tensor(shape=(0, 3), data=b"")))
    same(path, np.zeros((0, 3), "f4"))
