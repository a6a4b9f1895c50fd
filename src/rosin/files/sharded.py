# SPDX-License-Identifier: Apache-2.0
"""Writing a model over several files and an index, so that its path is never half new.

No file of an earlier save is written over: the new files get names that are free, the index
is replaced last, and only then are the files of the earlier save deleted. Whoever reads the
index sees the old model or the new one.
"""

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy.typing as npt

from rosin.errors import FileError, RangeError, StructureError, grouped, shown
from rosin.files.atomic import replace_file
from rosin.files.header import encode_header
from rosin.files.index import SAVE, SHARD_SUFFIX, SUFFIX, TOTAL, encode_index, is_file_name
from rosin.files.shards import read_index
from rosin.files.tensors import (
    Layout,
    expect_metadata,
    expect_readable,
    lay_out,
    refuse_to_write,
    write_array,
)
from rosin.limits import Limits
from rosin.scan.safetensors import LENGTH_BYTES, Entry

DEFAULT_SHARD_BYTES = 5_000_000_000  # as the Hugging Face hub has it
_DEFAULT = Limits()
_SAVE_TEXT = hashlib.sha256().hexdigest()  # of the length that the true one will have


class _Shard(NamedTuple):
    """One file to be written: its name, and what goes into it."""

    name: str
    layout: list[Layout]


def write_shards(
    path: str | os.PathLike[str],
    tensors: Mapping[str, npt.ArrayLike],
    metadata: Mapping[str, str] | None = None,
    *,
    index_metadata: Mapping[str, str] | None = None,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> None:
    """Write named arrays over several safetensors files and an index, whole or not at all.

    The arrays go into the files in their order. The same arrays, in a folder without an
    earlier save, give the same files, byte for byte. A file carries the digest of all
    arrays, as the index does, so that files of different saves are never taken together.

    Args:
        path: The index to create or to replace; ends in `.safetensors.index.json`. The
            files stand beside it: `model-00001-of-00003.safetensors`.
        tensors: NumPy or JAX arrays, or what `numpy.asarray` takes, by name.
        metadata: Free-form text; it goes into the index and into each file.
        index_metadata: Text for the index alone.
        max_shard_bytes: The arrays of one file have at most so many bytes together; a
            larger array has a file of its own. At least 1.

    Raises:
        DtypeError: The format has no place for the dtype of an array.
        StructureError: A name or a piece of metadata is not a printable text, or the path
            is not that of an index.
        ShapeError: An array has more axes than a reader accepts.
        RangeError: There is more to name than a reader accepts, or `max_shard_bytes` is
            not a whole number of at least 1.
        OSError: The system cannot write a file; what stood there before is untouched.
    """
    from rosin.core.validation import expect_at_least  # needs JAX, which reading does not

    expect_at_least(1, subject="write_shards", max_shard_bytes=max_shard_bytes)
    target = Path(path)
    stem = _stem(target)
    expect_metadata(metadata)
    expect_metadata(index_metadata)
    given, noted = dict(metadata or {}), dict(index_metadata or {})
    _expect_free_names({**given, **noted})
    arrays, layout = lay_out(tensors)
    groups = _groups(layout, max_shard_bytes)
    if len(groups) > _DEFAULT.max_shards:
        refuse_to_write(
            RangeError,
            expected=f"at most {grouped(_DEFAULT.max_shards)} files",
            got=f"{grouped(len(groups))} of at most {grouped(max_shard_bytes)} bytes",
            fix="pass a larger max_shard_bytes",
        )
    former = _former(target, stem)
    shards = _named(groups, target.parent, stem)
    save = _write_files(target.parent, shards, arrays, given)
    contents = {shard.name: [one.name for one in shard.layout] for shard in shards}
    size = sum(one.size for one in layout)
    with replace_file(target) as file:
        file.write(encode_index(contents, {**given, **noted, SAVE: save}, size))
    for name in former - contents.keys():
        with contextlib.suppress(FileNotFoundError):
            (target.parent / name).unlink()


def _stem(target: Path) -> str:
    """Return what the names of the files begin with."""
    stem = target.name.removesuffix(SUFFIX)
    if stem in ("", target.name) or not is_file_name(f"{stem}-00001-of-00001{SHARD_SUFFIX}"):
        refuse_to_write(
            StructureError,
            expected=f"a path such as model{SUFFIX}",
            got=shown(target.name),
            fix=f"name the index so that it ends in {SUFFIX}",
        )
    return stem


def _expect_free_names(metadata: Mapping[str, str]) -> None:
    taken = [name for name in (TOTAL, SAVE) if name in metadata]
    if taken:
        refuse_to_write(
            StructureError,
            expected=f"metadata under names other than {TOTAL} and {SAVE}",
            got=f"a text for {taken[0]!r}",
            fix="choose another name for it",
        )


def _groups(layout: Sequence[Layout], most: int) -> list[list[Layout]]:
    """Fill one file after the other, in the order of the arrays."""
    groups: list[list[Layout]] = []
    room = 0
    for one in layout:
        if not groups or one.size > room:
            groups.append([])
            room = most
        groups[-1].append(one)
        room -= one.size
    return groups


def _named(groups: Sequence[list[Layout]], folder: Path, stem: str) -> list[_Shard]:
    """Name the files so that no name is taken: `model-00001-of-00002`, else `model.2-…`."""
    there = {entry.name for entry in folder.iterdir()}
    heads = (stem if attempt == 1 else f"{stem}.{attempt}" for attempt in itertools.count(1))
    head = next(head for head in heads if not any(map(_shard_of(head).fullmatch, there)))
    count = len(groups)
    return [
        _Shard(f"{head}-{number:05}-of-{count:05}{SHARD_SUFFIX}", group)
        for number, group in enumerate(groups, 1)
    ]


def _shard_of(stem: str, more: str = "") -> re.Pattern[str]:
    """Match the names of the files of a save."""
    return re.compile(rf"{re.escape(stem)}{more}-[0-9]{{5}}-of-[0-9]{{5}}\.safetensors")


def _former(target: Path, stem: str) -> set[str]:
    """Name the files of the save that stands at the path, as far as Rosin named them."""
    try:
        index = read_index(target, _DEFAULT)
    except (OSError, FileError):
        return set()
    pattern = _shard_of(stem, r"(\.[0-9]+)?")
    return {name for name in index.shards if pattern.fullmatch(name)}


def _write_files(
    folder: Path, shards: Sequence[_Shard], arrays: Mapping[str, Any], metadata: Mapping[str, str]
) -> str:
    """Write all files under temporary names, then put them in place; return their digest.

    The digest stands in the headers, before the arrays, so these are written twice.
    """
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        files: list[BinaryIO] = []
        for shard in shards:
            header, entries = _header(shard, metadata, _SAVE_TEXT)
            expect_readable(header, entries)
            file = stack.enter_context(replace_file(folder / shard.name))
            file.write(len(header).to_bytes(LENGTH_BYTES, "little"))
            file.write(header)
            digest.update(header)
            for entry in entries:
                write_array(file, entry, arrays[entry.name], also=digest.update)
            files.append(file)
        save = digest.hexdigest()
        for shard, file in zip(shards, files, strict=True):
            file.seek(LENGTH_BYTES)
            file.write(_header(shard, metadata, save)[0])
    return save


def _header(shard: _Shard, metadata: Mapping[str, str], save: str) -> tuple[bytes, list[Entry]]:
    return encode_header(shard.layout, {**metadata, SAVE: save})
