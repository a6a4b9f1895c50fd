# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers as CSV and as JSON lines, such as the history of a training.

A row is a dict of numbers; a column that it lacks has an empty cell, or no key. NaN is `nan`
in CSV and null in JSON, which has no word for it; infinity is `inf`, or the text "Infinity".
What is read may come from strangers: it is bounded first, and anything but numbers refused.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from rosin.errors import grouped, shown
from rosin.files.atomic import replace_file
from rosin.files.source import Source, fill, open_regular
from rosin.limits import Limits
from rosin.scan.json_text import parse_object

Row: TypeAlias = dict[str, float]

MAX_CELL_CHARACTERS: Final = 40
_NUMBER: Final = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|-?inf", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,15}", re.ASCII)  # exact in a float as well
_WORDS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, None: math.nan}


def write_csv(path: str | os.PathLike[str], rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write rows under a header line, in place of what stood there."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    with replace_file(path) as file:
        file.write(text.getvalue().encode())


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
    """Write each row as a JSON object on a line of its own."""
    lines = [json.dumps({name: _word(value) for name, value in row.items()}) for row in rows]
    with replace_file(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def _word(value: float) -> float | str | None:
    """Spell a number as JSON can."""
    if math.isfinite(value):
        return _plain(value)
    return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(value: Any) -> float:
    """Take a number of NumPy as one of Python."""
    return value.item() if hasattr(value, "item") else value


def read_csv(path: str | os.PathLike[str], limits: Limits) -> list[Row]:
    """Read rows under a header line.

    Raises:
        FileError: It is no such table: a name comes twice, a row has other cells than the
            header, or a cell is no number.
        LimitError: It is larger than `limits.max_table_bytes`, or a name than
            `limits.max_name_characters`.
        OSError: The system cannot open it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_csv(f"{folder}/a.csv", [{"epoch": 1, "loss": 0.5}], ["epoch", "loss"])
        ...     read_csv(f"{folder}/a.csv", Limits())
        [{'epoch': 1, 'loss': 0.5}]
    """
    source = Source.of(path, limits)
    lines = _cells(_text(path, source), source)
    columns = next(lines, [])
    _expect_names(columns, source, "line 1")
    rows: list[Row] = []
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(columns):
            source.refuse(
                f"row {grouped(number)}",
                expected=f"{len(columns)} cells, as in the header",
                got=f"{len(cells)}",
            )
        given = zip(columns, cells, strict=True)
        where = f"row {grouped(number)}"
        rows.append({name: _number(cell, source, where) for name, cell in given if cell})
    return rows


def read_json_lines(path: str | os.PathLike[str], limits: Limits) -> list[Row]:
    """Read a row from the JSON object on each line.

    Raises:
        FileError: A line is no JSON object, or holds anything but numbers.
        LimitError: As for `read_csv`.
        OSError: The system cannot open it.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json_lines(f"{folder}/a.jsonl", [{"epoch": 1, "loss": float("nan")}])
        ...     read_json_lines(f"{folder}/a.jsonl", Limits())
        [{'epoch': 1, 'loss': nan}]
    """
    source = Source.of(path, limits)
    rows: list[Row] = []
    start = 0
    for number, line in enumerate(_text(path, source).split("\n"), 1):
        data = line.encode()
        if line.strip():
            where = f"line {grouped(number)}"
            content = parse_object(data, source, what="row", start=start)
            _expect_names(list(content), source, where)
            rows.append({name: _value(value, source, where) for name, value in content.items()})
        start += len(data) + 1
    return rows


# --- foreign text -------------------------------------------------------------------


def _text(path: str | os.PathLike[str], source: Source) -> str:
    """Read a bounded file of UTF-8."""
    file, size = open_regular(path, source)
    with file:
        source.expect_within("max_table_bytes", size, unit="bytes", where="")
        data = bytearray(size)
        fill(memoryview(data), file, source)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        where = f"byte {grouped(error.start)}"
        source.refuse(where, expected="a table in UTF-8", got=f"a fault: {error.reason}")


def _cells(text: str, source: Source) -> Iterator[list[str]]:
    """Cut CSV into cells, leaving blank lines out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        where = f"line {grouped(reader.line_num)}"
        source.refuse(where, expected="cells of CSV", got=f"a fault: {shown(str(error))}")


def _expect_names(names: Sequence[str], source: Source, where: str) -> None:
    """Refuse a header without names, or with one that comes twice."""
    longest = max(map(len, names), default=0)
    source.expect_within("max_name_characters", longest, unit="characters", where=where)
    twice = len(set(names)) < len(names)
    if twice or not names or "" in names:
        got = "one twice" if twice else "one that is empty" if names else "none"
        source.refuse(where, expected="names of columns, each once", got=got)


def _number(cell: str, source: Source, where: str) -> float:
    if len(cell) > MAX_CELL_CHARACTERS or not _NUMBER.fullmatch(cell):
        source.refuse(where, expected="numbers", got=shown(cell))
    return int(cell) if _WHOLE.fullmatch(cell) else float(cell)


def _value(value: object, source: Source, where: str) -> float:
    if type(value) is int or type(value) is float:
        return value
    if value is None or (isinstance(value, str) and value in _WORDS):
        return _WORDS[value]
    source.refuse(where, expected="numbers", got=shown(value))
