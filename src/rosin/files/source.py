# SPDX-License-Identifier: Apache-2.0
"""A foreign file while it is read: how it is opened, and how its faults are worded."""

import dataclasses
import errno
import io
import os
from pathlib import Path
from typing import NoReturn, Self

from rosin.errors import FileError, LimitError, grouped, shortened
from rosin.limits import Limits
from rosin.scan.opening import kind_of, open_at_once

GET_AGAIN = "get the file again from its author; this one is damaged or was made wrongly"
CUT_SHORT = "copy or download the file again; it was cut short"
KEEP_STILL = "read the file again when nothing else writes to it"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The file as its faults name it, and the bounds it is read under.

    Args:
        name: The file's own name, without its folders, quoted and escaped.
        limits: The bounds.

    Examples:
        >>> Source.of("models/mlp.safetensors", Limits()).name
        "'mlp.safetensors'"
    """

    name: str
    limits: Limits

    @classmethod
    def of(cls, path: str | os.PathLike[str], limits: Limits) -> Self:
        """Name the source after its path."""
        return cls(shortened(repr(Path(path).name or os.fspath(path))), limits)

    def refuse(self, where: str, *, expected: str, got: str, fix: str = GET_AGAIN) -> NoReturn:
        """Raise the error that names the broken rule and the place in the file."""
        raise FileError(subject=self.name, where=where, expected=expected, got=got, fix=fix)

    def expect_within(self, limit: str, size: int, *, unit: str, where: str) -> None:
        """Refuse a size above the field `limit` of the bounds."""
        bound: int = getattr(self.limits, limit)
        if size > bound:
            raise LimitError(
                subject=self.name,
                where=where,
                expected=f"at most {grouped(bound)} {unit} (limits.{limit})",
                got=f"{grouped(size)} {unit}",
                fix=f"split the file, or pass limits=Limits({limit}=...) sized for a file you know",
            )


def open_regular(
    path: str | os.PathLike[str], source: Source, *, folder: int | None = None
) -> tuple[io.FileIO, int]:
    """Open a regular file within `max_file_bytes`, and say its size; links are followed.

    What was checked is what is read: the caller keeps to the file returned, whatever
    happens to the name meanwhile. Opening never waits, so a pipe cannot hang the reader.
    With the descriptor of a folder, `path` is a name in it, and a link is refused.

    Raises:
        FileError: The path names a folder, a pipe or a device, or a link in a folder.
        LimitError: The file is larger than the bound.
        OSError: The system cannot open it, for example because there is no such file.
    """
    try:
        descriptor, status = open_at_once(path, follow=folder is None, folder=folder)
    except OSError as error:
        if folder is None or error.errno != errno.ELOOP:
            raise
        source.refuse("", expected="a regular file", got="a symbolic link", fix=_NO_LINK)
    try:
        if (kind := kind_of(status)) is not None:
            source.refuse(
                "", expected="a regular file", got=kind, fix="pass the path of the file itself"
            )
        source.expect_within("max_file_bytes", status.st_size, unit="bytes", where="")
    except BaseException:
        os.close(descriptor)
        raise
    return io.FileIO(descriptor), status.st_size


_NO_LINK = "put the file itself beside its index; cp -L copies what a link points to"


def fill(view: memoryview, file: io.FileIO, source: Source) -> None:
    """Read from where the file stands until the view is full."""
    wanted, done = len(view), 0
    while done < wanted:
        count = file.readinto(view[done:])
        if not count:
            source.refuse(
                f"byte {grouped(file.tell())}",
                expected=f"{grouped(wanted - done)} more bytes",
                got="the end of the file",
                fix=KEEP_STILL,
            )
        done += count


def read_whole(path: str | os.PathLike[str], source: Source, limit: str) -> bytes:
    """Read a file of at most as many bytes as the field `limit` of the bounds allows.

    Raises:
        FileError: The path names no regular file.
        LimitError: The file is larger than the bound.
        OSError: The system cannot open it.
    """
    file, size = open_regular(path, source)
    with file:
        source.expect_within(limit, size, unit="bytes", where="")
        data = bytearray(size)
        fill(memoryview(data), file, source)
    return bytes(data)
