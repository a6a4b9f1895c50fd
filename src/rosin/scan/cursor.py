# SPDX-License-Identifier: Apache-2.0
"""Reading a region from front to back: small pieces quickly, large ones not at all."""

from typing import Final

from rosin.errors import grouped
from rosin.scan.region import Region

_BUFFER_BYTES: Final = 1 << 16
_MAX_LINE_BYTES: Final = 1 << 20


class Cursor:
    """A place in a region that only moves forward.

    Args:
        region: What is read.
        position: Where to begin.
    """

    def __init__(self, region: Region, position: int = 0) -> None:
        self.region = region
        self.text_bytes = 0  # how much of it became text, which is kept in memory
        self._buffer = b""
        self._begin = position  # where the buffer stands in the region
        self._at = 0

    @property
    def position(self) -> int:
        """The byte that is read next."""
        return self._begin + self._at

    @property
    def left(self) -> int:
        """How many bytes there are from here on."""
        return self.region.size - self.position

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, or refuse a region that ends before."""
        end = self._at + size
        if end > len(self._buffer):
            self._fill(size)
            end = size
        piece = self._buffer[self._at : end]
        self._at = end
        return piece

    def unsigned(self, size: int) -> int:
        """Return the next `size` bytes as a little-endian number."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        """Return what stands before the next line break, and step over the break."""
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            self._fill(min(self.left, _MAX_LINE_BYTES))
            end = self._buffer.find(b"\n")
        if end < 0:
            self.region.refuse(
                "pickle-malformed",
                self.position,
                expected=f"a line of at most {grouped(_MAX_LINE_BYTES)} bytes",
                got="no line break",
            )
        piece = self._buffer[self._at : end]
        self._at = end + 1
        return piece

    def skip(self, size: int) -> int:
        """Step over `size` bytes that are not looked at, and return where they begin."""
        begin = self.position
        if size > self.left:
            self.region.refuse(
                "cut-short",
                begin,
                expected=f"{grouped(size)} more byte{'s' * (size != 1)}",
                got=f"the end after {grouped(self.left)}",
            )
        if self._at + size <= len(self._buffer):
            self._at += size
        else:
            self._buffer, self._begin, self._at = b"", begin + size, 0
        return begin

    def _fill(self, size: int) -> None:
        begin = self.position
        wanted = max(size, min(_BUFFER_BYTES, self.left))
        self._buffer = self.region.exactly(begin, wanted)
        self._begin, self._at = begin, 0
