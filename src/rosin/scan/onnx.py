# SPDX-License-Identifier: Apache-2.0
"""ONNX: a graph of operators as a message of protocol buffers; its initialisers are arrays.

Every field of the file is held to the published `onnx.proto`. The graph is not run, and not
checked beyond that: only its initialisers are read.
"""

import dataclasses
import math
from typing import Final, NoReturn, cast

from rosin.errors import grouped, shown
from rosin.scan.archive_names import is_plain
from rosin.scan.arrays import shape_of
from rosin.scan.parsed import ITEM_BYTES, Format, Parsed, Tensor, contiguous
from rosin.scan.protobuf import Fields, Reader, Schema, Span, top_level
from rosin.scan.region import MemoryRegion, Region
from rosin.scan.values import Misfit

_RULE: Final = "onnx-layout"
_GRAPH: Final = 7
_MAX_VERSION: Final = 31
_MAX_FIELDS: Final = 4096

_SCHEMA: Final[Schema] = {
    "Model": {
        **dict.fromkeys((1, 5), "int"),
        **dict.fromkeys((2, 3, 4, 6), "text"),
        _GRAPH: "Graph",
        8: "*Opset",
        14: "*Pair",
        20: "*Training",
        25: "*Function",
    },
    "Opset": {1: "text", 2: "int"},
    "Pair": {1: "text", 2: "text"},
    "Training": {1: "Graph", 2: "Graph", 3: "*Pair", 4: "*Pair"},
    "Function": {
        **dict.fromkeys((1, 8, 10, 13), "text"),
        **dict.fromkeys((4, 5, 6), "*text"),
        7: "*Node",
        9: "*Opset",
        11: "*Attribute",
        12: "*Value",
        14: "*Pair",
    },
    "Graph": {
        **dict.fromkeys((2, 10), "text"),
        1: "*Node",
        5: "*Tensor",
        **dict.fromkeys((11, 12, 13), "*Value"),
        14: "*Annotation",
        15: "*Sparse",
        16: "*Pair",
    },
    "Node": {
        **dict.fromkeys((1, 2), "*text"),
        **dict.fromkeys((3, 4, 6, 7, 8), "text"),
        5: "*Attribute",
        9: "*Pair",
    },
    "Attribute": {
        **dict.fromkeys((1, 13, 21), "text"),
        2: "float",
        **dict.fromkeys((3, 20), "int"),
        4: "bytes",
        5: "Tensor",
        6: "Graph",
        7: "*float",
        8: "*int",
        9: "*bytes",
        10: "*Tensor",
        11: "*Graph",
        14: "Type",
        15: "*Type",
        22: "Sparse",
        23: "*Sparse",
    },
    "Tensor": {
        1: "*int",
        2: "int",
        4: "float",
        **dict.fromkeys((5, 7, 11), "*int"),
        6: "*bytes",
        **dict.fromkeys((8, 12), "text"),
        9: "bytes",
        10: "double",
        13: "*Pair",
        14: "int",
        16: "*Pair",
    },
    "Sparse": {1: "Tensor", 2: "Tensor", 3: "*int"},
    "Annotation": {1: "text", 2: "*Pair"},
    "Value": {1: "text", 2: "Type", 3: "text", 4: "*Pair"},
    "Type": {1: "Dense", 4: "Sequence", 5: "Map", 6: "text", 8: "Dense", 9: "Sequence"},
    "Dense": {1: "int", 2: "Shape"},
    "Sequence": {1: "Type"},
    "Map": {1: "int", 2: "Type"},
    "Shape": {1: "*Axis"},
    "Axis": {1: "int", 2: "text", 3: "text"},
}
_DTYPES: Final = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    24: "float8_e8m0fnu",
}
# Which field holds the numbers of a dtype where it is not the raw one; the rest is in 5.
_FIELDS: Final = {
    "float32": 4,
    "complex64": 4,
    "float64": 10,
    "complex128": 10,
    "int64": 7,
    "uint32": 11,
    "uint64": 11,
}
_NUMBERS: Final = (4, 5, 6, 7, 9, 10, 11)
_RAW: Final = 9
_SPANS: Final = {4, _RAW, 10}
_EXTERNAL: Final = 1
# Operators that every runtime has by itself.
_DOMAINS: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft"}
)
_CODE: Final = frozenset({"PyOp", "PythonOp", "PythonOpGrad", "ATen"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Initialiser:
    """A tensor of the file as its fields say."""

    fields: Fields


class _Model:
    """What is found in a file while its messages are read."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.domains: dict[str, str] = {}
        self.functions: set[str] = set()
        self.places: set[str] = set()
        self.reader = Reader(region, _SCHEMA, self.seen, _RULE)

    def seen(self, kind: str, fields: Fields) -> object:
        """Look at a message, and keep of it what is needed."""
        if kind == "Tensor":
            self._expect_inside(fields)
            return _Initialiser(fields)
        if kind == "Node":
            self.domains.setdefault(_text(fields, 7), _text(fields, 4))
            if _text(fields, 4) in _CODE:
                self._report("onnx-domain", f"the operator {shown(_text(fields, 4))}")
        if kind == "Function":
            self.functions.add(_text(fields, 10))
        if kind == "Graph":
            return {number: fields.get(number, []) for number in (5, 15)}
        return fields if kind in {"Model", "Pair"} else None

    def _report(self, rule: str, got: str) -> None:
        self.region.report(rule, self.reader.cursor.position, got=got)

    def _expect_inside(self, tensor: Fields) -> None:
        """Report numbers that lie in another file, above all one elsewhere."""
        pairs = cast("list[Fields]", tensor.get(13, []))
        if not pairs and tensor.get(14, [0]) != [_EXTERNAL]:
            return
        named = [_text(pair, 2) for pair in pairs if _text(pair, 1) == "location"]
        for place in named or [""]:
            rule = "onnx-external" if is_plain(place) else "onnx-path"
            # One finding says that there is another file; each that leads elsewhere counts.
            if place not in self.places and (rule == "onnx-path" or not self.places):
                self._report(rule, f"numbers in {shown(place)}")
            self.places.add(place)

    def expect_known_operators(self) -> None:
        """Report the first operator of each library that a runtime would have to load."""
        for domain, operator in self.domains.items():
            if domain not in _DOMAINS | self.functions:
                self._report("onnx-domain", f"{shown(operator)} of {shown(domain)}")

    def tensor(self, fields: Fields) -> Tensor:
        """Describe an initialiser: its numbers fill its shape exactly."""
        name = _text(fields, 8)
        dtype = _DTYPES.get(cast("int", fields.get(2, [0])[0]))
        if dtype is None:
            got = f"numbers of type {fields.get(2, [0])[0]}"
            self.region.refuse("onnx-type", got=got, place=name)
        try:
            shape = shape_of(tuple(fields.get(1, ())))
        except Misfit as misfit:
            self._refuse(name, misfit.expected, misfit.got)
        self.region.expect_within("max_axes", len(shape), unit="axes", place=name)
        size = math.prod(shape) * ITEM_BYTES[dtype]
        data = self._numbers(fields, dtype, name)
        if data.size != size:
            self._refuse(name, f"{grouped(size)} bytes of numbers", f"{grouped(data.size)}")
        return Tensor(dtype, shape, contiguous(shape), 0, data)

    def _numbers(self, fields: Fields, dtype: str, name: str) -> Region:
        held = [number for number in _NUMBERS if number in fields]
        own = _FIELDS.get(dtype, 5)
        if not held:
            return MemoryRegion(self.region.name, b"", self.region.context)
        if len(held) > 1 or held[0] not in {own, _RAW}:
            self._refuse(name, f"its numbers in field {own} or {_RAW}", f"them in {held}")
        values = fields[held[0]]
        if held[0] in _SPANS:
            begin, size = cast("Span", values[0])
            return self.region.section(begin, size)
        return self._packed(cast("list[int]", values), dtype, name)

    def _packed(self, values: list[int], dtype: str, name: str) -> Region:
        """Write whole numbers, which the file has in few bytes each, as an array has them."""
        size = ITEM_BYTES[dtype]
        signed = dtype in {"int8", "int16", "int32", "int64"}
        least, end = (-(1 << 8 * size - 1), 1 << 8 * size - 1) if signed else (0, 1 << 8 * size)
        # Negative numbers are written as those of 64 bits that are congruent to them.
        numbers = [n - (1 << 64) if signed and n >> 63 else n for n in values]
        if any(not least <= number < end for number in numbers):
            self._refuse(name, f"numbers of {dtype}", "larger ones")
        data = b"".join(number.to_bytes(size, "little", signed=signed) for number in numbers)
        return MemoryRegion(self.region.name, data, self.region.context)

    def _refuse(self, name: str, expected: str, got: str) -> NoReturn:
        self.region.refuse(_RULE, expected=expected, got=got, place=name)


def _text(fields: Fields, number: int) -> str:
    return cast("str", fields.get(number, [""])[0])


def _sniff(region: Region, head: bytes) -> bool:
    """Take a version, then fields among which is a graph: there is no other mark."""
    begins = head[:1] == b"\x08" and head[1:2] != b"" and head[1] <= _MAX_VERSION
    return begins and _GRAPH in top_level(region, _MAX_FIELDS)


def _parse(region: Region) -> Parsed:
    """Read every field; keep the initialisers of the main graph."""
    model = _Model(region)
    try:
        fields = cast("Fields", model.reader.message("Model", region.size))
    except RecursionError:
        region.refuse("limit", expected="few nested messages", got="hundreds of them")
    model.expect_known_operators()
    if model.places:
        return Parsed("onnx")
    graph = cast("Fields", fields.get(_GRAPH, [{}])[0])
    if graph.get(15):
        region.refuse("onnx-type", got="a sparse initialiser")
    region.expect_within("max_tensors", len(graph.get(5, ())), unit="tensors")
    arrays: dict[str, Tensor] = {}
    for one in cast("list[_Initialiser]", graph.get(5, [])):
        name = _text(one.fields, 8)
        region.expect_within("max_name_characters", len(name), unit="characters")
        if not name or not name.isprintable() or name in arrays:
            region.refuse("tensor-name", got=f"{shown(name)}{' twice' * (name in arrays)}")
        arrays[name] = model.tensor(one.fields)
    return Parsed("onnx", dict(arrays), arrays, readable=True)


ONNX: Final = Format("onnx", _sniff, _parse, {"onnx": frozenset({".onnx"})})
