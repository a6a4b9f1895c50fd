# SPDX-License-Identifier: Apache-2.0
"""`rosin scan`: exit codes, formats, names from strangers."""

import json
import zipfile

import pytest

from rosin.scan import scan as scan_path


def test_a_dangerous_file_is_told_with_what_it_could_do_and_the_way_out(rosin, evil):
    result = rosin("scan", evil.name)
    assert result.exit_code == 1
    assert result.stdout == (
        "dangerous   evil.pkl  (pickle, 21 bytes)\n"
        "  pickle-code: expected only names that plain data is made with, got\n"
        "    - a call of os.system (byte 0)\n"
        "    Loading the file runs this, with arguments from the file: any program, as\n"
        "      you.\n"
        "    fix: ask its author for the arrays alone: a state dict, or a safetensors\n"
        "      file.\n\n"
        "1 file: 1 dangerous\n"
    )


def test_safe_files_are_named_only_when_asked_for(rosin, safe):
    assert rosin("scan", safe.name).stdout == "1 file: 1 safe\n"
    assert rosin("scan", ".", "-v").stdout == (
        "safe        README.md  (text, 6 bytes)\n1 file: 1 safe\n"
    )


def test_files_are_named_as_the_command_line_names_them(rosin, tmp_path, safe, evil):
    folder = tmp_path / "models"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(evil, "b/evil.pkl")
    report = json.loads(rosin("scan", "models", evil, safe.name, "--format", "json").stdout)
    assert [file["path"] for file in report["files"]] == [
        evil.as_posix(), "README.md", "models/a.zip"
    ]  # fmt: skip
    finding = report["files"][2]["findings"][0]
    assert finding["file"] == "models/a.zip!b/evil.pkl"
    text = rosin("scan", "models").stdout
    assert "- a call of os.system (b/evil.pkl, byte 0)" in text


def test_json_is_the_report_of_the_library(rosin, tmp_path, evil, safe):
    assert rosin("scan", ".", "--format", "json").stdout == scan_path(tmp_path).to_json() + "\n"


@pytest.mark.parametrize(
    ("data", "level", "code"),
    [
        (b"words\n", "note", 0),
        (b"words\n", "dangerous", 0),
        (b"cos\nsystem\n(S'ls'\ntR.", "dangerous", 1),
        (b"cnotes\nread\n(S'ls'\ntR.", "suspicious", 1),
        (b"cnotes\nread\n(S'ls'\ntR.", "dangerous", 0),
        (bytes(8), "dangerous", 1),  # unknown fails whatever is asked for
    ],
)
def test_the_exit_code_says_whether_a_level_is_reached(rosin, tmp_path, data, level, code):
    (tmp_path / "model").write_bytes(data)
    assert rosin("scan", "model", "--fail-on", level).exit_code == code


def test_a_path_that_cannot_be_opened_is_told_and_exits_with_2(rosin, safe):
    result = rosin("scan", safe.name, "no\x1b[31mthing", "--output", "report.txt")
    assert result.exit_code == 2
    assert (
        result.stderr == r"FileNotFoundError: 'no\x1b[31mthing': No such file or directory" + "\n"
    )
    assert result.stdout == ""
    assert not safe.with_name("report.txt").exists()


HOSTILE = "e\x1b[31mv\u202eil\n[bold]{0}[a](b).pkl"


@pytest.mark.parametrize("form", ["text", "json", "sarif", "cyclonedx"])
def test_a_name_from_a_stranger_reaches_no_terminal_as_it_is(rosin, evil, form):
    with zipfile.ZipFile(evil.with_name("a.zip"), "w") as archive:
        archive.writestr("\x1b]0;title\x07.pkl", evil.read_bytes())
    evil.rename(evil.with_name(HOSTILE))
    text = rosin("scan", ".", "--format", form).stdout
    assert all(character.isprintable() or character == "\n" for character in text)
    if form == "text":
        assert r"e\x1b[31mv\u202eil\n[bold]{0}[a](b).pkl" in text
        assert r"\x1b]0;title\x07.pkl" in text


def test_colours_are_for_terminals(rosin, evil, monkeypatch):
    assert "\x1b" not in rosin("scan", evil.name).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;31mdangerous" in rosin("scan", evil.name).stdout


def test_findings_of_one_rule_stand_together_and_long_lists_are_cut(rosin, tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"(" + b"cos\nsystem\n" * 25 + b"t.")
    text = rosin("scan", "a.pkl").stdout
    assert text.count("pickle-code") == 1
    assert text.count("- a call of") + text.count("- a name") <= 20
    assert "- and 5 more\n" in text


def test_the_report_goes_to_a_file(rosin, evil):
    result = rosin("scan", evil.name, "--output", "report.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert evil.with_name("report.txt").read_text().startswith("dangerous   evil.pkl")
    assert evil.with_name("report.txt").read_text().endswith("1 file: 1 dangerous\n")


def test_the_report_is_not_written_over_what_is_scanned(rosin, evil):
    before = evil.read_bytes()
    result = rosin("scan", evil.name, "--output", evil)
    assert result.exit_code == 2
    assert "expected another file" in result.stderr
    assert evil.read_bytes() == before


def test_the_report_is_not_written_through_a_link(rosin, tmp_path, safe):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "scan.json").symlink_to(victim)
    result = rosin("scan", safe.name, "--output", "scan.json")
    assert result.exit_code == 2
    assert "'scan.json'" in result.stderr
    assert victim.read_bytes() == b"precious"


def test_a_report_is_written_over_an_older_one(rosin, tmp_path, safe):
    (tmp_path / "report.txt").write_text("a longer report than the new one\n" * 9)
    rosin("scan", safe.name, "--output", "report.txt")
    assert (tmp_path / "report.txt").read_text() == "1 file: 1 safe\n"
