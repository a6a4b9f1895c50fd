# SPDX-License-Identifier: Apache-2.0
"""Compressed bytes as a region: small ones in memory, large ones unpacked again as needed."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final, final

from rosin.errors import grouped
from rosin.scan.region import CHUNK_BYTES, MemoryRegion, Region

Pieces = Callable[[Region], Iterator[bytes]]

_MEMORY_BYTES: Final = 1 << 25
_XZ_MEMORY_BYTES: Final = 1 << 27  # the dictionary of `xz -9` takes 64 MiB
_MAX_REWINDS: Final = 16
_KEPT: Final = 4  # pieces that stay at hand for a step back


def unpack(region: Region, pieces: Pieces, member: str, size: int | None = None) -> Region:
    """Unpack all of a region once, checking it, and return what comes out.

    Args:
        region: The compressed bytes; they are to be used up exactly.
        pieces: Yields what they unpack to in pieces of bounded size.
        member: The name of what comes out.
        size: How many bytes there are to be, if that was said.

    Raises:
        Refused: The data is damaged, or grows beyond a bound.
    """
    context = region.context
    held: list[bytes] | None = []
    done = 0
    for piece in pieces(region):
        done += len(piece)
        context.unpacked_bytes += len(piece)
        region.expect_within("max_unpacked_bytes", context.unpacked_bytes, unit="bytes")
        region.expect_expansion(done, region.size)
        if held is not None:
            held.append(piece)
            held = held if done <= _MEMORY_BYTES else None
    if size is not None and done != size:
        region.refuse(
            "archive-damaged", expected=f"{grouped(size)} bytes", got=f"{grouped(done)} bytes"
        )
    name, depth = f"{region.name}!{member}", region.depth + 1
    if held is not None:
        return MemoryRegion(name, b"".join(held), context, depth)
    return Unpacked(name, done, region, pieces)


@final
class Unpacked(Region):
    """The bytes that a compressed region unpacks to, made again for each pass over them.

    Args:
        name: What they are called.
        size: How many there are.
        packed: The compressed bytes.
        pieces: Yields what they unpack to.
    """

    def __init__(self, name: str, size: int, packed: Region, pieces: Pieces) -> None:
        super().__init__(name, size, packed.context, packed.depth + 1)
        self.packed = packed
        self._pieces = pieces
        self._rewinds = 0
        self._rewind()

    def read(self, begin: int, size: int) -> bytes:
        """Unpack up to the place; a step far back starts from the front."""
        end = min(begin + size, self.size)
        if begin < self._first:
            self._rewind()
        parts: list[bytes] = []
        while begin < end:
            while begin >= self._first + sum(map(len, self._window)):
                self._advance()
            at = self._first
            for piece in self._window:
                if at <= begin < at + len(piece):
                    part = piece[begin - at : end - at]
                    parts.append(part)
                    begin += len(part)
                at += len(piece)
        return b"".join(parts)

    def _rewind(self) -> None:
        self._rewinds += 1
        if self._rewinds > _MAX_REWINDS:
            self.refuse("limit", expected=f"at most {_MAX_REWINDS} passes over it", got="more")
        self._stream = self._pieces(self.packed)
        self._window: list[bytes] = []
        self._first = 0

    def _advance(self) -> None:
        piece = next(self._stream, None)
        if piece is None:
            self.refuse("changed", got="fewer bytes than a moment ago")
        self._window.append(piece)
        if len(self._window) > _KEPT:
            self._first += len(self._window.pop(0))


# --- decompressors ---------------------------------------------------------------------


def deflated(crc: int | None = None) -> Pieces:
    """Unpack a member of a zip archive; hold it to its checksum."""
    return _zlib_pieces(-zlib.MAX_WBITS, crc)


def gzip_pieces(region: Region) -> Iterator[bytes]:
    """Unpack one gzip member, with its checksum."""
    return _zlib_pieces(16 + zlib.MAX_WBITS)(region)


def zlib_pieces(region: Region) -> Iterator[bytes]:
    """Unpack one zlib stream, with its checksum."""
    return _zlib_pieces(zlib.MAX_WBITS)(region)


def bz2_pieces(region: Region) -> Iterator[bytes]:
    """Unpack one bzip2 stream."""
    return _feed(region, bz2.BZ2Decompressor())


def xz_pieces(region: Region) -> Iterator[bytes]:
    """Unpack one xz or lzma stream, within a bound on its dictionary."""
    return _feed(region, lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES))


def _zlib_pieces(window: int, crc: int | None = None) -> Pieces:
    def pieces(region: Region) -> Iterator[bytes]:
        machine = zlib.decompressobj(window)
        checksum = 0
        for chunk in region.chunks():
            if machine.eof:
                _more(region)
            data = chunk
            while data or not machine.eof:
                piece = _step(region, lambda data=data: machine.decompress(data, CHUNK_BYTES))
                data = machine.unconsumed_tail
                checksum = zlib.crc32(piece, checksum) if crc is not None else 0
                if piece:
                    yield piece
                if machine.unused_data:
                    _more(region)
                if not data and len(piece) < CHUNK_BYTES:
                    break
        if not machine.eof:
            region.refuse("archive-damaged", region.size, got="the end of the bytes")
        if crc is not None and checksum != crc:
            region.refuse("archive-checksum", got="another one")

    return pieces


def _feed(region: Region, machine: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> Iterator[bytes]:
    for chunk in region.chunks():
        if machine.eof:
            _more(region)
        data = chunk
        while True:
            piece = _step(region, lambda data=data: machine.decompress(data, CHUNK_BYTES))
            data = b""
            if piece:
                yield piece
            if machine.eof and machine.unused_data:
                _more(region)
            if machine.eof or machine.needs_input:
                break
    if not machine.eof:
        region.refuse("archive-damaged", region.size, got="the end of the bytes")


def _step(region: Region, step: Callable[[], bytes]) -> bytes:
    try:
        return step()
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        region.refuse("archive-damaged", got=f"a fault: {error}")


def _more(region: Region) -> None:
    region.refuse("trailing-bytes", got="bytes after the compressed data")
