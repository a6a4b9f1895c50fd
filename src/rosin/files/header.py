# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file: foreign bytes to checked entries, entries to bytes.

Nothing here opens a file. The rules are those of the published format, read strictly: what
a header leaves open to two readings is refused.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, NoReturn, cast

import ml_dtypes
import numpy as np

from rosin.errors import shortened, shown
from rosin.files.source import CUT_SHORT, Source, grouped

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

_MAX_INT: Final = 2**63 - 1
_NUMPY_MAX_AXES: Final = 64
_KEYS: Final = {"dtype", "shape", "data_offsets"}
# The closing quote is optional so that every quote starts a match: linear in any input.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?')
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
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


def place(name: str) -> str:
    """Say where in the file the entry of a tensor stands."""
    return f'header, tensor "{shortened(name)}"'


# --- entries to bytes ----------------------------------------------------------------


def encode_header(
    layout: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[Entry]]:
    """Lay arrays out without holes and write their header, padded to 8 bytes.

    Args:
        layout: Name, code of the dtype and shape of each array.
        metadata: Free-form text; its keys are sorted.

    Returns:
        The header without its length, and the entries in the order of their data.

    Examples:
        >>> encode_header([("a", "F32", (2,))], None)[0]
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
    """
    content: dict[str, object] = {}
    if metadata is not None:
        content[METADATA] = dict(sorted(metadata.items()))
    entries: list[Entry] = []
    begin = 0
    for name, code, shape in sorted(layout, key=lambda one: (_RANKS[one[1]], one[0])):
        end = begin + math.prod(shape) * DTYPES[code].itemsize
        entries.append(Entry(name, code, shape, begin, end))
        content[name] = {"dtype": code, "shape": shape, "data_offsets": (begin, end)}
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
    _expect_shallow(header, source)
    content = _parsed(header, source)
    metadata = _metadata(content.pop(METADATA, {}), source)
    entries = [_entry(name, value, source) for name, value in content.items()]
    _expect_exact_cover(entries, LENGTH_BYTES + len(header), data_bytes, source)
    return entries, metadata


def _expect_shallow(header: bytes, source: Source) -> None:
    """Bound nesting and size by the brackets alone, before JSON recurses or allocates."""
    brackets = _STRINGS.sub(b"", header).translate(None, _ALL_BUT_BRACKETS)
    count = len(brackets) // _BRACKETS_OF_A_TENSOR
    source.expect_within("max_tensors", count, unit="tensors", where="header")
    depth = max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)
    source.expect_within("max_nesting", depth, unit="nested levels", where="header")


def _parsed(header: bytes, source: Source) -> dict[str, object]:
    """Parse one JSON object that starts at once and is followed by spaces only."""
    text = _decoded(header, source)
    if not text.startswith("{"):
        source.refuse(
            f"byte {LENGTH_BYTES}", expected='a header that starts with "{"', got=shown(text[:1])
        )
    try:
        content, end = _strict_json(source).raw_decode(text)
    except json.JSONDecodeError as error:
        where = f"byte {grouped(LENGTH_BYTES + len(text[: error.pos].encode()))}"
        source.refuse(where, expected="a header of JSON", got=f"a fault: {shortened(error.msg)}")
    except RecursionError:
        source.refuse("header", expected="at most 3 nested levels", got="hundreds of them")
    rest = text[end:].lstrip(" ")
    if rest:
        where = f"byte {grouped(LENGTH_BYTES + len(header) - len(rest.encode()))}"
        source.refuse(where, expected="nothing but spaces after the JSON", got=shown(rest[:1]))
    return cast("dict[str, object]", content)


def _decoded(header: bytes, source: Source) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError as error:
        where = f"byte {grouped(LENGTH_BYTES + error.start)}"
        source.refuse(where, expected="a header in UTF-8", got=f"a fault: {error.reason}")


def _strict_json(source: Source) -> json.JSONDecoder:
    """Make a decoder that refuses what JSON's own grammar leaves open or Python adds."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            source.refuse("header", expected="every key once", got=f"{shown(twice)} twice")
        return content

    def constant(word: str) -> NoReturn:
        source.refuse("header", expected="a header of JSON", got=f"{word}, which JSON lacks")

    return json.JSONDecoder(
        object_pairs_hook=unique, parse_constant=constant, parse_int=_integer_or_float
    )


def _integer_or_float(digits: str) -> int | float:
    """Read an integer; one that no field may hold becomes a float, which no field takes."""
    return float(digits) if digits == "-0" or len(digits) > len(str(_MAX_INT)) else int(digits)


def _metadata(value: object, source: Source) -> dict[str, str]:
    where = f"header, {METADATA}"
    pairs = cast("dict[str, object]", value).items() if isinstance(value, dict) else None
    if pairs is None or not all(isinstance(text, str) for _, text in pairs):
        source.refuse(where, expected="an object of texts", got=_outline(value))
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
        source.refuse(where, expected=f"an object with {_WORDS}", got=_outline(value))
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
            where, expected="a shape of whole numbers from 0 to 2**63 - 1", got=_outline(value)
        )
    source.expect_within("max_axes", len(shape), unit="axes", where=where)
    # NumPy refuses these even when another axis of length 0 leaves nothing to store.
    if (
        len(shape) > _NUMPY_MAX_AXES
        or itemsize * math.prod(max(size, 1) for size in shape) > _MAX_INT
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
            where, expected="data_offsets [begin, end] with begin <= end", got=_outline(value)
        )
    return offsets[0], offsets[1]


def _whole_numbers(value: object) -> tuple[int, ...] | None:
    """Return a list of exact ints from 0 to 2**63 - 1 as a tuple, anything else as None."""
    if not isinstance(value, list):
        return None
    numbers = cast("list[object]", value)
    fits = all(type(n) is int and 0 <= n <= _MAX_INT for n in numbers)
    return tuple(cast("list[int]", numbers)) if fits else None


def _outline(value: object) -> str:
    """Show foreign JSON in a message: objects by their keys, never by their contents."""
    if isinstance(value, dict):
        kinds = {type(part).__name__ for part in cast("dict[str, object]", value).values()}
        return f"an object of {', '.join(sorted(kinds)) or 'nothing'}"
    return shown(value)


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
