# SPDX-License-Identifier: Apache-2.0
"""Any readable file as safetensors: what is kept, in how much memory, what is refused."""

import pickle
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import FileError, StructureError, UnsafeFileError
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
