# SPDX-License-Identifier: Apache-2.0
"""What a file holds, whatever its format: own files by their reader, others by the scanner's.

The first bytes decide. Own files are read array by array while they are open; of the others
the scanner has understood all before anything is returned.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Generator, Iterable
from typing import Any, Final, TypeAlias

import numpy as np

from rosin.core.validation import expect_one_of, refuse
from rosin.errors import RangeError, shortened
from rosin.files import notes as noted
from rosin.files.dtypes import converted, is_floating
from rosin.files.header import DTYPES
from rosin.files.importers.reading import read
from rosin.files.index import SAVE
from rosin.files.items import Item
from rosin.files.notes import Notes
from rosin.files.renaming import Renaming, as_renaming
from rosin.files.rules import Drop, Rule
from rosin.files.sharded import write_shards
from rosin.files.shards import is_index, open_arrays
from rosin.files.source import Source, open_regular
from rosin.files.tensors import write_tensors
from rosin.limits import Limits
from rosin.scan.safetensors import LENGTH_BYTES

Names: TypeAlias = Renaming | Iterable[Rule] | None
OWN = (noted.NAME, SAVE)
"""The names in the metadata of a file that Rosin uses itself."""


FLOATING: Final = ("float16", "bfloat16", "float32", "float64")
"""What floating-point numbers can be rounded to on the way."""


@contextlib.contextmanager
def open_stored(
    path: str | os.PathLike[str], limits: Limits
) -> Generator[tuple[dict[str, Item], dict[str, str]]]:
    """Open a file of any format that is read, and list what it holds.

    Yields:
        Arrays, keys, numbers and texts by name, and the free-form text of an own file.

    Raises:
        UnsafeFileError: Loading the file as its own library does could run code.
        FileError: The file breaks a rule of its format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened.
    """
    if not _is_own(path, limits):
        yield {name: Item.of(array) for name, array in read(path, limits=limits).items()}, {}
        return
    with open_arrays(path, limits) as file:
        notes = noted.decode(path, file.metadata, file.entries, limits)
        arrays = {
            name: Item(
                DTYPES[entry.code],
                entry.shape,
                functools.partial(file.read, name),
                notes.keys.get(name),
            )
            for name, entry in file.entries.items()
        }
        values = {name: Item.of(value) for name, value in notes.values.items()}
        yield arrays | values, free_text(file.metadata)


def free_text(metadata: dict[str, str]) -> dict[str, str]:
    """Leave out of the metadata of a file what Rosin wrote there itself."""
    return {name: text for name, text in metadata.items() if name not in OWN}


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """What became of the names of a file that was converted.

    Args:
        written: The names in the new file.
        used: The old names that went through a rule.
        dropped: The old names that a rule left out.
        left_over: The old names that no rule took, which stand in the new file unchanged.
    """

    written: tuple[str, ...]
    used: tuple[str, ...]
    dropped: tuple[str, ...]
    left_over: tuple[str, ...]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    names: Names = None,
    dtype: str | None = None,
    limits: Limits = Limits(),
) -> Converted:
    """Write what any readable file holds as safetensors, under other names if wanted.

    Own files are copied array by array, so that at most one rule's arrays are in memory.

    Args:
        source: A file of any format that `rosin.files.read` or `rs.load` reads.
        target: The file to create or to replace; an index if it ends in
            `.safetensors.index.json`.
        names: Renaming rules, as for `rs.load`.
        dtype: What floating-point arrays are rounded to, ties to even: one of `FLOATING`.
            Whole numbers, booleans, complex numbers and random keys stay what they are.
        limits: Bounds on what is accepted.

    Returns:
        Which names were written, used, dropped and left over.

    Raises:
        UnsafeFileError: Loading the source as its own library does could run code.
        FileError: The source breaks a rule of its format.
        LimitError: The source exceeds one of `limits`.
        StructureError: The rules do not fit the source, or a name cannot be written.
        DtypeError: The format has no place for the dtype of an array.
        RangeError: There is no such `dtype`, or a finite value would become infinite in it.
        OSError: A file cannot be opened or written; what stood there before is untouched.

    Examples:
        >>> import tempfile, numpy as np
        >>> from rosin.files.renaming import Rename
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(f"{folder}/a.safetensors", {"fc.weight": np.ones((2, 3))})
        ...     rules = [Rename("fc.{*rest}", "head.{*rest}")]
        ...     done = convert(f"{folder}/a.safetensors", f"{folder}/b.safetensors", names=rules)
        >>> done.written, done.used, done.left_over
        (('head.weight',), ('fc.weight',), ())
    """
    expect_one_of((None, *FLOATING), subject="convert", dtype=dtype)
    with open_stored(source, limits) as (items, metadata):
        renaming = as_renaming(() if names is None else names)
        renamed = renaming.apply(items)
        arrays = {
            name: item if dtype is None else _rounded(name, item, np.dtype(dtype))
            for name, item in renamed.items()
            if item.dtype is not None
        }
        notes = Notes(
            {name: item.kind for name, item in arrays.items() if item.kind is not None},
            {name: item.read() for name, item in renamed.items() if item.dtype is None},
        )
        own = {noted.NAME: noted.encode(notes)}
        if is_index(target):
            write_shards(target, arrays, metadata, index_metadata=own)
        else:
            write_tensors(target, arrays, {**metadata, **own})
        return _converted(items, renamed, renaming)


def _rounded(name: str, item: Item, dtype: np.dtype) -> Item:
    """Round an array of floating-point numbers when it is read."""
    if item.dtype is None or not is_floating(item.dtype):
        return item

    def read() -> np.ndarray[Any, Any]:
        array = converted(item.read(), dtype)
        if array is None:
            refuse(
                RangeError,
                subject="convert",
                expected=f'"{shortened(name)}" to hold values within the range of {dtype.name}',
                got=f"one beyond it in {item}",
                fix="pass a dtype of a wider range, or leave dtype out",
            )
        return array

    return dataclasses.replace(item, dtype=dtype, read=read)


def _converted(old: Iterable[str], new: Iterable[str], renaming: Renaming) -> Converted:
    takers = {name: renaming.taker(name) for name in old}
    return Converted(
        written=tuple(new),
        used=tuple(n for n, rule in takers.items() if rule and not isinstance(rule, Drop)),
        dropped=tuple(n for n, rule in takers.items() if isinstance(rule, Drop)),
        left_over=tuple(n for n, rule in takers.items() if rule is None),
    )


def _is_own(path: str | os.PathLike[str], limits: Limits) -> bool:
    """Tell whether a file is safetensors or an index; by its name if it is called so."""
    if is_index(path) or os.fspath(path).endswith(".safetensors"):
        return True
    file, size = open_regular(path, Source.of(path, limits))
    with file:
        head = file.read(LENGTH_BYTES + 1)
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    return head[LENGTH_BYTES:] == b"{" and length <= size
