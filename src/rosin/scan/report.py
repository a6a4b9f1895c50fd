# SPDX-License-Identifier: Apache-2.0
"""What a scan returns: levels, findings and reports, as data that turns into JSON."""

import dataclasses
import enum
import json

from rosin.errors import grouped, shortened


class Level(enum.IntEnum):
    """How much a finding, a file or a whole report is to be feared; the worst one counts.

    Examples:
        >>> max(Level.NOTE, Level.DANGEROUS).label
        'dangerous'
    """

    SAFE = 0
    """Data only, by rules that were all checked."""
    NOTE = 1
    """Worth knowing; no reason to refuse the file."""
    SUSPICIOUS = 2
    """Asks for more than data; not a way to run code that is known."""
    UNKNOWN = 3
    """Could not be read to the end, so nothing can be said; counts as failed."""
    DANGEROUS = 4
    """A known way to run code or to reach beyond the file."""

    @property
    def label(self) -> str:
        """The level as reports spell it."""
        return self.name.lower()


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a file does or breaks, where, and what to do about it.

    Args:
        id: The rule, a key of `rosin.scan.findings.RULES`.
        level: How bad it is.
        file: The file's name, with the members of archives after `!`.
        byte: Where in that file or member, counted from 0; `None` for all of it.
        place: A further place inside, such as the name of a tensor, or nothing.
        expected: A noun phrase: what the rule wants.
        got: What the file holds instead.
        danger: A sentence on what it could do.
        way_out: One imperative: how to come by a file without it.
        limit: The field of `rosin.Limits` that was exceeded, or nothing.

    Examples:
        >>> finding = Finding("pickle-code", Level.DANGEROUS, "a.pkl", 2, expected="data",
        ...                   got="a call of os.system", danger="It can run a program",
        ...                   way_out="ask for a safetensors file")
        >>> finding.where
        'a.pkl, byte 2'
    """

    id: str
    level: Level
    file: str
    byte: int | None = None
    place: str = ""
    expected: str = ""
    got: str = ""
    danger: str = ""
    way_out: str = ""
    limit: str = ""

    @property
    def where(self) -> str:
        """The file or member and the place in it, on one line."""
        return ", ".join(part for part in (shortened(self.file, 200), self.inside) if part)

    @property
    def inside(self) -> str:
        """The place inside the file or member, or nothing."""
        byte = "" if self.byte is None else f"byte {grouped(self.byte)}"
        return ", ".join(part for part in (self.place, byte) if part)

    def to_dict(self) -> dict[str, object]:
        """Return the finding as JSON's types."""
        return {**dataclasses.asdict(self), "level": self.level.label}


@dataclasses.dataclass(frozen=True, slots=True)
class FileReport:
    """What was found in one file.

    Args:
        path: The path from the folder that was scanned, or the file's own name.
        format: What the first bytes and the structure say it is; `"unknown"` otherwise.
        size: Bytes in the file.
        sha256: The digest of the bytes that were looked at, in hexadecimal; empty if they
            could not be read.
        tensors: How many arrays it holds.
        findings: What was found, in the order of the file.
    """

    path: str
    format: str
    size: int
    sha256: str
    tensors: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Level:
        """The worst level among the findings."""
        return max((finding.level for finding in self.findings), default=Level.SAFE)

    def to_dict(self) -> dict[str, object]:
        """Return the report on the file as JSON's types."""
        parts = {name: getattr(self, name) for name in ("path", "format", "size", "sha256")}
        return {
            **parts,
            "tensors": self.tensors,
            "verdict": self.verdict.label,
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a scan found.

    Args:
        files: One report for each file, sorted by path.

    Examples:
        >>> Report(()).verdict.label
        'safe'
    """

    files: tuple[FileReport, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, file by file."""
        return tuple(finding for file in self.files for finding in file.findings)

    @property
    def verdict(self) -> Level:
        """The worst level among the files."""
        return max((file.verdict for file in self.files), default=Level.SAFE)

    def fails(self, fail_on: Level = Level.SUSPICIOUS) -> bool:
        """Say whether a finding reaches `fail_on`, or anything could not be judged."""
        levels = {finding.level for finding in self.findings}
        return self.verdict >= fail_on or Level.UNKNOWN in levels

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON's types."""
        return {
            "format": "rosin-scan-1",
            "verdict": self.verdict.label,
            "files": [file.to_dict() for file in self.files],
        }

    def to_json(self) -> str:
        """Return the report as JSON, indented, the same text for the same bytes."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=True)
