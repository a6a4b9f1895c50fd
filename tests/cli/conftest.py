# SPDX-License-Identifier: Apache-2.0
"""Calling the command in the process of the test, and files for it to look at."""

import pytest
from typer.testing import CliRunner

from rosin.cli.app import app

EVIL = b"cos\nsystem\n(S'ls'\ntR."


@pytest.fixture
def rosin(tmp_path, monkeypatch):
    """Return a function that runs the command in a folder of its own, and what it left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    runner = CliRunner()

    def run(*arguments):
        result = runner.invoke(app, list(map(str, arguments)), prog_name="rosin")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def evil(tmp_path):
    """Write a pickle that lists a folder when it is loaded."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(EVIL)
    return path


@pytest.fixture
def safe(tmp_path):
    """Write a file that holds nothing but words."""
    path = tmp_path / "README.md"
    path.write_bytes(b"words\n")
    return path
