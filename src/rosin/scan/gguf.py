# SPDX-License-Identifier: Apache-2.0
"""GGUF, the files of llama.cpp: keys and values, then tensors, then their blocks.

The layout is that of the published specification, versions 2 and 3. A template among the
values is a text here as any other, and noted.
"""

import dataclasses
import math
import struct
from typing import Final, NoReturn

from rosin.errors import grouped, shown
from rosin.scan.arrays import shape_of
from rosin.scan.cursor import Cursor
from rosin.scan.parsed import ITEM_BYTES, Format, Parsed, Tensor, contiguous
from rosin.scan.region import Region
from rosin.scan.values import Misfit

_MARK: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT: Final = "general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_MAX_ALIGNMENT: Final = 1 << 16
_TEMPLATE: Final = "tokenizer.chat_template"  # further ones have a name after it
_MAX_AXES: Final = 4

_NUMBERS: Final = {
    0: "uint8",
    1: "int8",
    2: "uint16",
    3: "int16",
    4: "uint32",
    5: "int32",
    6: "float32",
    7: "bool",
    10: "uint64",
    11: "int64",
    12: "float64",
}
_FORMATS: Final = {
    "uint8": "<B",
    "int8": "<b",
    "uint16": "<H",
    "int16": "<h",
    "uint32": "<I",
    "int32": "<i",
    "float32": "<f",
    "bool": "<B",
    "uint64": "<Q",
    "int64": "<q",
    "float64": "<d",
}
_TEXT: Final = 8
_ARRAY: Final = 9
_TEXT_BYTES: Final = 8  # a text takes at least its length
_PAIR_BYTES: Final = 13  # a key of nothing, a type, one byte
_TENSOR_BYTES: Final = 24

_PLAIN: Final = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}
PACKINGS: Final = {
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
}
"""Quantised types that are read: what they are called, the numbers of a block, its bytes."""

_UNREAD: Final = {
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Described:
    """One tensor as its entry says: what its bytes are, and where they begin in the data."""

    name: str
    dtype: str
    packing: str
    shape: tuple[int, ...]
    size: int
    offset: int
    byte: int


def _parse(region: Region) -> Parsed:
    """Read the keys, check the tensors, and that nothing lies between or after them."""
    reader = _Reader(region)
    version = reader.number("uint32")
    if version not in _VERSIONS:
        reader.broken(f"version {version}", "version 2 or 3, least significant byte first")
    tensors = reader.count(_TENSOR_BYTES)
    region.expect_within("max_tensors", tensors, unit="tensors")
    values = reader.pairs(reader.count(_PAIR_BYTES))
    alignment = values.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MAX_ALIGNMENT:
        reader.broken(f"an alignment of {shown(alignment)}")
    if alignment & (alignment - 1):
        reader.broken(f"an alignment of {alignment}", "a power of two")
    described = [reader.tensor() for _ in range(tensors)]
    arrays = _placed(region, described, reader.cursor.position, alignment)
    return Parsed("gguf", {"metadata": values, "tensors": arrays}, arrays, readable=True)


def _placed(
    region: Region, described: list[_Described], header: int, alignment: int
) -> dict[str, Tensor]:
    """Hold the tensors to one place after the other, with nothing but zeros between them."""
    start = min(_aligned(header, alignment), region.size)
    _expect_zeros(region, header, start)
    reached, end = 0, 0
    arrays: dict[str, Tensor] = {}
    for one in described:
        if one.name in arrays:
            region.refuse("tensor-name", one.byte, got=f"{shown(one.name)} twice")
        if one.offset != reached:
            region.refuse(
                "gguf-layout",
                one.byte,
                expected=f"data at {grouped(reached)}, where the tensor before ends",
                got=f"data at {grouped(one.offset)}",
                place=one.name,
            )
        if one.size > region.size - start - one.offset:
            region.refuse("cut-short", start + one.offset, got="the end", place=one.name)
        end = reached + one.size
        reached = _aligned(end, alignment)
        _expect_zeros(region, start + end, min(start + reached, region.size))
        data = region.section(start + one.offset, one.size)
        place = (one.dtype, one.shape, contiguous(one.shape), 0, data)
        arrays[one.name] = Tensor(*place, packing=one.packing)
    if region.size > start + reached:
        more = grouped(region.size - start - reached)
        region.refuse("trailing-bytes", start + reached, got=f"{more} more bytes")
    return arrays


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _expect_zeros(region: Region, begin: int, end: int) -> None:
    if any(region.exactly(begin, end - begin)):
        region.refuse("trailing-bytes", begin, expected="zeros up to the next tensor", got="data")


class _Reader:
    """The header from front to back, each size held to the bytes that are left."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.cursor = Cursor(region, len(_MARK))
        self.texts = 0

    def broken(self, got: str, expected: str = "") -> NoReturn:
        self.region.refuse("gguf-layout", self.cursor.position, got=got, expected=expected)

    def number(self, dtype: str) -> int | float | bool:
        (value,) = struct.unpack(_FORMATS[dtype], self.cursor.take(ITEM_BYTES[dtype]))
        if dtype != "bool":
            return value
        if value > 1:
            self.broken(f"a byte {value}", "a boolean of 0 or 1")
        return bool(value)

    def whole(self, dtype: str) -> int:
        return int(self.number(dtype))

    def count(self, least: int) -> int:
        """Read how many things follow, each of at least so many bytes."""
        count = self.whole("uint64")
        if count * least > self.cursor.left:
            self.broken(f"{grouped(count)} of what takes {least} bytes or more", "what fits")
        return count

    def text(self) -> str:
        size = self.count(1)
        self.texts += 1
        self.cursor.text_bytes += size
        self.region.expect_within("max_pickle_steps", self.texts, unit="texts")
        self.region.expect_within("max_text_bytes", self.cursor.text_bytes, unit="bytes of text")
        try:
            return self.cursor.take(size).decode()
        except UnicodeDecodeError as error:
            self.broken(f"a fault: {error.reason}", "text in UTF-8")

    def name(self) -> str:
        begin = self.cursor.position
        name = self.text()
        self.region.expect_within("max_name_characters", len(name), unit="characters", byte=begin)
        if not name or not name.isprintable():
            self.region.refuse("tensor-name", begin, got=shown(name))
        return name

    def pairs(self, count: int) -> dict[str, object]:
        values: dict[str, object] = {}
        for _ in range(count):
            begin = self.cursor.position
            self.region.expect_within("max_header_bytes", begin, unit="bytes of header")
            key = self.name()
            if key in values:
                self.region.refuse("tensor-name", begin, got=f"the key {shown(key)} twice")
            if key.startswith(_TEMPLATE):
                self.region.report("template", begin, got=shown(key))
            values[key] = self.value(self.whole("uint32"))
        return values

    def value(self, kind: int) -> object:
        if kind == _TEXT:
            return self.text()
        if kind == _ARRAY:
            return self.array(self.whole("uint32"))
        if kind not in _NUMBERS:
            self.broken(f"a value of type {kind}")
        return self.number(_NUMBERS[kind])

    def array(self, kind: int) -> object:
        """Read texts; numbers stay in the file."""
        if kind == _TEXT:
            return [self.text() for _ in range(self.count(_TEXT_BYTES))]
        if kind not in _NUMBERS:
            self.broken(f"an array of type {kind}", "an array of numbers or texts")
        dtype = _NUMBERS[kind]
        length = self.count(ITEM_BYTES[dtype])
        begin = self.cursor.skip(length * ITEM_BYTES[dtype])
        data = self.region.section(begin, length * ITEM_BYTES[dtype])
        if dtype == "bool" and any(chunk.translate(None, b"\0\1") for chunk in data.chunks()):
            self.broken("other bytes", "booleans of 0 or 1")
        return Tensor(dtype, (length,), (1,), 0, data)

    def tensor(self) -> _Described:
        begin = self.cursor.position
        self.region.expect_within("max_header_bytes", begin, unit="bytes of header")
        name = self.name()
        axes = self.whole("uint32")
        if axes > _MAX_AXES:
            self.broken(f"{axes} axes", f"at most {_MAX_AXES} axes")
        # The first axis of a file varies fastest, the last one here.
        sizes = tuple(self.whole("uint64") for _ in range(axes))[::-1]
        try:
            shape = shape_of(sizes)
        except Misfit as misfit:
            self.broken(misfit.got, misfit.expected)
        dtype, packing, size = self.bytes_of(self.whole("uint32"), shape)
        return _Described(name, dtype, packing, shape, size, self.whole("uint64"), begin)

    def bytes_of(self, kind: int, shape: tuple[int, ...]) -> tuple[str, str, int]:
        """Return the dtype of a type, how it is packed, and what a shape of it takes."""
        count = math.prod(shape)
        if kind in _PLAIN:
            return _PLAIN[kind], "", count * ITEM_BYTES[_PLAIN[kind]]
        if kind not in PACKINGS:
            name = _UNREAD.get(kind, f"number {kind}")
            self.region.refuse("gguf-type", self.cursor.position, got=f"the type {name}")
        packing, block, size = PACKINGS[kind]
        if not shape or shape[-1] % block:
            self.broken(f"rows of {shape[-1] if shape else 1}", f"rows of whole blocks of {block}")
        return "float32", packing, count // block * size


GGUF: Final = Format(
    "gguf", lambda _, head: head.startswith(_MARK), _parse, {"gguf": frozenset({".gguf"})}
)
