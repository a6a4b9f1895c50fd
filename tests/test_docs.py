# SPDX-License-Identifier: Apache-2.0
"""The programs in the documentation run as printed, and print what the pages say.

A fence's title is what a reader sees above the block, and what is checked here:

- ```` ```python ```` runs, in one namespace for each page;
- ```` ```python title="raises ShapeError" ```` raises that class;
- ```` ```text title="output" ```` is what the program above it prints, and at the end of a
  program that raises, the error. Numbers with a point agree to three digits;
- ```` ```console ```` shows commands after `$` and what they print: `rosin` runs here, and
  `echo $?` gives its exit code.

Any other language or title is prose. `rosin` is written `rs` on every page.
"""

import contextlib
import importlib
import io
import math
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

import rosin as rs
from rosin.cli.app import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "guide").glob("*.md"))]
FENCE = re.compile(r'^```(\w+)(?: title="([^"\n]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
RAISES = re.compile(r"raises (\w+)")
DIRECTIVE = re.compile(r"^::: (rosin[\w.]*)$", re.MULTILINE)
NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")
THREE_DIGITS = 5e-3  # one half in the third digit of 1.00, the coarsest case


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    title: str
    text: str
    line: int


def blocks(page):
    """List the fenced blocks of a page."""
    return [
        Block(found[1], found[2] or "", found[3], page.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(page)
    ]


def run_page(page, name):
    """Run the programs of a page one after the other; return how many ran."""
    scope = {"__name__": "__main__"}
    listed = blocks(page)
    ran = 0
    for block, following in pairwise([*listed, Block("", "", "", 0)]):
        if block.language == "console":
            run_commands(block, name)
            ran += 1
        if block.language != "python":
            continue
        printed = run_block(block, scope, name)
        ran += 1
        if (following.language, following.title) == ("text", "output"):
            assert alike(printed, following.text), (
                f"{name}, line {following.line}: the page shows\n{following.text}\n"
                f"but the program prints\n{printed}"
            )
    return ran


def run_block(block, scope, name):
    """Run one program and return what it prints, an error that it announces included."""
    program = compile("\n" * block.line + block.text, name, "exec")
    announced = RAISES.fullmatch(block.title)
    printed = io.StringIO()
    error = None
    with contextlib.redirect_stdout(printed):
        try:
            exec(program, scope)  # the page's own text
        except Exception as raised:
            if announced is None:
                raise
            error = raised
    if announced is None:
        return printed.getvalue()
    place = f"{name}, line {block.line}"
    assert error is not None, f"{place}: expected {announced[1]}, but nothing was raised"
    assert type(error).__name__ == announced[1], f"{place}: {error!r}"
    return f"{printed.getvalue()}\n{told(error)}"


def run_commands(block, name):
    """Run the commands of a block and hold what they print to what it shows."""
    printed, code = [], None
    for line in block.text.splitlines():
        if line == "$ echo $?":
            printed.append(f"{line}\n{code}\n")
        elif line.startswith("$ "):
            result = CliRunner().invoke(app, shlex.split(line)[2:], prog_name="rosin")
            code = result.exit_code
            printed.append(f"{line}\n{result.output}")
    assert alike("".join(printed), block.text), (
        f"{name}, line {block.line}: the page shows\n{block.text}\nbut there is\n{''.join(printed)}"
    )


def told(error):
    """Spell an error as the last lines of a traceback do, without what JAX adds to any."""
    notes = [note for note in getattr(error, "__notes__", ()) if not note.startswith("-----")]
    return "\n".join([f"{type(error).__name__}: {error}", *notes])


def alike(printed, shown):
    """Compare two texts: words exactly, whitespace loosely, numbers with a point nearly."""
    printed_words, shown_words = (NUMBER.sub("#", text).split() for text in (printed, shown))
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=False)
    return printed_words == shown_words and all(
        math.isclose(float(a), float(b), rel_tol=THREE_DIGITS, abs_tol=1e-6) for a, b in pairs
    )


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Give a page a folder and a random stream of its own, and no screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "80")
    with rs.seed(0):
        yield


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_programs_of_a_page_run_one_after_the_other(path):
    assert run_page(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_fence_is_read(path):
    page = path.read_text(encoding="utf-8")
    marks = re.findall(r"^\s*```.*$", page, re.MULTILINE)
    assert len(marks) == 2 * len(blocks(page)), "a fence is indented, unclosed or has options"


BROKEN = {
    "an error": "```python\n1 / 0\n```",
    "another output": '```python\nprint(1)\n```\n\n```text title="output"\n2\n```',
    "another number": '```python\nprint(0.12)\n```\n\n```text title="output"\n0.13\n```',
    "no output": '```python\npass\n```\n\n```text title="output"\n2\n```',
    "no error": '```python title="raises ValueError"\npass\n```',
    "another error": '```python title="raises ValueError"\n{}["a"]\n```',
    "another message": '```python title="raises ValueError"\nint("a")\n```\n\n'
    '```text title="output"\nValueError: b\n```',
    "another report": "```console\n$ rosin --version\nrosin 0.0.0\n```",
    "another exit code": "```console\n$ rosin scan nothing\nFileNotFoundError: 'nothing': "
    "No such file or directory\n$ echo $?\n0\n```",
    "a later block": "```python\nx = 1\n```\n\n```python\nassert x == 2\n```",
}


@pytest.mark.parametrize("page", BROKEN.values(), ids=BROKEN)
def test_a_broken_page_fails(page):
    with pytest.raises((AssertionError, ZeroDivisionError)):
        run_page(page, "broken.md")


def test_a_sound_page_passes():
    page = (
        '```python\nx = 1.0\nprint("a ", x)\n```\n\n```text title="output"\na 1.001\n```\n\n'
        '```python title="raises ZeroDivisionError"\nx / 0\n```\n\n'
        '```text title="output"\nZeroDivisionError: float division by zero\n```'
    )
    assert run_page(page, "sound.md") == 2


def directives():
    pages = sorted((DOCS / "api").glob("*.md"))
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]


def test_every_public_name_is_in_the_reference_once():
    listed = directives()
    assert len(listed) == len(set(listed))
    assert {f"rosin.{name}" for name in rs.__all__} <= set(listed)


@pytest.mark.parametrize("name", directives())
def test_the_reference_names_what_exists(name):
    home, _, last = name.rpartition(".")
    assert hasattr(importlib.import_module(home), last)


def test_the_navigation_names_every_page():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"\b([\w/-]+\.md)\b", text.partition("\nnav:")[2]))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert listed == pages
