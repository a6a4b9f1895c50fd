# SPDX-License-Identifier: Apache-2.0
"""JSON from strangers: bounded before it is parsed, and refused where it has two readings.

A key that comes twice, `NaN`, a number that no field may hold and whatever stands behind the
object are refused. Messages name the place, and show keys but no contents.
"""

import dataclasses
import json
import re
from itertools import accumulate
from typing import Final, NoReturn, Protocol, cast

from rosin.errors import grouped, shortened, shown
from rosin.scan.findings import GET_AGAIN
from rosin.scan.region import Region

MAX_INT: Final = 2**63 - 1
# The closing quote is optional so that every quote starts a match: linear in any input.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ALL_BUT_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},:"))


class Faults(Protocol):
    """Where a fault of a foreign text goes: an error of a reader, a finding of a scan."""

    def refuse(self, where: str, *, expected: str, got: str, fix: str = GET_AGAIN) -> NoReturn:
        """Stop at a broken rule."""
        ...

    def expect_within(self, limit: str, size: int, *, unit: str, where: str) -> None:
        """Stop at a size above the field `limit` of the bounds."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class AsFindings:
    """Faults as findings of a scan, which its reader raises in turn.

    Args:
        region: The file.
        rule: The rule that they break.
        start: The byte at which the text begins.
    """

    region: Region
    rule: str
    start: int = 0

    def refuse(self, where: str, *, expected: str, got: str, fix: str = GET_AGAIN) -> NoReturn:
        """Stop the scan of the file; the rule has a way out of its own."""
        del fix
        digits = "".join(filter(str.isdecimal, where)) if where.startswith("byte ") else ""
        at, place = (int(digits), "") if digits else (self.start, where)
        self.region.refuse(self.rule, at, expected=expected, got=got, place=place)

    def expect_within(self, limit: str, size: int, *, unit: str, where: str) -> None:
        """Stop the scan at a size above the field `limit` of the bounds."""
        self.region.expect_within(limit, size, unit=unit, place=where)


def brackets(data: bytes) -> bytes:
    """Leave nothing of a JSON text but its brackets."""
    return _STRINGS.sub(b"", data).translate(None, _ALL_BUT_BRACKETS)


def count_values(data: bytes) -> int:
    """Count at least as many values as a JSON text has, without parsing it."""
    return len(_STRINGS.sub(b"", data).translate(None, _ALL_BUT_STRUCTURE)) + 1


def expect_shallow(only_brackets: bytes, faults: Faults, what: str) -> None:
    """Bound the nesting, before the parser recurses."""
    steps = (1 if bracket in b"[{" else -1 for bracket in only_brackets)
    depth = max(accumulate(steps), default=0)
    faults.expect_within("max_nesting", depth, unit="nested levels", where=what)


def parse_object(
    data: bytes, faults: Faults, *, what: str, start: int = 0, padding: str = " \t\r\n"
) -> dict[str, object]:
    """Parse one JSON object that starts at once and is followed by padding only.

    Args:
        data: The text, in UTF-8; its nesting and size are bounded by the caller.
        faults: How a fault becomes an error.
        what: What the text is, in one word, for messages.
        start: The byte of the file at which it starts.
        padding: The characters that may follow.

    Raises:
        FileError: It is anything else.
    """
    named = _named(what)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        where = f"byte {grouped(start + error.start)}"
        faults.refuse(where, expected=f"{named} in UTF-8", got=f"a fault: {error.reason}")
    if not text.startswith("{"):
        faults.refuse(
            f"byte {start}", expected=f'{named} that starts with "{{"', got=shown(text[:1])
        )
    try:
        content, end = _strict(faults, what).raw_decode(text)
    except json.JSONDecodeError as error:
        where = f"byte {grouped(start + len(text[: error.pos].encode()))}"
        faults.refuse(where, expected=f"{named} of JSON", got=f"a fault: {shortened(error.msg)}")
    except RecursionError:
        faults.refuse(what, expected=f"{named} of few nested levels", got="hundreds of them")
    rest = text[end:].lstrip(padding)
    if rest:
        where = f"byte {grouped(start + len(data) - len(rest.encode()))}"
        faults.refuse(where, expected="nothing but spaces after the JSON", got=shown(rest[:1]))
    return cast("dict[str, object]", content)


def _named(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _strict(faults: Faults, what: str) -> json.JSONDecoder:
    """Make a decoder that refuses what JSON's own grammar leaves open or Python adds."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            faults.refuse(what, expected="every key once", got=f"{shown(twice)} twice")
        return content

    def constant(word: str) -> NoReturn:
        faults.refuse(what, expected=f"{_named(what)} of JSON", got=f"{word}, which JSON lacks")

    return json.JSONDecoder(
        object_pairs_hook=unique, parse_constant=constant, parse_int=_integer_or_float
    )


def _integer_or_float(digits: str) -> int | float:
    """Read an integer; one that no field may hold becomes a float, which no field takes."""
    return float(digits) if digits == "-0" or len(digits) > len(str(MAX_INT)) else int(digits)


def outline(value: object) -> str:
    """Show foreign JSON in a message: objects by their keys, never by their contents."""
    if isinstance(value, dict):
        kinds = {type(part).__name__ for part in cast("dict[str, object]", value).values()}
        return f"an object of {', '.join(sorted(kinds)) or 'nothing'}"
    return shown(value)
