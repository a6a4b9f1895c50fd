# SPDX-License-Identifier: Apache-2.0
"""Hostile safetensors files: each is refused, by the right rule, at the right place."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import deserialize

from rosin.errors import FileError, LimitError
from rosin.files.tensors import read_tensors, write_tensors
from rosin.limits import Limits


def container(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype="U8", shape=(4,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def one(data=b"\0" * 4, name="a", **parts):
    return container({name: tensor(**parts)}, data)


def two(first, second, size):
    return container({"a": first, "b": second}, b"\0" * size)


def less(key):
    return container({"a": {k: v for k, v in tensor().items() if k != key}}, b"\0" * 4)


def raw(text, length=None):
    return container(text.encode(), b"\0" * 4, length)


A = '"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'  # with its braces 53 bytes
META = '"__metadata__"'
HUGE = 2**63 - 1

# name: (bytes, part of `where`, part of `expected`, got `got`)
HOSTILE = {
    # the length of the header
    "an empty file": (b"", "byte 0", "8 bytes"),
    "seven bytes": (b"\2" + b"\0" * 6, "byte 0", "got 7 bytes"),
    "a length alone": (container(b"", length=2), "byte 0", "fits the 0 bytes"),
    "length one too long": (container(b"{}", length=3), "byte 0", "fits the 2 bytes"),
    "length one too short": (raw("{" + A + "}", length=52), "byte 60", "JSON"),
    "length of all ones": (b"\xff" * 8 + b"{}", "byte 0", "fits"),
    "length with the sign bit": (container(b"{}", length=1 << 63), "byte 0", "fits"),
    "length of 2**60": (container(b"{}", length=1 << 60), "byte 0", "fits"),
    "length in big-endian": (b"\0" * 7 + b"\2{}", "byte 0", "fits"),
    "length zero": (container(b""), "byte 8", "starts with"),
    # text
    "not UTF-8": (container(b"{\xff"), "byte 9", "UTF-8"),
    "UTF-8 of a surrogate": (container(b'{"\xed\xa0\x80":1}'), "byte 10", "UTF-8"),
    "an overlong zero": (container(b'{"\xc0\x80":1}'), "byte 10", "UTF-8"),
    "a byte-order mark": (container(b"\xef\xbb\xbf{}"), "byte 8", "starts with"),
    "UTF-16": (container("{}".encode("utf-16-le")), "byte 9", "JSON"),
    "a leading space": (raw(" {" + A + "}"), "byte 8", "starts with"),
    "a list": (raw("[]"), "byte 8", "starts with"),
    # JSON
    "unfinished": (raw('{"a":'), "byte 13", "JSON"),
    "an unfinished text": (raw('{"a'), "byte 9", "JSON"),
    "an unfinished text after a long one": (raw('{"ää":"ö'), "byte 16", "JSON"),
    "a trailing comma": (raw("{" + A + ",}"), "byte", "JSON"),
    "single quotes": (raw("{'a':1}"), "byte 9", "JSON"),
    "a comment": (raw("{/**/}"), "byte 9", "JSON"),
    "a raw line break in a name": (one().replace(b'"a"', b'"\n"'), "byte 10", "JSON"),
    "text after the JSON": (raw("{" + A + "}  x"), "byte 63", "spaces after"),
    "a tab after the JSON": (raw("{" + A + "}\t"), "byte 61", "spaces after"),
    "a zero after the JSON": (raw("{" + A + "}\0"), "byte 61", "spaces after"),
    "a second object": (raw("{}{" + A + "}"), "byte 10", "spaces after"),
    "NaN": (raw('{"a":NaN}'), "header", "NaN"),
    "minus infinity": (raw('{"a":[-Infinity]}'), "header", "-Infinity"),
    "a number of 5000 digits": (raw('{"a":' + "9" * 5000 + "}"), 'tensor "a"', "an object"),
    "a name twice": (raw("{" + A + "," + A + "}"), "header", "'a' twice"),
    "a name twice, once escaped": (
        raw("{" + A + "," + A.replace('"a"', '"\\u0061"') + "}"), "header", "'a' twice"),
    "a key twice": (
        raw("{" + A.replace("}", ',"dtype":"I8"}') + "}"), "header", "'dtype' twice"),
    "metadata twice": (raw(f"{{{META}:{{}},{META}:{{}}}}"), "header", "'__metadata__' twice"),
    # metadata
    "metadata of null": (raw(f"{{{META}:null}}"), "__metadata__", "an object of texts"),
    "metadata of a list": (raw(f"{{{META}:[]}}"), "__metadata__", "an object of texts"),
    "metadata of numbers": (raw(f'{{{META}:{{"a":1}}}}'), "__metadata__", "got an object of int"),
    "metadata nested": (raw(f'{{{META}:{{"a":{{}}}}}}'), "__metadata__", "got an object of dict"),
    "metadata of half a character": (
        raw(f'{{{META}:{{"a":"\\ud800"}}}}'), "__metadata__", "texts of Unicode"),
    # names
    "no name": (one(name=""), 'tensor ""', "printable"),
    "a name with an escape": (one(name="\x1b[31m"), 'tensor "\\x1b[31m"', "printable"),
    "a name with a zero": (one(name="a\0"), 'tensor "a\\x00"', "printable"),
    "a name that reverses text": (one(name="a\u202eb"), "tensor", "printable"),
    "a name of half a character": (one(name="\udc00"), "\\udc00", "printable"),
    # entries
    "an entry of null": (raw('{"a":null}'), 'tensor "a"', "an object with"),
    "an entry of a list": (raw('{"a":["U8",[4],[0,4]]}'), 'tensor "a"', "an object with"),
    "no dtype": (less("dtype"), 'tensor "a"', "exactly the keys"),
    "no shape": (less("shape"), 'tensor "a"', "exactly the keys"),
    "no offsets": (less("data_offsets"), 'tensor "a"', "exactly the keys"),
    "a key too many": (one(run="me"), 'tensor "a"', "exactly the keys"),
    # dtypes
    "a dtype unheard of": (one(dtype="F128"), 'tensor "a"', "among U64"),
    "a dtype in small letters": (one(dtype="u8"), 'tensor "a"', "among U64"),
    "a dtype of objects": (one(dtype="|O"), 'tensor "a"', "among U64"),
    "a dtype of null": (one(dtype=None), 'tensor "a"', "among U64"),
    "a dtype of a list": (one(dtype=["U8"]), 'tensor "a"', "among U64"),
    "a packed dtype": (one(dtype="F4", shape=[8]), 'tensor "a"', "among U64"),
    # shapes
    "a shape of a number": (raw("{" + A.replace("[4]", "4") + "}"), 'tensor "a"', "a shape"),
    "a shape of text": (raw("{" + A.replace("[4]", '"4"') + "}"), 'tensor "a"', "a shape"),
    "a negative length": (one(shape=[-4]), 'tensor "a"', "a shape of whole"),
    "two negative lengths": (one(shape=[-2, -2]), 'tensor "a"', "a shape of whole"),
    "a length of minus zero": (
        raw("{" + A.replace("[4]", "[-0]") + "}"), 'tensor "a"', "a shape of whole"),
    "a length with a point": (one(shape=[4.0]), 'tensor "a"', "a shape of whole"),
    "a length that is true": (one(shape=[4, True]), 'tensor "a"', "a shape of whole"),
    "a length of text": (one(shape=["4"]), 'tensor "a"', "a shape of whole"),
    "a length of null": (one(shape=[None]), 'tensor "a"', "a shape of whole"),
    "a length of 2**63": (one(shape=[0, 2**63]), 'tensor "a"', "from 0 to 2**63 - 1"),
    "a length of 2**64 + 4": (one(shape=[2**64 + 4]), 'tensor "a"', "from 0 to 2**63 - 1"),
    "a count that wraps to 4": (one(shape=[2**62 + 1, 4]), 'tensor "a"', "can have"),
    "a size that wraps to 4": (one(dtype="F32", shape=[2**62 + 1]), 'tensor "a"', "can have"),
    "none, of absurd lengths": (
        one(b"", shape=[HUGE, 0, HUGE], offsets=[0, 0]), 'tensor "a"', "can have"),
    "none, of a length just too large": (
        one(b"", dtype="I16", shape=[0, 2**62], offsets=[0, 0]), 'tensor "a"', "can have"),
    # offsets
    "one offset": (one(offsets=[4]), 'tensor "a"', "[begin, end]"),
    "three offsets": (one(offsets=[0, 4, 4]), 'tensor "a"', "[begin, end]"),
    "offsets of text": (one(offsets=["0", "4"]), 'tensor "a"', "[begin, end]"),
    "offsets with a point": (one(offsets=[0, 4.0]), 'tensor "a"', "[begin, end]"),
    "offsets of booleans": (one(shape=[1], offsets=[False, True]), 'tensor "a"', "[begin, end]"),
    "offsets that run backwards": (one(offsets=[4, 0]), 'tensor "a"', "begin <= end"),
    "an offset in the header": (one(offsets=[-4, 0]), 'tensor "a"', "[begin, end]"),
    "offsets that wrap": (one(offsets=[2**64, 2**64 + 4]), 'tensor "a"', "[begin, end]"),
    "too few bytes": (one(offsets=[0, 3]), 'tensor "a"', "4 bytes for U8[4]"),
    "too many bytes": (one(b"\0" * 5, offsets=[0, 5]), 'tensor "a"', "4 bytes for U8[4]"),
    "bytes for no element": (one(shape=[0]), 'tensor "a"', "0 bytes for U8[0]"),
    "bytes of another dtype": (one(dtype="F32"), 'tensor "a"', "16 bytes for F32[4]"),
    # data
    "data cut short": (one(b"\0" * 3), "byte 71", "data of 4 bytes from byte 68, got 3 bytes"),
    "no data": (one(b""), "byte 68", "got 0 bytes"),
    "data that goes on": (one(b"\0" * 9), "byte 72", "got 5 more bytes"),
    "data for no tensor": (container(b"{}", b"x"), "byte 10", "end of the file"),
    "a hole at the start": (one(b"\0" * 5, offsets=[1, 5]), 'tensor "a"', "a hole"),
    "a hole between": (two(tensor(), tensor(offsets=[5, 9]), 9), 'tensor "b"', "a hole"),
    "two tensors on one place": (two(tensor(), tensor(), 4), "tensor", "an overlap"),
    "an overlap of one byte": (
        two(tensor(), tensor(offsets=[3, 7]), 7), 'tensor "b"', "an overlap"),
    "one tensor inside another": (
        two(tensor(shape=[8], offsets=[0, 8]), tensor(offsets=[2, 6]), 8), '"b"', "an overlap"),
    "nothing, in the middle of data": (
        two(tensor(), tensor(shape=[0], offsets=[2, 2]), 4), 'tensor "b"', "an overlap"),
    "a boolean of 2": (one(b"\0\1\2\1", dtype="BOOL"), 'tensor "a"', "0 and 1"),
}  # fmt: skip


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_by_the_rule_it_breaks(tmp_path, case, mmap):
    contents, where, words = HOSTILE[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(contents)
    with pytest.raises(FileError) as caught:
        read_tensors(path, mmap=mmap)
    error = caught.value
    assert type(error) is FileError
    assert error.subject == "'model.safetensors'"
    assert where in error.where
    assert words in f"{error.expected}, got {error.got}"
    assert error.fix
    assert all(line.isprintable() for line in str(error).split("\n"))
    assert len(str(error)) < 600


ONE = one(name="abc", shape=[2, 1, 2])

# bound: (bytes, the least value that lets them pass, part of `where`)
BOUNDS = {
    "max_file_bytes": (ONE, len(ONE), ""),
    "max_header_bytes": (ONE, len(ONE) - 12, "byte 0"),
    "max_tensors": (two(tensor(), tensor(offsets=[4, 8]), 8), 2, "header"),
    "max_name_characters": (ONE, 3, 'tensor "abc"'),
    "max_axes": (ONE, 3, 'tensor "abc"'),
    "max_metadata_bytes": (container({"__metadata__": {"kä": "vä"}}), 6, "__metadata__"),
    "max_nesting": (ONE, 3, "header"),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_holds_exactly(tmp_path, bound):
    contents, least, where = BOUNDS[bound]
    path = tmp_path / "a.safetensors"
    path.write_bytes(contents)
    with pytest.raises(LimitError) as caught:
        read_tensors(path, limits=Limits(**{bound: least - 1}))
    error = caught.value
    assert where in error.where
    assert f"at most {least - 1} " in error.expected
    assert f"(limits.{bound})" in error.expected
    assert error.got.startswith(f"{least} ")
    assert f"Limits({bound}=...)" in error.fix
    read_tensors(path, limits=Limits(**{bound: least}))


@pytest.mark.parametrize(
    ("header", "limits"),
    [
        (b'{"a":' + b"[" * 1_000_000, Limits()),
        (b'{"a":' + b"[]," * 20, Limits(max_tensors=2)),
        (b'{"a":' + b"{}," * 20, Limits(max_tensors=2)),
    ],
    ids=["deep", "wide with lists", "wide with objects"],
)
def test_brackets_are_bounded_before_json_is_parsed(tmp_path, header, limits):
    path = tmp_path / "a.safetensors"
    path.write_bytes(container(header))  # not JSON at all, yet the bound is what is reported
    with pytest.raises(LimitError):
        read_tensors(path, limits=limits)


def test_brackets_inside_texts_are_not_counted(tmp_path):
    path = tmp_path / "a.safetensors"
    text = '[{"\\' * 100
    path.write_bytes(container({"__metadata__": {"k": text}}))
    assert read_tensors(path, limits=Limits(max_nesting=2)).metadata == {"k": text}


@pytest.mark.parametrize("start", ['"', '"\\"', '"\\', '"a'])
def test_quotes_without_end_take_linear_time(tmp_path, impatient, start):
    path = tmp_path / "a.safetensors"  # a quadratic scan of 2 MB would take hours
    path.write_bytes(container(b"{" + start.encode() * (2_000_000 // len(start))))
    with pytest.raises(FileError):
        read_tensors(path)


def test_nesting_cannot_exhaust_the_stack_under_any_bound(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(container(b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}"))
    with pytest.raises(FileError, match="few nested levels"):
        read_tensors(path, limits=Limits(max_nesting=10**6))


def test_the_largest_empty_array_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(one(b"", shape=[0, HUGE], offsets=[0, 0]))
    assert read_tensors(path).arrays["a"].shape == (0, HUGE)


def test_more_axes_than_numpy_has_are_refused_under_any_bound(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(one(shape=[1] * 64 + [4]))
    with pytest.raises(FileError, match="64 axes"):
        read_tensors(path, limits=Limits(max_axes=100))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    "contents",
    [
        container(b"{}", length=1 << 60),
        one(shape=[1 << 60], offsets=[0, 1 << 60]),
        one(shape=[HUGE], offsets=[0, HUGE]),
    ],
    ids=["header", "tensor", "largest tensor"],
)
def test_what_a_file_claims_is_not_allocated(tmp_path, contents, mmap):
    path = tmp_path / "a.safetensors"
    path.write_bytes(contents)
    tracemalloc.start()
    try:
        with pytest.raises(FileError):
            read_tensors(path, mmap=mmap)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --- every damage to a small file --------------------------------------------------


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.safetensors"
    arrays = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.array([True, False])}
    write_tensors(path, {**arrays, "c": np.zeros((0, 2), np.float32)}, {"k": "v"})
    return path


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_cut_at_any_byte_is_refused(small, mmap):
    whole = small.read_bytes()
    for size in range(len(whole)):
        small.write_bytes(whole[:size])
        with pytest.raises(FileError):
            read_tensors(small, mmap=mmap)
    small.write_bytes(whole)
    assert len(read_tensors(small, mmap=mmap).arrays) == 3


def test_a_file_with_any_byte_more_is_refused(small):
    small.write_bytes(small.read_bytes() + b"\0")
    with pytest.raises(FileError, match="1 more bytes"):
        read_tensors(small)


def test_a_flipped_header_is_refused_or_read_as_the_reference_reads_it(small):
    whole = small.read_bytes()
    refused = 0
    for at in range(8 + whole[0]):
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255]:
            damaged = bytearray(whole)
            damaged[at] ^= mask
            refused += not agrees_with_the_reference(small, bytes(damaged))
    assert 1000 < refused < 9 * (8 + whole[0])  # a letter of a name may change unseen


def agrees_with_the_reference(path, contents):
    """Read the contents; what Rosin takes, the reference takes too, and alike."""
    path.write_bytes(contents)
    try:
        ours = read_tensors(path).arrays
    except FileError:
        return False
    reference = {name: (parts["shape"], parts["data"]) for name, parts in deserialize(contents)}
    assert {name: (list(a.shape), a.tobytes()) for name, a in ours.items()} == reference
    return True


# --- every other damage, by chance -------------------------------------------------

WORDS = ["a", "b", "dtype", "shape", "data_offsets", "__metadata__", "U8", "BF16", "BOOL", ""]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS)
SMALL = st.integers(0, 4)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(WORDS),
        "shape": st.lists(SMALL, max_size=3),
        "data_offsets": st.lists(SMALL, min_size=2, max_size=2),
    }
)
TREES = st.recursive(
    LEAVES | ENTRIES,
    lambda t: st.lists(t, max_size=3) | st.dictionaries(st.sampled_from(WORDS), t, max_size=3),
)
HEADERS = st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), ENTRIES | TREES, max_size=3)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("chance") / "a.safetensors"


@settings(deadline=None, derandomize=True)
@example(b"\2" + b"\0" * 7 + b"{}")
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_file_errors(scratch, contents):
    agrees_with_the_reference(scratch, contents)


@settings(deadline=None, derandomize=True)
@example({"a": tensor()}, b"\0" * 4)
@example({"a": tensor(shape=[2, 2]), "b": tensor(offsets=[4, 8])}, b"\0" * 8)
@given(HEADERS, st.binary(max_size=9))
def test_arbitrary_headers_raise_nothing_but_file_errors(scratch, header, data):
    agrees_with_the_reference(scratch, container(header, data))


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=80))
def test_arbitrary_text_in_a_header_raises_nothing_but_file_errors(scratch, text):
    agrees_with_the_reference(scratch, container(b"{" + text))
    agrees_with_the_reference(scratch, container(b'{"a":' + text + b"}", b"\0" * 4))
