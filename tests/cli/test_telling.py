# SPDX-License-Identifier: Apache-2.0
"""Errors on standard error: the library's words, escaped, and the exit code."""

import pytest
import typer

from rosin.cli.telling import MAX_LISTED, REFUSED, UNUSABLE, listed, told
from rosin.errors import FileError


def noted(error, note):
    error.add_note(note)
    return error


FAULT = FileError(subject="'a'", where="\x1b[1m", expected="b", got="c", fix="d", details=("e",))


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            noted(FAULT, "f \x1b[2m"),
            REFUSED,
            "FileError: 'a', \\x1b[1m: expected b, got c.\n  - e\n  fix: d.\nf \\x1b[2m\n",
        ),
        (FileNotFoundError(2, "No such file", "\x1b[3m"), UNUSABLE,
         "FileNotFoundError: '\\x1b[3m': No such file\n"),
        (OSError("odd"), UNUSABLE, "OSError: odd\n"),
    ],
)  # fmt: skip
def test_an_error_is_told_in_its_own_words(capsys, error, code, text):
    with pytest.raises(typer.Exit) as caught, told():
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr() == ("", text)


def test_a_fault_of_the_program_stays_one():
    with pytest.raises(ZeroDivisionError), told():
        raise ZeroDivisionError


def test_a_long_list_is_cut():
    names = [f"layers[{number}]\x1b" for number in range(MAX_LISTED + 5)]
    assert listed(names)[-2:] == [rf"layers[{MAX_LISTED - 1}]\x1b", "and 5 more"]
