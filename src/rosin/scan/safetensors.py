# SPDX-License-Identifier: Apache-2.0
"""safetensors: a length, a header of JSON, the arrays end to end.

The rules are those of the published format, read strictly: what a header leaves open to two
readings is refused. Readers of `rosin.files` that map the file stand on the same checks.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

from rosin.errors import grouped, shortened, shown
from rosin.scan.findings import CUT_SHORT
from rosin.scan.json_text import (
    MAX_INT,
    AsFindings,
    Faults,
    brackets,
    expect_shallow,
    outline,
    parse_object,
)
from rosin.scan.parsed import ITEM_BYTES, Format, Parsed, Tensor, contiguous
from rosin.scan.region import Region

METADATA: Final = "__metadata__"
LENGTH_BYTES: Final = 8

# In the order in which the published implementation lays arrays out: the most strictly
# aligned first, so that an array never starts off its own alignment.
NAMES: Final[Mapping[str, str]] = {
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
    "F32": "float32",
    "U32": "uint32",
    "I32": "int32",
    "BF16": "bfloat16",
    "F16": "float16",
    "U16": "uint16",
    "I16": "int16",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""The dtypes of the format, and what they are called elsewhere."""

_NUMPY_MAX_AXES: Final = 64
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_BRACKETS_OF_A_TENSOR: Final = 6  # {shape: [], data_offsets: []}; root and metadata add 4
_RULE: Final = "safetensors-header"
_BOOLS: Final = b"\0\1"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One array of a file: its name, its dtype and shape, its place in the data section."""

    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def place(name: str) -> str:
    """Say where in the file the entry of a tensor stands."""
    return f'header, tensor "{shortened(name)}"'


def expect_length(length: int, size: int, faults: Faults) -> None:
    """Hold the length of a header to the size of its file and to the bounds.

    Raises:
        FileError: It goes beyond the end.
        LimitError: It is above `max_header_bytes`.
    """
    if length > size - LENGTH_BYTES:
        faults.refuse(
            "byte 0",
            expected=f"a header that fits the {grouped(size - LENGTH_BYTES)} bytes that follow",
            got=f"a header of {grouped(length)} bytes",
            fix="check that this is a safetensors file, then copy or download it again; "
            "rosin.files.read reads files of other libraries",
        )
    faults.expect_within("max_header_bytes", length, unit="bytes", where="byte 0")


def decode_header(
    header: bytes, data_bytes: int, faults: Faults
) -> tuple[list[Entry], dict[str, str]]:
    """Check every rule of the format and return the entries and the metadata.

    Args:
        header: The header without its length.
        data_bytes: How many bytes follow it in the file.
        faults: How a fault becomes an error.

    Returns:
        The entries in the order of the header, and the metadata, empty if there is none.

    Raises:
        FileError: A rule of the format is broken.
        LimitError: A bound is exceeded.
    """
    _expect_modest(header, faults)
    content = parse_object(header, faults, what="header", start=LENGTH_BYTES, padding=" ")
    metadata = _metadata(content.pop(METADATA, {}), faults)
    entries = [_entry(name, value, faults) for name, value in content.items()]
    _expect_exact_cover(entries, LENGTH_BYTES + len(header), data_bytes, faults)
    return entries, metadata


def _expect_modest(header: bytes, faults: Faults) -> None:
    """Bound nesting and size by the brackets alone, before JSON recurses or allocates."""
    only = brackets(header)
    count = len(only) // _BRACKETS_OF_A_TENSOR
    faults.expect_within("max_tensors", count, unit="tensors", where="header")
    expect_shallow(only, faults, "header")


def _metadata(value: object, faults: Faults) -> dict[str, str]:
    where = f"header, {METADATA}"
    pairs = cast("dict[str, object]", value).items() if isinstance(value, dict) else None
    if pairs is None or not all(isinstance(text, str) for _, text in pairs):
        faults.refuse(where, expected="an object of texts", got=outline(value))
    metadata = cast("dict[str, str]", dict(pairs))
    try:
        size = sum(len(text.encode()) for pair in metadata.items() for text in pair)
    except UnicodeEncodeError:
        faults.refuse(where, expected="texts of Unicode", got="half of a surrogate pair")
    faults.expect_within("max_metadata_bytes", size, unit="bytes", where=where)
    return metadata


def _entry(name: str, value: object, faults: Faults) -> Entry:
    where = place(name)
    faults.expect_within("max_name_characters", len(name), unit="characters", where=where)
    if not name or not name.isprintable():
        faults.refuse(where, expected="a name of printable characters", got=shown(name))
    if not isinstance(value, dict):
        faults.refuse(where, expected=f"an object with {_WORDS}", got=outline(value))
    parts = cast("dict[str, object]", value)
    if parts.keys() != _KEYS:
        keys = ", ".join(map(repr, parts)) or "no key"
        faults.refuse(where, expected=f"exactly {_WORDS}", got=shortened(keys))
    code = parts["dtype"]
    if not isinstance(code, str) or code not in NAMES:
        faults.refuse(where, expected=f"a dtype among {', '.join(NAMES)}", got=shown(code))
    shape = _shape(parts["shape"], ITEM_BYTES[NAMES[code]], where, faults)
    begin, end = _offsets(parts["data_offsets"], where, faults)
    size = math.prod(shape) * ITEM_BYTES[NAMES[code]]
    if end - begin != size:
        faults.refuse(
            where,
            expected=f"{grouped(size)} bytes for {code}[{','.join(map(str, shape))}]",
            got=f"data_offsets {grouped(end - begin)} bytes apart",
        )
    return Entry(name, code, shape, begin, end)


_WORDS: Final = "the keys dtype, shape and data_offsets"


def _shape(value: object, itemsize: int, where: str, faults: Faults) -> tuple[int, ...]:
    shape = _whole_numbers(value)
    if shape is None:
        faults.refuse(
            where, expected="a shape of whole numbers from 0 to 2**63 - 1", got=outline(value)
        )
    faults.expect_within("max_axes", len(shape), unit="axes", where=where)
    # NumPy refuses these even when another axis of length 0 leaves nothing to store.
    if (
        len(shape) > _NUMPY_MAX_AXES
        or itemsize * math.prod(max(size, 1) for size in shape) > MAX_INT
    ):
        faults.refuse(
            where,
            expected=f"a shape that an array can have: {_NUMPY_MAX_AXES} axes, 2**63 - 1 bytes",
            got=shown(value),
        )
    return shape


def _offsets(value: object, where: str, faults: Faults) -> tuple[int, int]:
    offsets = _whole_numbers(value)
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        faults.refuse(
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
    entries: Sequence[Entry], start: int, data_bytes: int, faults: Faults
) -> None:
    """Refuse data that overlaps, leaves a hole, ends early or goes on after the last array."""
    wanted = max((entry.end for entry in entries), default=0)
    if wanted > data_bytes:
        faults.refuse(
            f"byte {grouped(start + data_bytes)}",
            expected=f"data of {grouped(wanted)} bytes from byte {grouped(start)}",
            got=f"{grouped(data_bytes)} bytes",
            fix=CUT_SHORT,
        )
    reached = 0
    for entry in sorted(entries, key=lambda one: (one.begin, one.end)):
        if entry.begin != reached:
            what = "an overlap" if entry.begin < reached else "a hole"
            faults.refuse(
                place(entry.name),
                expected=f"data that begins at {grouped(reached)}, where the one before ends",
                got=f"{what}: it begins at {grouped(entry.begin)}",
            )
        reached = entry.end
    if reached < data_bytes:
        faults.refuse(
            f"byte {grouped(start + reached)}",
            expected="the end of the file after the last tensor",
            got=f"{grouped(data_bytes - reached)} more bytes",
        )


# --- as a format of the scan -----------------------------------------------------------


def begins(head: bytes) -> bool:
    """Say whether a file begins with the length of a header and an object of JSON."""
    return head[4:LENGTH_BYTES] == bytes(4) and head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def _parse(region: Region) -> Parsed:
    """Check the header, and that booleans are 0 or 1."""
    faults = AsFindings(region, _RULE, LENGTH_BYTES)
    length = int.from_bytes(region.exactly(0, LENGTH_BYTES), "little")
    expect_length(length, region.size, faults)
    start = LENGTH_BYTES + length
    header = region.exactly(LENGTH_BYTES, length)
    entries, metadata = decode_header(header, region.size - start, faults)
    arrays = {entry.name: _tensor(region, entry, start) for entry in entries}
    tree: dict[str, object] = {METADATA: metadata, **arrays} if metadata else {**arrays}
    return Parsed("safetensors", tree, arrays, readable=True)


def _tensor(region: Region, entry: Entry, start: int) -> Tensor:
    data = region.section(start + entry.begin, entry.end - entry.begin)
    for chunk in data.chunks() if entry.code == "BOOL" else ():
        if others := chunk.translate(None, _BOOLS):
            AsFindings(region, _RULE, LENGTH_BYTES).refuse(
                place(entry.name), expected="bytes 0 and 1 only", got=f"a byte {max(others)}"
            )
    return Tensor(NAMES[entry.code], entry.shape, contiguous(entry.shape), 0, data)


SAFETENSORS: Final = Format(
    "safetensors",
    lambda _, head: begins(head),
    _parse,
    {"safetensors": frozenset({".safetensors"})},
)
