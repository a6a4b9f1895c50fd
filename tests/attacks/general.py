# SPDX-License-Identifier: Apache-2.0
"""Files that are of no known format, or not of the format that they are called after."""

from rosin.scan import Level
from tests.attacks.case import Case

CASES = {
    "zeros": Case(bytes(64), "format-unknown", Level.UNKNOWN, 0),
    "an archive of 7-Zip": Case(
        b"7z\xbc\xaf\x27\x1c\0\4" + bytes(32), "format-unknown", Level.UNKNOWN, file="model.7z"
    ),
    "text that turns into something else": Case(
        b"a" * 5000 + b"\0", "format-unknown", Level.UNKNOWN, 5000, file="README.md"
    ),
    "text that is not UTF-8": Case(
        b"a" * 5000 + b"\xff", "format-unknown", Level.UNKNOWN, file="README.md"
    ),
    "a file larger than the bound": Case(
        b"a" * 101, "limit", Level.UNKNOWN, file="README.md", limits={"max_file_bytes": 100}
    ),
}
