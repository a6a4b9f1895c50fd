# SPDX-License-Identifier: Apache-2.0
"""Every example runs to its end, with tiny settings, and draws its picture."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY", "1")
    monkeypatch.setenv("OUT", str(tmp_path))
    yield tmp_path
    plt.close("all")


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_runs_and_draws(name, out, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    picture = out / f"{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {picture}" in capsys.readouterr().out
