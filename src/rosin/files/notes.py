# SPDX-License-Identifier: Apache-2.0
"""What a model file says beside its arrays: numbers, texts, and the kinds of random keys.

They stand as JSON in the metadata of the file, under the name `rosin`:
`{"version": 2, "needs": "0.1.0", "keys": {path: kind}, "values": {path: number or text}}`.
The beginning, up to the version of Rosin that reads it, is the same in every version to come.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, NoReturn, cast

from rosin.errors import shortened, shown
from rosin.files.source import Source
from rosin.limits import Limits

NAME: Final = "rosin"
VERSION: Final = 2
NEEDS: Final = "0.1.0"
"""The first version of Rosin that reads this version of the notes."""

_PARTS: Final = ("version", "needs", "keys", "values")
_HEAD: Final = re.compile(
    r'\{"version": ([0-9]{1,9}), "needs": "([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})"'
)
_WHERE: Final = f"metadata {NAME!r}"
_FIX: Final = "read it with the version of Rosin that wrote it, or with rs.load_arrays"
# The closing quote is optional so that every quote starts a match: linear in any input.
_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OTHERS: Final = re.compile(r"[^][{}]+")
_BRACKETS: Final = "{{}{}}"


class Notes(NamedTuple):
    """The notes of one file.

    Args:
        keys: The kind of each array of random keys, as `jax.random.key_impl` names it.
        values: What is no array: booleans, whole numbers, floats and texts.
    """

    keys: dict[str, str]
    values: dict[str, Any]


def encode(notes: Notes) -> str:
    """Write notes as text."""
    return json.dumps({"version": VERSION, "needs": NEEDS, **notes._asdict()})


def _with_needs(noted: dict[str, Any]) -> dict[str, Any]:
    """Version 1 does not say which Rosin reads it: every one does."""
    return {"needs": NEEDS, **noted}


MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _with_needs}
"""For each earlier version, what makes notes of the next version out of its notes."""


def decode(
    path: str | os.PathLike[str],
    metadata: Mapping[str, str],
    arrays: Collection[str],
    limits: Limits,
) -> Notes:
    """Read the notes of a file and check them against its arrays.

    A file of another program has none.

    Raises:
        FileError: They are not what `encode` writes, or contradict the arrays.
        LimitError: They name more values than `limits.max_tensors`.
    """
    text = metadata.get(NAME)
    if text is None:
        return Notes({}, {})
    source = Source.of(path, limits)
    _expect_known(text, source)
    noted = _current(_parsed(text, len(arrays), source), source)
    keys, values = noted.get("keys"), noted.get("values")
    if noted.keys() != set(_PARTS) or not isinstance(keys, dict) or not isinstance(values, dict):
        _refuse(source, f"{', '.join(_PARTS)}, the last two as objects", _kinds(noted))
    kinds, plain = cast("dict[str, Any]", keys), cast("dict[str, Any]", values)
    for name, kind in kinds.items():
        if not isinstance(kind, str) or name not in arrays:
            _refuse(source, "the kind of an array of random keys", _entry(name, kind))
    for name, value in plain.items():
        if value is None or name in arrays:
            _refuse(source, "a number or a text that is no array as well", _entry(name, value))
    return Notes(kinds, plain)


def _expect_known(text: str, source: Source) -> None:
    """Refuse notes of a later version by their beginning; the rest may have any form."""
    head = _HEAD.match(text)
    if head is not None and int(head[1]) > VERSION:
        source.refuse(
            _WHERE,
            expected=f"format version {VERSION} at most",
            got=f"version {head[1]}, which Rosin {head[2]} reads",
            fix=f"install Rosin {head[2]} or newer, or read the arrays with rs.load_arrays",
        )


def _current(noted: dict[str, Any], source: Source) -> dict[str, Any]:
    """Bring notes of an earlier version up to this one."""
    version = noted.get("version")
    if type(version) is not int or not (version == VERSION or version in MIGRATIONS):
        got = shortened(str(version), 20) if type(version) is int else shown(version)
        _refuse(source, f"format version 1 to {VERSION}", f"version {got}")
    for number in range(version, VERSION):
        noted = {**MIGRATIONS[number](noted), "version": number + 1}
    return noted


def _parsed(text: str, arrays: int, source: Source) -> dict[str, Any]:
    """Parse the JSON, once its brackets and colons show that it is as flat as notes are.

    Each array may have a kind; what has a colon beside these and the parts is a value.
    """
    bare = _STRINGS.sub("", text)
    values = bare.count(":") - len(_PARTS) - arrays
    source.expect_within("max_tensors", values, unit="numbers and texts", where=_WHERE)
    if _OTHERS.sub("", bare) != _BRACKETS:
        _refuse(source, "one object that holds two flat objects", "another nesting")
    try:
        return json.loads(text)
    except ValueError as error:
        _refuse(source, "JSON", f"a fault: {shortened(str(error))}")


def _kinds(noted: dict[str, Any]) -> str:
    return shortened(", ".join(f"{shown(k)}: {type(v).__name__}" for k, v in noted.items()))


def _entry(name: str, value: Any) -> str:
    return f"{shown(value)} for {shown(name)}"


def _refuse(source: Source, expected: str, got: str) -> NoReturn:
    source.refuse(_WHERE, expected=expected, got=got, fix=_FIX)
