# SPDX-License-Identifier: Apache-2.0
"""A scan's report as text: a verdict for each file, what it could do, and the way out.

Names and contents come from strangers, so whatever does not print is escaped, and nothing is
read as markup. Colours are for terminals only.
"""

import textwrap
from collections import Counter
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

from rosin.cli.telling import MAX_LISTED, counted
from rosin.errors import escaped, grouped
from rosin.scan import FileReport, Finding, Level, Report

STYLES: Final = {
    Level.SAFE: "green",
    Level.NOTE: "cyan",
    Level.SUSPICIOUS: "yellow",
    Level.UNKNOWN: "magenta",
    Level.DANGEROUS: "bold red",
}

_MAX_WIDTH: Final = 100
_VERDICT_WIDTH: Final = max(len(level.label) for level in Level)


def write_text(report: Report, file: TextIO, *, verbose: bool = False) -> None:
    """Write the report for a person to read.

    Args:
        report: What the scan found.
        file: Where to write it.
        verbose: Whether safe files are named too.
    """
    console = Console(file=file, highlight=False)
    width = min(console.width, _MAX_WIDTH)
    for one in report.files:
        if not one.findings and not verbose:
            continue
        _print(console, _heading(one))
        for group in _grouped(one).values():
            for line in _lines(one, group, width):
                _print(console, Text(line))
            if group[0].danger:
                _print(console, Text(""))
    _print(console, _summary(report))


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)


def _heading(file: FileReport) -> Text:
    """Name a file after its verdict: `dangerous   models/evil.pkl   (pickle, 31 bytes)`."""
    verdict = f"{file.verdict.label:<{_VERDICT_WIDTH}}"
    size = f"  ({escaped(file.format)}, {counted(file.size, 'byte')})"
    return Text.assemble(
        (verdict, STYLES[file.verdict]), "  ", (escaped(file.path), "bold"), (size, "dim")
    )


def _grouped(file: FileReport) -> dict[tuple[str, str], list[Finding]]:
    """Put together the findings that break one rule in one way, the worst first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(file.findings, key=lambda one: -one.level):
        groups.setdefault((finding.id, finding.expected), []).append(finding)
    return groups


def _lines(file: FileReport, group: list[Finding], width: int) -> list[str]:
    """Spell the findings of one rule: what was wanted, what came and where, and what to do."""
    first = group[0]
    level = "" if first.level == file.verdict else f" ({first.level.label})"
    parts = [(2, f"{first.id}{level}: expected {first.expected}, got")]
    parts += [(4, f"- {_got(file, finding)}") for finding in group[:MAX_LISTED]]
    if (more := len(group) - MAX_LISTED) > 0:
        parts.append((4, f"- and {grouped(more)} more"))
    parts += [(4, f"{first.danger}.")] if first.danger else []
    parts += [(4, f"fix: {first.way_out}.")] if first.way_out else []
    return [line for indent, text in parts for line in _wrapped(text, indent, width)]


def _got(file: FileReport, finding: Finding) -> str:
    member = finding.file.removeprefix(file.path).removeprefix("!")
    where = ", ".join(part for part in (member, finding.inside) if part)
    return f"{finding.got} ({where})" if where else finding.got


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    """Break a text into lines; a word that is longer than a line is left whole."""
    before = " " * indent
    return textwrap.wrap(
        escaped(text),
        width,
        initial_indent=before,
        subsequent_indent=before + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(report: Report) -> Text:
    """Count the files by verdict: `3 files: 1 dangerous, 2 safe`."""
    counts = Counter(file.verdict for file in report.files)
    text = Text(counted(len(report.files), "file"))
    for place, level in enumerate(sorted(counts, reverse=True)):
        text.append(": " if place == 0 else ", ")
        text.append(f"{grouped(counts[level])} {level.label}", STYLES[level])
    return text
