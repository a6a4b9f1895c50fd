# SPDX-License-Identifier: Apache-2.0
"""Any readable file as safetensors: what is kept, in how much memory, what is refused."""

import pickle
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import FileError, RangeError, StructureError, UnsafeFileError
from rosin.files import read
from rosin.files.renaming import Drop, Rename, Transpose
from rosin.files.stored import convert
from rosin.files.tensors import read_tensors, write_tensors
from tests.stored import FOLDER

PT = FOLDER / "foreign" / "bilstm.pt"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "b.safetensors"


def test_a_file_of_pytorch_becomes_safetensors(target):
    convert(PT, target)
    got, wanted = rs.load_arrays(target), read(PT)
    assert got.keys() == wanted.keys()
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
    wanted = rs.load_arrays(PT.with_suffix(".safetensors"))
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)


def test_names_and_layouts_change_on_the_way(target):
    rules = [Drop("lstm.**"), Rename("fc.weight", "head.weight", Transpose("OI->IO"))]
    convert(PT, target, names=rules)
    got = rs.load_arrays(target)
    assert sorted(got) == ["embedding.weight", "fc.bias", "head.weight"]
    assert np.array_equal(got["head.weight"], read(PT)["fc.weight"].T)


def test_numbers_keys_and_texts_of_an_own_file_are_kept(tmp_path, target):
    tree = {"a": jnp.arange(3.0), "k": jax.random.key(1, impl="rbg"), "n": 5}
    rs.save(tmp_path / "a.safetensors", tree, {"author": "ada"})
    convert(tmp_path / "a.safetensors", target)
    assert target.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    convert(target, tmp_path / "c.safetensors", names=[Rename("{x}", "run.{x}")])
    assert rs.equal(rs.load(tmp_path / "c.safetensors", tree, at="run"), tree)
    assert rs.load_metadata(tmp_path / "c.safetensors") == {"author": "ada"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_floating_point_numbers_are_rounded_and_nothing_else(tmp_path, target, dtype):
    numbers = np.array([1 / 3, -2.0, 65504.0, np.inf, np.nan])
    tree = {"x": numbers, "n": np.arange(3), "c": np.ones(2, "c8"), "b": np.array([True])}
    write_tensors(tmp_path / "a.safetensors", tree)
    convert(tmp_path / "a.safetensors", target, dtype=dtype)
    got = rs.load_arrays(target)
    assert np.array_equal(got["x"], numbers.astype(np.dtype(dtype)), equal_nan=True)
    assert {name: got[name].dtype.name for name in tree} == {
        "x": dtype, "n": "int64", "c": "complex64", "b": "bool"
    }  # fmt: skip


def test_random_keys_are_not_rounded(tmp_path, target):
    rs.save(tmp_path / "a.safetensors", {"k": jax.random.key(1), "x": np.ones(2, "f4")})
    convert(tmp_path / "a.safetensors", target, dtype="float16")
    like = {"k": jax.random.key(0), "x": np.zeros(2, "f2")}
    assert jax.random.key_data(rs.load(target, like)["k"]).tolist() == [0, 1]


def test_a_number_that_would_become_infinite_is_refused(tmp_path, target):
    target.write_bytes(b"precious")
    write_tensors(tmp_path / "a.safetensors", {"fc.weight": np.array([1.0, 65536.0], "f4")})
    with pytest.raises(RangeError) as caught:
        convert(tmp_path / "a.safetensors", target, dtype="float16")
    error = caught.value
    assert error.expected == '"fc.weight" to hold values within the range of float16'
    assert error.got == "one beyond it in float32[2]"
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("dtype", ["int8", "f4", "", np.float32])
def test_a_dtype_of_another_name_is_refused(tmp_path, target, dtype):
    write_tensors(tmp_path / "a.safetensors", {"x": np.ones(2)})
    with pytest.raises(RangeError, match="dtype to be one of None, 'float16', 'bfloat16'"):
        convert(tmp_path / "a.safetensors", target, dtype=dtype)


def test_what_became_of_each_name_is_returned(target):
    rules = [Drop("lstm.**"), Rename("fc.weight", "head.weight")]
    done = convert(PT, target, names=rules)
    names = list(read(PT))
    assert set(done.written) == {"embedding.weight", "fc.bias", "head.weight"}
    assert done.dropped == tuple(name for name in names if name.startswith("lstm."))
    assert (done.used, done.left_over) == (("fc.weight",), ("embedding.weight", "fc.bias"))
    plain = convert(PT, target)
    assert (plain.written, plain.left_over) == (tuple(names), tuple(names))


def test_one_file_becomes_several_and_back(tmp_path, target):
    index = tmp_path / "m.safetensors.index.json"
    rs.save(target, {"a": jnp.ones(3), "n": 1}, {"author": "ada"})
    convert(target, index)
    convert(index, tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == target.read_bytes()


def test_arrays_are_copied_one_by_one(tmp_path, target):
    megabyte = 1_000_000
    write_tensors(tmp_path / "a.safetensors", {str(i): np.ones(megabyte, "i1") for i in range(8)})
    tracemalloc.start()
    try:
        convert(tmp_path / "a.safetensors", target, names=[Rename("{i}", "x.{i}")])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * megabyte


def test_rules_that_do_not_fit_leave_the_target_alone(tmp_path, target):
    target.write_bytes(b"before")
    with pytest.raises(StructureError):
        convert(PT, target, names=[Rename("fc.weight", "w", Transpose("abc->cba"))])
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


RUNS = b"\x80\x04cos\nsystem\n(S'true'\ntR."


def test_a_file_that_could_run_code_is_refused(tmp_path, target):
    (tmp_path / "a.pt").write_bytes(RUNS)
    for act in (
        lambda: convert(tmp_path / "a.pt", target),
        lambda: rs.load(tmp_path / "a.pt", {}),
    ):
        with pytest.raises(UnsafeFileError):
            act()
    assert not target.exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.index.json", "a.pt", "a"])
@pytest.mark.parametrize("data", [b"", b"{", b"\x80\x04", b"\x09" + b"\0" * 7 + b"{}"])
def test_what_is_no_model_is_a_fault_of_the_file(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError):
        rs.load(tmp_path / name, {})


def test_the_first_bytes_tell_an_own_file_by_any_name(tmp_path):
    rs.save(tmp_path / "run.ckpt", {"a": jnp.ones(2)})
    assert rs.load(tmp_path / "run.ckpt", {"a": jnp.zeros(2)})["a"].sum() == 2
    assert list(read_tensors(tmp_path / "run.ckpt").arrays) == ["a"]


def test_a_pickle_that_happens_to_look_like_an_own_file_is_read_as_a_pickle(tmp_path):
    data = pickle.dumps({"{x": np.ones(2)}, protocol=1)
    assert data[8:9] == b"{"
    (tmp_path / "a.pkl").write_bytes(data)
    assert rs.load(tmp_path / "a.pkl", {}, partial=rs.Partial(unexpected=["**"])) == {}


def test_who_asks_for_one_file_of_a_model_of_several_is_told_of_the_index(tmp_path):
    rs.save(tmp_path / "m.safetensors.index.json", {"a": jnp.ones(2)})
    with pytest.raises(FileNotFoundError) as caught:
        rs.load(tmp_path / "m.safetensors", {"a": jnp.zeros(2)})
    assert "'m.safetensors.index.json'" in caught.value.__notes__[0]
