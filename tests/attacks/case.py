# SPDX-License-Identifier: Apache-2.0
"""One row of the table of hostile files."""

import dataclasses
from collections.abc import Callable

from rosin.errors import FileError, UnsafeFileError
from rosin.scan import Level

READ_ERRORS = {
    Level.SUSPICIOUS: UnsafeFileError,
    Level.UNKNOWN: FileError,
    Level.DANGEROUS: UnsafeFileError,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A file built in memory, and what a scan and a reader must make of it.

    Args:
        data: Its bytes, or a function that builds them when the test runs.
        rule: The id that must be among the findings; `None` for a file that is sound.
        verdict: What the scan says about the whole file.
        byte: Where the finding of that rule stands, if that matters.
        file: The name it is given; its extension matters.
        limits: Bounds that differ from the defaults.
    """

    data: bytes | Callable[[], bytes]
    rule: str | None
    verdict: Level
    byte: int | None = None
    file: str = "model.pkl"
    limits: dict[str, int] = dataclasses.field(default_factory=dict)

    def build(self) -> bytes:
        """Return the bytes."""
        return self.data if isinstance(self.data, bytes) else self.data()

    @property
    def error(self) -> type[FileError] | None:
        """What a reader raises."""
        return READ_ERRORS.get(self.verdict)
