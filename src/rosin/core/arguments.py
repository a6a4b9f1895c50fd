# SPDX-License-Identifier: Apache-2.0
"""Calls of a constructor that do not fit its signature: a misspelt or a missing argument."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rosin.core.validation import expect_known, refuse
from rosin.errors import StructureError


def expect_arguments(
    init: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, subject: str
) -> None:
    """Refuse arguments that `__init__` does not take, and say which it does.

    Raises:
        StructureError: The arguments do not fit the signature.
    """
    signature = inspect.signature(init)
    try:
        signature.bind(None, *args, **kwargs)
    except TypeError as error:
        mismatch = str(error)
    else:
        return
    parameters = list(signature.parameters.values())[1:]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        names = [p.name for p in parameters]
        expect_known(list(kwargs), names, subject=subject, what="arguments")
    _, quote, missing = mismatch.partition("missing a required argument: ")
    refuse(
        StructureError,
        subject=subject,
        expected=f"the arguments ({_spelled(parameters)})",
        got=f"{len(args)} in order and {len(kwargs)} by name: {mismatch}",
        fix=f"pass {missing.strip(chr(39))} too" if quote else "pass those after the * by name",
    )


def _spelled(parameters: list[inspect.Parameter]) -> str:
    """List the names, with a star before those that are passed by name alone."""
    names: list[str] = []
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not any(name.startswith("*") for name in names):
            names.append("*")
        names.append({p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name)
    return ", ".join(names)
