# SPDX-License-Identifier: Apache-2.0
"""Scanning: walk, open, hash, parse, report."""

import contextlib
import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from rosin.limits import Limits
from rosin.scan import formats
from rosin.scan.findings import finding
from rosin.scan.opening import kind_of, open_at_once
from rosin.scan.parsed import Parsed
from rosin.scan.region import Context, FileRegion, Refused, Region
from rosin.scan.report import FileReport, Finding, Report

_LINK = "a symbolic link"


def scan(path: str | os.PathLike[str], *, limits: Limits = Limits()) -> Report:
    """Say what a file, or every file in a folder, is and could do, without running any of it.

    Memory stays bounded whatever the size of the file. Links inside a folder are reported
    and not followed; the path itself may be one.

    Args:
        path: A file or a folder.
        limits: Bounds on what is looked at; what exceeds one is reported as unknown.

    Returns:
        A report with one entry for each file, sorted by path.

    Raises:
        OSError: There is nothing at `path`, or it cannot be opened.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.bin").write_bytes(bytes(8))
        ...     report = scan(folder)
        >>> report.verdict.label, report.findings[0].got
        ('unknown', 'the first bytes 00 00 00 00 00 00 00 00')
    """
    root = Path(path)
    if root.is_dir():
        return Report(tuple(_folder(root, limits)))
    descriptor, status = open_at_once(root)
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)):
        return Report((_file(root.name, descriptor, status, limits),))


def _folder(root: Path, limits: Limits) -> Iterator[FileReport]:
    """Report on everything under a folder, in the order of the paths."""
    pending = [(root, 0)]
    found: list[tuple[str, Path]] = []
    while pending:
        folder, depth = pending.pop()
        if depth > limits.max_nesting:
            yield _unseen(folder.relative_to(root).as_posix(), "depth", f"{depth} folders")
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            yield _unseen(folder.relative_to(root).as_posix(), "unreadable", _said(error))
            continue
        for entry in entries:
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                pending.append((Path(entry.path), depth + 1))
            else:
                found.append((name, Path(entry.path)))
    for name, file in sorted(found):
        yield _opened(name, file, limits)


def _opened(name: str, path: Path, limits: Limits) -> FileReport:
    if path.is_symlink():
        return _unseen(name, "link", _LINK)
    try:
        descriptor, status = open_at_once(path, follow=False)
    except OSError as error:
        return _unseen(name, "unreadable", _said(error))
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)):
        return _file(name, descriptor, status, limits)


def _unseen(name: str, rule: str, got: str) -> FileReport:
    return FileReport(name, "unknown", 0, "", findings=(finding(rule, name, None, got=got),))


def _said(error: OSError) -> str:
    return f"{type(error).__name__}: {error.strerror}"


def _file(name: str, descriptor: int, status: os.stat_result, limits: Limits) -> FileReport:
    """Parse a file and hash it at the same time; neither waits for the other."""
    if (kind := kind_of(status)) is not None:
        return _unseen(name, "not-regular", kind)
    region = FileRegion(name, status.st_size, Context(limits), descriptor)
    try:
        region.expect_within("max_file_bytes", region.size, unit="bytes")
    except Refused as refused:
        return FileReport(name, "unknown", region.size, "", findings=(refused.finding,))
    digest: list[str] = []
    hashing = threading.Thread(target=_hash, args=(region, digest), daemon=True)
    hashing.start()
    try:
        looked = examine(region)
    finally:
        hashing.join()
    findings = list(looked.findings)
    if not digest or _stamp(os.fstat(descriptor)) != _stamp(status):
        findings.append(finding("changed", name, None, got="other bytes than a moment ago"))
    return FileReport(
        path=name,
        format=looked.format,
        size=status.st_size,
        sha256="".join(digest),
        tensors=looked.tensors,
        findings=tuple(findings),
    )


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _hash(region: Region, digest: list[str]) -> None:
    """Leave the digest of the whole file, or nothing if it became shorter meanwhile."""
    sha256 = hashlib.sha256()
    with contextlib.suppress(Refused, OSError):
        for chunk in region.chunks():
            sha256.update(chunk)
        digest.append(sha256.hexdigest())


@dataclasses.dataclass(frozen=True, slots=True)
class Examined:
    """What was understood of a file, and everything found in it and in what it contains.

    Args:
        format: What it is, or begins as.
        findings: What was found, in the order of the file.
        tensors: How many arrays there are, in members too.
    """

    format: str
    findings: tuple[Finding, ...]
    tensors: int


def examine(region: Region, visit: Callable[[Parsed], object] | None = None) -> Examined:
    """Parse a region, then what it contains, to the end; every refusal becomes a finding.

    Args:
        region: What is looked at.
        visit: Called with what the parsers return, containers before their members.
    """
    findings = region.context.findings
    name = "unknown"
    try:
        form = formats.detect(region)
        name = form.name
        parsed = formats.parse(form, region)
        name = parsed.format
        if visit is not None:
            visit(parsed)
        tensors = len(parsed.arrays)
        for member in parsed.inside:
            member.expect_within("max_archive_depth", member.depth, unit="containers")
            tensors += examine(member, visit).tensors
    except Refused as refused:
        findings.append(refused.finding)
        return Examined(name, tuple(findings), 0)
    return Examined(name, tuple(findings), tensors)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], limits: Limits) -> Generator[Region]:
    """Open one file for a reader; the region is good until the block ends.

    Raises:
        OSError: There is nothing at `path`, or it cannot be opened.
        Refused: It is no regular file, or exceeds `max_file_bytes`.
    """
    descriptor, status = open_at_once(path)
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)):
        name = Path(path).name
        if (kind := kind_of(status)) is not None:
            raise Refused(finding("not-regular", name, None, got=kind))
        region = FileRegion(name, status.st_size, Context(limits), descriptor)
        region.expect_within("max_file_bytes", region.size, unit="bytes")
        yield region
