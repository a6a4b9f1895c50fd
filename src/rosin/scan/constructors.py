# SPDX-License-Identifier: Apache-2.0
"""The names that plain data is made with, and the pattern of the arguments of each."""

from collections.abc import Callable, Mapping
from typing import Final, TypeGuard

from rosin.scan.machine import Constructor
from rosin.scan.values import Blob, Dict, List, Misfit, Set, named, plain_key


def outline(arguments: tuple[object, ...]) -> str:
    """Say what kinds of arguments there are.

    Examples:
        >>> outline((1, "a"))
        '(an integer, a text)'
    """
    words = [named(value) for value in arguments[:8]]
    return f"({', '.join([*words, '…'] if len(arguments) > 8 else words)})"


def is_whole(value: object, lowest: int = 0, highest: int = 2**63 - 1) -> TypeGuard[int]:
    """Say whether a value is an integer, not a bool, within bounds."""
    return type(value) is int and lowest <= value <= highest


def _ordered_dict(arguments: tuple[object, ...]) -> object:
    made = Dict(kind="OrderedDict")
    if not arguments:
        return made
    pairs = arguments[0].items if len(arguments) == 1 and isinstance(arguments[0], List) else None
    for pair in pairs if isinstance(pairs, list) else (None,):
        items = pair.items if isinstance(pair, List) else pair
        if not isinstance(items, (tuple, list)) or len(items) != 2:
            raise Misfit("nothing, or a list of pairs", outline(arguments))
        if not isinstance(items[0], (str, int)) or items[0] in made.items:
            raise Misfit("keys that are texts or numbers and come once", outline(arguments))
        made.items[items[0]] = items[1]
    return made


def _counter(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 1 or not isinstance(arguments[0], Dict):
        raise Misfit("one dict", outline(arguments))
    return Dict(arguments[0].items, kind="Counter")


def _set(*, mutable: bool) -> Callable[[tuple[object, ...]], object]:
    def make(arguments: tuple[object, ...]) -> object:
        if not arguments:
            return Set(mutable=mutable)
        items = arguments[0].items if isinstance(arguments[0], List) else [[]]
        if len(arguments) != 1 or not all(map(plain_key, items)):
            raise Misfit("one list of plain values", outline(arguments))
        return Set(list(dict.fromkeys(items)), mutable=mutable)

    return make


def _complex(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 2 or not all(type(part) in {int, float} for part in arguments):
        raise Misfit("two numbers", outline(arguments))
    real, imaginary = arguments
    return complex(real, imaginary)  # pyright: ignore[reportArgumentType]  checked above


def _bytes(arguments: tuple[object, ...]) -> object:
    if not arguments:
        return b""
    if len(arguments) == 1 and isinstance(arguments[0], (bytes, Blob)):
        return arguments[0]
    return _encoded(arguments)


def _encoded(arguments: tuple[object, ...]) -> object:
    """Turn text into the bytes that protocols 0 to 2 spell as Latin-1."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in _LATIN:
        raise Misfit("a text and 'latin1'", outline(arguments))
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError:
        raise Misfit("a text of Latin-1", "a text with other characters") from None


_LATIN: Final = ("latin1", "latin-1")

PLAIN: Final[Mapping[tuple[str, str], Constructor]] = {
    ("collections", "OrderedDict"): Constructor(_ordered_dict),
    ("collections", "Counter"): Constructor(_counter),
    ("_codecs", "encode"): Constructor(_encoded),
    **{
        (module, name): rule
        for module in ("builtins", "__builtin__")
        for name, rule in {
            "set": Constructor(_set(mutable=True)),
            "frozenset": Constructor(_set(mutable=False)),
            "complex": Constructor(_complex),
            "bytes": Constructor(_bytes),
            "bytearray": Constructor(_bytes),
        }.items()
    },
}
