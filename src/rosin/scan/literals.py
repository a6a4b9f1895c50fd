# SPDX-License-Identifier: Apache-2.0
"""The opcodes of a pickle that push a value which stands in the stream: numbers, texts, bytes.

Each reads its argument strictly: where CPython's reader leaves a spelling open (blanks,
underscores, hexadecimal), only what its writer produces is accepted.
"""

import codecs
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Final

from rosin.scan.cursor import Cursor
from rosin.scan.values import Blob, Dict, List, Set

_SHORT_BYTES: Final = 255
_MAX_LONG_BYTES: Final = 1024  # 8 192 bits; a writer of data has no larger number
_DECIMAL: Final = re.compile(rb"-?(0|[1-9][0-9]{0,2465})")  # as many digits as 8 192 bits have
_FLOAT: Final = re.compile(rb"-?([0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?|inf|nan)")
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[\\'\"nrt]|$)|\\", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


def _malformed(cursor: Cursor, expected: str, got: str) -> object:
    cursor.region.refuse("pickle-malformed", cursor.position, expected=expected, got=got)


def _text(cursor: Cursor, data: bytes) -> object:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        return _malformed(cursor, "text in UTF-8", error.reason)


def _sized_text(width: int) -> Callable[[Cursor], object]:
    def read(cursor: Cursor) -> object:
        size = cursor.unsigned(width)
        _expect_text(cursor, size)
        return _text(cursor, cursor.take(size))

    return read


def _expect_text(cursor: Cursor, size: int) -> None:
    cursor.text_bytes += size
    cursor.region.expect_within(
        "max_text_bytes", cursor.text_bytes, unit="bytes of text", byte=cursor.position
    )


def _sized_bytes(width: int, short: int = _SHORT_BYTES) -> Callable[[Cursor], object]:
    def read(cursor: Cursor) -> object:
        size = cursor.unsigned(width)
        if size <= short:
            return cursor.take(size)
        return Blob(cursor.region, cursor.skip(size), size)

    return read


def _sized_string(width: int) -> Callable[[Cursor], object]:
    """Read what Python 2 called a string: text where it is UTF-8, bytes otherwise."""

    def read(cursor: Cursor) -> object:
        size = cursor.unsigned(width)
        _expect_text(cursor, size)
        data = cursor.take(size)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return Blob(cursor.region, cursor.position - size, size)

    return read


def _quoted_string(cursor: Cursor) -> object:
    """Read a quoted and escaped line, as Python 2 wrote strings into protocol 0."""
    line = cursor.line()
    body = line[1:-1]
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in {b"'", b'"'}:
        return _malformed(cursor, "a text in quotes", "no quotes around it")
    if any(found[1] is None or not found[1] for found in _ESCAPE.finditer(body)):
        return _malformed(cursor, "a text with the escapes of repr", "another escape")
    return _text(cursor, _ESCAPE.sub(_unescaped, body))


def _unescaped(found: re.Match[bytes]) -> bytes:
    code: bytes = found[1]
    return bytes([int(code[1:], 16)]) if code[:1] == b"x" else _ESCAPED[code]


def _unicode_line(cursor: Cursor) -> object:
    line = cursor.line()
    _expect_text(cursor, len(line))
    try:
        return codecs.raw_unicode_escape_decode(line)[0]
    except UnicodeDecodeError as error:
        return _malformed(cursor, "a line of escaped text", error.reason)


def _integer_line(cursor: Cursor) -> object:
    line = cursor.line()
    if line in {b"00", b"01"}:
        return line == b"01"
    return _decimal(cursor, line)


def _long_line(cursor: Cursor) -> object:
    return _decimal(cursor, cursor.line().removesuffix(b"L"))


def _decimal(cursor: Cursor, line: bytes) -> object:
    if not _DECIMAL.fullmatch(line):
        return _malformed(cursor, "a decimal number", "a line that is none")
    return int(line)


def _float_line(cursor: Cursor) -> object:
    line = cursor.line()
    if not _FLOAT.fullmatch(line):
        return _malformed(cursor, "a decimal number", "a line that is none")
    value = float(line)
    if math.isinf(value) and not line.endswith(b"inf"):
        return _malformed(cursor, "a number that a float holds", "one that overflows")
    return value


def _sized_long(width: int) -> Callable[[Cursor], object]:
    def read(cursor: Cursor) -> object:
        size = cursor.unsigned(width)
        if size > _MAX_LONG_BYTES:
            return _malformed(cursor, f"a number of at most {_MAX_LONG_BYTES} bytes", f"{size}")
        return int.from_bytes(cursor.take(size), "little", signed=True)

    return read


LITERALS: Final[Mapping[int, Callable[[Cursor], object]]] = {
    ord(code): read
    for code, read in {
        "N": lambda _: None,
        "\x88": lambda _: True,
        "\x89": lambda _: False,
        "I": _integer_line,
        "J": lambda cursor: int.from_bytes(cursor.take(4), "little", signed=True),
        "K": lambda cursor: cursor.take(1)[0],
        "M": lambda cursor: cursor.unsigned(2),
        "L": _long_line,
        "\x8a": _sized_long(1),
        "\x8b": _sized_long(4),
        "F": _float_line,
        "G": lambda cursor: struct.unpack(">d", cursor.take(8))[0],
        "S": _quoted_string,
        "T": _sized_string(4),
        "U": _sized_string(1),
        "V": _unicode_line,
        "X": _sized_text(4),
        "\x8c": _sized_text(1),
        "\x8d": _sized_text(8),
        "B": _sized_bytes(4),
        "C": _sized_bytes(1),
        "\x8e": _sized_bytes(8),
        "\x96": _sized_bytes(8, short=-1),
        "]": lambda _: List(),
        "}": lambda _: Dict(),
        "\x8f": lambda _: Set(),
        ")": lambda _: (),
    }.items()
}
"""From an opcode to what reads the value that it pushes."""
