# SPDX-License-Identifier: Apache-2.0
"""What the parser of a format returns, and what a format is.

To add a format, write a module with a `Format` and list it in `rosin.scan.formats`:

1. `sniff(region, head)` says whether the first bytes (`head`, up to 4096 of them) make the
   region this format. It looks at magic bytes only, is cheap, and never raises.
2. `parse(region)` checks every rule of the format and returns a `Parsed`. It runs nothing,
   imports nothing it was told to, keeps memory bounded (data stays in the file: a `Tensor`
   says where), and accounts for every byte: what belongs to nothing is a finding.
   - `region.report(rule, byte, got=...)` notes a broken rule and goes on;
   - `region.refuse(rule, byte, got=...)` stops there;
   - `region.expect_within(limit, size, unit=...)` holds a size to a field of `Limits`,
     before memory is taken.
   The rules stand in a table in `rosin.scan.findings`, or in one that it merges.
3. A container does not look into its members: it yields them from `Parsed.inside`, as
   regions whose names say where they lie, and the scanner treats each like a file.
4. A reader in `rosin.files.importers` turns the same `Parsed` into arrays. It is given only
   what had no finding above a note, so it checks nothing again.

What a format means by its extension stands in `Format.suffixes`: a file with one of these
extensions and other contents is a finding, and so is the format under another's extension.
"""

import dataclasses
from collections.abc import Callable, Iterable

from rosin.scan.region import Region

HEAD_BYTES = 4096

ITEM_BYTES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "uint32": 4,
    "int32": 4,
    "uint64": 8,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}
"""Bytes of one element, for every dtype that a reader returns; the names are NumPy's."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """Where the numbers of one array lie; all of it was checked to be inside the region.

    Args:
        dtype: A key of `ITEM_BYTES`.
        shape: The length of each axis.
        strides: Steps along each axis in elements, zero or positive.
        offset: The first element, counted from the start of the region.
        region: The bytes of the storage, which several tensors may share.
        big_endian: Whether the most significant byte of an element comes first.
        step_bytes: What strides and offset count, where that is not one element: for the
            fields of records, 1.
        packing: How numbers are packed into blocks, for quantised ones; then the region
            holds the blocks, and the dtype is that of the numbers.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    region: Region
    big_endian: bool = False
    step_bytes: int = 0
    packing: str = ""


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array whose last axis varies fastest.

    Examples:
        >>> contiguous((4, 3, 2))
        (6, 2, 1)
    """
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


@dataclasses.dataclass(slots=True)
class Parsed:
    """What a parser understood.

    Args:
        format: The exact format, such as `"pytorch-zip"`.
        tree: The contents as plain values: `dict`, `list`, `tuple`, `str`, `int`, `float`,
            `complex`, `bool`, `bytes`, `Blob`, `None` and `Tensor`.
        arrays: The arrays under the names that a reader gives them, checked.
        readable: Whether a reader returns the tree: not for text, nor for containers.
        inside: For a container, its members, made one at a time as they are asked for.
    """

    format: str
    tree: object = None
    arrays: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    readable: bool = False
    inside: Iterable[Region] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """A format: how it is recognised, and how it is parsed.

    Args:
        name: What the report says until the parser knows better.
        sniff: Whether a region begins as this format does.
        parse: Checks a region and says what it holds; raises `Refused` where it cannot go on.
        suffixes: For each exact format that `parse` may return, the extensions under which
            it is at home, in lower case with their dots.
        last_resort: Whether it has no mark of its own and is asked only when no other fits.
    """

    name: str
    sniff: Callable[[Region, bytes], bool]
    parse: Callable[[Region], Parsed]
    suffixes: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    last_resort: bool = False
