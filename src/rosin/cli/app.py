# SPDX-License-Identifier: Apache-2.0
"""The list of commands, and where the program `rosin` begins."""

from typing import Annotated

import typer

from rosin.cli.converting import convert
from rosin.cli.inspecting import inspect
from rosin.cli.scanning import scan

app = typer.Typer(
    name="rosin",
    help="Rosin: deep learning on JAX, secure by design. Nothing that these commands read is "
    "imported, called or evaluated.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    epilog="Exit codes: 0 nothing fails; 1 something does; 2 a path cannot be opened, or the "
    "command was called wrongly."
)(scan)
app.command(
    epilog="Exit codes: 0 OUT is written; 1 a file is refused, or the rules do not fit; 2 a file "
    "cannot be opened, or the command was called wrongly."
)(convert)
app.command(
    epilog="Exit codes: 0 the file is listed; 1 it is refused; 2 it cannot be opened, or the "
    "command was called wrongly."
)(inspect)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  typer calls it with the value alone
    if wanted:
        from rosin import __version__

        typer.echo(f"rosin {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    del version  # it has been shown by now


def main() -> None:
    """Run the command that the arguments of the program ask for."""
    app(prog_name="rosin")
