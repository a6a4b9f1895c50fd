# SPDX-License-Identifier: Apache-2.0
"""Paths: one spelling for where a leaf stands, in messages, files, groups and summaries.

A path reads like the Python expression that reaches the leaf, without the model's name:
`layers[1].weight`. Keys of dicts that are names are spelled like attributes,
`encoder.bias`; others in brackets, `encoder["a b"].bias`.
"""

import functools
import json
import re
from typing import Any, TypeAlias

from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from rosin.core.validation import refuse
from rosin.errors import StructureError, shown

KeyPath: TypeAlias = tuple[Any, ...]


class _Any:
    """The step `[*]`, which stands for every index."""

    def __str__(self) -> str:
        return "*"


ANY = _Any()
_NAME = re.compile(r"[^\W\d]\w*")
_STEP = re.compile(
    r"(?:^\.?|\.)(?P<name>[^\W\d]\w*)"
    r"|\[(?P<index>[0-9]{1,18}|\*)\]"
    r'|\[(?P<quoted>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")\]'  # as in JSON
)


def path_string(keys: KeyPath) -> str:
    """Spell a JAX key path.

    Examples:
        >>> path_string((GetAttrKey("layers"), SequenceKey(1), DictKey("a b")))
        'layers[1]["a b"]'
    """
    return "".join(map(_spelled, keys)).removeprefix(".")


def _spelled(key: Any) -> str:
    match key:
        case GetAttrKey(name=name):
            return f".{name}"
        case SequenceKey(idx=index) | FlattenedIndexKey(key=index):
            return f"[{index}]"
        case DictKey(key=str(name)):
            return f".{name}" if _NAME.fullmatch(name) else f"[{json.dumps(name)}]"
        case DictKey(key=name):
            return f"[{name!r}]"
        case _:
            return f"[{key}]"


def matches(step: Any, key: Any) -> bool:
    """Tell whether a step of a path that was read names a key of a tree.

    Examples:
        >>> matches(GetAttrKey("encoder"), DictKey("encoder"))
        True
    """
    if step is ANY:
        return isinstance(key, SequenceKey)
    return _spelled(step) == _spelled(key)


def joined(head: str, tail: str) -> str:
    """Put one path behind another."""
    return f"{head}{tail}" if not head or not tail or tail.startswith("[") else f"{head}.{tail}"


def as_where(path: str) -> str:
    """Spell a path so that it can follow the word `model`."""
    return path if not path or path.startswith("[") else f".{path}"


def parse_path(path: str) -> KeyPath:
    """Read a path back into JAX keys; `[*]` becomes `ANY`.

    Raises:
        StructureError: The text is not a path.

    Examples:
        >>> path_string(parse_path("layers[1].weight"))
        'layers[1].weight'
    """
    keys: list[Any] = []
    position = 0
    text = path if isinstance(path, str) else "?"
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            refuse(
                StructureError,
                subject="path",
                expected="names, [index] and [\"key\"] in a row, such as 'layers[1].weight'",
                got=shown(path),
                fix=f"rewrite it from character {position} on",
            )
        keys.append(_key(**step.groupdict()))
        position = step.end()
    return tuple(keys)


def _key(name: str | None, index: str | None, quoted: str | None) -> Any:
    if name is not None:
        return GetAttrKey(name)
    if index is not None:
        return ANY if index == "*" else SequenceKey(int(index))
    return DictKey(json.loads(str(quoted)))


# --- globs ------------------------------------------------------------------------------


class Glob:
    """A path with wild cards: `*` for anything within a step, `**` for any steps or none.

    It covers the paths that it names, and all that stands inside of what it names.

    Args:
        pattern: The glob.
        foreign: Whether it is for names that need not be paths, such as `layer.0.weight`
            of another library.

    Raises:
        StructureError: The text would not be a path without its wild cards, or with
            `foreign` is no text.

    Examples:
        >>> Glob("encoder").covers("encoder.layers[0].weight")
        True
        >>> Glob("**.bias").covers("encoder.layers[0].weight")
        False
    """

    def __init__(self, pattern: str, *, foreign: bool = False) -> None:
        self._expression = _expression(pattern, foreign=foreign)

    def covers(self, path: str) -> bool:
        """Tell whether the pattern names a path, or something around it."""
        return self._expression.fullmatch(path) is not None


@functools.lru_cache(maxsize=256)
def _expression(pattern: str, *, foreign: bool) -> re.Pattern[str]:
    """Turn a glob into a regular expression over paths."""
    text = pattern if isinstance(pattern, str) else "?"
    if not foreign or text is not pattern:
        keys = parse_path(re.sub(r"\*+", "_", text.replace("[*]", "[0]")))
        text = text.removeprefix(".") if "*" in text else path_string(keys)
    pieces = re.split(r"(\*\*\.|\*\*|\*)", text)
    meanings = {"**.": r"(?:.*\.)?", "**": r".*", "*": r"[^.\[\]]*"}
    body = "".join(meanings.get(piece) or re.escape(piece) for piece in pieces)
    return re.compile(rf"{body}(?:[.\[].*)?" if text else r".*")
