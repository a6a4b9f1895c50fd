# SPDX-License-Identifier: Apache-2.0
"""`rosin convert`: what any readable file holds, as safetensors."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rosin.cli.bounds import Bounds, bounded
from rosin.cli.telling import counted, listed, told
from rosin.errors import escaped, shown

if TYPE_CHECKING:
    from rosin.files.stored import Converted

_SUFFIX: Final = ".safetensors"
_INDEX_SUFFIX: Final = ".safetensors.index.json"


class Dtype(enum.StrEnum):
    """What floating-point arrays can be rounded to."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A model file of any readable format.", show_default=False
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help=f"The file to write: *{_SUFFIX}, or *{_INDEX_SUFFIX} for several files.",
            show_default=False,
        ),
    ],
    *,
    rules: Annotated[
        Path | None,
        typer.Option("--map", "-m", metavar="RULES", help="Renaming rules, in a JSON file."),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Round floating-point arrays to this dtype.")
    ] = None,
    limit: Bounds = None,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT if it exists.")] = False,
) -> None:
    """Write the arrays of a model file as safetensors, under other names if wanted."""
    _expect_target(target, force=force)
    with told():
        from rosin.files.rule_files import read_rules
        from rosin.files.stored import convert as convert_file

        limits = bounded(limit)
        done = convert_file(
            source,
            target,
            names=None if rules is None else read_rules(rules, limits=limits),
            dtype=dtype and dtype.value,
            limits=limits,
        )
    typer.echo("\n".join(_report(target, done, renamed=rules is not None)))


def _expect_target(target: Path, *, force: bool) -> None:
    """Refuse a name that says another format, and a file that would be lost."""
    if not target.name.endswith((_SUFFIX, _INDEX_SUFFIX)):
        raise typer.BadParameter(
            f"expected a name that ends in {_SUFFIX} or {_INDEX_SUFFIX}, got {shown(target.name)}",
            param_hint="'OUT'",
        )
    if not force and target.exists():
        raise typer.BadParameter(
            f"{shown(target.name)} exists; pass --force to write over it", param_hint="'OUT'"
        )


def _report(target: Path, done: "Converted", *, renamed: bool) -> list[str]:
    """Spell what was written, and with rules what became of each name."""
    lines = [f"{escaped(str(target))}: {counted(len(done.written), 'array')}"]
    if not renamed:
        return lines
    lines.append(f"  used by the rules: {counted(len(done.used), 'name')}")
    for what, names in (
        ("dropped by the rules", done.dropped),
        ("left over, and kept as they are", done.left_over),
    ):
        lines.append(f"  {what}: {counted(len(names), 'name')}")
        lines += [f"    {name}" for name in listed(list(names))]
    return lines
