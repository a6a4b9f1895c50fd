# SPDX-License-Identifier: Apache-2.0
"""PyTorch's checkpoints from before 1.6: five pickles, then the storages one after another."""

from typing import Final

from rosin.scan.cursor import Cursor
from rosin.scan.machine import Profile
from rosin.scan.parsed import Parsed
from rosin.scan.pytorch import PYTORCH, Storage, Storages
from rosin.scan.region import Region
from rosin.scan.streams import run_stream
from rosin.scan.tree import parsed_tree
from rosin.scan.values import Dict, List

MAGIC: Final = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The first pickle: the literal number 0x1950a86a20f9469cfc6c, which nothing computes."""

_PROTOCOL: Final = 1001
_NOTHING: Final = Profile({})


def begins(region: Region) -> bool:
    """Say whether a region begins with the magic number."""
    return region.read(0, len(MAGIC)) == MAGIC


def parse(region: Region) -> Parsed:
    """Check the five pickles and the storages."""
    cursor = Cursor(region, len(MAGIC))
    storages = Storages(view_metadata=True)
    if run_stream(cursor, _NOTHING) != _PROTOCOL:
        region.refuse("pytorch-layout", len(MAGIC), expected="version 1001", got="another")
    _expect_little_endian(run_stream(cursor, _NOTHING), region)
    value = run_stream(cursor, Profile(PYTORCH, storages.persistent))
    keys = _keys(run_stream(cursor, _NOTHING), storages, cursor)
    regions = {key: _storage(cursor, storages.by_key[key]) for key in keys}
    if cursor.left:
        region.refuse("trailing-bytes", cursor.position, got=f"{cursor.left} more bytes")
    return parsed_tree("pytorch-legacy", value, region, regions)


def _expect_little_endian(system: object, region: Region) -> None:
    if not isinstance(system, Dict) or system.items.get("little_endian") is not True:
        region.refuse("pytorch-layout", expected="little-endian numbers", got="others")


def _keys(listed: object, storages: Storages, cursor: Cursor) -> list[str]:
    """Return the keys in the order of the file: each storage once, none beyond."""
    items = listed.items if isinstance(listed, List) else []
    keys = [key for key in items if isinstance(key, str)]
    if len(keys) != len(items) or sorted(keys) != sorted(storages.by_key):
        cursor.region.refuse(
            "pytorch-layout", cursor.position, expected="the keys of its storages", got="others"
        )
    return keys


def _storage(cursor: Cursor, storage: Storage) -> Region:
    """Step over one storage: its number of elements, then their bytes."""
    begin = cursor.position
    numel = cursor.unsigned(8)
    if numel != storage.numel:
        cursor.region.refuse(
            "pytorch-layout", begin, expected=f"{storage.numel} elements", got=f"{numel}"
        )
    return cursor.region.section(cursor.skip(storage.size), storage.size)
