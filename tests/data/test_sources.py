# SPDX-License-Identifier: Apache-2.0
"""Sources: what counts as data, what is refused, what a batch is made of."""

from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.data.sources import ArraySource, Subset, as_source, count, described, is_source, mapped
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError

ROWS = np.array([4, 0, 4])


class Pair(NamedTuple):
    x: Any
    label: Any


class Squares:
    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, indices):
        return {"square": indices**2}

    def __repr__(self):
        return "Squares()"


# --- arrays as a source ---------------------------------------------------------------


def test_an_array_gives_its_rows_in_the_order_asked_for():
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(ArraySource(x)[ROWS], [[8, 9], [0, 1], [8, 9]])


def test_a_batch_has_the_structure_of_the_data():
    x, y, z = np.arange(5), np.arange(5) * 10, np.arange(5) * 100
    data = {"b": Pair(x, (y,)), "a": (z, {"deep": x})}
    batch = ArraySource(data)[ROWS]
    assert list(batch) == ["b", "a"]
    assert type(batch["b"]) is Pair
    assert type(batch["b"].label) is tuple
    assert jax.tree.structure(batch) == jax.tree.structure(data)
    assert batch["b"].label[0].tolist() == [40, 0, 40]
    assert batch["a"][0].tolist() == [400, 0, 400]
    assert batch["a"][1]["deep"].tolist() == [4, 0, 4]


def test_an_ordered_dict_gives_a_plain_one_in_its_order():
    batch = ArraySource(OrderedDict(b=np.arange(5), a=np.arange(5)))[ROWS]
    assert type(batch) is dict
    assert list(batch) == ["b", "a"]


def test_jax_arrays_come_back_as_numpy_arrays():
    batch = ArraySource(jnp.arange(5))[ROWS]
    assert type(batch) is np.ndarray
    assert batch.tolist() == [4, 0, 4]


def test_every_batch_is_new_memory_and_the_data_is_left_alone():
    x = np.arange(10.0, dtype=np.float32)
    source = ArraySource(x)
    a, b = source[np.arange(10)], source[np.arange(10)]
    assert not np.shares_memory(a, b)
    assert not np.shares_memory(a, x)
    a += 1
    np.testing.assert_array_equal(x, np.arange(10.0))
    np.testing.assert_array_equal(b, np.arange(10.0))


def test_numpy_arrays_are_not_copied_as_a_whole():
    x = np.zeros(5, np.float32)
    source = ArraySource(x)
    x[4] = 7
    assert source[ROWS].tolist() == [7, 0, 7]


def test_read_only_arrays_and_memory_maps_are_data(tmp_path):
    mapped_file = np.memmap(tmp_path / "x", np.float32, "w+", shape=(5, 2))
    mapped_file[4] = 3
    assert type(ArraySource(mapped_file)[ROWS]) is np.ndarray
    still = np.arange(5)
    still.setflags(write=False)
    assert ArraySource(still)[ROWS].flags.writeable


@pytest.mark.parametrize(
    ("dtype", "arrives"),
    [
        ("float64", "float32"),
        ("complex128", "complex64"),
        (">f8", "float32"),
        (">f4", "float32"),
        (">i2", "int16"),
        ("float32", "float32"),
        ("float16", "float16"),
        ("bfloat16", "bfloat16"),
        ("int64", "int64"),
        ("uint8", "uint8"),
        ("bool", "bool"),
        ("complex64", "complex64"),
    ],
)
def test_floats_arrive_in_the_precision_that_jax_takes(dtype, arrives):
    x = np.array([0, 1, 0, 1, 1]).astype(dtype)
    batch = ArraySource(x)[ROWS]
    assert batch.dtype == np.dtype(arrives)
    assert batch.dtype.isnative
    assert batch.tolist() == [1, 0, 1]
    assert x.dtype == np.dtype(dtype)


def test_in_64_bit_mode_floats_keep_their_precision():
    source = ArraySource(np.full(5, 1 / 3))
    with jax.enable_x64(True):
        assert source[ROWS].tolist() == [1 / 3] * 3


def test_text_passes_through():
    assert ArraySource(np.array(list("abcde")))[ROWS].tolist() == ["e", "a", "e"]


def test_infinity_and_nan_pass_but_a_float64_beyond_float32_is_refused():
    x = np.array([0.0, np.inf, -np.inf, np.nan, 1e39])
    np.testing.assert_array_equal(ArraySource(x)[np.arange(4)], x[:4].astype(np.float32))
    with pytest.raises(RangeError) as caught:
        ArraySource((np.arange(5), {"x": x}))[ROWS]
    assert caught.value.expected.startswith("data[1]['x'] with values that float32 can hold")
    assert caught.value.got == "float64[3]"
    assert "rescale" in caught.value.fix


def test_length_and_printing():
    source = ArraySource((np.zeros((5, 2), np.float32), np.arange(5)))
    assert len(source) == 5
    assert repr(source) == "ArraySource((float32[5,2], int64[5]))"


# --- what is refused ------------------------------------------------------------------


def test_arrays_of_unequal_length_are_all_listed():
    data = (np.zeros((5, 2)), {"label": np.zeros(4)}, Pair(np.zeros(5), np.zeros(6)))
    with pytest.raises(ShapeError) as caught:
        count(data, subject="f")
    assert caught.value.subject == "f"
    assert caught.value.expected == "arrays of equal length on the first axis"
    assert caught.value.got == "lengths from 4 to 6"
    assert caught.value.details == (
        "data[0]: 5 observations",
        "data[1]['label']: 4 observations",
        "data[2].x: 5 observations",
        "data[2].label: 6 observations",
    )
    assert "first axis" in caught.value.fix


@pytest.mark.parametrize("data", [np.zeros((0, 3)), (np.zeros(0), np.zeros(0)), Squares(0)])
def test_data_without_an_observation_is_refused(data):
    with pytest.raises(ShapeError) as caught:
        count(data, subject="f")
    assert caught.value.expected == "data with at least one observation"
    assert caught.value.got == "0 observations"


@pytest.mark.parametrize(
    "leaf", [3, 2.5, True, 1j, np.float32(1), np.array(1.0), jnp.array(1.0), jax.random.key(0)]
)
def test_what_has_no_axis_is_refused(leaf):
    with pytest.raises(ShapeError) as caught:
        count({"x": np.zeros(3), "rate": leaf}, subject="f")
    assert "data['rate'] with a first axis" in caught.value.expected
    assert "one value for each observation" in caught.value.fix


@pytest.mark.parametrize(
    ("leaf", "got", "fix"),
    [
        ([np.zeros(3), np.zeros(3)], "an object of class list", "np.stack"),
        ([1, 2, 3], "an object of class list", "np.stack"),
        (np.ma.masked_array([1, 2, 3], [0, 0, 1]), "int64[3]", ".filled"),
        ("text", "an object of class str", "np.asarray"),
        (b"bytes", "an object of class bytes", "np.asarray"),
        (range(3), "an object of class range", "np.asarray"),
        (None, "None", "np.asarray"),
        (Squares(3), "an object of class Squares", "np.asarray"),
        (Squares, "class Squares", "np.asarray"),
    ],
)
def test_what_is_no_array_is_refused_without_showing_what_it_holds(leaf, got, fix):
    with pytest.raises(StructureError) as caught:
        count((np.zeros(3), leaf), subject="f")
    assert caught.value.expected == "data[1] to be a NumPy or JAX array"
    assert caught.value.got == got
    assert fix in caught.value.fix


class Frame(Squares):
    def __array__(self):
        raise NotImplementedError


@pytest.mark.parametrize("data", [[np.zeros(3)], range(3), "abc", None, Frame(), Squares, object()])
def test_what_only_looks_like_a_source_is_refused(data):
    assert not is_source(data)
    with pytest.raises(StructureError, match="data to be a NumPy or JAX array"):
        as_source(data, subject="f")


def test_a_mapping_of_arrays_on_disk_is_not_mistaken_for_a_source(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with np.load(tmp_path / "x.npz") as data, pytest.raises(StructureError) as caught:
        as_source(data, subject="f")
    assert caught.value.fix == "convert it with dict(data)"


@pytest.mark.parametrize("data", [(), {}, {"x": ()}])
def test_data_without_an_array_is_refused(data):
    with pytest.raises(StructureError) as caught:
        count(data, subject="f")
    assert caught.value.expected == "data with at least one array"
    assert caught.value.got == repr(data)


@pytest.mark.parametrize(
    "leaf",
    [
        np.array([1, "a", None], object),
        np.zeros(3, [("a", "f4"), ("b", "O")]),
        jax.random.split(jax.random.key(0), 3),
    ],
)
def test_objects_and_random_keys_are_refused(leaf):
    with pytest.raises(DtypeError) as caught:
        count((leaf,), subject="f")
    assert caught.value.expected == "data[0] to hold numbers or text"
    assert ("key_data" in caught.value.fix) == isinstance(leaf, jax.Array)


# --- sources of one's own -------------------------------------------------------------


def test_a_source_is_used_as_it_is():
    source = Squares()
    assert as_source(source, subject="f") is source
    assert count(source, subject="f") == 10


def test_a_subset_counts_its_own_rows():
    subset = Subset(Squares(), np.array([9, 1, 5]))
    assert len(subset) == 3
    assert subset[np.array([2, 0])]["square"].tolist() == [25, 81]
    assert repr(subset) == "Subset(Squares(), int64[3])"


# --- trees ----------------------------------------------------------------------------


def test_paths_name_every_leaf():
    data = ({"a": 1, "b": (2,)}, Pair(3, {4: 5}))
    paths = mapped(lambda leaf, path: path, data)
    assert paths == (
        {"a": "data[0]['a']", "b": ("data[0]['b'][0]",)},
        Pair("data[1].x", {4: "data[1].label[4]"}),
    )
    assert mapped(lambda leaf, path: path, 1) == "data"


def test_data_is_written_down_as_the_code_that_nests_it():
    x = np.zeros((5, 2), np.int8)
    assert described(x) == "int8[5,2]"
    assert described((x,)) == "(int8[5,2],)"
    assert described(Pair(x, {"a": x})) == "Pair(x=int8[5,2], label={'a': int8[5,2]})"
    assert described({"b": x, "a": x}) == "{'b': int8[5,2], 'a': int8[5,2]}"
    assert described(Squares()) == "Squares()"
