# SPDX-License-Identifier: Apache-2.0
"""What is compressed is read at any place, in memory or unpacked once more."""

import bz2
import gzip
import lzma
import pickle
import zlib

import numpy as np
import pytest

from rosin.files import read
from rosin.limits import Limits
from rosin.scan import unpacked
from rosin.scan.region import Context, MemoryRegion, Refused

FORMS = {
    "gzip": (lambda data: gzip.compress(data, 0), unpacked.gzip_pieces),
    "zlib": (lambda data: zlib.compress(data, 1), unpacked.zlib_pieces),
    "bzip2": (bz2.compress, unpacked.bz2_pieces),
    "xz": (lambda data: lzma.compress(data, preset=0), unpacked.xz_pieces),
}
DATA = np.random.default_rng(0).integers(0, 200, 6 << 20, np.uint8).tobytes()


def packed(form, data=DATA):
    compress, pieces = FORMS[form]
    region = MemoryRegion("a", compress(data), Context(Limits()))
    return unpacked.unpack(region, pieces, "b")


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(unpacked, "_MEMORY_BYTES", 0)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("form", FORMS)
def test_any_place_can_be_read(form):
    data = DATA if form == "gzip" else DATA[: 5 << 18]  # the others are slow
    region = packed(form, data)
    assert isinstance(region, unpacked.Unpacked)
    assert (region.size, region.name, region.depth) == (len(data), "a!b", 1)
    for begin, size in ((0, 10), (len(data) - 5, 10), (3, 1 << 20), (1 << 20, 5), (0, 3)):
        assert region.read(begin, size) == data[begin : begin + size]
    assert b"".join(region.chunks()) == data


@pytest.mark.usefixtures("no_memory")
def test_steps_back_are_bounded():
    region = packed("gzip")

    def back_and_forth():
        for _ in range(100):
            region.read(region.size - 1, 1)
            region.read(0, 1)

    with pytest.raises(Refused, match="more"):
        back_and_forth()


def test_small_data_stays_in_memory():
    assert isinstance(packed("gzip", b"abc" * 1000), MemoryRegion)


def test_large_compressed_files_are_read(no_memory, tmp_path):
    value = {"a": np.arange(500_000.0), "b": np.ones(3)}
    (tmp_path / "a.pkl.gz").write_bytes(gzip.compress(pickle.dumps(value), 0))
    arrays = read(tmp_path / "a.pkl.gz")
    for name, array in value.items():
        np.testing.assert_array_equal(arrays[name], array)
