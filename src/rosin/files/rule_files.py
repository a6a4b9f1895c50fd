# SPDX-License-Identifier: Apache-2.0
"""Renaming rules in a JSON file: read as foreign data, every field checked.

{"rosin_renaming": 1,
"rules": [
{"from": "fc.weight", "to": "head.weight",
"steps": [{"step": "transpose", "axes": "OI->IO"}]},
{"from": ["bias_ih_l{n}", "bias_hh_l{n}"], "to": "layers[{n}].cell.bias",
"steps": [{"step": "add"}]},
{"drop": "**.num_batches_tracked"}]}
"""

import dataclasses
import json
import os
from typing import Any, Final, cast

from rosin.errors import UsageError, shown
from rosin.files.atomic import replace_file
from rosin.files.renaming import (
    Add,
    Drop,
    Flip,
    Join,
    Rename,
    Renaming,
    Reorder,
    Reshape,
    Same,
    Split,
    Stack,
    Transpose,
    Unstack,
)
from rosin.files.rules import Rule
from rosin.files.source import Source, read_whole
from rosin.files.steps import Step
from rosin.limits import Limits
from rosin.scan.json_text import brackets, count_values, expect_shallow, outline, parse_object

VERSION: Final = 1
STEPS: Final[dict[str, type[Step]]] = {
    kind.__name__.lower(): kind
    for kind in (Transpose, Flip, Reshape, Reorder, Split, Join, Stack, Unstack, Add, Same)
}

_HEAD: Final = "rosin_renaming"
_DEFAULT: Final = Limits()
_FIX: Final = "mend the rule; the guide on files shows the form"


def read_rules(path: str | os.PathLike[str], *, limits: Limits = _DEFAULT) -> Renaming:
    """Read renaming rules from a JSON file.

    Args:
        path: The file.
        limits: Bounds on what is accepted.

    Raises:
        FileError: The file is not what `write_rules` writes; the rule is named.
        LimitError: The file exceeds one of `limits`.
        OSError: The file cannot be opened.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_rules(f"{folder}/map.json", Renaming([Drop("**.bias")]))
        ...     read_rules(f"{folder}/map.json").rules
        (Drop(pattern='**.bias'),)
    """
    source = Source.of(path, limits)
    data = read_whole(path, source, "max_index_bytes")
    source.expect_within("max_tensors", count_values(data), unit="values", where="")
    expect_shallow(brackets(data), source, "rules")
    content = parse_object(data, source, what="object")
    version = content.get(_HEAD)
    if content.keys() != {_HEAD, "rules"} or type(version) is not int or version != VERSION:
        keys = ", ".join(map(shown, content)) or "no key"
        source.refuse("", expected=f'"{_HEAD}": {VERSION} and "rules"', got=keys, fix=_FIX)
    rules = content["rules"]
    if not isinstance(rules, list):
        source.refuse("rules", expected="a list", got=outline(rules), fix=_FIX)
    listed = cast("list[object]", rules)
    return Renaming([_rule(rule, f"rule {number}", source) for number, rule in enumerate(listed)])


def write_rules(path: str | os.PathLike[str], rules: Renaming) -> None:
    """Write renaming rules as a JSON file, whole or not at all.

    Raises:
        OSError: The system cannot write the file.
    """
    content = {_HEAD: VERSION, "rules": [_data(rule) for rule in rules.rules]}
    with replace_file(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


def _data(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, Drop):
        return {"drop": rule.pattern}
    data: dict[str, Any] = {"from": _one(rule.sources), "to": _one(rule.targets)}
    if rule.steps:
        data["steps"] = [
            {"step": type(step).__name__.lower(), **dataclasses.asdict(step)} for step in rule.steps
        ]
    return data


def _one(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names


def _rule(value: object, where: str, source: Source) -> Rule:
    """Make a rule of what the file says; the rule's own checks speak for the file."""
    data = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    try:
        if data.keys() == {"drop"}:
            return Drop(data["drop"])
        if {"from", "to"} <= data.keys() <= {"from", "to", "steps"}:
            steps = data.get("steps", [])
            sources, targets = (
                _names(data[side], f"{where}, {side}", source) for side in ("from", "to")
            )
            if isinstance(steps, list):
                listed = cast("list[object]", steps)
                made = [_step(one, f"{where}, steps", source) for one in listed]
                return Rename(sources, targets, *made)
    except UsageError as error:
        source.refuse(
            where, expected=f"{error.expected} ({error.subject})", got=error.got, fix=_FIX
        )
    got = outline(value) if not data else ", ".join(map(shown, data))
    source.refuse(
        where, expected='"from", "to" and a list of "steps", or "drop"', got=got, fix=_FIX
    )


def _names(value: object, where: str, source: Source) -> list[str]:
    names = [value] if isinstance(value, str) else value
    listed = cast("list[object]", names) if isinstance(names, list) else [None]
    if not all(isinstance(name, str) for name in listed):
        source.refuse(where, expected="a pattern or a list of them", got=outline(value), fix=_FIX)
    return cast("list[str]", listed)


def _step(value: object, where: str, source: Source) -> Step:
    data = dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
    name = data.pop("step", None)
    kind = STEPS.get(name) if isinstance(name, str) else None
    if kind is None:
        got = shown(name) if data or name is not None else outline(value)
        source.refuse(where, expected=f'a "step" among {", ".join(STEPS)}', got=got, fix=_FIX)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = {n for n, field in fields.items() if field.default is dataclasses.MISSING}
    if not needed <= data.keys() <= fields.keys():
        expected = f"{name} with {', '.join(fields) or 'nothing more'}"
        source.refuse(where, expected=expected, got=", ".join(data) or "nothing", fix=_FIX)
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in data.items()})
