# SPDX-License-Identifier: Apache-2.0
"""Tar archives, read strictly: files and folders only, every byte accounted for.

POSIX.1-2017 `pax` interchange format and GNU's long names. A link, a device, a sparse file
or a header that is not understood ends the reading.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Final, NoReturn

from rosin.errors import grouped, shown
from rosin.scan.archive_names import check_names
from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region

_BLOCK: Final = 512
_MAX_NOTE_BYTES: Final = 1 << 16
_OCTAL: Final = re.compile(rb" *([0-7]{1,12})[ \0]*")
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,8}) ([^=\n]+)=")
_FILES: Final = {b"0", b"\0"}
_FOLDER: Final = b"5"
_LONG_NAME: Final = b"L"
_PAX: Final = b"x"
# What a pax header may say without changing what is read.
_PAX_KEYS: Final = {"path", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """One file: its path, where its bytes begin, how many there are."""

    name: str
    begin: int
    size: int


def _sniff(region: Region, head: bytes) -> bool:
    del region
    return head[257:262] == b"ustar" and _checksum(head[:_BLOCK]) is not None


def _parse(region: Region) -> Parsed:
    members = list(_members(region))
    check_names(region, [member.name for member in members])
    return Parsed("tar", inside=_inside(region, members))


def _inside(region: Region, members: list[_Member]) -> Iterator[Region]:
    for member in members:
        region.context.members += 1
        region.expect_within("max_members", region.context.members, unit="members")
        if not member.name.endswith("/"):
            yield region.section(member.begin, member.size, member.name)


def _members(region: Region) -> Iterator[_Member]:
    """Walk over the headers to the two blocks of zeros at the end."""
    at, count = 0, 0
    notes: dict[str, str] = {}
    while (header := region.exactly(at, _BLOCK)).strip(b"\0"):
        count += 1
        region.expect_within("max_members", count, unit="members", byte=at)
        if _checksum(header) is None:
            _broken(region, at, "a header whose checksum fails")
        kind = header[156:157]
        size = int(notes["size"]) if "size" in notes else _number(region, header[124:136], at)
        begin = at + _BLOCK
        if kind in {_LONG_NAME, _PAX}:
            if size > _MAX_NOTE_BYTES or notes:
                _broken(region, at, "a long or a second header for one member")
            notes = _notes(region, kind, region.exactly(begin, size), at)
        elif kind in _FILES or kind == _FOLDER:
            name = notes.get("path") or _name(region, header, at)
            yield _member(region, name, begin, size, folder=kind == _FOLDER)
            notes = {}
        else:
            region.refuse("archive-name", at, got=f"a link or a device, type {shown(kind)}")
        at = begin + size + -size % _BLOCK
        _expect_zeros(region, begin + size, at)
    if notes:
        _broken(region, at, "a header without its member")
    _expect_zeros(region, at, region.size)


def _member(region: Region, name: str, begin: int, size: int, *, folder: bool) -> _Member:
    if folder and size:
        _broken(region, begin, "a folder that holds bytes")
    if begin + size > region.size:
        region.refuse("cut-short", begin, expected=f"{grouped(size)} bytes", got="fewer")
    return _Member(name.removesuffix("/") + "/" * folder, begin, size)


def _broken(region: Region, byte: int, got: str) -> NoReturn:
    region.refuse("tar-layout", byte, got=got)


def _checksum(header: bytes) -> int | None:
    """Return the checksum of a header if it is the one that it states."""
    stated = _OCTAL.fullmatch(header[148:156])
    total = sum(header[:148]) + sum(header[156:_BLOCK]) + 8 * ord(" ")
    return total if stated and int(stated[1], 8) == total else None


def _number(region: Region, field: bytes, at: int) -> int:
    found = _OCTAL.fullmatch(field)
    if not found:
        _broken(region, at, "a size that is no octal number")
    return int(found[1], 8)


def _name(region: Region, header: bytes, at: int) -> str:
    name, prefix = (header[a:b].partition(b"\0")[0] for a, b in ((0, 100), (345, 500)))
    path = prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name
    return _decoded(region, path, at)


def _decoded(region: Region, path: bytes, at: int) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        region.refuse("archive-name", at, got=shown(path))


def _notes(region: Region, kind: bytes, data: bytes, at: int) -> dict[str, str]:
    """Read GNU's long name, or the records of a pax header."""
    if kind == _LONG_NAME:
        return {"path": _decoded(region, data.removesuffix(b"\0"), at)}
    notes: dict[str, str] = {}
    while data:
        found = _RECORD.match(data)
        size = int(found[1]) if found else 0
        if not found or size <= found.end() or data[size - 1 : size] != b"\n":
            _broken(region, at, "a pax header that is cut short")
        key = _decoded(region, found[2], at)
        if key not in _PAX_KEYS or key in notes:
            _broken(region, at, f"a pax record {shown(key)}, or twice")
        notes[key] = _decoded(region, data[found.end() : size - 1], at)
        data = data[size:]
    size = notes.get("size", "0")
    if not (size.isascii() and size.isdigit() and len(size) < 19):
        _broken(region, at, "a size that is no number")
    return notes


def _expect_zeros(region: Region, begin: int, end: int) -> None:
    done = begin
    for chunk in region.chunks(begin, min(end, region.size)):
        if chunk.strip(b"\0"):
            region.refuse("trailing-bytes", done, got="bytes that belong to no member")
        done += len(chunk)


TAR: Final = Format(
    "tar",
    _sniff,
    _parse,
    {"tar": frozenset({".tar", ".nemo", ".mar"})},
)
