# SPDX-License-Identifier: Apache-2.0
"""What a model file says beside its arrays: numbers, texts, and the kinds of random keys.

They stand as JSON in the metadata of the file, under the name `rosin`:
`{"version": 1, "keys": {path: kind}, "values": {path: number or text}}`.
"""

import json
import os
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, NoReturn, cast

from rosin.errors import shortened, shown
from rosin.files.source import Source
from rosin.limits import Limits

NAME: Final = "rosin"
VERSION: Final = 1

_PARTS: Final = ("version", "keys", "values")
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
    return json.dumps({"version": VERSION, **notes._asdict()})


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
    noted = _parsed(text, len(arrays), source)
    version, keys, values = (noted.get(name) for name in _PARTS)
    if type(version) is not int or not isinstance(keys, dict) or not isinstance(values, dict):
        _refuse(source, "a version, and objects of keys and values", _kinds(noted))
    if version != VERSION:
        _refuse(source, f"format version {VERSION}", f"version {shortened(str(version), 20)}")
    kinds, plain = cast("dict[str, Any]", keys), cast("dict[str, Any]", values)
    for name, kind in kinds.items():
        if not isinstance(kind, str) or name not in arrays:
            _refuse(source, "the kind of an array of random keys", _entry(name, kind))
    for name, value in plain.items():
        if value is None or name in arrays:
            _refuse(source, "a number or a text that is no array as well", _entry(name, value))
    return Notes(kinds, plain)


def _parsed(text: str, arrays: int, source: Source) -> dict[str, Any]:
    """Parse the JSON, once its brackets and colons show that it is as flat as notes are.

    Each array may have a kind; what has a colon beside these and the three parts is a value.
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
