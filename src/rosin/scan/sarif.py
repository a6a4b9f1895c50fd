# SPDX-License-Identifier: Apache-2.0
"""A scan's report as SARIF, the format that code-scanning services and editors read."""

import json
import os
from typing import Any, Final
from urllib.parse import quote

from rosin.errors import escaped
from rosin.scan.findings import RULES, Rule
from rosin.scan.report import FileReport, Finding, Level, Report

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: Final = {
    Level.SAFE: "none",
    Level.NOTE: "note",
    Level.SUSPICIOUS: "warning",
    Level.UNKNOWN: "warning",
    Level.DANGEROUS: "error",
}
_SEVERITIES: Final = {  # of a CVSS score: low, medium and critical, as GitHub reads them
    Level.SAFE: "0.0",
    Level.NOTE: "2.0",
    Level.SUSPICIOUS: "6.0",
    Level.UNKNOWN: "6.0",
    Level.DANGEROUS: "9.5",
}
# SARIF 2.1.0, 3.11.5 and 3.11.6: braces are placeholders, brackets are links.
_LITERAL: Final = str.maketrans({"{": "{{", "}": "}}", "[": r"\[", "]": r"\]"})
_NUMBERS: Final = {name: number for number, name in enumerate(sorted(RULES))}


def to_sarif(report: Report, *, version: str) -> str:
    """Return the report as SARIF 2.1.0, the same text for the same bytes.

    Each rule is described once, each file has its digest, and each finding is a result with
    its byte. What lies inside of an archive is a logical location in the archive's file.

    Args:
        report: What the scan found.
        version: The version of Rosin, which the log names as its tool.

    Examples:
        >>> log = json.loads(to_sarif(Report(()), version="0.1.0"))
        >>> log["version"], len(log["runs"][0]["tool"]["driver"]["rules"]) == len(RULES)
        ('2.1.0', True)

    Source:
        OASIS, Static Analysis Results Interchange Format 2.1.0.
    """
    rules = [_rule(name, RULES[name]) for name in _NUMBERS]
    driver = {"name": "Rosin", "version": version, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "artifacts": [_artifact(file) for file in report.files],
        "results": [
            _result(finding, file, number)
            for number, file in enumerate(report.files)
            for finding in file.findings
        ],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(name: str, rule: Rule) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": _message(f"Wants {rule.expected}."),
        "fullDescription": _message(f"{rule.danger}."),
        "help": _message(f"Way out: {rule.way_out}."),
        "defaultConfiguration": {"level": _LEVELS[rule.level]},
        "properties": {
            "tags": ["security"],
            "security-severity": _SEVERITIES[rule.level],
            "rosinLevel": rule.level.label,
        },
    }


def _artifact(file: FileReport) -> dict[str, Any]:
    hashes = {"hashes": {"sha-256": file.sha256}} if file.sha256 else {}
    return {
        "location": {"uri": _uri(file.path)},
        "length": file.size,
        "roles": ["analysisTarget"],
        **hashes,
        "properties": {"rosinFormat": file.format, "rosinVerdict": file.verdict.label},
    }


def _result(finding: Finding, file: FileReport, number: int) -> dict[str, Any]:
    physical: dict[str, Any] = {
        "artifactLocation": {"uri": _uri(file.path), "index": number},
    }
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.file != file.path:
        name = escaped(finding.file)
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    elif finding.byte is not None:
        length = int(finding.byte < file.size)
        physical["region"] = {"byteOffset": finding.byte, "byteLength": length}
    text = f"{finding.where}: expected {finding.expected}, got {finding.got}. {finding.danger}."
    return {
        "ruleId": finding.id,
        "ruleIndex": _NUMBERS[finding.id],
        "level": _LEVELS[finding.level],
        "message": _message(text),
        "locations": [location],
        "properties": {"rosinLevel": finding.level.label, "wayOut": escaped(finding.way_out)},
    }


def _message(text: str) -> dict[str, str]:
    return {"text": escaped(text).translate(_LITERAL)}


def _uri(path: str) -> str:
    """Spell a path as a URI, byte for byte, whatever the bytes of a file's name are."""
    spelt = quote(os.fsencode(path), safe="/")
    return f"file://{spelt}" if spelt.startswith("/") else spelt
