# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file: foreign bytes to checked entries, entries to bytes.

Nothing here opens a file. The rules are those of the published format, read strictly: what
a header leaves open to two readings is refused.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, cast

import ml_dtypes
import numpy as np

from rosin.errors import grouped, shortened, shown
from rosin.files.json_text import MAX_INT, brackets, expect_shallow, outline, parse_object
from rosin.files.source import CUT_SHORT, Source

METADATA: Final = "__metadata__"
LENGTH_BYTES: Final = 8

# In the order in which the published implementation lays arrays out: the most strictly
# aligned first, so that an array never starts off its own alignment.
DTYPES: Final[Mapping[str, np.dtype]] = {
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype("<f2"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_RANKS: Final = {code: rank for rank, code in enumerate(DTYPES)}

_NUMPY_MAX_AXES: Final = 64
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_BRACKETS_OF_A_TENSOR: Final = 6  # {shape: [], data_offsets: []}; root and metadata add 4


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One array of a file: its name, its dtype and shape, its place in the data section."""

    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype(self) -> np.dtype:
        """The dtype in memory, little-endian."""
        return DTYPES[self.code]


class Layout(NamedTuple):
    """One array that is to be written: its name, the code of its dtype, its shape."""

    name: str
    code: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * DTYPES[self.code].itemsize


def place(name: str) -> str:
    """Say where in the file the entry of a tensor stands."""
    return f'header, tensor "{shortened(name)}"'


# --- entries to bytes ----------------------------------------------------------------


def encode_header(
    layout: Iterable[Layout], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[Entry]]:
    """Lay arrays out without holes and write their header, padded to 8 bytes.

    Args:
        layout: The arrays.
        metadata: Free-form text; its keys are sorted.

    Returns:
        The header without its length, and the entries in the order of their data.

    Examples:
        >>> encode_header([Layout("a", "F32", (2,))], None)[0]
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
    """
    content: dict[str, object] = {}
    if metadata is not None:
        content[METADATA] = dict(sorted(metadata.items()))
    entries: list[Entry] = []
    begin = 0
    for one in sorted(layout, key=lambda one: (_RANKS[one.code], one.name)):
        end = begin + one.size
        entries.append(Entry(*one, begin, end))
        content[one.name] = {"dtype": one.code, "shape": one.shape, "data_offsets": (begin, end)}
        begin = end
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % LENGTH_BYTES), entries


# --- bytes to entries ----------------------------------------------------------------


def decode_header(
    header: bytes, data_bytes: int, source: Source
) -> tuple[list[Entry], dict[str, str]]:
    """Check every rule of the format and return the entries and the metadata.

    Args:
        header: The header without its length.
        data_bytes: How many bytes follow it in the file.
        source: The file it came from.

    Returns:
        The entries in the order of the header, and the metadata, empty if there is none.

    Raises:
        FileError: A rule of the format is broken.
        LimitError: A bound is exceeded.
    """
    _expect_modest(header, source)
    content = parse_object(header, source, what="header", start=LENGTH_BYTES, padding=" ")
    metadata = _metadata(content.pop(METADATA, {}), source)
    entries = [_entry(name, value, source) for name, value in content.items()]
    _expect_exact_cover(entries, LENGTH_BYTES + len(header), data_bytes, source)
    return entries, metadata


def _expect_modest(header: bytes, source: Source) -> None:
    """Bound nesting and size by the brackets alone, before JSON recurses or allocates."""
    only = brackets(header)
    count = len(only) // _BRACKETS_OF_A_TENSOR
    source.expect_within("max_tensors", count, unit="tensors", where="header")
    expect_shallow(only, source, "header")


def _metadata(value: object, source: Source) -> dict[str, str]:
    where = f"header, {METADATA}"
    pairs = cast("dict[str, object]", value).items() if isinstance(value, dict) else None
    if pairs is None or not all(isinstance(text, str) for _, text in pairs):
        source.refuse(where, expected="an object of texts", got=outline(value))
    metadata = cast("dict[str, str]", dict(pairs))
    try:
        size = sum(len(text.encode()) for pair in metadata.items() for text in pair)
    except UnicodeEncodeError:
        source.refuse(where, expected="texts of Unicode", got="half of a surrogate pair")
    source.expect_within("max_metadata_bytes", size, unit="bytes", where=where)
    return metadata


def _entry(name: str, value: object, source: Source) -> Entry:
    where = place(name)
    source.expect_within("max_name_characters", len(name), unit="characters", where=where)
    if not name or not name.isprintable():
        source.refuse(where, expected="a name of printable characters", got=shown(name))
    if not isinstance(value, dict):
        source.refuse(where, expected=f"an object with {_WORDS}", got=outline(value))
    parts = cast("dict[str, object]", value)
    if parts.keys() != _KEYS:
        keys = ", ".join(map(repr, parts)) or "no key"
        source.refuse(where, expected=f"exactly {_WORDS}", got=shortened(keys))
    code = parts["dtype"]
    if not isinstance(code, str) or code not in DTYPES:
        source.refuse(where, expected=f"a dtype among {', '.join(DTYPES)}", got=shown(code))
    shape = _shape(parts["shape"], DTYPES[code].itemsize, where, source)
    begin, end = _offsets(parts["data_offsets"], where, source)
    size = math.prod(shape) * DTYPES[code].itemsize
    if end - begin != size:
        source.refuse(
            where,
            expected=f"{grouped(size)} bytes for {code}[{','.join(map(str, shape))}]",
            got=f"data_offsets {grouped(end - begin)} bytes apart",
        )
    return Entry(name, code, shape, begin, end)


_WORDS: Final = "the keys dtype, shape and data_offsets"


def _shape(value: object, itemsize: int, where: str, source: Source) -> tuple[int, ...]:
    shape = _whole_numbers(value)
    if shape is None:
        source.refuse(
            where, expected="a shape of whole numbers from 0 to 2**63 - 1", got=outline(value)
        )
    source.expect_within("max_axes", len(shape), unit="axes", where=where)
    # NumPy refuses these even when another axis of length 0 leaves nothing to store.
    if (
        len(shape) > _NUMPY_MAX_AXES
        or itemsize * math.prod(max(size, 1) for size in shape) > MAX_INT
    ):
        source.refuse(
            where,
            expected=f"a shape that an array can have: {_NUMPY_MAX_AXES} axes, 2**63 - 1 bytes",
            got=shown(value),
        )
    return shape


def _offsets(value: object, where: str, source: Source) -> tuple[int, int]:
    offsets = _whole_numbers(value)
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        source.refuse(
            where, expected="data_offsets [begin, end] with begin <= end", got=outline(value)
        )
    return offsets[0], offsets[1]


def _whole_numbers(value: object) -> tuple[int, ...] | None:
    """Return a list of exact ints from 0 to 2**63 - 1 as a tuple, anything else as None."""
    if not isinstance(value, list):
        return None
    numbers = cast("list[object]", value)
    fits = all(type(n) is int and 0 <= n <= MAX_INT for n in numbers)
    return tuple(cast("list[int]", numbers)) if fits else None


def _expect_exact_cover(
    entries: Sequence[Entry], start: int, data_bytes: int, source: Source
) -> None:
    """Refuse data that overlaps, leaves a hole, ends early or goes on after the last array."""
    wanted = max((entry.end for entry in entries), default=0)
    if wanted > data_bytes:
        source.refuse(
            f"byte {grouped(start + data_bytes)}",
            expected=f"data of {grouped(wanted)} bytes from byte {grouped(start)}",
            got=f"{grouped(data_bytes)} bytes",
            fix=CUT_SHORT,
        )
    reached = 0
    for entry in sorted(entries, key=lambda one: (one.begin, one.end)):
        if entry.begin != reached:
            what = "an overlap" if entry.begin < reached else "a hole"
            source.refuse(
                place(entry.name),
                expected=f"data that begins at {grouped(reached)}, where the one before ends",
                got=f"{what}: it begins at {grouped(entry.begin)}",
            )
        reached = entry.end
    if reached < data_bytes:
        source.refuse(
            f"byte {grouped(start + reached)}",
            expected="the end of the file after the last tensor",
            got=f"{grouped(data_bytes - reached)} more bytes",
        )
