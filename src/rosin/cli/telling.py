# SPDX-License-Identifier: Apache-2.0
"""Errors as a command tells them: the library's own words, and an exit code.

0 is success, `REFUSED` what the command was asked to find or cannot accept, `UNUSABLE` a call
that makes no sense or a file that cannot be opened or written.
"""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import typer

from rosin.errors import RosinError, escaped, grouped

REFUSED: Final = 1
UNUSABLE: Final = 2
MAX_LISTED: Final = 20


@contextlib.contextmanager
def told() -> Generator[None]:
    """Print an error of the library or the system on standard error, and exit.

    Raises:
        typer.Exit: With `REFUSED` for an error of the library, `UNUSABLE` for one of the system.
    """
    try:
        yield
    except RosinError as error:
        _print(f"{type(error).__name__}: {error}", error)
        raise typer.Exit(REFUSED) from error
    except OSError as error:
        name = f"{os.fspath(error.filename)!r}: " if error.filename is not None else ""
        _print(f"{type(error).__name__}: {name}{error.strerror or error}", error)
        raise typer.Exit(UNUSABLE) from error


def _print(message: str, error: Exception) -> None:
    lines = [*message.splitlines(), *getattr(error, "__notes__", ())]
    typer.echo("\n".join(map(escaped, lines)), err=True)


def listed(names: list[str]) -> list[str]:
    """Spell the first names of a list, one a line, and how many more there are.

    Examples:
        >>> listed(["a.weight", "b.weight"])
        ['a.weight', 'b.weight']
    """
    more = len(names) - MAX_LISTED
    return [*map(escaped, names[:MAX_LISTED]), *([f"and {grouped(more)} more"] if more > 0 else [])]


def counted(number: int, noun: str) -> str:
    """Spell a number of things.

    Examples:
        >>> counted(1, "file"), counted(1234, "byte")
        ('1 file', '1 234 bytes')
    """
    return f"{grouped(number)} {noun}{'s' * (number != 1)}"


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file that exists."""
    try:
        return one.samefile(other)
    except OSError:
        return False
