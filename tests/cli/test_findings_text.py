# SPDX-License-Identifier: Apache-2.0
"""The report as text, of reports made by hand."""

import io

from rosin.cli.findings_text import write_text
from rosin.scan import FileReport, Level, Report
from rosin.scan.findings import finding


def text_of(*files, verbose=False):
    file = io.StringIO()
    write_text(Report(files), file, verbose=verbose)
    return file.getvalue()


def test_nothing_that_was_scanned_is_no_file():
    assert text_of() == "0 files\n"


def test_a_level_below_that_of_the_file_is_named():
    found = (
        finding("format-mismatch", "a.pkl", None, got="pickle in a file called *.txt"),
        finding("pickle-code", "a.pkl", 3, got="a call of os.system"),
    )
    lines = text_of(FileReport("a.pkl", "pickle", 1234, "", findings=found)).splitlines()
    assert lines[0] == "dangerous   a.pkl  (pickle, 1 234 bytes)"
    rules = [
        line.partition(":")[0].strip() for line in lines if line.startswith("  ") and ": e" in line
    ]
    assert rules == ["pickle-code", "format-mismatch (suspicious)"]


def test_a_name_that_is_no_text_is_escaped():
    assert text_of(FileReport("\udcff", "text", 1, ""), verbose=True).startswith(
        r"safe        \udcff  (text, 1 byte)"
    )


def test_a_name_longer_than_a_line_stays_in_one_piece():
    name = "a" * 300
    found = (finding("pickle-code", f"b!{name}", 3, got="a call of os.system"),)
    assert name in text_of(FileReport("b", "zip", 10, "", findings=found))


def test_the_worst_verdicts_are_counted_first():
    files = (
        FileReport("a", "text", 1, ""),
        FileReport("b", "x", 1, "", findings=(finding("link", "b", None, got="a link"),)),
        FileReport("c", "text", 1, ""),
    )
    assert text_of(*files).splitlines()[-1] == "3 files: 1 unknown, 2 safe"
    assert Level.UNKNOWN.label in text_of(*files).splitlines()[0]


def test_no_part_of_a_finding_reaches_the_terminal_as_it_is():
    found = (finding("pickle-code", "a!\x1b[1m", 3, got="a call of \x1b[2m", place="\x1b[3m"),)
    text = text_of(FileReport("a", "\x1b[4m", 10, "", findings=found))
    assert "\x1b" not in text
    assert all(rf"\x1b[{number}m" in text for number in (1, 2, 3, 4))
