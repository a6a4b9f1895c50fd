# SPDX-License-Identifier: Apache-2.0
"""One row of the table of hostile files."""

import dataclasses
from collections.abc import Callable

from rosin.scan import Level


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
        reads: Whether a reader returns anything, which it does not for text or several files.
    """

    data: bytes | Callable[[], bytes]
    rule: str | None
    verdict: Level
    byte: int | None = None
    file: str = "model.pkl"
    limits: dict[str, int] = dataclasses.field(default_factory=dict)
    reads: bool = True

    def build(self) -> bytes:
        """Return the bytes."""
        return self.data if isinstance(self.data, bytes) else self.data()
