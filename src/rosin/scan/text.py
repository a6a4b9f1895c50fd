# SPDX-License-Identifier: Apache-2.0
"""Plain text: the model card, the licence, a list of words."""

import codecs
from typing import Final

from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region

_ALLOWED: Final = bytes({9, 10, 12, 13, *range(32, 127), *range(128, 256)})


def _sniff(region: Region, head: bytes) -> bool:
    del region
    return not head.translate(None, _ALLOWED)


def _parse(region: Region) -> Parsed:
    """Read all of it: UTF-8 without control characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    for chunk in region.chunks():
        controls = chunk.translate(None, _ALLOWED)
        if controls:
            at = done + chunk.index(controls[:1])
            region.refuse("format-unknown", at, expected="text", got=f"byte {controls[0]:#04x}")
        _decode(decoder, chunk, done, region)
        done += len(chunk)
    _decode(decoder, b"", done, region)
    return Parsed("text")


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, done: int, region: Region) -> None:
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        region.refuse("format-unknown", done, expected="UTF-8", got=f"a fault: {error.reason}")


TEXT: Final = Format(
    "text",
    _sniff,
    _parse,
    {"text": frozenset({".md", ".txt", ".rst"})},
    last_resort=True,
)
