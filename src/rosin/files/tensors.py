# SPDX-License-Identifier: Apache-2.0
"""Named arrays on disk, in the published safetensors format: data only, nothing to run.

A file is a length of 8 bytes, a JSON header of that length and the arrays end to end. What
a header may say, and how it is checked, stands in `rosin.files.header`. Modules and trees
are not known here.
"""

import dataclasses
import io
import math
import mmap as memory_maps
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from rosin.errors import (
    DtypeError,
    RangeError,
    ShapeError,
    StructureError,
    UsageError,
    shortened,
    shown,
)
from rosin.files.atomic import replace_file
from rosin.files.header import (
    DTYPES,
    LENGTH_BYTES,
    METADATA,
    Entry,
    decode_header,
    encode_header,
    place,
)
from rosin.files.source import CUT_SHORT, KEEP_STILL, Source, fill, grouped, open_regular
from rosin.limits import Limits

_CODES = {dtype.name: code for code, dtype in DTYPES.items()}
_DEFAULT = Limits()
_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character, which UTF-8 lacks


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TensorFile:
    """What a safetensors file holds.

    Args:
        arrays: The arrays by name, read-only, in the order of the header.
        metadata: Free-form text that came with them; never trust it to say what to do.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]

    def __repr__(self) -> str:
        """Show how much there is, not what."""
        return f"TensorFile({len(self.arrays)} arrays, {len(self.metadata)} metadata entries)"


# --- reading -------------------------------------------------------------------------


def read_tensors(
    path: str | os.PathLike[str],
    *,
    limits: Limits = Limits(),
    mmap: bool = True,
) -> TensorFile:
    """Read a safetensors file, after checking all of its header.

    Nothing the file says is believed before it is checked, and no memory is taken for what
    it claims: a header must fit the file, and the arrays must fill the rest of it exactly.

    Args:
        path: A regular file, or a symbolic link to one.
        limits: Bounds on what is accepted.
        mmap: Whether the arrays are views of the file, paged in when touched; `False`
            copies them into memory. A view shows what anybody later writes into the file
            and a file cut short under it ends the process: copy what others may write.

    Returns:
        Read-only arrays by name, and the metadata.

    Raises:
        FileError: The file breaks a rule of the format.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened, for example because it is not there.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(f"{folder}/a.safetensors", {"weight": np.ones((2, 3))})
        ...     read_tensors(f"{folder}/a.safetensors").arrays["weight"].shape
        (2, 3)

    Source:
        The safetensors format, version of the implementation 0.8. Stricter than it in that
        a key that comes twice, a key too many, a name that cannot be printed and a `BOOL`
        that is neither 0 nor 1 are refused. Its packed 4- and 6-bit types are not read.
    """
    source = Source.of(path, limits)
    file, size = open_regular(path, source)
    with file:
        header = _read_header(file, size, source)
        start = LENGTH_BYTES + len(header)
        entries, metadata = decode_header(header, size - start, source)
        mapping = _mapped(file, size, source) if mmap else None
        arrays: dict[str, np.ndarray] = {}
        for entry in entries:
            begin = start + entry.begin
            array = (
                _viewed(mapping, entry, begin)
                if mapping is not None
                else _copied(file, entry, begin, source)
            )
            _expect_booleans(array, entry, source)
            array.flags.writeable = False
            arrays[entry.name] = array
    return TensorFile(arrays, metadata)


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
    if length > size - LENGTH_BYTES:
        source.refuse(
            "byte 0",
            expected=f"a header that fits the {grouped(size - LENGTH_BYTES)} bytes that follow",
            got=f"a header of {grouped(length)} bytes",
            fix="check that this is a safetensors file, then copy or download it again",
        )
    source.expect_within("max_header_bytes", length, unit="bytes", where="byte 0")
    header = bytearray(length)
    fill(memoryview(header), file, source)
    return bytes(header)


def _mapped(file: io.FileIO, size: int, source: Source) -> memory_maps.mmap:
    try:
        return memory_maps.mmap(file.fileno(), size, access=memory_maps.ACCESS_READ)
    except ValueError:  # shorter than it was a moment ago
        source.refuse("", expected=f"{grouped(size)} bytes", got="fewer by now", fix=KEEP_STILL)


def _viewed(mapping: memory_maps.mmap, entry: Entry, begin: int) -> np.ndarray:
    """View the mapped file; an array off its alignment is legal there and copied here."""
    view = np.frombuffer(mapping, entry.dtype, math.prod(entry.shape), begin)
    return (view if view.flags.aligned else view.copy()).reshape(entry.shape)


def _copied(file: io.FileIO, entry: Entry, begin: int, source: Source) -> np.ndarray:
    array = np.empty(entry.shape, entry.dtype)
    if array.size:
        file.seek(begin)
        fill(_as_bytes(array), file, source)
    return array


def _as_bytes(array: np.ndarray) -> memoryview:
    """View a non-empty array in C order as its bytes."""
    return array.reshape(-1).view(np.uint8).data


def _expect_booleans(array: np.ndarray, entry: Entry, source: Source) -> None:
    """Refuse bytes other than 0 and 1, which NumPy and XLA would each take differently."""
    if entry.code == "BOOL" and array.size and (highest := array.view(np.uint8).max()) > 1:
        source.refuse(place(entry.name), expected="bytes 0 and 1 only", got=f"a byte {highest}")


# --- writing -------------------------------------------------------------------------


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, npt.ArrayLike],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays as one safetensors file, whole or not at all.

    The same arrays give the same bytes, whatever the order of the mapping. They are
    written one after the other, so at most one of them is copied at a time.

    Args:
        path: The file to create or to replace.
        tensors: NumPy or JAX arrays, or what `numpy.asarray` takes, by name.
        metadata: Free-form text to keep with them.

    Raises:
        DtypeError: The format has no place for the dtype of an array.
        StructureError: A name or a piece of metadata is not a printable text.
        ShapeError: An array has more axes than a reader accepts.
        RangeError: There is more to name than a reader accepts.
        OSError: The system cannot write the file; what stood there before is untouched.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(f"{folder}/a.safetensors", {"step": 3}, {"author": "ada"})
        ...     read_tensors(f"{folder}/a.safetensors").metadata
        {'author': 'ada'}
    """
    _expect_metadata(metadata)
    arrays = {name: _array_like(value) for name, value in tensors.items()}
    layout = [(name, _code(name, array), array.shape) for name, array in arrays.items()]
    header, entries = encode_header(layout, metadata)
    _expect_readable(header, entries)
    with replace_file(path) as file:
        file.write(len(header).to_bytes(LENGTH_BYTES, "little"))
        file.write(header)
        for entry in entries:
            _write_array(file, entry, arrays[entry.name])


def _array_like(value: Any) -> Any:
    """Leave what knows its dtype and shape where it is; it is converted when written."""
    return value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)


def _code(name: object, array: Any) -> str:
    """Check one array and its name, and return what the format calls its dtype."""
    if not isinstance(name, str) or not name.isprintable() or name in {"", METADATA}:
        _refuse(
            StructureError,
            expected=f"names of printable characters other than {METADATA}",
            got=shown(name),
            fix='name each array by a text such as "layers[0].weight"',
        )
    item = f'tensors["{shortened(name)}"]'
    if len(name) > _DEFAULT.max_name_characters:
        _refuse(
            StructureError,
            expected=f"names of at most {grouped(_DEFAULT.max_name_characters)} characters",
            got=f"{item} of {grouped(len(name))} characters",
            fix="give it a shorter name",
        )
    if len(array.shape) > _DEFAULT.max_axes:
        _refuse(
            ShapeError,
            expected=f"{item} of at most {_DEFAULT.max_axes} axes",
            got=f"{len(array.shape)} axes",
            fix="reshape it before it is saved",
        )
    code = _CODES.get(getattr(array.dtype, "name", ""))
    if code is None:
        _refuse(
            DtypeError,
            expected=f"{item} of a dtype among {', '.join(_CODES)}",
            got=shown(array),
            fix="convert it, for example with .astype(np.float32), or save its parts",
        )
    return code


def _expect_metadata(metadata: object) -> None:
    pairs = {} if metadata is None else metadata
    fits = isinstance(pairs, Mapping) and all(
        isinstance(text, str) and not _SURROGATES.search(text)
        for pair in pairs.items()
        for text in pair
    )
    if not fits:
        _refuse(
            StructureError,
            expected="metadata from text to text",
            got=shown(type(metadata)),
            fix="turn each key and value into Unicode text, for example with str or json.dumps",
        )


def _expect_readable(header: bytes, entries: list[Entry]) -> None:
    """Refuse to write what no reader would take under the default bounds."""
    for size, bound, unit in (
        (len(entries), _DEFAULT.max_tensors, "arrays"),
        (len(header), _DEFAULT.max_header_bytes, "bytes of names, shapes and metadata"),
    ):
        if size > bound:
            _refuse(
                RangeError,
                expected=f"at most {grouped(bound)} {unit}",
                got=f"{grouped(size)} {unit}",
                fix="split what is saved over several files",
            )


def _write_array(file: BinaryIO, entry: Entry, value: Any) -> None:
    array = np.asarray(value)
    if (array.dtype.name, array.shape) != (entry.dtype.name, entry.shape):
        _refuse(
            StructureError,
            expected=f'tensors["{shortened(entry.name)}"] to convert to the array it claims to be',
            got=shown(array),
            fix="pass it through numpy.asarray first",
        )
    if array.size:
        file.write(_as_bytes(array.astype(entry.dtype, order="C", copy=False)))


def _refuse(kind: type[UsageError], *, expected: str, got: str, fix: str) -> NoReturn:
    from rosin.core.validation import refuse  # needs JAX, which reading does not

    refuse(kind, subject="write_tensors", expected=expected, got=got, fix=fix)
