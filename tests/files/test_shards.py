# SPDX-License-Identifier: Apache-2.0
"""Models over several files: what comes back, what never mixes, what is refused."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import rosin as rs
from rosin.errors import FileError, LimitError, RangeError, StructureError
from rosin.files.index import SAVE, encode_index
from rosin.files.opened import OpenFile
from rosin.files.sharded import write_shards
from rosin.files.tensors import read_tensors, write_tensors

KEY = jax.random.key(1)
MODEL = {"a": jnp.arange(6.0), "b": [jnp.ones((2, 3)), KEY], "c": jnp.ones(3, bool), "n": 5}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors.index.json"


def files(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def shards(count, head="model"):
    return [f"{head}-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]


def edited(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# --- what comes back ------------------------------------------------------------------


@pytest.mark.parametrize(("most", "count"), [(1, 4), (24, 3), (48, 2), (10**9, 1), (None, 1)])
def test_a_model_over_any_number_of_files_comes_back(path, most, count):
    rs.save(path, MODEL, {"author": "ada"}, max_shard_bytes=most)
    assert files(path) == [*shards(count), path.name]
    assert rs.equal(rs.load(path, MODEL | {"n": 0}), MODEL)
    assert rs.load_metadata(path) == {"author": "ada"}
    assert set(rs.load_arrays(path)) == {"a", "b[0]", "b[1]", "c"}


def test_a_file_is_filled_in_order_up_to_the_bound(path):
    sizes = {"a": 4, "b": 4, "c": 9, "d": 1}
    arrays = {name: np.zeros(size, np.uint8) for name, size in sizes.items()}
    write_shards(path, arrays, max_shard_bytes=8)
    found = [list(read_tensors(path.parent / name).arrays) for name in shards(3)]
    assert found == [["a", "b"], ["c"], ["d"]]


def test_the_layout_is_that_of_the_hugging_face_hub(path):
    write_shards(path, {"a": np.ones(2), "b": np.ones(3)}, {"format": "pt"}, max_shard_bytes=1)
    content = json.loads(path.read_text())
    assert content["weight_map"] == dict(zip("ab", shards(2), strict=True))
    assert content["metadata"]["total_size"] == 40
    for name, shard in content["weight_map"].items():
        assert list(safetensors.numpy.load_file(path.parent / shard)) == [name]
        with safetensors.safe_open(path.parent / shard, "numpy") as file:
            assert file.metadata()["format"] == "pt"


def test_a_model_of_the_hub_is_read(path):
    for shard, arrays in zip(shards(2), ({"a": np.ones(2)}, {"b": np.ones(3)}), strict=True):
        safetensors.numpy.save_file(arrays, path.parent / shard)
    weight_map = dict(zip("ab", shards(2), strict=True))
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert {n: a.shape for n, a in rs.load_arrays(path).items()} == {"a": (2,), "b": (3,)}


def test_numbers_alone_need_no_file_beside_the_index(path):
    rs.save(path, {"n": 3})
    assert files(path) == [path.name]
    assert rs.load(path, {"n": 0}) == {"n": 3}


def test_the_same_arrays_give_the_same_files(tmp_path):
    contents = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "model.safetensors.index.json"
        rs.save(path, MODEL, max_shard_bytes=24)
        contents.append({entry.name: entry.read_bytes() for entry in path.parent.iterdir()})
    assert contents[0] == contents[1]


def test_only_files_with_wanted_arrays_are_read(path, monkeypatch):
    rs.save(path, MODEL, max_shard_bytes=1)
    opened = []
    read = OpenFile.read
    monkeypatch.setattr(OpenFile, "read", lambda s, n: opened.append(n) or read(s, n))
    rs.load(path, jnp.zeros(6), at="a")
    rs.load_arrays(path, "b[0]", mmap=False)
    assert opened == ["a", "b[0]"]


def test_no_descriptor_stays_open(path, next_descriptor):
    rs.save(path, MODEL, max_shard_bytes=1)
    before = next_descriptor()
    rs.load(path, MODEL)
    rs.load_arrays(path)
    (path.parent / shards(4)[2]).write_bytes(b"")
    with pytest.raises(FileError):
        rs.load(path, MODEL)
    assert next_descriptor() == before


# --- saving again -----------------------------------------------------------------------


def test_a_new_save_uses_new_names_and_clears_the_old_ones(path):
    for seed, head in ((1.0, "model"), (2.0, "model.2"), (3.0, "model")):
        rs.save(path, {"a": jnp.full(2, seed), "b": jnp.full(2, seed)}, max_shard_bytes=8)
        assert files(path) == sorted([*shards(2, head), path.name])
        assert rs.load_arrays(path)["b"][0] == seed


@pytest.mark.parametrize("broken", range(1, 4))
def test_a_save_that_fails_leaves_the_old_model_whole(path, monkeypatch, broken):
    rs.save(path, MODEL, max_shard_bytes=24)
    before = files(path)
    syncs = []
    sync = os.fsync

    def fail(descriptor):
        syncs.append(descriptor)
        if len(syncs) == broken:
            raise OSError(28, "full")
        return sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        rs.save(path, jax.tree.map(lambda leaf: leaf, {"a": jnp.zeros(9)}), max_shard_bytes=1)
    monkeypatch.setattr(os, "fsync", sync)
    assert set(before) <= set(files(path))
    assert not [name for name in files(path) if name.endswith(".tmp")]
    assert rs.equal(rs.load(path, MODEL), MODEL)


def test_files_that_another_program_named_are_never_deleted(path):
    other = path.parent / "precious.safetensors"
    safetensors.numpy.save_file({"a": np.ones(2)}, other)
    path.write_bytes(encode_index({other.name: ["a"]}, {}, 16))
    rs.save(path, MODEL)
    assert other.exists()
    assert rs.equal(rs.load(path, MODEL), MODEL)


def test_new_files_that_take_the_names_of_lost_ones_are_kept(path):
    rs.save(path, {"a": jnp.ones(3)})
    (path.parent / shards(1)[0]).unlink()
    rs.save(path, {"a": jnp.zeros(3)})
    assert files(path) == [*shards(1), path.name]


def test_something_else_at_the_path_is_replaced(path):
    path.write_text("not an index")
    rs.save(path, MODEL)
    assert rs.equal(rs.load(path, MODEL), MODEL)


def test_views_of_the_old_model_outlive_its_files(path):
    rs.save(path, {"a": jnp.ones(3)})
    old = rs.load_arrays(path)["a"]
    rs.save(path, {"a": jnp.zeros(3)})
    assert old.tolist() == [1, 1, 1]


# --- what cannot be written ----------------------------------------------------------------


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "5GB"])
def test_a_bound_that_is_no_size_is_refused(path, most):
    with pytest.raises(RangeError):
        rs.save(path, MODEL, max_shard_bytes=most)
    assert files(path) == []


@pytest.mark.parametrize("name", ["model.safetensors", "model.index.json", "index.json"])
def test_a_bound_without_an_index_is_refused(tmp_path, name):
    with pytest.raises(StructureError) as caught:
        rs.save(tmp_path / name, MODEL, max_shard_bytes=10)
    assert ".safetensors.index.json" in caught.value.fix


@pytest.mark.parametrize("name", [".safetensors.index.json", ".x.safetensors.index.json"])
def test_an_index_whose_files_nobody_would_read_is_refused(tmp_path, name):
    with pytest.raises(StructureError):
        rs.save(tmp_path / name, MODEL)


@pytest.mark.parametrize("name", ["total_size", SAVE, "rosin"])
def test_metadata_that_takes_a_name_of_the_index_is_refused(path, name):
    with pytest.raises(StructureError):
        rs.save(path, MODEL, {name: "x"})
    assert files(path) == []


# --- what is refused -------------------------------------------------------------------------


def swap(path):
    first, second = (path.parent / name for name in shards(2))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def other_save(path):
    """Put one file of another save, of equal names, in place of ours."""
    apart = path.parent / "apart"
    apart.mkdir()
    rs.save(apart / path.name, {"a": jnp.zeros(2), "b": jnp.zeros(3)}, max_shard_bytes=8)
    shutil.copy(apart / shards(2)[1], path.parent)


def linked(path):
    shard = path.parent / shards(2)[0]
    shard.rename(path.parent / "elsewhere")
    shard.symlink_to(path.parent / "elsewhere")


def twice(path):
    """Hold one array in both files; the index can name one place only."""
    for name in shards(2):
        safetensors.numpy.save_file({"a": np.ones(2), "b": np.ones(3)}, path.parent / name)


def without_save(path):
    edited(path, lambda content: content["metadata"].pop(SAVE))


FAULTS = {
    "a file is missing": (lambda p: (p.parent / shards(2)[0]).unlink(), "no such file"),
    "a file is a folder": (
        lambda p: ((p.parent / shards(2)[0]).unlink(), (p.parent / shards(2)[0]).mkdir()),
        "a folder",
    ),
    "a file is a link": (linked, "symbolic link"),
    "a file is cut short": (lambda p: os.truncate(p.parent / shards(2)[1], 60), "byte"),
    "files are swapped": (swap, "weight_map finds there"),
    "a file is of another save": (other_save, "of another"),
    "an index forgets its save": (without_save, "of another"),
    "an array in two files": (twice, "b too"),
    "an array that is nowhere": (
        lambda p: edited(p, lambda c: c["weight_map"].update(z=shards(2)[0])),
        "no z",
    ),
    "an array that is not listed": (
        lambda p: edited(p, lambda c: c["weight_map"].pop("a")) or None,
        None,
    ),
    "a size that does not add up": (
        lambda p: edited(p, lambda c: c["metadata"].update(total_size=21)),
        "20 bytes",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_files_and_index_that_disagree_are_refused(path, case, monkeypatch):
    spoil, words = FAULTS[case]
    rs.save(path, {"a": jnp.ones(2), "b": jnp.ones(3)}, max_shard_bytes=8)
    spoil(path)
    monkeypatch.setattr(OpenFile, "view", None)
    with pytest.raises(FileError) as caught:
        rs.load_arrays(path)
    assert words is None or words in str(caught.value)


def test_bounds_hold_for_all_files_together(path):
    rs.save(path, {"a": jnp.ones(200), "b": jnp.ones(300)}, max_shard_bytes=8)
    size = max((path.parent / name).stat().st_size for name in files(path))
    for limits in (
        rs.Limits(max_tensors=1),
        rs.Limits(max_shards=1),
        rs.Limits(max_file_bytes=size),
        rs.Limits(max_index_bytes=9),
    ):
        with pytest.raises(LimitError):
            rs.load_arrays(path, limits=limits)


def test_an_index_that_links_to_itself_or_is_a_folder_is_no_index(path):
    path.mkdir()
    with pytest.raises(FileError):
        rs.load_arrays(path)


def test_a_file_of_an_index_is_a_file_of_its_own(path):
    rs.save(path, {"a": jnp.ones(2), "b": jnp.ones(3)}, max_shard_bytes=8)
    assert list(rs.load_arrays(path.parent / shards(2)[1])) == ["b"]
    write_tensors(path.parent / "x.safetensors", {"a": np.ones(1)})
    assert rs.equal(rs.load(path, {"a": jnp.zeros(2), "b": jnp.zeros(3)})["a"], jnp.ones(2))
