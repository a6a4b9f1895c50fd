# SPDX-License-Identifier: Apache-2.0
"""Looking at foreign model files: what they are, and what loading them could do.

`rosin.scan.scan` reports on files and folders. The readers of `rosin.files` stand on the
same parsers, so a file that scans as safe is one that they read, and the other way round.
Only the standard library is used; nothing that is read is imported, called or evaluated.

The parts, from the bottom up:

- `region` is foreign bytes with bounds; `opening` opens files.
- `findings` is the table of every rule; `report` is what a scan returns.
- `parsed` is what the parser of a format returns, and says how to add a format.
- `formats` is the list of formats, found by first bytes.
- `scanner` walks folders, hashes and puts the rest together.
"""

from rosin.scan.report import FileReport, Finding, Level, Report
from rosin.scan.scanner import scan

__all__ = ["FileReport", "Finding", "Level", "Report", "scan"]
