# SPDX-License-Identifier: Apache-2.0
"""Messages of protocol buffers, read by a table of what each may hold and nothing else.

The wire format is that of the published encoding guide. Unknown fields, groups and a second
value of a single field are refused, since readers differ on what they do with them.
"""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from rosin.scan.cursor import Cursor
from rosin.scan.region import Region

Fields = dict[int, list[object]]
"""What a message holds: for each number its values, in the order of the file."""

Schema = Mapping[str, Mapping[int, str]]
"""For each message, the kind of each field; `*` before it where there may be several.

Kinds are `int`, `text`, `bytes`, `float` and `double` (spans of raw numbers), and messages.
"""

Span = tuple[int, int]
"""Where bytes begin, and how many there are."""

_VARINT: Final = 0
_FIXED64: Final = 1
_SIZED: Final = 2
_FIXED32: Final = 5
_MAX_VARINT_BYTES: Final = 10
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}
_NUMBERS: Final = {"float": _FIXED32, "double": _FIXED64}


class Reader:
    """A message from front to back.

    Args:
        region: What holds it, and nothing else.
        schema: What messages may hold.
        seen: Called with the kind and the fields of each message, inner ones first; what it
            returns takes the message's place in the one around.
        rule: The rule that a broken message breaks.
    """

    def __init__(
        self, region: Region, schema: Schema, seen: Callable[[str, Fields], object], rule: str
    ) -> None:
        self.region = region
        self.schema = schema
        self.seen = seen
        self.rule = rule
        self.cursor = Cursor(region)
        self._steps = 0
        self._depth = 0

    def message(self, kind: str, end: int) -> object:
        """Read a message that ends at a byte of the region."""
        self.region.expect_within("max_nesting", self._depth, unit="nested messages")
        self._depth += 1
        fields: Fields = {}
        while self.cursor.position < end:
            begin = self.cursor.position
            number, wire = divmod(self._varint(), 8)
            what = self.schema[kind].get(number)
            if what is None:
                self.broken(f"field {number} in {kind}", begin)
            if number in fields and what[0] != "*":
                self.broken(f"field {number} of {kind} twice", begin)
            values = fields.setdefault(number, [])
            values += self._values(what.removeprefix("*"), wire, end, begin)
        if self.cursor.position != end:
            self.broken(f"{kind} that goes on after its end")
        self._depth -= 1
        return self.seen(kind, fields)

    def broken(self, got: str, byte: int | None = None, expected: str = "") -> NoReturn:
        """Refuse the file at a byte, or where the reader stands."""
        at = self.cursor.position if byte is None else byte
        self.region.refuse(self.rule, at, got=got, expected=expected)

    def _varint(self) -> int:
        self._step()
        value = 0
        for place in range(_MAX_VARINT_BYTES):
            byte = self.cursor.take(1)[0]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value & (1 << 64) - 1
        self.broken("a number of more than 64 bits")

    def _step(self) -> None:
        self._steps += 1
        self.region.expect_within("max_pickle_steps", self._steps, unit="fields")

    def _values(self, what: str, wire: int, end: int, begin: int) -> list[object]:
        if what == "int" and wire == _VARINT:
            return [self._varint()]
        if wire == _NUMBERS.get(what):
            size = _FIXED[wire]
            return [(self.cursor.skip(size), size)]
        if wire != _SIZED:
            self.broken(f"wire type {wire} for {what}", begin)
        size = self._varint()
        if size > end - self.cursor.position:
            self.broken(f"{size} bytes, more than there are", begin)
        if what == "int":
            stop = self.cursor.position + size
            packed: list[object] = []
            while self.cursor.position < stop:
                packed.append(self._varint())
            if self.cursor.position != stop:
                self.broken("packed numbers that go on after their end")
            return packed
        if what == "text":
            return [self._text(size)]
        if what in self.schema:
            return [self.message(what, self.cursor.position + size)]
        return [(self.cursor.skip(size), size)]

    def _text(self, size: int) -> str:
        self.cursor.text_bytes += size
        self.region.expect_within("max_text_bytes", self.cursor.text_bytes, unit="bytes of text")
        try:
            return self.cursor.take(size).decode()
        except UnicodeDecodeError as error:
            self.broken(f"a fault: {error.reason}", expected="text in UTF-8")


def top_level(region: Region, most: int) -> list[int]:
    """List the fields that a region begins with, up to the first that is none of a message."""
    numbers: list[int] = []
    at = 0
    while at < region.size and len(numbers) < most:
        tag, at = _peek(region, at)
        number, wire = divmod(tag, 8)
        if wire in _FIXED:
            at += _FIXED[wire]
        elif wire in {_VARINT, _SIZED}:
            size, at = _peek(region, at)
            at += size if wire == _SIZED else 0
        else:
            break
        numbers.append(number)
    return numbers


def _peek(region: Region, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(region.read(at, _MAX_VARINT_BYTES)):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    return 7, region.size  # no wire type, and the end
