# SPDX-License-Identifier: Apache-2.0
"""Every rule that a scan can find broken: its level, what it could do, and the way out.

A rule's id never changes its meaning; each has a page of its own in `docs/scan/`. Rules that
mean the same for every format stand in `GENERAL`; each format adds a table of its own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from rosin.scan.report import Finding, Level

GET_AGAIN: Final = "get the file again from its author; this one is damaged or was made wrongly"
CUT_SHORT: Final = "copy or download the file again; it was cut short"
KEEP_STILL: Final = "scan it again when nothing else writes to it"
ASK_FOR_DATA: Final = "ask its author for the arrays alone, as a safetensors file"
UNREAD: Final = "What is not understood may be anything, code included"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Args:
        level: How bad it is to break it.
        expected: A noun phrase: what the rule wants; the finding may say it more exactly.
        danger: A sentence on what a file that breaks it could do, without its full stop.
        way_out: One imperative, without its full stop.
    """

    level: Level
    expected: str
    danger: str
    way_out: str = GET_AGAIN


GENERAL: Final[Mapping[str, Rule]] = {
    "format-unknown": Rule(
        Level.UNKNOWN,
        "a format that Rosin knows",
        UNREAD,
        "convert the file to safetensors where it was made, or leave it out of the folder",
    ),
    "format-mismatch": Rule(
        Level.SUSPICIOUS,
        "contents that agree with the file's extension",
        "Programs that go by the extension would treat it as something else than it is",
        "rename the file after what it holds, if you know why it is called otherwise",
    ),
    "polyglot": Rule(
        Level.SUSPICIOUS,
        "one format",
        "Two programs can read two different files from the same bytes",
    ),
    "cut-short": Rule(Level.UNKNOWN, "more bytes", UNREAD, CUT_SHORT),
    "trailing-bytes": Rule(
        Level.UNKNOWN,
        "the end of the file",
        "Bytes that belong to nothing can hold a second file that another program finds",
    ),
    "limit": Rule(
        Level.UNKNOWN,
        "no more than the bound",
        "Reading it could fill the memory or never end",
        "split the file, or pass limits= with this bound sized for a file you know",
    ),
    "changed": Rule(
        Level.UNKNOWN,
        "a file that stays as it is while it is scanned",
        "What was scanned is not what somebody would load",
        KEEP_STILL,
    ),
    "unreadable": Rule(
        Level.UNKNOWN, "a file that can be opened", UNREAD, "give yourself permission to read it"
    ),
    "not-regular": Rule(
        Level.UNKNOWN,
        "a regular file or a folder",
        "A pipe or a device gives other bytes each time, or none for ever",
        "take it out of the folder",
    ),
    "link": Rule(
        Level.UNKNOWN,
        "files and folders, no symbolic links",
        "A link shows what lies elsewhere, and something else tomorrow; it is not followed",
        "put the file itself in place of the link, or scan what it points to",
    ),
    "depth": Rule(
        Level.UNKNOWN,
        "folders and archives no deeper than the bound",
        "Archives in archives can grow without end",
        "unpack the outer archive and scan what comes out",
    ),
}

RULES: Final[Mapping[str, Rule]] = {**GENERAL}


def finding(
    rule: str, file: str, byte: int | None, *, got: str, expected: str = "", place: str = ""
) -> Finding:
    """Make the finding that a rule is broken, with the rule's own texts.

    Examples:
        >>> finding("cut-short", "a.pt", 12, got="the end").level.label
        'unknown'
    """
    row = RULES[rule]
    return Finding(
        id=rule,
        level=row.level,
        file=file,
        byte=byte,
        place=place,
        expected=expected or row.expected,
        got=got,
        danger=row.danger,
        way_out=row.way_out,
    )
