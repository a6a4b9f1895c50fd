# SPDX-License-Identifier: Apache-2.0
"""The option `--limit`: bounds on foreign input, from the command line."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

from rosin.errors import shown

if TYPE_CHECKING:
    from rosin.limits import Limits

Bounds: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=NUMBER",
        help="Another bound, such as max_tensors=2000000; may be given several times.",
    ),
]
"""How a command declares the option."""


def bounded(pairs: list[str] | None) -> "Limits":
    """Make limits of what the option was given; the others keep their defaults.

    Raises:
        typer.BadParameter: Something is no bound and its number.

    Examples:
        >>> bounded(["max_axes=4"]).max_axes, bounded(None).max_axes
        (4, 32)
    """
    from rosin.limits import Limits

    known = [field.name for field in dataclasses.fields(Limits)]
    given: dict[str, int] = {}
    for pair in pairs or []:
        name, _, number = pair.partition("=")
        if name not in known:
            _refuse(f"NAME=NUMBER with a name among {', '.join(known)}", pair)
        try:
            given[name] = int(number)
        except ValueError:
            given[name] = 0
        if given[name] < 1:
            _refuse(f"a whole number of at least 1 after {name}=", pair)
    return Limits(**given)


def _refuse(expected: str, got: str) -> NoReturn:
    raise typer.BadParameter(f"expected {expected}, got {shown(got)}", param_hint="'--limit'")
