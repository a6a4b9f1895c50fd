# SPDX-License-Identifier: Apache-2.0
"""NumPy's own files: one array, described by a literal that is read by a grammar of our own.

The format is that of NEP 1 and of `numpy.lib.format`, versions 1.0 to 3.0.
"""

import math
import re
from collections.abc import Iterator
from typing import Final, NoReturn

from rosin.errors import grouped, shown
from rosin.scan.arrays import Dtype, number_dtype, shape_of, strides_of
from rosin.scan.parsed import ITEM_BYTES, Format, Parsed, Tensor
from rosin.scan.region import Region
from rosin.scan.tree import named_arrays
from rosin.scan.values import Misfit

MARK: Final = b"\x93NUMPY"
_LENGTH_BYTES: Final = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}
_MAX_HEADER_BYTES: Final = 10_000  # NumPy's own bound
_KEYS: Final = {"descr", "fortran_order", "shape"}
_TOKEN: Final = re.compile(
    r"""\s*(?:'([^'\\\n]*)'|"([^"\\\n]*)"|(\d{1,19})L?(?!\w)|(True|False)(?!\w)|([][(){}:,]))"""
)
_CLOSING: Final = {"(": ")", "[": "]"}
_MAX_DEPTH: Final = 8  # a record takes four
_OBJECTS: Final = re.compile(r"[<>|=]?O\d?")


def sniff(region: Region, head: bytes) -> bool:
    """Say whether a region begins as an array of NumPy."""
    del region
    return head.startswith(MARK)


def parse(region: Region) -> Parsed:
    """Read the header, and check that exactly its numbers follow."""
    begin, header = _header(region)
    fields = _fields(region, header["descr"])
    shape = _shape(region, header["shape"])
    if type(header["fortran_order"]) is not bool:
        _broken(region, f"fortran_order of {shown(header['fortran_order'])}")
    if fields is None:
        return Parsed("npy", inside=_objects(region, begin))
    record = sum(_size(dtype, sizes) for _, dtype, sizes in fields)
    size = math.prod(shape) * record
    data = _exactly(region, begin, size)
    made: dict[str, Tensor] = {}
    at = 0
    outer = strides_of(shape, fortran=header["fortran_order"])
    for name, dtype, sizes in fields:
        item = ITEM_BYTES[dtype.name]
        inner = [step * item for step in strides_of(sizes, fortran=False)]
        strides = (*(step * record for step in outer), *inner)
        _shape(region, (*shape, *sizes))
        made[name] = Tensor(
            dtype.name, (*shape, *sizes), strides, at, data, dtype.big_endian, step_bytes=1
        )
        at += _size(dtype, sizes)
    if list(made) == [""]:
        return Parsed("npy", made[""], {"tensor": made[""]}, readable=True)
    return Parsed("npy", made, named_arrays(made, region), readable=True)


def _broken(region: Region, got: str) -> NoReturn:
    region.refuse("npy-header", len(MARK), got=got)


def _size(dtype: Dtype, sizes: tuple[int, ...]) -> int:
    return math.prod(sizes) * ITEM_BYTES[dtype.name]


def _exactly(region: Region, begin: int, size: int) -> Region:
    """Return the numbers, which end where the file ends."""
    left = region.size - begin
    if size > left:
        expected = f"{grouped(size)} bytes of numbers"
        region.refuse("cut-short", begin, expected=expected, got=f"{grouped(left)}")
    if size < left:
        region.refuse("trailing-bytes", begin + size, got=f"{grouped(left - size)} more bytes")
    return region.section(begin, size)


def _objects(region: Region, begin: int) -> Iterator[Region]:
    """Report an array of objects, and look into the pickle that it is."""
    region.report("npy-objects", begin, got="an array of objects")
    yield region.section(begin, region.size - begin, "objects.pkl")


# --- the header ------------------------------------------------------------------------


def _header(region: Region) -> tuple[int, dict[str, object]]:
    """Read the literal: where it ends, and what it says."""
    version = region.exactly(len(MARK), 2)
    if version not in _LENGTH_BYTES:
        _broken(region, f"version {version[0]}.{version[1]}")
    begin = len(MARK) + 2 + _LENGTH_BYTES[version]
    length = int.from_bytes(region.exactly(len(MARK) + 2, _LENGTH_BYTES[version]), "little")
    if length > _MAX_HEADER_BYTES:
        _broken(region, f"{grouped(length)} bytes of header, more than {_MAX_HEADER_BYTES}")
    data = region.exactly(begin, length)
    try:
        text = data.decode("utf-8" if version == b"\3\0" else "latin-1")
    except UnicodeDecodeError as error:
        _broken(region, f"a fault in its UTF-8: {error.reason}")
    header = _Literal(text, region).header()
    return begin + length, header


class _Literal:
    """A dict of texts, whole numbers, booleans, tuples and lists, and nothing else."""

    def __init__(self, text: str, region: Region) -> None:
        self.text = text.rstrip()
        self.region = region
        self.at = 0

    def header(self) -> dict[str, object]:
        """Read all of it: a dict of the three keys."""
        content: dict[str, object] = {}
        self._expect("{")
        while not self._accept("}"):
            key = self._value(1)
            self._expect(":")
            if not isinstance(key, str) or key in content:
                _broken(self.region, f"the key {shown(key)}{' twice' * (key in content)}")
            content[key] = self._value(1)
            if not self._accept(","):
                self._expect("}")
                break
        if self.at != len(self.text):
            _broken(self.region, "more than one dict")
        if content.keys() != _KEYS:
            _broken(self.region, f"the keys {', '.join(map(shown, content)) or 'none'}")
        return content

    def _match(self) -> re.Match[str]:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            _broken(self.region, f"{shown(self.text[self.at : self.at + 16])}, which is no literal")
        return match

    def _accept(self, mark: str) -> bool:
        match = _TOKEN.match(self.text, self.at)
        if match is None or match[5] != mark:
            return False
        self.at = match.end()
        return True

    def _expect(self, mark: str) -> None:
        if not self._accept(mark):
            _broken(self.region, f"no {mark!r} where one belongs")

    def _value(self, depth: int) -> object:
        match = self._match()
        self.at = match.end()
        single, double, number, truth, mark = match.groups()
        if number is not None:
            return int(number)
        if truth is not None:
            return truth == "True"
        if mark is None:
            return double if single is None else single
        if mark not in _CLOSING or depth >= _MAX_DEPTH:
            _broken(self.region, f"{mark!r} where a value belongs")
        return self._items(mark, depth)

    def _items(self, mark: str, depth: int) -> object:
        items: list[object] = []
        closing = _CLOSING[mark]
        comma = True
        while not self._accept(closing):
            if not comma:
                self._expect(",")
            items.append(self._value(depth + 1))
            comma = self._accept(",")
        if mark == "(" and len(items) == 1 and not comma:
            return items[0]
        return tuple(items) if mark == "(" else items


# --- what the header says --------------------------------------------------------------


def _fields(region: Region, descr: object) -> list[tuple[str, Dtype, tuple[int, ...]]] | None:
    """Return the fields of a record, one without a name for plain numbers; `None` for objects."""
    if isinstance(descr, str):
        dtype = _dtype(region, descr)
        return None if dtype is None else [("", dtype, ())]
    if not isinstance(descr, list) or not descr:
        region.refuse("npy-dtype", len(MARK), got=f"descr of {shown(descr)}")
    fields: list[tuple[str, Dtype, tuple[int, ...]]] = []
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in {2, 3}:
            region.refuse("npy-dtype", len(MARK), got=f"a field {shown(field)}")
        name, code, *sizes = field
        if not isinstance(name, str) or not name or not isinstance(code, str):
            region.refuse("npy-dtype", len(MARK), got=f"a field {shown(field)}")
        if name in {known for known, _, _ in fields}:
            region.refuse("tensor-name", len(MARK), got=f"{shown(name)} twice")
        dtype = _dtype(region, code)
        if dtype is None:
            return None
        size = sizes[0] if sizes else ()
        fields.append((name, dtype, _shape(region, (size,) if isinstance(size, int) else size)))
    return fields


def _dtype(region: Region, code: str) -> Dtype | None:
    if _OBJECTS.fullmatch(code):
        return None
    try:
        return number_dtype(code)
    except Misfit as misfit:
        region.refuse("npy-dtype", len(MARK), expected=misfit.expected, got=misfit.got)


def _shape(region: Region, shape: object) -> tuple[int, ...]:
    try:
        sizes = shape_of(shape)
    except Misfit as misfit:
        region.refuse("npy-header", len(MARK), expected=misfit.expected, got=misfit.got)
    region.expect_within("max_axes", len(sizes), unit="axes", byte=len(MARK))
    return sizes


NPY: Final = Format("npy", sniff, parse, {"npy": frozenset({".npy"})})
