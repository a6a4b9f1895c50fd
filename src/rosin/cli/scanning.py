# SPDX-License-Identifier: Apache-2.0
"""`rosin scan`: what files are and what loading them could do."""

import dataclasses
import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from rosin.cli.bounds import Bounds, bounded
from rosin.cli.telling import REFUSED, is_same, told
from rosin.errors import shown

if TYPE_CHECKING:
    from rosin.limits import Limits
    from rosin.scan import FileReport, Report


class Format(enum.StrEnum):
    """How the report is written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    CYCLONEDX = "cyclonedx"


class FailOn(enum.StrEnum):
    """The lowest level that makes the command fail; unknown always does."""

    NOTE = "note"
    SUSPICIOUS = "suspicious"
    DANGEROUS = "dangerous"


def scan(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files and folders.", show_default=False),
    ],
    *,
    form: Annotated[
        Format,
        typer.Option("--format", "-f", help="How the report is written."),
    ] = Format.TEXT,
    fail_on: Annotated[
        FailOn,
        typer.Option(help="Exit with 1 from this level on; what is unknown always fails."),
    ] = FailOn.SUSPICIOUS,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the report to this file."),
    ] = None,
    limit: Bounds = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name the safe files too.")
    ] = False,
) -> None:
    """Say what model files are and what loading them could do, without running any of it."""
    if output is not None and any(is_same(output, path) for path in paths):
        raise typer.BadParameter(
            f"expected another file than those to scan, got {shown(str(output))}",
            param_hint="'--output'",
        )
    with told():
        from rosin.scan import Level

        report = _scanned(paths, bounded(limit))
        if output is None:
            _write(report, form, sys.stdout, verbose=verbose)
        else:
            with open(output, "w", encoding="utf-8", opener=_open) as file:
                _write(report, form, file, verbose=verbose)
    if report.fails(Level[fail_on.name]):
        raise typer.Exit(REFUSED)


def _open(path: str, flags: int) -> int:
    """Open the file of the report; a link, which may come from a stranger, is not followed."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _scanned(paths: list[Path], limits: "Limits") -> "Report":
    """Scan all paths and name every file as the command line names it."""
    from rosin.scan import Report
    from rosin.scan import scan as scan_one

    found: dict[str, FileReport] = {}
    for path in paths:
        for file in scan_one(path, limits=limits).files:
            name = (path / file.path if path.is_dir() else path).as_posix()
            found[name] = _renamed(file, name)
    return Report(tuple(found[name] for name in sorted(found)))


def _renamed(file: "FileReport", name: str) -> "FileReport":
    findings = tuple(
        dataclasses.replace(finding, file=name + finding.file.removeprefix(file.path))
        for finding in file.findings
    )
    return dataclasses.replace(file, path=name, findings=findings)


def _write(report: "Report", form: Format, file: TextIO, *, verbose: bool) -> None:
    """Write the report in one of the formats."""
    if form is Format.TEXT:
        from rosin.cli.findings_text import write_text

        write_text(report, file, verbose=verbose)
        return
    from rosin import __version__

    if form is Format.SARIF:
        from rosin.scan.sarif import to_sarif

        text = to_sarif(report, version=__version__)
    elif form is Format.CYCLONEDX:
        from rosin.scan.cyclonedx import to_cyclonedx

        text = to_cyclonedx(report, version=__version__)
    else:
        text = report.to_json()
    file.write(text + "\n")
