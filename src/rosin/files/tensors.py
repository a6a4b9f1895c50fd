# SPDX-License-Identifier: Apache-2.0
"""Named arrays on disk, in the published safetensors format: data only, nothing to run.

A file is a length of 8 bytes, a JSON header of that length and the arrays end to end. What
a header may say, and how it is checked, stands in `rosin.scan.safetensors`. Modules and trees
are not known here.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from rosin.errors import (
    DtypeError,
    RangeError,
    ShapeError,
    StructureError,
    UsageError,
    grouped,
    shortened,
    shown,
)
from rosin.files.atomic import replace_file
from rosin.files.header import (
    DTYPES,
    Layout,
    encode_header,
)
from rosin.files.opened import as_bytes, open_file
from rosin.limits import Limits
from rosin.scan.safetensors import LENGTH_BYTES, METADATA, Entry

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
    with open_file(path, limits) as file:
        arrays = {
            name: file.view(name) if mmap else _still(file.read(name)) for name in file.entries
        }
        return TensorFile(arrays, file.metadata)


def _still(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


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
    expect_metadata(metadata)
    arrays, layout = lay_out(tensors)
    header, entries = encode_header(layout, metadata)
    expect_readable(header, entries)
    with replace_file(path) as file:
        file.write(len(header).to_bytes(LENGTH_BYTES, "little"))
        file.write(header)
        for entry in entries:
            write_array(file, entry, arrays[entry.name])


def lay_out(tensors: Mapping[str, npt.ArrayLike]) -> tuple[dict[str, Any], list[Layout]]:
    """Check arrays and names, and say what each takes in a file; nothing is copied.

    Raises:
        DtypeError: The format has no place for the dtype of an array.
        StructureError: A name is not a printable text.
        ShapeError: An array has more axes than a reader accepts.
    """
    arrays = {name: _array_like(value) for name, value in tensors.items()}
    return arrays, [Layout(name, _code(name, a), a.shape) for name, a in arrays.items()]


def _array_like(value: Any) -> Any:
    """Leave what knows its dtype and shape where it is; it is converted when written."""
    return value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)


def _code(name: object, array: Any) -> str:
    """Check one array and its name, and return what the format calls its dtype."""
    if not isinstance(name, str) or not name.isprintable() or name in {"", METADATA}:
        refuse_to_write(
            StructureError,
            expected=f"names of printable characters other than {METADATA}",
            got=shown(name),
            fix='name each array by a text such as "layers[0].weight"',
        )
    item = f'tensors["{shortened(name)}"]'
    if len(name) > _DEFAULT.max_name_characters:
        refuse_to_write(
            StructureError,
            expected=f"names of at most {grouped(_DEFAULT.max_name_characters)} characters",
            got=f"{item} of {grouped(len(name))} characters",
            fix="give it a shorter name",
        )
    if len(array.shape) > _DEFAULT.max_axes:
        refuse_to_write(
            ShapeError,
            expected=f"{item} of at most {_DEFAULT.max_axes} axes",
            got=f"{len(array.shape)} axes",
            fix="reshape it before it is saved",
        )
    code = _CODES.get(getattr(array.dtype, "name", ""))
    if code is None:
        refuse_to_write(
            DtypeError,
            expected=f"{item} of a dtype among {', '.join(_CODES)}",
            got=shown(array),
            fix="convert it, for example with .astype(np.float32), or save its parts",
        )
    return code


def expect_metadata(metadata: object) -> None:
    """Refuse metadata that is not from Unicode text to Unicode text."""
    pairs = {} if metadata is None else metadata
    fits = isinstance(pairs, Mapping) and all(
        isinstance(text, str) and not _SURROGATES.search(text)
        for pair in pairs.items()
        for text in pair
    )
    if not fits:
        refuse_to_write(
            StructureError,
            expected="metadata from text to text",
            got=shown(type(metadata)),
            fix="turn each key and value into Unicode text, for example with str or json.dumps",
        )


def expect_readable(header: bytes, entries: list[Entry]) -> None:
    """Refuse to write what no reader would take under the default bounds."""
    for size, bound, unit in (
        (len(entries), _DEFAULT.max_tensors, "arrays"),
        (len(header), _DEFAULT.max_header_bytes, "bytes of names, shapes and metadata"),
    ):
        if size > bound:
            refuse_to_write(
                RangeError,
                expected=f"at most {grouped(bound)} {unit}",
                got=f"{grouped(size)} {unit}",
                fix="split what is saved over several files",
            )


def write_array(
    file: BinaryIO,
    entry: Entry,
    value: Any,
    *,
    also: Callable[[memoryview], object] | None = None,
) -> None:
    """Write the bytes of one array where the file stands; hand them to `also` too."""
    array = np.asarray(value)
    if (array.dtype.name, array.shape) != (DTYPES[entry.code].name, entry.shape):
        refuse_to_write(
            StructureError,
            expected=f'tensors["{shortened(entry.name)}"] to convert to the array it claims to be',
            got=shown(array),
            fix="pass it through numpy.asarray first",
        )
    if array.size:
        data = as_bytes(array.astype(DTYPES[entry.code], order="C", copy=False))
        file.write(data)
        if also is not None:
            also(data)


def refuse_to_write(kind: type[UsageError], *, expected: str, got: str, fix: str) -> NoReturn:
    """Raise what writing cannot do, in the words of a usage error."""
    from rosin.core.validation import refuse  # needs JAX, which reading does not

    refuse(kind, subject="write_tensors", expected=expected, got=got, fix=fix)
