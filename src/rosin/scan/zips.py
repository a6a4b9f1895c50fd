# SPDX-License-Identifier: Apache-2.0
"""The directory of a zip archive, read so strictly that all programs read the same members.

Central directory and local headers agree, members lie end to end from byte 0 to the
directory, nothing stands between, before or after them. `.ZIP File Format Specification`
(APPNOTE 6.3.10) is what the comments cite.
"""

import dataclasses
import struct
from collections.abc import Sequence
from typing import Final, NoReturn

from rosin.errors import grouped, shown
from rosin.scan.archive_names import check_names
from rosin.scan.region import Region

STORED: Final = 0
DEFLATED: Final = 8

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")  # 4.3.7
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")  # 4.3.12
_END: Final = struct.Struct("<4sHHHHIIH")  # 4.3.16
_END64: Final = struct.Struct("<4sQHHIIQQQQ")  # 4.3.14
_LOCATOR64: Final = struct.Struct("<4sIQI")  # 4.3.15
_DESCRIPTOR_MARK: Final = b"PK\x07\x08"  # 4.3.9.3
_MAX32: Final = 0xFFFFFFFF
_MAX16: Final = 0xFFFF

_DESCRIPTOR: Final = 1 << 3
_UTF8: Final = 1 << 11
_FLAGS: Final = _DESCRIPTOR | _UTF8 | 0b110  # and how hard the deflater tried
_ZIP64: Final = 1
# Known extra fields, none of which changes what is read: timestamps, owners, PyTorch's padding
# for alignment ("FB"), Java's mark.
_EXTRAS: Final = {_ZIP64, 0x000A, 0x5455, 0x5855, 0x7855, 0x7875, 0x4246, 0xCAFE}
_UNIX_KINDS: Final = {0o000000, 0o100000, 0o040000}  # unset, a file, a folder


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Args:
        name: Its path in the archive, with `/`; checked.
        begin: Where its data begin.
        packed: How many bytes they take.
        size: How many bytes they are once unpacked.
        method: `STORED` or `DEFLATED`.
        crc: The CRC-32 of the unpacked bytes.
    """

    name: str
    begin: int
    packed: int
    size: int
    method: int
    crc: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the central directory."""

    raw_name: bytes
    header: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int


def read_directory(region: Region) -> list[Member]:
    """Read and check the directory of an archive that fills the region.

    Raises:
        Refused: The archive breaks a rule, or uses what is not understood.
    """
    begin, end, count = _read_end(region)
    region.expect_within("max_members", count, unit="members")
    region.expect_within("max_header_bytes", end - begin, unit="bytes of directory")
    entries = _read_entries(region, begin, end, count)
    entries.sort(key=lambda entry: entry.header)
    members: list[Member] = []
    at = 0
    for index, entry in enumerate(entries):
        if entry.header != at:
            _broken(region, at, f"a member that begins at byte {grouped(entry.header)}")
        limit = entries[index + 1].header if index + 1 < len(entries) else begin
        data = _check_local(region, entry, limit)
        at = limit
        name = _decoded(region, entry)
        members.append(Member(name, data, entry.packed, entry.size, entry.method, entry.crc))
    if not members:
        _broken(region, 0, "no members")
    check_names(region, [member.name for member in members])
    return members


def _broken(region: Region, byte: int, got: str, expected: str = "") -> NoReturn:
    region.refuse("zip-layout", byte, got=got, expected=expected)


def _feature(region: Region, byte: int, got: str) -> NoReturn:
    region.refuse("zip-feature", byte, got=got)


# --- the end ---------------------------------------------------------------------------


def _read_end(region: Region) -> tuple[int, int, int]:
    """Find the directory: where it begins and ends, and its number of entries."""
    at = region.size - _END.size
    if at < 0:
        _broken(region, 0, "no end record")
    mark, disk, first, here, count, size, begin, comment = _END.unpack(
        region.exactly(at, _END.size)
    )
    if mark != b"PK\x05\x06" or comment:
        _broken(region, at, "something else, or a comment", "the end record, without a comment")
    locator = region.read(max(at - _LOCATOR64.size, 0), _LOCATOR64.size)
    if locator.startswith(b"PK\x06\x07"):
        found = _read_end64(region, at - _LOCATOR64.size, locator)
        for short, long, highest in zip(
            (disk, first, here, count, size, begin),
            found,
            (_MAX16, _MAX16, _MAX16, _MAX16, _MAX32, _MAX32),
            strict=True,
        ):
            if short not in {long, highest}:
                _broken(region, at, "two end records that differ")
        disk, first, here, count, size, begin = found
        at -= _LOCATOR64.size + _END64.size
    if disk or first or here != count:
        _feature(region, at, "an archive of several volumes")
    if begin + size != at:
        _broken(region, at, f"a directory that ends at byte {grouped(begin + size)}")
    return begin, at, count


def _read_end64(region: Region, at: int, locator: bytes) -> tuple[int, ...]:
    _, disk, record, disks = _LOCATOR64.unpack(locator)
    if disk or disks != 1 or record != at - _END64.size:
        _broken(region, at, "a locator that points elsewhere")
    mark, size, _, _, *fields = _END64.unpack(region.exactly(record, _END64.size))
    if mark != b"PK\x06\x06" or size != _END64.size - 12:
        _broken(region, record, "another record", "the zip64 end record")
    return tuple(fields)


# --- the directory ---------------------------------------------------------------------


def _read_entries(region: Region, begin: int, end: int, count: int) -> list[_Entry]:
    data = region.exactly(begin, end - begin)
    entries: list[_Entry] = []
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data):
            _broken(region, begin + at, "fewer entries than the end record says")
        entry, at = _read_entry(region, data, at, begin)
        entries.append(entry)
    if at != len(data):
        _broken(region, begin + at, "more bytes than the entries take")
    return entries


def _read_entry(region: Region, data: bytes, at: int, begin: int) -> tuple[_Entry, int]:
    fields = _CENTRAL.unpack_from(data, at)
    mark, made_by, _, flags, method, _, _, crc, packed, size = fields[:10]
    name_size, extra_size, comment, disk, _, attributes, header = fields[10:]
    where = begin + at
    if mark != b"PK\x01\x02":
        _broken(region, where, "something else", "an entry of the directory")
    if comment or disk:
        _feature(region, where, "a member with a comment or on another volume")
    if flags & ~_FLAGS or method not in {STORED, DEFLATED}:
        _feature(region, where, f"flags {flags:#06x} and method {method}")
    if made_by >> 8 == 3 and attributes >> 16 & 0o170000 not in _UNIX_KINDS:
        region.refuse("archive-name", where, got="a link or a device")
    at += _CENTRAL.size
    name = data[at : at + name_size]
    extra = data[at + name_size : at + name_size + extra_size]
    long = _extra(region, extra, extra_size, where)
    size, packed, header = _widened(region, (size, packed, header), long, where)
    if method == STORED and packed != size:
        _broken(region, where, "a stored member of two sizes")
    entry = _Entry(name, header, flags, method, crc, packed, size)
    return entry, at + name_size + extra_size


def _extra(region: Region, extra: bytes, size: int, where: int) -> bytes | None:
    """Check the extra fields and return the one of zip64."""
    long = None
    at = 0
    while at < size:
        if at + 4 > len(extra):
            _broken(region, where, "extra fields that are cut short")
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4 + length
        if at > len(extra):
            _broken(region, where, "extra fields that are cut short")
        if kind not in _EXTRAS or (kind == _ZIP64 and long is not None):
            _feature(region, where, f"an extra field {kind:#06x}")
        if kind == _ZIP64:
            long = extra[at - length : at]
    return long


def _widened(
    region: Region, shorts: Sequence[int], long: bytes | None, where: int
) -> tuple[int, ...]:
    """Put 64-bit numbers where 32 bits say that they are elsewhere (4.5.3)."""
    wanted = sum(short == _MAX32 for short in shorts)
    if long is None:
        if wanted:
            _broken(region, where, "a size that is missing")
        return tuple(shorts)
    if len(long) != 8 * wanted:
        _broken(region, where, "zip64 numbers that are not asked for, or too few")
    numbers = iter(struct.unpack(f"<{wanted}Q", long))
    return tuple(next(numbers) if short == _MAX32 else short for short in shorts)


def _decoded(region: Region, entry: _Entry) -> str:
    """Read a name; without the flag for UTF-8 only ASCII means the same to everybody."""
    try:
        return entry.raw_name.decode("utf-8" if entry.flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        region.refuse("archive-name", entry.header, got=shown(entry.raw_name))


# --- the members -----------------------------------------------------------------------


def _check_local(region: Region, entry: _Entry, limit: int) -> int:
    """Hold a local header to the directory; return where the data begin."""
    at = entry.header
    if at + _LOCAL.size > limit:
        _broken(region, at, "a member without room for its header")
    fields = _LOCAL.unpack(region.exactly(at, _LOCAL.size))
    mark, _, flags, method, _, _, crc, packed, size, name_size, extra_size = fields
    if mark != b"PK\x03\x04":
        _broken(region, at, "something else", "the header of a member")
    name = region.exactly(at + _LOCAL.size, name_size)
    extra = region.exactly(at + _LOCAL.size + name_size, extra_size)
    long = _extra(region, extra, extra_size, at)
    if (flags, method, name) != (entry.flags, entry.method, entry.raw_name):
        _broken(region, at, "another name, method or flags than in the directory")
    begin = at + _LOCAL.size + name_size + extra_size
    rest = limit - begin - entry.packed
    if flags & _DESCRIPTOR:
        wide = _check_descriptor(region, entry, begin + entry.packed, rest)
        sizes = (size, packed) if long is None else _local_sizes(region, size, packed, long, at)
        fits = (crc, *sizes) in {(0, 0, 0), (entry.crc, entry.size, entry.packed)}
        fits = fits or (crc == 0 and wide and set(sizes) <= {0, _MAX32})
    else:
        if rest:
            _broken(region, begin + entry.packed, f"{rest} bytes between two members")
        sizes = (size, packed) if long is None else _local_sizes(region, size, packed, long, at)
        fits = (crc, *sizes) == (entry.crc, entry.size, entry.packed)
    if not fits:
        _broken(region, at, "another checksum or size than in the directory")
    return begin


def _local_sizes(region: Region, size: int, packed: int, long: bytes, at: int) -> tuple[int, int]:
    """Read the sizes of a local header with a zip64 field; it holds both or neither."""
    if len(long) == 16:
        wide = struct.unpack("<2Q", long)
        if (size, packed) not in {(_MAX32, _MAX32), wide}:
            _broken(region, at, "two sizes that differ")
        return wide
    if long:
        _broken(region, at, "a zip64 field of another length")
    return size, packed


def _check_descriptor(region: Region, entry: _Entry, at: int, rest: int) -> bool:
    """Check the record after the data; return whether its sizes take 64 bits."""
    forms = {12: ("<III", 0), 16: ("<III", 4), 20: ("<IQQ", 0), 24: ("<IQQ", 4)}
    if rest not in forms:
        _broken(region, at, f"{grouped(rest)} bytes", "the descriptor of a member")
    form, marked = forms[rest]
    data = region.exactly(at, rest)
    if marked and not data.startswith(_DESCRIPTOR_MARK):
        _broken(region, at, "something else", "the descriptor of a member")
    if struct.unpack(form, data[marked:]) != (entry.crc, entry.packed, entry.size):
        _broken(region, at, "another checksum or size than in the directory")
    return rest >= 20
