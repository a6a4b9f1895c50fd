# SPDX-License-Identifier: Apache-2.0
"""Patterns of names: text with placeholders, which a name binds and another pattern fills.

`h.{i}.weight` binds `i` to what stands between two dots or brackets. `{i+1}` and `{i-1}` stand
for a number one above or below that of `i`, and `{*rest}` for any text. `*` and `**` match
likewise and bind nothing. Matching takes time that grows with the square of a name at most,
whatever the pattern, so that patterns may come from a file.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from rosin.core.validation import refuse
from rosin.errors import StructureError, shown

_TOKENS: Final = re.compile(
    r"\{(?P<star>\*?)(?P<name>[A-Za-z_]\w{0,63})(?P<shift>[+-][0-9]{1,9})?\}"
    r"|(?P<wild>\*\*\.|\*\*|\*)"
    r"|(?P<literal>[^{}*]+)"
)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_WILD: Final = {"**.": r"(?:.*\.)?", "**": r".*"}
_MAX_CHARACTERS: Final = 1_024


class _Token(NamedTuple):
    """One piece of a pattern."""

    literal: str = ""
    wild: str = ""
    name: str = ""
    star: bool = False
    shift: int = 0

    @property
    def endless(self) -> bool:
        """Whether it reaches across dots and brackets."""
        return self.star or self.wild.startswith("**")


class Pattern:
    """A name with placeholders.

    Args:
        text: The pattern, of at most 1024 characters.

    Raises:
        StructureError: A placeholder is misspelt or comes twice, two of them touch, or
            more than one reaches across dots.

    Examples:
        >>> Pattern("layer{s}.{b}.bn1").match("layer1.0.bn1")
        {'s': '1', 'b': '0'}
        >>> Pattern("stages[{s-1}][{b}].norm").fill({"s": "1", "b": "0"})
        'stages[0][0].norm'
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = _tokens(text)
        self.names = tuple(token.name for token in self._tokens if token.name)
        self.has_wildcards = any(token.wild for token in self._tokens)
        self.stars = {token.name for token in self._tokens if token.star}
        _expect_clear(self)
        self._expression = re.compile(_expression(self._tokens), re.DOTALL)

    def adjacent(self) -> bool:
        """Tell whether two placeholders touch, so that nothing says where one ends."""
        pairs = zip(self._tokens, self._tokens[1:], strict=False)
        return any(not a.literal and a.wild != "**." and not b.literal for a, b in pairs)

    def endless(self) -> int:
        """Count the placeholders and wild cards that reach across dots."""
        return sum(token.endless for token in self._tokens)

    def match(self, name: str) -> dict[str, str] | None:
        """Bind the placeholders, or return None if the name does not fit."""
        found = self._expression.fullmatch(name)
        if found is None:
            return None
        values: dict[str, str] = {}
        for token in self._tokens:
            if token.name:
                text = found[token.name]
                if token.shift:
                    number = int(text) - token.shift
                    if number < 0:
                        return None
                    text = str(number)
                values[token.name] = text
        return values

    def fill(self, values: Mapping[str, str]) -> str | None:
        """Put values in place; None if a number is wanted and there is none, or one below 0."""
        pieces: list[str] = []
        for token in self._tokens:
            text = values[token.name] if token.name else token.literal
            if token.shift:
                if not _NUMBER.fullmatch(text) or int(text) + token.shift < 0:
                    return None
                text = str(int(text) + token.shift)
            pieces.append(text)
        return "".join(pieces)

    def __repr__(self) -> str:
        """Show the text."""
        return f"Pattern({self.text!r})"


def as_index(text: str) -> int | None:
    """Read what a placeholder is bound to as a number, spelled in one way only."""
    return int(text) if _NUMBER.fullmatch(text) else None


def _tokens(text: str) -> list[_Token]:
    fits = isinstance(text, str) and 0 < len(text) <= _MAX_CHARACTERS
    tokens: list[_Token] = []
    position = 0
    while fits and position < len(text):
        found = _TOKENS.match(text, position)
        if found is None:
            break
        parts = found.groupdict()
        shift = int(parts["shift"] or 0)
        tokens.append(
            _Token(
                parts["literal"] or "",
                parts["wild"] or "",
                parts["name"] or "",
                bool(parts["star"]),
                shift,
            )
        )
        position = found.end()
    if not fits or position < len(text):
        _refuse(
            text,
            "a name in which {i}, {i+1} and {*rest} stand for what varies",
            f"write it with at most {_MAX_CHARACTERS} characters and every brace closed",
        )
    return tokens


def _expect_clear(pattern: Pattern) -> None:
    """Refuse what a name could fit in two ways."""
    if len(set(pattern.names)) < len(pattern.names):
        _refuse(pattern.text, "each placeholder once", "give the second one another name")
    if pattern.adjacent():
        _refuse(pattern.text, "text between two placeholders", "put a dot between them")
    if pattern.endless() > 1:
        _refuse(
            pattern.text,
            "at most one {*rest} or **",
            "write the others as {name}, which ends at a dot or bracket",
        )


def _expression(tokens: list[_Token]) -> str:
    """Write the regular expression; only what is endless can ever be tried twice."""
    following = [*[token.literal[:1] for token in tokens[1:]], ""]
    pieces: list[str] = []
    for token, after in zip(tokens, following, strict=True):
        if token.literal:
            pieces.append(re.escape(token.literal))
        elif token.wild in _WILD:
            pieces.append(_WILD[token.wild])
        elif token.star:
            pieces.append(f"(?P<{token.name}>.+)")
        else:
            stop = re.escape(after) if after and after not in ".[]" else ""
            inside = r"(?>0|[1-9][0-9]{0,17})" if token.shift else rf"[^.\[\]{stop}]++"
            pieces.append(f"(?P<{token.name}>{inside})" if token.name else f"(?:{inside})")
    return "".join(pieces)


def _refuse(text: object, expected: str, fix: str) -> None:
    refuse(StructureError, subject="the pattern", expected=expected, got=shown(text), fix=fix)
