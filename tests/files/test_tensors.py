# SPDX-License-Identifier: Apache-2.0
"""Arrays survive a file, and the files are the reference's, byte for byte."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import deserialize
from safetensors.numpy import save

from rosin.errors import DtypeError, FileError, RangeError, ShapeError, StructureError
from rosin.files import tensors as module
from rosin.files.header import DTYPES
from rosin.files.tensors import TensorFile, read_tensors, write_tensors
from rosin.limits import Limits

# Written out again, so that a slip in the library's table cannot hide in itself.
NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3, 5)]


def sample(name, shape, seed=0):
    """Draw arbitrary bits, NaN payloads among them, as an array of the dtype."""
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    bits = np.random.default_rng(seed).bytes(int(np.prod(shape)) * dtype.itemsize)
    octets = np.frombuffer(bits, np.uint8)
    octets = octets & 1 if name == "bool" else octets
    return octets.view(dtype).reshape(shape)


def everything():
    return {
        f"{name}.{len(shape)}.{i}": sample(name, shape, i)
        for name in NAMES.values()
        for i, shape in enumerate(SHAPES)
    }


def assert_same(got, expected):
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


# --- round trips -------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("code", "name"), NAMES.items())
def test_arrays_come_back_bit_for_bit(path, code, name, shape, mmap):
    array = sample(name, shape)
    write_tensors(path, {"a": array})
    got = read_tensors(path, mmap=mmap).arrays["a"]
    assert_same(got, array)
    assert got.flags.aligned
    assert not got.flags.writeable
    assert json.loads(path.read_bytes()[8:].split(b"}")[0] + b"}}")["a"]["dtype"] == code


def test_every_dtype_of_the_format_is_in_the_table():
    assert {code: dtype.name for code, dtype in DTYPES.items()} == NAMES


@pytest.mark.parametrize("mmap", [True, False])
def test_names_order_and_metadata_come_back(path, mmap):
    arrays = {"layers[0].weight": np.ones(2, np.float32), "é": np.ones(2, np.float32)}
    metadata = {"b": 'line\n"quoted" \\ \x00\x7f', "a": "日本", "": ""}
    write_tensors(path, arrays, metadata)
    got = read_tensors(str(path), mmap=mmap)
    assert list(got.arrays) == list(arrays)
    assert got.metadata == metadata
    assert list(got.metadata) == ["", "a", "b"]


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_of_nothing(path, mmap):
    write_tensors(path, {})
    got = read_tensors(path, mmap=mmap)
    assert (got.arrays, got.metadata) == ({}, {})
    assert repr(got) == "TensorFile(0 arrays, 0 metadata entries)"


BASE = np.arange(24, dtype=np.float32).reshape(4, 6) + 0.5
AWKWARD = {
    "transposed": BASE.T,
    "strided": BASE[::2, 1::3],
    "backwards": BASE[::-1],
    "Fortran": np.asfortranarray(BASE),
    "broadcast": np.broadcast_to(BASE[0], (3, 6)),
    "big-endian": BASE.astype(">f4"),
    "big-endian strided": BASE.astype(">f4")[:, ::2],
    "big-endian scalar": np.array(1.5, ">f4"),
    "unaligned": np.frombuffer(b"x" + BASE.tobytes(), np.float32, 24, 1),
    "scalar": np.float32(2.5),
    "jax": jnp.asarray(BASE),
    "jax bfloat16": jnp.asarray(BASE, jnp.bfloat16),
    "subclass": BASE.view(type("Sub", (np.ndarray,), {})),
    "list": [[1, 2], [3, 4]],
    "number": 3.5,
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_arrays_are_written_by_value_and_left_alone(path, case):
    array = AWKWARD[case]
    before = np.array(array, copy=True)
    flags = str(getattr(array, "flags", None))
    write_tensors(path, {"a": array})
    got = read_tensors(path).arrays["a"]
    assert (got.dtype, got.shape) == (before.dtype.newbyteorder("="), before.shape)
    np.testing.assert_array_equal(got, before)
    np.testing.assert_array_equal(array, before)
    assert str(getattr(array, "flags", None)) == flags


# --- the same format as everybody's ------------------------------------------------

FIXTURE = (
    b"\x88\0\0\0\0\0\0\0"
    b'{"__metadata__":{"k":"v"},'
    b'"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    b'"\xc3\xa9":{"dtype":"BOOL","shape":[],"data_offsets":[8,9]}}   '
    b"\0\0\xc0\x3f\0\0\0\xc0\1"
)


def test_the_bytes_are_these(path):
    arrays = {"é": np.array(True), "w": np.array([1.5, -2], np.float32)}
    write_tensors(path, arrays, {"k": "v"})
    assert path.read_bytes() == FIXTURE
    assert save(arrays, {"k": "v"}) == FIXTURE
    assert len(FIXTURE) == 8 + 0x88 + 9
    assert 0x88 % 8 == 0


@pytest.mark.parametrize("metadata", [None, {}, {"k": 'é\u2028\x7f\n\t\x01"\\/'}])
def test_the_bytes_are_those_of_the_reference(path, metadata):
    arrays = everything()
    write_tensors(path, arrays, metadata)
    assert path.read_bytes() == save(arrays, metadata)


def test_the_bytes_do_not_depend_on_the_order_of_the_mappings(path):
    arrays, metadata = everything(), {"b": "1", "a": "2"}
    write_tensors(path, arrays, metadata)
    first = path.read_bytes()
    write_tensors(path, dict(reversed(arrays.items())), dict(reversed(metadata.items())))
    assert path.read_bytes() == first


@pytest.mark.parametrize("mmap", [True, False])
def test_files_of_the_reference_are_read(path, mmap):
    arrays, metadata = everything(), {"format": "np", "author": "ada"}
    path.write_bytes(save(arrays, metadata))
    got = read_tensors(path, mmap=mmap)
    assert got.metadata == metadata
    assert got.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_same(got.arrays[name], array)


def test_the_reference_reads_ours(path):
    arrays = everything()
    write_tensors(path, arrays, {"a": "1", "b": "2"})
    got = dict(deserialize(path.read_bytes()))
    assert got.keys() == arrays.keys()
    for name, array in arrays.items():
        assert NAMES[got[name]["dtype"]] == array.dtype.name
        assert (tuple(got[name]["shape"]), got[name]["data"]) == (array.shape, array.tobytes())


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("spaces", range(4))  # one of them aligns the data by chance
def test_data_off_its_alignment_and_in_any_order_is_legal(path, spaces, mmap):
    header = (
        b'{ "c":{"dtype":"C64","shape":[1],"data_offsets":[5,13]},\n'
        b'"f":{"data_offsets":[1,5],"shape":[1],"dtype":"F32"},'
        b'"n":{"dtype":"F64","shape":[0,3],"data_offsets":[1,1]},'
        b'"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    ) + b" " * spaces
    data = b"\x07" + np.float32(1.5).tobytes() + np.complex64(2 - 1j).tobytes()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    arrays = read_tensors(path, mmap=mmap).arrays
    assert {name: a.tolist() for name, a in arrays.items()} == {
        "c": [2 - 1j], "f": [1.5], "n": [], "u": [7],
    }  # fmt: skip
    assert all(a.flags.aligned and not a.flags.writeable for a in arrays.values())
    assert arrays["n"].shape == (0, 3)


# --- what a message says -----------------------------------------------------------


def test_a_truncated_file_says_where_and_what_to_do(path):
    write_tensors(path, {"a": np.zeros(1000, np.float32)})
    path.write_bytes(path.read_bytes()[:1272])
    with pytest.raises(FileError) as caught:
        read_tensors(path)
    assert str(caught.value) == (
        "'a.safetensors', byte 1 272: expected data of 4 000 bytes from byte 72, "
        "got 1 200 bytes.\n  fix: copy or download the file again; it was cut short."
    )


def test_contents_are_not_shown():
    shown = repr(TensorFile({"a": np.array([0.123456])}, {"token": "hidden"}))
    assert shown == "TensorFile(1 arrays, 1 metadata entries)"


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.array([None, "x"]), "object[2]"),
        (np.array(["text"]), "<U4[1]"),
        (np.array([b"text"]), "|S4[1]"),
        (np.zeros(2, "datetime64[s]"), "datetime64[s][2]"),
        (np.zeros(2, "m8[s]"), "timedelta64[s][2]"),
        (np.zeros(2, np.complex128), "complex128[2]"),
        (np.zeros(2, np.longdouble), f"{np.dtype(np.longdouble)}[2]"),
        (np.zeros(2, [("a", "f4")]), "[('a', '<f4')][2]"),
        (np.zeros(2, ml_dtypes.int4), "int4[2]"),
        (jax.random.key(0), "key<fry>[]"),
        ("text", "<U4[]"),
        (None, "object[]"),
        ({"a": 1}, "object[]"),
    ],
    ids=str,
)
def test_a_dtype_the_format_lacks_is_refused_before_anything_is_written(path, array, got):
    with pytest.raises(DtypeError) as caught:
        write_tensors(path, {"fine": np.ones(2), "layers[1]": array})
    assert caught.value.subject == "write_tensors"
    assert caught.value.got == got
    assert 'tensors["layers[1]"] of a dtype among uint64' in caught.value.expected
    assert "np.float32" in caught.value.fix
    assert not list(path.parent.iterdir())


X = np.ones(2)
BAD = {
    "no name": ({"": X}, None, StructureError, "names of printable characters"),
    "a name of two lines": ({"a\nb": X}, None, StructureError, "names of printable characters"),
    "a name of half a pair": ({"\ud800": X}, None, StructureError, "names of printable"),
    "a number for a name": ({1: X}, None, StructureError, "names of printable characters"),
    "the name of the metadata": ({"__metadata__": X}, None, StructureError, "__metadata__"),
    "a long name": ({"n" * 1025: X}, None, StructureError, "at most 1 024 characters"),
    "many axes": ({"a": X.reshape([2] + [1] * 32)}, None, ShapeError, "at most 32 axes"),
    "metadata of numbers": ({}, {"a": 1}, StructureError, "metadata from text to text"),
    "metadata by numbers": ({}, {1: "a"}, StructureError, "metadata from text to text"),
    "metadata of a list": ({}, [("a", "b")], StructureError, "metadata from text to text"),
    "metadata of half a pair": ({}, {"a": "\udfff"}, StructureError, "metadata from text"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_could_not_be_read_back_is_not_written(path, case):
    tensors, metadata, kind, words = BAD[case]
    with pytest.raises(kind) as caught:
        write_tensors(path, tensors, metadata)
    assert words in caught.value.expected
    assert len(str(caught.value)) < 400
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(("bound", "least"), [("max_tensors", 2), ("max_header_bytes", 112)])
def test_the_bounds_of_readers_bind_the_writer(path, monkeypatch, bound, least):
    arrays = {"a": np.ones(2), "b": np.ones(2)}
    monkeypatch.setattr(module, "_DEFAULT", Limits(**{bound: least}))
    write_tensors(path, arrays)
    monkeypatch.setattr(module, "_DEFAULT", Limits(**{bound: least - 1}))
    with pytest.raises(RangeError, match=f"at most {least - 1} "):
        write_tensors(path, arrays)
