# SPDX-License-Identifier: Apache-2.0
"""Containers: zip archives, and single files compressed with gzip, zlib, bzip2, xz or lzma.

A container is checked here and its members are yielded; what they are is found out as for
any file. A zip archive may be a format of its own: those are asked first, in `ZIP_KINDS`.
"""

import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from rosin.scan import npz, pytorch_zip, safetensors
from rosin.scan.members import zip_members
from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region
from rosin.scan.unpacked import (
    Pieces,
    bz2_pieces,
    gzip_pieces,
    unpack,
    xz_pieces,
    zlib_pieces,
)
from rosin.scan.zips import Member, read_directory

ZipKind = tuple[Callable[[list[Member]], bool], Callable[[Region, list[Member]], Parsed]]

ZIP_KINDS: Final[tuple[ZipKind, ...]] = (
    (pytorch_zip.claims, pytorch_zip.parse),
    (npz.claims, npz.parse),
)
"""Formats that are zip archives: whether the members make one, and its parser."""


def _parse_zip(region: Region) -> Parsed:
    members = read_directory(region)
    for claims, parse in ZIP_KINDS:
        if claims(members):
            return parse(region, members)
    return Parsed("zip", inside=zip_members(region, members))


def _compressed(name: str, pieces: Pieces) -> Callable[[Region], Parsed]:
    """Make the parser of one compressed file; what comes out has its name, less an ending."""

    def parse(region: Region) -> Parsed:
        def inside() -> Iterator[Region]:
            yield unpack(region, pieces, _inner_name(region.name))

        return Parsed(name, inside=inside())

    return parse


def _inner_name(name: str) -> str:
    """Name what comes out: `a.pkl` of `a.pkl.gz`, `a.tar` of `a.tgz`, `a.pkl` of `a.pkl`.

    Examples:
        >>> _inner_name("models/a.pkl.gz"), _inner_name("b.tgz"), _inner_name("c.joblib")
        ('a.pkl', 'b.tar', 'c.joblib')
    """
    last = name.rpartition("!")[2].rpartition("/")[2]
    stem, _, ending = last.rpartition(".")
    return stem + _ENDINGS[ending.lower()] if stem and ending.lower() in _ENDINGS else last


# From the ending of a compressed file to that of what is inside.
_ENDINGS: Final = {
    **dict.fromkeys(("gz", "gzip", "z", "zlib", "bz2", "xz", "lzma"), ""),
    **dict.fromkeys(("tgz", "tbz2", "txz"), ".tar"),
}
# joblib keeps the name of a file that it compresses; so do people with pickles.
_KEPT: Final = frozenset({".joblib", ".pkl", ".pickle", ".p", ".jl"})


def _single(name: str, mark: Callable[[bytes], bool], pieces: Pieces, *endings: str) -> Format:
    suffixes = {name: frozenset(endings) | _KEPT}
    return Format(name, lambda _, head: mark(head), _compressed(name, pieces), suffixes)


def _is_zlib(head: bytes) -> bool:
    """Take deflate with a window of up to 32 KiB and a header that checks (RFC 1950)."""
    marked = len(head) > 5 and head[0] == 0x78 and int.from_bytes(head[:2]) % 31 == 0
    return marked and _unpacks(head, zlib.decompressobj().decompress)


def _is_lzma(head: bytes) -> bool:
    """Take the one header that is in use (a dictionary of whole KiB)."""
    marked = head.startswith(b"\x5d\0\0")
    return marked and _unpacks(head, lzma.LZMADecompressor().decompress)


def _unpacks(head: bytes, unpack_some: Callable[[bytes, int], bytes]) -> bool:
    """Try it where the mark may as well be the length that safetensors begins with."""
    if not safetensors.begins(head):
        return True
    try:
        unpack_some(head, _TRIED_BYTES)
    except (zlib.error, lzma.LZMAError, EOFError):
        return False
    return True


_TRIED_BYTES: Final = 1 << 16

ARCHIVES: Final[tuple[Format, ...]] = (
    Format(
        "zip",
        lambda _, head: head.startswith(b"PK\x03\x04"),
        _parse_zip,
        {
            "zip": frozenset({".zip", ".keras"}),
            "npz": frozenset({".npz", ".zip"}),
            "pytorch-zip": frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".model", ".zip"}),
            "torchscript": frozenset({".pt", ".pth", ".ptl", ".bin", ".zip"}),
        },
    ),
    _single("gzip", lambda head: head.startswith(b"\x1f\x8b\x08"), gzip_pieces, ".gz", ".tgz"),
    _single("zlib", _is_zlib, zlib_pieces, ".z", ".zlib"),
    _single("bzip2", lambda head: head.startswith(b"BZh"), bz2_pieces, ".bz2", ".tbz2"),
    _single("xz", lambda head: head.startswith(b"\xfd7zXZ\0"), xz_pieces, ".xz", ".txz"),
    _single("lzma", _is_lzma, xz_pieces, ".lzma"),
)
