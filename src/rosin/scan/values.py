# SPDX-License-Identifier: Apache-2.0
"""What stands on the stack of the pickle machine: typed values, none of which does anything.

Numbers, short texts, short bytes, `None` and tuples stand for themselves.
"""

import abc
import dataclasses

from rosin.scan.region import Region

_PLAIN_KEYS = (str, int, float, bytes, type(None))


class Misfit(Exception):  # noqa: N818  it is a verdict, not a fault of the program
    """A call, or an operation on a value, that fits no pattern of plain data."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected)
        self.expected = expected
        self.got = got


class Unread(Misfit):
    """Data of a kind that nothing reads, which is no reason for suspicion."""


@dataclasses.dataclass(slots=True, eq=False)
class List:
    """A list."""

    items: list[object] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, eq=False)
class Dict:
    """A dict or one of its kinds, whose keys are plain."""

    items: dict[object, object] = dataclasses.field(default_factory=dict)
    kind: str = "dict"


@dataclasses.dataclass(slots=True, eq=False)
class Set:
    """A set or a frozen set, whose items may be anything."""

    items: list[object] = dataclasses.field(default_factory=list)
    mutable: bool = True


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """Bytes that stay in the file."""

    region: Region
    begin: int
    size: int

    def whole(self) -> bytes:
        """Read them."""
        return self.region.exactly(self.begin, self.size)


@dataclasses.dataclass(frozen=True, slots=True)
class Symbol:
    """A word of a closed list, such as `torch.float32` or a device."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Name:
    """The name of something to import, which is never imported."""

    module: str
    name: str
    byte: int

    @property
    def dotted(self) -> str:
        """Module and name in one."""
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """The result of a call that was reported; anything may be done to it, nothing counts."""


class Buildable(abc.ABC):
    """A value that is completed by a BUILD with its state."""

    @abc.abstractmethod
    def build(self, state: object) -> object:
        """Return what the value becomes; raise `Misfit` for a state that does not fit."""


def named(value: object) -> str:
    """Say in a few words what a value is, never what it holds.

    Examples:
        >>> named((1, 2)), named(None), named(List())
        ('a tuple', 'None', 'a list')
    """
    if value is None:
        return "None"
    if isinstance(value, Name):
        return value.dotted
    if isinstance(value, Dict):
        return f"a {value.kind}"
    words: dict[type, str] = {
        int: "an integer",
        str: "a text",
        Blob: "bytes",
        bytes: "bytes",
        Opaque: "an object",
    }
    return words.get(type(value), f"a {type(value).__name__.lower()}")


def plain_key(key: object) -> bool:
    """Say whether a key is plain data, or a flat tuple of it, so that comparing it is cheap.

    Examples:
        >>> plain_key(("a", 1)), plain_key((("a",),))
        (True, False)
    """
    if isinstance(key, tuple):
        return all(isinstance(part, _PLAIN_KEYS) for part in key)
    return isinstance(key, _PLAIN_KEYS)
