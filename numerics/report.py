# SPDX-License-Identifier: Apache-2.0
"""What a section of the page consists of, and how it is written."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table, and the bars that it misses, each a short sentence."""

    cells: tuple[str, ...]
    misses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of the page: prose in Markdown, then a table."""

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def misses(self) -> list[str]:
        """Name every row that misses a bar, and the bar."""
        return [f"{' '.join(row.cells[:2])}: {miss}" for row in self.rows for miss in row.misses]

    def markdown(self) -> str:
        """Write the section; a row that misses a bar is bold."""
        lines = [f"## {self.title}", "", self.text.strip(), ""]
        lines += [_line(self.columns), _line(("---",) + ("--:",) * (len(self.columns) - 1))]
        for row in self.rows:
            lines.append(_line([f"**{c}**" for c in row.cells] if row.misses else row.cells))
        return "\n".join([*lines, ""])


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figure(number: float) -> str:
    """Write an error with the digits that matter: 0, 0.50, 3.7, 220, 1.7e+07."""
    if number == 0 or math.isnan(number):
        return f"{number:g}"
    if number < 10:
        return f"{number:.2f}" if number < 1 else f"{number:.1f}"
    return f"{number:.0f}" if number < 1e5 else f"{number:.1e}"
