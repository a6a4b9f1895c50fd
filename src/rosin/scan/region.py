# SPDX-License-Identifier: Apache-2.0
"""Foreign bytes with bounds: a file, the member of an archive, a stretch of either.

A region is read at any place, never kept whole, and is where a parser leaves what it finds.
"""

import abc
import dataclasses
import os
from collections.abc import Iterator
from typing import NoReturn, final

from rosin.errors import grouped
from rosin.limits import Limits
from rosin.scan.findings import finding
from rosin.scan.report import Finding

CHUNK_BYTES = 1 << 20
MAX_FINDINGS = 1000
FREE_BYTES = 1 << 24  # what may come out of nothing before a ratio counts


class Refused(Exception):  # noqa: N818  it is a verdict, not a fault of the program
    """The parser cannot go on; holds the finding that says why."""

    def __init__(self, found: Finding) -> None:
        super().__init__(found.got)
        self.finding = found


@dataclasses.dataclass(slots=True)
class Context:
    """What all regions of one file share: the bounds, and what was found so far."""

    limits: Limits
    findings: list[Finding] = dataclasses.field(default_factory=list)
    unpacked_bytes: int = 0
    members: int = 0


class Region(abc.ABC):
    """Foreign bytes: how many, what they are called, and how to read them.

    Args:
        name: The file's name, with the members of archives after `!`.
        size: How many bytes there are.
        context: What it shares with the other regions of the file.
        depth: How many containers it lies in.
    """

    def __init__(self, name: str, size: int, context: Context, depth: int = 0) -> None:
        self.name = name
        self.size = size
        self.context = context
        self.depth = depth

    @abc.abstractmethod
    def read(self, begin: int, size: int) -> bytes:
        """Return up to `size` bytes from `begin`, fewer only at the end."""

    @final
    def exactly(self, begin: int, size: int) -> bytes:
        """Return `size` bytes from `begin`, or refuse a region that ends before."""
        if begin + size > self.size:
            self.refuse(
                "cut-short",
                begin,
                expected=f"{grouped(size)} more byte{'s' * (size != 1)}",
                got=f"the end after {grouped(max(self.size - begin, 0))}",
            )
        data = self.read(begin, size)
        if len(data) != size:
            self.refuse("changed", begin, got="fewer bytes than a moment ago")
        return data

    @final
    def chunks(self, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield all bytes from `begin` to `end` in pieces of bounded size."""
        stop = self.size if end is None else end
        while begin < stop:
            chunk = self.exactly(begin, min(CHUNK_BYTES, stop - begin))
            yield chunk
            begin += len(chunk)

    @final
    def section(self, begin: int, size: int, member: str | None = None) -> "Section":
        """Return a stretch that lies inside, as a member if it has a name of its own."""
        name = self.name if member is None else f"{self.name}!{member}"
        return Section(self, begin, size, name, self.depth + (member is not None))

    @final
    def report(
        self, rule: str, byte: int | None = None, *, got: str, expected: str = "", place: str = ""
    ) -> None:
        """Note that a rule of `rosin.scan.findings` is broken, and go on."""
        made = finding(rule, self.name, byte, got=got, expected=expected, place=place)
        self.context.findings.append(made)
        if len(self.context.findings) >= MAX_FINDINGS:
            self.refuse("limit", byte, expected=f"fewer than {MAX_FINDINGS} findings", got="more")

    @final
    def refuse(
        self, rule: str, byte: int | None = None, *, got: str, expected: str = "", place: str = ""
    ) -> NoReturn:
        """Stop at a broken rule."""
        raise Refused(finding(rule, self.name, byte, got=got, expected=expected, place=place))

    @final
    def expect_expansion(self, size: int, packed: int) -> None:
        """Refuse what becomes far larger in memory than it is in the file."""
        ratio = self.context.limits.max_expansion_ratio
        self._expect("max_expansion_ratio", size, FREE_BYTES + ratio * packed, "bytes unpacked")

    @final
    def expect_within(
        self, limit: str, size: int, *, unit: str, byte: int | None = None, place: str = ""
    ) -> None:
        """Refuse a size above the field `limit` of the bounds."""
        self._expect(limit, size, getattr(self.context.limits, limit), unit, byte, place)

    def _expect(
        self,
        limit: str,
        size: int,
        bound: int,
        unit: str,
        byte: int | None = None,
        place: str = "",
    ) -> None:
        if size > bound:
            made = finding(
                "limit",
                self.name,
                byte,
                expected=f"at most {grouped(bound)} {unit} (limits.{limit})",
                got=f"{grouped(size)} {unit}",
                place=place,
            )
            raise Refused(dataclasses.replace(made, limit=limit))


def suffix_of(name: str) -> str:
    """Return the extension of a file or member in lower case, with its dot.

    Examples:
        >>> suffix_of("a.zip!weights/B.PT"), suffix_of("README"), suffix_of(".gitignore")
        ('.pt', '', '')
    """
    last = name.rpartition("!")[2].rpartition("/")[2].lstrip(".")
    return f".{last.rpartition('.')[2].lower()}" if "." in last else ""


@final
class FileRegion(Region):
    """An open file; whoever opened it closes it."""

    def __init__(self, name: str, size: int, context: Context, descriptor: int) -> None:
        super().__init__(name, size, context)
        self.descriptor = descriptor

    def read(self, begin: int, size: int) -> bytes:
        """Read at a place, whatever other readers of the descriptor do."""
        parts: list[bytes] = []
        while size > 0 and (part := os.pread(self.descriptor, size, begin)):
            parts.append(part)
            begin, size = begin + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


@final
class MemoryRegion(Region):
    """Bytes in memory, such as a small member that was unpacked."""

    def __init__(self, name: str, data: bytes, context: Context, depth: int = 0) -> None:
        super().__init__(name, len(data), context, depth)
        self.data = data

    def read(self, begin: int, size: int) -> bytes:
        """Copy from memory."""
        return self.data[begin : begin + size]


@final
class Section(Region):
    """A stretch of another region."""

    def __init__(self, parent: Region, begin: int, size: int, name: str, depth: int) -> None:
        super().__init__(name, size, parent.context, depth)
        self.parent = parent
        self.begin = begin

    def read(self, begin: int, size: int) -> bytes:
        """Read from the region around, never beyond the stretch."""
        return self.parent.read(self.begin + begin, max(0, min(size, self.size - begin)))
