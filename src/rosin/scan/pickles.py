# SPDX-License-Identifier: Apache-2.0
"""Pickle files: one stream or several, of plain data and NumPy's arrays.

PyTorch's older checkpoints and joblib's files begin as pickles too; they are told apart by
their first bytes and by the names that they use.
"""

from typing import Final

from rosin.errors import grouped, shortened
from rosin.scan import joblib, pytorch_legacy, safetensors
from rosin.scan.cursor import Cursor
from rosin.scan.parsed import Format, Parsed
from rosin.scan.region import Region
from rosin.scan.streams import OPENING, PLAIN_PROFILE, acts, run_stream, trial
from rosin.scan.tree import parsed_tree

_MAX_STREAMS: Final = 1_000
_PROTOCOLS: Final = frozenset(bytes([number]) for number in range(2, 6))


def _sniff(region: Region, head: bytes) -> bool:
    """Take what begins with PROTO; without it, what runs as a pickle far enough to act."""
    # The length that safetensors begins with may be 0x80 and so on; few of these run.
    certain = head[:1] == b"\x80" and not safetensors.begins(head)
    return certain or (head[:1] in OPENING and acts(region))


def _parse(region: Region) -> Parsed:
    if pytorch_legacy.begins(region):
        return pytorch_legacy.parse(region)
    cursor = Cursor(region)
    arrays = joblib.Arrays()
    profile = joblib.profile(PLAIN_PROFILE, arrays)
    values: list[object] = []
    while cursor.left:
        if values:
            _expect_stream(region, cursor.position)
        values.append(run_stream(cursor, profile))
        if len(values) > _MAX_STREAMS:
            region.refuse("trailing-bytes", cursor.position, got=f"over {_MAX_STREAMS} streams")
    if arrays.count:
        _expect_one_reading(region)
    exact = "joblib" if arrays.count else "pickle"
    return parsed_tree(exact, values[0] if len(values) == 1 else tuple(values), region)


def _expect_stream(region: Region, at: int) -> None:
    """Refuse what follows a stream unless it is another one."""
    rest = region.section(at, region.size - at)
    head = rest.read(0, 2)
    if not (head[:1] == b"\x80" and head[1:] in _PROTOCOLS) and not acts(rest):
        region.refuse("trailing-bytes", at, got=f"{grouped(rest.size)} more bytes")


def _expect_one_reading(region: Region) -> None:
    """Report raw arrays which a plain unpickler, going on where they begin, would run."""
    for (module, name), mention in trial(region).mentions.items():
        if (module, name) not in PLAIN_PROFILE.names and (module, name) != joblib.WRAPPER:
            got = f"{module}.{name} for a reader that does not know joblib's arrays"
            region.report("polyglot", mention.byte, got=shortened(got))


PICKLE: Final = Format(
    "pickle",
    _sniff,
    _parse,
    {
        "pickle": frozenset({".pkl", ".pickle", ".dat", ".data", ".p"}),
        "joblib": frozenset({".joblib", ".pkl", ".pickle", ".jl"}),
        "pytorch-legacy": frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar"}),
    },
)
