# SPDX-License-Identifier: Apache-2.0
"""How a history prints: a table that fits the terminal, or says what it leaves out."""

import io
import math
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rosin.errors import shortened

FIRST_ROWS, LAST_ROWS = 5, 15
MAX_HEADER_CHARACTERS = 40
HEADER_LINE_CHARACTERS = 11
GAP = 2
MAX_PLAIN = 1e9
"""Numbers from here on are spelled with an exponent."""


def table_text(rows: Sequence[dict[str, float]], columns: Sequence[str]) -> str:
    """Print the table into a text, as wide as the terminal."""
    width = shutil.get_terminal_size().columns
    file = io.StringIO()
    Console(file=file, width=width).print(table(rows, columns, width))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def table(rows: Sequence[dict[str, float]], columns: Sequence[str], width: int) -> Table:
    """Lay out the first and the last rows, and the columns that there is room for."""
    head, tail = (rows[:FIRST_ROWS], rows[-LAST_ROWS:])
    whole = len(rows) <= FIRST_ROWS + LAST_ROWS
    parts = [rows] if whole else [head, tail]
    texts = {name: _column([[row.get(name) for row in part] for part in parts]) for name in columns}
    chosen = _that_fit(texts, width)
    left_out = len(columns) - len(chosen)
    note = f"{left_out} more column{'s' * (left_out > 1)}" if left_out else None
    printed = Table(box=None, padding=(0, GAP, 0, 0), caption=note, caption_justify="left")
    for name in chosen:
        printed.add_column("\n".join(_header(name)), justify="right", no_wrap=True)
    for number, part in enumerate(parts):
        if number:
            printed.add_row(*["…"] * len(chosen))
        for index in range(len(part)):
            printed.add_row(*(texts[name][number][index] for name in chosen))
    return printed


def _that_fit(texts: dict[str, list[list[str]]], width: int) -> list[str]:
    """Choose columns from the left, those of single classes last."""
    order = sorted(texts, key=lambda name: "[" in name)
    chosen: set[str] = set()
    for name in order:
        cells = [cell for part in texts[name] for cell in part]
        width -= max(map(len, [*_header(name), *cells])) + GAP
        if width < 0:
            break
        chosen.add(name)
    return [name for name in texts if name in chosen]


def _header(name: str) -> list[str]:
    """Break a name into lines."""
    words = shortened(name.replace("_", " "), MAX_HEADER_CHARACTERS)
    return textwrap.wrap(words, HEADER_LINE_CHARACTERS) or [""]


def _column(parts: list[list[Any]]) -> list[list[str]]:
    """Spell the numbers of a column alike: as whole numbers, or with four digits."""
    known = [x for part in parts for x in part if x is not None and math.isfinite(x)]
    whole = all(x == int(x) for x in known)
    return [[_spelled(value, whole=whole) for value in part] for part in parts]


def _spelled(value: Any, *, whole: bool) -> str:
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(float(value))
    plain = whole and abs(value) < MAX_PLAIN
    return f"{value:.0f}" if plain or 1e4 <= abs(value) < MAX_PLAIN else f"{value:#.4g}"
