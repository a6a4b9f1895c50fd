# SPDX-License-Identifier: Apache-2.0
"""Formats that are known by their first bytes and not read: the report can name them."""

from typing import Final

from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_MARKS: Final = {
    "hdf5": ((0, _HDF5), "an HDF5 file, such as Keras's weights"),
    "jld2": ((0, b"HDF5-based Julia Data Format"), "a file of JLD2"),
    "tflite": ((4, b"TFL3"), "a model of TensorFlow Lite"),
    "7z": ((0, b"7z\xbc\xaf\x27\x1c"), "an archive of 7-Zip"),
    "rar": ((0, b"Rar!\x1a\x07"), "an archive of RAR"),
    "zstd": ((0, b"\x28\xb5\x2f\xfd"), "a file compressed with Zstandard"),
    "lz4": ((0, b"\x04\x22\x4d\x18"), "a file compressed with LZ4"),
}
_SUFFIXES: Final = {
    "hdf5": frozenset({".h5", ".hdf5", ".he5", ".jld2", ".jld"}),
    "jld2": frozenset({".jld2"}),
    "tflite": frozenset({".tflite", ".lite"}),
    "7z": frozenset({".7z"}),
    "rar": frozenset({".rar"}),
    "zstd": frozenset({".zst", ".zstd"}),
    "lz4": frozenset({".lz4"}),
}
_MOST_BYTES: Final = 64


def _kind(head: bytes) -> str | None:
    for name, ((at, mark), _) in _MARKS.items():
        if head[at : at + len(mark)] == mark:
            return name
    return None


def _parse(region: Region) -> Parsed:
    kind = _kind(region.read(0, _MOST_BYTES))
    if kind is None:
        region.refuse("changed", 0, got="other bytes than a moment ago")
    region.report("format-unread", 0, got=_MARKS[kind][1])
    return Parsed(kind)


UNREAD: Final = Format("unread", lambda _, head: _kind(head) is not None, _parse, _SUFFIXES)
