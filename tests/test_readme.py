# SPDX-License-Identifier: Apache-2.0
"""The README's programs run as printed, and its short example stays short."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def programs():
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_the_programs_of_the_readme_run_one_after_the_other(capsys):
    scope: dict[str, object] = {}
    for program in programs():
        exec(compile(program, "README.md", "exec"), scope)  # the README's own text
    accuracy = re.search(r"accuracy ([0-9.]+)", capsys.readouterr().out)
    assert accuracy
    assert float(accuracy[1]) > 0.9
    assert Path("model.safetensors").exists()


def test_the_first_program_has_at_most_fifteen_lines():
    assert len([line for line in programs()[0].splitlines() if line.strip()]) <= 15


def test_the_message_in_the_readme_is_the_one_that_is_raised():
    messages = (Path(__file__).parent / "messages.txt").read_text(encoding="utf-8")
    shown = re.search(r"```\n(ShapeError.*?)\n```", README.read_text(), re.DOTALL)
    assert shown
    assert shown[1] in messages
