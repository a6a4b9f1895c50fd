# SPDX-License-Identifier: Apache-2.0
"""Reading a model that is spread over several files, as one set of named arrays.

Every file that the index names is opened, and its header checked, before the first array is
read; the files together must hold what the index says, no more and no less.
"""

import contextlib
import os
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

import numpy as np

from rosin.errors import grouped, shortened, shown
from rosin.files.index import SAVE, SHARD_SUFFIX, SUFFIX, TOTAL, Index, decode_index
from rosin.files.opened import OpenArrays, OpenFile, open_file
from rosin.files.source import Source, read_whole
from rosin.limits import Limits
from rosin.scan.safetensors import Entry

_GET_ALL = "get the index and all its files again, from one version of the model"
_MAX_NAMED = 3


@contextlib.contextmanager
def open_arrays(path: str | os.PathLike[str], limits: Limits) -> Generator[OpenArrays]:
    """Open a safetensors file, or all files of an index, after checking every header.

    Args:
        path: The file; a name that ends in `.safetensors.index.json` is an index.
        limits: Bounds on what is accepted, for all files together.

    Raises:
        FileError: A file breaks a rule of the format, or index and files disagree.
        LimitError: A bound is exceeded.
        OSError: The file cannot be opened.
    """
    if not is_index(path):
        with _hinting_at_index(path), open_file(path, limits) as file:
            yield file
        return
    source = Source.of(path, limits)
    with contextlib.ExitStack() as stack:
        folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, folder)
        index = decode_index(read_whole(path, source, "max_index_bytes"), source)
        shards = {name: _opened(stack, name, folder, source) for name in sorted(index.shards)}
        _expect_alike(index, shards, source)
        yield OpenShards(shards, index.metadata)


@contextlib.contextmanager
def _hinting_at_index(path: str | os.PathLike[str]) -> Generator[None]:
    """Name the index, where somebody asks for the one file that the model is not in."""
    try:
        yield
    except FileNotFoundError as error:
        index = Path(os.fspath(path).removesuffix(SHARD_SUFFIX) + SUFFIX)
        if index.exists():
            error.add_note(f"The model is spread over several files: pass {index.name!r}.")
        raise


def is_index(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is that of an index, by its name."""
    return os.fspath(path).endswith(SUFFIX)


def read_index(path: str | os.PathLike[str], limits: Limits) -> Index:
    """Read an index alone, without its files.

    Raises:
        FileError: It is no index.
        LimitError: It exceeds one of `limits`.
        OSError: It cannot be opened.
    """
    source = Source.of(path, limits)
    return decode_index(read_whole(path, source, "max_index_bytes"), source)


class OpenShards:
    """The arrays of several open files, under names that are all different.

    Args:
        shards: The files by name.
        metadata: That of the index.
    """

    def __init__(self, shards: Mapping[str, OpenFile], metadata: dict[str, str]) -> None:
        self.metadata = metadata
        self.entries: dict[str, Entry] = {}
        self._homes: dict[str, OpenFile] = {}
        for file in shards.values():
            self.entries.update(file.entries)
            self._homes.update(dict.fromkeys(file.entries, file))

    def read(self, name: str) -> np.ndarray:
        """Copy one array into memory of its own."""
        return self._homes[name].read(name)

    def view(self, name: str) -> np.ndarray:
        """View one array in the mapped file, read-only."""
        return self._homes[name].view(name)


def _opened(stack: contextlib.ExitStack, name: str, folder: int, source: Source) -> OpenFile:
    try:
        return stack.enter_context(open_file(name, source.limits, folder=folder))
    except FileNotFoundError:
        source.refuse(
            "weight_map",
            expected=f"the file {shown(name)} beside the index",
            got="no such file",
            fix=_GET_ALL,
        )


def _expect_alike(index: Index, shards: Mapping[str, OpenFile], source: Source) -> None:
    """Refuse files that do not hold what the index says, or come from different saves."""
    count = size = 0
    for name, file in shards.items():
        count += len(file.entries)
        size += sum(entry.end - entry.begin for entry in file.entries.values())
        source.expect_within("max_tensors", count, unit="tensors", where="all files")
        source.expect_within("max_file_bytes", size, unit="bytes", where="all files")
        missing = _some(index.shards[name] - file.entries.keys())
        if missing:
            _refuse(
                source, f"{shown(name)} to hold all that weight_map finds there", f"no {missing}"
            )
        extra = _some(file.entries.keys() - index.shards[name])
        if extra:
            _refuse(
                source, f"{shown(name)} to hold only what weight_map finds there", f"{extra} too"
            )
        if file.metadata.get(SAVE) != index.metadata.get(SAVE):
            _refuse(source, "index and files of one save", f"{shown(name)} of another")
    if index.total_size not in (None, size):
        _refuse(
            source,
            f"arrays of {grouped(index.total_size)} bytes together, as {TOTAL} says",
            f"{grouped(size)} bytes",
        )


def _some(names: Iterable[str]) -> str:
    """Name the first few arrays, as a message can hold them."""
    ordered = sorted(names)
    more = ["…"] * (len(ordered) > _MAX_NAMED)
    return ", ".join([shortened(name) for name in ordered[:_MAX_NAMED]] + more)


def _refuse(source: Source, expected: str, got: str) -> None:
    source.refuse("index", expected=expected, got=got, fix=_GET_ALL)
