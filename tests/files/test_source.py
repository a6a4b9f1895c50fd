# SPDX-License-Identifier: Apache-2.0
"""Foreign files are opened without waiting, and their faults name file and place."""

import os
from pathlib import Path

import pytest

from rosin.errors import FileError, LimitError
from rosin.files.source import Source, fill, grouped, open_regular
from rosin.limits import Limits

SOURCE = Source("'a'", Limits())


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (pipe, "a pipe"),
        (lambda folder: folder, "a folder"),
        (lambda _: "/dev/null", "a device"),
    ],
    ids=["pipe", "folder", "device"],
)
def test_only_regular_files_are_read(tmp_path, impatient, next_descriptor, make, got):
    path = make(tmp_path)
    before = next_descriptor()
    with pytest.raises(FileError) as caught:
        open_regular(path, SOURCE)
    assert (caught.value.expected, caught.value.got) == ("a regular file", got)
    assert next_descriptor() == before


def test_a_link_to_a_regular_file_is_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    file, size = open_regular(tmp_path / "link", SOURCE)
    with file:
        assert (file.read(), size) == (b"abc", 3)


def test_a_missing_file_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        open_regular(tmp_path / "a", SOURCE)
    assert caught.type is FileNotFoundError


def test_a_file_above_the_bound_is_not_opened(tmp_path, next_descriptor):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40 + 1)  # sparse: it takes no disk
    before = next_descriptor()
    with pytest.raises(LimitError) as caught:
        open_regular(tmp_path / "a", SOURCE)
    assert caught.value.expected == "at most 1 099 511 627 776 bytes (limits.max_file_bytes)"
    assert caught.value.got == "1 099 511 627 777 bytes"
    assert next_descriptor() == before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/secret/folder/a.bin", "'a.bin'"),
        (Path("folder") / "a b", "'a b'"),
        ("a\x1b[31m\n", r"'a\x1b[31m\n'"),
        ("\udcff", r"'\udcff'"),
        (".", "'.'"),
        ("/", "'/'"),
        ("x" * 200, "'" + "x" * 78 + "…"),
    ],
)
def test_a_file_is_named_without_its_folders_and_escaped(path, name):
    assert Source.of(path, Limits()).name == name


def test_filling_reads_exactly_what_was_asked_for(tmp_path):
    (tmp_path / "a").write_bytes(b"abcdef")
    buffer = bytearray(4)
    with open_regular(tmp_path / "a", SOURCE)[0] as file:
        fill(memoryview(buffer), file, SOURCE)
        assert (buffer, file.tell()) == (b"abcd", 4)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path, impatient):
    (tmp_path / "a").write_bytes(b"abcdef")
    with (
        open_regular(tmp_path / "a", SOURCE)[0] as file,
        pytest.raises(FileError, match="byte 6: expected 2 more bytes, got the end") as caught,
    ):
        fill(memoryview(bytearray(8)), file, SOURCE)
    assert "nothing else writes" in caught.value.fix


def test_reading_goes_on_after_a_short_read():
    class Slow:
        def readinto(self, view):
            view[:1] = b"x"
            return 1

    buffer = bytearray(5)
    fill(memoryview(buffer), Slow(), SOURCE)
    assert buffer == b"xxxxx"


def test_numbers_are_grouped():
    assert [grouped(n) for n in (0, 999, 1000, 2**40)] == ["0", "999", "1 000", "1 099 511 627 776"]
