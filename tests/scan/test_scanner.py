# SPDX-License-Identifier: Apache-2.0
"""Folders are walked without following links; files are hashed; reports become JSON."""

import hashlib
import json
import os

import pytest

from rosin.limits import Limits
from rosin.scan import FileReport, Finding, Level, Report, scan, scanner


def write(folder, name, data=b"text"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ids(report):
    return [(file.path, finding.id) for file in report.files for finding in file.findings]


def test_a_folder_is_reported_file_by_file_in_the_order_of_the_paths(tmp_path):
    for name in ("b/c.md", "a.md", "b.md"):
        write(tmp_path, name)
    report = scan(tmp_path)
    assert [file.path for file in report.files] == ["a.md", "b.md", "b/c.md"]
    assert report.verdict == Level.SAFE
    assert not report.fails()


def test_the_digest_and_the_size_are_those_of_the_file(tmp_path):
    data = b"text " * 500_000  # more than one piece
    (file,) = scan(write(tmp_path, "a.md", data)).files
    assert (file.sha256, file.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (file.path, file.format) == ("a.md", "text")


def test_links_in_a_folder_are_reported_and_not_followed(tmp_path):
    outside = write(tmp_path, "outside/a.md")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "file").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "loop").symlink_to(folder)
    (folder / "nothing").symlink_to("nowhere")
    assert ids(scan(folder)) == [(n, "link") for n in ("file", "folder", "loop", "nothing")]


def test_the_path_itself_may_be_a_link(tmp_path):
    link = tmp_path / "link.md"
    link.symlink_to(write(tmp_path, "a.md"))
    assert scan(link).verdict == Level.SAFE


def test_a_pipe_is_reported_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert ids(scan(tmp_path)) == [("pipe", "not-regular")]


def test_what_cannot_be_opened_is_reported(tmp_path, monkeypatch):
    write(tmp_path, "a.md")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(scanner, "open_at_once", refuse)
    report = scan(tmp_path)
    assert ids(report) == [("a.md", "unreadable")]
    assert report.findings[0].got == "PermissionError: Permission denied"


def test_nothing_at_the_path_is_the_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "nothing")


def test_folders_nest_to_a_bound(tmp_path):
    write(tmp_path, "1/2/3/a.md")
    assert ids(scan(tmp_path, limits=Limits(max_nesting=2))) == [("1/2/3", "depth")]


def test_a_file_that_changes_while_it_is_scanned_is_unknown(tmp_path, monkeypatch):
    path = write(tmp_path, "a.md")
    examine = scanner.examine

    def meddle(region):
        path.write_bytes(b"other text")
        return examine(region)

    monkeypatch.setattr(scanner, "examine", meddle)
    report = scan(path)
    assert (ids(report), report.verdict) == ([("a.md", "changed")], Level.UNKNOWN)


def found(level):
    return FileReport("a", "text", 1, "", findings=(Finding("x", level, "a"),))


def test_the_worst_level_counts_and_unknown_always_fails():
    report = Report((found(Level.NOTE), found(Level.UNKNOWN)))
    assert report.verdict == Level.UNKNOWN
    assert report.fails(Level.DANGEROUS)
    suspicious = Report((found(Level.SUSPICIOUS),))
    assert suspicious.fails()
    assert not suspicious.fails(Level.DANGEROUS)
    assert not Report((found(Level.NOTE),)).fails()


def test_a_report_becomes_json_without_control_characters(tmp_path):
    report = scan(write(tmp_path, "a\x1b[31m.bin", bytes(9)))
    text = report.to_json()
    assert text.isascii()
    assert "\x1b" not in text
    (file,) = json.loads(text)["files"]
    assert file["verdict"] == "unknown"
    assert file["findings"][0]["id"] == "format-unknown"
    assert "\x1b" not in report.findings[0].where
