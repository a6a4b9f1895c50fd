# SPDX-License-Identifier: Apache-2.0
"""Files of arrays while they are open: all names checked, each array read when asked for.

What `open_arrays` yields holds for one safetensors file as for the index of a model that
is spread over several (`rosin.files.shards`). `read` copies an array into memory of its
own; `view` maps the file, so that pages are read when they are touched.
"""

import contextlib
import io
import math
import mmap as memory_maps
import os
from collections.abc import Generator, Mapping
from typing import Protocol

import numpy as np

from rosin.errors import grouped
from rosin.files.header import DTYPES
from rosin.files.source import CUT_SHORT, KEEP_STILL, Source, fill, open_regular
from rosin.limits import Limits
from rosin.scan.safetensors import LENGTH_BYTES, Entry, decode_header, expect_length, place


class OpenArrays(Protocol):
    """Named arrays of one file or of several, as long as these are open."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What there is, by name: dtype and shape."""
        ...

    @property
    def metadata(self) -> dict[str, str]:
        """Free-form text that came with the arrays."""
        ...

    def read(self, name: str) -> np.ndarray:
        """Copy one array into memory of its own."""
        ...

    def view(self, name: str) -> np.ndarray:
        """View one array in the mapped file, read-only."""
        ...


class OpenFile:
    """One safetensors file whose header has been checked whole.

    Args:
        file: The file, just opened.
        size: Its bytes, as they were when it was opened.
        source: How messages name it, and the bounds.
    """

    def __init__(self, file: io.FileIO, size: int, source: Source) -> None:
        self._file, self._size, self._source = file, size, source
        header = _read_header(file, size, source)
        self._start = LENGTH_BYTES + len(header)
        entries, self.metadata = decode_header(header, size - self._start, source)
        self.entries = {entry.name: entry for entry in entries}
        self._mapping: memory_maps.mmap | None = None

    def read(self, name: str) -> np.ndarray:
        """Copy one array into memory of its own.

        Raises:
            FileError: The file was cut short meanwhile, or a `BOOL` is neither 0 nor 1.
        """
        entry = self.entries[name]
        array = np.empty(entry.shape, DTYPES[entry.code])
        if array.size:
            self._file.seek(self._start + entry.begin)
            fill(as_bytes(array), self._file, self._source)
        return self._checked(array, entry)

    def view(self, name: str) -> np.ndarray:
        """View one array in the mapped file; off its alignment it is copied.

        Raises:
            FileError: The file was cut short meanwhile, or a `BOOL` is neither 0 nor 1.
        """
        entry = self.entries[name]
        begin, count = self._start + entry.begin, math.prod(entry.shape)
        view = np.frombuffer(self._map(), DTYPES[entry.code], count, begin)
        array = (view if view.flags.aligned else view.copy()).reshape(entry.shape)
        array.flags.writeable = False
        return self._checked(array, entry)

    def _map(self) -> memory_maps.mmap:
        if self._mapping is None:
            try:
                self._mapping = memory_maps.mmap(
                    self._file.fileno(), self._size, access=memory_maps.ACCESS_READ
                )
            except ValueError:  # shorter than it was a moment ago
                whole = f"{grouped(self._size)} bytes"
                self._source.refuse("", expected=whole, got="fewer by now", fix=KEEP_STILL)
        return self._mapping

    def _checked(self, array: np.ndarray, entry: Entry) -> np.ndarray:
        """Refuse bytes other than 0 and 1, which NumPy and XLA would each take differently."""
        if entry.code == "BOOL" and array.size and (highest := array.view(np.uint8).max()) > 1:
            where = place(entry.name)
            self._source.refuse(where, expected="bytes 0 and 1 only", got=f"a byte {highest}")
        return array


@contextlib.contextmanager
def open_file(
    path: str | os.PathLike[str], limits: Limits, *, folder: int | None = None
) -> Generator[OpenFile]:
    """Open one safetensors file, after checking all of its header.

    Args:
        path: A regular file, or a symbolic link to one.
        limits: Bounds on what is accepted.
        folder: The descriptor of an open folder in which `path` is a plain name; then a
            link is refused.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened, for example because it is not there.
    """
    source = Source.of(path, limits)
    file, size = open_regular(path, source, folder=folder)
    with file:
        yield OpenFile(file, size, source)


def as_bytes(array: np.ndarray) -> memoryview:
    """View a non-empty array in C order as its bytes."""
    return array.reshape(-1).view(np.uint8).data


def _read_header(file: io.FileIO, size: int, source: Source) -> bytes:
    """Read the header once its length is known to fit the file and the bound."""
    if size < LENGTH_BYTES:
        source.refuse(
            "byte 0",
            expected=f"{LENGTH_BYTES} bytes that hold the length of the header",
            got=f"{size} bytes",
            fix=CUT_SHORT,
        )
    prefix = bytearray(LENGTH_BYTES)
    fill(memoryview(prefix), file, source)
    length = int.from_bytes(prefix, "little")
    expect_length(length, size, source)
    header = bytearray(length)
    fill(memoryview(header), file, source)
    return bytes(header)
