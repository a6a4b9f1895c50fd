# SPDX-License-Identifier: Apache-2.0
"""`rosin inspect`: what is in a model file, without a number of it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from rosin.cli.bounds import Bounds, bounded
from rosin.cli.telling import told
from rosin.errors import escaped, grouped, shown

if TYPE_CHECKING:
    from rosin.files.items import Item


class Row(NamedTuple):
    """One line of the table."""

    name: str
    dtype: str
    shape: str
    size: str


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A model file of any readable format.", show_default=False
        ),
    ],
    *,
    limit: Bounds = None,
) -> None:
    """List the arrays of a model file: name, dtype, shape and bytes, then its metadata."""
    with told():
        from rosin.files.stored import open_stored

        with open_stored(path, bounded(limit)) as (items, metadata):
            lines = [*_table(items), *_texts(metadata)]
    typer.echo("\n".join(lines))


def _table(items: "Mapping[str, Item]") -> list[str]:
    rows = [
        Row("name", "dtype", "shape", "bytes"),
        *(_row(escaped(name), item) for name, item in items.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{row.name:<{widths[0]}}  {row.dtype:<{widths[1]}}  {row.shape:<{widths[2]}}  "
        f"{row.size:>{widths[3]}}"
        for row in rows
    ]
    count, total = len(items), sum(map(_bytes, items.values()))
    return [*lines, f"{grouped(count)} in all, {grouped(total)} bytes"]


def _row(name: str, item: "Item") -> Row:
    if item.dtype is None:
        value = item.read()
        return Row(name, type(value).__name__, shown(value), "")
    dtype = f"key<{item.kind}>" if item.kind else item.dtype.name
    shape = f"({', '.join(map(str, item.shape))}{',' * (len(item.shape) == 1)})"
    return Row(name, dtype, shape, grouped(_bytes(item)))


def _bytes(item: "Item") -> int:
    return 0 if item.dtype is None else math.prod(item.shape) * item.dtype.itemsize


def _texts(metadata: Mapping[str, str]) -> list[str]:
    if not metadata:
        return []
    return ["", "metadata", *(f"  {escaped(name)}: {shown(metadata[name])}" for name in metadata)]
