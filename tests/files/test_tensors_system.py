# SPDX-License-Identifier: Apache-2.0
"""Reading and writing arrays against a failing disk, scarce memory and other writers."""

import os
import subprocess
import sys
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from rosin.errors import FileError, StructureError
from rosin.files import opened as module
from rosin.files.tensors import read_tensors, write_tensors


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


# --- whole or not at all -----------------------------------------------------------


class Claim:
    """Say one thing and convert to another, or to nothing at all."""

    dtype = np.dtype(np.float32)
    shape = (3,)

    def __init__(self, result):
        self.result = result

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Claim(RuntimeError("lost the device")), RuntimeError),
        (Claim(np.ones(4, np.float32)), StructureError),
        (Claim(np.ones(3, np.int32)), StructureError),
    ],
    ids=["raises", "other shape", "other dtype"],
)
def test_an_array_that_fails_in_the_middle_leaves_the_old_file(path, value, kind):
    write_tensors(path, {"a": np.zeros(1)})
    before = path.read_bytes()
    with pytest.raises(kind):
        write_tensors(path, {"a": np.ones(9000, np.float32), "b": value})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fails_leaves_the_old_file(path, monkeypatch):
    def fail(_):
        raise OSError(28, "full")

    write_tensors(path, {"a": np.zeros(1)})
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_tensors(path, {"a": np.ones(9)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_can_be_replaced_while_its_arrays_are_in_use(path):
    write_tensors(path, {"a": np.arange(3)})
    old = read_tensors(path).arrays["a"]
    write_tensors(path, {"a": old + 1})
    assert old.tolist() == [0, 1, 2]
    assert read_tensors(path).arrays["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_shrinks_while_it_is_read_is_refused(path, monkeypatch, mmap):
    write_tensors(path, {"a": np.zeros(9000)})
    decode = module.decode_header

    def cut(*arguments):
        os.truncate(path, 200)
        return decode(*arguments)

    monkeypatch.setattr(module, "decode_header", cut)
    with pytest.raises(FileError) as caught:
        read_tensors(path, mmap=mmap)
    assert "nothing else writes" in caught.value.fix


# --- memory ------------------------------------------------------------------------

MEGABYTE = 1_000_000


def peak_of(action):
    tracemalloc.start()
    try:
        result = action()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_writing_copies_at_most_one_array_at_a_time(path):
    arrays = {str(i): np.ones((2, MEGABYTE // 16), ">f8").T for i in range(8)}
    assert peak_of(lambda: write_tensors(path, arrays))[0] < 1.5 * MEGABYTE


def test_writing_contiguous_arrays_copies_nothing(path):
    array = np.ones(MEGABYTE)
    assert peak_of(lambda: write_tensors(path, {"a": array}))[0] < MEGABYTE


def test_mapped_arrays_take_no_memory_and_copied_ones_take_it_once(path):
    write_tensors(path, {"a": np.ones(MEGABYTE)})
    mapped, _ = peak_of(lambda: read_tensors(path))
    copied, _ = peak_of(lambda: read_tensors(path, mmap=False))
    assert mapped < MEGABYTE
    assert 8 * MEGABYTE <= copied < 9 * MEGABYTE


def test_only_mapped_arrays_see_later_writes(path):
    write_tensors(path, {"a": np.zeros(3, np.uint8)})
    mapped, copied = read_tensors(path), read_tensors(path, mmap=False)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x05")
    assert mapped.arrays["a"].tolist() == [0, 0, 5]
    assert copied.arrays["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mmap", [True, False])
def test_no_descriptor_stays_open(path, mmap, next_descriptor):
    write_tensors(path, {"a": np.zeros(3)})
    before = next_descriptor()
    for _ in range(3):
        read_tensors(path, mmap=mmap)
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(3):
        with pytest.raises(FileError):
            read_tensors(path, mmap=mmap)
    assert next_descriptor() == before


# --- reading needs no JAX ----------------------------------------------------------

PROBE = """
import sys
from rosin.files.tensors import read_tensors
{also}
total = read_tensors(sys.argv[1]).arrays["a"].sum()
sys.exit(42 if "jax" in sys.modules else int(total))
"""


@pytest.mark.parametrize(("also", "code"), [("", 6), ("import jax", 42)], ids=["probe", "twin"])
def test_reading_does_not_import_jax(path, also, code):
    write_tensors(path, {"a": jnp.arange(4, dtype=jnp.bfloat16)})
    places = os.pathsep.join(p for p in sys.path if p)
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(also=also), str(path)],
        env={**os.environ, "PYTHONPATH": places},
        check=False,
    )
    assert run.returncode == code
