# SPDX-License-Identifier: Apache-2.0
"""Pickles of plain data and of arrays are read as `pickle` would load them."""

import collections
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rosin.files import read, read_tree
from rosin.limits import Limits
from rosin.scan import Level, scan

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
DTYPES = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 >i4 >f8 >c8 <f4".split()  # noqa: SIM905  a table in a line

keys = st.one_of(st.text(max_size=5), st.integers(), st.none(), st.tuples(st.text(max_size=3)))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20),
    st.binary(max_size=20), st.complex_numbers(allow_nan=False),
    st.integers(250, 260).map(lambda size: b"x" * size),
)  # fmt: skip
data = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=2).map(collections.OrderedDict),
    ),
    max_leaves=15,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("pickles") / "a.pkl"


@settings(deadline=None, max_examples=60)
@given(value=data, protocol=st.sampled_from(PROTOCOLS))
def test_plain_data_comes_back(path, value, protocol):
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_tree(path) == value


@settings(deadline=None, max_examples=100)
@given(value=data, protocol=st.sampled_from(PROTOCOLS), change=st.data())
def test_what_is_accepted_means_the_same_to_the_unpickler(path, value, protocol, change):
    stream = bytearray(pickle.dumps(value, protocol))
    at = change.draw(st.integers(0, len(stream) - 1))
    stream[at] = change.draw(st.integers(0, 255))
    path.write_bytes(stream)
    if scan(path).verdict == Level.SAFE:
        # Plain data by our own judgement, which is what is tested: it loads, and is the same.
        assert read_tree(path) == pickle.loads(stream)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", DTYPES)
def test_arrays_come_back(path, protocol, code):
    array = np.arange(6).reshape(2, 3).astype(code)
    value = {"c": array, "f": np.asfortranarray(array), "one": array[1, 2], "none": array[:0]}
    path.write_bytes(pickle.dumps(value, protocol))
    arrays = read(path)
    assert list(arrays) == list(value)
    for name, wanted in value.items():
        np.testing.assert_array_equal(arrays[name], wanted)
        assert arrays[name].dtype == wanted.dtype.newbyteorder("=")


def test_sets_and_bytearrays_become_plain(path):
    for protocol in PROTOCOLS:
        path.write_bytes(pickle.dumps([{1, 2}, frozenset("a"), bytearray(b"abc")], protocol))
        assert read_tree(path) == [[1, 2], ["a"], b"abc"]


def test_several_streams_become_a_tuple(path):
    path.write_bytes(pickle.dumps({"a": np.ones(2)}) + pickle.dumps(3))
    assert read_tree(path)[1] == 3
    assert list(read(path)) == ["0.a"]


def test_values_that_are_shared_are_read_once_and_stay_shared(path):
    shared = [1, 2]
    path.write_bytes(pickle.dumps([shared, shared]))
    assert read_tree(path) == [shared, shared]


@pytest.mark.parametrize("opcode", [b"}", b"C\x01a", b"\x8f", b"K\x01\x85", b"}NNs", b"\x8c\x01a"])
def test_memory_is_bounded_by_the_steps(path, opcode):
    path.write_bytes(b"\x80\x04](" + opcode * 60_000 + b"e.")
    limits = Limits(max_pickle_steps=60_000, max_pickle_containers=12_000)  # of the defaults, 6 %
    scan(path, limits=limits)
    tracemalloc.start()
    scan(path, limits=limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.06 * 200_000_000
