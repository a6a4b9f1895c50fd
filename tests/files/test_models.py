# SPDX-License-Identifier: Apache-2.0
"""Models on disk: what comes back, what is compared, what is refused."""

import dataclasses
import enum
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import rosin as rs
from rosin.core.sharing import share
from rosin.errors import DtypeError, FileError, LimitError, StructureError
from rosin.files import models as module
from rosin.files import notes
from rosin.files.notes import NAME, Notes, encode
from rosin.files.tensors import read_tensors, write_tensors
from tests.training.compilations import compilations

KEY = jax.random.key(7)


class Point(NamedTuple):
    """A named tuple in a tree."""

    x: Any
    y: Any


class Layer(rs.Module):
    """A parameter, a buffer, a key, a missing array and a static number."""

    weight: rs.Array
    mean: rs.Buffer[rs.Array]
    key: rs.Buffer[rs.Key]
    bias: rs.Array | None
    size: rs.Static[int]

    def __call__(self, x):
        return x @ self.weight


class Pair(rs.Module):
    """Two layers, which may be one."""

    first: rs.Module
    second: rs.Module


def layer(fill=0.5, seed=1, size=3):
    return Layer(
        jnp.full((2, 3), fill, jnp.float32), jnp.arange(3.0), jax.random.key(seed), None, size
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def blank(tree):
    """Make a tree of the same structure with other contents."""
    return jax.tree.map(
        lambda leaf: (
            jnp.zeros_like(leaf)
            if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        ),
        tree,
    )


# --- what comes back ------------------------------------------------------------------

DTYPES = [
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "bool",
    "complex64",
]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 3), (2, 0)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_of_any_dtype_and_shape_comes_back_bit_for_bit(path, dtype, shape):
    high = 2 if dtype == "bool" else 256
    size = (*shape, np.dtype(dtype).itemsize)
    bits = np.random.default_rng(0).integers(0, high, size, np.uint8)
    tree = {"a": jnp.asarray(bits.reshape(-1).view(dtype).reshape(shape))}
    rs.save(path, tree)
    loaded = rs.load(path, {"a": jnp.zeros(shape, dtype)})
    assert isinstance(loaded["a"], jax.Array)
    assert rs.equal(loaded, tree)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45])
def test_a_float_that_is_no_common_number_comes_back_bit_for_bit(path, value):
    tree = jnp.asarray([value], jnp.float32)
    rs.save(path, tree)
    assert rs.equal(rs.load(path, jnp.zeros(1)), tree)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("count", [None, 4])
@pytest.mark.parametrize("abstract", [False, True])
def test_typed_keys_come_back_one_or_many(path, impl, count, abstract):
    key = jax.random.key(3, impl=impl)
    keys = key if count is None else jax.random.split(key, count)
    rs.save(path, {"k": keys})
    like = jax.ShapeDtypeStruct(keys.shape, keys.dtype) if abstract else jax.random.clone(keys)
    loaded = rs.load(path, {"k": like})
    assert loaded["k"].dtype == keys.dtype
    assert rs.equal(loaded["k"], keys)


NUMBERS = [
    0,
    -5,
    2**63,
    -(2**200),
    1.5,
    -0.0,
    1e-320,
    math.inf,
    -math.inf,
    True,
    False,
    "",
    'a "quoted" {[:,]} text\n\x00',
    "é 字 🙂",
    "\ud800",
]


@pytest.mark.parametrize("value", NUMBERS, ids=ascii)
def test_numbers_and_texts_come_back_exactly(path, value):
    rs.save(path, {"v": value})
    loaded = rs.load(path, {"v": type(value)()})["v"]
    assert type(loaded) is type(value)
    assert repr(loaded) == repr(value)


def test_nan_comes_back_as_nan(path):
    rs.save(path, {"v": math.nan})
    assert math.isnan(rs.load(path, {"v": 0.0})["v"])


def test_a_tree_of_everything_comes_back(path):
    tree = {
        "model": layer(),
        "nested": [(jnp.ones(1), None), [Point(1, jnp.zeros(2, int))], ()],
        "odd keys": {"a b": 1.5, 'quo"te': "text", "": True, "[0]": jnp.ones(2), "é": 2, "\n": 3},
        "numbers": {0: jnp.ones(1), -3: 2},
        "empty": {},
        "none": None,
    }
    rs.save(path, tree)
    assert rs.equal(rs.load(path, blank(tree)), tree)


@pytest.mark.parametrize(
    "leaf", [jnp.arange(3.0), 5, "text", KEY], ids=["array", "int", "text", "key"]
)
def test_a_single_leaf_is_a_tree(path, leaf):
    rs.save(path, leaf)
    assert rs.equal(rs.load(path, leaf), leaf)


def test_numpy_arrays_come_back_as_such_in_64_bits_too(path):
    tree = {"a": np.array([1e300, 2.0]), "s": np.float64(1e-300), "i": np.int64(2**40)}
    rs.save(path, tree)
    loaded = rs.load(path, {"a": np.zeros(2), "s": np.float64(0), "i": np.int64(0)})
    for name, value in tree.items():
        assert type(loaded[name]) is type(value)
        assert loaded[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded[name], value)
    loaded["a"][0] = 0  # its own, and writable
    assert rs.load(path, {"a": np.zeros(2), "s": np.float64(0), "i": np.int64(0)})["a"][0] == 1e300


def test_where_jax_would_narrow_an_array_it_is_a_difference(path):
    rs.save(path, {"a": np.ones(2)})
    like = {"a": jax.ShapeDtypeStruct((2,), np.float64)}
    with pytest.raises(StructureError) as caught:
        rs.load(path, like)
    assert "jax_enable_x64" in caught.value.details[0]
    with jax.enable_x64(True):
        assert rs.load(path, like)["a"].dtype == np.float64


def test_arrays_may_be_described_in_place_of_built(path):
    tree = {"layer": layer(), "n": 3}
    rs.save(path, tree)
    like = jax.eval_shape(lambda: {"layer": layer(0.0, 2), "n": 1})
    like["n"] = 1
    assert rs.equal(rs.load(path, like), tree)


def test_the_state_of_an_optimiser_comes_back_and_goes_on(path):
    model = layer()
    opt_state = rs.setup(rs.Adam(0.1), model)
    grads = rs.gradient(lambda m: (m.weight**3).sum(), model)
    opt_state, model = rs.update(opt_state, model, grads)
    rs.save(path, {"model": model, "opt_state": opt_state})
    like = {"model": layer(0.0, 5), "opt_state": rs.setup(rs.Adam(0.5), layer())}
    loaded = rs.load(path, like)
    assert rs.equal(loaded, {"model": model, "opt_state": opt_state})
    again = rs.update(loaded["opt_state"], loaded["model"], grads)
    assert rs.equal(again, rs.update(opt_state, model, grads))


def test_a_shared_layer_is_one_entry_and_stays_shared(path):
    def build(seed):
        tied = share(layer(float(seed), seed))
        return Pair(tied, Pair(layer(9.0), tied))

    model = build(3)
    rs.save(path, model)
    names = list(rs.load_arrays(path))
    assert sum("weight" in name for name in names) == 2
    loaded = rs.load(path, build(4))
    assert rs.equal(loaded, model)
    moved = rs.at(loaded, "first.layer.weight").set(jnp.ones((2, 3)))
    assert len(rs.trainables(moved)) == 2


def test_weak_numbers_stay_weak_so_that_loading_compiles_nothing(path):
    def loss(weight, x):
        return ((x * weight) ** 2).sum()

    weight, batch = jnp.arange(4.0), (np.ones((3, 4), np.float32),)
    opt_state = rs.setup(rs.Adam(0.125), weight)
    result = rs.trainstep(loss, weight, batch, opt_state)
    rs.save(path, {"m": result.model, "s": result.opt_state})
    like = {"m": result.model, "s": result.opt_state}
    loaded = rs.load(path, like)
    weak = [leaf.weak_type for leaf in jax.tree.leaves(like)]
    assert any(weak)
    assert [leaf.weak_type for leaf in jax.tree.leaves(loaded)] == weak
    with compilations() as compiled:
        rs.trainstep(loss, loaded["m"], batch, loaded["s"])
    assert not compiled


def test_a_weak_array_of_any_shape_and_dtype_is_loaded(path):
    tree = {"a": jnp.full(3, 0.5), "b": jnp.asarray(3), "c": jnp.asarray(1j)}
    assert all(leaf.weak_type for leaf in tree.values())
    rs.save(path, tree)
    assert rs.equal(rs.load(path, tree), tree)


@pytest.mark.parametrize("padding", range(8))  # one of them puts the array on 64 bytes
def test_what_is_loaded_has_memory_of_its_own(path, padding):
    tree = {"a": jnp.arange(1024.0), "n": np.arange(1024), "k": jax.random.split(KEY, 512)}
    rs.save(path, tree, {"padding": "x" * 8 * padding})
    loaded = rs.load(path, blank(tree))
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert rs.equal(loaded, tree)


def test_saving_leaves_the_tree_and_loading_leaves_what_it_was_given(path):
    tree, like = {"a": layer(), "b": [1, None]}, {"a": layer(2.0, 9), "b": [5, None]}
    before = jax.tree.map(lambda leaf: leaf, (tree, like))
    rs.save(path, tree)
    rs.load(path, like)
    assert rs.equal((tree, like), before)


def test_metadata_comes_back_without_rosins_own(path):
    rs.save(path, jnp.ones(2), metadata={"author": "ada", "note": "{}"})
    assert rs.load_metadata(path) == {"author": "ada", "note": "{}"}
    assert module.load_with_metadata(path, jnp.ones(2))[1] == {"author": "ada", "note": "{}"}


def test_the_raw_arrays_are_there_by_path(path):
    rs.save(path, {"m": layer(), "n": 1})
    arrays = rs.load_arrays(path)
    assert set(arrays) == {"m.weight", "m.mean", "m.key"}
    assert arrays["m.key"].dtype == np.uint32
    assert not rs.load_arrays(path, mmap=False)["m.mean"].flags.writeable


# --- what cannot be saved -------------------------------------------------------------


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "leaf",
    [
        jnp.tanh,
        object(),
        1j,
        Colour.RED,
        b"bytes",
        10**5000,
        jax.ShapeDtypeStruct((2,), "float32"),
        jax.ShapeDtypeStruct((), KEY.dtype),
        Layer,
    ],
    ids=[
        "function",
        "object",
        "complex",
        "enum",
        "bytes",
        "endless",
        "shape",
        "key shape",
        "class",
    ],
)
def test_what_would_not_come_back_as_it_is_cannot_be_saved(path, leaf):
    with pytest.raises(StructureError) as caught:
        rs.save(path, {"fine": 1, "odd": leaf})
    assert "odd is none of them" in caught.value.expected
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["int4", "float8_e4m3b11fnuz"])
def test_a_dtype_without_a_place_in_the_format_is_refused(path, dtype):
    with pytest.raises(DtypeError):
        rs.save(path, {"a": jnp.zeros(2, dtype)})


@pytest.mark.parametrize("metadata", [{NAME: "x"}, [("a", "b")], "text", {"a": 1}, {1: "a"}])
def test_metadata_that_is_no_text_or_takes_rosins_name_is_refused(path, metadata):
    with pytest.raises(StructureError):
        rs.save(path, jnp.ones(1), metadata=metadata)
    assert not path.exists()


def test_a_shared_layer_without_a_module_around_it_is_refused(path):
    tied = share(layer())
    for call in (rs.save, rs.load):
        with pytest.raises(StructureError):
            call(path, [tied, tied])


def test_two_leaves_of_one_path_are_refused(path):
    class Node:
        """A node whose children do not say which is which."""

    def children(_):
        return [(jax.tree_util.GetAttrKey("x"), 1.0), (jax.tree_util.GetAttrKey("x"), 2.0)], None

    jax.tree_util.register_pytree_with_keys(Node, children, lambda *_: Node())
    with pytest.raises(StructureError, match="2 leaves at 1 paths"):
        rs.save(path, Node())


# --- what is compared -----------------------------------------------------------------


def test_every_difference_is_listed_at_once_and_nothing_is_read(path, monkeypatch):
    saved = {
        "gone": jnp.ones(1),
        "shape": jnp.ones(2),
        "dtype": jnp.ones(2, int),
        "kind": jax.random.key(0, impl="rbg"),
        "no key": KEY,
        "number": 3,
        "text": "a",
        "was number": 1.0,
        "float": 1,
    }
    like = {
        "new": jnp.ones((3, 1)),
        "shape": jnp.ones(3),
        "dtype": jnp.ones(2),
        "kind": KEY,
        "no key": jnp.ones(2, np.uint32),
        "number": jnp.ones(()),
        "text": 5,
        "was number": KEY,
        "float": 1.0,
    }
    rs.save(path, saved)
    before = jax.tree.map(lambda leaf: leaf, like)
    monkeypatch.setattr(module, "read_all", None)
    with pytest.raises(StructureError) as caught:
        rs.load(path, like)
    assert set(caught.value.details) == {
        "missing: new float32[3,1]",
        "unexpected: gone float32[1]",
        "different: shape is float32[2] in the file, float32[3] in the tree",
        "different: dtype is int32[2] in the file, float32[2] in the tree",
        "different: kind is key<rbg>[] in the file, key<fry>[] in the tree",
        'different: ["no key"] is key<fry>[] in the file, uint32[2] in the tree',
        "different: number is int in the file, float32[] in the tree",
        "different: text is str in the file, int in the tree",
        'different: ["was number"] is float in the file, key<fry>[] in the tree',
        "different: float is int in the file, float in the tree",
    }
    assert caught.value.got == "10 that differ"
    assert caught.value.subject == "'a.safetensors'"
    assert rs.equal(like, before)


def test_of_many_differences_the_first_are_listed_and_the_rest_counted(path):
    rs.save(path, [jnp.ones(1)] * 25)
    with pytest.raises(StructureError) as caught:
        rs.load(path, [])
    assert len(caught.value.details) == 21
    assert caught.value.details[-1] == "and 5 more"


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        (
            "threefry2x32",
            np.zeros(3, np.uint32),
            "uint32[3] as a random key of kind 'threefry2x32'",
        ),
        ("threefry2x32", np.zeros((), np.uint32), "uint32[] as a random key"),
        ("threefry2x32", np.zeros(2, np.int32), "int32[2] as a random key"),
        ("rbg", np.zeros(2, np.uint32), "uint32[2] as a random key of kind 'rbg'"),
        ("os.system", np.zeros(2, np.uint32), "a random key of kind 'os.system'"),
        ("", np.zeros(2, np.uint32), "a random key of kind ''"),
    ],
)
def test_an_array_that_is_not_the_key_it_claims_to_be_is_a_difference(path, kind, data, found):
    write_tensors(path, {"k": data}, {NAME: encode(Notes({"k": kind}, {}))})
    with pytest.raises(StructureError) as caught:
        rs.load(path, {"k": KEY})
    assert found in caught.value.details[0]
    assert caught.value.details[0].endswith("key<fry>[] in the tree")


def test_the_number_of_keys_is_compared(path):
    rs.save(path, jax.random.split(KEY, 3))
    for like in (KEY, jax.random.split(KEY, 4), jax.ShapeDtypeStruct((3, 1), KEY.dtype)):
        with pytest.raises(StructureError, match=r"key<fry>\[3\] in the file"):
            rs.load(path, like)


# --- other programs -------------------------------------------------------------------


def test_a_file_of_another_program_is_loaded_where_its_names_fit(path):
    safetensors.numpy.save_file({"layers[0].weight": np.ones((2, 3), np.float32)}, path)
    like = {"layers": (Layer(jnp.zeros((2, 3)), None, None, None, 1),)}
    assert rs.load(path, like)["layers"][0].weight.sum() == 6
    assert rs.load_metadata(path) == {}


def test_another_program_reads_what_was_saved(path):
    tree = {"a": jnp.arange(3.0), "k": KEY, "b": jnp.ones(2, jnp.bfloat16), "n": 1}
    rs.save(path, tree, {"author": "ada"})
    arrays = safetensors.numpy.load_file(path)
    assert set(arrays) == {"a", "b", "k"}
    np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
    np.testing.assert_array_equal(arrays["k"], jax.random.key_data(KEY))
    assert arrays["b"].view(ml_dtypes.bfloat16).tolist() == [1, 1]
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata()["author"] == "ada"


# --- hostile and damaged files --------------------------------------------------------

LIKE = {"a": jnp.zeros(100), "n": 1}


@pytest.mark.parametrize("keep", [0, 7, 8, 30, -401, -400, -1])
def test_a_file_cut_short_is_refused(path, keep):
    rs.save(path, {"a": jnp.ones(100), "n": 2})
    path.write_bytes(path.read_bytes()[:keep])
    for read in (
        lambda: rs.load(path, LIKE),
        lambda: rs.load_arrays(path),
        lambda: rs.load_metadata(path),
    ):
        with pytest.raises(FileError):
            read()


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("max_file_bytes", 100),
        ("max_header_bytes", 20),
        ("max_tensors", 1),
        ("max_metadata_bytes", 10),
        ("max_axes", 1),
        ("max_name_characters", 1),
    ],
)
def test_bounds_hold_before_anything_is_read(path, bound, value, monkeypatch):
    rs.save(path, {"long": jnp.ones((100, 2)), "b": jnp.ones(1), "n": 1})
    monkeypatch.setattr(module, "read_all", None)
    limits = dataclasses.replace(rs.Limits(), **{bound: value})
    like = {"long": jnp.ones((100, 2)), "b": jnp.ones(1), "n": 1}
    for read in (
        lambda: rs.load(path, like, limits=limits),
        lambda: rs.load_arrays(path, limits=limits),
        lambda: rs.load_metadata(path, limits=limits),
    ):
        with pytest.raises(LimitError, match=bound):
            read()


def test_the_number_of_noted_values_is_bounded(path):
    write_tensors(path, {}, {NAME: encode(Notes({}, {str(i): i for i in range(50)}))})
    limits = dataclasses.replace(rs.Limits(), max_tensors=49)
    with pytest.raises(LimitError, match="max_tensors"):
        rs.load(path, {}, limits=limits)


@pytest.mark.parametrize(
    "tree", [{"k": KEY}, {"a": 1}, {str(i): jax.random.key(i) for i in range(9)}]
)
def test_as_many_entries_as_the_bound_says_are_accepted(path, tree):
    rs.save(path, tree)
    assert rs.equal(rs.load(path, tree, limits=rs.Limits(max_tensors=len(tree))), tree)


HOSTILE = {
    "no JSON": "import os",
    "nothing": "",
    "cut short": '{"version":1,"keys":{},"values":{',
    "an unclosed text": '{"version":1,"keys":{},"values":{"a',
    "a list": "[]",
    "a number": "1",
    "no keys": '{"version":1,"values":{}}',
    "keys twice": '{"version":1,"keys":{},"keys":[]}',
    "keys in a list": '{"version":1,"keys":[],"values":{}}',
    "another version": '{"version":3,"keys":{},"values":{}}',
    "a version below the first": '{"version":0,"keys":{},"values":{}}',
    "a version that needs a text": '{"version": 3, "needs": "<script>", "keys":{},"values":{}}',
    "a part too many": '{"version":2,"needs":"0.1.0","keys":{},"values":{},"run":1}',
    "version 2 without needs": '{"version":2,"keys":{},"values":{}}',
    "an endless version": '{"version":' + "9" * 5000 + ',"keys":{},"values":{}}',
    "a boolean version": '{"version":true,"keys":{},"values":{}}',
    "a float version": '{"version":1.0,"keys":{},"values":{}}',
    "no version": '{"keys":{},"values":{}}',
    "a kind that is no text": '{"version":1,"keys":{"a":1},"values":{}}',
    "the kind of no array": '{"version":1,"keys":{"b":"rbg"},"values":{}}',
    "a value that is null": '{"version":1,"keys":{},"values":{"n":null}}',
    "a value that is an array too": '{"version":1,"keys":{},"values":{"a":1}}',
    "a value that is a list": '{"version":1,"keys":{},"values":{"n":[1]}}',
    "a value that is an object": '{"version":1,"keys":{},"values":{"n":{}}}',
    "an endless number": '{"version":1,"keys":{},"values":{"n":' + "1" * 5000 + "}}",
    "deep lists": '{"version":1,"keys":{},"values":{"n":' + "[" * 100_000 + "]" * 100_000 + "}}",
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a million lists": "[" + "[]," * 1_000_000 + "[]]",
    "brackets as they are to be": '{"version":{1,"keys":}{,"values":}}',
    "more behind": '{"version":1,"keys":{},"values":{}} x',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_notes_are_refused_as_a_file_and_nothing_else(path, case, impatient):
    write_tensors(path, {"a": np.zeros(100, np.float32)}, {NAME: HOSTILE[case]})
    with pytest.raises(FileError) as caught:
        rs.load(path, {"a": jnp.zeros(100)})
    assert not isinstance(caught.value, LimitError)
    assert caught.value.where == "metadata 'rosin'"
    assert len(str(caught.value)) < 600
    assert "os.system" not in str(caught.value)
    assert rs.load_arrays(path)["a"].shape == (100,)


def test_notes_with_more_quotes_than_can_be_matched_are_read_in_linear_time(path, impatient):
    write_tensors(path, {}, {NAME: '"' + '\\"' * 2_000_000})
    with pytest.raises(FileError):
        rs.load(path, {})


def test_notes_of_a_shape_that_fits_may_come_in_any_order(path):
    text = '{ "values": {"n": 2}, "keys": {}, "version": 1 }'
    write_tensors(path, {"a": np.zeros(100, np.float32)}, {NAME: text})
    assert rs.load(path, LIKE)["n"] == 2


VERSION_1 = (
    b'{"__metadata__":{"author":"ada","rosin":"{\\"version\\": 1, \\"keys\\": {\\"k\\": '
    b'\\"threefry2x32\\"}, \\"values\\": {\\"n\\": 7}}"},'
    b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    b'"k":{"dtype":"U32","shape":[2],"data_offsets":[8,16]}}'
)


def test_a_file_of_version_1_still_loads(path):
    data = np.array([1.5, -2], "<f4").tobytes() + np.array([0, 7], "<u4").tobytes()
    path.write_bytes(len(VERSION_1).to_bytes(8, "little") + VERSION_1 + data)
    got = rs.load(path, {"a": jnp.zeros(2), "k": jax.random.key(0), "n": 0})
    assert rs.equal(got, {"a": jnp.array([1.5, -2]), "k": KEY, "n": 7})
    assert rs.load_metadata(path) == {"author": "ada"}


def test_every_earlier_version_has_a_way_to_the_present_one():
    assert set(notes.MIGRATIONS) == set(range(1, notes.VERSION))


def test_a_file_of_a_later_version_says_which_rosin_reads_it(path):
    text = '{"version": 9, "needs": "2.10.3", "new": [{"form": [1, 2]}]}'
    write_tensors(path, {"a": np.zeros(2, np.float32)}, {NAME: text})
    with pytest.raises(FileError) as caught:
        rs.load(path, {"a": jnp.zeros(2)})
    assert caught.value.got == "version 9, which Rosin 2.10.3 reads"
    assert caught.value.fix.startswith("install Rosin 2.10.3 or newer")
    assert rs.load_arrays(path)["a"].shape == (2,)


def test_a_saved_file_is_what_reading_tensors_says(path):
    rs.save(path, {"a": jnp.ones(2), "k": KEY, "n": 1})
    file = read_tensors(path)
    assert (
        file.metadata[NAME]
        == '{"version": 2, "needs": "0.1.0", "keys": {"k": "threefry2x32"}, "values": {"n": 1}}'
    )


def test_a_class_in_place_of_a_model_is_refused(path):
    with pytest.raises(StructureError) as caught:
        rs.load(path, like=rs.Chain)
    assert (caught.value.got, caught.value.fix) == (
        "class Chain",
        "build it: rs.load(path, like=Chain(...))",
    )


def test_a_file_that_is_not_there_is_an_error_of_the_system(path):
    with pytest.raises(FileNotFoundError):
        rs.load(path, {})
