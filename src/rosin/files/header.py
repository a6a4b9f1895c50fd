# SPDX-License-Identifier: Apache-2.0
"""The header of a safetensors file that is written: arrays laid out, entries to bytes.

The way back, foreign bytes to checked entries, is `rosin.scan.safetensors`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from rosin.files.importers.arrays import dtype_of
from rosin.scan.safetensors import LENGTH_BYTES, METADATA, NAMES, Entry


def _little(name: str) -> np.dtype:
    """Return a dtype as it lies in the file, the least significant byte first."""
    dtype = dtype_of(name)
    return dtype.newbyteorder("<") if dtype.isbuiltin == 1 else dtype


DTYPES: Final[Mapping[str, np.dtype]] = {code: _little(name) for code, name in NAMES.items()}
_RANKS: Final = {code: rank for rank, code in enumerate(DTYPES)}


class Layout(NamedTuple):
    """One array that is to be written: its name, the code of its dtype, its shape."""

    name: str
    code: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * DTYPES[self.code].itemsize


def encode_header(
    layout: Iterable[Layout], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[Entry]]:
    """Lay arrays out without holes and write their header, padded to 8 bytes.

    Args:
        layout: The arrays.
        metadata: Free-form text; its keys are sorted.

    Returns:
        The header without its length, and the entries in the order of their data.

    Examples:
        >>> encode_header([Layout("a", "F32", (2,))], None)[0]
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
    """
    content: dict[str, object] = {}
    if metadata is not None:
        content[METADATA] = dict(sorted(metadata.items()))
    entries: list[Entry] = []
    begin = 0
    for one in sorted(layout, key=lambda one: (_RANKS[one.code], one.name)):
        end = begin + one.size
        entries.append(Entry(*one, begin, end))
        content[one.name] = {"dtype": one.code, "shape": one.shape, "data_offsets": (begin, end)}
        begin = end
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % LENGTH_BYTES), entries
