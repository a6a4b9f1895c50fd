# SPDX-License-Identifier: Apache-2.0
"""A scan's report as CycloneDX: each file is a component, each finding a vulnerability."""

import hashlib
import json
import uuid
from typing import Any, Final

from rosin.errors import escaped
from rosin.scan.report import FileReport, Finding, Level, Report

_SEVERITIES: Final = {
    Level.SAFE: "none",
    Level.NOTE: "info",
    Level.SUSPICIOUS: "medium",
    Level.UNKNOWN: "unknown",
    Level.DANGEROUS: "critical",
}
_SOURCE: Final = {"name": "Rosin"}


def to_cyclonedx(report: Report, *, version: str) -> str:
    """Return the report as a bill of materials, CycloneDX 1.6, the same text for the same bytes.

    A file that holds arrays is a component of type `machine-learning-model`, any other one of
    type `file`; each has its digest, its format and its verdict.

    Args:
        report: What the scan found.
        version: The version of Rosin, which the bill names as its tool.

    Examples:
        >>> json.loads(to_cyclonedx(Report(()), version="0.1.0"))["specVersion"]
        '1.6'

    Source:
        ECMA-424, CycloneDX 1.6. There is no time in it: a file that was not touched scans
        to the same bill.
    """
    tool = {"type": "application", "name": "rosin", "version": version}
    numbered = list(enumerate(report.files))
    content = {
        "metadata": {"tools": {"components": [tool]}},
        "components": [_component(file, number) for number, file in numbered],
        "vulnerabilities": [
            _vulnerability(finding, number)
            for number, file in numbered
            for finding in file.findings
        ],
    }
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": _serial(content),
        "version": 1,
    }
    return json.dumps({**head, **content}, indent=2)


def _serial(content: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=5).urn


def _reference(number: int) -> str:
    """Name a component; its path may hold what a reference cannot."""
    return f"file-{number}"


def _component(file: FileReport, number: int) -> dict[str, Any]:
    hashes = {"hashes": [{"alg": "SHA-256", "content": file.sha256}]} if file.sha256 else {}
    return {
        "type": "machine-learning-model" if file.tensors else "file",
        "bom-ref": _reference(number),
        "name": escaped(file.path),
        **hashes,
        "properties": _properties(
            format=file.format, size=file.size, tensors=file.tensors, verdict=file.verdict.label
        ),
    }


def _vulnerability(finding: Finding, number: int) -> dict[str, Any]:
    rating = {"source": _SOURCE, "severity": _SEVERITIES[finding.level], "method": "other"}
    place = {} if finding.byte is None else {"byte": finding.byte}
    return {
        "id": finding.id,
        "source": _SOURCE,
        "ratings": [rating],
        "description": escaped(f"Expected {finding.expected}, got {finding.got}."),
        "detail": escaped(f"{finding.danger}."),
        "recommendation": escaped(f"{finding.way_out[:1].upper()}{finding.way_out[1:]}."),
        "affects": [{"ref": _reference(number)}],
        "properties": _properties(level=finding.level.label, where=finding.where, **place),
    }


def _properties(**values: object) -> list[dict[str, str]]:
    return [
        {"name": f"rosin:scan:{name}", "value": escaped(str(value))}
        for name, value in values.items()
    ]
