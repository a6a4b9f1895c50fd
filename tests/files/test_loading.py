# SPDX-License-Identifier: Apache-2.0
"""Loading what fits in part: a sub-tree, other dtypes, a list of what may differ."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from rosin.files.opened import OpenFile

KEY = jax.random.key(3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


@pytest.fixture
def reads(monkeypatch):
    """List the names of the arrays that are read."""
    names = []
    read = OpenFile.read

    def noting(self, name):
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(OpenFile, "read", noting)
    return names


def tree(fill=1.0):
    return {
        "encoder": {"weight": jnp.full((2, 3), fill), "key": KEY, "steps": 3},
        "head": {"weight": jnp.full((3, 4), fill), "bias": jnp.full(4, fill)},
    }


# --- a part of a file ---------------------------------------------------------------


def test_a_part_is_loaded_by_its_place_and_nothing_else_is_read(path, reads):
    rs.save(path, {"run": [tree(), tree(2.0)], "runner": jnp.ones(3)})
    got = rs.load(path, tree(0.0), at="run[1]")
    assert rs.equal(got, tree(2.0))
    assert reads
    assert all(name.startswith("run[1].") for name in reads)


def test_a_single_leaf_is_a_part(path):
    rs.save(path, {"a": {"x": jnp.arange(3.0)}, "n": 5})
    assert rs.load(path, 0, at="n") == 5
    assert rs.load(path, jnp.zeros(3), at="a.x").tolist() == [0, 1, 2]


@pytest.mark.parametrize("at", ["ru", "run[2]", "runn", "nothing"])
def test_a_part_that_is_not_there_is_refused(path, at):
    rs.save(path, {"run": [tree()]})
    with pytest.raises(StructureError, match="inside of at="):
        rs.load(path, tree(), at=at)


def test_a_misspelt_part_is_answered_with_the_nearest(path):
    rs.save(path, {"model": tree(), "opt_state": jnp.ones(1)})
    with pytest.raises(StructureError) as caught:
        rs.load(path, tree(), at="modle")
    assert caught.value.got == "a file of model, opt_state"
    assert "'model' is the nearest" in caught.value.fix


def test_loading_copies_only_what_the_tree_needs(path, reads):
    rs.save(path, tree())
    may = rs.Partial(unexpected=["head"])
    rs.load(path, {"encoder": tree()["encoder"]}, partial=may)
    assert sorted(reads) == ["encoder.key", "encoder.weight"]


# --- names of arrays ----------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    ("only", "count"),
    [("**", 4), ("encoder", 2), ("**.weight", 2), (("head.bias", "encoder.key"), 2), ("*.bias", 1)],
)
def test_arrays_are_chosen_by_glob(path, only, count, mmap):
    rs.save(path, tree())
    got = rs.load_arrays(path, only, mmap=mmap)
    assert len(got) == count
    assert not any(array.flags.writeable for array in got.values())


def test_arrays_of_other_libraries_are_chosen_too(path):
    from rosin.files.tensors import write_tensors

    write_tensors(path, {"layer1.0.weight": np.ones(1), "layer1.1.weight": np.ones(2)})
    assert list(rs.load_arrays(path, "layer1.0")) == ["layer1.0.weight"]
    assert len(rs.load_arrays(path, "layer1.*.weight")) == 2


def test_a_boolean_that_is_not_chosen_is_not_read(path, reads):
    rs.save(path, {"mask": jnp.ones(3, bool), "w": jnp.ones(3)})
    rs.load_arrays(path, "w", mmap=False)
    assert reads == ["w"]


@pytest.mark.parametrize("only", ["haed", ("head", "encodre")])
def test_a_glob_that_covers_nothing_is_refused(path, only):
    rs.save(path, tree())
    with pytest.raises(StructureError, match="covers none of 4"):
        rs.load_arrays(path, only)
    assert len(rs.load_arrays(path)) == 4


def test_an_empty_file_has_no_arrays(path):
    rs.save(path, {"n": 1})
    assert rs.load_arrays(path) == {}


# --- dtypes ---------------------------------------------------------------------------


def test_other_dtypes_are_refused_with_the_argument_that_converts(path):
    rs.save(path, {"w": jnp.ones(2, jnp.bfloat16)})
    with pytest.raises(StructureError) as caught:
        rs.load(path, {"w": jnp.zeros(2)})
    assert caught.value.details == (
        "different: w is bfloat16[2] in the file, float32[2] in the tree",
    )
    assert caught.value.fix.startswith("pass convert='exact'")


@pytest.mark.parametrize("convert", ["exact", "rounded"])
def test_what_loses_nothing_is_converted(path, convert):
    rs.save(path, {"w": jnp.asarray([0.5, 3], jnp.bfloat16), "n": np.array([7], np.int8)})
    got = rs.load(path, {"w": jnp.zeros(2), "n": np.zeros(1, int)}, convert=convert)
    assert got["w"].dtype == jnp.float32
    assert got["w"].tolist() == [0.5, 3]
    assert got["n"].dtype == np.int64


def test_what_would_be_rounded_needs_another_word(path):
    rs.save(path, {"w": jnp.asarray([1 + 2**-9, 3.0])})
    like = {"w": jnp.zeros(2, jnp.bfloat16)}
    with pytest.raises(StructureError) as caught:
        rs.load(path, like, convert="exact")
    assert caught.value.fix.startswith("pass convert='rounded'")
    got = rs.load(path, like, convert="rounded")["w"]
    assert got.dtype == jnp.bfloat16
    assert got.tolist() == [1, 3]


def test_values_that_overflow_are_refused_all_at_once(path):
    rs.save(path, {"a": jnp.asarray([1e30]), "b": jnp.asarray([1.0]), "c": np.array([2**40])})
    like = {"a": jnp.zeros(1, jnp.float16), "b": jnp.zeros(1, jnp.float16), "c": jnp.zeros(1, int)}
    with pytest.raises(StructureError) as caught:
        rs.load(path, like, convert="rounded")
    assert caught.value.details == (
        "different: a has values beyond the range of float16",
        "different: c has values beyond the range of int32",
    )


@pytest.mark.parametrize("convert", ["exact", "rounded"])
def test_conversion_changes_neither_kinds_nor_shapes_nor_keys(path, convert):
    rs.save(
        path, {"i": jnp.ones(2, int), "b": jnp.ones(2, bool), "s": jnp.ones(2), "k": KEY, "n": 1}
    )
    like = {
        "i": jnp.ones(2),
        "b": jnp.ones(2, int),
        "s": jnp.ones((2, 1)),
        "k": jax.random.key(0, impl="rbg"),
        "n": 1.0,
    }
    with pytest.raises(StructureError) as caught:
        rs.load(path, like, convert=convert)
    assert len(caught.value.details) == 5


def test_a_file_in_half_precision_trains_on_in_float32(path):
    model = rs.Dense(2, 3, key=KEY)
    rs.save(path, rs.f16(model))
    got = rs.load(path, model, convert="exact")
    np.testing.assert_array_equal(got.weight, np.asarray(model.weight, np.float16))


def test_numpy_leaves_are_converted_and_writable(path):
    rs.save(path, {"w": np.arange(4.0).reshape(2, 2), "s": np.float64(0.1)})
    like = {"w": np.zeros((2, 2), ml_dtypes.bfloat16), "s": np.float32(0)}
    got = rs.load(path, like, convert="rounded")
    assert got["w"].dtype == ml_dtypes.bfloat16
    assert got["w"].flags.writeable
    assert got["s"] == np.float32(0.1)


@pytest.mark.parametrize("convert", [True, "lossy", "float32", 0])
def test_an_unknown_conversion_is_refused(path, convert):
    rs.save(path, {})
    with pytest.raises(RangeError, match="'exact', 'rounded'"):
        rs.load(path, {}, convert=convert)


# --- partial --------------------------------------------------------------------------


def test_what_may_be_missing_stays_and_what_may_be_left_over_is_left(path):
    rs.save(path, {"encoder": tree()["encoder"], "decoder": {"weight": jnp.ones(1)}, "step": 3})
    like = tree(5.0)
    got = rs.load(path, like, partial=rs.Partial(missing=["head"], unexpected=["decoder", "step"]))
    assert rs.equal(got, {"encoder": tree()["encoder"], "head": like["head"]})
    assert got["head"]["bias"] is like["head"]["bias"]


def test_each_side_is_listed_by_itself(path):
    rs.save(path, {"encoder": tree()["encoder"], "extra": jnp.ones(1)})
    for partial, line in {
        rs.Partial: ("missing: head.weight float32[3,4]", 3),
        lambda: rs.Partial(missing=["**"]): ("unexpected: extra float32[1]", 1),
        lambda: rs.Partial(unexpected=["**"]): ("missing: head.weight float32[3,4]", 2),
        lambda: rs.Partial(missing=["head.w"]): ("missing: head.weight float32[3,4]", 3),
    }.items():
        with pytest.raises(StructureError) as caught:
            rs.load(path, tree(), partial=partial())
        assert line[0] in caught.value.details
        assert len(caught.value.details) == line[1]


def test_a_head_of_another_size_stays_when_both_lists_name_it(path):
    rs.save(path, tree(1.0))
    like = tree(5.0) | {"head": {"weight": jnp.full((3, 9), 5.0), "bias": jnp.full(9, 5.0)}}
    got = rs.load(path, like, partial=rs.Partial(missing=["head"], unexpected=["head"]))
    assert rs.equal(got, like | {"encoder": tree()["encoder"]})
    for one in ({"missing": ["head"]}, {"unexpected": ["head"]}):
        with pytest.raises(StructureError, match="different: head"):
            rs.load(path, like, partial=rs.Partial(**one))


def test_a_leaf_without_values_cannot_stay(path):
    rs.save(path, {"a": jnp.ones(1)})
    like = {"a": jnp.zeros(1), "b": jax.ShapeDtypeStruct((2,), np.float32)}
    with pytest.raises(StructureError, match="no values either"):
        rs.load(path, like, partial=rs.Partial(missing=["b"]))


def test_partial_says_nothing_of_shapes_or_dtypes(path):
    rs.save(path, {"a": jnp.ones(3), "b": jnp.ones(2)})
    partial = rs.Partial(missing=["b"], unexpected=["b"])
    with pytest.raises(StructureError, match="different: a"):
        rs.load(path, {"a": jnp.ones(2), "b": jnp.ones(2)}, partial=partial)


@pytest.mark.parametrize("bad", ["head", [1], ["a..b"], None, {"head"}])
def test_a_list_that_is_none_or_holds_no_globs_is_refused(bad):
    with pytest.raises(StructureError):
        rs.Partial(missing=bad)


def test_partial_is_a_class_of_its_own(path):
    rs.save(path, {})
    with pytest.raises(StructureError, match="class Partial"):
        rs.load(path, {}, partial=["head"])
